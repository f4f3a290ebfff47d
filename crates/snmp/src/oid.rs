//! Object identifiers, owned ([`Oid`]) and borrowed from a packet ([`OidRef`]).
//!
//! Both hold the content bytes of the BER encoding (X.690 8.19) rather than a list of numbers: copying from and into a packet is a
//! memcpy, equality and "lies under" are byte comparisons, and an interface counter's OID takes 32 bytes with no allocation.
//! That works because every encoding here is minimal: arcs with padding are refused when an OID is made.
//!
//! Limits: 2 to [`Oid::ARCS_MAX`] arcs, each at most 2^32 - 1 (RFC 3416 section 4.1); the first is 0, 1 or 2.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Why a list of arcs, a text or bytes are no object identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidError {
    /// Fewer than two arcs: BER packs the first two together and cannot say less.
    #[error("an OID has at least two arcs")]
    TooShort,
    /// More arcs than SNMP allows.
    #[error("an OID has at most {} arcs", Oid::ARCS_MAX)]
    TooLong,
    /// The first arc is above 2, or the second is above 39 under 0 or 1.
    #[error("an OID begins with 0.0 to 0.39, 1.0 to 1.39 or 2.x")]
    BadStart,
    /// An arc is no number of at most 32 bits.
    #[error("an arc is a number from 0 to 4294967295")]
    BadArc,
    /// An arc is padded with leading zero groups (bytes only).
    #[error("an arc is padded with leading zeros")]
    Padded,
    /// The last arc's last byte is missing (bytes only).
    #[error("the last arc is cut off")]
    Truncated,
}

/// Bytes that an identifier may take before it is put on the heap: `1.3.6.1.2.1.31.1.1.1.6.N` takes 11 to 15.
const INLINE_BYTES: usize = 30;

/// An owned object identifier, 32 bytes, on the heap only when its encoding is longer than 30 bytes.
#[derive(Clone)]
pub struct Oid(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
}

impl Oid {
    /// Most arcs that an identifier may have (RFC 3416: 128 sub-identifiers).
    pub const ARCS_MAX: usize = 128;

    /// Makes an identifier from its arcs.
    pub fn from_arcs(arcs: &[u32]) -> Result<Self, OidError> {
        let [first, second, rest @ ..] = arcs else { return Err(OidError::TooShort) };
        if arcs.len() > Self::ARCS_MAX {
            return Err(OidError::TooLong);
        }
        if *first > 2 || (*first < 2 && *second > 39) {
            return Err(OidError::BadStart);
        }
        let mut bytes = Vec::with_capacity(arcs.len() + 8);
        push_arc(&mut bytes, u64::from(*first) * 40 + u64::from(*second));
        rest.iter().for_each(|&arc| push_arc(&mut bytes, u64::from(arc)));
        Ok(Self::from_checked(&bytes))
    }

    /// This identifier with more arcs behind it.
    pub fn child(&self, arcs: &[u32]) -> Result<Self, OidError> {
        if self.view().len() + arcs.len() > Self::ARCS_MAX {
            return Err(OidError::TooLong);
        }
        let mut bytes = self.view().0.to_vec();
        arcs.iter().for_each(|&arc| push_arc(&mut bytes, u64::from(arc)));
        Ok(Self::from_checked(&bytes))
    }

    /// The same identifier, borrowed.
    pub fn view(&self) -> OidRef<'_> {
        match &self.0 {
            Repr::Inline { len, bytes } => OidRef(&bytes[..usize::from(*len)]),
            Repr::Heap(bytes) => OidRef(bytes),
        }
    }

    /// Content bytes that were checked before.
    fn from_checked(content: &[u8]) -> Self {
        if content.len() > INLINE_BYTES {
            return Self(Repr::Heap(content.into()));
        }
        let mut bytes = [0; INLINE_BYTES];
        bytes[..content.len()].copy_from_slice(content);
        let len = u8::try_from(content.len()).expect("30 fits a byte");
        Self(Repr::Inline { len, bytes })
    }
}

impl PartialEq for Oid {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Eq for Oid {}

impl Ord for Oid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.view().cmp(&other.view())
    }
}

impl PartialOrd for Oid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Oid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.view().hash(state);
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(out)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(out)
    }
}

impl From<OidRef<'_>> for Oid {
    fn from(oid: OidRef<'_>) -> Self {
        Self::from_checked(oid.0)
    }
}

/// Dotted numbers, with or without a dot in front.
impl FromStr for Oid {
    type Err = OidError;

