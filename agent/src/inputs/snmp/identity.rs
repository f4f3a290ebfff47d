//! Which index an interface had when it was first seen: the label `ifIndex` keeps it.
//!
//! Devices renumber their interfaces at a reboot or when a card is added; a series whose labels followed would end, and another
//! interface would go on under its name. So an interface is known by (device, ifName) and keeps the first index seen for that key,
//! here and in a file of the agent's state folder.
//!
//! An interface whose name is empty or borne twice on its device has no such key: it is known by its current index.
//!
//! In: device, the names of one round, the time. Out: the first index of each. Limits: [`Memory::NAMES_MAX`] names in all,
//! [`Memory::DEVICE_NAMES_MAX`] a device; at the first bound devices that were not seen for longest are forgotten, at the second
//! names that the device does not have any more; what still does not fit goes by its current index and is counted.
//!
//! The file (`snmp-interfaces`) is replaced whole, at most every [`Memory::SAVE_PAUSE`]:
//!
//! ```text
//! pantau snmp interfaces 1
//! d 20414 sw-kudus-1          a device: the day (since 1970) when it was last seen, its name
//! i 3 GigabitEthernet0/3      an interface of it: first index, ifName
//! ```
//!
//! Backslashes and control characters in names are written `\xx` in hexadecimal. A file that cannot be read is set aside under the
//! name `snmp-interfaces.damaged`, and the memory starts empty.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use journal::{disk::Disk, files};
use model::Timestamp;

const FIRST_LINE: &str = "pantau snmp interfaces 1";
const FILE_NAME: &str = "snmp-interfaces";

/// First indices of all devices, shared by their inputs.
#[derive(Debug)]
pub struct Memory {
    file: Option<(Arc<dyn Disk>, PathBuf)>,
    state: Mutex<State>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    devices: HashMap<Box<str>, Device, RandomState>,
    names: usize,
    /// Whether the file was read, or found to be unreadable.
    loaded: bool,
    /// Whether the file may be written: not if it could not be read, since it may be good.
    writable: bool,
    warning: Option<String>,
    changed: bool,
    saved: Option<Instant>,
    refused: u64,
}

#[derive(Debug, Default)]
struct Device {
    first: HashMap<Box<str>, u32, RandomState>,
    day: i64,
}

impl Memory {
    /// Names in all: about 60 MiB of memory, 25 MB of file.
    pub const NAMES_MAX: usize = 1_000_000;
    /// Names of one device.
    pub const DEVICE_NAMES_MAX: usize = 20_000;
    /// The shortest time between two writes.
    pub const SAVE_PAUSE: Duration = Duration::from_secs(10);
    const FILE_BYTES_MAX: usize = 256 << 20;
    /// A device's day is written anew when it is this many days old, not every day.
    const DAYS_UNTIL_CHANGED: i64 = 30;

    /// A memory that is lost with the process: for `once` and tests.
    pub fn volatile() -> Self {
        Self { file: None, state: Mutex::default(), writing: Mutex::default() }
    }

    /// A memory in a file of this folder, read when it is first needed. A damaged file is set aside; [`warning`](Self::warning) says
    /// so.
    pub fn in_folder(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { file: Some((disk, folder.join(FILE_NAME))), ..Self::volatile() }
    }

    /// What went wrong with the file since this was last asked.
    pub fn warning(&self) -> Option<String> {
        self.lock().warning.take()
    }

    /// First indices of a device's interfaces, in their order: `interfaces` are (current index, ifName).
    pub fn first_indices(&self, device: &str, interfaces: &[(u32, &str)], now: Timestamp) -> Vec<u32> {
        let ambiguous = ambiguous_names(interfaces);
        let day = now.as_millis().div_euclid(86_400_000);
        let mut state = self.lock();
        state.see(device, day);
        let keyed = |name: &str| !name.is_empty() && !ambiguous.contains(name);
        interfaces
            .iter()
            .map(
                |&(index, name)| {
                    if keyed(name) { state.first_index(device, name, index, interfaces) } else { index }
                },
            )
            .collect()
    }

