//! What each fault does to a reply's content and encoding. How it is delivered, and by whom, is the device's part.

use snmp::ber::tag;
use snmp::{Oid, OidRef, Pdu, PduKind};

use super::Fault;
use super::reply::{Binding, Length, Reply};
use crate::answer::{GEN_ERR, TOO_BIG};
use crate::encode;

/// A tag that SNMP does not know.
const UNKNOWN_TAG: u8 = 0x5a;
/// Names and values of invented rows take about so many bytes; more than a datagram holds are not invented.
const INVENTED_MAX: usize = 2_000;

/// Spoils a reply. Faults that are not about its content or encoding leave it as it is.
pub(crate) fn spoil(reply: &mut Reply, fault: &Fault, request: &Pdu<'_>) {
    match fault {
        Fault::WrongId => reply.id = reply.id.wrapping_add(1),
        Fault::WrongKind => reply.kind = tag::GET,
        Fault::OverLongLength(element) => reply.lengths.push((*element, Length::OverLong)),
        Fault::PastEndLength(element) => reply.lengths.push((*element, Length::PastEnd)),
        Fault::IndefiniteLength(element) => reply.lengths.push((*element, Length::Indefinite)),
        Fault::PaddedLength(element) => reply.lengths.push((*element, Length::Padded)),
        Fault::TooBig(most)
            if request.kind == PduKind::GetBulk && i64::from(request.third) > i64::from(*most) =>
        {
            refuse(reply, TOO_BIG, 0, Vec::new());
        }
        Fault::GenErr(under) => gen_err(reply, under, request),
        Fault::NoBulk if request.kind == PduKind::GetBulk => refuse(reply, GEN_ERR, 0, asked(request)),
        Fault::LargeArcs => reply.bindings.iter_mut().for_each(|binding| {
            binding.name.extend([0x88, 0x80, 0x80, 0x80, 0x00, 0x8f, 0xff, 0xff, 0xff, 0x7f]);
        }),
        Fault::WrongType => reply.bindings.iter_mut().for_each(wrong_type),
        Fault::EmptyList => reply.bindings.clear(),
        Fault::Fewer(count) => {
            let left = reply.bindings.len().saturating_sub(*count as usize);
            reply.bindings.truncate(left);
        }
        Fault::More(count) => {
            let more = (0..(*count as usize).min(INVENTED_MAX)).map(|at| unasked(at as u32));
            reply.bindings.extend(more);
        }
        Fault::NoSuchObject(at) => except(reply, *at, tag::NO_SUCH_OBJECT),
        Fault::NoSuchInstance(at) => except(reply, *at, tag::NO_SUCH_INSTANCE),
        Fault::EndOfMibView(at) => except(reply, *at, tag::END_OF_MIB_VIEW),
        Fault::Descending => rename(reply, request, |name, asked, row| match name.starts_with(asked) {
            // The first row is far behind; the right names go up by one, these go down.
            true => counted(name, 1_000 - 2 * row),
            false => counted(asked, -1 - row),
        }),
        Fault::Repeating => rename(reply, request, |_, asked, _| asked.to_vec()),
        Fault::Endless => endless(reply, request),
        _ => {
            if let Some(binding) = reply.middle() {
                spoil_binding(binding, fault);
            }
        }
    }
}

fn spoil_binding(binding: &mut Binding, fault: &Fault) {
    match fault {
        Fault::UnknownTag => binding.tag = UNKNOWN_TAG,
        Fault::BadInteger(octets) => value(binding, tag::INTEGER, 1, *octets),
        Fault::BadCounter64(octets) => value(binding, tag::COUNTER64, 1, *octets),
        Fault::HugeString(octets) => value(binding, tag::OCTET_STRING, b'x', *octets),
        Fault::BadOid => binding.name.push(0x81),
        Fault::EmptyOid => binding.name.clear(),
        Fault::PaddedOid => binding.name.extend([0x80, 0x01]),
        Fault::HugeArc => binding.name.extend([0x9f, 0xff, 0xff, 0xff, 0x7f]),
        Fault::LongOid => {
            let arcs = 1 + binding.name.iter().filter(|&&byte| byte & 0x80 == 0).count();
            binding.name.extend(std::iter::repeat_n(1, (Oid::ARCS_MAX + 1).saturating_sub(arcs)));
        }
        _ => {}
    }
}

fn value(binding: &mut Binding, tag: u8, octet: u8, count: u32) {
    binding.tag = tag;
    binding.value = vec![octet; count as usize];
}

