//! The list of faults: each with its device. [`FAULTS`] says which test is whose.

use super::*;

/// A fault, and the tests that are its.
type Fault = (&'static str, &'static [fn()]);

/// What devices and paths do, and the tests that fail if the engine did not bear it. Named by the functions themselves, so that none can
/// go without this list knowing. What the single parts do about the same faults stands beside them: `round/tests.rs` (what a reply may
/// hold), `usm/tests.rs` (who is believed), `engine/tests.rs` (over real sockets), and the agent's input (events: a restart, a sysUpTime that
/// wrapped).
const FAULTS: &[Fault] = &[
    ("no reply", &[no_reply, a_silent_table_is_parked_and_the_others_are_read]),
    ("a reply to another request", &[a_reply_to_another_request_is_passed_over]),
    (
        "duplicated datagrams",
        &[duplicates_are_counted_and_harmless, the_reply_to_the_request_before_is_not_taken_for_this_ones],
    ),
    (
        "late datagrams",
        &[late_replies_are_counted_and_harmless, a_reply_to_the_first_try_still_counts_and_measures_the_path],
    ),
    ("wrong source", &[wrong_source_and_what_allows_it]),
    ("wrong port", &[wrong_port]),
    ("wrong version", &[wrong_version_and_community]),
    ("wrong community", &[wrong_version_and_community]),
    (
        "wrong user",
        &[
            v3::a_wrong_user_is_named_and_the_next_credential_tried,
            v3::replies_of_another_user_engine_or_context_are_passed_over,
        ],
    ),
    ("wrong engine id", &[v3::replies_of_another_user_engine_or_context_are_passed_over]),
    ("truncated lengths", &[truncated_over_long_and_indefinite, rubbish_is_no_sign_of_life]),
    ("trailing bytes", &[trailing_bytes_are_passed_over]),
    ("over-long lengths", &[truncated_over_long_and_indefinite]),
    ("indefinite lengths", &[truncated_over_long_and_indefinite]),
    ("unknown tags", &[bad_tags_numbers_and_names]),
    ("bad INTEGER lengths", &[bad_tags_numbers_and_names]),
    ("bad OID lengths", &[bad_tags_numbers_and_names]),
    ("bad Counter64 lengths", &[bad_tags_numbers_and_names, an_empty_counter64_hurts_its_column_alone]),
    ("OIDs beyond 128 arcs", &[bad_tags_numbers_and_names]),
    ("arcs of 2^31 and more", &[arcs_of_2_to_the_31_and_more_are_good]),
    ("an empty varbind list", &[replies_without_bindings_end_with_their_reason]),
    ("descending OIDs", &[names_that_do_not_grow_end_a_table]),
    ("repeating OIDs", &[names_that_do_not_grow_end_a_table]),
    ("endlessly increasing OIDs", &[a_table_without_end_ends_at_its_bound]),
    ("noSuchObject in the middle of a bulk", &[exceptions_in_the_middle_of_a_bulk_are_left_out]),
    ("noSuchInstance in the middle of a bulk", &[exceptions_in_the_middle_of_a_bulk_are_left_out]),
    ("endOfMibView in the middle of a bulk", &[exceptions_in_the_middle_of_a_bulk_are_left_out]),
    ("tooBig above N repetitions", &[too_big_and_broken_bulk_are_worked_around]),
    ("genErr on one column", &[an_error_on_one_column_ends_it_alone, every_status_ends_a_round]),
    ("60 kB strings", &[texts_of_60_kb_come_whole]),
    ("fewer varbinds than asked", &[fewer_and_more_bindings_than_asked_for]),
    ("more varbinds than asked", &[fewer_and_more_bindings_than_asked_for]),
    ("rows that vanish between requests", &[rows_that_vanish_between_requests]),
    ("a reboot in mid-walk", &[a_reboot_in_mid_walk_ends_in_reasons_and_the_next_round_is_whole]),
    ("a sysUpTime wrap in mid-walk", &[a_reboot_in_mid_walk_ends_in_reasons_and_the_next_round_is_whole]),
    (
        "an engine reboot in mid-walk",
        &[v3::a_reboot_in_mid_walk_does_not_hurt, v3::an_engine_that_reboots_is_followed_in_one_round_trip],
    ),
    (
        "v3 report storms",
        &[
            v3::a_storm_of_forged_reports_changes_nothing,
            v3::forged_reports_to_the_very_request_do_not_stop_it,
        ],
    ),
    ("forged reports", &[v3::forged_reports_to_the_very_request_do_not_stop_it]),
    ("a device that answers every third request", &[a_device_that_answers_every_third_request]),
    ("loss of 20 %", &[loss_and_reordering_of_a_fifth, v3::loss_of_a_fifth_is_survived]),
    ("reordering of 20 %", &[loss_and_reordering_of_a_fifth, v3::loss_of_a_fifth_is_survived]),
    ("the same behind a cipher", &[v3::misdeeds_behind_the_cipher_end_in_reasons]),
    ("bytes that are nothing", &[rubbish_from_anywhere_changes_nothing, rubbish_is_no_sign_of_life]),
];

