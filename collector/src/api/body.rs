//! Bodies of requests, read whole within bounds: one request's, and those of all together while they wait for their answer.
//!
//! In: a body that its reader may send. Out: its bytes, with their part of the room that all bodies share ([`Queries::bodies`]) for as
//! long as they are held; or why not. A body that is too long is read on for a while and thrown away before it is refused: a connection
//! that is closed while somebody sends is reset, and the refusal lost with it.
//!
//! Limits: [`FREE_BYTES`] of each body need no room; [`DRAIN_BYTES`] and [`DRAIN_TIME`] beyond a body's bound. How slowly a body may come
//! is the server's.
//!
//! [`Queries::bodies`]: crate::queries::Queries::bodies

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::ApiError;

/// Bytes of a body that are had without asking: what dashboards send is smaller, and connections are bounded.
const FREE_BYTES: usize = 64 << 10;
/// What is thrown away of a body that is too long.
const DRAIN_BYTES: usize = 16 << 20;
/// And for how long.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A part of the room that bodies share; given back when it is dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    /// Several handlers' clones of one request share it.
    _held: Option<Arc<OwnedSemaphorePermit>>,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is longer than it may be.
    TooLong,
    /// Others hold all the room.
    NoRoom,
    /// It did not come whole.
    Broken(String),
}

impl Refused {
    /// In words: `what` is too long beyond `most` bytes.
    pub(super) fn error(self, what: &str, most: usize) -> ApiError {
        match self {
            Self::TooLong => ApiError::BadData(format!("{what} is larger than {most} bytes")),
            Self::NoRoom => {
                ApiError::Unavailable("too many large requests wait at once: ask again in a moment".into())
            }
            Self::Broken(why) => ApiError::BadData(format!("cannot read {what}: {why}")),
        }
    }
}

/// Reads a body of at most `most` bytes. `bodies` has a permit for each byte of the shared room.
pub(super) async fn whole(
    mut body: Body,
    most: usize,
    bodies: &Arc<Semaphore>,
) -> Result<(Bytes, Room), Refused> {
    let (mut all, mut held) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
    while let Some(data) = next(&mut body).await? {
        if all.len() + data.len() > most {
            drop((all, held));
            drain(body).await;
            return Err(Refused::TooLong);
        }
        all.extend_from_slice(&data);
        let has = FREE_BYTES + held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if all.len() > has {
            // Doubled, so that a body asks a few times only.
            let more = u32::try_from(has.max(all.len() - has)).expect("a body is far below 4 GiB");
            let Ok(permit) = Arc::clone(bodies).try_acquire_many_owned(more) else {
                drop((all, held));
                drain(body).await;
                return Err(Refused::NoRoom);
            };
            match &mut held {
                Some(held) => held.merge(permit),
                None => held = Some(permit),
            }
        }
    }
    Ok((all.freeze(), Room { _held: held.map(Arc::new) }))
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Refused> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Refused::Broken(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Takes what is on its way, and keeps nothing.
async fn drain(mut body: Body) {
    let all = async {
        let mut left = DRAIN_BYTES;
        while let Ok(Some(data)) = next(&mut body).await {
            left = left.saturating_sub(data.len());
            if left == 0 {
                return;
            }
        }
    };
    // Whoever sends on after this may lose the words of the refusal.
    drop(tokio::time::timeout(DRAIN_TIME, all).await);
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::HttpBody;
    use hyper::body::Frame;

    use super::*;

    /// A thousand bytes at each tick.
    struct Slow(tokio::time::Interval);

    impl HttpBody for Slow {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.poll_tick(context).map(|_| Some(Ok(Frame::data(Bytes::from_static(&[1; 1_000])))))
        }
    }

    fn room(bytes: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(bytes))
    }

    #[tokio::test]
    async fn a_body_is_whole_or_refused() {
        let room = room(1 << 20);
        let check = async |bytes: usize, expected: Result<usize, Refused>| {
            let read = whole(Body::from(vec![1; bytes]), 300_000, &room).await;
            assert_eq!(read.map(|(all, _)| all.len()), expected, "{bytes}");
            assert_eq!(room.available_permits(), 1 << 20, "all is given back");
        };
        check(0, Ok(0)).await;
        check(300_000, Ok(300_000)).await;
        check(300_001, Err(Refused::TooLong)).await;
        check(DRAIN_BYTES * 2, Err(Refused::TooLong)).await;
    }

    #[tokio::test]
    async fn large_bodies_share_their_room_and_small_ones_need_none() {
        let room = room(200_000);
        let ask = async |bytes: usize| {
            let read = whole(Body::from(vec![1; bytes]), 1 << 20, &room).await;
            read.map(|(all, room)| (all.len(), room))
        };
        let (length, held) = ask(200_000).await.expect("there is room");
        assert_eq!(length, 200_000);
        let second = held.clone();
        assert_eq!(ask(200_000).await.err(), Some(Refused::NoRoom));
        assert_eq!(ask(FREE_BYTES).await.expect("small").0, FREE_BYTES);
        drop(held);
        assert_eq!(ask(200_000).await.err(), Some(Refused::NoRoom), "a clone holds it");
        drop(second);
        assert!(ask(200_000).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_left_in_time() {
        let began = tokio::time::Instant::now();
        let slow = Slow(tokio::time::interval(Duration::from_millis(100)));
        let read = whole(Body::new(slow), 5_000, &room(0)).await;
        assert_eq!(read.expect_err("too long"), Refused::TooLong);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}
