//! The collector's life: start, reload, end.
//!
//! The listener is up before the store is: while the journal is replayed, everything that needs the store is answered 503 and
//! senders keep their data. At the end the embedded agent hands over its last batch, open requests end, and the store is
//! flushed and closed.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::middleware::Next;
use axum::response::Response;
use journal::disk::{Disk as _, RealDisk};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tsdb::Store;
use wire::identity::Cause;

use crate::embedded::IntoStore;
use crate::enrolment::Enrolment;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::rules::{RuleFile, Rules};
use crate::server::Server;
use crate::settings::Checked;
use crate::state::{App, AppState};
use crate::storage::{Durability, Upkeep};
use crate::tls::Certificate;
use crate::{admin, api, cors, health, ingest, local, self_series, state, storage, tls, web};

/// There in the data folder while a collector runs.
const RUNNING: &str = "running";

/// How often certificate files are looked at.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(30);

/// How often it is written down which series each sender has.
const ROLL_EVERY: Duration = Duration::from_secs(600);

/// A collector that runs.
pub struct Collector {
    /// What its handlers share.
    pub state: AppState,
    /// Where it listens (the port is known now, also where the settings say 0).
    pub address: SocketAddr,
    settings_file: Option<PathBuf>,
    certificate: Option<Arc<Certificate>>,
    store: Arc<Store>,
    upkeep: Upkeep,
    rules: Rules,
    notifier: Arc<Notifier>,
    agent: Option<pantau_agent::Agent>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    chores: Vec<JoinHandle<()>>,
}

/// All routes.
pub fn router(state: &AppState) -> Router {
    let routes = Router::new()
        .route("/api/v1/write", axum::routing::post(ingest::http::write))
        .merge(admin::router())
        .merge(health::router())
        .merge(api::router(&state.queries))
        .merge(web::router())
        .method_not_allowed_fallback(not_allowed)
        .fallback(not_found);
    let metrics = Arc::clone(&state.metrics);
    let counted = axum::middleware::from_fn(move |request, next| count(Arc::clone(&metrics), request, next));
    let cors = axum::middleware::from_fn_with_state(Arc::clone(state), cors::around);
    routes.layer(cors).layer(counted).with_state(Arc::clone(state))
}

