//! Recordings of real devices, which stay outside the project: every recording of a family that has a profile gives samples that its raw
//! values justify. What each gives, withholds and why becomes the table in `docs/operating/profiles-recordings.md` (names of recordings
//! and counts only), which is written anew when `PANTAU_GOLDEN` is set and compared otherwise.
//!
//! The folder is `PANTAU_SHARED`, or `../shared` beside the workspace; without it these tests say that they skip.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use profiles::{Profile, Recorded, Sample, Samples, Set};
use snmp::Oid;

/// A recording, its profile, and the least number of samples by family.
type Expected = (&'static str, &'static str, &'static [(&'static str, usize)]);

/// A recording, the profile that must be picked, and the least number of samples of each family that its raw values hold.
const EXPECTED: &[Expected] = &[
    (
        "ios_2960x",
        "cisco-ios",
        &[
            ("ifHCInOctets", 136),
            ("optics_rx_power_dbm", 2),
            ("device_power_supply_ok", 3),
            ("device_fan_ok", 3),
            ("cdp_neighbor_info", 7),
            ("device_memory_total_bytes", 3),
        ],
    ),
    (
        "iosxe_isr4321",
        "cisco-ios-xe",
        &[
            ("optics_rx_power_dbm", 1),
            ("optics_tx_power_threshold_dbm", 4),
            ("device_fan_speed_rpm", 1),
            ("device_power_watts", 2),
        ],
    ),
    (
        "iosxr_asr9001",
        "cisco-ios-xr",
        &[
            ("optics_rx_power_dbm", 4),
            ("optics_rx_power_threshold_dbm", 16),
            ("device_temperature_celsius", 10),
            ("device_cpu_usage_ratio", 2),
            ("device_memory_used_bytes", 6),
        ],
    ),
    (
        "nxos_n3k-3064pq",
        "cisco-nx-os",
        &[
            ("optics_rx_power_dbm", 2),
            ("optics_rx_signal_present", 8),
            ("optics_tx_power_dbm", 8),
            ("optics_tx_power_threshold_dbm", 32),
            ("lldp_neighbor_info", 1),
            ("device_temperature_celsius", 4),
        ],
    ),
    (
        "vrp_5720",
        "huawei-vrp",
        &[
            ("optics_rx_power_dbm", 3),
            ("optics_rx_power_threshold_dbm", 12),
            ("lldp_neighbor_info", 5),
            ("device_cpu_usage_ratio", 1),
        ],
    ),
    ("vrp_ar169sfp", "huawei-vrp", &[("optics_rx_power_dbm", 1), ("device_temperature_celsius", 1)]),
    ("vrp_ne", "huawei-vrp", &[("ifHCInOctets", 30)]),
    (
        "vrp_ne8000-m8",
        "huawei-vrp",
        &[
            ("optics_rx_power_dbm", 8),
            ("optics_tx_power_dbm", 9),
            ("optics_rx_signal_present", 9),
            ("device_power_supply_ok", 2),
            ("device_fan_ok", 1),
        ],
    ),
    (
        "junos_mx5t-isis",
        "juniper",
        &[
            ("optics_rx_power_dbm", 5),
            ("optics_tx_power_threshold_dbm", 20),
            ("lldp_neighbor_info", 4),
            ("device_fan_ok", 6),
            ("device_power_supply_ok", 1),
        ],
    ),
    (
        "routeros",
        "mikrotik-routeros",
        &[
            ("optics_rx_power_dbm", 1),
            ("device_cpu_usage_ratio", 4),
            ("device_memory_total_bytes", 1),
            ("lldp_neighbor_info", 8),
        ],
    ),
    (
        "routeros_rb5009upr+s+",
        "mikrotik-routeros",
        &[("device_cpu_usage_ratio", 4), ("device_temperature_celsius", 1), ("device_voltage_volts", 3)],
    ),
    ("linux_ucd-diskio", "net-snmp-linux", &[("diskIONReadX", 17)]),
    (
        "dsm",
        "net-snmp-linux",
        &[("ssCpuRawUser", 1), ("device_cpu_usage_ratio", 4), ("device_storage_total_bytes", 5)],
    ),
    (
        "eatonupsm2_9px+empg2",
        "ups-mib",
        &[("ups_battery_runtime_seconds", 1), ("ups_output_voltage_volts", 1)],
    ),
    ("deltaups", "ups-mib", &[("ups_battery_charge_ratio", 1), ("ups_output_load_ratio", 1)]),
    (
        "netmanplus_204",
        "ups-mib",
        &[("ups_battery_runtime_seconds", 1), ("ups_input_voltage_volts", 1), ("ups_output_load_ratio", 1)],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of recordings, where there is one.
fn folder() -> Option<PathBuf> {
    let shared = std::env::var_os("PANTAU_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let folder = shared.join("devices/recordings");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: there are no recordings in {}", folder.display());
    None
}

fn read(folder: &Path, name: &str) -> (Recorded, usize) {
    let path = folder.join(format!("{name}.snmprec"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Recorded::parse_what_can_be(&bytes)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("it is a folder");
    let names = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_suffix(".snmprec").map(str::to_owned)).collect()
}

#[test]
fn every_family_gives_what_its_recordings_hold() {
    let Some(folder) = folder() else { return };
    let set = Set::embedded();
    for (name, profile, least) in EXPECTED {
        let (recorded, _) = read(&folder, name);
        let choice = set.choose_recorded(&recorded).expect("every device has a profile");
        assert_eq!(choice.profile.name(), *profile, "{name}: {}", choice.why);
        let (samples, outcome) = Samples::of(&choice.profile, &recorded);
        assert_eq!((outcome.waiting, outcome.rows_over), (0, 0), "{name}");
        for (family, least) in *least {
            let found = samples.family(family).count();
            assert!(found >= *least, "{name}: {found} samples of {family}, not {least}");
        }
    }
}

/// What a quantity can be in a network that works, beyond what a profile's own bounds let through.
const PLAUSIBLE: &[(&str, f64, f64)] = &[
    ("optics_rx_power_dbm", -40.0, 10.0),
    ("optics_tx_power_dbm", -15.0, 10.0),
    ("optics_bias_amperes", 0.0, 0.15),
    ("optics_temperature_celsius", 5.0, 80.0),
    ("optics_voltage_volts", 2.9, 5.5),
    ("device_cpu_usage_ratio", 0.0, 1.0),
    ("device_memory_usage_ratio", 0.0, 1.0),
    ("device_temperature_celsius", 5.0, 110.0),
    ("device_memory_total_bytes", 0.0, 1e13),
    ("device_fan_speed_rpm", 0.0, 30_000.0),
    ("ups_battery_charge_ratio", 0.0, 1.0),
    ("ups_battery_runtime_seconds", 60.0, 1e6),
    ("ups_input_voltage_volts", 90.0, 260.0),
    ("ups_output_voltage_volts", 90.0, 260.0),
    ("ups_output_frequency_hertz", 45.0, 65.0),
    ("ups_battery_voltage_volts", 10.0, 500.0),
];

#[test]
fn every_value_is_plausible_and_every_series_is_one() {
    let Some(folder) = folder() else { return };
    let set = Set::embedded();
    for name in names(&folder) {
        let (recorded, _) = read(&folder, &name);
        let choice = set.choose_recorded(&recorded).expect("every device has a profile");
        let (samples, _) = Samples::of(&choice.profile, &recorded);
        let mut seen = BTreeSet::new();
        for sample in &samples.samples {
            assert!(sample.value.is_finite(), "{name}: {sample}");
            for (_, low, high) in PLAUSIBLE.iter().filter(|(family, ..)| *family == sample.family) {
                assert!((*low..=*high).contains(&sample.value), "{name}: {sample}");
            }
            let series = Sample { value: 0.0, ..sample.clone() }.to_string();
            // Two neighbours may be told of in equal words; numbers may not.
            assert!(
                seen.insert(series) || sample.family.ends_with("_info"),
                "{name}: {sample} is there twice"
            );
        }
    }
}

/// Readings that a module's own limits do not bracket, with the raw values' reason.
const OUTSIDE: &[(&str, &str, f64)] = &[
    // Too little light: the devices count -2677 and -3698 hundredths, with limits of -2102 and -2251.
    ("junos_mx5t-isis", "optics_rx_power_dbm", -26.77),
    ("junos_mx5t-isis", "optics_rx_power_dbm", -36.98),
    // Too much: 1.1274 mW with a limit of 1 mW.
    ("iosxr_asr9001", "optics_rx_power_dbm", 0.521),
];

#[test]
fn limits_bracket_the_readings() {
    let Some(folder) = folder() else { return };
    let set = Set::embedded();
    let (mut bracketed, mut outside) = (0, Vec::new());
    for name in names(&folder) {
        let (recorded, _) = read(&folder, &name);
        let choice = set.choose_recorded(&recorded).expect("every device has a profile");
        let (samples, _) = Samples::of(&choice.profile, &recorded);
        for quantity in
            ["rx_power_dbm", "tx_power_dbm", "bias_amperes", "temperature_celsius", "voltage_volts"]
        {
            let (family, unit) = quantity.rsplit_once('_').expect("it has a unit");
            let limits = format!("optics_{family}_threshold_{unit}");
            for reading in samples.family(&format!("optics_{quantity}")) {
                let of = |level: &str| {
                    let mine = |limit: &&Sample| {
                        let same = |label| limit.label(label) == reading.label(label);
                        limit.label("level") == Some(level)
                            && ["ifIndex", "ifName", "sensor", "lane"].into_iter().all(same)
                    };
                    samples.family(&limits).find(mine).map(|limit| limit.value)
                };
                let (Some(low), Some(high)) = (of("low_alarm"), of("high_alarm")) else { continue };
                assert!(low < high, "{name}: {reading}: {low} to {high}");
                if (low..=high).contains(&reading.value) {
                    bracketed += 1;
                } else {
                    outside.push((name.clone(), reading.family.clone(), reading.value));
                }
            }
        }
    }
    for (name, family, value) in &outside {
        let known = OUTSIDE.iter().any(|(n, f, v)| *n == name && *f == family && v == value);
        assert!(known, "{name}: {family} {value} lies outside of its limits");
    }
    assert_eq!(outside.len(), OUTSIDE.len(), "{outside:?}");
    assert!(bracketed >= 75, "{bracketed}");
}

/// Values that another tool reads wrongly out of these recordings: raw OID and what is right.
#[test]
fn known_traps_are_avoided() {
    let Some(folder) = folder() else { return };
    let set = Set::embedded();
    let check = |name: &str, family: &str, port: &str, expected: Option<f64>| {
        let (recorded, _) = read(&folder, name);
        let choice = set.choose_recorded(&recorded).expect("every device has a profile");
        let (samples, _) = Samples::of(&choice.profile, &recorded);
        let found = samples
            .family(family)
            .find(|s| s.label("ifName") == Some(port) && s.label("level").is_none_or(|l| l == "high_alarm"));
        assert_eq!(found.map(|sample| sample.value), expected, "{name}: {family} of {port}");
    };
    check("vrp_5720", "optics_rx_power_dbm", "XGigabitEthernet0/0/1", Some(-2.708));
    check("vrp_5720", "optics_rx_power_threshold_dbm", "XGigabitEthernet0/0/1", Some(2.5));
    check("vrp_ne8000-m8", "optics_rx_power_dbm", "GigabitEthernet0/7/3", None);
    check("vrp_ne8000-m8", "optics_rx_signal_present", "GigabitEthernet0/7/3", Some(0.0));
    check("vrp_ne8000-m8", "optics_tx_power_dbm", "GigabitEthernet0/7/0", Some(2.56));
    check("vrp_ne8000-m8", "optics_tx_power_dbm", "GigabitEthernet0/7/3", Some(3.4));
    check("iosxr_asr9001", "optics_rx_power_dbm", "TenGigE0/0/0/3", Some(-2.331));
    check("routeros", "optics_rx_power_dbm", "sfp1", Some(-5.673));
    check("nxos_n3k-3064pq", "optics_rx_power_dbm", "Ethernet1/1", Some(-13.187));
    check("nxos_n3k-3064pq", "optics_rx_signal_present", "Ethernet1/1", Some(1.0));
    // An exact 0 beside a laser that shines, on a port that is down: no light, and no 0 dBm.
    check("nxos_n3k-3064pq", "optics_rx_power_dbm", "Ethernet1/2", None);
    check("nxos_n3k-3064pq", "optics_rx_signal_present", "Ethernet1/2", Some(0.0));
}

/// A column as its MIB and the vendor's pages have it, apart from any profile.
struct Reference {
    /// Recordings by name; none: all.
    of: &'static [&'static str],
    family: &'static str,
    column: &'static str,
    /// Numbers that stand for no reading.
    nothing: &'static [f64],
    means: fn(f64) -> f64,
}

const fn plain(family: &'static str, column: &'static str) -> Reference {
    Reference { of: &[], family, column, nothing: &[], means: |raw| raw }
}

const REFERENCES: &[Reference] = &[
    plain("ifMtu", "1.3.6.1.2.1.2.2.1.4"),
    plain("ifAdminStatus", "1.3.6.1.2.1.2.2.1.7"),
    plain("ifOperStatus", "1.3.6.1.2.1.2.2.1.8"),
    plain("ifInDiscards", "1.3.6.1.2.1.2.2.1.13"),
    plain("ifInErrors", "1.3.6.1.2.1.2.2.1.14"),
    plain("ifOutDiscards", "1.3.6.1.2.1.2.2.1.19"),
    plain("ifOutErrors", "1.3.6.1.2.1.2.2.1.20"),
    plain("ifHCInOctets", "1.3.6.1.2.1.31.1.1.1.6"),
    plain("ifHCOutOctets", "1.3.6.1.2.1.31.1.1.1.10"),
    plain("ifHighSpeed", "1.3.6.1.2.1.31.1.1.1.15"),
    plain("dot3StatsDuplexStatus", "1.3.6.1.2.1.10.7.2.1.19"),
    // Microwatts; -1 is an empty cage.
    Reference {
        of: &["vrp_5720"],
        family: "optics_rx_power_dbm",
        column: "1.3.6.1.4.1.2011.5.25.31.1.1.3.1.8",
        nothing: &[-1.0],
        means: |raw| 10.0 * (raw / 1000.0).log10(),
    },
    Reference {
        of: &["vrp_5720"],
        family: "optics_tx_power_dbm",
        column: "1.3.6.1.4.1.2011.5.25.31.1.1.3.1.9",
        nothing: &[-1.0],
        means: |raw| 10.0 * (raw / 1000.0).log10(),
    },
    Reference {
        of: &["vrp_5720"],
        family: "optics_bias_amperes",
        column: "1.3.6.1.4.1.2011.5.25.31.1.1.3.1.7",
        nothing: &[-1.0],
        means: |raw| raw / 1e6,
    },
    // Hundredths of a dBm; -4000 is no light, 0 an empty cage.
    Reference {
        of: &["vrp_ne8000-m8", "vrp_ar169sfp"],
        family: "optics_rx_power_dbm",
        column: "1.3.6.1.4.1.2011.5.25.31.1.1.3.1.8",
        nothing: &[-4000.0, 0.0],
        means: |raw| raw / 100.0,
    },
    Reference {
        of: &["vrp_ne8000-m8", "vrp_ar169sfp"],
        family: "optics_tx_power_dbm",
        column: "1.3.6.1.4.1.2011.5.25.31.1.1.3.1.9",
        nothing: &[0.0],
        means: |raw| raw / 100.0,
    },
    Reference {
        of: &["vrp_ne8000-m8"],
        family: "optics_bias_amperes",
        column: "1.3.6.1.4.1.2011.5.25.31.1.1.3.1.7",
        nothing: &[],
        means: |raw| raw / 1e3,
    },
    Reference {
        of: &["vrp_5720", "vrp_ne8000-m8", "vrp_ar169sfp"],
        family: "optics_voltage_volts",
        column: "1.3.6.1.4.1.2011.5.25.31.1.1.3.1.6",
        nothing: &[-1.0, 0.0],
        means: |raw| raw / 1e3,
    },
    Reference {
        of: &["routeros", "routeros_rb5009upr+s+"],
        family: "optics_rx_power_dbm",
        column: "1.3.6.1.4.1.14988.1.1.19.1.1.10",
        nothing: &[0.0],
        means: |raw| raw / 1000.0,
    },
    Reference {
        of: &["routeros", "routeros_rb5009upr+s+"],
        family: "optics_tx_power_dbm",
        column: "1.3.6.1.4.1.14988.1.1.19.1.1.9",
        nothing: &[0.0],
        means: |raw| raw / 1000.0,
    },
    Reference {
        of: &["junos_mx5t-isis"],
        family: "optics_rx_power_dbm",
        column: "1.3.6.1.4.1.2636.3.60.1.1.1.1.5",
        nothing: &[0.0],
        means: |raw| raw / 100.0,
    },
    Reference {
        of: &["junos_mx5t-isis"],
        family: "optics_tx_power_dbm",
        column: "1.3.6.1.4.1.2636.3.60.1.1.1.1.7",
        nothing: &[0.0],
        means: |raw| raw / 100.0,
    },
    Reference {
        of: &["junos_mx5t-isis"],
        family: "optics_bias_amperes",
        column: "1.3.6.1.4.1.2636.3.60.1.1.1.1.6",
        nothing: &[0.0],
        means: |raw| raw / 1e6,
    },
    Reference {
        of: &["routeros", "routeros_rb5009upr+s+", "dsm", "linux_ucd-diskio"],
        family: "device_cpu_usage_ratio",
        column: "1.3.6.1.2.1.25.3.3.1.2",
        nothing: &[],
        means: |raw| raw / 100.0,
    },
    Reference {
        of: &["deltaups", "eatonupsm2_9px+empg2", "netmanplus_204"],
        family: "ups_battery_runtime_seconds",
        column: "1.3.6.1.2.1.33.1.2.3",
        nothing: &[-1.0],
        means: |raw| raw * 60.0,
    },
    Reference {
        of: &["deltaups", "eatonupsm2_9px+empg2", "netmanplus_204"],
        family: "ups_battery_charge_ratio",
        column: "1.3.6.1.2.1.33.1.2.4",
        nothing: &[-1.0],
        means: |raw| raw / 100.0,
    },
    Reference {
        of: &["deltaups", "eatonupsm2_9px+empg2", "netmanplus_204"],
        family: "ups_battery_voltage_volts",
        column: "1.3.6.1.2.1.33.1.2.5",
        nothing: &[-1.0],
        means: |raw| raw / 10.0,
    },
    // Phases that are not there have no voltage.
    Reference {
        of: &["deltaups", "eatonupsm2_9px+empg2", "netmanplus_204"],
        family: "ups_input_voltage_volts",
        column: "1.3.6.1.2.1.33.1.3.3.1.3",
        nothing: &[-1.0, 0.0],
        means: |raw| raw,
    },
    Reference {
        of: &["deltaups", "eatonupsm2_9px+empg2", "netmanplus_204"],
        family: "ups_output_voltage_volts",
        column: "1.3.6.1.2.1.33.1.4.4.1.2",
        nothing: &[-1.0, 0.0],
        means: |raw| raw,
    },
];

/// Every raw value is a sample, with what it means, and no sample is of anything else.
#[test]
fn samples_are_what_the_raw_values_mean() {
    let Some(folder) = folder() else { return };
    let set = Set::embedded();
    let (mut compared, mut recordings) = (0, BTreeSet::new());
    for name in names(&folder) {
        let (recorded, _) = read(&folder, &name);
        let choice = set.choose_recorded(&recorded).expect("every device has a profile");
        let (samples, _) = Samples::of(&choice.profile, &recorded);
        for reference in REFERENCES.iter().filter(|of| of.of.is_empty() || of.of.contains(&&*name)) {
            let mut found: Vec<f64> = samples.family(reference.family).map(|sample| sample.value).collect();
            let mut raw: Vec<f64> = column(&recorded, reference.column)
                .map(|(_, raw)| raw)
                .filter(|raw| !reference.nothing.contains(raw))
                .map(reference.means)
                .collect();
            same_numbers(&format!("{name}: {}", reference.family), &mut found, &mut raw);
            compared += raw.len();
            recordings.insert(name.clone());
        }
    }
    assert!(compared > 10_000 && recordings.len() >= 36, "{compared} in {} recordings", recordings.len());
}

/// Cisco's sensors: each row says by its own columns what it measures and in which power of ten.
#[test]
fn sensors_of_cisco_are_what_their_columns_say() {
    const ENTRY: &str = "1.3.6.1.4.1.9.9.91.1.1.1.1";
    let Some(folder) = folder() else { return };
    let set = Set::embedded();
    let mut compared = 0;
    for name in ["ios_2960x", "iosxe_isr4321", "iosxr_asr9001", "nxos_n3k-3064pq"] {
        let (recorded, _) = read(&folder, name);
        let choice = set.choose_recorded(&recorded).expect("every device has a profile");
        let (samples, _) = Samples::of(&choice.profile, &recorded);
        let of = |arc: u32, index: &str| {
            let oid: Oid = format!("{ENTRY}.{arc}.{index}").parse().expect("good");
            recorded.get(&oid).and_then(|value| value.number())
        };
        for (family, words) in
            [("optics_rx_power_dbm", ["rx", "receive"]), ("optics_tx_power_dbm", ["tx", "transmit"])]
        {
            let mut raw = Vec::new();
            for (index, value) in column(&recorded, &format!("{ENTRY}.4")) {
                let text = |arc: u32| {
                    let oid: Oid = format!("1.3.6.1.2.1.47.1.1.1.1.{arc}.{index}").parse().expect("good");
                    match recorded.get(&oid) {
                        Some(snmp::Value::OctetString(bytes)) => {
                            String::from_utf8_lossy(bytes).to_lowercase()
                        }
                        _ => String::new(),
                    }
                };
                let what = format!("{} {}", text(7), text(2));
                let is_it = what.split(|c: char| !c.is_ascii_alphabetic()).any(|word| words.contains(&word));
                let (kind, scale, digits) = (of(1, &index), of(2, &index), of(3, &index));
                // Out of order, no value, or NX-OS' exact zero.
                let is_nothing = value == -32768.0
                    || (kind == Some(14.0) && scale == Some(8.0) && value == 0.0)
                    || of(5, &index).is_some_and(|status| status != 1.0);
                let (Some(scale), Some(digits)) = (scale, digits) else { continue };
                if !is_it || is_nothing {
                    continue;
                }
                let number = value * 10f64.powf(3.0 * (scale - 9.0) - digits);
                match kind {
                    Some(14.0) => raw.push(number),
                    Some(6.0) => raw.push(10.0 * (number * 1000.0).log10()),
                    _ => {}
                }
            }
            raw.retain(|dbm| *dbm > -40.0);
            let mut found: Vec<f64> = samples.family(family).map(|sample| sample.value).collect();
            same_numbers(&format!("{name}: {family}"), &mut found, &mut raw);
            compared += raw.len();
        }
    }
    assert!(compared >= 20, "{compared}");
}

/// Instances of a column that are numbers, by their index.
fn column<'a>(recorded: &'a Recorded, column: &str) -> impl Iterator<Item = (String, f64)> + 'a {
    let start: Oid = column.parse().expect("good");
    let arcs = start.view().arcs().count();
    recorded.iter().filter_map(move |(oid, value)| {
        oid.view().strip_prefix(start.view())?;
        let index: Vec<String> = oid.view().arcs().skip(arcs).map(|arc| arc.to_string()).collect();
        Some((index.join("."), value.number()?))
    })
}

