//! The credential of v1 and v2c.

use std::fmt;
use std::sync::Arc;

/// A community: a password in clear on the wire; hidden in our own output.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Community(Arc<[u8]>);

impl Community {
    /// Wraps the bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// The secret itself: for packets, never for print.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Community {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<hidden>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_community_is_never_printed() {
        assert_eq!(format!("{:?}", Community::new("secret")), "<hidden>");
    }
}
