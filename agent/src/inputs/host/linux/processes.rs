//! `processes`: processes and threads of the host in sum, by state.
//!
//! One small file a process, and one more a thread where a process has several. The files of [`OPEN_MAX`] of them stay open,
//! which halves the price; still, a walk over all of them costs more than all other sources together. So there is one
//! every [`WALK_ROUNDS`] rounds, and on a host with very many of them fewer, so that walking takes at most [`SHARE_MAX`] of one
//! CPU; in between, the sums of the last walk are said again. A walk reads every process but the kernel's own threads, of which
//! it reads one in [`KERNEL_WALKS`].
//!
//! Limits: [`PROCESSES_MAX`] processes and [`THREADS_MAX`] threads are looked at; past it they are not counted.

use std::collections::HashMap;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, RawDir};

use super::super::crew::{Collector, Visit};
use super::super::samples::families;
use super::bytes::{decimal, trimmed, words};
use super::source::{Failure, Paths, Seldom, Source};

families! {
    THREADS: Gauge "node_processes_threads" [] "Threads of all processes.";
    THREADS_MAX_FAMILY: Gauge "node_processes_max_threads" [] "Threads that the system allows.";
    STATES: Gauge "node_processes_state" ["state"] "Processes by state: R runs, S sleeps, D waits for a device, Z zombie, T stopped, I idle.";
    THREAD_STATES: Gauge "node_processes_threads_state" ["thread_state"] "Threads by state.";
    PIDS: Gauge "node_processes_pids" [] "Processes.";
    PIDS_MAX: Gauge "node_processes_max_processes" [] "Process ids that the system allows.";
}

/// The most of one CPU that walking may take.
const SHARE_MAX: f64 = 0.002;
/// Every so many rounds there is a walk.
const WALK_ROUNDS: u32 = 4;
/// Every so many walks the kernel's own threads are read: often half of all, and they hardly ever change.
const KERNEL_WALKS: u64 = 4;
/// The flag of the kernel's own threads (PF_KTHREAD).
const KERNEL_THREAD: u64 = 0x0020_0000;
/// Processes looked at.
const PROCESSES_MAX: usize = 100_000;
/// Threads looked at.
const THREADS_MAX: usize = 200_000;
/// Files of processes and threads kept open.
const OPEN_MAX: usize = 256;

/// Counts by state letter.
#[derive(Clone, Debug, PartialEq)]
struct States([u32; 128]);

impl Default for States {
    fn default() -> Self {
        Self([0; 128])
    }
}

impl States {
    fn count(&mut self, state: u8) {
        if let Some(count) = self.0.get_mut(usize::from(state)) {
            *count += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = ([u8; 1], f64)> {
        let counted = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(state, count)| ([state as u8], f64::from(*count)))
    }
}

#[derive(Default)]
struct Sums {
    pids: u32,
    threads: u64,
    states: States,
    thread_states: States,
}

/// A task's stat file.
struct Task {
    id: u64,
    file: Option<File>,
}

impl Task {
    /// What the file says; `None` where the task has ended.
    fn read(&mut self, folder: &OwnedFd, path: &str, open: &mut usize) -> Option<Stat> {
        // Enough for every field up to the number of threads, even behind the longest name.
        let mut room = [0; 512];
        if let Some(file) = &self.file {
            let length = file.read_at(&mut room, 0).ok();
            if length.is_none() {
                self.close(open);
            }
            return parse_stat(&room[..length?]);
        }
        let file = rustix::fs::openat(folder, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let file = File::from(file);
        let length = file.read_at(&mut room, 0).ok()?;
        if *open < OPEN_MAX {
            *open += 1;
            self.file = Some(file);
        }
        parse_stat(&room[..length])
    }

    fn close(&mut self, open: &mut usize) {
        *open -= usize::from(self.file.take().is_some());
    }
}

/// What is wanted of a stat file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    /// Threads of the task's process.
    threads: u64,
    is_kernel: bool,
}

struct Process {
    main: Task,
    /// What was read last.
    last: Option<Stat>,
    /// All threads but the first; empty where it is the only one.
    others: Vec<Task>,
    walk: u64,
}

impl Process {
    fn close(&mut self, open: &mut usize) {
        self.main.close(open);
        self.others.iter_mut().for_each(|task| task.close(open));
    }
}

/// Everything that a walk needs and keeps.
struct Walker {
    procfs: PathBuf,
    folder: Option<OwnedFd>,
    known: HashMap<u64, Process>,
    walk: u64,
    open: usize,
    ids: Vec<u64>,
    path: String,
}

impl Walker {
    fn walk(&mut self) -> Result<Sums, Failure> {
        self.walk += 1;
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => open_folder(&self.procfs).map_err(|why| self.unreadable(why))?,
        };
        let mut ids = std::mem::take(&mut self.ids);
        list_numbers(&folder, &mut ids).map_err(|why| self.unreadable(why))?;
        ids.truncate(PROCESSES_MAX);
        let mut sums = Sums::default();
        for &id in &ids {
            self.count(&folder, id, &mut sums);
        }
        let (walk, open) = (self.walk, &mut self.open);
        self.known.retain(|_, process| {
            let stays = process.walk == walk;
            if !stays {
                process.close(open);
            }
            stays
        });
        (self.ids, self.folder) = (ids, Some(folder));
        Ok(sums)
    }

