use std::collections::BTreeSet;

use proptest::prelude::*;
use wire::identity::{BootId, Cause, Epoch, Loss, Losses, PayloadHash};

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A batch of 15 seconds: number n covers the n-th quarter of a minute.
fn batch(epoch: u128, sequence: u64) -> Entry {
    let from = 1_000_000 + 15_000 * sequence as i64;
    Entry {
        agent: "kudus-gw".into(),
        received_at: at(from + 15_000),
        sent_at: at(from + 15_250),
        refused: 0,
        identity: BatchIdentity {
            epoch: Epoch::from_u128(epoch),
            sequence,
            boot: BootId::from_u128(1),
            payload_hash: PayloadHash::from_u128(u128::from(sequence)),
            from: at(from),
            to: at(from + 14_999),
            samples: 10,
            stamped_late: false,
            losses: Losses::none(),
        },
    }
}

fn applied(entries: &[Entry]) -> Arc<Ledger> {
    let ledger = Ledger::new();
    entries.iter().for_each(|entry| ledger.apply(entry));
    ledger
}

fn loss(cause: Cause, from: i64, to: i64, sequences: Option<(u64, u64)>) -> Loss {
    Loss { cause, from: at(from), to: at(to), samples: 5, sequences }
}

fn gaps(ledger: &Ledger, now: Timestamp) -> Vec<(String, i64, i64, bool)> {
    let mut all = ledger.gaps(&[], now);
    let gaps = all.pop().expect("one agent").gaps;
    gaps.into_iter().map(|gap| (gap.cause, gap.from_ms, gap.to_ms, gap.open)).collect()
}

fn status_at(ledger: &Ledger, now: Timestamp) -> AgentStatus {
    ledger.statuses(&[], now).pop().expect("one agent")
}

#[test]
fn a_batch_is_written_once_and_another_payload_under_its_number_is_a_conflict() {
    let ledger = Ledger::new();
    let mut entry = batch(1, 7);
    assert!(matches!(ledger.admit("kudus-gw", &entry.identity), Admission::Write(_)));
    ledger.apply(&entry);
    assert!(matches!(ledger.admit("kudus-gw", &entry.identity), Admission::AlreadyApplied));
    assert!(
        matches!(ledger.admit("another", &entry.identity), Admission::Write(_)),
        "numbers are the agent's own"
    );
    entry.identity.payload_hash = PayloadHash::from_u128(99);
    assert!(matches!(ledger.admit("kudus-gw", &entry.identity), Admission::Conflict));
    assert_eq!(status_at(&ledger, at(0)).conflicts, 1);
}

#[test]
fn two_payloads_of_one_number_at_the_same_time_are_a_conflict_too() {
    let ledger = Ledger::new();
    let mut entry = batch(1, 7);
    let first = ledger.admit("kudus-gw", &entry.identity);
    assert!(
        matches!(ledger.admit("kudus-gw", &entry.identity), Admission::Write(_)),
        "the same batch twice is harmless"
    );
    entry.identity.payload_hash = PayloadHash::from_u128(99);
    let retried = ledger.admit("kudus-gw", &batch(1, 7).identity);
    assert!(matches!(ledger.admit("kudus-gw", &entry.identity), Admission::Conflict));
    drop((first, retried));
    assert!(
        matches!(ledger.admit("kudus-gw", &entry.identity), Admission::Write(_)),
        "the first one was never written"
    );
}

#[test]
fn a_forgotten_hash_costs_a_second_write_and_no_conflict() {
    let entries: Vec<Entry> = (0..=record::HASHES_MAX as u64).map(|sequence| batch(1, sequence)).collect();
    let ledger = applied(&entries);
    assert!(matches!(ledger.admit("kudus-gw", &entries[0].identity), Admission::Write(_)));
    assert!(matches!(ledger.admit("kudus-gw", &entries[1].identity), Admission::AlreadyApplied));
    ledger.apply(&entries[0]);
    assert_eq!(status_at(&ledger, at(0)).batches, entries.len() as u64, "counted once all the same");
}

