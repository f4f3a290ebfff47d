//! What a query cost, as the parameter `stats` asks for it.

use std::fmt::Write as _;
use std::time::Duration;

use promql::Answer;

use super::json;

/// How much of it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    /// Times and sums.
    Sums,
    /// Also the samples of each step.
    Steps,
}

impl Told {
    /// As the parameter `stats` has it: any text asks for sums, `all` for the steps too.
    pub(super) fn by(parameter: Option<&str>) -> Self {
        match parameter {
            None => Self::Nothing,
            Some("all") => Self::Steps,
            Some(_) => Self::Sums,
        }
    }
}

/// How long a query took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Until it had its turn.
    pub(super) waited: Duration,
    /// From then until its answer.
    pub(super) evaluated: Duration,
}

/// Pushes the member `stats`. Preparing and sorting are part of the evaluation here and not timed by themselves.
pub(super) fn push(out: &mut String, answer: &Answer, told: Told, times: Times) {
    if told == Told::Nothing {
        return;
    }
    let (waited, evaluated) = (times.waited.as_secs_f64(), times.evaluated.as_secs_f64());
    let all = waited + evaluated;
    write!(
        out,
        ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{evaluated},\"resultSortTime\":0,\"queryPreparationTime\":0,\
         \"innerEvalTime\":{evaluated},\"execQueueTime\":{waited},\"execTotalTime\":{all}}},\"samples\":{{"
    )
    .expect("a String takes everything");
    if told == Told::Steps {
        out.push_str("\"totalQueryableSamplesPerStep\":");
        json::push_list(out, &answer.samples_per_step, |out, (time, samples)| {
            out.push('[');
            json::push_time(out, *time);
            write!(out, ",{samples}]").expect("a String takes everything");
        });
        out.push(',');
    }
    let total: u64 = answer.samples_per_step.iter().map(|(_, samples)| *samples).sum();
    let (peak, read) = (answer.statistics.samples_peak, answer.statistics.samples_read);
    write!(out, "\"totalQueryableSamples\":{total},\"peakSamples\":{peak},\"samplesRead\":{read}}}}}")
        .expect("a String takes everything");
}
