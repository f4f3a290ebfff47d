//! Who may ask how much, and that nobody waits for another's sake.

use super::*;

#[test]
fn a_slow_device_does_not_delay_the_others() {
    let mut net = Net::new((0..40).map(|_| Node::new(3, 20)));
    for number in 1..=20 {
        net.node(number).state.misdeeds = vec![Misdeed::Silence];
        net.node(number + 10).delay = ms(if number > 10 { 2500 } else { 10 });
    }
    let started = net.now;
    let harvests: Vec<_> = (1..=40).map(|number| net.submit(job(&Arc::new(target(number))))).collect();
    // The quick ones are done before anybody's patience ends.
    while net.core.stats.jobs_now > 30 && net.now < started + ms(2000) {
        net.core.pump(net.now, &mut net.outbound);
        for (to, packet) in std::mem::take(&mut net.outbound.packets) {
            net.deliver(to, &packet);
        }
        net.now += ms(1);
        while net.air.peek().is_some_and(|Reverse((at, ..))| *at <= net.now) {
            let Reverse((_, _, source, mut packet)) = net.air.pop().expect("it was there");
            net.core.on_datagram(net.now, source, &mut packet);
        }
    }
    assert!(net.now - started < ms(400), "{:?}", net.now - started);
    net.settle();
    let answered: Vec<bool> = harvests
        .into_iter()
        .map(|harvest| harvest.blocking_recv().expect("a harvest comes always").answered)
        .collect();
    assert_eq!(answered.iter().filter(|&&answered| answered).count(), 20);
}

#[test]
fn one_device_is_asked_one_thing_at_a_time() {
    let mut net = Net::new([Node::new(3, 20)]);
    let target = Arc::new(target(1));
    let harvests: Vec<_> = (0..5).map(|_| net.submit(job(&target))).collect();
    net.core.pump(net.now, &mut net.outbound);
    assert_eq!((net.outbound.packets.len(), net.core.stats.in_flight_now), (1, 1));
    assert_eq!((net.core.stats.waits_device, net.core.stats.waiting_now), (4, 4));
    for (to, packet) in std::mem::take(&mut net.outbound.packets) {
        net.deliver(to, &packet);
    }
    net.settle();
    let harvests: Vec<_> =
        harvests.into_iter().map(|harvest| harvest.blocking_recv().expect("a harvest")).collect();
    harvests.iter().for_each(assert_whole);
    let stats = net.core.stats;
    assert_eq!(stats.waiting_now, 0);
    assert_eq!(stats.waited, harvests.iter().map(|harvest| harvest.cost.waited).sum());
    assert!(harvests[4].cost.waited > ms(30) && harvests[4].cost.waited < harvests[4].cost.duration);
}

#[test]
fn a_sites_line_is_not_overrun() {
    let site = |rate| Some(Arc::new(Site { name: "hill".into(), rate }));
    let run = |rate: Rate| {
        let mut net = Net::new((0..10).map(|_| Node::new(3, 20)));
        let started = net.now;
        let harvests: Vec<_> = (1..=10)
            .map(|number| net.submit(job(&Arc::new(Target { site: site(rate), ..target(number) }))))
            .collect();
        net.settle();
        let mut bytes = 0;
        for harvest in harvests {
            let harvest = harvest.blocking_recv().expect("a harvest comes always");
            assert_whole(&harvest);
            bytes += harvest.cost.sent_bytes + harvest.cost.received_bytes;
        }
        let [_, (_, site), _, _, (_, rate)] = net.core.stats.waits();
        assert_eq!(net.core.stats.waiting_now, 0);
        (net.now - started, net.core.stats.requests, bytes, site, rate)
    };
    let (free, requests, bytes, site_waits, rate_waits) = run(Rate::FREE);
    assert!(free < ms(200) && site_waits == 0 && rate_waits == 0);
    let (took, _, _, waits, _) = run(Rate { in_flight_max: 2, ..Rate::FREE });
    assert!(took >= ms(10) * requests as u32 / 2 && waits > 0, "{took:?}, {waits}");
    let (took, _, _, _, waits) = run(Rate { requests_per_second: Some(10), ..Rate::FREE });
    assert!(took >= ms(100) * (requests as u32 - 2) && waits > 0, "{took:?}, {waits}");
    let (took, ..) = run(Rate { bits_per_second: Some(64_000), ..Rate::FREE });
    assert!(took.as_secs_f64() >= bytes as f64 * 8.0 / 64_000.0 * 0.9, "{took:?} for {bytes} bytes");
}