    /// How often an interface could not be remembered for lack of room.
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// Writes the file if something changed and the last write is long enough ago. Blocks on the disk.
    ///
    /// # Errors
    /// As the operating system answers; the change is kept and written later.
    pub fn save(&self, now: Instant) -> io::Result<()> {
        let Some((disk, path)) = &self.file else { return Ok(()) };
        // Whoever comes while another writes need not wait.
        let Ok(_writing) = self.writing.try_lock() else { return Ok(()) };
        let text = {
            let mut state = self.lock();
            let early =
                state.saved.is_some_and(|saved| now.saturating_duration_since(saved) < Self::SAVE_PAUSE);
            if !state.changed || !state.writable || early {
                return Ok(());
            }
            state.changed = false;
            state.saved = Some(now);
            state.text()
        };
        files::replace(disk.as_ref(), path, text.as_bytes()).inspect_err(|_| self.lock().changed = true)
    }

    /// Whether [`save`](Self::save) would write.
    pub fn wants_saving(&self, now: Instant) -> bool {
        let state = self.lock();
        let early = state.saved.is_some_and(|saved| now.saturating_duration_since(saved) < Self::SAVE_PAUSE);
        state.changed && state.writable && !early
    }

    /// The state, with the file read.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.loaded {
            *state = self.load();
        }
        state
    }

    fn load(&self) -> State {
        let loaded = State { loaded: true, ..State::default() };
        let Some((disk, path)) = &self.file else { return loaded };
        let shown = path.display();
        let bytes = match files::read(disk.as_ref(), path, Self::FILE_BYTES_MAX) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                let warning =
                    format!("cannot read {shown}: {error}; first indices are not kept until the next start");
                return State { warning: Some(warning), ..loaded };
            }
        };
        match State::parse(&bytes) {
            Ok(state) => State { loaded: true, writable: true, ..state },
            Err(line) => {
                let aside = path.with_extension("damaged");
                let moved = disk.rename(path, &aside).is_ok();
                let fate = if moved { "was set aside as" } else { "cannot be set aside as" };
                let aside = aside.display();
                let warning = format!(
                    "{shown} is damaged at line {line} and {fate} {aside}: interfaces take their current index as first"
                );
                State { warning: Some(warning), writable: moved, ..loaded }
            }
        }
    }
}

fn ambiguous_names<'a>(interfaces: &[(u32, &'a str)]) -> HashSet<&'a str, RandomState> {
    let mut seen = HashSet::with_capacity_and_hasher(interfaces.len(), RandomState::new());
    interfaces.iter().filter(|(_, name)| !seen.insert(*name)).map(|&(_, name)| name).collect()
}

impl State {
    fn see(&mut self, device: &str, day: i64) {
        if !self.devices.contains_key(device) {
            self.devices.insert(device.into(), Device { day, ..Device::default() });
            self.changed = true;
        }
        let known = self.devices.get_mut(device).expect("it was there or was just put there");
        if (day - known.day).abs() >= Memory::DAYS_UNTIL_CHANGED {
            known.day = day;
            self.changed = true;
        }
    }

    fn first_index(&mut self, device: &str, name: &str, index: u32, present: &[(u32, &str)]) -> u32 {
        if let Some(&first) = self.devices.get(device).and_then(|device| device.first.get(name)) {
            return first;
        }
        if !self.make_room(device, present) {
            self.refused += 1;
            return index;
        }
        let known = self.devices.get_mut(device).expect("see() came first and make_room() spares it");
        known.first.insert(name.into(), index);
        self.names += 1;
        self.changed = true;
        index
    }

