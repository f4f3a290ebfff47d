//! Hosts as node_exporter tells of them: 500 series each, whose values move as those of a real host do.
//!
//! A busy host's page: two fifths stand still (error counters, limits, states of units), nearly as many are counters that grow by about
//! as much every round, then gauges that wander, and one value in fifty is no short decimal (clock offsets, ratios). The shares below are chosen so that the peers need about the bytes a sample that were measured for the goals; what they need in
//! this run is printed beside ours.
//!
//! In: a seed and a number of series. Out: labels, and one value of each series a round, the same for everyone.

use model::Labels;

use crate::bench::stream::random_unit;

/// Series of one host.
pub const PER_HOST: usize = 500;
/// Of these: `node_cpu_seconds_total`.
pub const PROCESSOR_SERIES: usize = 128;

/// How a series moves from one round to the next.
#[derive(Clone, Copy)]
enum Motion {
    /// Grows by `rate` (give or take `spread` of it) in steps of `unit`, in a share `active` of all rounds.
    Counter { rate: f64, spread: f64, active: f64 },
    /// Wanders by up to `step` in a share `active` of all rounds.
    Gauge { step: f64, active: f64 },
    /// Any number between zero and `scale`: no short decimal.
    Float { scale: f64 },
    /// Stays.
    Constant,
}

/// One series of one host.
struct Series {
    labels: Labels,
    motion: Motion,
    /// The value in steps of `unit`, so that decimals stay short.
    steps: f64,
    /// Steps in 1: values are `steps / per_one`, or `steps * unit` where a step is 1 or more.
    unit: f64,
    value: f64,
}

impl Series {
    fn advance(&mut self, random: &mut u64) {
        match self.motion {
            Motion::Counter { rate, spread, active } => {
                if random_unit(random) < active {
                    // The sum of two: about a bell, as counts of many small things are.
                    let bell = random_unit(random) + random_unit(random) - 1.0;
                    self.steps += (rate * (1.0 + bell * spread)).round().max(0.0);
                }
            }
            Motion::Gauge { step, active } => {
                if random_unit(random) < active {
                    let bell = random_unit(random) + random_unit(random) - 1.0;
                    self.steps = (self.steps + bell * step).round().max(0.0);
                }
            }
            Motion::Float { scale } => {
                self.value = random_unit(random) * scale;
                return;
            }
            Motion::Constant => return,
        }
        self.value =
            if self.unit < 1.0 { self.steps / (1.0 / self.unit).round() } else { self.steps * self.unit };
    }
}

/// All hosts and their state.
pub struct Hosts {
    series: Vec<Series>,
    random: u64,
}

impl Hosts {
    /// So many series: a host for every 500.
    pub fn new(count: usize, seed: u64) -> Self {
        let mut hosts = Self { series: Vec::with_capacity(count), random: seed };
        let mut page = Page::default();
        for host in 0..count.div_ceil(PER_HOST) {
            page.describe(host);
            let wanted = (count - host * PER_HOST).min(PER_HOST);
            for form in page.forms.drain(..).take(wanted) {
                let series = form.start(&mut hosts.random);
                hosts.series.push(series);
            }
        }
        hosts
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Labels of a series.
    pub fn labels(&self, at: usize) -> &Labels {
        &self.series[at].labels
    }

    /// All series go one round further.
    pub fn advance(&mut self) {
        for series in &mut self.series {
            series.advance(&mut self.random);
        }
    }

    /// A series' value in this round.
    pub fn value(&self, at: usize) -> f64 {
        self.series[at].value
    }
}

/// A series before its first round.
struct Form {
    labels: Labels,
    motion: Motion,
    unit: f64,
    /// Where it may start, in steps.
    up_to: f64,
}

impl Form {
    fn start(self, random: &mut u64) -> Series {
        let steps = (random_unit(random) * self.up_to).round();
        let value = if self.unit < 1.0 { steps / (1.0 / self.unit).round() } else { steps * self.unit };
        Series { labels: self.labels, motion: self.motion, steps, unit: self.unit, value }
    }
}

/// One host's page while it is put together.
#[derive(Default)]
struct Page {
    instance: String,
    forms: Vec<Form>,
}

impl Page {
    fn add(&mut self, name: &str, extra: &[(&str, &str)], motion: Motion, unit: f64, up_to: f64) {
        let mut labels = vec![("__name__", name), ("instance", &*self.instance), ("job", "node")];
        labels.extend(extra);
        self.forms.push(Form { labels: Labels::from_pairs(labels), motion, unit, up_to });
    }

