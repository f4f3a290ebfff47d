//! Whether labels are such as may be stored, and their final form: sorted, stamped.

use model::{Labels, METRIC_NAME};
use wire::WireError;

use super::Config;
use super::cache::Stamp;
use super::refusals::Reason;

/// Who measured.
const AGENT: &str = "agent";
/// What becomes of that label where the sender may not say so; the second where it uses the first itself.
const EXPORTED_AGENT: [&str; 2] = ["exported_agent", "exported_exported_agent"];

/// Why a series is refused, with a text that names it.
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) text: String,
    /// The metric of a new series that a limit refused.
    pub(super) offender: Option<String>,
}

/// Reads, checks and stamps a series' labels. `pairs` is scratch.
pub(super) fn finish_labels<'a>(
    labels: impl Iterator<Item = Result<(&'a str, &'a str), WireError>>,
    stamp: &'a Stamp,
    config: &Config,
    pairs: &mut Vec<(&'a str, &'a str)>,
) -> Result<Labels, Refused> {
    pairs.clear();
    for pair in labels {
        let pair = pair.map_err(|error| Refused {
            reason: Reason::BadLabels,
            text: format!("a series: {error}"),
            offender: None,
        })?;
        if pairs.len() == config.labels_max.as_usize() {
            return Err(too_many(pairs, config));
        }
        pairs.push(pair);
    }
    check(pairs, config)?;
    if !stamp.keeps_own {
        pairs.retain(|(name, _)| !matches!(*name, "region" | "site"));
        pairs.extend(stamp.region.as_deref().map(|region| ("region", region)));
        pairs.extend(stamp.site.as_deref().map(|site| ("site", site)));
        move_agent(pairs, stamp)?;
    }
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.sort_unstable();
    let mut scratch = Vec::with_capacity(256);
    let labels = Labels::from_sorted(pairs.iter().copied(), &mut scratch);
    let labels = labels.expect("sorted, names checked to be unique, empty values removed");
    if labels.as_bytes().len() > Labels::BYTES_MAX {
        let why = format!("its labels have more than {} bytes together", Labels::BYTES_MAX);
        return Err(refused(Reason::LargeLabels, pairs, &why));
    }
    Ok(labels)
}

/// The label `agent` names who measured, and alerts trust it: a sender that says another name than its own gets the label that a
/// scrape would give it, so that its series stay apart and none passes for a watched agent's.
fn move_agent(pairs: &mut [(&str, &str)], stamp: &Stamp) -> Result<(), Refused> {
    let Some(at) = pairs.iter().position(|(name, _)| *name == AGENT) else { return Ok(()) };
    if pairs[at].1.is_empty() || stamp.agent.as_deref() == Some(pairs[at].1) {
        return Ok(());
    }
    let is_free = |wanted: &&str| pairs.iter().all(|(name, _)| name != wanted);
    let Some(name) = EXPORTED_AGENT.into_iter().find(is_free) else {
        return Err(refused(
            Reason::BadLabels,
            pairs,
            "it may not say which agent measured it (label \"agent\")",
        ));
    };
    pairs[at].0 = name;
    Ok(())
}

fn check(pairs: &mut [(&str, &str)], config: &Config) -> Result<(), Refused> {
    let metric = pairs.iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| *value);
    if metric.is_empty() {
        return Err(refused(Reason::BadLabels, pairs, "it has no metric name (label \"__name__\")"));
    }
    let (name_max, value_max) =
        (config.label_name_bytes_max.as_usize(), config.label_value_bytes_max.as_usize());
    for at in 0..pairs.len() {
        let (name, value) = pairs[at];
        if name.is_empty() {
            return Err(refused(Reason::BadLabels, pairs, "a label has an empty name"));
        }
        if name.len() > name_max {
            let why =
                format!("the name of a label has {} bytes, more than the {name_max} allowed", name.len());
            return Err(refused(Reason::LargeLabels, pairs, &why));
        }
        if value.len() > value_max {
            let why = format!(
                "the value of label {name:?} has {} bytes, more than the {value_max} allowed",
                value.len()
            );
            return Err(refused(Reason::LargeLabels, pairs, &why));
        }
    }
    pairs.sort_unstable();
    match pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => {
            Err(refused(Reason::BadLabels, pairs, &format!("label name {:?} is not unique", pair[0].0)))
        }
        None => Ok(()),
    }
}

fn too_many(pairs: &[(&str, &str)], config: &Config) -> Refused {
    let why = format!("it has more than the {} labels allowed", config.labels_max.get());
    refused(Reason::LargeLabels, pairs, &why)
}

