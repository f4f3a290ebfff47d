//! The three servers: started on a folder, watched, killed, and weighed on disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::http::Http;
use crate::pantau::enrol_at;
use crate::peers::{peer, program};
use crate::running::Running;
use crate::{free_port, usage, wait_for};

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Pantau,
    /// A peer.
    Victoria,
    /// A peer.
    Prometheus,
}

impl Kind {
    /// As figures name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pantau => "pantau",
            Self::Victoria => "victoria-metrics",
            Self::Prometheus => "prometheus",
        }
    }
}

/// A server with its folder; ended when dropped.
pub struct Server {
    /// Who it is.
    pub kind: Kind,
    /// Such as `http://127.0.0.1:4711`.
    pub base: String,
    /// Where its data lies.
    pub data: PathBuf,
    /// Bearer tokens of the enrolled hosts; none for peers.
    pub tokens: Vec<String>,
    folder: PathBuf,
    process: Option<Running>,
}

/// An hour of quiet is waited for no longer.
const SETTLE_MAX: Duration = Duration::from_secs(900);
/// CPU is looked at over so long.
const SETTLE_WINDOW: Duration = Duration::from_secs(4);

impl Server {
    /// Prepares a folder with a number of enrolled hosts (ours alone knows them) and starts the server.
    pub fn start(kind: Kind, folder: &Path, hosts: usize) -> Result<Self> {
        let folder = folder.join(format!("{}-{}", kind.name(), free_port()));
        std::fs::create_dir_all(&folder)?;
        let data = folder.join("data");
        let base = format!("http://127.0.0.1:{}", free_port());
        let mut server = Self { kind, base, data, tokens: Vec::new(), folder, process: None };
        server.configure()?;
        if kind == Kind::Pantau {
            let config = server.folder.join("server.yaml");
            let enrol = |host| enrol_at(&config, &format!("node-{host:04}"), "33.19", "kudus-1");
            server.tokens = (0..hosts).map(enrol).collect();
        }
        server.spawn()?;
        server.wait_ready();
        Ok(server)
    }

    fn port(&self) -> &str {
        self.base.rsplit(':').next().unwrap_or_default()
    }

    fn configure(&self) -> Result<()> {
        let text = match self.kind {
            // Ours refuses many new series of one sender at once, which a bench is; nothing else is changed.
            Kind::Pantau => format!(
                "listen: 127.0.0.1:{}\ndata: {}\nagent: {{enabled: false}}\n{}\n",
                self.port(),
                self.data.display(),
                super::OUR_LIMITS,
            ),
            Kind::Victoria => return Ok(()),
            Kind::Prometheus => "global: {scrape_interval: 1h}\n".into(),
        };
        Ok(std::fs::write(self.folder.join("server.yaml"), text)?)
    }

    /// Ours: all that is past becomes blocks, and it ends. With little memory a store does not let late samples wait for the next window.
    pub fn flush(&mut self) -> Result<()> {
        self.stop();
        let path = self.folder.join("server.yaml");
        let usual = std::fs::read_to_string(&path)?;
        std::fs::write(&path, usual.replace("storage: {", "storage: {memory_max: 16MiB, "))?;
        self.spawn()?;
        self.wait_ready();
        // Its bounds are looked after every ten seconds.
        std::thread::sleep(Duration::from_secs(12));
        self.settle()?;
        self.stop();
        Ok(std::fs::write(&path, usual)?)
    }

    /// Adds sections to the settings of a server that is not running.
    pub fn add_settings(&self, sections: &str) -> Result<()> {
        let path = self.folder.join("server.yaml");
        let usual = std::fs::read_to_string(&path)?;
        Ok(std::fs::write(&path, usual + sections)?)
    }

