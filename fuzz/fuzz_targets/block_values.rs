//! The store's columns: any bytes are values (or times, or records), exactly as many as asked for, or are refused; and any values come
//! back bit for bit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsdb::probe::{Columns, decode_records, encode_records};

/// A column of whole numbers through pco begins like this: form, unit, head, base, pco's version, its mode.
const DENSE: [u8; 7] = [2, 0, 0x20, 0, 4, 1, 0];

fuzz_target!(|data: &[u8]| {
    let Some((&[kind, low, high], bytes)) = data.split_first_chunk() else { return };
    let count = usize::from(u16::from_le_bytes([low, high])) % 9_000;
    let mut columns = Columns::default();
    match kind % 6 {
        0 => values(&mut columns, bytes, count),
        1 => values(&mut columns, &[&DENSE, bytes].concat(), count),
        2 => times(&mut columns, bytes, count),
        3 => records(bytes),
        4 => damaged(&mut columns, bytes, usize::from(low), high),
        _ => round_trip(&mut columns, bytes, kind & 64 != 0),
    }
});

fn values(columns: &mut Columns, bytes: &[u8], count: usize) {
    let mut into = Vec::new();
    let read = columns.decode_values(bytes, count, &mut into);
    assert_eq!(into.len(), if read.is_ok() { count } else { 0 });
    assert!(into.capacity() <= 4 * count + 4);
}

fn times(columns: &mut Columns, bytes: &[u8], count: usize) {
    let mut into = Vec::new();
    let read = columns.decode_times(bytes, -7, count, &mut into);
    assert_eq!(into.len(), if read.is_ok() { count } else { 0 });
    assert!(into.is_sorted_by(|one, next| one < next));
}

fn records(bytes: &[u8]) {
    let mut visited = 0;
    let _ = decode_records(bytes, |_, record| {
        assert!(record.len() <= bytes.len());
        visited += record.len();
        visited < 1 << 20
    });
    let parts: Vec<(i64, &[u8])> = (0..).zip(bytes.chunks(5)).collect();
    let (mut packed, mut read) = (Vec::new(), Vec::new());
    encode_records(&parts, &mut packed);
    decode_records(&packed, |time, record| {
        read.push((time, record.to_vec()));
        true
    })
    .expect("what was just written");
    assert!(read.iter().map(|(time, record)| (*time, &record[..])).eq(parts));
}

/// Decimals, gauges and odd floats, made of bytes.
fn made_of(bytes: &[u8]) -> Vec<f64> {
    let (mut sum, mut values) = (0i64, Vec::new());
    let scale = 10f64.powi(i32::from(bytes.first().copied().unwrap_or_default() % 10));
    for part in bytes.chunks(2) {
        match *part {
            [255, odd] => values.push(f64::from_bits(u64::from(odd).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            [254, odd] => {
                values.push([f64::NAN, f64::INFINITY, -0.0, f64::MAX, 5e-324][usize::from(odd) % 5])
            }
            [253, odd] => sum = i64::from(odd) << (odd % 50),
            _ => {
                sum += i64::from(part[0]);
                values.push(sum as f64 / scale);
            }
        }
    }
    values
}

fn damaged(columns: &mut Columns, bytes: &[u8], at: usize, to: u8) {
    let made = made_of(bytes).repeat(4);
    let mut packed = Vec::new();
    columns.encode_values(&made, true, &mut packed);
    if let Some(byte) = packed.get_mut(at) {
        *byte = to;
    }
    values(columns, &packed, made.len());
}

fn round_trip(columns: &mut Columns, bytes: &[u8], whole: bool) {
    let floats = || bytes.chunks_exact(8).map(|eight| f64::from_le_bytes(eight.try_into().expect("eight")));
    let made = if whole { floats().collect() } else { made_of(bytes) };
    for compacted in [false, true] {
        let (mut packed, mut read) = (Vec::new(), Vec::new());
        columns.encode_values(&made, compacted, &mut packed);
        columns.decode_values(&packed, made.len(), &mut read).expect("what was just written");
        assert!(read.iter().map(|value| value.to_bits()).eq(made.iter().map(|value| value.to_bits())));
    }
}
