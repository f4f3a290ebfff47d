//! What the words print: sentences and tables for people, JSON for programs.

use std::fmt::Write as _;

use model::{Date, Matcher, Timestamp};
use tsdb::Replay;

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

/// What reading the journal found damaged, a line each.
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
    if let Some((at, why)) = &replay.first_lost {
        lines.push(format!(
            "{} batches of the journal cannot be read; the first at {at}: {why}",
            replay.records_lost
        ));
    }
    lines
}

/// What was exported.
pub fn exported(done: &Exported) -> String {
    let Exported { series, samples, stale_left_out, nameless_left_out } = done;
    let mut text = format!("exported {samples} samples of {series} series");
    if *stale_left_out > 0 {
        write!(text, "; left out {stale_left_out} stale markers (--format json --exact keeps them)")
            .expect("a String takes everything");
    }
    if *nameless_left_out > 0 {
        write!(text, "; left out {nameless_left_out} series without a name, which OpenMetrics cannot say")
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
