//! `/api/v1/read`: remote read, so that another Prometheus (or whatever speaks its protocol) asks us for whole series.
//!
//! In: a snappy-packed `ReadRequest`. Out: samples at once (`SAMPLES`), or frames of chunks as they are read
//! (`STREAMED_XOR_CHUNKS`: numbers, and native histograms in their float form), whichever the client takes; streaming is preferred,
//! because nobody then holds the answer whole. The source is the reader's own, so that its scope holds. Conditions that only ask for an external label are dropped, and series get the
//! external labels that they lack, as in Prometheus. Errors are plain text, which Prometheus logs.
//!
//! Limits: [`BODY_BYTES_MAX`] packed and [`PAYLOAD_BYTES_MAX`] unpacked; `query.series_max` series a query; `query.samples_max` samples an
//! answer that is not streamed; frames of about [`FRAME_BYTES`], of which [`FRAMES_AHEAD`] wait for a slow client. As many answers
//! are streamed at once as queries may run, in places of their own: a client that reads slowly takes none from the panels.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use hyper::body::Frame;
use model::{
    Columns, Histogram, MatchOp, Matcher, PatternRoom, Selection, SeriesSet, SeriesSource, Timestamp,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use wire::body::{Codec, Packer, Unpacker};
use wire::read::{self, Chunk, FrameWriter, Query, QueryMatcher, ReadRequest, distributions, xor};

use super::reply::ApiError;
use super::{Config, Reader, Turns, body, in_turn};
use crate::external::ExternalLabels;
use crate::mistake;
use crate::state::AppState;

/// The largest request as it comes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// The largest request unpacked.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// What patterns may take: requests hold theirs while they wait for a place.
const PATTERN_BYTES_MAX: usize = 4 << 20;
/// Bytes from which on a frame is sent, as in Prometheus.
const FRAME_BYTES: usize = 1 << 20;
/// Frames that are ready before the client takes them.
const FRAMES_AHEAD: usize = 2;
/// How long a client has for a frame: one that takes a byte now and then would keep its place for ever. Some 30 kbit/s are enough.
const FRAME_TIME: Duration = Duration::from_secs(300);

/// The handler.
pub(super) async fn read(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    request: Request,
) -> Response {
    answer(reader, &state, turns, request).await.unwrap_or_else(|error| failure(&error))
}

fn failure(error: &ApiError) -> Response {
    (error.status(), format!("{error}\n")).into_response()
}

async fn answer(
    reader: Reader,
    state: &AppState,
    turns: Turns,
    request: Request,
) -> Result<Response, ApiError> {
    let read = body::whole(request.into_body(), BODY_BYTES_MAX, state.queries.bodies()).await;
    let (body, _room) = read.map_err(|refused| refused.error("the request", BODY_BYTES_MAX))?;
    let job = Job::read(&body, reader, state)?;
    let deadline = tokio::time::Instant::now() + job.config.timeout.get();
    if job.streams {
        return stream(job, turns, deadline).await;
    }
    let packed = in_turn(&turns, deadline, move |patience| {
        job.samples(&*patience.over(Arc::clone(&job.reader.source)))
    })
    .await?;
    let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
    Ok((headers, packed).into_response())
}

/// One request, ready to be answered.
struct Job {
    reader: Reader,
    config: Config,
    external: ExternalLabels,
    streams: bool,
    queries: Vec<Asked>,
}

struct Asked {
    matchers: Vec<Matcher>,
    start: Timestamp,
    end: Timestamp,
}

impl Job {
    fn read(body: &[u8], reader: Reader, state: &AppState) -> Result<Self, ApiError> {
        let bad = |error: wire::WireError| ApiError::BadData(error.to_string());
        let mut payload = Vec::new();
        Unpacker::new().unpack(Codec::Snappy, body, PAYLOAD_BYTES_MAX, &mut payload).map_err(bad)?;
        let request = ReadRequest::parse(&payload).map_err(bad)?;
        let conditions = request.queries.iter().flat_map(|query| &query.matchers);
        let patterns =
            conditions.filter(|sent| matches!(sent.op, MatchOp::Regex | MatchOp::NotRegex)).count();
        if patterns > promql::REGEX_COUNT_MAX {
            let most = promql::REGEX_COUNT_MAX;
            return Err(ApiError::BadData(format!("more than {most} regular expressions in one request")));
        }
        let settings = state.settings.load();
        let external = settings.external_labels.clone();
        let mut room = PatternRoom::of(PATTERN_BYTES_MAX);
        let asked = |query: &Query<'_>| Asked::read(query, &mut room, &external);
        let queries = request.queries.iter().map(asked).collect::<Result<_, _>>()?;
        Ok(Self { reader, config: settings.query, external, streams: request.is_streamed, queries })
    }

    /// Every sample, packed.
    fn samples(&self, source: &dyn SeriesSource) -> Result<Vec<u8>, ApiError> {
        let (mut payload, mut left) = (Vec::new(), self.config.samples_allowed());
        for asked in &self.queries {
            let result = self.result(source, asked, &mut left)?;
            read::push_result(&mut payload, &result);
        }
        let mut packed = Vec::new();
        let done = Packer::new(1).pack(Codec::Snappy, &payload, &mut packed);
        done.map_err(|error| ApiError::Internal(error.to_string()))?;
        Ok(packed)
    }

    fn result(
        &self,
        source: &dyn SeriesSource,
        asked: &Asked,
        left: &mut usize,
    ) -> Result<Vec<u8>, ApiError> {
        let mut writer = wire::v1::Writer::default();
        let (mut columns, mut histograms) = (Columns::default(), Vec::new());
        let mut series = asked.select(source)?;
        let mut count = 0;
        while series.advance()? {
            self.count_series(&mut count)?;
            series.read(&mut columns)?;
            series.read_histograms(&mut histograms)?;
            *left = left.checked_sub(columns.len() + histograms.len()).ok_or_else(|| {
                // In Prometheus' words.
                ApiError::BadData(format!("exceeded sample limit ({})", self.config.samples_allowed()))
            })?;
            let labels = self.external.stamp(series.labels());
            let histograms: Vec<Vec<u8>> =
                histograms.iter().map(|(at, bytes)| read::histogram_at(bytes, *at)).collect();
            writer.series_with(
                labels.iter(),
                columns.iter().map(|sample| (sample.timestamp, sample.value)),
                histograms.iter().map(Vec::as_slice),
                std::iter::empty::<(&[(&str, &str)], Timestamp, f64)>(),
            );
        }
        Ok(writer.finish())
    }

    fn count_series(&self, count: &mut usize) -> Result<(), ApiError> {
        *count += 1;
        if *count <= self.config.series_max {
            return Ok(());
        }
        Err(ApiError::Execution(format!(
            "the query reads more than {} series: narrow it or raise query.series_max",
            self.config.series_max
        )))
    }

    /// Sends frame by frame; ends where nobody takes them any more.
    fn frames(&self, out: &mpsc::Sender<Bytes>) -> Result<(), ApiError> {
        for (index, asked) in self.queries.iter().enumerate() {
            self.frames_of(index, asked, out)?;
        }
        Ok(())
    }

    fn frames_of(&self, index: usize, asked: &Asked, out: &mpsc::Sender<Bytes>) -> Result<(), ApiError> {
        let mut frames = Frames { writer: FrameWriter::default(), index, out, runtime: Handle::current() };
        let (mut columns, mut histograms) = (Columns::default(), Vec::new());
        let mut series = asked.select(&*self.reader.source)?;
        let mut count = 0;
        while series.advance()? {
            self.count_series(&mut count)?;
            series.read(&mut columns)?;
            series.read_histograms(&mut histograms)?;
            frames.writer.begin(&self.external.stamp(series.labels()));
            chunks(&columns, &histograms, &mut |chunk| frames.add(chunk))?;
            frames.flush()?;
        }
        Ok(())
    }
}

/// Samples of a series as chunks in the order of time, of one kind each.
fn chunks(
    columns: &Columns,
    histograms: &[(Timestamp, Arc<[u8]>)],
    add: &mut dyn FnMut(&Chunk) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let (mut numbers, mut distributions) = (xor::Builder::default(), distributions::Builder::default());
    let mut histograms = histograms.iter().peekable();
    let mut samples = columns.iter().peekable();
    loop {
        let histogram_at = histograms.peek().map(|(at, _)| *at);
        let is_number = |sample: &model::Sample| histogram_at.is_none_or(|at| sample.timestamp < at);
        if let Some(sample) = samples.next_if(is_number) {
            if let Some(chunk) = distributions.finish() {
                add(&chunk)?;
            }
            numbers.push(sample.timestamp, sample.value);
            if numbers.is_full()
                && let Some(chunk) = numbers.finish()
            {
                add(&chunk)?;
            }
        } else if let Some((at, bytes)) = histograms.next() {
            if let Some(chunk) = numbers.finish() {
                add(&chunk)?;
            }
            let histogram =
                Histogram::decode(bytes).map_err(|error| ApiError::Internal(error.to_string()))?;
            if !distributions.takes(&histogram)
                && let Some(chunk) = distributions.finish()
            {
                add(&chunk)?;
            }
            distributions.push(*at, histogram);
        } else {
            return numbers.finish().or_else(|| distributions.finish()).map_or(Ok(()), |chunk| add(&chunk));
        }
    }
}

/// Frames of one query on their way to the client.
struct Frames<'a> {
    writer: FrameWriter,
    index: usize,
    out: &'a mpsc::Sender<Bytes>,
    runtime: Handle,
}

