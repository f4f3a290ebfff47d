//! The state machine against Prometheus' rules in words, and laws for any course of events.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Labels, Timestamp};
use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("alertname", "A"), ("instance", name)])
}

fn seen(name: &str, value: f64) -> Seen {
    Seen {
        labels: labels(name),
        annotations: vec![("summary".to_owned(), format!("{name} is {value}"))],
        value,
    }
}

fn spec(hold: i64, keep: i64) -> RuleSpec {
    let seconds = |seconds: i64| Duration::from_secs(seconds as u64);
    RuleSpec { name: "A".to_owned(), hold: seconds(hold), keep_firing: seconds(keep) }
}

const SENDING: Sending<'static> =
    Sending { resend_delay: MINUTE, interval: MINUTE, generator_url: "http://x/graph" };

fn absent(silent: bool) -> Absence {
    if silent { Absence::Silent } else { Absence::Over }
}

/// One rule with one alert `a`: steps and what they came to.
struct Course {
    spec: RuleSpec,
    state: RuleState,
}

impl Course {
    fn new(hold: i64, keep: i64) -> Self {
        Self { spec: spec(hold, keep), state: RuleState::default() }
    }

    #[track_caller]
    fn step(&mut self, seconds: i64, is_seen: bool, silent: bool, expected: &[TransitionKind]) {
        let found = if is_seen { vec![seen("a", 1.0)] } else { Vec::new() };
        let happened =
            self.state.step(&self.spec, at(seconds), found, &|_| absent(silent)).expect("one label set");
        let kinds: Vec<_> = happened.iter().map(|transition| transition.kind).collect();
        assert_eq!(kinds, expected, "at {seconds}");
    }

    fn alert(&self) -> &ActiveAlert {
        self.state.alerts().next().expect("there is one")
    }

    fn sent(&mut self, seconds: i64) -> Option<(NoticeKind, i64)> {
        let notices = self.state.to_send(at(seconds), &SENDING);
        notices.first().map(|notice| (notice.kind, notice.ends_at.expect("always set").as_millis() / 1000))
    }
}

use TransitionKind::{BecameUnknown, Began, CameBack, Cancelled, Fired, Resolved};

#[test]
fn while_nothing_new_came_an_alert_stays_what_it_is() {
    let wait = |course: &mut Course, seconds| {
        let happened = course.state.step(&course.spec, at(seconds), Vec::new(), &|_| Absence::Waiting);
        assert_eq!(happened.expect("no alert twice"), []);
        course.alert().state
    };
    let mut course = Course::new(120, 0);
    course.step(0, true, false, &[Began]);
    assert_eq!(wait(&mut course, 60), AlertState::Pending);
    course.step(120, true, false, &[Fired]);
    assert_eq!(wait(&mut course, 180), AlertState::Firing);
    course.step(240, false, true, &[BecameUnknown]);
    assert_eq!(wait(&mut course, 300), AlertState::Unknown);
    course.step(360, false, false, &[Resolved]);
    assert_eq!(course.state.active().count(), 0);
}

#[test]
fn an_alert_waits_fires_ends_and_is_forgotten() {
    let mut course = Course::new(120, 0);
    course.step(0, true, false, &[Began]);
    course.step(60, true, false, &[]);
    assert_eq!(course.alert().state, AlertState::Pending);
    course.step(120, true, false, &[Fired]);
    assert_eq!((course.alert().active_at, course.alert().fired_at), (at(0), Some(at(120))));
    course.step(180, false, false, &[Resolved]);
    assert_eq!(course.state.active().count(), 0);
    course.step(180 + 900, false, false, &[]);
    assert_eq!(course.state.alerts().count(), 1, "kept for 15 minutes, and at them");
    course.step(180 + 901, false, false, &[]);
    assert_eq!(course.state.alerts().count(), 0);
}

#[test]
fn a_pending_alert_that_ends_was_never_there() {
    let mut course = Course::new(120, 600);
    course.step(0, true, false, &[Began]);
    course.step(60, false, false, &[Cancelled]);
    course.step(120, true, false, &[Began]);
    assert_eq!(course.alert().active_at, at(120));
    assert_eq!(course.sent(120), None);
}

#[test]
fn without_for_it_fires_at_once() {
    let mut course = Course::new(0, 0);
    course.step(0, true, false, &[Began, Fired]);
    course.step(60, false, false, &[Resolved]);
    course.step(120, true, false, &[Began, Fired]);
    assert_eq!(course.alert().fired_at, Some(at(120)), "a new alert, not the old one");
}

#[test]
fn it_keeps_firing_for_as_long_as_the_rule_says() {
    let mut course = Course::new(0, 120);
    course.step(0, true, false, &[Began, Fired]);
    course.step(60, false, false, &[]);
    course.step(120, true, false, &[]);
    assert_eq!(course.alert().keep_firing_since, None, "what is seen again starts anew");
    course.step(180, false, false, &[]);
    course.step(240, false, false, &[]);
    course.step(300, false, false, &[Resolved]);
}

