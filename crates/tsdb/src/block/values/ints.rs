//! Columns of integers: the values themselves, their changes or the changes' changes, whichever need the fewest bits; with a bitmap where
//! many stand still, a common factor taken out, and outliers (a counter's reset, a gauge's gap) patched; or through pco.
//!
//! Arithmetic wraps, so that any `i64` is a value and any bytes decode to something or are refused.

use super::{CodecError, bits, dense};
use crate::block::Coding;
use crate::varint::{self, Cursor};

/// The first byte: how often changes were taken (0, 1 or 2) ...
const ORDER: u8 = 3;
/// ... whether a bitmap says which changes are not 0, and only those are packed ...
const STILLS: u8 = 4;
/// ... whether some numbers have more bits, apart ...
const PATCHES: u8 = 8;
/// ... whether a common factor was taken out ...
const FACTOR: u8 = 16;
/// ... and whether pco packed them.
const DENSE: u8 = 32;

const KNOWN: u8 = 63;

/// Bits that a patch costs beside the bits it holds.
const PATCH_BITS: usize = 14;

/// A packed column this short is not tried with pco, whose tables alone are about as long.
const DENSE_MIN: usize = 16;

/// Numbers looked at to find the middle one, and to choose between values and changes.
const LOOKS: usize = 15;
const LOOKED_AT: usize = 512;

/// Packs columns of integers; its buffers are used again.
#[derive(Default)]
pub(in crate::block) struct IntEncoder {
    changes: Vec<i64>,
    reduced: Vec<i64>,
    moving: Vec<i64>,
    patches: Vec<(usize, i64)>,
    other: Vec<u8>,
}

/// Unpacks columns of integers; its buffers are used again.
#[derive(Default)]
pub(in crate::block) struct IntDecoder {
    numbers: Vec<i64>,
    patches: Vec<(usize, i64)>,
}

/// A common factor: `odd << shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Factor {
    odd: i64,
    shift: u32,
}

/// How a column is bit-packed.
#[derive(Clone, Copy, Debug)]
struct Plan {
    stills: bool,
    factor: Factor,
    /// The smallest packed number, in factors.
    low: i64,
    width: u32,
    /// About so many bits.
    cost: usize,
}

impl IntEncoder {
    /// Appends the column of these numbers; nothing for no numbers.
    pub(in crate::block) fn encode(&mut self, numbers: &[i64], coding: Coding, out: &mut Vec<u8>) {
        if numbers.is_empty() {
            return;
        }
        let centre = middle(numbers);
        let order = self.choose_order(numbers, centre);
        changes(numbers, order, &mut self.changes);
        let start = out.len();
        let centre = if order == 0 { centre } else { 0 };
        let factor = self.put_packed(numbers, order, centre, out);
        let try_dense = coding == Coding::Compacted && self.changes.len() >= dense::COUNT_MIN;
        if try_dense && out.len() - start > DENSE_MIN {
            // Where no factor is out, pco finds the level by itself.
            let base = if factor == Factor::ONE { 0 } else { centre };
            self.put_dense(numbers, order, (base, factor), start, out);
        }
    }

    /// How often to take changes. Where the estimate is not clear, what comes near is weighed in full.
    fn choose_order(&mut self, numbers: &[i64], centre: i64) -> usize {
        if numbers.len() < 3 {
            return 0;
        }
        let bits = estimate(numbers, centre);
        let least = bits.into_iter().min().expect("there are three");
        let near = |&order: &usize| bits[order] <= least + least / 8;
        if (0..3).filter(near).count() == 1 {
            return (0..3).find(near).expect("one was counted");
        }
        let centres = [centre, 0, 0];
        (0..3)
            .filter(near)
            .min_by_key(|&order| self.weigh(numbers, order, centres[order]))
            .expect("several were counted")
    }