#[test]
fn every_fault_stands_once_and_has_its_tests() {
    let mut names: Vec<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FAULTS.len());
    assert!(FAULTS.iter().all(|(_, tests)| !tests.is_empty()));
}

/// Reads a device that does this wrong; the table must come whole all the same.
#[track_caller]
fn whole(misdeeds: &[Misdeed]) -> (Harvest, Stats) {
    let mut net = Net::new([Node::bad(misdeeds)]);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_whole(&harvest);
    (harvest, net.core.stats)
}

/// Reads a device whose replies do not count; returns the last bad packet's text.
#[track_caller]
fn refused(misdeed: Misdeed, count: impl Fn(&Stats) -> u64) -> String {
    let mut net = Net::new([Node::bad(std::slice::from_ref(&misdeed))]);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert!(!harvest.answered && harvest.scalars.is_empty() && harvest.tables[0].rows.is_empty());
    let stats = net.core.stats;
    assert_eq!((stats.replies, stats.timeouts, count(&stats)), (0, 1, 3), "{misdeed:?}: {stats:?}");
    assert_eq!(reason(&harvest.tables[0]), "timeout");
    harvest.last_bad.map_or(String::new(), |bad| bad.why.clone())
}

#[test]
fn no_reply() {
    let mut net = Net::new([Node::bad(&[Misdeed::Silence])]);
    let target = Arc::new(target(1));
    let harvest = net.run(job(&target));
    assert_eq!((harvest.answered, harvest.cost.retries, harvest.cost.timeouts), (false, 2, 1));
    assert_eq!(reason(&harvest.tables[0]), "timeout");
    assert_eq!(harvest.scalar_reasons, [Some(Reason::Timeout)]);
    assert_eq!(net.core.stats.devices_silent_now, 1);
    for _ in 0..5 {
        let before = net.node(1).state.datagrams;
        net.run(job(&target));
        assert_eq!(net.node(1).state.datagrams - before, 1, "a dead device costs one probe a round");
    }
    net.node(1).state.misdeeds.clear();
    assert_whole(&net.run(job(&target)));
    assert_eq!(net.core.stats.devices_silent_now, 0);
}

#[test]
fn a_reply_to_another_request_is_passed_over() {
    let (_, stats) = whole(&[Misdeed::WrongId]);
    // One more than the id is the next try, which was never made.
    assert_eq!(stats.unknown_id, stats.requests);
}

#[test]
fn duplicates_are_counted_and_harmless() {
    let (_, stats) = whole(&[Misdeed::Duplicate]);
    assert_eq!((stats.duplicate, stats.replies), (stats.requests, stats.requests));
}

/// Each reply comes again while the next request, of the same slot, waits for its own.
#[test]
fn the_reply_to_the_request_before_is_not_taken_for_this_ones() {
    let mut net = Net::new([Node::new(3, 20)]);
    let (mut twin, mut before) = (Node::new(3, 20), Vec::new());
    let harvest = v3::overheard(&mut net, job(&Arc::new(target(1))), |packet| {
        std::mem::replace(&mut before, twin.replies(Duration::ZERO, packet))
    });
    assert_whole(&harvest);
    let stats = net.core.stats;
    assert!(stats.requests > 2 && stats.duplicate == stats.requests - 1, "{stats:?}");
}

