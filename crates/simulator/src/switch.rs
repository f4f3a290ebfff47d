//! A switch that was never built: `system`, `ifTable`, `ifXTable`, and `ENTITY-SENSOR` readings of the optics in its ports.
//!
//! `ifTable` has all 22 columns of RFC 2863 and `ifXTable` all 19, so a walk of `ifTable` gives 22 values a port: 1,562 of 71 ports.
//! Counters move, each at a rate of its own by seed; the 32-bit ones are the 64-bit ones' lower half. The last port is down.

use snmp::Oid;
use snmp::ber::tag;

use crate::error::Error;
use crate::motion::{Motion, rate};
use crate::recording::Recording;
use crate::seed::mix;
use crate::tree::Tree;
use snmp::Datum;

/// How a synthetic switch is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Ports; at least 1.
    pub ports: u32,
    /// How many of them, from the first on, hold an optic with five sensors.
    pub optics: u32,
    /// What rates and readings are drawn from.
    pub seed: u64,
}

const SYSTEM: &[u32] = &[1, 3, 6, 1, 2, 1, 1];
const INTERFACES: &[u32] = &[1, 3, 6, 1, 2, 1, 2];
const IF_ENTRY: &[u32] = &[1, 3, 6, 1, 2, 1, 2, 2, 1];
const IF_X_ENTRY: &[u32] = &[1, 3, 6, 1, 2, 1, 31, 1, 1, 1];
const PHYSICAL_ENTRY: &[u32] = &[1, 3, 6, 1, 2, 1, 47, 1, 1, 1, 1];
const ALIAS_MAPPING: &[u32] = &[1, 3, 6, 1, 2, 1, 47, 1, 3, 2, 1, 2];
const SENSOR_ENTRY: &[u32] = &[1, 3, 6, 1, 2, 1, 99, 1, 1, 1];
const UPTIME: u32 = 8_640_000;
const UPTIME_MS: u64 = UPTIME as u64 * 10;

/// A sensor of each optic: name, unit (`EntitySensorDataType`), scale, decimals, middle and swing of its readings.
const SENSORS: [(&str, i32, i32, i32, i64, i64); 5] = [
    ("Temperature", 8, 9, 1, 412, 15),
    ("Supply Voltage", 4, 8, 0, 3_300, 12),
    ("Bias Current", 5, 7, 0, 34_500, 400),
    ("Transmit Power", 6, 7, 1, 5_620, 60),
    ("Receive Power", 6, 7, 1, 2_140, 90),
];

type Column = Vec<(Oid, Datum, Option<Motion>)>;
/// Columns that show the same count (of `ifTable`, of `ifXTable` in 32 and in 64 bits), and the most a second.
type Counted = (Option<u32>, Option<u32>, Option<u32>, u64);

/// What a port counts.
const COUNTED: [Counted; 15] = [
    (Some(10), None, Some(6), 600_000_000),
    (Some(11), None, Some(7), 700_000),
    (None, Some(2), Some(8), 2_000),
    (None, Some(3), Some(9), 500),
    (Some(16), None, Some(10), 600_000_000),
    (Some(17), None, Some(11), 700_000),
    (None, Some(4), Some(12), 2_000),
    (None, Some(5), Some(13), 500),
    (Some(12), None, None, 2_000),
    (Some(18), None, None, 2_000),
    (Some(13), None, None, 3),
    (Some(19), None, None, 3),
    (Some(14), None, None, 0),
    (Some(15), None, None, 0),
    (Some(20), None, None, 0),
];

/// 71 ports, so that a walk of `ifTable` gives 1,562 values; optics in all of them.
impl Default for Switch {
    fn default() -> Self {
        Self { ports: 71, optics: 71, seed: 1 }
    }
}

impl Switch {
    /// Its values, ready to be sent.
    pub fn tree(&self) -> Result<Tree, Error> {
        let mut cells = self.system();
        cells.extend(self.interfaces());
        cells.extend(self.optics());
        cells.sort_by(|a, b| a.0.cmp(&b.0));
        let plain: Vec<_> = cells.iter().map(|(name, datum, _)| (name.clone(), datum.clone())).collect();
        Tree::build(&plain, |name, _| {
            let at = cells.binary_search_by(|(other, _, _)| other.cmp(name)).expect("built from these");
            cells[at].2.clone()
        })
    }

