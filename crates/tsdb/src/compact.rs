//! Compaction: small blocks become large ones.

/// How fast work in the background may go. The store never sleeps by itself: it tells what it has done, and who called waits.
pub trait Pace {
    /// So many bytes were read or written since the last call: waits as long as the caller's budget asks. False: stop; what was begun is
    /// given up and nothing is lost.
    fn spent(&mut self, bytes: u64) -> bool;
}

/// As fast as it goes: for tools and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unhurried;

impl Pace for Unhurried {
    fn spent(&mut self, _: u64) -> bool {
        true
    }
}
