//! Which agents (and other senders) may write, kept in one file: `agents.json` in the data folder.
//!
//! In: `pantau-collector agents add|revoke`, another process, under a lock. Out: for each request the enrolled [`Agent`] whose
//! token it shows. The collector looks at the file's inode, size and time on every authentication (one system call), so that an
//! enrolment works and a revocation bites with the next request. `docs/decisions/0005-enrolment-file.md` says why it is a file.
//!
//! A token is 256 random bits, shown once and kept as SHA-256. A file that is gone enrols nobody; one that cannot be read leaves
//! in force what was read before, and says so. Bounds: [`AGENTS_MAX`] agents, [`FILE_BYTES_MAX`] bytes.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use journal::disk::{Disk, DiskLock, RealDisk};
use model::{RegionCode, Timestamp};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::auth::Digest;

/// The file's name in the data folder.
pub const FILE_NAME: &str = "agents.json";
/// The most agents that one collector enrols.
pub const AGENTS_MAX: usize = 10_000;
/// The largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// The longest name of an agent or a site, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Names that are no agent's: the collector's own agent, senders without a token on this machine, the collector's rules, and what it says
/// of itself.
pub const RESERVED: [&str; 4] = [EMBEDDED, ANONYMOUS, RULES, crate::self_series::JOB];
/// The collector's own agent.
pub const EMBEDDED: &str = "embedded";
/// Senders without a token on this machine.
pub const ANONYMOUS: &str = "anonymous";
/// What rules write.
pub const RULES: &str = "pantau-rules";

/// What every token begins with, so that people and scanners for lost secrets know one when they see it.
const TOKEN_PREFIX: &str = "pantau_";
const FORMAT_VERSION: u32 = 1;
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// One enrolled sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name, unique.
    pub name: String,
    /// The government that owns what it reports.
    pub region: RegionCode,
    /// The site that it reports from.
    pub site: String,
    /// Digest of its token.
    pub token: Digest,
    /// When it was enrolled.
    pub added: Timestamp,
    /// Since when its token is worth nothing.
    pub revoked: Option<Timestamp>,
}

/// Why the enrolment could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The file or its lock cannot be read or written.
    #[error("cannot {what} {path}: {why}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// The file's content is not ours.
    #[error("cannot read {path}: {why}; restore it from a backup, or remove it and enrol the agents again", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Somebody else holds the lock.
    #[error("cannot lock {path}: another `agents` command holds it; try again", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A name that cannot be one.
    #[error(
        "{name:?} is no {what}: use 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit"
    )]
    BadName {
        /// Agent or site.
        what: &'static str,
        /// As it was given.
        name: String,
    },
    /// A name that means something else.
    #[error(
        "{0:?} is not for agents: it names the collector's own or a sender without token; choose another name"
    )]
    Reserved(String),
    /// The name is taken.
    #[error(
        "agent {0:?} is enrolled already; to give it a new token: pantau-collector agents revoke {0}, then add it again"
    )]
    Exists(String),
    /// There is no such agent.
    #[error("no agent {0:?} is enrolled; see pantau-collector agents list")]
    Unknown(String),
    /// No room for one more.
    #[error("{AGENTS_MAX} agents are enrolled, the most that one collector takes; revoke and prune some")]
    Full,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    agents: Vec<Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    region: RegionCode,
    site: String,
    token_sha256: String,
    added_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_ms: Option<i64>,
}

/// Checks a name of an agent or a site.
pub fn check_name(what: &'static str, name: &str) -> Result<(), EnrolmentError> {
    let symbols = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if symbols && first && name.len() <= NAME_BYTES_MAX {
        Ok(())
    } else {
        Err(EnrolmentError::BadName { what, name: name.chars().take(2 * NAME_BYTES_MAX).collect() })
    }
}

/// The enrolled senders, as the file says now. See the module's text.
pub struct Enrolment {
    path: PathBuf,
    loaded: RwLock<Loaded>,
}

/// What tells one state of the file from another: it is always replaced whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    changed: SystemTime,
    bytes: u64,
    /// Inode, and when it was last changed in any way: a file that could not be read may become readable.
    inode: (u64, i64, i64),
}

#[derive(Default)]
struct Loaded {
    mark: Option<Mark>,
    agents: Arc<[Arc<Agent>]>,
    by_token: HashMap<Digest, Arc<Agent>>,
}

impl Enrolment {
    /// Reads the file of a data folder; none there enrols nobody.
    pub fn open(data: &Path) -> Result<Self, EnrolmentError> {
        let path = data.join(FILE_NAME);
        let loaded = load(&path, mark_of(&path))?;
        Ok(Self { path, loaded: RwLock::new(loaded) })
    }

