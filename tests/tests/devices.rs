//! Devices asked by the real agent, their values read from the real collector: Debian's snmpd with communities and with a user of v3, and
//! communities that are changed while all run.

use std::path::Path;
use std::sync::Arc;

use pantau_tests::free_port;
use pantau_tests::pantau::Collector;
use pantau_tests::peers::peer;
use pantau_tests::running::Running;
use simulator::{Device, Fleet, Options, Switch};
use snmp::usm::{AuthProtocol, PrivProtocol};

use crate::agents::enrolled;
use crate::pair::{AUTH, PRIVACY, Pair};

/// Debian's snmpd with these lines in its settings, listening on the port.
fn snmpd(folder: &Path, port: u16, lines: &str) -> Option<Running> {
    let mut snmpd = peer("usr/sbin/snmpd")?;
    let config = folder.join("snmpd.conf");
    let lines = format!("agentaddress udp:127.0.0.1:{port}\nsysName kudus-sw-1\nsysLocation rack 4\n{lines}");
    std::fs::write(&config, lines).expect("the configuration can be written");
    snmpd.args(["-f", "-Lo", "-C", "-c"]).arg(&config).env("SNMP_PERSISTENT_DIR", folder).env("MIBS", "");
    Some(Running::start("snmpd", &mut snmpd, folder))
}

fn collector(folder: &Path) -> Collector {
    Collector::start(&folder.join("collector"), "agent: {enabled: false}\n")
}

/// Writes a secret and returns where, as settings name it.
fn secret(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, format!("{text}\n")).expect("the secret can be written");
    format!("{{file: {}}}", path.display())
}

const UP: &str = "up{job=\"snmp\",instance=\"kudus-sw-1\"}";

/// What snmpd says of this machine's loopback.
fn check_values(collector: &Collector) {
    collector.wait_for_value(UP, |up| up == 1.0);
    collector.wait_for_value("ifHCInOctets{instance=\"kudus-sw-1\",ifName=\"lo\",ifIndex=\"1\"}", |_| true);
    collector.wait_for_value("ifOperStatus{instance=\"kudus-sw-1\",ifDescr=\"lo\"}", |status| status == 1.0);
    collector.wait_for_value("sysUpTime{instance=\"kudus-sw-1\"}", |ticks| ticks > 0.0);
}

#[test]
fn debian_s_snmpd_is_polled() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let Some(mut snmpd) = snmpd(folder.path(), port, "rocommunity secret 127.0.0.1\n") else { return };
    let collector = collector(folder.path());
    let community = secret(folder.path(), "community", "secret");
    let inputs = format!(
        "host: {{enabled: false}}, snmp: [{{interval: 1s, timeout: 500ms, community: {community}, \
         targets: [{{name: kudus-sw-1, address: \"127.0.0.1:{port}\"}}]}}]"
    );
    let _agent = enrolled(folder.path(), &collector, &inputs);
    check_values(&collector);
    snmpd.stop();
    collector.wait_for_value(UP, |up| up == 0.0);
}

#[test]
fn debian_s_snmpd_is_polled_as_a_user_of_v3() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let user = Pair(Some(AuthProtocol::Sha256), Some(PrivProtocol::Aes128));
    let Some(mut snmpd) = snmpd(folder.path(), port, &user.lines()) else { return };
    let collector = collector(folder.path());
    let (auth, privacy) = (secret(folder.path(), "auth", AUTH), secret(folder.path(), "priv", PRIVACY));
    let inputs = format!(
        "host: {{enabled: false}}, \
         snmp_common: {{credentials: {{ops: {{user: {}, auth: {{protocol: sha256, secret: {auth}}}, priv: {{protocol: aes128, secret: {privacy}}}}}}}}}, \
         snmp: [{{interval: 1s, timeout: 900ms, credentials: [ops], targets: [{{name: kudus-sw-1, address: \"127.0.0.1:{port}\"}}]}}]",
        user.name()
    );
    let _agent = enrolled(folder.path(), &collector, &inputs);
    check_values(&collector);
    snmpd.stop();
    collector.wait_for_value(UP, |up| up == 0.0);
}

/// A device that knows one community and no other.
fn device(community: &str, port: u16) -> Fleet {
    let tree = Arc::new(Switch { ports: 2, optics: 0, seed: 1 }.tree().expect("small"));
    let place = simulator::Place::Addresses { first: std::net::Ipv4Addr::LOCALHOST, port };
    let device = Device::new(tree).named("kudus-sw-1").community(community);
    Fleet::start(Options { place, ..Options::default() }, [device]).expect("loopback can be bound")
}

#[test]
fn communities_are_changed_while_the_agent_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let collector = collector(folder.path());
    let old = secret(folder.path(), "old", "the old one");
    let new = secret(folder.path(), "new", "the new one");
    let inputs = format!(
        "host: {{enabled: false}}, \
         snmp_common: {{credentials: {{new: {{community: {new}}}, old: {{community: {old}}}}}}}, \
         snmp: [{{interval: 1s, timeout: 200ms, retries: 0, credentials: [new, old], \
         targets: [{{name: kudus-sw-1, address: \"127.0.0.1:{port}\"}}]}}]"
    );
    let before = device("the old one", port);
    let mut agent = enrolled(folder.path(), &collector, &inputs);
    collector.wait_for_value(UP, |up| up == 1.0);
    collector.wait_for_value("ifHCInOctets{instance=\"kudus-sw-1\",ifIndex=\"1\"}", |_| true);

    // The device is given the new one; the agent knows both.
    drop(before);
    collector.wait_for_value(UP, |up| up == 0.0);
    let after = device("the new one", port);
    collector.wait_for_value(UP, |up| up == 1.0);

    // The next one comes by a file alone: nobody restarts or tells the agent.
    drop(after);
    collector.wait_for_value(UP, |up| up == 0.0);
    let third = device("the third one", port);
    secret(folder.path(), "old", "the third one");
    collector.wait_for_value(UP, |up| up == 1.0);
    assert!(third.counts().replies > 0);
    assert!(agent.running().is_running());
}
