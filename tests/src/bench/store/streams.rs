//! The three streams of the store's bench, as requests ready to be sent.
//!
//! - [`Form::Agents`]: each host's 500 series at one timestamp, hosts at phases of their own, one batch a request. Ours gets them as our
//!   agent sends them: remote write 2.0, zstd, the batch's identity, each host with its own token. Who does not know that gets the
//!   same batches as remote write 1.0 with snappy.
//! - [`Form::Sharded`]: the same rounds as Prometheus' remote write would send them: series spread over shards by a hash, each shard a
//!   connection, 2,000 samples a request whatever round they are of. Remote write 1.0 for everyone.
//! - [`Form::Scattered`]: as the second, but each sample at a random millisecond of its interval, independent of all others.
//!
//! In: hosts, a span of time. Out: requests in order, each for one lane (a connection); order matters within a lane alone.

use model::Timestamp;
use wire::body::{Codec, Packer};
use wire::identity::{BatchIdentity, BootId, Epoch, Losses, PayloadHash};
use wire::negotiate::{Message, request_headers};
use wire::v2::{Encoder, Token};

use crate::bench::stream::random_unit;
use crate::bench::stream::{Hosts, PER_HOST};

/// Connections of a sender.
pub const LANES: usize = 4;
/// Samples in one request (Prometheus' `max_samples_per_send` since 2.50).
pub const SAMPLES_PER_REQUEST: usize = 2_000;
/// The agent's own level (agent/src/spool.rs).
const ZSTD_LEVEL: i32 = 1;

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A batch a host; remote write 2.0 with identity if so.
    Agents {
        /// As our agent sends it; else as remote write 1.0.
        ours: bool,
    },
    /// As Prometheus' remote write.
    Sharded,
    /// As that, at independent random times.
    Scattered,
}

/// When which samples are taken.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first round's beginning, in milliseconds.
    pub start_ms: i64,
    /// From round to round.
    pub interval_ms: i64,
    /// How many.
    pub rounds: usize,
}

/// One request.
pub struct Request {
    /// The connection it goes over.
    pub lane: usize,
    /// The host that sends it, where that is somebody.
    pub host: Option<usize>,
    /// Header pairs.
    pub headers: Vec<(&'static str, String)>,
    /// The body as sent.
    pub body: Vec<u8>,
    /// Samples in it.
    pub samples: usize,
}

/// Makes all requests of a span, round by round; stops where `take` does not want more.
pub fn generate(form: Form, hosts: &mut Hosts, span: Span, seed: u64, mut take: impl FnMut(Request) -> bool) {
    match form {
        Form::Agents { ours: true } => batches(hosts, span, &mut take),
        Form::Agents { ours: false } => plain_batches(hosts, span, &mut take),
        Form::Sharded | Form::Scattered => sharded(hosts, span, form == Form::Scattered, seed, &mut take),
    }
}

/// Host `host` of `count` takes its round at this time.
fn moment(span: Span, round: usize, host: usize, count: usize) -> i64 {
    // An odd number of milliseconds, so that hosts do not meet.
    let phase = span.interval_ms * host as i64 / count as i64 + (host as i64 * 37) % 11;
    span.start_ms + round as i64 * span.interval_ms + phase.min(span.interval_ms - 1)
}

fn series_of(host: usize, hosts: &Hosts) -> std::ops::Range<usize> {
    host * PER_HOST..((host + 1) * PER_HOST).min(hosts.len())
}

fn headers(message: Message, codec: Codec) -> Vec<(&'static str, String)> {
    request_headers(message, codec).map(|(name, value)| (name, value.to_owned())).into()
}

fn batches(hosts: &mut Hosts, span: Span, take: &mut impl FnMut(Request) -> bool) {
    let count = hosts.len().div_ceil(PER_HOST);
    let mut senders: Vec<(Encoder, Vec<Token>)> = (0..count)
        .map(|host| {
            let mut encoder = Encoder::new();
            let tokens = series_of(host, hosts).map(|at| encoder.register(hosts.labels(at), None)).collect();
            (encoder, tokens)
        })
        .collect();
    let mut packer = Packer::new(ZSTD_LEVEL);
    for round in 0..span.rounds {
        hosts.advance();
        for (host, (encoder, tokens)) in senders.iter_mut().enumerate() {
            let at = Timestamp::from_millis(moment(span, round, host, count));
            encoder.begin();
            for (token, series) in tokens.iter().zip(series_of(host, hosts)) {
                encoder.sample(*token, at, hosts.value(series));
            }
            let mut payload = Vec::new();
            encoder.finish(&mut payload);
            let mut body = Vec::new();
            packer.pack(Codec::Zstd, &payload, &mut body).expect("a batch can be packed");
            let epoch = Epoch::from_u128(0xbe9c_0000 + host as u128);
            let identity = BatchIdentity {
                epoch,
                sequence: round as u64 + 1,
                boot: BootId::from_u128(host as u128 + 1),
                payload_hash: PayloadHash::of(epoch, &payload),
                from: Timestamp::from_millis(at.as_millis() - span.interval_ms + 1),
                to: at,
                samples: tokens.len() as u64,
                stamped_late: false,
                losses: Losses::none(),
            };
            let mut headers = headers(Message::V2, Codec::Zstd);
            headers.extend(identity.to_headers(crate::writer::now()));
            let request =
                Request { lane: host % LANES, host: Some(host), headers, body, samples: tokens.len() };
            if !take(request) {
                return;
            }
        }
    }
}

/// A series' labels as remote write 1.0 encodes them, behind which its samples are put.
struct Encoded(Vec<Box<[u8]>>);

impl Encoded {
    fn new(hosts: &Hosts) -> Self {
        let mut writer = wire::v1::Writer::default();
        let label_bytes = |at| {
            writer.series(hosts.labels(at), []);
            let series = writer.finish();
            // Its tag and its length go before it.
            let (length, width) = varint(&series[1..]);
            assert_eq!(length as usize, series.len() - 1 - width, "one series was written");
            series[1 + width..].into()
        };
        Self((0..hosts.len()).map(label_bytes).collect())
    }