    /// The sender whose token has this digest, if it is enrolled at this moment.
    pub fn authenticate(&self, token: &Digest) -> Option<Arc<Agent>> {
        self.refresh();
        let loaded = self.loaded.read().expect("nothing panics while it holds this lock");
        let agent = loaded.by_token.get(token)?;
        (bool::from(agent.token.ct_eq(token)) && agent.revoked.is_none()).then(|| Arc::clone(agent))
    }

    /// All agents, the revoked ones too, by name.
    pub fn agents(&self) -> Arc<[Arc<Agent>]> {
        self.refresh();
        Arc::clone(&self.loaded.read().expect("nothing panics while it holds this lock").agents)
    }

    fn refresh(&self) {
        let mark = mark_of(&self.path);
        if self.loaded.read().expect("nothing panics while it holds this lock").mark == mark {
            return;
        }
        let mut loaded = self.loaded.write().expect("nothing panics while it holds this lock");
        if loaded.mark == mark {
            return;
        }
        match load(&self.path, mark) {
            Ok(new) => {
                tracing::info!("read {}: {} agents", self.path.display(), new.agents.len());
                *loaded = new;
            }
            Err(error) => {
                tracing::error!("{error}; what was read before stays in force");
                loaded.mark = mark; // said once for each state of the file
            }
        }
    }
}

fn mark_of(path: &Path) -> Option<Mark> {
    let status = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = {
        use std::os::unix::fs::MetadataExt as _;
        (status.ino(), status.ctime(), status.ctime_nsec())
    };
    #[cfg(not(unix))]
    let inode = (0, 0, 0);
    Some(Mark { changed: status.modified().ok()?, bytes: status.len(), inode })
}

fn load(path: &Path, mark: Option<Mark>) -> Result<Loaded, EnrolmentError> {
    let agents: Vec<Arc<Agent>> = read_agents(path)?.into_iter().map(Arc::new).collect();
    let by_token = agents.iter().map(|agent| (agent.token, Arc::clone(agent))).collect();
    Ok(Loaded { mark, agents: agents.into(), by_token })
}

fn read_agents(path: &Path) -> Result<Vec<Agent>, EnrolmentError> {
    let io = |why| EnrolmentError::Io { what: "read", path: path.into(), why };
    let Some(bytes) = journal::files::read(&RealDisk, path, FILE_BYTES_MAX).map_err(io)? else {
        return Ok(Vec::new());
    };
    parse_agents(&bytes).map_err(|why| EnrolmentError::Unreadable { path: path.into(), why })
}

fn parse_agents(bytes: &[u8]) -> Result<Vec<Agent>, String> {
    let content: Content = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if content.version != FORMAT_VERSION {
        return Err(format!("its version is {}, and this program knows {FORMAT_VERSION}", content.version));
    }
    let mut agents: Vec<Agent> =
        content.agents.into_iter().map(Entry::into_agent).collect::<Result<_, _>>()?;
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    match agents.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(format!("agent {:?} stands in it twice", pair[0].name)),
        None if agents.len() > AGENTS_MAX => Err(format!("it holds more than {AGENTS_MAX} agents")),
        None => Ok(agents),
    }
}

impl Entry {
    fn into_agent(self) -> Result<Agent, String> {
        check_name("agent name", &self.name).map_err(|error| error.to_string())?;
        check_name("site name", &self.site).map_err(|error| error.to_string())?;
        let token = Digest::from_hex(&self.token_sha256);
        let token =
            token.ok_or_else(|| format!("token_sha256 of {:?} is not 64 hexadecimal digits", self.name))?;
        Ok(Agent {
            name: self.name,
            region: self.region,
            site: self.site,
            token,
            added: Timestamp::from_millis(self.added_ms),
            revoked: self.revoked_ms.map(Timestamp::from_millis),
        })
    }

    fn from_agent(agent: &Agent) -> Self {
        Self {
            name: agent.name.clone(),
            region: agent.region.clone(),
            site: agent.site.clone(),
            token_sha256: agent.token.to_hex(),
            added_ms: agent.added.as_millis(),
            revoked_ms: agent.revoked.map(Timestamp::as_millis),
        }
    }
}

