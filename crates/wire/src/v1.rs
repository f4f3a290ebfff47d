//! Remote write 1.0: `prometheus.WriteRequest`, as a streaming reader that borrows from the payload, and a writer.
//!
//! The reader walks the payload once; a series' labels are handed out as the bytes they came in ([`TimeSeries::label_bytes`]), so
//! that a receiver can recognise a series that it has seen without parsing or hashing texts one by one.

use model::{Labels, MetricKind, MetricMetadata, Timestamp};

use crate::WireError;
pub use crate::histogram::{Histogram, HistogramsIter};
use crate::protobuf::{self, Reader, WireType, push_bytes, push_sample, push_text, push_varint, tag};

/// Walks the entries of a request, in the sender's order. After an error the walk is over.
pub struct WriteRequest<'a> {
    reader: Reader<'a>,
}

/// One entry of a request.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A series with its samples.
    Series(TimeSeries<'a>),
    /// What the sender knows of a metric family.
    Metadata(FamilyMetadata<'a>),
}

/// A series as it was sent: structure checked, texts and samples not yet read.
#[derive(Clone, Copy, Debug)]
pub struct TimeSeries<'a> {
    message: Reader<'a>,
    labels: (usize, usize),
    labels_contiguous: bool,
    samples_at: usize,
    exemplars_at: usize,
    histograms_at: usize,
    /// Number of labels.
    pub label_count: usize,
    /// Number of samples.
    pub sample_count: usize,
    /// Number of exemplars.
    pub exemplar_count: usize,
    /// Number of native histograms.
    pub histogram_count: usize,
}

/// Metadata of one metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyMetadata<'a> {
    /// The metric family's name.
    pub family: &'a str,
    /// Its type; numbers that the protocol does not name are unknown.
    pub kind: MetricKind,
    /// Its help text.
    pub help: &'a str,
    /// Its unit.
    pub unit: &'a str,
}

impl<'a> WriteRequest<'a> {
    /// Starts at the beginning of an uncompressed request.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { reader: Reader::new(payload) }
    }

    fn entry(&mut self) -> Result<Option<Entry<'a>>, WireError> {
        while let Some((number, wire_type)) = self.reader.field()? {
            match number {
                1 => {
                    self.reader.expect(WireType::Bytes, wire_type)?;
                    return TimeSeries::parse(self.reader.message()?)
                        .map(|series| Some(Entry::Series(series)));
                }
                3 => {
                    self.reader.expect(WireType::Bytes, wire_type)?;
                    return FamilyMetadata::parse(self.reader.message()?)
                        .map(|entry| Some(Entry::Metadata(entry)));
                }
                _ => self.reader.skip(wire_type)?,
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for WriteRequest<'a> {
    type Item = Result<Entry<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entry().transpose();
        if matches!(entry, Some(Err(_))) {
            self.reader = Reader::new(&[]);
        }
        entry
    }
}

impl<'a> TimeSeries<'a> {
    #[inline]
    fn parse(message: Reader<'a>) -> Result<Self, WireError> {
        let start = message.offset();
        let mut series = Self {
            message,
            labels: (start, start),
            labels_contiguous: true,
            samples_at: start,
            exemplars_at: start,
            histograms_at: start,
            label_count: 0,
            sample_count: 0,
            exemplar_count: 0,
            histogram_count: 0,
        };
        let mut reader = message;
        loop {
            let at = reader.offset();
            let number = match reader.skip_short(1..=4) {
                Some(number) => number,
                None => match reader.field()? {
                    Some((number, wire_type)) => {
                        if let 1..=4 = number {
                            reader.expect(WireType::Bytes, wire_type)?;
                        }
                        reader.skip(wire_type)?;
                        number
                    }
                    None => return Ok(series),
                },
            };
            series.note(number, at, reader.offset());
        }
    }

    #[inline]
    fn note(&mut self, number: u32, start: usize, end: usize) {
        match number {
            1 => {
                if self.label_count == 0 {
                    self.labels = (start, end);
                } else {
                    self.labels_contiguous &= self.labels.1 == start;
                    self.labels.1 = end;
                }
                self.label_count += 1;
            }
            2 => {
                if self.sample_count == 0 {
                    self.samples_at = start;
                }
                self.sample_count += 1;
            }
            3 => {
                if self.exemplar_count == 0 {
                    self.exemplars_at = start;
                }
                self.exemplar_count += 1;
            }
            4 => {
                if self.histogram_count == 0 {
                    self.histograms_at = start;
                }
                self.histogram_count += 1;
            }
            _ => {}
        }
    }

    /// Where the series begins in the payload.
    pub fn offset(&self) -> usize {
        self.message.offset()
    }

