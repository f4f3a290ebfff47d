//! Small files of the kernel with a few figures each: `loadavg`, `pressure`, `filefd`, `entropy`, `schedstat`, `softnet`,
//! `selinux`.

use std::path::PathBuf;

use super::super::crew::{Collector, Visit};
use super::super::samples::families;
use super::bytes::{decimal, hexadecimal, lines, real, trimmed, words};
use super::source::{Failure, Paths, Seldom, Source, read_text};
use crate::series::Family;

families! {
    LOAD1: Gauge "node_load1" [] "1m load average.";
    LOAD5: Gauge "node_load5" [] "5m load average.";
    LOAD15: Gauge "node_load15" [] "15m load average.";
    CPU_WAITING: Counter "node_pressure_cpu_waiting_seconds_total" [] "Seconds in which some task waited for a CPU.";
    IO_WAITING: Counter "node_pressure_io_waiting_seconds_total" [] "Seconds in which some task waited for I/O.";
    IO_STALLED: Counter "node_pressure_io_stalled_seconds_total" [] "Seconds in which every task waited for I/O.";
    MEMORY_WAITING: Counter "node_pressure_memory_waiting_seconds_total" [] "Seconds in which some task waited for memory.";
    MEMORY_STALLED: Counter "node_pressure_memory_stalled_seconds_total" [] "Seconds in which every task waited for memory.";
    FILES: Gauge "node_filefd_allocated" [] "Open files of the whole system.";
    FILES_MAX: Gauge "node_filefd_maximum" [] "Open files that the system allows.";
    ENTROPY: Gauge "node_entropy_available_bits" [] "Bits of entropy at hand.";
    ENTROPY_POOL: Gauge "node_entropy_pool_size_bits" [] "Size of the entropy pool in bits.";
    SCHED_RUNNING: Counter "node_schedstat_running_seconds_total" ["cpu"] "Seconds for which the CPU ran a process.";
    SCHED_WAITING: Counter "node_schedstat_waiting_seconds_total" ["cpu"] "Seconds that processes waited for this CPU.";
    SCHED_SLICES: Counter "node_schedstat_timeslices_total" ["cpu"] "Time slices that the CPU ran.";
    SOFTNET_PROCESSED: Counter "node_softnet_processed_total" ["cpu"] "Packets that the CPU processed.";
    SOFTNET_DROPPED: Counter "node_softnet_dropped_total" ["cpu"] "Packets that the CPU dropped because its backlog was full.";
    SOFTNET_SQUEEZED: Counter "node_softnet_times_squeezed_total" ["cpu"] "Times that packet processing ran out of its budget.";
    SELINUX: Gauge "node_selinux_enabled" [] "Whether SELinux is enabled.";
    SELINUX_CONFIG: Gauge "node_selinux_config_mode" [] "SELinux mode of the configuration file: 1 enforcing, 0 permissive, -1 disabled.";
    SELINUX_CURRENT: Gauge "node_selinux_current_mode" [] "SELinux mode now: 1 enforcing, 0 permissive.";
}

/// Declares a source of one file.
macro_rules! one_file {
    ($type:ident, $name:literal, $open:ident $path:literal $(, $longest:literal)?) => {
        pub(crate) struct $type(Source);

        impl $type {
            pub(crate) fn new(paths: &Paths) -> Self {
                Self(paths.$open($path $(, $longest)?))
            }
        }

        impl Collector for $type {
            fn names(&self) -> &'static [&'static str] {
                &[$name]
            }

            fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
                self.values(visit)
            }
        }
    };
}

one_file!(Loadavg, "loadavg", proc_whole "loadavg");
one_file!(Filefd, "filefd", setting "fs/file-nr");
one_file!(Schedstat, "schedstat", proc_records "schedstat", 4096);
one_file!(Softnet, "softnet", proc_records "net/softnet_stat", 512);

impl Loadavg {
    fn values(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        let text = self.0.read(visit.buffer)?;
        let mut columns = words(text);
        let mut next = || columns.next().and_then(real);
        let (Some(one), Some(five), Some(fifteen)) = (next(), next(), next()) else {
            return Err(self.0.odd("three load averages are expected"));
        };
        visit.samples.metric(&LOAD1, &[], one);
        visit.samples.metric(&LOAD5, &[], five);
        visit.samples.metric(&LOAD15, &[], fifteen);
        Ok(())
    }
}

impl Filefd {
    fn values(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        let mut columns = words(self.0.read(visit.buffer)?);
        let (allocated, _, maximum) = (columns.value(), columns.next(), columns.value());
        let (Some(allocated), Some(maximum)) = (allocated, maximum) else {
            return Err(self.0.odd("three numbers are expected"));
        };
        visit.samples.metric(&FILES, &[], allocated);
        visit.samples.metric(&FILES_MAX, &[], maximum);
        Ok(())
    }
}

