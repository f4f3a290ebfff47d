//! A fleet to measure with: `cargo run --release -p simulator --example fleet -- [OPTIONS]`.
//!
//! ```text
//! --devices N        how many (default 1000)
//! --ports N          ports of each synthetic switch (default 71: 1,562 values in ifTable)
//! --recording FILE   a recording instead of switches
//! --faults FILE      a fault script for all of them
//! --first A.B.C.D    first address (default 127.1.0.1); --port N (default 1161)
//! --threads N        threads that serve (default 1)
//! --community TEXT   default public
//! --user             also the v3 user `pantau`, SHA-256 `pantau-auth`, AES-128 `pantau-priv`
//! --max-size N       largest message
//! --measure SECONDS  ask them from here, print what serving costs, and end
//! --repetitions N    of the measurement's requests (default 25)
//! --columns N        of ifTable in each of them (default 10)
//! ```
//!
//! Without `--measure` it serves until it is killed, and prints once a second what was asked.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use simulator::{Device, Fleet, Options, Place, Recording, Script, Switch, Tree};
use snmp::ber::Writer;
use snmp::usm::{AuthProtocol, PrivProtocol, User};
use snmp::{Message, Oid, Pdu, PduKind, Value, Varbind, Version};

struct Arguments(Vec<String>);

impl Arguments {
    fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str, default: u32) -> Result<u32, String> {
        let text = self.text(name);
        text.map_or(Ok(default), |text| {
            text.parse().map_err(|_| format!("{name} wants a number, not {text}"))
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments(std::env::args().skip(1).collect());
    let tree = match arguments.text("--recording") {
        Some(path) => Tree::moving(&Recording::parse(std::fs::read(path)?)?)?,
        None => Switch { ports: arguments.number("--ports", 71)?, optics: 0, seed: 1 }.tree()?,
    };
    println!("{} values a device", tree.len());
    let tree = Arc::new(tree);
    let script: Script = match arguments.text("--faults") {
        Some(path) => std::fs::read_to_string(path)?.parse()?,
        None => Script::default(),
    };
    let user = match arguments.0.iter().any(|argument| argument == "--user") {
        true => Some(User::new(
            b"pantau",
            Some((AuthProtocol::Sha256, b"pantau-auth")),
            Some((PrivProtocol::Aes128, b"pantau-priv")),
        )?),
        false => None,
    };
    let community = arguments.text("--community").unwrap_or("public");
    let max_size = arguments.number("--max-size", Device::MESSAGE_MAX)?;
    let device = |at| {
        let device = Device::new(tree.clone()).community(community).named(&format!("switch-{at}"));
        let device = device.seed(at).max_message_size(max_size).faults(script.clone());
        user.iter().fold(device, |device, user| device.user(user.clone()))
    };
    let count = arguments.number("--devices", 1_000)?;
    let first: Ipv4Addr = arguments.text("--first").unwrap_or("127.1.0.1").parse()?;
    let place = Place::Addresses { first, port: arguments.number("--port", 1161)? as u16 };
    let threads = arguments.number("--threads", 1)? as usize;
    let options = Options { place, threads, ..Options::default() };
    let fleet = Fleet::start(options, (0..count).map(|at| device(at.into())))?;
    println!("{count} devices from {} on", fleet.address(0));
    match arguments.text("--measure") {
        Some(_) => {
            let seconds = arguments.number("--measure", 5)?;
            let repetitions = arguments.number("--repetitions", 25)?;
            measure(&fleet, community, seconds, repetitions, arguments.number("--columns", 10)?)
        }
        None => serve(&fleet),
    }
}

fn serve(fleet: &Fleet) -> ! {
    loop {
        let before = fleet.busy();
        std::thread::sleep(Duration::from_secs(1));
        let counts = fleet.counts();
        println!(
            "{:.0} % of a processor; {counts:?}; dropped {}",
            (fleet.busy() - before).as_secs_f64() * 100.0,
            fleet.dropped()
        );
    }
}

/// Asks with a window of 32 requests and throws the answers away.
fn measure(
    fleet: &Fleet,
    community: &str,
    seconds: u32,
    repetitions: u32,
    columns: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    const WINDOW: usize = 32;
    let columns: Vec<Oid> = (10..10 + columns)
        .map(|column| format!("1.3.6.1.2.1.2.2.1.{column}").parse())
        .collect::<Result<_, _>>()?;
    let varbinds = columns.iter().map(|name| Varbind { name: name.view(), value: Value::Null }).collect();
    let pdu = Pdu { kind: PduKind::GetBulk, request_id: 7, second: 0, third: repetitions as i32, varbinds };
    let message = Message { version: Version::V2c, community: community.as_bytes(), pdu, trailing: 0 };
    let mut packet = Vec::new();
    message.write(&mut Writer::default(), &mut packet);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut addresses: Vec<SocketAddr> = fleet.addresses().to_vec();
    addresses.truncate(WINDOW);
    let (started, busy) = (Instant::now(), fleet.busy());
    let mut buffer = vec![0; 65_535];
    let mut bytes = 0_u64;
    while started.elapsed() < Duration::from_secs(seconds.into()) {
        for address in &addresses {
            socket.send_to(&packet, address)?;
        }
        for _ in &addresses {
            bytes += socket.recv(&mut buffer).unwrap_or(0) as u64;
        }
    }
    let (elapsed, busy, counts) = (started.elapsed(), fleet.busy() - busy, fleet.counts());
    let thousands = counts.varbinds as f64 / 1_000.0;
    println!(
        "{} requests of {} columns and {repetitions} repetitions, {} bytes a reply, {:.0} varbinds/s;\n\
         serving costs {:.4} ms of a processor per 1,000 varbinds ({:.1} µs a reply)",
        counts.requests,
        columns.len(),
        bytes / counts.replies.max(1),
        counts.varbinds as f64 / elapsed.as_secs_f64(),
        busy.as_secs_f64() * 1_000.0 / thousands,
        busy.as_secs_f64() * 1e6 / counts.replies.max(1) as f64,
    );
    Ok(())
}
