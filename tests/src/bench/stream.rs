//! Hosts as node_exporter tells of them, 500 series each, and the stream of them that Prometheus would send: the same bytes for everyone,
//! from a printed seed.
//!
//! Counters of bytes, of hundredths and of thousandths of a second, a third of which stands still in any interval; memory in pages; one
//! series in eight stays. What the peers need for them is printed beside ours.

use model::{Labels, Timestamp};
use wire::body::{Codec, Packer};

/// Seed of the values; printed with each bench.
pub const SEED: u64 = 20_261_122;

/// Samples in one request (Prometheus' `max_samples_per_send` since 2.50).
pub const SAMPLES_PER_REQUEST: usize = 2_000;

/// Series of one host.
pub const PER_HOST: usize = 500;

/// Of these: `node_cpu_seconds_total`.
pub const PROCESSOR_SERIES: usize = 128;

/// How a series moves.
#[derive(Clone, Copy)]
enum Motion {
    /// Grows by up to so much a step, in steps of `unit`.
    Counter { step: f64, unit: f64 },
    /// Wanders around a level.
    Gauge { level: f64, unit: f64 },
    /// Stays.
    Constant(f64),
}

struct Series {
    labels: Labels,
    motion: Motion,
    value: f64,
}

/// The series and their state.
pub struct Hosts {
    series: Vec<Series>,
    random: u64,
}

impl Hosts {
    /// `count` series: as many instances of 500 as that takes.
    pub fn new(count: usize, seed: u64) -> Self {
        let mut hosts = Self { series: Vec::with_capacity(count), random: seed };
        for index in 0..count {
            let series = hosts.make(index / PER_HOST, index % PER_HOST);
            hosts.series.push(series);
        }
        hosts
    }

    /// Labels of a series.
    pub fn labels(&self, at: usize) -> &Labels {
        &self.series[at].labels
    }

    /// All series go one round further.
    pub fn advance(&mut self) {
        for series in &mut self.series {
            series.step(&mut self.random);
        }
    }

    /// A series' value in this round.
    pub fn value(&self, at: usize) -> f64 {
        self.series[at].value
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// One sample of each series at a time, as snappy-packed remote write 1.0 bodies.
    pub fn round(&mut self, at: Timestamp) -> Vec<Vec<u8>> {
        let mut packer = Packer::new(1);
        let mut bodies = Vec::new();
        let mut random = self.random;
        for part in self.series.chunks_mut(SAMPLES_PER_REQUEST) {
            let mut writer = wire::v1::Writer::default();
            for series in part {
                series.step(&mut random);
                writer.series(&series.labels, [(at, series.value)]);
            }
            let mut body = Vec::new();
            packer.pack(Codec::Snappy, &writer.finish(), &mut body).expect("a small request can be packed");
            bodies.push(body);
        }
        self.random = random;
        bodies
    }

    fn make(&mut self, instance: usize, index: usize) -> Series {
        let instance = format!("node-{instance:04}.dc.example:9100");
        let cpu = (index / 8 % 16).to_string();
        let mode = ["user", "system", "idle", "iowait", "irq", "softirq", "steal", "nice"][index % 8];
        let device = format!("eth{}", index % 12);
        let (name, extra, motion): (String, Vec<(&str, &str)>, Motion) = match index {
            0..PROCESSOR_SERIES => (
                "node_cpu_seconds_total".into(),
                vec![("cpu", &cpu), ("mode", mode)],
                Motion::Counter { step: 15.0, unit: 0.01 },
            ),
            PROCESSOR_SERIES..260 => {
                let metric = (index - PROCESSOR_SERIES) / 12;
                let name = format!("node_network_metric{metric}_total");
                (name, vec![("device", &device)], Motion::Counter { step: 1e6, unit: 1.0 })
            }
            260..310 => (
                format!("node_memory_Field{index}_bytes"),
                vec![],
                Motion::Gauge { level: 4e9, unit: 4096.0 },
            ),
            310..360 => (
                format!("node_disk_metric{}_total", index / 5),
                vec![("device", &device)],
                Motion::Counter { step: 30.0, unit: 0.001 },
            ),
            360..420 => {
                (format!("node_vmstat_field{index}"), vec![], Motion::Counter { step: 900.0, unit: 1.0 })
            }
            420..440 => (format!("node_load{index}"), vec![], Motion::Gauge { level: 2.0, unit: 0.01 }),
            _ => (
                format!("node_filesystem_field{}_bytes", index % 4),
                vec![("device", "/dev/vda1"), ("fstype", "ext4"), ("mountpoint", &device)],
                Motion::Constant((index * 4096) as f64),
            ),
        };
        let mut labels = vec![("__name__", name.as_str()), ("instance", &instance), ("job", "node")];
        labels.extend(extra);
        let id = index.to_string();
        labels.push(("shard", &id));
        let value = match motion {
            Motion::Counter { step, unit } => {
                (random_unit(&mut self.random) * step * 1e5 / unit).round() * unit
            }
            Motion::Gauge { level, .. } => level,
            Motion::Constant(value) => value,
        };
        Series { labels: Labels::from_pairs(labels), motion, value }
    }
}

impl Series {
    fn step(&mut self, random: &mut u64) {
        let unit_random = random_unit(random);
        match self.motion {
            Motion::Counter { step, unit } => {
                // A third of all counters stands still in any interval, as on real hosts.
                let moved = (unit_random - 0.33).max(0.0) * step;
                self.value = ((self.value + moved) / unit).round() * unit;
            }
            Motion::Gauge { level, unit } => {
                self.value = ((self.value + (unit_random - 0.5) * level * 0.02) / unit).round() * unit;
            }
            Motion::Constant(_) => {}
        }
    }
}

/// xorshift64*: the same figures everywhere, no dependency.
pub(crate) fn random_unit(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn series_are_distinct_and_the_stream_is_the_same_each_time() {
        let mut one = Hosts::new(1_500, SEED);
        let names: BTreeSet<&Labels> = one.series.iter().map(|series| &series.labels).collect();
        assert_eq!(names.len(), 1_500);
        let at = Timestamp::from_millis(1);
        assert_eq!(one.round(at), Hosts::new(1_500, SEED).round(at));
        assert_ne!(one.round(at), Hosts::new(1_500, SEED).round(at), "counters move");
    }
}
