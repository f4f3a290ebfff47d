//! The program itself, as a person or systemd runs it, against a collector that only listens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wire::identity::{Cause, Envelope};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn agent(config: &Path, word: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pantau-agent"));
    command.arg("--config").arg(config).arg(word).stdin(Stdio::null());
    command
}

fn output(config: &Path, word: &str) -> Output {
    agent(config, word).output().expect("the program runs")
}

/// Answers every batch with 204 and hands on what it said of itself and its token.
fn collector() -> (SocketAddr, Receiver<(Envelope, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || converse(stream, &sender));
        }
    });
    (address, receiver)
}

/// Until either side goes away.
fn converse(stream: TcpStream, sender: &Sender<(Envelope, String)>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let value =
            |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let mut body = vec![0; value("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        if let Some(envelope) = Envelope::from_headers(pairs).expect("a good identity") {
            sender.send((envelope, value("authorization")?)).ok()?;
        }
        reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\npantau-time: 1\r\n\r\n").ok()?;
    }
}

fn write_settings(folder: &Path, address: SocketAddr, more: &str) -> std::path::PathBuf {
    std::fs::write(folder.join("token"), "t0ken\n").expect("written");
    let text = format!(
        "identity: {{instance: kudus-1}}\nspool: {{folder: spool}}\nuplink:\n  collectors: [\"http://{address}\"]\n  token: {{file: token}}\n{more}"
    );
    let path = folder.join("agent.yaml");
    std::fs::write(&path, text).expect("written");
    path
}

struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Running {
    fn start(config: &Path) -> Self {
        let mut child = agent(config, "run").stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, log }
    }

    /// Reads the log up to a line that holds the text.
    fn wait_for(&mut self, text: &str) {
        let mut log = String::new();
        while !log.lines().last().is_some_and(|line| line.contains(text)) {
            assert_ne!(self.log.read_line(&mut log).expect("the log is text"), 0, "it ended: {log}");
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is our own child");
    }

    /// Waits for the end; what was logged.
    fn ended(mut self) -> (bool, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("the log is text");
        (self.child.wait().expect("our own child").success(), log)
    }
}

#[test]
fn check_says_good_or_where_the_mistake_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, _batches) = collector();
    let good = output(&write_settings(folder.path(), address, ""), "check");
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let bad = output(&write_settings(folder.path(), address, "  timeout: soon\n"), "check");
    let text = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(!bad.status.success() && text.contains("agent.yaml:6:12: "), "{text}");
    let missing = output(&folder.path().join("nowhere.yaml"), "run");
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && text.contains("nowhere.yaml"), "{text}");
}

#[test]
fn once_prints_a_collection_that_reads_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("agent.yaml");
    std::fs::write(&config, "identity: {instance: kudus-1}\n").expect("written");
    let printed = output(&config, "once");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let text = String::from_utf8(printed.stdout).expect("text");
    assert!(text.contains("# TYPE node_load1 gauge\n"), "{text}");
    let line = text.lines().find(|line| line.starts_with("node_load1{")).expect("every machine has a load");
    assert!(line.contains(r#"instance="kudus-1""#) && line.contains(r#"job="node""#), "{line}");
}

#[test]
fn run_without_a_collector_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("agent.yaml");
    std::fs::write(&config, "spool: {folder: spool}\n").expect("written");
    let (well, log) = Running::start(&config).ended();
    assert!(!well && log.contains("section uplink") && log.contains("agents add"), "{log}");
}

#[test]
fn a_run_sends_reloads_ends_in_order_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, batches) = collector();
    let config = write_settings(folder.path(), address, "");
    let mut running = Running::start(&config);
    let (first, token) = batches.recv_timeout(PATIENCE).expect("the first batch comes by itself");
    assert_eq!((first.identity.sequence, token.as_str()), (1, "Bearer t0ken"));
    assert!(first.identity.samples > 100 && first.identity.losses.is_empty(), "{:?}", first.identity);
    // A reload that is wrong changes nothing; one that is right takes the new token.
    std::fs::write(folder.path().join("token"), "an0ther\n").expect("written");
    write_settings_text(&config, "  nonsense: 1\n");
    running.signal(Signal::HUP);
    running.wait_for("nothing was reloaded");
    write_settings_text(&config, "  timeout: 20s\n");
    running.signal(Signal::HUP);
    running.wait_for("reloaded");
    running.signal(Signal::TERM);
    let (well, log) = running.ended();
    assert!(well, "{log}");
    let (last, token) = batches.try_iter().last().expect("the last batch was sent before the end");
    assert_eq!(token, "Bearer an0ther");
    let stopped =
        last.identity.losses.iter().find(|loss| loss.cause == Cause::Stopped).expect("the end has an order");
    assert_eq!(stopped.from.as_millis(), last.identity.to.as_millis() + 1);
    let again = Running::start(&config);
    let (next, _) = batches.recv_timeout(PATIENCE).expect("it goes on");
    assert_eq!(
        (next.identity.epoch, next.identity.sequence),
        (first.identity.epoch, last.identity.sequence + 1)
    );
    let gap =
        next.identity.losses.iter().find(|loss| loss.cause == Cause::Stopped).expect("the gap has its cause");
    assert_eq!(gap.from.as_millis(), last.identity.to.as_millis() + 1);
    assert_eq!(gap.to.as_millis(), next.identity.from.as_millis() - 1);
    again.signal(Signal::TERM);
    let (well, log) = again.ended();
    assert!(well, "{log}");
}

/// What is in the spool is safe: nobody waits for a collector that does not answer.
#[test]
fn an_end_without_a_collector_is_quick() {
    let folder = tempfile::tempdir().expect("a folder");
    // One that refuses, and one that takes connections and says nothing.
    let refusing = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    for address in [refusing, silent.local_addr().expect("bound")] {
        let more = "  timeout: 500ms\n";
        let mut running = Running::start(&write_settings(folder.path(), address, more));
        running.wait_for("batches wait in the spool");
        let begun = std::time::Instant::now();
        running.signal(Signal::TERM);
        let (well, log) = running.ended();
        assert!(well && log.contains("batches wait in the spool for the next start"), "{log}");
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(1500), "the end took {took:?}: {log}");
    }
}

/// Replaces what follows the first five lines.
fn write_settings_text(config: &Path, more: &str) {
    let text = std::fs::read_to_string(config).expect("readable");
    let head: Vec<&str> = text.lines().take(5).collect();
    std::fs::write(config, head.join("\n") + "\n" + more).expect("written");
}
