//! BER forwards: what is written here has its content at hand, so that lengths are known before. (The `snmp` crate's writer goes from
//! the end to the start, one packet at a time; a simulator copies bindings that were encoded long before.)

/// Octets that a length takes.
pub(crate) const fn length_octets(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x100 => 2,
        0x100..0x1_0000 => 3,
        _ => 4,
    }
}

/// Appends a length in the shortest form. Nothing here is as long as 16 MiB.
pub(crate) fn length(out: &mut Vec<u8>, length: usize) {
    let octets = (length as u32).to_be_bytes();
    match length {
        0..0x80 => out.push(octets[3]),
        0x80..0x100 => out.extend([0x81, octets[3]]),
        0x100..0x1_0000 => out.extend([0x82, octets[2], octets[3]]),
        _ => out.extend([0x83, octets[1], octets[2], octets[3]]),
    }
}

/// Appends tag, length, content.
pub(crate) fn element(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    length(out, content.len());
    out.extend_from_slice(content);
}

/// Appends a signed number in as few octets as possible.
pub(crate) fn signed(out: &mut Vec<u8>, tag: u8, number: i32) {
    let octets = number.to_be_bytes();
    let sign = if number < 0 { 0xff } else { 0 };
    let spare = octets.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
    element(out, tag, &octets[spare..]);
}

/// Appends an unsigned number in as few octets as possible, with a zero octet in front where the highest bit is set.
pub(crate) fn unsigned(out: &mut Vec<u8>, tag: u8, number: u64) {
    let mut octets = [0; 9];
    octets[1..].copy_from_slice(&number.to_be_bytes());
    // One bit more than the number has: the sign.
    let used = (65 - number.leading_zeros()).div_ceil(8) as usize;
    out.extend([tag, used as u8]);
    out.extend_from_slice(&octets[9 - used..]);
}

/// Appends one arc of a name.
pub(crate) fn arc(out: &mut Vec<u8>, arc: u32) {
    let groups = (32 - arc.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        out.push((arc >> (group * 7)) as u8 & 0x7f | more);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snmp::ber::Reader;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number in any::<u64>(), shift in 0..64_u32, small in any::<i32>(), size in 0..70_000_usize) {
            let number = number >> shift;
            let mut out = Vec::new();
            unsigned(&mut out, 0x46, number);
            signed(&mut out, 0x02, small >> (shift / 2));
            element(&mut out, 0x04, &vec![7; size]);
            let mut reader = Reader::new(&out);
            let counter = reader.expect(0x46).expect("a counter");
            prop_assert_eq!(counter.unsigned64(), Ok(number));
            prop_assert!(counter.content.len() == 1 || counter.content[0] != 0 || counter.content[1] & 0x80 != 0, "minimal");
            prop_assert_eq!(reader.integer(), Ok(small >> (shift / 2)));
            let text = reader.expect(0x04).expect("a text");
            prop_assert_eq!(text.content.len(), size);
            prop_assert!(reader.is_empty());
        }
    }
}
