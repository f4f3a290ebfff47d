//! What the words print: sentences and tables for people, JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use model::{Date, Matcher, Timestamp};
use serde_json::json;
use tsdb::{Compacted, Copied, Info, Replay, Verified};

use super::export::Exported;
use super::import::Imported;

/// A name for what is made now, such as 20261122T031500Z: names sort as times do.
pub fn name_of(now: Timestamp) -> String {
    time(now).replace(['-', ':'], "")
}

/// UTC, to the second.
pub fn time(at: Timestamp) -> String {
    let seconds = at.as_millis().div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let Date { year, month, day } = Date::from_days(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Bytes with three digits and a unit.
pub fn bytes(count: u64) -> String {
    let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| count >= *unit) {
        Some((name, unit)) => format!("{:.2} {name}", count as f64 / *unit as f64),
        None => format!("{count} B"),
    }
}

/// A selector as it is written.
pub fn matchers(matchers: &[Matcher]) -> String {
    let parts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", parts.join(","))
}

/// What reading a store found damaged, a line each.
pub fn damage_of(replay: &Replay) -> Vec<String> {
    let mut lines: Vec<String> = replay
        .journal
        .damage
        .iter()
        .map(|damage| {
            let (file, offset, bytes) = (damage.file.display(), damage.at.offset, damage.bytes);
            format!("{file} is damaged at byte {offset}: {} ({bytes} bytes are left out)", damage.kind)
        })
        .collect();
    lines.extend(replay.blocks_lost.iter().cloned());
    if let Some((at, why)) = &replay.first_lost {
        lines.push(format!(
            "{} batches of the journal cannot be read; the first at {at}: {why}",
            replay.records_lost
        ));
    }
    lines
}

/// What a copy holds.
pub fn copied(to: &Path, copied: &Copied) -> String {
    let Copied { blocks, blocks_new, blocks_linked, bytes_written, segments, removed, lost: _ } = copied;
    let linked =
        if *blocks_linked > 0 { format!(" ({blocks_linked} of them linked)") } else { String::new() };
    format!(
        "{} holds {blocks} blocks and {segments} journal segments: {blocks_new} blocks are new{linked}, {} were written, {removed} old files \
         removed",
        to.display(),
        bytes(*bytes_written)
    )
}

/// What a check found.
pub fn verified(folder: &Path, verified: &Verified) -> String {
    let Verified { blocks, segments, bytes: read, damages, torn_bytes, .. } = verified;
    let torn = match torn_bytes {
        0 => String::new(),
        torn => format!(
            "; the last {torn} bytes of the journal are not whole, as after a power cut or while it is written: they were never acknowledged"
        ),
    };
    let checked = format!("{blocks} blocks and {segments} journal segments, {}", bytes(*read));
    match damages {
        0 => format!("{} is whole: {checked}{torn}", folder.display()),
        damages => format!("{} has {damages} damages: {checked}{torn}", folder.display()),
    }
}

/// What was exported.
pub fn exported(done: &Exported) -> String {
    let Exported { series, samples, stale_left_out, nameless_left_out, histograms_left_out } = done;
    let mut text = format!("exported {samples} samples of {series} series");
    if *stale_left_out > 0 {
        write!(text, "; left out {stale_left_out} stale markers (--format json --exact keeps them)")
            .expect("a String takes everything");
    }
    if *nameless_left_out > 0 {
        write!(text, "; left out {nameless_left_out} series without a name, which OpenMetrics cannot say")
            .expect("a String takes everything");
    }
    if *histograms_left_out > 0 {
        write!(text, "; left out {histograms_left_out} native histograms, which neither format has")
            .expect("a String takes everything");
    }
    text
}

/// What was imported; before `floor` the store keeps nothing.
pub fn imported(done: &Imported, floor: Timestamp) -> String {
    let written = &done.written;
    let mut text = format!(
        "read {} lines: {} samples stored, {} were there already",
        done.lines, written.stored, written.duplicates
    );
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            write!(text, ", {count} {what}").expect("a String takes everything");
        }
    };
    add(written.conflicts as u64, "met another value at their time (the documented rule chose)");
    add(done.refused, "lines were refused");
    let old =
        format!("were older than the store keeps ({}): raise retention.time and import again", time(floor));
    add(written.too_old as u64, &old);
    text
}

/// What a compaction did.
pub fn compacted(done: &Compacted) -> String {
    let Compacted { blocks_in, blocks_out, bytes: written, dropped, .. } = done;
    match blocks_in {
        0 => "nothing to merge".to_owned(),
        _ => format!("{blocks_in} blocks became {blocks_out}, {}; {dropped} samples went", bytes(*written)),
    }
}

/// What is in a store.
pub fn info(info: &Info, as_json: bool) -> String {
    if as_json {
        let mut text = serde_json::to_string_pretty(&info_json(info)).expect("plain values become JSON");
        text.push('\n');
        return text;
    }
    let mut rows = vec![
        ["BLOCK", "LEVEL", "FROM", "TO", "SERIES", "SAMPLES", "HISTOGRAMS", "SIZE", "B/SAMPLE"]
            .map(str::to_owned),
    ];
    for block in &info.blocks {
        rows.push([
            format!("{:016x}", block.number),
            block.level.to_string(),
            time(block.min_time),
            time(block.max_time),
            block.series.to_string(),
            block.samples.to_string(),
            block.histograms.to_string(),
            bytes(block.bytes),
            per_sample(block.bytes, block.samples),
        ]);
    }
    let mut text = table(&rows);
    for (path, why) in &info.unreadable {
        writeln!(text, "{}: {why}", path.display()).expect("a String takes everything");
    }
    let (samples, size) = totals(info);
    writeln!(
        text,
        "{} blocks: {samples} samples in {}, {} bytes a sample\njournal: {} segments, {}\ndeletions that blocks still hold: {}",
        info.blocks.len(),
        bytes(size),
        per_sample(size, samples),
        info.segments,
        bytes(info.journal_bytes),
        info.tombstones
    )
    .expect("a String takes everything");
    text
}

fn totals(info: &Info) -> (u64, u64) {
    (info.blocks.iter().map(|block| block.samples).sum(), info.blocks.iter().map(|block| block.bytes).sum())
}

fn per_sample(bytes: u64, samples: u64) -> String {
    if samples == 0 { "-".to_owned() } else { format!("{:.3}", bytes as f64 / samples as f64) }
}

fn info_json(info: &Info) -> serde_json::Value {
    let block = |block: &tsdb::BlockInfo| {
        json!({
            "number": format!("{:016x}", block.number),
            "level": block.level,
            "min_time_ms": block.min_time.as_millis(),
            "max_time_ms": block.max_time.as_millis(),
            "series": block.series,
            "samples": block.samples,
            "histograms": block.histograms,
            "bytes": block.bytes,
        })
    };
    let unreadable = info.unreadable.iter().map(|(path, why)| json!({"file": path, "why": why}));
    json!({
        "blocks": info.blocks.iter().map(block).collect::<Vec<_>>(),
        "unreadable": unreadable.collect::<Vec<_>>(),
        "segments": info.segments,
        "journal_bytes": info.journal_bytes,
        "tombstones": info.tombstones,
    })
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_times_do_and_sizes_have_units() {
        assert_eq!(name_of(Timestamp::from_millis(1_795_312_800_999)), "20261122T020000Z");
        let check = |count, expected: &str| assert_eq!(bytes(count), expected);
        check(1023, "1023 B");
        check(1536, "1.50 KiB");
        check(5 << 30, "5.00 GiB");
    }
}
