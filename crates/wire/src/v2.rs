//! Remote write 2.0: `io.prometheus.write.v2.Request`, read borrowing from the payload; written by [`Encoder`].
//!
//! A request is a table of texts (symbols) and series that refer to it. [`Request::parse`] walks the top level once, checks the
//! structure and the table; series are then parsed one by one. [`Request::symbol_bytes`] and [`TimeSeries::ref_bytes`] let a
//! receiver recognise the table and the series of the same sender's last request without reading a single text.

mod encoder;
mod passing;
mod shift;

pub use encoder::{Encoder, Token};
pub use passing::Part;
pub use shift::shift_timestamps;

use model::{MetricKind, Timestamp};

pub use crate::histogram::{Histogram, HistogramsIter};
use crate::protobuf::{Reader, WireType};
pub use crate::v1::SamplesIter;
use crate::v1::{kind_from_number, next_message, read_point};
use crate::{Fault, WireError};

/// The most symbols that a request may hold.
pub const SYMBOLS_MAX: usize = 1 << 20;

const SYMBOLS: u32 = 4;
const TIMESERIES: u32 = 5;

/// A request whose top level and symbol table are checked.
#[derive(Debug)]
pub struct Request<'a> {
    reader: Reader<'a>,
    symbols: Vec<&'a str>,
    table: Run,
    series: Run,
}

/// Fields of one number: where the first begins, where the last ends, and whether they stand in one run.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: usize,
    end: usize,
    count: usize,
    contiguous: bool,
}

impl Run {
    fn at(start: usize) -> Self {
        Self { start, end: start, count: 0, contiguous: true }
    }

    #[inline]
    fn note(&mut self, start: usize, end: usize) {
        if self.count == 0 {
            self.start = start;
        } else {
            self.contiguous &= self.end == start;
        }
        self.end = end;
        self.count += 1;
    }
}

impl<'a> Request<'a> {
    /// Checks the top level of an uncompressed request and reads its symbols.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let reader = Reader::new(payload);
        let mut request = Self { reader, symbols: Vec::new(), table: Run::at(0), series: Run::at(0) };
        let mut reader = reader;
        loop {
            let start = reader.offset();
            let Some((number, wire_type)) = reader.field()? else { return Ok(request) };
            match number {
                SYMBOLS => {
                    reader.expect(WireType::Bytes, wire_type)?;
                    request.symbol(reader.text()?, start)?;
                    request.table.note(start, reader.offset());
                }
                TIMESERIES => {
                    reader.expect(WireType::Bytes, wire_type)?;
                    reader.skip(wire_type)?;
                    request.series.note(start, reader.offset());
                }
                _ => reader.skip(wire_type)?,
            }
        }
    }

    fn symbol(&mut self, text: &'a str, offset: usize) -> Result<(), WireError> {
        if self.symbols.is_empty() && !text.is_empty() {
            return Reader::fail(offset, Fault::FirstSymbol);
        }
        if self.symbols.len() == SYMBOLS_MAX {
            return Err(WireError::TooMany { what: "symbols", limit: SYMBOLS_MAX });
        }
        self.symbols.push(text);
        Ok(())
    }

    /// The texts that series refer to.
    pub fn symbols(&self) -> &[&'a str] {
        &self.symbols
    }

    /// The whole symbol table as it was encoded, where it stands in one run (which every known sender writes). Where the bytes
    /// of two requests are equal, equal references mean equal texts.
    pub fn symbol_bytes(&self) -> Option<&'a [u8]> {
        self.table.contiguous.then(|| self.reader.between(self.table.start, self.table.end))
    }

    /// Number of series.
    pub fn series_count(&self) -> usize {
        self.series.count
    }

    /// The series, in the sender's order.
    pub fn series(&self) -> SeriesIter<'a> {
        SeriesIter { reader: self.reader.rewound(self.series.start), left: self.series.count }
    }
}