#[test]
fn late_replies_are_counted_and_harmless() {
    let mut net = Net::new([Node::new(3, 20)]);
    net.node(1).delay = Duration::from_secs(25);
    let target = Arc::new(target(1));
    let harvest = net.run(job(&target));
    assert!(!harvest.answered);
    assert_eq!(net.core.stats.late + net.core.stats.unknown_id, 3);
    net.node(1).delay = ms(10);
    assert_whole(&net.run(job(&target)));
}

#[test]
fn a_reply_to_the_first_try_still_counts_and_measures_the_path() {
    let mut net = Net::new([Node::new(3, 20)]);
    net.node(1).delay = ms(4000);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_whole(&harvest);
    assert_eq!(harvest.round_trip, Some(ms(4000)), "each try has an id of its own");
    assert_eq!(
        (harvest.cost.retries, harvest.cost.timeouts),
        (1, 0),
        "the path is known after the first reply"
    );
}

#[test]
fn wrong_source_and_what_allows_it() {
    let elsewhere: SocketAddr = (Ipv4Addr::new(10, 9, 9, 9), 161).into();
    let mut net = Net::new([Node::new(3, 20)]);
    net.node(1).source = Some(elsewhere);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_eq!((harvest.answered, net.core.stats.wrong_source), (false, 3));
    let bad = harvest.last_bad.expect("it is kept");
    assert_eq!(bad.why, "answered from 10.9.9.9:161; allow it?");
    assert!(bad.bytes.len() == bad.length && bad.length > 20);
    let allowed = Target { accept_reply_from: vec![elsewhere.ip()], ..target(1) };
    assert_whole(&net.run(job(&Arc::new(allowed.clone()))));
    net.node(1).source = Some((elsewhere.ip(), 162).into());
    assert!(!net.run(job(&Arc::new(allowed))).answered, "the port stays the same");
}

#[test]
fn wrong_port() {
    let mut net = Net::new([Node::new(3, 20)]);
    net.node(1).source = Some((address(1).ip(), 1024).into());
    assert!(!net.run(job(&Arc::new(target(1)))).answered);
    assert_eq!(net.core.stats.wrong_source, 3);
}

#[test]
fn wrong_version_and_community() {
    assert_eq!(refused(Misdeed::WrongVersion, |stats| stats.wrong_version), "a reply in another version");
    let why = refused(Misdeed::WrongCommunity, |stats| stats.wrong_community);
    assert_eq!(why, "a reply with another community");
}

/// Reads a device whose packets cannot be read at all.
#[track_caller]
fn unreadable(misdeed: Misdeed, why: &str) {
    let mut net = Net::new([Node::bad(&[misdeed])]);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_eq!(reason(&harvest.tables[0]), "malformed", "{:?}", harvest.tables[0].reasons);
    assert!(net.core.stats.malformed >= 2 && harvest.tables[0].rows.is_empty());
    assert_eq!(
        (harvest.answered, net.core.stats.devices_silent_now),
        (false, 1),
        "rubbish is no sign of life"
    );
    let bad: Arc<BadPacket> = harvest.last_bad.expect("it is kept");
    assert!(bad.why.contains(why), "{}", bad.why);
}

#[test]
fn truncated_over_long_and_indefinite() {
    unreadable(Misdeed::Truncated(1), "bytes left");
    unreadable(Misdeed::Truncated(20), "bytes left");
    unreadable(Misdeed::IndefiniteLength, "indefinite");
    unreadable(Misdeed::OverlongLength, "a length of 2147483647");
}

