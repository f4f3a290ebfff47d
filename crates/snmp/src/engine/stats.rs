//! What the engine counts.

/// Counters since the engine was started, and how it stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name says what is counted")]
pub struct Stats {
    pub jobs: u64,
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
    /// Tables that were left alone because they did not answer.
    pub tables_parked: u64,
    /// Devices that gave an engine id which another device has.
    pub engine_ids_shared: u64,
    /// Jobs under way.
    pub jobs_now: u64,
    /// Requests under way.
    pub in_flight_now: u64,
    /// Devices that are remembered.
    pub devices_now: u64,
    /// Of these, devices that did not answer in their last round.
    pub devices_silent_now: u64,
}