/// Iterates a request's series. A series that is wrong in itself is an error of its own; the walk goes on behind it.
#[derive(Clone, Debug)]
pub struct SeriesIter<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for SeriesIter<'a> {
    type Item = Result<TimeSeries<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match next_series(&mut self.reader) {
            Ok(message) => Some(TimeSeries::parse(message)),
            Err(error) => {
                self.left = 0;
                Some(Err(error))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[inline]
fn next_series<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, WireError> {
    while let Some((number, wire_type)) = reader.field()? {
        if number == TIMESERIES {
            return reader.message();
        }
        reader.skip(wire_type)?;
    }
    Reader::fail(reader.offset(), Fault::Truncated)
}

/// A series as it was sent: structure checked, references not yet followed, samples not yet read.
#[derive(Clone, Copy, Debug)]
pub struct TimeSeries<'a> {
    message: Reader<'a>,
    refs: Refs<'a>,
    samples_at: usize,
    exemplars_at: usize,
    histograms_at: usize,
    metadata: Option<Reader<'a>>,
    /// Number of samples.
    pub sample_count: usize,
    /// Number of exemplars.
    pub exemplar_count: usize,
    /// Number of native histograms.
    pub histogram_count: usize,
}

/// Label references: packed, as proto3 writes them, or one field each, which it must read as well.
#[derive(Clone, Copy, Debug)]
enum Refs<'a> {
    None,
    Packed(Reader<'a>),
    Scattered,
}

/// A metric's metadata as it stands in a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesMetadata<'a> {
    /// The metric's type; numbers that the protocol does not name are unknown.
    pub kind: MetricKind,
    /// Its help text.
    pub help: &'a str,
    /// Its unit.
    pub unit: &'a str,
}

impl<'a> TimeSeries<'a> {
    #[inline]
    fn parse(message: Reader<'a>) -> Result<Self, WireError> {
        let mut series = Self {
            message,
            refs: Refs::None,
            samples_at: message.offset(),
            exemplars_at: message.offset(),
            histograms_at: message.offset(),
            metadata: None,
            sample_count: 0,
            exemplar_count: 0,
            histogram_count: 0,
        };
        let mut reader = message;
        loop {
            let start = reader.offset();
            let Some((number, wire_type)) = reader.field()? else { return Ok(series) };
            match number {
                1 => series.note_refs(&mut reader, wire_type)?,
                2..=5 => {
                    reader.expect(WireType::Bytes, wire_type)?;
                    let inner = reader.message()?;
                    series.note(number, start, inner);
                }
                _ => reader.skip(wire_type)?,
            }
        }
    }

    #[inline]
    fn note_refs(&mut self, reader: &mut Reader<'a>, wire_type: WireType) -> Result<(), WireError> {
        if wire_type == WireType::Varint {
            reader.varint()?;
            self.refs = Refs::Scattered;
            return Ok(());
        }
        reader.expect(WireType::Bytes, wire_type)?;
        let run = reader.message()?;
        self.refs = if matches!(self.refs, Refs::None) { Refs::Packed(run) } else { Refs::Scattered };
        Ok(())
    }

    #[inline]
    fn note(&mut self, number: u32, start: usize, inner: Reader<'a>) {
        match number {
            2 => {
                if self.sample_count == 0 {
                    self.samples_at = start;
                }
                self.sample_count += 1;
            }
            3 => {
                if self.histogram_count == 0 {
                    self.histograms_at = start;
                }
                self.histogram_count += 1;
            }
            4 => {
                if self.exemplar_count == 0 {
                    self.exemplars_at = start;
                }
                self.exemplar_count += 1;
            }
            _ => self.metadata = Some(inner),
        }
    }

    /// Where the series begins in the payload.
    pub fn offset(&self) -> usize {
        self.message.offset()
    }

