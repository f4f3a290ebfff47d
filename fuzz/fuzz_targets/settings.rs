//! Settings from anybody: any text is read or refused, an error has a place in the text, and what is read holds no more than its bounds.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use settings::{Bytes, Placed, Secret, SettingsError, Span, TEXT_BYTES_MAX, VALUES_MAX};

/// Something of every kind, each within itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    text: Option<String>,
    switch: bool,
    port: u16,
    below: i64,
    number: f64,
    every: Option<Span>,
    size: Option<Bytes>,
    secret: Option<Secret>,
    pair: Option<[u32; 2]>,
    one: Option<One>,
    placed: Option<Placed<String>>,
    list: Vec<Section>,
    map: BTreeMap<String, Section>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum One {
    Bare,
    Text(String),
    Section { inner: Box<Section> },
}

impl Section {
    fn sections(&self) -> u64 {
        let inner = match &self.one {
            Some(One::Section { inner }) => inner.sections(),
            Some(One::Text(text)) => u64::from(text.len() as u64 > TEXT_BYTES_MAX) * VALUES_MAX,
            Some(One::Bare) | None => 0,
        };
        1 + inner + self.list.iter().chain(self.map.values()).map(Self::sections).sum::<u64>()
    }
}

fuzz_target!(|input: &str| {
    match settings::parse::<Section>(input, "x") {
        Ok(section) => {
            assert!(section.sections() <= VALUES_MAX);
            let place = section.placed.map(|placed| placed.place);
            assert!(place.is_none_or(|place| place.line >= 1 && place.column >= 1));
        }
        Err(SettingsError::Invalid { line, column, message, .. }) => {
            // YAML breaks lines at more than `\n`.
            let lines = input.chars().count() as u64 + 2;
            assert!(
                (1..=lines).contains(&line) && column >= 1 && !message.is_empty(),
                "{line}:{column}: {message}"
            );
        }
        Err(other) => panic!("no file is read: {other}"),
    }
    let _ = settings::parse::<Vec<BTreeMap<String, String>>>(input, "x");
});
