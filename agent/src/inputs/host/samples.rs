//! What a source writes its values into: an owned buffer that crosses from the source's thread to the round.
//!
//! In: a family (known when the program is built), a naming (metric names that come from the kernel's own field names) or a
//! raw label set (textfile), label values as bytes, a value. Out: the same in order, put into a [`Round`].
//!
//! The buffer keeps its memory from round to round and, in it, what was said: a source that says the same series as before
//! writes nothing but values, and the round, on another CPU, reads nothing but values. A number stands for which series
//! were said ([`Samples::shape`]).
//!
//! A key is the address of the family or naming (each is a `static`, so no two share one) and the label values, each
//! behind a byte that no UTF-8 text holds. A label value that is not UTF-8 is shown with replacement characters.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Labels, METRIC_NAME, MetricKind, MetricMetadata};

use crate::series::{Described, Family, Put, Round, SeriesId, Stamp};

/// Separates the parts of a key.
const PART: u8 = 0xff;

/// Metrics whose names are made of a source's own field names: `prefix` + field + `suffix`.
#[derive(Debug)]
pub(crate) struct Naming {
    /// Such as `node_memory_`.
    pub(crate) prefix: &'static str,
    /// Such as `_bytes`.
    pub(crate) suffix: &'static str,
    /// Counter, gauge, ...
    pub(crate) kind: MetricKind,
    /// One sentence; the field's name is appended.
    pub(crate) help: &'static str,
    /// Names of the labels whose values a caller gives, in that order.
    pub(crate) labels: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum What {
    Family(&'static Family),
    Naming(&'static Naming),
    Raw,
}

#[derive(Clone, Copy)]
struct Item {
    key_end: u32,
    what: What,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Samples {
    values: Vec<f64>,
    /// One behind the other; behind the last one of this round may stand what an earlier round said.
    keys: Vec<u8>,
    /// What each value is of; behind the last one of this round as `keys`.
    items: Vec<Item>,
    /// Where the next key goes.
    at: usize,
    /// Drawn anew where the keys differ from those of the round before; 0 while nothing was ever said.
    shape: u64,
    is_reshaped: bool,
    /// Of raw series, by metric name.
    raw_metadata: HashMap<Box<str>, Arc<MetricMetadata>>,
}

impl Samples {
    /// Forgets the values; what they were of is kept to compare the next ones with.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.at = 0;
        self.is_reshaped = false;
        self.raw_metadata.clear();
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Two rounds with equal shapes said the same series in the same order.
    fn shape(&self) -> (u64, usize) {
        (self.shape, self.values.len())
    }

    fn items(&self) -> &[Item] {
        &self.items[..self.values.len()]
    }

    /// Adds a value of a family.
    #[inline]
    pub(crate) fn metric(&mut self, family: &'static Family, label_values: &[&[u8]], value: f64) {
        debug_assert_eq!(
            family.labels.len(),
            label_values.len(),
            "{} wants {:?}",
            family.name,
            family.labels
        );
        self.key(&std::ptr::from_ref(family).addr().to_ne_bytes());
        self.finish(What::Family(family), label_values, value);
    }

    /// Adds a value of a metric named for a field.
    #[inline]
    pub(crate) fn named(&mut self, naming: &'static Naming, field: &[u8], labels: &[&[u8]], value: f64) {
        debug_assert_eq!(naming.labels.len(), labels.len(), "{} wants {:?}", naming.prefix, naming.labels);
        self.key(&std::ptr::from_ref(naming).addr().to_ne_bytes());
        self.part(field);
        self.finish(What::Naming(naming), labels, value);
    }

    /// Adds a value with labels of its own, the metric's name among them, in any order (the same order each time).
    pub(crate) fn raw<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: f64) {
        for (name, label_value) in labels {
            self.part(name.as_bytes());
            self.part(label_value.as_bytes());
        }
        self.finish(What::Raw, &[], value);
    }

    /// Says what a raw metric is.
    pub(crate) fn describe_raw(&mut self, name: &str, metadata: Arc<MetricMetadata>) {
        self.raw_metadata.entry(name.into()).or_insert(metadata);
    }

    /// Appends all values of another buffer.
    pub(crate) fn append(&mut self, other: &Self) {
        let mut start = 0;
        for (item, &value) in other.items().iter().zip(&other.values) {
            self.key(&other.keys[start..item.key_end as usize]);
            start = item.key_end as usize;
            self.finish(item.what, &[], value);
        }
        self.raw_metadata
            .extend(other.raw_metadata.iter().map(|(name, what)| (name.clone(), Arc::clone(what))));
    }

    #[inline]
    fn finish(&mut self, what: What, label_values: &[&[u8]], value: f64) {
        for label_value in label_values {
            self.part(label_value);
        }
        // Sources are bounded far below 4 GiB of label values.
        let (index, key_end) = (self.values.len(), self.at as u32);
        if self.items.get(index).is_none_or(|item| item.key_end != key_end) {
            self.items.truncate(index);
            self.items.push(Item { key_end, what });
            self.reshape();
        } else if self.is_reshaped {
            // Only then: equal keys are of one family or naming, for they begin with its address.
            self.items[index].what = what;
        }
        self.values.push(value);
    }

    #[inline]
    fn part(&mut self, bytes: &[u8]) {
        self.key(&[PART]);
        self.key(bytes);
    }

    /// The next bytes of a key, which are most often those that stand there.
    #[inline]
    fn key(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if self.keys.get(self.at..end) != Some(bytes) {
            self.keys.truncate(self.at);
            self.keys.extend_from_slice(bytes);
            self.reshape();
        }
        self.at = end;
    }

    #[inline]
    fn reshape(&mut self) {
        static SHAPES: AtomicU64 = AtomicU64::new(1);
        if !self.is_reshaped {
            self.is_reshaped = true;
            self.shape = SHAPES.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts the values into a round. Where they are of the same series in the same order as those that `recall` remembers, no
    /// key is hashed or even looked at.
    pub(crate) fn put_recalled(&self, round: &mut Round<'_>, describer: &mut Describer, recall: &mut Recall) {
        if recall.stamp == Some(round.stamp()) && recall.shape == self.shape() {
            for (&value, id) in self.values.iter().zip(&recall.ids) {
                if let Some(id) = id {
                    round.put_again(*id, value);
                }
            }
            return;
        }
        recall.stamp = Some(round.stamp());
        recall.shape = self.shape();
        recall.ids.clear();
        // A series that was refused or dropped must be asked about again: with room it would be kept.
        let refused = self.put_each(round, describer, |put, round| {
            recall.ids.push(matches!(put, Put::Kept | Put::KeptNew).then(|| round.latest()).flatten());
        });
        if refused > 0 {
            recall.stamp = None;
        }
    }

    /// Puts the values into a round; returns how many were refused for want of room.
    pub(crate) fn put_into(&self, round: &mut Round<'_>, describer: &mut Describer) -> u64 {
        self.put_each(round, describer, |_, _| {})
    }

    fn put_each(
        &self,
        round: &mut Round<'_>,
        describer: &mut Describer,
        mut see: impl FnMut(Put, &Round<'_>),
    ) -> u64 {
        let mut refused = 0;
        let mut start = 0;
        for (item, &value) in self.items().iter().zip(&self.values) {
            let key = &self.keys[start..item.key_end as usize];
            start = item.key_end as usize;
            let put =
                round.put(key, value, None, |base| Some(describer.describe(base, item.what, key, self)));
            refused += u64::from(put == Put::Refused);
            see(put, round);
        }
        refused
    }
}

/// The series of the last round, in order.
#[derive(Default)]
pub(crate) struct Recall {
    stamp: Option<Stamp>,
    shape: (u64, usize),
    /// `None` where the value had been said already by another.
    ids: Vec<Option<SeriesId>>,
}

/// Makes labels and metadata for series that are new, and remembers the metadata of each metric.
#[derive(Default)]
pub(crate) struct Describer {
    metadata: HashMap<Box<str>, Arc<MetricMetadata>>,
}

impl Describer {
    /// Metrics whose metadata is remembered; past it each new series has a copy of its own.
    const METADATA_MAX: usize = 10_000;

    fn describe(&mut self, base: &Labels, what: What, key: &[u8], samples: &Samples) -> Described {
        match what {
            What::Family(family) => {
                let metadata = self.metadata(family.name, || (family.kind, family.help.to_owned()));
                described(base, family.name, family.labels, parts(key), metadata)
            }
            What::Naming(naming) => {
                let mut values = parts(key);
                let field = values.next().map(String::from_utf8_lossy).unwrap_or_default();
                let name = metric_name(&format!("{}{field}{}", naming.prefix, naming.suffix));
                let metadata = self.metadata(&name, || (naming.kind, format!("{} {field}.", naming.help)));
                described(base, &name, naming.labels, values, metadata)
            }
            What::Raw => raw_described(base, key, samples),
        }
    }

    fn metadata(&mut self, name: &str, make: impl FnOnce() -> (MetricKind, String)) -> Arc<MetricMetadata> {
        if let Some(known) = self.metadata.get(name) {
            return Arc::clone(known);
        }
        let (kind, help) = make();
        let made = Arc::new(MetricMetadata { kind, help, unit: String::new() });
        if self.metadata.len() < Self::METADATA_MAX {
            self.metadata.insert(name.into(), Arc::clone(&made));
        }
        made
    }
}

/// The parts of a family's or naming's key behind the address.
fn parts(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let behind = &key[size_of::<usize>()..];
    behind.split(|&byte| byte == PART).skip(1)
}

fn described<'k>(
    base: &Labels,
    name: &str,
    label_names: &[&str],
    values: impl Iterator<Item = &'k [u8]>,
    metadata: Arc<MetricMetadata>,
) -> Described {
    let mut labels = base.to_builder();
    labels.set(METRIC_NAME, name);
    for (label, value) in label_names.iter().zip(values) {
        labels.set(label, &String::from_utf8_lossy(value));
    }
    Described { labels: labels.build(), metadata: Some(metadata) }
}

fn raw_described(base: &Labels, key: &[u8], samples: &Samples) -> Described {
    let mut labels = base.to_builder();
    let mut values = key.split(|&byte| byte == PART).skip(1).map(String::from_utf8_lossy);
    let mut metadata = None;
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        if name == METRIC_NAME {
            metadata = samples.raw_metadata.get(&*value).cloned();
        }
        // Who speaks is not for a file to say; what it says of itself is kept, as Prometheus keeps it.
        match &*name {
            "job" | "instance" => labels.set(&format!("exported_{name}"), &value),
            _ => labels.set(&name, &value),
        };
    }
    Described { labels: labels.build(), metadata }
}

/// The name with every byte that a classic metric name cannot have replaced by `_`.
fn metric_name(name: &str) -> String {
    name.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() || byte == b'_' { byte as char } else { '_' })
        .collect()
}

/// Declares the families of a source, and lists them for the documentation.
macro_rules! families {
    ($($(#[$attribute:meta])* $ident:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            $(#[$attribute])*
            static $ident: $crate::series::Family = $crate::series::Family {
                name: $name,
                help: $help,
                kind: model::MetricKind::$kind,
                labels: &[$($label),*],
            };
        )*
        /// Everything that this source may say under a fixed name, for the tests that hold the documentation to it.
        #[cfg(test)]
        #[allow(dead_code)] // families that only a test declares are in no documentation
        pub(crate) static FAMILIES: &[&$crate::series::Family] = &[$(&$ident),*];
    };
}
pub(crate) use families;

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::series::SeriesTable;

    families! {
        UP: Gauge "node_network_up" ["device"] "Whether it is up.";
    }
    static MEMORY: Naming = Naming {
        prefix: "node_memory_",
        suffix: "_bytes",
        kind: MetricKind::Gauge,
        help: "Memory information field",
        labels: &[],
    };

    fn put(samples: &Samples, table: &mut SeriesTable, at: i64) -> Vec<(String, f64)> {
        let mut round = Round::begin(table, Timestamp::from_millis(at), Vec::new());
        assert_eq!(samples.put_into(&mut round, &mut Describer::default()), 0);
        let (points, _) = round.finish();
        points.iter().map(|point| (table.entry(point.series).labels.to_string(), point.value)).collect()
    }

    #[test]
    fn values_come_out_under_their_names() {
        let mut table = SeriesTable::new(Labels::from_pairs([("job", "node")]), 100);
        let mut samples = Samples::default();
        samples.metric(&UP, &[b"eth0"], 1.0);
        samples.named(&MEMORY, b"Active(anon", &[], 2.0);
        samples.raw([("__name__", "backup_age"), ("host", "nas"), ("job", "x")], 3.0);
        let metadata = Arc::new(MetricMetadata { kind: MetricKind::Gauge, ..MetricMetadata::default() });
        samples.describe_raw("backup_age", metadata);
        let expected = [
            (r#"node_network_up{device="eth0", job="node"}"#.to_owned(), 1.0),
            (r#"node_memory_Active_anon_bytes{job="node"}"#.to_owned(), 2.0),
            (r#"backup_age{exported_job="x", host="nas", job="node"}"#.to_owned(), 3.0),
        ];
        assert_eq!(put(&samples, &mut table, 1), expected);
        let mut twice = Samples::default();
        twice.append(&samples);
        assert_eq!(put(&twice, &mut table, 2), expected, "an appended copy says the same");
    }

    #[test]
    fn recalled_series_are_those_that_were_said() {
        let mut table = SeriesTable::new(Labels::empty(), 3);
        let (mut describer, mut recall) = (Describer::default(), Recall::default());
        let mut samples = Samples::default();
        let mut at = 0;
        let mut check = |devices: &[&str], expected: &[&str]| {
            samples.clear();
            for (value, device) in devices.iter().enumerate() {
                samples.metric(&UP, &[device.as_bytes()], value as f64);
            }
            at += 1;
            let mut round = Round::begin(&mut table, Timestamp::from_millis(at), Vec::new());
            samples.put_recalled(&mut round, &mut describer, &mut recall);
            let points = round.finish().0;
            let live = points.iter().filter(|point| !model::is_stale(point.value));
            let said: Vec<String> = live
                .map(|point| {
                    let labels = &table.entry(point.series).labels;
                    format!("{}={}", labels.get("device").unwrap(), point.value)
                })
                .collect();
            assert_eq!(said, expected, "round {at}");
        };
        for _ in 0..3 {
            check(&["a", "b", "a"], &["a=0", "b=1"]);
        }
        check(&["b", "a"], &["b=0", "a=1"]);
        check(&["ab"], &["ab=0"]);
        // The table is full of series that it still remembers; in time it forgets them.
        for _ in 0..2 {
            check(&["ab", "c"], &["ab=0"]);
        }
        for _ in 0..30 {
            check(&["ab"], &["ab=0"]);
        }
        for _ in 0..3 {
            check(&["c", "d"], &["c=0", "d=1"]);
        }
    }

    proptest! {
        #[test]
        fn a_shape_stands_for_what_was_said(rounds in vec(vec((0..3usize, "[ab]{0,2}"), 0..5), 1..12)) {
            let mut samples = Samples::default();
            let mut table = SeriesTable::new(Labels::empty(), 100);
            let (mut describer, mut recall) = (Describer::default(), Recall::default());
            let mut before = ((0, 0), Vec::new());
            for (at, said) in rounds.into_iter().enumerate() {
                samples.clear();
                let mut expected = Vec::new();
                for (value, (what, text)) in said.iter().enumerate() {
                    match what {
                        0 => samples.metric(&UP, &[text.as_bytes()], value as f64),
                        1 => samples.named(&MEMORY, text.as_bytes(), &[], value as f64),
                        _ => samples.raw([("__name__", "raw"), ("device", text.as_str())], value as f64),
                    }
                    let same = |earlier: &(usize, String)| earlier == &(*what, text.clone());
                    if !said[..value].iter().any(same) {
                        expected.push(value as f64);
                    }
                }
                prop_assert_eq!(samples.shape() == before.0, said == before.1, "{:?} {:?}", said, before);
                before = (samples.shape(), said.clone());
                let mut round = Round::begin(&mut table, Timestamp::from_millis(at as i64), Vec::new());
                samples.put_recalled(&mut round, &mut describer, &mut recall);
                let points = round.finish().0;
                let live = || points.iter().filter(|point| !model::is_stale(point.value));
                prop_assert_eq!(live().map(|point| point.value).collect::<Vec<_>>(), expected);
                for point in live() {
                    let labels = &table.entry(point.series).labels;
                    let (what, text) = &said[point.value as usize];
                    let name = labels.metric_name().unwrap_or_default();
                    let right = match what {
                        0 => name == "node_network_up" && labels.get("device").unwrap_or("") == text,
                        1 => name == format!("node_memory_{text}_bytes"),
                        _ => name == "raw" && labels.get("device").unwrap_or("") == text,
                    };
                    prop_assert!(right, "{labels} for {said:?}");
                }
            }
        }
    }

    #[test]
    fn a_label_value_that_is_not_utf8_is_shown_somehow() {
        let mut table = SeriesTable::new(Labels::empty(), 100);
        let mut samples = Samples::default();
        samples.metric(&UP, &[b"eth\xf00"], 1.0);
        assert_eq!(put(&samples, &mut table, 1)[0].0, "node_network_up{device=\"eth\u{fffd}0\"}");
    }
}
