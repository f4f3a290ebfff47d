//! How bytes of a device become the text of a label.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use model::Date;

use crate::limits::TEXT_BYTES_MAX;

/// UTF-8 as it is, anything else with replacement characters; without the zero bytes that some agents put at the end.
pub(crate) fn plain(bytes: &[u8], out: &mut String) {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let bytes = &bytes[..end.min(TEXT_BYTES_MAX)];
    match std::str::from_utf8(bytes) {
        Ok(text) => out.push_str(text),
        // Cut in the middle of a letter.
        Err(error) if error.error_len().is_none() && end > TEXT_BYTES_MAX => {
            out.push_str(&String::from_utf8_lossy(&bytes[..error.valid_up_to()]));
        }
        Err(_) => {
            let start = out.len();
            out.push_str(&String::from_utf8_lossy(bytes));
            out.truncate(start + out[start..].floor_char_boundary(TEXT_BYTES_MAX));
        }
    }
}

/// Six bytes as `00:1A:2B:3C:4D:5E`, anything else as `0x…`, as snmp_exporter shows them.
pub(crate) fn mac(bytes: &[u8], out: &mut String) {
    if bytes.len() != 6 {
        return hex(bytes, out);
    }
    for (at, byte) in bytes.iter().enumerate() {
        let before = if at > 0 { ":" } else { "" };
        write!(out, "{before}{byte:02X}").expect("a String takes all");
    }
}

/// `0x` and the bytes; nothing of nothing.
pub(crate) fn hex(bytes: &[u8], out: &mut String) {
    const BYTES_MAX: usize = 64;
    if bytes.is_empty() {
        return;
    }
    out.push_str("0x");
    for byte in bytes.iter().take(BYTES_MAX) {
        write!(out, "{byte:02X}").expect("a String takes all");
    }
}

/// Four or sixteen bytes as an address, anything else as bytes.
pub(crate) fn address(bytes: &[u8], out: &mut String) {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        write!(out, "{}", Ipv4Addr::from(octets)).expect("a String takes all");
    } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        write!(out, "{}", Ipv6Addr::from(octets)).expect("a String takes all");
    } else {
        hex(bytes, out);
    }
}

/// What an LLDP identifier is, whatever number its subtype has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LldpKind {
    Mac,
    Network,
    Text,
}

impl LldpKind {
    /// LldpChassisIdSubtype: 4 macAddress, 5 networkAddress.
    pub(crate) fn of_chassis(subtype: f64) -> Self {
        if subtype == 4.0 {
            Self::Mac
        } else if subtype == 5.0 {
            Self::Network
        } else {
            Self::Text
        }
    }

    /// LldpPortIdSubtype: 3 macAddress, 4 networkAddress.
    pub(crate) fn of_port(subtype: f64) -> Self {
        if subtype == 3.0 {
            Self::Mac
        } else if subtype == 4.0 {
            Self::Network
        } else {
            Self::Text
        }
    }
}

/// One form for both ends of a link: a MAC address given as six bytes, as `b8:69:f4:…` or as `b869.f4…` reads `B8:69:F4:…`; a network
/// address loses the byte that names its family.
pub(crate) fn lldp(kind: LldpKind, bytes: &[u8], out: &mut String) {
    match kind {
        LldpKind::Mac => match written_mac(bytes) {
            Some(octets) => mac(&octets, out),
            None if bytes.len() == 6 => mac(bytes, out),
            None => printable(bytes, out),
        },
        LldpKind::Network => match bytes {
            [1, rest @ ..] if rest.len() == 4 => address(rest, out),
            [2, rest @ ..] if rest.len() == 16 => address(rest, out),
            _ if bytes.len() == 4 => address(bytes, out),
            _ => printable(bytes, out),
        },
        LldpKind::Text => printable(bytes, out),
    }
}

fn printable(bytes: &[u8], out: &mut String) {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if !text.chars().any(char::is_control) => plain(bytes, out),
        _ if bytes.len() == 6 => mac(bytes, out),
        _ => hex(bytes, out),
    }
}

