//! Fault scripts as text, read and written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Element, Fault, Rule, Script, When};
use crate::error::Error;

/// What stands behind a fault's name.
type Argument<'a> = Option<&'a str>;

/// Why a rule cannot be read.
type What = String;

macro_rules! faults {
    ($($name:literal => $variant:ident $(($read:ident, $write:ident))?,)*) => {
        impl Fault {
            /// The names of all faults, as they are written in a script.
            pub const NAMES: &[&str] = &[$($name),*];

            fn read(name: &str, argument: Argument<'_>) -> Result<Self, What> {
                match name {
                    $($name => Ok(Self::$variant $(($read(name, argument)?))?),)*
                    _ => Err(format!("there is no fault `{name}`; there are: {}", Self::NAMES.join(", "))),
                }
            }

            /// Whether an argument stands behind the name.
            fn takes_argument(name: &str) -> bool {
                match name {
                    $($name => <[&str]>::len(&[$(stringify!($read))?]) > 0,)*
                    _ => false,
                }
            }
        }

        /// As it is written in a script.
        impl fmt::Display for Fault {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                faults!(@write self, out, $($name => $variant $(($write))?,)*)
            }
        }
    };
    (@write $self:ident, $out:ident, $($name:literal => $variant:ident $(($write:ident))?,)*) => {{
        $(faults!(@one $self, $out, $name, $variant $(, $write)?);)*
        Ok(())
    }};
    (@one $self:ident, $out:ident, $name:literal, $variant:ident, $write:ident) => {
        if let Self::$variant(argument) = $self {
            return write!($out, concat!($name, " {}"), $write(argument));
        }
    };
    (@one $self:ident, $out:ident, $name:literal, $variant:ident) => {
        if let Self::$variant = $self {
            return $out.write_str($name);
        }
    };
}

faults! {
    "silence" => Silence,
    "only-every" => OnlyEvery(positive, plain),
    "delay" => Delay(duration, time),
    "duplicate" => Duplicate(positive, plain),
    "late-duplicate" => LateDuplicate(duration, time),
    "wrong-id" => WrongId,
    "wrong-source" => WrongSource,
    "wrong-port" => WrongPort,
    "wrong-version" => WrongVersion,
    "wrong-community" => WrongCommunity,
    "wrong-user" => WrongUser,
    "wrong-engine-id" => WrongEngineId,
    "wrong-kind" => WrongKind,
    "truncated" => Truncated(positive, plain),
    "trailing" => Trailing(positive, plain),
    "over-long-length" => OverLongLength(element, word),
    "past-end-length" => PastEndLength(element, word),
    "indefinite-length" => IndefiniteLength(element, word),
    "padded-length" => PaddedLength(element, word),
    "unknown-tag" => UnknownTag,
    "bad-integer" => BadInteger(number, plain),
    "bad-counter64" => BadCounter64(number, plain),
    "bad-oid" => BadOid,
    "empty-oid" => EmptyOid,
    "padded-oid" => PaddedOid,
    "long-oid" => LongOid,
    "huge-arc" => HugeArc,
    "large-arcs" => LargeArcs,
    "garbage" => Garbage(number, plain),
    "empty-list" => EmptyList,
    "descending" => Descending,
    "repeating" => Repeating,
    "endless" => Endless,
    "no-such-object" => NoSuchObject(positive, plain),
    "no-such-instance" => NoSuchInstance(positive, plain),
    "end-of-mib-view" => EndOfMibView(positive, plain),
    "too-big" => TooBig(number, plain),
    "gen-err" => GenErr(oid, plain),
    "no-bulk" => NoBulk,
    "huge-string" => HugeString(number, plain),
    "wrong-type" => WrongType,
    "fewer" => Fewer(positive, plain),
    "more" => More(positive, plain),
    "vanish" => Vanish(share, percent),
    "reboot" => Reboot,
    "engine-reboot" => EngineReboot,
    "engine-reset" => EngineReset,
    "uptime-wrap" => UptimeWrap(duration, time),
    "report-storm" => ReportStorm(positive, plain),
    "forged-report" => ForgedReport,
}