    /// Bits that the middle of the numbers needs if changes are taken so often.
    fn weigh(&mut self, numbers: &[i64], order: usize, centre: i64) -> usize {
        changes(looked(numbers), order, &mut self.changes);
        self.changes.iter_mut().for_each(|change| *change = change.wrapping_sub(centre));
        let all = frame(&self.changes, Factor::ONE, false).cost;
        let count = self.changes.len();
        self.changes.retain(|&change| change != 0);
        if order == 0 || self.changes.len() * 8 > count * 7 {
            return all;
        }
        all.min(frame(&self.changes, Factor::ONE, true).cost + count)
    }

    /// Answers the factor of all changes, less the centre.
    fn put_packed(&mut self, numbers: &[i64], order: usize, centre: i64, out: &mut Vec<u8>) -> Factor {
        let all = reduce(self.changes.iter().map(|change| change.wrapping_sub(centre)), &mut self.reduced);
        let mut plan = frame(&self.reduced, all, false);
        let zeros = if order == 0 { 0 } else { self.reduced.iter().filter(|&&change| change == 0).count() };
        if zeros > self.changes.len() / 8 && plan.cost > self.changes.len() {
            let moving = self.changes.iter().copied().filter(|&change| change != 0);
            let factor = reduce(moving, &mut self.moving);
            let other = frame(&self.moving, factor, true);
            if other.cost + self.changes.len() < plan.cost {
                plan = other;
                std::mem::swap(&mut self.moving, &mut self.reduced);
            }
        }
        self.put_planned(plan, numbers, order, centre, out);
        all
    }

    fn put_planned(&mut self, plan: Plan, numbers: &[i64], order: usize, centre: i64, out: &mut Vec<u8>) {
        let mask = mask(plan.width);
        self.patches.clear();
        for (index, number) in self.reduced.iter_mut().enumerate() {
            let above = number.wrapping_sub(plan.low);
            if above as u64 > mask {
                self.patches.push((index, above >> plan.width));
            }
            *number = (above as u64 & mask) as i64;
        }
        let base = centre.wrapping_add(plan.low.wrapping_mul(plan.factor.value()));
        let is_base_alone = plan.width == 0 && self.patches.is_empty();
        let factor = if is_base_alone { 1 } else { plan.factor.value() };
        let flags = [(plan.stills, STILLS), (!self.patches.is_empty(), PATCHES), (factor > 1, FACTOR)];
        let head = flags.iter().filter(|(set, _)| *set).fold(order as u8, |head, (_, flag)| head | flag);
        put_head(head, numbers, order, factor, out);
        varint::put_signed(out, base);
        out.push(plan.width as u8);
        if plan.stills {
            put_stills(&self.changes, out);
        }
        if !self.patches.is_empty() {
            put_patches(&self.patches, out);
        }
        bits::put(self.reduced.iter().map(|&number| number as u64), plan.width, out);
    }

    /// Replaces the packed column at `start` by a pco one where that is smaller by a bit: it takes twice the time to read.
    fn put_dense(
        &mut self,
        numbers: &[i64],
        order: usize,
        lattice: (i64, Factor),
        start: usize,
        out: &mut Vec<u8>,
    ) {
        let (base, factor) = lattice;
        if base != 0 || factor != Factor::ONE {
            self.changes.iter_mut().for_each(|change| *change = factor.divide(change.wrapping_sub(base)));
        }
        self.other.clear();
        let head = order as u8 | DENSE | if factor == Factor::ONE { 0 } else { FACTOR };
        put_head(head, numbers, order, factor.value(), &mut self.other);
        varint::put_signed(&mut self.other, base);
        let packed = out.len() - start;
        if dense::encode(&self.changes, &mut self.other) && self.other.len() < packed - packed / 64 {
            out.truncate(start);
            out.extend_from_slice(&self.other);
        }
    }
}

fn put_head(head: u8, numbers: &[i64], order: usize, factor: i64, out: &mut Vec<u8>) {
    out.push(head);
    if order > 0 {
        varint::put_signed(out, numbers[0]);
    }
    if order > 1 {
        varint::put_signed(out, numbers[1].wrapping_sub(numbers[0]));
    }
    if factor > 1 {
        varint::put(out, factor as u64);
    }
}

/// A bit a change, set if it is not 0.
fn put_stills(changes: &[i64], out: &mut Vec<u8>) {
    for eight in changes.chunks(8) {
        let bit = |(bit, &change): (usize, &i64)| u8::from(change != 0) << bit;
        out.push(eight.iter().enumerate().map(bit).sum());
    }
}

