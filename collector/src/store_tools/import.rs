//! Samples from files into a store: durable when it ends, and the same samples twice are one.

use std::io::Read;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::Context as _;
use model::{Labels, METRIC_NAME, MetricMetadata, Timestamp};
use tsdb::{SeriesRef, Store, WriteBatch, WriteError, Written};

use super::lines::{Line, Lines};
use super::reader::{Format, Reader};
use super::sink::{Pairs, Refusal, Sink};
use crate::ingest;

/// Samples of one write.
const BATCH_SAMPLES: usize = 10_000;
/// The store's bounds are looked after once in so many writes.
const MAINTAIN_EVERY: u32 = 16;
/// How often a write is tried that the store does not take now.
const TRIES: u32 = 8;
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// Refused lines that are told one by one; the others are counted.
const TOLD_MAX: u64 = 20;

/// What is done with what is read.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The files' format; what their first line shows by default.
    pub format: Option<Format>,
    /// Every NaN is the stale marker.
    pub nan_is_stale: bool,
    /// Labels that every series gets, instead of its own of that name.
    pub labels: Vec<(String, String)>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Lines read.
    pub lines: u64,
    /// Of these: refused.
    pub refused: u64,
    /// What became of the samples.
    pub written: Written,
}

/// Reads files into a store.
#[derive(Debug)]
pub struct Import<'s> {
    store: &'s Store,
    config: ingest::Config,
    choices: Choices,
    clock: fn() -> Timestamp,
    current: Option<(Labels, SeriesRef)>,
    batch: WriteBatch,
    on_its_way: Option<(WriteBatch, Receiver<Result<Written, WriteError>>)>,
    writes: u32,
    done: Imported,
}

impl<'s> Import<'s> {
    /// Begins. `config` has the bounds on labels and on how far ahead a sample may be.
    pub fn new(store: &'s Store, config: ingest::Config, choices: Choices, clock: fn() -> Timestamp) -> Self {
        Self {
            store,
            config,
            choices,
            clock,
            current: None,
            batch: WriteBatch::default(),
            on_its_way: None,
            writes: 0,
            done: Imported::default(),
        }
    }

    /// Reads one file; `tell` is told of its first refused lines. What was read before an error is in the store, or will be at the end.
    ///
    /// # Errors
    /// A file that cannot be read; a store that does not write.
    pub fn file(&mut self, from: impl Read, name: &str, tell: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
        let cannot_read = || format!("cannot read {name}");
        let mut lines = Lines::new(from).with_context(cannot_read)?;
        let mut line = Vec::new();
        let mut reader: Option<Reader> = None;
        self.current = None;
        loop {
            let result = match lines.next(&mut line).with_context(cannot_read)? {
                Line::End => break,
                Line::TooLong => Err(Refusal::line(format!(
                    "it is longer than {} MiB: export fewer samples a line (VictoriaMetrics: max_rows_per_line=10000)",
                    super::lines::LINE_BYTES_MAX >> 20
                ))),
                Line::Whole => match self.reader(&mut reader, &line) {
                    Some(reader) => reader.line(&line, self),
                    None => Ok(()),
                },
            };
            self.done.lines += 1;
            match result {
                Ok(()) => {}
                Err(Refusal::Line(why)) => self.refuse(&format!("{name}:{}: {why}", lines.number), tell),
                Err(Refusal::Stop(error)) => {
                    return Err(error.context(format!(
                        "stopped at {name}:{}; run the same import again once this is mended: samples that are there already count once",
                        lines.number
                    )));
                }
            }
        }
        self.flush()
    }

