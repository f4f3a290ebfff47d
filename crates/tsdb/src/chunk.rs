//! Samples of one series, compressed: one open chunk that grows sample by sample, and sealed chunks that never change.
//!
//! In: samples in strictly ascending time. Out: the same, bit for bit. Knows nothing of series, locks or disks; nothing here
//! reaches a disk either, so these layouts may change with any version.
//!
//! An open chunk is a run of byte tokens, about 3 bytes a sample: cheap to append to, cheap to copy for a reader. Sealing it
//! (every [`CHUNK_SAMPLES`]) packs the values into as many bits as their changes need and shares equal time columns between
//! series: about half of that.

mod open;
mod packed;
mod times;

pub(crate) use open::{OpenChunk, decode_tokens};
use times::{TimeColumns, Times};

use std::ops::Range;
use std::sync::Arc;

use model::{Columns, Timestamp};

use crate::values::{Form, State};
use crate::varint::Cursor;

/// Samples at which an open chunk is sealed.
pub(crate) const CHUNK_SAMPLES: usize = 240;

/// Samples at which it is sealed while a journal is replayed: nearly never, so that a start need not wait for it. What was left is
/// sealed when its series gets its next sample, or by upkeep.
pub(crate) const REPLAY_CHUNK_SAMPLES: usize = 4 * CHUNK_SAMPLES;

/// An immutable chunk; a clone shares its bytes.
#[derive(Clone, Debug)]
pub(crate) struct SealedChunk {
    pub(crate) first: i64,
    pub(crate) last: i64,
    count: u16,
    times: Times,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// All values have these bits.
    Constant(u64),
    /// See [`packed`].
    Packed(Arc<[u8]>),
    /// Tokens of [`crate::values`], one a sample.
    Tokens(Arc<[u8]>),
}

/// What sealing needs: the time columns that chunks share, and buffers that are used again.
#[derive(Debug)]
pub(crate) struct Sealer {
    /// Samples at which open chunks are sealed.
    pub(crate) seal_at: usize,
    columns: TimeColumns,
    times: Vec<i64>,
    forms: Vec<Form>,
    mantissas: Vec<i64>,
    tokens: Vec<u8>,
}

impl Default for Sealer {
    fn default() -> Self {
        Self {
            seal_at: CHUNK_SAMPLES,
            columns: TimeColumns::default(),
            times: Vec::new(),
            forms: Vec::new(),
            mantissas: Vec::new(),
            tokens: Vec::new(),
        }
    }
}

impl Sealer {
    /// Packs samples, strictly ascending: at least 1, at most 65,535.
    pub(crate) fn seal(&mut self, samples: &[(i64, u64)]) -> SealedChunk {
        self.times.clear();
        self.times.extend(samples.iter().map(|&(time, _)| time));
        self.put_tokens(samples.iter().map(|&(_, bits)| bits));
        self.forms.clear();
        let (mut cursor, mut state, mut form) = (Cursor::new(&self.tokens), State::default(), Form::ZERO);
        for _ in samples {
            form = state.decode_form(&mut cursor, form).expect("these tokens were just written");
            self.forms.push(form);
        }
        self.finish(0..samples.len(), self.tokens.len())
    }

    /// Packs the samples of an open chunk: into one chunk, or into several where it outgrew [`CHUNK_SAMPLES`].
    pub(crate) fn seal_open(&mut self, open: &OpenChunk, into: &mut Vec<SealedChunk>) {
        self.times.clear();
        self.forms.clear();
        let bytes = open.forms(&mut self.times, &mut self.forms);
        for start in (0..open.len()).step_by(CHUNK_SAMPLES) {
            let part = start..open.len().min(start + CHUNK_SAMPLES);
            let bytes = bytes * part.len() / open.len();
            into.push(self.finish(part, bytes));
        }
    }

    fn put_tokens(&mut self, bits: impl Iterator<Item = u64>) {
        self.tokens.clear();
        let mut state = State::default();
        bits.for_each(|bits| state.encode(f64::from_bits(bits), &mut self.tokens));
    }

