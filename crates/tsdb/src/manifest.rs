//! MANIFEST: the one file that says which blocks are the store, up to where the journal has become blocks, and what was deleted.
//!
//! In and out: lines of text, fields apart by tabs, the last one a checksum of all before it (`docs/formats/store-manifest.md`). It is
//! replaced as a whole, so that a flush, a compaction or a retention has happened or has not. A reader needs no lock.
//!
//! Limit: [`BYTES_MAX`]; a store of ten years has some hundred blocks, each a line of about a hundred bytes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use journal::disk::Disk;
use journal::{Position, files};
use model::{MatchOp, Matcher};

use crate::error::StoreError;
use crate::tombstone::{Deletion, Tombstone, Tombstones};

/// The file's name in the store's folder.
pub(crate) const NAME: &str = "MANIFEST";
/// The folder of blocks in the store's folder.
pub(crate) const BLOCKS_FOLDER: &str = "blocks";
/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;
const BYTES_MAX: usize = 64 << 20;

/// Everything before the position that is older than the boundary stands in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The last journal record that was applied when the head was frozen.
    pub(crate) position: Position,
    /// Samples before this time, in milliseconds, were frozen.
    pub(crate) boundary: i64,
}

/// Checkpoints, later ones with lower boundaries: a flush that memory forced reaches further than the ordinary one after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoints(Vec<Checkpoint>);

impl Checkpoints {
    /// Adds the latest one; those that it includes go.
    pub(crate) fn add(&mut self, latest: Checkpoint) {
        self.0.retain(|have| have.boundary > latest.boundary && have.position < latest.position);
        self.0.push(latest);
    }

    /// Samples of the record at a position that are older than this stand in blocks.
    pub(crate) fn covered_below(&self, at: Position) -> i64 {
        let after = self.0.iter().filter(|checkpoint| at <= checkpoint.position);
        after.map(|checkpoint| checkpoint.boundary).max().unwrap_or(i64::MIN)
    }

    /// Whether all samples of a segment stand in blocks: it ends before the position, and none is newer.
    pub(crate) fn covers(&self, segment: u64, max_time: i64) -> bool {
        self.0
            .iter()
            .any(|checkpoint| segment < checkpoint.position.segment && max_time < checkpoint.boundary)
    }

    /// Forgets what no segment from this one on needs.
    pub(crate) fn forget_before(&mut self, segment: u64) {
        let latest = self.0.last().copied();
        self.0.retain(|checkpoint| checkpoint.position.segment >= segment);
        if let (true, Some(latest)) = (self.0.is_empty(), latest) {
            self.0.push(latest);
        }
    }

    pub(crate) fn latest(&self) -> Option<Checkpoint> {
        self.0.last().copied()
    }

    #[cfg(test)]
    fn all(&self) -> &[Checkpoint] {
        &self.0
    }
}

/// A block as the manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockLine {
    pub(crate) number: u64,
    pub(crate) level: u8,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) bytes: u64,
}

/// What MANIFEST says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest {
    /// No block has this number or a higher one.
    pub(crate) next: u64,
    /// The boundary of the latest ordinary flush.
    pub(crate) flushed: Option<i64>,
    /// Nothing before this time is kept, because the disk was short.
    pub(crate) floor: Option<i64>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) blocks: Vec<BlockLine>,
    pub(crate) tombstones: Tombstones,
    /// The file as it was read.
    pub(crate) raw: Vec<u8>,
}

/// Where a block stands.
pub(crate) fn block_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(BLOCKS_FOLDER).join(format!("{number:016x}.block"))
}

