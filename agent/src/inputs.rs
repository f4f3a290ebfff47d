//! The list of inputs, and what every input owes its surroundings.
//!
//! An input returns values and errors for one target. Scheduling, deadlines around the whole, spooling, staleness and
//! counting are done around it (`schedule.rs`, `series.rs`). To add one: a file beside this one with its Config, its code
//! and its tests, and three lines here: `mod`, a field in [`Config`], a step in [`build`].

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use model::Labels;
use serde::Deserialize;
use settings::{Mistake, Span};

use crate::series::{Round, SeriesTable};

pub mod host;
pub mod scrape;
pub mod snmp;
pub mod textfile;

/// The section `inputs`: what this agent watches.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This machine.
    pub host: host::Config,
    /// Exporters that speak Prometheus' text format or OpenMetrics.
    pub scrape: Vec<scrape::Config>,
    /// Network devices over SNMP.
    pub snmp: Vec<snmp::Config>,
    /// What they share: profiles, credentials, sites.
    pub snmp_common: snmp::Common,
}

/// What every input is given beside its own settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// The configured name of this agent: `instance` of what speaks of this machine.
    pub instance: String,
    /// Extra labels for every series; they never replace what an input says itself.
    pub labels: Labels,
    /// Folder of the settings file, where relative paths start.
    pub base: PathBuf,
    /// What inputs remember across restarts; none: they forget.
    pub state: Option<State>,
    /// Series that one target may have at once.
    pub series_max: usize,
}

/// Where inputs keep what they remember across restarts.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The folder.
    pub folder: PathBuf,
    /// It belongs to another program that may be running: what is kept there is used and not written, but for what that program must be
    /// told (when tables with a budget were asked for).
    pub looks_only: bool,
}

impl Context {
    /// The base labels of a target's table: the extra labels, `job` and `instance`.
    pub fn base_labels(&self, job: &str, instance: &str) -> Labels {
        let mut labels = self.labels.to_builder();
        labels.set("job", job).set("instance", instance);
        labels.build()
    }
}

/// Makes the target sets of all configured inputs. Reads no target and starts nothing, so that `check` can call it; a mistake
/// is placed from the section `inputs` on.
pub fn build(config: &Config, context: &Context) -> Result<Vec<Box<dyn TargetSet>>, Mistake> {
    let mut sets: Vec<Box<dyn TargetSet>> = Vec::new();
    sets.extend(host::build(&config.host, context).map_err(|mistake| mistake.under("host"))?);
    sets.extend(scrape::build(&config.scrape, context).map_err(|mistake| mistake.under("scrape"))?);
    sets.extend(snmp::build(&config.snmp, &config.snmp_common, context)?);
    Ok(sets)
}

/// What `check` looks at beyond [`build`]: files that inputs read while they run. A run names what is wrong with them and goes
/// on with the rest, because somebody else may write them.
pub fn check_files(config: &Config, context: &Context) -> Result<(), Mistake> {
    host::check_files(&config.host, context).map_err(|mistake| mistake.under("host"))?;
    scrape::check_files(&config.scrape, context).map_err(|mistake| mistake.under("scrape"))
}

/// Nothing is worth more than ten rounds a second; what is asked less than once a day looks dead in between.
const INTERVAL_MIN: Span = Span::new(Duration::from_millis(100));
const INTERVAL_MAX: Span = Span::from_secs(86_400);

/// An interval that makes sense.
fn check_interval(key: &str, interval: Span) -> Result<(), Mistake> {
    if interval < INTERVAL_MIN {
        return Err(Mistake::at(key, format!("{interval} is too often: write {INTERVAL_MIN} or more")));
    }
    if interval > INTERVAL_MAX {
        return Err(Mistake::at(key, format!("{interval} is too rare: write {INTERVAL_MAX} or less")));
    }
    Ok(())
}

/// A set whose targets never change: the targets are announced once.
pub struct FixedTargets(Option<Vec<Target>>);

impl FixedTargets {
    /// Announces these targets.
    pub fn new(targets: Vec<Target>) -> Self {
        Self(Some(targets))
    }
}

impl TargetSet for FixedTargets {
    fn refresh(&mut self) -> Result<Option<Vec<Target>>, CollectError> {
        Ok(self.0.take())
    }
}

/// A future on the heap: inputs differ in kind at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One target that is asked once an interval.
pub trait Input: Send {
    /// Names the target in logs and counters, such as `host` or `scrape node 10.0.0.1:9100`.
    fn name(&self) -> &str;

    /// How often it is asked. The scheduler spreads targets over the interval by a hash of their key.
    fn interval(&self) -> Duration;

    /// How long one round may take before the scheduler gives it up.
    fn timeout(&self) -> Duration;

    /// An empty table with this target's base labels and its limit of series.
    fn new_table(&self) -> SeriesTable;

    /// Collects one round. Whatever could be read goes into the round even where an error is returned: the error is counted and
    /// logged (repeated ones summarised), the values are kept. An input whose failure means that nothing is valid calls
    /// [`Round::discard`] first and then adds what is still true (such as `up 0`).
    fn collect<'a>(&'a mut self, round: &'a mut Round<'_>) -> BoxFuture<'a, Result<(), CollectError>>;
}

/// Why a round is not whole.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CollectError(pub String);

/// A group of targets that may change while the program runs (a list in a file).
pub trait TargetSet: Send {
    /// The targets as they are now, or `None` if nothing changed since the last call. Called at the start and then every few
    /// seconds; must be cheap where nothing changed. A list that cannot be read keeps the targets it had and is an error.
    fn refresh(&mut self) -> Result<Option<Vec<Target>>, CollectError>;
}

/// A target as a set announces it.
pub struct Target {
    /// Identity: a target whose key stays goes on, one whose key is gone ends (stale markers), a new key begins. Everything that
    /// its input was built from is part of the key, so that a changed setting begins a new one.
    pub key: String,
    /// Makes the input when the target is new.
    pub build: Box<dyn FnOnce() -> Box<dyn Input> + Send>,
}