#[test]
fn replies_on_their_way_fit_the_receive_buffer() {
    let mut net = Net::new((0..60).map(|_| Node::new(3, 20)));
    let harvests: Vec<_> = (1..=60).map(|number| net.submit(job(&Arc::new(target(number))))).collect();
    net.core.set_budget(0, 10_000);
    net.core.pump(net.now, &mut net.outbound);
    assert!((5..=16).contains(&net.outbound.packets.len()), "{}", net.outbound.packets.len());
    assert_eq!(net.core.stats.waits_socket + net.outbound.packets.len() as u64, 60);
    for (to, packet) in std::mem::take(&mut net.outbound.packets) {
        net.deliver(to, &packet);
    }
    net.settle();
    harvests.into_iter().for_each(|harvest| assert_whole(&harvest.blocking_recv().expect("a harvest")));
}

#[test]
fn the_engines_own_bound_holds_and_all_come_through() {
    let mut net = Net::new((0..60).map(|_| Node::new(3, 20)));
    let bounds = Bounds { rate: Rate { in_flight_max: 5, ..Rate::FREE }, ..net.core.bounds };
    net.core = Core::new(bounds, 64, Vec::new());
    let harvests: Vec<_> = (1..=60).map(|number| net.submit(job(&Arc::new(target(number))))).collect();
    net.core.pump(net.now, &mut net.outbound);
    assert_eq!((net.outbound.packets.len(), net.core.wants_to_send()), (5, false));
    assert!(net.core.stats.waits_engine > 0);
    for (to, packet) in std::mem::take(&mut net.outbound.packets) {
        net.deliver(to, &packet);
    }
    net.settle();
    harvests.into_iter().for_each(|harvest| assert_whole(&harvest.blocking_recv().expect("a harvest")));
}

#[test]
fn a_deadline_ends_a_job_that_waits_for_its_turn_too() {
    let mut net = Net::new([Node::bad(&[Misdeed::Silence]), Node::new(3, 20)]);
    let silent = Arc::new(target(1));
    let harvests: Vec<_> =
        (0..3).map(|_| net.submit(Job { deadline: Duration::from_secs(2), ..job(&silent) })).collect();
    let started = net.now;
    net.settle();
    assert_eq!(net.now - started, Duration::from_secs(2));
    for harvest in harvests {
        let harvest = harvest.blocking_recv().expect("a harvest comes always");
        assert_eq!(
            (reason(&harvest.tables[0]), harvest.cost.duration),
            ("limit_time", Duration::from_secs(2))
        );
    }
    assert_eq!(net.core.stats.in_flight_now, 0);
}

#[test]
fn an_urgent_job_goes_first() {
    let mut net = Net::new((0..60).map(|_| Node::new(3, 20)));
    let bounds = Bounds { rate: Rate { in_flight_max: 1, ..Rate::FREE }, ..net.core.bounds };
    net.core = Core::new(bounds, 64, Vec::new());
    let others: Vec<_> = (1..=20).map(|number| net.submit(job(&Arc::new(target(number))))).collect();
    let urgent = net.submit(Job { urgent: true, ..job(&Arc::new(target(21))) });
    net.settle();
    let took =
        |harvest: oneshot::Receiver<Harvest>| harvest.blocking_recv().expect("a harvest").cost.duration;
    let urgent = took(urgent);
    assert!(others.into_iter().map(took).all(|other| other > urgent));
}

#[test]
fn devices_beyond_the_bound_are_forgotten_and_nothing_else() {
    let mut net = Net::new((0..200).map(|_| Node::new(3, 2)));
    net.core = Core::new(Bounds { devices_max: 20, ..net.core.bounds }, 8, Vec::new());
    for _ in 0..2 {
        for number in 1..=200 {
            net.now += ms(1);
            assert!(net.run(job(&Arc::new(target(number)))).answered);
        }
    }
    assert_eq!((net.core.stats.devices_now, net.core.by_address.len()), (20, 20));
}

/// The one that was let through the gate had been given up meanwhile, and those behind it waited out their time.
#[test]
fn who_is_given_up_at_the_gate_lets_the_next_one_through() {
    let mut net = Net::new([Node::new(3, 20)]);
    let target = Arc::new(target(1));
    // One request, so that its end opens the gate once.
    let first = net.submit(Job { tables: Vec::new(), ..job(&target) });
    let given_up = net.submit(job(&target));
    let third = net.submit(job(&target));
    net.core.pump(net.now, &mut net.outbound);
    drop(given_up);
    let started = net.now;
    net.settle();
    assert!(first.blocking_recv().expect("a harvest comes always").answered);
    assert_whole(&third.blocking_recv().expect("a harvest comes always"));
    assert!(net.now - started < ms(1_000), "{:?}", net.now - started);
}