impl Frames<'_> {
    fn add(&mut self, chunk: &Chunk) -> Result<(), ApiError> {
        self.writer.chunk(chunk);
        if self.writer.size() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    /// Sends what there is; fails where nobody takes it any more.
    fn flush(&mut self) -> Result<(), ApiError> {
        if !self.writer.has_chunks() {
            return Ok(());
        }
        let message = self.writer.finish(self.index);
        let mut frame = Vec::with_capacity(message.len() + 16);
        read::push_frame_head(&mut frame, message.len(), crc32c::crc32c(&message));
        frame.extend_from_slice(&message);
        let send = self.out.send_timeout(frame.into(), FRAME_TIME);
        self.runtime.block_on(send).map_err(|error| {
            ApiError::Canceled(match error {
                SendTimeoutError::Timeout(_) => "the client reads too slowly".into(),
                SendTimeoutError::Closed(_) => "the client left".into(),
            })
        })
    }
}

impl Asked {
    fn read(query: &Query<'_>, room: &mut PatternRoom, external: &ExternalLabels) -> Result<Self, ApiError> {
        let compiled = query.matchers.iter().map(|sent| matcher(room, sent));
        let compiled = compiled.collect::<Result<Vec<Matcher>, _>>()?;
        let matchers = compiled.into_iter().filter(|matcher| !external.satisfy(matcher)).collect();
        Ok(Self { matchers, start: query.start, end: query.end })
    }

