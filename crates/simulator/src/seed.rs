//! Numbers that look like chance and are the same on every run: a mixing function, no state.

/// Mixes two numbers into one whose bits are all affected by all of theirs (the finaliser of splitmix64).
pub(crate) fn mix(seed: u64, number: u64) -> u64 {
    let mut bits =
        seed.rotate_left(32) ^ number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Mixes bytes into a number.
pub(crate) fn mix_bytes(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |bits, &byte| mix(bits, byte.into()))
}

/// Whether a draw with this probability (0 to 1) hits.
pub(crate) fn hits(draw: u64, share: f64) -> bool {
    // 53 bits are what an f64 holds.
    ((draw >> 11) as f64) < share * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_hit_about_as_often_as_it_says() {
        for (share, least, most) in [(0.0, 0, 0), (0.2, 1_850, 2_150), (1.0, 10_000, 10_000)] {
            let count = (0..10_000).filter(|&at| hits(mix(7, at), share)).count();
            assert!((least..=most).contains(&count), "{share}: {count}");
        }
    }

    #[test]
    fn seeds_give_different_numbers_and_the_same_seed_the_same() {
        assert_eq!(mix(1, 2), mix(1, 2));
        assert_ne!(mix(1, 2), mix(2, 1));
        assert_ne!(mix_bytes(1, b"ab"), mix_bytes(1, b"ba"));
    }
}