    fn from_str(text: &str) -> Result<Self, OidError> {
        let mut arcs = Vec::with_capacity(16);
        for part in text.strip_prefix('.').unwrap_or(text).split('.') {
            // `u32::from_str` would take "+1".
            if !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(OidError::BadArc);
            }
            arcs.push(part.parse().map_err(|_| OidError::BadArc)?);
            if arcs.len() > Self::ARCS_MAX {
                return Err(OidError::TooLong);
            }
        }
        Self::from_arcs(&arcs)
    }
}

/// An object identifier that lies in a packet (or in an [`Oid`]); checked when it was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OidRef<'a>(&'a [u8]);

impl<'a> OidRef<'a> {
    /// Checks the content bytes of an OBJECT IDENTIFIER.
    ///
    /// No bytes at all are refused here; [`Value`](crate::Value) reads them as `0.0`, as net-snmp does.
    #[inline]
    pub fn from_content(content: &'a [u8]) -> Result<Self, OidError> {
        // Most names: every byte an arc of its own.
        if (1..Oid::ARCS_MAX).contains(&content.len()) && all_small(content) {
            return Ok(Self(content));
        }
        Self::from_any_content(content)
    }

    fn from_any_content(content: &'a [u8]) -> Result<Self, OidError> {
        let mut rest = content;
        let mut arcs = 1;
        let mut first = true;
        while !rest.is_empty() {
            let (arc, after) = take_arc(rest)?;
            // The first group carries two arcs: 80 more than the second one's largest value under 2.
            let most = if first { u64::from(u32::MAX) + 80 } else { u64::from(u32::MAX) };
            if arc > most {
                return Err(OidError::BadArc);
            }
            first = false;
            arcs += 1;
            rest = after;
        }
        match arcs {
            0 | 1 => Err(OidError::TooShort),
            arcs if arcs > Oid::ARCS_MAX => Err(OidError::TooLong),
            _ => Ok(Self(content)),
        }
    }

    /// Content bytes that were checked before.
    pub(crate) fn from_checked(content: &'a [u8]) -> Self {
        Self(content)
    }

    /// The content bytes of its BER encoding.
    pub fn content(self) -> &'a [u8] {
        self.0
    }

    /// Its arcs, the first two taken apart.
    pub fn arcs(self) -> impl Iterator<Item = u32> + 'a {
        let (start, rest) = take_arc(self.0).expect("an OID holds at least one whole group");
        let top = (start / 40).min(2);
        let second = u32::try_from(start - top * 40).expect("bounds were checked when the OID was made");
        [u32::try_from(top).expect("at most 2"), second].into_iter().chain(Index(rest).arcs())
    }

    /// Number of arcs.
    #[expect(clippy::len_without_is_empty, reason = "an OID is never empty")]
    pub fn len(self) -> usize {
        1 + self.0.iter().filter(|&&byte| byte & 0x80 == 0).count()
    }

    /// Whether this identifier comes after the other, where both lie under a third (or are it), which is not looked at again.
    #[inline]
    pub(crate) fn is_after(self, other: OidRef<'_>, shared: OidRef<'_>) -> bool {
        let (a, b) = (&self.0[shared.0.len()..], &other.0[shared.0.len()..]);
        match (a, b) {
            // Rows that are numbered in one byte.
            (&[a], &[b]) => a > b,
            (_, []) => !a.is_empty(),
            _ => OidRef(a) > OidRef(b),
        }
    }

    /// What follows `prefix`, where this identifier lies under it (or is it: then nothing follows).
    #[inline]
    pub fn strip_prefix(self, prefix: OidRef<'_>) -> Option<Index<'a>> {
        begins_with(self.0, prefix.0).then(|| Index(&self.0[prefix.0.len()..]))
    }

    /// An owned copy.
    pub fn to_oid(self) -> Oid {
        self.into()
    }
}

/// Arc by arc, a prefix before what it begins: the order in which agents walk.
impl Ord for OidRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.0, other.0);
        let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        // Encodings are compared by value from the start of the group in which they first differ.
        let start = a[..same].iter().rposition(|&byte| byte & 0x80 == 0).map_or(0, |end| end + 1);
        match (a.get(start..).filter(|rest| !rest.is_empty()), b.get(start..).filter(|rest| !rest.is_empty()))
        {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => first_arc(a).cmp(&first_arc(b)),
        }
    }
}

