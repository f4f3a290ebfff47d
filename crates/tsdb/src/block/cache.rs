//! A bounded cache of frames, shared by all blocks of a store.
//!
//! In: frames as they were read and verified. Out: the same, without the disk. Bounded in bytes ([`crate::Options::cache_bytes_max`]); what is
//! read once by a scan does not push out what is read often (S3-FIFO, the library's).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quick_cache::Weighter;
use quick_cache::sync::Cache as Frames;

use super::frame::FrameRef;

/// Memory of an entry beside its bytes.
const ENTRY_BYTES: u64 = 96;

/// Frames are 64 KiB or so: the tables are sized for somewhat smaller ones.
const USUAL_FRAME_BYTES: usize = 24 << 10;

/// A block as long as it is open, and an offset in it. Numbers of blocks would not do: another folder has the same.
type Key = (u64, u64);

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, Arc<[u8]>> for ByBytes {
    fn weight(&self, _: &Key, frame: &Arc<[u8]>) -> u64 {
        frame.len() as u64 + ENTRY_BYTES
    }
}

/// See the module.
pub(crate) struct Cache {
    frames: Frames<Key, Arc<[u8]>, ByBytes>,
    hits: AtomicU64,
    misses: AtomicU64,
    opened: AtomicU64,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cache").field("bytes", &self.frames.weight()).finish_non_exhaustive()
    }
}

/// The cache's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheFigures {
    /// Frames that were there.
    pub(crate) hits: u64,
    /// Frames that were read from disk.
    pub(crate) misses: u64,
    /// Bytes of memory now.
    pub(crate) bytes: u64,
}

impl Cache {
    /// A cache of at most so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        let frames =
            Frames::with_weighter((bytes_max / USUAL_FRAME_BYTES).max(16), bytes_max as u64, ByBytes);
        Arc::new(Self {
            frames,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        })
    }

    /// A number for a block that was opened.
    pub(super) fn number(&self) -> u64 {
        self.opened.fetch_add(1, Relaxed)
    }

    pub(super) fn get(&self, block: u64, at: FrameRef) -> Option<Arc<[u8]>> {
        let found = self.frames.get(&(block, at.offset));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        found
    }

    pub(super) fn put(&self, block: u64, at: FrameRef, frame: &Arc<[u8]>) {
        self.frames.insert((block, at.offset), Arc::clone(frame));
    }

    /// Forgets what a block left, which is closed.
    pub(super) fn forget(&self, block: u64) {
        self.frames.retain(|key, _| key.0 != block);
    }

    /// The figures.
    pub(crate) fn figures(&self) -> CacheFigures {
        CacheFigures {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            bytes: self.frames.weight(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_blocks_are_told_apart() {
        let cache = Cache::new(1 << 20);
        let (one, other) = (cache.number(), cache.number());
        let frame: Arc<[u8]> = vec![7; 10_000].into();
        for offset in 0..1000 {
            cache.put(one, FrameRef { offset, length: 10_000 }, &frame);
        }
        assert!(cache.figures().bytes <= 1 << 20, "{:?}", cache.figures());
        assert!(cache.figures().bytes > 1 << 18, "{:?}", cache.figures());
        cache.put(other, FrameRef { offset: 1, length: 10_000 }, &frame);
        cache.forget(one);
        assert_eq!(cache.figures().bytes, 10_000 + ENTRY_BYTES);
        assert!(cache.get(other, FrameRef { offset: 1, length: 10_000 }).is_some());
        assert!(cache.get(one, FrameRef { offset: 1, length: 10_000 }).is_none());
    }
}