impl Manifest {
    /// Reads a folder's MANIFEST; `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk, folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(NAME);
        let raw = files::read(disk, &path, BYTES_MAX).map_err(StoreError::io("read", &path))?;
        raw.map(|raw| Self::parse(raw, &path)).transpose()
    }

    fn parse(raw: Vec<u8>, path: &Path) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let text = std::str::from_utf8(&raw).map_err(|_| damaged("it is no text"))?;
        let first = text.lines().next().ok_or_else(|| damaged("it is empty"))?;
        let version = first.strip_prefix("pantau-store\t").and_then(|version| version.parse::<u32>().ok());
        let version = version.ok_or_else(|| damaged("it does not begin as a manifest does"))?;
        let (body, sum) = text.rsplit_once("checksum\t").ok_or_else(|| damaged("its end is missing"))?;
        if sum.strip_suffix('\n').and_then(|sum| u32::from_str_radix(sum, 16).ok())
            != Some(crc32c::crc32c(body.as_bytes()))
        {
            return Err(damaged("its checksum is wrong"));
        }
        // Only now: a flipped bit in the version is damage.
        if version > VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), version, known: VERSION });
        }
        let mut manifest = Self::default();
        for line in body.lines().skip(1) {
            manifest.take(line).ok_or_else(|| damaged(&format!("the line {line:?} is not understood")))?;
        }
        manifest.raw = raw;
        Ok(manifest)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let mut fields = line.split('\t');
        match fields.next()? {
            "next" => self.next = number(&mut fields)?,
            "flushed" => self.flushed = Some(number(&mut fields)?),
            "floor" => self.floor = Some(number(&mut fields)?),
            "deletions" => self.tombstones.last = position(&mut fields)?,
            "checkpoint" => {
                let checkpoint =
                    Checkpoint { position: position(&mut fields)?, boundary: number(&mut fields)? };
                self.checkpoints.0.push(checkpoint);
            }
            "block" => self.blocks.push(BlockLine {
                number: number(&mut fields)?,
                level: number(&mut fields)?,
                min_time: number(&mut fields)?,
                max_time: number(&mut fields)?,
                bytes: number(&mut fields)?,
            }),
            "tombstone" => {
                let (at, up_to) = (position(&mut fields)?, number(&mut fields)?);
                let (start, end) = (number(&mut fields)?, number(&mut fields)?);
                let matchers = matchers(&mut fields)?;
                self.tombstones.list.push(Tombstone {
                    at,
                    up_to,
                    deletion: Deletion { matchers, start, end },
                });
            }
            _ => return None,
        }
        fields.next().is_none().then_some(())
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("pantau-store\t{VERSION}\nnext\t{}\n", self.next);
        let mut line = |words: std::fmt::Arguments<'_>| {
            text.write_fmt(words).and_then(|()| text.write_char('\n')).expect("a string takes all text");
        };
        if let Some(flushed) = self.flushed {
            line(format_args!("flushed\t{flushed}"));
        }
        if let Some(floor) = self.floor {
            line(format_args!("floor\t{floor}"));
        }
        line(format_args!("deletions\t{}\t{}", self.tombstones.last.segment, self.tombstones.last.offset));
        for Checkpoint { position, boundary } in &self.checkpoints.0 {
            line(format_args!("checkpoint\t{}\t{}\t{boundary}", position.segment, position.offset));
        }
        for block in &self.blocks {
            let BlockLine { number, level, min_time, max_time, bytes } = block;
            line(format_args!("block\t{number}\t{level}\t{min_time}\t{max_time}\t{bytes}"));
        }
        for Tombstone { at, up_to, deletion } in &self.tombstones.list {
            let Deletion { matchers, start, end } = deletion;
            let mut words = format!("tombstone\t{}\t{}\t{up_to}\t{start}\t{end}", at.segment, at.offset);
            for matcher in matchers {
                let (name, value) = (escape(matcher.name()), escape(matcher.value()));
                write!(words, "\t{}\t{name}\t{value}", matcher.op().as_str())
                    .expect("a string takes all text");
            }
            line(format_args!("{words}"));
        }
        let sum = crc32c::crc32c(text.as_bytes());
        writeln!(text, "checksum\t{sum:08x}").expect("a string takes all text");
        text.into_bytes()
    }

    /// Replaces the folder's MANIFEST, lastingly. After an error either may be found after a crash.
    pub(crate) fn write(&self, disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
        let bytes = self.encode();
        // One that nobody could read again must not take the place of one that can be read.
        if bytes.len() > BYTES_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        files::replace(disk, &folder.join(NAME), &bytes)
    }
}

