//! What is learned about a device from its replies: how large they may become, and how each of its tables is best asked.

use std::sync::Arc;

use super::Table;

/// The path to one device: how large its replies may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Bytes of UDP payload that requests aim at.
    pub goal_bytes: u16,
    /// The largest reply that came.
    pub proven_bytes: u16,
    /// The goal does not grow beyond this: something larger was lost.
    pub ceiling_bytes: u16,
    /// Replies near the goal since it last changed.
    near: u8,
    /// Rounds since the ceiling was met.
    rounds: u8,
}

impl Path {
    /// What passes every tunnel in use.
    pub const START_BYTES: u16 = 1200;
    /// No agent answers anything useful below.
    const LEAST_BYTES: u16 = 400;
    /// Replies near the goal before the next larger one is tried.
    const NEAR_MIN: u8 = 6;

    /// Nothing known.
    pub const fn new() -> Self {
        Self { goal_bytes: Self::START_BYTES, proven_bytes: 0, ceiling_bytes: u16::MAX, near: 0, rounds: 0 }
    }

    /// As it was before a restart; numbers out of range are brought into it.
    pub fn restore(goal_bytes: u16, proven_bytes: u16, ceiling_bytes: u16) -> Self {
        let goal_bytes = goal_bytes.max(Self::LEAST_BYTES);
        Self {
            goal_bytes,
            proven_bytes,
            ceiling_bytes: ceiling_bytes.max(Self::LEAST_BYTES),
            near: 0,
            rounds: 0,
        }
    }

    /// What to aim at where the device's settings allow at most `most` bytes.
    pub fn goal(&self, most: u16) -> usize {
        self.goal_bytes.min(most).max(Self::LEAST_BYTES).into()
    }

    /// A reply came.
    pub(super) fn on_reply(&mut self, bytes: usize, most: u16) {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.proven_bytes = self.proven_bytes.max(bytes);
        let ceiling = self.ceiling_bytes.min(most);
        if self.goal_bytes >= ceiling || bytes < self.goal_bytes / 4 * 3 {
            return;
        }
        self.near += 1;
        if self.near >= Self::NEAR_MIN {
            self.near = 0;
            self.goal_bytes = (self.goal_bytes.saturating_add(self.goal_bytes / 4)).min(ceiling);
        }
    }

    /// No reply came to a request for about `bytes`. True if it was more than what ever came: the path may be to blame, and the next
    /// request is for less.
    pub(super) fn on_lost(&mut self, bytes: usize) -> bool {
        let too_large = self.proven_bytes > 0 && bytes > usize::from(self.proven_bytes) + Self::SLACK_BYTES;
        if too_large && self.goal_bytes > Self::LEAST_BYTES {
            let least = self.proven_bytes.max(Self::LEAST_BYTES);
            self.goal_bytes = least.min(self.goal_bytes / 4 * 3).max(Self::LEAST_BYTES);
            self.ceiling_bytes = self.goal_bytes;
            self.near = 0;
            self.rounds = 0;
            return true;
        }
        false
    }

    /// How far an estimate may be off.
    const SLACK_BYTES: usize = 100;

    /// Rounds after which a larger reply is tried again: paths and devices change.
    const CEILING_ROUNDS: u8 = 120;

    /// A round begins.
    pub(super) fn begin(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > Self::CEILING_ROUNDS {
            self.ceiling_bytes = u16::MAX;
        }
    }
}

impl Default for Path {
    fn default() -> Self {
        Self::new()
    }
}

/// Twice as many; any number where that is `enough`.
fn twice(most: u16, enough: u16) -> u16 {
    if most >= enough / 2 { u16::MAX } else { most * 2 }
}

