//! What the integration tests and benches share: real programs started on free loopback ports, ended by their own process id.
//!
//! Nothing here knows a test. A peer that is missing is a failure, unless `PANTAU_TEST_WITHOUT_PEERS` is set, and then the run
//! says what was left out.

pub mod bench;
pub mod chunks;
pub mod conformance;
pub mod differential;
pub mod held;
pub mod http;
pub mod pantau;
pub mod peers;
pub mod routes;
pub mod running;
pub mod usage;
pub mod writer;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Asks again and again until `ready` has an answer; panics with `what` after the deadline. For real programs only, which have no
/// clock that we could turn.
pub fn wait_for<T>(what: &str, deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ready() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port on 127.0.0.1 that is free for TCP and UDP and that the system gives to nobody by itself.
///
/// Ports that it does give away (32768 and up; ip_local_port_range in ip(7)) would be free now and taken by some outgoing connection
/// a moment later, before the program that is told of the port has bound it. Tests that run beside this one begin elsewhere.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| {
        let on = ("127.0.0.1", *port);
        std::net::TcpListener::bind(on).is_ok() && std::net::UdpSocket::bind(on).is_ok()
    };
    let candidate = |_| {
        let at = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        u16::try_from(PORTS.start + at % (PORTS.end - PORTS.start)).expect("below 32,000")
    };
    PORTS.map(candidate).find(is_free).expect("loopback has a free port")
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_are_not_given_twice() {
        let ports: std::collections::BTreeSet<u16> = (0..100).map(|_| super::free_port()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| (10_000..32_000).contains(port)));
    }
}
