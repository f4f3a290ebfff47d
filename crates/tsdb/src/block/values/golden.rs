//! Columns as they are on disks: these bytes stay readable for ever. `docs/formats/store-columns.md` draws them.

use model::stale_nan;

use super::*;

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte =
        |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the bytes hold is `values`, whatever an encoder makes of these today.
fn check_reading(hex: &str, values: &[f64]) {
    let mut read = Vec::new();
    ValueDecoder::default()
        .decode(&from_hex(hex), values.len(), &mut read)
        .expect("bytes of format version 1");
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&read), bits(values));
}

/// The bytes are read and written.
fn check(values: &[f64], hex: &str) {
    let mut bytes = Vec::new();
    ValueEncoder::default().encode(values, Coding::Fresh, &mut bytes);
    assert_eq!(to_hex(&bytes), hex.replace(' ', ""), "{values:?}");
    check_reading(hex, values);
}

fn many(count: u32, value: impl Fn(u32) -> f64) -> Vec<f64> {
    (0..count).map(value).collect()
}

#[test]
fn constants() {
    check(&[stale_nan(); 3], "00 020000000000f07f");
    check(&[-12.25; 7], "01 02 9113");
}

#[test]
fn decimals() {
    // Values from 20 on, in 2 bits each.
    check(&[20.0, 23.0, 21.0, 20.0, 22.0], "02000028021c02");
    // Changes of 7.
    check(&many(6, |index| f64::from(index * 7) / 10.0), "020101000e00");
    // Changes that grow by 5.
    check(&many(12, |index| f64::from(index * index * 5)), "020002000a1400");
    // Multiplied by 0.01 where that is another float.
    check(&many(9, |index| f64::from(index * 29) * 0.01), "028201003a00");
    // A counter that stands still half of the time: a bitmap, and the changes between.
    let mut sum = 0;
    let steps = [0, 900, 0, 0, 1007, 950, 0, 0, 1023, 0, 0, 901, 0, 999, 0, 0, 0, 1010, 980, 0, 0, 960];
    check(&steps.map(|step| (sum, sum += step).0.into()), "02000500880e0732290680b56c1f18bba1");
    // Multiples of 4096.
    check(
        &[2, 5, 3, 2, 4, 3, 5, 2, 4].map(|pages| f64::from(pages * 4096)),
        "0200118080018020ffbf01038eaaa2",
    );
    // A reset among small changes is patched.
    let sums = [5, 17, 21, 36, 44, 45, 60, 68, 79, 80, 93, 101];
    check(
        &many(24, |index| f64::from(if index < 12 { 1_000_000 } else { 0 } + sums[index as usize % 12])),
        "0200098a897a0204010bd5d0073b7ee0a7c0f73b7ee0a7c007",
    );
    // What is no decimal stands apart.
    check(
        &[1.5, stale_nan(), stale_nan(), 1.25, 1.0 / 3.0, 1.75, 2.0, 2.25, 2.5, 2.75],
        "03020302020000000000f07f0102555555555555d53f11ac02193102ac0a",
    );
}

#[test]
fn bits_and_differences() {
    // Neighbours below 0: in the floats' order they are small numbers.
    check(
        &[5, 1, 0, 7, 3, 2].map(|last| f64::from_bits((-1.0f64 / 3.0).to_bits() - last)),
        "0400abd5aad5aad5aad57f030d3e01",
    );
    check(
        &[1.0 / 3.0, 1.0 / 7.0, -1.0 / 7.0, 1.0 / 9.0],
        "0500555555555555d53f10c7711cc7711c170780008ee3388ee3387e80",
    );
    check(
        &[f64::NAN, -0.0, f64::NAN, -0.0, f64::INFINITY, f64::INFINITY],
        "0506f87f06f8ff06f8ff06f8ff06f0ffff",
    );
}

#[test]
fn pco_columns_are_read() {
    let counter = |index: u32| f64::from(index * 1000 + index * index % 997) / 100.0;
    let hex = "02022200d20f 00 0401003500101dfcffffffffff7f802c000000000000000810e7030000\
               00000080006b7901f526e672224e30ea059a00";
    check_reading(hex, &many(100, counter));
}
