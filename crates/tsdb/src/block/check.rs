//! Verifies a block file byte by byte.
//!
//! Frames lie one behind the other from header to trailer, each with its length, so that all of them are found without believing
//! any directory. Where a length itself is damaged, the walk goes on at the next frame that a directory names.

use std::collections::BTreeSet;

use model::Columns;

use super::format::{self, FRAME_HEAD, HEADER_BYTES, PLACE_BYTES, TRAILER_BYTES};
use super::frame::{FrameRef, FrameSource as _};
use super::reader::{Block, BlockReader};
use crate::error::BlockError;
use crate::select::block::Stored as _;

impl Block {
    /// Reads everything and answers what is wrong, in the order of the file. Memory: a frame and a chunk, and the places of all frames.
    pub(crate) fn verify(&self) -> Vec<BlockError> {
        let mut damages = Vec::new();
        let end = self.meta().bytes.saturating_sub(TRAILER_BYTES as u64);
        let known = self.places();
        let mut at = HEADER_BYTES as u64;
        while at < end {
            match self.frame_at(at, end) {
                Ok(next) => at = next,
                Err((error, next)) => {
                    damages.push(error);
                    let named = known.range(at + 1..).next().copied().unwrap_or(end);
                    at = next.unwrap_or(named);
                }
            }
        }
        if damages.is_empty() {
            damages.extend(self.contents().err());
        }
        damages
    }

    /// Checks one frame and answers where the next one begins, also where only the payload is wrong.
    fn frame_at(&self, at: u64, end: u64) -> Result<u64, (BlockError, Option<u64>)> {
        let place = |length| FrameRef { offset: at, length };
        let io = |source| (BlockError::Io { what: "read", path: self.path().to_owned(), source }, None);
        let mut head = [0; FRAME_HEAD];
        if at + FRAME_HEAD as u64 > end {
            return Err((self.damaged(place(0), "a part's length is wrong"), None));
        }
        self.file().read_exact_at(at, &mut head).map_err(io)?;
        let length = format::frame_length(&head);
        let next = at + FRAME_HEAD as u64 + u64::from(length);
        if next > end || length > format::FRAME_MAX {
            return Err((self.damaged(place(0), "a part's length is wrong"), None));
        }
        // A wrong length that fits by chance would end in the middle of another part: only a named place is believed then.
        self.load(place(length)).map(|_| next).map_err(|error| (error, None))
    }

    /// Where frames begin, as far as the directories can be read.
    fn places(&self) -> BTreeSet<u64> {
        let roots = self.roots();
        let mut places: BTreeSet<u64> = roots.all().iter().map(|root| root.offset).collect();
        for root in [roots.data, roots.columns, roots.series] {
            let directory = self.load(root).unwrap_or_else(|_| [].into());
            let of_directory =
                (0..directory.len() / PLACE_BYTES).filter_map(|index| format::take_place(&directory, index));
            places.extend(of_directory.map(|place| place.offset));
        }
        let index = self.index().and_then(|index| index.frames());
        places.extend(index.unwrap_or_default().iter().map(|place| place.offset));
        places
    }

    /// All checksums are right: whether what they cover can be understood, and is what the footer says.
    fn contents(&self) -> Result<(), BlockError> {
        let index = self.index()?;
        index.frames()?;
        let mut reader = BlockReader::direct();
        let (mut columns, mut records) = (Columns::default(), Vec::new());
        let (mut samples, mut histograms) = (0, 0);
        let mut before = None;
        for series in 0..self.meta().series {
            let labels = self.labels(series, &mut reader)?;
            let (more_samples, more_histograms) = reader.check(self, series, &mut columns, &mut records)?;
            samples += more_samples;
            histograms += more_histograms;
            if before.as_ref().is_some_and(|before| *before >= labels) {
                return Err(
                    self.damaged(self.roots().series, "its series are not in the order of their labels")
                );
            }
            before = Some(labels);
        }
        if (samples, histograms) != (self.meta().samples, self.meta().histograms) {
            return Err(
                self.damaged(self.roots().series, "it holds another number of samples than the footer says")
            );
        }
        Ok(())
    }
}