type Fields<'a> = std::str::Split<'a, char>;

fn number<T: std::str::FromStr>(fields: &mut Fields<'_>) -> Option<T> {
    fields.next()?.parse().ok()
}

fn position(fields: &mut Fields<'_>) -> Option<Position> {
    Some(Position { segment: number(fields)?, offset: number(fields)? })
}

fn matchers(fields: &mut Fields<'_>) -> Option<Vec<Matcher>> {
    let mut matchers = Vec::new();
    while let Some(op) = fields.next() {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let op = ops.into_iter().find(|known| known.as_str() == op)?;
        let (name, value) = (unescape(fields.next()?)?, unescape(fields.next()?)?);
        matchers.push(Matcher::new(&name, op, &value).ok()?);
    }
    Some(matchers)
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(text: &str) -> Option<String> {
    let (mut plain, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next()? {
                '\\' => '\\',
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use journal::disk::pretend::PretendDisk;

    use super::*;

    fn at(segment: u64, offset: u64) -> Position {
        Position { segment, offset }
    }

    fn example() -> Manifest {
        let matchers = vec![
            Matcher::equal("__name__", "a\tb\\n\n\r"),
            Matcher::new("x", MatchOp::NotRegex, "b.*|\\d").expect("a pattern"),
        ];
        let deletion = Deletion { matchers, start: i64::MIN, end: 5 };
        let mut checkpoints = Checkpoints::default();
        checkpoints.add(Checkpoint { position: at(3, 70), boundary: i64::MAX });
        checkpoints.add(Checkpoint { position: at(4, 70), boundary: -7 });
        Manifest {
            next: 18,
            flushed: Some(-7),
            floor: Some(i64::MIN),
            checkpoints,
            blocks: vec![BlockLine { number: 17, level: 2, min_time: -9, max_time: 9, bytes: 100 }],
            tombstones: Tombstones {
                list: vec![Tombstone { at: at(2, 2), up_to: 16, deletion }],
                last: at(2, 2),
            },
            raw: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (disk, folder) = (PretendDisk::new(), Path::new("/data"));
        disk.create_dir_all(folder).expect("made");
        assert!(Manifest::read(&disk, folder).expect("readable").is_none());
        let written = example();
        written.write(&disk, folder).expect("room");
        let read = Manifest::read(&disk, folder).expect("readable").expect("there");
        assert_eq!(read.raw, written.encode());
        assert_eq!(read.encode(), written.encode());
    }

    #[test]
    fn any_flipped_bit_is_noticed_and_a_newer_version_is_named() {
        let bytes = example().encode();
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << (at % 7);
            let read = Manifest::parse(wrong, Path::new("M"));
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "byte {at}: {read:?}");
            assert!(Manifest::parse(bytes[..at].to_vec(), Path::new("M")).is_err());
        }
        let body = "pantau-store\t9\nsomething\tnew\n";
        let newer = format!("{body}checksum\t{:08x}\n", crc32c::crc32c(body.as_bytes()));
        let refused = Manifest::parse(newer.into_bytes(), Path::new("M")).expect_err("it is newer");
        assert!(matches!(refused, StoreError::Newer { version: 9, .. }), "{refused}");
    }

    #[test]
    fn checkpoints_that_a_later_one_includes_go() {
        let mut all = Checkpoints::default();
        all.add(Checkpoint { position: at(1, 0), boundary: 100 });
        all.add(Checkpoint { position: at(2, 50), boundary: 500 });
        assert_eq!(all.all().len(), 1);
        all.add(Checkpoint { position: at(5, 0), boundary: 200 });
        let covered = |segment, offset| all.covered_below(at(segment, offset));
        assert_eq!((covered(1, 9), covered(2, 50), covered(2, 51), covered(5, 1)), (500, 500, 200, i64::MIN));
        assert!(all.covers(1, 499) && !all.covers(2, 499) && all.covers(2, 199) && !all.covers(5, 0));
        let mut later = all.clone();
        later.forget_before(3);
        assert_eq!(later.all().len(), 1);
        later.forget_before(30);
        assert_eq!(later.latest(), all.latest());
    }
}