    fn unreadable(&self, why: std::io::Error) -> Failure {
        Failure::Unreadable { path: self.procfs.clone(), why }
    }

    fn count(&mut self, folder: &OwnedFd, id: u64, sums: &mut Sums) {
        let new = || Process { main: Task { id, file: None }, last: None, others: Vec::new(), walk: 0 };
        let process = self.known.entry(id).or_insert_with(new);
        let (path, open) = (&mut self.path, &mut self.open);
        set_path(path, &[id], "stat");
        let not_its_turn = !(self.walk + id).is_multiple_of(KERNEL_WALKS);
        let mut found = process.last.filter(|last| last.is_kernel && not_its_turn);
        if found.is_none() {
            // An open file of a process that ended says so; another one may have its number by now.
            let had_file = process.main.file.is_some();
            found = process.main.read(folder, path, open);
            if found.is_none() && had_file {
                process.others.iter_mut().for_each(|task| task.close(open));
                process.others.clear();
                found = process.main.read(folder, path, open);
            }
        }
        process.last = found;
        let Some(Stat { state, threads, .. }) = found else { return };
        process.walk = self.walk;
        sums.pids += 1;
        sums.threads = sums.threads.saturating_add(threads);
        sums.states.count(state);
        sums.thread_states.count(state);
        if threads > 1 && sums.threads <= THREADS_MAX as u64 {
            count_threads(process, folder, threads, path, open, sums);
        } else {
            process.others.iter_mut().for_each(|task| task.close(open));
            process.others.clear();
        }
    }
}

/// Counts the threads but the first. The list of threads is read again when their number changed or one of them ended.
fn count_threads(
    process: &mut Process,
    folder: &OwnedFd,
    threads: u64,
    path: &mut String,
    open: &mut usize,
    sums: &mut Sums,
) {
    let id = process.main.id;
    let before = sums.thread_states.clone();
    for attempt in 0..2 {
        if attempt > 0 || process.others.len() as u64 + 1 != threads {
            sums.thread_states = before.clone();
            list_threads(process, folder, path, open);
        }
        let mut whole = true;
        for task in &mut process.others {
            set_path(path, &[id, task.id], "stat");
            match task.read(folder, path, open) {
                Some(stat) => sums.thread_states.count(stat.state),
                None => whole = false,
            }
        }
        if whole {
            return;
        }
    }
}

fn list_threads(process: &mut Process, folder: &OwnedFd, path: &mut String, open: &mut usize) {
    let id = process.main.id;
    set_path(path, &[id], "task");
    let mut ids = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(tasks) = rustix::fs::openat(folder, path.as_str(), flags, Mode::empty()) {
        // A process that ends while its threads are listed has none to count.
        let _ = list_numbers(&tasks, &mut ids);
    }
    ids.retain(|&thread| thread != id);
    ids.truncate(THREADS_MAX);
    let mut had = std::mem::take(&mut process.others);
    for thread in ids {
        let known = had.iter().position(|task| task.id == thread).map(|at| had.swap_remove(at));
        process.others.push(known.unwrap_or(Task { id: thread, file: None }));
    }
    had.iter_mut().for_each(|task| task.close(open));
}

/// `42/stat`, `42/task/43/stat`.
fn set_path(path: &mut String, ids: &[u64], file: &str) {
    use std::fmt::Write as _;
    path.clear();
    for (depth, id) in ids.iter().enumerate() {
        // Writing to a String does not fail.
        let _ = write!(path, "{}{id}/", if depth > 0 { "task/" } else { "" });
    }
    path.push_str(file);
}

fn open_folder(path: &std::path::Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The names in a folder that are numbers, from its start.
fn list_numbers(folder: &OwnedFd, ids: &mut Vec<u64>) -> std::io::Result<()> {
    ids.clear();
    rustix::fs::seek(folder, rustix::fs::SeekFrom::Start(0))?;
    let mut room = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(folder, &mut room);
    while let Some(entry) = entries.next() {
        ids.extend(decimal(entry?.file_name().to_bytes()));
    }
    Ok(())
}

/// `1 (a) b) S 0 …`: the name may hold spaces and parentheses, so that the last one counts.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = memchr::memrchr(b')', text)?;
    let mut columns = words(&text[end + 1..]);
    let state = *columns.next()?.first()?;
    let flags = columns.nth(5).and_then(decimal)?;
    let threads = columns.nth(10).and_then(decimal)?;
    Some(Stat { state, threads, is_kernel: flags & KERNEL_THREAD != 0 })
}