    /// Its values as they stand at first, as a recording.
    pub fn recording(&self) -> Recording {
        let cells = self.system().into_iter().chain(self.interfaces()).chain(self.optics());
        cells.map(|(name, datum, _)| (name, datum)).collect()
    }

    fn system(&self) -> Column {
        let scalar = |arcs: &[u32], at: u32, datum| (name(arcs, &[at, 0]), datum, None);
        let object_id = "1.3.6.1.4.1.8072.3.2.255".parse().expect("a good OID");
        vec![
            scalar(SYSTEM, 1, Datum::text(format!("Pantau synthetic switch, {} ports", self.ports))),
            scalar(SYSTEM, 2, Datum::Oid(object_id)),
            (name(SYSTEM, &[3, 0]), Datum::TimeTicks(UPTIME), Some(Motion::Uptime)),
            scalar(SYSTEM, 4, Datum::text("noc@example.net")),
            (name(SYSTEM, &[5, 0]), Datum::text("switch"), Some(Motion::Name)),
            scalar(SYSTEM, 6, Datum::text("rack 1")),
            scalar(SYSTEM, 7, Datum::Integer(2)),
            scalar(INTERFACES, 1, Datum::Integer(self.ports as i32)),
        ]
    }

    fn interfaces(&self) -> Column {
        (1..=self.ports).flat_map(|port| self.port(port)).collect()
    }

    fn port(&self, port: u32) -> Column {
        let up = port < self.ports || port == 1;
        let cell = |column, datum| (name(IF_ENTRY, &[column, port]), datum, None);
        let cell_x = |column, datum| (name(IF_X_ENTRY, &[column, port]), datum, None);
        let label = format!("Ethernet1/{port}");
        let [high, low] = (port as u16).to_be_bytes();
        let state = Datum::Integer(if up { 1 } else { 2 });
        let mut cells = vec![
            cell(1, Datum::Integer(port as i32)),
            cell(2, Datum::text(label.clone())),
            cell(3, Datum::Integer(6)),
            cell(4, Datum::Integer(9_216)),
            cell(5, Datum::Gauge32(u32::MAX)),
            cell(6, Datum::Bytes(vec![2, 0, self.seed as u8, 0, high, low])),
            cell(7, Datum::Integer(1)),
            cell(8, state),
            cell(9, Datum::TimeTicks(4_200)),
            cell(21, Datum::Gauge32(0)),
            cell(22, Datum::Oid("0.0".parse().expect("a good OID"))),
            cell_x(1, Datum::text(label)),
            cell_x(14, Datum::Integer(1)),
            cell_x(15, Datum::Gauge32(10_000)),
            cell_x(16, Datum::Integer(2)),
            cell_x(17, Datum::Integer(1)),
            cell_x(18, Datum::text(format!("customer {port}"))),
            cell_x(19, Datum::TimeTicks(0)),
        ];
        cells.extend(self.counters(port, up));
        cells
    }

    fn counters(&self, port: u32, up: bool) -> Column {
        let mut cells = Vec::new();
        for (at, (narrow, narrow_x, wide, most)) in COUNTED.into_iter().enumerate() {
            let columns =
                [(narrow, IF_ENTRY, false), (narrow_x, IF_X_ENTRY, false), (wide, IF_X_ENTRY, true)];
            for (column, entry, wide) in columns {
                let Some(column) = column else { continue };
                let most = if up { most } else { 0 };
                cells.push(self.counter(name(entry, &[column, port]), port, at as u64, most, wide));
            }
        }
        cells
    }

    /// A counter that has counted since the switch came up, at up to `most` a second.
    fn counter(
        &self,
        name: Oid,
        port: u32,
        kind: u64,
        most: u64,
        wide: bool,
    ) -> (Oid, Datum, Option<Motion>) {
        let a_second = if most == 0 { 0 } else { mix(self.seed, u64::from(port) << 8 | kind) % most + 1 };
        let base = a_second * (UPTIME_MS / 1_000);
        let rate = rate(a_second, 1_000);
        if wide {
            return (name, Datum::Counter64(base), Some(Motion::Counter64 { base, rate }));
        }
        (name, Datum::Counter32(base as u32), Some(Motion::Counter32 { base, rate }))
    }

