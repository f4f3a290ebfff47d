//! Templates from anybody: any text is read or refused, and what is read expands within its bounds, or says why not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Labels, Timestamp};
use template::{AlertData, Environment, QuerySample, Template};

struct World;

impl Environment for World {
    fn query(&mut self, expr: &str) -> Result<Vec<QuerySample>, String> {
        let sample =
            |device: &str| QuerySample { labels: Labels::from_pairs([("device", device)]), value: 1.5 };
        match expr.len() % 3 {
            0 => Ok(Vec::new()),
            1 => Ok(vec![sample("b"), sample("a")]),
            _ => Err("no".to_owned()),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_123)
    }
}

fuzz_target!(|input: &str| {
    let template = match Template::parse("__alert_A", input) {
        Ok(template) => template,
        Err(error) => {
            assert!(error.to_string().starts_with("error parsing template __alert_A: template: __alert_A:"));
            return;
        }
    };
    let data = AlertData {
        labels: &Labels::from_pairs([("instance", "a.b:80"), ("job", "x")]),
        external_labels: &Labels::from_pairs([("region", "ID-JB")]),
        external_url: "https://example.org/prom",
        value: 1_234_567.5,
        histogram: None,
    };
    match template.expand(&data, &mut World) {
        Ok(text) => assert!(text.len() <= 1 << 20),
        Err(error) => {
            assert!(error.to_string().starts_with("error executing template __alert_A: template: "))
        }
    }
});
