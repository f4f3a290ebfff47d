//! Cuts an expression into tokens. Keywords are identifiers here; the parser knows where they are keywords.

use crate::ast::Span;
use crate::duration::{self, DurationError};
use crate::number;

/// One token and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A word; colons are part of it outside brackets.
    Word,
    Number(f64),
    /// Milliseconds.
    Duration(i64),
    /// Bytes without quotes, escapes undone.
    Text(Vec<u8>),
    /// Punctuation and operators, as written.
    Symbol(&'static str),
    End,
}

/// Where and why an expression cannot be cut.
pub(super) type LexError = (Span, String);

/// Two characters before one.
const SYMBOLS: [&str; 27] = [
    "==", "!=", "<=", "</", ">=", ">/", "=~", "!~", "=", "<", ">", "+", "-", "*", "/", "%", "^", "@", ",",
    "(", ")", "{", "}", "[", "]", ":", "!",
];

/// Cuts the whole text; the last token is [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, LexError> {
    let mut lexer = Lexer { text, at: 0, in_brackets: false, in_braces: false, open: Vec::new() };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.kind == TokenKind::End;
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    in_brackets: bool,
    in_braces: bool,
    /// Kinds of the parentheses that are open.
    open: Vec<u8>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Result<Token, LexError> {
        self.skip_blanks();
        let start = self.at;
        let kind = self.kind()?;
        Ok(Token { kind, span: Span { start, end: self.at } })
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.at += blanks;
            if !self.rest().starts_with('#') {
                return;
            }
            self.at += self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
        }
    }

    fn kind(&mut self) -> Result<TokenKind, LexError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return self.end();
        };
        let second_is_digit = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        match first {
            '"' | '\'' | '`' => self.text_literal(first),
            '0'..='9' => self.number(),
            '.' if second_is_digit => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => Ok(self.word()),
            ':' if !self.in_brackets && !self.in_braces => Ok(self.word()),
            _ => self.symbol(first),
        }
    }

    fn end(&self) -> Result<TokenKind, LexError> {
        let here = Span { start: self.at, end: self.at };
        if self.in_braces {
            return Err((here, "unexpected end of input inside braces".into()));
        }
        if self.in_brackets {
            return Err((here, "unclosed left bracket".into()));
        }
        if !self.open.is_empty() {
            return Err((here, "unclosed left parenthesis".into()));
        }
        Ok(TokenKind::End)
    }

    fn word(&mut self) -> TokenKind {
        let colons = !self.in_brackets && !self.in_braces;
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || (colons && *byte == b':');
        self.at += self.rest().bytes().take_while(|byte| fits(byte)).count();
        TokenKind::Word
    }

    fn symbol(&mut self, first: char) -> Result<TokenKind, LexError> {
        let here = Span { start: self.at, end: self.at + first.len_utf8() };
        let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)).copied() else {
            return Err((here, format!("unexpected character: {first:?}")));
        };
        self.at += symbol.len();
        match symbol {
            "(" => self.open.push(b'('),
            ")" if self.open.pop().is_none() => {
                return Err((here, "unexpected right parenthesis ')'".into()));
            }
            "{" if self.in_braces => return Err((here, "unexpected left brace '{'".into())),
            "{" => self.in_braces = true,
            "}" if !self.in_braces => return Err((here, "unexpected right brace '}'".into())),
            "}" => self.in_braces = false,
            "[" if self.in_brackets => return Err((here, "unexpected left bracket '['".into())),
            "[" => self.in_brackets = true,
            "]" if !self.in_brackets => return Err((here, "unexpected right bracket ']'".into())),
            "]" => self.in_brackets = false,
            "!" => {
                let after = self.rest().chars().next();
                return Err((
                    here,
                    after.map_or("unexpected end of input after '!'".into(), |c| {
                        format!("unexpected character after '!': {c:?}")
                    }),
                ));
            }
            _ => {}
        }
        Ok(TokenKind::Symbol(symbol))
    }

    fn number(&mut self) -> Result<TokenKind, LexError> {
        let start = self.at;
        self.at += number_length(self.rest());
        let whole = &self.text[start..self.at];
        let span = Span { start, end: self.at };
        if let Some(value) = number::parse(whole) {
            return Ok(TokenKind::Number(value));
        }
        match duration::parse(whole) {
            Ok(millis) => Ok(TokenKind::Duration(millis)),
            Err(DurationError::OutOfRange) => Err((span, "duration out of range".into())),
            Err(DurationError::Syntax) => Err((span, format!("bad number or duration syntax: {whole:?}"))),
        }
    }

    fn text_literal(&mut self, quote: char) -> Result<TokenKind, LexError> {
        let start = self.at;
        let body_start = start + 1;
        let body = &self.text[body_start..];
        let mut length = 0;
        let bytes = body.as_bytes();
        loop {
            match bytes.get(length) {
                None => {
                    return Err((Span { start, end: self.text.len() }, "unterminated quoted string".into()));
                }
                Some(b'\n') if quote != '`' => {
                    return Err((
                        Span { start, end: body_start + length },
                        "unterminated quoted string".into(),
                    ));
                }
                Some(b'\\') if quote != '`' => length += 2,
                Some(byte) if char::from(*byte) == quote => break,
                Some(_) => length += 1,
            }
        }
        self.at = body_start + length + 1;
        if quote == '`' {
            return Ok(TokenKind::Text(body[..length].replace('\r', "").into_bytes()));
        }
        let raw = &body.as_bytes()[..length];
        unescape(raw, quote).map(TokenKind::Text).map_err(|why| (Span { start, end: self.at }, why))
    }
}

/// Bytes of a number or duration at the start of `text`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    let hex = text.starts_with("0x") || text.starts_with("0X");
    while let Some(byte) = bytes.get(at) {
        let exponent_sign = !hex
            && matches!(byte, b'+' | b'-')
            && matches!(bytes[at - 1], b'e' | b'E')
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || (at > 0 && exponent_sign)) {
            break;
        }
        at += 1;
    }
    at
}

/// Undoes Go's escapes. `\x..` and octals make bytes, which need not be UTF-8.
fn unescape(raw: &[u8], quote: char) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let escape = *raw.get(at).ok_or("escape sequence not terminated")?;
        at += 1;
        match escape {
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'\\' => out.push(b'\\'),
            b'x' => {
                out.push(digits(raw, &mut at, 2, 16)? as u8);
            }
            b'u' => push_char(&mut out, digits(raw, &mut at, 4, 16)?)?,
            b'U' => push_char(&mut out, digits(raw, &mut at, 8, 16)?)?,
            b'0'..=b'7' => {
                at -= 1;
                let value = digits(raw, &mut at, 3, 8)?;
                out.push(u8::try_from(value).map_err(|_| "octal escape value > 255")?);
            }
            other if char::from(other) == quote => out.push(other),
            other => return Err(format!("unknown escape sequence {:?}", char::from(other))),
        }
    }
    Ok(out)
}

fn digits(raw: &[u8], at: &mut usize, count: usize, radix: u32) -> Result<u32, String> {
    let text = raw.get(*at..*at + count).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let value = text
        .filter(|text| !text.starts_with(['+', '-']))
        .and_then(|text| u32::from_str_radix(text, radix).ok());
    *at += count;
    value.ok_or_else(|| "illegal character in escape sequence".into())
}

fn push_char(out: &mut Vec<u8>, code: u32) -> Result<(), String> {
    let char = char::from_u32(code).ok_or("escape sequence is an invalid Unicode code point")?;
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}