#[test]
fn rubbish_is_no_sign_of_life() {
    // The header is right, so the request is over at once; and yet nothing was said.
    let mut net = Net::new([Node::bad(&[Misdeed::NoList])]);
    let target = Arc::new(target(1));
    for _ in 0..3 {
        let harvest = net.run(job(&target));
        assert_eq!((harvest.answered, harvest.credential), (false, None));
        assert!(
            matches!(harvest.scalar_reasons[0], Some(Reason::Malformed(_))),
            "{:?}",
            harvest.scalar_reasons
        );
        assert!(harvest.tables[0].rows.is_empty() && harvest.last_bad.is_some());
        assert_eq!((net.core.stats.replies, net.core.stats.devices_silent_now), (0, 1));
    }
    // What anybody can send from its address does not bring a silent device back.
    net.node(1).state.misdeeds = vec![Misdeed::Truncated(1)];
    for _ in 0..3 {
        let before = net.node(1).state.datagrams;
        assert!(!net.run(job(&target)).answered);
        assert_eq!(net.node(1).state.datagrams - before, 1, "one probe a round");
        net.core.on_datagram(net.now, address(1), &mut b"\x30\x03rubbish".to_vec());
        assert_eq!(net.core.stats.devices_silent_now, 1);
    }
    net.node(1).state.misdeeds.clear();
    assert_whole(&net.run(job(&target)));
    // Nor does rubbish before the answer hurt a device that is well.
    net.node(1).forged = vec![b"\x30\x03rubbish".to_vec(), Vec::new(), vec![0x30; 2000]];
    assert_whole(&net.run(job(&target)));
    assert_eq!(net.core.stats.devices_silent_now, 0);
}

#[test]
fn what_people_are_shown_of_a_packet_holds_no_community() {
    let mut net = Net::new([Node::new(3, 20)]);
    for (misdeed, source) in [
        (Misdeed::WrongCommunity, None),
        (Misdeed::WrongVersion, None),
        (Misdeed::NoList, None),
        (Misdeed::OverlongLength, None),
        (Misdeed::IndefiniteLength, None),
        (Misdeed::Trailing(0), Some((Ipv4Addr::new(10, 9, 9, 9), 161).into())),
    ] {
        net.now += ms(1000);
        (net.node(1).state.misdeeds, net.node(1).source) = (vec![misdeed.clone()], source);
        let bad = net.run(job(&Arc::new(target(1)))).last_bad.expect("it is kept");
        let holds = |secret: &[u8]| bad.bytes.windows(secret.len()).any(|bytes| bytes == secret);
        assert!(!holds(b"public") && !holds(b"somebody-else") && holds(b"******"), "{misdeed:?}: {bad:?}");
    }
}

#[test]
fn trailing_bytes_are_passed_over() {
    whole(&[Misdeed::Trailing(7)]);
}

/// Reads a device whose last binding is spoiled in each reply to a GETBULK or GETNEXT.
#[track_caller]
fn spoiled(misdeed: Misdeed, why: &str) {
    let mut net = Net::new([Node { well_until: 1, ..Node::bad(std::slice::from_ref(&misdeed)) }]);
    let harvest = net.run(job(&Arc::new(target(1))));
    let reasons = &harvest.tables[0].reasons;
    let named = reasons.iter().filter(|reason| reason.to_string().contains(why)).count();
    assert!(named >= 1, "{misdeed:?}: {reasons:?}");
    assert_eq!(harvest.scalars.len(), 1, "what came before stands");
}

#[test]
fn bad_tags_numbers_and_names() {
    let raw = |tag, content: &[u8]| Misdeed::RawValue(tag, content.to_vec());
    spoiled(raw(0x99, b"x"), "unknown tag 0x99");
    spoiled(raw(0x02, b""), "a number of 0 octets");
    spoiled(raw(0x02, &[1; 10]), "a number of 10 octets");
    spoiled(raw(0x02, &[0x7f; 5]), "a number out of range");
    spoiled(raw(0x46, b""), "a number of 0 octets");
    spoiled(raw(0x46, &[1; 9]), "a number out of range");
    spoiled(raw(0x40, &[1; 3]), "an IpAddress of 3 octets");
    spoiled(raw(0x06, &[0x2b, 0x80, 1]), "padded");
    spoiled(Misdeed::RawName(vec![1; 129]), "at most 128 arcs");
    spoiled(Misdeed::RawName(vec![0x2b, 0x9f, 0xff, 0xff, 0xff, 0x7f]), "from 0 to 4294967295");
    spoiled(Misdeed::RawName(vec![0x2b, 0x81]), "cut off");
}

