//! SNMPv3 through the whole engine.

use super::*;
use crate::pdu::{PduKind, Varbind};
use crate::v3::{self, Head, Level, Scoped};

fn user(name: &str, passphrase: &str) -> User {
    let auth = Some((AuthProtocol::Sha256, passphrase.as_bytes()));
    User::new(name.as_bytes(), auth, Some((PrivProtocol::Aes128, b"maplesyrup"))).expect("long enough")
}

fn credential(name: &str, passphrase: &str) -> Credential {
    Credential::User { user: user(name, passphrase), context: Context::default() }
}

fn node(engine: &[u8]) -> Node {
    let id = EngineId::new(engine).expect("short");
    let authority = Authority::new(id, 7, Duration::ZERO, [user("monitor", "authpassword")]);
    Node { authority: Some(authority), ..Node::new(3, 20) }
}

fn v3(number: u8, credentials: Vec<Credential>) -> Arc<Target> {
    Arc::new(Target { credentials, ..target(number) })
}

fn good(number: u8) -> Arc<Target> {
    v3(number, vec![credential("monitor", "authpassword")])
}

#[test]
fn reads_a_device_after_discovery() {
    let mut net = Net::new([node(b"engine-one")]);
    let target = good(1);
    let harvest = net.run(job(&target));
    assert_whole(&harvest);
    assert_eq!((harvest.credential, harvest.cost.timeouts, harvest.cost.retries), (Some(0), 0, 0));
    let resynchronised = net.core.stats.resynchronised;
    assert!((1..=2).contains(&resynchronised), "{resynchronised}");
    assert_whole(&net.run(job(&target)));
    assert_eq!(net.core.stats.resynchronised, resynchronised, "what was learned is kept");
}

#[test]
pub(super) fn an_engine_that_reboots_is_followed_in_one_round_trip() {
    let mut net = Net::new([node(b"engine-one")]);
    let target = good(1);
    net.run(job(&target));
    net.now += Duration::from_secs(1000);
    let now = net.now;
    net.node(1).authority.as_mut().expect("v3").reboot(now);
    let before = net.core.stats;
    let harvest = net.run(job(&target));
    assert_whole(&harvest);
    assert_eq!((harvest.cost.timeouts, net.core.stats.resynchronised - before.resynchronised), (0, 1));
}

#[test]
pub(super) fn a_reboot_in_mid_walk_does_not_hurt() {
    let mut net = Net::new([node(b"engine-one")]);
    let target = good(1);
    net.run(job(&target));
    let harvest = net.submit(job(&target));
    net.core.pump(net.now, &mut net.outbound);
    for (to, packet) in std::mem::take(&mut net.outbound.packets) {
        let replies = net.nodes.get_mut(&to).expect("a node").replies(net.now, &packet);
        replies.into_iter().for_each(|mut packet| net.core.on_datagram(net.now, to, &mut packet));
    }
    let now = net.now;
    net.node(1).authority.as_mut().expect("v3").reboot(now);
    net.settle();
    assert_whole(&harvest.blocking_recv().expect("a harvest comes always"));
}

#[test]
pub(super) fn a_wrong_user_is_named_and_the_next_credential_tried() {
    let mut net = Net::new([node(b"engine-one")]);
    let harvest = net.run(job(&v3(1, vec![credential("nobody", "authpassword")])));
    let Reason::Refused(why) = &harvest.tables[0].reasons[0] else {
        panic!("{:?}", harvest.tables[0].reasons)
    };
    assert!(why.contains("user"), "{why}");
    assert!(net.core.stats.refusals >= 1 && harvest.last_bad.is_some());
    assert_eq!(net.core.stats.devices_silent_now, 0, "a device that refuses is there");
    let harvest = net
        .run(job(&v3(1, vec![credential("nobody", "authpassword"), credential("monitor", "authpassword")])));
    assert_whole(&harvest);
    assert_eq!(harvest.credential, Some(1));
}

#[test]
fn a_wrong_passphrase_is_named() {
    let mut net = Net::new([node(b"engine-one")]);
    let harvest = net.run(job(&v3(1, vec![credential("monitor", "not-the-password")])));
    assert_eq!(reason(&harvest.tables[0]), "refused", "{:?}", harvest.tables[0].reasons);
}

#[test]
fn a_wrong_privacy_passphrase_is_suspected_where_the_device_says_nothing() {
    let mut net = Net::new([node(b"engine-one")]);
    net.node(1).state.misdeeds = vec![Misdeed::SilentOnCipher];
    let auth = Some((AuthProtocol::Sha256, &b"authpassword"[..]));
    let user =
        User::new(b"monitor", auth, Some((PrivProtocol::Aes128, b"not-maple-syrup"))).expect("long enough");
    let target = v3(1, vec![Credential::User { user, context: Context::default() }]);
    let harvest = net.run(job(&target));
    let Reason::Refused(why) = &harvest.tables[0].reasons[0] else {
        panic!("{:?}", harvest.tables[0].reasons)
    };
    assert!(why.contains("privacy passphrase"), "{why}");
}

