//! Time columns: when a chunk's samples were taken, without the first time, so that equal rhythms are equal bytes and a block holds
//! them once.
//!
//! In: strictly ascending milliseconds. Out: a step, and how far each time is off the line that begins at the first time and goes on by
//! that step; a steady rhythm is the step alone. Not here: the first time and the count, which the chunk's entry holds.

use model::Timestamp;

use super::Coding;
use super::values::ints::{IntDecoder, IntEncoder};
use super::values::{COUNT_MAX, CodecError};
use crate::varint::{self, Cursor};

/// Steps are tried that are multiples of these milliseconds.
const ROUNDED_TO: [i128; 4] = [1, 10, 100, 1000];

/// Packs time columns; its buffers are used again.
#[derive(Default)]
pub(crate) struct TimeEncoder {
    off: Vec<i64>,
    ints: IntEncoder,
}

/// Unpacks time columns; its buffers are used again.
#[derive(Default)]
pub(crate) struct TimeDecoder {
    ints: IntDecoder,
    off: Vec<i64>,
}

impl TimeEncoder {
    /// Appends the column of these times, without the first one. The same distances and coding always give the same bytes.
    pub(crate) fn encode(&mut self, times: &[i64], coding: Coding, out: &mut Vec<u8>) {
        assert!(times.len() <= COUNT_MAX, "chunks are cut by chunk_lengths");
        debug_assert!(times.is_sorted_by(|one, next| one < next));
        if times.len() < 2 {
            return;
        }
        let step = choose_step(times);
        varint::put_signed(out, step);
        self.off.clear();
        let mut on_line = times[0];
        self.off.extend(times[1..].iter().map(|time| {
            on_line = on_line.wrapping_add(step);
            time.wrapping_sub(on_line)
        }));
        if self.off.iter().any(|&off| off != 0) {
            self.ints.encode(&self.off, coding, out);
        }
    }
}

/// The step from which times are least far off: steady as it begins, or the average, rounded or not.
fn choose_step(times: &[i64]) -> i64 {
    let begins = times[1].wrapping_sub(times[0]);
    if times.windows(2).all(|two| two[1].wrapping_sub(two[0]) == begins) {
        return begins;
    }
    let length = i128::from(times[times.len() - 1]) - i128::from(times[0]);
    let steps = times.len() as i128 - 1;
    let average = (length + steps / 2) / steps;
    let rounded = ROUNDED_TO.map(|to| (average + to / 2) / to * to);
    let candidates = rounded.into_iter().filter_map(|step| i64::try_from(step).ok()).chain([middle(times)]);
    let sum: i128 = times.iter().map(|&time| i128::from(time) - i128::from(times[0])).sum();
    // Where a line of this step must begin so that times are about as often before as behind it.
    let centre = |step: i64| (sum / (steps + 1) - i128::from(step) * steps / 2) as i64;
    candidates.min_by_key(|&step| spread(times, step, centre(step))).unwrap_or(begins)
}

/// The distance in the middle of a look at some distances.
fn middle(times: &[i64]) -> i64 {
    let stride = times.len().div_ceil(31);
    let mut some: Vec<i64> =
        times.windows(2).step_by(stride).map(|two| two[1].wrapping_sub(two[0])).collect();
    some.sort_unstable();
    some[some.len() / 2]
}

/// What it takes to say how far times are off a line, in bits: their own or their changes', whichever are fewer.
fn spread(times: &[i64], step: i64, centre: i64) -> u64 {
    let (mut on_line, mut before) = (times[0], 0i64);
    let (mut own, mut changes) = (0, 0);
    for time in &times[1..] {
        on_line = on_line.wrapping_add(step);
        let off = time.wrapping_sub(on_line);
        own += u64::from(64 - varint::zigzag(off.wrapping_sub(centre)).leading_zeros());
        changes += u64::from(64 - varint::zigzag(off.wrapping_sub(before)).leading_zeros());
        before = off;
    }
    own.min(changes)
}

