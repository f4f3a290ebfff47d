//! What asking costs: rounds over a fleet, as many as fit the time, and the processor time of this whole process.
//!
//! `cargo run --release -p simulator --example fleet -- --devices 200` in one terminal, in the other
//! `cargo run --release -p snmp --example load -- --devices 200`.
//!
//! ```text
//! --devices N        how many (default 200)
//! --first A.B.C.D    first address (default 127.1.0.1); --port N (default 1161)
//! --seconds N        how long (default 5), after a warm-up of three rounds
//! --jobs N           rounds at the same time (default 64)
//! --repetitions N    at most this many rows at once, and replies of 1,200 bytes (default: learned)
//! --single           one column a request
//! --reply-bytes N    the largest reply that may be learned (default 1472)
//! --user             as the v3 user `pantau`, SHA-256 `pantau-auth`, AES-128 `pantau-priv`
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use snmp::engine::{Credential, Engine, Handle, Harvest, Job, Options, Target};
use snmp::round::Table;
use snmp::usm::{AuthProtocol, Context, PrivProtocol, User};
use snmp::{Community, Oid, Version};

struct Arguments(Vec<String>);

impl Arguments {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str, default: u32) -> u32 {
        self.text(name).map_or(default, |text| text.parse().expect("a number"))
    }
}

fn processor() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn targets(arguments: &Arguments) -> Vec<Arc<Target>> {
    let first: Ipv4Addr = arguments.text("--first").unwrap_or("127.1.0.1").parse().expect("an address");
    let port = arguments.number("--port", 1161) as u16;
    let credential = match arguments.has("--user") {
        true => {
            let auth = Some((AuthProtocol::Sha256, &b"pantau-auth"[..]));
            let user = User::new(b"pantau", auth, Some((PrivProtocol::Aes128, b"pantau-priv")));
            Credential::User { user: user.expect("long enough"), context: Context::default() }
        }
        false => Credential::Community { version: Version::V2c, community: Community::new("public") },
    };
    let target = |at: u32| {
        let ip = IpAddr::from(Ipv4Addr::from(u32::from(first) + at));
        let mut target = Target::new(format!("sw{at}"), SocketAddr::new(ip, port), vec![credential.clone()]);
        target.reply_bytes_max = arguments.number("--reply-bytes", Target::REPLY_BYTES_MAX.into()) as u16;
        if arguments.has("--repetitions") {
            target.reply_bytes_max = target.reply_bytes_max.min(1200);
        }
        Arc::new(target)
    };
    (0..arguments.number("--devices", 200)).map(target).collect()
}

fn tables(arguments: &Arguments) -> Vec<Arc<Table>> {
    let entry: Oid = "1.3.6.1.2.1.2.2.1".parse().expect("good");
    let columns: Vec<Oid> = (1..=22).map(|column| entry.child(&[column]).expect("short")).collect();
    let repetitions_max = arguments.number("--repetitions", Table::REPETITIONS_MAX.into()) as u16;
    let table = |(at, columns): (usize, &[Oid])| {
        Arc::new(Table { repetitions_max, ..Table::new(format!("t{at}"), columns.to_vec()) })
    };
    let at_once = if arguments.has("--single") { 1 } else { columns.len() };
    columns.chunks(at_once).enumerate().map(table).collect()
}

async fn rounds(
    handle: &Handle,
    targets: &[Arc<Target>],
    tables: &[Arc<Table>],
    jobs: usize,
    until: Option<Instant>,
) -> (u64, u64, f64) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = async || {
        let (mut devices, mut values, mut sum) = (0, 0, 0.0);
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let over = match until {
                Some(until) => Instant::now() >= until,
                None => at >= targets.len() * 3,
            };
            if over {
                return (devices, values, sum);
            }
            let harvest: Harvest = handle
                .run(Job {
                    target: targets[at % targets.len()].clone(),
                    scalars: Arc::new([]),
                    tables: tables.to_vec(),
                    deadline: Duration::from_secs(50),
                    urgent: false,
                })
                .await;
            devices += 1;
            for table in &harvest.tables {
                assert!(table.is_whole(), "{:?}", table.failure());
                values += table.rows.len() as u64;
                sum += table.cells().filter_map(|cell| cell.value.number()).sum::<f64>();
            }
        }
    };
    let workers: Vec<_> = (0..jobs).map(|_| worker()).collect();
    let all = futures_util::future::join_all(workers).await;
    all.into_iter().fold((0, 0, 0.0), |(a, b, c), (x, y, z)| (a + x, b + y, c + z))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments(std::env::args().skip(1).collect());
    let engine = Engine::start(Options::default())?;
    let (targets, tables) = (targets(&arguments), tables(&arguments));
    let jobs = arguments.number("--jobs", 64) as usize;
    rounds(&engine.handle(), &targets, &tables, jobs, None).await;
    let (started, busy, before) = (Instant::now(), processor(), engine.stats());
    let until = started + Duration::from_secs(arguments.number("--seconds", 5).into());
    let (devices, values, sum) = rounds(&engine.handle(), &targets, &tables, jobs, Some(until)).await;
    let (elapsed, busy, after) = (started.elapsed(), processor() - busy, engine.stats());
    let count = |of: fn(&snmp::engine::Stats) -> u64| (of(&after) - of(&before)) as f64;
    println!(
        "{devices} rounds, {values} values (sum {sum:e}), {:.1} values and {:.0} bytes a reply, {:.0} rounds/s\n\
         {:.4} ms of a processor per 1,000 values, {:.2} µs a reply; {:.0} rounds per second of a processor\n\
         {:.1} datagrams a receiving call, {:.1} a sending one; {} retries, {} kernel drops",
        values as f64 / count(|stats| stats.replies),
        count(|stats| stats.received_bytes) / count(|stats| stats.replies),
        devices as f64 / elapsed.as_secs_f64(),
        busy.as_secs_f64() * 1e6 / values as f64,
        busy.as_secs_f64() * 1e6 / count(|stats| stats.replies),
        devices as f64 / busy.as_secs_f64(),
        count(|stats| stats.received_datagrams) / count(|stats| stats.receive_calls),
        count(|stats| stats.sent_datagrams) / count(|stats| stats.send_calls),
        count(|stats| stats.retries),
        count(|stats| stats.kernel_drops),
    );
    Ok(())
}
