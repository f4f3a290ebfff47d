//! `@`, `offset`, `on`, `ignoring`, `group_left`, `fill`: what stands beside expressions.

use model::Timestamp;

use super::lex::TokenKind;
use super::{Fault, LABELS_MAX, Parsed, Parser};
use crate::ast::{At, Duration, Group, Matching};
use crate::duration::MILLIS_MAX;

impl Parser<'_> {
    /// The length after `offset`.
    pub(super) fn offset(&mut self) -> Parsed<Duration> {
        if self.peek().kind == TokenKind::End {
            return Err(self.unexpected("offset", "duration"));
        }
        self.duration_operand()
    }

    /// The time after `@`.
    pub(super) fn at_time(&mut self) -> Parsed<At> {
        let here = self.span();
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.is_keyword(word) && self.next_is_symbol("(") {
                self.advance();
                self.advance();
                self.expect(")", "@")?;
                return Ok(at);
            }
        }
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            self.advance();
        }
        let seconds = match &self.peek().kind {
            TokenKind::Number(value) => *value,
            TokenKind::Duration(millis) => *millis as f64 / 1000.0,
            TokenKind::Word if self.is_keyword("inf") || self.is_keyword("nan") => f64::NAN,
            _ => return Err(self.unexpected("@", "timestamp")),
        };
        self.advance();
        let seconds = if negative { -seconds } else { seconds };
        let millis = (seconds * 1000.0).round();
        if !millis.is_finite() || millis.abs() > MILLIS_MAX as f64 * 1000.0 {
            return Err(Fault::new(here, format!("timestamp out of bounds for @ modifier: {seconds:.6}")));
        }
        Ok(At::Time(Timestamp::from_millis(millis as i64)))
    }

    /// What may follow a binary operator; `None` where nothing does.
    pub(super) fn matching(&mut self) -> Parsed<Option<Matching>> {
        let mut matching = Matching::default();
        let mut found = false;
        let on = self.is_keyword("on");
        if on || self.is_keyword("ignoring") {
            self.advance();
            found = true;
            matching.on = on;
            matching.labels = self.label_list("grouping opts")?;
        }
        let left = self.is_keyword("group_left");
        if left || self.is_keyword("group_right") {
            if !found {
                return Err(self.unexpected("", ""));
            }
            self.advance();
            matching.group = if left { Group::Left } else { Group::Right };
            if self.is_symbol("(") {
                matching.include = self.label_list("grouping opts")?;
            }
        }
        let fills = self.fills(&mut matching)?;
        Ok((found || fills).then_some(matching))
    }

    fn fills(&mut self, matching: &mut Matching) -> Parsed<bool> {
        let mut found = false;
        while let Some(word) = self.word().map(str::to_ascii_lowercase) {
            let (left, right) = match word.as_str() {
                "fill" if !found => (true, true),
                "fill_left" if matching.fill_left.is_none() => (true, false),
                "fill_right" if matching.fill_right.is_none() => (false, true),
                _ => break,
            };
            if !self.next_is_symbol("(") {
                break;
            }
            if !self.features.fill {
                return Err(Fault::new(self.span(), "binop fill modifiers are experimental and not enabled"));
            }
            self.advance();
            let value = self.fill_value()?;
            found = true;
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
            if left && right {
                break;
            }
        }
        Ok(found)
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect("(", "fill modifier")?;
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            self.advance();
        }
        let value = match &self.peek().kind {
            TokenKind::Number(value) => *value,
            TokenKind::Word if self.is_keyword("inf") => f64::INFINITY,
            TokenKind::Word if self.is_keyword("nan") => f64::NAN,
            _ => return Err(self.unexpected("fill modifier", "number")),
        };
        self.advance();
        self.expect(")", "fill modifier")?;
        Ok(if negative { -value } else { value })
    }

    /// `(a, b, "c.d")`.
    pub(super) fn label_list(&mut self, context: &str) -> Parsed<Vec<String>> {
        self.expect("(", context)?;
        let mut labels = Vec::new();
        while !self.take_symbol(")") {
            let label = match &self.peek().kind {
                TokenKind::Word => self.word().expect("it is a word").to_owned(),
                TokenKind::Text(raw) => String::from_utf8_lossy(raw).into_owned(),
                _ => return Err(self.unexpected(context, "label")),
            };
            if label.is_empty() || label.contains(':') && self.word().is_some() {
                return Err(self.unexpected(context, "label"));
            }
            if labels.len() == LABELS_MAX {
                return Err(Fault::new(self.span(), format!("more than {LABELS_MAX} labels in one list")));
            }
            self.advance();
            labels.push(label);
            if !self.take_symbol(",") && !self.is_symbol(")") {
                return Err(self.unexpected(context, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }
}
