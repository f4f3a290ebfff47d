//! The listener: connections in, requests to the router, everything bounded in number, size and time.
//!
//! In: a bound socket, perhaps TLS, a router. Out: answers. Each request bears its [`Peer`](crate::auth::Peer); each answer bears
//! `Pantau-Time`, by which agents measure their clocks.
//!
//! Bounds: connections in all and per address; a TLS handshake and a request's head must each be done within
//! [`Config::head_timeout`]; a body must be done within [`Config::body_timeout`] and never stand still for longer than
//! [`Config::stall_timeout`], nor may a reader of an answer; a connection without requests is closed after
//! [`Config::idle_timeout`]. A head holds at most [`HEADERS_MAX`] headers and [`HEAD_BYTES_MAX`] bytes. HTTP/1.1 only.

mod body;
mod plain;
mod watched;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use settings::Span;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::auth::Peer;
use crate::metrics::Metrics;
use crate::settings::Within;
use crate::state::now;

pub use body::BodyTooSlow;
use body::Timed;
use watched::{Watch, Watched};

/// Headers of one request.
pub const HEADERS_MAX: usize = 64;
/// Bytes of one request's head: a query in the address may be long.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 47\r\n\r\n\
                      too many connections: close some, or try later\n";

/// Bounds on connections and times.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Connections at one time; 4,096 by default.
    pub connections_max: Within<1, 1_000_000>,
    /// Connections of one address at one time; 512 by default (many agents may come through one gateway).
    pub connections_per_address_max: Within<1, 1_000_000>,
    /// From a request's first byte to the end of its head; 10 s by default.
    pub head_timeout: Span,
    /// From a request's head to the end of its body; 60 s by default.
    pub body_timeout: Span,
    /// For which a body, or the reader of an answer, may stand still; 15 s by default.
    pub stall_timeout: Span,
    /// Between two requests; 2 min by default.
    pub idle_timeout: Span,
    /// For which open requests may go on after SIGTERM; 10 s by default.
    pub shutdown_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connections_max: Within::new(4096),
            connections_per_address_max: Within::new(512),
            head_timeout: Span::from_secs(10),
            body_timeout: Span::from_secs(60),
            stall_timeout: Span::from_secs(15),
            idle_timeout: Span::from_secs(120),
            shutdown_timeout: Span::from_secs(10),
        }
    }
}

/// What serves connections.
pub struct Server {
    /// Answers requests.
    pub router: Router,
    /// TLS on network connections.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Bounds.
    pub config: Config,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
}

/// Connections of each address.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, u64>>);

/// A place among the connections, given back when dropped.
struct Seat {
    addresses: Arc<Addresses>,
    address: Option<IpAddr>,
    metrics: Arc<Metrics>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.metrics.connections.dec();
        let Some(address) = self.address else { return };
        let mut counts = self.addresses.0.lock().expect("nothing panics while it holds this lock");
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

impl Addresses {
    fn seat(self: &Arc<Self>, address: Option<IpAddr>, max: u64, metrics: &Arc<Metrics>) -> Option<Seat> {
        if let Some(address) = address {
            let mut counts = self.0.lock().expect("nothing panics while it holds this lock");
            let count = counts.entry(address).or_default();
            if *count >= max {
                return None;
            }
            *count += 1;
        }
        metrics.connections.inc();
        Some(Seat { addresses: Arc::clone(self), address, metrics: Arc::clone(metrics) })
    }
}

impl Server {
    /// Serves a network listener, and the local socket if there is one, until `stop` turns true; then lets open requests end.
    pub async fn serve(
        self,
        listener: TcpListener,
        local: Option<UnixListener>,
        mut stop: watch::Receiver<bool>,
    ) {
        let server = Arc::new(self);
        let addresses = Arc::new(Addresses::default());
        let mut connections = JoinSet::new();
        let signal = stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => log_panic(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => server.take(stream, address, &addresses, &mut connections, &signal).await,
                    Err(error) => pause_after(&error).await,
                },
                accepted = accept_local(local.as_ref()) => match accepted {
                    Ok(stream) => {
                        let seat = addresses.seat(None, u64::MAX, &server.metrics);
                        let (server, stop) = (Arc::clone(&server), signal.clone());
                        connections.spawn(async move {
                            server.converse(stream, Peer::Local, stop).await;
                            drop(seat);
                        });
                    }
                    Err(error) => pause_after(&error).await,
                },
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(server.config.shutdown_timeout.get(), ended).await.is_err() {
            tracing::warn!("some requests were cut off by the shutdown");
        }
    }

