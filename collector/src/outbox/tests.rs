use super::*;
use crate::notify::alert::{Kind, example};

const PLENTY: u64 = 64 << 20;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn open(data: &Path) -> Arc<Outbox> {
    Arc::new(Outbox::open(data, PLENTY).expect("it opens"))
}

fn names(message: &Message) -> Vec<String> {
    message.alerts.iter().map(|alert| alert.label("alertname").to_owned()).collect()
}

#[test]
fn a_message_waits_for_each_receiver_and_is_read_once() {
    let data = tempfile::tempdir().expect("a folder");
    let outbox = open(data.path());
    let (mut one, mut two) = (outbox.read("one").expect("read"), outbox.read("two").expect("read"));
    outbox.append(&[example("a", Kind::Firing), example("b", Kind::Firing)], at(1)).expect("kept");
    outbox.append(&[example("a", Kind::Firing)], at(2)).expect("nothing new");
    outbox.append(&[example("a", Kind::Resolved)], at(3)).expect("kept");
    let (first, gone) = one.message().expect("readable").expect("there");
    assert_eq!((first.number, gone, names(&first)), (1, 0, vec!["a".to_owned(), "b".to_owned()]));
    one.done(1).expect("stored");
    assert_eq!((one.waiting(), two.waiting()), (1, 2));
    assert_eq!(one.message().expect("readable").expect("there").0.number, 2);
    assert!(one.message().expect("readable").is_none());
    assert_eq!(two.message().expect("readable").expect("there").0, first);
}

#[test]
fn what_was_not_done_comes_again_after_a_kill_and_what_is_known_stays() {
    let data = tempfile::tempdir().expect("a folder");
    {
        let outbox = open(data.path());
        let mut reading = outbox.read("one").expect("read");
        outbox.append(&[example("a", Kind::Firing)], at(1)).expect("kept");
        outbox.append(&[example("b", Kind::Firing)], at(2)).expect("kept");
        reading.message().expect("readable").expect("there");
        reading.done(1).expect("stored");
        reading.message().expect("readable").expect("there");
        // No `done`, no `close`: as if it were killed here.
    }
    let outbox = open(data.path());
    let mut reading = outbox.read("one").expect("read");
    assert_eq!(reading.message().expect("readable").expect("there").0.number, 2);
    let again = [example("a", Kind::Firing), example("b", Kind::Firing)];
    assert_eq!(outbox.append(&again, at(3)).expect("kept"), 0, "a restart tells nobody anew");
    assert_eq!(outbox.append(&[example("a", Kind::Unknown)], at(4)).expect("kept"), 1);
    reading.done(2).expect("stored");
    assert_eq!(reading.message().expect("readable").expect("there").0.number, 3);
}

#[test]
fn a_new_receiver_begins_with_the_next_message() {
    let data = tempfile::tempdir().expect("a folder");
    let outbox = open(data.path());
    let _old = outbox.read("old").expect("read");
    outbox.append(&[example("a", Kind::Firing)], at(1)).expect("kept");
    let mut new = outbox.read("new").expect("read");
    assert!(new.message().expect("readable").is_none());
    outbox.append(&[example("b", Kind::Firing)], at(2)).expect("kept");
    assert_eq!(new.message().expect("readable").expect("there").0.number, 2);
}

#[test]
fn the_oldest_goes_first_and_is_counted() {
    let data = tempfile::tempdir().expect("a folder");
    let outbox = Arc::new(Outbox::open(data.path(), 3 << 20).expect("it opens"));
    let mut reading = outbox.read("one").expect("read");
    let long = |name: String| {
        let mut alert = example(&name, Kind::Firing);
        alert.annotations.push(("long".into(), "x".repeat(256 << 10)));
        alert
    };
    for index in 0..40 {
        outbox.append(&[long(format!("a{index}"))], at(index)).expect("kept");
    }
    assert!(outbox.bytes() <= 5 << 20, "{}", outbox.bytes());
    let (message, gone) = reading.message().expect("readable").expect("there");
    assert!(gone > 0 && message.number == gone + 1, "{gone} {}", message.number);
    let mut last = message.number;
    while let Some((message, gone)) = reading.message().expect("readable") {
        reading.done(message.number).expect("stored");
        assert_eq!(message.number, last + 1 + if last == message.number { gone } else { 0 });
        last = message.number;
    }
    assert_eq!(last, 40);
    assert!(outbox.bytes() <= 2 << 20, "what everyone has is removed: {}", outbox.bytes());
}

#[test]
fn many_alerts_at_once_become_several_messages() {
    let data = tempfile::tempdir().expect("a folder");
    let outbox = open(data.path());
    let mut reading = outbox.read("one").expect("read");
    let alerts: Vec<Alert> =
        (0..ALERTS_MAX + 1).map(|index| example(&index.to_string(), Kind::Firing)).collect();
    assert_eq!(outbox.append(&alerts, at(1)).expect("kept"), ALERTS_MAX + 1);
    assert_eq!(reading.message().expect("readable").expect("there").0.alerts.len(), ALERTS_MAX);
    assert_eq!(reading.message().expect("readable").expect("there").0.alerts.len(), 1);
}

#[test]
fn who_is_no_more_holds_nothing_back() {
    let data = tempfile::tempdir().expect("a folder");
    let outbox = open(data.path());
    drop(outbox.read("old").expect("read"));
    outbox.retain(&["new".to_owned()]);
    assert!(!data.path().join("outbox/old.cursor").exists());
}
