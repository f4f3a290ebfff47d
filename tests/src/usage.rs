//! What a process has used, by the operating system's own accounting.

use std::time::Duration;

/// CPU seconds and memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time since it started, of all threads, also those that have ended (clock_getcpuclockid(3): nanoseconds, where
    /// /proc/PID/stat counts ticks of 10 ms).
    pub cpu: Duration,
    /// Resident set size in bytes (/proc/PID/status, VmRSS).
    pub rss_bytes: u64,
    /// Largest resident set size so far in bytes (VmHWM).
    pub rss_bytes_peak: u64,
}

/// Reads a running process's accounting; `None` once it has ended.
pub fn of(pid: u32) -> Option<Usage> {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
    let cpu = Duration::from(nix::time::clock_gettime(clock).ok()?);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Usage { cpu, rss_bytes: kilobytes("VmRSS:")? * 1024, rss_bytes_peak: kilobytes("VmHWM:")? * 1024 })
}

/// User and system time of this process's children that have ended and were waited for (/proc/self/stat, fields 16 and 17).
pub fn of_ended_children() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    Some(Duration::from_nanos(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second()))
}