    async fn take(
        self: &Arc<Self>,
        mut stream: TcpStream,
        address: SocketAddr,
        addresses: &Arc<Addresses>,
        connections: &mut JoinSet<()>,
        stop: &watch::Receiver<bool>,
    ) {
        self.metrics.connections_accepted.inc();
        let per_address = self.config.connections_per_address_max.get();
        let seat = if connections.len() < self.config.connections_max.as_usize() {
            addresses.seat(Some(address.ip()), per_address, &self.metrics)
        } else {
            None
        };
        let Some(seat) = seat else {
            self.metrics.connections_dropped.with_label_values(&["too_many"]).inc();
            tracing::debug!("too many connections: {address} is sent away");
            if self.tls.is_none() {
                // Into the socket's empty buffer or not at all: nobody waits for it.
                drop(stream.try_write(BUSY));
                drop(stream.shutdown().await);
            }
            return;
        };
        drop(stream.set_nodelay(true)); // an answer is one write; where this is refused it is only slower
        let (server, stop) = (Arc::clone(self), stop.clone());
        connections.spawn(async move {
            server.greet(stream, address, stop).await;
            drop(seat);
        });
    }

    /// The TLS handshake, if any, then the conversation.
    async fn greet(&self, stream: TcpStream, address: SocketAddr, stop: watch::Receiver<bool>) {
        let peer = Peer::Network(address);
        let Some(tls) = &self.tls else { return self.converse(stream, peer, stop).await };
        // One clock for both: who says nothing is not asked twice.
        let until = tokio::time::Instant::now() + self.config.head_timeout.get();
        let mut first = [0];
        let peeked = tokio::time::timeout_at(until, stream.peek(&mut first)).await;
        if matches!(peeked, Ok(Ok(1))) && plain::is_method(first[0]) {
            self.metrics.connections_dropped.with_label_values(&["tls"]).inc();
            return self.refuse_plain(stream).await;
        }
        let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
        match tokio::time::timeout_at(until, handshake).await {
            Ok(Ok(stream)) => self.converse(stream, peer, stop).await,
            Ok(Err(error)) => {
                self.metrics.connections_dropped.with_label_values(&["tls"]).inc();
                tracing::debug!("cannot agree on TLS with {address}: {error}");
            }
            Err(_) => self.metrics.connections_dropped.with_label_values(&["slow_tls"]).inc(),
        }
    }

    /// Tells somebody who speaks HTTP without TLS; what they sent is read, so that the answer is not lost to a reset.
    async fn refuse_plain(&self, mut stream: TcpStream) {
        // Into the socket's empty buffer or not at all: nobody waits for it.
        drop(stream.try_write(&plain::speak_tls()));
        drop(stream.try_read(&mut [0; 4096]));
        drop(stream.shutdown().await);
    }

    async fn converse<S>(&self, stream: S, peer: Peer, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let watch = Arc::new(Watch::new(&self.config));
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch)));
        let service = hyper::service::service_fn(|request| self.answer(request, peer, Arc::clone(&watch)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.idle_timeout.get())
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!("a connection of {peer:?} ended: {error}");
                    }
                    return;
                }
                () = stopped(&mut stop), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                reason = watch.expired() => {
                    self.metrics.connections_dropped.with_label_values(&[reason]).inc();
                    return;
                }
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        watch: Arc<Watch>,
    ) -> Result<Response<Body>, Infallible> {
        watch.head_is_read();
        let timed = |body| {
            Body::new(Timed::new(body, self.config.body_timeout.get(), self.config.stall_timeout.get()))
        };
        let mut request = request.map(timed);
        request.extensions_mut().insert(peer);
        let mut response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let time = HeaderValue::from(now().as_millis());
        response.headers_mut().insert(wire::identity::COLLECTOR_TIME, time);
        watch.answer_begins();
        Ok(response)
    }
}

/// Comes back when the end is asked for, or nobody is left who could.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn accept_local(listener: Option<&UnixListener>) -> std::io::Result<tokio::net::UnixStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// A connection that is gone before it is taken is nothing; no file handles left is: others must end first.
async fn pause_after(error: &std::io::Error) {
    if error.kind() != std::io::ErrorKind::ConnectionAborted {
        tracing::warn!("cannot take a connection: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a request met a mistake of ours: {error}");
    }
}

#[cfg(test)]
mod tests;
