//! One alert as it is told to others: what the outbox keeps and what receivers say.
//!
//! In: what the rules' state machine wants told. Out: the same, with its fingerprint as Alertmanager makes it, and as JSON for the
//! outbox (drawn in `docs/formats/outbox.md`). No I/O, no clock.

use alerting::{Notice, NoticeKind};
use model::{Labels, Timestamp};
use serde::{Deserialize, Serialize};

/// What is told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It fires.
    Firing,
    /// It fired, and its data stopped: nobody knows.
    Unknown,
    /// It is over, and data said so.
    Resolved,
}

impl Kind {
    /// Its byte in the outbox.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Firing => 1,
            Self::Unknown => 2,
            Self::Resolved => 3,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Firing),
            2 => Some(Self::Unknown),
            3 => Some(Self::Resolved),
            _ => None,
        }
    }
}

/// An alert and what is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What is told.
    pub kind: Kind,
    /// With `alertname`.
    pub labels: Labels,
    /// In the order of the rule.
    pub annotations: Vec<(String, String)>,
    /// The expression's value.
    pub value: f64,
    /// Since when.
    pub starts_at: Timestamp,
    /// Until when it holds unless told again; of a resolved one: when it ended.
    pub ends_at: Option<Timestamp>,
    /// Where the rule can be looked at.
    pub generator_url: String,
}

impl From<Notice> for Alert {
    fn from(notice: Notice) -> Self {
        let kind = match notice.kind {
            NoticeKind::Firing => Kind::Firing,
            NoticeKind::Unknown => Kind::Unknown,
            NoticeKind::Resolved => Kind::Resolved,
        };
        let Notice { labels, annotations, value, starts_at, ends_at, generator_url, .. } = notice;
        Self { kind, labels, annotations, value, starts_at, ends_at, generator_url }
    }
}

impl Alert {
    /// Alertmanager's fingerprint: FNV-1a of 64 bits over names and values in order, each ended by 0xff.
    pub fn fingerprint(&self) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        let text = |hash: u64, text: &str| add(text.bytes().fold(hash, add), 0xff);
        self.labels.iter().fold(OFFSET, |hash, (name, value)| text(text(hash, name), value))
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Bytes of its annotations.
    pub(crate) fn text_bytes(&self) -> usize {
        self.annotations.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// With at most so many bytes of annotations: what is beyond them is cut, and said by `…`.
    pub(crate) fn cut(&self, bytes_max: usize) -> Self {
        let mut cut = self.clone();
        let mut left = bytes_max;
        cut.annotations.retain_mut(|(name, value)| {
            let Some(room) = left.checked_sub(name.len()) else { return false };
            if value.len() > room {
                value.truncate(value.floor_char_boundary(room));
                value.push('…');
            }
            left = room.saturating_sub(value.len());
            true
        });
        cut
    }

    /// The value of a label, or nothing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).unwrap_or_default()
    }
}

/// RFC 3339 with milliseconds, as Alertmanager reads and writes it.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    let nanos = i128::from(at.as_millis()) * 1_000_000;
    let at =
        time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    at.format(&format).expect("a date in these bounds can be written")
}

/// As it stands in the outbox.
#[derive(Serialize, Deserialize)]
struct Stored {
    kind: Kind,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    /// Its bits: JSON knows no NaN.
    value_bits: u64,
    starts_at_ms: i64,
    ends_at_ms: Option<i64>,
    generator_url: String,
}

/// Alerts as JSON.
pub(crate) fn to_json(alerts: &[Alert]) -> Vec<u8> {
    let stored: Vec<Stored> = alerts.iter().map(store).collect();
    serde_json::to_vec(&stored).expect("texts and numbers can be written")
}

fn store(alert: &Alert) -> Stored {
    Stored {
        kind: alert.kind,
        labels: alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        annotations: alert.annotations.clone(),
        value_bits: alert.value.to_bits(),
        starts_at_ms: alert.starts_at.as_millis(),
        ends_at_ms: alert.ends_at.map(Timestamp::as_millis),
        generator_url: alert.generator_url.clone(),
    }
}

/// Alerts from JSON; `None` where it is none of ours.
pub(crate) fn from_json(bytes: &[u8]) -> Option<Vec<Alert>> {
    let stored: Vec<Stored> = serde_json::from_slice(bytes).ok()?;
    let load = |stored: Stored| Alert {
        kind: stored.kind,
        labels: Labels::from_pairs(stored.labels),
        annotations: stored.annotations,
        value: f64::from_bits(stored.value_bits),
        starts_at: Timestamp::from_millis(stored.starts_at_ms),
        ends_at: stored.ends_at_ms.map(Timestamp::from_millis),
        generator_url: stored.generator_url,
    };
    Some(stored.into_iter().map(load).collect())
}

/// An alert for tests.
#[cfg(test)]
pub(crate) fn example(name: &str, kind: Kind) -> Alert {
    Alert {
        kind,
        labels: Labels::from_pairs([
            ("alertname", name),
            ("instance", "sw-kudus-1"),
            ("region", "33.19"),
            ("severity", "critical"),
            ("site", "kudus-1"),
        ]),
        annotations: vec![
            ("summary".into(), format!("{name} on sw-kudus-1")),
            ("description".into(), "Received power is -31.2 dBm <minimum -28> & falling.".into()),
            ("runbook_url".into(), "https://pantau.example.go.id/runbooks/x".into()),
        ],
        value: -31.2,
        starts_at: Timestamp::from_millis(1_795_413_600_123),
        ends_at: (kind == Kind::Resolved).then(|| Timestamp::from_millis(1_795_414_200_000)),
        generator_url: "https://pantau.example.go.id/graph?g0.expr=x".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_alertmanager() {
        // An empty set is FNV's offset; the law for the others is FNV-1a's own test vector with the separators in it.
        let mut alert = example("a", Kind::Firing);
        alert.labels = Labels::empty();
        assert_eq!(format!("{:016x}", alert.fingerprint()), "cbf29ce484222325");
        alert.labels = Labels::from_pairs([("a", "b")]);
        let bytes = [b'a', 0xff, b'b', 0xff];
        let by_hand = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(alert.fingerprint(), by_hand);
    }

    #[test]
    fn what_is_stored_is_found_again() {
        let mut alerts = vec![example("a", Kind::Firing), example("b", Kind::Resolved)];
        alerts[0].value = f64::INFINITY;
        let json = to_json(&alerts);
        assert_eq!(from_json(&json).expect("ours"), alerts);
        assert_eq!(from_json(b"{}"), None);
    }

    #[test]
    fn annotations_are_cut_to_what_fits() {
        let mut alert = example("a", Kind::Firing);
        alert.annotations =
            vec![("a".into(), "x".repeat(10)), ("b".into(), "ö".repeat(10)), ("c".into(), "y".into())];
        assert_eq!(alert.cut(100), alert);
        assert_eq!(alert.text_bytes(), 34);
        let cut = alert.cut(17);
        assert_eq!(cut.annotations[1], ("b".into(), "öö…".into()), "never within a character");
        assert_eq!(cut.annotations.len(), 2);
    }

    #[test]
    fn times_are_written_with_milliseconds() {
        assert_eq!(rfc3339(Timestamp::from_millis(1_795_413_600_123)), "2026-11-23T06:00:00.123Z");
    }
}
