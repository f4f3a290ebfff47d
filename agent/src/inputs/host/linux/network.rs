//! The network stack as a whole: `sockstat`, `netstat`, `arp`, `conntrack`, `udp_queues`, `bonding`.

use std::path::{Path, PathBuf};

use super::super::crew::{Collector, Visit};
use super::super::patterns::{Patterns, Verdicts};
use super::super::samples::{Naming, Samples, families};
use super::bytes::{decimal, hexadecimal, lines, real, trimmed, words};
use super::source::{Attribute, Failure, Paths, Seldom, Source, read_text};
use crate::series::Family;

families! {
    SOCKETS: Gauge "node_sockstat_sockets_used" [] "Sockets in use.";
    ARP: Gauge "node_arp_entries" ["device"] "Entries of the ARP table.";
    CONNTRACK: Gauge "node_nf_conntrack_entries" [] "Flows that connection tracking holds.";
    CONNTRACK_MAX: Gauge "node_nf_conntrack_entries_limit" [] "Flows that connection tracking can hold.";
    FOUND: Gauge "node_nf_conntrack_stat_found" [] "Lookups of flows that succeeded.";
    INVALID: Gauge "node_nf_conntrack_stat_invalid" [] "Packets that cannot be tracked.";
    IGNORE: Gauge "node_nf_conntrack_stat_ignore" [] "Packets that already belong to a flow.";
    INSERT: Gauge "node_nf_conntrack_stat_insert" [] "Flows inserted.";
    INSERT_FAILED: Gauge "node_nf_conntrack_stat_insert_failed" [] "Flows whose insertion failed.";
    DROP: Gauge "node_nf_conntrack_stat_drop" [] "Packets dropped because tracking failed.";
    EARLY_DROP: Gauge "node_nf_conntrack_stat_early_drop" [] "Flows dropped to make room in a full table.";
    SEARCH_RESTART: Gauge "node_nf_conntrack_stat_search_restart" [] "Lookups begun anew because the table was resized.";
    UDP_QUEUES: Gauge "node_udp_queues" ["ip", "queue"] "Bytes of memory that UDP datagrams take in the kernel.";
    BOND_SLAVES: Gauge "node_bonding_slaves" ["master"] "Configured slaves of the bonding device.";
    BOND_ACTIVE: Gauge "node_bonding_active" ["master"] "Slaves of the bonding device whose link is up.";
}

/// Fields of /proc/net/sockstat and sockstat6.
pub(crate) static SOCKSTAT: Naming = Naming {
    prefix: "node_sockstat_",
    suffix: "",
    kind: model::MetricKind::Gauge,
    help: "Sockets, by protocol and state:",
    labels: &[],
};
/// Fields of /proc/net/snmp, snmp6 and netstat.
pub(crate) static NETSTAT: Naming = Naming {
    prefix: "node_netstat_",
    suffix: "",
    kind: model::MetricKind::Unknown,
    help: "Statistic of the network stack, by protocol:",
    labels: &[],
};

/// A name made of two, in a buffer that is reused.
fn joined<'s>(scratch: &'s mut Vec<u8>, first: &[u8], second: &[u8], third: &[u8]) -> &'s [u8] {
    scratch.clear();
    scratch.extend_from_slice(first);
    scratch.push(b'_');
    scratch.extend_from_slice(second);
    scratch.extend_from_slice(third);
    scratch
}

pub(crate) struct Sockstat {
    v4: Source,
    v6: Source,
    scratch: Vec<u8>,
}

impl Sockstat {
    pub(crate) fn new(paths: &Paths) -> Self {
        let (v4, v6) = (paths.proc_whole("net/sockstat"), paths.proc_whole("net/sockstat6"));
        Self { v4, v6, scratch: Vec::new() }
    }
}

