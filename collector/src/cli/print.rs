//! What the `agents` commands print: tables for people, JSON for programs.

use std::fmt::Write as _;

use model::{Date, Timestamp};
use serde::Serialize;
use settings::SecretText;

use crate::enrolment::Agent;
use crate::ledger::{AgentGaps, AgentStatus};
use crate::settings::Checked;
use crate::tls;

/// Where the agent looks for its settings.
const AGENT_FOLDER: &str = "/etc/pantau";

/// By what an agent believes the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The authority's fingerprint, 64 hexadecimal digits.
    Fingerprint(String),
    /// Nothing is encrypted, and both are on one machine.
    SameMachine,
    /// Nothing is encrypted here; something else protects the way, or it was asked for.
    Open,
}

impl Trust {
    /// As the settings have it.
    pub(super) fn of(settings: &Checked, address: &str) -> anyhow::Result<Self> {
        if let Some(files) = &settings.tls {
            return Ok(Self::Fingerprint(tls::fingerprint_in(&files.certificate)?));
        }
        let open = address.starts_with("http://") && !settings.listen.ip().is_loopback();
        Ok(if open { Self::Open } else { Self::SameMachine })
    }
}

/// The one line to run where the agent is, with what is good to know. The token goes through a pipe: what stands in the command
/// itself is seen in the list of processes and in sudo's log.
pub(super) fn enrolled(
    name: &str,
    address: &str,
    trust: &Trust,
    is_loopback: bool,
    token: &SecretText,
) -> String {
    let mut uplink = format!("collectors: [\\\"{address}\\\"], token: {{file: agent.token}}");
    match trust {
        Trust::Fingerprint(digits) => uplink.push_str(&format!(", ca_fingerprint: \\\"sha256:{digits}\\\"")),
        Trust::Open => uplink.push_str(", insecure: true"),
        Trust::SameMachine => {}
    }
    let token = token.expose();
    let mut text = format!(
        "enrolled {name}; the token is shown this once. Run there, where pantau-agent is installed (as root: without sudo):\n\n  \
         echo '{token}' | sudo sh -c 'set -eu; umask 022; mkdir -p {AGENT_FOLDER}; cd {AGENT_FOLDER}; if [ -e agent.yaml ]; then \
         printf \"{AGENT_FOLDER}/agent.yaml is there: replace it (it stays as agent.yaml.old)? [y/N] \"; read -r answer </dev/tty; \
         [ \"$answer\" = y ] || {{ echo \"nothing was changed\"; exit 1; }}; mv agent.yaml agent.yaml.old; fi; \
         (umask 077; cat >agent.token); echo \"uplink: {{{uplink}}}\" >agent.yaml' && sudo pantau-agent run\n\n\
         It runs until Ctrl-C. For good: `sudo systemctl enable --now pantau-agent`, with the unit in configs/systemd.\n"
    );
    if is_loopback {
        text.push_str("(the collector listens on loopback only: other machines cannot reach it yet; see `listen` in the settings)\n");
    }
    text
}

/// A line of `agents list --json`.
#[derive(Serialize)]
struct Listed<'a> {
    agent: &'a str,
    region: &'a str,
    site: &'a str,
    added_ms: i64,
    revoked_ms: Option<i64>,
    state: Option<&'a AgentStatus>,
}

/// The enrolled agents, with their state where a collector runs.
pub(super) fn list(agents: &[Agent], states: Option<&[AgentStatus]>, json: bool) -> String {
    let state =
        |agent: &Agent| states.and_then(|states| states.iter().find(|state| state.agent == agent.name));
    if json {
        let listed: Vec<Listed<'_>> = agents.iter().map(|agent| listed(agent, state(agent))).collect();
        return as_json(&listed);
    }
    let mut rows = vec![["AGENT", "REGION", "SITE", "STATE", "LAST SEEN", "CLOCK"].map(str::to_owned)];
    for agent in agents {
        let state = state(agent);
        let seen = state.and_then(|state| state.last_seen_ms).map_or("-".to_owned(), time);
        let clock = state
            .and_then(|state| state.clock_offset_seconds)
            .map_or("-".to_owned(), |offset| format!("{offset:+.3} s"));
        let word = match (agent.revoked, states.is_some(), state.and_then(|state| state.connected)) {
            (Some(_), ..) => "revoked",
            (None, false, _) => "unknown (no collector runs)",
            (None, true, Some(true)) => "connected",
            (None, true, Some(false)) => "silent",
            (None, true, None) if seen == "-" => "never came",
            (None, true, None) => "plain remote write",
        };
        rows.push([
            agent.name.clone(),
            agent.region.to_string(),
            agent.site.clone(),
            word.to_owned(),
            seen,
            clock,
        ]);
    }
    table(&rows)
}

fn listed<'a>(agent: &'a Agent, state: Option<&'a AgentStatus>) -> Listed<'a> {
    Listed {
        agent: &agent.name,
        region: agent.region.as_str(),
        site: &agent.site,
        added_ms: agent.added.as_millis(),
        revoked_ms: agent.revoked.map(Timestamp::as_millis),
        state,
    }
}

