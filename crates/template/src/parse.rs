//! Tokens become a tree. Mistakes are said as Go's parser says them.

mod literal;

pub(crate) use literal::parse_float;

use std::collections::BTreeMap;

use crate::functions;
use crate::lex::{Keyword, Kind, Token};
use crate::node::{Branch, Command, Node, Pipe, Word, WordKind};
use crate::{DEPTH_MAX, format::quote};

/// What a text holds: its own nodes and the templates that it defines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    pub(crate) root: Vec<Node>,
    pub(crate) defined: BTreeMap<String, Vec<Node>>,
}

impl Tree {
    /// Whether a function stands anywhere.
    pub(crate) fn calls(&self, function: &str) -> bool {
        self.defined.values().chain([&self.root]).flatten().any(|node| node.calls(function))
    }
}

/// Reads a template; the message where it is none.
pub(crate) fn parse(name: &str, text: &str) -> Result<Tree, String> {
    let tokens = crate::lex::lex(text);
    let mut parser = Parser {
        name,
        tokens,
        next: 0,
        furthest: 0,
        action_line: 0,
        scope: Scope::new(),
        depth: 0,
        defined: BTreeMap::new(),
    };
    match parser.top() {
        Ok(root) => {
            // A definition of the template's own name fills it where it is empty of all but space.
            let root = match parser.defined.remove(name) {
                Some(own) if is_blank(&root) => own,
                Some(own) if !is_blank(&own) => {
                    return Err(format!(
                        "template: {name}:1: template: multiple definition of template {}",
                        quote(name)
                    ));
                }
                _ => root,
            };
            Ok(Tree { root, defined: parser.defined })
        }
        Err(message) => {
            let line = parser.tokens.get(parser.furthest).map_or(1, |token| token.line);
            Err(format!("template: {name}:{line}: {message}"))
        }
    }
}

type Parsed<T> = Result<T, String>;

struct Scope {
    names: Vec<String>,
    /// How many `range` are open: `break` and `continue` need one.
    ranges: usize,
}

impl Scope {
    fn new() -> Self {
        Self { names: vec!["$".to_owned()], ranges: 0 }
    }
}

/// How a list of nodes ended.
enum Ending {
    End,
    Else,
}

impl Ending {
    fn describe(&self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

enum Item {
    Node(Node),
    Ending(Ending),
}

struct Parser<'t> {
    name: &'t str,
    tokens: Vec<Token>,
    next: usize,
    /// The last token that was looked at: messages bear its line.
    furthest: usize,
    action_line: usize,
    scope: Scope,
    depth: usize,
    defined: BTreeMap<String, Vec<Node>>,
}

impl Parser<'_> {
    fn look(&mut self, at: usize) -> &Token {
        let at = at.min(self.tokens.len() - 1);
        self.furthest = self.furthest.max(at);
        &self.tokens[at]
    }

    fn peek(&mut self) -> &Token {
        self.look(self.next)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    fn peek_word(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn take_word(&mut self) -> Token {
        self.skip_space();
        self.take()
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token> {
        let token = self.take_word();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    fn unexpected(&self, token: &Token, context: &str) -> String {
        if token.kind != Kind::Error {
            return format!("unexpected {} in {context}", token.describe());
        }
        if self.action_line == 0 || self.action_line == token.line {
            return token.text.clone();
        }
        let since = format!("started at {}:{}", self.name, self.action_line);
        let action = if token.text.ends_with(" action") { "" } else { "in action " };
        format!("{} {action}{since}", token.text)
    }

    /// One level deeper, if that is not too deep.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return Err(format!("nested more than {DEPTH_MAX} deep: make it simpler"));
        }
        self.depth += 1;
        let parsed = read(self);
        self.depth -= 1;
        parsed
    }

    fn top(&mut self) -> Parsed<Vec<Node>> {
        let mut nodes = Vec::new();
        while self.peek().kind != Kind::End {
            if self.peek().kind == Kind::LeftDelim {
                let before = self.next;
                let line = self.take().line;
                if self.take_word().kind == Kind::Keyword(Keyword::Define) {
                    self.action_line = line;
                    self.definition()?;
                    continue;
                }
                self.next = before;
            }
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::Ending(ending) => return Err(format!("unexpected {}", ending.describe())),
            }
        }
        Ok(nodes)
    }

    fn definition(&mut self) -> Parsed<()> {
        let context = "define clause";
        let name = self.template_name(context)?;
        self.expect(Kind::RightDelim, context)?;
        self.body_of(name, context)
    }

    /// The body of a definition: variables of around it are not known in it.
    fn body_of(&mut self, name: String, context: &str) -> Parsed<()> {
        let outside = std::mem::replace(&mut self.scope, Scope::new());
        let (body, ending) = self.list()?;
        self.scope = outside;
        if !matches!(ending, Ending::End) {
            return Err(format!("unexpected {} in {context}", ending.describe()));
        }
        match self.defined.get(&name) {
            Some(before) if !is_blank(before) => {
                if !is_blank(&body) {
                    return Err(format!("template: multiple definition of template {}", quote(&name)));
                }
            }
            _ => {
                self.defined.insert(name, body);
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Parsed<(Vec<Node>, Ending)> {
        self.deeper(|parser| {
            let mut nodes = Vec::new();
            while parser.peek_word().kind != Kind::End {
                match parser.text_or_action()? {
                    Item::Node(node) => nodes.push(node),
                    Item::Ending(ending) => return Ok((nodes, ending)),
                }
            }
            Err("unexpected EOF".to_owned())
        })
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.take_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.at, token.text))),
            Kind::LeftDelim => {
                self.action_line = token.line;
                let item = self.action();
                if item.is_ok() {
                    self.action_line = 0;
                }
                item
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let token = self.peek_word().clone();
        let Kind::Keyword(word) = token.kind else { return self.plain() };
        self.next += 1;
        Ok(Item::Node(match word {
            Keyword::Block => self.block()?,
            Keyword::Break => self.jump(token.at, "break")?,
            Keyword::Continue => self.jump(token.at, "continue")?,
            Keyword::Else => return self.otherwise(),
            Keyword::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::Ending(Ending::End));
            }
            Keyword::If => Node::If(self.branch("if", Some(Keyword::If))?),
            Keyword::With => Node::With(self.branch("with", Some(Keyword::With))?),
            Keyword::Range => Node::Range(self.range()?),
            Keyword::Template => self.invocation()?,
            Keyword::Define | Keyword::Nil => {
                self.next -= 1;
                return self.plain();
            }
        }))
    }

