//! A mistake of ours (a panic) in one piece of work, as a fault like any other: it is said, and the thread goes on with the next piece.
//!
//! In: work of a thread that must not end in silence. Out: its result, or the panic's words. What the work held is let go of; what it
//! changed stays as it left it, so that the work must be such that the next piece can live with that.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic, in its words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mistake of ours, please report it: {0}")]
pub(crate) struct Mistake(String);

/// Does a piece of work.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Mistake> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Mistake(words(&*panic)))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
