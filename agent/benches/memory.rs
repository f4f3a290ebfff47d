//! What devices cost in memory, part by part: `cargo bench -p pantau-agent --bench memory [-- DEVICES]`.
//!
//! In: simulated switches of about a hundred series, read for some rounds by the input itself. Out: bytes a device and bytes a series of
//! each part, by what giving it back frees. Bytes are those asked of the allocator; what that itself takes is in the last line, the
//! growth of the resident memory. The engine's queue, the spool and the uplink are not in it: `cargo xtask bench snmp` runs the program.
//!
//! This program is allowed unsafe code, which the workspace denies elsewhere: an allocator is an unsafe trait.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Labels, Timestamp};
use pantau_agent::inputs::{Config, Context, Input, build};
use pantau_agent::series::{Round, SeriesTable};
use simulator::{Device, Fleet, Options, Place, Switch};

/// Counts what is in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator as it came; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: i64 = 3;

fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed)
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or_default() << 10
}

struct Watched {
    input: Box<dyn Input>,
    table: SeriesTable,
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let devices = words.next().map_or(200, |word| word.parse().expect("a number of devices"));
    let tree = Switch { ports: 2, optics: 2, seed: 1 }.tree().expect("a good switch");
    let tree = Arc::new(tree);
    let device = |at: u32| Device::new(tree.clone()).named(&format!("switch-{at}")).seed(at.into());
    let place = Place::Addresses { first: Ipv4Addr::new(127, 2, 0, 1), port: 0 };
    let options = Options { place, ..Options::default() };
    let fleet = Fleet::start(options, (0..devices).map(|at| device(at).community("public")));
    let fleet = fleet.expect("loopback can be bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(&fleet, devices));
}

fn settings(fleet: &Fleet, devices: u32) -> Config {
    use std::fmt::Write as _;
    let mut text = "snmp:\n- community: {file: community}\n  interval: 60s\n  targets:\n".to_owned();
    for at in 0..devices {
        let address = fleet.address(at as usize);
        writeln!(text, "  - {{name: switch-{at}, address: \"{address}\"}}").expect("a String takes all");
    }
    settings::parse(&text, "settings").expect("good settings")
}

async fn measure(fleet: &Fleet, devices: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("community"), "public\n").expect("a good disk");
    let config = settings(fleet, devices);
    let context = Context {
        instance: "here".to_owned(),
        labels: Labels::empty(),
        base: folder.path().into(),
        state: None,
        series_max: 50_000,
    };
    let (start, start_resident) = (in_use(), resident());
    let mut sets = build(&config, &context).expect("good settings");
    let group = in_use();
    let targets: Vec<_> =
        sets.iter_mut().flat_map(|set| set.refresh().expect("a list").unwrap_or_default()).collect();
    let keys: usize = targets.iter().map(|target| target.key.len()).sum();
    let all = targets.into_iter().map(|target| {
        let input = (target.build)();
        Watched { table: input.new_table(), input }
    });
    let mut all: Vec<Watched> = all.collect();
    let built = in_use();
    let mut samples = 0;
    let mut points = Vec::new();
    for at in 1..=ROUNDS {
        samples = 0;
        for watched in &mut all {
            let Watched { input, table } = watched;
            let mut round = Round::begin(table, Timestamp::from_millis(at), std::mem::take(&mut points));
            input.collect(&mut round).await.expect("a device that answers");
            points = round.finish().0;
            samples += points.len();
        }
    }
    let series: usize = all.iter().map(|watched| watched.table.len()).sum();
    println!("{devices} devices, {series} series, {samples} samples in the last round");
    let say = |what: &str, bytes: usize| {
        let (of_device, of_series) = (bytes as f64 / f64::from(devices), bytes as f64 / series as f64);
        println!("{what:24} {of_device:10.0} a device {of_series:8.1} a series");
    };
    let (full, full_resident) = (in_use(), resident());
    say("settings", group - start);
    say("keys (twice in use)", keys);
    say("targets at the start", built - group);
    let before = in_use();
    let (mut inputs, mut tables) = (Vec::new(), Vec::new());
    for Watched { input, table } in all {
        inputs.push(input);
        tables.push(table);
    }
    let lists = in_use() - before;
    drop(tables);
    say("tables of series", before + lists - in_use());
    let before = in_use();
    drop(inputs);
    say("inputs", before - in_use());
    say("the engine and the rest", in_use() - group);
    say("all", full - start);
    say("all, resident", full_resident - start_resident);
}