#[test]
fn a_community_and_a_user_may_stand_beside_each_other() {
    let mut net = Net::new([Node::new(3, 20)]);
    let target = v3(1, vec![credential("monitor", "authpassword"), community("public")]);
    let harvest = net.run(job(&target));
    assert_whole(&harvest);
    assert_eq!(harvest.credential, Some(1));
}

#[test]
fn jobs_of_one_device_ask_as_whom_they_say() {
    let users = || [user("monitor", "authpassword"), user("other", "otherpassword")];
    let id = EngineId::new(b"engine-one").expect("short");
    let authority = Authority::new(id, 7, Duration::ZERO, users());
    let mut net = Net::new([Node { authority: Some(authority), ..Node::new(3, 20) }]);
    let one = v3(1, vec![credential("monitor", "authpassword")]);
    let other = v3(1, vec![credential("other", "otherpassword")]);
    let wrong = v3(1, vec![credential("monitor", "not-the-password")]);
    // In turn, one within the other, and beside one whose key is wrong under the same name.
    for targets in [[&one, &other, &one], [&other, &one, &wrong], [&wrong, &other, &one]] {
        let harvests: Vec<_> = targets.iter().map(|target| net.submit(job(target))).collect();
        net.settle();
        for (harvest, target) in harvests.into_iter().zip(targets) {
            let harvest = harvest.blocking_recv().expect("a harvest comes always");
            match Arc::ptr_eq(target, &wrong) {
                true => assert_eq!(reason(&harvest.tables[0]), "refused"),
                false => assert_whole(&harvest),
            }
        }
    }
    let before = net.core.stats.resynchronised;
    assert_whole(&net.run(job(&one)));
    assert!(net.core.stats.resynchronised <= before + 2);
}

#[test]
fn many_changes_of_credentials_leave_a_bounded_memory() {
    let mut net = Net::new([node(b"engine-one")]);
    let patient = net.submit(job(&good(1)));
    let others: Vec<_> = (0..40).map(|_| net.submit(job(&good(1)))).collect();
    net.settle();
    for harvest in others.into_iter().chain([patient]) {
        assert_whole(&harvest.blocking_recv().expect("a harvest comes always"));
    }
    assert!(net.core.devices[0].peers_known() <= 16);
    net.run(job(&good(1)));
    assert_eq!(net.core.devices[0].peers_known(), 1, "without a job under way only the named ones stay");
}

#[test]
pub(super) fn a_storm_of_forged_reports_changes_nothing() {
    let mut net = Net::new([node(b"engine-one"), node(b"engine-two")]);
    let target = good(1);
    net.run(job(&target));
    net.run(job(&good(2)));
    // Reports and replies of the other device, sent again from this one's address.
    let mut forged = Vec::new();
    let mut other = node(b"engine-two");
    for id in 0..100 {
        let (mut out, mut packet) = (Writer::default(), Vec::new());
        let mut peer = crate::usm::Peer::new(user("monitor", "authpassword"), Context::default());
        let mut exchange = Exchange::default();
        peer.seal(net.now, &mut exchange, 0x20000 + id, 65_507, |_| (), &mut out, &mut packet);
        forged.extend(other.replies(net.now, &packet));
    }
    assert!(forged.len() >= 100);
    net.node(1).forged = forged;
    let harvest = net.run(job(&target));
    assert_whole(&harvest);
    assert_eq!(harvest.cost.timeouts, 0);
}

/// Carries out a job while somebody who sees every request answers it first.
pub(super) fn overheard(net: &mut Net, job: Job, mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>>) -> Harvest {
    let mut harvest = net.submit(job);
    for _ in 0..1000 {
        net.core.pump(net.now, &mut net.outbound);
        for (to, packet) in std::mem::take(&mut net.outbound.packets) {
            for mut forged in answer(&packet) {
                net.core.on_datagram(net.now, to, &mut forged);
            }
            let replies = net.nodes.get_mut(&to).expect("a node").replies(net.now, &packet);
            replies.into_iter().for_each(|mut reply| net.core.on_datagram(net.now, to, &mut reply));
        }
        if let Ok(harvest) = harvest.try_recv() {
            return harvest;
        }
    }
    panic!("it does not end: {:?}", net.core.stats);
}

#[test]
pub(super) fn forged_reports_to_the_very_request_do_not_stop_it() {
    let mut net = Net::new([node(b"engine-one")]);
    // One that has the engine's id and no users: it refuses everything, under the message id that was asked.
    let id = EngineId::new(b"engine-one").expect("short");
    let mut stranger = Node {
        authority: Some(Authority::new(id, 9, Duration::ZERO, [user("else", "otherpassword")])),
        ..Node::new(3, 20)
    };
    for _ in 0..3 {
        let now = net.now;
        let harvest = overheard(&mut net, job(&good(1)), |packet| {
            (0..50).flat_map(|_| stranger.replies(now, packet)).collect()
        });
        assert_whole(&harvest);
        assert_eq!((harvest.cost.timeouts, harvest.cost.retries), (0, 0));
    }
    assert!(net.core.stats.refusals > 100, "{:?}", net.core.stats);
}

