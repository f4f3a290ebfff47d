//! What a process has used, by the operating system's own accounting.

use std::time::Duration;

/// CPU seconds and memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time since it started, all threads (/proc/PID/stat, fields 14 and 15; proc_pid_stat(5)).
    pub cpu: Duration,
    /// Resident set size in bytes (/proc/PID/status, VmRSS).
    pub rss_bytes: u64,
    /// Largest resident set size so far in bytes (VmHWM).
    pub rss_bytes_peak: u64,
}

/// Reads a running process's accounting; `None` once it has ended.
///
/// `/proc/PID/schedstat` would be finer, but counts only one thread; the sum over `/proc/PID/task/*/schedstat` counts all
/// threads that are alive, in nanoseconds, and is preferred where no thread has ended.
pub fn of(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Usage {
        cpu: Duration::from_nanos(ticks * 1_000_000_000 / per_second),
        rss_bytes: kilobytes("VmRSS:")? * 1024,
        rss_bytes_peak: kilobytes("VmHWM:")? * 1024,
    })
}

/// CPU time of all living threads in nanoseconds (first figure of each task's schedstat); `None` once the process has ended.
pub fn cpu_of_threads(pid: u32) -> Option<Duration> {
    let mut nanos = 0u64;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let schedstat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanos += schedstat.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

/// User and system time of this process's children that have ended and were waited for (/proc/self/stat, fields 16 and 17).
pub fn of_ended_children() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    Some(Duration::from_nanos(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second()))
}
