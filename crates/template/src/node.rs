//! The tree of a template, and its nodes as messages show them.

use std::fmt;

use crate::format::quote;

/// A part of a template.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Text(usize, String),
    Action(usize, Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(usize, String, Option<Pipe>),
    Break(usize),
    Continue(usize),
}

impl Node {
    /// Whether a function stands in it.
    pub(crate) fn calls(&self, function: &str) -> bool {
        match self {
            Self::Text(..) | Self::Break(_) | Self::Continue(_) | Self::Template(_, _, None) => false,
            Self::Action(_, pipe) | Self::Template(_, _, Some(pipe)) => pipe.calls(function),
            Self::If(branch) | Self::With(branch) | Self::Range(branch) => {
                let mut nodes = branch.body.iter().chain(branch.other.iter().flatten());
                branch.pipe.calls(function) || nodes.any(|node| node.calls(function))
            }
        }
    }
}

impl Pipe {
    fn calls(&self, function: &str) -> bool {
        self.commands.iter().flat_map(|command| &command.words).any(|word| word.calls(function))
    }
}

impl Word {
    fn calls(&self, function: &str) -> bool {
        match &self.kind {
            WordKind::Function(name) => name == function,
            WordKind::Chain(word, _) => word.calls(function),
            WordKind::Pipe(pipe) => pipe.calls(function),
            _ => false,
        }
    }
}

/// What `if`, `with` and `range` have in common.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) body: Vec<Node>,
    pub(crate) other: Option<Vec<Node>>,
}

/// `$x := a | b | c`
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    pub(crate) at: usize,
    pub(crate) assigns: bool,
    pub(crate) names: Vec<String>,
    pub(crate) commands: Vec<Command>,
}

/// A function or value with arguments.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) at: usize,
    pub(crate) words: Vec<Word>,
}

/// One operand.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) at: usize,
    pub(crate) kind: WordKind,
}

#[derive(Clone, Debug)]
pub(crate) enum WordKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text {
        value: String,
        quoted: String,
    },
    Field(Vec<String>),
    /// The variable, and fields of it.
    Variable(Vec<String>),
    Chain(Box<Word>, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>),
}

/// A number literal: what it can be taken as.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    pub(crate) text: String,
    pub(crate) int: Option<i64>,
    pub(crate) float: Option<f64>,
}

impl Number {
    /// Whether it is a float where nothing else says which it is.
    pub(crate) fn looks_like_float(&self) -> bool {
        let hex = self.text.starts_with("0x") || self.text.starts_with("0X");
        !self.text.starts_with('\'')
            && if hex {
                self.text.contains(['p', 'P'])
            } else {
                self.text.contains(['.', 'e', 'E', 'p', 'P'])
            }
    }
}

/// Something that an error can be at.
#[derive(Clone, Copy)]
pub(crate) enum Place<'t> {
    Node(&'t Node),
    Pipe(&'t Pipe),
    Command(&'t Command),
    Word(&'t Word),
}

impl Place<'_> {
    pub(crate) fn at(&self) -> usize {
        match self {
            Self::Node(node) => match node {
                Node::Text(at, _) | Node::Action(at, _) | Node::Template(at, ..) => *at,
                Node::Break(at) | Node::Continue(at) => *at,
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => branch.pipe.at,
            },
            Self::Pipe(pipe) => pipe.at,
            Self::Command(command) => command.at,
            Self::Word(word) => word.at,
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(out),
            Self::Pipe(pipe) => pipe.fmt(out),
            Self::Command(command) => command.fmt(out),
            Self::Word(word) => word.fmt(out),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_, text) => out.write_str(text),
            Self::Action(_, pipe) => write!(out, "{{{{{pipe}}}}}"),
            Self::If(branch) => branch.print("if", out),
            Self::With(branch) => branch.print("with", out),
            Self::Range(branch) => branch.print("range", out),
            Self::Template(_, name, None) => write!(out, "{{{{template {}}}}}", quote(name)),
            Self::Template(_, name, Some(pipe)) => write!(out, "{{{{template {} {pipe}}}}}", quote(name)),
            Self::Break(_) => out.write_str("{{break}}"),
            Self::Continue(_) => out.write_str("{{continue}}"),
        }
    }
}

impl Branch {
    fn print(&self, word: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{{{{word} {}}}}}", self.pipe)?;
        self.body.iter().try_for_each(|node| write!(out, "{node}"))?;
        if let Some(other) = &self.other {
            out.write_str("{{else}}")?;
            other.iter().try_for_each(|node| write!(out, "{node}"))?;
        }
        out.write_str("{{end}}")
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.names.is_empty() {
            write!(out, "{} {} ", self.names.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                out.write_str(" | ")?;
            }
            command.fmt(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                out.write_str(" ")?;
            }
            match &word.kind {
                WordKind::Pipe(pipe) => write!(out, "({pipe})")?,
                _ => word.fmt(out)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            WordKind::Dot => out.write_str("."),
            WordKind::Nil => out.write_str("nil"),
            WordKind::Bool(value) => value.fmt(out),
            WordKind::Number(number) => out.write_str(&number.text),
            WordKind::Text { quoted, .. } => out.write_str(quoted),
            WordKind::Field(names) => write!(out, ".{}", names.join(".")),
            WordKind::Variable(names) => out.write_str(&names.join(".")),
            WordKind::Chain(word, names) => {
                match &word.kind {
                    WordKind::Pipe(pipe) => write!(out, "({pipe})")?,
                    _ => word.fmt(out)?,
                }
                write!(out, ".{}", names.join("."))
            }
            WordKind::Function(name) => out.write_str(name),
            WordKind::Pipe(pipe) => pipe.fmt(out),
        }
    }
}