    fn put(&self, at: usize, time_ms: i64, value: f64, payload: &mut Vec<u8>) {
        let labels = &self.0[at];
        let time = time_ms as u64;
        let sample = 9 + 1 + varint_len(time);
        let length = labels.len() + 1 + varint_len(sample as u64) + sample;
        payload.push(0x0a); // WriteRequest.timeseries
        push_varint(payload, length as u64);
        payload.extend_from_slice(labels);
        payload.push(0x12); // TimeSeries.samples
        push_varint(payload, sample as u64);
        payload.push(0x09); // Sample.value
        payload.extend_from_slice(&value.to_bits().to_le_bytes());
        payload.push(0x10); // Sample.timestamp
        push_varint(payload, time);
    }
}

fn varint(bytes: &[u8]) -> (u64, usize) {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return (value, at + 1);
        }
    }
    panic!("a varint ends");
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Requests of remote write 1.0 out of payloads.
struct Plain {
    packer: Packer,
    headers: Vec<(&'static str, String)>,
}

impl Plain {
    fn new() -> Self {
        Self { packer: Packer::new(1), headers: headers(Message::V1, Codec::Snappy) }
    }

    fn request(&mut self, lane: usize, payload: &[u8], samples: usize) -> Request {
        let mut body = Vec::new();
        self.packer.pack(Codec::Snappy, payload, &mut body).expect("a request can be packed");
        Request { lane, host: None, headers: self.headers.clone(), body, samples }
    }
}

fn plain_batches(hosts: &mut Hosts, span: Span, take: &mut impl FnMut(Request) -> bool) {
    let (count, encoded, mut plain) = (hosts.len().div_ceil(PER_HOST), Encoded::new(hosts), Plain::new());
    let mut payload = Vec::new();
    for round in 0..span.rounds {
        hosts.advance();
        for host in 0..count {
            payload.clear();
            let at = moment(span, round, host, count);
            let series = series_of(host, hosts);
            let samples = series.len();
            series.for_each(|series| encoded.put(series, at, hosts.value(series), &mut payload));
            if !take(plain.request(host % LANES, &payload, samples)) {
                return;
            }
        }
    }
}

/// A shard's queue.
#[derive(Default)]
struct Shard {
    payload: Vec<u8>,
    samples: usize,
}

fn sharded(hosts: &mut Hosts, span: Span, scatter: bool, seed: u64, take: &mut impl FnMut(Request) -> bool) {
    let (count, encoded, mut plain) = (hosts.len().div_ceil(PER_HOST), Encoded::new(hosts), Plain::new());
    let mut shards: [Shard; LANES] = Default::default();
    let mut random = seed ^ 0x5eed;
    let lane_of: Vec<u8> =
        (0..hosts.len()).map(|at| ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as u8).collect();
    let mut send = |lane: usize, shard: &mut Shard| {
        let wanted = take(plain.request(lane, &shard.payload, shard.samples));
        shard.payload.clear();
        shard.samples = 0;
        wanted
    };
    for round in 0..span.rounds {
        hosts.advance();
        for host in 0..count {
            let together = moment(span, round, host, count);
            for series in series_of(host, hosts) {
                let at = if scatter {
                    let within = (random_unit(&mut random) * span.interval_ms as f64) as i64;
                    span.start_ms + round as i64 * span.interval_ms + within
                } else {
                    together
                };
                let lane = usize::from(lane_of[series]);
                let shard = &mut shards[lane];
                encoded.put(series, at, hosts.value(series), &mut shard.payload);
                shard.samples += 1;
                if shard.samples == SAMPLES_PER_REQUEST && !send(lane, shard) {
                    return;
                }
            }
        }
    }
    for (lane, shard) in shards.iter_mut().enumerate().filter(|(_, shard)| shard.samples > 0) {
        if !send(lane, shard) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::body::Unpacker;

    use super::*;

    const SPAN: Span = Span { start_ms: 1_700_000_000_000, interval_ms: 15_000, rounds: 9 };

    /// All samples of a stream, by what they say.
    fn samples(form: Form) -> Vec<(String, i64, u64)> {
        let mut all = Vec::new();
        generate(form, &mut Hosts::new(1_300, 5), SPAN, 5, |request| {
            let mut payload = Vec::new();
            let codec = if matches!(form, Form::Agents { ours: true }) { Codec::Zstd } else { Codec::Snappy };
            Unpacker::new().unpack(codec, &request.body, 1 << 20, &mut payload).expect("a good body");
            let before = all.len();
            if codec == Codec::Zstd {
                let parsed = wire::v2::Request::parse(&payload).expect("a good request");
                for series in parsed.series() {
                    let series = series.expect("a good series");
                    let labels: Vec<_> = series.labels(&parsed).map(|pair| pair.expect("a label")).collect();
                    all.extend(series.samples().map(|sample| {
                        let (at, value) = sample.expect("a sample");
                        (format!("{labels:?}"), at.as_millis(), value.to_bits())
                    }));
                }
            } else {
                for entry in wire::v1::WriteRequest::new(&payload) {
                    let wire::v1::Entry::Series(series) = entry.expect("a good entry") else {
                        panic!("a series")
                    };
                    let labels: Vec<_> = series.labels().map(|pair| pair.expect("a label")).collect();
                    all.extend(series.samples().map(|sample| {
                        let (at, value) = sample.expect("a sample");
                        (format!("{labels:?}"), at.as_millis(), value.to_bits())
                    }));
                }
            }
            assert_eq!(all.len() - before, request.samples);
            true
        });
        all.sort();
        all
    }

    #[test]
    fn streams_hold_the_same_samples_in_other_forms() {
        let agents = samples(Form::Agents { ours: true });
        assert_eq!(agents.len(), 1_300 * 9);
        assert_eq!(agents, samples(Form::Agents { ours: false }));
        assert_eq!(agents, samples(Form::Sharded));
        let scattered = samples(Form::Scattered);
        let values = |all: &[(String, i64, u64)]| {
            let mut values: Vec<_> = all
                .iter()
                .map(|(labels, at, value)| (labels.clone(), at / 15_000 - SPAN.start_ms / 15_000, *value))
                .collect();
            values.sort();
            values.iter().map(|(labels, _, value)| (labels.clone(), *value)).collect::<Vec<_>>()
        };
        assert_eq!(values(&agents).len(), values(&scattered).len());
        let times = |all: &[(String, i64, u64)]| {
            all.iter().map(|(_, at, _)| *at).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(times(&agents), 3 * 9, "a time for each host and round");
        assert!(times(&scattered) > 1_000, "times of their own");
    }
}
