//! The machine that the agent runs on, under node_exporter's names, labels and units, so that dashboards and rules that
//! people have go on working.
//!
//! In: procfs and sysfs (Linux), sysinfo (elsewhere), the `textfile` folders. Out: `node_*`, with `job="node"` and the
//! agent's name as `instance`; `pantau_agent_source_stuck` for sources that hang. Each source has its own deadline: one that
//! hangs (a dead mount, a sensor behind a dead bus) is given up and named, the others go on, and it takes part again when it
//! heals (`host/crew.rs`).
//!
//! The reference is Debian 12's prometheus-node-exporter 1.5; `docs/metrics.md` lists the metrics and the differences.
//!
//! To add a source: a `crew::Collector` in a file of `host/`, its families declared by `families!`, a line in
//! `linux::collectors` and one in `linux::FAMILIES`, its files in `tests/fixtures/host`.
//!
//! Limits: those of the files read (`linux/source.rs`), of mounts and threads (`crew.rs`), and the agent's limit of series.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use settings::{Mistake, Span};

use self::crew::{Clock, Collector, Crew, Outcome, RealClock, Seat};
use self::failure::Failure;
use self::patterns::Patterns;
use self::samples::{Describer, Recall, Samples, families};
use super::{BoxFuture, CollectError, Context, FixedTargets, Input, Target, TargetSet, textfile};
use crate::series::{Round, SeriesTable};

pub(crate) mod crew;
pub(crate) mod failure;
#[cfg(target_os = "linux")]
mod linux;
pub mod patterns;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;
pub(crate) mod samples;

families! {
    DURATION: Gauge "node_scrape_collector_duration_seconds" ["collector"] "Seconds that the collector took.";
    SUCCESS: Gauge "node_scrape_collector_success" ["collector"] "Whether the collector succeeded; 0 also where the host has no such thing.";
    STUCK: Gauge "pantau_agent_source_stuck" ["source"] "1 while a source hangs, 0 after it came back; only of sources that ever hung.";
    GIVEN_UP: Counter "pantau_agent_sources_given_up_total" [] "Times that a source of the host was given up because it hung.";
    HEALED: Counter "pantau_agent_sources_healed_total" [] "Times that a source of the host that hung came back.";
}

/// The section `inputs.host`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether this machine is watched.
    pub enabled: bool,
    /// The label `job`. Dashboards for node_exporter look for `node`.
    pub job: String,
    /// How often.
    pub interval: Span,
    /// How long a whole round may take; at most the interval. 10 s, or the interval where that is shorter.
    pub timeout: Option<Span>,
    /// How long a single source (a mount, the sensors) may take before it is given up until it heals. 3 s, or the timeout where
    /// that is shorter.
    pub source_timeout: Option<Span>,
    /// Where procfs is mounted; `/host/proc` in a container, say.
    pub path_procfs: PathBuf,
    /// Where sysfs is mounted.
    pub path_sysfs: PathBuf,
    /// Where the host's root file system is mounted.
    pub path_rootfs: PathBuf,
    /// Where udev keeps what it knows of disks.
    pub path_udev: PathBuf,
    /// Which collectors run, by node_exporter's names such as `cpu` or `filesystem`. All by default.
    pub collectors: Patterns,
    /// Which block devices; by default all but partitions, RAM disks, loop devices and floppies.
    pub disks: Patterns,
    /// Of which network devices traffic is counted; by default all but `lo`.
    pub network_devices: Patterns,
    /// Of which network devices properties are told (link, speed, MTU); all by default.
    pub network_classes: Patterns,
    /// Which mount points; by default all but those of the system's own file systems, removable media and containers.
    pub mount_points: Patterns,
    /// Which types of file systems; by default those that hold data.
    pub filesystem_types: Patterns,
    /// Which fields of /proc/vmstat; by default paging, faults and the out-of-memory killer's count.
    pub vmstat_fields: Patterns,
    /// Which fields of /proc/net/netstat, snmp and snmp6, written as `Tcp_InSegs`; by default node_exporter's.
    pub netstat_fields: Patterns,
    /// Values that scripts leave in files.
    pub textfile: textfile::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            job: "node".into(),
            interval: Span::from_secs(15),
            timeout: None,
            source_timeout: None,
            path_procfs: "/proc".into(),
            path_sysfs: "/sys".into(),
            path_rootfs: "/".into(),
            path_udev: "/run/udev/data".into(),
            collectors: Patterns::default(),
            disks: Patterns::all_but(r"(ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+"),
            network_devices: Patterns::all_but("lo"),
            network_classes: Patterns::default(),
            mount_points: Patterns::all_but(
                "/(dev|proc|run|sys|mnt|media|var/lib/docker/.+|var/lib/containers/storage/.+)(/.*)?",
            ),
            filesystem_types: Patterns::all_but(
                "autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|\
                 overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs",
            ),
            vmstat_fields: Patterns::only("(oom_kill|pgpg|pswp|pg.*fault).*"),
            netstat_fields: Patterns::only(
                "(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|\
                 TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts)|\
                 Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
                 Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))",
            ),
            textfile: textfile::Config::default(),
        }
    }
}

