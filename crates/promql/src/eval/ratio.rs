//! `limit_ratio`: a series is in or out by the hash of its labels, so that the same series are taken at every step and by every
//! process, and those that Prometheus takes: the hash is XXH64 over the labels as its default build lays them out.

use model::Labels;

/// Where a label set lies in [0, 1).
pub(super) fn position(labels: &Labels) -> f64 {
    let mut bytes = Vec::new();
    for (name, value) in labels.iter() {
        put(name, &mut bytes);
        put(value, &mut bytes);
    }
    xxh64(&bytes) as f64 / u64::MAX as f64
}

/// A text after its length: one byte below 255, else 255 and three bytes.
fn put(text: &str, bytes: &mut Vec<u8>) {
    let length = text.len() as u32;
    match u8::try_from(length) {
        Ok(short) if short < 255 => bytes.push(short),
        _ => {
            bytes.push(255);
            bytes.extend_from_slice(&length.to_le_bytes()[..3]);
        }
    }
    bytes.extend_from_slice(text.as_bytes());
}

/// Whether a series at a position is in: from the left for a positive ratio, the rest from the right for a negative one, so that
/// `r` and `r - 1` part the series between them.
pub(super) fn takes(position: f64, ratio: f64) -> bool {
    if ratio >= 0.0 { position < ratio } else { position >= 1.0 + ratio }
}

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

/// The hash of the xxHash specification, with seed 0.
fn xxh64(bytes: &[u8]) -> u64 {
    let (stripes, mut rest) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() { PRIMES[4] } else { converged(stripes) };
    hash = hash.wrapping_add(bytes.len() as u64);
    while let Some((lane, after)) = rest.split_first_chunk::<8>() {
        hash = (hash ^ round(0, u64::from_le_bytes(*lane))).rotate_left(27);
        hash = hash.wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
        rest = after;
    }
    if let Some((lane, after)) = rest.split_first_chunk::<4>() {
        hash = (hash ^ u64::from(u32::from_le_bytes(*lane)).wrapping_mul(PRIMES[0])).rotate_left(23);
        hash = hash.wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
        rest = after;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(PRIMES[4])).rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    for (shift, prime) in [(33, PRIMES[1]), (29, PRIMES[2])] {
        hash = (hash ^ (hash >> shift)).wrapping_mul(prime);
    }
    hash ^ (hash >> 32)
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

/// Four lanes over all whole stripes, brought together.
fn converged(stripes: &[[u8; 32]]) -> u64 {
    let mut lanes = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0u64.wrapping_sub(PRIMES[0])];
    for stripe in stripes {
        for (lane, input) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*input));
        }
    }
    let turned = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
    let mut hash = turned.fold(0u64, u64::wrapping_add);
    for lane in lanes {
        hash = (hash ^ round(0, lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the xxHash specification's reference program, seed 0.
    #[test]
    fn hashes_as_the_specification_says() {
        for (text, hash) in
            [("", 0xef46_db37_51d8_e999), ("a", 0xd24e_c4f1_a98c_6e5b), ("abc", 0x44bc_2cf5_ad77_0999)]
        {
            assert_eq!(xxh64(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn a_ratio_and_its_complement_part_the_series() {
        let mut taken = 0;
        for at in 0..1000 {
            let position = position(&Labels::from_pairs([("instance", at.to_string())]));
            assert_ne!(takes(position, 0.3), takes(position, -0.7));
            taken += usize::from(takes(position, 0.3));
        }
        assert!((250..350).contains(&taken), "{taken} of 1000");
    }
}
