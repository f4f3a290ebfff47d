//! Every fault that a simulated device can be told to have, over real sockets and all at once: our engine ends each round in time with
//! a reason, reads a good neighbour whole meanwhile, and the device itself as soon as it is well.
//!
//! What each fault leads to is tested in `crates/snmp` on a clock turned by hand, what a reply then looks like in `crates/simulator`.

use std::sync::Arc;
use std::time::Duration;

use simulator::{Device, Fault, Fleet, Link, Options, Rule, Script, Switch};
use snmp::engine::{Credential, Engine, Handle, Harvest, Job, Target};
use snmp::round::Table;
use snmp::usm::{AuthProtocol, Context, PrivProtocol};
use snmp::{Community, Limits, Oid, Version};

use crate::pair::Pair;

const USER: Pair = Pair(Some(AuthProtocol::Sha256), Some(PrivProtocol::Aes128));
/// What a fault that needs an argument is given: the first that it takes.
const ARGUMENTS: [&str; 6] = ["", "3", "20ms", "list", "1.3.6.1.2.1.2.2.1.10", "50%"];
/// Rounds with the fault.
const BAD_ROUNDS: usize = 3;
/// Rounds after it, of which one must be whole: a table that was silent is left alone for some.
const GOOD_ROUNDS: usize = 5;

fn rules() -> Vec<(String, Script)> {
    let rule = |name: &&str| -> Rule {
        let with = |argument: &&str| format!("{name} {argument}").parse().ok();
        ARGUMENTS.iter().find_map(with).unwrap_or_else(|| panic!("{name} takes one of {ARGUMENTS:?}"))
    };
    let mut all: Vec<(String, Script)> =
        Fault::NAMES.iter().map(|name| ((*name).to_owned(), [rule(name)].into_iter().collect())).collect();
    // Those of the list that are told apart by a number.
    for text in ["huge-string 60000", "too-big 1", "bad-integer 9", "bad-counter64 10", "trailing 200"] {
        all.push((text.to_owned(), text.parse().expect("a fault")));
    }
    all
}

fn tables() -> Vec<Arc<Table>> {
    let columns = |entry: &str, columns: &[u32]| -> Vec<Oid> {
        let entry: Oid = entry.parse().expect("a good OID");
        columns.iter().map(|column| entry.child(&[*column]).expect("short")).collect()
    };
    let limits = Limits { rows_max: 2_000, requests_max: 500, ..Limits::default() };
    let table = |key: &str, columns| Arc::new(Table { limits, ..Table::new(key, columns) });
    vec![
        table("ifTable", columns("1.3.6.1.2.1.2.2.1", &[2, 5, 8, 10])),
        table("ifXTable", columns("1.3.6.1.2.1.31.1.1.1", &[1, 6, 15])),
    ]
}

/// Community or user, for a device of the fleet.
fn target(name: &str, fleet: &Fleet, at: usize) -> Arc<Target> {
    let credential = if name.starts_with("v3") {
        Credential::User { user: USER.user(), context: Context::default() }
    } else {
        Credential::Community { version: Version::V2c, community: Community::new("public") }
    };
    let mut target = Target::new(name.to_owned(), fleet.address(at), vec![credential]);
    (target.timeout, target.timeout_max, target.retries) =
        (Duration::from_millis(100), Duration::from_millis(400), 2);
    Arc::new(target)
}

async fn round(engine: &Handle, target: &Arc<Target>, deadline: Duration) -> Harvest {
    let up_time: Oid = "1.3.6.1.2.1.1.3.0".parse().expect("a good OID");
    let scalars = Arc::new([up_time]);
    engine.run(Job { target: target.clone(), scalars, tables: tables(), deadline, urgent: false }).await
}

fn is_whole(harvest: &Harvest) -> bool {
    harvest.scalar(0).is_some() && harvest.tables.iter().all(|table| table.is_whole())
}

/// A round that is not whole says why, of everything that is missing.
fn check_reasons(name: &str, harvest: &Harvest) {
    let no_scalar = harvest.scalar(0).is_none();
    assert_eq!(no_scalar, harvest.scalar_reasons[0].is_some(), "{name}: {:?}", harvest.scalar_reasons);
    for table in harvest.tables.iter().filter(|table| !table.is_whole()) {
        assert!(table.failure().is_some(), "{name}: a table ended early without a reason");
    }
}

#[test]
fn every_fault_ends_with_a_reason_and_hurts_neither_neighbours_nor_later_rounds() {
    let tree = Arc::new(Switch { ports: 12, optics: 0, seed: 5 }.tree().expect("small"));
    let rules = rules();
    let names: Vec<String> =
        rules.iter().flat_map(|(name, _)| [format!("v2c {name}"), format!("v3 {name}")]).collect();
    let device = |at: usize| {
        let device = Device::new(tree.clone()).community("public").user(USER.user());
        device.seed(at as u64).faults(rules[at / 2].1.clone())
    };
    // Two devices more: one that is well, and one behind a line that loses and reorders a fifth.
    let well = Device::new(tree.clone()).community("public");
    let lossy = Link { loss: 0.2, reordered: 0.2, held: Duration::from_millis(30), ..Link::default() };
    let far = Device::new(tree.clone()).community("public").link(lossy);
    let devices = (0..names.len()).map(device).chain([well, far]);
    let fleet = Fleet::start(Options::default(), devices).expect("loopback can be bound");
    let engine = Engine::start(snmp::engine::Options::default()).expect("a thread can be had");
    let targets: Vec<Arc<Target>> =
        names.iter().enumerate().map(|(at, name)| target(name, &fleet, at)).collect();
    let well = target("well", &fleet, names.len());
    let far = target("far", &fleet, names.len() + 1);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (handle, patience) = (engine.handle(), Duration::from_secs(60));
    runtime.block_on(async {
        for _ in 0..BAD_ROUNDS {
            let bad = targets.iter().map(|target| round(&handle, target, Duration::from_secs(5)));
            let all = futures_util::future::join(
                futures_util::future::join_all(bad),
                // Its own deadline is far: a busy machine may keep it waiting, its neighbours may not.
                round(&handle, &well, patience),
            );
            let (bad, good) = tokio::time::timeout(patience, all).await.expect("every round ends");
            names.iter().zip(&bad).for_each(|(name, harvest)| check_reasons(name, harvest));
            let answered =
                |name: &str| bad[names.iter().position(|have| have == name).expect("there")].answered;
            assert!(!answered("v2c silence") && !answered("v3 silence") && answered("v2c huge-string 60000"));
            assert!(
                is_whole(&good),
                "the neighbour: {:?}",
                good.tables.iter().map(|t| t.failure()).collect::<Vec<_>>()
            );
            check_reasons("far", &round(&handle, &far, Duration::from_secs(5)).await);
        }
        (0..names.len() + 2).for_each(|at| {
            fleet.device(at).set_faults(Script::default());
            fleet.device(at).set_link(Link::default());
        });
        let mut ill: Vec<(&str, &Arc<Target>)> =
            names.iter().map(String::as_str).zip(&targets).chain([("far", &far)]).collect();
        for _ in 0..GOOD_ROUNDS {
            let again = ill.iter().map(|(_, target)| round(&handle, target, patience));
            let again = futures_util::future::join_all(again).await;
            let mut whole = again.iter().map(is_whole);
            ill.retain(|_| !whole.next().expect("one for each"));
        }
        let ill: Vec<&str> = ill.iter().map(|(name, _)| *name).collect();
        assert_eq!(ill, [""; 0], "not read whole although they are well again");
    });
}