/// Twelve hexadecimal digits with any of `:`, `-`, `.` or a space between them.
fn written_mac(bytes: &[u8]) -> Option<[u8; 6]> {
    let mut digits = [0u8; 12];
    let mut count = 0;
    for &byte in bytes {
        if matches!(byte, b':' | b'-' | b'.' | b' ' | 0) {
            continue;
        }
        let digit = char::from(byte).to_digit(16)?;
        *digits.get_mut(count)? = u8::try_from(digit).expect("below 16");
        count += 1;
    }
    if count != 12 {
        return None;
    }
    let mut octets = [0; 6];
    octets.iter_mut().zip(digits.chunks(2)).for_each(|(octet, pair)| *octet = pair[0] << 4 | pair[1]);
    Some(octets)
}

/// DateAndTime (SNMPv2-TC): 8 or 11 bytes, as seconds since 1970. Without a zone the time is taken as UTC.
pub(crate) fn date(bytes: &[u8]) -> Option<f64> {
    let (head, zone) = bytes.split_at_checked(8)?;
    let year = i64::from(u16::from_be_bytes([head[0], head[1]]));
    let [month, day, hour, minute, second, tenths] = [head[2], head[3], head[4], head[5], head[6], head[7]];
    let good = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && tenths < 10;
    if !good || year < 1970 {
        return None;
    }
    let local = Date { year, month: month.into(), day: day.into() }.days() * 86_400
        + i64::from(hour) * 3600
        + i64::from(minute) * 60
        + i64::from(second);
    let offset = match *zone {
        [] => 0,
        [sign @ (b'+' | b'-'), hours, minutes] if hours <= 14 && minutes < 60 => {
            let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            if sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    Some((local - offset) as f64 + f64::from(tenths) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn texts_lose_what_no_label_can_hold() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(shown(|out| plain(bytes, out)), expected);
        check(b"Intel(R) Ethernet\0\0", "Intel(R) Ethernet");
        check(b"caf\xe9", "caf\u{fffd}");
        check(b"\0", "");
        check(&[b'x'; 3000], &"x".repeat(1024));
        check("é".repeat(1000).as_bytes(), &"é".repeat(512));
        check(format!("x{}", "é".repeat(1000)).as_bytes(), &format!("x{}", "é".repeat(511)));
        check(&[0xe9; 2000], &"\u{fffd}".repeat(341));
    }

    #[test]
    fn physical_addresses_look_as_in_snmp_exporter() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(shown(|out| mac(bytes, out)), expected);
        check(&[0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e], "00:1A:2B:3C:4D:5E");
        check(&[0xab, 1], "0xAB01");
        check(&[], "");
    }

    #[test]
    fn both_ends_of_a_link_read_the_same() {
        let check =
            |kind, bytes: &[u8], expected: &str| assert_eq!(shown(|out| lldp(kind, bytes, out)), expected);
        let bytes = [0xb8, 0x69, 0xf4, 0x01, 0x02, 0xab];
        check(LldpKind::Mac, &bytes, "B8:69:F4:01:02:AB");
        check(LldpKind::Mac, b"B8:69:F4:01:02:AB", "B8:69:F4:01:02:AB");
        check(LldpKind::Mac, b"b869.f401.02ab", "B8:69:F4:01:02:AB");
        check(LldpKind::Mac, b"b8-69-f4-01-02-ab\0", "B8:69:F4:01:02:AB");
        check(LldpKind::Mac, b"no mac", "6E:6F:20:6D:61:63");
        check(LldpKind::Network, &[1, 10, 0, 0, 1], "10.0.0.1");
        check(LldpKind::Text, b"GigabitEthernet0/1", "GigabitEthernet0/1");
        check(LldpKind::Text, &[0, 1, 2], "0x000102");
        check(LldpKind::Text, b"", "");
    }

    #[test]
    fn dates_become_seconds() {
        let check = |bytes: &[u8], expected| assert_eq!(date(bytes), expected, "{bytes:?}");
        check(&[0x07, 0xb2, 1, 1, 0, 0, 0, 0], Some(0.0));
        check(&[0x07, 0xea, 11, 22, 19, 0, 0, 5, b'+', 7, 0], Some(1_795_348_800.5));
        check(&[0x07, 0xe8, 2, 29, 12, 0, 0, 0, b'-', 0, 30], Some(1_709_209_800.0));
        check(&[0x07, 0xe8, 13, 29, 12, 0, 0, 0], None);
        check(&[0x07, 0xe8, 2], None);
        check(&[0, 0, 1, 1, 0, 0, 0, 0], None);
    }
}