/// What is missing.
pub(super) fn gaps(agents: &[AgentGaps], json: bool) -> String {
    if json {
        return as_json(agents);
    }
    let mut rows = vec![["AGENT", "FROM", "TO", "LASTED", "CAUSE", "SAMPLES"].map(str::to_owned)];
    for agent in agents {
        for gap in &agent.gaps {
            let seconds = (gap.to_ms - gap.from_ms + 1) as u64 / 1000;
            let to = if gap.open { "now".to_owned() } else { time(gap.to_ms) };
            let samples = if gap.samples == 0 { "-".to_owned() } else { gap.samples.to_string() };
            let lasted = settings::Span::from_secs(seconds).to_string();
            rows.push([agent.agent.clone(), time(gap.from_ms), to, lasted, gap.cause.clone(), samples]);
        }
    }
    if rows.len() == 1 { format!("nothing is missing from {} agents\n", agents.len()) } else { table(&rows) }
}

fn as_json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain structs become JSON");
    text.push('\n');
    text
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:<width$}  ").expect("a String takes everything");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// UTC, to the second.
fn time(millis: i64) -> String {
    let seconds = millis.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let Date { year, month, day } = Date::from_days(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::GapView;

    #[test]
    fn times_are_dates() {
        let check = |millis, expected: &str| assert_eq!(time(millis), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(951_782_400_000, "2000-02-29T00:00:00Z");
        check(1_772_323_199_999, "2026-02-28T23:59:59Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00Z");
    }

    /// What people read, as it stood when somebody last looked at it; renewed with PANTAU_GOLDEN=1.
    fn check_golden(name: &str, text: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/golden").join(name);
        if std::env::var_os("PANTAU_GOLDEN").is_some() {
            std::fs::write(&path, text).expect("written");
        }
        let golden = std::fs::read_to_string(&path).expect("the golden file is there");
        assert_eq!(text, golden, "{name} is out of date: look at it, and renew it with PANTAU_GOLDEN=1");
    }

    fn line(trust: &Trust, address: &str) -> String {
        enrolled("kudus-gw-1", address, trust, false, &SecretText::new("pantau_abc"))
    }

    #[test]
    fn what_an_enrolment_prints() {
        let trust = Trust::Fingerprint("ab".repeat(32));
        check_golden("enrolled-tls.txt", &line(&trust, "https://pantau.example.go.id:9797"));
        let token = SecretText::new("pantau_abc");
        let here = enrolled("kudus-gw-1", "http://127.0.0.1:9797", &Trust::SameMachine, true, &token);
        check_golden("enrolled-loopback.txt", &here);
    }

    /// Runs the line in a folder of its own, without sudo and without starting anything.
    fn run_there(folder: &std::path::Path, text: &str) -> std::process::Output {
        let line = text.lines().find(|line| line.contains("pantau-agent run")).expect("the line");
        let line = line.replace("sudo sh", "sh").replace(AGENT_FOLDER, &folder.display().to_string());
        let line = line.replace("&& sudo pantau-agent run", "").replace("</dev/tty", "<answer");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]).output().expect("a shell")
    }

    #[cfg(unix)]
    #[test]
    fn the_line_to_run_there_makes_settings_that_the_agent_takes() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let trust = Trust::Fingerprint("ab".repeat(32));
        let text = line(&trust, "https://[fd00::1]:9797");
        let run = run_there(folder.path(), &text);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it is there");
        assert_eq!(read("agent.token"), "pantau_abc\n");
        let mode = std::fs::metadata(folder.path().join("agent.token")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let agent =
            pantau_agent::settings::Settings::load(&folder.path().join("agent.yaml")).expect("good settings");
        assert_eq!(agent.check_files().map_err(|error| error.to_string()), Ok(()));
        assert_eq!(agent.uplink.expect("given").collectors[0].as_str(), "https://[fd00::1]:9797");
    }

    #[cfg(unix)]
    #[test]
    fn the_line_to_run_there_asks_before_it_replaces_settings() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        write("agent.yaml", "mine");
        let text = line(&Trust::Open, "http://a:9797");
        for answer in ["n\n", "", "yes\n"] {
            write("answer", answer);
            assert!(!run_there(folder.path(), &text).status.success());
            assert_eq!((read("agent.yaml").as_str(), read("agent.token").as_str()), ("mine", ""));
        }
        write("answer", "y\n");
        let run = run_there(folder.path(), &text);
        assert!(
            run.status.success() && String::from_utf8_lossy(&run.stdout).contains("is there: replace it")
        );
        assert_eq!(read("agent.yaml.old"), "mine");
        assert!(read("agent.yaml").contains("insecure: true"), "{}", read("agent.yaml"));
    }

    #[test]
    fn gaps_are_a_table_or_one_sentence() {
        let gap = GapView { cause: "crashed".into(), from_ms: 0, to_ms: 89_999, samples: 0, open: false };
        let open = GapView { cause: "cut".into(), from_ms: 100_000, to_ms: 200_000, samples: 7, open: true };
        let mut agent = AgentGaps {
            agent: "kudus-gw".into(),
            region: None,
            site: None,
            covered: None,
            gaps: vec![gap, open],
            stamped_late: vec![],
        };
        let expected = "AGENT     FROM                  TO                    LASTED  CAUSE    SAMPLES\n\
                        kudus-gw  1970-01-01T00:00:00Z  1970-01-01T00:01:29Z  1m30s   crashed  -\n\
                        kudus-gw  1970-01-01T00:01:40Z  now                   1m40s   cut      7\n";
        assert_eq!(gaps(std::slice::from_ref(&agent), false), expected);
        agent.gaps.clear();
        assert_eq!(gaps(&[agent], false), "nothing is missing from 1 agents\n");
    }
}
