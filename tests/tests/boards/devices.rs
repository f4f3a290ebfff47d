//! The simulated devices of a small site: a switch with optics, a router of a known vendor with optics and limits, a UPS, and two that
//! are silent. In their recordings only what boards show.

use std::sync::Arc;

use simulator::{Datum, Device, Fault, Fleet, Options, Recording, Rule, Script, Switch, Tree};
use snmp::Oid;

/// Three ports: two count errors, the last without 64-bit counters of packets and half duplex; modules with limits, dim, dark, and dazzled and
/// hot; a processor, a failed power supply.
const ROUTER: &str = "\
1.3.6.1.2.1.1.1.0|4|Juniper Networks, Inc. mx5-t internet router
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.2636.1.1.1.2.90
1.3.6.1.2.1.1.3.0|67|100000
1.3.6.1.2.1.1.5.0|4|kudus-rt-1
1.3.6.1.2.1.2.2.1.1.516|2|516
1.3.6.1.2.1.2.2.1.1.517|2|517
1.3.6.1.2.1.2.2.1.1.518|2|518
1.3.6.1.2.1.2.2.1.2.516|4|xe-0/0/0
1.3.6.1.2.1.2.2.1.2.517|4|xe-0/0/1
1.3.6.1.2.1.2.2.1.2.518|4|ge-0/0/2
1.3.6.1.2.1.2.2.1.7.516|2|1
1.3.6.1.2.1.2.2.1.7.517|2|1
1.3.6.1.2.1.2.2.1.7.518|2|1
1.3.6.1.2.1.2.2.1.8.516|2|1
1.3.6.1.2.1.2.2.1.8.517|2|1
1.3.6.1.2.1.2.2.1.8.518|2|1
1.3.6.1.2.1.2.2.1.11.518|65|80000000
1.3.6.1.2.1.2.2.1.13.516|65|20000
1.3.6.1.2.1.2.2.1.14.516|65|30000
1.3.6.1.2.1.2.2.1.14.518|65|30000
1.3.6.1.2.1.2.2.1.17.518|65|80000000
1.3.6.1.2.1.2.2.1.19.516|65|400000
1.3.6.1.2.1.2.2.1.19.518|65|400000
1.3.6.1.2.1.2.2.1.20.516|65|50000
1.3.6.1.2.1.10.7.2.1.19.518|2|2
1.3.6.1.2.1.31.1.1.1.1.516|4|xe-0/0/0
1.3.6.1.2.1.31.1.1.1.1.517|4|xe-0/0/1
1.3.6.1.2.1.31.1.1.1.1.518|4|ge-0/0/2
1.3.6.1.2.1.31.1.1.1.6.516|70|900000000000
1.3.6.1.2.1.31.1.1.1.7.516|70|90000000
1.3.6.1.2.1.31.1.1.1.10.516|70|800000000000
1.3.6.1.2.1.31.1.1.1.11.516|70|80000000
1.3.6.1.2.1.31.1.1.1.15.516|66|10000
1.3.6.1.2.1.31.1.1.1.18.516|4|to Pati
1.3.6.1.4.1.2636.3.1.13.1.5.2.1.0.0|4|PEM 0
1.3.6.1.4.1.2636.3.1.13.1.5.9.1.0.0|4|Routing Engine
1.3.6.1.4.1.2636.3.1.13.1.6.2.1.0.0|2|6
1.3.6.1.4.1.2636.3.1.13.1.6.9.1.0.0|2|2
1.3.6.1.4.1.2636.3.1.13.1.7.9.1.0.0|66|38
1.3.6.1.4.1.2636.3.1.13.1.8.9.1.0.0|66|87
1.3.6.1.4.1.2636.3.1.13.1.11.9.1.0.0|66|50
1.3.6.1.4.1.2636.3.1.13.1.15.9.1.0.0|66|2048
1.3.6.1.4.1.2636.3.60.1.1.1.1.5.516|2|-1950
1.3.6.1.4.1.2636.3.60.1.1.1.1.5.517|2|-4100
1.3.6.1.4.1.2636.3.60.1.1.1.1.5.518|2|120
1.3.6.1.4.1.2636.3.60.1.1.1.1.6.516|2|5600
1.3.6.1.4.1.2636.3.60.1.1.1.1.6.517|2|5700
1.3.6.1.4.1.2636.3.60.1.1.1.1.6.518|2|5600
1.3.6.1.4.1.2636.3.60.1.1.1.1.7.516|2|-490
1.3.6.1.4.1.2636.3.60.1.1.1.1.7.517|2|-500
1.3.6.1.4.1.2636.3.60.1.1.1.1.7.518|2|-490
1.3.6.1.4.1.2636.3.60.1.1.1.1.8.516|2|26
1.3.6.1.4.1.2636.3.60.1.1.1.1.8.517|2|27
1.3.6.1.4.1.2636.3.60.1.1.1.1.8.518|2|76
1.3.6.1.4.1.2636.3.60.1.1.1.1.9.516|2|50
1.3.6.1.4.1.2636.3.60.1.1.1.1.9.517|2|50
1.3.6.1.4.1.2636.3.60.1.1.1.1.9.518|2|50
1.3.6.1.4.1.2636.3.60.1.1.1.1.10.516|2|-2102
1.3.6.1.4.1.2636.3.60.1.1.1.1.10.517|2|-2102
1.3.6.1.4.1.2636.3.60.1.1.1.1.10.518|2|-2102
1.3.6.1.4.1.2636.3.60.1.1.1.1.30.516|2|1
1.3.6.1.4.1.2636.3.60.1.1.1.1.30.517|2|1
1.3.6.1.4.1.2636.3.60.1.1.1.1.30.518|2|1
";