fn wrong_type(binding: &mut Binding) {
    if matches!(binding.tag, tag::INTEGER | tag::COUNTER32 | tag::GAUGE32 | tag::TIME_TICKS | tag::COUNTER64)
    {
        binding.tag = tag::OCTET_STRING;
        binding.value = b"n/a".to_vec();
    }
}

fn refuse(reply: &mut Reply, status: i32, index: i32, bindings: Vec<Binding>) {
    reply.status = status;
    reply.index = index;
    reply.bindings = bindings;
}

fn asked(request: &Pdu<'_>) -> Vec<Binding> {
    let nothing =
        |name: OidRef<'_>| Binding { name: name.content().to_vec(), tag: tag::NULL, value: Vec::new() };
    request.varbinds.iter().map(|varbind| nothing(varbind.name)).collect()
}

fn gen_err(reply: &mut Reply, under: &Oid, request: &Pdu<'_>) {
    let lies = |binding: &Binding| binding.name.starts_with(under.view().content());
    if let Some(at) = reply.bindings.iter().position(lies) {
        let index = column(request, at) as i32 + 1;
        refuse(reply, GEN_ERR, index, asked(request));
    }
}

fn except(reply: &mut Reply, at: u32, tag: u8) {
    if let Some(binding) = reply.bindings.get_mut(at as usize - 1) {
        binding.tag = tag;
        binding.value.clear();
    }
}

/// A binding with a name that nobody asked for.
fn unasked(at: u32) -> Binding {
    let name = Oid::from_arcs(&[1, 3, 6, 1, 4, 1, 99_999, at]).expect("a short name");
    Binding { name: name.view().content().to_vec(), tag: tag::INTEGER, value: vec![1] }
}

/// Which of the names asked for the n-th binding answers.
fn column(request: &Pdu<'_>, at: usize) -> usize {
    let once = match request.kind {
        PduKind::GetBulk => usize::try_from(request.second).unwrap_or(0).min(request.varbinds.len()),
        _ => request.varbinds.len(),
    };
    match request.varbinds.len() - once {
        _ if at < once => at,
        0 => 0,
        repeated => once + (at - once) % repeated,
    }
}

/// Renames the answers to GETNEXT and GETBULK by their name, the name asked for and the row.
fn rename(reply: &mut Reply, request: &Pdu<'_>, new: impl Fn(&[u8], &[u8], i64) -> Vec<u8>) {
    if request.kind == PduKind::Get || request.varbinds.is_empty() {
        return;
    }
    for (at, binding) in reply.bindings.iter_mut().enumerate() {
        let asked = request.varbinds[column(request, at)].name.content();
        binding.name = new(&binding.name, asked, (at / request.varbinds.len()) as i64);
        if binding.tag & 0xf0 == 0x80 {
            value(binding, tag::INTEGER, 1, 1);
        }
    }
}

/// As many rows as were asked for, under each name: behind a column its first row, behind a row the next.
fn endless(reply: &mut Reply, request: &Pdu<'_>) {
    let columns = request.varbinds.len();
    if request.kind == PduKind::Get || columns == 0 {
        return;
    }
    let rows = if request.kind == PduKind::GetBulk { usize::try_from(request.third).unwrap_or(0) } else { 1 };
    let first: Vec<bool> = (0..columns)
        .map(|at| {
            let name = request.varbinds[at].name.content();
            reply.bindings.get(at).is_some_and(|binding| binding.name.starts_with(name))
        })
        .collect();
    reply.status = 0;
    reply.index = 0;
    reply.bindings = (0..rows.min(INVENTED_MAX / columns + 1) * columns)
        .map(|at| {
            let (row, column) = ((at / columns) as i64, at % columns);
            let asked = request.varbinds[column].name.content();
            let name = match first[column] {
                true => counted(&[asked, &[1]].concat(), row),
                false => counted(asked, 1 + row),
            };
            Binding { name, tag: tag::INTEGER, value: vec![1] }
        })
        .collect();
}

/// A name with so much added to its last arc; kept within what an arc holds.
fn counted(name: &[u8], add: i64) -> Vec<u8> {
    let end = name[..name.len() - 1].iter().rposition(|&byte| byte & 0x80 == 0).map_or(0, |end| end + 1);
    let last = name[end..].iter().fold(0_i64, |arc, &byte| arc << 7 | i64::from(byte & 0x7f));
    let last = (last + add).clamp(0, u32::MAX.into()) as u32;
    let mut out = name[..end].to_vec();
    encode::arc(&mut out, last);
    out
}
