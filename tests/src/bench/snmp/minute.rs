//! The part `minute`: ten thousand devices of about a hundred series, every 60 s, in one process; fifty of them never answer and fifty
//! answer after two seconds.
//!
//! Lateness is the time from a round's planned begin to its last value in the series table, over all devices that are neither silent nor
//! slow, in every round but the first: in the first, repetitions are learned and labels are made.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use model::Timestamp;
use serde_json::json;
use snmp::engine::{Engine, Options, Target};
use tokio::task::LocalSet;

use super::fleet::address;
use super::ours::{processor, profile, target};
use super::poll::{Device, Questions};
use super::{Figure, Fleet, Manner, once};
use crate::bench::report::Better;
use crate::usage;

const DEVICES: u32 = 10_000;
const FAULTY: u32 = 100;
/// Two ports with an optic in each: a hundred series.
const PORTS: u32 = 2;
const INTERVAL: Duration = Duration::from_secs(60);
/// Rounds of every device; `PANTAU_BENCH_ROUNDS` may ask for others.
const ROUNDS: u32 = 4;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Runs it against a fleet of its own.
pub(super) fn run() -> Result<Vec<Figure>> {
    let rounds =
        std::env::var("PANTAU_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut fleet = Fleet::start(DEVICES, PORTS, FAULTY)?;
    let words = [fleet.first.to_string(), fleet.port.to_string(), DEVICES.to_string(), FAULTY.to_string()];
    let answer = once(&["minute", &words[0], &words[1], &words[2], &words[3], &rounds.to_string()])?;
    eprintln!("the fleet: {}", fleet.counts()?);
    let figure = |name, unit, key: &str, goal| -> Result<Figure> {
        let pantau = answer[key].as_f64().with_context(|| format!("no {key} in {answer}"))?;
        Ok(Figure { name, unit, pantau, peer: None, goal, better: Better::Lower })
    };
    Ok(vec![
        figure("10,000 devices each 60 s: series", "", "series", None)?,
        figure("10,000 devices each 60 s: resident memory", "MiB", "rss_mib", Some(192.0))?,
        figure("10,000 devices each 60 s: receive drops", "", "drops", Some(0.0))?,
        figure("10,000 devices each 60 s: lateness of all others, worst", "s", "lateness_max", Some(1.0))?,
        figure("10,000 devices each 60 s: CPU", "%", "cpu_percent", None)?,
    ])
}

#[derive(Default)]
struct Seen {
    late: Vec<f32>,
    missed: u64,
}

/// Asks and prints what came of it.
pub(super) fn measure(first: Ipv4Addr, port: u16, devices: u32, faulty: u32, rounds: u32) -> Result<()> {
    ensure!(rounds >= 2 && faulty < devices, "the first round is not measured: 2 rounds or more");
    let profile = profile("generic")?;
    let questions: &'static Questions = Box::leak(Box::new(Questions::whole(&profile)));
    let model = target(first, port, 0, Manner::Learned)?;
    let engine = Engine::start(Options::default())?;
    let seen = Rc::new(RefCell::new(Seen::default()));
    let all: Vec<Device> = (0..devices)
        .map(|at| {
            let mut target = Target { name: format!("switch-{at}").into(), ..model.clone() };
            target.address.set_ip(address(first, at).into());
            Device::new(Arc::new(target), &profile, questions)
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let start = Instant::now() + Duration::from_secs(1);
    let mut rounds_of = Vec::new();
    for (at, mut device) in all.into_iter().enumerate() {
        let (handle, seen) = (engine.handle(), seen.clone());
        let is_good = at < (devices - faulty) as usize;
        // Phases spread over the interval, in an order that has nothing to do with addresses.
        let phase = INTERVAL.mul_f64((at as f64 * 0.618_033_988_75).fract());
        rounds_of.push(tasks.spawn_local(async move {
            for round in 0..rounds {
                let planned = start + phase + INTERVAL * round;
                tokio::time::sleep_until(planned.into()).await;
                let at = Timestamp::from_millis((planned - start).as_millis() as i64);
                let came = device.round(&handle, questions, planned, at).await;
                if is_good && round > 0 {
                    let mut seen = seen.borrow_mut();
                    seen.late.push(planned.elapsed().as_secs_f32());
                    seen.missed += u64::from(!came.answered || !came.whole);
                }
            }
            device
        }));
    }
    let watch = async {
        tokio::time::sleep_until((start + INTERVAL).into()).await;
        processor()
    };
    let before = runtime.block_on(tasks.run_until(watch));
    let all = runtime.block_on(tasks.run_until(join_all(rounds_of)));
    let all = all.into_iter().collect::<Result<Vec<Device>, _>>()?;
    let elapsed = start.elapsed() - INTERVAL;
    let cpu = processor() - before;
    let usage = usage::of(std::process::id()).context("this process is there")?;
    let stats = engine.stats();
    let mut late = std::mem::take(&mut seen.borrow_mut().late);
    late.sort_unstable_by(f32::total_cmp);
    let series: usize = all.iter().map(Device::series).sum();
    let remembered: usize = all.iter().map(Device::evaluator_bytes).sum();
    let quantile = |share: f64| late.get((late.len() as f64 * share) as usize).copied().unwrap_or_default();
    eprintln!(
        "minute: {} rounds of good devices, {} missed, lateness p50 {:.3} p99 {:.3} s; evaluators {:.1} MiB; {stats:?}",
        late.len(),
        seen.borrow().missed,
        quantile(0.5),
        quantile(0.99),
        remembered as f64 / MEBIBYTE,
    );
    ensure!(seen.borrow().missed == 0, "devices that are well were not read whole");
    println!(
        "{}",
        json!({
            "series": series, "rss_mib": usage.rss_bytes_peak as f64 / MEBIBYTE, "drops": stats.kernel_drops,
            "lateness_max": late.last(), "cpu_percent": cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
        })
    );
    Ok(())
}
