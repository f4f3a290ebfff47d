//! `absent` and `absent_over_time`: 1 where nothing is, with the labels that the selector says it would have.

use model::{Labels, METRIC_NAME, MatchOp, Matcher};

use super::bits::Bits;
use super::series::{Series, Stream};
use super::{Query, Result, Steps};
use crate::ast::{Expr, Kind};
use crate::budget::Column;

impl<'q> Query<'q> {
    pub(super) fn absent(&'q self, argument: &'q Expr, steps: Steps) -> Result<Stream<'q>> {
        let mut present = Bits::new(steps.count);
        for series in self.vector(argument, steps)? {
            present.add_present(&series?.points);
        }
        self.where_absent(argument, steps, &present)
    }

    pub(super) fn absent_over_time(&'q self, argument: &'q Expr, steps: Steps) -> Result<Stream<'q>> {
        let mut present = Bits::new(steps.count);
        let mut windows = self.windows(argument, steps)?;
        while windows.advance()? {
            for at in 0..steps.count {
                if windows.window(at).len() > 0 {
                    present.insert(at);
                }
            }
        }
        self.where_absent(argument, steps, &present)
    }

    fn where_absent(&'q self, argument: &Expr, steps: Steps, present: &Bits) -> Result<Stream<'q>> {
        let mut points = Column::absent(&self.budget, steps.count)?;
        points.iter_mut().enumerate().filter(|(at, _)| !present.has(*at)).for_each(|(_, value)| *value = 1.0);
        if !points.has_any() {
            return Ok(Box::new(std::iter::empty()));
        }
        let labels = labels_of(argument);
        Ok(Box::new(std::iter::once(Ok(Series { labels, drop_name: false, points }))))
    }
}

/// The labels that `=` conditions name. As in Prometheus, a label's later condition takes it away again, unless none before was `=` and
/// this one is: `{a!="1",a="2"}` has it, `{a="2",a!="1"}` and `{a="1",a="2"}` have not.
fn labels_of(argument: &Expr) -> Labels {
    let matchers: &[Matcher] = match &argument.bare().kind {
        Kind::Selector(selector) => &selector.matchers,
        Kind::Range(range) => &range.selector.matchers,
        _ => &[],
    };
    let mut builder = Labels::builder();
    let mut named: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !named.contains(&matcher.name()) {
            named.push(matcher.name());
            builder.set(matcher.name(), matcher.value());
        } else {
            builder.set(matcher.name(), "");
        }
    }
    builder.build()
}