/// What Prometheus says; Grafana looks for these words to tell a path that is not there from one that fails.
async fn not_found() -> (http::StatusCode, &'static str) {
    (http::StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A method that a path does not have; the header `Allow` names those that it has. To a question about the API's methods Prometheus
/// answers 204.
async fn not_allowed(method: http::Method, uri: http::Uri) -> (http::StatusCode, String) {
    if method == http::Method::OPTIONS && uri.path().starts_with("/api/v1/") {
        return (http::StatusCode::NO_CONTENT, String::new());
    }
    let said =
        format!("{method} is not for this path: the header Allow of this answer says which methods are\n");
    (http::StatusCode::METHOD_NOT_ALLOWED, said)
}

/// Counts and times a request by the route that it met.
async fn count(metrics: Arc<Metrics>, request: axum::extract::Request, next: Next) -> Response {
    let route = request.extensions().get::<axum::extract::MatchedPath>();
    let path = route.map_or("none".to_owned(), |route| route.as_str().to_owned());
    let timer = metrics.http_seconds.with_label_values(&[&path]).start_timer();
    let response = next.run(request).await;
    timer.observe_duration();
    metrics.http_requests.with_label_values(&[path.as_str(), response.status().as_str()]).inc();
    response
}

/// A collector whose listener is up and whose store is not.
struct Listening {
    state: AppState,
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

async fn listen(settings: Arc<Checked>) -> anyhow::Result<Listening> {
    let data = settings.data.clone();
    RealDisk
        .create_dir_all(&data)
        .with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let load =
        |files| Certificate::load(files).map_err(|unusable| settings.wrong(&unusable.mistake().under("tls")));
    let certificate = settings.tls.as_ref().map(load).transpose()?;
    let local = local::listen(&data).await?;
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.map_err(|error| cannot_listen(&settings, &error))?;
    let address = listener.local_addr().context("cannot read the listener's address")?;
    let enrolment = Arc::new(Enrolment::open(&data)?);
    let metrics = Arc::new(Metrics::new());
    let state = Arc::new(App::new(Arc::clone(&settings), enrolment, Ledger::new(), Arc::clone(&metrics)));
    let server = Server {
        router: router(&state),
        tls: certificate.clone().map(tls::server_config).transpose()?,
        config: settings.server.clone(),
        metrics,
    };
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(server.serve(listener, local, stopped));
    Ok(Listening { state, address, certificate, stop, server })
}

/// Why nobody can listen there, and what to do.
fn cannot_listen(settings: &Checked, error: &std::io::Error) -> anyhow::Error {
    let (address, port) = (settings.listen, settings.listen.port());
    let setting = if settings.from_file { "" } else { " in a settings file, which --config names" };
    let why = match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "another program holds this address, perhaps another pantau-collector (`ss -ltnp sport = :{port}` shows which): end it, \
             or choose another address by `listen`{setting}"
        ),
        std::io::ErrorKind::AddrNotAvailable => format!(
            "this machine has no such address (`ip address` shows its own): choose one of them, or 0.0.0.0 for all, by `listen`{setting}"
        ),
        std::io::ErrorKind::PermissionDenied if port < 1024 => {
            format!("ports below 1024 are for root: choose a higher one, such as 9797, by `listen`{setting}")
        }
        _ => error.to_string(),
    };
    anyhow::anyhow!("cannot listen on {address}: {why}")
}

impl Collector {
    /// Starts a collector; returns when it answers queries. `settings_file` is what a reload reads.
    pub async fn start(settings: Checked, settings_file: Option<&Path>) -> anyhow::Result<Self> {
        let settings = Arc::new(settings);
        let rules = read_rules(&settings)?;
        let Listening { state, address, certificate, stop, server } = listen(Arc::clone(&settings)).await?;
        tracing::info!("listening on {address}, replaying the journal in {}", settings.data.display());
        say_settings(&settings);
        let log = state.queries.open_log(&settings.query_log, &settings.base);
        log.map_err(|mistake| settings.wrong(&mistake.under("query_log")))?;
        // The agent begins at once: its first values wait in memory until the store is there.
        let agent = start_agent(&settings, &state, note_start(&settings.data))?;
        let store = {
            let (settings, ledger) = (Arc::clone(&settings), Arc::clone(&state.ledger));
            let opening = tokio::task::spawn_blocking(move || {
                storage::open(&settings.data, &settings.storage, &ledger)
            });
            opening.await.context("the store's opening ended in a mistake of ours")??
        };
        storage::show(&store, &state.metrics);
        state.ingest.open_roll(&settings.data, state::now());
        state.ingest.set_store(Arc::clone(&store));
        state.set_storage(Arc::clone(&store) as Arc<dyn crate::state::Storage>);
        state.metrics.ready.set(1);
        let upkeep = Upkeep::start(&store, settings.storage.compaction, &state.metrics.store_panics);
        let upkeep = upkeep.context("cannot start the threads that look after the store")?;
        let notifier = start_notifier(&settings, &state).await?;
        let told = Arc::clone(&notifier);
        let rules = Rules::start(&state, rules, Box::new(move |notices, now| told.tell(notices, now)))?;
        let mut chores = vec![
            tokio::spawn(keep_roll(Arc::clone(&state))),
            tokio::spawn(self_series::run(Arc::clone(&state))),
        ];
        if let Some(certificate) = &certificate {
            chores.push(tokio::spawn(watch_certificate(Arc::clone(certificate), Arc::clone(&state))));
        }
        let settings_file = settings_file.map(Path::to_owned);
        Ok(Self {
            state,
            address,
            settings_file,
            certificate,
            store,
            upkeep,
            rules,
            notifier,
            agent,
            stop,
            server,
            chores,
        })
    }

    /// Reads the settings file again and takes over everything or nothing.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let result = self.try_reload().await;
        let outcome = if result.is_ok() { "taken" } else { "refused" };
        self.state.metrics.reloads.with_label_values(&["settings", outcome]).inc();
        // As in Prometheus, the time is that of the last good reading.
        let (tried, taken) = (state::now(), result.is_ok());
        let at = if taken { tried } else { self.state.last_reload.load().at };
        self.state.last_reload.store(Arc::new(state::Reload { at, taken, tried }));
        result
    }

    async fn try_reload(&self) -> anyhow::Result<()> {
        let old = self.state.settings.load_full();
        let Some(file) = &self.settings_file else { bail!("there is no settings file to read") };
        let new = Checked::load(file)?;
        check_reloadable(&old, &new)?;
        let rules = read_rules(&new)?;
        // What can fail comes first: files of the certificate, then the inputs.
        if let Some(files) = &new.tls {
            Certificate::load(files).map_err(|unusable| new.wrong(&unusable.mistake().under("tls")))?;
        }
        if let Some(agent) = &self.agent {
            let mut collection = new
                .agent
                .collection(&new.instance, &new.base)
                .map_err(|mistake| new.wrong(&mistake.under("agent")))?;
            collection.state = Some(new.data.clone());
            agent.reload(&collection).await?;
        }
        if let Some((certificate, files)) = self.certificate.as_ref().zip(new.tls.as_ref()) {
            certificate.replace(files)?;
        }
        let log = self.state.queries.open_log(&new.query_log, &new.base);
        log.map_err(|mistake| new.wrong(&mistake.under("query_log")))?;
        let (notifier, new) = (Arc::clone(&self.notifier), Arc::new(new));
        let for_notifier = Arc::clone(&new);
        let told = tokio::task::spawn_blocking(move || notifier.reload(&for_notifier)).await;
        told.context("the notifier's reload ended in a mistake of ours")??;
        self.state.auth.reload(&new);
        self.state.ingest.reload(&new.ingest);
        self.upkeep.set_budget(new.storage.compaction);
        self.rules.reload(&new, rules);
        self.state.settings.store(new);
        Ok(())
    }

    /// Ends: the agent's last batch, open requests, the store.
    pub async fn stop(self) -> anyhow::Result<()> {
        if let Some(agent) = self.agent {
            agent.stop().await;
        }
        self.stop.send_replace(true);
        drop(self.server.await);
        self.chores.iter().for_each(JoinHandle::abort);
        let data = self.state.settings.load().data.clone();
        drop(std::fs::remove_file(local::path_in(&data)));
        let (store, upkeep, ingest) = (self.store, self.upkeep, Arc::clone(&self.state.ingest));
        let (rules, notifier) = (self.rules, self.notifier);
        let closed = tokio::task::spawn_blocking(move || {
            rules.stop();
            notifier.stop();
            upkeep.stop();
            write_roll(&ingest);
            store.close()
        })
        .await;
        closed.context("the store's end ended in a mistake of ours")?.context("cannot close the store")?;
        // Only now was it an end in order.
        drop(std::fs::remove_file(data.join(RUNNING)));
        Ok(())
    }
}

