//! Any bytes as the frames of a block's index: each question ends in an answer or in a complaint, and answers name only series and
//! values that there may be. Frames bear checksums, so that on a disk such bytes are a writer's mistake, not the disk's; a
//! panic would take the collector down all the same.
//!
//! The first byte chooses between raw frames and a whole index of which some bytes are changed: the latter must answer right
//! while nothing is changed.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use model::{Labels, MatchOp, Matcher};
use tsdb::probe::index::Block;

const PATTERNS: [&str; 8] = ["a.*", "a|b", ".*b", ".+", "", "[ab]{2}", "(?i)A.*c", "é.*"];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    if choice & 1 == 0 {
        raw(rest, usize::from(choice >> 1 & 7) + 1, *choice);
    } else {
        changed(rest);
    }
});

fn raw(bytes: &[u8], frames: usize, choice: u8) {
    let frames: Vec<&[u8]> = bytes.chunks((bytes.len() / frames).max(1)).collect();
    if let Some(block) = Block::from_frames(&frames, 64) {
        ask(&block, 64, choice);
    }
}

fn changed(bytes: &[u8]) {
    let (&choice, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let count = usize::from(choice & 31) + 1;
    let (script, changes) = rest.split_at(rest.len().min(2 * count));
    let mut sets: Vec<Labels> = script.chunks(2).map(labels).collect();
    sets.sort_unstable();
    sets.dedup();
    let (block, _) = Block::build(&sets);
    right(&block, &sets, choice);
    let mut frames: Vec<Vec<u8>> = block.frames().map(<[u8]>::to_vec).collect();
    for change in changes.chunks_exact(4) {
        let at = usize::from(change[0]) % frames.len();
        let frame = &mut frames[at];
        let place = usize::from(u16::from_le_bytes([change[1], change[2]])) % frame.len().max(1);
        if let Some(byte) = frame.get_mut(place) {
            *byte = change[3];
        }
    }
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    if let Some(block) = Block::from_frames(&frames, sets.len() as u32) {
        ask(&block, sets.len(), choice);
    }
}

fn labels(script: &[u8]) -> Labels {
    let value = |bits: u8| ["a", "b", "ab", "abc", "é", "aé", "ba", "c"][usize::from(bits & 7)];
    let (one, other) = (script[0], script.get(1).copied().unwrap_or(0));
    let mut pairs = vec![("a", value(one).to_owned()), ("b", format!("{}{}", value(other), one >> 4))];
    pairs.truncate(usize::from(one >> 3 & 1) + 1);
    Labels::from_pairs(pairs)
}

/// Some of all matchers: to compile each takes longer than all the rest.
fn matchers(choice: u8) -> impl Iterator<Item = &'static Matcher> {
    static ALL: OnceLock<Vec<Matcher>> = OnceLock::new();
    let all = ALL.get_or_init(|| all_matchers().collect());
    all.iter().cycle().skip(usize::from(choice)).step_by(29).take(3)
}

fn all_matchers() -> impl Iterator<Item = Matcher> {
    let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
    let names = ["a", "b", "none"];
    let all = names.into_iter().flat_map(move |name| ops.into_iter().map(move |op| (name, op)));
    all.flat_map(|(name, op)| {
        PATTERNS.into_iter().map(move |value| Matcher::new(name, op, value).expect("they are valid"))
    })
}

fn right(block: &Block, sets: &[Labels], choice: u8) {
    for matcher in matchers(choice) {
        let fits = |labels: &&Labels| matcher.matches(labels.get(matcher.name()).unwrap_or_default());
        let expected = sets.iter().filter(fits).count() as u64;
        assert_eq!(block.find(std::slice::from_ref(matcher)), Ok(expected), "{matcher}");
    }
}

fn ask(block: &Block, series: usize, choice: u8) {
    for matcher in matchers(choice) {
        if let Ok(found) = block.find(std::slice::from_ref(matcher)) {
            assert!(found <= series as u64);
        }
    }
    for name in ["a", "b"] {
        let _ = block.values(name, 0, None);
        if let Ok(values) = block.values(name, 2, Some(&[0, 1, 5])) {
            assert!(values.len() <= 2);
        }
    }
    let _ = block.names(None);
    let _ = block.names(Some(&[0, 3]));
}
