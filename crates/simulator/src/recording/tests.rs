use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(line: &str, expected: Result<Datum, Odd>) {
    let text = format!("1.3.1|2|7\n{line}\n");
    let recording = Recording::parse(&text).expect("the first line is good");
    let got = match recording.cells().iter().find(|(name, _)| name.to_string() == "1.3.2") {
        Some((_, datum)) => Ok(datum.clone()),
        None => Err(recording.dropped().first()[0].1),
    };
    assert_eq!(got, expected, "{line}");
}

#[test]
fn tags_and_values() {
    check("1.3.2|2|-5", Ok(Datum::Integer(-5)));
    check(".1.3.2|2| 12 ", Ok(Datum::Integer(12)));
    check("1.3.2|2|2147483648", Err(Odd::Value));
    check("1.3.2|2|0.5", Err(Odd::Value));
    check("1.3.2|2|", Err(Odd::Value));
    check("1.3.2|4|a|b ", Ok(Datum::text("a|b ")));
    check("1.3.2|4|", Ok(Datum::text("")));
    check("1.3.2|4|NULL", Ok(Datum::text("NULL")));
    check("1.3.2|4x|00fFa0", Ok(Datum::Bytes(vec![0, 255, 160])));
    check("1.3.2|4xx|00 FF", Ok(Datum::Bytes(vec![0, 255])));
    check("1.3.2|4x|0", Err(Odd::Value));
    check("1.3.2|4x|0g", Err(Odd::Value));
    check(r#"1.3.2|4e|(\x00\xffA\\"\n\"#, Ok(Datum::Bytes(b"(\0\xffA\\\"\n\\".to_vec())));
    check(r"1.3.2|4e|\xg\x1", Ok(Datum::text("xgx1")));
    check("1.3.2|5|NULL", Ok(Datum::Null));
    check("1.3.2|6|.1.3.6.1", Ok(Datum::Oid("1.3.6.1".parse().expect("good"))));
    check("1.3.2|6|", Ok(Datum::Oid("0.0".parse().expect("good"))));
    check("1.3.2|6|iso.org", Err(Odd::Value));
    check("1.3.2|64|10.0.0.1", Ok(Datum::IpAddress([10, 0, 0, 1].into())));
    check("1.3.2|64x|0A000001", Ok(Datum::IpAddress([10, 0, 0, 1].into())));
    check(r"1.3.2|64e|\x0a\x00\x00\x01", Ok(Datum::IpAddress([10, 0, 0, 1].into())));
    check("1.3.2|64|<private>", Err(Odd::Value));
    check("1.3.2|65|4294967295", Ok(Datum::Counter32(u32::MAX)));
    check("1.3.2|65|4294967296", Err(Odd::Value));
    check("1.3.2|66|-1", Err(Odd::Value));
    check("1.3.2|66|1e3", Err(Odd::Value));
    check("1.3.2|67|100", Ok(Datum::TimeTicks(100)));
    check("1.3.2|68x|9F780400000000", Ok(Datum::Opaque(vec![0x9f, 0x78, 4, 0, 0, 0, 0])));
    check("1.3.2|70|18446744073709551615", Ok(Datum::Counter64(u64::MAX)));
    check("1.3.2|70|18446744073709551616", Err(Odd::Value));
    check("1.3.2|70x|ffffffffffffffff", Ok(Datum::Counter64(u64::MAX)));
    check("1.3.2|66:numeric|rate=1", Err(Odd::Tag));
    check("1.3.2||1", Err(Odd::Tag));
    check("1.3.2|130|", Err(Odd::Tag));
    check("1.3.<IPADDR>|2|1", Err(Odd::Name));
    check("1.3.4294967296|2|1", Err(Odd::Name));
    check("1.3.1|2|8", Err(Odd::Duplicate));
    check(&format!("1.3.2|4|{}", "a".repeat(60_001)), Err(Odd::Long));
}

#[test]
fn names_out_of_order_are_sorted_and_the_first_of_equal_ones_is_kept() {
    let recording = Recording::parse("# a remark\r\n\r\n1.3.10|2|1\r\n.1.3.9|2|2\n1.3.10|2|3").expect("good");
    let names: Vec<_> = recording.cells().iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["1.3.9", "1.3.10"]);
    assert_eq!(recording.get(&"1.3.10".parse().expect("good")), Some(&Datum::Integer(1)));
    assert_eq!(recording.dropped().first(), [(5, Odd::Duplicate)]);
}

#[test]
fn what_is_no_recording_is_refused_with_its_line() {
    let check = |text: &str, expected: &str| {
        let error = Recording::parse(text).expect_err("bad").to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check("1.3.1|2|1\n\nhello", "line 3: a line without two bars; write OID|TAG|VALUE");
    check("", "the recording holds no usable line (0 were dropped)");
    check("1.3|999|1", "the recording holds no usable line (1 were dropped)");
}

/// The recordings of real devices, where they are.
pub(crate) fn recordings() -> Vec<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("PANTAU_SHARED").map_or(beside, PathBuf::from);
    let Ok(folder) = std::fs::read_dir(shared.join("devices/recordings")) else {
        println!("left out: no recordings in {}", shared.display());
        return Vec::new();
    };
    folder.map(|entry| entry.expect("a folder that can be listed").path()).collect()
}

#[test]
fn every_recording_of_a_real_device_is_read() {
    for path in recordings() {
        let text = std::fs::read(&path).expect("a readable file");
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
        let recording = Recording::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let dropped = recording.dropped();
        assert_eq!(recording.cells().len() + dropped.lines(), lines, "{}", path.display());
        assert!(dropped.lines() * 100 <= lines, "{}: {:?}", path.display(), dropped.first());
        assert_eq!(Recording::parse(recording.to_string()).expect("own text").cells(), recording.cells());
    }
}

fn datum() -> impl Strategy<Value = Datum> {
    prop_oneof![
        any::<i32>().prop_map(Datum::Integer),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Datum::Bytes),
        "[ -~é]{0,12}".prop_map(Datum::text),
        any::<[u8; 4]>().prop_map(|octets| Datum::IpAddress(octets.into())),
        any::<u32>().prop_map(Datum::Counter32),
        any::<u32>().prop_map(Datum::Gauge32),
        any::<u32>().prop_map(Datum::TimeTicks),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Datum::Opaque),
        any::<u64>().prop_map(Datum::Counter64),
        Just(Datum::Null),
    ]
}

proptest! {
    #[test]
    fn text_returns_the_same_values(cells in prop::collection::vec((prop::collection::vec(any::<u32>(), 0..5), datum()), 1..30)) {
        let root: Oid = "1.3.6".parse().expect("good");
        let recording: Recording =
            cells.into_iter().map(|(arcs, datum)| (root.child(&arcs).expect("short"), datum)).collect();
        let again = Recording::parse(recording.to_string()).expect("own text");
            prop_assert_eq!(again.cells(), recording.cells());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(recording) = Recording::parse(&bytes) {
            prop_assert!(recording.cells().is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}

#[test]
fn exceptions_are_no_values() {
    let name: Oid = "1.3.6.1.4.1.9".parse().expect("good");
    let cells = [Datum::NoSuchInstance, Datum::Null, Datum::EndOfMibView];
    let recording: Recording = cells.into_iter().map(|datum| (name.clone(), datum)).collect();
    assert_eq!(recording.to_string(), "1.3.6.1.4.1.9|5|\n");
}
