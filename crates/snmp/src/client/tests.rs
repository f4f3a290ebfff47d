use std::collections::BTreeMap;

use super::*;
use crate::oid::Oid;
use crate::pretend::{Agent, Held, Misdeed};
use crate::value::Value;
use crate::walk::{Limit, Limits, Pace};

const TABLE: &str = "1.3.6.1.2.1.2.2.1";

fn column(number: u32) -> Oid {
    TABLE.parse::<Oid>().expect("good").child(&[number]).expect("short")
}

/// An agent with three columns of twenty rows; the last column is text.
async fn table() -> Agent {
    let cells = (1..=3).flat_map(|c| {
        (1..=20).map(move |r| {
            let held = if c == 3 { Held::text("eth0") } else { Held::Counter32(c * 1000 + r) };
            (column(c).child(&[r]).expect("short"), held)
        })
    });
    Agent::start("public", cells).await
}

fn target(agent: &Agent) -> Target {
    Target {
        address: agent.address(),
        version: Version::V2c,
        community: Community::new("public"),
        timeout: Duration::from_millis(60),
        retries: 1,
    }
}

fn first_cell() -> Request {
    Request::get([column(1).child(&[1]).expect("short")])
}

async fn walk(client: &Client, target: &Target, pace: Pace) -> (Walk, BTreeMap<(usize, u32), Option<f64>>) {
    let mut walk = Walk::new((1..=3).map(column), pace, Limits { rows_max: 500, ..Limits::default() });
    let mut got = BTreeMap::new();
    let cell = |cell: Cell<'_>| {
        got.insert((cell.column, cell.index.single().expect("one arc")), cell.value.number());
    };
    client.walk(target, &mut walk, cell).await;
    (walk, got)
}

/// Walks an agent that does this wrong; the table must come whole all the same.
async fn whole(misdeeds: &[Misdeed]) -> Stats {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.misbehave(misdeeds.to_vec());
    let (walk, got) = walk(&client, &target(&agent), Pace::BULK).await;
    assert_eq!((walk.failure(), got.len()), (None, 60), "{misdeeds:?}");
    client.stats()
}

/// Asks an agent that does this wrong; no answer may count.
async fn refused(misdeed: Misdeed) -> Stats {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.misbehave([misdeed.clone()]);
    let answer = client.request(&target(&agent), &first_cell()).await;
    assert!(matches!(answer, Err(Error::Timeout { tries: 2, .. })), "{misdeed:?}: {answer:?}");
    let stats = client.stats();
    assert_eq!((stats.timeouts, stats.retries, stats.replies), (1, 1, 0), "{misdeed:?}");
    stats
}

#[tokio::test]
async fn gets_a_value() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    let reply = client.get(&target(&agent), &first_cell()).await.expect("an answer");
    let message = reply.message().expect("a good message");
    assert_eq!(message.pdu.varbinds[0].value, Value::Counter32(1001));
    assert_eq!(reply.tries, 1);
}

#[tokio::test]
async fn walks_in_both_versions() {
    whole(&[]).await;
    let (agent, client) = (table().await, Client::new(Options::default()));
    let v1 = Target { version: Version::V1, ..target(&agent) };
    let (walk, got) = walk(&client, &v1, Pace::NEXT).await;
    assert_eq!((walk.failure(), got.len()), (None, 60));
}

#[tokio::test]
async fn an_error_status_of_v1_is_an_error_of_get() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    let v1 = Target { version: Version::V1, ..target(&agent) };
    let error = client.get(&v1, &Request::get([column(9)])).await.expect_err("there is no such thing");
    assert!(matches!(error, Error::Status { status: ErrorStatus::NO_SUCH_NAME, index: 1, .. }), "{error}");
}

#[tokio::test]
async fn duplicates_are_counted_and_harmless() {
    let stats = whole(&[Misdeed::Duplicate]).await;
    // The last one may still be on its way.
    assert!((stats.requests - 1..=stats.requests).contains(&stats.duplicate), "{stats:?}");
    assert_eq!(stats.replies, stats.requests);
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let stats = whole(&[Misdeed::OnlyEvery(2)]).await;
    assert_eq!(stats.retries, stats.requests);
}

#[tokio::test]
async fn a_foreign_id_is_passed_over() {
    let stats = whole(&[Misdeed::WrongId]).await;
    assert_eq!((stats.unknown_id, stats.replies), (stats.requests, stats.requests));
}

#[tokio::test]
async fn replies_that_do_not_match_do_not_count() {
    assert_eq!(refused(Misdeed::WrongSource).await.wrong_source, 2);
    assert_eq!(refused(Misdeed::WrongCommunity).await.wrong_community, 2);
    assert_eq!(refused(Misdeed::WrongVersion).await.wrong_version, 2);
    assert_eq!(refused(Misdeed::Truncated(1)).await.malformed, 2);
    assert_eq!(refused(Misdeed::Silence).await.received_datagrams, 0);
}

#[tokio::test]
async fn a_late_reply_is_late_and_disturbs_nobody() {
    let (agent, client) = (table().await, Client::new(Options { in_flight_max: 1 }));
    agent.misbehave([Misdeed::Delay(Duration::from_millis(150))]);
    let hasty = Target { retries: 0, ..target(&agent) };
    client.request(&hasty, &first_cell()).await.expect_err("nothing comes in time");
    let patient = Target { timeout: Duration::from_secs(10), ..hasty };
    // Its slot is used again, so that the late reply carries an id of the same slot.
    client.get(&patient, &first_cell()).await.expect("an answer");
    let stats = client.stats();
    assert_eq!((stats.replies, stats.unknown_id + stats.late), (1, 1), "{stats:?}");
}