/// Enrols an agent and gives its token, which nobody can read again. A revoked agent of that name is enrolled anew.
pub fn add(
    data: &Path,
    name: &str,
    region: RegionCode,
    site: &str,
    now: Timestamp,
) -> Result<settings::SecretText, EnrolmentError> {
    check_name("agent name", name)?;
    check_name("site name", site)?;
    if RESERVED.contains(&name) {
        return Err(EnrolmentError::Reserved(name.into()));
    }
    let token = new_token();
    change(data, |agents| {
        if agents.iter().any(|agent| agent.name == name && agent.revoked.is_none()) {
            return Err(EnrolmentError::Exists(name.into()));
        }
        agents.retain(|agent| agent.name != name);
        if agents.len() >= AGENTS_MAX {
            return Err(EnrolmentError::Full);
        }
        let token = Digest::of(token.expose());
        let (name, site) = (name.to_owned(), site.to_owned());
        agents.push(Agent { name, region, site, token, added: now, revoked: None });
        Ok(())
    })?;
    Ok(token)
}

/// Makes an agent's token worthless; an agent that is revoked already stays so.
pub fn revoke(data: &Path, name: &str, now: Timestamp) -> Result<(), EnrolmentError> {
    change(data, |agents| {
        let agent = agents.iter_mut().find(|agent| agent.name == name);
        let agent = agent.ok_or_else(|| EnrolmentError::Unknown(name.into()))?;
        agent.revoked = agent.revoked.or(Some(now));
        Ok(())
    })
}

/// All agents of a data folder, for commands that run beside the collector.
pub fn list(data: &Path) -> Result<Vec<Agent>, EnrolmentError> {
    read_agents(&data.join(FILE_NAME))
}

fn new_token() -> settings::SecretText {
    let mut bits = [0u8; 32];
    rand::rng().fill_bytes(&mut bits);
    settings::SecretText::new(&format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bits)))
}

fn change(
    data: &Path,
    edit: impl FnOnce(&mut Vec<Agent>) -> Result<(), EnrolmentError>,
) -> Result<(), EnrolmentError> {
    let path = data.join(FILE_NAME);
    let io = |what| {
        let path = path.clone();
        move |why| EnrolmentError::Io { what, path, why }
    };
    RealDisk.create_dir_all(data).map_err(io("create the folder of"))?;
    let held = lock(data)?;
    let mut agents = read_agents(&path)?;
    edit(&mut agents)?;
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    let content = Content { version: FORMAT_VERSION, agents: agents.iter().map(Entry::from_agent).collect() };
    let mut bytes = serde_json::to_vec_pretty(&content).expect("plain structs become JSON");
    bytes.push(b'\n');
    journal::files::replace(&RealDisk, &path, &bytes).map_err(io("write"))?;
    give_to_owner_of(data, &path).map_err(io("hand over"))?;
    drop(held);
    Ok(())
}

/// Gives a file to the owner of the data folder: an administrator runs the commands as root, the collector that must read what
/// they write does not.
pub(crate) fn give_to_owner_of(folder: &Path, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let (wanted, have) = (std::fs::metadata(folder)?, std::fs::metadata(path)?);
        if (wanted.uid(), wanted.gid()) != (have.uid(), have.gid()) && rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(wanted.uid()), Some(wanted.gid()))?;
        }
    }
    Ok(())
}

