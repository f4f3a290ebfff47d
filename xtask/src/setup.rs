//! Fetches the real peers that tests need: Debian packages, unpacked into `target/peers` and never installed, so that no service
//! starts on the user's machine and no root is needed.
//!
//! The folder is stamped with the list of packages; while the stamp fits, nothing is fetched again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{self, output, target, works};

/// Packages whose programs the tests start. Libraries that these need and that are not installed are found by their own
/// dependencies, since their names change with each release of Debian.
const PACKAGES: &[&str] = &[
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "victoria-metrics",
    "snmpd",
    "snmp",
    "libsnmp-base",
    "strace",
];

/// Packages that benches alone compare with: where one cannot be had, the bench says so and goes on.
const OPTIONAL_PACKAGES: &[&str] = &["prometheus-snmp-exporter"];

/// How deep libraries of libraries are followed.
const LIBRARY_ROUNDS: usize = 4;

/// Programs that must be there afterwards, with an argument that makes them print their version and end.
const PROGRAMS: &[(&str, &str)] = &[
    ("usr/bin/prometheus", "--version"),
    ("usr/bin/promtool", "--version"),
    ("usr/bin/prometheus-alertmanager", "--version"),
    ("usr/bin/prometheus-node-exporter", "--version"),
    ("usr/bin/victoria-metrics", "--version"),
    ("usr/sbin/snmpd", "--version"),
    ("usr/bin/snmpget", "--version"),
    ("usr/bin/strace", "--version"),
];

/// Python packages, and the modules that they bring: a client that must be able to read us, and what checks replies against an OpenAPI
/// description.
const PYTHON: &[(&str, &str)] = &[
    ("prometheus-api-client==0.7.1", "prometheus_api_client"),
    ("jsonschema==4.26.0", "jsonschema"),
    ("PyYAML==6.0.3", "yaml"),
];

/// npm's packages: a client in JavaScript that must be able to read us, and what Grafana and Prometheus hold boards and expressions against.
/// From 7 on TypeScript is a program alone, which cannot be asked from a script.
const NPM: &[&str] = &[
    "prometheus-query@3.5.1",
    "@grafana/schema@13.2.3",
    "@prometheus-io/lezer-promql@0.315.0",
    "@lezer/common@1.5.5",
    "@lezer/highlight@1.2.5",
    "@lezer/lr@1.4.12",
    "typescript@5.9.3",
];

/// The folder with the unpacked peers.
pub(crate) fn peers() -> PathBuf {
    target().join("peers")
}

/// The word `setup`: makes `target/peers` whole and returns it.
pub(crate) fn run() -> Result<PathBuf> {
    let peers = peers();
    fs::create_dir_all(&peers).with_context(|| format!("cannot create {}", peers.display()))?;
    let wanted = format!("{}\n", PACKAGES.join("\n"));
    let stamp = peers.join("packages.txt");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        println!("peers: already in {}", peers.display());
    } else {
        fetch(&peers)?;
    }
    fetch_optional(&peers);
    check_programs(&peers)?;
    fetch_python(&peers)?;
    fetch_npm(&peers);
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(peers)
}

fn fetch(peers: &Path) -> Result<()> {
    if !works(Command::new("apt-get").arg("--version")) {
        bail!(
            "the tests need these Debian packages, and apt-get is not here to fetch them: {}. Unpack them into {} \
             (dpkg -x), or set PANTAU_TEST_WITHOUT_PEERS=1 to run the tests that need none",
            PACKAGES.join(" "),
            peers.display()
        );
    }
    let downloads = peers.join("downloads");
    fs::create_dir_all(&downloads)?;
    let wanted: Vec<String> = PACKAGES.iter().map(|package| (*package).to_owned()).collect();
    let mut options = Vec::new();
    if download(&downloads, &options, &wanted).is_err() {
        // No package lists yet, or old ones: fetch them into a folder of our own, which needs no root.
        options = apt_folders(peers)?;
        shell::run(Command::new("apt-get").arg("--quiet").args(&options).arg("update"))?;
        download(&downloads, &options, &wanted)?;
    }
    for _ in 0..LIBRARY_ROUNDS {
        let missing = missing_libraries(&downloads)?;
        if missing.is_empty() {
            break;
        }
        download(&downloads, &options, &missing)?;
    }
    let packages = packages_in(&downloads)?;
    for package in &packages {
        output(Command::new("dpkg").arg("-x").arg(package).arg(peers))?;
    }
    println!("peers: unpacked {} packages into {}", packages.len(), peers.display());
    fs::remove_dir_all(&downloads).context("cannot remove the downloaded packages")
}

/// One that could not be had is tried again by the next setup: the machine may have been offline.
fn fetch_optional(peers: &Path) {
    for package in OPTIONAL_PACKAGES {
        let stamp = peers.join(format!("{package}.txt"));
        if stamp.exists() {
            continue;
        }
        let done = fetch_one(peers, package).and_then(|()| Ok(fs::write(&stamp, "unpacked\n")?));
        if let Err(why) = done {
            println!("peers: without {package}, which a bench compares with: {why:#}");
        }
    }
}

