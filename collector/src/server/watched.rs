//! Watches a connection for what hyper has no clock for: a head that comes byte by byte, and a peer that does not read its answer.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Config;

/// How exactly the clocks are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between requests; hyper's own clock runs.
const IDLE: u8 = 0;
/// Bytes of a head have come.
const HEAD: u8 = 1;
/// A request is being answered.
const BUSY: u8 = 2;

/// What a connection is doing, and since when; times are milliseconds since it began, plus one, so that 0 means "not now".
pub(super) struct Watch {
    began: Instant,
    state: AtomicU8,
    head_since: AtomicU64,
    write_since: AtomicU64,
    head_timeout: Duration,
    stall_timeout: Duration,
    look_every: Duration,
}

impl Watch {
    pub(super) fn new(config: &Config) -> Self {
        let (head_timeout, stall_timeout) = (config.head_timeout.get(), config.stall_timeout.get());
        let look_every =
            LOOK_EVERY.min(head_timeout / 2).min(stall_timeout / 2).max(Duration::from_millis(5));
        Self {
            began: Instant::now(),
            state: AtomicU8::new(IDLE),
            head_since: AtomicU64::new(0),
            write_since: AtomicU64::new(0),
            head_timeout,
            stall_timeout,
            look_every,
        }
    }

    fn clock(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// A request has come to the service.
    pub(super) fn head_is_read(&self) {
        self.state.store(BUSY, Ordering::Relaxed);
    }

    /// The answer is on its way: what is read from now on belongs to the next request.
    pub(super) fn answer_begins(&self) {
        self.state.store(IDLE, Ordering::Relaxed);
    }

    fn read_some(&self) {
        if self.state.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.head_since.store(self.clock(), Ordering::Relaxed);
        }
    }

    fn write_stands_still(&self) {
        let _ = self.write_since.compare_exchange(0, self.clock(), Ordering::Relaxed, Ordering::Relaxed);
    }

    fn wrote_some(&self) {
        self.write_since.store(0, Ordering::Relaxed);
    }

    fn reason(&self) -> Option<&'static str> {
        let over =
            |since: u64, limit: Duration| self.clock().saturating_sub(since) > limit.as_millis() as u64;
        let head = self.state.load(Ordering::Relaxed) == HEAD;
        if head && over(self.head_since.load(Ordering::Relaxed), self.head_timeout) {
            return Some("slow_head");
        }
        let write = self.write_since.load(Ordering::Relaxed);
        (write != 0 && over(write, self.stall_timeout)).then_some("slow_reader")
    }

    /// Comes back with a word for counters once the connection is too slow.
    pub(super) async fn expired(&self) -> &'static str {
        loop {
            tokio::time::sleep(self.look_every).await;
            if let Some(reason) = self.reason() {
                return reason;
            }
        }
    }
}

/// The stream, with its reads and writes noted.
pub(super) struct Watched<S> {
    stream: S,
    watch: std::sync::Arc<Watch>,
    /// What goes out instead of what was to be written last, and how much of it has gone.
    instead: Option<(Vec<u8>, usize)>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, watch: std::sync::Arc<Watch>) -> Self {
        Self { stream, watch, instead: None }
    }

    fn note<T>(&self, wrote: &Poll<io::Result<T>>) {
        if wrote.is_pending() {
            self.watch.write_stands_still();
        } else {
            self.watch.wrote_some();
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Writes what stands instead of `length` bytes, which count as written once all of it has gone. `None` where nothing does.
    fn write_instead(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        length: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        if self.instead.is_none() {
            self.instead = super::plain::instead_of(bytes).map(|text| (text, 0));
        }
        let (text, gone) = self.instead.as_mut()?;
        while *gone < text.len() {
            match Pin::new(&mut self.stream).poll_write(context, &text[*gone..]) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(wrote)) => *gone += wrote,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        self.instead = None;
        Some(Poll::Ready(Ok(length)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.read_some();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = match self.write_instead(context, bytes, bytes.len()) {
            Some(wrote) => wrote,
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        };
        self.note(&wrote);
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.note(&flushed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An answer without a body is one slice.
        let first = if slices.len() == 1 { &*slices[0] } else { &[] };
        let wrote = match self.write_instead(context, first, first.len()) {
            Some(wrote) => wrote,
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        };
        self.note(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
