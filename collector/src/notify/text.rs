//! Messages for people: subject and text, in English or Bahasa Indonesia, plain or for Telegram.
//!
//! In: the alerts of one message. Out: text within a bound: what does not fit is counted at its end, never cut within an alert. The
//! order is: firing, without data, resolved; within each as told. Golden files show both languages.
//!
//! Limits: a field of an alert [`FIELD_CHARS_MAX`] characters.

use model::Timestamp;
use serde::Deserialize;

use super::alert::{Alert, Kind};

const FIELD_CHARS_MAX: usize = 600;
/// Names in a subject.
const NAMES_MAX: usize = 3;

/// The language of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Bahasa Indonesia.
    Id,
}

/// The clock of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Zone {
    /// Universal time.
    #[default]
    Utc,
    /// Western Indonesia, UTC+7.
    Wib,
    /// Central Indonesia, UTC+8.
    Wita,
    /// Eastern Indonesia, UTC+9.
    Wit,
}

impl Zone {
    const fn hours(self) -> i8 {
        match self {
            Self::Utc => 0,
            Self::Wib => 7,
            Self::Wita => 8,
            Self::Wit => 9,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Utc => "UTC",
            Self::Wib => "WIB",
            Self::Wita => "WITA",
            Self::Wit => "WIT",
        }
    }
}

/// How messages are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) language: Language,
    pub(crate) zone: Zone,
    /// The collector's address for people.
    pub(crate) external_url: String,
}