fn fetch_one(peers: &Path, package: &str) -> Result<()> {
    let downloads = peers.join(format!("download-{package}"));
    fs::create_dir_all(&downloads)?;
    let apt = peers.join("apt");
    let options = if apt.exists() { apt_folders(peers)? } else { Vec::new() };
    let got = download(&downloads, &options, &[package.to_owned()]);
    for file in packages_in(&downloads)? {
        output(Command::new("dpkg").arg("-x").arg(file).arg(peers))?;
    }
    fs::remove_dir_all(&downloads).context("cannot remove the downloaded package")?;
    got
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        if file.extension().is_some_and(|ending| ending == "deb") {
            packages.push(file);
        }
    }
    packages.sort_unstable();
    Ok(packages)
}

/// Libraries that the downloaded packages name and that are neither among them nor installed.
fn missing_libraries(folder: &Path) -> Result<Vec<String>> {
    let packages = packages_in(folder)?;
    let field = |package: &PathBuf, name: &str| output(Command::new("dpkg").arg("-f").arg(package).arg(name));
    let mut known = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    for package in &packages {
        known.insert(field(package, "Package")?.trim().to_owned());
        // "libc6 (>= 2.34), libperl5.36 (>= 5.36.0) | other": the first of each alternative.
        for dependency in field(package, "Depends")?.split(',') {
            let name = dependency.split(['|', '(', ':']).next().unwrap_or_default().trim();
            if name.starts_with("lib") && !name.starts_with("libjs-") {
                wanted.insert(name.to_owned());
            }
        }
    }
    let is_installed = |name: &String| works(Command::new("dpkg").args(["-s", name]));
    Ok(wanted.into_iter().filter(|name| !known.contains(name) && !is_installed(name)).collect())
}

fn download(folder: &Path, options: &[String], packages: &[String]) -> Result<()> {
    let mut command = Command::new("apt-get");
    shell::run(command.arg("--quiet").args(options).arg("download").args(packages).current_dir(folder))
}

fn apt_folders(peers: &Path) -> Result<Vec<String>> {
    let apt = peers.join("apt");
    fs::create_dir_all(apt.join("lists/partial"))?;
    fs::create_dir_all(apt.join("cache/archives/partial"))?;
    Ok(vec![
        "-o".into(),
        format!("Dir::State::Lists={}", apt.join("lists").display()),
        "-o".into(),
        format!("Dir::Cache={}", apt.join("cache").display()),
    ])
}

fn check_programs(peers: &Path) -> Result<()> {
    let libraries = library_path(peers);
    let broken: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, argument)| {
            !works(Command::new(peers.join(program)).arg(argument).env("LD_LIBRARY_PATH", &libraries))
        })
        .map(|(program, _)| *program)
        .collect();
    if broken.is_empty() {
        return Ok(());
    }
    bail!(
        "these peers do not start from {}: {}. Install their Debian packages, or look what `ldd` misses",
        peers.display(),
        broken.join(", ")
    )
}

/// Where the unpacked programs find their libraries.
pub(crate) fn library_path(peers: &Path) -> String {
    let places = [
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/aarch64-linux-gnu",
        "lib/x86_64-linux-gnu",
        "lib/aarch64-linux-gnu",
    ];
    places.iter().map(|place| peers.join(place).display().to_string()).collect::<Vec<_>>().join(":")
}

fn fetch_python(peers: &Path) -> Result<()> {
    let folder = peers.join("python");
    let probe = |module: &str| {
        let mut python = Command::new("python3");
        works(python.args(["-c", &format!("import {module}")]).env("PYTHONPATH", &folder))
    };
    for (package, module) in PYTHON.iter().filter(|(_, module)| !probe(module)) {
        let mut pip = Command::new("python3");
        shell::run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"])
            .arg("--target")
            .arg(&folder)
            .arg(package))
        .with_context(|| {
            format!("cannot fetch the Python package {package}: install the Debian packages python3 and python3-pip")
        })?;
        if !probe(module) {
            bail!("python3 cannot import {module} from {}", folder.display());
        }
    }
    Ok(())
}

/// Where npm's packages are put.
pub(crate) fn npm_folder(peers: &Path) -> PathBuf {
    peers.join("npm")
}

/// Without node the tests that need it say that they are left out: too few machines of those who build this have it.
fn fetch_npm(peers: &Path) {
    let (folder, wanted) = (npm_folder(peers), format!("{}\n", NPM.join("\n")));
    let stamp = folder.join("packages.txt");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return;
    }
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--ignore-scripts",
        "--fetch-retries=1",
    ])
    .arg("--fetch-timeout=60000")
    .arg("--prefix")
    .arg(&folder)
    .args(NPM);
    let done = fs::create_dir_all(&folder)
        .map_err(Into::into)
        .and_then(|()| shell::run(&mut npm))
        .and_then(|()| Ok(fs::write(&stamp, wanted)?));
    if let Err(why) = done {
        println!(
            "peers: without npm's packages (the JavaScript client, Grafana's schema), whose tests are left out: {why:#}"
        );
    }
}
