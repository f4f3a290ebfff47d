//! Go's regular expressions (RE2) in the syntax of the `regex` crate: for expressions and for templates.
//!
//! Both are finite automata without backtracking and agree on nearly all of the syntax. Made equal here: `\Q…\E` quotes; a brace
//! that opens no repetition (`a{b}`) is itself; in a class `[`, `&&`, `--` and `~~` are characters and no set operations; `\d`, `\s`,
//! `\w`, `\b` know ASCII only. Not made equal: octal escapes (`\101`) and `\C`, which `regex` refuses; `(?x)` and
//! repetitions above 1,000, which RE2 refuses.

mod mistake;

/// The pattern in the syntax of the `regex` crate.
pub fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        rest = match char {
            '\\' => escape(after, in_class, &mut out),
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                class_start(after, &mut out)
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                out.push('[');
                after
            }
            '[' => {
                out.push_str("\\[");
                after
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
                after
            }
            ':' if in_class && after.starts_with(']') && is_posix_class(&out) => {
                out.push_str(":]");
                &after[1..]
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(char);
                after
            }
            '-' if in_class && after.starts_with('-') => {
                out.push_str("\\-");
                after
            }
            '{' if !in_class && !is_repetition(after) => {
                out.push_str("\\{");
                after
            }
            char => {
                out.push(char);
                after
            }
        };
    }
    out
}

/// After a backslash.
fn escape<'p>(after: &'p str, in_class: bool, out: &mut String) -> &'p str {
    if let Some(quoted) = after.strip_prefix('Q') {
        let (literal, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        out.push_str(&regex::escape(literal));
        return rest;
    }
    let Some(char) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    match char {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str(r"[\t\n\f\r ]"),
        'S' => out.push_str(r"[^\t\n\f\r ]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'b' | 'B' if !in_class => out.push_str(&format!(r"(?-u:\{char})")),
        char => {
            out.push('\\');
            out.push(char);
        }
    }
    &after[char.len_utf8()..]
}

/// After the bracket that opens a class: a negation, and a bracket that closes nothing yet.
fn class_start<'p>(after: &'p str, out: &mut String) -> &'p str {
    let mut rest = after;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    if let Some(first) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = first;
    }
    rest
}

fn is_posix_class(out: &str) -> bool {
    out.rfind("[:")
        .is_some_and(|at| out[at + 2..].bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'^'))
}

/// Whether `2}`, `2,}` or `2,5}` follows.
fn is_repetition(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else {
        return false;
    };
    let (from, to) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !from.is_empty() && digits(from) && digits(to)
}

/// Why a pattern was refused, in Go's words where it would be refused there, too; else the engine's own, of which the last line says what
/// is wrong and the lines before draw the pattern.
pub fn refusal(pattern: &str, reason: &str) -> String {
    mistake::of(pattern).unwrap_or_else(|| one_line(reason).to_owned())
}

/// The last line of an engine's message.
pub fn one_line(reason: &str) -> &str {
    reason.lines().last().unwrap_or(reason).trim_start_matches("error: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        let ours = translate(pattern);
        let regex =
            regex::Regex::new(&format!("^(?s:{ours})$")).unwrap_or_else(|error| panic!("{ours}: {error}"));
        assert_eq!(regex.is_match(text), expected, "{pattern} (as {ours}) on {text}");
    }

    #[test]
    fn quoting_takes_the_meaning_from_everything() {
        check(r"\Qa.b(\E.", "a.b(c", true);
        check(r"\Qa.b", "axb", false);
    }

    #[test]
    fn a_brace_that_repeats_nothing_is_a_brace() {
        check("a{b}c", "a{b}c", true);
        check("a{2}", "aa", true);
        check("a{2,}", "aaa", true);
        check("{,3}", "{,3}", true);
    }

    #[test]
    fn letters_for_classes_mean_ascii() {
        check(r"\d+", "12", true);
        check(r"\d", "٣", false);
        check(r"\w+", "é", false);
        check(r"[\d.]+", "1.2", true);
        check(r"[^\W1]", "a", true);
        check(r".*\bup\b.*", "is up now", true);
    }

    #[test]
    fn classes_hold_characters_and_no_operations() {
        check("[[]", "[", true);
        check("[a&&b]+", "a&b", true);
        check("[a~~]+", "~a", true);
        check("[]a]+", "]a", true);
        check("[^]a]", "b", true);
        check("[[:alpha:]]+", "abc", true);
        check(r"[\]a]+", "]a", true);
    }
}
