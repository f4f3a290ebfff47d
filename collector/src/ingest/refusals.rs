//! What of a request was not stored: counted by reason, with a few examples for the answer.

use std::fmt::Write as _;

/// Examples in one answer.
const EXAMPLES_MAX: usize = 5;
/// Metrics of which refused series are counted apart.
const OFFENCES_MAX: usize = 16;
/// Bytes of one example.
const EXAMPLE_BYTES_MAX: usize = 600;

/// Why samples were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Older than the accepted age.
    TooOld,
    /// Too far ahead of the collector's clock.
    TooNew,
    /// Labels that cannot be: no metric name, a name twice, no UTF-8.
    BadLabels,
    /// Too many labels, or too long ones.
    LargeLabels,
    /// The sender has as many series as it may.
    SenderLimit,
    /// The sender brought as many new series within a minute as it may.
    SeriesRate,
    /// The store holds as many series as it may.
    StoreLimit,
    /// A native histogram that is too large.
    LargeHistogram,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::TooOld,
        Self::TooNew,
        Self::BadLabels,
        Self::LargeLabels,
        Self::SenderLimit,
        Self::SeriesRate,
        Self::StoreLimit,
        Self::LargeHistogram,
    ];

    /// A word for counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::BadLabels => "bad_labels",
            Self::LargeLabels => "large_labels",
            Self::SenderLimit => "sender_limit",
            Self::SeriesRate => "series_rate",
            Self::StoreLimit => "store_limit",
            Self::LargeHistogram => "large_histogram",
        }
    }
}

/// New series that a limit refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Which limit.
    pub reason: Reason,
    /// The metric; empty for those that did not fit into the list.
    pub metric: String,
    /// How many series.
    pub series: u64,
    /// One of them, with what to do.
    pub example: String,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [u64; Reason::ALL.len()],
    examples: Vec<String>,
    offences: Vec<Offence>,
}

impl Refusals {
    /// Refuses samples of one series.
    pub(super) fn add_many(&mut self, reason: Reason, samples: u64, example: impl FnOnce() -> String) {
        self.counts[reason as usize] += samples;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(shortened(example()));
        }
    }

    /// Refuses a new series because of a limit.
    pub(super) fn add_offence(&mut self, reason: Reason, metric: &str, example: &str) {
        let full = self.offences.len() >= OFFENCES_MAX;
        let is = |offence: &&mut Offence, metric: &str| offence.reason == reason && offence.metric == metric;
        if let Some(offence) = self.offences.iter_mut().find(|offence| is(offence, metric)) {
            offence.series += 1;
            return;
        }
        let metric = if full { "" } else { metric };
        match self.offences.iter_mut().find(|offence| full && is(offence, "")) {
            Some(offence) => offence.series += 1,
            None => {
                let example = shortened(example.to_owned());
                self.offences.push(Offence { reason, metric: metric.to_owned(), series: 1, example });
            }
        }
    }

    /// New series that limits refused, by limit and metric.
    pub fn offences(&self) -> &[Offence] {
        &self.offences
    }

    /// Samples refused in all.
    pub fn samples(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.samples() == 0 && self.examples.is_empty()
    }

    /// Samples refused, by reason, where there are any.
    pub fn counts(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL
            .into_iter()
            .map(|reason| (reason, self.counts[reason as usize]))
            .filter(|(_, samples)| *samples > 0)
    }

    /// What was refused and why, in one line.
    pub fn short(&self) -> String {
        let counts: Vec<String> =
            self.counts().map(|(reason, samples)| format!("{samples} {}", reason.as_str())).collect();
        let example = self.examples.first().map_or("", String::as_str);
        format!("refused {}, for example {example}", counts.join(", "))
    }

    /// The answer's text: the fate of the good part first.
    pub fn text(&self, stored: u64) -> String {
        let refused = self.samples();
        let mut text = format!("stored {stored} of {} samples; refused {refused}", stored + refused);
        let mut mark = " (";
        for (reason, samples) in self.counts() {
            write!(text, "{mark}{samples} {}", reason.as_str()).expect("a String takes everything");
            mark = ", ";
        }
        text.push_str(if mark == ", " { "), for example:\n" } else { ":\n" });
        for example in &self.examples {
            text.push_str(example);
            text.push('\n');
        }
        text
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > EXAMPLE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(EXAMPLE_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offences_are_counted_by_metric_and_their_list_is_bounded() {
        let mut refusals = Refusals::default();
        for number in 0..100 {
            refusals.add_offence(Reason::SenderLimit, &format!("m{}", number % 20), "m");
        }
        refusals.add_offence(Reason::SeriesRate, "m0", "m");
        let offences = refusals.offences();
        assert_eq!(offences.len(), OFFENCES_MAX + 2, "one for the rest of each limit");
        assert_eq!((offences[0].metric.as_str(), offences[0].series), ("m0", 5));
        assert_eq!(offences.iter().map(|offence| offence.series).sum::<u64>(), 101);
    }

    #[test]
    fn the_answer_says_what_became_of_everything_and_stays_short() {
        let mut refusals = Refusals::default();
        for number in 0..10 {
            refusals.add_many(Reason::TooOld, 2, || format!("up{{n=\"{number}\"}}: too old"));
        }
        refusals.add_many(Reason::BadLabels, 1, || unreachable!("there are examples enough"));
        let text = refusals.text(79);
        assert!(text.starts_with(
            "stored 79 of 100 samples; refused 21 (20 too_old, 1 bad_labels), for example:\nup{n=\"0\"}"
        ));
        assert_eq!(text.lines().count(), 1 + EXAMPLES_MAX);
    }

    #[test]
    fn long_examples_are_cut_between_characters() {
        let mut refusals = Refusals::default();
        refusals.add_many(Reason::BadLabels, 1, || "é".repeat(1000));
        assert!(refusals.examples[0].len() <= EXAMPLE_BYTES_MAX + '…'.len_utf8());
    }
}
