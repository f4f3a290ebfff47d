//! Paths by patterns, as Go's `filepath.Glob` finds them: `*`, `?`, `[a-z]`, `[^a]` and `\` within one part of a path.
//!
//! Limits: [`PATHS_MAX`] paths; a folder that cannot be read holds nothing, as there.

use std::path::{Component, Path, PathBuf};

/// The most paths that one pattern may name.
pub(super) const PATHS_MAX: usize = 10_000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GlobError {
    #[error("{0:?} is no pattern: a [ without its ], or nothing behind a \\")]
    Malformed(String),
    #[error("{0:?} names more than {PATHS_MAX} files: write a narrower pattern")]
    TooMany(String),
}

pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Files that a pattern names, sorted.
pub(super) fn paths(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, GlobError> {
    let mut found = vec![base.to_owned()];
    for part in Path::new(pattern).components() {
        let Component::Normal(name) = part else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let name = name.to_string_lossy();
        if !is_pattern(&name) {
            found.iter_mut().for_each(|path| path.push(&*name));
            continue;
        }
        let tokens = tokens(&name).ok_or_else(|| GlobError::Malformed(pattern.to_owned()))?;
        found = found.iter().flat_map(|folder| within(folder, &tokens)).take(PATHS_MAX + 1).collect();
        if found.len() > PATHS_MAX {
            return Err(GlobError::TooMany(pattern.to_owned()));
        }
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

fn within(folder: &Path, tokens: &[Token]) -> Vec<PathBuf> {
    // A pattern without a folder before it is about the present one.
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    let fits = |name: &std::ffi::OsString| {
        let name: Vec<char> = name.to_string_lossy().chars().collect();
        matches(tokens, &name)
    };
    names.filter(fits).take(PATHS_MAX + 1).map(|name| folder.join(name)).collect()
}

enum Token {
    Any,
    One,
    Is(char),
    Of { ranges: Vec<(char, char)>, negated: bool },
}

impl Token {
    fn fits(&self, symbol: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Is(own) => *own == symbol,
            Self::Of { ranges, negated } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&symbol)) != *negated
            }
        }
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut symbols = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(symbol) = symbols.next() {
        tokens.push(match symbol {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Is(symbols.next()?),
            '[' => {
                let negated = symbols.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let mut from = symbols.next()?;
                    match from {
                        ']' if !ranges.is_empty() => break,
                        ']' => return None,
                        '\\' => from = symbols.next()?,
                        _ => {}
                    }
                    let mut to = from;
                    if symbols.next_if_eq(&'-').is_some() {
                        to = symbols.next()?;
                    }
                    ranges.push((from, to));
                }
                Token::Of { ranges, negated }
            }
            other => Token::Is(other),
        });
    }
    Some(tokens)
}

/// In time of the product of both lengths: after a `*`, only the last one is ever tried again.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    loop {
        match (tokens.get(token), text.get(at)) {
            (None, None) => return true,
            (Some(Token::Any), _) => {
                again = Some((token, at));
                token += 1;
            }
            (Some(one), Some(symbol)) if one.fits(*symbol) => {
                token += 1;
                at += 1;
            }
            _ => match again {
                Some((star, from)) if from < text.len() => {
                    again = Some((star, from + 1));
                    (token, at) = (star + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        let tokens = tokens(pattern).expect("a pattern");
        let text: Vec<char> = text.chars().collect();
        assert_eq!(matches(&tokens, &text), expected, "{pattern} {text:?}");
    }

    #[test]
    fn patterns_as_go_has_them() {
        check("*.yml", "a.yml", true);
        check("*.yml", "a.yaml", false);
        check("a*b*c", "axxbyyc", true);
        check("a*b*c", "axxbyyd", false);
        check("?[a-c].rules", "xb.rules", true);
        check("[^a-c]", "b", false);
        check("[^a-c]", "d", true);
        check(r"a\*", "a*", true);
        check(r"a\*", "ab", false);
        check("*", "", true);
        check("", "a", false);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["[a", "[]", "a\\", "[a-"] {
            assert!(tokens(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn folders_may_be_patterns_too() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["x1/a.yml", "x2/b.yml", "y/c.yml"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let found = paths(folder.path(), "x*/*.yml").expect("a pattern");
        let found: Vec<_> =
            found.iter().map(|path| path.strip_prefix(folder.path()).expect("below")).collect();
        assert_eq!(found, [Path::new("x1/a.yml"), Path::new("x2/b.yml")]);
    }
}