fn refused(reason: Reason, pairs: &[(&str, &str)], why: &str) -> Refused {
    // As it was sent, but for what no text can show in this space.
    const SHOWN: usize = 12;
    let short = |text: &str| text[..text.floor_char_boundary(64)].to_owned();
    let shown = pairs.iter().take(SHOWN).map(|(name, value)| (short(name), short(value)));
    let labels = Labels::from_pairs(shown.filter(|(name, _)| !name.is_empty()));
    Refused { reason, text: format!("{labels}: {why}"), offender: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        let agent = Some("kudus-gw".into());
        Stamp { region: Some("33.19".into()), site: Some("kudus-1".into()), agent, keeps_own: false }
    }

    fn finish(pairs: &[(&str, &str)], stamp: &Stamp) -> Result<String, (Reason, String)> {
        let labels = finish_labels(pairs.iter().copied().map(Ok), stamp, &Config::default(), &mut Vec::new());
        labels.map(|labels| labels.to_string()).map_err(|refused| (refused.reason, refused.text))
    }

    fn check(pairs: &[(&str, &str)], reason: Reason, text: &str) {
        let (have, why) = finish(pairs, &stamp()).expect_err("refused");
        assert_eq!(have, reason, "{why}");
        assert!(why.contains(text), "{why:?} should hold {text:?}");
    }

    #[test]
    fn labels_are_sorted_stamped_and_what_was_sent_there_is_overwritten() {
        let sent =
            [("site", "elsewhere"), ("__name__", "up"), ("region", "99"), ("job", "node"), ("gone", "")];
        assert_eq!(finish(&sent, &stamp()), Ok(r#"up{job="node", region="33.19", site="kudus-1"}"#.into()));
        assert_eq!(
            finish(&sent, &Stamp::default()),
            Ok(r#"up{job="node"}"#.into()),
            "nobody chooses a tenant by a label"
        );
        let own = Stamp { keeps_own: true, ..Stamp::default() };
        assert_eq!(finish(&sent[1..4], &own), Ok(r#"up{job="node", region="99"}"#.into()));
    }

    #[test]
    fn nobody_passes_for_another_agent() {
        let sent = |agent| [("__name__", "up"), ("agent", agent)];
        let check = |pairs: &[(&str, &str)], stamp: &Stamp, expected: &str| {
            assert_eq!(finish(pairs, stamp), Ok(expected.to_owned()));
        };
        let own = Stamp { agent: Some("kudus-gw".into()), ..Stamp::default() };
        check(&sent("kudus-gw"), &own, r#"up{agent="kudus-gw"}"#);
        check(&sent("jepara-gw"), &own, r#"up{exported_agent="jepara-gw"}"#);
        check(&sent(""), &own, "up");
        let stranger = Stamp::default();
        check(&sent("kudus-gw"), &stranger, r#"up{exported_agent="kudus-gw"}"#);
        let both = [("__name__", "up"), ("agent", "a"), ("exported_agent", "b")];
        check(&both, &stranger, r#"up{exported_agent="b", exported_exported_agent="a"}"#);
        let all = [both[0], both[1], both[2], ("exported_exported_agent", "c")];
        assert!(finish(&all, &stranger).is_err_and(|(reason, _)| reason == Reason::BadLabels));
        let collector = Stamp { keeps_own: true, ..Stamp::default() };
        check(&sent("kudus-gw"), &collector, r#"up{agent="kudus-gw"}"#);
    }

    #[test]
    fn what_cannot_be_stored_is_named() {
        check(&[("job", "node")], Reason::BadLabels, "{job=\"node\"}: it has no metric name");
        check(
            &[("__name__", "up"), ("a", "1"), ("a", "2")],
            Reason::BadLabels,
            "label name \"a\" is not unique",
        );
        check(&[("__name__", "up"), ("a", ""), ("a", "2")], Reason::BadLabels, "not unique");
        check(&[("__name__", "up"), ("", "1")], Reason::BadLabels, "empty name");
        check(&[("__name__", "up"), (&"n".repeat(257), "1")], Reason::LargeLabels, "257 bytes");
        check(
            &[("__name__", "up"), ("a", &"v".repeat(4097))],
            Reason::LargeLabels,
            "label \"a\" has 4097 bytes",
        );
        let names: Vec<String> = (0..65).map(|number| format!("l{number}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        check(&many, Reason::LargeLabels, "more than the 64 labels");
        // Settings may allow long values and many of them, a label set has its own bound.
        let wide =
            Config { label_value_bytes_max: crate::settings::Within::new(65_536), ..Config::default() };
        let value = "v".repeat(65_536);
        let large = names[..20].iter().map(|name| (name.as_str(), value.as_str()));
        let large = large.chain([("__name__", "up")]).map(Ok);
        let refused = finish_labels(large, &stamp(), &wide, &mut Vec::new()).expect_err("too large together");
        assert!(refused.text.contains("more than 1048576 bytes together"), "{}", refused.text);
    }
}