    fn command(&self) -> Result<Command> {
        let config = self.folder.join("server.yaml");
        let mut command = match self.kind {
            Kind::Pantau => program("pantau-collector"),
            Kind::Victoria => peer("usr/bin/victoria-metrics").context("benches need the peers")?,
            Kind::Prometheus => peer("usr/bin/prometheus").context("benches need the peers")?,
        };
        match self.kind {
            Kind::Pantau => command.arg("--config").arg(config),
            Kind::Victoria => command
                .arg(format!("-httpListenAddr=127.0.0.1:{}", self.port()))
                .arg(format!("-storageDataPath={}", self.data.display()))
                .arg("-retentionPeriod=1"),
            Kind::Prometheus => command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", self.data.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{}", self.port()))
                .arg("--web.enable-remote-write-receiver"),
        };
        Ok(command)
    }

    /// Starts it on its folder.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = self.command()?;
        self.process = Some(Running::start(self.kind.name(), &mut command, &self.folder));
        Ok(())
    }

    /// Waits until it says that it is ready; how long that took.
    pub fn wait_ready(&mut self) -> Duration {
        let path = if self.kind == Kind::Victoria { "/health" } else { "/-/ready" };
        let (url, http, began) = (format!("{}{path}", self.base), Http::default(), Instant::now());
        let process = self.process.as_mut().expect("it was started");
        loop {
            if http.get(&url).is_ok_and(|answer| answer.status == 200) {
                return began.elapsed();
            }
            assert!(process.is_running(), "{} ended:\n{}", self.kind.name(), process.log());
            assert!(began.elapsed() < Duration::from_secs(120), "{} is not ready", self.kind.name());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Running {
        self.process.as_mut().expect("it was started")
    }

    /// Where remote write goes.
    pub fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.base)
    }

    /// CPU time and memory so far.
    pub fn usage(&self) -> Result<usage::Usage> {
        let process = self.process.as_ref().context("it was started")?;
        usage::of(process.pid()).with_context(|| format!("{} ended", self.kind.name()))
    }

    /// Waits until it has nothing left to do: less than three hundredths of a processor over four seconds, for everyone alike.
    pub fn settle(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            let before = self.usage()?.cpu;
            std::thread::sleep(SETTLE_WINDOW);
            let used = self.usage()?.cpu.saturating_sub(before);
            if used < SETTLE_WINDOW * 3 / 100 {
                return Ok(());
            }
            ensure!(began.elapsed() < SETTLE_MAX, "{} still works after {SETTLE_MAX:?}", self.kind.name());
        }
    }

    /// Everything that can be merged is merged: by VictoriaMetrics when it is asked for it, by the others by themselves.
    pub fn compact(&mut self) -> Result<()> {
        if self.kind == Kind::Victoria {
            let answer = Http::default().get(&format!("{}/internal/force_merge", self.base))?;
            ensure!(
                answer.status == 200,
                "victoria-metrics does not merge: {} {}",
                answer.status,
                answer.body
            );
        }
        self.settle()
    }

    /// Asks it to end and waits; VictoriaMetrics writes what is in memory then.
    pub fn stop(&mut self) {
        let process = self.process.as_mut().expect("it was started");
        process.signal(rustix::process::Signal::TERM);
        wait_for("an orderly end", Duration::from_secs(120), || (!process.is_running()).then_some(()));
        self.process = None;
    }

    /// Runs one of our program's other words on the folder; `None` where this is a peer.
    pub fn words(&self, words: &[&str]) -> Result<String> {
        ensure!(self.kind == Kind::Pantau, "only ours has words");
        let output = program("pantau-collector")
            .arg("--config")
            .arg(self.folder.join("server.yaml"))
            .args(words)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{words:?}: {}{}", said, String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// Checks that what was sent can be read: who answers 2xx and stores nothing would be the best of all.
    pub fn check_stored(&self, query: &str, wanted: f64) -> Result<()> {
        let http = Http::default();
        let found = wait_for("the samples to be readable", Duration::from_secs(90), || {
            http.query_value(&self.base, query).filter(|found| *found >= wanted * 0.999)
        });
        ensure!(found <= wanted, "{} returns {found} samples of {wanted}", self.kind.name());
        Ok(())
    }
}

/// Apparent sizes of all files below a folder that are wanted, by their path below it.
pub fn bytes_of(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<u64> {
    let mut total = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        // Files go while a server works; what is gone has no size.
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries.flatten() {
            let (Ok(meta), path) = (entry.metadata(), entry.path()) else { continue };
            if meta.is_dir() {
                folders.push(path);
            } else if wanted(path.strip_prefix(folder).expect("it lies below")) {
                total += meta.len();
            }
        }
    }
    Ok(total)
}
