//! Sends a stream to a server and says what that cost it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::servers::Server;
use super::streams::{Form, LANES, Request, Span, generate};
use crate::bench::stream::Hosts;
use crate::http::Http;

/// Requests that wait for each connection: making them is not what is measured.
const QUEUE: usize = 16;

/// What a server did with a stream.
#[derive(Clone, Copy, Debug)]
pub struct Fed {
    /// Samples sent.
    pub samples: u64,
    /// CPU of the server while it was sent and until it had nothing left to do.
    pub cpu: Duration,
    /// How long sending took.
    pub wall: Duration,
    /// Largest resident memory so far.
    pub rss_peak: u64,
    /// Resident memory when nothing was left to do.
    pub rss_settled: u64,
}

impl Fed {
    /// Samples for each second of CPU.
    pub fn per_cpu_second(&self) -> f64 {
        self.samples as f64 / self.cpu.as_secs_f64()
    }

    /// Nanoseconds of CPU for each sample.
    pub fn nanos_per_sample(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.samples as f64
    }
}

/// Sends without waiting for anything else; the number of samples.
pub fn send(server: &Server, form: Form, hosts: &mut Hosts, span: Span, seed: u64) -> Result<u64> {
    let failed = AtomicBool::new(false);
    let mut samples = 0;
    std::thread::scope(|scope| {
        let mut lanes = Vec::new();
        let mut workers = Vec::new();
        for _ in 0..LANES {
            let (lane, requests) = sync_channel(QUEUE);
            lanes.push(lane);
            let failed = &failed;
            workers.push(scope.spawn(move || {
                let done = deliver(server, &requests);
                failed.fetch_or(done.is_err(), Ordering::Relaxed);
                done
            }));
        }
        generate(form, hosts, span, seed, |request| {
            samples += request.samples as u64;
            lanes[request.lane].send(request).is_ok() && !failed.load(Ordering::Relaxed)
        });
        drop(lanes);
        workers.into_iter().try_for_each(|worker| worker.join().expect("a sender does not panic"))
    })?;
    Ok(samples)
}

/// Sends and waits until the server has nothing left to do.
pub fn feed(server: &mut Server, form: Form, hosts: &mut Hosts, span: Span, seed: u64) -> Result<Fed> {
    let (before, began) = (server.usage()?.cpu, Instant::now());
    let samples = send(server, form, hosts, span, seed)?;
    let wall = began.elapsed();
    server.settle()?;
    let after = server.usage()?;
    let fed = Fed {
        samples,
        cpu: after.cpu - before,
        wall,
        rss_peak: after.rss_bytes_peak,
        rss_settled: after.rss_bytes,
    };
    eprintln!(
        "  {:<17} {:>11} samples, {:>7.2} CPU s, {:>6.1} s wall, {:>9.0} samples per CPU s, RSS peak {:>5} MiB, settled {:>5} MiB",
        server.kind.name(),
        fed.samples,
        fed.cpu.as_secs_f64(),
        fed.wall.as_secs_f64(),
        fed.per_cpu_second(),
        fed.rss_peak >> 20,
        fed.rss_settled >> 20,
    );
    Ok(fed)
}

/// One connection: a request at a time, sent again where the server is busy.
fn deliver(server: &Server, requests: &Receiver<Request>) -> Result<()> {
    let (http, url) = (Http::default(), server.write_url());
    for request in requests {
        let bearer =
            request.host.and_then(|host| server.tokens.get(host)).map(|token| format!("Bearer {token}"));
        let mut headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (*name, &**value)).collect();
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        deliver_one(&http, &url, &headers, &request.body).with_context(|| server.kind.name())?;
    }
    Ok(())
}

fn deliver_one(http: &Http, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
    let began = Instant::now();
    loop {
        let answer = http.post(url, headers, body.to_vec())?;
        match answer.status {
            200..=299 => return Ok(()),
            429 | 503 if began.elapsed() < Duration::from_secs(60) => {
                std::thread::sleep(Duration::from_millis(20))
            }
            status => bail!("answers {status} {}", answer.body),
        }
    }
}