fn lock(data: &Path) -> Result<Box<dyn DiskLock>, EnrolmentError> {
    let path = data.join("agents.lock");
    for attempt in 0..LOCK_TRIES {
        if attempt > 0 {
            std::thread::sleep(LOCK_PAUSE);
        }
        match RealDisk.lock(&path) {
            Ok(Some(held)) => {
                return match give_to_owner_of(data, &path) {
                    Ok(()) => Ok(held),
                    Err(why) => Err(EnrolmentError::Io { what: "hand over", path, why }),
                };
            }
            Ok(None) => {}
            Err(why) => return Err(EnrolmentError::Io { what: "lock", path, why }),
        }
    }
    Err(EnrolmentError::Locked { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> RegionCode {
        "33.19".parse().expect("a code")
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn an_enrolment_works_at_once_and_a_revocation_bites_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let enrolment = Enrolment::open(folder.path()).expect("no file is an empty one");
        let token = add(folder.path(), "kudus-gw", region(), "kudus-1", at(1)).expect("added");
        let digest = Digest::of(token.expose());
        let agent = enrolment.authenticate(&digest).expect("enrolled while the collector runs");
        assert_eq!(
            (agent.name.as_str(), agent.region.as_str(), agent.site.as_str()),
            ("kudus-gw", "33.19", "kudus-1")
        );
        assert!(enrolment.authenticate(&Digest::of("pantau_guess")).is_none());
        revoke(folder.path(), "kudus-gw", at(2)).expect("revoked");
        assert!(enrolment.authenticate(&digest).is_none());
        assert_eq!(enrolment.agents()[0].revoked, Some(at(2)));
    }

    /// An agent `pantau-rules` would have shared the rules' limits, and what it fell silent with.
    #[test]
    fn nobody_is_enrolled_under_a_name_of_the_collectors_own() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["embedded", "anonymous", "pantau-rules", "pantau-collector"] {
            let refused = add(folder.path(), name, region(), "dc", at(0));
            assert!(matches!(refused, Err(EnrolmentError::Reserved(_))), "{name}");
        }
    }

    #[test]
    fn a_name_is_enrolled_once_and_again_after_its_revocation() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = add(folder.path(), "a", region(), "s", at(1)).expect("added");
        assert!(matches!(add(folder.path(), "a", region(), "s", at(1)), Err(EnrolmentError::Exists(_))));
        revoke(folder.path(), "a", at(2)).expect("revoked");
        let second = add(folder.path(), "a", region(), "s", at(3)).expect("added again");
        assert_ne!(first.expose(), second.expose());
        let enrolment = Enrolment::open(folder.path()).expect("readable");
        assert!(enrolment.authenticate(&Digest::of(first.expose())).is_none());
        assert!(enrolment.authenticate(&Digest::of(second.expose())).is_some());
        assert!(matches!(revoke(folder.path(), "b", at(2)), Err(EnrolmentError::Unknown(_))));
    }

    #[test]
    fn the_file_never_holds_a_token_and_the_token_never_prints() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let token = add(folder.path(), "a", region(), "s", at(1)).expect("added");
        assert_eq!(token.expose().len(), TOKEN_PREFIX.len() + 43, "256 bits in base64");
        let text = std::fs::read_to_string(folder.path().join(FILE_NAME)).expect("the file");
        assert!(!text.contains(token.expose()) && text.contains("\"33.19\""), "{text}");
        assert_eq!(format!("{token:?}"), "<hidden>");
    }

    #[test]
    fn a_damaged_file_leaves_in_force_what_was_read_and_a_lost_one_enrols_nobody() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let token = add(folder.path(), "a", region(), "s", at(1)).expect("added");
        let digest = Digest::of(token.expose());
        let enrolment = Enrolment::open(folder.path()).expect("readable");
        std::fs::write(folder.path().join(FILE_NAME), "{").expect("written");
        assert!(enrolment.authenticate(&digest).is_some());
        assert!(matches!(Enrolment::open(folder.path()), Err(EnrolmentError::Unreadable { .. })));
        std::fs::remove_file(folder.path().join(FILE_NAME)).expect("removed");
        assert!(enrolment.authenticate(&digest).is_none());
    }

    /// Root enrols, the collector runs as a user of its own.
    #[cfg(unix)]
    #[test]
    fn files_belong_to_the_owner_of_the_data_folder() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        if std::os::unix::fs::chown(folder.path(), Some(4711), Some(4711)).is_err() {
            eprintln!("skipped: only root can give a folder away");
            return;
        }
        add(folder.path(), "a", region(), "s", at(1)).expect("added");
        for name in [FILE_NAME, "agents.lock"] {
            assert_eq!(std::fs::metadata(folder.path().join(name)).expect("there").uid(), 4711, "{name}");
        }
    }

    #[test]
    fn commands_at_the_same_time_lose_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let data = folder.path();
                scope.spawn(move || {
                    add(data, &format!("agent-{thread}"), region(), "s", at(1)).expect("added")
                });
            }
        });
        assert_eq!(list(folder.path()).expect("readable").len(), 4);
    }

    #[test]
    fn bad_content_is_named() {
        let check = |text: &str, expected: &str| {
            let error = parse_agents(text.as_bytes()).expect_err("bad content");
            assert!(error.contains(expected), "{error:?} should hold {expected:?}");
        };
        check("{}", "missing field");
        check(r#"{"version": 2, "agents": []}"#, "its version is 2");
        let entry = r#"{"name":"a","region":"33.19","site":"s","token_sha256":"00","added_ms":1}"#;
        check(&format!(r#"{{"version":1,"agents":[{entry}]}}"#), "64 hexadecimal digits");
        check(&format!(r#"{{"version":1,"agents":[{}]}}"#, entry.replace("33.19", "33.1")), "no region code");
        check(
            &format!(r#"{{"version":1,"agents":[{}]}}"#, entry.replace("\"a\"", "\"a b\"")),
            "no agent name",
        );
    }
}