    /// Room for one more name of this device.
    fn make_room(&mut self, device: &str, present: &[(u32, &str)]) -> bool {
        let known = self.devices.get_mut(device).expect("see() came first");
        if known.first.len() >= Memory::DEVICE_NAMES_MAX {
            let present: HashSet<&str, RandomState> = present.iter().map(|&(_, name)| name).collect();
            let before = known.first.len();
            known.first.retain(|name, _| present.contains(&**name));
            self.names -= before - known.first.len();
        }
        if known.first.len() >= Memory::DEVICE_NAMES_MAX {
            return false;
        }
        if self.names >= Memory::NAMES_MAX {
            self.forget_oldest(device);
        }
        self.names < Memory::NAMES_MAX
    }

    /// Forgets the device that was not seen for longest, unless it was seen in the same month as this one.
    fn forget_oldest(&mut self, spared: &str) {
        let today = self.devices.get(spared).map_or(i64::MAX, |device| device.day);
        let others = self.devices.iter().filter(|(name, _)| &***name != spared);
        let Some((name, device)) = others.min_by_key(|(_, device)| device.day) else { return };
        if today - device.day < Memory::DAYS_UNTIL_CHANGED {
            return;
        }
        let name = name.clone();
        self.names -= self.devices.remove(&name).map_or(0, |device| device.first.len());
    }

    fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        // Sorted, so that two writes of one state are equal byte for byte.
        let mut devices: Vec<_> = self.devices.iter().collect();
        devices.sort_unstable_by_key(|(name, _)| *name);
        for (name, device) in devices {
            writeln!(text, "d {} {}", device.day, escape(name)).expect("a String takes all");
            let mut first: Vec<_> = device.first.iter().collect();
            first.sort_unstable();
            for (name, index) in first {
                writeln!(text, "i {index} {}", escape(name)).expect("a String takes all");
            }
        }
        text
    }

    /// Reads the file's bytes, or says which line is wrong. No bytes are an empty memory.
    fn parse(bytes: &[u8]) -> Result<Self, usize> {
        let mut state = Self::default();
        if bytes.is_empty() {
            return Ok(state);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| 1_usize)?;
        // A file that does not end in a line break is cut off.
        let body = text.strip_suffix('\n').ok_or(text.lines().count())?;
        let mut lines = body.split('\n').zip(1_usize..);
        if lines.next().is_none_or(|(first, _)| first != FIRST_LINE) {
            return Err(1);
        }
        let mut device = None;
        for (line, number) in lines {
            state.parse_line(line, &mut device).ok_or(number)?;
        }
        Ok(state)
    }

    fn parse_line(&mut self, line: &str, device: &mut Option<Box<str>>) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        let (number, name) = rest.split_once(' ')?;
        let name: Box<str> = unescape(name)?.into();
        match kind {
            "d" => {
                let day = number.parse().ok()?;
                self.devices.insert(name.clone(), Device { day, ..Device::default() });
                *device = Some(name);
            }
            "i" => {
                let first = &mut self.devices.get_mut(device.as_ref()?)?.first;
                self.names += usize::from(first.insert(name, number.parse().ok()?).is_none());
            }
            _ => return None,
        }
        Some(())
    }
}

pub(super) fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '\\' | '\0'..='\x1f' | '\x7f' => {
                write!(out, "\\{:02x}", letter as u32).expect("a String takes all")
            }
            _ => out.push(letter),
        }
    }
    out
}