    fn constant(&mut self, name: &str, extra: &[(&str, &str)], up_to: f64) {
        self.add(name, extra, Motion::Constant, 1.0, up_to);
    }

    fn describe(&mut self, host: usize) {
        self.instance = format!("node-{host:04}.dc.example:9100");
        self.processors();
        self.network();
        self.memory();
        self.disks();
        self.kernel();
        self.filesystems();
        self.floats();
        let mut unit = 0;
        while self.forms.len() < PER_HOST {
            let (name, state) = (
                format!("svc-{}.service", unit / 5),
                ["active", "failed", "inactive", "activating", "deactivating"][unit % 5],
            );
            self.constant("node_systemd_unit_state", &[("name", &name), ("state", state)], 1.0);
            unit += 1;
        }
        assert_eq!(self.forms.len(), PER_HOST, "a page is as large as it is said to be");
    }

    /// 16 busy processors, eight modes each, of which some never come.
    fn processors(&mut self) {
        for cpu in 0..16 {
            let cpu = cpu.to_string();
            for mode in ["user", "system", "idle", "iowait", "irq", "softirq", "steal", "nice"] {
                let motion = match mode {
                    "idle" => Motion::Counter { rate: 1_000.0, spread: 0.5, active: 1.0 },
                    "user" => Motion::Counter { rate: 300.0, spread: 0.9, active: 1.0 },
                    "system" => Motion::Counter { rate: 120.0, spread: 0.9, active: 1.0 },
                    "softirq" => Motion::Counter { rate: 12.0, spread: 0.9, active: 0.9 },
                    "iowait" => Motion::Counter { rate: 20.0, spread: 0.9, active: 0.8 },
                    _ => Motion::Constant,
                };
                let labels = [("cpu", &*cpu), ("mode", mode)];
                self.add("node_cpu_seconds_total", &labels, motion, 0.01, 5e8);
            }
        }
    }

    /// Six interfaces, which carry something; their errors stand still.
    fn network(&mut self) {
        for (number, device) in ["eth0", "eth1", "lo", "docker0", "virbr0", "eth2"].into_iter().enumerate() {
            let share = [1.0, 1.0, 1.0, 0.8, 0.6, 0.5][number];
            let labels = [("device", device)];
            for way in ["receive", "transmit"] {
                let bytes = if share > 0.0 {
                    Motion::Counter { rate: 4e5, spread: 0.9, active: share }
                } else {
                    Motion::Constant
                };
                let packets = if share > 0.0 {
                    Motion::Counter { rate: 900.0, spread: 0.9, active: share }
                } else {
                    Motion::Constant
                };
                self.add(&format!("node_network_{way}_bytes_total"), &labels, bytes, 1.0, 1e12);
                self.add(&format!("node_network_{way}_packets_total"), &labels, packets, 1.0, 1e9);
                for still in ["errs", "drop", "fifo", "frame", "compressed", "multicast"] {
                    self.constant(&format!("node_network_{way}_{still}_total"), &labels, 100.0);
                }
            }
            for still in ["up", "mtu_bytes", "speed_bytes", "carrier", "flags", "iface_id"] {
                self.constant(&format!("node_network_{still}"), &labels, 10_000.0);
            }
        }
    }

    fn memory(&mut self) {
        for field in 0..50 {
            let motion = match field {
                0..24 => Motion::Gauge { step: 3_000.0, active: 0.9 },
                24..36 => Motion::Gauge { step: 60.0, active: 0.7 },
                _ => Motion::Constant,
            };
            self.add(&format!("node_memory_Field{field}_bytes"), &[], motion, 4096.0, 2e6);
        }
    }