/// A count; then for each the numbers between it and the one before, and what is above the width, with its sign.
fn put_patches(patches: &[(usize, i64)], out: &mut Vec<u8>) {
    varint::put(out, patches.len() as u64);
    let mut next = 0;
    for &(index, high) in patches {
        varint::put(out, (index - next) as u64);
        varint::put_signed(out, high);
        next = index + 1;
    }
}

const fn mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (u64::BITS - width) }
}

/// Bits of a signed number: 0 for 0.
#[inline]
const fn signed_length(number: i64) -> u32 {
    u64::BITS - varint::zigzag(number).leading_zeros()
}

/// A number with about as many below as above it, by a look at some.
fn middle(numbers: &[i64]) -> i64 {
    middle_of(numbers.iter().copied().step_by(numbers.len().div_ceil(LOOKS)))
}

/// The middle one of at most [`LOOKS`] numbers, at least one.
fn middle_of(numbers: impl Iterator<Item = i64>) -> i64 {
    let mut some = [0; LOOKS];
    let mut looks = 0;
    for (slot, number) in some.iter_mut().zip(numbers) {
        *slot = number;
        looks += 1;
    }
    some[..looks].sort_unstable();
    some[looks / 2]
}

/// Bits that values, their changes and the changes' changes need about, by a look at the numbers in the middle. Each is weighed around
/// its own middle, as the packed form has a base.
fn estimate(numbers: &[i64], centre: i64) -> [u32; 3] {
    let looked = looked(numbers);
    let stride = looked.len().div_ceil(LOOKS);
    let steady = middle_of(looked.windows(2).step_by(stride).map(change));
    let (mut bits, mut around_zero) = ([0u32; 3], 0);
    for three in looked.windows(3) {
        let (before, after) = (change(three), change(&three[1..]));
        bits[0] += signed_length(three[2].wrapping_sub(centre));
        bits[1] += signed_length(after.wrapping_sub(steady));
        bits[2] += signed_length(after.wrapping_sub(before));
        around_zero += signed_length(after);
    }
    bits[1] = bits[1].min(around_zero); // many may stand still
    bits
}

/// The numbers in the middle, by which the order is chosen.
fn looked(numbers: &[i64]) -> &[i64] {
    let from = (numbers.len() / 2).saturating_sub(LOOKED_AT / 2);
    &numbers[from..numbers.len().min(from + LOOKED_AT)]
}

/// The change from the first number to the second.
#[inline]
fn change(numbers: &[i64]) -> i64 {
    numbers[1].wrapping_sub(numbers[0])
}

fn changes(numbers: &[i64], order: usize, into: &mut Vec<i64>) {
    into.clear();
    match order {
        0 => into.extend_from_slice(numbers),
        1 => into.extend(numbers.windows(2).map(change)),
        _ => into.extend(numbers.windows(3).map(|three| change(&three[1..]).wrapping_sub(change(three)))),
    }
}

/// Takes the common factor out of numbers.
fn reduce(numbers: impl Iterator<Item = i64>, into: &mut Vec<i64>) -> Factor {
    into.clear();
    into.extend(numbers);
    let factor = Factor::of(into);
    if factor != Factor::ONE {
        into.iter_mut().for_each(|number| *number = factor.divide(*number));
    }
    factor
}

impl Factor {
    const ONE: Self = Self { odd: 1, shift: 0 };

    /// The greatest common divisor of all; 1 for zeros.
    fn of(numbers: &[i64]) -> Self {
        let shift = numbers.iter().fold(0, |all, number| all | number).trailing_zeros();
        if shift >= i64::BITS - 1 {
            return Self::ONE;
        }
        let mut odd = 0;
        for &number in numbers {
            let number = (number >> shift).unsigned_abs();
            if odd == 0 || number % odd != 0 {
                odd = gcd(odd, number);
            }
            if odd == 1 {
                break;
            }
        }
        // The factor divides a number below 2^63 in size, or it is 1.
        i64::try_from(odd.max(1)).map_or(Self { odd: 1, shift }, |odd| Self { odd, shift })
    }

