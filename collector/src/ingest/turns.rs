//! Whose turn it is: what all senders share is handed out by sender, so that one of them with many large requests harms nobody else.
//!
//! Three things are shared. *Room* for bodies in memory: a sender has at most its share of it, past which it is told to come back.
//! *Turns* to unpack and read a body, which needs the CPU: one sender after the other gets the next, and none gets the last
//! place. The *way to the disk*: who has much on it gets no turn until some of that is written.
//!
//! In: the name of the sender, and sizes. Out: guards, which give back what they stand for when they are dropped. No clock, no I/O.
//!
//! Limits: a sender's requests that wait are bounded by the room for their bodies, and there are at most as many places of some that
//! hung up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

/// A sender with this many bytes on the way to the disk gets no turn: an eighth of the journal's queue.
const WRITING_BYTES_MAX: usize = 8 << 20;

/// A sender's share of the room for bodies is one part of so many; a single body of the largest size always fits.
const SHARES: u64 = 4;

/// See the module's text.
pub(super) struct Turns {
    shared: Mutex<Shared>,
    bodies_max: u64,
    /// Turns that one sender may have at one time.
    own_max: usize,
}

struct Shared {
    /// Turns that nobody has.
    free: usize,
    /// Bytes of all bodies in memory.
    bodies: u64,
    /// One for each sender that was ever seen; they are bounded as enrolled names are.
    accounts: HashMap<Arc<str>, Account>,
    /// Senders whose requests wait, each once, the next one first.
    queue: VecDeque<Arc<str>>,
}

#[derive(Default)]
struct Account {
    bodies: u64,
    running: usize,
    writing: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// Why a body is not taken into memory now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    /// The sender has its share.
    #[error(
        "requests of this sender with {0} bytes are under way, which is its share: send this one again when they are answered"
    )]
    Share(u64),
    /// All senders together.
    #[error("too many requests are being read at this moment: send this one again")]
    All,
}

impl NoRoom {
    /// A word for counters.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Share(_) => "share",
            Self::All => "all",
        }
    }
}

impl Shared {
    fn account(&mut self, sender: &Arc<str>) -> &mut Account {
        if !self.accounts.contains_key(sender) {
            self.accounts.insert(Arc::clone(sender), Account::default());
        }
        self.accounts.get_mut(sender).expect("it was put there if it was not")
    }
}

impl Turns {
    /// `turns` at one time, at least two; `bodies_max` bytes of bodies in memory.
    pub(super) fn new(turns: usize, bodies_max: u64) -> Arc<Self> {
        let turns = turns.max(2);
        let shared = Shared { free: turns, bodies: 0, accounts: HashMap::new(), queue: VecDeque::new() };
        Arc::new(Self { shared: Mutex::new(shared), bodies_max, own_max: turns - 1 })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("nothing panics while it holds this lock")
    }

    /// A sender's room for one body, still empty. `body_max` is the largest body that is taken at all.
    pub(super) fn room(self: &Arc<Self>, sender: &Arc<str>, body_max: u64) -> Room {
        let share = (self.bodies_max / SHARES).max(body_max);
        Room { turns: Arc::clone(self), sender: Arc::clone(sender), bytes: 0, share }
    }

    /// Waits for the sender's turn.
    pub(super) async fn turn(self: &Arc<Self>, sender: &Arc<str>) -> Turn {
        let waits = {
            let mut shared = self.lock();
            let is_free = shared.free > 0;
            let account = shared.account(sender);
            if is_free && account.waiting.is_empty() && self.may_run(account) {
                account.running += 1;
                shared.free -= 1;
                return self.granted(sender);
            }
            let (tell, told) = oneshot::channel();
            let is_first = account.waiting.is_empty();
            if account.waiting.len() == account.waiting.capacity() {
                // Before it grows: who hung up needs no place, and may have been told nothing for as long as the disk stands still.
                account.waiting.retain(|tell| !tell.is_closed());
            }
            account.waiting.push_back(tell);
            if is_first {
                shared.queue.push_back(Arc::clone(sender));
            }
            told
        };
        waits.await.expect("who waits is told: accounts live as long as this")
    }

    /// Room that a sender's bodies take.
    #[cfg(test)]
    pub(super) fn bodies(&self, sender: &str) -> u64 {
        self.lock().accounts.get(sender).map_or(0, |account| account.bodies)
    }

