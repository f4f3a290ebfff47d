//! Ten thousand devices of about a hundred series, every 60 s, in one agent: the shipped program, with its schedule, spool and uplink,
//! against the simulator in another process. Fifty devices never answer and fifty answer after two seconds.
//!
//! Everything is read from what the agent sends (to a sink in this process) and from the system's accounting of its process. Lateness is
//! how much later than its phase a round began (up to 100 ms are not seen: a round that is late by less bears its planned time), plus
//! how long it took; over all devices that are neither silent nor slow, in every round but the first: in the first, profiles are
//! chosen, repetitions are learned and labels are made. Memory is the most that was resident at any time, the first round included.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::fleet::address;
use super::{COMMUNITY, Figure, Fleet};
use crate::bench::agent::dist_agent;
use crate::bench::report::Better;
use crate::bench::sink::{self, Sample};
use crate::running::Running;
use crate::usage::{self, Usage};

const DEVICES: u32 = 10_000;
const FAULTY: u32 = 100;
/// Two ports: 76 series of theirs, and 27 of the device and of the asking make a hundred.
const PORTS: u32 = 2;
const INTERVAL: Duration = Duration::from_secs(60);
/// Rounds of every device; `PANTAU_BENCH_ROUNDS` may ask for others.
const ROUNDS: usize = 4;
const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// What is read of a device's round.
const DURATION: &str = "snmp_scrape_duration_seconds";
const DROPS: &str = "pantau_snmp_kernel_drops_total";
const MISSED: &str = "pantau_agent_rounds_missed_total";

/// One round of one device.
#[derive(Clone, Copy, Debug)]
struct Round {
    at_ms: i64,
    samples: u32,
    seconds: f64,
    up: bool,
    whole: bool,
}

impl Round {
    const fn at(at_ms: i64) -> Self {
        Self { at_ms, samples: 0, seconds: 0.0, up: false, whole: true }
    }
}

/// What the sink saw.
#[derive(Default)]
struct Seen {
    devices: Vec<Vec<Round>>,
    drops: Option<f64>,
    missed: Option<f64>,
}

impl Seen {
    fn take(&mut self, sample: Sample<'_>) {
        let device = sample.instance.strip_prefix("switch-").and_then(|number| number.parse::<usize>().ok());
        let Some(rounds) = device.and_then(|device| self.devices.get_mut(device)) else {
            match sample.name {
                DROPS => self.drops = Some(sample.value),
                MISSED => self.missed = Some(sample.value),
                _ => {}
            }
            return;
        };
        // Batches may come in any order, but the live ones are sent as they were made.
        let at = match rounds.iter().rposition(|round| round.at_ms == sample.at_ms) {
            Some(at) => at,
            None => {
                rounds.push(Round::at(sample.at_ms));
                rounds.len() - 1
            }
        };
        let round = &mut rounds[at];
        round.samples += 1;
        match sample.name {
            DURATION => round.seconds = sample.value,
            "up" => round.up = sample.value == 1.0,
            "pantau_snmp_walk_complete" => round.whole &= sample.value == 1.0,
            _ => {}
        }
    }

    fn good(&self) -> &[Vec<Round>] {
        &self.devices[..self.devices.len() - FAULTY as usize]
    }

    /// Whether every good device had so many rounds.
    fn has_rounds(&self, count: usize) -> bool {
        self.good().iter().all(|rounds| rounds.len() >= count)
    }
}

