//! The part `ours`: rounds over the fleet, as many as fit the time, and the processor time of this whole process.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use model::Timestamp;
use profiles::{Profile, Set};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use snmp::engine::{Credential, Engine, Handle, Options, Target};
use snmp::usm::Context as UserContext;
use snmp::{Community, Version};

use super::fleet::{address, user};
use super::poll::{Device, Questions};
use super::{COMMUNITY, Manner, REPETITIONS, VARBINDS, WINDOW};

/// Rounds at the same time.
const JOBS: usize = 64;
/// Rounds of every device before the measurement: repetitions are learned, labels made.
const WARM_UP: usize = 4;
/// What a reply may be at first, and at most where nothing is to be learned.
const REPLY_BYTES: u16 = 1_200;

/// A profile of the program.
pub(super) fn profile(name: &str) -> Result<Arc<Profile>> {
    Set::embedded().get(name).cloned().with_context(|| format!("the program has no profile {name}"))
}

/// A device of the fleet.
pub(super) fn target(first: Ipv4Addr, port: u16, at: u32, manner: Manner) -> Result<Target> {
    let credential = match manner {
        Manner::User => Credential::User { user: user()?, context: UserContext::default() },
        _ => Credential::Community { version: Version::V2c, community: Community::new(COMMUNITY) },
    };
    let address = (address(first, at), port).into();
    Ok(Target::new(format!("switch-{at}"), address, vec![credential]))
}

/// Processor time of this process so far.
pub(super) fn processor() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Asks and prints the cost.
pub(super) fn measure(first: Ipv4Addr, port: u16, devices: u32, manner: Manner) -> Result<()> {
    let profile = profile("if-mib")?;
    let fixed = manner == Manner::Fixed;
    let questions = Questions::interfaces(&profile, fixed.then_some(REPETITIONS));
    // Keys are made from phrases once a credential, as the agent does it.
    let model = target(first, port, 0, manner)?;
    let device = |at: u32| {
        let mut target = Target { name: format!("switch-{at}").into(), ..model.clone() };
        target.address.set_ip(address(first, at).into());
        if fixed {
            target.reply_bytes_max = REPLY_BYTES;
        }
        RefCell::new(Some(Device::new(Arc::new(target), &profile, &questions)))
    };
    let all: Vec<RefCell<Option<Device>>> = (0..devices).map(device).collect();
    let engine = Engine::start(Options::default())?;
    let handle = engine.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rounds = Rounds { handle: &handle, questions: &questions, devices: &all };
    runtime.block_on(rounds.until(|turn| turn >= all.len() * WARM_UP));
    let (busy, before, ends) = (processor(), engine.stats(), Instant::now() + WINDOW);
    let sum = runtime.block_on(rounds.until(|_| Instant::now() >= ends));
    let (cpu, after) = (processor() - busy, engine.stats());
    ensure!(sum.devices > 0 && sum.varbinds == sum.devices * VARBINDS, "not every value came: {sum:?}");
    let replies = (after.replies - before.replies) as f64;
    eprintln!(
        "ours, {}: {} rounds, {:.4} ms per 1,000, {:.0} samples a round, {:.1} values and {:.0} bytes a reply, {} retries, {} drops",
        manner.as_str(),
        sum.devices,
        cpu.as_secs_f64() * 1e6 / sum.varbinds as f64,
        sum.samples as f64 / sum.devices as f64,
        sum.varbinds as f64 / replies,
        (after.received_bytes - before.received_bytes) as f64 / replies,
        after.retries - before.retries,
        after.kernel_drops - before.kernel_drops,
    );
    println!("{}", json!({"cpu": cpu.as_secs_f64(), "varbinds": sum.varbinds, "devices": sum.devices}));
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    devices: u64,
    varbinds: u64,
    samples: u64,
}

struct Rounds<'a> {
    handle: &'a Handle,
    questions: &'a Questions,
    devices: &'a [RefCell<Option<Device>>],
}

impl Rounds<'_> {
    /// Device after device, [`JOBS`] of them at a time, until `over` says so for a turn.
    async fn until(&self, over: impl Fn(usize) -> bool) -> Sum {
        let next = std::cell::Cell::new(0);
        let worker = async || {
            let mut sum = Sum::default();
            loop {
                let turn = next.replace(next.get() + 1);
                if over(turn) {
                    return sum;
                }
                // Taken while its round is under way.
                let place = &self.devices[turn % self.devices.len()];
                let Some(mut device) = place.take() else { continue };
                let at = Timestamp::from_millis(turn as i64);
                let came = device.round(self.handle, self.questions, Instant::now(), at).await;
                place.replace(Some(device));
                sum.devices += 1;
                sum.varbinds += came.varbinds;
                sum.samples += came.samples;
            }
        };
        let sums = join_all((0..JOBS).map(|_| worker())).await;
        sums.into_iter().fold(Sum::default(), |all, sum| Sum {
            devices: all.devices + sum.devices,
            varbinds: all.varbinds + sum.varbinds,
            samples: all.samples + sum.samples,
        })
    }
}
