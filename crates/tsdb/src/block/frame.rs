//! Frames: runs of bytes in a block file, each with its checksum.

use std::sync::Arc;

use crate::error::BlockError;

/// Where a frame's payload lies in its block file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FrameRef {
    /// Bytes from the beginning of the file.
    pub(crate) offset: u64,
    /// Bytes of the payload, without its checksum.
    pub(crate) length: u32,
}

/// Takes frames while a block is written.
pub(crate) trait FrameSink {
    /// Appends a frame.
    fn put(&mut self, payload: &[u8]) -> Result<FrameRef, BlockError>;
}

/// Gives frames back, verified.
pub(crate) trait FrameSource {
    /// The payload of a frame.
    fn get(&self, at: FrameRef) -> Result<Arc<[u8]>, BlockError>;

    /// The error that says what is wrong within a frame whose checksum is right.
    fn damaged(&self, at: FrameRef, what: &str) -> BlockError;
}