    const fn value(self) -> i64 {
        self.odd << self.shift
    }

    #[inline]
    const fn divide(self, number: i64) -> i64 {
        let number = number >> self.shift;
        if self.odd == 1 { number } else { number / self.odd }
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Chooses the width that packs numbers best if those that need more are patched, and the smallest number packed.
fn frame(numbers: &[i64], factor: Factor, stills: bool) -> Plan {
    let mut lengths = [0u32; 65];
    numbers.iter().for_each(|&number| lengths[signed_length(number) as usize] += 1);
    let longest = lengths.iter().rposition(|&count| count > 0).unwrap_or(0);
    let (mut inside, mut best, mut length) = (0, usize::MAX, 0);
    for (bits, &count) in lengths.iter().enumerate().take(longest + 1) {
        inside += count as usize;
        let patch = PATCH_BITS + (longest - bits) * 8 / 7;
        let cost = numbers.len() * bits + (numbers.len() - inside) * patch;
        if cost < best {
            (best, length) = (cost, bits);
        }
    }
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    for &number in numbers {
        if signed_length(number) as usize <= length {
            (low, high) = (low.min(number), high.max(number));
        }
    }
    if low > high {
        return Plan { stills, factor, low: 0, width: 0, cost: best };
    }
    let width = 64 - (high.wrapping_sub(low) as u64).leading_zeros();
    let saved = numbers.len() * (length - (width as usize).min(length));
    Plan { stills, factor, low, width, cost: best.saturating_sub(saved) }
}

impl IntDecoder {
    /// Fills `into` with exactly `count` numbers, for which all bytes are needed.
    pub(in crate::block) fn decode(
        &mut self,
        bytes: &[u8],
        count: usize,
        into: &mut Vec<i64>,
    ) -> Result<(), CodecError> {
        into.clear();
        if count == 0 {
            return if bytes.is_empty() { Ok(()) } else { Err(CodecError("bytes for no integers")) };
        }
        let mut cursor = Cursor::new(bytes);
        let head = Head::take(&mut cursor, count).ok_or(CodecError("a column of integers without a head"))?;
        let moves = count - head.order();
        into.reserve(count);
        // What is packed goes where it need not be moved any more, if every change is packed.
        let apart = head.has(STILLS) || head.order() == 2;
        let numbers = if apart { &mut self.numbers } else { &mut *into };
        numbers.clear();
        let mut stills = None;
        if head.has(DENSE) {
            let base = cursor.signed().ok_or(CodecError("a pco column without a base"))?;
            dense::decode(cursor.take_rest(), moves, numbers)?;
            if base != 0 || head.factor != 1 {
                numbers
                    .iter_mut()
                    .for_each(|number| *number = base.wrapping_add(number.wrapping_mul(head.factor)));
            }
        } else {
            stills = unpack(&head, moves, &mut cursor, &mut self.patches, numbers)
                .ok_or(CodecError("a column of integers that is cut off"))?;
            if !cursor.is_empty() {
                return Err(CodecError("bytes after a column of integers"));
            }
        }
        match (head.order(), stills) {
            (0, None) => {}
            (1, None) => add_up(head.first, into),
            (0, Some(stills)) => spread(stills, moves, &mut self.numbers, into),
            (1, Some(stills)) => add_up_moving(stills, moves, head.first, &mut self.numbers, into),
            (_, stills) => {
                match stills {
                    None => into.extend_from_slice(&self.numbers),
                    Some(stills) => spread(stills, moves, &mut self.numbers, into),
                }
                add_up(head.second, into);
                add_up(head.first, into);
            }
        }
        Ok(())
    }
}

/// What stands in front of a column's numbers.
struct Head {
    bits: u8,
    first: i64,
    second: i64,
    factor: i64,
}

impl Head {
    fn take(from: &mut Cursor<'_>, count: usize) -> Option<Self> {
        let bits = from.byte().filter(|bits| bits & !KNOWN == 0 && bits & ORDER != 3)?;
        let mut head = Self { bits, first: 0, second: 0, factor: 1 };
        if head.order() > count || head.has(DENSE) && head.has(STILLS | PATCHES) {
            return None;
        }
        if head.order() > 0 {
            head.first = from.signed()?;
        }
        if head.order() > 1 {
            head.second = from.signed()?;
        }
        if head.has(FACTOR) {
            head.factor = from.number()? as i64;
        }
        Some(head)
    }

    fn order(&self) -> usize {
        usize::from(self.bits & ORDER)
    }

    /// Whether any of these bits is set.
    fn has(&self, bits: u8) -> bool {
        self.bits & bits != 0
    }
}

/// Appends the packed numbers; answers the bitmap that says where they go, if there is one.
fn unpack<'a>(
    head: &Head,
    moves: usize,
    cursor: &mut Cursor<'a>,
    patches: &mut Vec<(usize, i64)>,
    into: &mut Vec<i64>,
) -> Option<Option<&'a [u8]>> {
    let base = cursor.signed()?;
    let width = u32::from(cursor.byte()?);
    if width > u64::BITS {
        return None;
    }
    let stills = if head.has(STILLS) { Some(cursor.take(moves.div_ceil(8))?) } else { None };
    let packed = stills.map_or(moves, |stills| stills.iter().map(|byte| byte.count_ones() as usize).sum());
    let is_past_the_end =
        stills.is_some_and(|stills| !moves.is_multiple_of(8) && stills[moves / 8] >> (moves % 8) != 0);
    if packed > moves || is_past_the_end {
        return None;
    }
    patches.clear();
    if head.has(PATCHES) {
        take_patches(cursor, packed, patches)?;
    }
    let bytes = cursor.take(bits::length(packed, width))?;
    into.reserve(moves + 1);
    let factor = head.factor;
    bits::each(bytes, packed, width, |number| {
        into.push(base.wrapping_add((number as i64).wrapping_mul(factor)));
    });
    for &(index, high) in &*patches {
        let above = high.checked_shl(width).unwrap_or(0);
        into[index] = into[index].wrapping_add(above.wrapping_mul(factor));
    }
    Some(stills)
}

