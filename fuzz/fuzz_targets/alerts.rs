//! Kept alerts from anybody: bytes are a state or refused, each state has one form, and a state that was read can be used.

#![no_main]

use std::time::Duration;

use alerting::{RuleSpec, RuleState, Sending};
use libfuzzer_sys::fuzz_target;
use model::Timestamp;

fuzz_target!(|input: &[u8]| {
    let Ok(mut state) = RuleState::decode(input) else { return };
    let mut again = Vec::new();
    state.encode(&mut again);
    assert_eq!(again, input);
    let spec = RuleSpec { name: "A".to_owned(), hold: Duration::from_secs(60), keep_firing: Duration::ZERO };
    let now = Timestamp::from_millis(1_700_000_000_000);
    let second = Duration::from_secs(1);
    state.resume(&spec, now - Duration::from_secs(60), now, second, Duration::from_secs(3600));
    let before = state.active().count();
    let happened =
        state.step(&spec, now, Vec::new(), &|labels| labels.len() % 2 == 0).expect("no labels, no twins");
    assert!(happened.len() <= before);
    let sending = Sending { resend_delay: second, interval: second, generator_url: "" };
    state.to_send(now, &sending);
    assert!(state.to_send(now, &sending).is_empty());
    assert_eq!(state.series(&spec).len(), 2 * state.active().count());
});
