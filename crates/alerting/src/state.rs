//! The state as bytes, for whoever keeps it on disk: drawn in `docs/formats/alerts.md`. No checksum: that is the keeper's.

use model::{Labels, Timestamp};

use crate::AlertingError;
use crate::alert::{ActiveAlert, AlertState};
use crate::notice::NoticeKind;
use crate::rule::RuleState;

const VERSION: u8 = 1;

/// Bits that say which times follow, lowest first, in this order.
const TIMES: usize = 6;

impl RuleState {
    /// Appends the state. Equal states give equal bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut alerts: Vec<&ActiveAlert> = self.alerts().collect();
        alerts.sort_by(|one, other| one.labels.as_bytes().cmp(other.labels.as_bytes()));
        out.push(VERSION);
        put_length(out, alerts.len());
        for alert in alerts {
            encode_alert(alert, out);
        }
    }

    /// Reads what [`RuleState::encode`] wrote, and nothing else: each state has one form.
    pub fn decode(bytes: &[u8]) -> Result<Self, AlertingError> {
        let mut reader = Reader { bytes, at: 0 };
        match reader.byte()? {
            VERSION => {}
            other => return Err(AlertingError::Version(other)),
        }
        let count = reader.length()?;
        // An alert takes 20 bytes or more: what is promised and not there takes no memory.
        let mut alerts: Vec<ActiveAlert> = Vec::with_capacity(count.min(bytes.len() / 20));
        for _ in 0..count {
            let alert = reader.alert()?;
            if alerts.last().is_some_and(|last| last.labels.as_bytes() >= alert.labels.as_bytes()) {
                return Err(reader.damaged("alerts out of order"));
            }
            alerts.push(alert);
        }
        if reader.at != bytes.len() {
            return Err(reader.damaged("bytes after the end"));
        }
        Ok(Self::of(alerts))
    }
}

fn times(alert: &ActiveAlert) -> [Option<Timestamp>; TIMES] {
    let (sent, until) = (alert.last_sent_at, alert.valid_until);
    [alert.fired_at, alert.resolved_at, sent, until, alert.keep_firing_since, alert.unknown_since]
}

fn encode_alert(alert: &ActiveAlert, out: &mut Vec<u8>) {
    put_bytes(out, alert.labels.as_bytes());
    put_length(out, alert.annotations.len());
    for (name, text) in &alert.annotations {
        put_bytes(out, name.as_bytes());
        put_bytes(out, text.as_bytes());
    }
    out.extend_from_slice(&alert.value.to_bits().to_le_bytes());
    let kind = match alert.last_sent_as {
        None => 0,
        Some(NoticeKind::Firing) => 1,
        Some(NoticeKind::Unknown) => 2,
        Some(NoticeKind::Resolved) => 3,
    };
    let times = times(alert);
    let there = times.iter().enumerate().map(|(bit, time)| u8::from(time.is_some()) << bit).sum();
    out.extend_from_slice(&[kind, there]);
    for time in std::iter::once(alert.active_at).chain(times.into_iter().flatten()) {
        out.extend_from_slice(&time.as_millis().to_le_bytes());
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).expect("bounded far below 4 GiB").to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damaged(&self, what: &'static str) -> AlertingError {
        AlertingError::Damaged { at: self.at, what }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], AlertingError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| self.damaged("it ends too early"))?;
        self.at += length;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, AlertingError> {
        Ok(self.take(1)?[0])
    }

    fn length(&mut self) -> Result<usize, AlertingError> {
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        Ok(u32::from_le_bytes(bytes) as usize)
    }

    fn word(&mut self) -> Result<[u8; 8], AlertingError> {
        Ok(self.take(8)?.try_into().expect("eight bytes were taken"))
    }

    fn time(&mut self) -> Result<Timestamp, AlertingError> {
        Ok(Timestamp::from_millis(i64::from_le_bytes(self.word()?)))
    }

    fn text(&mut self) -> Result<String, AlertingError> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.damaged("a text that is no UTF-8"))
    }

    fn alert(&mut self) -> Result<ActiveAlert, AlertingError> {
        let length = self.length()?;
        let labels =
            Labels::from_bytes(self.take(length)?).ok_or_else(|| self.damaged("labels that are none"))?;
        let count = self.length()?;
        let annotations = (0..count).map(|_| Ok((self.text()?, self.text()?))).collect::<Result<_, _>>()?;
        let value = f64::from_bits(u64::from_le_bytes(self.word()?));
        let last_sent_as = match self.byte()? {
            0 => None,
            1 => Some(NoticeKind::Firing),
            2 => Some(NoticeKind::Unknown),
            3 => Some(NoticeKind::Resolved),
            _ => return Err(self.damaged("a kind of notice that is not known")),
        };
        let there = self.byte()?;
        if there >> TIMES != 0 {
            return Err(self.damaged("a time that is not known"));
        }
        let active_at = self.time()?;
        let mut times = [None; TIMES];
        for (bit, time) in times.iter_mut().enumerate() {
            if there >> bit & 1 == 1 {
                *time = Some(self.time()?);
            }
        }
        let [fired_at, resolved_at, last_sent_at, valid_until, keep_firing_since, unknown_since] = times;
        let state = match (fired_at, resolved_at, unknown_since) {
            (None, Some(_), _) => return Err(self.damaged("an end without a beginning")),
            (_, Some(_), Some(_)) => return Err(self.damaged("an alert that ended and is unknown")),
            (_, None, Some(_)) => AlertState::Unknown,
            (Some(_), _, None) => AlertState::Firing,
            (None, None, None) => AlertState::Pending,
        };
        if last_sent_as.is_some() != last_sent_at.is_some() {
            return Err(self.damaged("a notice without its time, or a time without its notice"));
        }
        Ok(ActiveAlert {
            labels,
            annotations,
            value,
            state,
            active_at,
            fired_at,
            resolved_at,
            last_sent_at,
            last_sent_as,
            valid_until,
            keep_firing_since,
            unknown_since,
        })
    }
}