impl FromStr for Rule {
    type Err = String;

    /// Reads one line without its remark.
    fn from_str(line: &str) -> Result<Self, What> {
        let mut words = line.split_whitespace();
        let name = words.next().ok_or("a rule begins with the name of a fault")?;
        let argument = if Fault::takes_argument(name) { words.next() } else { None };
        let fault = Fault::read(name, argument)?;
        let mut when = When::default();
        while let Some(word) = words.next() {
            match word {
                "first" => when.first = true,
                "after" => when.after = duration(word, words.next())?,
                "until" => when.until = Some(duration(word, words.next())?),
                "from" => when.from = positive(word, words.next())?.into(),
                "to" => when.to = positive(word, words.next())?.into(),
                "every" => when.every = positive(word, words.next())?.into(),
                "share" => when.share = share(word, words.next())?,
                "under" => when.under = Some(oid(word, words.next())?),
                _ => {
                    let known = "after, until, from, to, every, share, under, first";
                    return Err(format!("`{word}` is no condition; there are: {known}"));
                }
            }
        }
        Ok(Self { fault, when })
    }
}

/// One rule a line; what stands behind a `#` is a remark.
impl FromStr for Script {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut rules = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let refuse = |what| Error::Script { line: at + 1, what };
            if rules.len() == Self::RULES_MAX {
                return Err(refuse(format!("more than {} rules", Self::RULES_MAX)));
            }
            rules.push(line.parse().map_err(refuse)?);
        }
        Ok(Self { rules })
    }
}

/// As it is read.
impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let When { after, until, from, to, every, share, under, first } = &self.when;
        let usual = When::default();
        self.fault.fmt(out)?;
        if *after != usual.after {
            write!(out, " after {}", time(after))?;
        }
        if let Some(until) = until {
            write!(out, " until {}", time(until))?;
        }
        for (word, number, usual) in [("from", from, 1), ("to", to, u64::MAX), ("every", every, 1)] {
            if *number != usual {
                write!(out, " {word} {number}")?;
            }
        }
        if *share < 1.0 {
            write!(out, " share {}", percent(share))?;
        }
        if let Some(under) = under {
            write!(out, " under {under}")?;
        }
        if *first { out.write_str(" first") } else { Ok(()) }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.iter().try_for_each(|rule| writeln!(out, "{rule}"))
    }
}

fn wanted<'a>(name: &str, argument: Argument<'a>, what: &str) -> Result<&'a str, What> {
    argument.ok_or_else(|| format!("`{name}` wants {what} behind it"))
}

fn number(name: &str, argument: Argument<'_>) -> Result<u32, What> {
    const MOST: u32 = 65_000;
    let what = "a number of at most 65000";
    let text = wanted(name, argument, what)?;
    let number = text.parse().ok().filter(|number| *number <= MOST);
    number.ok_or_else(|| format!("`{name}` wants {what} behind it, not `{text}`"))
}

fn positive(name: &str, argument: Argument<'_>) -> Result<u32, What> {
    match number(name, argument)? {
        0 => Err(format!("`{name}` wants at least 1 behind it")),
        number => Ok(number),
    }
}

fn duration(name: &str, argument: Argument<'_>) -> Result<Duration, What> {
    const MOST: Duration = Duration::from_secs(366 * 86_400);
    let what = "a time of at most a year, such as 300ms, 30s or 5m,";
    let text = wanted(name, argument, what)?;
    let read = |digits: &str, unit: u64| {
        digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).map(Duration::from_millis)
    };
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let time = units.iter().find_map(|(suffix, unit)| read(text.strip_suffix(suffix)?, *unit));
    time.filter(|time| *time <= MOST).ok_or_else(|| format!("`{name}` wants {what} behind it, not `{text}`"))
}

