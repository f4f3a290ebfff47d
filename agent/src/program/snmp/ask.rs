//! Whom to ask and as whom: the options of `walk` and `explain`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use settings::{Secret, Span};
use snmp::engine::{Credential, Target};
use snmp::usm::{AuthProtocol, Context as UserContext, PrivProtocol, User};
use snmp::{Community, Version};

use crate::inputs::snmp::Known;
use crate::settings::Settings;

const PORT: u16 = 161;
/// Where the community is looked for when nothing says where it is.
const COMMUNITY_VARIABLE: &str = "PANTAU_SNMP_COMMUNITY";

/// Whom to ask, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Asking {
    /// A device: its name in the settings, or an address or host name, with a port where it is not 161.
    target: String,
    #[command(flatten)]
    credentials: Credentials,
    /// How long the first try waits for a reply, such as 3s.
    #[arg(short, long, value_name = "SPAN")]
    timeout: Option<String>,
    /// Tries after the first.
    #[arg(short, long, value_name = "N")]
    retries: Option<u32>,
    /// The own address to ask from.
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Another address that the device may answer from; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    accept_reply_from: Vec<IpAddr>,
}

/// As whom.
#[derive(Clone, Debug, clap::Args)]
pub struct Credentials {
    /// 1, 2c or 3; 2c where neither this nor a user is given.
    #[arg(short = 'v', long = "version", value_name = "VERSION")]
    version: Option<String>,
    /// A file with the community of v1 and v2c.
    #[arg(long, value_name = "FILE")]
    community_file: Option<PathBuf>,
    /// An environment variable with the community [default: PANTAU_SNMP_COMMUNITY].
    #[arg(long, value_name = "NAME")]
    community_env: Option<String>,
    /// The user of v3.
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    /// md5, sha1, sha224, sha256, sha384 or sha512.
    #[arg(short, long, value_name = "PROTOCOL")]
    auth: Option<String>,
    /// A file with the phrase for --auth.
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// An environment variable with the phrase for --auth.
    #[arg(long, value_name = "NAME")]
    auth_env: Option<String>,
    /// des, aes128, aes192, aes256, aes192c or aes256c (c: as Cisco extends keys).
    #[arg(short = 'x', long = "priv", value_name = "PROTOCOL")]
    privacy: Option<String>,
    /// A file with the phrase for --priv.
    #[arg(long, value_name = "FILE")]
    priv_file: Option<PathBuf>,
    /// An environment variable with the phrase for --priv.
    #[arg(long, value_name = "NAME")]
    priv_env: Option<String>,
    /// The context of v3.
    #[arg(short = 'n', long, value_name = "NAME", default_value = "")]
    context: String,
}

/// Whom to ask, with what the settings know of it.
#[derive(Debug)]
pub struct Asked {
    /// Whom the engine asks, and how.
    pub target: Target,
    /// The device in the settings; none if they do not have it.
    pub known: Option<Known>,
    /// What its credentials are called in the settings, in their order; nothing where the command line says who asks.
    pub credentials: Vec<String>,
}

impl Asking {
    /// Whom the engine asks: a device of the settings as the agent itself asks it, with what the command line says over it.
    ///
    /// # Errors
    /// Options that make no sense, secrets that cannot be read, names that have no address, settings that are wrong.
    pub async fn device(&self, settings: Option<&Settings>) -> anyhow::Result<Asked> {
        let known = match settings {
            Some(settings) => known(settings, &self.target)?,
            None => None,
        };
        let given = self.credentials.given()?;
        let mut target = match &known {
            Some(known) => known.target().await?,
            None if given.is_none() => bail!(
                "no community and no user: name a device of the settings (--config), set {COMMUNITY_VARIABLE}, or say where the \
                 secret is by --community-file, or who asks by --user"
            ),
            None => Target::new(self.target.as_str(), lookup(&self.target)?, Vec::new()),
        };
        let mut credentials = known.iter().flat_map(|known| known.credentials()).cloned().collect();
        if let Some(given) = given {
            target.credentials = vec![given];
            credentials = Vec::new();
        }
        if let Some(text) = &self.timeout {
            target.timeout = text.parse::<Span>().with_context(|| format!("--timeout {text}"))?.get();
            ensure!(target.timeout > Duration::ZERO, "--timeout {text}: it must be more than 0");
            target.timeout_max = target.timeout_max.max(target.timeout);
        }
        target.retries = self.retries.unwrap_or(target.retries);
        target.bind = self.bind.or(target.bind);
        target.accept_reply_from.extend(&self.accept_reply_from);
        Ok(Asked { target, known, credentials })
    }
}

