//! A value as it goes into a device's replies.

use snmp::Datum;
use snmp::ber::tag;

use crate::encode;

/// Appends its encoding: tag, length, content.
pub(crate) fn append(datum: &Datum, out: &mut Vec<u8>) {
    match datum {
        Datum::Integer(number) => encode::signed(out, tag::INTEGER, *number),
        Datum::Bytes(bytes) => encode::element(out, tag::OCTET_STRING, bytes),
        Datum::Oid(oid) => encode::element(out, tag::OBJECT_IDENTIFIER, oid.view().content()),
        Datum::IpAddress(address) => encode::element(out, tag::IP_ADDRESS, &address.octets()),
        Datum::Counter32(number) => encode::unsigned(out, tag::COUNTER32, u64::from(*number)),
        Datum::Gauge32(number) => encode::unsigned(out, tag::GAUGE32, u64::from(*number)),
        Datum::TimeTicks(number) => encode::unsigned(out, tag::TIME_TICKS, u64::from(*number)),
        Datum::Opaque(bytes) => encode::element(out, tag::OPAQUE, bytes),
        Datum::Counter64(number) => encode::unsigned(out, tag::COUNTER64, *number),
        Datum::Null => encode::element(out, tag::NULL, &[]),
        Datum::NoSuchObject => encode::element(out, tag::NO_SUCH_OBJECT, &[]),
        Datum::NoSuchInstance => encode::element(out, tag::NO_SUCH_INSTANCE, &[]),
        Datum::EndOfMibView => encode::element(out, tag::END_OF_MIB_VIEW, &[]),
    }
}
