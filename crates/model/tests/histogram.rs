//! Laws of native histograms: what is written is read again, sums and differences undo each other, trimming loses nothing between its two
//! halves, and no bytes bring the reader down.

use model::{Buckets, Histogram, ResetHint, Sums, Timestamp};
use proptest::prelude::*;

fn counts() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((0u32..1000).prop_map(f64::from), 0..12)
}

/// Exponential histograms whose count is that of their buckets.
fn exponential() -> impl Strategy<Value = Histogram> {
    let zero = prop::sample::select(vec![0.0, 1e-6, 0.001, 0.3, 2.5]);
    (-4i32..=8, zero, 0u32..50, -40i32..40, counts(), -40i32..40, counts()).prop_map(
        |(schema, zero_threshold, zero, first, positive, n_first, negative)| {
            let count = f64::from(zero) + positive.iter().chain(&negative).sum::<f64>();
            Histogram {
                schema,
                zero_threshold,
                zero_count: f64::from(zero),
                count,
                sum: count / 2.0,
                positive: Buckets::dense(first, positive),
                negative: Buckets::dense(n_first, negative),
                ..Histogram::default()
            }
        },
    )
}

fn custom() -> impl Strategy<Value = Histogram> {
    prop::collection::btree_set(-20i32..20, 1..8).prop_flat_map(|bounds| {
        let custom_bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
        let counts = prop::collection::vec((0u32..100).prop_map(f64::from), custom_bounds.len() + 1);
        counts.prop_map(move |counts| Histogram {
            schema: Histogram::CUSTOM,
            count: counts.iter().sum(),
            sum: 1.5,
            positive: Buckets::dense(0, counts),
            custom_bounds: custom_bounds.clone(),
            ..Histogram::default()
        })
    })
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let hint = prop::sample::select(vec![
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ]);
    (prop_oneof![exponential(), custom()], hint)
        .prop_map(|(histogram, reset)| Histogram { reset, ..histogram })
}

/// Two that can be added.
fn pair() -> impl Strategy<Value = (Histogram, Histogram)> {
    prop_oneof![(exponential(), exponential()), (custom(), custom())]
}

fn in_buckets(histogram: &Histogram) -> f64 {
    let sides = histogram.positive.counts.iter().chain(&histogram.negative.counts);
    histogram.zero_count + sides.sum::<f64>()
}

proptest! {
    #[test]
    fn what_is_written_is_read(histogram in any_histogram(), at: i64, start in prop::option::of(1i64..)) {
        let mut bytes = Vec::new();
        let start = start.map(Timestamp::from_millis);
        histogram.encode_with_start(Timestamp::from_millis(at), start, &mut bytes);
        prop_assert_eq!(Histogram::decode(&bytes), Ok(histogram.clone()));
        prop_assert_eq!(Histogram::start_of(&bytes), start);
        let text = histogram.to_string();
        let again: Histogram = text.parse().expect("our own text");
        prop_assert!(again.same_as(&histogram), "{}", text);
        prop_assert_eq!(again.reset, histogram.reset);
    }

    #[test]
    fn sums_do_not_ask_for_order_and_lose_no_observation((a, b) in pair()) {
        let sum = a.add(&b).expect("both are of one kind").histogram;
        prop_assert!(sum.same_as(&b.add(&a).expect("both are of one kind").histogram));
        prop_assert_eq!(in_buckets(&sum), in_buckets(&a) + in_buckets(&b));
        let mut sums = Sums::new(&a);
        prop_assert!(sums.add(&b));
        prop_assert!(sums.total().same_as(&sum), "{} is not {}", sums.total(), sum);
    }

    #[test]
    fn a_difference_undoes_a_sum((a, b) in pair()) {
        let sum = a.add(&b).expect("both are of one kind").histogram;
        let rest = sum.sub(&b).expect("both are of one kind").histogram;
        // What is left has the sum's buckets, which may be coarser than those there were.
        let zero = Histogram { count: 0.0, sum: 0.0, ..sum.clone() }.times(0.0);
        let expected = a.add(&zero).expect("both are of one kind").histogram;
        prop_assert!(rest.same_as(&expected), "{} is not {}", rest, expected);
    }

    #[test]
    fn what_only_grew_was_not_reset(a in exponential(), more in counts()) {
        prop_assert!(!a.is_reset_since(&a));
        let more = Histogram {
            schema: a.schema,
            zero_threshold: a.zero_threshold,
            count: more.iter().sum(),
            positive: Buckets::dense(60, more),
            ..Histogram::default()
        };
        let grown = a.add(&more).expect("both are exponential").histogram;
        prop_assert!(!grown.is_reset_since(&a));
        prop_assert_eq!(a.is_reset_since(&grown), more.count > 0.0);
    }

    #[test]
    fn coarser_buckets_hold_the_same(a in exponential(), schema in -4i32..=8) {
        let coarser = a.at_schema(schema);
        prop_assert_eq!(coarser.schema, schema.min(a.schema));
        prop_assert_eq!(in_buckets(&coarser), in_buckets(&a));
    }

    #[test]
    fn both_halves_of_a_cut_are_the_whole(a in exponential(), at in -3.0f64..3.0) {
        let (below, above) = (a.trim_above(at), a.trim_below(at));
        let total = in_buckets(&below) + in_buckets(&above);
        prop_assert!((total - in_buckets(&a)).abs() <= 1e-9 * total.max(1.0), "{} and {}", below, above);
    }

    #[test]
    fn buckets_ascend(a in any_histogram()) {
        let all = a.buckets();
        prop_assert!(all.iter().all(|bucket| bucket.lower <= bucket.upper && bucket.count != 0.0));
        // Within the zero bucket there may be others where the sender had them so.
        let outside = all.iter().filter(|bucket| bucket.upper.abs().max(bucket.lower.abs()) > a.zero_threshold);
        let ends: Vec<f64> = outside.flat_map(|bucket| [bucket.lower, bucket.upper]).collect();
        prop_assert!(ends.is_sorted(), "{:?}", all);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(histogram) = Histogram::decode(&bytes) {
            let mut again = Vec::new();
            histogram.encode(Timestamp::default(), &mut again);
            prop_assert!(Histogram::decode(&again).is_ok_and(|read| read.to_string() == histogram.to_string()));
        }
        let _ = Histogram::start_of(&bytes);
    }
}
