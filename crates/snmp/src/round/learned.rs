//! What is learned about a device from its replies: how large they may become, and how each of its tables is best asked.

use std::sync::Arc;

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
}

impl Habit {
    /// Rounds after which a table is asked by GETBULK again, in case the device was mended.
    const BULK_REST: u16 = 60;
    /// Rows beyond these tell nothing about how to ask.
    const ROWS_MAX: u32 = 1_000_000;

    /// Nothing known.
    pub const fn new() -> Self {
        Self { repetitions_max: u16::MAX, columns_max: u16::MAX, cell_bytes: 24, rows: 0, bulk_rest: 0 }
    }

    /// Brings numbers from outside into range.
    pub fn checked(self) -> Self {
        Self {
            repetitions_max: self.repetitions_max.max(1),
            columns_max: self.columns_max.max(1),
            cell_bytes: self.cell_bytes.clamp(8, 8192),
            rows: self.rows.min(Self::ROWS_MAX),
            bulk_rest: self.bulk_rest.min(Self::BULK_REST),
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
        let wild =
            Habit { repetitions_max: 0, columns_max: 0, cell_bytes: 0, rows: u32::MAX, bulk_rest: 9999 };
        let tame = wild.checked();
        assert_eq!((tame.repetitions_max, tame.columns_max, tame.cell_bytes, tame.bulk_rest), (1, 1, 8, 60));
        assert_eq!(Path::restore(0, 0, 0).goal(0), 400);
    }
}