    fn select<'a>(
        &self,
        source: &'a dyn SeriesSource,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, model::SourceError> {
        source.select(&Selection { matchers: &self.matchers, start: self.start, end: self.end })
    }
}

/// A condition with its pattern read as in queries.
fn matcher(room: &mut PatternRoom, sent: &QueryMatcher<'_>) -> Result<Matcher, ApiError> {
    if matches!(sent.op, MatchOp::Equal | MatchOp::NotEqual) {
        return Matcher::new(sent.name, sent.op, sent.value)
            .map_err(|error| ApiError::BadData(error.to_string()));
    }
    promql::matcher(room, sent.name, sent.op, sent.value).map_err(ApiError::BadData)
}

/// Why a stream ends before its end, for whoever reads it.
type Failure = Arc<Mutex<Option<ApiError>>>;

/// Answers with frames; what goes wrong before the first has its own status.
async fn stream(job: Job, turns: Turns, deadline: tokio::time::Instant) -> Result<Response, ApiError> {
    let place = turns.0.stream_place(deadline).await?;
    let (frames, mut ready) = mpsc::channel(FRAMES_AHEAD);
    let failure = Failure::default();
    let told = Arc::clone(&failure);
    tokio::task::spawn_blocking(move || send_all(|| job.frames(&frames), &told, place));
    let Some(first) = ready.recv().await else {
        let failed = take(&failure);
        return failed.map_or_else(|| Ok(streamed(Streamed { first: None, ready, failure })), Err);
    };
    Ok(streamed(Streamed { first: Some(first), ready, failure }))
}

