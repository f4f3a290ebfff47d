//! `POST /api/v1/write`: remote write 1.0 and 2.0 over HTTP, with Prometheus' status codes and texts that say what to do.
//!
//! 204 stored (a header `Pantau-Conflicts` names samples that have another value in the store); 400 stored in part or not at all, for ever (the text says what and why); 401, 403 who are you; 408 too slow; 409
//! another batch has this number; 413 too large; 415 another format; 429, 503 come back later (`Retry-After`).

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tsdb::WriteError;
use wire::WireError;
use wire::body::{Codec, Unpacker};
use wire::identity::Envelope;
use wire::negotiate::{self, Message, Written};

use super::turns::{NoRoom, Room};
use super::{Ingest, IngestError, Origin, Outcome, PreparedOrNot, Stamp, Work};
use crate::auth::Sender;
use crate::enrolment::ANONYMOUS;
use crate::server::BodyTooSlow;
use crate::state::{AppState, now};

/// Bodies larger than this once unpacked (or that do not say) are read on a thread of their own, so that short requests need not
/// wait for them: a few kilobytes can unpack to megabytes.
const INLINE_BYTES_MAX: u64 = 1 << 20;

/// An unpacked body up to this size keeps its memory for the thread's next one.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Room that a body of more than one piece takes at first; what it takes doubles from there.
const ROOM_BYTES_MIN: u64 = 64 << 10;

const RETRY_AFTER_SECONDS: u64 = 5;

/// Names how many samples have another value in the store, and the first of them. Such samples are no error of the request.
const CONFLICTS: http::HeaderName = http::HeaderName::from_static("pantau-conflicts");

/// Letters of that header's value.
const CONFLICTS_CHARS_MAX: usize = 600;

/// Why a request is not read at all.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the body has more than {0} bytes, the most that is taken: send smaller requests")]
    TooLarge(u64),
    #[error(transparent)]
    TooSlow(BodyTooSlow),
    #[error("the body ended early: {0}")]
    Broken(String),
    #[error(transparent)]
    Busy(#[from] NoRoom),
}

/// The handler.
pub async fn write(State(state): State<AppState>, sender: Sender, request: Request<Body>) -> Response {
    let received_at = now();
    let origin = origin_of(&sender, &state);
    if !state.ingest.is_ready() {
        return failure(&IngestError::NotReady, Message::V1);
    }
    let (parts, body) = request.into_parts();
    let head = match Head::read(&parts.headers) {
        Ok(head) => head,
        Err(error) => return unread(&error.into()),
    };
    if head.envelope.is_none()
        && let Sender::Agent(agent) = &sender
    {
        state.ledger.note_plain(&agent.name, received_at);
    }
    let (body, room) = match state.ingest.read_body(&origin, body).await {
        Ok(read) => read,
        Err(error) => {
            if let Unread::Busy(why) = &error {
                state.metrics.ingest_turned_away.with_label_values(&[why.as_str(), &origin.name]).inc();
            }
            return unread(&error);
        }
    };
    state.metrics.ingest_bytes.inc_by(body.len() as u64);
    let message = head.message;
    let incoming =
        Incoming { ingest: Arc::clone(&state.ingest), origin, head, body, received_at, _room: room };
    match incoming.write().await {
        Ok(outcome) => answer(&outcome, message),
        Err(error) => failure(&error, message),
    }
}

fn origin_of(sender: &Sender, state: &AppState) -> Origin {
    match sender {
        Sender::Agent(agent) => Origin {
            name: agent.name.as_str().into(),
            stamp: Stamp {
                region: Some(agent.region.to_string()),
                site: Some(agent.site.clone()),
                agent: Some(agent.name.clone()),
                keeps_own: false,
            },
        },
        Sender::Anonymous => Origin { name: ANONYMOUS.into(), stamp: own_stamp(state, None) },
    }
}

/// The collector's own region and site, for its own agent or for a stranger.
pub fn own_stamp(state: &AppState, agent: Option<&str>) -> Stamp {
    let settings = state.settings.load();
    Stamp {
        region: settings.region.as_ref().map(ToString::to_string),
        site: settings.site.clone(),
        agent: agent.map(str::to_owned),
        keeps_own: false,
    }
}

/// What a request's headers announce.
struct Head {
    message: Message,
    codec: Codec,
    envelope: Option<Envelope>,
}

