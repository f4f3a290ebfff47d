//! Whether an alert is pending, firing, resolved or unknown, and who must be told when.
//!
//! In: what a rule's expression found at a moment ([`Seen`]), and whose data is missing because its sender is silent. Out:
//! [`Transition`]s, the samples `ALERTS` and `ALERTS_FOR_STATE`, and [`Notice`]s for those who are told. All of it is
//! (state, now, values) -> actions: no I/O, no clock, no network.
//!
//! It does what Prometheus' alerting rules do (`for`, `keep_firing_for`, resolved alerts kept for 15 minutes, resending), with
//! one state more: an alert whose data comes from a silent sender is held as [`AlertState::Unknown`]. It resolves on data alone.
//!
//! Deliberately not here: expressions, templates, routing, grouping, and which sender a series comes from.
//!
//! Limits: how many alerts a rule may have is its caller's decision (a rule group's `limit`); reading a kept state takes memory in
//! proportion to its bytes, whatever they promise.

mod alert;
mod notice;
mod restore;
mod rule;
mod state;

pub use alert::{ActiveAlert, AlertState, RuleSpec, Seen, Transition, TransitionKind};
pub use notice::{Notice, NoticeKind, Sending};
pub use restore::ForState;
pub use rule::{Absence, RuleState};

/// What can go wrong here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AlertingError {
    /// Two results of one rule have the same labels once the rule's own are applied.
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    DuplicateLabels,
    /// A kept state that is no such state.
    #[error("cannot read the kept alerts at byte {at}: {what}")]
    Damaged {
        /// Where in the bytes.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A kept state of a version that this program does not know.
    #[error(
        "the kept alerts have version {0}, and this program reads version 1: it may be older than the one that wrote them"
    )]
    Version(u8),
}

#[cfg(test)]
mod tests;