/// Runs it against a fleet of its own.
pub(super) fn run() -> Result<Vec<Figure>> {
    let rounds = std::env::var("PANTAU_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(ROUNDS);
    ensure!(rounds >= 2, "the first round is not measured: 2 rounds or more");
    let mut fleet = Fleet::start(DEVICES, PORTS, FAULTY)?;
    let seen = Arc::new(Mutex::new(Seen { devices: vec![Vec::new(); DEVICES as usize], ..Seen::default() }));
    let look = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let visited = seen.clone();
    let sink = sink::start(move |sample| {
        visited.lock().unwrap_or_else(PoisonError::into_inner).take(sample);
    })?;
    let folder = tempfile::tempdir()?;
    let config = settings(folder.path(), &fleet, &format!("http://{sink}"))?;
    let mut command = Command::new(dist_agent()?);
    let mut agent =
        Running::start("pantau-agent", command.args(["run", "--config"]).arg(config), folder.path());
    let mut accounting = |what: &str, count: usize| -> Result<(Instant, Usage)> {
        // A device's first round comes within an interval; what was read is sent a second later.
        let (begun, patience) = (Instant::now(), INTERVAL * (count as u32 + 1));
        while !look().has_rounds(count) {
            ensure!(agent.is_running(), "the agent ended:\n{}", agent.log());
            ensure!(begun.elapsed() < patience, "{what} did not come:\n{}", agent.log());
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok((Instant::now(), usage::of(agent.pid()).context("the agent ended")?))
    };
    let first = accounting("the first round", 1)?;
    let last = accounting("all rounds", rounds)?;
    eprintln!("the fleet: {}", fleet.counts()?);
    let seen = look();
    figures(&seen, first, last)
}

/// Writes them, and returns where.
fn settings(folder: &Path, fleet: &Fleet, collector: &str) -> Result<std::path::PathBuf> {
    let place =
        |at| format!("- {{name: switch-{at}, address: \"{}:{}\"}}\n", address(fleet.first, at), fleet.port);
    std::fs::write(folder.join("devices.yaml"), (0..fleet.devices).map(place).collect::<String>())?;
    std::fs::write(folder.join("community"), COMMUNITY)?;
    std::fs::write(folder.join("token"), "a-token-that-the-sink-does-not-look-at")?;
    let text = format!(
        "identity: {{instance: bench}}\nspool: {{folder: spool}}\n\
         inputs: {{host: {{enabled: false}}, snmp: [{{community: {{file: community}}, interval: 60s, files: [devices.yaml]}}]}}\n\
         uplink: {{collectors: [\"{collector}\"], token: {{file: token}}}}\n"
    );
    let config = folder.join("agent.yaml");
    std::fs::write(&config, text)?;
    Ok(config)
}

fn figures(seen: &Seen, first: (Instant, Usage), last: (Instant, Usage)) -> Result<Vec<Figure>> {
    let mut late: Vec<f64> = Vec::new();
    let mut poor = 0;
    for rounds in seen.good() {
        late.extend(lateness(rounds).skip(1));
        poor += rounds.iter().skip(1).filter(|round| !round.up || !round.whole).count();
    }
    late.sort_unstable_by(f64::total_cmp);
    let quantile = |share: f64| late.get((late.len() as f64 * share) as usize).copied().unwrap_or_default();
    let series: u32 =
        seen.devices.iter().filter_map(|rounds| rounds.iter().map(|round| round.samples).max()).sum();
    let silent = seen.devices.iter().filter(|rounds| rounds.iter().all(|round| !round.up)).count();
    let cpu = (last.1.cpu - first.1.cpu).as_secs_f64() / (last.0 - first.0).as_secs_f64();
    eprintln!(
        "minute: {} rounds of good devices, {poor} of them poor, {silent} devices never up, lateness p50 {:.3} p99 {:.3} s, \
         resident after the first round {:.1} and at the end {:.1} MiB, {:?} rounds missed",
        late.len(),
        quantile(0.5),
        quantile(0.99),
        first.1.rss_bytes as f64 / MEBIBYTE,
        last.1.rss_bytes as f64 / MEBIBYTE,
        seen.missed,
    );
    ensure!(poor == 0, "devices that are well were not read whole");
    let drops = seen.drops.with_context(|| format!("the agent sent no {DROPS}"))?;
    let figure =
        |name, unit, pantau, goal| Figure { name, unit, pantau, peer: None, goal, better: Better::Lower };
    Ok(vec![
        figure("10,000 devices each 60 s: series", "", f64::from(series), None),
        figure(
            "10,000 devices each 60 s: resident memory, most at any time",
            "MiB",
            last.1.rss_bytes_peak as f64 / MEBIBYTE,
            Some(192.0),
        ),
        figure(
            "10,000 devices each 60 s: resident memory per series",
            "bytes",
            last.1.rss_bytes_peak as f64 / f64::from(series),
            None,
        ),
        figure("10,000 devices each 60 s: receive drops", "", drops, Some(0.0)),
        figure(
            "10,000 devices each 60 s: lateness of all others, worst",
            "s",
            late.last().copied().unwrap_or_default(),
            Some(1.0),
        ),
        figure("10,000 devices each 60 s: CPU", "%", cpu * 100.0, None),
    ])
}

/// Of each round: how long after its phase its last value was there. The phase is the earliest within the interval that any round began.
fn lateness(rounds: &[Round]) -> impl Iterator<Item = f64> {
    let interval = INTERVAL.as_millis() as i64;
    // Against the first round, so that a phase at the interval's edge is not torn apart.
    let origin = rounds.first().map_or(0, |round| round.at_ms);
    let offset = move |round: &Round| {
        let since = (round.at_ms - origin).rem_euclid(interval);
        if since > interval / 2 { since - interval } else { since }
    };
    let phase = rounds.iter().map(offset).min().unwrap_or(0);
    rounds.iter().map(move |round| (offset(round) - phase) as f64 / 1000.0 + round.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_late_by_its_late_begin_and_its_length() {
        let round = |at_ms, seconds| Round { seconds, ..Round::at(at_ms) };
        let check = |rounds: &[Round], expected: &[f64]| {
            assert_eq!(lateness(rounds).collect::<Vec<_>>(), expected);
        };
        check(&[round(59_990, 0.5), round(119_990, 0.25)], &[0.5, 0.25]);
        check(&[round(60_250, 0.5), round(119_990, 0.25), round(180_000, 0.0)], &[0.76, 0.25, 0.01]);
        check(&[], &[]);
    }

    #[test]
    fn what_an_agent_sends_is_told_apart() {
        let mut seen = Seen { devices: vec![Vec::new(); FAULTY as usize + 1], ..Seen::default() };
        let sample = |name, instance, at_ms, value| Sample { name, instance, at_ms, value };
        seen.take(sample("up", "switch-0", 1, 1.0));
        seen.take(sample(DURATION, "switch-0", 1, 0.5));
        seen.take(sample("pantau_snmp_walk_complete", "switch-0", 61, 0.0));
        seen.take(sample(DROPS, "bench", 61, 3.0));
        assert!(seen.has_rounds(2) && !seen.has_rounds(3));
        let [first, second] = &seen.good()[0][..] else { panic!("two rounds") };
        assert_eq!((first.samples, first.seconds, first.up, first.whole), (2, 0.5, true, true));
        assert_eq!((second.up, second.whole, seen.drops, seen.missed), (false, false, Some(3.0), None));
    }
}
