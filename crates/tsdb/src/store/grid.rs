//! The grid in time: cells of four lengths, each a whole number of the finer ones, beginning at the epoch. Blocks lie in cells, so they
//! nest or are disjoint.
//!
//! Times are any `i64`: the outermost cells are cut off where milliseconds end. The very last millisecond is in no cell.

use std::time::Duration;

/// How much longer a level's cells are than those of level 0.
const TIMES: [i64; 4] = [1, 6, 36, 360];

/// Levels of the grid.
pub(crate) const LEVELS: u8 = TIMES.len() as u8;

/// Level of the cells for data that comes late.
pub(crate) const LATE_LEVEL: u8 = 2;

/// A span of time at a level: half open, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) level: u8,
}

impl Cell {
    /// Whether another span lies wholly in this one.
    pub(crate) fn holds(&self, start: i64, end: i64) -> bool {
        self.start <= start && end <= self.end
    }
}

/// The grid whose finest cells have a given length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    span: i64,
}

impl Grid {
    pub(crate) fn new(span: Duration) -> Self {
        Self {
            span: i64::try_from(span.as_millis())
                .unwrap_or(i64::MAX / TIMES[3])
                .clamp(1, i64::MAX / TIMES[3]),
        }
    }

    /// Length of a level's cells.
    pub(crate) fn span(&self, level: u8) -> i64 {
        self.span * TIMES[usize::from(level)]
    }

    /// The cell that holds a time.
    pub(crate) fn cell(&self, level: u8, time: i64) -> Cell {
        let span = i128::from(self.span(level));
        let start = i128::from(time).div_euclid(span) * span;
        let clamp = |time: i128| i64::try_from(time).unwrap_or(if time < 0 { i64::MIN } else { i64::MAX });
        Cell { start: clamp(start), end: clamp(start + span), level }
    }

    /// The cell in which a sample is written when the head is flushed up to a boundary: late data makes few blocks.
    pub(crate) fn cell_to_write(&self, time: i64, boundary: i64) -> Cell {
        self.cell(if time < self.recent(boundary) { LATE_LEVEL } else { 0 }, time)
    }

    /// What is not late when the head is flushed up to a boundary.
    pub(crate) fn recent(&self, boundary: i64) -> i64 {
        self.cell(1, boundary.saturating_sub(self.span(1))).start
    }

    /// Up to where the head is flushed when it is this time: the begun cell and a quarter of one stay for late samples.
    pub(crate) fn boundary(&self, time: i64) -> i64 {
        self.cell(0, time.saturating_sub(self.span / 4)).start
    }

    /// The time at which the boundary will be beyond this one.
    pub(crate) fn next_due(&self, boundary: i64) -> i64 {
        self.cell(0, boundary).end.saturating_add(self.span / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { span: 1000 };

    fn check(level: u8, time: i64, expected: (i64, i64)) {
        let cell = GRID.cell(level, time);
        assert_eq!((cell.start, cell.end), expected, "level {level} at {time}");
    }

    #[test]
    fn cells_nest_whatever_the_time() {
        check(0, 0, (0, 1000));
        check(0, 999, (0, 1000));
        check(0, -1, (-1000, 0));
        check(1, 6001, (6000, 12_000));
        check(3, -1, (-360_000, 0));
        for time in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1] {
            let cells: Vec<_> = (0..LEVELS).map(|level| GRID.cell(level, time)).collect();
            assert!(cells.iter().all(|cell| cell.start <= time && time < cell.end), "{cells:?}");
            assert!(cells.windows(2).all(|two| two[1].holds(two[0].start, two[0].end)), "{cells:?}");
        }
    }

    #[test]
    fn late_data_goes_into_wide_cells_and_all_is_nested() {
        let boundary = 60_000;
        assert_eq!(GRID.cell_to_write(59_999, boundary).level, 0);
        assert_eq!(GRID.cell_to_write(54_000, boundary).level, 0);
        assert_eq!(GRID.cell_to_write(53_999, boundary), Cell { start: 36_000, end: 72_000, level: 2 });
    }

    #[test]
    fn a_boundary_is_due_a_quarter_after_its_cell() {
        assert_eq!(GRID.boundary(2249), 1000);
        assert_eq!(GRID.boundary(2250), 2000);
        assert_eq!(GRID.next_due(1000), 2250);
        assert_eq!(GRID.boundary(i64::MIN), i64::MIN);
    }
}
