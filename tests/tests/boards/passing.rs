//! An agent that sends a batch a second for a minute and is never heard of again. Its minute is over within a moment: time stands in its
//! batches. (A real one that is killed is called silent half a minute later, because the collector learns its interval from it.)

use std::time::Duration;

use model::{Labels, Timestamp};
use pantau_tests::http::As;
use pantau_tests::pantau::Collector;
use pantau_tests::writer;
use wire::identity::{BatchIdentity, BootId, Epoch, Losses, PayloadHash};

const BATCHES: u64 = 60;

/// Sends all of them as the agent with this token.
pub(super) fn come_and_go(collector: &Collector, token: &str) {
    let begin = writer::now() - Duration::from_secs(BATCHES);
    let url = format!("{}/api/v1/write", collector.base);
    for sequence in 1..=BATCHES {
        let at = begin + Duration::from_secs(sequence);
        let payload = payload(at);
        let mut headers: Vec<(&str, String)> =
            writer::HEADERS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        headers.extend(identity(sequence, at, &payload).to_headers(writer::now()));
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = writer::packed(&payload);
        let answer = collector.http.ask("POST", &url, As::Bearer(token), &headers, body);
        assert_eq!(answer.status, 204, "{}", answer.body);
    }
}

fn payload(at: Timestamp) -> Vec<u8> {
    let load = Labels::from_pairs([("__name__", "node_load1"), ("job", "node"), ("instance", "passing")]);
    let mut writer = wire::v1::Writer::default();
    writer.series(&load, [(at, 0.5)]);
    writer.finish()
}

fn identity(sequence: u64, at: Timestamp, payload: &[u8]) -> BatchIdentity {
    let epoch = Epoch::from_u128(1);
    BatchIdentity {
        epoch,
        sequence,
        boot: BootId::from_u128(1),
        payload_hash: PayloadHash::of(epoch, payload),
        from: Timestamp::from_millis(at.as_millis() - 999),
        to: at,
        samples: 1,
        stamped_late: false,
        losses: Losses::none(),
    }
}
