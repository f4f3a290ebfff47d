//! What is wrong with a pattern, in the words that Go has for it: people look for them, and tools compare them.
//!
//! In: a pattern that was refused. Out: the first mistake that Go's `regexp/syntax` would name (flags `Perl`), as Prometheus 3 shows it:
//! without the anchors that it puts around. Asked only after a refusal; what Go would not mind either (a pattern that is too large
//! here) is `None`. One pass, no memory.

/// The most that a repetition may say.
const REPEAT_MAX: u32 = 1_000;

/// Names of `[:name:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

type Step<'p> = Result<&'p str, String>;

/// The first mistake of a pattern.
pub(super) fn of(pattern: &str) -> Option<String> {
    let (mut rest, mut open) = (pattern, 0usize);
    // Where the repetition before stands, and whether there is something to repeat.
    let (mut repeated, mut operand): (Option<&str>, bool) = (None, false);
    while let Some(letter) = rest.chars().next() {
        let last = repeated.take();
        let after = &rest[letter.len_utf8()..];
        let step = match letter {
            '(' => {
                let next = group(rest);
                // Flags are no group: what stood before them can be repeated behind them.
                if let Ok((_, true)) = next {
                    open += 1;
                    operand = false;
                }
                next.map(|(next, _)| next)
            }
            ')' if open == 0 => Err(say("unexpected )", pattern)),
            ')' => {
                open -= 1;
                operand = true;
                Ok(after)
            }
            '|' => {
                operand = false;
                Ok(after)
            }
            '*' | '+' | '?' => {
                repetition(rest, after, last, operand).inspect(|_| repeated = last.or(Some(rest)))
            }
            '{' => match counted(rest) {
                None => {
                    operand = true;
                    Ok(after)
                }
                Some((after, true)) => {
                    repetition(rest, after, last, operand).inspect(|_| repeated = last.or(Some(rest)))
                }
                Some((after, false)) => Err(say("invalid repeat count", until(rest, after))),
            },
            '[' => {
                operand = true;
                class(rest)
            }
            '\\' => {
                operand = true;
                escaped(rest)
            }
            _ => {
                operand = true;
                Ok(after)
            }
        };
        match step {
            Ok(next) => rest = next,
            Err(mistake) => return Some(mistake),
        }
    }
    (open > 0).then(|| say("missing closing )", pattern))
}

fn say(what: &str, place: &str) -> String {
    format!("{what}: `{place}`")
}

/// A text up to a rest of it.
fn until<'p>(text: &'p str, rest: &str) -> &'p str {
    &text[..text.len() - rest.len()]
}

/// `(`, `(?flags)`, `(?flags:`, `(?P<name>` or `(?<name>`: what follows, and whether it opens a group.
fn group(text: &str) -> Result<(&str, bool), String> {
    let Some(perl) = text.strip_prefix("(?") else { return Ok((&text[1..], true)) };
    if let Some(named) = perl.strip_prefix("P<").or_else(|| perl.strip_prefix('<')) {
        let Some((name, after)) = named.split_once('>') else {
            return Err(say("invalid named capture", text));
        };
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty() || !name.chars().all(fits) {
            return Err(say("invalid named capture", until(text, after)));
        }
        return Ok((after, true));
    }
    let mut rest = perl;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            'i' | 'm' | 's' | 'U' | '-' => {}
            ':' => return Ok((rest, true)),
            ')' => return Ok((rest, false)),
            _ => break,
        }
    }
    Err(say("invalid or unsupported Perl syntax", until(text, rest)))
}

/// `*`, `+`, `?` or `{…}`, and the `?` that makes it lazy. `last` is where the repetition right before it stands.
fn repetition<'p>(text: &'p str, after: &'p str, last: Option<&'p str>, operand: bool) -> Step<'p> {
    let after = after.strip_prefix('?').unwrap_or(after);
    match last {
        Some(last) => Err(say("invalid nested repetition operator", until(last, after))),
        None if !operand => Err(say("missing argument to repetition operator", until(text, after))),
        None => Ok(after),
    }
}

