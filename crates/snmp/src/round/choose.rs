//! Which columns to ask for next, and how many rows at once: as few packets as will do.

use std::time::Duration;

use super::{Ask, Column, OVERHEAD_BYTES, Round, TableState};
use crate::walk::{Limit, Reason};

/// Columns of one request: their names must fit a datagram of the least size that agents take (484 bytes, RFC 3417).
const COLUMNS_AT_ONCE: usize = 20;
/// Columns by GETNEXT at once.
const NEXT_AT_ONCE: usize = 12;
/// Rows at once of a table that was never read.
const ROWS_UNKNOWN: u32 = 6;
/// Rows at once, and then one column, after a request that was not answered.
const ROWS_LEAST: u32 = 4;
/// Rows at once of a column that leads through what is denied, or up to it.
const ROWS_AT_FENCE: u32 = 10;

impl Round {
    pub(super) fn choose_scalars(&mut self) -> bool {
        let at_once = if self.least { 1 } else { self.scalars.at_once };
        if self.scalars.open.is_empty() {
            return false;
        }
        self.asked.clear();
        self.asked.extend(self.scalars.open.iter().take(at_once));
        self.ask = Ask::Scalars;
        self.repetitions = 1;
        self.expected_bytes = OVERHEAD_BYTES + 40 * self.asked.len();
        true
    }

    pub(super) fn choose_columns(&mut self, now: Duration) -> bool {
        while let Some(at) = self.whose_turn(now) {
            if let Some(limit) = self.tables[at].exhausted(now) {
                self.end_table(at, &Reason::Limit(limit));
                continue;
            }
            let state = &mut self.tables[at];
            state.started.get_or_insert(now);
            state.cost.requests += 1;
            self.settle(at);
            return true;
        }
        false
    }

    /// The table to go on with. Each gets an equal share of the time that is left, in the order in which they are wanted, and what is
    /// left after that goes to those that were not done with it: one slow table must not cost the round the others.
    fn whose_turn(&mut self, now: Duration) -> Option<usize> {
        if let Some((at, ends)) = self.turn {
            let state = &mut self.tables[at];
            if state.open > 0 && now < ends {
                return Some(at);
            }
            state.turns += 1;
            self.turn = None;
        }
        let open = || self.tables.iter().enumerate().filter(|(_, table)| table.open > 0);
        let (at, _) = open().min_by_key(|(_, table)| table.turns)?;
        let left = self.ends_at().map_or(Duration::ZERO, |ends| ends.saturating_sub(now));
        self.turn = Some((at, now.saturating_add(left / open().count() as u32)));
        Some(at)
    }

    /// Settles a request that begins with this table, which has an open column.
    fn settle(&mut self, table: usize) {
        let Self { tables, columns, asked, deny, .. } = self;
        let state = &tables[table];
        let own = state.first..state.first + state.count;
        let open = || own.clone().filter(|&at| columns[at].end.is_none());
        // Those that lag behind first, so that rows stay together; those that are asked alone last.
        let lead = open().min_by_key(|&at| (columns[at].alone, columns[at].rows)).expect("a column is open");
        let (bulk, alone) = (columns[lead].bulk, columns[lead].alone);
        let goal = self.path.goal(self.reply_bytes_max);
        let mut cells = (goal.saturating_sub(OVERHEAD_BYTES) / usize::from(state.habit.cell_bytes)).max(1);
        asked.clear();
        if alone || self.least {
            asked.push(lead as u32);
        } else {
            asked.extend(open().filter(|&at| columns[at].goes_with(bulk)).map(|at| at as u32));
            asked.sort_by_key(|&at| columns[at as usize].rows);
        }
        let remaining = state.remaining(&columns[lead]);
        let mut rows_max = state.repetitions_max();
        if !deny.is_empty() && asked.iter().any(|&at| columns[at as usize].is_held_back()) {
            rows_max = rows_max.min(ROWS_AT_FENCE);
            // A table that the device may not have at all: every column of it would lead into what is denied.
            if columns[lead].rows == 0 && state.habit.rows == 0 {
                cells = cells.min(ROWS_AT_FENCE as usize);
            }
        }
        let (count, repetitions) = match (bulk, self.least) {
            (false, _) => (cells.min(NEXT_AT_ONCE), 1),
            (true, true) => (1, ROWS_LEAST.min(rows_max)),
            (true, false) => split(cells, asked.len(), remaining, rows_max),
        };
        let whole = asked.len() <= count;
        asked.truncate(count.min(state.habit.columns_max.into()).min(COLUMNS_AT_ONCE));
        self.ask = Ask::Columns { bulk };
        self.repetitions = repetitions as u16;
        if bulk && whole && !alone && !self.least {
            self.fill(table, cells, repetitions);
        }
        let asked_cells = self.asked.len() * usize::from(self.repetitions);
        self.expected_bytes = OVERHEAD_BYTES + asked_cells * usize::from(self.tables[table].habit.cell_bytes);
    }