#[test]
fn a_spool_that_speaks_again_after_another_took_its_place_is_a_clone() {
    let ledger = applied(&[batch(1, 1), batch(1, 2), batch(2, 1)]);
    assert_eq!(status_at(&ledger, at(0)).interleavings, 0, "a new spool is none");
    ledger.apply(&batch(1, 3));
    ledger.apply(&batch(2, 2));
    assert_eq!(status_at(&ledger, at(0)).interleavings, 2);
}

#[test]
fn what_nothing_explains_is_cut_until_it_comes() {
    let ledger = applied(&[batch(1, 1), batch(1, 4)]);
    let now = batch(1, 4).received_at;
    assert_eq!(gaps(&ledger, now), [("cut".into(), 1_030_000, 1_059_999, false)]);
    assert_eq!(status_at(&ledger, now).pending_batches, 2);
    ledger.apply(&batch(1, 3));
    ledger.apply(&batch(1, 2));
    assert_eq!(gaps(&ledger, now), []);
    assert_eq!(status_at(&ledger, now).pending_batches, 0);
}

#[test]
fn a_reported_loss_explains_its_part_of_a_hole() {
    let mut last = batch(1, 8);
    last.identity.losses.add(loss(Cause::Crashed, 1_040_000, 1_059_999, None));
    let ledger = applied(&[batch(1, 1), last.clone()]);
    let expected =
        [("cut", 1_030_000, 1_039_999), ("crashed", 1_040_000, 1_059_999), ("cut", 1_060_000, 1_119_999)];
    let expected: Vec<_> = expected.map(|(cause, from, to)| (cause.to_owned(), from, to, false)).into();
    assert_eq!(gaps(&ledger, last.received_at), expected);
}

#[test]
fn shed_numbers_are_waited_for_no_more_and_those_that_came_are_no_loss() {
    let mut shed = batch(1, 4);
    shed.identity.losses.add(loss(Cause::Shed, 1_030_000, 1_059_999, Some((2, 3))));
    shed.identity.losses.add(loss(Cause::Refused, 1_015_000, 1_029_999, Some((1, 1))));
    let ledger = applied(&[batch(1, 1), shed.clone()]);
    assert_eq!(gaps(&ledger, shed.received_at), [("shed".into(), 1_030_000, 1_059_999, false)]);
    assert_eq!(status_at(&ledger, shed.received_at).pending_batches, 0);
    ledger.apply(&shed);
    let samples = ledger.gaps(&[], shed.received_at)[0].gaps[0].samples;
    assert_eq!(samples, 5, "a batch that is applied twice reports its losses once");
}

#[test]
fn refused_samples_are_a_gap_with_that_cause() {
    let mut entry = batch(1, 1);
    entry.refused = 3;
    let ledger = applied(&[entry.clone()]);
    assert_eq!(gaps(&ledger, entry.received_at), [("refused".into(), 1_015_000, 1_029_999, false)]);
}

#[test]
fn silence_of_more_than_two_intervals_is_a_lost_connection_and_an_open_gap() {
    let ledger = applied(&(0..100).map(|sequence| batch(1, sequence)).collect::<Vec<_>>());
    let last = batch(1, 99);
    let later = |seconds| last.received_at + std::time::Duration::from_secs(seconds);
    assert_eq!(status_at(&ledger, later(30)).connected, Some(true));
    assert_eq!(gaps(&ledger, later(30)), []);
    assert_eq!(status_at(&ledger, later(36)).connected, Some(false));
    let from = last.identity.to.as_millis() + 1;
    assert_eq!(gaps(&ledger, later(36)), [("cut".into(), from, later(36).as_millis(), true)]);
    let missing = status_at(&ledger, later(36)).missing_seconds;
    assert_eq!((missing["cut"], missing["shed"]), (36.001, 0.0));
}

#[test]
fn an_agent_that_said_farewell_is_stopped_and_not_cut() {
    let mut entries: Vec<Entry> = (0..100).map(|sequence| batch(1, sequence)).collect();
    let last = entries.last_mut().expect("a hundred");
    let after = last.identity.to.as_millis() + 1;
    last.identity.losses.add(loss(Cause::Stopped, after, after, None));
    let (silent, ledger) = (last.received_at + std::time::Duration::from_secs(60), applied(&entries));
    assert_eq!(gaps(&ledger, silent), [("stopped".into(), after, silent.as_millis(), true)]);
    // Back again, it says the whole.
    let mut back = batch(1, 110);
    back.identity.losses.add(loss(Cause::Stopped, after, back.identity.from.as_millis() - 1, None));
    ledger.apply(&back);
    assert_eq!(
        gaps(&ledger, back.received_at),
        [("stopped".into(), after, back.identity.from.as_millis() - 1, false)]
    );
}