/// A device of the settings, by its name or address.
fn known(settings: &Settings, name: &str) -> anyhow::Result<Option<Known>> {
    let inputs = &settings.inputs;
    let mut collection = settings.collection();
    collection.looks_only = true;
    let found = Known::find(&inputs.snmp, &inputs.snmp_common, &collection.context(), name);
    Ok(found.map_err(|mistake| settings.wrong(&mistake.under("inputs")))?)
}

impl Credentials {
    /// What the options say; none where they say nothing.
    fn given(&self) -> anyhow::Result<Option<Credential>> {
        let version = self.version.as_deref().map(|text| text.trim_start_matches('v'));
        match version {
            Some("3") if self.user.is_none() => bail!("v3 knows users, not communities: give --user"),
            Some("1" | "2c" | "3") | None => {}
            Some(other) => bail!("--version {other}: there are 1, 2c and 3"),
        }
        if self.user.is_some() {
            ensure!(matches!(version, Some("3") | None), "--user is for v3 alone");
            return self.user().map(Some);
        }
        let version = if version == Some("1") { Version::V1 } else { Version::V2c };
        let here = Path::new("");
        let by_default =
            || std::env::var_os(COMMUNITY_VARIABLE).map(|_| Secret::Env(COMMUNITY_VARIABLE.into()));
        let secret = place("community", &self.community_file, &self.community_env)?.or_else(by_default);
        let Some(secret) = secret else { return Ok(None) };
        let community = Community::new(secret.read(here)?.expose());
        Ok(Some(Credential::Community { version, community }))
    }

    fn user(&self) -> anyhow::Result<Credential> {
        let here = Path::new("");
        let name = self.user.as_deref().unwrap_or_default();
        let phrase = |what: &str, file, env| -> anyhow::Result<_> {
            let secret = place(what, file, env)?.with_context(|| {
                format!("--{what} needs its phrase: say where it is by --{what}-file or --{what}-env")
            })?;
            Ok(secret.read(here)?)
        };
        let auth = match &self.auth {
            Some(protocol) => {
                Some((protocol.parse::<AuthProtocol>()?, phrase("auth", &self.auth_file, &self.auth_env)?))
            }
            None => None,
        };
        let privacy = match &self.privacy {
            Some(protocol) => {
                Some((protocol.parse::<PrivProtocol>()?, phrase("priv", &self.priv_file, &self.priv_env)?))
            }
            None => None,
        };
        let user = User::new(
            name.as_bytes(),
            auth.as_ref().map(|(protocol, phrase)| (*protocol, phrase.expose().as_bytes())),
            privacy.as_ref().map(|(protocol, phrase)| (*protocol, phrase.expose().as_bytes())),
        )?;
        let context = UserContext { name: self.context.clone().into_bytes(), ..UserContext::default() };
        Ok(Credential::User { user, context })
    }
}

fn place(what: &str, file: &Option<PathBuf>, env: &Option<String>) -> anyhow::Result<Option<Secret>> {
    match (file, env) {
        (Some(_), Some(_)) => bail!("--{what}-file and --{what}-env are both given: take one away"),
        (Some(file), None) => Ok(Some(Secret::File(file.clone()))),
        (None, Some(name)) => Ok(Some(Secret::Env(name.clone()))),
        (None, None) => Ok(None),
    }
}

