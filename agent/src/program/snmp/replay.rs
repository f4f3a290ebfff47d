//! `snmp replay`: recordings as devices on loopback, for people who have no such device at hand.
//!
//! Each recording is a device on an address of its own, counted up from the one to listen on, all on the same port. Only loopback:
//! what plays a device has no business in a network.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use simulator::{Device, Fleet, Options, Place, Recording, Script, Tree};

/// What `replay` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Recordings in the snmpsim text format, as `snmp walk --recording` writes them; one device each.
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// Where the first device is reached; the next ones are on the addresses after it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1161")]
    listen: SocketAddrV4,
    /// The community that all of them answer to.
    #[arg(long, value_name = "TEXT", default_value = "public")]
    community: String,
    /// A script of what goes wrong, one fault a line, such as `silence after 30s until 60s`.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Counters stand still; the time since its start goes on.
    #[arg(long)]
    still: bool,
}

/// Serves until it is told to end.
pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (fleet, text) = start(arguments)?;
    print!("{text}");
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        _ = end.recv() => {}
    }
    let counts = fleet.counts();
    println!(
        "asked {} times, answered {} times, {} values",
        counts.requests, counts.replies, counts.varbinds
    );
    Ok(())
}

fn start(arguments: &Arguments) -> anyhow::Result<(Fleet, String)> {
    let first: Ipv4Addr = *arguments.listen.ip();
    ensure!(first.is_loopback(), "--listen {}: devices are played on 127.0.0.0/8 alone", arguments.listen);
    let script: Script = match &arguments.faults {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            text.parse().with_context(|| path.display().to_string())?
        }
        None => Script::default(),
    };
    let (mut devices, mut told) = (Vec::new(), Vec::new());
    for path in &arguments.recordings {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let recording = Recording::parse(bytes).with_context(|| path.display().to_string())?;
        let tree = if arguments.still { Tree::still(&recording) } else { Tree::moving(&recording) };
        let tree = tree.with_context(|| path.display().to_string())?;
        let left_out = match recording.dropped().lines() {
            0 => String::new(),
            lines => format!(", {lines} odd lines left out"),
        };
        told.push(format!("{}: {} values{left_out}", path.display(), tree.len()));
        devices.push(
            Device::new(Arc::new(tree)).community(arguments.community.as_bytes()).faults(script.clone()),
        );
    }
    let place = Place::Addresses { first, port: arguments.listen.port() };
    // A socket an address: one for all would have to listen on every address of this machine.
    let fleet = Fleet::start(Options { place, portable: true, ..Options::default() }, devices)?;
    let line = |(at, told): (&SocketAddr, &String)| format!("{at} plays {told}\n");
    let text = fleet.addresses().iter().zip(&told).map(line).collect();
    Ok((fleet, text))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[tokio::test]
    async fn two_recordings_are_two_devices_and_nobody_else_s() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("box.snmprec");
        std::fs::write(&path, "1.3.6.1.2.1.1.5.0|4|box\n1.3.6.1.2.1.1.5.0|4|twice\n")
            .expect("it can be written");
        let path = path.to_str().expect("a name in UTF-8");
        let read =
            |words: &[&str]| Line::try_parse_from([&["replay"], words].concat()).expect("good").arguments;
        let (fleet, text) =
            start(&read(&[path, path, "--listen", "127.0.0.1:0"])).expect("loopback can be bound");
        let port = fleet.address(0).port();
        let expected =
            [1, 2].map(|at| format!("127.0.0.{at}:{port} plays {path}: 1 values, 1 odd lines left out\n"));
        assert_eq!(text, expected.concat());
        let error = start(&read(&[path, "--listen", "10.0.0.1:1161"])).map(drop).expect_err("a network");
        assert!(error.to_string().contains("127.0.0.0/8 alone"), "{error}");
    }
}