impl Collector for Sockstat {
    fn names(&self) -> &'static [&'static str] {
        &["sockstat"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        let text = self.v4.read(visit.buffer)?;
        say_sockets(text, visit.samples, &mut self.scratch);
        match self.v6.read(visit.buffer) {
            Ok(text) => say_sockets(text, visit.samples, &mut self.scratch),
            Err(Failure::Absent) => {} // a kernel without IPv6
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

fn say_sockets(text: &[u8], samples: &mut Samples, scratch: &mut Vec<u8>) {
    let page = rustix::param::page_size() as f64;
    for line in lines(text) {
        let mut columns = words(line);
        let Some(protocol) = columns.next().and_then(|word| word.strip_suffix(b":")) else { continue };
        while let (Some(state), Some(value)) = (columns.next(), columns.value()) {
            if protocol == b"sockets" {
                samples.metric(&SOCKETS, &[], value);
                continue;
            }
            samples.named(&SOCKSTAT, joined(scratch, protocol, state, b""), &[], value);
            if state == b"mem" {
                samples.named(&SOCKSTAT, joined(scratch, protocol, state, b"_bytes"), &[], value * page);
            }
        }
    }
}

/// A table of two lines a protocol, names above numbers. Names that did not change are not looked at again.
#[derive(Default)]
struct TwoLines {
    header: Box<[u8]>,
    /// Columns that are wanted, in order, with their metric's field name.
    wanted: Vec<(usize, Box<[u8]>)>,
}

impl TwoLines {
    fn learn(&mut self, header: &[u8], patterns: &Patterns) {
        let mut names = words(header);
        let protocol = names.next().and_then(|word| word.strip_suffix(b":")).unwrap_or_default();
        let mut scratch = Vec::new();
        self.wanted.clear();
        for (column, name) in names.enumerate() {
            let field = joined(&mut scratch, protocol, name, b"");
            if patterns.wants(field) {
                self.wanted.push((column, field.into()));
            }
        }
        self.header = header.into();
    }

    fn say(&self, values: &[u8], samples: &mut Samples) {
        let mut columns = words(values).skip(1);
        let mut at = 0;
        for (column, field) in &self.wanted {
            let Some(value) = columns.nth(column - at).and_then(real) else { return };
            at = column + 1;
            samples.named(&NETSTAT, field, &[], value);
        }
    }
}

pub(crate) struct Netstat {
    tables: [Source; 2],
    v6: Source,
    patterns: Patterns,
    known: Vec<TwoLines>,
    wanted6: Verdicts,
    scratch: Vec<u8>,
}

impl Netstat {
    pub(crate) fn new(paths: &Paths, fields: Patterns) -> Self {
        Self {
            tables: [paths.proc_whole("net/netstat"), paths.proc_whole("net/snmp")],
            v6: paths.proc_whole("net/snmp6"),
            patterns: fields.clone(),
            known: Vec::new(),
            wanted6: Verdicts::new(fields),
            scratch: Vec::new(),
        }
    }
}

/// Protocols of all tables together; the kernel has about ten.
const PROTOCOLS_MAX: usize = 64;

impl Collector for Netstat {
    fn names(&self) -> &'static [&'static str] {
        &["netstat"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        let mut position = 0;
        for source in &mut self.tables {
            let mut text = lines(source.read(visit.buffer)?);
            while let (Some(header), Some(values)) = (text.next(), text.next()) {
                if position >= self.known.len().min(PROTOCOLS_MAX) {
                    if position == PROTOCOLS_MAX {
                        return Err(source.odd("more protocols than any kernel has"));
                    }
                    self.known.push(TwoLines::default());
                }
                let table = &mut self.known[position];
                if *table.header != *header {
                    table.learn(header, &self.patterns);
                }
                table.say(values, visit.samples);
                position += 1;
            }
        }
        match self.v6.read(visit.buffer) {
            Ok(text) => say_v6(text, visit.samples, &mut self.wanted6, &mut self.scratch),
            Err(Failure::Absent) => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

/// `Ip6InReceives 1`: the protocol ends behind the 6.
fn say_v6(text: &[u8], samples: &mut Samples, wanted: &mut Verdicts, scratch: &mut Vec<u8>) {
    wanted.restart();
    for line in lines(text) {
        let mut columns = words(line);
        let (Some(name), Some(value)) = (columns.next(), columns.value()) else { continue };
        let Some(six) = memchr::memchr(b'6', name) else { continue };
        let field = joined(scratch, &name[..=six], &name[six + 1..], b"");
        if wanted.next(field) {
            samples.named(&NETSTAT, field, &[], value);
        }
    }
}

pub(crate) struct Arp {
    source: Source,
    counts: Vec<(Box<[u8]>, u64)>,
}

impl Arp {
    /// Devices told apart.
    const DEVICES_MAX: usize = 1024;

    pub(crate) fn new(paths: &Paths) -> Self {
        Self { source: paths.proc_records("net/arp", 512), counts: Vec::new() }
    }

    fn count(&mut self, device: &[u8]) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(name, _)| **name == *device) {
            *count += 1;
        } else if self.counts.len() < Self::DEVICES_MAX {
            self.counts.push((device.into(), 1));
        }
    }
}

impl Collector for Arp {
    fn names(&self) -> &'static [&'static str] {
        &["arp"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        self.counts.iter_mut().for_each(|(_, count)| *count = 0);
        let text = self.source.read(visit.buffer)?;
        lines(text).skip(1).filter_map(|line| words(line).nth(5)).for_each(|device| self.count(device));
        self.counts.retain(|(_, count)| *count > 0);
        for (device, count) in &self.counts {
            visit.samples.metric(&ARP, &[device], *count as f64);
        }
        Ok(())
    }
}

/// Columns of /proc/net/stat/nf_conntrack by name, since kernels add and drop some.
const CONNTRACK_COLUMNS: [(&[u8], &Family); 8] = [
    (b"found", &FOUND),
    (b"invalid", &INVALID),
    (b"ignore", &IGNORE),
    (b"insert", &INSERT),
    (b"insert_failed", &INSERT_FAILED),
    (b"drop", &DROP),
    (b"early_drop", &EARLY_DROP),
    (b"search_restart", &SEARCH_RESTART),
];

pub(crate) struct Conntrack {
    entries: Source,
    limit: Source,
    stat: Source,
}

impl Conntrack {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            entries: paths.setting("net/netfilter/nf_conntrack_count"),
            limit: paths.setting("net/netfilter/nf_conntrack_max"),
            stat: paths.proc_records("net/stat/nf_conntrack", 512),
        }
    }
}

impl Collector for Conntrack {
    fn names(&self) -> &'static [&'static str] {
        &["conntrack"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        for (source, family) in [(&mut self.entries, &CONNTRACK), (&mut self.limit, &CONNTRACK_MAX)] {
            let Some(value) = decimal(trimmed(source.read(visit.buffer)?)) else {
                return Err(source.odd("a number is expected"));
            };
            visit.samples.metric(family, &[], value as f64);
        }
        let mut rows = lines(self.stat.read(visit.buffer)?);
        let Some(header) = rows.next() else { return Ok(()) };
        let mut sums = [None; CONNTRACK_COLUMNS.len()];
        for row in rows {
            for (name, value) in words(header).zip(words(row)) {
                let column = CONNTRACK_COLUMNS.iter().position(|(known, _)| *known == name);
                if let (Some(column), Some(value)) = (column, hexadecimal(value)) {
                    *sums[column].get_or_insert(0.0) += value as f64;
                }
            }
        }
        for ((_, family), sum) in CONNTRACK_COLUMNS.iter().zip(sums) {
            if let Some(sum) = sum {
                visit.samples.metric(family, &[], sum);
            }
        }
        Ok(())
    }
}

pub(crate) struct UdpQueues {
    v4: Source,
    v6: Source,
}

impl UdpQueues {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self { v4: paths.proc_records("net/udp", 512), v6: paths.proc_records("net/udp6", 512) }
    }
}

impl Collector for UdpQueues {
    fn names(&self) -> &'static [&'static str] {
        &["udp_queues"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        let mut found = false;
        for (source, ip) in [(&mut self.v4, &b"v4"[..]), (&mut self.v6, b"v6")] {
            let (mut sending, mut receiving) = (0.0, 0.0);
            match source.read(visit.buffer) {
                Err(Failure::Absent) => continue,
                Err(failure) => return Err(failure),
                Ok(text) => {
                    // sl local_address rem_address st tx_queue:rx_queue
                    for queues in lines(text).skip(1).filter_map(|line| words(line).nth(4)) {
                        let Some(colon) = memchr::memchr(b':', queues) else { continue };
                        sending += hexadecimal(&queues[..colon]).unwrap_or(0) as f64;
                        receiving += hexadecimal(&queues[colon + 1..]).unwrap_or(0) as f64;
                    }
                }
            }
            visit.samples.metric(&UDP_QUEUES, &[ip, b"tx"], sending);
            visit.samples.metric(&UDP_QUEUES, &[ip, b"rx"], receiving);
            found = true;
        }
        if found { Ok(()) } else { Err(Failure::Absent) }
    }
}

struct Bond {
    master: String,
    slaves: Vec<Attribute>,
}

pub(crate) struct Bonding {
    class: PathBuf,
    masters: Source,
    look: Seldom,
    bonds: Vec<Bond>,
}

impl Bonding {
    pub(crate) fn new(paths: &Paths) -> Self {
        let class = paths.sys("class/net");
        let masters = Source::new(class.join("bonding_masters"), super::source::Shape::Whole);
        Self { class, masters, look: Seldom::new(4), bonds: Vec::new() }
    }
}

impl Collector for Bonding {
    fn names(&self) -> &'static [&'static str] {
        &["bonding"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        let masters = self.masters.read(visit.buffer)?;
        if self.look.due() {
            let names = words(masters).map(|name| String::from_utf8_lossy(name).into_owned());
            self.bonds = names.map(|master| find_bond(&self.class, master)).collect();
        }
        for bond in &mut self.bonds {
            let mut active = 0;
            for slave in &mut bond.slaves {
                active += u32::from(slave.read(visit.buffer) == Some(b"up"));
            }
            let master = bond.master.as_bytes();
            visit.samples.metric(&BOND_SLAVES, &[master], bond.slaves.len() as f64);
            visit.samples.metric(&BOND_ACTIVE, &[master], f64::from(active));
        }
        Ok(())
    }
}

fn find_bond(class: &Path, master: String) -> Bond {
    let folder = class.join(&master);
    let slaves = read_text(&folder.join("bonding/slaves")).unwrap_or_default();
    let status = |slave: &str| {
        // Older kernels call the link "slave_eth0".
        let link = ["lower_", "slave_"].map(|prefix| folder.join(format!("{prefix}{slave}")));
        let link = link.iter().find(|link| link.is_dir()).unwrap_or(&link[0]);
        Attribute::new(link.join("bonding_slave/mii_status"))
    };
    Bond { slaves: slaves.split_whitespace().map(status).collect(), master }
}
