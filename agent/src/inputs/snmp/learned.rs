//! What the engine has learned about devices, kept over restarts: how large replies may be, how each table is best asked.
//!
//! The file (`snmp-learned`) is replaced whole, first after [`SAVE_FIRST`], then every [`SAVE_PAUSE`]:
//!
//! ```text
//! pantau snmp learned 1
//! d 1472 1398 65535 0 sw-kudus-1     a device: bytes to aim at, proven, never beyond; credential; its name
//! t 65535 65535 24 48 0 ifTable      a table of it: repetitions, columns, bytes of a binding, rows, rounds without GETBULK; its key
//! ```
//!
//! Names are written as in `snmp-interfaces`. Whatever cannot be read is passed over: it is learned anew in a few rounds.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use journal::{disk::Disk, files};
use snmp::round::{Habit, Learned, Path as PathTo};

use super::identity::{escape, unescape};

const FIRST_LINE: &str = "pantau snmp learned 1";
const FILE_NAME: &str = "snmp-learned";
const FILE_BYTES_MAX: usize = 256 << 20;
const SAVE_FIRST: Duration = Duration::from_secs(120);
const SAVE_PAUSE: Duration = Duration::from_secs(600);

/// The file; none: what was learned is lost with the process.
#[derive(Debug)]
pub(super) struct Keep {
    file: Option<(Arc<dyn Disk>, PathBuf)>,
    next: Mutex<Option<Instant>>,
}

impl Keep {
    pub(super) fn nowhere() -> Self {
        Self { file: None, next: Mutex::default() }
    }

    pub(super) fn in_folder(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { file: Some((disk, folder.join(FILE_NAME))), next: Mutex::default() }
    }

    /// What was kept. Blocks on the disk.
    pub(super) fn load(&self) -> Vec<Learned> {
        let Some((disk, path)) = &self.file else { return Vec::new() };
        match files::read(disk.as_ref(), path, FILE_BYTES_MAX) {
            Ok(bytes) => parse(&bytes.unwrap_or_default()),
            Err(error) => {
                tracing::warn!("cannot read {}: {error}; it is learned anew", path.display());
                Vec::new()
            }
        }
    }

    /// Whether it is time to save; whoever is told so does it.
    pub(super) fn takes_turn(&self, now: Instant) -> bool {
        if self.file.is_none() {
            return false;
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.is_some_and(|next| now >= next);
        if due || next.is_none() {
            *next = Some(now + if due { SAVE_PAUSE } else { SAVE_FIRST });
        }
        due
    }

    /// Blocks on the disk.
    pub(super) fn save(&self, learned: &[Learned]) -> io::Result<()> {
        let Some((disk, path)) = &self.file else { return Ok(()) };
        files::replace(disk.as_ref(), path, text(learned).as_bytes())
    }
}

fn text(learned: &[Learned]) -> String {
    let mut out = format!("{FIRST_LINE}\n");
    for device in learned {
        let path = &device.path;
        let name = escape(&device.device);
        let bytes = [path.goal_bytes, path.proven_bytes, path.ceiling_bytes].map(|bytes| bytes.to_string());
        writeln!(out, "d {} {} {name}", bytes.join(" "), device.credential).expect("a String takes all");
        for (key, habit) in &device.tables {
            let Habit { repetitions_max, columns_max, cell_bytes, rows, bulk_rest, .. } = habit;
            let key = escape(key);
            writeln!(out, "t {repetitions_max} {columns_max} {cell_bytes} {rows} {bulk_rest} {key}")
                .expect("a String takes all");
        }
    }
    out
}

fn parse(bytes: &[u8]) -> Vec<Learned> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let mut learned: Vec<Learned> = Vec::new();
    if lines.next() != Some(FIRST_LINE) {
        return learned;
    }
    for line in lines {
        if let Some(device) = line.strip_prefix("d ").and_then(device) {
            learned.push(device);
        } else if let Some((table, last)) = line.strip_prefix("t ").and_then(table).zip(learned.last_mut()) {
            last.tables.push(table);
        }
    }
    learned
}

fn device(line: &str) -> Option<Learned> {
    let mut words = line.splitn(5, ' ');
    let mut bytes = || words.next()?.parse::<u16>().ok();
    let path = PathTo::restore(bytes()?, bytes()?, bytes()?);
    let credential = words.next()?.parse().ok()?;
    Some(Learned { device: unescape(words.next()?)?.into(), path, credential, tables: Vec::new() })
}

fn table(line: &str) -> Option<(Arc<str>, Habit)> {
    let mut words = line.splitn(6, ' ');
    let habit = Habit {
        repetitions_max: words.next()?.parse().ok()?,
        columns_max: words.next()?.parse().ok()?,
        cell_bytes: words.next()?.parse().ok()?,
        rows: words.next()?.parse().ok()?,
        bulk_rest: words.next()?.parse().ok()?,
        ..Habit::new()
    };
    Some((unescape(words.next()?)?.into(), habit.checked()))
}

#[cfg(test)]
mod tests {
    use journal::disk::RealDisk;

    use super::*;

    #[test]
    fn what_was_learned_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = Keep::in_folder(Arc::new(RealDisk), folder.path());
        assert_eq!(keep.load(), []);
        let habit = Habit {
            repetitions_max: 12,
            columns_max: 5,
            cell_bytes: 31,
            rows: 48,
            bulk_rest: 3,
            ..Habit::new()
        };
        let device = |name: &str| Learned {
            device: name.into(),
            path: PathTo::restore(1400, 1300, 1472),
            credential: 1,
            tables: vec![("ifTable".into(), habit.clone()), ("a b\\".into(), Habit::new())],
        };
        let learned = vec![device("sw 1\n"), device("sw2")];
        keep.save(&learned).expect("a good disk");
        assert_eq!(keep.load(), learned);
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        assert_eq!(parse(b"\xff\n"), []);
        let text = "pantau snmp learned 1\nt 1 1 1 1 1 x\nd 1 2\nd 1200 0 65535 0 sw1\nt x\nt 0 0 0 0 0 if\n";
        let learned = parse(text.as_bytes());
        assert_eq!((learned.len(), learned[0].tables.len()), (1, 1));
        assert_eq!(
            learned[0].tables[0].1,
            Habit {
                repetitions_max: 0,
                columns_max: 0,
                cell_bytes: 0,
                rows: 0,
                bulk_rest: 0,
                ..Habit::new()
            }
            .checked()
        );
    }

    #[test]
    fn it_is_saved_after_two_minutes_and_then_every_ten() {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = Keep::in_folder(Arc::new(RealDisk), folder.path());
        let start = Instant::now();
        let check = |after: u64, expected: bool| {
            assert_eq!(keep.takes_turn(start + Duration::from_secs(after)), expected, "{after}");
        };
        check(0, false);
        check(119, false);
        check(120, true);
        check(121, false);
        check(720, true);
        assert!(!Keep::nowhere().takes_turn(start));
    }
}
