//! Memory that compiled regular expressions may take together.
//!
//! In: patterns of one request, one after the other. Out: each compiled, as long as there is room. How much a compiled pattern takes is not
//! known to us exactly: it is tried with small bounds first, and the bound with which it succeeds is what it counts.
//!
//! Limits: [`PatternRoom::ONE_BYTES_MAX`] for one, [`PatternRoom::BYTES_MAX`] for all. What searching takes beside it (up to 2 MiB a
//! pattern and thread, by the engine's own bound) is not counted.

use regex::{Error, Regex, RegexBuilder};

/// The bound with which a pattern is tried first, which is then doubled. A pattern of a few words takes some KiB, one that lists a
/// thousand hosts about 2 MiB.
const FIRST_BYTES: usize = 64 << 10;
/// The same for the patterns of a file.
const FIRST_BYTES_OF_FILE: usize = 4 << 10;

/// What is left for the patterns of a request.
#[derive(Clone, Debug)]
pub struct PatternRoom {
    bytes: usize,
    left: usize,
    first: usize,
    /// Whose patterns they are, for who has too many.
    owner: &'static str,
}

impl Default for PatternRoom {
    fn default() -> Self {
        Self::of(Self::BYTES_MAX)
    }
}

impl PatternRoom {
    /// Bytes of memory that one compiled pattern may take.
    pub const ONE_BYTES_MAX: usize = 10 << 20;
    /// Bytes of memory that all patterns of a request may take.
    pub const BYTES_MAX: usize = 64 << 20;

    /// Room of so many bytes, for patterns that are compiled before their request has its turn.
    pub fn of(bytes: usize) -> Self {
        Self { bytes, left: bytes, first: FIRST_BYTES, owner: "one request" }
    }

    /// Room of so many bytes for a file, which may have very many small patterns: their size is looked at more closely, which takes more
    /// time.
    pub fn of_file(bytes: usize) -> Self {
        Self { bytes, left: bytes, first: FIRST_BYTES_OF_FILE, owner: "one file" }
    }

    /// Compiles a pattern as it stands, and takes the room that it needs.
    pub(crate) fn compile(&mut self, pattern: &str) -> Result<Regex, String> {
        let mut size = self.first;
        loop {
            if size > self.left {
                return Err(format!(
                    "the regular expressions of {} take more than {} MiB: use fewer or simpler ones",
                    self.owner,
                    self.bytes >> 20
                ));
            }
            match RegexBuilder::new(pattern).size_limit(size).build() {
                Err(Error::CompiledTooBig(_)) if size < Self::ONE_BYTES_MAX => {
                    size = (2 * size).min(Self::ONE_BYTES_MAX);
                }
                Err(error) => return Err(error.to_string()),
                Ok(regex) => {
                    self.left -= size;
                    return Ok(regex);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_takes_is_no_longer_there_for_the_others() {
        let mut room = PatternRoom::default();
        assert!(room.compile("node-[0-9]+").is_ok());
        assert_eq!(room.left, PatternRoom::BYTES_MAX - FIRST_BYTES);
        let large = "[a-z]{1,200}".repeat(100);
        let count = (0..1000).take_while(|_| room.compile(&large).is_ok()).count();
        assert!((6..100).contains(&count), "each counts at least 640 KiB and at most 10 MiB: {count}");
        let error = room.compile(&large).expect_err("no room");
        assert!(error.contains("take more than 64 MiB"), "{error}");
        assert!(room.compile("node-[0-9]+").is_ok(), "there is room for a small one");
    }

    #[test]
    fn a_list_of_a_thousand_hosts_takes_a_part_of_the_room() {
        let hosts: Vec<String> = (0..1000).map(|number| format!("host-{number:04}.kudus")).collect();
        let mut room = PatternRoom::default();
        let fits = (0..100).filter(|_| room.compile(&hosts.join("|")).is_ok()).count();
        assert!(fits >= 20, "a board asks with such a list some ten times in one query: {fits}");
    }

    #[test]
    fn a_file_has_room_for_many_small_ones_and_few_heavy_ones() {
        let mut room = PatternRoom::of_file(8 << 20);
        let small = (0..5000).take_while(|_| room.compile("a|b").is_ok()).count();
        assert_eq!(small, 2048, "4 KiB each");
        assert!(room.compile("a|b").expect_err("full").contains("of one file take more than 8 MiB"));
        let mut room = PatternRoom::of_file(8 << 20);
        let heavy = "[a-z]{1,200}".repeat(10);
        let fit = (0..1000).take_while(|_| room.compile(&heavy).is_ok()).count();
        assert!((1..200).contains(&fit), "{fit}");
    }

    #[test]
    fn one_is_bounded_and_named_where_it_is_wrong() {
        let mut room = PatternRoom::default();
        let error = room.compile("((a{1000}){1000}){1000}").expect_err("too large");
        assert!(error.contains("size limit"), "{error}");
        assert!(room.compile("a(").is_err());
        assert_eq!(room.left, PatternRoom::BYTES_MAX, "what does not compile takes nothing");
    }
}
