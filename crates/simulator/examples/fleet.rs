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
//! --measure SECONDS  ask them from here (by --user in v3), print what serving costs, and end
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
use snmp::usm::{AuthProtocol, Context, Exchange, Opened, Peer, PrivProtocol, User};
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
            let columns = 10..10 + arguments.number("--columns", 10)?;
            let columns = columns.map(|column| format!("1.3.6.1.2.1.2.2.1.{column}").parse());
            let ask = Ask {
                community: community.into(),
                user,
                columns: columns.collect::<Result<_, _>>()?,
                repetitions: arguments.number("--repetitions", 25)?,
            };
            measure(&fleet, &ask, seconds)
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

/// Asks the first devices with a window of requests and throws the answers away.
fn measure(fleet: &Fleet, ask: &Ask, seconds: u32) -> Result<(), Box<dyn std::error::Error>> {
    const WINDOW: usize = 16;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut packets = Vec::new();
    for &address in fleet.addresses().iter().take(WINDOW) {
        packets.push((address, ask.packet(&socket, address)?));
    }
    let (started, busy, before) = (Instant::now(), fleet.busy(), fleet.counts());
    let mut buffer = vec![0; 65_535];
    while started.elapsed() < Duration::from_secs(seconds.into()) {
        for (address, packet) in &packets {
            socket.send_to(packet, address)?;
        }
        for _ in &packets {
            // What the receive buffer could not hold is not waited for long.
            let _ = socket.recv(&mut buffer);
        }
    }
    let (elapsed, busy, counts) = (started.elapsed(), fleet.busy() - busy, fleet.counts());
    let varbinds = (counts.varbinds - before.varbinds) as f64;
    let replies = (counts.replies - before.replies).max(1);
    println!(
        "{} of {} columns and {} repetitions, {} bytes a reply, {:.0} varbinds/s;\n\
         serving costs {:.4} ms of a processor per 1,000 varbinds ({:.1} µs a reply)",
        if ask.user.is_some() { "v3 requests" } else { "v2c requests" },
        ask.columns.len(),
        ask.repetitions,
        (counts.bytes_out - before.bytes_out) / replies,
        varbinds / elapsed.as_secs_f64(),
        busy.as_secs_f64() * 1e6 / varbinds,
        busy.as_secs_f64() * 1e6 / replies as f64,
    );
    Ok(())
}

/// What the measurement asks for.
struct Ask {
    community: Vec<u8>,
    user: Option<User>,
    columns: Vec<Oid>,
    repetitions: u32,
}

impl Ask {
    /// The request to a device. One of v3 is sealed once: within the time window it is taken again and again.
    fn packet(&self, socket: &UdpSocket, to: SocketAddr) -> std::io::Result<Vec<u8>> {
        let varbinds =
            self.columns.iter().map(|name| Varbind { name: name.view(), value: Value::Null }).collect();
        let third = self.repetitions as i32;
        let pdu = Pdu { kind: PduKind::GetBulk, request_id: 7, second: 0, third, varbinds };
        let (mut writer, mut packet) = (Writer::default(), Vec::new());
        let Some(user) = &self.user else {
            let message = Message { version: Version::V2c, community: &self.community, pdu, trailing: 0 };
            message.write(&mut writer, &mut packet);
            return Ok(packet);
        };
        let mut peer = Peer::new(user.clone(), Context::default());
        let (mut exchange, mut reply) = (Exchange::default(), vec![0; 65_535]);
        for message_id in 1.. {
            let write = |out: &mut Writer| pdu.write(out);
            peer.seal(Duration::ZERO, &mut exchange, message_id, 65_507, write, &mut writer, &mut packet);
            socket.send_to(&packet, to)?;
            let length = socket.recv(&mut reply)?;
            match peer.open(Duration::ZERO, &mut exchange, &mut reply[..length]) {
                Ok(Opened::Again) if message_id < 5 => {}
                Ok(Opened::Pdu(_)) => break,
                other => return Err(std::io::Error::other(format!("no answer in v3: {other:?}"))),
            }
        }
        Ok(packet)
    }
}
