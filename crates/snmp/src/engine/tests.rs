//! The engine with its thread and its sockets, against agents on loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::*;
use crate::community::Community;
use crate::datum::Datum;
use crate::message::Version;
use crate::oid::Oid;
use crate::pretend::{Agent, Misdeed};
use crate::value::Value;

fn oid(text: &str) -> Oid {
    text.parse().expect("a good OID")
}

/// Two columns of 40 rows, and sysUpTime.
fn cells() -> Vec<(Oid, Datum)> {
    let cell =
        |c: u32, r: u32| (oid("1.3.6.1.9").child(&[c, r]).expect("short"), Datum::Counter32(c * 100 + r));
    let mut cells: Vec<_> = (1..=2).flat_map(|c| (1..=40).map(move |r| cell(c, r))).collect();
    cells.push((oid("1.3.6.1.2.1.1.3.0"), Datum::TimeTicks(7)));
    cells
}

fn target(name: &str, address: SocketAddr) -> Target {
    let credential = Credential::Community { version: Version::V2c, community: Community::new("public") };
    Target { timeout: Duration::from_millis(100), ..Target::new(name, address, vec![credential]) }
}

fn job(target: Target) -> Job {
    Job {
        target: Arc::new(target),
        scalars: Arc::new([oid("1.3.6.1.2.1.1.3.0")]),
        tables: vec![Arc::new(Table::new("t", vec![oid("1.3.6.1.9.1"), oid("1.3.6.1.9.2")]))],
        deadline: Duration::from_secs(20),
        urgent: false,
    }
}

fn assert_whole(harvest: &Harvest) {
    assert_eq!((harvest.tables[0].failure(), harvest.tables[0].rows.len()), (None, 80));
    assert_eq!(harvest.scalar(0), Some(Value::TimeTicks(7)));
}

#[tokio::test]
async fn many_devices_share_a_socket() {
    let engine = Engine::start(Options { jobs_max: 16, ..Options::default() }).expect("a thread");
    let mut agents = Vec::new();
    for _ in 0..30 {
        agents.push(Agent::start("public", cells()).await);
    }
    for _ in 0..3 {
        let runs: Vec<_> = (0..)
            .zip(&agents)
            .map(|(number, agent)| {
                let (handle, job) = (engine.handle(), job(target(&format!("sw{number}"), agent.address())));
                tokio::spawn(async move { handle.run(job).await })
            })
            .collect();
        for run in runs {
            assert_whole(&run.await.expect("no panic"));
        }
    }
    // The numbers are as the thread left them when it last went to sleep; what it is asked twice wakes it twice.
    engine.handle().learned().await;
    engine.handle().learned().await;
    let stats = engine.stats();
    assert_eq!((stats.jobs, stats.replies, stats.kernel_drops), (90, stats.requests, 0), "{stats:?}");
    assert_eq!(engine.handle().learned().await.len(), 30);
}

#[tokio::test]
async fn a_silent_device_ends_in_time_and_the_thread_sleeps_meanwhile() {
    let engine = Engine::start(Options::default()).expect("a thread");
    let agent = Agent::start("public", cells()).await;
    agent.misbehave([Misdeed::Silence]);
    let harvest = engine.handle().run(job(target("sw", agent.address()))).await;
    assert_eq!((harvest.answered, harvest.cost.retries), (false, 2));
    let stats = engine.stats();
    assert!(stats.send_calls == 3 && stats.receive_calls <= 1, "{stats:?}");
}

#[tokio::test]
async fn reads_over_ipv6_and_from_an_own_address() {
    let engine = Engine::start(Options::default()).expect("a thread");
    let v6: SocketAddr = (Ipv6Addr::LOCALHOST, 0).into();
    let agent = Agent::start_at(v6, "public", cells()).await;
    assert_whole(&engine.handle().run(job(target("v6", agent.address()))).await);
    let agent = Agent::start("public", cells()).await;
    let own = Some(IpAddr::from(Ipv4Addr::new(127, 7, 7, 7)));
    let bound = Target { bind: own, ..target("bound", agent.address()) };
    assert_whole(&engine.handle().run(job(bound)).await);
    assert_eq!(agent.last_from().map(|from| from.ip()), own);
    let nowhere = Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)));
    let harvest =
        engine.handle().run(job(Target { bind: nowhere, ..target("nowhere", agent.address()) })).await;
    assert_eq!(harvest.tables[0].failure(), Some((0, &Reason::Unreachable)));
}

#[tokio::test]
async fn a_text_of_60_kb_comes_whole_over_a_socket() {
    let engine = Engine::start(Options::default()).expect("a thread");
    let agent = Agent::start("public", cells()).await;
    let (name, text) = (oid("1.3.6.1.2.1.1.3.0"), vec![b'x'; 60_000]);
    agent.set(name, Datum::Bytes(text.clone()));
    let harvest = engine.handle().run(job(target("sw", agent.address()))).await;
    assert_eq!(harvest.scalar(0), Some(Value::OctetString(&text)));
    assert_eq!((harvest.tables[0].failure(), engine.stats().cut_off), (None, 0));
}

#[tokio::test]
async fn dropping_the_engine_ends_its_jobs() {
    let engine = Engine::start(Options::default()).expect("a thread");
    let agent = Agent::start("public", cells()).await;
    agent.misbehave([Misdeed::Silence]);
    let handle = engine.handle();
    let patient = Target { timeout: Duration::from_secs(3600), ..target("sw", agent.address()) };
    let run = tokio::spawn({
        let handle = handle.clone();
        async move { handle.run(job(patient)).await }
    });
    while agent.datagrams() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(handle.is_alive());
    tokio::task::spawn_blocking(move || drop(engine)).await.expect("no panic");
    assert!(!handle.is_alive());
    let harvest = run.await.expect("no panic");
    assert_eq!(harvest.tables[0].failure(), Some((0, &Reason::Stopped)));
    let harvest = handle.run(job(target("sw", agent.address()))).await;
    assert_eq!(harvest.scalar_reasons, [Some(Reason::Stopped)], "nor does it take new ones");
    assert!(handle.learned().await.is_empty());
}

#[tokio::test]
async fn a_full_engine_makes_others_wait() {
    let engine = Engine::start(Options { jobs_max: 1, ..Options::default() }).expect("a thread");
    let (silent, agent) = (Agent::start("public", cells()).await, Agent::start("public", cells()).await);
    silent.misbehave([Misdeed::Silence]);
    let handle = engine.handle();
    let (first, second) = tokio::join!(
        handle.run(job(target("silent", silent.address()))),
        handle.run(job(target("sw", agent.address()))),
    );
    assert!(!first.answered);
    assert_whole(&second);
    let stats = engine.stats();
    assert_eq!((stats.jobs_waited, stats.jobs_waiting_now), (1, 0));
}

#[tokio::test]
async fn what_was_learned_is_handed_over_at_the_end() {
    let engine = Engine::start(Options::default()).expect("a thread");
    let agent = Agent::start("public", cells()).await;
    assert_whole(&engine.handle().run(job(target("sw", agent.address()))).await);
    assert!(engine.handle().is_alive());
    let learned = engine.stop();
    assert_eq!(learned.iter().map(|device| &*device.device).collect::<Vec<_>>(), ["sw"]);
}