/// Without authentication nothing but these says whose a reply is.
#[test]
pub(super) fn replies_of_another_user_engine_or_context_are_passed_over() {
    let nobody = || User::new(b"monitor", None, None).expect("a good name");
    let (own, other) = (b"engine-one".as_slice(), b"engine-two".as_slice());
    let id = EngineId::new(own).expect("short");
    let authority = Authority::new(id, 7, Duration::ZERO, [nobody()]);
    let mut net = Net::new([Node { authority: Some(authority), ..Node::new(3, 20) }]);
    let target = v3(1, vec![Credential::User { user: nobody(), context: Context::default() }]);
    let forged = |packet: &[u8], user: &[u8], engine: &[u8], context: &[u8]| {
        let message_id = v3::message_id(packet).expect("our own requests are good");
        let name = sys_up_time();
        let varbinds = vec![Varbind { name: name.view(), value: Value::TimeTicks(666) }];
        let pdu = Pdu { kind: PduKind::Response, request_id: message_id, second: 0, third: 0, varbinds };
        let head = Head {
            message_id,
            max_size: 65_507,
            level: Level::NoAuthNoPriv,
            reportable: false,
            engine_id: EngineId::new(engine).expect("short"),
            boots: 7,
            time: 5,
            user,
            mac: b"",
            salt: b"",
        };
        let (mut out, mut reply) = (Writer::default(), Vec::new());
        head.write(&mut out, |out| Scoped::write(out, engine, context, |out| pdu.write(out)));
        out.finish(&mut reply);
        reply
    };
    assert_whole(&net.run(job(&target)));
    let mut sent = 0;
    let harvest = overheard(&mut net, job(&target), |packet| {
        sent += 3;
        vec![
            forged(packet, b"somebody", own, b""),
            forged(packet, b"monitor", other, b""),
            forged(packet, b"monitor", own, b"vrf-a"),
        ]
    });
    assert_whole(&harvest);
    assert_eq!(net.core.stats.not_authentic, sent);
    // The same with everything right is believed: that is what authentication is for.
    let mut first = true;
    let harvest = overheard(&mut net, job(&target), |packet| {
        std::mem::take(&mut first).then(|| forged(packet, b"monitor", own, b"")).into_iter().collect()
    });
    assert_eq!(harvest.scalar(0), Some(Value::TimeTicks(666)));
}

#[test]
fn an_engine_id_of_two_devices_is_named() {
    let mut net = Net::new([node(b"the-same"), node(b"the-same"), node(b"another")]);
    let harvest = net.run(job(&good(1)));
    assert_eq!(harvest.engine_id_also_of, None);
    let harvest = net.run(job(&good(2)));
    assert_whole(&harvest);
    assert_eq!(harvest.engine_id_also_of.as_deref(), Some("sw1"));
    assert_eq!(net.run(job(&good(3))).engine_id_also_of, None);
}

#[test]
pub(super) fn misdeeds_behind_the_cipher_end_in_reasons() {
    for misdeed in [
        Misdeed::RawValue(0x99, b"x".to_vec()),
        Misdeed::Empty,
        Misdeed::StandsStill,
        Misdeed::Endless,
        Misdeed::NoBulk,
        Misdeed::TooBigAbove(3),
        Misdeed::Twice,
    ] {
        let mut net = Net::new([node(b"engine-one")]);
        net.node(1).state.misdeeds = vec![misdeed.clone()];
        let harvest = net.run(job(&good(1)));
        assert!(harvest.answered, "{misdeed:?}");
        let known = |reason: &Reason| !matches!(reason, Reason::Timeout | Reason::Stopped);
        assert!(harvest.tables[0].reasons.iter().all(known), "{misdeed:?}: {:?}", harvest.tables[0].reasons);
    }
}

#[test]
fn a_silent_device_of_v3_costs_one_probe_a_round() {
    let mut net = Net::new([node(b"engine-one")]);
    let target = good(1);
    net.run(job(&target));
    net.node(1).state.misdeeds = vec![Misdeed::Silence];
    net.run(job(&target));
    for _ in 0..5 {
        let before = net.node(1).state.datagrams;
        assert!(!net.run(job(&target)).answered);
        assert_eq!(net.node(1).state.datagrams - before, 1);
    }
    net.node(1).state.misdeeds.clear();
    assert!(net.run(job(&target)).answered);
}

#[test]
pub(super) fn loss_of_a_fifth_is_survived() {
    let mut net = Net::new([node(b"engine-one")]);
    (net.loss, net.reorder) = (200, true);
    let target = Arc::new(Target { retries: 3, ..(*good(1)).clone() });
    let whole = (0..20).filter(|_| net.run(job(&target)).tables[0].is_whole()).count();
    assert!(whole >= 12, "{whole} of 20; {:?}", net.core.stats);
}
