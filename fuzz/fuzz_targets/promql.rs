//! Expressions from anybody, over numbers and native histograms: they are parsed or refused, evaluated or refused, at one time and over a
//! range, within bounds of memory, and what is printed of an expression is parsed again to the same.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use model::{Columns, Histogram, Labels, Selection, SeriesSet, SeriesSource, SourceError, Timestamp};
use promql::{Features, Options};

fuzz_target!(|text: &str| {
    let Ok(expr) = promql::parse_with(text, Features::ALL) else { return };
    let printed = expr.to_string();
    let again = promql::parse_with(&printed, Features::ALL);
    assert!(again.is_ok_and(|again| again.to_string() == printed), "{text} is printed as {printed}");
    let options =
        Options { features: Features::ALL, samples_max: 200_000, steps_max: 100, ..Options::default() };
    let at = Timestamp::from_millis(600_000);
    let _ = promql::instant(&Source, text, at, &options);
    let _ =
        promql::range(&Source, text, at - Duration::from_secs(300), at, Duration::from_secs(60), &options);
});

/// Four series: counters, a classic histogram's bucket, native histograms, and both kinds in turn.
struct Source;

struct Set {
    labels: Vec<Labels>,
    at: usize,
    span: (i64, i64),
}

impl SeriesSource for Source {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        let all = [
            Labels::from_pairs([("__name__", "a"), ("x", "1")]),
            Labels::from_pairs([("__name__", "b_bucket"), ("le", "+Inf")]),
            Labels::from_pairs([("__name__", "h"), ("x", "1")]),
            Labels::from_pairs([("__name__", "m"), ("x", "2")]),
        ];
        let matches = |labels: &Labels| {
            selection
                .matchers
                .iter()
                .all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        let labels = all.into_iter().filter(matches).collect();
        let span = (selection.start.as_millis(), selection.end.as_millis());
        Ok(Box::new(Set { labels, at: 0, span }))
    }

    fn label_names(&self, _: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn series(&self, _: &[Selection<'_>], _: usize) -> Result<Vec<Labels>, SourceError> {
        Ok(Vec::new())
    }
}

impl Set {
    fn name(&self) -> &str {
        self.labels().metric_name().unwrap_or_default()
    }

    /// Sample times, every 30 seconds.
    fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let (from, to) = self.span;
        (0..40).map(|at| at * 30_000).filter(move |time| (from..=to).contains(time))
    }
}

impl SeriesSet for Set {
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.at += 1;
        Ok(self.at <= self.labels.len())
    }

    fn labels(&self) -> &Labels {
        &self.labels[self.at - 1]
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        into.clear();
        let step = if self.name() == "m" { 2 } else { 1 };
        if self.name() != "h" {
            self.times().step_by(step).for_each(|time| {
                into.push(Timestamp::from_millis(time), (time % 210_000) as f64);
            });
        }
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Vec<(Timestamp, Arc<[u8]>)>) -> Result<(), SourceError> {
        into.clear();
        if matches!(self.name(), "h" | "m") {
            for time in self.times().skip(1).step_by(2) {
                let text = match time % 90_000 {
                    0 => "{{schema:-53 count:3 sum:4 custom_values:[1 2] buckets:[1 1 1]}}",
                    30_000 => {
                        "{{schema:1 count:9 sum:7 z_bucket:2 z_bucket_w:0.1 buckets:[1 2] n_buckets:[4]}}"
                    }
                    _ => "{{schema:0 count:5 sum:-1 buckets:[2 3] counter_reset_hint:gauge}}",
                };
                let histogram: Histogram = text.parse().expect("a good text");
                let mut bytes = Vec::new();
                histogram.encode(Timestamp::from_millis(time), &mut bytes);
                into.push((Timestamp::from_millis(time), bytes.into()));
            }
        }
        Ok(())
    }
}