/// What some agents send of a counter that they do not keep: a Counter64 of no octets.
#[test]
fn an_empty_counter64_hurts_its_column_alone() {
    let mut net = Net::new([Node { well_until: 1, ..Node::bad(&[Misdeed::BadCounter]) }]);
    let harvest = net.run(job(&Arc::new(target(1))));
    let reasons = &harvest.tables[0].reasons;
    assert!(reasons.iter().any(|reason| matches!(reason, Reason::Malformed(_))), "{reasons:?}");
    assert!(reasons.iter().any(Reason::is_complete), "{reasons:?}");
    assert!(!harvest.tables[0].rows.is_empty());
}

#[test]
fn arcs_of_2_to_the_31_and_more_are_good() {
    let mut net = Net::new([Node::new(3, 20)]);
    for row in [1 << 31, u32::MAX] {
        net.node(1).state.cells.insert(column(1).child(&[row]).expect("short"), Datum::Counter32(7));
    }
    let harvest = net.run(job(&Arc::new(target(1))));
    assert!(harvest.tables[0].is_whole());
    assert_eq!(values(&harvest)[&(1, u32::MAX)], Datum::Counter32(7));
}

#[test]
fn replies_without_bindings_end_with_their_reason() {
    let mut net = Net::new([Node { well_until: 1, ..Node::bad(&[Misdeed::Empty]) }]);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_eq!(reason(&harvest.tables[0]), "empty_reply");
    let harvest = Net::new([Node::bad(&[Misdeed::Empty])]).run(job(&Arc::new(target(1))));
    assert_eq!(harvest.scalar_reasons, [Some(Reason::EmptyReply)]);
}

#[test]
fn names_that_do_not_grow_end_a_table() {
    for misdeed in [Misdeed::StandsStill, Misdeed::Descends] {
        let mut net = Net::new([Node::bad(std::slice::from_ref(&misdeed))]);
        let harvest = net.run(job(&Arc::new(target(1))));
        let reasons = &harvest.tables[0].reasons;
        let ended = |reason: &Reason| matches!(reason, Reason::NonIncreasing { .. } | Reason::EndOfMib);
        assert!(reasons.iter().all(ended), "{misdeed:?}: {reasons:?}");
        assert!(harvest.cost.requests <= 4, "{:?}", harvest.cost);
    }
}

#[test]
fn a_table_without_end_ends_at_its_bound() {
    let harvest = Net::new([Node::bad(&[Misdeed::Endless])]).run(job(&Arc::new(target(1))));
    assert_eq!((reason(&harvest.tables[0]), harvest.tables[0].rows.len()), ("limit_rows", 1500));
}

#[test]
fn exceptions_in_the_middle_of_a_bulk_are_left_out() {
    let mut net = Net::new([Node::new(3, 20)]);
    net.node(1).state.cells.insert(column(2).child(&[7]).expect("short"), Datum::NoSuchObject);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_eq!((harvest.tables[0].failure(), harvest.tables[0].rows.len()), (None, 59));
    net.node(1).state.cells.insert(column(2).child(&[7]).expect("short"), Datum::NoSuchInstance);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_eq!((harvest.tables[0].failure(), harvest.tables[0].rows.len()), (None, 59));
    assert_eq!(harvest.tables[0].cost.skipped, 1);
    net.node(1).state.cells.insert(column(2).child(&[7]).expect("short"), Datum::EndOfMibView);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_eq!(harvest.tables[0].reasons[1], Reason::EndOfMib);
    assert_eq!(harvest.tables[0].rows.len(), 46);
}

#[test]
fn too_big_and_broken_bulk_are_worked_around() {
    for most in [1, 2, 5, 17, 40] {
        whole(&[Misdeed::TooBigAbove(most)]);
    }
    whole(&[Misdeed::NoBulk]);
    let mut net = Net::new([Node { well_until: 1, ..Node::bad(&[Misdeed::TooBigAbove(0)]) }]);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_eq!(harvest.tables[0].reasons, vec![Reason::Status(ErrorStatus::TOO_BIG); 3]);
}