/// Does the work of a stream. Then neither its place nor its thread waits for a client that takes nothing any more: why it failed is kept for
/// the client, beside the frames, whose sender outlives this.
fn send_all<P>(work: impl FnOnce() -> Result<(), ApiError>, told: &Failure, place: P) {
    let failed = match mistake::caught(work) {
        Ok(outcome) => outcome.err(),
        Err(mistake) => Some(ApiError::Internal(mistake.to_string())),
    };
    *told.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    drop(place);
}

fn take(failure: &Failure) -> Option<ApiError> {
    failure.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn streamed(body: Streamed) -> Response {
    let mut response = (StatusCode::OK, Body::new(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(read::STREAMED_TYPE));
    response
}

/// A body of frames.
struct Streamed {
    first: Option<Bytes>,
    ready: mpsc::Receiver<Bytes>,
    failure: Failure,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = ApiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        // A stream that ends early must not look whole.
        self.ready.poll_recv(context).map(|next| match next {
            Some(frame) => Some(Ok(Frame::data(frame))),
            None => take(&self.failure).map(Err),
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_loses_its_place() {
        let (out, mut taken) = mpsc::channel(FRAMES_AHEAD);
        let runtime = Handle::current();
        let (told, outcome) = tokio::sync::oneshot::channel();
        // A thread of its own: the clock of the test stands still while one of the runtime's works.
        let sender = std::thread::spawn(move || {
            let mut frames = Frames { writer: FrameWriter::default(), index: 0, out: &out, runtime };
            let mut numbers = xor::Builder::default();
            numbers.push(Timestamp::from_millis(1), 1.0);
            let chunk = numbers.finish().expect("a sample");
            frames.writer.begin(&model::Labels::from_pairs([("job", "a")]));
            let mut send = || frames.add(&chunk).and_then(|()| frames.flush());
            let refused = (0..=FRAMES_AHEAD).find_map(|at| send().err().map(|error| (at, error.to_string())));
            drop(told.send(refused));
        });
        let began = tokio::time::Instant::now();
        let refused = outcome.await.expect("the thread ended well");
        assert_eq!(refused, Some((FRAMES_AHEAD, "the client reads too slowly".into())));
        assert!(began.elapsed() >= FRAME_TIME);
        assert!(taken.recv().await.is_some(), "what was ready is still there");
        sender.join().expect("no panic");
    }

    /// A client that takes nothing held the place of its stream until it left.
    #[tokio::test]
    async fn a_stream_that_fails_gives_its_place_back_at_once_and_does_not_look_whole() {
        let check = async |work: fn() -> Result<(), ApiError>, expected: &str| {
            let (out, ready) = mpsc::channel(1);
            out.send(Bytes::from_static(b"a frame")).await.expect("room for one");
            let (failure, place) = (Failure::default(), Arc::new(()));
            let held = Arc::downgrade(&place);
            send_all(work, &failure, place);
            assert!(held.upgrade().is_none(), "nobody has taken anything yet");
            drop(out);
            let mut body = Body::new(Streamed { first: None, ready, failure });
            let frame = body.frame().await.expect("what was sent").expect("is whole");
            assert_eq!(frame.into_data().ok(), Some(Bytes::from_static(b"a frame")));
            let end = body.frame().await.expect("an end that is told").expect_err("and is none");
            assert!(end.to_string().contains(expected), "{end}");
        };
        check(|| Err(ApiError::Canceled("the client reads too slowly".into())), "too slowly").await;
        check(|| panic!("stumbled"), "stumbled").await;
    }
}