impl Schedstat {
    fn values(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        const NANOSECONDS: f64 = 1e9;
        for line in lines(self.0.read(visit.buffer)?) {
            let mut columns = words(line);
            let Some(cpu) = columns.next().and_then(|name| name.strip_prefix(b"cpu")) else { continue };
            let mut columns = columns.skip(6).map(decimal);
            let (Some(Some(running)), Some(Some(waiting)), Some(Some(slices))) =
                (columns.next(), columns.next(), columns.next())
            else {
                continue;
            };
            visit.samples.metric(&SCHED_RUNNING, &[cpu], running as f64 / NANOSECONDS);
            visit.samples.metric(&SCHED_WAITING, &[cpu], waiting as f64 / NANOSECONDS);
            visit.samples.metric(&SCHED_SLICES, &[cpu], slices as f64);
        }
        Ok(())
    }
}

impl Softnet {
    /// The column that names the CPU, in kernels that have it (5.10 and later).
    const CPU_COLUMN: usize = 12;

    fn values(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        for (index, line) in lines(self.0.read(visit.buffer)?).enumerate() {
            let mut columns = words(line).map(|word| hexadecimal(word).unwrap_or(0) as f64);
            let mut next = || columns.next().unwrap_or(0.0);
            let (processed, dropped, squeezed) = (next(), next(), next());
            let cpu = columns.nth(Self::CPU_COLUMN - 3).unwrap_or(index as f64) as usize;
            let mut digits = [0; 20];
            let cpu = print_number(cpu, &mut digits);
            visit.samples.metric(&SOFTNET_PROCESSED, &[cpu], processed);
            visit.samples.metric(&SOFTNET_DROPPED, &[cpu], dropped);
            visit.samples.metric(&SOFTNET_SQUEEZED, &[cpu], squeezed);
        }
        Ok(())
    }
}

/// A number in decimal, without allocating.
pub(crate) fn print_number(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

pub(crate) struct Pressure {
    files: [(Source, &'static Family, Option<&'static Family>); 3],
}

impl Pressure {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            files: [
                (paths.proc_whole("pressure/cpu"), &CPU_WAITING, None),
                (paths.proc_whole("pressure/io"), &IO_WAITING, Some(&IO_STALLED)),
                (paths.proc_whole("pressure/memory"), &MEMORY_WAITING, Some(&MEMORY_STALLED)),
            ],
        }
    }
}

impl Collector for Pressure {
    fn names(&self) -> &'static [&'static str] {
        &["pressure"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        const MICROSECONDS: f64 = 1e6;
        for (source, waiting, stalled) in &mut self.files {
            for line in lines(source.read(visit.buffer)?) {
                let family = if line.starts_with(b"some") { Some(*waiting) } else { *stalled };
                let total = words(line).last().and_then(|word| decimal(word.strip_prefix(b"total=")?));
                if let (Some(family), Some(total)) = (family, total) {
                    visit.samples.metric(family, &[], total as f64 / MICROSECONDS);
                }
            }
        }
        Ok(())
    }
}

pub(crate) struct Entropy {
    available: Source,
    pool: Source,
}

impl Entropy {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            available: paths.setting("kernel/random/entropy_avail"),
            pool: paths.setting("kernel/random/poolsize"),
        }
    }
}

impl Collector for Entropy {
    fn names(&self) -> &'static [&'static str] {
        &["entropy"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        for (source, family) in [(&mut self.available, &ENTROPY), (&mut self.pool, &ENTROPY_POOL)] {
            let Some(value) = decimal(trimmed(source.read(visit.buffer)?)) else {
                return Err(source.odd("a number is expected"));
            };
            visit.samples.metric(family, &[], value as f64);
        }
        Ok(())
    }
}

pub(crate) struct Selinux {
    enforce: PathBuf,
    config: PathBuf,
    look: Seldom,
    current: Option<f64>,
    configured: Option<f64>,
}

impl Selinux {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            enforce: paths.sys("fs/selinux/enforce"),
            config: paths.rootfs.join("etc/selinux/config"),
            look: Seldom::new(4),
            current: None,
            configured: None,
        }
    }
}

impl Collector for Selinux {
    fn names(&self) -> &'static [&'static str] {
        &["selinux"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        if self.look.due() {
            self.current = read_text(&self.enforce).and_then(|text| real(text.as_bytes()));
            self.configured = read_text(&self.config).and_then(|text| configured_mode(&text));
        }
        visit.samples.metric(&SELINUX, &[], f64::from(self.current.is_some()));
        if let Some(current) = self.current {
            visit.samples.metric(&SELINUX_CURRENT, &[], current);
            if let Some(configured) = self.configured {
                visit.samples.metric(&SELINUX_CONFIG, &[], configured);
            }
        }
        Ok(())
    }
}

fn configured_mode(text: &str) -> Option<f64> {
    let mode = text.lines().find_map(|line| line.trim().strip_prefix("SELINUX="))?;
    match mode.trim() {
        "enforcing" => Some(1.0),
        "permissive" => Some(0.0),
        "disabled" => Some(-1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed() {
        for number in [0, 7, 10, 65_535, usize::MAX] {
            assert_eq!(print_number(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn selinux_modes() {
        assert_eq!(configured_mode("# SELINUX=no\nSELINUX=enforcing\nSELINUXTYPE=targeted\n"), Some(1.0));
        assert_eq!(configured_mode("SELINUX=disabled"), Some(-1.0));
        assert_eq!(configured_mode("SELINUXTYPE=targeted"), None);
    }
}
