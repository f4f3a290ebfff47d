//! What a device was asked and what it answered, so that a test can say what a manager did.

use std::collections::VecDeque;
use std::time::Duration;

use snmp::{Oid, Pdu, PduKind};

/// Counters of one device, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that came.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Datagrams that could not be read, or that no agent takes.
    pub malformed: u64,
    /// Datagrams with a community or user that is not known, or refused by USM.
    pub refused: u64,
    /// Requests that were understood and allowed.
    pub requests: u64,
    /// Of them, GETBULKs.
    pub bulks: u64,
    /// Repetitions that GETBULKs asked for, in all.
    pub repetitions: u64,
    /// The most that one asked for.
    pub repetitions_max: u32,
    /// Most names in one request.
    pub names_max: u32,
    /// Bindings that were answered.
    pub varbinds: u64,
    /// Datagrams that were sent, faulty ones and reports included.
    pub replies: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Bytes of the longest.
    pub reply_max: u32,
    /// Replies lost on their way, by the device's link.
    pub lost: u64,
}

impl Counts {
    pub(crate) fn ask(&mut self, pdu: &Pdu<'_>) {
        self.requests += 1;
        self.names_max = self.names_max.max(pdu.varbinds.len() as u32);
        if pdu.kind == PduKind::GetBulk {
            let repetitions = pdu.third.max(0) as u32;
            self.bulks += 1;
            self.repetitions += u64::from(repetitions);
            self.repetitions_max = self.repetitions_max.max(repetitions);
        }
    }

    /// Adds another device's.
    pub fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes_in += other.bytes_in;
        self.malformed += other.malformed;
        self.refused += other.refused;
        self.requests += other.requests;
        self.bulks += other.bulks;
        self.repetitions += other.repetitions;
        self.repetitions_max = self.repetitions_max.max(other.repetitions_max);
        self.names_max = self.names_max.max(other.names_max);
        self.varbinds += other.varbinds;
        self.replies += other.replies;
        self.bytes_out += other.bytes_out;
        self.reply_max = self.reply_max.max(other.reply_max);
        self.lost += other.lost;
    }
}

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When, since the fleet began.
    pub at: Duration,
    /// How.
    pub kind: PduKind,
    /// The request id.
    pub request_id: i32,
    /// What for.
    pub names: Vec<Oid>,
    /// Repetitions of a GETBULK; else 1.
    pub repetitions: i32,
    /// The community, or the user's name.
    pub who: Vec<u8>,
}

/// The last requests, up to a number.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) most: usize,
    asked: VecDeque<Asked>,
}

impl Log {
    pub(crate) fn add(&mut self, at: Duration, pdu: &Pdu<'_>, who: &[u8]) {
        if self.most == 0 {
            return;
        }
        if self.asked.len() == self.most {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked {
            at,
            kind: pdu.kind,
            request_id: pdu.request_id,
            names: pdu.varbinds.iter().map(|varbind| varbind.name.to_oid()).collect(),
            repetitions: if pdu.kind == PduKind::GetBulk { pdu.third } else { 1 },
            who: who.to_vec(),
        });
    }

    pub(crate) fn take(&mut self) -> Vec<Asked> {
        self.asked.drain(..).collect()
    }
}