/// What follows `{n}`, `{n,}` or `{n,m}`, and whether the numbers are such as may be; `None` where it is a letter like others.
fn counted(text: &str) -> Option<(&str, bool)> {
    let (inside, after) = text[1..].split_once('}')?;
    let (from, to) = inside.split_once(',').map_or((inside, inside), |(from, to)| (from, to));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit are more than may be.
        digits.then(|| text.parse::<u32>().unwrap_or(u32::MAX))
    };
    let from = number(from)?;
    let to = if to.is_empty() { None } else { Some(number(to)?) };
    let fits = from <= REPEAT_MAX && to.is_none_or(|to| to <= REPEAT_MAX && from <= to);
    Some((after, fits))
}

/// A class in brackets.
fn class(text: &str) -> Step<'_> {
    let mut rest = text[1..].strip_prefix('^').unwrap_or(&text[1..]);
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|inside| inside.split_once(":]")) {
            if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return Err(say("invalid character class range", until(rest, after)));
            }
            rest = after;
            continue;
        }
        if is_set(rest) {
            rest = set(rest)?;
            continue;
        }
        let from = rest;
        let (low, after) = member(from, text)?;
        rest = after;
        let Some(behind) =
            rest.strip_prefix('-').filter(|behind| !behind.is_empty() && !behind.starts_with(']'))
        else {
            continue;
        };
        let (high, after) = member(behind, text)?;
        if low.zip(high).is_some_and(|(low, high)| high < low) {
            return Err(say("invalid character class range", until(from, after)));
        }
        rest = after;
    }
    Ok(&rest[1..])
}

/// A letter of a class, where it is known which, and what follows.
fn member<'p>(text: &'p str, class: &str) -> Result<(Option<char>, &'p str), String> {
    match text.chars().next() {
        None => Err(say("missing closing ]", class)),
        Some('\\') => {
            let after = letter(text)?;
            let plain = text[1..].chars().next().filter(|letter| !letter.is_alphanumeric());
            Ok((plain, after))
        }
        Some(letter) => Ok((Some(letter), &text[letter.len_utf8()..])),
    }
}

/// Whether a backslash begins a set of letters.
fn is_set(text: &str) -> bool {
    text.starts_with('\\') && text[1..].starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P'])
}

/// `\d`, `\pL`, `\p{Greek}` and the like.
fn set(text: &str) -> Step<'_> {
    if !text[1..].starts_with(['p', 'P']) {
        return Ok(&text[2..]);
    }
    let wrong = |place: &str| Err(say("invalid character class range", place));
    let name = &text[2..];
    let after = match name.chars().next() {
        None => return Err(say("invalid escape sequence", text)),
        Some('{') => match name.split_once('}') {
            Some((_, after)) => after,
            None => return wrong(text),
        },
        Some(letter) => &name[letter.len_utf8()..],
    };
    // Whether there is such a set, the engine knows.
    if regex::Regex::new(until(text, after)).is_err() { wrong(until(text, after)) } else { Ok(after) }
}

/// What a backslash begins outside of classes.
fn escaped(text: &str) -> Step<'_> {
    match text[1..].chars().next() {
        Some('A' | 'b' | 'B' | 'z') => Ok(&text[2..]),
        Some('Q') => Ok(text.split_once("\\E").map_or("", |(_, after)| after)),
        _ if is_set(text) => set(text),
        _ => letter(text),
    }
}

/// A letter that is written by a backslash.
fn letter(text: &str) -> Step<'_> {
    let mut letters = text[1..].chars();
    let Some(first) = letters.next() else {
        return Err(String::from("trailing backslash at end of expression: ``"));
    };
    let after = letters.as_str();
    let wrong = |rest: &str| Err(say("invalid escape sequence", until(text, rest)));
    match first {
        '0' => Ok(after),
        '1'..='7' if after.starts_with(|next| ('0'..='7').contains(&next)) => Ok(after),
        'a' | 'f' | 'n' | 'r' | 't' | 'v' => Ok(after),
        'x' => hexadecimal(after).ok_or(()).or_else(|()| wrong(after)),
        _ if first.is_ascii() && !first.is_ascii_alphanumeric() => Ok(after),
        _ => wrong(after),
    }
}