#[test]
fn an_error_on_one_column_ends_it_alone() {
    let mut net = Net::new([Node::bad(&[Misdeed::GenErr(column(2))])]);
    let harvest = net.run(job(&Arc::new(target(1))));
    let reasons = &harvest.tables[0].reasons;
    // The row before the sick column's first is the last of the first column.
    assert_eq!(reasons[1], Reason::Status(ErrorStatus::GEN_ERR));
    assert!(reasons[2].is_complete());
    let values = values(&harvest);
    // The first column too: it is named where a request for many of its rows reaches into the sick one behind it.
    assert!((1..=20).all(|row| values.contains_key(&(1, row)) && values.contains_key(&(3, row))));
}

#[test]
fn every_status_ends_a_round() {
    for status in -1..30 {
        let harvest = Net::new([Node::bad(&[Misdeed::Status(status)])]).run(job(&Arc::new(target(1))));
        assert!(harvest.answered && harvest.cost.requests < 60, "{status}: {:?}", harvest.cost);
    }
}

#[test]
fn texts_of_60_kb_come_whole() {
    let mut net = Net::new([Node::new(3, 20)]);
    net.node(1).state.cells.insert(column(3).child(&[5]).expect("short"), Datum::Bytes(vec![b'x'; 60_000]));
    let harvest = net.run(job(&Arc::new(target(1))));
    assert!(harvest.tables[0].is_whole());
    assert_eq!(values(&harvest)[&(3, 5)], Datum::Bytes(vec![b'x'; 60_000]));
}

#[test]
fn fewer_and_more_bindings_than_asked_for() {
    for count in [1, 2, 5, 11] {
        let mut net = Net::new([Node { well_until: 1, ..Node::bad(&[Misdeed::Fewer(count)]) }]);
        let harvest = net.run(job(&Arc::new(target(1))));
        // What never comes is not passed off as read.
        let rows = harvest.tables[0].rows.len();
        assert!(rows == 60 || !harvest.tables[0].is_whole(), "{count}: {rows}");
        assert!(rows > 0);
    }
    whole(&[Misdeed::Twice]);
}

#[test]
fn rows_that_vanish_between_requests() {
    let mut net = Net::new([Node::new(3, 200)]);
    let harvest = net.submit(job(&Arc::new(target(1))));
    // Two requests into the round all even rows go.
    for _ in 0..3 {
        net.core.pump(net.now, &mut net.outbound);
        for (to, packet) in std::mem::take(&mut net.outbound.packets) {
            let reply = net.nodes.get_mut(&to).expect("a node").replies(net.now, &packet);
            reply.into_iter().for_each(|mut packet| net.core.on_datagram(net.now, to, &mut packet));
        }
    }
    let is_odd = |name: &Oid| name.view().arcs().last().is_some_and(|row| row % 2 == 1);
    net.node(1).state.cells.retain(|name, _| is_odd(name));
    net.settle();
    let harvest = harvest.blocking_recv().expect("a harvest comes always");
    assert!(harvest.tables[0].is_whole());
    assert!((300..600).contains(&harvest.tables[0].rows.len()));
}

#[test]
fn a_reboot_in_mid_walk_ends_in_reasons_and_the_next_round_is_whole() {
    let mut net = Net::new([Node { well_until: 3, ..Node::new(3, 200) }]);
    net.node(1).state.misdeeds = vec![Misdeed::Silence];
    let target = Arc::new(target(1));
    let harvest = net.run(job(&target));
    assert_eq!((harvest.answered, reason(&harvest.tables[0])), (true, "timeout"));
    assert!(!harvest.tables[0].rows.is_empty(), "what came is kept");
    assert_eq!(net.core.stats.tables_parked, 0, "the device was silent, not the table");
    net.node(1).state.misdeeds.clear();
    // sysUpTime begins anew, and wraps: raw values, never changed here.
    for ticks in [3, u32::MAX, 0] {
        net.node(1).state.cells.insert(sys_up_time(), Datum::TimeTicks(ticks));
        let harvest = net.run(job(&target));
        assert_eq!((harvest.tables[0].failure(), harvest.scalar(0)), (None, Some(Value::TimeTicks(ticks))));
    }
}

