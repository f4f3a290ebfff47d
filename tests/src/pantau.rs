//! Our own programs as tests start them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::free_port;
use crate::http::Http;
use crate::peers::program;
use crate::running::Running;

/// A collector with its own folder and port; ended when dropped.
pub struct Collector {
    /// The process, while it runs.
    pub process: Option<Running>,
    /// Such as `http://127.0.0.1:4711`.
    pub base: String,
    /// Configuration, data folder and logs.
    pub folder: PathBuf,
    /// A client that trusts the collector's own authority, where it has one.
    pub http: Http,
    /// Runs the program inside another one, such as a tracer that leaves it its process id.
    pub wrapper: Option<Command>,
}

impl Collector {
    /// Starts a collector over plain HTTP on loopback that watches nothing by itself; `extra` are further lines of its configuration.
    pub fn start(folder: &Path, extra: &str) -> Self {
        let mut collector = Self::prepare(folder, extra, "http");
        collector.restart();
        collector
    }

    /// Starts a collector with TLS from `tls init`.
    pub fn start_with_tls(folder: &Path, extra: &str) -> Self {
        let tls = folder.join("data/tls");
        let lines = format!(
            "tls: {{certificate: {}, key: {}}}\n{extra}",
            tls.join("server.pem").display(),
            tls.join("server.key").display()
        );
        let mut collector = Self::prepare(folder, &lines, "https");
        collector.command(&["tls", "init", "127.0.0.1"]);
        let authority = std::fs::read_to_string(tls.join("ca.pem")).expect("tls init wrote the authority");
        collector.http = Http::new(Some(&authority));
        collector.restart();
        collector
    }

    /// Writes the configuration and starts nothing.
    pub fn prepare(folder: &Path, extra: &str, scheme: &str) -> Self {
        std::fs::create_dir_all(folder).expect("the folder can be made");
        let port = free_port();
        let config = format!("listen: 127.0.0.1:{port}\ndata: {}\n{extra}", folder.join("data").display());
        std::fs::write(folder.join("pantau.yaml"), config).expect("the configuration can be written");
        Self {
            process: None,
            base: format!("{scheme}://127.0.0.1:{port}"),
            folder: folder.into(),
            http: Http::default(),
            wrapper: None,
        }
    }

    /// Starts it (again) and waits until it is ready.
    pub fn restart(&mut self) {
        self.spawn();
        let url = format!("{}/-/ready", self.base);
        let (http, process) = (&self.http, self.process.as_mut().expect("just started"));
        process.wait_until("ready", || http.get(&url).ok().filter(|answer| answer.status == 200));
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) {
        let own = program("pantau-collector");
        let mut command = self.wrapper.take().map_or(own, |mut wrapper| {
            wrapper.arg(program("pantau-collector").get_program());
            wrapper
        });
        command.arg("--config").arg(self.folder.join("pantau.yaml"));
        self.process = Some(Running::start("collector", &mut command, &self.folder));
    }

    /// Runs one of its other words, such as `agents add`, and returns what it printed; panics where it fails.
    pub fn command(&self, words: &[&str]) -> String {
        run_word(&self.folder.join("pantau.yaml"), words)
    }

    /// Enrols an agent and returns its token.
    pub fn enrol(&self, name: &str, region: &str, site: &str) -> String {
        enrol_at(&self.folder.join("pantau.yaml"), name, region, site)
    }

    /// An instant query's only value.
    pub fn value(&self, query: &str) -> Option<f64> {
        self.http.query_value(&self.base, query)
    }

    /// Waits for an instant query's only value to satisfy `fits`.
    pub fn wait_for_value(&self, query: &str, fits: impl Fn(f64) -> bool) -> f64 {
        crate::wait_for(query, std::time::Duration::from_secs(60), || {
            self.value(query).filter(|value| fits(*value))
        })
    }

    /// The running process.
    pub fn running(&mut self) -> &mut Running {
        self.process.as_mut().expect("the collector was started")
    }
}

/// Runs one of the collector's other words with this configuration; panics where it fails.
pub fn run_word(config: &Path, words: &[&str]) -> String {
    let mut command = program("pantau-collector");
    let output = command
        .arg("--config")
        .arg(config)
        .args(words)
        .output()
        .expect("the collector's program can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?} ended with {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Enrols an agent in a collector's folder and returns its token.
pub fn enrol_at(config: &Path, name: &str, region: &str, site: &str) -> String {
    let said = run_word(config, &["agents", "add", name, "--region", region, "--site", site]);
    let words = said.split(|symbol: char| !symbol.is_ascii_alphanumeric() && symbol != '_' && symbol != '-');
    // The only word of that length: 256 random bits; a fingerprint is announced as such.
    let token =
        words.clone().zip(words.skip(1)).find(|(before, word)| word.len() >= 43 && *before != "sha256");
    token.unwrap_or_else(|| panic!("no token in {said:?}")).1.to_owned()
}

/// An agent with its own folder; ended when dropped.
pub struct Agent {
    /// The process, while it runs.
    pub process: Option<Running>,
    /// Configuration, spool and logs.
    pub folder: PathBuf,
}

impl Agent {
    /// Starts an agent with this configuration (`{spool}` stands for its spool's folder).
    pub fn start(folder: &Path, config: &str) -> Self {
        std::fs::create_dir_all(folder).expect("the folder can be made");
        let config = config.replace("{spool}", &folder.join("spool").display().to_string());
        std::fs::write(folder.join("agent.yaml"), config).expect("the configuration can be written");
        let mut agent = Self { process: None, folder: folder.into() };
        agent.restart();
        agent
    }

    /// Starts it (again).
    pub fn restart(&mut self) {
        let mut command: Command = program("pantau-agent");
        command.arg("run").arg("--config").arg(self.folder.join("agent.yaml"));
        self.process = Some(Running::start("agent", &mut command, &self.folder));
    }

    /// The running process.
    pub fn running(&mut self) -> &mut Running {
        self.process.as_mut().expect("the agent was started")
    }
}