    fn plain(&mut self) -> Parsed<Item> {
        let at = self.peek().at;
        Ok(Item::Node(Node::Action(at, self.pipe("command", Kind::RightDelim)?)))
    }

    fn jump(&mut self, at: usize, word: &str) -> Parsed<Node> {
        let token = self.take_word();
        if token.kind != Kind::RightDelim {
            return Err(self.unexpected(&token, &format!("{{{{{word}}}}}")));
        }
        if self.scope.ranges == 0 {
            return Err(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(if word == "break" { Node::Break(at) } else { Node::Continue(at) })
    }

    fn otherwise(&mut self) -> Parsed<Item> {
        let next = self.peek_word().kind;
        if matches!(next, Kind::Keyword(Keyword::If | Keyword::With)) {
            return Ok(Item::Ending(Ending::Else));
        }
        self.expect(Kind::RightDelim, "else")?;
        Ok(Item::Ending(Ending::Else))
    }

    fn range(&mut self) -> Parsed<Branch> {
        self.branch("range", None)
    }

    /// The rest of `if`, `with` or `range`; `chained` may follow an `else`.
    fn branch(&mut self, context: &str, chained: Option<Keyword>) -> Parsed<Branch> {
        let known = self.scope.names.len();
        let pipe = self.pipe(context, Kind::RightDelim)?;
        self.scope.ranges += usize::from(context == "range");
        let (body, ending) = self.list()?;
        self.scope.ranges -= usize::from(context == "range");
        let other = match ending {
            Ending::End => None,
            Ending::Else => Some(self.other(context, chained)?),
        };
        self.scope.names.truncate(known);
        Ok(Branch { pipe, body, other })
    }

    fn other(&mut self, context: &str, chained: Option<Keyword>) -> Parsed<Vec<Node>> {
        if let Kind::Keyword(word) = self.peek().kind
            && Some(word) == chained
        {
            // The chained one takes the `end` for both.
            self.next += 1;
            let branch = self.deeper(|parser| parser.branch(context, chained))?;
            return Ok(vec![if word == Keyword::If { Node::If(branch) } else { Node::With(branch) }]);
        }
        let (nodes, ending) = self.list()?;
        match ending {
            Ending::End => Ok(nodes),
            Ending::Else => Err(format!("expected end; found {}", ending.describe())),
        }
    }

    fn template_name(&mut self, context: &str) -> Parsed<String> {
        let token = self.take_word();
        match token.kind {
            Kind::String | Kind::RawString => literal::unquote(&token.text),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn block(&mut self) -> Parsed<Node> {
        let context = "block clause";
        let at = self.peek_word().at;
        let name = self.template_name(context)?;
        let pipe = self.pipe(context, Kind::RightDelim)?;
        self.body_of(name.clone(), context)?;
        Ok(Node::Template(at, name, Some(pipe)))
    }

    fn invocation(&mut self) -> Parsed<Node> {
        let context = "template clause";
        let at = self.peek_word().at;
        let name = self.template_name(context)?;
        if self.peek_word().kind == Kind::RightDelim {
            self.next += 1;
            return Ok(Node::Template(at, name, None));
        }
        let pipe = self.pipe(context, Kind::RightDelim)?;
        Ok(Node::Template(at, name, Some(pipe)))
    }

    fn pipe(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        self.deeper(|parser| {
            let at = parser.peek_word().at;
            let (assigns, names) = parser.declarations(context)?;
            let commands = parser.commands(context, end)?;
            if commands.is_empty() {
                return Err(format!("missing value for {context}"));
            }
            for (index, command) in commands.iter().enumerate().skip(1) {
                let first = &command.words[0].kind;
                if matches!(
                    first,
                    WordKind::Bool(_)
                        | WordKind::Dot
                        | WordKind::Nil
                        | WordKind::Number(_)
                        | WordKind::Text { .. }
                ) {
                    return Err(format!("non executable command in pipeline stage {}", index + 1));
                }
            }
            Ok(Pipe { at, assigns, names, commands })
        })
    }

    /// `$x :=`, `$x =`, `$i, $x :=`; nothing where the variable is an operand.
    fn declarations(&mut self, context: &str) -> Parsed<(bool, Vec<String>)> {
        let mut names = Vec::new();
        loop {
            let variable = self.peek_word().clone();
            if variable.kind != Kind::Variable {
                return Ok((false, names));
            }
            let before = self.next;
            self.next += 1;
            let next = self.peek_word().clone();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.next += 1;
                    names.push(variable.text.clone());
                    self.scope.names.push(variable.text);
                    return Ok((next.kind == Kind::Assign, names));
                }
                Kind::Char if next.text == "," => {
                    self.next += 1;
                    names.push(variable.text.clone());
                    self.scope.names.push(variable.text);
                    if context != "range" || names.len() >= 2 {
                        return Err(format!("too many declarations in {context}"));
                    }
                    let follows = self.peek_word().kind;
                    if !matches!(follows, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                        return Err("range can only initialize variables".to_owned());
                    }
                }
                _ => {
                    self.next = before;
                    return Ok((false, names));
                }
            }
        }
    }

    fn commands(&mut self, context: &str, end: Kind) -> Parsed<Vec<Command>> {
        let mut commands = Vec::new();
        loop {
            let token = self.take_word();
            match token.kind {
                kind if kind == end => return Ok(commands),
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Keyword(Keyword::Nil)
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.next -= 1;
                    commands.push(self.command()?);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let at = self.peek_word().at;
        let mut words = Vec::new();
        loop {
            self.skip_space();
            words.extend(self.operand()?);
            let token = self.take();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.next -= 1,
                Kind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if words.is_empty() {
            return Err("empty command".to_owned());
        }
        Ok(Command { at, words })
    }

    /// A term and the fields taken from it; `None` where no term is here.
    fn operand(&mut self) -> Parsed<Option<Word>> {
        let Some(word) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(word));
        }
        let at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.take().text[1..].to_owned());
        }
        let kind = match word.kind {
            WordKind::Field(mut names) => {
                names.append(&mut fields);
                WordKind::Field(names)
            }
            WordKind::Variable(mut names) => {
                names.append(&mut fields);
                WordKind::Variable(names)
            }
            WordKind::Bool(_)
            | WordKind::Text { .. }
            | WordKind::Number(_)
            | WordKind::Nil
            | WordKind::Dot => {
                return Err(format!("unexpected . after term {}", quote(&word.to_string())));
            }
            _ => WordKind::Chain(Box::new(word), fields),
        };
        Ok(Some(Word { at, kind }))
    }

    fn term(&mut self) -> Parsed<Option<Word>> {
        let token = self.take_word();
        let kind = match token.kind {
            Kind::Identifier if functions::is_known(&token.text) => WordKind::Function(token.text),
            Kind::Identifier => return Err(format!("function {} not defined", quote(&token.text))),
            Kind::Dot => WordKind::Dot,
            Kind::Keyword(Keyword::Nil) => WordKind::Nil,
            Kind::Variable if self.scope.names.contains(&token.text) => WordKind::Variable(vec![token.text]),
            Kind::Variable => return Err(format!("undefined variable {}", quote(&token.text))),
            Kind::Field => WordKind::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => WordKind::Bool(token.text == "true"),
            Kind::CharConstant | Kind::Number => WordKind::Number(literal::number(&token.text)?),
            Kind::LeftParen => {
                WordKind::Pipe(Box::new(self.pipe("parenthesized pipeline", Kind::RightParen)?))
            }
            Kind::String | Kind::RawString => {
                WordKind::Text { value: literal::unquote(&token.text)?, quoted: token.text }
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Word { at: token.at, kind }))
    }
}

fn is_blank(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(_, text) if text.trim().is_empty()))
}
