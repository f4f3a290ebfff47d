//! What benches and fuzz targets need of the indexes, with frames in memory. No part of the interface.

use std::sync::Arc;

use model::{Labels, Matcher};

use super::Index;
use super::block::BlockIndex;
use super::builder::IndexBuilder;
use super::pattern::Condition;
use crate::block::frame::{FrameRef, FrameSink, FrameSource};
use crate::error::BlockError;

/// Frames in memory, addressed by their place in the list.
#[derive(Clone, Debug, Default)]
pub struct Frames(pub(crate) Vec<Arc<[u8]>>);

impl FrameSink for Frames {
    fn put(&mut self, payload: &[u8]) -> Result<FrameRef, BlockError> {
        self.0.push(payload.into());
        Ok(FrameRef { offset: self.0.len() as u64 - 1, length: payload.len() as u32 })
    }
}

impl FrameSource for Frames {
    fn get(&self, at: FrameRef) -> Result<Arc<[u8]>, BlockError> {
        let frame = usize::try_from(at.offset).ok().and_then(|at| self.0.get(at));
        let whole = frame.filter(|frame| frame.len() == at.length as usize);
        whole.cloned().ok_or_else(|| self.damaged(at, "no such frame"))
    }

    fn damaged(&self, at: FrameRef, what: &str) -> BlockError {
        BlockError::Damaged { path: "/frames".into(), offset: at.offset, what: what.into() }
    }
}

/// A block's index whose frames lie in memory.
#[derive(Clone, Debug)]
pub struct Block {
    frames: Frames,
    root: FrameRef,
    series: u32,
}

impl Block {
    /// Builds an index; answers the bytes of memory that were held before it was written, too.
    pub fn build(sets: &[Labels]) -> (Self, usize) {
        let mut builder = IndexBuilder::default();
        for (series, labels) in sets.iter().enumerate() {
            builder.add(series as u32, labels);
        }
        let (held, mut frames) = (builder.bytes(), Frames::default());
        let root = builder.finish(&mut frames).expect("memory takes all bytes");
        (Self { frames, root, series: sets.len() as u32 }, held)
    }

    /// Any bytes as an index; the last frame is the root.
    pub fn from_frames(frames: &[&[u8]], series: u32) -> Option<Self> {
        let frames = Frames(frames.iter().map(|frame| Arc::from(*frame)).collect());
        let root =
            FrameRef { offset: frames.0.len().checked_sub(1)? as u64, length: frames.0.last()?.len() as u32 };
        Some(Self { frames, root, series })
    }

    /// The frames, the root last.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.0.iter().map(|frame| &**frame)
    }

    fn ask<T>(&self, ask: impl FnOnce(&BlockIndex<'_>) -> Result<T, BlockError>) -> Result<T, String> {
        let index = BlockIndex::open(&self.frames, self.root, self.series);
        index.and_then(|index| ask(&index)).map_err(|error| error.to_string())
    }

    /// How many series satisfy all matchers.
    ///
    /// # Errors
    /// Frames that are no index.
    pub fn find(&self, matchers: &[Matcher]) -> Result<u64, String> {
        self.ask(|index| Ok(index.find(matchers)?.len()))
    }

    /// The values of a label, on all series or on some of them.
    ///
    /// # Errors
    /// Frames that are no index.
    pub fn values(&self, name: &str, limit: usize, within: Option<&[u32]>) -> Result<Vec<String>, String> {
        let within = within.map(|within| within.iter().copied().collect());
        self.ask(|index| index.values(name, limit, within.as_ref()))
    }

    /// The label names, on all series or on some of them.
    ///
    /// # Errors
    /// Frames that are no index.
    pub fn names(&self, within: Option<&[u32]>) -> Result<Vec<String>, String> {
        let within = within.map(|within| within.iter().copied().collect());
        self.ask(|index| index.names(within.as_ref()))
    }
}

/// The index in memory.
#[derive(Debug, Default)]
pub struct Head {
    index: Index,
    labels: Vec<Labels>,
}

impl Head {
    /// Adds a series.
    pub fn add(&mut self, labels: &Labels) {
        self.index.add(self.labels.len() as u32, labels);
        self.labels.push(labels.clone());
    }

    /// Estimated bytes of memory, without the label sets.
    pub fn bytes(&self) -> usize {
        self.index.bytes()
    }

    /// How many series satisfy all matchers.
    pub fn find(&self, matchers: &[Matcher]) -> usize {
        self.index.find_all(&Condition::all(matchers), |id| &self.labels[id as usize]).len()
    }
}
