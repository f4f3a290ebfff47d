//! Time columns of sealed chunks. Series of one batch share their timestamps, so equal columns are found equal when a chunk is
//! sealed and kept once, whoever sent them.

use std::collections::HashSet;
use std::sync::Arc;

use model::Timestamp;

use super::ALLOCATION;
use crate::varint::{self, Cursor};

/// The times of a chunk; its first time and its length stand beside it.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// Every step is the same number of milliseconds (taken as unsigned: steps may pass `i64::MAX`).
    Regular(u64),
    /// A shared column.
    Column(Arc<TimeColumn>),
}

/// Zig-zag varints of delta-of-deltas, from the second sample on; without the first time, so that equal rhythms share too.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimeColumn(Box<[u8]>);

impl TimeColumn {
    fn bytes(&self) -> usize {
        self.0.len() + size_of::<Self>() + 2 * ALLOCATION
    }
}

/// All columns that more than one chunk may share.
#[derive(Debug, Default)]
pub(crate) struct TimeColumns {
    known: HashSet<Arc<TimeColumn>, ahash::RandomState>,
    bytes: usize,
    scratch: Vec<u8>,
}

impl TimeColumns {
    /// Bytes of memory in columns.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Finds or makes the column of these times.
    pub(crate) fn intern(&mut self, times: &[i64]) -> Times {
        if let Some(step) = regular_step(times) {
            return Times::Regular(step);
        }
        self.scratch.clear();
        let mut delta = 0i64;
        for pair in times.windows(2) {
            let next = pair[1].wrapping_sub(pair[0]);
            varint::put_signed(&mut self.scratch, next.wrapping_sub(delta));
            delta = next;
        }
        let column = TimeColumn(self.scratch.as_slice().into());
        if let Some(known) = self.known.get(&column) {
            return Times::Column(Arc::clone(known));
        }
        let column = Arc::new(column);
        self.bytes += column.bytes();
        self.known.insert(Arc::clone(&column));
        Times::Column(column)
    }

    /// Forgets columns that no chunk uses any more.
    pub(crate) fn sweep(&mut self) {
        self.known.retain(|column| Arc::strong_count(column) > 1);
        self.known.shrink_to(self.known.len() * 2);
        self.bytes = self.known.iter().map(|column| column.bytes()).sum();
    }
}

fn regular_step(times: &[i64]) -> Option<u64> {
    let step = |pair: &[i64]| pair[1].wrapping_sub(pair[0]) as u64;
    let mut steps = times.windows(2).map(step);
    let first = steps.next().unwrap_or(1);
    steps.all(|step| step == first).then_some(first)
}

impl Times {
    /// Appends all times.
    pub(crate) fn decode(&self, first: i64, count: usize, into: &mut Vec<Timestamp>) {
        into.reserve(count);
        match self {
            Self::Regular(step) => {
                let mut time = first;
                into.extend((0..count).map(|_| {
                    let now = time;
                    time = time.wrapping_add(*step as i64);
                    Timestamp::from_millis(now)
                }));
            }
            Self::Column(column) => {
                into.push(Timestamp::from_millis(first));
                let mut cursor = Cursor::new(&column.0);
                let (mut time, mut delta) = (first, 0i64);
                for _ in 1..count {
                    delta = delta.wrapping_add(cursor.signed().expect("a column holds its chunk's times"));
                    time = time.wrapping_add(delta);
                    into.push(Timestamp::from_millis(time));
                }
            }
        }
    }

    /// The index of a time that lies between the first and the last one.
    pub(crate) fn find(&self, first: i64, count: usize, time: i64) -> Option<usize> {
        match self {
            Self::Regular(step) => {
                let offset = time.wrapping_sub(first) as u64;
                offset.is_multiple_of(*step).then_some((offset / step) as usize)
            }
            Self::Column(_) => {
                let mut times = Vec::with_capacity(count);
                self.decode(first, count, &mut times);
                times.binary_search(&Timestamp::from_millis(time)).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rhythms_are_kept_once_and_forgotten_with_their_last_chunk() {
        let mut columns = TimeColumns::default();
        let one = columns.intern(&[0, 15_000, 30_001]);
        let other = columns.intern(&[7, 15_007, 30_008]);
        let (Times::Column(a), Times::Column(b)) = (&one, &other) else { panic!("these are not regular") };
        assert!(Arc::ptr_eq(a, b));
        assert!(columns.bytes() > 0);
        drop((one, other));
        columns.sweep();
        assert_eq!(columns.bytes(), 0);
    }

    #[test]
    fn a_steady_rhythm_needs_no_column() {
        let mut columns = TimeColumns::default();
        assert!(matches!(columns.intern(&[0, 15_000, 30_000]), Times::Regular(15_000)));
        assert!(matches!(columns.intern(&[5]), Times::Regular(1)));
        assert_eq!(columns.bytes(), 0);
    }
}
