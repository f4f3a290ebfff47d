//! What the engine counts.

use std::time::Duration;

/// Counters since the engine was started, and how it stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name says what is counted")]
pub struct Stats {
    pub jobs: u64,
    /// Jobs that found the engine full and waited in [`Handle::run`](super::Handle::run).
    pub jobs_waited: u64,
    /// Requests, retries not counted.
    pub requests: u64,
    pub retries: u64,
    /// Requests that were given up.
    pub timeouts: u64,
    pub sent_datagrams: u64,
    pub sent_bytes: u64,
    /// System calls that sent.
    pub send_calls: u64,
    pub send_errors: u64,
    pub received_datagrams: u64,
    pub received_bytes: u64,
    /// System calls that received.
    pub receive_calls: u64,
    pub receive_errors: u64,
    /// Datagrams that the kernel dropped because a socket's receive buffer was full.
    pub kernel_drops: u64,
    /// Replies that answered a request.
    pub replies: u64,
    /// Replies to requests that had been given up.
    pub late: u64,
    /// Replies to requests that had been answered.
    pub duplicate: u64,
    /// Replies whose id was never given out, or too long ago to tell.
    pub unknown_id: u64,
    pub wrong_source: u64,
    pub wrong_version: u64,
    pub wrong_community: u64,
    /// SNMPv3: wrong user, engine id, context, level or digest, or outside the time window.
    pub not_authentic: u64,
    /// SNMPv3: reports that refuse.
    pub refusals: u64,
    /// SNMPv3: requests sent again because an engine id or its clock was learned.
    pub resynchronised: u64,
    /// Datagrams that cannot be read.
    pub malformed: u64,
    /// Messages that are no response.
    pub not_a_response: u64,
    /// Datagrams longer than what fits, cut off.
    pub cut_off: u64,
    /// Requests that waited, by what they waited for first: another request to the same device,
    pub waits_device: u64,
    /// the site's bound on requests under way,
    pub waits_site: u64,
    /// room in a socket's receive buffer,
    pub waits_socket: u64,
    /// the engine's bound on requests under way,
    pub waits_engine: u64,
    /// or a rate, in requests or bits a second.
    pub waits_rate: u64,
    /// How long all of them waited together.
    pub waited: Duration,
    /// Tables that were left alone because they did not answer.
    pub tables_parked: u64,
    /// Devices that gave an engine id which another device has.
    pub engine_ids_shared: u64,
    /// Tables that are left alone now.
    pub tables_parked_now: u64,
    /// Jobs that wait in [`Handle::run`](super::Handle::run) for the engine to take them.
    pub jobs_waiting_now: u64,
    /// Jobs under way.
    pub jobs_now: u64,
    /// Requests that wait for a limit.
    pub waiting_now: u64,
    /// Requests under way.
    pub in_flight_now: u64,
    /// Devices that are remembered.
    pub devices_now: u64,
    /// Of these, devices that did not answer in their last round.
    pub devices_silent_now: u64,
}

impl Stats {
    /// Datagrams that came and did not count, by reason, in words for label values.
    pub const fn garbage(&self) -> [(&'static str, u64); 10] {
        [
            ("late", self.late),
            ("duplicate", self.duplicate),
            ("unknown_id", self.unknown_id),
            ("wrong_source", self.wrong_source),
            ("wrong_version", self.wrong_version),
            ("wrong_community", self.wrong_community),
            ("not_authentic", self.not_authentic),
            ("malformed", self.malformed),
            ("not_a_response", self.not_a_response),
            ("cut_off", self.cut_off),
        ]
    }

    /// Requests that waited for a limit, by which one, in words for label values.
    pub const fn waits(&self) -> [(&'static str, u64); 5] {
        [
            ("device", self.waits_device),
            ("site", self.waits_site),
            ("socket", self.waits_socket),
            ("engine", self.waits_engine),
            ("rate", self.waits_rate),
        ]
    }
}