#[test]
fn silence_is_not_recovery() {
    let mut course = Course::new(0, 0);
    course.step(0, true, false, &[Began, Fired]);
    assert_eq!(course.sent(0), Some((NoticeKind::Firing, 240)));
    course.step(60, false, true, &[BecameUnknown]);
    assert_eq!((course.alert().state, course.alert().former()), (AlertState::Unknown, AlertState::Firing));
    assert_eq!(course.sent(60), Some((NoticeKind::Unknown, 300)), "a change is told at once");
    course.step(7200, false, true, &[]);
    assert_eq!(course.alert().unknown_since, Some(at(60)));
    course.step(7260, true, false, &[CameBack]);
    assert_eq!((course.alert().state, course.alert().fired_at), (AlertState::Firing, Some(at(0))));
    assert_eq!(course.sent(7260), Some((NoticeKind::Firing, 7500)));
    course.step(7320, false, true, &[BecameUnknown]);
    course.step(7380, false, false, &[Resolved]);
    assert_eq!(course.sent(7380), Some((NoticeKind::Resolved, 7380)), "data came and says that it is over");
}

#[test]
fn silence_does_not_count_as_for() {
    let mut course = Course::new(120, 0);
    course.step(0, true, false, &[Began]);
    course.step(60, false, true, &[BecameUnknown]);
    course.step(600, true, false, &[CameBack]);
    assert_eq!(course.alert().active_at, at(540));
    course.step(660, true, false, &[Fired]);
    let mut course = Course::new(120, 0);
    course.step(0, true, false, &[Began]);
    course.step(60, false, true, &[BecameUnknown]);
    course.step(120, false, false, &[Cancelled]);
}

#[test]
fn it_is_told_again_after_the_delay_and_not_before() {
    let mut course = Course::new(0, 0);
    course.step(0, true, false, &[Began, Fired]);
    assert_eq!(course.sent(0), Some((NoticeKind::Firing, 240)));
    assert_eq!(course.sent(59), None);
    assert_eq!(course.sent(60), None, "Prometheus waits until the delay is past");
    assert_eq!(course.sent(61), Some((NoticeKind::Firing, 301)));
    course.step(70, false, false, &[Resolved]);
    assert_eq!(course.sent(70), Some((NoticeKind::Resolved, 70)));
    assert_eq!(course.sent(131), Some((NoticeKind::Resolved, 70)), "while it is kept");
}

/// A clock that leaps a day ahead and is set right left alerts pending, untold and unforgotten for that day.
#[test]
fn a_clock_that_was_ahead_delays_nothing_once_it_is_set_right() {
    const DAY: i64 = 86_400;
    let mut course = Course::new(120, 60);
    course.step(DAY, true, false, &[TransitionKind::Began]);
    course.step(60, true, false, &[]);
    course.step(180, true, false, &[TransitionKind::Fired]);
    course.step(DAY + 60, true, false, &[]);
    assert_eq!(course.sent(DAY + 60), Some((NoticeKind::Firing, DAY + 60 + 240)));
    course.step(240, true, false, &[]);
    assert_eq!(course.alert().valid_until, Some(at(240 + 240)));
    assert_eq!(course.sent(301), Some((NoticeKind::Firing, 301 + 240)), "told again after the delay");
    course.step(DAY, false, false, &[]);
    course.step(360, false, false, &[]);
    course.step(DAY, false, false, &[TransitionKind::Resolved]);
    course.step(420, false, false, &[]);
    course.step(420 + 901, false, false, &[]);
    assert_eq!(course.state.alerts().count(), 0, "forgotten after a quarter of an hour");
}

#[test]
fn two_results_with_the_same_labels_change_nothing() {
    let mut course = Course::new(0, 0);
    course.step(0, true, false, &[Began, Fired]);
    let before = course.state.clone();
    let twice = vec![seen("a", 2.0), seen("a", 3.0)];
    let error = course.state.step(&course.spec, at(60), twice, &|_| Absence::Over).unwrap_err();
    assert_eq!(
        error.to_string(),
        "vector contains metrics with the same labelset after applying alert labels"
    );
    assert_eq!(course.state, before);
}

