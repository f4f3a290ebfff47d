//! Native histograms from anybody: any bytes are read or refused, what is read can be written and read again, added, compared and cut, and
//! stays within its bounds. Any text likewise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Histogram, Timestamp};

fuzz_target!(|data: &[u8]| {
    let _ = Histogram::start_of(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(histogram) = text.parse::<Histogram>()
    {
        check(&histogram);
    }
    // Two messages: the first byte says where the second begins.
    let split = data.first().map_or(0, |at| usize::from(*at)).min(data.len());
    let (first, second) = (
        Histogram::decode(&data[data.len().min(1)..split.max(data.len().min(1))]),
        Histogram::decode(&data[split..]),
    );
    for histogram in [&first, &second].into_iter().flatten() {
        check(histogram);
    }
    if let (Ok(first), Ok(second)) = (first, second) {
        let sum = first.add(&second);
        assert_eq!(sum.is_some(), first.is_custom() == second.is_custom());
        if let Some(sum) = sum {
            check(&sum.histogram);
        }
        let _ = (first.sub(&second), first.is_reset_since(&second));
    }
});

fn check(histogram: &Histogram) {
    assert!(histogram.positive.counts.len() <= 2 * Histogram::BUCKETS_MAX);
    let mut bytes = Vec::new();
    histogram.encode(Timestamp::default(), &mut bytes);
    let again = Histogram::decode(&bytes).expect("our own message");
    assert!(again.same_as(histogram) || histogram.is_stale());
    assert!(!histogram.value_text().is_empty());
    let _ =
        (histogram.to_string(), histogram.buckets(), histogram.trim_above(1.0), histogram.trim_below(-0.5));
}