    /// Bytes of a sender on the way to the disk.
    #[cfg(test)]
    pub(super) fn writing(&self, sender: &str) -> usize {
        self.lock().accounts.get(sender).map_or(0, |account| account.writing)
    }

    /// So many bytes of a sender are on the way to the disk until the answer is dropped: it belongs to whatever brings them there, not
    /// to who waits for it.
    pub(super) fn write(self: &Arc<Self>, sender: &Arc<str>, bytes: usize) -> Writing {
        self.lock().account(sender).writing += bytes;
        Writing { turns: Arc::clone(self), sender: Arc::clone(sender), bytes }
    }

    fn granted(self: &Arc<Self>, sender: &Arc<str>) -> Turn {
        Turn { turns: Arc::clone(self), sender: Some(Arc::clone(sender)) }
    }

    fn may_run(&self, account: &Account) -> bool {
        account.running < self.own_max && account.writing < WRITING_BYTES_MAX
    }

    /// Gives free turns to those who wait, one sender after the other.
    fn hand_out(self: &Arc<Self>, shared: &mut Shared) {
        let mut passed_over = 0;
        while shared.free > 0 && passed_over < shared.queue.len() {
            let sender = shared.queue.pop_front().expect("more than none were passed over");
            let account = shared.accounts.get_mut(&sender).expect("who waits has an account");
            if !self.may_run(account) {
                passed_over += 1;
                shared.queue.push_back(sender);
                continue;
            }
            passed_over = 0;
            let waiting = account.waiting.pop_front().expect("the queue names those who wait");
            let went = match waiting.send(self.granted(&sender)) {
                Ok(()) => 1,
                Err(mut turn) => {
                    turn.sender = None; // whoever waited has gone
                    0
                }
            };
            account.running += went;
            let more = !account.waiting.is_empty();
            shared.free -= went;
            match (more, went) {
                (true, 0) => shared.queue.push_front(sender),
                (true, _) => shared.queue.push_back(sender),
                (false, _) => {}
            }
        }
    }
}

/// Memory for one body.
pub(super) struct Room {
    turns: Arc<Turns>,
    sender: Arc<str>,
    bytes: u64,
    share: u64,
}

impl Room {
    /// Bytes that it stands for.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let mut shared = self.turns.lock();
        let all = shared.bodies.saturating_add(bytes);
        let account = shared.account(&self.sender);
        let own = account.bodies.saturating_add(bytes);
        if own > self.share {
            return Err(NoRoom::Share(account.bodies));
        }
        if all > self.turns.bodies_max {
            return Err(NoRoom::All);
        }
        account.bodies = own;
        shared.bodies = all;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut shared = self.turns.lock();
        shared.bodies -= self.bytes;
        shared.account(&self.sender).bodies -= self.bytes;
    }
}

/// A turn to unpack and read.
pub(super) struct Turn {
    turns: Arc<Turns>,
    /// None where it was given up or never taken.
    sender: Option<Arc<str>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(sender) = self.sender.take() else { return };
        let mut shared = self.turns.lock();
        shared.free += 1;
        shared.account(&sender).running -= 1;
        self.turns.hand_out(&mut shared);
    }
}

/// Bytes on the way to the disk.
pub(super) struct Writing {
    turns: Arc<Turns>,
    sender: Arc<str>,
    bytes: usize,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut shared = self.turns.lock();
        shared.account(&self.sender).writing -= self.bytes;
        self.turns.hand_out(&mut shared);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Turn>>>;

    fn ask(turns: &Arc<Turns>, sender: &str) -> Waiting {
        let (turns, sender) = (Arc::clone(turns), Arc::from(sender));
        let mut asks: Waiting = Box::pin(async move { turns.turn(&sender).await });
        // Places are taken in the order of asking, not of looking.
        if let Poll::Ready(turn) = look(&mut asks) {
            return Box::pin(std::future::ready(turn));
        }
        asks
    }

