//! What is to be sent: datagrams one behind the other in one run of bytes, each with its way and its delay.

use std::ops::Range;
use std::time::Duration;

/// Which way a datagram leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// From where the request was sent to.
    #[default]
    Own,
    /// From another port of the same address.
    OtherPort,
    /// From another address.
    OtherAddress,
}

/// One datagram that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub(crate) bytes: Range<usize>,
    /// How long it is to be held back.
    pub delay: Duration,
    /// Which way it leaves.
    pub route: Route,
}

/// Datagrams to be sent, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    pub(crate) bytes: Vec<u8>,
    pub(crate) parcels: Vec<Parcel>,
    /// Bindings of the reply that is being made.
    pub(crate) list: Vec<u8>,
}

impl Outbox {
    /// Forgets all datagrams; keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.parcels.clear();
    }

    /// The datagrams with their bytes.
    pub fn datagrams(&self) -> impl Iterator<Item = (&Parcel, &[u8])> {
        self.parcels.iter().map(|parcel| (parcel, &self.bytes[parcel.bytes.clone()]))
    }

    /// Takes what was appended to the bytes since `start` for a datagram.
    pub(crate) fn close(&mut self, start: usize, delay: Duration, route: Route) {
        self.parcels.push(Parcel { bytes: start..self.bytes.len(), delay, route });
    }

    pub(crate) fn push(&mut self, datagram: &[u8], delay: Duration, route: Route) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.close(start, delay, route);
    }
}