async fn start_notifier(settings: &Arc<Checked>, state: &AppState) -> anyhow::Result<Arc<Notifier>> {
    let (settings, metrics) = (Arc::clone(settings), Arc::clone(&state.metrics));
    let runtime = tokio::runtime::Handle::current();
    let started = tokio::task::spawn_blocking(move || Notifier::start(&settings, &metrics, runtime)).await;
    started.context("the notifier's start ended in a mistake of ours")?.map(Arc::new)
}

/// Reads the rule files that the settings name.
fn read_rules(settings: &Checked) -> anyhow::Result<Vec<RuleFile>> {
    let files = settings.rules.load(&settings.base, settings.query.features.features());
    Ok(files.map_err(|mistake| settings.wrong(&mistake.under("rules")))?)
}

/// Says how the last run on a data folder ended, by a file that is there while a collector runs; makes it for this one.
fn note_start(data: &Path) -> Cause {
    let mark = data.join(RUNNING);
    let last_end = if mark.exists() { Cause::Crashed } else { Cause::Stopped };
    if let Err(error) = std::fs::write(&mark, "there while a collector runs\n") {
        tracing::warn!("cannot write {}: {error}; a crash of this run will look like a stop", mark.display());
    }
    last_end
}

fn start_agent(
    settings: &Checked,
    state: &AppState,
    last_end: Cause,
) -> anyhow::Result<Option<pantau_agent::Agent>> {
    if !settings.agent.enabled {
        return Ok(None);
    }
    let mut collection =
        settings.agent.collection(&settings.instance, &settings.base).map_err(anyhow::Error::msg)?;
    collection.state = Some(settings.data.clone());
    let outlet = Arc::new(IntoStore::new(Arc::clone(state), last_end));
    let agent = pantau_agent::Agent::start(&collection, outlet, state.metrics.agent_registry());
    agent.map(Some).context("cannot start the agent inside the collector")
}

/// Writes down now and then which series each sender has, so that a crash forgets little of it.
async fn keep_roll(state: AppState) {
    let mut every = tokio::time::interval(ROLL_EVERY);
    every.tick().await;
    loop {
        every.tick().await;
        let ingest = Arc::clone(&state.ingest);
        drop(tokio::task::spawn_blocking(move || write_roll(&ingest)).await);
    }
}

fn write_roll(ingest: &ingest::Ingest) {
    if let Err(error) = ingest.write_roll(state::now()) {
        tracing::warn!(
            "cannot write down which series each sender has: {error}; a restart will forget some of it"
        );
    }
}

/// What a person should know of the settings that were chosen.
fn say_settings(settings: &Checked) {
    if settings.storage_key != "storage" {
        tracing::warn!(
            "the section `{}` of the settings is called `storage` now; please rename it",
            settings.storage_key
        );
    }
    if let Durability::Interval(interval) = settings.storage.durability {
        tracing::warn!(
            "durability is an interval of {interval}: a power cut or a crash of the system loses what was answered in the last {interval}; \
             a crash of this program alone loses nothing"
        );
    }
}