/// The first batch of an agent covers a moment, and an agent with targets of several phases sends several short batches an
/// interval: neither may make it look silent until the next round.
#[test]
fn short_batches_do_not_make_an_agent_look_silent() {
    let mut first = batch(1, 0);
    first.identity.to = first.identity.from;
    let ledger = applied(&[first.clone()]);
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(status_at(&ledger, first.received_at + minute).connected, Some(true));
    let mut newest = first.received_at;
    for sequence in 1..200 {
        let (mut short, mut long) = (batch(1, 2 * sequence), batch(1, 2 * sequence + 1));
        short.identity.to = short.identity.from;
        long.identity.from = short.identity.from + std::time::Duration::from_millis(1);
        newest = long.received_at;
        ledger.apply(&short);
        ledger.apply(&long);
    }
    let status = status_at(&ledger, newest + minute);
    assert_eq!(status.connected, Some(true), "rounds come every 30 s here: {status:?}");
}

#[test]
fn the_clock_offset_is_that_of_the_latest_batch() {
    let mut late = batch(1, 1);
    late.sent_at = late.received_at + std::time::Duration::from_secs(3600);
    let ledger = applied(&[batch(1, 2), late]);
    assert_eq!(status_at(&ledger, at(0)).clock_offset_seconds, Some(0.25));
}

#[test]
fn an_agent_without_batches_is_listed_by_its_enrolment() {
    let agent = Agent {
        name: "prometheus".into(),
        region: "33.19".parse().expect("a code"),
        site: "kudus-1".into(),
        token: crate::auth::Digest::of("x"),
        added: at(0),
        revoked: None,
    };
    let ledger = Ledger::new();
    ledger.note_plain("prometheus", at(5));
    let status = ledger.statuses(&[Arc::new(agent)], at(10)).pop().expect("one");
    assert_eq!((status.connected, status.last_seen_ms, status.enrolled), (None, Some(5), true));
}

use crate::enrolment::Agent;

fn any_entry() -> impl Strategy<Value = Entry> {
    let loss = (0usize..6, 0i64..1_000_000, 0i64..60_000, prop::option::of((0u64..40, 0u64..5)));
    (0u128..3, 0u64..40, any::<bool>(), 0u64..3, prop::collection::vec(loss, 0..3)).prop_map(
        |(epoch, sequence, stamped_late, refused, losses)| {
            let mut entry = batch(epoch, sequence);
            entry.refused = refused;
            entry.identity.stamped_late = stamped_late;
            for (cause, from, length, numbers) in losses {
                let sequences = numbers.map(|(first, more)| (first, first + more));
                entry.identity.losses.add(Loss {
                    cause: Cause::ALL[cause],
                    from: at(from),
                    to: at(from + length),
                    samples: 1,
                    sequences,
                });
            }
            entry
        },
    )
}