    /// All labels as they were encoded, where they stand in one run (which every known sender writes). Equal bytes mean equal
    /// labels; equal labels may have different bytes.
    pub fn label_bytes(&self) -> Option<&'a [u8]> {
        self.labels_contiguous.then(|| self.message.between(self.labels.0, self.labels.1))
    }

    /// Labels in the sender's order: name and value, checked to be UTF-8 and nothing else (not sorted, not unique, perhaps
    /// empty).
    pub fn labels(&self) -> LabelsIter<'a> {
        LabelsIter { reader: self.message.rewound(self.labels.0), left: self.label_count }
    }

    /// Samples in the sender's order, which may be any.
    pub fn samples(&self) -> SamplesIter<'a> {
        SamplesIter { reader: self.message.rewound(self.samples_at), left: self.sample_count }
    }

    /// Native histograms in the sender's order, which may be any.
    pub fn histograms(&self) -> HistogramsIter<'a> {
        HistogramsIter::new(self.message.rewound(self.histograms_at), 4, self.histogram_count)
    }

    /// Exemplars in the sender's order, which may be any.
    pub fn exemplars(&self) -> ExemplarsIter<'a> {
        ExemplarsIter { reader: self.message.rewound(self.exemplars_at), left: self.exemplar_count }
    }
}

/// An exemplar as it was sent.
#[derive(Clone, Debug)]
pub struct Exemplar<'a> {
    message: Reader<'a>,
    /// Its value.
    pub value: f64,
    /// Its time.
    pub timestamp: Timestamp,
}

impl<'a> Exemplar<'a> {
    fn parse(message: Reader<'a>) -> Result<Self, WireError> {
        let (value, timestamp) = read_point(message)?;
        Ok(Self { message, value, timestamp })
    }

    /// Bytes of the whole message: a bound for what its labels can be.
    pub fn bytes(&self) -> usize {
        self.message.rest().len()
    }

    /// Labels in the sender's order (not sorted, not unique, perhaps empty).
    pub fn labels(&self) -> ExemplarLabels<'a> {
        ExemplarLabels { reader: self.message, over: false }
    }
}

/// An exemplar's value and time: fields 2 and 3 in both protocol versions.
pub(crate) fn read_point(mut message: Reader<'_>) -> Result<(f64, Timestamp), WireError> {
    let (mut value, mut timestamp) = (0.0, 0);
    while let Some((number, wire_type)) = message.field()? {
        match number {
            2 => {
                message.expect(WireType::Fixed64, wire_type)?;
                value = f64::from_bits(message.fixed64()?);
            }
            3 => {
                message.expect(WireType::Varint, wire_type)?;
                timestamp = message.varint()? as i64;
            }
            _ => message.skip(wire_type)?,
        }
    }
    Ok((value, Timestamp::from_millis(timestamp)))
}

/// Iterates a series' exemplars. After an error it is over.
#[derive(Clone)]
pub struct ExemplarsIter<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for ExemplarsIter<'a> {
    type Item = Result<Exemplar<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let message = next_message(&mut self.reader, 3).transpose()?;
        let exemplar = message.and_then(Exemplar::parse);
        if exemplar.is_err() {
            self.left = 0;
        }
        Some(exemplar)
    }
}

/// Iterates an exemplar's labels. After an error it is over.
#[derive(Clone)]
pub struct ExemplarLabels<'a> {
    reader: Reader<'a>,
    over: bool,
}

impl<'a> Iterator for ExemplarLabels<'a> {
    type Item = Result<(&'a str, &'a str), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let label = next_message(&mut self.reader, 1).transpose().map(|message| message.and_then(read_label));
        self.over = !matches!(label, Some(Ok(_)));
        label
    }
}

/// Iterates a series' labels. After an error it is over.
#[derive(Clone)]
pub struct LabelsIter<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> LabelsIter<'a> {
    fn label(&mut self) -> Result<Option<(&'a str, &'a str)>, WireError> {
        Ok(match next_message(&mut self.reader, 1)? {
            Some(message) => Some(read_label(message)?),
            None => None,
        })
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = Result<(&'a str, &'a str), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let label = self.label().transpose();
        if matches!(label, Some(Err(_))) {
            self.left = 0;
        }
        label
    }
}

/// Iterates a series' samples. After an error it is over.
#[derive(Clone)]
pub struct SamplesIter<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) left: usize,
}

impl SamplesIter<'_> {
    #[inline]
    fn sample(&mut self) -> Result<Option<(Timestamp, f64)>, WireError> {
        let Some(message) = next_message(&mut self.reader, 2)? else { return Ok(None) };
        let (timestamp, value) = protobuf::read_sample(message)?;
        Ok(Some((Timestamp::from_millis(timestamp), value)))
    }
}

impl Iterator for SamplesIter<'_> {
    type Item = Result<(Timestamp, f64), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let sample = self.sample().transpose();
        if matches!(sample, Some(Err(_))) {
            self.left = 0;
        }
        sample
    }
}