#[test]
fn series_say_where_each_alert_stands() {
    let mut course = Course::new(60, 0);
    course.step(100, true, false, &[Began]);
    let text = |course: &Course| -> Vec<String> {
        course.state.series(&course.spec).iter().map(|(labels, value)| format!("{labels} {value}")).collect()
    };
    let rest = "alertname=\"A\"";
    let since = format!("ALERTS_FOR_STATE{{{rest}, instance=\"a\"}} 100");
    for (step, state) in
        [((100, true, false), "pending"), ((160, true, false), "firing"), ((220, false, true), "unknown")]
    {
        course
            .state
            .step(&course.spec, at(step.0), if step.1 { vec![seen("a", 1.0)] } else { vec![] }, &|_| {
                absent(step.2)
            })
            .unwrap();
        let active = format!("ALERTS{{{rest}, alertstate=\"{state}\", instance=\"a\"}} 1");
        assert_eq!(text(&course), [active, since.clone()]);
    }
    course.step(280, false, false, &[Resolved]);
    assert!(text(&course).is_empty());
}

/// A pending alert of before that was last looked at `down` and is looked at again at 10,000.
#[track_caller]
fn check_restored(hold: i64, active: i64, down: i64, expected: i64) {
    let mut course = Course::new(hold, 0);
    course.step(10_000, true, false, if hold == 0 { &[Began, Fired] } else { &[Began] });
    let last = ForState { at: at(down), value: active as f64 };
    course.state.restore(&course.spec, at(10_000), 10 * MINUTE, &mut |_| Some(last));
    assert_eq!(course.alert().active_at, at(expected));
}

#[test]
fn restoring_moves_on_what_nobody_looked_at() {
    check_restored(3600, 5_900, 9_000, 7_000);
    check_restored(7200, 5_000, 6_000, 9_000);
    check_restored(1800, 5_000, 9_000, 5_000);
    check_restored(60, 9_000, 9_900, 10_000);
}

#[test]
fn a_kept_state_goes_on_where_it_stopped() {
    let mut course = Course::new(7200, 0);
    course.step(5_000, true, false, &[Began]);
    let kept = course.state.clone();
    course.state.resume(&course.spec, at(6_000), at(9_000), 10 * MINUTE, 60 * MINUTE);
    assert_eq!(course.alert().active_at, at(8_000));
    course.state = kept;
    course.state.resume(&course.spec, at(6_000), at(20_000), 10 * MINUTE, 60 * MINUTE);
    assert_eq!(course.state.alerts().count(), 0, "pending for too long ago");
}

fn example() -> RuleState {
    let mut course = Course::new(60, 0);
    course.step(0, true, false, &[Began]);
    course.step(60, true, false, &[Fired]);
    course.sent(60);
    course.step(120, false, true, &[BecameUnknown]);
    let found = vec![seen("b", f64::NAN)];
    course.state.step(&course.spec, at(180), found, &|_| Absence::Silent).expect("one label set");
    course.state
}

#[test]
fn the_format_does_not_change() {
    let mut bytes = Vec::new();
    example().encode(&mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("alerts-v1.hex").trim());
    assert_eq!(RuleState::decode(&bytes), Ok(example()));
    assert_eq!(RuleState::decode(&[2]), Err(AlertingError::Version(2)));
    for length in 0..bytes.len() {
        assert!(RuleState::decode(&bytes[..length]).is_err(), "cut at {length}");
    }
    bytes.push(0);
    assert!(RuleState::decode(&bytes).is_err(), "bytes behind the end");
}

/// What one evaluation finds of three alerts, how much later it is, and whose sender is silent.
type Event = (i64, [bool; 3], [bool; 3]);

const NAMES: [&str; 3] = ["a", "b", "c"];

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((1i64..200_000, any::<[bool; 3]>(), any::<[bool; 3]>()), 1..40)
}