impl TimeDecoder {
    /// Appends exactly `count` times, strictly ascending; after an error, nothing is appended.
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        first: i64,
        count: usize,
        into: &mut Vec<Timestamp>,
    ) -> Result<(), CodecError> {
        if count > COUNT_MAX {
            return Err(CodecError("a chunk of more than 65,536 samples"));
        }
        if count < 2 {
            if !bytes.is_empty() {
                return Err(CodecError("a rhythm without times"));
            }
            into.extend((0..count).map(|_| Timestamp::from_millis(first)));
            return Ok(());
        }
        let mut cursor = Cursor::new(bytes);
        let step = cursor.signed().ok_or(CodecError("a column of times without a step"))?;
        let rest = cursor.take_rest();
        if rest.is_empty() {
            self.off.clear();
            self.off.resize(count - 1, 0);
        } else {
            self.ints.decode(rest, count - 1, &mut self.off)?;
        }
        let base = into.len();
        let (mut on_line, mut before) = (first, first);
        let mut ascends = true;
        into.push(Timestamp::from_millis(first));
        into.extend(self.off.iter().map(|off| {
            on_line = on_line.wrapping_add(step);
            let time = on_line.wrapping_add(*off);
            ascends &= time > before;
            before = time;
            Timestamp::from_millis(time)
        }));
        if ascends {
            return Ok(());
        }
        into.truncate(base);
        Err(CodecError("times that do not ascend"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(times: &[i64]) -> [Vec<u8>; 2] {
        [Coding::Fresh, Coding::Compacted].map(|coding| {
            let mut bytes = Vec::new();
            TimeEncoder::default().encode(times, coding, &mut bytes);
            let mut read = vec![Timestamp::from_millis(7)];
            let first = times.first().copied().unwrap_or_default();
            TimeDecoder::default()
                .decode(&bytes, first, times.len(), &mut read)
                .expect("what was just written");
            let read: Vec<i64> = read[1..].iter().map(|time| time.as_millis()).collect();
            assert_eq!(read, times);
            bytes
        })
    }

    /// Figures without order, the same each time.
    fn noise(index: i64) -> i64 {
        let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20) as i64
    }

    fn rhythm(count: i64, first: i64, off: impl Fn(i64) -> i64) -> Vec<i64> {
        (0..count).map(|index| first + index * 15_000 + off(index)).collect()
    }

    #[test]
    fn a_steady_rhythm_is_its_step() {
        assert_eq!(check(&rhythm(480, 1_700_000_000_123, |_| 0)), [vec![0xb0, 0xea, 1], vec![0xb0, 0xea, 1]]);
        assert_eq!(check(&[5]), [vec![], vec![]]);
        assert_eq!(check(&[]), [vec![], vec![]]);
    }

    #[test]
    fn bytes_on_disks_stay_readable() {
        // 15 s and a few milliseconds late or early, then a round that was missed.
        let times = [0, 15_002, 30_001, 44_999, 60_000, 75_003, 90_000, 105_001];
        assert_eq!(check(&times)[0], [0xb0, 0xea, 1, 0, 1, 3, 0x13, 0xc2, 8]);
        let missed = [0, 1_000, 2_000, 3_000, 5_000, 6_000, 7_000, 8_000, 9_000, 10_000, 11_000, 12_000];
        assert_eq!(check(&missed)[0], [0xd0, 15, 5, 0, 0xd0, 15, 0, 4, 0]);
    }

    #[test]
    fn equal_rhythms_are_equal_bytes_whenever_they_begin() {
        let off = |index| noise(index) % 100;
        assert_eq!(check(&rhythm(480, 0, off)), check(&rhythm(480, 1_700_000_000_123, off)));
    }

    #[test]
    fn missed_rounds_cost_a_few_bytes_each() {
        let gaps = rhythm(480, 0, |index| (index / 100) * 15_000);
        let [fresh, _] = check(&gaps);
        assert!(fresh.len() < 30, "{}", fresh.len());
    }

    #[test]
    fn independent_times_cost_their_own_bits_only() {
        // Within 2 s: 11 bits of noise.
        let [fresh, compacted] = check(&rhythm(8_000, 0, |index| noise(index) % 2_000));
        assert!(fresh.len() < 8_000 * 12 / 8, "{}", fresh.len());
        assert!(compacted.len() < 8_000 * 112 / 80, "{}", compacted.len());
        // Anywhere within the step: just under 14 bits.
        let [_, compacted] = check(&rhythm(8_000, 0, |index| noise(index) % 15_000));
        assert!(compacted.len() < 8_000 * 142 / 80, "{}", compacted.len());
    }

    #[test]
    fn the_ends_of_time_are_times_too() {
        check(&[i64::MIN, -1, 0, i64::MAX]);
        check(&[i64::MIN, i64::MAX]);
        check(&[i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]);
    }

    #[test]
    fn nonsense_is_refused() {
        let decode =
            |bytes: &[u8], count| TimeDecoder::default().decode(bytes, 5, count, &mut Vec::new()).err();
        for (bytes, count, expected) in [
            (&[][..], 2, "a column of times without a step"),
            (&[2], 1, "a rhythm without times"),
            (&[2], COUNT_MAX + 1, "a chunk of more than 65,536 samples"),
            (&[1], 3, "times that do not ascend"),
            (&[0], 3, "times that do not ascend"),
            (&[2, 3], 3, "a column of integers without a head"),
        ] {
            assert_eq!(decode(bytes, count), Some(CodecError(expected)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn all_times_come_back(times in proptest::collection::btree_set(
            prop_oneof![any::<i64>(), 0..100_000i64, (0..500i64).prop_map(|index| index * 15_000)], 0..300)) {
            check(&times.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), first in any::<i64>(), count in 0usize..300) {
            let mut into = Vec::new();
            match TimeDecoder::default().decode(&bytes, first, count, &mut into) {
                Ok(()) => prop_assert!(into.len() == count && into.is_sorted_by(|one, next| one < next)),
                Err(_) => prop_assert!(into.is_empty()),
            }
        }
    }
}
