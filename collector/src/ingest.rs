//! The way into the store: requests of remote write, from strangers, from our agents, and from the embedded one.
//!
//! In: who sends ([`Origin`]), which message, the unpacked payload, perhaps a batch's identity. Out: one write to the store, whose
//! answer is the request's; what was refused, with reasons and examples; and for our agents an entry of the ledger in the same
//! journal record. The part that is good is stored, whatever else the request holds, and the answer says so.
//!
//! Hot path: a series that its sender sent before is known by a keyed 128-bit hash of its labels as they were encoded, and is
//! neither parsed nor looked up by its labels (`cache.rs`).
//!
//! Deliberately not here: HTTP (`http.rs` beside it knows it), durability (the store's), what is missing (the ledger's).
//!
//! Limits: [`Config`], and of one request [`SAMPLES_MAX`] samples and as many native histograms of [`HISTOGRAM_BYTES_MAX`] each,
//! [`NEW_SERIES_MAX`] series that its sender did not send before, [`EXEMPLARS_MAX`] exemplars and [`METADATA_MAX`] descriptions
//! (further ones of these two are passed over: the latter come again). A limit on series refuses new ones and names who sent
//! them (`newcomer.rs`, `offenders.rs`); old ones go on, and no other sender notices. Bodies are unpacked by as many at a time
//! as there are processors and one more, so that bombs cost at most that many times [`Config::unpacked_max`]; what all senders
//! share is handed out by sender (`turns.rs`), so that one with many large bodies holds up nobody else.

mod cache;
mod decode;
pub mod http;
mod newcomer;
mod offenders;
mod refusals;
mod roll;
mod turns;
mod validate;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use journal::disk::RealDisk;
use model::{Labels, Timestamp};
use serde::Deserialize;
use settings::{Bytes, Span};
use telemetry::summary::{Say, Summary};
use tokio::sync::oneshot;
use tsdb::{Conflict, Store, WriteBatch, WriteError, Written};
use wire::WireError;
use wire::identity::Envelope;
use wire::negotiate::Message;

use crate::ledger::{Admission, Entry, Ledger, Ticket};
use crate::metrics::Metrics;
use crate::settings::{Checked, Within};

use cache::Cache;
pub use cache::{Origin, Stamp};
use decode::Decoded;
use offenders::Offenders;
pub use refusals::{Offence, Reason, Refusals};
use roll::Roll;
use turns::{Turn, Turns};

/// Samples of one request.
pub const SAMPLES_MAX: usize = 1_000_000;
/// Series of one request that the sender did not send before.
pub const NEW_SERIES_MAX: usize = 200_000;
/// Bytes of one native histogram: several thousand buckets.
pub const HISTOGRAM_BYTES_MAX: usize = 64 << 10;
/// Exemplars that are taken from one request.
pub const EXEMPLARS_MAX: usize = 10_000;
/// Descriptions of metrics that are taken from one request.
pub const METADATA_MAX: usize = 10_000;

/// Times that a request is read again because the store forgot series meanwhile.
const ATTEMPTS: usize = 3;

/// A fault that goes on is said again this often.
const SAY_EVERY: Duration = Duration::from_secs(600);

