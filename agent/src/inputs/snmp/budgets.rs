//! When tables whose budget sets a pause were last asked for, so that nothing breaks the pause: not a reload, not a restart, not a crash,
//! not `snmp walk` and `snmp explain` on the same machine.
//!
//! In: device and table, at the moment before it is asked for. Out: how long ago that was. Only tables with such a budget are noted, so
//! this is a few lines an hour and device.
//!
//! The file (`snmp-asked`) is written line by line, by several programs, without waiting for the disk: a crash of a program costs
//! nothing, a power cut the last half minute. It is written anew when most of it is old.
//!
//! ```text
//! pantau snmp asked 1
//! 1763820000 hwOntOptics olt-1        seconds since 1970, table, device
//! ```
//!
//! Names are written as in `snmp-interfaces`, spaces in tables' names as `\20`. A line that cannot be read is passed over. Of two lines
//! for one table the one that makes it wait longer counts. A time that lies in the future (the clock was set back) counts as the moment of
//! reading, so that the pause is kept and ends; but only until a line behind it says better.
//!
//! Limits: [`FILE_BYTES_MAX`] of file; beyond, or where it cannot be read, a table counts as asked for at the start.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::identity::{escape, unescape};

const FIRST_LINE: &str = "pantau snmp asked 1\n";
const FILE_NAME: &str = "snmp-asked";
const FILE_BYTES_MAX: u64 = 64 << 20;
/// A file below this is not written anew.
const COMPACT_ABOVE: u64 = 1 << 20;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Budgets {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Which file was read, and how far.
    read: Option<(u64, u64)>,
    /// Milliseconds on the steady clock of [`Moment`]; what was before its beginning is negative.
    asked: HashMap<Key, i64>,
    /// Since when nothing is known for lack of a readable file, and why.
    blind: Option<(i64, String)>,
}

/// A moment, as programs and tests tell it: on the wall, and on a clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) wall: SystemTime,
    /// On any scale that goes on while the process lives.
    pub(crate) steady: Duration,
}

impl Moment {
    /// This moment, which the caller has as `now`.
    pub(crate) fn of(now: Instant) -> Self {
        static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self { wall: SystemTime::now(), steady: now.saturating_duration_since(*STARTED) }
    }

    fn steady_ms(self) -> i64 {
        i64::try_from(self.steady.as_millis()).unwrap_or(i64::MAX)
    }