    /// Makes a chunk of a part of `times` and `forms`. `token_bytes`: what its values take as tokens.
    fn finish(&mut self, part: Range<usize>, token_bytes: usize) -> SealedChunk {
        let times = &self.times[part.clone()];
        let (first, last) = (times[0], *times.last().expect("a chunk without samples is never sealed"));
        SealedChunk {
            first,
            last,
            count: u16::try_from(times.len()).expect("chunks are split long before 65,535 samples"),
            times: self.columns.intern(times),
            values: self.values(part, token_bytes),
        }
    }

    fn values(&mut self, part: Range<usize>, token_bytes: usize) -> Values {
        let forms = &self.forms[part.clone()];
        let first = forms[0];
        if forms.iter().all(|&form| form == first) {
            return Values::Constant(first.bits());
        }
        let packed = packed::pack(forms, &mut self.mantissas);
        if let Some(packed) = packed.filter(|packed| packed.len() < token_bytes) {
            return Values::Packed(packed.into());
        }
        let forms = std::mem::take(&mut self.forms);
        self.put_tokens(forms[part].iter().map(|form| form.bits()));
        self.forms = forms;
        Values::Tokens(self.tokens.as_slice().into())
    }

    /// Forgets time columns that no chunk uses any more.
    pub(crate) fn sweep(&mut self) {
        self.columns.sweep();
    }

    /// Bytes of memory in shared time columns.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes()
    }
}

impl SealedChunk {
    /// Number of samples.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes of memory that this chunk alone holds, allocations included (shared time columns are counted by their table).
    pub(crate) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Constant(_) => 0,
            Values::Packed(bytes) | Values::Tokens(bytes) => bytes.len() + ALLOCATION,
        };
        size_of::<Self>() + values
    }

    /// Whether any sample may lie in the span (inclusive).
    pub(crate) fn overlaps(&self, start: i64, end: i64) -> bool {
        self.first <= end && self.last >= start
    }

    /// Appends all samples.
    pub(crate) fn decode(&self, into: &mut Columns) {
        self.times.decode(self.first, self.len(), &mut into.timestamps);
        self.values.decode(self.len(), &mut into.values);
        debug_assert_eq!(into.timestamps.len(), into.values.len());
    }

    /// All samples as pairs of milliseconds and bits.
    pub(crate) fn samples(&self) -> Vec<(i64, u64)> {
        let mut columns = Columns::default();
        self.decode(&mut columns);
        columns.iter().map(|sample| (sample.timestamp.as_millis(), sample.value.to_bits())).collect()
    }

    /// The bits at a time, if there is a sample.
    pub(crate) fn at(&self, time: i64) -> Option<u64> {
        if !self.overlaps(time, time) {
            return None;
        }
        let index = self.times.find(self.first, self.len(), time)?;
        if let Values::Constant(bits) = self.values {
            return Some(bits);
        }
        let mut values = Vec::with_capacity(self.len());
        self.values.decode(self.len(), &mut values);
        values.get(index).map(|value| value.to_bits())
    }
}

/// What an allocation costs beside its bytes: reference counts and the allocator's own.
pub(crate) const ALLOCATION: usize = 32;

impl Values {
    fn decode(&self, count: usize, into: &mut Vec<f64>) {
        match self {
            Self::Constant(bits) => into.extend(std::iter::repeat_n(f64::from_bits(*bits), count)),
            Self::Packed(bytes) => packed::unpack(bytes, count, into),
            Self::Tokens(bytes) => {
                let (mut cursor, mut state) = (Cursor::new(bytes), State::default());
                into.extend(
                    (0..count)
                        .map(|_| state.decode(&mut cursor).expect("a sealed chunk holds its own tokens")),
                );
            }
        }
    }
}