/// Bounds on what is taken in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The largest body as received; 16 MiB by default.
    pub body_max: Bytes,
    /// The largest body unpacked; 64 MiB by default.
    pub unpacked_max: Bytes,
    /// Bodies in memory at one time, as received; past it, or past a quarter of it by one sender, senders are told to come back.
    /// 128 MiB by default.
    pub bodies_max: Bytes,
    /// How old a sample may be; 8 days by default: agents keep what they could not send for 7 days.
    pub accepted_age: Span,
    /// How far ahead of the collector's clock a sample may be; 10 min by default.
    pub accepted_ahead: Span,
    /// Active series of one sender; past it new ones are refused and old ones go on. 100,000 by default.
    pub series_per_sender_max: Within<1, 100_000_000>,
    /// New series that one sender may bring within a minute; 50,000 by default.
    pub new_series_per_minute_max: Within<1, 100_000_000>,
    /// Labels of one series; 64 by default.
    pub labels_max: Within<2, 1024>,
    /// Bytes of a label's name; 256 by default.
    pub label_name_bytes_max: Within<16, 65_536>,
    /// Bytes of a label's value; 4,096 by default.
    pub label_value_bytes_max: Within<16, 65_536>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_max: Bytes::new(16 << 20),
            unpacked_max: Bytes::new(64 << 20),
            bodies_max: Bytes::new(128 << 20),
            accepted_age: Span::from_secs(8 * 86_400),
            accepted_ahead: Span::from_secs(600),
            series_per_sender_max: Within::new(100_000),
            new_series_per_minute_max: Within::new(50_000),
            labels_max: Within::new(64),
            label_name_bytes_max: Within::new(256),
            label_value_bytes_max: Within::new(4096),
        }
    }
}

/// See the module's text.
pub struct Ingest {
    store: OnceLock<Arc<Store>>,
    config: ArcSwap<Config>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    caches: RwLock<HashMap<Arc<str>, Arc<Cache>>>,
    roll: Mutex<Roll>,
    offenders: Offenders,
    /// Room for bodies, and who may unpack and read at one time: unpacked bodies are in memory only so long.
    turns: Arc<Turns>,
    began: Instant,
    faults: Mutex<Faults>,
}

/// What a person should hear of, said once and then summarised.
struct Faults {
    store: Summary,
    conflict: Summary,
    values: Summary,
}

/// A sender and how many active series it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderSeries {
    /// Its name.
    pub sender: String,
    /// Where its series belong.
    pub region: Option<String>,
    /// And their site.
    pub site: Option<String>,
    /// Its active series.
    pub series: usize,
}

/// One request, unpacked.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who sends it.
    pub origin: &'a Origin,
    /// What the payload is.
    pub message: Message,
    /// The unpacked body.
    pub payload: &'a [u8],
    /// Number and facts of the batch, from an agent of ours.
    pub envelope: Option<&'a Envelope>,
    /// When its head was received.
    pub received_at: Timestamp,
}

/// What became of a request.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Samples in the store now because of it: new ones, and those that were there already.
    pub samples: u64,
    /// What was not stored.
    pub refusals: Refusals,
    /// Native histograms that are in the store now because of it.
    pub histograms: u64,
    /// Exemplars that were taken.
    pub exemplars: u64,
    /// Exemplars that were left out, for a bound or because their series is not there: no error of the request.
    pub exemplars_left_out: u64,
    /// Whether the batch had been applied before.
    pub repeated: bool,
    /// Samples whose series has another value at their time; counted among `samples`, for a sample is there.
    pub conflicts: u64,
    /// The first of these, in words.
    pub conflict: Option<String>,
}

/// Why nothing of a request was stored.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The store is still replaying.
    #[error("not ready: the store is replaying its journal")]
    NotReady,
    /// The payload cannot be read.
    #[error("nothing was stored: {0}")]
    Malformed(#[from] WireError),
    /// The payload is not the one that its identity was sealed with.
    #[error(
        "nothing was stored: the payload does not match the hash in the batch's identity: it was changed on the way"
    )]
    HashMismatch,
    /// Another payload came under this batch's number.
    #[error(
        "nothing was stored: another batch has come from {agent:?} under number {sequence} of the same spool: two machines share one \
         spool. Was this machine cloned? Enrol the copy under its own name and remove its spool folder"
    )]
    Conflict {
        /// The agent.
        agent: String,
        /// The number.
        sequence: u64,
    },
    /// The store does not take it.
    #[error("nothing was stored: {0}")]
    Store(#[from] WriteError),
}

/// A request that is on its way to the disk.
struct Pending {
    answer: oneshot::Receiver<Result<Written, WriteError>>,
    outcome: Outcome,
}

type PreparedOrNot = Result<Prepared, IngestError>;