#[track_caller]
fn same_numbers(what: &str, found: &mut [f64], raw: &mut [f64]) {
    found.sort_by(f64::total_cmp);
    raw.sort_by(f64::total_cmp);
    // Readings are rounded to thousandths.
    let near = |(found, raw): (&f64, &f64)| (found - raw).abs() <= 0.000_6_f64.max(raw.abs() * 1e-9);
    assert!(
        found.len() == raw.len() && found.iter().zip(&*raw).all(near),
        "{what}: {found:?}, and the raw values mean {raw:?}"
    );
}

#[test]
fn the_page_of_recordings_is_as_it_is_today() {
    let Some(folder) = folder() else { return };
    let set = Set::embedded();
    let mut page = String::from(
        "# What recordings of real devices give\n\n\
         Each line is a walk of a real device, read as a whole by the profile that is picked for it: samples by group of metrics, and what was\n\
         withheld with its reason ([profiles.md](profiles.md) explains the reasons): values by their metric, and rows of a table of which its\n\
         conditions (`when`) let nothing through, such as a sensor that is out of order or a port without an optic. A walk may hold a part of\n\
         the device only. Families without a profile of their own are read by `generic`. Written by\n\
         `PANTAU_GOLDEN=1 cargo test -p profiles --test recordings`.\n\n\
         | recording | profile | interfaces | optics | device | UPS | neighbours | other | withheld |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for name in names(&folder) {
        let (recorded, _) = read(&folder, &name);
        let choice = set.choose_recorded(&recorded).expect("every device has a profile");
        let (samples, _) = Samples::of(&choice.profile, &recorded);
        let mut groups = [0; 6];
        samples.samples.iter().for_each(|sample| groups[group(&sample.family)] += 1);
        let counts: Vec<String> =
            groups.iter().map(|count| if *count == 0 { "-".into() } else { count.to_string() }).collect();
        writeln!(
            page,
            "| {name} | {} | {} | {} |",
            choice.profile.name(),
            counts.join(" | "),
            withheld(&choice.profile, &samples)
        )
        .expect("a String takes all");
    }
    let path = root().join("docs/operating/profiles-recordings.md");
    if std::env::var_os("PANTAU_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        known == page,
        "{} is not what the profiles give: look at the difference with PANTAU_GOLDEN=1 and git diff",
        path.display()
    );
}

fn group(family: &str) -> usize {
    let starts = |words: &[&str]| words.iter().any(|word| family.starts_with(word));
    match () {
        () if starts(&["lldp_", "cdp_", "mndp_"]) => 4,
        () if starts(&["optics_"]) => 1,
        () if starts(&["device_"]) => 2,
        () if starts(&["ups_"]) => 3,
        () if starts(&["if", "dot3", "snmp_interface_info"]) => 0,
        () => 5,
    }
}

fn withheld(profile: &Profile, samples: &Samples) -> String {
    let mut reasons: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for ((family, reason), count) in &samples.refused {
        *reasons.entry((reason.as_str(), family)).or_default() += count;
    }
    let values = reasons.iter().map(|((reason, family), count)| format!("{count} {family} {reason}"));
    let plan = profile.plan();
    let name = |at: usize| match at.checked_sub(plan.tables.len()) {
        None => &plan.tables[at].name,
        Some(group) => &plan.scalars[group].name,
    };
    let rows =
        samples.rows_withheld.iter().map(|(at, count)| format!("{count} rows of {} by when", name(*at)));
    let shown: Vec<String> = values.chain(rows).collect();
    if shown.is_empty() { "-".into() } else { shown.join(", ") }
}
