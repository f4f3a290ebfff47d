//! Why a profile file cannot be used.

use std::fmt;

/// What is wrong in a profile file, where, and what to do about it. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ProfileError {
    /// The file's name as it was given.
    pub file: String,
    /// Line of the offending place.
    pub line: u64,
    /// Column of the offending place.
    pub column: u64,
    /// What is wrong.
    pub what: String,
    /// What would be right; empty where `what` says it already.
    pub hint: String,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}: {}", self.file, self.line, self.column, self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(out, "; {}", self.hint) }
    }
}