pub(crate) struct Processes {
    pids_max: Source,
    threads_max: Source,
    walker: Walker,
    look: Seldom,
    sums: Option<Sums>,
    not_before: Option<Instant>,
}

impl Processes {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            pids_max: paths.setting("kernel/pid_max"),
            threads_max: paths.setting("kernel/threads-max"),
            walker: Walker {
                procfs: paths.procfs.clone(),
                folder: None,
                known: HashMap::new(),
                walk: 0,
                open: 0,
                ids: Vec::new(),
                path: String::new(),
            },
            look: Seldom::new(WALK_ROUNDS),
            sums: None,
            not_before: None,
        }
    }
}

impl Collector for Processes {
    fn names(&self) -> &'static [&'static str] {
        &["processes"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        for (source, family) in
            [(&mut self.pids_max, &PIDS_MAX), (&mut self.threads_max, &THREADS_MAX_FAMILY)]
        {
            if let Some(value) = decimal(trimmed(source.read(visit.buffer)?)) {
                visit.samples.metric(family, &[], value as f64);
            }
        }
        let now = Instant::now();
        let due = self.look.due() && self.not_before.is_none_or(|at| now >= at);
        if due || self.sums.is_none() {
            self.sums = Some(self.walker.walk()?);
            let took = now.elapsed();
            self.not_before =
                Some(now + Duration::from_secs_f64((took.as_secs_f64() / SHARE_MAX).min(3600.0)));
        }
        let Some(sums) = &self.sums else { return Err(Failure::Absent) };
        visit.samples.metric(&PIDS, &[], f64::from(sums.pids));
        visit.samples.metric(&THREADS, &[], sums.threads as f64);
        for (state, count) in sums.states.iter() {
            visit.samples.metric(&STATES, &[&state], count);
        }
        for (state, count) in sums.thread_states.iter() {
            visit.samples.metric(&THREAD_STATES, &[&state], count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let line = b"42 (a) R (b)) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 99 1 2";
        assert_eq!(parse_stat(line), Some(Stat { state: b'S', threads: 12, is_kernel: false }));
        let kernel = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0";
        assert_eq!(parse_stat(kernel), Some(Stat { state: b'S', threads: 1, is_kernel: true }));
        assert_eq!(parse_stat(b"42 (a) S 1 2"), None);
        assert_eq!(parse_stat(b""), None);
    }

    fn task(procfs: &Path, path: &str, state: char, threads: u32) {
        let file = procfs.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let rest = "1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0";
        std::fs::write(file, format!("9 (x) {state} {rest} {threads} 0 99 1 2")).unwrap();
    }

    #[test]
    fn processes_and_threads_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let procfs = folder.path();
        let mut walker = Processes::new(&Paths {
            procfs: procfs.into(),
            sysfs: PathBuf::new(),
            rootfs: PathBuf::new(),
            udev: PathBuf::new(),
        })
        .walker;
        let mut check = |expected: &str| {
            let sums = walker.walk().unwrap();
            let states = |states: &States| {
                let words = states.iter().map(|(state, count)| format!("{}{count}", state[0] as char));
                words.collect::<Vec<_>>().join(" ")
            };
            let (processes, threads) = (states(&sums.states), states(&sums.thread_states));
            assert_eq!(format!("{} {}: {processes}; {threads}", sums.pids, sums.threads), expected);
            let files =
                walker.known.values().flat_map(|process| process.others.iter().chain([&process.main]));
            assert_eq!(
                files.filter(|task| task.file.is_some()).count(),
                walker.open,
                "open files are counted"
            );
        };
        task(procfs, "1/stat", 'S', 1);
        task(procfs, "7/stat", 'S', 3);
        for thread in [7, 8, 9] {
            task(procfs, &format!("7/task/{thread}/stat"), if thread == 9 { 'R' } else { 'S' }, 3);
        }
        check("2 4: S2; R1 S3");
        check("2 4: S2; R1 S3");
        task(procfs, "7/stat", 'D', 2);
        std::fs::remove_dir_all(procfs.join("7/task/9")).unwrap();
        check("2 3: D1 S1; D1 S2");
        std::fs::remove_dir_all(procfs.join("1")).unwrap();
        task(procfs, "12/stat", 'Z', 1);
        check("2 3: D1 Z1; D1 S1 Z1");
    }

    #[test]
    fn this_process_is_counted_with_its_threads() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || stopped.recv());
        let paths = Paths {
            procfs: "/proc".into(),
            sysfs: PathBuf::new(),
            rootfs: PathBuf::new(),
            udev: PathBuf::new(),
        };
        let mut walker = Processes::new(&paths).walker;
        for _ in 0..2 {
            let sums = walker.walk().unwrap();
            assert!(sums.pids >= 1 && sums.threads > u64::from(sums.pids), "{} {}", sums.pids, sums.threads);
            assert!(walker.known[&u64::from(std::process::id())].others.len() >= 2);
        }
        drop(stop);
        assert!(thread.join().unwrap().is_err());
    }
}
