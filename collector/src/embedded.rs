//! The agent inside the collector: the same inputs as `pantau-agent`, handed to ingest in process, so that one journal and one
//! fsync keep them.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use pantau_agent::inputs::BoxFuture;
use pantau_agent::settings::{Collection, ExtraLabels, Limits};
use pantau_agent::{Batch, DeliverError, Delivered, Outlet};
use serde::Deserialize;
use settings::Mistake;
use wire::identity::{BatchIdentity, Cause, Envelope, Loss};
use wire::negotiate::Message;

use crate::enrolment::EMBEDDED;
use crate::ingest::{self, IngestError, Origin};
use crate::state::{AppState, now};

const MILLISECOND: Duration = Duration::from_millis(1);

/// The section `agent`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the collector watches anything itself; it does by default.
    pub enabled: bool,
    /// Extra labels for every series. `region` and `site` come from the collector's identity.
    pub labels: ExtraLabels,
    /// What it watches; this host by default.
    pub inputs: pantau_agent::inputs::Config,
    /// Bounds on memory.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            labels: ExtraLabels::default(),
            inputs: pantau_agent::inputs::Config::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// As the agent's library wants it.
    pub fn collection(&self, instance: &str, base: &Path) -> Result<Collection, Mistake> {
        let mut collection = Collection {
            inputs: self.inputs.clone(),
            limits: self.limits.clone(),
            base: base.to_owned(),
            ..Collection::default()
        };
        collection.identity.instance = Some(instance.parse().map_err(|why: String| Mistake::new(why))?);
        collection.identity.labels = self.labels.clone();
        collection.build_inputs().map(|_| collection)
    }
}

/// Takes the embedded agent's batches.
pub struct IntoStore {
    state: AppState,
    /// How the last run ended, until the first batch of this one has said what was missed between them.
    last_end: Mutex<Option<Cause>>,
}

impl IntoStore {
    /// Into the store of this state; `last_end` says how the collector ended the last time, if it ran before.
    pub fn new(state: AppState, last_end: Cause) -> Self {
        Self { state, last_end: Mutex::new(Some(last_end)) }
    }

    /// The batch's identity, which on the first batch of a run also reports the time since the last run: the agent has no spool
    /// that could know of it.
    fn identity(&self, batch: &Batch) -> BatchIdentity {
        let mut identity = batch.identity.clone();
        let last_end = *self.last_end.lock().expect("nothing panics while it holds this lock");
        let covered = self.state.ledger.covered_until(EMBEDDED);
        if let Some((cause, covered)) = last_end.zip(covered) {
            let (from, to) = (covered + MILLISECOND, identity.from - MILLISECOND);
            if from <= to {
                identity.losses.add(Loss { cause, from, to, samples: 0, sequences: None });
            }
        }
        identity
    }
}

impl Outlet for IntoStore {
    fn deliver<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Delivered, DeliverError>> {
        Box::pin(self.take(batch))
    }
}

impl IntoStore {
    async fn take(&self, batch: &Batch) -> Result<Delivered, DeliverError> {
        if !self.state.is_ready() {
            return Err(DeliverError::Later { after: None, why: IngestError::NotReady.to_string() });
        }
        let origin =
            Origin { name: EMBEDDED.into(), stamp: ingest::http::own_stamp(&self.state, Some(EMBEDDED)) };
        let received_at = now();
        let envelope = Envelope { identity: self.identity(batch), sent_at: received_at };
        let request = ingest::Request {
            origin: &origin,
            message: Message::V2,
            payload: &batch.payload,
            envelope: Some(&envelope),
            received_at,
        };
        match self.state.ingest.write(request).await {
            Ok(outcome) => {
                *self.last_end.lock().expect("nothing panics while it holds this lock") = None;
                if !outcome.refusals.is_empty() {
                    tracing::warn!(
                        "the embedded agent's batch: {}",
                        outcome.refusals.text(outcome.samples).trim_end()
                    );
                }
                Ok(Delivered { samples: outcome.samples })
            }
            Err(error) if is_temporary(&error) => {
                Err(DeliverError::Later { after: None, why: error.to_string() })
            }
            Err(error) => Err(DeliverError::Refused { why: error.to_string() }),
        }
    }
}

fn is_temporary(error: &IngestError) -> bool {
    match error {
        IngestError::NotReady => true,
        IngestError::Store(error) => error.is_temporary(),
        IngestError::Malformed(_) | IngestError::HashMismatch | IngestError::Conflict { .. } => false,
    }
}
