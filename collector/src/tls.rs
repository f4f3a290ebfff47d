//! Certificates: a private authority and server certificate (`tls init`), and the listener's certificate, which reloads.
//!
//! The authority lasts ten years, a server certificate two; `tls init` run again makes a new server certificate of the same
//! authority, so that the fingerprint that the agents hold stays right. Key files are for their owner only. The server sends the
//! authority's certificate along: an agent needs nothing but its fingerprint (SHA-256 of the DER form).

mod names;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use settings::Mistake;
use sha2::{Digest as _, Sha256};

use crate::enrolment;
use crate::settings::TlsFiles;

pub use names::CertName;

/// Folder of certificates within the data folder.
pub const FOLDER: &str = "tls";
/// The authority's certificate.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// The authority's private key.
pub const CA_KEY: &str = "ca.key";
/// The server's certificate and, behind it, the authority's.
pub const CERTIFICATE: &str = "server.pem";
/// The server's private key.
pub const KEY: &str = "server.key";

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unusable {
    /// The setting concerned, in the section `tls`.
    key: &'static str,
    why: String,
}

impl Unusable {
    fn certificate(path: &Path, why: impl std::fmt::Display) -> Self {
        Self { key: "certificate", why: format!("cannot read the certificate {}: {why}", path.display()) }
    }

    fn key(why: String) -> Self {
        Self { key: "key", why }
    }

    /// As a mistake in the section `tls`.
    pub fn mistake(&self) -> Mistake {
        Mistake::at(self.key, self.why.as_str())
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const NAMES_MAX: usize = 100;

/// What `tls init` made.
#[derive(Debug)]
pub struct Made {
    /// The authority's fingerprint, 64 hexadecimal digits.
    pub fingerprint: String,
    /// Whether the authority is new.
    pub new_authority: bool,
    /// The folder.
    pub folder: PathBuf,
}

/// Makes a server certificate for names and addresses, and the authority that signs it where there is none yet.
pub fn init(data: &Path, names: &[String]) -> anyhow::Result<Made> {
    if names.is_empty() || names.len() > NAMES_MAX {
        bail!(
            "name the server: one to {NAMES_MAX} host names or addresses by which agents and readers reach it"
        );
    }
    for name in names {
        name.parse::<CertName>().map_err(anyhow::Error::msg)?;
    }
    let folder = data.join(FOLDER);
    make_folder(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    enrolment::give_to_owner_of(data, &folder)
        .with_context(|| format!("cannot hand over {}", folder.display()))?;
    let new_authority = !folder.join(CA_KEY).exists();
    if new_authority {
        make_authority(&folder).context("cannot make the authority")?;
    }
    make_server(&folder, names).context("cannot make the server's certificate")?;
    let fingerprint = fingerprint_in(&folder.join(CA_CERTIFICATE))?;
    Ok(Made { fingerprint, new_authority, folder })
}

fn make_authority(folder: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Pantau private authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, 3650);
    let certificate = params.self_signed(&key)?;
    write_file(&folder.join(CA_CERTIFICATE), &certificate.pem(), false)?;
    // The key comes last: it is what says that the authority is there.
    write_file(&folder.join(CA_KEY), &key.serialize_pem(), true)
}

fn make_server(folder: &Path, names: &[String]) -> anyhow::Result<()> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (ca_pem, ca_key) = (read(CA_CERTIFICATE)?, read(CA_KEY)?);
    let authority = Issuer::from_ca_cert_pem(&ca_pem, KeyPair::from_pem(&ca_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, 730);
    let certificate = params.signed_by(&key, &authority)?;
    write_file(&folder.join(KEY), &key.serialize_pem(), true)?;
    write_file(&folder.join(CERTIFICATE), &format!("{}{ca_pem}", certificate.pem()), false)
}

/// From yesterday, because clocks differ.
fn set_validity(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + days * DAY).into();
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes beside and renames, so that a reload never meets half a file.
fn write_file(path: &Path, text: &str, secret: bool) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
    let write = || {
        drop(std::fs::remove_file(&beside)); // left by a run that was cut short
        let mut file = options.open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    hand_over(path)
}

/// To the owner of the data folder, which holds the folder of certificates.
fn hand_over(path: &Path) -> anyhow::Result<()> {
    let Some(data) = path.ancestors().nth(2) else { return Ok(()) };
    let given = enrolment::give_to_owner_of(data, path);
    given.with_context(|| format!("cannot hand {} over to the owner of {}", path.display(), data.display()))
}

/// The fingerprint of the last certificate in a PEM file: of a chain, the authority's.
pub fn fingerprint_in(path: &Path) -> anyhow::Result<String> {
    let chain = read_chain(path)?;
    let authority = chain.last().expect("read_chain gives one certificate at least");
    Ok(Sha256::digest(authority).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The names under which a server with this certificate can be reached.
pub fn names_in(path: &Path) -> anyhow::Result<Vec<CertName>> {
    let chain = read_chain(path)?;
    let own = chain.first().expect("read_chain gives one certificate at least");
    names::names_in(own).map_err(|why| Unusable::certificate(path, why).into())
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    if !path.exists() {
        let why = format!(
            "there is no certificate {}: make one by `pantau-collector --config FILE tls init NAME…` (names and addresses by which \
             agents reach this collector), or say where it is under `tls`",
            path.display()
        );
        return Err(Unusable { key: "certificate", why });
    }
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| Unusable::certificate(path, pem_error(&error)))?;
    if chain.is_empty() {
        return Err(Unusable::certificate(path, "it holds no certificate"));
    }
    Ok(chain)
}

/// The system's words where it is the system's fault.
fn pem_error(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(why) => why.to_string(),
        rustls::pki_types::pem::Error::NoItemsFound => "it holds nothing in PEM form".into(),
        other => other.to_string(),
    }
}

/// The listener's certificate, replaced as a whole.
#[derive(Debug)]
pub struct Certificate {
    files: ArcSwap<TlsFiles>,
    current: ArcSwap<CertifiedKey>,
    seen: std::sync::Mutex<Option<[SystemTime; 2]>>,
}

impl Certificate {
    /// Reads certificate and key.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, Unusable> {
        let current = ArcSwap::from_pointee(read_certified(files)?);
        let seen = std::sync::Mutex::new(times(files));
        Ok(Arc::new(Self { files: ArcSwap::from_pointee(files.clone()), current, seen }))
    }

    /// Reads the files again where they changed; what cannot be read leaves the old ones in force. Answers whether they changed.
    pub fn refresh(&self) -> Result<bool, Unusable> {
        let files = self.files.load_full();
        let now = times(&files);
        {
            let mut seen = self.seen.lock().expect("nothing panics while it holds this lock");
            if *seen == now {
                return Ok(false);
            }
            *seen = now; // each state of the files is tried once
        }
        self.current.store(Arc::new(read_certified(&files)?));
        Ok(true)
    }

    /// Takes other files; what cannot be read changes nothing.
    pub fn replace(&self, files: &TlsFiles) -> Result<(), Unusable> {
        self.current.store(Arc::new(read_certified(files)?));
        self.files.store(Arc::new(files.clone()));
        *self.seen.lock().expect("nothing panics while it holds this lock") = times(files);
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn times(files: &TlsFiles) -> Option<[SystemTime; 2]> {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|status| status.modified()).ok();
    Some([changed(&files.certificate)?, changed(&files.key)?])
}

fn read_certified(files: &TlsFiles) -> Result<CertifiedKey, Unusable> {
    let chain = read_chain(&files.certificate)?;
    let unreadable = |error| {
        Unusable::key(format!("cannot read the private key {}: {}", files.key.display(), pem_error(&error)))
    };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable)?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let why = match error {
            rustls::Error::InconsistentKeys(_) => "it is the key of another certificate".to_owned(),
            other => other.to_string(),
        };
        Unusable::key(format!("cannot use the private key {key} with the certificate {certificate}: {why}"))
    })
}