fn share(name: &str, argument: Argument<'_>) -> Result<f64, What> {
    let what = "a share from 0% to 100%";
    let text = wanted(name, argument, what)?;
    let number = text.strip_suffix('%').and_then(|digits| digits.parse::<f64>().ok());
    let good = number.filter(|number| (0.0..=100.0).contains(number));
    good.map(|number| number / 100.0).ok_or_else(|| format!("`{name}` wants {what} behind it, not `{text}`"))
}

fn oid(name: &str, argument: Argument<'_>) -> Result<snmp::Oid, What> {
    let text = wanted(name, argument, "an OID")?;
    text.parse().map_err(|error| format!("`{name}` wants an OID behind it, not `{text}`: {error}"))
}

const ELEMENTS: [(&str, Element); 5] = [
    ("message", Element::Message),
    ("pdu", Element::Pdu),
    ("list", Element::List),
    ("binding", Element::Binding),
    ("value", Element::Value),
];

fn element(name: &str, argument: Argument<'_>) -> Result<Element, What> {
    let names = ELEMENTS.map(|(name, _)| name).join(", ");
    let text = wanted(name, argument, &format!("one of {names}"))?;
    let found = ELEMENTS.iter().find(|(name, _)| *name == text).map(|(_, element)| *element);
    found.ok_or_else(|| format!("`{name}` wants one of {names} behind it, not `{text}`"))
}

fn plain<T: Clone>(argument: &T) -> T {
    argument.clone()
}

fn word(element: &Element) -> &'static str {
    ELEMENTS.iter().find(|(_, other)| other == element).map_or("message", |(name, _)| name)
}

fn time(time: &Duration) -> String {
    match time.as_millis() {
        millis if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

fn percent(share: &f64) -> String {
    format!("{}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<&str, &str>) {
        let got = line.parse::<Rule>().map(|rule| rule.to_string());
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn rules_are_read_and_written() {
        check("silence", Ok("silence"));
        check(" delay  1500ms share 20% ", Ok("delay 1500ms share 20%"));
        check(
            "gen-err 1.3.6.1 after 2m until 121s from 3 to 9 every 2",
            Ok("gen-err 1.3.6.1 after 120s until 121s from 3 to 9 every 2"),
        );
        check("wrong-id first under .1.3.6", Ok("wrong-id under 1.3.6 first"));
        check("indefinite-length list", Ok("indefinite-length list"));
        check("vanish 50%", Ok("vanish 50%"));
        check("silent", Err("there is no fault `silent`; there are: silence, only-every"));
        check("delay", Err("`delay` wants a time of at most a year"));
        check("delay 5", Err("not `5`"));
        check("delay 99999999999999999999s", Err("not `99999999999999999999s`"));
        check("only-every 0", Err("at least 1"));
        check("huge-string 65001", Err("at most 65000"));
        check("vanish NaN%", Err("0% to 100%"));
        check("past-end-length text", Err("one of message, pdu, list, binding, value"));
        check("silence always", Err("`always` is no condition"));
        check("gen-err foo", Err("an OID"));
    }

    #[test]
    fn every_fault_can_be_written_in_a_script() {
        let arguments = ["", "3", "20ms", "message", "1.3.6", "5%"];
        for name in Fault::NAMES {
            let lines = arguments.map(|argument| format!("{name} {argument}").trim().to_owned());
            let read = lines.iter().find_map(|line| line.parse::<Rule>().ok().map(|rule| (line, rule)));
            let (line, rule) = read.unwrap_or_else(|| panic!("{name} takes none of {arguments:?}"));
            assert_eq!(rule.to_string(), *line);
        }
    }

    #[test]
    fn a_script_s_errors_have_lines() {
        let script: Script = "# all\n\nsilence # for ever\r\nwrong-id first\n".parse().expect("good");
        assert_eq!(script.to_string(), "silence\nwrong-id first\n");
        let error = "silence\nhello\n".parse::<Script>().expect_err("bad").to_string();
        assert!(error.starts_with("line 2: there is no fault `hello`"), "{error}");
    }
}