    fn look(waiting: &mut Waiting) -> Poll<Turn> {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Takes the turns that are ready, in the order of asking.
    fn ready(waiting: &mut Vec<(&'static str, Waiting)>) -> Vec<(&'static str, Turn)> {
        let mut turns = Vec::new();
        waiting.retain_mut(|(name, waiting)| match look(waiting) {
            Poll::Ready(turn) => {
                turns.push((*name, turn));
                false
            }
            Poll::Pending => true,
        });
        turns
    }

    #[test]
    fn a_sender_with_a_hundred_requests_leaves_a_place_for_others_and_then_takes_turns() {
        let turns = Turns::new(3, 1 << 20);
        let mut waiting: Vec<_> = (0..100).map(|_| ("heavy", ask(&turns, "heavy"))).collect();
        let mut running = ready(&mut waiting);
        assert_eq!(running.len(), 2, "the last place is for another");
        waiting.push(("light", ask(&turns, "light")));
        let light = ready(&mut waiting);
        assert!(light.len() == 1 && light[0].0 == "light", "at once, past 98 that wait");
        // While it runs, all that is asked waits; then they alternate.
        waiting.extend((0..3).map(|_| ("light", ask(&turns, "light"))));
        running.extend(light);
        let mut order = Vec::new();
        while !running.is_empty() {
            let (name, turn) = running.remove(0);
            order.push(name);
            drop(turn);
            running.extend(ready(&mut waiting));
        }
        assert_eq!(order.len(), 104);
        let last_light = order.iter().rposition(|name| *name == "light").expect("it ran");
        assert!(last_light <= 10, "four requests, each with one of the other's between: {order:?}");
    }

    #[test]
    fn who_has_much_on_the_way_to_the_disk_waits_for_it_and_for_nobody_else() {
        let turns = Turns::new(3, 1 << 20);
        let Poll::Ready(turn) = look(&mut ask(&turns, "heavy")) else { panic!("all is free") };
        let writing = turns.write(&"heavy".into(), WRITING_BYTES_MAX);
        drop(turn);
        let mut heavy = ask(&turns, "heavy");
        assert!(look(&mut heavy).is_pending());
        assert!(look(&mut ask(&turns, "light")).is_ready());
        drop(writing);
        assert!(look(&mut heavy).is_ready());
    }

    #[test]
    fn who_goes_away_while_it_waits_leaves_its_turn_to_the_next() {
        let turns = Turns::new(2, 1 << 20);
        let mut waiting: Vec<_> = (0..5).map(|_| ("a", ask(&turns, "a"))).collect();
        let running = ready(&mut waiting);
        assert_eq!(running.len(), 1);
        waiting.drain(..3);
        drop(running);
        assert_eq!(ready(&mut waiting).len(), 1);
        // Told and gone before it looked: the turn comes back.
        let first = ask(&turns, "b");
        drop(first);
        assert_eq!(turns.lock().free, 2);
    }

    /// They stayed until the sender's turn came, which it does not while the disk stands still, and their bodies' room was long free.
    #[test]
    fn who_hangs_up_while_the_disk_stands_still_leaves_no_place_taken() {
        let turns = Turns::new(3, 1 << 20);
        let writing = turns.write(&"heavy".into(), WRITING_BYTES_MAX);
        let mut patient = ask(&turns, "heavy");
        for _ in 0..10_000 {
            drop(ask(&turns, "heavy"));
        }
        let waiting = turns.lock().accounts["heavy"].waiting.len();
        assert!(waiting < 64, "{waiting}");
        assert!(look(&mut patient).is_pending());
        drop(writing);
        assert!(look(&mut patient).is_ready(), "who stayed is not forgotten");
    }

    #[test]
    fn a_share_of_the_room_is_a_quarter_and_one_whole_body_fits() {
        let turns = Turns::new(2, 1000);
        let (heavy, light) = (Arc::from("heavy"), Arc::from("light"));
        let mut first = turns.room(&heavy, 100);
        assert_eq!(first.take(200), Ok(()));
        assert_eq!(turns.room(&heavy, 100).take(51), Err(NoRoom::Share(200)));
        assert_eq!(turns.room(&light, 100).take(250), Ok(()), "others are not harmed, and it is given back");
        drop(first);
        let mut whole = turns.room(&heavy, 900);
        assert_eq!((whole.take(900), whole.bytes()), (Ok(()), 900));
        assert_eq!(turns.room(&light, 100).take(101), Err(NoRoom::All));
    }
}