#[tokio::test]
async fn a_reply_to_the_first_try_still_counts() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.misbehave([Misdeed::Delay(Duration::from_millis(90))]);
    let reply = client.get(&target(&agent), &first_cell()).await.expect("an answer");
    assert_eq!(reply.tries, 2);
}

#[tokio::test]
async fn an_agent_that_never_ends_is_left_at_the_bound() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.misbehave([Misdeed::Endless]);
    let (walk, got) = walk(&client, &target(&agent), Pace::BULK).await;
    assert!(walk.reasons().all(|reason| reason == Some(&Reason::Limit(Limit::Rows))));
    assert_eq!(got.len(), 1500);
}

#[tokio::test]
async fn an_agent_that_stands_still_is_left_at_once() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.misbehave([Misdeed::StandsStill]);
    let (walk, got) = walk(&client, &target(&agent), Pace::BULK).await;
    assert!(walk.reasons().all(|reason| matches!(reason, Some(Reason::NonIncreasing { .. }))));
    assert_eq!((got.len(), client.stats().requests), (0, 1));
}

#[tokio::test]
async fn too_big_and_broken_bulk_are_worked_around() {
    whole(&[Misdeed::TooBigAbove(5)]).await;
    whole(&[Misdeed::TooBigAbove(1)]).await;
    whole(&[Misdeed::NoBulk]).await;
}

#[tokio::test]
async fn a_sick_column_ends_alone() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.misbehave([Misdeed::GenErr(column(2))]);
    let (walk, got) = walk(&client, &target(&agent), Pace::BULK).await;
    assert!(
        matches!(walk.failure(), Some((_, Reason::Status(ErrorStatus::GEN_ERR)))),
        "{:?}",
        walk.failure()
    );
    assert!((1..=20).all(|row| got.contains_key(&(2, row))), "the last column is whole");
}

#[tokio::test]
async fn no_such_object_in_the_middle_of_a_bulk_is_left_out() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.set(column(2).child(&[7]).expect("short"), Held::NoSuchObject);
    let (walk, got) = walk(&client, &target(&agent), Pace::BULK).await;
    assert_eq!((walk.failure(), got.len(), walk.cost().skipped), (None, 59, 1));
}

#[tokio::test]
async fn replies_without_bindings_end_the_walk() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.misbehave([Misdeed::Empty]);
    let (walk, _) = walk(&client, &target(&agent), Pace::BULK).await;
    assert_eq!(walk.failure(), Some((0, &Reason::EmptyReply)));
}

#[tokio::test]
async fn a_value_that_cannot_be_read_ends_its_column_with_the_offset() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.remove(&column(1));
    agent.remove(&column(2));
    agent.set(column(3).child(&[1]).expect("short"), Held::text("more than nine octets"));
    agent.misbehave([Misdeed::BadCounter]);
    let mut walk = Walk::new([column(3)], Pace::NEXT, Limits::default());
    client.walk(&target(&agent), &mut walk, |_| ()).await;
    let failure = walk.failure().map(|(_, reason)| reason.as_str());
    assert_eq!(failure, Some("malformed"));
}

#[tokio::test]
async fn the_time_of_a_walk_cuts_its_retries_short() {
    let (agent, client) = (table().await, Client::new(Options::default()));
    agent.misbehave([Misdeed::Silence]);
    let slow = Target { timeout: Duration::from_secs(3600), retries: 9, ..target(&agent) };
    let limits = Limits { time_max: Duration::from_millis(50), ..Limits::default() };
    let mut walk = Walk::new([column(1)], Pace::BULK, limits);
    client.walk(&slow, &mut walk, |_| ()).await;
    assert_eq!(walk.failure(), Some((0, &Reason::Limit(Limit::Time))));
}

#[tokio::test]
async fn many_requests_share_one_socket_and_few_slots() {
    let (agent, client) = (table().await, Arc::new(Client::new(Options { in_flight_max: 8 })));
    let patient = Target { timeout: Duration::from_secs(10), ..target(&agent) };
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let (client, target) = (client.clone(), patient.clone());
            tokio::spawn(async move {
                let row = number % 20 + 1;
                let reply =
                    client.get(&target, &Request::get([column(1).child(&[row]).expect("short")])).await;
                let reply = reply.expect("an answer");
                let value = reply.message().expect("a good message").pdu.varbinds[0].value.number();
                assert_eq!(value, Some(f64::from(1000 + row)));
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every answer is the right one");
    }
    assert_eq!((client.stats().replies, client.stats().unknown_id), (200, 0));
}

#[tokio::test]
async fn a_cancelled_request_gives_its_slot_back() {
    let (agent, client) = (table().await, Client::new(Options { in_flight_max: 1 }));
    agent.misbehave([Misdeed::Silence]);
    let patient = Target { timeout: Duration::from_secs(3600), ..target(&agent) };
    let request = first_cell();
    let cancelled = tokio::time::timeout(Duration::from_millis(20), client.request(&patient, &request)).await;
    assert!(cancelled.is_err());
    agent.misbehave([]);
    client.get(&target(&agent), &request).await.expect("the only slot is free again");
}
