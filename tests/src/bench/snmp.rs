//! `bench snmp`: devices asked by ours and by the peers, in one run, on this machine.
//!
//! Every part is a process of its own, so that the system's accounting tells them apart: the simulator (`fleet`), ours (`ours`, and the
//! shipped agent where ten thousand devices are asked), and each peer. A device has 1,562 values in `ifTable`; ours reads as many, brings them through the profile `if-mib` and into the agent's
//! series table. The peers print or throw away what they read; snmp_exporter makes series of it as ours does.
//!
//! In: release programs, Debian's packages by `cargo xtask setup`, and the crates behind the feature `bench-peers`. Out: figures. A peer
//! that is not there is named and left out.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::report::{Better, Figure};

#[cfg(feature = "bench-peers")]
mod crates;
mod fleet;
mod minute;
mod ours;
mod peers;
mod poll;

/// Devices of the fleet in the throughput figures.
const DEVICES: u32 = 200;
/// Values of `ifTable` on each: 22 columns of 71 ports.
pub(crate) const VARBINDS: u64 = 1_562;
/// How long each of ours and each crate is measured.
const WINDOW: Duration = Duration::from_secs(5);
/// Repetitions where a figure says so: what all peers ask for.
const REPETITIONS: u16 = 25;
const COMMUNITY: &str = "public";
const USER: (&str, &str, &str) = ("pantau", "pantau-auth", "pantau-priv");

/// CPU milliseconds per 1,000 values, and devices per CPU second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) ms_per_thousand: f64,
    pub(crate) devices_per_second: f64,
}

impl Cost {
    fn of(cpu: Duration, varbinds: f64, devices: f64) -> Self {
        let seconds = cpu.as_secs_f64();
        Self { ms_per_thousand: seconds * 1e6 / varbinds, devices_per_second: devices / seconds }
    }

    fn read(answer: &Value) -> Result<Self> {
        let number = |name: &str| answer[name].as_f64().with_context(|| format!("no {name} in {answer}"));
        Ok(Self::of(Duration::from_secs_f64(number("cpu")?), number("varbinds")?, number("devices")?))
    }
}

/// How ours and the crates ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// v2c, [`REPETITIONS`].
    Fixed,
    /// v2c, as many repetitions as the engine learns.
    Learned,
    /// The same as a v3 user, SHA-256 and AES-128.
    User,
}

impl Manner {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Learned => "learned",
            Self::User => "user",
        }
    }

    fn read(word: &str) -> Result<Self> {
        let all = [Self::Fixed, Self::Learned, Self::User];
        all.into_iter().find(|manner| manner.as_str() == word).with_context(|| format!("no manner {word:?}"))
    }
}

/// Measures everything, or only the ten thousand devices of the agent, and returns the figures.
///
/// # Errors
/// A part that does not start, or devices that do not answer.
pub fn run(only_minute: bool) -> Result<Vec<Figure>> {
    if only_minute {
        return minute::run();
    }
    let fleet = Fleet::start(DEVICES, fleet::WIDE_PORTS, 0)?;
    let mut figures = Vec::new();
    for (manner, goal) in [(Manner::Fixed, 0.25), (Manner::Learned, 0.18), (Manner::User, 0.5)] {
        let ours = measure("ours", &fleet, manner)?;
        figures.extend(compared(manner, goal, ours, &peers::all(&fleet, manner)?));
        if manner == Manner::Learned {
            figures.extend(devices(ours, &peers::all(&fleet, Manner::Fixed)?));
        }
    }
    drop(fleet);
    figures.extend(minute::run()?);
    Ok(figures)
}

fn compared(manner: Manner, goal: f64, ours: Cost, peers: &[(&'static str, Cost)]) -> Vec<Figure> {
    let name = match manner {
        Manner::Fixed => "v2c, max-repetitions 25, CPU per 1,000 varbinds",
        Manner::Learned => "v2c, learned repetitions, CPU per 1,000 varbinds",
        Manner::User => "v3 SHA-256/AES-128, CPU per 1,000 varbinds",
    };
    let figure = |peer| Figure {
        name,
        unit: "ms",
        pantau: ours.ms_per_thousand,
        peer,
        goal: Some(goal),
        better: Better::Lower,
    };
    if peers.is_empty() {
        return vec![figure(None)];
    }
    peers.iter().map(|(peer, cost)| figure(Some((*peer, cost.ms_per_thousand)))).collect()
}

fn devices(ours: Cost, peers: &[(&'static str, Cost)]) -> Vec<Figure> {
    let figure = |peer| Figure {
        name: "devices of 1,562 varbinds per CPU second, learned repetitions",
        unit: "1/s",
        pantau: ours.devices_per_second,
        peer,
        goal: Some(3_000.0),
        better: Better::Higher,
    };
    peers.iter().map(|(peer, cost)| figure(Some((*peer, cost.devices_per_second)))).collect()
}

/// One part of the bench in a process of its own; prints what it has to say as lines of JSON.
///
/// # Errors
/// Words that name no part, and whatever stops it.
pub fn part(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["fleet", devices, ports, faulty] => fleet::serve(devices.parse()?, ports.parse()?, faulty.parse()?),
        ["ours", first, port, devices, manner] => {
            ours::measure(first.parse()?, port.parse()?, devices.parse()?, Manner::read(manner)?)
        }
        #[cfg(feature = "bench-peers")]
        [name @ ("snmp2" | "async-snmp"), first, port, devices, manner] => {
            crates::measure(name, first.parse()?, port.parse()?, devices.parse()?, Manner::read(manner)?)
        }
        _ => bail!("no part of the bench is called by {words:?}"),
    }
}

/// Runs a part that asks the fleet, and reads what it cost.
pub(crate) fn measure(part: &str, fleet: &Fleet, manner: Manner) -> Result<Cost> {
    let (first, port, devices) = (fleet.first.to_string(), fleet.port.to_string(), fleet.devices.to_string());
    let answer = once(&[part, &first, &port, &devices, manner.as_str()])?;
    Cost::read(&answer)
}

/// Runs a part to its end; its last line is the answer.
pub(crate) fn once(words: &[&str]) -> Result<Value> {
    let output = this(words)?.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the part {words:?} failed");
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().with_context(|| format!("the part {words:?} said nothing"))?;
    Ok(serde_json::from_str(last)?)
}

/// This program as a part.
fn this(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("snmp-part").args(words);
    Ok(command)
}

/// The simulator in its own process; ends with this value.
pub(crate) struct Fleet {
    pub(crate) first: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) devices: u32,
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Fleet {
    /// Devices with so many ports each; the last `faulty` of them are half silent and half slow.
    pub(crate) fn start(devices: u32, ports: u32, faulty: u32) -> Result<Self> {
        let words = [devices.to_string(), ports.to_string(), faulty.to_string()];
        let mut command = this(&["fleet", &words[0], &words[1], &words[2]])?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let ask = child.stdin.take().context("the fleet's input was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("the fleet's output was asked for")?);
        let mut fleet = Self { first: fleet::FIRST, port: 0, devices, child, ask, answers };
        let address = fleet.line()?;
        fleet.port = address["port"].as_u64().and_then(|port| port.try_into().ok()).context("no port")?;
        Ok(fleet)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("the simulator ended early")
    }

    /// What it was asked and what serving cost so far.
    pub(crate) fn counts(&mut self) -> Result<Value> {
        writeln!(self.ask, "counts")?;
        self.line()
    }

    /// Where the n-th device listens, as tools want it.
    pub(crate) fn address(&self, at: u32) -> String {
        format!("{}:{}", fleet::address(self.first, at), self.port)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nobody to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
