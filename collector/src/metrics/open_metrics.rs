//! Own metrics in OpenMetrics, for scrapers that ask for it.

use exposition::{Format, Offer, Writer};
use model::{METRIC_NAME, MetricKind, MetricMetadata};
use prometheus::proto::{Metric, MetricFamily, MetricType};

/// A page of these families.
pub(super) fn page(families: &[MetricFamily]) -> String {
    let mut out = String::new();
    let mut writer = Writer::new(&mut out, Offer { format: Format::OpenMetrics, utf8_names: false });
    for family in families {
        push_family(&mut writer, family);
    }
    writer.finish();
    out
}

fn push_family(writer: &mut Writer<'_>, family: &MetricFamily) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => MetricKind::Counter,
        MetricType::HISTOGRAM => MetricKind::Histogram,
        _ => MetricKind::Gauge,
    };
    let metadata = MetricMetadata { kind, help: family.help().to_owned(), ..MetricMetadata::default() };
    writer.family(family.name(), &metadata);
    for metric in family.get_metric() {
        let mut sample = |suffix: &str, bound: Option<&str>, value: f64| {
            let name = format!("{}{suffix}", family.name());
            let labels = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
            let bound = bound.map(|bound| ("le", bound));
            writer.sample([(METRIC_NAME, &*name)].into_iter().chain(labels).chain(bound), value, None);
        };
        match kind {
            MetricKind::Histogram => push_histogram(metric, &mut sample),
            MetricKind::Counter => sample("", None, metric.get_counter().get_value()),
            _ => sample("", None, metric.get_gauge().get_value()),
        }
    }
}

fn push_histogram(metric: &Metric, sample: &mut impl FnMut(&str, Option<&str>, f64)) {
    let histogram = metric.get_histogram();
    for bucket in histogram.get_bucket() {
        // OpenMetrics wants bounds to look like floats.
        let bound = bucket.upper_bound();
        let bound = if bound.fract() == 0.0 { format!("{bound:.1}") } else { bound.to_string() };
        sample("_bucket", Some(&bound), bucket.cumulative_count() as f64);
    }
    let count = histogram.get_sample_count() as f64;
    sample("_bucket", Some("+Inf"), count);
    sample("_sum", None, histogram.get_sample_sum());
    sample("_count", None, count);
}

#[cfg(test)]
mod tests {
    use exposition::Parser;
    use prometheus::core::Collector;
    use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntGauge, Registry};

    use super::*;

    #[test]
    fn every_kind_is_written_and_reads_back() {
        let registry = Registry::new();
        let counter = IntCounter::new("a_requests_total", "What was \"asked\".").expect("a counter");
        let gauge = IntGauge::new("b_depth", "How deep.").expect("a gauge");
        let options = HistogramOpts::new("c_seconds", "How long.").buckets(vec![0.5, 1.0]);
        let histogram = HistogramVec::new(options, &["path"]).expect("a histogram");
        let collectors: [Box<dyn Collector>; 3] =
            [Box::new(counter.clone()), Box::new(gauge), Box::new(histogram.clone())];
        collectors.into_iter().for_each(|each| registry.register(each).expect("new"));
        counter.inc_by(3);
        histogram.with_label_values(&["/"]).observe(0.75);
        let page = page(&registry.gather());
        assert_eq!(
            page,
            "# HELP a_requests What was \\\"asked\\\".\n# TYPE a_requests counter\na_requests_total 3\n\
             # HELP b_depth How deep.\n# TYPE b_depth gauge\nb_depth 0\n\
             # HELP c_seconds How long.\n# TYPE c_seconds histogram\n\
             c_seconds_bucket{path=\"/\",le=\"0.5\"} 0\nc_seconds_bucket{path=\"/\",le=\"1.0\"} 1\n\
             c_seconds_bucket{path=\"/\",le=\"+Inf\"} 1\nc_seconds_sum{path=\"/\"} 0.75\nc_seconds_count{path=\"/\"} 1\n# EOF\n"
        );
        assert!(Parser::new(page.as_bytes(), Format::OpenMetrics).all(|event| event.is_ok()));
    }
}
