//! What can go wrong in setting up a simulation. A running one has no errors: strangers' packets are counted and dropped.

use std::io;
use std::net::SocketAddr;

/// Why a recording, a script or a fleet could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of a recording is not of the format.
    #[error("line {line}: {what}; {hint}")]
    Recording {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A recording without one usable line.
    #[error(
        "the recording holds no usable line ({dropped} were dropped); a line is OID|TAG|VALUE, such as \
         1.3.6.1.2.1.1.5.0|4|my-switch"
    )]
    Empty {
        /// Lines that were dropped.
        dropped: usize,
    },
    /// More than a tree of values may hold.
    #[error("a device holds at most {max} values and {bytes_max} bytes; split the recording")]
    TooLarge {
        /// Most values.
        max: usize,
        /// Most bytes of all encoded values.
        bytes_max: usize,
    },
    /// A line of a fault script cannot be read.
    #[error("line {line}: {what}")]
    Script {
        /// From 1.
        line: usize,
        /// What is wrong, and what is possible.
        what: String,
    },
    /// A fleet that cannot be placed.
    #[error("{0}")]
    Place(String),
    /// A socket cannot be opened.
    #[error("cannot open a UDP socket on {address}: {source}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread for the fleet: {0}")]
    Thread(io::Error),
}
