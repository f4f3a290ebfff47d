//! Who passes a limit on series: counted in metrics, and said in the log once and then summarised.
//!
//! In: what limits refused of a request. Limits: [`METRICS_MAX`] metrics a sender in the counter, further ones under an empty name;
//! senders are as many as are enrolled.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use telemetry::summary::{Say, Summary};

use super::SAY_EVERY;
use super::refusals::{Offence, Reason};
use crate::metrics::Metrics;

/// Metrics of one sender that are counted under their names.
const METRICS_MAX: usize = 16;

/// See the module's text.
#[derive(Default)]
pub(super) struct Offenders {
    senders: Mutex<HashMap<String, Sender>>,
}

struct Sender {
    metrics: HashSet<String>,
    summary: Summary,
    unsaid: u64,
}

impl Offenders {
    /// Counts what was refused, and says it where it is news.
    pub(super) fn note(&self, sender: &str, offences: &[Offence], now: Duration, metrics: &Metrics) {
        let Some(worst) = offences.iter().max_by_key(|offence| offence.series) else { return };
        let mut senders = self.senders.lock().expect("nothing panics while it holds this lock");
        let known = senders.entry(sender.to_owned()).or_insert_with(|| Sender {
            metrics: HashSet::new(),
            summary: Summary::new(SAY_EVERY),
            unsaid: 0,
        });
        for offence in offences {
            let metric = known.counted_as(&offence.metric);
            let labels = [offence.reason.as_str(), sender, metric];
            metrics.ingest_refused_series.with_label_values(&labels).inc_by(offence.series);
            known.unsaid += offence.series;
        }
        let said = match known.summary.fault(now) {
            Say::First => "",
            Say::Again { .. } => " since it was last said",
            Say::Recovered { .. } | Say::Nothing => return,
        };
        tracing::warn!("{}", line(sender, std::mem::take(&mut known.unsaid), said, worst));
    }
}

impl Sender {
    fn counted_as<'a>(&mut self, metric: &'a str) -> &'a str {
        if self.metrics.contains(metric) {
            return metric;
        }
        if self.metrics.len() >= METRICS_MAX {
            return "";
        }
        self.metrics.insert(metric.to_owned());
        metric
    }
}

fn line(sender: &str, series: u64, said: &str, worst: &Offence) -> String {
    let limit = match worst.reason {
        Reason::SeriesRate => "the limit on new series a minute",
        Reason::StoreLimit => "the limit on series of all senders together",
        _ => "the limit on its series",
    };
    format!(
        "sender {sender:?} passes {limit}: {series} times a new series was refused{said}, most of the metric {:?}, such as {}. Its other \
         series go on",
        worst.metric, worst.example
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offence(metric: &str, series: u64) -> Offence {
        Offence {
            reason: Reason::SenderLimit,
            metric: metric.into(),
            series,
            example: format!("{metric}{{}}: no"),
        }
    }

    #[test]
    fn the_line_names_sender_metric_and_example() {
        let line = line("kudus-gw", 7, "", &offence("http_requests_total", 5));
        assert!(
            line.starts_with(
                "sender \"kudus-gw\" passes the limit on its series: 7 times a new series was refused, most of the metric \
                 \"http_requests_total\", such as http_requests_total{}: no"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_sender_with_ever_new_metrics_makes_no_end_of_counters() {
        let (offenders, metrics) = (Offenders::default(), Metrics::new());
        for number in 0..100 {
            offenders.note("kudus-gw", &[offence(&format!("m{number}"), 2)], Duration::ZERO, &metrics);
        }
        let page = metrics.text();
        let counted: Vec<&str> =
            page.lines().filter(|line| line.starts_with("pantau_ingest_refused_series_total{")).collect();
        assert_eq!(counted.len(), METRICS_MAX + 1);
        let rest =
            "pantau_ingest_refused_series_total{metric=\"\",reason=\"sender_limit\",sender=\"kudus-gw\"} 168";
        assert!(counted.contains(&rest), "{counted:?}");
    }
}