proptest! {
    #[test]
    fn laws_hold_for_any_course(events in events(), hold in 0u64..400_000, keep in 0u64..400_000) {
        let spec = RuleSpec {
            name: "A".to_owned(),
            hold: Duration::from_millis(hold),
            keep_firing: Duration::from_millis(keep),
        };
        let mut state = RuleState::default();
        let mut now = Timestamp::from_millis(0);
        // For each alert: how long its condition was seen to hold without a break that data showed.
        let mut held = [None::<i64>; 3];
        let mut last_seen = [Timestamp::MIN; 3];
        for (later, found, silent) in events {
            let before = now;
            now = Timestamp::from_millis(now.as_millis() + later);
            let was: BTreeSet<Labels> = state.active().map(|alert| alert.labels.clone()).collect();
            let unknown: BTreeSet<Labels> =
                state.active().filter(|alert| alert.state == AlertState::Unknown).map(|alert| alert.labels.clone()).collect();
            let fired_before: BTreeSet<Labels> =
                state.active().filter(|alert| alert.former() == AlertState::Firing).map(|alert| alert.labels.clone()).collect();
            let seen_now = NAMES.iter().zip(found).filter(|(_, found)| *found).map(|(name, _)| seen(name, 1.0)).collect();
            let is_silent = |labels: &Labels| {
                NAMES.iter().position(|name| labels.get("instance") == Some(name)).is_some_and(|index| silent[index])
            };
            let happened = state
                .step(&spec, now, seen_now, &|labels| absent(is_silent(labels)))
                .expect("each name once");
            for (index, name) in NAMES.iter().enumerate() {
                let labels = labels(name);
                let alert = state.active().find(|alert| alert.labels == labels).cloned();
                let kinds: Vec<_> = happened.iter().filter(|one| one.labels == labels).map(|one| one.kind).collect();
                if found[index] {
                    // Silence since the last look does not count; a look that saw does.
                    held[index] = Some(match held[index] {
                        Some(held) if !unknown.contains(&labels) => held + now.millis_since(before),
                        Some(held) => held,
                        None => 0,
                    });
                    last_seen[index] = now;
                    let alert = alert.as_ref().expect("what is seen is active");
                    prop_assert_ne!(alert.state, AlertState::Unknown);
                    // `for`, to the millisecond; what fired goes on firing.
                    if !fired_before.contains(&labels) {
                        let fires = held[index].expect("set above") >= hold as i64;
                        prop_assert_eq!(alert.state == AlertState::Firing, fires, "{} held {:?}", name, held[index]);
                    } else {
                        prop_assert_eq!(alert.state, AlertState::Firing);
                    }
                } else if silent[index] && was.contains(&labels) {
                    // Nothing resolves because data stopped.
                    let alert = alert.as_ref().expect("held");
                    prop_assert_eq!(alert.state, AlertState::Unknown);
                    prop_assert!(!kinds.contains(&Resolved) && !kinds.contains(&Cancelled));
                    if let Some(held) = &mut held[index] && !unknown.contains(&labels) {
                        *held += now.millis_since(before);
                    }
                } else {
                    prop_assert!(alert.is_none_or(|alert| alert.former() == AlertState::Firing && keep > 0));
                    held[index] = None;
                }
            }
            for alert in state.alerts() {
                if let Some(resolved) = alert.resolved_at {
                    prop_assert!(now.millis_since(resolved) <= 900_000);
                    prop_assert!(alert.fired_at.is_some());
                }
                prop_assert_eq!(alert.state == AlertState::Unknown, alert.unknown_since.is_some());
            }
            prop_assert_eq!(state.series(&spec).len(), 2 * state.active().count());
            for notice in state.to_send(now, &SENDING) {
                prop_assert!(notice.starts_at <= now);
                prop_assert!(notice.ends_at.is_some_and(|end| (end > now) == (notice.kind != NoticeKind::Resolved)));
            }
            prop_assert!(state.to_send(now, &SENDING).is_empty(), "told once");
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            let read = RuleState::decode(&bytes).expect("what was written is read");
            let mut again = Vec::new();
            read.encode(&mut again);
            prop_assert_eq!(&read, &state);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn any_bytes_are_a_state_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(state) = RuleState::decode(&bytes) {
            let mut again = Vec::new();
            state.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}

/// A rule that is no more: its alerts end when what was told is no longer valid, or are another rule's.
#[test]
fn what_nobody_tells_of_any_more_ends_when_it_is_no_longer_valid() {
    let mut gone = Course::new(0, 0);
    gone.step(0, true, false, &[TransitionKind::Began, TransitionKind::Fired]);
    let mut untold = RuleState::default();
    untold.adopt(gone.state.clone());
    assert!(untold.is_empty(), "nobody has heard of it");
    assert_eq!(gone.sent(0), Some((NoticeKind::Firing, 240)));
    let mut lost = RuleState::default();
    lost.adopt(gone.state.clone());
    assert!(lost.expire(at(239), "", &|_| false).is_empty(), "an Alertmanager takes it as firing");
    let ended = lost.expire(at(240), "", &|_| false);
    assert_eq!((ended.len(), ended[0].kind, ended[0].ends_at), (1, NoticeKind::Resolved, Some(at(240))));
    assert_eq!(ended[0].starts_at, at(0));
    assert!(lost.is_empty() && lost.expire(at(241), "", &|_| false).is_empty(), "told once");
    lost.adopt(gone.state.clone());
    assert!(lost.expire(at(240), "", &|_| true).is_empty() && lost.is_empty(), "another rule tells of it");
    lost.adopt(gone.state.clone());
    lost.prolong(at(1000));
    assert!(lost.expire(at(1239), "", &|_| false).is_empty(), "the time of a stop does not count");
    assert_eq!(lost.expire(at(1240), "", &|_| false).len(), 1);
    gone.step(300, false, false, &[TransitionKind::Resolved]);
    lost.adopt(gone.state.clone());
    assert_eq!(lost.expire(at(300), "", &|_| false)[0].ends_at, Some(at(300)), "it had ended before");
    gone.sent(300);
    lost.adopt(gone.state);
    assert!(lost.is_empty(), "its end was told");
}
