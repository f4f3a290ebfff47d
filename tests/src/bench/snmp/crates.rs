//! The parts `async-snmp` and `snmp2`: the same table by other people's crates, as their documentation says to use them: one shared
//! socket and 64 devices at a time for the former, a blocking session a device for the latter, GETBULK of one column.
//!
//! Both stop at values: no labels, no series.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::future::join_all;
use serde_json::json;

use super::fleet::address;
use super::ours::processor;
use super::{COMMUNITY, Manner, REPETITIONS, USER, VARBINDS, WINDOW};

const TIMEOUT: Duration = Duration::from_secs(3);
const JOBS: usize = 64;
const IF_TABLE: [u32; 8] = [1, 3, 6, 1, 2, 1, 2, 2];

/// Asks and prints the cost.
pub(super) fn measure(name: &str, first: Ipv4Addr, port: u16, devices: u32, manner: Manner) -> Result<()> {
    let targets: Vec<(Ipv4Addr, u16)> = (0..devices).map(|at| (address(first, at), port)).collect();
    let (cpu, walks, values) = match name {
        "snmp2" => snmp2(&targets, manner)?,
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(async_snmp(&targets, manner))?,
    };
    ensure!(walks > 0 && values == walks * VARBINDS, "{name} read {values} values in {walks} walks");
    println!("{}", json!({"cpu": cpu.as_secs_f64(), "varbinds": values, "devices": walks}));
    Ok(())
}

fn snmp2(targets: &[(Ipv4Addr, u16)], manner: Manner) -> Result<(Duration, u64, u64)> {
    use snmp2::v3::{Auth, AuthProtocol, Cipher, Security};
    let fault = |error: snmp2::Error| anyhow!("snmp2: {error}");
    let session = |target: &(Ipv4Addr, u16)| -> Result<snmp2::SyncSession> {
        if manner != Manner::User {
            return Ok(snmp2::SyncSession::new_v2c(*target, COMMUNITY.as_bytes(), Some(TIMEOUT), 1)?);
        }
        let (name, auth, privacy) = USER;
        let privacy = Auth::AuthPriv { cipher: Cipher::Aes128, privacy_password: privacy.into() };
        let security =
            Security::new(name.as_bytes(), auth.as_bytes()).with_auth_protocol(AuthProtocol::Sha256);
        let mut session = snmp2::SyncSession::new_v3(*target, Some(TIMEOUT), 1, security.with_auth(privacy))?;
        session.init().map_err(fault)?;
        Ok(session)
    };
    // Few devices: it derives its keys from the phrases anew for each.
    let mut sessions = targets.iter().take(20).map(session).collect::<Result<Vec<_>>>()?;
    let table: Vec<u64> = IF_TABLE.iter().map(|arc| (*arc).into()).collect();
    let mut walk = |at: usize| -> Result<u64> {
        let mut next = snmp2::Oid::from(&table).map_err(|_| anyhow!("a good OID"))?;
        let (root, mut values) = (next.clone(), 0);
        loop {
            let count = sessions.len();
            // A report that its clock was behind is answered by asking again.
            let reply = match sessions[at % count].getbulk(&[&next], 0, REPETITIONS.into()) {
                Err(snmp2::Error::AuthUpdated) => continue,
                reply => reply.map_err(fault)?,
            };
            let mut last = None;
            for (name, value) in reply.varbinds {
                if !name.starts_with(&root) {
                    return Ok(values);
                }
                values += 1;
                std::hint::black_box(value);
                last = Some(name.to_owned());
            }
            next = last.context("snmp2: an empty reply")?;
        }
    };
    for at in 0..40 {
        walk(at)?;
    }
    let (before, ends) = (processor(), Instant::now() + WINDOW);
    let (mut walks, mut values) = (0, 0);
    while Instant::now() < ends {
        values += walk(walks as usize)?;
        walks += 1;
    }
    Ok((processor() - before, walks, values))
}

async fn async_snmp(targets: &[(Ipv4Addr, u16)], manner: Manner) -> Result<(Duration, u64, u64)> {
    use async_snmp::transport::UdpTransport;
    use async_snmp::{Auth, AuthProtocol, Client, MasterKeys, Oid, PrivProtocol, UsmConfig};
    let (name, auth, privacy) = USER;
    let transport = UdpTransport::bind("0.0.0.0:0").await?;
    let auth: Auth = match manner {
        Manner::User => {
            let keys = MasterKeys::new(AuthProtocol::Sha256, auth.as_bytes())?;
            let keys = keys.with_privacy(PrivProtocol::Aes128, privacy.as_bytes())?;
            UsmConfig::new(name).with_master_keys(keys)?.into()
        }
        _ => Auth::v2c(COMMUNITY),
    };
    let mut clients = Vec::new();
    for (ip, port) in targets {
        let client = Client::builder((ip.to_string(), *port), auth.clone()).request_timeout(TIMEOUT);
        clients.push(client.build_with(&transport).await?);
    }
    let next = std::cell::Cell::new(0);
    let clients = &clients;
    let rounds = async |over: &dyn Fn(usize) -> bool| -> Result<(u64, u64)> {
        next.set(0);
        let worker = async || {
            let (mut walks, mut values) = (0, 0);
            loop {
                let turn = next.replace(next.get() + 1);
                if over(turn) {
                    return anyhow::Ok((walks, values));
                }
                let walk = clients[turn % clients.len()]
                    .bulk_walk(Oid::from_slice(&IF_TABLE), REPETITIONS.into())?;
                let cells = walk.collect().await?;
                values += std::hint::black_box(cells).len() as u64;
                walks += 1;
            }
        };
        let sums: Result<Vec<(u64, u64)>> = join_all((0..JOBS).map(|_| worker())).await.into_iter().collect();
        Ok(sums?.into_iter().fold((0, 0), |all, sum| (all.0 + sum.0, all.1 + sum.1)))
    };
    rounds(&|turn| turn >= clients.len()).await?;
    let (before, ends) = (processor(), Instant::now() + WINDOW);
    let (walks, values) = rounds(&|_| Instant::now() >= ends).await?;
    Ok((processor() - before, walks, values))
}