pub(super) fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('\\');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let code = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        out.push(char::from(code));
        out.push_str(&part[2..]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use journal::disk::RealDisk;

    use super::*;

    const DAY: Timestamp = Timestamp::from_millis(20_000 * 86_400_000);

    fn open(folder: &Path) -> (Memory, Option<String>) {
        let memory = Memory::in_folder(Arc::new(RealDisk), folder);
        let warning = memory.warning();
        (memory, warning)
    }

    #[test]
    fn an_interface_keeps_its_first_index_across_renumbering_and_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let (memory, _) = open(folder.path());
        assert_eq!(memory.first_indices("sw", &[(1, "ge-0"), (2, "ge-1")], DAY), [1, 2]);
        assert_eq!(memory.first_indices("sw", &[(2, "ge-0"), (3, "ge-1")], DAY), [1, 2]);
        assert_eq!(memory.first_indices("other", &[(7, "ge-0")], DAY), [7]);
        memory.save(Instant::now()).expect("a good disk");
        let (again, warning) = open(folder.path());
        assert_eq!((again.first_indices("sw", &[(9, "ge-1")], DAY), warning), (vec![2], None));
    }

    #[test]
    fn names_that_are_empty_or_borne_twice_go_by_their_current_index() {
        let memory = Memory::volatile();
        let check = |interfaces: &[(u32, &str)], expected: &[u32]| {
            assert_eq!(memory.first_indices("sw", interfaces, DAY), expected, "{interfaces:?}");
        };
        check(&[(1, "eth"), (2, "eth"), (3, ""), (4, "lo")], &[1, 2, 3, 4]);
        check(&[(5, "eth"), (6, "eth"), (7, ""), (8, "lo")], &[5, 6, 7, 4]);
    }

    #[test]
    fn writes_only_what_changed_and_not_too_often() {
        let folder = tempfile::tempdir().expect("a folder");
        let (memory, _) = open(folder.path());
        let start = Instant::now();
        assert!(!memory.wants_saving(start));
        memory.first_indices("sw", &[(1, "a")], DAY);
        assert!(memory.wants_saving(start));
        memory.save(start).expect("a good disk");
        memory.first_indices("sw", &[(1, "a"), (2, "b")], DAY);
        assert!(!memory.wants_saving(start + Memory::SAVE_PAUSE / 2));
        assert!(memory.wants_saving(start + Memory::SAVE_PAUSE));
        memory.save(start + Memory::SAVE_PAUSE).expect("a good disk");
        memory.first_indices("sw", &[(1, "a"), (2, "b")], DAY);
        assert!(!memory.wants_saving(start + Memory::SAVE_PAUSE * 9), "nothing changed");
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_named() {
        let check = |bytes: &[u8]| {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::write(folder.path().join(FILE_NAME), bytes).expect("a good disk");
            let (memory, warning) = open(folder.path());
            assert!(warning.is_some_and(|text| text.contains("set aside")), "{bytes:?}");
            assert!(folder.path().join("snmp-interfaces.damaged").exists());
            assert_eq!(memory.first_indices("sw", &[(5, "a")], DAY), [5]);
        };
        check(b"something else\n");
        check(b"pantau snmp interfaces 1\ni 1 a\n");
        check(b"pantau snmp interfaces 1\nd 1 sw\ni x a\n");
        check(b"pantau snmp interfaces 1\nd 1 sw\ni 1 cut o");
        check(&[0xff, 0xfe]);
    }

    #[test]
    fn strange_names_survive_the_file() {
        let names = ["a b", "tab\there", "back\\slash", "new\nline", "Ünïcode", "nul\0"];
        let interfaces: Vec<(u32, &str)> = (1..).zip(names).collect();
        let memory = Memory::volatile();
        memory.first_indices("sw\\1\n", &interfaces, DAY);
        let text = memory.lock().text();
        let again = State::parse(text.as_bytes()).expect("own text");
        assert_eq!(again.text(), text);
        assert_eq!(again.names, names.len());
    }

    #[test]
    fn a_device_that_invents_names_forgets_those_that_are_gone() {
        let memory = Memory::volatile();
        let names: Vec<String> =
            (0..=Memory::DEVICE_NAMES_MAX).map(|number| format!("pppoe-{number}")).collect();
        let all: Vec<(u32, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
        memory.first_indices("sw", &all[..Memory::DEVICE_NAMES_MAX], DAY);
        let last = &all[Memory::DEVICE_NAMES_MAX - 1..];
        memory.first_indices("sw", last, DAY);
        assert_eq!(memory.lock().names, 2);
        assert_eq!(memory.refused(), 0);
        memory.first_indices("sw", &all, DAY);
        assert_eq!(memory.refused(), 1, "what is all there at once cannot be forgotten");
    }
}