/// What is built once cannot be replaced while the collector runs: a reload that asks for it changes nothing and says so.
fn check_reloadable(old: &Checked, new: &Checked) -> anyhow::Result<()> {
    let changed = [
        ("listen", old.listen != new.listen),
        ("data", old.data != new.data),
        ("tls (switched on or off)", old.tls.is_some() != new.tls.is_some()),
        ("server", old.server != new.server),
        (new.storage_key, old.storage != compacting_as(&old.storage, &new.storage)),
        ("ingest.bodies_max", old.ingest.bodies_max != new.ingest.bodies_max),
        ("query.concurrent_max", old.query.concurrent_max != new.query.concurrent_max),
        ("agent.enabled", old.agent.enabled != new.agent.enabled),
        ("identity.instance", old.instance != new.instance),
    ];
    let changed: Vec<&str> = changed.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
    if changed.is_empty() {
        return Ok(());
    }
    bail!("a restart is needed for {}; nothing was changed", changed.join(", "))
}

/// The new section with the old one's budget, which can be replaced.
fn compacting_as(old: &storage::Config, new: &storage::Config) -> storage::Config {
    storage::Config { compaction: old.compaction, ..new.clone() }
}

async fn watch_certificate(certificate: Arc<Certificate>, state: AppState) {
    let mut every = tokio::time::interval(CERTIFICATE_EVERY);
    loop {
        every.tick().await;
        let outcome = match certificate.refresh() {
            Ok(false) => continue,
            Ok(true) => {
                tracing::info!("took the new certificate");
                "taken"
            }
            Err(error) => {
                tracing::error!("cannot take the new certificate, the old one stays: {error}");
                "refused"
            }
        };
        state.metrics.reloads.with_label_values(&["certificate", outcome]).inc();
    }
}

/// Runs a collector until SIGTERM or SIGINT; SIGHUP reloads.
pub async fn until_signal(settings: Checked, settings_file: Option<&Path>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let started = Collector::start(settings, settings_file);
    let collector = tokio::select! {
        started = started => started?,
        // Nothing was acknowledged yet: the replay may be cut short.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    // Who does not listen to it (a closed pipe) gets a collector all the same.
    drop(writeln!(std::io::stdout(), "{}", welcome(&collector)));
    notify(&[sd_notify::NotifyState::Ready]);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                if let Ok(usec) = sd_notify::NotifyState::monotonic_usec_now() {
                    notify(&[sd_notify::NotifyState::Reloading, usec]);
                }
                match collector.reload().await {
                    Ok(()) => tracing::info!("reloaded the settings"),
                    Err(error) => {
                        tracing::error!("did not reload: {}", telemetry::faults::in_full(error.as_ref()));
                    }
                }
                notify(&[sd_notify::NotifyState::Ready]);
            }
        }
    }
    tracing::info!("stopping");
    notify(&[sd_notify::NotifyState::Stopping]);
    collector.stop().await?;
    tracing::info!("stopped; everything is on disk");
    Ok(())
}

/// Tells systemd, if it asked; nothing depends on it.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot tell systemd: {error}");
    }
}

/// Where to look, and what to try next.
fn welcome(collector: &Collector) -> String {
    let settings = collector.state.settings.load();
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let url = match collector.address {
        any if any.ip().is_unspecified() => format!("{scheme}://{}:{}", settings.instance, any.port()),
        address => format!("{scheme}://{address}"),
    };
    let mut curl = String::from("curl -s ");
    if let Some(files) = &settings.tls
        && files.certificate.starts_with(&settings.data)
    {
        let authority = files.certificate.with_file_name(tls::CA_CERTIFICATE);
        curl.push_str(&format!("--cacert {} ", authority.display()));
    }
    if !settings.readers.is_empty() {
        curl.push_str("-H 'Authorization: Bearer …' ");
    }
    let watching = if settings.agent.enabled { "watching this host" } else { "waiting for agents" };
    let command = if settings.from_file { "pantau-collector --config FILE" } else { "pantau-collector" };
    format!(
        "Pantau {} is {watching}; its data is in {}\n\
         \x20 look   {url}/\n\
         \x20 ask    {curl}'{url}/api/v1/query?query=node_load1'\n\
         \x20 draw   in Grafana, add a data source of type Prometheus with the URL {url}\n\
         \x20 next   {command} agents add NAME --region 33.19 --site kudus-1   (another machine reports here)\n\
         \x20        {command} agents gaps                                     (what is missing, and why)",
        telemetry::build::VERSION,
        settings.data.display(),
    )
}

#[cfg(test)]
mod tests;
