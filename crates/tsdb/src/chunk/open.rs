//! The chunk that a series appends to.

use model::{Columns, Timestamp};

use crate::values::{Form, State};
use crate::varint::{Cursor, Short, put, unzigzag, zigzag};

/// Tokens in time order: zig-zag varint of the time's delta-of-delta (the first sample's time stands beside the tokens), then a
/// value token.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenChunk {
    tokens: Vec<u8>,
    first: i64,
    last: i64,
    delta: i64,
    values: State,
    count: u16,
}

/// Bytes that a chunk's tokens begin with, and grow by at least.
const FIRST_BYTES: usize = 24;

/// Two short tokens.
const SHORT_BYTES: usize = 8;

/// The longest pair of tokens: a varint, and a token with its scale and mantissa or its difference.
const PAIR_BYTES: usize = 10 + 12;

impl OpenChunk {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Time of the first sample; only meaningful where the chunk is not empty.
    pub(crate) fn first(&self) -> i64 {
        self.first
    }

    /// Time of the last sample; only meaningful where the chunk is not empty.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// Bits of the last sample.
    pub(crate) fn last_bits(&self) -> u64 {
        self.values.last_bits()
    }

    /// The tokens, for a reader that decodes them later with [`decode_tokens`].
    pub(crate) fn tokens(&self) -> &[u8] {
        &self.tokens
    }

    /// Bytes of memory behind the chunk.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.tokens.capacity()
    }

    /// Appends a sample later than all others.
    #[inline]
    pub(crate) fn append(&mut self, time: i64, value: f64) {
        if self.count == 0 {
            self.first = time;
            self.delta = 0;
            self.values = State::default();
            self.make_room(PAIR_BYTES);
            self.values.encode(value, &mut self.tokens);
        } else {
            let delta = time.wrapping_sub(self.last);
            self.append_pair(zigzag(delta.wrapping_sub(self.delta)), value);
            self.delta = delta;
        }
        self.last = time;
        self.count += 1;
    }

    #[inline]
    fn append_pair(&mut self, change: u64, value: f64) {
        let Some(time) = Short::number(change) else { return self.append_long(change, value) };
        let Some(value) = self.values.short_token(value) else { return self.append_long(change, value) };
        self.make_room(SHORT_BYTES);
        time.then(value).put(&mut self.tokens);
    }

    fn append_long(&mut self, change: u64, value: f64) {
        self.make_room(PAIR_BYTES);
        put(&mut self.tokens, change);
        self.values.encode(value, &mut self.tokens);
    }

    /// Doubling would leave a third of all open chunks' memory empty.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        if self.tokens.capacity() - self.tokens.len() < bytes {
            self.tokens.reserve_exact(FIRST_BYTES + self.tokens.len() / 4);
        }
    }

    /// Replaces the samples by others, strictly ascending, of which the last one stands at the time of the last one before.
    pub(crate) fn refill(&mut self, samples: &[(i64, u64)]) {
        self.clear();
        samples.iter().for_each(|&(time, bits)| self.append(time, f64::from_bits(bits)));
        if self.tokens.capacity() > 4 * self.tokens.len() {
            self.tokens.shrink_to(2 * self.tokens.len());
        }
    }

    /// The series has a sample of this time elsewhere: where the chunk is empty, its last time says so.
    pub(crate) fn raise_last(&mut self, time: i64) {
        if self.is_empty() {
            self.last = self.last.max(time);
        }
    }

    /// Appends all samples to columns.
    pub(crate) fn decode(&self, into: &mut Columns) {
        decode_tokens(&self.tokens, self.first, self.count, into);
    }

    /// All samples.
    pub(crate) fn samples(&self) -> Vec<(i64, u64)> {
        let mut samples = Vec::with_capacity(self.len());
        each_token(&self.tokens, self.first, self.count, State::decode, |time, value| {
            samples.push((time, value.to_bits()))
        });
        samples
    }

    /// Appends all samples, the values in the form they are written in. Answers how many bytes the values' tokens take.
    pub(super) fn forms(&self, times: &mut Vec<i64>, forms: &mut Vec<Form>) -> usize {
        times.reserve(self.len());
        forms.reserve(self.len());
        let (mut form, mut bytes) = (Form::ZERO, 0);
        let decode = |values: &mut State, cursor: &mut Cursor<'_>| {
            let left = cursor.left();
            form = values.decode_form(cursor, form)?;
            bytes += left - cursor.left();
            Some(form)
        };
        each_token(&self.tokens, self.first, self.count, decode, |time, form| {
            times.push(time);
            forms.push(form);
        });
        bytes
    }

    /// The bits at a time, if there is a sample.
    pub(crate) fn at(&self, time: i64) -> Option<u64> {
        if self.is_empty() || time < self.first || time > self.last {
            return None;
        }
        if time == self.last {
            return Some(self.last_bits());
        }
        let mut found = None;
        each_token(&self.tokens, self.first, self.count, State::decode, |at, value| {
            if at == time {
                found = Some(value.to_bits());
            }
        });
        found
    }

    /// Forgets the samples and keeps the memory, unless there is far more of it than was used.
    pub(crate) fn clear(&mut self) {
        let used = self.tokens.len();
        self.tokens.clear();
        if self.tokens.capacity() > 4 * used {
            self.tokens.shrink_to(2 * used);
        }
        self.count = 0;
    }

    /// Gives spare memory back.
    pub(crate) fn shrink(&mut self) {
        self.tokens.shrink_to_fit();
    }

    /// Forgets the samples and gives the memory back.
    pub(crate) fn release(&mut self) {
        self.tokens = Vec::new();
        self.count = 0;
    }
}

/// Appends the samples of a copy of an open chunk's tokens.
pub(crate) fn decode_tokens(tokens: &[u8], first: i64, count: u16, into: &mut Columns) {
    each_token(tokens, first, count, State::decode, |time, value| {
        into.push(Timestamp::from_millis(time), value)
    });
}

#[inline]
fn each_token<V>(
    tokens: &[u8],
    first: i64,
    count: u16,
    mut decode: impl FnMut(&mut State, &mut Cursor<'_>) -> Option<V>,
    mut visit: impl FnMut(i64, V),
) {
    let (mut cursor, mut values) = (Cursor::new(tokens), State::default());
    let (mut time, mut delta) = (first, 0i64);
    for index in 0..count {
        if index > 0 {
            delta =
                delta.wrapping_add(unzigzag(cursor.number().expect("an open chunk holds its own tokens")));
            time = time.wrapping_add(delta);
        }
        visit(time, decode(&mut values, &mut cursor).expect("an open chunk holds its own tokens"));
    }
}