    fn optics(&self) -> Column {
        let physical = |column, index, datum| (name(PHYSICAL_ENTRY, &[column, index]), datum, None);
        let mut cells = vec![
            physical(2, 1, Datum::text("Pantau synthetic switch")),
            physical(4, 1, Datum::Integer(0)),
            physical(5, 1, Datum::Integer(3)),
            physical(7, 1, Datum::text("Chassis")),
        ];
        for port in 1..=self.optics.min(self.ports) {
            let index = 1_000 + port;
            cells.extend([
                physical(2, index, Datum::text("10GBASE-LR")),
                physical(4, index, Datum::Integer(1)),
                physical(5, index, Datum::Integer(10)),
                physical(7, index, Datum::text(format!("Ethernet1/{port}"))),
            ]);
            let interface = Datum::Oid(name(IF_ENTRY, &[1, port]));
            cells.push((name(ALIAS_MAPPING, &[index, 0]), interface, None));
            (0..SENSORS.len()).for_each(|at| cells.extend(self.sensor(port, at)));
        }
        cells
    }

    fn sensor(&self, port: u32, at: usize) -> Column {
        let (label, unit, scale, decimals, middle, swing) = SENSORS[at];
        let index = 100_000 + port * 10 + at as u32;
        let physical = |column, datum| (name(PHYSICAL_ENTRY, &[column, index]), datum, None);
        let sensor = |column, datum| (name(SENSOR_ENTRY, &[column, index]), datum, None);
        let draw = mix(self.seed, u64::from(index));
        let middle = middle + (draw % 41) as i64 - 20;
        let motion = Motion::Wave {
            tag: tag::INTEGER,
            middle,
            swing,
            period: 60_000 + draw % 600_000,
            phase: draw >> 32,
        };
        vec![
            physical(2, Datum::text(format!("{label} Sensor"))),
            physical(4, Datum::Integer(1_000 + port as i32)),
            physical(5, Datum::Integer(8)),
            physical(7, Datum::text(format!("Ethernet1/{port} {label}"))),
            sensor(1, Datum::Integer(unit)),
            sensor(2, Datum::Integer(scale)),
            sensor(3, Datum::Integer(decimals)),
            (name(SENSOR_ENTRY, &[4, index]), Datum::Integer(middle as i32), Some(motion)),
            sensor(5, Datum::Integer(1)),
            sensor(6, Datum::text("")),
            sensor(7, Datum::TimeTicks(UPTIME)),
            sensor(8, Datum::Gauge32(10_000)),
        ]
    }
}

fn name(entry: &[u32], rest: &[u32]) -> Oid {
    Oid::from_arcs(&[entry, rest].concat()).expect("standard names are short and well formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        let recording = Switch::default().recording();
        let tree = Switch::default().tree().expect("small");
        assert_eq!((tree.len(), recording.dropped().lines()), (recording.cells().len(), 0));
        let count = |entry: &[u32]| tree.under(Oid::from_arcs(entry).expect("good").view()).len();
        assert_eq!(count(IF_ENTRY), 1_562);
        assert_eq!(count(IF_X_ENTRY), 19 * 71);
        assert_eq!(count(SENSOR_ENTRY), 8 * 5 * 71);
    }

    #[test]
    fn narrow_counters_are_the_lower_half_of_wide_ones() {
        let recording = Switch::default().recording();
        for (narrow, wide) in [([10, 5], [6, 5]), ([16, 70], [10, 70])] {
            let narrow = recording.get(&name(IF_ENTRY, &narrow)).expect("there");
            let wide = recording.get(&name(IF_X_ENTRY, &wide)).expect("there");
            let (Datum::Counter32(narrow), Datum::Counter64(wide)) = (narrow, wide) else {
                panic!("counters")
            };
            assert!(*wide > u64::from(u32::MAX) && *wide as u32 == *narrow, "{wide} {narrow}");
        }
    }
}
