//! What is to be compacted next: the finest, oldest cell whose blocks are worth it.
//!
//! In: what is known of the blocks without reading them. Out: the numbers of those that become one.

use crate::store::grid::{Cell, Grid, LEVELS};

/// Blocks of one cell of the finest level, or of a cell that is not over, that become one before the next level's cell is over.
const FINEST_BLOCKS: usize = 4;
/// A cell of blocks is merged though all but one are small, once there are so many.
const SMALL_BLOCKS: usize = 8;
/// All but the largest block together are worth a merge from this part of the largest on.
const SMALL_PART: u64 = 8;

/// A block as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) number: u64,
    pub(crate) level: u8,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) bytes: u64,
    /// Whether it holds what is deleted or past its age, so that it is worth a rewrite for itself.
    pub(crate) rewrite: bool,
}

/// Blocks that become one in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) cell: Cell,
    pub(crate) numbers: Vec<u64>,
}

/// The next job among cells that end at the boundary or before, and blocks to rewrite; `all` merges whatever can be merged. Of a cell that
/// is not over only the blocks that were written for the cell itself are merged (what came late, or for want of memory): finer ones
/// have a cell of their own to go to first.
pub(crate) fn next(
    grid: Grid,
    blocks: &[Candidate],
    boundary: i64,
    bytes_max: u64,
    all: bool,
) -> Option<Plan> {
    let past = |cell: &Cell| cell.end <= boundary;
    for level in 0..LEVELS {
        let mut cells: Vec<Cell> = blocks
            .iter()
            .filter(|block| block.level <= level)
            .map(|block| grid.cell(level, block.start))
            .collect();
        cells.sort_unstable();
        cells.dedup();
        for cell in cells {
            let past = past(&cell);
            let mut inside: Vec<&Candidate> = blocks
                .iter()
                .filter(|block| cell.holds(block.start, block.end) && (past || block.level == level))
                .collect();
            // The largest go their own way where they would pass the bound.
            inside.sort_by_key(|block| block.bytes);
            while inside.iter().map(|block| block.bytes).sum::<u64>() > bytes_max {
                inside.pop();
            }
            if is_worth_it(&inside, level == 0 || !past, all) {
                let mut numbers: Vec<u64> = inside.iter().map(|block| block.number).collect();
                numbers.sort_unstable();
                return Some(Plan { cell, numbers });
            }
        }
    }
    let rewrite = blocks.iter().find(|block| block.rewrite && (all || block.end <= boundary))?;
    let cell = Cell { start: rewrite.start, end: rewrite.end, level: rewrite.level };
    Some(Plan { cell, numbers: vec![rewrite.number] })
}

/// Blocks in a cell, the smallest first. Where they `wait` for others to come it takes some to begin.
fn is_worth_it(inside: &[&Candidate], wait: bool, all: bool) -> bool {
    let [small @ .., largest] = inside else { return false };
    if small.is_empty() {
        return false;
    }
    if all {
        return true;
    }
    if wait && inside.len() < FINEST_BLOCKS {
        return false;
    }
    let small_bytes: u64 = small.iter().map(|block| block.bytes).sum();
    small.len() >= SMALL_BLOCKS || small_bytes.saturating_mul(SMALL_PART) >= largest.bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn block(number: u64, level: u8, cell: i64, bytes: u64) -> Candidate {
        let grid = Grid::new(Duration::from_secs(1));
        let cell = grid.cell(level, cell);
        Candidate { number, level, start: cell.start, end: cell.end, bytes, rewrite: false }
    }

    fn check(blocks: &[Candidate], boundary: i64, expected: Option<(u8, &[u64])>) {
        let plan = next(Grid::new(Duration::from_secs(1)), blocks, boundary, 10_000, false);
        let plan = plan.as_ref().map(|plan| (plan.cell.level, plan.numbers.as_slice()));
        assert_eq!(plan, expected, "{blocks:?}");
    }

    #[test]
    fn a_cell_that_is_over_becomes_one_block() {
        let three = [block(1, 0, 0, 100), block(2, 0, 1000, 100), block(3, 0, 2000, 100)];
        check(&three, 5999, None);
        check(&three, 6000, Some((1, &[1, 2, 3])));
        check(&three[..1], 6000, None);
        check(&[block(4, 1, 0, 100), block(5, 1, 6000, 100)], 36_000, Some((2, &[4, 5])));
    }

    #[test]
    fn little_late_data_waits_until_it_is_worth_it() {
        check(&[block(1, 2, 0, 1000), block(2, 2, 0, 100)], 400_000, None);
        check(&[block(1, 2, 0, 1000), block(2, 2, 0, 125)], 400_000, Some((2, &[1, 2])));
        let mut many: Vec<_> = (2..10).map(|number| block(number, 2, 0, 1)).collect();
        many.push(block(1, 2, 0, 9000));
        check(&many, 400_000, Some((2, &[1, 2, 3, 4, 5, 6, 7, 8, 9])));
    }

    #[test]
    fn late_blocks_of_a_cell_that_goes_on_do_not_wait_for_its_end() {
        let mut late: Vec<_> = (1..5).map(|number| block(number, 2, 0, 50)).collect();
        late.push(block(9, 1, 6000, 50));
        check(&late[1..], 12_000, None);
        check(&late, 12_000, Some((2, &[1, 2, 3, 4])));
        late[0].bytes = 5_000;
        check(&late, 12_000, None);
    }

    #[test]
    fn nothing_grows_past_the_bound() {
        check(&[block(1, 0, 0, 6000), block(2, 0, 1000, 6000)], 6000, None);
        let three = [block(1, 0, 0, 9000), block(2, 0, 1000, 900), block(3, 0, 2000, 900)];
        check(&three, 6000, Some((1, &[2, 3])));
    }

    #[test]
    fn many_blocks_of_one_finest_cell_do_not_wait() {
        let four: Vec<_> = (1..5).map(|number| block(number, 0, 0, 50)).collect();
        check(&four, 1000, Some((0, &[1, 2, 3, 4])));
        check(&four[..3], 1000, None);
    }
}