fn take_patches(from: &mut Cursor<'_>, packed: usize, into: &mut Vec<(usize, i64)>) -> Option<()> {
    let count = usize::try_from(from.number()?).ok().filter(|&count| count <= packed)?;
    let mut next = 0usize;
    for _ in 0..count {
        let gap = usize::try_from(from.number()?).ok()?;
        let index = next.checked_add(gap).filter(|&index| index < packed)?;
        into.push((index, from.signed()?));
        next = index + 1;
    }
    Some(())
}

/// Appends the changes, of which `numbers` holds those that are not 0: as many as the bitmap has bits.
fn spread(stills: &[u8], moves: usize, numbers: &mut Vec<i64>, into: &mut Vec<i64>) {
    numbers.push(0); // looked at, not taken, behind the last one
    let mut next = 0;
    into.extend((0..moves).map(|index| {
        let moved = stills[index / 8] >> (index % 8) & 1;
        let change = numbers[next] & -i64::from(moved);
        next += usize::from(moved);
        change
    }));
}

/// Appends `first` and the sums of the changes, of which `numbers` holds those that are not 0. Bits of counters are as good as random:
/// no branch must depend on them.
fn add_up_moving(stills: &[u8], moves: usize, first: i64, numbers: &mut Vec<i64>, into: &mut Vec<i64>) {
    numbers.push(0); // looked at, not taken, behind the last one
    let (mut next, mut sum) = (0, first);
    into.push(first);
    into.extend((0..moves).map(|index| {
        let moved = stills[index / 8] >> (index % 8) & 1;
        sum = sum.wrapping_add(numbers[next] & -i64::from(moved));
        next += usize::from(moved);
        sum
    }));
}

/// Puts `first` in front and makes changes sums.
fn add_up(first: i64, changes: &mut Vec<i64>) {
    let mut sum = first;
    for change in &mut *changes {
        let next = sum.wrapping_add(*change);
        *change = sum;
        sum = next;
    }
    changes.push(sum);
}
