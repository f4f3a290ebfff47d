//! Profile files from anybody: loading never panics and stays bounded, an error has a place in the file, and what loads can be evaluated
//! against a recording without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use profiles::{Recorded, Samples, Set};

fuzz_target!(|input: &str| {
    // A second file, so that joins and `extends` have something to find.
    let base = "profile: base\ntables:\n  - name: t\n    entry: 1.3.6.1.9\n    index: {i: {at: 0}}\n    columns:\n      name: {arc: 1, parse: text}\n      number: 2\n    metrics:\n      - {name: base_number, value: number}\n";
    match Set::load([("base.yaml", base), ("x.yaml", input)]) {
        Ok(set) => {
            let recording =
                b"1.3.6.1.9.1.1|4|a\n1.3.6.1.9.2.1|2|7\n1.3.6.1.9.2.2|5|\n1.3.6.1.9.1.2|4x|00ff\n";
            let recorded = Recorded::parse(recording).expect("good lines");
            for profile in set.profiles() {
                let (samples, _) = Samples::of(profile, &recorded);
                assert!(samples.samples.iter().all(|sample| sample.value.is_finite()));
            }
            let _ = set.try_all();
            let _ = set.choose_recorded(&recorded);
        }
        Err(error) => {
            // YAML breaks lines at more than `\n`.
            let lines = input.chars().count() as u64 + 2;
            assert!(error.line >= 1 && error.column >= 1 && error.line <= lines, "{error}");
        }
    }
});