fn lookup(text: &str) -> anyhow::Result<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok((address, PORT).into());
    }
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let found = if has_port { text.to_socket_addrs() } else { (text, PORT).to_socket_addrs() };
    let mut found = found.with_context(|| format!("cannot find the address of {text:?}"))?;
    found.next().with_context(|| format!("{text:?} has no address"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        asking: Asking,
    }

    async fn read(line: &str, settings: Option<&Settings>) -> anyhow::Result<Asked> {
        Line::try_parse_from(line.split(' '))?.asking.device(settings).await
    }

    async fn check_wrong(line: &str, expected: &str) {
        let error = format!("{:#}", read(line, None).await.expect_err("it makes no sense"));
        assert!(error.contains(expected), "{error}");
    }

    #[tokio::test]
    async fn options_that_make_no_sense_say_what_would() {
        check_wrong("walk 10.0.0.1 -v 3", "give --user").await;
        check_wrong("walk 10.0.0.1 -v 4", "there are 1, 2c and 3").await;
        check_wrong("walk 10.0.0.1 -v 2c -u me", "--user is for v3 alone").await;
        check_wrong("walk 10.0.0.1 -u me -a sha", "--auth-file or --auth-env").await;
        check_wrong("walk 10.0.0.1 --community-file a --community-env B", "take one away").await;
        check_wrong("walk 10.0.0.1 --community-file /nowhere", "/nowhere").await;
        check_wrong("walk 10.0.0.1 -u me --timeout 3", "--timeout 3").await;
    }

    #[tokio::test]
    async fn addresses_are_read_with_and_without_a_port() {
        let check = async |line: &str, expected: &str| {
            assert_eq!(read(line, None).await.expect("good").target.address.to_string(), expected);
        };
        check("walk 10.0.0.1 -u me", "10.0.0.1:161").await;
        check("walk 10.0.0.1:1161 -v3 -u me", "10.0.0.1:1161").await;
        check("walk fd00::1 -u me", "[fd00::1]:161").await;
        check("walk [fd00::1] -u me", "[fd00::1]:161").await;
        check("walk [fd00::1]:1161 -u me", "[fd00::1]:1161").await;
    }

    /// All that the agent itself would use, from a list in a file too.
    #[tokio::test]
    async fn a_device_of_the_settings_is_asked_as_they_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("it can be written");
        };
        write("secret", "s3cret\n");
        write("list.yaml", "[{address: 10.0.0.9, name: sw9, timeout: 4s, deny: [1.3.6.1.2.1.4]}]");
        let text = "inputs: {snmp_common: {credentials: {old: {community: {file: secret}, version: v1}}, \
                    sites: {far: {in_flight_max: 2}}}, snmp: [{credentials: [old], site: far, retries: 5, \
                    requests_per_second: 3, deny: [1.3.6.1.9], files: [list.yaml]}]}\n";
        let mut settings: Settings = settings::parse(text, "agent.yaml").expect("good");
        settings.base = folder.path().to_owned();
        for name in ["sw9", "10.0.0.9", "10.0.0.9:161"] {
            let asked = read(&format!("walk {name}"), Some(&settings)).await.expect("the settings know it");
            let target = asked.target;
            assert_eq!((target.address.to_string(), &*target.name), ("10.0.0.9:161".to_owned(), "sw9"));
            let Credential::Community { version, community } = &target.credentials[0] else { panic!("v1") };
            assert_eq!((*version, community.as_bytes()), (Version::V1, &b"s3cret"[..]));
            assert_eq!((target.timeout, target.retries), (Duration::from_secs(4), 5));
            assert_eq!(
                (target.rate.requests_per_second, asked.credentials),
                (Some(3), vec!["old".to_owned()])
            );
            assert_eq!(target.site.map(|site| site.rate.in_flight_max), Some(2));
            assert_eq!(target.deny.len(), 2);
        }
        let asked = read("walk sw9 --timeout 1s --retries 0 -u me", Some(&settings)).await.expect("good");
        assert_eq!((asked.target.timeout, asked.target.retries), (Duration::from_secs(1), 0));
        assert!(
            asked.credentials.is_empty() && matches!(asked.target.credentials[..], [Credential::User { .. }])
        );
        assert!(read("walk sw8 -u me", Some(&settings)).await.is_err(), "it has no address");
    }
}
