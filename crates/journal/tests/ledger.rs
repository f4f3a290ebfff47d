//! The journal against a plain ledger: whatever is done to it, what was reported durable is found again, and nothing else.

#![allow(clippy::unwrap_used)] // what tests share is test code, too

mod ledger {
    pub(crate) mod book;
    mod damage;
    mod faults;
    mod gone;
    mod looking;
    mod ordinary;
    mod play;
    mod random;
}