    fn wall_secs(self) -> u64 {
        self.wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

impl Budgets {
    /// Lost with the process.
    pub(crate) fn volatile() -> Self {
        Self { path: None, state: Mutex::default() }
    }

    /// In a file of this folder.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { path: Some(folder.join(FILE_NAME)), ..Self::volatile() }
    }

    /// How long ago a table was last asked for, by whomever; none if nobody knows of it.
    pub(crate) fn last_asked(&self, device: &str, table: &str, now: Moment) -> Option<Duration> {
        let mut state = self.lock();
        if let Some(path) = &self.path {
            match state.catch_up(path, now) {
                Ok(()) => state.blind = None,
                Err(error) => {
                    if state.blind.is_none() {
                        let why = format!("cannot read {}: {error}", path.display());
                        tracing::warn!("{why}; tables with a budget wait as if they had just been asked for");
                        state.blind = Some((now.steady_ms(), why));
                    }
                }
            }
        }
        let known = state.asked.get(&(device.into(), table.into())).copied();
        let at = known.max(state.blind.as_ref().map(|(at, _)| *at))?;
        Some(Duration::from_millis(u64::try_from(now.steady_ms() - at).unwrap_or(0)))
    }

    /// Why nothing is known of what others asked.
    pub(crate) fn fault(&self) -> Option<String> {
        self.lock().blind.as_ref().map(|(_, why)| why.clone())
    }

    /// Whether there is a place for the file: not where no agent ever ran.
    pub(crate) fn has_place(&self) -> bool {
        self.path.as_deref().and_then(Path::parent).is_some_and(Path::is_dir)
    }

    /// A table is about to be asked for.
    ///
    /// # Errors
    /// What the system says if that cannot be written; it is known to this process all the same.
    pub(crate) fn note(&self, device: &str, table: &str, now: Moment) -> io::Result<()> {
        let mut state = self.lock();
        state.asked.insert((device.into(), table.into()), now.steady_ms());
        let Some(path) = &self.path else { return Ok(()) };
        let table = escape(table).replace(' ', "\\20");
        append(path, &format!("{} {table} {}\n", now.wall_secs(), escape(device)))?;
        let live = state.asked.len() as u64 * 64;
        if fs::metadata(path)?.len() > COMPACT_ABOVE.max(4 * live) {
            state.catch_up(path, now)?;
            state.write_anew(path, now)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line behind the end; a new file belongs to whom the folder belongs to, whoever is first.
fn append(path: &Path, line: &str) -> io::Result<()> {
    loop {
        let mut file = match OpenOptions::new().append(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            opened => opened?,
        };
        file.write_all(line.as_bytes())?;
        // Another program may have replaced the file meanwhile.
        let (written, there) = (file.metadata()?, fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (written.dev(), written.ino())) {
            return Ok(());
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    let mut file = match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return OpenOptions::new().append(true).open(path);
        }
        made => made?,
    };
    file.write_all(FIRST_LINE.as_bytes())?;
    if let Some(owner) = path.parent().and_then(|folder| fs::metadata(folder).ok()) {
        // Only root can give a file away, and only a file of root's would be closed to the agent.
        let _ = std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()));
    }
    Ok(file)
}

/// Device and table.
type Key = (Box<str>, Box<str>);

/// What the lines of one table say, in their order.
#[derive(Clone, Copy, Default)]
struct Told {
    /// The latest time that lies in the past.
    past: Option<u64>,
    /// Whether the last line's time lies in the future.
    is_future: bool,
}

impl Told {
    fn hear(&mut self, secs: u64, now_secs: u64) {
        self.is_future = secs > now_secs;
        if !self.is_future {
            self.past = self.past.max(Some(secs));
        }
    }
}

/// Device, table, and seconds since 1970.
fn read_line(line: &str) -> Option<(Key, u64)> {
    let mut words = line.splitn(3, ' ');
    let secs = words.next()?.parse().ok()?;
    let (table, device) = (unescape(words.next()?)?, unescape(words.next()?)?);
    Some(((device.into_boxed_str(), table.into_boxed_str()), secs))
}

impl State {
    /// Reads what was written since the last time.
    fn catch_up(&mut self, path: &Path, now: Moment) -> io::Result<()> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let (length, inode) = (metadata.len(), metadata.ino());
        if length > FILE_BYTES_MAX {
            let why = format!("{length} bytes are more than the {FILE_BYTES_MAX} expected");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let from = self.read.filter(|(known, at)| *known == inode && *at <= length).map_or(0, |(_, at)| at);
        if from == length {
            return Ok(());
        }
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(length - from).read_to_end(&mut bytes)?;
        // The rest of a line that is just being written is read the next time.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut told: HashMap<Key, Told> = HashMap::new();
        for (key, secs) in String::from_utf8_lossy(&bytes[..whole]).lines().filter_map(read_line) {
            told.entry(key).or_default().hear(secs, now.wall_secs());
        }
        for (key, told) in told {
            self.learn(key, told, now);
        }
        self.read = Some((inode, from + whole as u64));
        Ok(())
    }

    fn learn(&mut self, key: Key, told: Told, now: Moment) -> Option<()> {
        let secs = if told.is_future { now.wall_secs() } else { told.past? };
        let ago_ms = i64::try_from(now.wall_secs() - secs).ok()?.checked_mul(1000)?;
        let at = now.steady_ms() - ago_ms;
        let known = self.asked.entry(key).or_insert(at);
        // What this process asked itself it knows to the millisecond.
        if at - *known >= 1000 {
            *known = at;
        }
        Some(())
    }

    fn write_anew(&mut self, path: &Path, now: Moment) -> io::Result<()> {
        /// No budget is longer.
        const OLDEST_MS: i64 = 8 * 86_400_000;
        self.asked.retain(|_, at| now.steady_ms() - *at < OLDEST_MS);
        let mut text = FIRST_LINE.to_owned();
        for ((device, table), at) in &self.asked {
            let ago_secs = u64::try_from((now.steady_ms() - at) / 1000).unwrap_or(0);
            let table = escape(table).replace(' ', "\\20");
            let device = escape(device);
            writeln!(text, "{} {table} {device}", now.wall_secs().saturating_sub(ago_secs))
                .expect("a String takes all");
        }
        let temporary = path.with_extension("tmp");
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&temporary, path)?;
        self.read = Some((file.metadata()?.ino(), text.len() as u64));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_800_000_000;

    /// So many seconds after the beginning, by both clocks.
    fn at(secs: u64) -> Moment {
        moved(secs, 0)
    }

    /// The same with a wall clock that was set.
    fn moved(secs: u64, by: i64) -> Moment {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs((WALL + secs).saturating_add_signed(by));
        Moment { wall, steady: Duration::from_secs(secs) }
    }

    /// In a process that began at another moment.
    fn restarted(secs: u64, by: i64) -> Moment {
        Moment { steady: Duration::from_secs(5), ..moved(secs, by) }
    }

    const fn secs(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count))
    }