impl Config {
    fn timeout(&self) -> Span {
        self.timeout.unwrap_or(Span::from_secs(10).min(self.interval))
    }

    fn source_timeout(&self) -> Span {
        self.source_timeout.unwrap_or(Span::from_secs(3).min(self.timeout()))
    }

    fn validate(&self) -> Result<(), Mistake> {
        let (interval, timeout) = (self.interval, self.timeout());
        super::check_interval("interval", interval)?;
        let bad = |key, what: String| Err(Mistake::at(key, what));
        if timeout.get().is_zero() || timeout > interval {
            return bad("timeout", format!("{timeout} must lie between 0 and the interval, {interval}"));
        }
        let source = self.source_timeout();
        if source.get().is_zero() || source > timeout {
            return bad("source_timeout", format!("{source} must lie between 0 and the timeout, {timeout}"));
        }
        if self.job.is_empty() {
            return bad("job", "it is empty: write node, or another name".into());
        }
        self.textfile.validate().map_err(|mistake| mistake.under("textfile"))
    }
}

/// Folders that are named must be there; the usual ones need not, because not every system has them.
pub(super) fn check_files(config: &Config, context: &Context) -> Result<(), Mistake> {
    if !config.enabled {
        return Ok(());
    }
    let usual = Config::default();
    let folders = [
        ("path_procfs", &config.path_procfs, &usual.path_procfs),
        ("path_sysfs", &config.path_sysfs, &usual.path_sysfs),
        ("path_rootfs", &config.path_rootfs, &usual.path_rootfs),
        ("path_udev", &config.path_udev, &usual.path_udev),
    ];
    for (key, folder, _) in folders.iter().filter(|(_, folder, usual)| folder != usual) {
        let folder = context.base.join(folder);
        if !folder.is_dir() {
            return Err(Mistake::at(key, format!("there is no folder {}", folder.display())));
        }
    }
    if collectors(config, context).is_empty() {
        let why = "no collector has such a name: write names such as cpu or filesystem, or `enabled: false`";
        return Err(Mistake::at("collectors", why));
    }
    config.textfile.check_files(&context.base).map_err(|mistake| mistake.under("textfile"))
}

/// The target set of the section: this machine, or nothing where it is switched off.
pub fn build(config: &Config, context: &Context) -> Result<Option<Box<dyn TargetSet>>, Mistake> {
    config.validate()?;
    if !config.enabled {
        return Ok(None);
    }
    let (config, context) = (config.clone(), context.clone());
    let key = format!("host {config:?} {context:?}");
    let build = Box::new(move || Box::new(Host::new(&config, &context)) as Box<dyn Input>);
    Ok(Some(Box::new(FixedTargets::new(vec![Target { key, build }]))))
}

/// See the module's text.
pub struct Host {
    interval: Duration,
    timeout: Duration,
    source_timeout: Duration,
    base: model::Labels,
    series_max: usize,
    crew: Crew,
    describer: Describer,
    status: Samples,
    status_recall: Recall,
}