    /// The label references as they were encoded, where they stand packed in one field (which every known sender writes):
    /// together with equal [`Request::symbol_bytes`], equal bytes mean equal labels.
    pub fn ref_bytes(&self) -> Option<&'a [u8]> {
        match self.refs {
            Refs::None => Some(&[]),
            Refs::Packed(run) => Some(run.rest()),
            Refs::Scattered => None,
        }
    }

    /// Labels in the sender's order: name and value (not sorted, not unique, perhaps empty).
    pub fn labels<'r>(&self, request: &'r Request<'a>) -> LabelsIter<'r, 'a> {
        let refs = match self.refs {
            Refs::None => RefsIter { fields: None, packed: None },
            Refs::Packed(run) => RefsIter { fields: None, packed: Some(run) },
            Refs::Scattered => RefsIter { fields: Some(self.message), packed: None },
        };
        LabelsIter { refs, symbols: &request.symbols, over: false }
    }

    /// Native histograms in the sender's order, which may be any.
    pub fn histograms(&self) -> HistogramsIter<'a> {
        HistogramsIter::new(self.message.rewound(self.histograms_at), 3, self.histogram_count)
    }

    /// Exemplars in the sender's order, which may be any.
    pub fn exemplars(&self) -> ExemplarsIter<'a> {
        ExemplarsIter { reader: self.message.rewound(self.exemplars_at), left: self.exemplar_count }
    }

    /// Samples in the sender's order, which may be any.
    pub fn samples(&self) -> SamplesIter<'a> {
        SamplesIter { reader: self.message.rewound(self.samples_at), left: self.sample_count }
    }

    /// The metric's metadata, where the series carries it.
    pub fn metadata(&self, request: &Request<'a>) -> Result<Option<SeriesMetadata<'a>>, WireError> {
        let Some(mut message) = self.metadata else { return Ok(None) };
        let mut metadata = SeriesMetadata::default();
        while let Some((number, wire_type)) = message.field()? {
            if !matches!(number, 1 | 3 | 4) {
                message.skip(wire_type)?;
                continue;
            }
            message.expect(WireType::Varint, wire_type)?;
            let offset = message.offset();
            let value = message.varint()?;
            match number {
                1 => metadata.kind = kind_from_number(value),
                3 => metadata.help = symbol(&request.symbols, value, offset)?,
                _ => metadata.unit = symbol(&request.symbols, value, offset)?,
            }
        }
        Ok(Some(metadata))
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
    /// Labels in the sender's order (not sorted, not unique, perhaps empty).
    pub fn labels<'r>(&self, request: &'r Request<'a>) -> LabelsIter<'r, 'a> {
        let refs = RefsIter { fields: Some(self.message), packed: None };
        LabelsIter { refs, symbols: &request.symbols, over: false }
    }
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
        let message = next_message(&mut self.reader, 4).transpose()?;
        let exemplar = message.and_then(|message| {
            let (value, timestamp) = read_point(message)?;
            Ok(Exemplar { message, value, timestamp })
        });
        if exemplar.is_err() {
            self.left = 0;
        }
        Some(exemplar)
    }
}

#[inline]
fn symbol<'a>(symbols: &[&'a str], reference: u64, offset: usize) -> Result<&'a str, WireError> {
    let text = usize::try_from(reference).ok().and_then(|index| symbols.get(index));
    match text {
        Some(text) => Ok(text),
        None if reference > u64::from(u32::MAX) => Reader::fail(offset, Fault::LongRef),
        None => Reader::fail(offset, Fault::Symbol),
    }
}

/// Iterates a series' labels. After an error it is over.
#[derive(Clone)]
pub struct LabelsIter<'r, 'a> {
    refs: RefsIter<'a>,
    symbols: &'r [&'a str],
    over: bool,
}

/// Reference by reference, with the offset where it stands.
#[derive(Clone)]
struct RefsIter<'a> {
    fields: Option<Reader<'a>>,
    packed: Option<Reader<'a>>,
}

impl RefsIter<'_> {
    #[inline]
    fn reference(&mut self) -> Result<Option<(u64, usize)>, WireError> {
        loop {
            if let Some(run) = &mut self.packed
                && !run.is_empty()
            {
                let offset = run.offset();
                return Ok(Some((run.varint()?, offset)));
            }
            let Some(fields) = &mut self.fields else { return Ok(None) };
            match fields.field()? {
                None => return Ok(None),
                Some((1, WireType::Varint)) => {
                    let offset = fields.offset();
                    return Ok(Some((fields.varint()?, offset)));
                }
                Some((1, _)) => self.packed = Some(fields.message()?),
                Some((_, wire_type)) => fields.skip(wire_type)?,
            }
        }
    }
}

impl<'a> LabelsIter<'_, 'a> {
    #[inline]
    fn label(&mut self) -> Result<Option<(&'a str, &'a str)>, WireError> {
        let Some((name, offset)) = self.refs.reference()? else { return Ok(None) };
        let name = symbol(self.symbols, name, offset)?;
        match self.refs.reference()? {
            Some((value, offset)) => Ok(Some((name, symbol(self.symbols, value, offset)?))),
            None => Reader::fail(offset, Fault::OddRefs),
        }
    }
}

impl<'a> Iterator for LabelsIter<'_, 'a> {
    type Item = Result<(&'a str, &'a str), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let label = self.label().transpose();
        self.over = !matches!(label, Some(Ok(_)));
        label
    }
}