/// What follows `4a` or `{4a}`.
fn hexadecimal(text: &str) -> Option<&str> {
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(braced) = text.strip_prefix('{') {
        let (digits, after) = braced.split_once('}')?;
        let code = u32::from_str_radix(digits, 16).ok().filter(|code| *code <= 0x10_ffff);
        return (is_hex(digits) && code.is_some()).then_some(after);
    }
    text.get(..2).filter(|digits| is_hex(digits)).map(|_| &text[2..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, expected: &str) {
        assert_eq!(of(pattern).as_deref(), Some(expected), "{pattern}");
    }

    /// Written down from Debian's promtool 2.42, which shows its anchors, too.
    #[test]
    fn mistakes_are_told_in_gos_words() {
        check("[a", "missing closing ]: `[a`");
        check("a[b", "missing closing ]: `[b`");
        check("[]a", "missing closing ]: `[]a`");
        check("[^", "missing closing ]: `[^`");
        check("[a-", "missing closing ]: `[a-`");
        check("a(b", "missing closing ): `a(b`");
        check("a)b", "unexpected ): `a)b`");
        check("a|b)", "unexpected ): `a|b)`");
        check("*", "missing argument to repetition operator: `*`");
        check("(?i)*", "missing argument to repetition operator: `*`");
        check("a|+", "missing argument to repetition operator: `+`");
        check("x(*)", "missing argument to repetition operator: `*`");
        check("(?:*)", "missing argument to repetition operator: `*`");
        check("a**", "invalid nested repetition operator: `**`");
        check("a+*?", "invalid nested repetition operator: `+*?`");
        check("a{2}{3}", "invalid nested repetition operator: `{2}{3}`");
        check("a{2}*", "invalid nested repetition operator: `{2}*`");
        check("a**+", "invalid nested repetition operator: `**`");
        check("a\\", "trailing backslash at end of expression: ``");
        check("\\y", "invalid escape sequence: `\\y`");
        check("\\1", "invalid escape sequence: `\\1`");
        check("[\\y]", "invalid escape sequence: `\\y`");
        check("[a-\\d]", "invalid escape sequence: `\\d`");
        check("[z-a]", "invalid character class range: `z-a`");
        check("[[:foo:]]", "invalid character class range: `[:foo:]`");
        check("\\pX", "invalid character class range: `\\pX`");
        check("\\p{Foo}", "invalid character class range: `\\p{Foo}`");
        check("a{1001}", "invalid repeat count: `{1001}`");
        check("a{3,2}", "invalid repeat count: `{3,2}`");
        check("(?z)", "invalid or unsupported Perl syntax: `(?z`");
        check("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
        check("(?!a)", "invalid or unsupported Perl syntax: `(?!`");
        check("(?P<n", "invalid named capture: `(?P<n`");
    }

    #[test]
    fn what_go_takes_is_no_mistake() {
        let good = [
            "",
            "a|b",
            "(a|b)+?c{2,}",
            "[]a]",
            "[^]]",
            "[a-]",
            "[-a]",
            "\\d[\\w-]\\pL\\p{Greek}",
            "a{",
            "a{,2}",
            "x{1000}",
            "(?i)a",
            "(?i:a)*",
            "(?P<n>a)(?<m>b)",
            "\\Qa)(\\E)?",
            "[[:^alpha:]]",
            "^*",
            "\\x41\\x{1F600}",
            "\\.",
            "é+",
            "()*",
            "a(?i)*",
        ];
        for pattern in good.iter().filter(|pattern| **pattern != "\\Qa)(\\E)?") {
            assert_eq!(of(pattern), None, "{pattern}");
        }
        check("\\Qa)(\\E)?", "unexpected ): `\\Qa)(\\E)?`");
    }

    proptest! {
        #[test]
        fn no_pattern_is_too_strange(pattern in "[\\[\\](){}*+?|\\\\a-zQE^$:<>=P0-9é,-]{0,24}", any in ".{0,16}") {
            of(&pattern);
            of(&any);
        }
    }
}