    /// Four disks, which work all the time or now and then.
    fn disks(&mut self) {
        for (number, device) in ["vda", "vdb", "sr0", "dm-0"].into_iter().enumerate() {
            let active = [1.0, 0.9, 0.6, 0.4][number];
            let labels = [("device", device)];
            let fields = [
                ("reads_completed_total", 20.0, 1.0),
                ("writes_completed_total", 150.0, 1.0),
                ("read_bytes_total", 160.0, 512.0),
                ("written_bytes_total", 400.0, 4096.0),
                ("read_time_seconds_total", 20.0, 0.001),
                ("write_time_seconds_total", 120.0, 0.001),
                ("io_time_seconds_total", 200.0, 0.001),
                ("io_time_weighted_seconds_total", 300.0, 0.001),
                ("reads_merged_total", 0.0, 1.0),
                ("discards_completed_total", 0.0, 1.0),
                ("io_now", 0.0, 1.0),
            ];
            for (field, rate, unit) in fields {
                let motion = if rate > 0.0 && active > 0.0 {
                    Motion::Counter { rate, spread: 0.7, active }
                } else {
                    Motion::Constant
                };
                self.add(&format!("node_disk_{field}"), &labels, motion, unit, 1e7);
            }
        }
    }

    /// vmstat, netstat, sockstat, stat, load.
    fn kernel(&mut self) {
        for field in 0..80 {
            let motion = match field {
                0..45 => Motion::Counter { rate: 5_000.0, spread: 0.9, active: 1.0 },
                45..65 => Motion::Counter { rate: 90.0, spread: 0.9, active: 0.9 },
                65..75 => Motion::Counter { rate: 3.0, spread: 0.9, active: 0.5 },
                _ => Motion::Constant,
            };
            let room = ["vmstat", "netstat_Tcp", "netstat_Ip"][field % 3];
            self.add(&format!("node_{room}_field{field}"), &[], motion, 1.0, 1e8);
        }
        for name in ["node_load1", "node_load5", "node_load15"] {
            self.add(name, &[], Motion::Gauge { step: 12.0, active: 0.9 }, 0.01, 400.0);
        }
        for name in
            ["node_procs_running", "node_sockstat_TCP_inuse", "node_filefd_allocated", "node_sockstat_TCP_tw"]
        {
            self.add(name, &[], Motion::Gauge { step: 6.0, active: 0.6 }, 1.0, 2_000.0);
        }
        for name in ["cpu_waiting", "io_stalled", "io_waiting", "memory_stalled", "memory_waiting"] {
            let motion = Motion::Counter { rate: 30_000.0, spread: 0.9, active: 0.9 };
            self.add(&format!("node_pressure_{name}_seconds_total"), &[], motion, 0.000_001, 1e10);
        }
    }

    fn filesystems(&mut self) {
        for (number, mountpoint) in ["/", "/boot", "/var", "/srv", "/run", "/tmp"].into_iter().enumerate() {
            let labels = [("device", "/dev/vda1"), ("fstype", "ext4"), ("mountpoint", mountpoint)];
            let active = if number % 3 == 0 { 0.8 } else { 0.3 };
            for field in ["avail_bytes", "free_bytes"] {
                let motion = Motion::Gauge { step: 200.0, active };
                self.add(&format!("node_filesystem_{field}"), &labels, motion, 4096.0, 2e7);
            }
            for field in ["size_bytes", "files", "files_free", "readonly", "device_error"] {
                self.constant(&format!("node_filesystem_{field}"), &labels, 1e7);
            }
        }
    }

    /// Two in a hundred are no short decimals.
    fn floats(&mut self) {
        for field in 0..10 {
            self.add(
                &format!("node_timex_field{field}_seconds"),
                &[],
                Motion::Float { scale: 0.001 },
                1.0,
                0.0,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn series_are_distinct_and_move_alike_each_time() {
        let (mut one, mut two) = (Hosts::new(1_100, 7), Hosts::new(1_100, 7));
        let names: BTreeSet<&Labels> = (0..one.len()).map(|at| one.labels(at)).collect();
        assert_eq!(names.len(), 1_100);
        let before: Vec<f64> = (0..one.len()).map(|at| one.value(at)).collect();
        one.advance();
        two.advance();
        let after: Vec<f64> = (0..one.len()).map(|at| one.value(at)).collect();
        assert_eq!(after, (0..two.len()).map(|at| two.value(at)).collect::<Vec<_>>());
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!((500..900).contains(&moved), "{moved} of 1,100 moved");
    }

    #[test]
    fn decimals_stay_short() {
        let mut hosts = Hosts::new(PER_HOST, 1);
        (0..1_000).for_each(|_| hosts.advance());
        for at in 0..PER_HOST {
            let (text, labels) = (hosts.value(at).to_string(), hosts.labels(at));
            let is_float = labels.get("__name__").is_some_and(|name| name.starts_with("node_timex"));
            assert!(is_float || text.len() <= 17, "{labels:?} {text}");
        }
    }
}