    #[test]
    fn what_was_asked_is_known_after_a_crash_and_to_other_programs() {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = Budgets::in_folder(folder.path());
        assert_eq!(agent.last_asked("olt 1\n", "ont optics", at(0)), None);
        agent.note("olt 1\n", "ont optics", at(0)).expect("a good disk");
        assert_eq!(agent.last_asked("olt 1\n", "ont optics", at(60)), secs(60));
        let other = Budgets::in_folder(folder.path());
        assert_eq!(other.last_asked("olt 1\n", "ont optics", restarted(90, 0)), secs(90));
        assert_eq!(other.last_asked("olt 1\n", "another", restarted(90, 0)), None);
        other.note("olt 1\n", "ont optics", restarted(4000, 0)).expect("a good disk");
        assert_eq!(agent.last_asked("olt 1\n", "ont optics", at(4010)), secs(10), "the agent sees it too");
    }

    #[test]
    fn a_clock_that_is_set_cuts_no_pause_short_and_makes_none_endless() {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = Budgets::in_folder(folder.path());
        agent.note("olt", "t", at(0)).expect("a good disk");
        assert_eq!(agent.last_asked("olt", "t", moved(60, 1_000_000)), secs(60), "the process knows better");
        let after = Budgets::in_folder(folder.path());
        assert_eq!(after.last_asked("olt", "t", restarted(60, -1_000_000)), secs(0));
        let later = Moment { steady: Duration::from_secs(3605), ..restarted(3660, -1_000_000) };
        assert_eq!(after.last_asked("olt", "t", later), secs(3600));
    }

    /// One line of a clock that was ahead made tables wait their whole pause after every restart, for as long as it lay ahead.
    #[test]
    fn a_line_from_the_future_counts_until_the_next_one() {
        let check = |times: &[u64], expected: u64| {
            let folder = tempfile::tempdir().expect("a folder");
            let lines: String = times.iter().map(|time| format!("{} t olt\n", WALL + time)).collect();
            fs::write(folder.path().join(FILE_NAME), format!("{FIRST_LINE}{lines}")).expect("a good disk");
            let budgets = Budgets::in_folder(folder.path());
            assert_eq!(budgets.last_asked("olt", "t", restarted(1000, 0)), secs(expected), "{times:?}");
        };
        check(&[9_000_000, 400], 600);
        check(&[400, 9_000_000], 0);
        check(&[9_000_000, 400, 9_000_000], 0);
        check(&[700, 9_000_000, 400], 300);
        check(&[9_000_000, 8_000_000, 400, 300], 600);
    }

    #[test]
    fn a_line_from_the_future_takes_nothing_from_what_this_process_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let future = format!("{FIRST_LINE}{} t olt\n", WALL + 9_000_000);
        fs::write(folder.path().join(FILE_NAME), future).expect("a good disk");
        let budgets = Budgets::in_folder(folder.path());
        budgets.note("olt", "t", at(10)).expect("a good disk");
        assert_eq!(budgets.last_asked("olt", "t", at(70)), secs(60));
    }

    #[test]
    fn a_file_that_cannot_be_read_makes_tables_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(FILE_NAME)).expect("a good disk");
        let budgets = Budgets::in_folder(folder.path());
        assert_eq!(budgets.last_asked("olt", "t", at(10)), secs(0));
        assert_eq!(budgets.last_asked("olt", "t", at(70)), secs(60));
    }

    #[test]
    fn strange_lines_are_passed_over_and_old_ones_written_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE_NAME);
        let mut text = format!("{FIRST_LINE}x\n1 t\n99999999999999999999 t olt\n{WALL} t olt\n");
        while (text.len() as u64) <= COMPACT_ABOVE {
            text.push_str(&format!("{} t olt\n", WALL - 5));
        }
        text.push_str(&format!("{WALL} cut olt"));
        fs::write(&path, text).expect("a good disk");
        let budgets = Budgets::in_folder(folder.path());
        assert_eq!(budgets.last_asked("olt", "t", restarted(60, 0)), secs(60));
        assert_eq!(budgets.last_asked("olt", "cut", restarted(60, 0)), None);
        budgets.note("olt", "u", restarted(60, 0)).expect("a good disk");
        assert!(fs::metadata(&path).expect("it is there").len() < 200);
        let again = Budgets::in_folder(folder.path());
        assert_eq!(again.last_asked("olt", "t", restarted(70, 0)), secs(70));
        assert_eq!(again.last_asked("olt", "u", restarted(70, 0)), secs(10));
    }
}