/// The listener's TLS: versions 1.2 and 1.3, HTTP/1.1, resumption by tickets (thousands of agents come back after a restart of
/// the way to them).
pub fn server_config(certificate: Arc<Certificate>) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> TlsFiles {
        TlsFiles { certificate: folder.join("tls/server.pem"), key: folder.join("tls/server.key") }
    }

    #[test]
    fn a_second_init_keeps_the_authority_and_its_fingerprint() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let first = init(data.path(), &["localhost".into(), "127.0.0.1".into()]).expect("made");
        let certificate = std::fs::read(data.path().join("tls/server.pem")).expect("there");
        let second = init(data.path(), &["localhost".into()]).expect("made again");
        assert!(first.new_authority && !second.new_authority);
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_eq!(fingerprint_in(&data.path().join("tls/server.pem")).expect("readable"), first.fingerprint);
        assert_ne!(std::fs::read(data.path().join("tls/server.pem")).expect("there"), certificate);
        assert!(init(data.path(), &[]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = tempfile::tempdir().expect("a temporary folder");
        init(data.path(), &["localhost".into()]).expect("made");
        for key in [CA_KEY, KEY] {
            let mode =
                std::fs::metadata(data.path().join(FOLDER).join(key)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_changed_certificate_is_taken_and_a_broken_one_is_not() {
        let data = tempfile::tempdir().expect("a temporary folder");
        init(data.path(), &["localhost".into()]).expect("made");
        let certificate = Certificate::load(&files(data.path())).expect("readable");
        let first = certificate.current.load_full();
        assert!(!certificate.refresh().expect("nothing to do"));
        init(data.path(), &["localhost".into()]).expect("made again");
        certificate.replace(&files(data.path())).expect("readable");
        let second = certificate.current.load_full();
        assert_ne!(first.cert[0], second.cert[0]);
        std::fs::write(data.path().join("tls/server.key"), "nonsense").expect("written");
        assert!(certificate.refresh().is_err());
        assert_eq!(certificate.current.load_full().cert[0], second.cert[0], "the old one stays in force");
    }

    #[test]
    fn a_certificate_has_the_names_that_it_was_made_for() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let names = ["pantau.example.go.id", "10.1.2.3", "fd00::1"].map(str::to_owned);
        init(data.path(), &names).expect("made");
        let read = names_in(&data.path().join("tls/server.pem")).expect("readable");
        assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
        let error = init(data.path(), &["https://a".into()]).expect_err("no name").to_string();
        assert!(error.contains("neither a host name nor an IP address"), "{error}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for data in [&one, &other] {
            init(data.path(), &["localhost".into()]).expect("made");
        }
        let mixed = TlsFiles { key: files(other.path()).key, ..files(one.path()) };
        assert!(Certificate::load(&mixed).is_err());
    }
}
