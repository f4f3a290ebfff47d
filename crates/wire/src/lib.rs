//! What travels between a sender and a collector: remote write 1.0 and 2.0, its compressed bodies, and the identity of a batch; and
//! what a reader of whole series asks and gets (remote read).
//!
//! Bytes in, values out; no network, no clock, no I/O. Readers borrow from the payload and allocate nothing per sample:
//! - [`v1`]: `prometheus.WriteRequest`, read and written;
//! - [`v2`]: `io.prometheus.write.v2.Request`, read; written by [`v2::Encoder`], which knows the series of earlier rounds;
//! - [`read`]: remote read's request, and its answers as samples or as frames of XOR chunks;
//! - [`body`]: snappy and zstd with a hard bound on what comes out;
//! - [`negotiate`]: which message and which compression a request's headers announce, and the answer's `Written` headers;
//! - [`identity`]: the numbered batch of one of our own agents, as headers and as bytes.
//!
//! Native histograms are handed out as the bytes in which they came, with their time ([`v1::Histogram`]); exemplars are read.
//!
//! Everything here is drawn in `docs/formats/wire.md`. Bytes from the network never panic; an error names the offset. Limits:
//! 2^20 symbols a request, [`identity::LOSSES_MAX`] losses a batch, and for bodies whatever the caller allows.

pub mod body;
mod histogram;
pub mod identity;
pub mod negotiate;
mod protobuf;
pub mod read;
pub mod v1;
pub mod v2;

/// What is wrong with what a sender sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are no protobuf message of the announced kind.
    #[error("byte {offset} of the message: {fault}")]
    Malformed {
        /// Where in the uncompressed payload.
        offset: usize,
        /// What is wrong there.
        fault: Fault,
    },
    /// The compressed body cannot be unpacked.
    #[error("cannot unpack the {codec} body: {reason}")]
    Body {
        /// Name of the codec.
        codec: &'static str,
        /// What the codec says.
        reason: String,
    },
    /// The body unpacks to more than is allowed.
    #[error("the {codec} body unpacks to more than {limit_bytes} bytes; send smaller requests")]
    TooLarge {
        /// Name of the codec.
        codec: &'static str,
        /// The allowed size.
        limit_bytes: usize,
    },
    /// A message holds more of something than is read.
    #[error("the request holds more than {limit} {what}; send smaller requests")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// The request announces a message or a compression that nobody here reads: answer 415.
    #[error("{header} {value:?} is not supported: {hint}")]
    Unsupported {
        /// The header that announces it.
        header: &'static str,
        /// Its value, cut to 120 characters.
        value: String,
        /// What would be.
        hint: &'static str,
    },
    /// The headers or bytes that identify a batch are wrong.
    #[error("cannot read the batch identity: {field}: {reason}")]
    Identity {
        /// Header or field.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A timestamp cannot be shifted: the sum leaves the range of a timestamp.
    #[error(
        "byte {offset} of the message: the timestamp {timestamp_ms} ms cannot be shifted by {shift_ms} ms"
    )]
    ShiftOverflow {
        /// Where in the payload the sample begins.
        offset: usize,
        /// The timestamp.
        timestamp_ms: i64,
        /// The shift.
        shift_ms: i64,
    },
}

/// What is wrong at one place of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The message ends within a value.
    #[error("the message ends within a value")]
    Truncated,
    /// A varint of more than ten bytes or more than 64 bits.
    #[error("a varint is longer than 64 bits")]
    LongVarint,
    /// A length that reaches beyond the enclosing message.
    #[error("a length reaches beyond the enclosing message")]
    LongLength,
    /// Field number 0, or one above 2^29 - 1.
    #[error("a field number is out of range")]
    FieldNumber,
    /// A wire type that does not exist or is no longer used (groups).
    #[error("a wire type is unknown")]
    WireType,
    /// A known field in a wire type that it cannot have.
    #[error("a known field has the wrong wire type")]
    FieldType,
    /// Text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Utf8,
    /// A reference to a symbol that the table does not hold.
    #[error("a reference points beyond the symbol table")]
    Symbol,
    /// Label references come in pairs of name and value.
    #[error("label references are not in pairs")]
    OddRefs,
    /// The symbol table must begin with the empty text.
    #[error("the symbol table does not begin with an empty symbol")]
    FirstSymbol,
    /// A reference above 2^32 - 1.
    #[error("a reference does not fit 32 bits")]
    LongRef,
    /// Something that cannot be rewritten here: exemplars and histograms.
    #[error("timestamps of exemplars and histograms cannot be shifted")]
    NotSamples,
}
