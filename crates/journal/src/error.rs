//! What can go wrong, in words for the operator: what happened, where, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::record::Position;

/// Every error of this crate. Cheap to clone, because one failed group commit is told to every entry of the group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The queue in front of the journal's thread holds `queue_bytes_max`: the disk is slower than the senders.
    #[error(
        "the journal's queue is full ({waiting_bytes} of {max_bytes} bytes wait for the disk): send again later"
    )]
    QueueFull {
        /// Bytes that wait, as the callers estimated them.
        waiting_bytes: usize,
        /// [`crate::Options::queue_bytes_max`].
        max_bytes: usize,
    },
    /// The disk has no room (or only the reserve is left). Nothing acknowledged is lost and the journal goes on once there
    /// is room.
    #[error("no space left for the journal in {}: free space or shorten retention", folder.display())]
    Full {
        /// The journal's folder.
        folder: PathBuf,
    },
    /// A write or an fsync failed. What the disk holds past the last fsync is unknown, so nothing more is written.
    #[error("the journal in {} stopped writing: {reason}; check the disk (dmesg, SMART), then restart", folder.display())]
    Poisoned {
        /// The journal's folder.
        folder: PathBuf,
        /// The operation that failed and the operating system's answer.
        reason: Arc<str>,
    },
    /// The folder, or one of the journal's files in it, was removed, renamed or replaced under the running program. What was
    /// acknowledged before stands where those are now; nothing more is written.
    #[error(
        "the journal in {} stopped writing: {} is not there any more: it, or the folder, was removed, renamed or replaced while \
         this program ran; put the folder back if it is elsewhere, then restart",
        folder.display(),
        file.display()
    )]
    Gone {
        /// The journal's folder.
        folder: PathBuf,
        /// The file that was looked for.
        file: PathBuf,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// One record is larger than the journal takes.
    #[error("a record of {bytes} bytes is larger than the journal takes ({max_bytes}): send smaller batches")]
    RecordTooLarge {
        /// The payload's size (or the caller's estimate of it).
        bytes: usize,
        /// [`crate::Options::record_bytes_max`].
        max_bytes: usize,
    },
    /// A record on disk is larger than `record_bytes_max` allows to read: the setting was lowered since it was written.
    #[error(
        "the record at {at} has {bytes} bytes, more than the {max_bytes} allowed: raise record_bytes_max again"
    )]
    RecordOverLimit {
        /// Where it stands.
        at: Position,
        /// The payload's size on disk.
        bytes: usize,
        /// [`crate::Options::record_bytes_max`].
        max_bytes: usize,
    },
    /// Another process (or another journal of this process) has the folder open.
    #[error("{} is in use by another process: stop it, or choose another folder", folder.display())]
    Locked {
        /// The journal's folder.
        folder: PathBuf,
    },
    /// The file was written by a newer program. Nothing was changed.
    #[error("{} has format version {version}, this program reads up to {known}: use the newer program", file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u16,
        /// The newest version that this program reads.
        known: u16,
    },
    /// A file's bytes are not what was written.
    #[error("{} is damaged at byte {offset}: {kind}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the unreadable part begins.
        offset: u64,
        /// What is wrong.
        kind: DamageKind,
    },
    /// No record begins at this position, or its segment was removed.
    #[error("there is no record at {at}")]
    NoRecord {
        /// The position asked for.
        at: Position,
    },
    /// The newest segment is still written to and cannot be removed.
    #[error("segment {segment} is the newest one and cannot be removed: rotate first")]
    SegmentInUse {
        /// The segment asked for.
        segment: u64,
    },
    /// The caller's visitor stopped the recovery.
    #[error("the record at {at} was not accepted: {source}")]
    Visitor {
        /// Where the record stands.
        at: Position,
        /// The visitor's reason.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// An option is out of its bounds.
    #[error("the journal's option {option} is {given}: it must be {allowed}")]
    Option {
        /// The field of [`crate::Options`].
        option: &'static str,
        /// What was given.
        given: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The operating system refused an operation.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation: "open", "read", "sync" and so on.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: Arc<io::Error>,
    },
}

impl JournalError {
    /// For `map_err`: names what was being done with which path.
    pub(crate) fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> JournalError {
        move |source| JournalError::Io { what, path: path.to_owned(), source: Arc::new(source) }
    }
}

/// What is wrong with a stretch of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// The file's own header does not check.
    #[error("the file header is damaged")]
    FileHeader,
    /// A frame's header does not check, so that its length is unknown.
    #[error("a record's header is damaged")]
    FrameHeader,
    /// A frame's header checks, its payload does not.
    #[error("a record's payload does not match its checksum")]
    Payload,
    /// The segment is shorter than the next segment says it was, or ends within a record.
    #[error("the file is shorter than it was")]
    Truncated,
    /// The disk cannot read it.
    #[error("the disk cannot read it")]
    Unreadable,
}