impl Head {
    fn read(headers: &HeaderMap) -> Result<Self, WireError> {
        // A header that is no ASCII is nothing that is supported.
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("?")));
        Ok(Self {
            message: negotiate::message(text(negotiate::CONTENT_TYPE))?,
            codec: negotiate::codec(text(negotiate::CONTENT_ENCODING))?,
            envelope: Envelope::from_headers(pairs)?,
        })
    }
}

thread_local! {
    /// Codecs and memory of the thread's last body.
    static UNPACKING: std::cell::RefCell<(Unpacker, Vec<u8>)> = std::cell::RefCell::default();
}

impl Ingest {
    /// Reads a body within its bounds. The room stands for the memory that it takes.
    async fn read_body(&self, origin: &Origin, mut body: Body) -> Result<(Bytes, Room), Unread> {
        let max = self.config.load().body_max.get();
        let announced = body.size_hint().upper();
        if announced.is_some_and(|announced| announced > max) {
            return Err(Unread::TooLarge(max));
        }
        let most = announced.unwrap_or(max);
        let mut room = self.turns.room(&origin.name, max);
        let mut whole = Vec::new();
        let mut first: Option<Bytes> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            let so_far = (whole.len() + first.as_ref().map_or(0, Bytes::len) + data.len()) as u64;
            if so_far > max {
                return Err(Unread::TooLarge(max));
            }
            if so_far > room.bytes() {
                // As it comes, not as it was announced: who announces much and sends little takes little.
                let wanted = so_far.max(ROOM_BYTES_MIN).max(2 * room.bytes()).min(most.max(so_far));
                room.take(wanted - room.bytes())?;
            }
            match (whole.is_empty(), first.take()) {
                (true, None) => first = Some(data),
                (_, before) => {
                    whole.reserve_exact(
                        usize::try_from(room.bytes()).unwrap_or(0).saturating_sub(whole.len()),
                    );
                    before.into_iter().for_each(|before| whole.extend_from_slice(&before));
                    whole.extend_from_slice(&data);
                }
            }
        }
        // Most bodies come in one piece, which is not copied.
        Ok((first.unwrap_or_else(|| whole.into()), room))
    }
}

/// A body on its way in, with all that is known of it.
struct Incoming {
    ingest: Arc<Ingest>,
    origin: Origin,
    head: Head,
    body: Bytes,
    received_at: model::Timestamp,
    _room: Room,
}

impl Incoming {
    async fn write(self) -> Result<Outcome, IngestError> {
        let declared = wire::body::declared_size(self.head.codec, &self.body);
        let small = declared.is_some_and(|declared| declared.max(self.body.len() as u64) <= INLINE_BYTES_MAX);
        if small {
            let here = || self.prepare(INLINE_BYTES_MAX);
            match self.ingest.write_with(&self.origin, Work::Here(&here)).await {
                // It is more than it declares (a first frame may say little of those that follow): not on this thread.
                Err(IngestError::Malformed(WireError::TooLarge { .. })) => {}
                written => return written,
            }
        }
        let this = Arc::new(self);
        let apart = Arc::clone(&this);
        this.ingest.write_with(&this.origin, Work::Apart(Arc::new(move || apart.prepare(u64::MAX)))).await
    }

    /// Unpacks at most so many bytes and reads; holds the unpacked body only so long.
    fn prepare(&self, bytes_max: u64) -> PreparedOrNot {
        let Self { ingest, origin, head, received_at, .. } = self;
        let limit = ingest.config.load().unpacked_max.get().min(bytes_max);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        UNPACKING.with_borrow_mut(|(unpacker, payload)| {
            let unpacked = unpacker.unpack(head.codec, &self.body, limit, payload);
            let (message, envelope, received_at) = (head.message, head.envelope.as_ref(), *received_at);
            let prepared = unpacked.map_err(IngestError::from).and_then(|()| {
                ingest.prepare(super::Request { origin, message, payload, envelope, received_at })
            });
            // After a failure, too: a bomb must not stay in this thread's memory.
            if payload.capacity() > KEPT_BYTES_MAX {
                *payload = Vec::new();
            }
            prepared
        })
    }
}

fn broken(error: axum::Error) -> Unread {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(this) = source {
        if let Some(slow) = this.downcast_ref::<BodyTooSlow>() {
            return Unread::TooSlow(*slow);
        }
        source = this.source();
    }
    Unread::Broken(error.to_string())
}