/// How the work of a request that needs the CPU is done; it may have to be done again.
enum Work<'a> {
    /// Here and now.
    Here(&'a (dyn Fn() -> PreparedOrNot + Sync)),
    /// On a thread that may be busy for long.
    Apart(Arc<dyn Fn() -> PreparedOrNot + Send + Sync>),
}

impl Work<'_> {
    /// Does it within a turn, which work that is apart keeps to its end, also where nobody waits for it any more.
    async fn run(&self, turn: Turn) -> (Turn, PreparedOrNot) {
        match self {
            Self::Here(work) => (turn, work()),
            Self::Apart(work) => {
                let work = Arc::clone(work);
                let joined = tokio::task::spawn_blocking(move || (turn, work())).await;
                joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
            }
        }
    }
}

impl Ingest {
    /// Takes nothing in until it has a store.
    pub fn new(settings: &Checked, ledger: Arc<Ledger>, metrics: Arc<Metrics>) -> Self {
        let config = settings.ingest.clone();
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            store: OnceLock::new(),
            turns: Turns::new(processors + 1, config.bodies_max.get()),
            config: ArcSwap::from_pointee(config),
            ledger,
            metrics,
            caches: RwLock::default(),
            roll: Mutex::new(Roll::new()),
            offenders: Offenders::default(),
            began: Instant::now(),
            faults: Mutex::new(Faults {
                store: Summary::new(SAY_EVERY),
                conflict: Summary::new(SAY_EVERY),
                values: Summary::new(SAY_EVERY),
            }),
        }
    }

    /// Opens the way in; only the first call counts.
    pub fn set_store(&self, store: Arc<Store>) {
        drop(self.store.set(store));
    }

    /// Takes over the bounds of reloaded settings, but for [`Config::bodies_max`], which needs a restart.
    pub fn reload(&self, config: &Config) {
        self.config.store(Arc::new(config.clone()));
    }

    /// Whether there is a store.
    pub fn is_ready(&self) -> bool {
        self.store.get().is_some()
    }

    /// Takes over what is known of senders' series from before the restart. Before the first request.
    pub fn open_roll(&self, data: &Path, now: Timestamp) {
        *self.roll.lock().expect("nothing panics while it holds this lock") =
            Roll::open(&RealDisk, data, now);
    }

    /// Writes down which series each sender has, for the next start. Blocks on the disk.
    ///
    /// # Errors
    /// As the disk answers: the limits on senders' series then begin at what was written before.
    pub fn write_roll(&self, now: Timestamp) -> std::io::Result<()> {
        let Some(store) = self.store.get() else { return Ok(()) };
        let caches = self.caches.read().expect("nothing panics while it holds this lock").clone();
        let mut senders = Vec::with_capacity(caches.len());
        for (name, cache) in caches {
            let (series, mut hashes) = {
                let known = cache.read();
                let (series, absent) = known.series();
                (series, absent.hashes(now))
            };
            let roll = self.roll.lock().expect("nothing panics while it holds this lock");
            let labels = series.into_iter().filter_map(|series| store.labels(series));
            hashes.extend(labels.map(|labels| roll.hash(labels.as_bytes())));
            senders.push((name.to_string(), hashes));
        }
        self.roll.lock().expect("nothing panics while it holds this lock").write(&RealDisk, &senders, now)
    }

    /// How many active series each sender has, most first.
    pub fn senders(&self) -> Vec<SenderSeries> {
        let caches = self.caches.read().expect("nothing panics while it holds this lock");
        let mut senders: Vec<_> = caches
            .iter()
            .map(|(name, cache)| SenderSeries {
                sender: name.to_string(),
                region: cache.stamp().region.clone(),
                site: cache.stamp().site.clone(),
                series: cache.read().series_count(),
            })
            .collect();
        senders.sort_unstable_by(|a, b| b.series.cmp(&a.series).then_with(|| a.sender.cmp(&b.sender)));
        senders
    }

    /// Who writes each of these series, or wrote it before a restart and is still expected to; what the store forgot (some hours after
    /// its last sample) nobody writes.
    pub fn writers(&self, series: &[Labels]) -> Vec<Vec<Arc<str>>> {
        let mut writers = vec![Vec::new(); series.len()];
        let Some(store) = self.store.get() else { return writers };
        let mut known = Vec::with_capacity(series.len());
        store.find_all(series.iter().map(Labels::as_bytes), &mut known);
        let caches = self.caches.read().expect("nothing panics while it holds this lock").clone();
        for (name, cache) in caches {
            let cached = cache.read();
            for ((labels, series), writers) in series.iter().zip(&known).zip(&mut writers) {
                let is_active = series.is_some_and(|series| cached.has_series(series));
                if is_active || cached.absent(labels.as_bytes()).is_some() {
                    writers.push(Arc::clone(&name));
                }
            }
        }
        let roll = self.roll.lock().expect("nothing panics while it holds this lock");
        for (labels, writers) in series.iter().zip(&mut writers) {
            writers.extend(roll.missed(labels.as_bytes()).map(Arc::from));
        }
        writers
    }

    /// Shows how many series each sender has, and how many it may have.
    pub fn observe(&self) {
        let limit = self.config.load().series_per_sender_max.get();
        self.metrics.ingest_series_max.set(i64::try_from(limit).unwrap_or(i64::MAX));
        self.metrics.ingest_series.reset();
        for sender in self.senders() {
            self.metrics.ingest_series.with_label_values(&[&sender.sender]).set(sender.series as i64);
        }
    }

    /// Room that a sender's bodies take.
    #[cfg(test)]
    pub(crate) fn room_taken(&self, sender: &str) -> u64 {
        self.turns.bodies(sender)
    }

    /// Stores a request; answers when what is good of it is on disk and readable.
    pub async fn write(&self, request: Request<'_>) -> Result<Outcome, IngestError> {
        self.write_with(request.origin, Work::Here(&|| self.prepare(request))).await
    }

    /// Does the work of a request, again where the store forgot series meanwhile, and counts what became of it.
    async fn write_with(&self, origin: &Origin, work: Work<'_>) -> Result<Outcome, IngestError> {
        let timer = self.metrics.ingest_seconds.start_timer();
        let mut attempt = 1;
        let result = loop {
            let turn = self.turns.turn(&origin.name).await;
            let decode_timer = self.metrics.ingest_decode_seconds.start_timer();
            let (turn, prepared) = work.run(turn).await;
            decode_timer.observe_duration();
            drop(turn);
            let result = match prepared {
                Ok(Prepared::Pending(pending)) => self.finish(pending).await,
                Ok(Prepared::Done(outcome)) => Ok(outcome),
                Err(error) => Err(error),
            };
            match result {
                Err(IngestError::Store(WriteError::UnknownSeries { .. })) if attempt < ATTEMPTS => {
                    self.cache(origin).is_stale();
                    attempt += 1;
                }
                result => break result,
            }
        };
        timer.observe_duration();
        self.count(origin, &result);
        result
    }

    /// The work of a request that needs the CPU and no disk.
    fn prepare(&self, request: Request<'_>) -> PreparedOrNot {
        let store = self.store.get().ok_or(IngestError::NotReady)?;
        let ticket = match request.envelope {
            None => None,
            Some(envelope) => match self.admit(&request, envelope)? {
                Some(ticket) => Some(ticket),
                None => {
                    let samples = envelope.identity.samples;
                    return Ok(Prepared::Done(Outcome { samples, repeated: true, ..Outcome::default() }));
                }
            },
        };
        let cache = self.cache(request.origin);
        cache.follow(store, request.received_at);
        let decoded = decode::decode(&request, store, &cache, &self.config.load())?;
        Ok(self.hand_over(store, &request, decoded, ticket))
    }

    /// Asks the ledger; `None` means that the batch is there already.
    fn admit(&self, request: &Request<'_>, envelope: &Envelope) -> Result<Option<Ticket>, IngestError> {
        let identity = &envelope.identity;
        if !identity.matches(request.payload) {
            return Err(IngestError::HashMismatch);
        }
        let agent = &*request.origin.name;
        match self.ledger.admit(agent, identity) {
            Admission::Write(ticket) => Ok(Some(ticket)),
            Admission::AlreadyApplied => Ok(None),
            Admission::Conflict => {
                Err(IngestError::Conflict { agent: agent.to_owned(), sequence: identity.sequence })
            }
        }
    }

    fn hand_over(
        &self,
        store: &Store,
        request: &Request<'_>,
        decoded: Decoded,
        ticket: Option<Ticket>,
    ) -> Prepared {
        let Decoded { samples, histograms, exemplars, metadata, refusals, exemplars_left_out } = decoded;
        let mut attachment = Vec::new();
        if let Some(envelope) = request.envelope {
            let entry = Entry {
                agent: request.origin.name.as_ref().to_owned(),
                received_at: request.received_at,
                sent_at: envelope.sent_at,
                refused: refusals.samples(),
                identity: envelope.identity.clone(),
            };
            entry.to_bytes(&mut attachment);
        }
        let outcome = Outcome {
            samples: samples.len() as u64,
            histograms: histograms.len() as u64,
            exemplars: exemplars.len() as u64,
            refusals,
            exemplars_left_out,
            ..Outcome::default()
        };
        let is_nothing = samples.is_empty() && histograms.is_empty() && exemplars.is_empty();
        if is_nothing && metadata.is_empty() && attachment.is_empty() {
            return Prepared::Done(outcome);
        }
        let batch = WriteBatch { samples, histograms, exemplars, metadata, attachment };
        let writing = self.turns.write(&request.origin.name, weight(&batch));
        let (tell, answer) = oneshot::channel();
        store.write(batch, move |written| {
            // They stand for what is on its way, whether or not anybody waits for it.
            drop((writing, ticket));
            // A sender that went away is told nothing; its samples are stored all the same.
            drop(tell.send(written));
        });
        Prepared::Pending(Pending { answer, outcome })
    }

    async fn finish(&self, pending: Pending) -> Result<Outcome, IngestError> {
        let Pending { answer, mut outcome } = pending;
        let written = answer.await.unwrap_or(Err(WriteError::Closed))?;
        if written.too_old > 0 {
            outcome.samples = outcome.samples.saturating_sub(written.too_old as u64);
            outcome.refusals.add_many(Reason::TooOld, written.too_old as u64, || {
                "the store keeps nothing as old as some samples of this request".into()
            });
        }
        self.metrics.ingest_samples.inc_by(written.stored as u64);
        self.metrics.ingest_duplicates.inc_by(written.duplicates as u64);
        self.metrics.ingest_conflicts.inc_by(written.conflicts as u64);
        outcome.conflicts = written.conflicts as u64;
        outcome.conflict = written.first_conflict.map(|conflict| self.describe(&conflict));
        Ok(outcome)
    }

    fn describe(&self, conflict: &Conflict) -> String {
        let Conflict { series, timestamp, kept, other } = conflict;
        // It has a sample, so it is known, but for a sweep in this very moment.
        let labels = self.store.get().and_then(|store| store.labels(*series)).unwrap_or_default();
        format!("{labels} at {timestamp}: {kept} stays, {other} does not")
    }

    /// Two senders say different things of one series: the rule keeps one value, a person should part the series.
    fn say_conflict(&self, origin: &Origin, outcome: &Outcome) {
        let Some(example) = &outcome.conflict else { return };
        let now = self.began.elapsed();
        let said = self.faults.lock().expect("nothing panics while it holds this lock").values.fault(now);
        let more = match said {
            Say::First => String::new(),
            Say::Again { times } => format!(" ({times} requests since it was last said)"),
            Say::Recovered { .. } | Say::Nothing => return,
        };
        tracing::warn!(
            "{} of {} samples of {:?} have another value in the store, such as {example}: do two senders write one series? Give \
             each a label of its own{more}",
            outcome.conflicts,
            outcome.samples,
            origin.name
        );
    }

    fn cache(&self, origin: &Origin) -> Arc<Cache> {
        let caches = self.caches.read().expect("nothing panics while it holds this lock");
        if let Some(cache) = caches.get(&origin.name).filter(|cache| cache.stamp() == &origin.stamp) {
            return Arc::clone(cache);
        }
        drop(caches);
        let mut caches = self.caches.write().expect("nothing panics while it holds this lock");
        let absent = self.roll.lock().expect("nothing panics while it holds this lock").take(&origin.name);
        let cache = Arc::new(Cache::new(origin.stamp.clone(), absent));
        caches.insert(Arc::clone(&origin.name), Arc::clone(&cache));
        cache
    }

    /// Says what needs a person: a store that does not write, a cloned machine.
    fn say(&self, result: &Result<Outcome, IngestError>) {
        let now = self.began.elapsed();
        let mut faults = self.faults.lock().expect("nothing panics while it holds this lock");
        let (said, error) = match result {
            Ok(outcome) if outcome.repeated || outcome.samples == 0 => return,
            Ok(_) => {
                if let Say::Recovered { after } = faults.store.well(now) {
                    tracing::info!("the store writes again, after {} s", after.as_secs());
                }
                return;
            }
            Err(error @ IngestError::Store(_)) => (faults.store.fault(now), error),
            Err(error @ IngestError::Conflict { .. }) => (faults.conflict.fault(now), error),
            Err(_) => return,
        };
        match said {
            Say::First => tracing::error!("{error}"),
            Say::Again { times } => tracing::error!("{error} ({times} times since it was last said)"),
            Say::Recovered { .. } | Say::Nothing => {}
        }
    }

    fn count(&self, origin: &Origin, result: &Result<Outcome, IngestError>) {
        self.say(result);
        let outcome = match result {
            Ok(outcome) if outcome.repeated => {
                self.metrics.ledger_repeats.inc();
                "repeated"
            }
            Ok(outcome) if outcome.refusals.is_empty() => "stored",
            Ok(_) => "stored_in_part",
            Err(IngestError::NotReady) => "not_ready",
            Err(IngestError::Malformed(_) | IngestError::HashMismatch) => "malformed",
            Err(IngestError::Conflict { .. }) => {
                self.metrics.ledger_conflicts.with_label_values(&[&origin.name]).inc();
                "conflict"
            }
            Err(IngestError::Store(error)) => error.reason(),
        };
        self.metrics.ingest_requests.with_label_values(&[outcome]).inc();
        if let Ok(outcome) = result {
            self.say_conflict(origin, outcome);
        }
        if let Ok(Outcome { refusals, histograms, exemplars, exemplars_left_out, .. }) = result {
            self.metrics.ingest_histograms.inc_by(*histograms);
            self.metrics.ingest_exemplars.inc_by(*exemplars);
            self.metrics.ingest_exemplars_left_out.inc_by(*exemplars_left_out);
            self.offenders.note(&origin.name, refusals.offences(), self.began.elapsed(), &self.metrics);
            for (reason, samples) in refusals.counts() {
                self.metrics
                    .ingest_refused
                    .with_label_values(&[reason.as_str(), &origin.name])
                    .inc_by(samples);
            }
        }
    }
}

/// Memory that a batch takes on its way to the disk.
fn weight(batch: &WriteBatch) -> usize {
    let WriteBatch { samples, histograms, exemplars, metadata, attachment } = batch;
    let exemplars =
        exemplars.iter().map(|(_, exemplar)| size_of_val(exemplar) + exemplar.labels.as_bytes().len());
    let histograms =
        size_of_val(histograms.as_slice()) + histograms.iter().map(|(.., bytes)| bytes.len()).sum::<usize>();
    let described = metadata.iter().map(|(family, metadata)| {
        size_of_val(metadata) + family.len() + metadata.help.len() + metadata.unit.len()
    });
    let points = size_of_val(samples.as_slice()) + histograms + exemplars.sum::<usize>();
    points + described.sum::<usize>() + attachment.len()
}

enum Prepared {
    Pending(Pending),
    Done(Outcome),
}

#[cfg(test)]
mod tests;