/// A UPS on mains.
const UPS: &str = "\
1.3.6.1.2.1.1.1.0|4|A UPS
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.5
1.3.6.1.2.1.1.3.0|67|100000
1.3.6.1.2.1.33.1.2.1.0|2|2
1.3.6.1.2.1.33.1.2.2.0|2|0
1.3.6.1.2.1.33.1.2.3.0|2|25
1.3.6.1.2.1.33.1.2.4.0|2|97
1.3.6.1.2.1.33.1.2.5.0|2|1225
1.3.6.1.2.1.33.1.2.7.0|2|31
1.3.6.1.2.1.33.1.3.3.1.2.1|2|500
1.3.6.1.2.1.33.1.3.3.1.3.1|2|229
1.3.6.1.2.1.33.1.4.1.0|2|3
1.3.6.1.2.1.33.1.4.4.1.2.1|2|231
1.3.6.1.2.1.33.1.4.4.1.5.1|2|80
";

/// The site's devices by name and, where they do not say it themselves, profile. The last never answers.
const NAMES: [(&str, &str); 5] =
    [("switch", "generic"), ("router", ""), ("ups", ""), ("dying", "generic"), ("dead", "generic")];
const SILENT: usize = 4;

/// Devices that are served.
pub(super) struct Site(Fleet);

impl Site {
    pub(super) fn start() -> Self {
        let recorded = |text: &str| {
            let recording = Recording::parse(text).expect("written by hand");
            Tree::moving(&recording).expect("small")
        };
        let small = || Switch { ports: 1, optics: 0, seed: 2 }.tree().expect("small");
        let switch = Switch { ports: 4, optics: 2, seed: 1 }.tree().expect("small");
        let trees = [switch, recorded(ROUTER), recorded(UPS), small(), small()];
        let device = |tree| Device::new(Arc::new(tree)).community("public");
        let fleet = Fleet::start(Options::default(), trees.map(device)).expect("loopback can be bound");
        let site = Self(fleet);
        site.silence(SILENT);
        site
    }

    /// The targets as an agent's settings have them.
    pub(super) fn targets(&self) -> String {
        let target = |(at, (name, profile)): (usize, &(&str, &str))| {
            let profile = if profile.is_empty() { String::new() } else { format!(", profile: {profile}") };
            format!("{{name: {name}, address: \"{}\"{profile}}}", self.0.address(at))
        };
        NAMES.iter().enumerate().map(target).collect::<Vec<_>>().join(", ")
    }

    /// What people open boards for: a device dies, a port goes down, the mains are off.
    pub(super) fn break_things(&self) {
        self.silence(3);
        let set = |at: usize, name: &str, value: i32| {
            let name: Oid = name.parse().expect("a good OID");
            self.0.device(at).set(&name, &Datum::Integer(value)).expect("it has the value");
        };
        set(1, "1.3.6.1.2.1.2.2.1.8.516", 2);
        set(2, "1.3.6.1.2.1.33.1.4.1.0", 5);
        set(2, "1.3.6.1.2.1.33.1.2.2.0", 60);
    }

    fn silence(&self, at: usize) {
        let script: Script = [Rule::from(Fault::Silence)].into_iter().collect();
        self.0.device(at).set_faults(script);
    }
}