/// Cuts samples in time order out of columns: what lies before `start` or after `end` goes. Only samples from index `from` on
/// are looked at.
pub(crate) fn clip(columns: &mut Columns, from: usize, start: Timestamp, end: Timestamp) {
    let keep_to = from + columns.timestamps[from..].partition_point(|&time| time <= end);
    columns.timestamps.truncate(keep_to);
    columns.values.truncate(keep_to);
    let skip_to = from + columns.timestamps[from..].partition_point(|&time| time < start);
    if skip_to > from {
        columns.timestamps.drain(from..skip_to);
        columns.values.drain(from..skip_to);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn check(samples: &[(i64, u64)]) -> SealedChunk {
        let sealed = Sealer::default().seal(samples);
        assert_eq!(sealed.samples(), samples);
        for &(time, bits) in samples {
            assert_eq!(sealed.at(time), Some(bits));
        }
        let mut open = OpenChunk::default();
        for &(time, bits) in samples {
            open.append(time, f64::from_bits(bits));
        }
        assert_eq!(open.samples(), samples);
        let mut chunks = Vec::new();
        Sealer::default().seal_open(&open, &mut chunks);
        assert_eq!(chunks.len(), samples.len().div_ceil(CHUNK_SAMPLES));
        assert_eq!(chunks.iter().flat_map(SealedChunk::samples).collect::<Vec<_>>(), samples);
        sealed
    }

    fn series(count: i64, value: impl Fn(i64) -> f64) -> Vec<(i64, u64)> {
        (0..count).map(|i| (1_700_000_000_000 + i * 15_000, value(i).to_bits())).collect()
    }

    #[test]
    fn a_constant_series_costs_nothing_a_sample() {
        assert_eq!(check(&series(240, |_| 1.0)).bytes(), size_of::<SealedChunk>());
    }

    #[test]
    fn a_counter_costs_what_its_changes_need() {
        let sealed = check(&series(240, |i| 1e9 + (i * 1000 + i % 7) as f64));
        assert!(sealed.bytes() < size_of::<SealedChunk>() + 240, "{}", sealed.bytes());
    }

    #[test]
    fn decimals_that_were_multiplied_are_packed_too() {
        // Every tenth of these is no short decimal.
        for unit in [0.01, 0.001] {
            let sealed = check(&series(240, |i| (123_456 + i * 700 + i % 7 * 33) as f64 * unit));
            assert!(matches!(sealed.values, Values::Packed(_)), "{unit}");
            assert!(sealed.bytes() < size_of::<SealedChunk>() + 300, "{unit}: {}", sealed.bytes());
        }
    }

    #[test]
    fn a_stale_marker_or_two_do_not_unpack_a_chunk() {
        let with_markers = |i| if i % 100 == 50 { model::stale_nan() } else { 100.25 + (i % 3) as f64 };
        let sealed = check(&series(240, with_markers));
        assert!(matches!(sealed.values, Values::Packed(_)));
    }

    #[test]
    fn nothing_is_found_between_samples() {
        let sealed = check(&series(10, |i| i as f64));
        assert_eq!(sealed.at(1_700_000_000_001), None);
        assert_eq!(sealed.at(1_600_000_000_000), None);
    }

    #[test]
    fn the_ends_of_time_are_times_too() {
        check(&[(i64::MIN, 1), (-1, 2), (0, 3), (i64::MAX, 4)]);
        check(&[(i64::MIN, 1), (i64::MAX, 4)]);
    }

    #[test]
    fn clipping_keeps_both_ends_of_the_span() {
        let mut columns = Columns::default();
        for time in [1, 2, 3, 4, 5] {
            columns.push(Timestamp::from_millis(time), time as f64);
        }
        clip(&mut columns, 1, Timestamp::from_millis(3), Timestamp::from_millis(4));
        assert_eq!(columns.values, [1.0, 3.0, 4.0]);
    }

    fn any_samples() -> impl Strategy<Value = Vec<(i64, u64)>> {
        let time = prop_oneof![any::<i64>(), 0..10_000i64, (0..500i64).prop_map(|i| i * 15_000)];
        let bits = prop_oneof![
            any::<u64>(),
            Just(model::STALE_NAN_BITS),
            (0..5000i32).prop_map(|i| (f64::from(i) / 100.0).to_bits()),
            (0..5000i32).prop_map(|i| (f64::from(i) * 0.01).to_bits()),
            (0..50i32).prop_map(|i| f64::from(i).to_bits()),
        ];
        proptest::collection::btree_map(time, bits, 1..600)
            .prop_map(|map: BTreeMap<i64, u64>| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn every_bit_pattern_at_every_time_comes_back(samples in any_samples()) {
            check(&samples);
        }
    }
}