    /// Uses the room that is left for columns of later tables that want about as many rows.
    fn fill(&mut self, table: usize, cells: usize, repetitions: u32) {
        let Self { tables, columns, asked, .. } = self;
        let most = (cells / repetitions as usize).min(COLUMNS_AT_ONCE);
        for state in tables.iter().skip(table + 1) {
            let fits = state.open > 0
                && state.habit.rows > 0
                && state.habit.cell_bytes <= tables[table].habit.cell_bytes * 2
                && state.repetitions_max() >= repetitions;
            for (at, column) in columns.iter().enumerate().skip(state.first).take(state.count) {
                if asked.len() >= most {
                    return;
                }
                // Past the end of a column only what is not denied may come.
                let least = if column.is_held_back() { repetitions } else { repetitions.div_ceil(2) };
                let most = if column.is_held_back() { ROWS_AT_FENCE } else { u32::MAX };
                let wants =
                    || repetitions <= most && state.remaining(column).is_some_and(|rows| rows >= least);
                if fits && column.end.is_none() && column.goes_with(true) && wants() {
                    asked.push(at as u32);
                }
            }
        }
    }
}

/// Columns and rows of a request: `cells` bindings fit a reply, `open` columns are left, each with `remaining` rows, where that is
/// known, the one that shows its end included.
fn split(cells: usize, open: usize, remaining: Option<u32>, most: u32) -> (usize, u32) {
    let Some(remaining) = remaining else {
        let rows = most.min(ROWS_UNKNOWN.max((cells / open.max(1)) as u32));
        return ((cells / rows as usize).max(1), rows.min(cells as u32).max(1));
    };
    let most = most.min(cells as u32).max(1);
    let least_requests = remaining.div_ceil(most).max(1);
    // A column read in one more request has fewer rows in each, and more columns fit beside it.
    let candidates = (least_requests..least_requests + 8).map(|requests| {
        let rows = remaining.div_ceil(requests).clamp(1, most);
        let columns = (cells / rows as usize).clamp(1, COLUMNS_AT_ONCE);
        (remaining.div_ceil(rows) as usize * open.div_ceil(columns), columns, rows)
    });
    let (_, columns, rows) = candidates.min_by_key(|&(packets, ..)| packets).expect("eight candidates");
    (columns, rows)
}

impl Column {
    fn goes_with(&self, bulk: bool) -> bool {
        !self.alone && self.bulk == bulk
    }

    /// Whether only a few rows of it are asked for at once, because of what is denied.
    fn is_held_back(&self) -> bool {
        self.fenced || self.borders
    }
}

impl TableState {
    fn repetitions_max(&self) -> u32 {
        u32::from(self.table.repetitions_max.min(self.habit.repetitions_max)).max(1)
    }

    /// Rows that a column will still give, the one behind its end included; none if unknown.
    fn remaining(&self, column: &Column) -> Option<u32> {
        (self.habit.rows > 0).then(|| match (self.habit.rows + 1).saturating_sub(column.rows) {
            // More than last time.
            0 => ROWS_UNKNOWN,
            rows => rows,
        })
    }

    fn exhausted(&self, now: Duration) -> Option<Limit> {
        let limits = &self.table.limits;
        let time = self.started.is_some_and(|started| now.saturating_sub(started) >= limits.time_max);
        match self.cost.requests >= limits.requests_max {
            _ if time => Some(Limit::Time),
            true => Some(Limit::Requests),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_share_a_reply() {
        let check = |cells, open, remaining, most, expected| {
            assert_eq!(split(cells, open, remaining, most), expected, "{cells} {open} {remaining:?} {most}");
        };
        // Never read: a few rows of many columns.
        check(48, 30, None, 100, (8, 6));
        check(48, 3, None, 100, (3, 16));
        // 52 rows and the end in 53 bindings: one request a column fills the reply best.
        check(53, 30, Some(53), 100, (1, 53));
        // Small tables go whole.
        check(60, 10, Some(5), 100, (12, 5));
        // At most 25 rows: nine requests for each ten columns.
        check(60, 30, Some(53), 25, (10, 6));
        check(1, 9, Some(9), 100, (1, 1));
    }
}
