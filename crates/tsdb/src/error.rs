//! What can go wrong, in words for the one who must act.

use journal::JournalError;

use crate::SeriesRef;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An option is out of its bounds.
    #[error("the store's option {option} is {given}: it must be {allowed}")]
    Option {
        /// The field of [`crate::Options`].
        option: &'static str,
        /// What was given.
        given: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The journal could not be opened or read, or could not be worked on.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The folder holds no whole store.
    #[error(
        "{} holds no whole store or copy of one (MANIFEST is missing): if a backup into it was interrupted, run it again; else name another folder",
        folder.display()
    )]
    NoManifest {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// A copy is to go into a folder that holds something else.
    #[error("{} is not empty: name a folder that is empty or not there yet", folder.display())]
    NotEmpty {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// The store was changed in every round of copying it.
    #[error("{} was changed {rounds} times while it was copied: try again when less is written", folder.display())]
    Restless {
        /// The folder.
        folder: std::path::PathBuf,
        /// Rounds tried.
        rounds: u32,
    },
    /// A file is not what was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer program wrote it. Nothing was changed.
    #[error("{} has format version {version}, this program reads up to {known}: use the newer program", path.display())]
    Newer {
        /// The file.
        path: std::path::PathBuf,
        /// Its version.
        version: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// A block could not be written or read.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// As many deletions wait for compaction as may.
    #[error(
        "{limit} deletions wait for compaction: run `store compact`, or delete with fewer, wider matchers"
    )]
    TooManyDeletions {
        /// The limit.
        limit: usize,
    },
    /// The deletions that wait for compaction, with this one, take more bytes than they may.
    #[error(
        "this deletion takes {bytes} bytes, and {waiting} bytes of others wait for compaction: together they may take {bytes_max}; delete \
         with shorter matchers, or run `store compact` first"
    )]
    DeletionTooLarge {
        /// What it takes.
        bytes: usize,
        /// What the others take.
        waiting: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Blocks could not be read while they were compacted.
    #[error(transparent)]
    Unreadable(#[from] model::SourceError),
    /// A deletion could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The operating system refused an operation.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file or folder.
        path: std::path::PathBuf,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl StoreError {
    /// Whether the disk is full: free space, then it works again.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => journal::disk::is_full(source),
            Self::Block(error) => error.is_full(),
            Self::Write(error) => matches!(error, WriteError::DiskFull(_)),
            Self::Journal(error) => matches!(error, JournalError::Full { .. }),
            _ => false,
        }
    }

    /// For `map_err`: names what was being done with which path.
    pub(crate) fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

/// Why a new series was refused. Series that exist go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The store holds as many series as it may.
    #[error(
        "cannot add series {series}: the store holds its limit of {limit} series; drop labels that change, or raise series_max"
    )]
    TooManySeries {
        /// [`crate::Options::series_max`].
        limit: usize,
        /// The series that was refused.
        series: String,
    },
    /// Labels and index of all series take half of the memory that the store may use.
    #[error(
        "cannot add series {series}: {count} series take half of the store's {bytes_max} bytes of memory; drop labels that change, or raise head_bytes_max"
    )]
    NoMemory {
        /// Series that the store holds.
        count: usize,
        /// [`crate::Options::head_bytes_max`].
        bytes_max: usize,
        /// The series that was refused.
        series: String,
    },
    /// Four billion series were made since the start.
    #[error(
        "cannot add series {series}: 4,294,967,295 series were made since the start; restart the collector"
    )]
    IdsUsedUp {
        /// The series that was refused.
        series: String,
    },
}

/// Why a batch is not in the store. Nothing of it is visible; all but [`WriteError::Poisoned`] also promise that nothing of it is on
/// disk.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// More waits for the disk than may: send again later.
    #[error("the store is busy: {0}")]
    Busy(JournalError),
    /// The disk is full: send again when there is room.
    #[error("the store cannot write: {0}")]
    DiskFull(JournalError),
    /// The disk failed; nothing more is written until a restart.
    #[error("the store stopped writing: {0}")]
    Poisoned(JournalError),
    /// Memory is short until the head has become blocks: send again later.
    #[error(
        "the store is short of memory ({bytes} of {bytes_max} bytes): send again later, or raise head_bytes_max"
    )]
    NoMemory {
        /// Bytes in use, by estimate.
        bytes: usize,
        /// [`crate::Options::head_bytes_max`].
        bytes_max: usize,
    },
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
    /// A reference is out of date: a series without samples was forgotten. Drop cached references, resolve again, write again.
    #[error("series reference {} is out of date: resolve it again", .series.as_u64())]
    UnknownSeries {
        /// The first reference that is not known.
        series: SeriesRef,
    },
    /// The batch would make a record that is larger than the journal takes: cut it.
    #[error(
        "a batch of about {bytes} bytes is larger than the store takes ({bytes_max}): send smaller batches"
    )]
    TooLarge {
        /// The record's size at most.
        bytes: usize,
        /// The largest record.
        bytes_max: usize,
    },
}

impl WriteError {
    /// One word for a counter's label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Busy(_) => "busy",
            Self::DiskFull(_) => "disk_full",
            Self::Poisoned(_) => "poisoned",
            Self::NoMemory { .. } => "no_memory",
            Self::Closed => "closed",
            Self::UnknownSeries { .. } => "unknown_series",
            Self::TooLarge { .. } => "too_large",
        }
    }

    /// Whether the same batch may be accepted later (HTTP 503): the sender keeps it.
    pub const fn is_temporary(&self) -> bool {
        !matches!(self, Self::TooLarge { .. })
    }
}

impl From<JournalError> for WriteError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::QueueFull { .. } => Self::Busy(error),
            JournalError::Full { .. } => Self::DiskFull(error),
            JournalError::Closed => Self::Closed,
            JournalError::RecordTooLarge { bytes, max_bytes } => {
                Self::TooLarge { bytes, bytes_max: max_bytes }
            }
            other => Self::Poisoned(other),
        }
    }
}

/// What can be wrong with a block file.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The disk answered with an error.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The bytes are not what was written.
    #[error("{} is damaged at byte {offset}: {what}", .path.display())]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A newer program wrote it.
    #[error("{} has format version {version}, this program reads up to {known}: use the newer program", .path.display())]
    Newer {
        /// The file.
        path: std::path::PathBuf,
        /// Its version.
        version: u16,
        /// The newest version that this program reads.
        known: u16,
    },
}

impl BlockError {
    /// Whether there was no room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if journal::disk::is_full(source))
    }
}