/// One table of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habit {
    /// Rows asked for at once are at most these; halved on tooBig.
    pub repetitions_max: u16,
    /// Columns asked for at once are at most these; halved on tooBig where one row was too much.
    pub columns_max: u16,
    /// Bytes of one binding.
    pub cell_bytes: u16,
    /// Rows of its longest column in the last round that read it whole; 0 is unknown.
    pub rows: u32,
    /// Rounds to go until GETBULK is tried again; 0 means that it works.
    pub bulk_rest: u16,
    /// Rounds to go until more rows and columns at once are tried again, where they are held back. Not kept over restarts.
    pub more_in: u16,
    /// How many rounds that takes the next time: longer after each time that it was too much.
    pub more_pause: u16,
}

impl Habit {
    /// Rounds after which a table is asked by GETBULK again, in case the device was mended.
    const BULK_REST: u16 = 60;
    /// Rounds after which twice as much is tried again where less had to be asked for: a reply that was lost by chance, or a device
    /// that was mended, must not cost packets for ever.
    const MORE_PAUSE: u16 = 16;
    /// The longest pause, 16 hours of a round a minute: a device that cannot do better is not teased.
    const MORE_PAUSE_MAX: u16 = 960;
    /// Rows beyond these tell nothing about how to ask.
    const ROWS_MAX: u32 = 1_000_000;

    /// Nothing known.
    pub const fn new() -> Self {
        Self {
            repetitions_max: u16::MAX,
            columns_max: u16::MAX,
            cell_bytes: 24,
            rows: 0,
            bulk_rest: 0,
            more_in: 0,
            more_pause: 0,
        }
    }

    /// Brings numbers from outside into range.
    pub fn checked(self) -> Self {
        Self {
            repetitions_max: self.repetitions_max.max(1),
            columns_max: self.columns_max.max(1),
            cell_bytes: self.cell_bytes.clamp(8, 8192),
            rows: self.rows.min(Self::ROWS_MAX),
            bulk_rest: self.bulk_rest.min(Self::BULK_REST),
            more_in: self.more_in.min(Self::MORE_PAUSE_MAX),
            more_pause: self.more_pause.min(Self::MORE_PAUSE_MAX),
        }
    }

    /// GETBULK is broken.
    pub(super) fn rest_bulk(&mut self) {
        self.bulk_rest = Self::BULK_REST;
    }

    /// A round begins.
    pub(super) fn begin(&mut self) {
        self.bulk_rest = self.bulk_rest.saturating_sub(1);
    }

    /// A round ends: whether it read the table whole, and whether less had to be asked for than before.
    pub(super) fn end(&mut self, whole: bool, shrunk: bool) {
        if shrunk {
            let doubled = self.more_pause.saturating_mul(2);
            self.more_pause = doubled.clamp(Self::MORE_PAUSE, Self::MORE_PAUSE_MAX);
            self.more_in = self.more_pause;
            return;
        }
        let is_held_back = self.repetitions_max < u16::MAX || self.columns_max < u16::MAX;
        if !whole || !is_held_back {
            return;
        }
        if self.more_in > 1 {
            self.more_in -= 1;
            return;
        }
        // After a restart the count begins anew.
        self.more_pause = self.more_pause.max(Self::MORE_PAUSE);
        if std::mem::replace(&mut self.more_in, self.more_pause) == 0 {
            return;
        }
        self.columns_max = twice(self.columns_max, Self::COLUMNS_ENOUGH);
        if self.columns_max == u16::MAX {
            self.repetitions_max = twice(self.repetitions_max, Table::REPETITIONS_MAX);
        }
        if self.repetitions_max == u16::MAX && self.columns_max == u16::MAX {
            (self.more_in, self.more_pause) = (0, 0);
        }
    }

    /// Columns of which no request has more.
    const COLUMNS_ENOUGH: u16 = 20;

    /// A reply with this many bindings in this many bytes.
    pub(super) fn on_cells(&mut self, bytes: usize, cells: usize) {
        let mean = (bytes / cells.max(1)).clamp(8, 8192) as u16;
        // Larger at once, smaller slowly: a reply that is too large costs more than one that could be larger.
        self.cell_bytes = if mean > self.cell_bytes {
            mean
        } else {
            self.cell_bytes - (self.cell_bytes - mean).div_ceil(4)
        };
    }
}