/// The next field of that number, which is known to be a message.
#[inline]
pub(crate) fn next_message<'a>(
    reader: &mut Reader<'a>,
    wanted: u32,
) -> Result<Option<Reader<'a>>, WireError> {
    while let Some((number, wire_type)) = reader.field()? {
        if number == wanted {
            return reader.message().map(Some);
        }
        reader.skip(wire_type)?;
    }
    Ok(None)
}

fn read_label<'a>(mut message: Reader<'a>) -> Result<(&'a str, &'a str), WireError> {
    let (mut name, mut value) = ("", "");
    while let Some((number, wire_type)) = message.field()? {
        match number {
            1 | 2 => {
                message.expect(WireType::Bytes, wire_type)?;
                *(if number == 1 { &mut name } else { &mut value }) = message.text()?;
            }
            _ => message.skip(wire_type)?,
        }
    }
    Ok((name, value))
}

impl<'a> FamilyMetadata<'a> {
    fn parse(mut message: Reader<'a>) -> Result<Self, WireError> {
        let mut entry = Self { family: "", kind: MetricKind::Unknown, help: "", unit: "" };
        while let Some((number, wire_type)) = message.field()? {
            let text = match number {
                1 => {
                    message.expect(WireType::Varint, wire_type)?;
                    entry.kind = kind_from_number(message.varint()?);
                    continue;
                }
                2 => &mut entry.family,
                4 => &mut entry.help,
                5 => &mut entry.unit,
                _ => {
                    message.skip(wire_type)?;
                    continue;
                }
            };
            message.expect(WireType::Bytes, wire_type)?;
            *text = message.text()?;
        }
        Ok(entry)
    }
}

/// `MetricType` of both protocol versions.
pub(crate) fn kind_from_number(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

pub(crate) const fn kind_to_number(kind: MetricKind) -> u8 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

/// Writes a request, entry by entry, uncompressed.
#[derive(Debug, Default)]
pub struct Writer {
    payload: Vec<u8>,
    message: Vec<u8>,
    label: Vec<u8>,
}

impl Writer {
    /// Adds a series with its samples.
    pub fn series(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (Timestamp, f64)>) {
        self.series_of(labels.iter(), samples);
    }

    /// Adds a series whose labels are given in any form, even a wrong one: what a test needs.
    pub fn series_of<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        samples: impl IntoIterator<Item = (Timestamp, f64)>,
    ) {
        self.series_with(labels, samples, [], std::iter::empty::<(&[(&str, &str)], Timestamp, f64)>());
    }

    /// Adds a series with native histograms (encoded messages) and exemplars (labels, time, value) beside its samples.
    pub fn series_with<'a, 'h, 'e>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        samples: impl IntoIterator<Item = (Timestamp, f64)>,
        histograms: impl IntoIterator<Item = &'h [u8]>,
        exemplars: impl IntoIterator<Item = (&'e [(&'e str, &'e str)], Timestamp, f64)>,
    ) {
        self.message.clear();
        for (name, value) in labels {
            self.label.clear();
            push_text(&mut self.label, 1, name);
            push_text(&mut self.label, 2, value);
            push_bytes(&mut self.message, 1, &self.label);
        }
        for (timestamp, value) in samples {
            push_sample(&mut self.message, timestamp.as_millis(), value);
        }
        for (labels, timestamp, value) in exemplars {
            let mut exemplar = Vec::new();
            for (name, value) in labels {
                self.label.clear();
                push_text(&mut self.label, 1, name);
                push_text(&mut self.label, 2, value);
                push_bytes(&mut exemplar, 1, &self.label);
            }
            push_point(&mut exemplar, timestamp, value);
            push_bytes(&mut self.message, 3, &exemplar);
        }
        for histogram in histograms {
            push_bytes(&mut self.message, 4, histogram);
        }
        push_bytes(&mut self.payload, 1, &self.message);
    }

    /// Adds a metric family's metadata.
    pub fn metadata(&mut self, family: &str, metadata: &MetricMetadata) {
        self.message.clear();
        let kind = kind_to_number(metadata.kind);
        if kind != 0 {
            self.message.push(tag(1, WireType::Varint));
            push_varint(&mut self.message, u64::from(kind));
        }
        push_text(&mut self.message, 2, family);
        push_text(&mut self.message, 4, &metadata.help);
        push_text(&mut self.message, 5, &metadata.unit);
        push_bytes(&mut self.payload, 3, &self.message);
    }

    /// The request so far; the writer starts again.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }
}

fn push_point(out: &mut Vec<u8>, timestamp: Timestamp, value: f64) {
    out.push(tag(2, WireType::Fixed64));
    out.extend_from_slice(&value.to_bits().to_le_bytes());
    out.push(tag(3, WireType::Varint));
    push_varint(out, timestamp.as_millis() as u64);
}