    /// The file's reader, as soon as a line shows what it is.
    fn reader<'r>(&self, reader: &'r mut Option<Reader>, line: &[u8]) -> Option<&'r mut Reader> {
        if reader.is_none() {
            let format = self.choices.format.or_else(|| Format::detect(line))?;
            *reader = Some(Reader::new(format, self.choices.nan_is_stale));
        }
        reader.as_mut()
    }

    fn refuse(&mut self, why: &str, tell: &mut dyn FnMut(&str)) {
        self.done.refused += 1;
        if self.done.refused <= TOLD_MAX {
            tell(why);
        }
        if self.done.refused == TOLD_MAX + 1 {
            tell("more lines were refused; they are counted");
        }
    }

    /// Waits until all is on disk, and answers what came of it.
    ///
    /// # Errors
    /// A store that does not write.
    pub fn finish(mut self) -> anyhow::Result<Imported> {
        self.flush()?;
        self.settle()?;
        self.store.flush().context("cannot make the imported samples durable")?;
        Ok(self.done)
    }

    /// Sends the batch on its way; the one before it has arrived by then.
    fn flush(&mut self) -> anyhow::Result<()> {
        self.settle()?;
        if self.batch.samples.is_empty() && self.batch.metadata.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let answer = self.send(&batch);
        self.on_its_way = Some((batch, answer));
        self.writes += 1;
        if self.writes.is_multiple_of(MAINTAIN_EVERY) {
            self.settle()?;
            self.maintain();
        }
        Ok(())
    }

    fn send(&self, batch: &WriteBatch) -> Receiver<Result<Written, WriteError>> {
        let (sender, receiver) = sync_channel(1);
        // Nobody listens any more only where the import has ended with an error.
        self.store.write(batch.clone(), move |result| drop(sender.send(result)));
        receiver
    }

    /// Waits for the batch on its way.
    fn settle(&mut self) -> anyhow::Result<()> {
        let Some((batch, mut answer)) = self.on_its_way.take() else { return Ok(()) };
        for tried in 1.. {
            match answer.recv().unwrap_or(Err(WriteError::Closed)) {
                Ok(written) => {
                    add(&mut self.done.written, written);
                    return Ok(());
                }
                Err(error) if error.is_temporary() && tried < TRIES => {
                    self.maintain();
                    std::thread::sleep(TRY_AGAIN);
                    answer = self.send(&batch);
                }
                Err(error) => return Err(error).context("cannot write to the store"),
            }
        }
        Ok(())
    }

    /// Lets the store make room. What it cannot do now the next write says.
    fn maintain(&mut self) {
        let before = self.store.generation();
        if let Err(error) = self.store.maintain((self.clock)()) {
            tracing::warn!("cannot look after the store: {error}");
        }
        if self.store.generation() != before {
            self.current = self.current.take().and_then(|(labels, _)| {
                let series = self.store.resolve(&labels).ok()?;
                Some((labels, series))
            });
        }
    }

    /// The labels as they are stored: with those of the choices, sorted, within the bounds.
    fn labels(&self, pairs: &mut Pairs<'_>) -> Result<Labels, String> {
        pairs.retain(|(name, _)| self.choices.labels.iter().all(|(own, _)| own != name));
        pairs.extend(
            self.choices.labels.iter().map(|(name, value)| (name.clone().into(), value.clone().into())),
        );
        if pairs.len() > self.config.labels_max.as_usize() {
            return Err(format!(
                "the series has more than the {} labels allowed",
                self.config.labels_max.get()
            ));
        }
        pairs.sort_unstable();
        let (name_max, value_max) =
            (self.config.label_name_bytes_max.as_usize(), self.config.label_value_bytes_max.as_usize());
        for (at, (name, value)) in pairs.iter().enumerate() {
            let why = match () {
                () if name.is_empty() => "a label has an empty name".to_owned(),
                () if name.len() > name_max => {
                    format!("the name of a label has {} bytes, more than the {name_max} allowed", name.len())
                }
                () if value.len() > value_max => {
                    format!(
                        "the value of label {name:?} has {} bytes, more than the {value_max} allowed",
                        value.len()
                    )
                }
                () if at > 0 && pairs[at - 1].0 == *name => format!("label name {name:?} is not unique"),
                () => continue,
            };
            return Err(why);
        }
        let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)));
        match labels.metric_name() {
            None => Err("the series has no metric name (label \"__name__\")".to_owned()),
            Some(_) if labels.as_bytes().len() > Labels::BYTES_MAX => {
                Err(format!("the series' labels have more than {} bytes together", Labels::BYTES_MAX))
            }
            Some(_) => Ok(labels),
        }
    }
}

impl Sink for Import<'_> {
    fn series(&mut self, pairs: &mut Pairs<'_>) -> Result<(), Refusal> {
        self.current = None;
        let labels = self.labels(pairs).map_err(Refusal::Line)?;
        let series = self.store.resolve(&labels);
        let series = series.or_else(|_| {
            // There may be room once what waits is written and the memory's bounds were looked after.
            self.flush().and_then(|()| self.settle()).map_err(Refusal::Stop)?;
            self.maintain();
            self.store.resolve(&labels).map_err(|error| Refusal::line(error.to_string()))
        })?;
        self.current = Some((labels, series));
        Ok(())
    }

    fn sample(&mut self, at: Timestamp, value: f64) -> Result<(), Refusal> {
        let Some((_, series)) = &self.current else {
            return Err(Refusal::line("its series was refused"));
        };
        if at > (self.clock)() + self.config.accepted_ahead.get() {
            return Err(Refusal::line(format!(
                "its time ({at}) is too far in the future: times are Unix times, in seconds in OpenMetrics, in milliseconds elsewhere"
            )));
        }
        self.batch.samples.push((*series, at, value));
        if self.batch.samples.len() >= BATCH_SAMPLES {
            self.flush().map_err(Refusal::Stop)?;
        }
        Ok(())
    }

    fn describe(&mut self, metric: &str, metadata: &MetricMetadata) {
        let own = self.choices.labels.iter().find(|(name, _)| name == METRIC_NAME);
        let metric = own.map_or(metric, |(_, value)| value);
        self.batch.metadata.push((metric.to_owned(), metadata.clone()));
    }
}

fn add(sum: &mut Written, more: Written) {
    sum.stored += more.stored;
    sum.out_of_order += more.out_of_order;
    sum.duplicates += more.duplicates;
    sum.conflicts += more.conflicts;
    sum.too_old += more.too_old;
}

#[cfg(test)]
mod tests;