#[test]
fn a_silent_table_is_parked_and_the_others_are_read() {
    let mut net = Net::new([Node::new(3, 20)]);
    let sick = oid("1.3.6.1.4.1.9");
    net.node(1).state.cells.insert(sick.child(&[1]).expect("short"), Datum::Integer(1));
    let target = Arc::new(target(1));
    let both = || {
        let mut job = job(&target);
        job.tables.insert(0, Arc::new(Table::new("sick", vec![sick.clone()])));
        job
    };
    net.node(1).state.misdeeds = vec![Misdeed::SilentOn(sick.clone())];
    let harvest = net.run(both());
    assert_eq!((reason(&harvest.tables[0]), reason(&harvest.tables[1])), ("timeout", "whole"));
    assert_eq!((harvest.scalars.len(), net.core.stats.tables_parked), (1, 1));
    assert_eq!(net.core.stats.tables_parked_now, 1);
    let asked = |net: &mut Net| net.node(1).state.datagrams;
    let before = asked(&mut net);
    let harvest = net.run(both());
    assert_eq!((reason(&harvest.tables[0]), reason(&harvest.tables[1])), ("parked", "whole"));
    assert_eq!(u64::from(asked(&mut net) - before), u64::from(harvest.cost.requests), "no request in vain");
    net.now += Duration::from_secs(601);
    net.node(1).state.misdeeds.clear();
    assert!(net.run(both()).tables.iter().all(TableHarvest::is_whole));
    assert_eq!((net.core.stats.tables_parked, net.core.stats.tables_parked_now), (1, 0));
}

/// Who asks for scalars first and for tables in a second job (because it depends on the first which) has its silent tables parked
/// all the same. They were taken for a silent device, asked for again in each round, and took the tables behind them with them.
#[test]
fn a_silent_table_is_parked_in_a_job_of_its_own_too() {
    let mut net = Net::new([Node::new(3, 20)]);
    let sick = oid("1.3.6.1.4.1.9");
    net.node(1).state.cells.insert(sick.child(&[1]).expect("short"), Datum::Integer(1));
    net.node(1).state.misdeeds = vec![Misdeed::SilentOn(sick.clone())];
    let target = Arc::new(target(1));
    for expected in ["timeout", "parked"] {
        let scalars = net.run(Job { tables: Vec::new(), ..job(&target) });
        assert!(scalars.answered);
        let mut tables = Job { scalars: Arc::new([]), ..job(&target) };
        tables.tables.insert(0, Arc::new(Table::new("sick", vec![sick.clone()])));
        let harvest = net.run(tables);
        assert_eq!((reason(&harvest.tables[0]), reason(&harvest.tables[1])), (expected, "whole"));
        assert_eq!(net.core.stats.tables_parked, 1);
    }
    assert_eq!(net.core.stats.devices_silent_now, 0);
    // A device that falls silent between the two is asked once more whether it is there.
    assert!(net.run(Job { tables: Vec::new(), ..job(&target) }).answered);
    net.node(1).state.misdeeds = vec![Misdeed::Silence];
    let harvest = net.run(Job { scalars: Arc::new([]), ..job(&target) });
    assert_eq!((harvest.answered, reason(&harvest.tables[0])), (false, "timeout"));
    assert_eq!((net.core.stats.tables_parked, net.core.stats.devices_silent_now), (1, 1));
}

#[test]
fn a_device_that_answers_every_third_request() {
    let (harvest, _) = whole(&[Misdeed::OnlyEvery(3)]);
    assert_eq!(harvest.cost.retries, 2 * harvest.cost.requests);
}