impl Host {
    /// Watches this machine. Nothing is read before the first round.
    pub fn new(config: &Config, context: &Context) -> Self {
        Self::with(config, context, collectors(config, context), Arc::new(RealClock))
    }

    fn with(
        config: &Config,
        context: &Context,
        sources: Vec<Box<dyn Collector>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            interval: config.interval.get(),
            timeout: config.timeout().get(),
            source_timeout: config.source_timeout().get(),
            base: context.base_labels(&config.job, &context.instance),
            series_max: context.series_max,
            crew: Crew::new(sources, clock),
            describer: Describer::default(),
            status: Samples::default(),
            status_recall: Recall::default(),
        }
    }

    async fn run(&mut self, round: &mut Round<'_>) -> Result<(), CollectError> {
        // A tenth is left for what comes behind the sources, so that a round in which some hang still counts.
        let total = self.timeout * 9 / 10;
        let ran = self.crew.round(self.source_timeout, total).await;
        ran.map_err(|why| CollectError(format!("cannot start the thread that reads the host: {why}")))?;
        let mut report = Report::default();
        let describer = &mut self.describer;
        let stats = self.crew.visit(|seat| {
            seat.say(round, describer);
            report.add(seat);
        });
        self.status.clear();
        for (name, took, success) in &report.collectors {
            if let Some(took) = took {
                self.status.metric(&DURATION, &[name.as_bytes()], took.as_secs_f64());
            }
            self.status.metric(&SUCCESS, &[name.as_bytes()], f64::from(*success));
        }
        for (source, stuck) in &report.stuck {
            self.status.metric(&STUCK, &[source.as_bytes()], f64::from(*stuck));
        }
        self.status.metric(&GIVEN_UP, &[], stats.gave_up as f64);
        self.status.metric(&HEALED, &[], stats.healed as f64);
        self.status.put_recalled(round, describer, &mut self.status_recall);
        if report.errors.is_empty() { Ok(()) } else { Err(CollectError(report.errors.join("; "))) }
    }
}

/// What a round's outcomes come to.
#[derive(Default)]
struct Report {
    collectors: Vec<(&'static str, Option<Duration>, bool)>,
    stuck: Vec<(Arc<str>, bool)>,
    errors: Vec<String>,
}

impl Report {
    fn add(&mut self, seat: &Seat) {
        let is_stuck = matches!(seat.outcome, Outcome::Stuck);
        if seat.ever_stuck {
            self.stuck.push((Arc::clone(&seat.name), is_stuck));
        }
        let (took, success) = match &seat.outcome {
            Outcome::Done(took) => (Some(*took), true),
            Outcome::Failed(took, Failure::Absent) => (Some(*took), false),
            Outcome::Failed(took, why) => {
                // A mount that refuses says so by its own metric.
                if seat.parent.is_none() {
                    self.errors.push(format!("{}: {why}", seat.name));
                }
                (Some(*took), false)
            }
            Outcome::Stuck => {
                self.errors.push(format!("{}: no answer; given up until it comes back", seat.name));
                (None, false)
            }
            Outcome::NotAsked => {
                self.errors
                    .push(format!("{}: not asked, because other sources took all the time", seat.name));
                (None, false)
            }
        };
        match seat.parent {
            None => self.collectors.extend(seat.names.iter().map(|name| (*name, took, success))),
            Some(parent) => {
                let parent = self.collectors.iter_mut().find(|(name, ..)| *name == parent);
                if let (Some((_, Some(sum), _)), Some(took)) = (parent, took) {
                    *sum += took;
                }
            }
        }
    }
}

impl Input for Host {
    fn name(&self) -> &str {
        "host"
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn new_table(&self) -> SeriesTable {
        SeriesTable::new(self.base.clone(), self.series_max)
    }

    fn collect<'a>(&'a mut self, round: &'a mut Round<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(self.run(round))
    }
}

fn collectors(config: &Config, context: &Context) -> Vec<Box<dyn Collector>> {
    #[cfg(target_os = "linux")]
    return linux::collectors(config, &context.base, &linux::Ask::system());
    #[cfg(not(target_os = "linux"))]
    return portable::collectors(config, &context.base);
}

#[cfg(test)]
mod tests;
