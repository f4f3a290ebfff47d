//! Errors for people: what was tried, and every cause once.
//!
//! Some errors say their cause themselves and name it as a source, too; printed link by link such a chain says the same words
//! twice ("cannot open the store: no such file: no such file").

use std::error::Error;

/// An error and what lies behind it on one line, outermost first; a cause that was said already is left out.
pub fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// [`in_full`], and what to do where the system refuses for lack of rights: these programs' files are often another user's.
pub fn for_terminal(error: &(dyn Error + 'static)) -> String {
    let text = in_full(error);
    if text.contains("Permission denied") {
        return format!("{text}; run this as root (sudo), or as the user whose files these are");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|link| link as _)
        }
    }

    fn check(links: &[&'static str], expected: &str) {
        let chain = links.iter().rev().fold(None, |inner, text| Some(Box::new(Link(text, inner))));
        assert_eq!(in_full(&*chain.expect("some links")), expected);
    }

    #[test]
    fn who_lacks_rights_is_told_how_to_have_them() {
        let denied = Link("cannot read x: Permission denied (os error 13)", None);
        assert!(
            for_terminal(&denied)
                .ends_with("(os error 13); run this as root (sudo), or as the user whose files these are")
        );
        assert_eq!(for_terminal(&Link("no", None)), "no");
    }

    #[test]
    fn every_cause_is_said_once() {
        check(&["cannot open x"], "cannot open x");
        check(&["cannot open x", "no such file"], "cannot open x: no such file");
        check(&["cannot open x: no such file", "no such file"], "cannot open x: no such file");
        check(
            &["cannot start", "cannot open x: no such file", "no such file"],
            "cannot start: cannot open x: no such file",
        );
        check(&["a", "b: c", "c", "d"], "a: b: c: d");
    }
}