fn unread(error: &Unread) -> Response {
    let status = match error {
        Unread::Wire(WireError::Unsupported { .. }) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Unread::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Unread::Wire(_) | Unread::Broken(_) => StatusCode::BAD_REQUEST,
        Unread::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
        // Not 429: a Prometheus server drops what is answered so, unless it is told otherwise.
        Unread::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = (status, format!("nothing was stored: {error}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
    }
    response
}

fn answer(outcome: &Outcome, message: Message) -> Response {
    let mut response = if outcome.refusals.is_empty() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        (StatusCode::BAD_REQUEST, outcome.refusals.text(outcome.samples + outcome.histograms)).into_response()
    };
    let Outcome { samples, histograms, exemplars, .. } = *outcome;
    say_written(&mut response, message, Written { samples, histograms, exemplars });
    if let Some(example) = &outcome.conflict {
        let text = format!("{}; {example}", outcome.conflicts);
        let text: String = text.chars().flat_map(char::escape_default).take(CONFLICTS_CHARS_MAX).collect();
        let value = HeaderValue::from_str(&text.replace("\\\"", "\"").replace("\\'", "'"));
        response.headers_mut().insert(CONFLICTS, value.expect("escaped letters are a header value"));
    }
    response
}

fn failure(error: &IngestError, message: Message) -> Response {
    let status = match error {
        IngestError::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        IngestError::Malformed(WireError::TooLarge { .. } | WireError::TooMany { .. }) => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        IngestError::Malformed(_) | IngestError::HashMismatch => StatusCode::BAD_REQUEST,
        IngestError::Conflict { .. } => StatusCode::CONFLICT,
        IngestError::Store(WriteError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        IngestError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = (status, format!("{error}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = if matches!(error, IngestError::NotReady) { 1 } else { RETRY_AFTER_SECONDS };
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    say_written(&mut response, message, Written::default());
    response
}

/// An answer to 2.0 must say how much was written, also when nothing was.
fn say_written(response: &mut Response, message: Message, written: Written) {
    if message == Message::V2 {
        for (name, value) in written.to_headers() {
            let value = HeaderValue::from_str(&value).expect("digits are a header value");
            response.headers_mut().insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use http_body_util::Full;
    use hyper::body::{Body as HttpBody, Frame, SizeHint};

    use super::*;
    use crate::ledger::Ledger;
    use crate::metrics::Metrics;
    use crate::settings::Checked;

    /// Announces much, brings pieces, then stands still.
    struct Slow {
        announced: u64,
        pieces: Vec<Bytes>,
    }

    impl HttpBody for Slow {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.pieces.pop().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.announced)
        }
    }

    fn ingest() -> Ingest {
        Ingest::new(&Checked::quickstart().expect("defaults"), Ledger::new(), Arc::new(Metrics::new()))
    }

    fn origin(name: &str) -> Origin {
        Origin { name: name.into(), stamp: Stamp::default() }
    }

    /// Room was taken as announced: two requests each of four slow senders, of which nothing came, closed the door to everybody.
    #[test]
    fn who_announces_much_and_sends_nothing_takes_no_room() {
        let ingest = ingest();
        let slow: Vec<Origin> = (0..4).map(|number| origin(&format!("slow-{number}"))).collect();
        let mut waiting = Vec::new();
        for sender in slow.iter().chain(&slow).chain(&slow) {
            let body = Slow { announced: 16 << 20, pieces: vec![Bytes::from_static(b"some")] };
            let mut reading = Box::pin(ingest.read_body(sender, Body::new(body)));
            assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            waiting.push(reading);
        }
        let other = origin("another");
        let mut reading = pin!(ingest.read_body(&other, Body::new(Full::from(vec![7; 1 << 20]))));
        let read = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok((body, room))) = read else { panic!("there is room") };
        assert_eq!((body.len(), room.bytes()), (1 << 20, 1 << 20));
    }

    /// What a body takes stays near what has come of it, and is never more than it announces.
    #[test]
    fn a_body_takes_room_as_it_comes() {
        let check = |announced: u64, piece: usize, pieces: usize, least: u64, most: u64| {
            let (ingest, sender) = (ingest(), origin("a"));
            let body = Slow { announced, pieces: vec![Bytes::from(vec![1; piece]); pieces] };
            let mut reading = pin!(ingest.read_body(&sender, Body::new(body)));
            assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let taken = ingest.room_taken("a");
            assert!((least..=most).contains(&taken), "{announced} announced, {pieces} x {piece}: {taken}");
        };
        check(16 << 20, 10, 0, 0, 0);
        check(16 << 20, 10, 3, 30, 64 << 10);
        check(100, 10, 3, 30, 100);
        check(16 << 20, 16 << 10, 64, 1 << 20, 2 << 20);
        check(16 << 20, 64 << 10, 256, 16 << 20, 16 << 20);
    }
}