impl PartialOrd for OidRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Dotted numbers without a dot in front.
impl fmt::Display for OidRef<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_arcs(self.arcs(), out)
    }
}

impl fmt::Debug for OidRef<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The part of an identifier behind a column: a table row's index. May be empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Index<'a>(&'a [u8]);

impl<'a> Index<'a> {
    /// Bytes that were checked before, as part of an identifier.
    pub(crate) fn from_checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Its arcs.
    pub fn arcs(self) -> impl Iterator<Item = u32> + 'a {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (arc, after) = take_arc(rest).ok()?;
            rest = after;
            Some(u32::try_from(arc).expect("bounds were checked when the OID was made"))
        })
    }

    /// Whether no arc is left.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The only arc, where there is exactly one: the index of `ifTable` and its like.
    pub fn single(self) -> Option<u32> {
        let mut arcs = self.arcs();
        arcs.next().filter(|_| arcs.next().is_none())
    }

    /// Its bytes: a key that is equal exactly when the arcs are.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Display for Index<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_arcs(self.arcs(), out)
    }
}

impl fmt::Debug for Index<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

fn write_arcs(arcs: impl Iterator<Item = u32>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, arc) in arcs.enumerate() {
        if at > 0 {
            out.write_str(".")?;
        }
        write!(out, "{arc}")?;
    }
    Ok(())
}

fn push_arc(bytes: &mut Vec<u8>, arc: u64) {
    let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        bytes.push((arc >> (group * 7)) as u8 & 0x7f | more);
    }
}

/// Takes one base-128 group off checked or unchecked bytes. Five bytes hold every arc that is allowed.
fn take_arc(bytes: &[u8]) -> Result<(u64, &[u8]), OidError> {
    const GROUP_BYTES_MAX: usize = 5;
    if bytes.first() == Some(&0x80) {
        return Err(OidError::Padded);
    }
    let mut arc = 0;
    for (at, &byte) in bytes.iter().take(GROUP_BYTES_MAX).enumerate() {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok((arc, &bytes[at + 1..]));
        }
    }
    Err(if bytes.len() < GROUP_BYTES_MAX { OidError::Truncated } else { OidError::BadArc })
}

/// Whether all bytes are below 0x80. Names of 8 to 16 bytes, the usual ones, in two steps.
#[inline]
fn all_small(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) if bytes.len() <= 16 => {
            (u64::from_ne_bytes(*first) | u64::from_ne_bytes(*last)) & HIGH == 0
        }
        _ => bytes.iter().fold(0, |all, byte| all | byte) < 0x80,
    }
}

/// Whether `bytes` begin with these. Prefixes of 8 to 16 bytes, the columns of tables, in two steps: a call of memcmp takes longer.
#[inline]
fn begins_with(bytes: &[u8], prefix: &[u8]) -> bool {
    match (prefix.first_chunk::<8>(), prefix.last_chunk::<8>()) {
        (Some(first), Some(last)) if prefix.len() <= 16 => {
            let start = bytes.get(..prefix.len());
            start.is_some_and(|start| start.first_chunk() == Some(first) && start.last_chunk() == Some(last))
        }
        _ => bytes.starts_with(prefix),
    }
}

