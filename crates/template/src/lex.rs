//! A template's text as tokens: text between actions, and the words inside of them.
//!
//! Trim markers and comments are done with here. A mistake is a token, so that the parser says it where it meets it.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Error,
    Bool,
    Char,
    CharConstant,
    Assign,
    Declare,
    End,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Dot,
    Keyword(Keyword),
}

/// Words that no function can be named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// A token, its text, and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Token {
    /// As messages name it.
    pub(crate) fn describe(&self) -> String {
        match self.kind {
            Kind::End => "EOF".to_owned(),
            Kind::Error => self.text.clone(),
            Kind::Dot | Kind::Keyword(_) => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let start: String = self.text.chars().take(10).collect();
                format!("{}...", crate::format::quote(&start))
            }
            _ => crate::format::quote(&self.text),
        }
    }
}

fn keyword(word: &str) -> Option<Keyword> {
    Some(match word {
        "block" => Keyword::Block,
        "break" => Keyword::Break,
        "continue" => Keyword::Continue,
        "define" => Keyword::Define,
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "if" => Keyword::If,
        "nil" => Keyword::Nil,
        "range" => Keyword::Range,
        "template" => Keyword::Template,
        "with" => Keyword::With,
        _ => return None,
    })
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_space(char: char) -> bool {
    SPACES.contains(&char)
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphabetic() || char.is_numeric()
}

/// All tokens; the last is [`Kind::End`] or [`Kind::Error`].
pub(crate) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, line: 1, counted: 0, tokens: Vec::new(), parens: 0 };
    if let Err(message) = lexer.run() {
        let at = lexer.at;
        lexer.push(Kind::Error, at, message);
    }
    lexer.tokens
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    /// Up to where lines are counted.
    counted: usize,
    tokens: Vec<Token>,
    parens: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, at: usize, text: String) {
        self.line += self.text[self.counted..at].bytes().filter(|byte| *byte == b'\n').count();
        self.counted = at;
        self.tokens.push(Token { kind, at, line: self.line, text });
    }

    /// What lies between here and `end` becomes a token.
    fn emit(&mut self, kind: Kind, end: usize) {
        let (at, text) = (self.at, &self.text[self.at..end]);
        self.push(kind, at, text.to_owned());
        self.at = end;
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let Some(length) = self.rest().find("{{") else {
                if !self.rest().is_empty() {
                    self.emit(Kind::Text, self.text.len());
                }
                self.emit(Kind::End, self.text.len());
                return Ok(());
            };
            let open = self.at + length;
            let trims = has_left_marker(&self.text[open + 2..]);
            let before = &self.text[self.at..open];
            let kept = if trims { before.trim_end_matches(SPACES) } else { before };
            if !kept.is_empty() {
                self.emit(Kind::Text, self.at + kept.len());
            }
            self.at = open;
            let inside = open + if trims { 4 } else { 2 };
            if self.text[inside..].starts_with("/*") {
                self.comment(inside)?;
            } else {
                self.emit(Kind::LeftDelim, open + 2);
                self.at = inside;
                self.parens = 0;
                self.action()?;
            }
        }
    }

    fn comment(&mut self, inside: usize) -> Result<(), String> {
        let length = self.text[inside..].find("*/").ok_or("unclosed comment")?;
        self.at = inside + length + 2;
        if !self.close() {
            return Err("comment ends before closing delimiter".to_owned());
        }
        Ok(())
    }

    /// Steps over a closing delimiter that is here, its trim marker and what that trims.
    fn close(&mut self) -> bool {
        let rest = self.rest();
        let trims = has_right_marker(rest);
        let length = match (trims, rest.starts_with("}}")) {
            (true, _) => 4,
            (false, true) => 2,
            (false, false) => return false,
        };
        self.at += length;
        if trims {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(SPACES).len();
        }
        true
    }

    /// The inside of an action, to its end.
    fn action(&mut self) -> Result<(), String> {
        loop {
            let start = self.at;
            let marked = has_right_marker(self.rest());
            if marked || self.rest().starts_with("}}") {
                if self.parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                let at = if marked { start + 2 } else { start };
                self.push(Kind::RightDelim, at, "}}".to_owned());
                self.close();
                return Ok(());
            }
            self.word()?;
        }
    }

    fn word(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Err("unclosed action".to_owned()) };
        let one = self.at + first.len_utf8();
        match first {
            _ if is_space(first) => self.space(),
            '=' => self.emit(Kind::Assign, one),
            ':' if rest.starts_with(":=") => self.emit(Kind::Declare, self.at + 2),
            ':' => return Err("expected :=".to_owned()),
            '|' => self.emit(Kind::Pipe, one),
            '"' => self.quoted('"', Kind::String, "unterminated quoted string")?,
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant")?,
            '`' => {
                let length = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                self.emit(Kind::RawString, self.at + length + 2);
            }
            '.' if !rest[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                self.named(Kind::Field, Kind::Dot)?
            }
            '$' => self.named(Kind::Variable, Kind::Variable)?,
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            _ if is_word(first) => self.identifier()?,
            '(' => {
                self.emit(Kind::LeftParen, one);
                self.parens += 1;
            }
            ')' => {
                self.emit(Kind::RightParen, one);
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
            }
            ' '..='~' => self.emit(Kind::Char, one),
            other => return Err(format!("unrecognized character in action: {}", code_point(other))),
        }
        Ok(())
    }

    /// A run of spaces; the last may belong to a closing trim marker.
    fn space(&mut self) {
        let rest = self.rest();
        let mut length = rest.len() - rest.trim_start_matches(SPACES).len();
        if has_right_marker(&rest[length - 1..]) {
            length -= 1;
        }
        if length > 0 {
            self.emit(Kind::Space, self.at + length);
        }
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result<(), String> {
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, char)) = chars.next() {
            match char {
                '\\' if chars.next().is_some_and(|(_, next)| next != '\n') => {}
                '\\' | '\n' => break,
                _ if char == quote => {
                    self.emit(kind, self.at + at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(unterminated.to_owned())
    }

    /// `.name` or `$name`, or the sign alone.
    fn named(&mut self, kind: Kind, alone: Kind) -> Result<(), String> {
        let rest = &self.rest()[1..];
        let length = rest.len() - rest.trim_start_matches(is_word).len();
        self.terminated(1 + length)?;
        self.emit(if length == 0 { alone } else { kind }, self.at + 1 + length);
        Ok(())
    }

    fn identifier(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let length = rest.len() - rest.trim_start_matches(is_word).len();
        self.terminated(length)?;
        let kind = match &rest[..length] {
            "true" | "false" => Kind::Bool,
            word => keyword(word).map_or(Kind::Identifier, Kind::Keyword),
        };
        self.emit(kind, self.at + length);
        Ok(())
    }

    /// A word must be followed by something that ends it.
    fn terminated(&self, length: usize) -> Result<(), String> {
        match self.rest()[length..].chars().next() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(' | '}') => Ok(()),
            Some(next) if is_space(next) => Ok(()),
            Some(next) => Err(format!("bad character {}", code_point(next))),
        }
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let mut at = usize::from(rest.starts_with(['+', '-']));
        let skip = |at: usize, fits: fn(char) -> bool| rest.len() - rest[at..].trim_start_matches(fits).len();
        let prefix = rest[at..].get(..2).map(str::to_ascii_lowercase);
        let digits: fn(char) -> bool = match prefix.as_deref() {
            Some("0x") => |char| char.is_ascii_hexdigit() || char == '_',
            Some("0o") => |char| matches!(char, '0'..='7' | '_'),
            Some("0b") => |char| matches!(char, '0' | '1' | '_'),
            _ => |char| char.is_ascii_digit() || char == '_',
        };
        let prefixed = matches!(prefix.as_deref(), Some("0x" | "0o" | "0b"));
        at = skip(if prefixed { at + 2 } else { at }, digits);
        if rest[at..].starts_with('.') {
            at = skip(at + 1, digits);
        }
        let exponent: &[char] = if prefix.as_deref() == Some("0x") { &['p', 'P'] } else { &['e', 'E'] };
        if rest[at..].starts_with(exponent) {
            at += 1;
            at += usize::from(rest[at..].starts_with(['+', '-']));
            at = skip(at, |char| char.is_ascii_digit() || char == '_');
        }
        if let Some(next) = rest[at..].chars().next().filter(|next| is_word(*next)) {
            let bad = &rest[..at + next.len_utf8()];
            return Err(format!("bad number syntax: {}", crate::format::quote(bad)));
        }
        self.emit(Kind::Number, self.at + at);
        Ok(())
    }
}

/// `- ` after an opening delimiter.
fn has_left_marker(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACES))
}

/// ` -}}` at the end of an action.
fn has_right_marker(rest: &str) -> bool {
    rest.strip_prefix(SPACES).is_some_and(|rest| rest.starts_with("-}}"))
}

/// `U+0041 'A'`.
fn code_point(char: char) -> String {
    let number = u32::from(char);
    if char.is_control() { format!("U+{number:04X}") } else { format!("U+{number:04X} '{char}'") }
}
