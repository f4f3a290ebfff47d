use super::*;
use crate::Timestamp;

fn read(text: &str) -> Histogram {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn round_trip(histogram: &Histogram) {
    let mut bytes = Vec::new();
    histogram.encode(Timestamp::from_millis(7), &mut bytes);
    assert_eq!(Histogram::decode(&bytes).as_ref(), Ok(histogram));
}

#[test]
fn texts_are_read_and_written() {
    for text in [
        "{{}}",
        "{{schema:1 count:3.1 sum:-0.3 z_bucket:7.1 z_bucket_w:0.05 offset:-3 buckets:[5.1 10 7] n_offset:-5 n_buckets:[4.1 5]}}",
        "{{schema:-53 count:4 sum:6 custom_values:[1 2.5] counter_reset_hint:gauge buckets:[1 0 3]}}",
    ] {
        assert_eq!(read(text).to_string(), text);
        round_trip(&read(text));
    }
    for bad in
        ["{{", "{{sum}}", "{{sum:x}}", "{{other:1}}", "{{buckets:[1 2}}", "{{schema:9x}}", "{{schema:60}}"]
    {
        assert!(bad.parse::<Histogram>().is_err(), "{bad}");
    }
}

#[test]
fn values_name_their_buckets() {
    let histogram = read("{{count:6 sum:4 z_bucket:1 z_bucket_w:0.5 buckets:[0 2] n_buckets:[3]}}");
    assert_eq!(histogram.value_text(), "{count:6, sum:4, [-1,-0.5):3, [-0.5,0.5]:1, (1,2]:2}");
}

#[test]
fn whole_numbers_come_as_differences() {
    // Count 5, sum 2.5, schema 0, span (0, 3), deltas 1 1 -1, hint 3.
    let mut bytes = vec![0x08, 5, 0x19];
    bytes.extend_from_slice(&2.5f64.to_le_bytes());
    bytes.extend_from_slice(&[0x5a, 4, 8, 0, 16, 3, 0x62, 3, 2, 2, 1, 0x70, 3]);
    let expected = read("{{count:5 sum:2.5 buckets:[1 2 1] counter_reset_hint:gauge}}");
    assert_eq!(Histogram::decode(&bytes), Ok(expected));
}

#[test]
fn what_contradicts_itself_is_refused() {
    fn check(build: impl Fn(&mut Histogram), expected: HistogramError) {
        let mut histogram = read("{{count:3 buckets:[1 2]}}");
        build(&mut histogram);
        let mut bytes = Vec::new();
        histogram.encode(Timestamp::default(), &mut bytes);
        assert_eq!(Histogram::decode(&bytes), Err(expected));
    }
    check(
        |histogram| histogram.positive.spans[0].length = 3,
        HistogramError::SpanLength { spans: 3, counts: 2 },
    );
    check(|histogram| histogram.positive.spans[0].offset = i32::MAX - 1, HistogramError::SpanOffset(0));
    check(|histogram| histogram.schema = -5, HistogramError::Schema(-5));
    check(|histogram| histogram.schema = -53, HistogramError::CustomBounds("are fewer than the buckets"));
    check(
        |histogram| (histogram.schema, histogram.custom_bounds) = (-53, vec![2.0, 1.0]),
        HistogramError::CustomBounds("do not ascend"),
    );
    assert_eq!(Histogram::decode(&[0x19, 1]), Err(HistogramError::Damaged { offset: 1 }));
}

#[test]
fn a_finer_schema_becomes_ours() {
    let mut histogram = read("{{schema:8 count:3 offset:1 buckets:[1 2]}}");
    histogram.schema = 9;
    let mut bytes = Vec::new();
    histogram.encode(Timestamp::default(), &mut bytes);
    assert_eq!(Histogram::decode(&bytes), Ok(read("{{schema:8 count:3 offset:1 buckets:[3]}}")));
}

#[test]
fn start_timestamps_are_found() {
    let mut bytes = Vec::new();
    read("{{}}").encode_with_start(Timestamp::from_millis(9), Some(Timestamp::from_millis(5)), &mut bytes);
    assert_eq!(Histogram::start_of(&bytes), Some(Timestamp::from_millis(5)));
    bytes.clear();
    read("{{}}").encode(Timestamp::from_millis(9), &mut bytes);
    assert_eq!(Histogram::start_of(&bytes), None);
}

#[test]
fn sums_take_the_coarser_schema_and_the_wider_zero_bucket() {
    let fine = read("{{schema:1 count:4 buckets:[1 1 1 1]}}");
    let coarse = read("{{schema:0 count:2 z_bucket:1 z_bucket_w:0.8 buckets:[0 1]}}");
    let sum = fine.add(&coarse).expect("both are exponential").histogram;
    // 0.8 lies within the coarser bucket that ends at 1, so that the zero bucket reaches to there.
    assert_eq!(sum, read("{{schema:0 count:6 z_bucket:2 z_bucket_w:1 offset:1 buckets:[3 1]}}"));
}

#[test]
fn custom_bounds_that_differ_keep_what_they_share() {
    let a = read("{{schema:-53 count:6 custom_values:[1 2 3] buckets:[1 2 3]}}");
    let b = read("{{schema:-53 count:3 custom_values:[1 3] buckets:[1 1 1]}}");
    let sum = a.add(&b).expect("both are custom");
    assert!(sum.bounds_reconciled);
    assert_eq!(sum.histogram, read("{{schema:-53 count:9 custom_values:[1 3] buckets:[2 6 1]}}"));
    assert!(a.add(&read("{{}}")).is_none());
}

#[test]
fn a_count_that_fell_is_a_reset_unless_the_hint_knows() {
    let before = read("{{count:3 buckets:[1 2]}}");
    for (text, reset) in [
        ("{{count:3 buckets:[1 2]}}", false),
        ("{{count:4 buckets:[2 1 1]}}", true),
        ("{{count:2 buckets:[1 1]}}", true),
        ("{{count:2 buckets:[1 1] counter_reset_hint:not_reset}}", false),
        ("{{count:9 buckets:[1 8] counter_reset_hint:reset}}", true),
        ("{{schema:1 count:9 buckets:[1 8 9]}}", true),
    ] {
        assert_eq!(read(text).is_reset_since(&before), reset, "{text}");
    }
}

#[test]
fn bounds_are_powers() {
    for (schema, index, bound) in
        [(0, 0, 1.0), (0, 3, 8.0), (-1, 1, 4.0), (1, 2, 2.0), (2, -4, 0.5), (8, 256, 2.0)]
    {
        let histogram = Histogram { schema, ..Histogram::default() };
        assert_eq!(histogram.bound(index), bound, "{schema} {index}");
    }
    let histogram = Histogram::default();
    assert_eq!(histogram.bound(1024), f64::MAX);
    assert_eq!(histogram.bound(1025), f64::INFINITY);
    assert_eq!(histogram.bound(-1074), 5e-324);
    assert_eq!(histogram.bound(i32::MIN), 0.0);
}

#[test]
fn running_sums_lose_little() {
    let mut sums = Sums::new(&read("{{count:1 sum:1 buckets:[1]}}"));
    for sum in ["1e100", "1", "-1e100"] {
        assert!(sums.add(&read(&format!("{{{{count:{sum} sum:{sum} buckets:[{sum}]}}}}"))));
    }
    assert_eq!(sums.total(), read("{{count:2 sum:2 buckets:[2]}}"));
}

#[test]
fn trimming_parts_the_bucket_around_the_value() {
    let histogram = read("{{schema:-53 sum:172.5 count:15 custom_values:[5 10 15 20] buckets:[1 6 4 3 1]}}");
    let below = histogram.trim_above(7.5);
    assert_eq!(below, read("{{schema:-53 count:4 sum:21.25 custom_values:[5 10 15 20] buckets:[1 3]}}"));
    assert_eq!(histogram.trim_above(f64::INFINITY), histogram);
}
