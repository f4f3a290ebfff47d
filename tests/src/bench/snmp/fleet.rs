//! The part `fleet`: simulated switches on addresses of 127.0.0.0/8, in a process of their own.

use std::io::BufRead;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use simulator::{Device, Options, Place, Script, Switch};
use snmp::usm::{AuthProtocol, PrivProtocol, User};

use super::{COMMUNITY, USER};

/// Where the first device is.
pub(super) const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// Ports of a switch with 1,562 values in `ifTable`.
pub(super) const WIDE_PORTS: u32 = 71;
/// What a slow device does.
const SLOW: &str = "delay 2s";

/// The n-th device's address.
pub(super) fn address(first: Ipv4Addr, at: u32) -> Ipv4Addr {
    (u32::from(first) + at).into()
}

/// The user of the v3 figures.
pub(super) fn user() -> Result<User> {
    let (name, auth, privacy) = USER;
    let auth = (AuthProtocol::Sha256, auth.as_bytes());
    Ok(User::new(name.as_bytes(), Some(auth), Some((PrivProtocol::Aes128, privacy.as_bytes())))?)
}

/// Serves until its input ends; answers each line of it by what was asked so far.
pub(super) fn serve(devices: u32, ports: u32, faulty: u32) -> Result<()> {
    let tree = Arc::new(Switch { ports, optics: 0, seed: 1 }.tree()?);
    let user = user()?;
    let (silent, slow): (Script, Script) = ("silence".parse()?, SLOW.parse()?);
    let device = |at: u32| {
        let device = Device::new(tree.clone()).named(&format!("switch-{at}")).seed(at.into());
        let device = device.community(COMMUNITY).user(user.clone());
        match at.checked_sub(devices - faulty) {
            None => device,
            Some(bad) if bad < faulty / 2 => device.faults(silent.clone()),
            Some(_) => device.faults(slow.clone()),
        }
    };
    let place = Place::Addresses { first: FIRST, port: 0 };
    let fleet = simulator::Fleet::start(Options { place, ..Options::default() }, (0..devices).map(device))?;
    println!("{}", json!({"port": fleet.address(0).port()}));
    for line in std::io::stdin().lock().lines() {
        line?;
        let counts = fleet.counts();
        println!(
            "{}",
            json!({
                "requests": counts.requests, "replies": counts.replies, "varbinds": counts.varbinds,
                "cpu": fleet.busy().as_secs_f64(), "dropped": fleet.dropped(),
            })
        );
    }
    Ok(())
}