proptest! {
    #[test]
    fn entries_come_back_from_their_bytes(entry in any_entry()) {
        let mut bytes = Vec::new();
        entry.to_bytes(&mut bytes);
        prop_assert_eq!(Entry::from_bytes(&bytes), Ok(entry));
        for cut in 0..bytes.len() {
            prop_assert!(Entry::from_bytes(&bytes[..cut]).is_err());
        }
    }

    /// A snapshot at any point, and the entries behind it, make the same ledger as all entries from the beginning: this is what
    /// the removal of old segments rests on.
    #[test]
    fn a_snapshot_stands_for_all_that_came_before(
        entries in prop::collection::vec(any_entry(), 0..40),
        cut in 0usize..40,
    ) {
        let whole = applied(&entries);
        let (before, after) = entries.split_at(cut.min(entries.len()));
        let mut snapshot = Vec::new();
        applied(before).snapshot(&mut snapshot);
        let restored = applied(&[batch(9, 9)]);
        restored.restore(&snapshot);
        after.iter().for_each(|entry| restored.apply(entry));
        prop_assert_eq!(restored.unreadable_count(), 0);
        prop_assert_eq!(&restored.lock().agents, &whole.lock().agents);
    }

    /// Against a plain set: pending numbers, and covered time as the set of its quarter minutes.
    #[test]
    fn the_ledger_agrees_with_a_plain_set(sequences in prop::collection::vec(0u64..60, 1..80)) {
        let ledger = applied(&sequences.iter().map(|sequence| batch(1, *sequence)).collect::<Vec<_>>());
        let plain: BTreeSet<u64> = sequences.iter().copied().collect();
        let (first, last) = (*plain.first().expect("one at least"), *plain.last().expect("one at least"));
        let lacking: Vec<u64> = (first..=last).filter(|sequence| !plain.contains(sequence)).collect();
        let newest = sequences.iter().map(|sequence| batch(1, *sequence).received_at).max().expect("one at least");
        let status = status_at(&ledger, newest);
        prop_assert_eq!(status.batches, plain.len() as u64);
        prop_assert_eq!(status.pending_batches, lacking.len() as u64);
        prop_assert_eq!(status.missing_seconds["cut"], 15.0 * lacking.len() as f64);
    }

    /// What a ledger in short claims, the whole one claims too.
    #[test]
    fn a_ledger_in_short_is_small_and_claims_less(entries in prop::collection::vec(any_entry(), 1..80)) {
        let whole = applied(&entries);
        let mut snapshot = Vec::new();
        whole.snapshot_within(0, &mut snapshot);
        prop_assert!(snapshot.len() < 2048, "{} bytes", snapshot.len());
        let short = Ledger::new();
        short.restore(&snapshot);
        prop_assert_eq!(short.unreadable_count(), 0);
        for entry in &entries {
            if matches!(short.admit("kudus-gw", &entry.identity), Admission::AlreadyApplied) {
                prop_assert!(matches!(whole.admit("kudus-gw", &entry.identity), Admission::AlreadyApplied));
            }
        }
        let (part, all) = (short.gaps(&[], at(0)).remove(0), whole.gaps(&[], at(0)).remove(0));
        // What lost its explanation counts as cut again.
        let mut named = part.gaps.iter().filter(|gap| gap.cause != "cut");
        prop_assert!(named.all(|gap| all.gaps.contains(gap)), "{:?} of {:?}", part.gaps, all.gaps);
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let ledger = Ledger::new();
        ledger.restore(&bytes);
        ledger.apply_bytes(&bytes);
    }
}

#[test]
fn what_cannot_be_read_is_counted_and_leaves_the_ledger_as_it_was() {
    let ledger = applied(&[batch(1, 1)]);
    ledger.apply_bytes(b"\x02nonsense");
    ledger.restore(b"\x07");
    assert_eq!((ledger.unreadable_count(), status_at(&ledger, at(0)).batches), (2, 1));
}

/// The module's text said 40 KiB.
#[test]
fn a_page_has_a_largest_size_and_in_short_a_small_one() {
    let ledger = Ledger::new();
    let mut sequence = 0;
    for epoch in 1..=record::EPOCHS_MAX as u128 {
        for _ in 0..record::APPLIED_RUNS_MAX {
            sequence += 2;
            let mut entry = batch(epoch, sequence);
            let from = 1_800_000_000_000 + 100_000_000 * sequence as i64;
            (entry.identity.from, entry.identity.to) = (at(from), at(from + 80_000_000));
            entry.identity.stamped_late = true;
            let lost = Loss { samples: 1_000_000, ..loss(Cause::Shed, from, from + 80_000_000, None) };
            entry.identity.losses.add(lost);
            ledger.apply(&entry);
        }
    }
    let (mut whole, mut short) = (Vec::new(), Vec::new());
    ledger.snapshot(&mut whole);
    ledger.snapshot_within(0, &mut short);
    assert!((50 << 10..=60 << 10).contains(&whole.len()), "{}", whole.len());
    assert!(short.len() <= 2 << 10, "{}", short.len());
}
