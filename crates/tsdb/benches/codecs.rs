//! What columns cost: bytes and nanoseconds a sample, by kind of series, fresh and compacted.
//! `cargo bench -p tsdb --features probe --bench codecs [-- KIND]`; the best of a few runs counts, as the machine has other work too.

use std::time::{Duration, Instant};

use tsdb::probe::{Columns, lengths};

/// 36 hours at 15 s.
const SAMPLES: usize = 8640;
const SEED: u64 = 20_261_122;

/// A kind of series: its name, its share among 500 series of a host, and its values.
struct Kind {
    name: &'static str,
    share: usize,
    make: fn(&mut Random) -> Vec<f64>,
}

const KINDS: [Kind; 11] = [
    Kind { name: "cpu seconds, * 0.01", share: 128, make: |random| counter(random, 15.0, 0.01) },
    Kind { name: "network counter", share: 132, make: |random| counter(random, 1e6, 1.0) },
    Kind { name: "memory gauge, pages", share: 50, make: |random| gauge(random, 4e9, 4096.0) },
    Kind { name: "disk seconds, * 0.001", share: 50, make: |random| counter(random, 30.0, 0.001) },
    Kind { name: "vmstat counter", share: 60, make: |random| counter(random, 900.0, 1.0) },
    Kind { name: "load, * 0.01", share: 20, make: |random| gauge(random, 2.0, 0.01) },
    Kind { name: "constant", share: 60, make: |random| vec![(random.below(100) * 4096) as f64; SAMPLES] },
    // Not in the stream of `cargo xtask bench`, but in the world:
    Kind { name: "9 digits, / 1e9", share: 0, make: nanoseconds },
    Kind { name: "rate, no decimal", share: 0, make: rate },
    Kind { name: "gauge with markers", share: 0, make: marked },
    Kind { name: "counter with resets", share: 0, make: resets },
];

/// xorshift64*, as the stream of the store's bench has it.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.unit() * end as f64) as u64
    }
}

fn counter(random: &mut Random, step: f64, unit: f64) -> Vec<f64> {
    let mut value = (random.unit() * step * 1e5 / unit).round() * unit;
    let next = |_| {
        let moved = (random.unit() - 0.33).max(0.0) * step;
        value = ((value + moved) / unit).round() * unit;
        value
    };
    (0..SAMPLES).map(next).collect()
}

fn gauge(random: &mut Random, level: f64, unit: f64) -> Vec<f64> {
    let mut value = level;
    let next = |_| {
        value = ((value + (random.unit() - 0.5) * level * 0.02) / unit).round() * unit;
        value
    };
    (0..SAMPLES).map(next).collect()
}

fn nanoseconds(random: &mut Random) -> Vec<f64> {
    let mut sum = random.below(1 << 40);
    let next = |_| {
        sum += 1_000_000 + random.below(500_000);
        sum as f64 / 1e9
    };
    (0..SAMPLES).map(next).collect()
}

fn rate(random: &mut Random) -> Vec<f64> {
    (0..SAMPLES).map(|_| random.below(100_000) as f64 / 14.987).collect()
}

fn marked(random: &mut Random) -> Vec<f64> {
    let stale = f64::from_bits(model::STALE_NAN_BITS);
    (0..SAMPLES)
        .map(|_| if random.below(200) == 0 { stale } else { 20.0 + random.below(60) as f64 / 10.0 })
        .collect()
}

fn resets(random: &mut Random) -> Vec<f64> {
    let mut sum = 0;
    let next = |_| {
        sum = if random.below(1000) == 0 { 0 } else { sum + random.below(5000) };
        sum as f64
    };
    (0..SAMPLES).map(next).collect()
}

/// What a coding of many series costs.
#[derive(Default)]
struct Cost {
    samples: usize,
    bytes: usize,
    encode: Duration,
    decode: Duration,
}

fn measure(series: &[Vec<f64>], compacted: bool, runs: usize) -> Cost {
    let mut best = Cost { encode: Duration::MAX, decode: Duration::MAX, ..Cost::default() };
    let mut columns = Columns::default();
    for _ in 0..runs {
        let (mut packed, mut chunks) = (Vec::new(), Vec::new());
        let started = Instant::now();
        for values in series {
            let mut rest = &values[..];
            for length in lengths(values.len(), compacted) {
                let (chunk, after) = rest.split_at(length);
                let start = packed.len();
                columns.encode_values(chunk, compacted, &mut packed);
                chunks.push((start..packed.len(), length));
                rest = after;
            }
        }
        best.encode = best.encode.min(started.elapsed());
        let started = Instant::now();
        let mut values = Vec::with_capacity(SAMPLES);
        for (bytes, length) in &chunks {
            values.clear();
            columns
                .decode_values(&packed[bytes.clone()], *length, &mut values)
                .expect("what was just written");
        }
        best.decode = best.decode.min(started.elapsed());
        best.bytes = packed.len();
        best.samples = series.iter().map(Vec::len).sum();
    }
    best
}

impl Cost {
    fn line(&self) -> String {
        let each = |time: Duration| time.as_nanos() as f64 / self.samples as f64;
        let bytes = self.bytes as f64 / self.samples as f64;
        format!("{bytes:6.3} B {:6.1} / {:4.1} ns", each(self.encode), each(self.decode))
    }
}

fn times(name: &str, off: impl Fn(&mut Random) -> i64) {
    let mut random = Random(SEED);
    let times: Vec<i64> = (0..SAMPLES as i64).map(|index| index * 15_000 + off(&mut random)).collect();
    let line = [false, true].map(|compacted| {
        let (mut columns, mut packed, mut rest) = (Columns::default(), Vec::new(), &times[..]);
        let (mut encode, mut decode, mut into) = (Duration::ZERO, Duration::ZERO, Vec::new());
        for length in lengths(times.len(), compacted) {
            let (chunk, after) = rest.split_at(length);
            let (start, started) = (packed.len(), Instant::now());
            columns.encode_times(chunk, compacted, &mut packed);
            encode += started.elapsed();
            let started = Instant::now();
            columns
                .decode_times(&packed[start..], chunk[0], length, &mut into)
                .expect("what was just written");
            decode += started.elapsed();
            rest = after;
        }
        Cost { samples: times.len(), bytes: packed.len(), encode, decode }.line()
    });
    println!("{name:24} {}   {}", line[0], line[1]);
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let runs = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(7);
    println!("seed {SEED}; encode / decode a sample");
    println!("{:24} {:28} compacted", "", "fresh");
    let mut random = Random(SEED);
    let mut all = [Cost::default(), Cost::default()];
    for kind in KINDS.iter().filter(|kind| kind.name.contains(&filter)) {
        let series: Vec<Vec<f64>> = (0..20).map(|_| (kind.make)(&mut random)).collect();
        let costs = [false, true].map(|compacted| measure(&series, compacted, runs));
        println!("{:24} {}   {}", kind.name, costs[0].line(), costs[1].line());
        for (sum, cost) in all.iter_mut().zip(&costs) {
            sum.samples += cost.samples * kind.share;
            sum.bytes += cost.bytes * kind.share;
            sum.encode += cost.encode * kind.share as u32;
            sum.decode += cost.decode * kind.share as u32;
        }
    }
    if all[0].samples > 0 {
        println!("{:24} {}   {}", "a host's 500 series", all[0].line(), all[1].line());
    }
    if filter.is_empty() {
        times("times: steady", |_| 0);
        times("times: within 5 ms", |random| random.below(5) as i64);
        times("times: within 1 s", |random| random.below(1_000) as i64);
        times("times: within 15 s", |random| random.below(15_000) as i64);
    }
}