struct Words {
    states: [&'static str; 3],
    counts: [&'static str; 3],
    since: &'static str,
    until: &'static str,
    value: &'static str,
    rule: &'static str,
    runbook: &'static str,
    more: &'static str,
    from: &'static str,
    months: [&'static str; 12],
}

const EN: Words = Words {
    states: ["FIRING", "NO DATA", "RESOLVED"],
    counts: ["firing", "without data", "resolved"],
    since: "since",
    until: "until",
    value: "value",
    rule: "rule",
    runbook: "what to do",
    more: "more: look at",
    from: "From",
    months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
};

const ID: Words = Words {
    states: ["AKTIF", "TANPA DATA", "PULIH"],
    counts: ["aktif", "tanpa data", "pulih"],
    since: "sejak",
    until: "sampai",
    value: "nilai",
    rule: "aturan",
    runbook: "langkah penanganan",
    more: "lagi: lihat",
    from: "Dari",
    months: ["Jan", "Feb", "Mar", "Apr", "Mei", "Jun", "Jul", "Agu", "Sep", "Okt", "Nov", "Des"],
};

impl Language {
    const fn words(self) -> &'static Words {
        match self {
            Self::En => &EN,
            Self::Id => &ID,
        }
    }
}

const fn place(kind: Kind) -> usize {
    match kind {
        Kind::Firing => 0,
        Kind::Unknown => 1,
        Kind::Resolved => 2,
    }
}

/// The markup around a text.
#[derive(Clone, Copy, PartialEq)]
enum Markup {
    Plain,
    Html,
}

/// One line for a subject: `[Pantau] 2 firing, 1 resolved: HostDown, LinkDown`.
pub(crate) fn subject(alerts: &[Alert], style: &Style) -> String {
    let mut names: Vec<&str> = Vec::new();
    for alert in sorted(alerts) {
        let name = alert.label("alertname");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let shown: Vec<String> = names.iter().take(NAMES_MAX).map(|name| line(name)).collect();
    let more = if names.len() > NAMES_MAX { ", …" } else { "" };
    format!("[Pantau] {}: {}{more}", counts(alerts, style), shown.join(", "))
}

fn counts(alerts: &[Alert], style: &Style) -> String {
    let words = style.language.words();
    let mut parts = Vec::new();
    for (kind, word) in words.counts.iter().enumerate() {
        let count = alerts.iter().filter(|alert| place(alert.kind) == kind).count();
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    parts.join(", ")
}

/// Plain text of at most so many UTF-16 units.
pub(crate) fn plain(alerts: &[Alert], style: &Style, units_max: usize) -> String {
    write(alerts, style, units_max, Markup::Plain)
}

/// Telegram's HTML of at most so many UTF-16 units, tags and entities included.
pub(crate) fn html(alerts: &[Alert], style: &Style, units_max: usize) -> String {
    write(alerts, style, units_max, Markup::Html)
}

fn write(alerts: &[Alert], style: &Style, units_max: usize, markup: Markup) -> String {
    let words = style.language.words();
    let sorted = sorted(alerts);
    let url = markup.text(&style.external_url);
    let mut out = markup.bold(&counts(alerts, style));
    out.push('\n');
    let end = format!("\n{} {url}\n", words.from);
    // As long as the longest that can stand here, so that it always fits.
    let reserve = units(&end) + units(&format!("\n… {} {} {url}\n", alerts.len(), words.more));
    let mut left = units_max.saturating_sub(units(&out) + reserve);
    for (index, alert) in sorted.iter().enumerate() {
        let part = one(alert, words, style.zone, markup);
        let takes = units(&part);
        if takes > left {
            out.push_str(&format!("\n… {} {} {url}\n", sorted.len() - index, words.more));
            return out;
        }
        left -= takes;
        out.push_str(&part);
    }
    out + &end
}

/// What fires comes first.
fn sorted(alerts: &[Alert]) -> Vec<&Alert> {
    let mut sorted: Vec<&Alert> = alerts.iter().collect();
    sorted.sort_by_key(|alert| place(alert.kind));
    sorted
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn one(alert: &Alert, words: &Words, zone: Zone, markup: Markup) -> String {
    let mut out = String::from("\n");
    let head = format!("{} {}", words.states[place(alert.kind)], line(alert.label("alertname")));
    out.push_str(&markup.bold(&head));
    let severity = line(alert.label("severity"));
    if !severity.is_empty() {
        out.push_str(&format!(" ({})", markup.text(&severity)));
    }
    out.push('\n');
    for name in ["summary", "description"] {
        if let Some(text) = alert.annotation(name).filter(|text| !text.is_empty()) {
            // Of several lines none but the first stands where an alert would begin: they may quote labels.
            out.push_str(&format!("{}\n", markup.text(text.trim_end()).replace('\n', "\n  ")));
        }
    }
    let labels: Vec<String> = alert
        .labels
        .iter()
        .filter(|(name, _)| !matches!(*name, "alertname" | "severity"))
        .map(|(name, value)| line(&format!("{name}={value}")))
        .collect();
    if !labels.is_empty() {
        out.push_str(&format!("{}\n", markup.text(&labels.join(", "))));
    }
    out.push_str(&format!("{} {}", words.since, time(alert.starts_at, words, zone)));
    match (alert.kind, alert.ends_at) {
        (Kind::Resolved, Some(end)) => out.push_str(&format!(" {} {}", words.until, time(end, words, zone))),
        _ => out.push_str(&format!(", {} {}", words.value, alert.value)),
    }
    out.push('\n');
    for (word, link) in [
        (words.runbook, alert.annotation("runbook_url").unwrap_or_default()),
        (words.rule, &alert.generator_url),
    ] {
        if !link.is_empty() {
            out.push_str(&format!("{word}: {}\n", markup.text(link)));
        }
    }
    out
}

fn time(at: Timestamp, words: &Words, zone: Zone) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(at.as_millis().div_euclid(1000))
        .ok()
        .and_then(|at| at.checked_add(time::Duration::hours(zone.hours().into())))
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let month = words.months[usize::from(u8::from(at.month())) - 1];
    format!(
        "{} {month} {} {:02}:{:02}:{:02} {}",
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second(),
        zone.name()
    )
}

/// The same in one line: a name or label with line breaks (an interface's alias, say) must not look like another alert.
fn line(text: &str) -> String {
    field(text).replace('\n', " ")
}

/// A text that a stranger wrote: no control characters but line breaks, and not too long.
fn field(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|symbol| if symbol.is_control() && symbol != '\n' { ' ' } else { symbol })
        .take(FIELD_CHARS_MAX)
        .collect();
    if text.chars().nth(FIELD_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

impl Markup {
    fn text(self, text: &str) -> String {
        let text = field(text);
        match self {
            Self::Plain => text,
            Self::Html => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        }
    }

    fn bold(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Html => format!("<b>{}</b>", self.text(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::alert::example;
    use super::*;

    fn style(language: Language, zone: Zone) -> Style {
        Style { language, zone, external_url: "https://pantau.example.go.id".into() }
    }

    fn golden(name: &str, now: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/notify/golden").join(name);
        if std::env::var_os("PANTAU_GOLDEN").is_some() {
            std::fs::write(&path, now).expect("written");
        }
        let have = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(now, have, "read what changed, and renew it with PANTAU_GOLDEN=1");
    }

    #[test]
    fn labels_cannot_pass_for_alerts_and_no_time_is_too_late() {
        let mut alert = example("Link\nRESOLVED Host", Kind::Firing);
        let mut labels = alert.labels.to_builder();
        labels.set("ifAlias", "uplink\r\n\nRESOLVED Core (critical)\nall is well");
        alert.labels = labels.build();
        alert.starts_at = Timestamp::from_millis(253_402_300_799_000);
        let style = style(Language::En, Zone::Wit);
        for text in [
            plain(std::slice::from_ref(&alert), &style, 10_000),
            html(std::slice::from_ref(&alert), &style, 10_000),
            subject(std::slice::from_ref(&alert), &style),
        ] {
            assert!(text.contains("RESOLVED Host"), "{text}");
            let forged = |line: &str| line.trim_start_matches("<b>").starts_with("RESOLVED");
            assert!(!text.lines().any(forged), "{text}");
        }
    }

    #[test]
    fn messages_are_those_of_the_golden_files() {
        let alerts = [
            example("LinkDown", Kind::Resolved),
            example("LowLight", Kind::Firing),
            example("Host", Kind::Unknown),
        ];
        for (language, zone, name) in [(Language::En, Zone::Utc, "en"), (Language::Id, Zone::Wib, "id")] {
            let style = style(language, zone);
            let mail = format!("{}\n\n{}", subject(&alerts, &style), plain(&alerts, &style, 100_000));
            golden(&format!("mail.{name}.txt"), &mail);
            golden(&format!("telegram.{name}.html"), &html(&alerts, &style, 4096));
        }
    }

    #[test]
    fn a_message_keeps_its_bound_and_counts_what_is_missing() {
        let alerts: Vec<Alert> = (0..200).map(|index| example(&format!("<{index}>"), Kind::Firing)).collect();
        let text = html(&alerts, &style(Language::En, Zone::Utc), 4096);
        assert!(units(&text) <= 4096, "{}", units(&text));
        let shown = text.matches("FIRING").count();
        assert!(shown > 5 && text.contains(&format!("… {} more: look at https://", 200 - shown)), "{text}");
    }

    #[test]
    fn strangers_texts_cannot_break_the_markup() {
        let mut alert = example("a", Kind::Firing);
        alert.annotations = vec![("summary".into(), format!("<b>&\u{1b}[0m{}", "x".repeat(5000)))];
        let text = html(&[alert], &style(Language::En, Zone::Utc), 4096);
        assert!(text.contains("&lt;b&gt;&amp; [0mxxx") && text.contains("x…\n"), "{text}");
    }
}
