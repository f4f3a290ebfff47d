//! Which address an agent is told to report to.
//!
//! In: the settings, the names in the certificate, what the operator gave. Out: an address under which the agent will believe the
//! collector, or what to do so that there is one.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use pantau_agent::settings::CollectorUrl;

use crate::settings::Checked;
use crate::tls::{self, CertName};

/// The address, such as `https://pantau.example.go.id:9797`; `file` is the settings file, for commands in texts.
pub(super) fn address(
    settings: &Checked,
    file: Option<&Path>,
    given: Option<&str>,
) -> anyhow::Result<String> {
    let names = match &settings.tls {
        Some(files) => Some(tls::names_in(&files.certificate)?),
        None => None,
    };
    match given {
        Some(given) => check_given(settings, file, names.as_deref(), given),
        None => {
            let scheme = if names.is_some() { "https" } else { "http" };
            let host = usual_host(settings, file, names.as_deref())?;
            Ok(format!("{scheme}://{host}:{}", settings.listen.port()))
        }
    }
}

/// The listener's own address where the certificate has it; else the certificate's first name by which others can come.
fn usual_host(settings: &Checked, file: Option<&Path>, names: Option<&[CertName]>) -> anyhow::Result<String> {
    let own = settings.listen.ip();
    let Some(names) = names else {
        return Ok(if own.is_unspecified() { settings.instance.clone() } else { in_url(own) });
    };
    if names.contains(&CertName::Address(own)) {
        return Ok(in_url(own));
    }
    let first =
        names.iter().find(|name| name.leads_here()).or_else(|| names.iter().find(|name| !name.is_pattern()));
    match first {
        Some(CertName::Address(address)) => Ok(in_url(*address)),
        Some(CertName::Host(host)) => Ok(host.clone()),
        None => bail!(
            "the certificate {} has no name by which an agent can come: say one of those that it stands for by --address, or make \
             another certificate:  {} tls init NAME…",
            certificate(settings),
            program(file),
        ),
    }
}

fn check_given(
    settings: &Checked,
    file: Option<&Path>,
    names: Option<&[CertName]>,
    given: &str,
) -> anyhow::Result<String> {
    let url: CollectorUrl = given.parse().map_err(anyhow::Error::msg)?;
    // It will stand in a shell's command and in YAML.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/.-_~%[]".contains(&byte);
    if !url.as_str().bytes().all(plain) {
        bail!("{given:?} is no collector's address: write https://host:9797");
    }
    let Some(names) = names else { return Ok(url.as_str().to_owned()) };
    if !url.is_tls() {
        bail!("{given} is not encrypted, but this collector speaks TLS: write https://");
    }
    let uri: http::Uri = url.as_str().parse().with_context(|| format!("cannot read the address {given}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if names.iter().any(|name| name.covers(host)) {
        return Ok(url.as_str().to_owned());
    }
    let listed: Vec<String> = names.iter().map(ToString::to_string).collect();
    bail!(
        "{host} is not among the names of the certificate {}, so that no agent would believe it ({}): choose one of them, or make a \
         certificate with this name, too:  {} tls init {} {host}",
        certificate(settings),
        listed.join(", "),
        program(file),
        listed.join(" "),
    )
}

fn certificate(settings: &Checked) -> std::path::Display<'_> {
    settings.tls.as_ref().map_or(Path::new(""), |files| files.certificate.as_path()).display()
}

/// This program as it was called.
fn program(file: Option<&Path>) -> String {
    file.map_or("pantau-collector".into(), |file| format!("pantau-collector --config {}", file.display()))
}

fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(listen: &str, more: &str, names: &[&str]) -> (tempfile::TempDir, Checked) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("t"), "0123456789abcdef").expect("written");
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            tls::init(&folder.path().join("data"), &names).expect("made");
        }
        let text = format!(
            "listen: \"{listen}\"\nidentity: {{instance: dc-1}}\nreaders: [{{name: a, token: {{file: t}}}}]\n{more}"
        );
        let settings = Checked::parse(&text, "c", folder.path()).expect("good settings");
        (folder, settings)
    }

    fn check_usual(listen: &str, more: &str, names: &[&str], expected: &str) {
        let (_folder, settings) = settings(listen, more, names);
        assert_eq!(address(&settings, None, None).expect("an address"), expected);
    }

    #[test]
    fn the_usual_address_is_one_that_the_certificate_has() {
        let tls = "tls: {}\n";
        check_usual(
            "0.0.0.0:9797",
            tls,
            &["localhost", "127.0.0.1", "pantau.example", "10.1.2.3"],
            "https://pantau.example:9797",
        );
        check_usual("[::]:9797", tls, &["*.example", "fd00::1"], "https://[fd00::1]:9797");
        check_usual("10.1.2.3:443", tls, &["pantau.example", "10.1.2.3"], "https://10.1.2.3:443");
        check_usual("10.1.2.3:443", tls, &["pantau.example"], "https://pantau.example:443");
        check_usual("0.0.0.0:9797", tls, &["localhost"], "https://localhost:9797");
        check_usual("0.0.0.0:9797", "insecure: true\n", &[], "http://dc-1:9797");
        check_usual("[fd00::1]:9797", "insecure: true\n", &[], "http://[fd00::1]:9797");
        let (_folder, only_pattern) = settings("0.0.0.0:9797", tls, &["*.example"]);
        let error = address(&only_pattern, None, None).expect_err("no name").to_string();
        assert!(error.contains("--address") && error.contains("pantau-collector tls init NAME…"), "{error}");
    }

    #[test]
    fn an_address_that_agents_would_not_believe_is_refused() {
        let (_folder, settings) =
            settings("0.0.0.0:9797", "tls: {}\n", &["pantau.example", "*.dc.example", "fd00::1"]);
        let given = |text: &str| {
            address(&settings, Some(Path::new("c.yaml")), Some(text)).map_err(|error| error.to_string())
        };
        for good in ["https://pantau.example:9797", "https://a.dc.example", "https://[fd00::1]:9797"] {
            assert_eq!(given(good), Ok(good.to_owned()));
        }
        let error = given("https://other.example:9797").expect_err("no such name");
        assert!(error.starts_with("other.example is not among the names of the certificate "), "{error}");
        assert!(error.contains("(pantau.example, *.dc.example, fd00::1)"), "{error}");
        let advice =
            "pantau-collector --config c.yaml tls init pantau.example *.dc.example fd00::1 other.example";
        assert!(error.ends_with(advice), "{error}");
        assert!(given("http://pantau.example").expect_err("open").contains("write https://"));
        assert!(given("pantau.example").expect_err("no URL").contains("write https://host:9797"));
        assert!(
            given("https://pantau.example/$(reboot)").is_err() && given("https://pantau.example/'x").is_err()
        );
    }
}