fn first_arc(bytes: &[u8]) -> u64 {
    take_arc(bytes).map_or(0, |(arc, _)| arc)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<&str, OidError>) {
        let got = text.parse::<Oid>().map(|oid| oid.to_string());
        assert_eq!(got, expected.map(str::to_owned), "{text:?}");
    }

    /// Against what the standard library does byte by byte.
    #[test]
    fn two_steps_see_every_byte() {
        for length in 0..40_usize {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            assert!(all_small(&bytes));
            for at in 0..length {
                let mut other = bytes.clone();
                other[at] |= 0x80;
                assert!(!all_small(&other), "{length} {at}");
                assert!(!begins_with(&bytes, &other[..=at]) && !begins_with(&other, &bytes), "{length} {at}");
                assert!(begins_with(&bytes, &bytes[..at]) && !begins_with(&bytes[..at], &bytes));
            }
        }
    }

    #[test]
    fn reads_and_prints_dotted_numbers() {
        check("1.3.6.1.2.1", Ok("1.3.6.1.2.1"));
        check(".1.3.6.1", Ok("1.3.6.1"));
        check("2.4294967295.0", Ok("2.4294967295.0"));
        check("0.0", Ok("0.0"));
        check("1", Err(OidError::TooShort));
        check("", Err(OidError::BadArc));
        check("1.3.+6", Err(OidError::BadArc));
        check("1.3.4294967296", Err(OidError::BadArc));
        check("3.1", Err(OidError::BadStart));
        check("1.40", Err(OidError::BadStart));
        check(&["1"; 128].join("."), Ok(["1"; 128].join(".").as_str()));
        check(&["1"; 129].join("."), Err(OidError::TooLong));
    }

    #[test]
    fn refuses_encodings_that_are_not_minimal_or_too_large() {
        let check = |content: &[u8], expected| {
            assert_eq!(OidRef::from_content(content).err(), expected, "{content:?}")
        };
        check(&[0x2b, 6, 1], None);
        check(&[], Some(OidError::TooShort));
        check(&[0x2b, 0x80, 1], Some(OidError::Padded));
        check(&[0x2b, 0x86], Some(OidError::Truncated));
        check(&[0x2b, 0x8f, 0xff, 0xff, 0xff, 0x7f], None);
        check(&[0x2b, 0x90, 0x80, 0x80, 0x80, 0x00], Some(OidError::BadArc));
        check(&[0x2b, 0x8f, 0xff, 0xff, 0xff, 0xff, 0x7f], Some(OidError::BadArc));
        check(&[1; 127], None);
        check(&[1; 128], Some(OidError::TooLong));
    }

    #[test]
    fn an_interface_counter_needs_no_allocation() {
        assert_eq!(size_of::<Oid>(), 32);
        let oid: Oid = "1.3.6.1.2.1.31.1.1.1.6.4294967295".parse().expect("good");
        assert!(matches!(oid.0, Repr::Inline { .. }));
    }

    #[test]
    fn an_index_is_what_follows_the_column() {
        let column: Oid = "1.3.6.1.2.1.2.2.1.10".parse().expect("good");
        let cell = column.child(&[300]).expect("short");
        let index = cell.view().strip_prefix(column.view()).expect("lies under");
        assert_eq!((index.single(), index.to_string()), (Some(300), "300".to_owned()));
        let neighbour: Oid = "1.3.6.1.2.1.2.2.1.100.1".parse().expect("good");
        assert!(neighbour.view().strip_prefix(column.view()).is_none(), "10 is no prefix of 100");
    }

    fn arcs() -> impl Strategy<Value = Vec<u32>> {
        let arc = prop_oneof![0..200u32, any::<u32>()];
        (0..3u32, 0..40u32, prop::collection::vec(arc, 0..20)).prop_map(|(first, second, mut rest)| {
            rest.splice(0..0, [first, second]);
            rest
        })
    }

    proptest! {
        #[test]
        fn what_is_shared_does_not_change_the_order(shared in arcs(), a in prop::collection::vec(any::<u32>(), 0..4), b in prop::collection::vec(any::<u32>(), 0..4)) {
            let shared = Oid::from_arcs(&shared).expect("good arcs");
            if let (Ok(a), Ok(b)) = (shared.child(&a), shared.child(&b)) {
                prop_assert_eq!(a.view().is_after(b.view(), shared.view()), a > b);
            }
        }

        #[test]
        fn bytes_and_text_return_the_same_arcs(arcs in arcs()) {
            let oid = Oid::from_arcs(&arcs).expect("good arcs");
            prop_assert_eq!(oid.view().arcs().collect::<Vec<_>>(), &arcs[..]);
            prop_assert_eq!(oid.view().len(), arcs.len());
            prop_assert_eq!(&OidRef::from_content(oid.view().content()).expect("own bytes").to_oid(), &oid);
            prop_assert_eq!(&oid.to_string().parse::<Oid>().expect("own text"), &oid);
        }

        #[test]
        fn order_and_prefix_are_those_of_the_arcs(a in arcs(), b in arcs(), cut in 0..22usize, tail in any::<u32>()) {
            let (x, y) = (Oid::from_arcs(&a).expect("good"), Oid::from_arcs(&b).expect("good"));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            let mut near = a[..cut.clamp(2, a.len())].to_vec();
            near.push(tail);
            let z = Oid::from_arcs(&near).expect("good");
            prop_assert_eq!(x.cmp(&z), a.cmp(&near));
            prop_assert_eq!(x.view().strip_prefix(z.view()).is_some(), a.starts_with(&near));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            if let Ok(oid) = OidRef::from_content(&bytes) {
                prop_assert_eq!(&oid.to_string().parse::<Oid>().expect("what is read can be written"), &oid.to_oid());
            }
        }
    }
}