#[test]
fn loss_and_reordering_of_a_fifth() {
    let mut net = Net::new((0..20).map(|_| Node::new(3, 20)));
    (net.loss, net.reorder) = (200, true);
    let targets: Vec<_> = (1..=20).map(|number| Arc::new(Target { retries: 3, ..target(number) })).collect();
    let (mut whole, mut named) = (0, 0);
    for _ in 0..10 {
        let harvests: Vec<_> = targets.iter().map(|target| net.submit(job(target))).collect();
        net.settle();
        for harvest in harvests {
            let harvest = harvest.blocking_recv().expect("a harvest comes always");
            match harvest.tables[0].is_whole() {
                true => {
                    assert_eq!(values(&harvest).len(), 60, "whole means whole");
                    whole += 1;
                }
                false => named += 1,
            }
        }
    }
    assert!(whole >= 150, "{whole} whole, {named} with a reason; {:?}", net.core.stats);
    assert_eq!((net.core.stats.in_flight_now, net.core.stats.jobs_now), (0, 0));
}

#[test]
fn the_second_community_of_a_rotation_is_found_and_remembered() {
    let credentials = vec![community("old"), community("public")];
    let target = Arc::new(Target { credentials, ..target(1) });
    let mut net = Net::new([Node::new(3, 20)]);
    let harvest = net.run(job(&target));
    assert_whole(&harvest);
    assert_eq!(harvest.credential, Some(1));
    let before = net.node(1).state.datagrams;
    let harvest = net.run(job(&target));
    assert_eq!((harvest.credential, harvest.cost.retries), (Some(1), 0));
    assert_eq!(net.node(1).state.datagrams - before, harvest.cost.requests);
    // It is rotated while the device is away: one probe a round, with each credential in turn.
    net.node(1).community = "old";
    net.node(1).state.misdeeds = vec![Misdeed::Silence];
    (0..3).for_each(|_| assert!(!net.run(job(&target)).answered));
    net.node(1).state.misdeeds.clear();
    let found = (0..2).filter(|_| net.run(job(&target)).answered).count();
    assert!(found >= 1);
    assert_eq!(net.run(job(&target)).credential, Some(0));
}

#[test]
fn an_older_jobs_credential_is_not_taken_for_a_newer_ones() {
    let two = Arc::new(Target { credentials: vec![community("old"), community("public")], ..target(1) });
    let only = Arc::new(target(1));
    let mut net = Net::new([Node::new(3, 20)]);
    let (older, newer) = (net.submit(job(&two)), net.submit(job(&only)));
    net.settle();
    for harvest in [older, newer] {
        assert_whole(&harvest.blocking_recv().expect("a harvest comes always"));
    }
    let harvest = net.run(job(&only));
    assert_whole(&harvest);
    assert_eq!(harvest.credential, Some(0));
}

#[test]
fn what_cannot_be_sent_is_unreachable() {
    let mut net = Net::new([Node::new(3, 20)]);
    net.outbound.broken = true;
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_eq!((reason(&harvest.tables[0]), net.core.stats.send_errors), ("unreachable", 1));
    net.outbound.broken = false;
    assert_whole(&net.run(job(&Arc::new(target(1)))));
}

#[test]
fn a_target_without_credentials_says_so() {
    let harvest = Net::new([]).run(job(&Arc::new(Target { credentials: Vec::new(), ..target(1) })));
    assert!(matches!(&harvest.tables[0].reasons[0], Reason::Refused(why) if why.contains("no credential")));
}

#[test]
fn rubbish_from_anywhere_changes_nothing() {
    let mut net = Net::new([Node::new(3, 20)]);
    net.run(job(&Arc::new(target(1))));
    let before = net.core.learned();
    for length in 0..300 {
        let mut packet: Vec<u8> = (0..length).map(|_| net.random(256) as u8).collect();
        if length > 4 && length % 3 == 0 {
            (packet[0], packet[1]) = (0x30, (length - 2) as u8);
        }
        let source = if length % 2 == 0 { address(1) } else { address(99) };
        net.core.on_datagram(net.now, source, &mut packet);
    }
    assert_eq!(net.core.learned(), before);
    assert_whole(&net.run(job(&Arc::new(target(1)))));
}
