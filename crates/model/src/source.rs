//! The contract between whatever holds series and whatever reads them.
//!
//! The query engine knows only this; the store, a scoped reader, a test fixture and later a distributed engine all speak it.
//! A reader's scope is a wrapper that adds matchers, so that no handler can ask around it.

use std::sync::Arc;

use crate::{Columns, Labels, Matcher, Timestamp};

/// Which series and which time a reader wants.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// All of these must hold; none means every series.
    pub matchers: &'a [Matcher],
    /// First millisecond that counts, inclusive.
    pub start: Timestamp,
    /// Last millisecond that counts, inclusive.
    pub end: Timestamp,
}

/// Why a source could not answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The data cannot be read: a disk or a peer fails. The text says which and why.
    #[error("cannot read series: {0}")]
    Unreadable(String),
    /// The answer would pass one of the source's limits. The text names the limit and its value.
    #[error("the selection is too large: {0}")]
    TooLarge(String),
    /// The source is not ready (it is still replaying its journal).
    #[error("not ready: {0}")]
    NotReady(String),
}

/// Something that holds series. Implementations answer from a state that does not change while a [`SeriesSet`] is read.
pub trait SeriesSource: Send + Sync {
    /// Series that satisfy the selection, in label order, each once; a series without samples in the span may be left out.
    fn select<'a>(&'a self, selection: &Selection<'_>)
    -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError>;

    /// The same in parts of about so many series that may be read at the same time; one after the other they give what
    /// [`select`](SeriesSource::select) gives, in its order. Sources that cannot divide a selection give it in one part.
    fn select_parts<'a>(
        &'a self,
        selection: &Selection<'_>,
        _series: usize,
    ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
        Ok(vec![self.select(selection)?])
    }

    /// Names of labels on the series of any of the selections (all series when none is given), sorted, unique, at most
    /// `limit` when that is not 0.
    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError>;

    /// Values of one label on the series of any of the selections (all series when none is given), sorted, unique, at most
    /// `limit` when that is not 0.
    fn label_values(
        &self,
        name: &str,
        selections: &[Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, SourceError>;

    /// Label sets of the series of any of the selections, sorted, unique, at most `limit` when that is not 0.
    fn series(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<Labels>, SourceError>;
}

/// A cursor over selected series: [`advance`](SeriesSet::advance), look at [`labels`](SeriesSet::labels), and
/// [`read`](SeriesSet::read) what is wanted. Samples are decoded only when read.
pub trait SeriesSet {
    /// Moves to the next series; false at the end.
    fn advance(&mut self) -> Result<bool, SourceError>;

    /// Labels of the current series. Panics before the first `advance` and after the last.
    fn labels(&self) -> &Labels;

    /// Replaces `into` by the current series' samples within the selection, stale markers included.
    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError>;

    /// Replaces `into` by the current series' native histograms within the selection, as the bytes that came, in time order. Sources
    /// that hold none need not say so.
    fn read_histograms(&mut self, into: &mut Vec<(Timestamp, Arc<[u8]>)>) -> Result<(), SourceError> {
        into.clear();
        Ok(())
    }

    /// Replaces `into` by the start timestamps of the samples that [`read`](SeriesSet::read) gives, one for each: when its counter began, or
    /// `None` where nobody said. Sources that know none leave it empty; those of native histograms stand in their bytes.
    fn read_starts(&mut self, into: &mut Vec<Option<Timestamp>>) -> Result<(), SourceError> {
        into.clear();
        Ok(())
    }
}