impl Default for Habit {
    fn default() -> Self {
        Self::new()
    }
}

/// What was learned about a device, as it is kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The device's name ([`Target::name`](crate::engine::Target::name)).
    pub device: Arc<str>,
    /// The path to it.
    pub path: Path,
    /// Which credential worked last.
    pub credential: u8,
    /// Its tables, by key.
    pub tables: Vec<(Arc<str>, Habit)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_grows_with_success_up_to_its_bound() {
        let mut path = Path::new();
        for _ in 0..100 {
            path.on_reply(path.goal(1472), 1472);
        }
        assert_eq!((path.goal(1472), path.proven_bytes), (1472, 1472));
        for _ in 0..100 {
            path.on_reply(300, 9000);
        }
        assert_eq!(path.goal_bytes, 1472, "small replies prove nothing");
    }

    #[test]
    fn what_was_lost_is_not_asked_for_again() {
        let mut path = Path::new();
        (0..6).for_each(|_| path.on_reply(1200, 9000));
        assert_eq!(path.goal(9000), 1500);
        assert!(path.on_lost(1500));
        assert_eq!(path.goal(9000), 1125);
        (0..50).for_each(|_| path.on_reply(1125, 9000));
        assert_eq!(path.goal(9000), 1125, "the ceiling holds");
        assert!(!path.on_lost(1100), "what has come before is not too large");
        (0..121).for_each(|_| path.begin());
        (0..6).for_each(|_| path.on_reply(1125, 9000));
        assert!(path.goal(9000) > 1125);
    }

    #[test]
    fn a_silent_device_says_nothing_about_the_path() {
        let mut path = Path::new();
        assert!(!path.on_lost(1200));
        assert_eq!(path, Path::new());
    }

    #[test]
    fn numbers_from_outside_are_brought_into_range() {
        let wild = Habit {
            repetitions_max: 0,
            columns_max: 0,
            cell_bytes: 0,
            rows: u32::MAX,
            bulk_rest: 9999,
            ..Habit::new()
        };
        let tame = wild.checked();
        assert_eq!((tame.repetitions_max, tame.columns_max, tame.cell_bytes, tame.bulk_rest), (1, 1, 8, 60));
        assert_eq!(Path::restore(0, 0, 0).goal(0), 400);
    }

    /// Rounds of a device that answers tooBig above `most` rows at once; returns how often it had to.
    fn refusals(habit: &mut Habit, most: u16, rounds: u32) -> u32 {
        let mut refusals = 0;
        for _ in 0..rounds {
            let mut shrunk = false;
            while habit.repetitions_max > most {
                habit.repetitions_max = habit.repetitions_max.min(100) / 2;
                refusals += 1;
                shrunk = true;
            }
            habit.end(true, shrunk);
        }
        refusals
    }

    #[test]
    fn what_shrank_grows_again_once_the_device_is_mended() {
        let mut habit = Habit::new();
        refusals(&mut habit, 4, 1);
        assert_eq!(habit.repetitions_max, 3);
        assert_eq!(refusals(&mut habit, u16::MAX, 200), 0);
        assert_eq!(habit, Habit::new());
        // One that can do no better is tried ever more rarely.
        refusals(&mut habit, 4, 100);
        assert_eq!(refusals(&mut habit, 4, 10_000), 13);
        // Columns come back before rows.
        let mut habit = Habit { repetitions_max: 1, columns_max: 2, ..Habit::new() };
        (0..300).for_each(|_| habit.end(true, false));
        assert_eq!(habit, Habit::new());
        let mut habit = Habit { repetitions_max: 1, ..Habit::new() };
        (0..300).for_each(|_| habit.end(false, false));
        assert_eq!(habit.repetitions_max, 1, "what does not go well is not made harder");
    }
}
