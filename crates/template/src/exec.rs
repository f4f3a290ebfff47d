//! Walks the tree and writes the text. Errors bear the place and the words of Go's `text/template`.

use std::rc::Rc;

use crate::functions::{self, Parameter};
use crate::node::{Branch, Command, Node, Number, Pipe, Place, Word, WordKind};
use crate::parse::Tree;
use crate::value::Value;
use crate::{DEPTH_MAX, Environment, OUTPUT_BYTES_MAX, WORK_MAX, format::quote};

/// What ends a walk early.
pub(crate) enum Stop {
    Error(String),
    Break,
    Continue,
}

type Walked<T> = Result<T, Stop>;

/// What one step of the walk costs, beside the bytes that it makes.
const STEP: usize = 16;

pub(crate) struct Exec<'t, 'e> {
    name: &'t str,
    text: &'t str,
    tree: &'t Tree,
    /// The template that is executed now: its name stands in messages.
    executing: &'t str,
    place: Option<Place<'t>>,
    variables: Vec<(&'t str, Value)>,
    pub(crate) environment: &'e mut dyn Environment,
    pub(crate) external_url: Rc<str>,
    out: String,
    work: usize,
    depth: usize,
}

/// Expands a whole template.
pub(crate) fn expand(
    (name, text, tree): (&str, &str, &Tree),
    data: Value,
    external_url: Rc<str>,
    environment: &mut dyn Environment,
) -> Result<String, String> {
    let mut exec = Exec {
        name,
        text,
        tree,
        executing: name,
        place: None,
        variables: vec![("$", data.clone())],
        environment,
        external_url,
        out: String::new(),
        work: 0,
        depth: 0,
    };
    match exec.list(&data, &tree.root) {
        Ok(()) => Ok(exec.out),
        Err(Stop::Error(message)) => Err(message),
        Err(Stop::Break | Stop::Continue) => unreachable!("the parser lets them stand inside of range alone"),
    }
}

impl<'t> Exec<'t, '_> {
    fn error<T>(&self, message: impl AsRef<str>) -> Walked<T> {
        let message = message.as_ref();
        Err(Stop::Error(match &self.place {
            None => format!("template: {}: {message}", self.executing),
            Some(place) => {
                let before = &self.text[..place.at()];
                let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
                let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
                let executing = quote(self.executing);
                format!(
                    "template: {}:{line}:{column}: executing {executing} at <{place}>: {message}",
                    self.name
                )
            }
        }))
    }

    /// Counts work, and ends it where it is too much.
    pub(crate) fn spend(&mut self, work: usize) -> Walked<()> {
        self.work = self.work.saturating_add(work);
        if self.work > WORK_MAX {
            return self.error("the template takes too much work: make it simpler, or query less");
        }
        Ok(())
    }

    fn deeper<T>(&mut self, walk: impl FnOnce(&mut Self) -> Walked<T>) -> Walked<T> {
        if self.depth == DEPTH_MAX {
            return self.error(format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        self.depth += 1;
        let walked = walk(self);
        self.depth -= 1;
        walked
    }

    fn write(&mut self, text: &str) -> Walked<()> {
        self.spend(text.len())?;
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return self
                .error(format!("the expanded text exceeds {OUTPUT_BYTES_MAX} bytes: let it list less"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn list(&mut self, dot: &Value, nodes: &'t [Node]) -> Walked<()> {
        self.deeper(|exec| nodes.iter().try_for_each(|node| exec.node(dot, node)))
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Walked<()> {
        self.place = Some(Place::Node(node));
        self.spend(STEP)?;
        match node {
            Node::Text(_, text) => self.write(text),
            Node::Action(_, pipe) => {
                let value = self.pipe(dot, pipe)?;
                if !pipe.names.is_empty() {
                    return Ok(());
                }
                self.place = Some(Place::Node(node));
                let mut text = String::new();
                value.print_shown(&mut text);
                self.write(&text)
            }
            Node::If(branch) => self.condition(dot, branch, false),
            Node::With(branch) => self.condition(dot, branch, true),
            Node::Range(branch) => self.range(dot, branch),
            Node::Template(_, name, pipe) => {
                let Some((name, _)) = self.find(name) else {
                    return self.error(format!("template {} not defined", quote(name)));
                };
                let data = match pipe {
                    Some(pipe) => self.pipe(dot, pipe)?,
                    None => Value::None,
                };
                self.invoke(name, data)
            }
            Node::Break(_) => Err(Stop::Break),
            Node::Continue(_) => Err(Stop::Continue),
        }
    }

    /// A template of this text, by its name.
    fn find(&self, name: &str) -> Option<(&'t str, &'t [Node])> {
        let tree = self.tree;
        if name == self.name {
            return Some((self.name, &tree.root));
        }
        tree.defined.get_key_value(name).map(|(name, nodes)| (&**name, &**nodes))
    }

    /// Writes another template; it knows no variable of this one.
    fn invoke(&mut self, name: &str, data: Value) -> Walked<()> {
        let Some((name, nodes)) = self.find(name) else {
            return self.error(format!("template {} not defined", quote(name)));
        };
        let outside = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        let before = std::mem::replace(&mut self.executing, name);
        self.list(&data, nodes)?;
        self.executing = before;
        self.variables = outside;
        Ok(())
    }

    /// Another template's text as a value (`tmpl`).
    pub(crate) fn invoke_apart(&mut self, name: &str, data: Value) -> Walked<String> {
        let outside = std::mem::take(&mut self.out);
        let place = self.place;
        self.invoke(name, data)?;
        self.place = place;
        Ok(std::mem::replace(&mut self.out, outside))
    }

    fn condition(&mut self, dot: &Value, branch: &'t Branch, moves_dot: bool) -> Walked<()> {
        let known = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let walked = match (value.is_true(), &branch.other) {
            (true, _) => self.list(if moves_dot { &value } else { dot }, &branch.body),
            (false, Some(other)) => self.list(dot, other),
            (false, None) => Ok(()),
        };
        self.variables.truncate(known);
        walked
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch) -> Walked<()> {
        let known = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let mut ran = false;
        match &value {
            Value::None => {}
            Value::Samples(samples) => {
                for (index, sample) in samples.iter().enumerate() {
                    ran = true;
                    if !self.round(branch, Value::Int(index as i64), Value::Sample(Rc::clone(sample)))? {
                        break;
                    }
                }
            }
            Value::Labels(labels) => {
                for (name, text) in labels {
                    ran = true;
                    if !self.round(branch, Value::text(name), Value::text(text))? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (name, value) in &map.values {
                    ran = true;
                    if !self.round(branch, Value::text(name), value.clone())? {
                        break;
                    }
                }
            }
            Value::Int(count) => {
                for index in 0..*count {
                    ran = true;
                    if !self.round(branch, Value::Int(index), Value::Int(index))? {
                        break;
                    }
                }
            }
            other => {
                let mut text = String::new();
                other.print_shown(&mut text);
                return self.error(format!("range can't iterate over {text}"));
            }
        }
        if let (false, Some(other)) = (ran, &branch.other) {
            self.list(dot, other)?;
        }
        self.variables.truncate(known);
        Ok(())
    }

    /// One round of a loop; whether more may follow.
    fn round(&mut self, branch: &'t Branch, index: Value, element: Value) -> Walked<bool> {
        self.spend(STEP)?;
        let known = self.variables.len();
        let names = branch.pipe.names.len();
        if names > 0 {
            let (first, last) =
                if names > 1 { (index, element.clone()) } else { (element.clone(), element.clone()) };
            if branch.pipe.assigns {
                self.assign(&branch.pipe.names[0], first)?;
                if let Some(name) = branch.pipe.names.get(1) {
                    self.assign(name, last)?;
                }
            } else {
                self.variables[known - names].1 = first;
                self.variables[known - 1].1 = last;
            }
        }
        let walked = self.list(&element, &branch.body);
        self.variables.truncate(known);
        match walked {
            Ok(()) | Err(Stop::Continue) => Ok(true),
            Err(Stop::Break) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn assign(&mut self, name: &str, value: Value) -> Walked<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, before)) => {
                *before = value;
                Ok(())
            }
            None => self.error(format!("undefined variable: {name}")),
        }
    }

    fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Walked<Value> {
        self.place = Some(Place::Pipe(pipe));
        let mut last = None;
        for command in &pipe.commands {
            self.spend(STEP)?;
            last = Some(self.deeper(|exec| exec.command(dot, command, last))?);
        }
        let value = last.unwrap_or(Value::None);
        for name in &pipe.names {
            if pipe.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Walked<Value> {
        let word = &command.words[0];
        let has_arguments = command.words.len() > 1 || last.is_some();
        match &word.kind {
            WordKind::Function(name) => {
                self.place = Some(Place::Word(word));
                return self.call(dot, name, Place::Command(command), &command.words[1..], last);
            }
            WordKind::Field(_) | WordKind::Chain(..) => return self.fields(dot, word, has_arguments),
            WordKind::Variable(names) if names.len() > 1 => return self.fields(dot, word, has_arguments),
            WordKind::Pipe(_) => {}
            _ => self.place = Some(Place::Word(word)),
        }
        if has_arguments {
            return self.error(format!("can't give argument to non-function {word}"));
        }
        match &word.kind {
            WordKind::Nil => self.error("nil is not a command"),
            _ => self.word(dot, word),
        }
    }

    /// A word that is no function call with arguments.
    fn word(&mut self, dot: &Value, word: &'t Word) -> Walked<Value> {
        match &word.kind {
            WordKind::Dot => Ok(dot.clone()),
            WordKind::Nil => Ok(Value::None),
            WordKind::Bool(value) => Ok(Value::Bool(*value)),
            WordKind::Number(number) => self.ideal(number),
            WordKind::Text { value, .. } => Ok(Value::text(value)),
            WordKind::Field(_) | WordKind::Chain(..) => self.fields(dot, word, false),
            WordKind::Variable(names) if names.len() > 1 => self.fields(dot, word, false),
            WordKind::Variable(names) => {
                self.place = Some(Place::Word(word));
                self.variable(&names[0])
            }
            WordKind::Function(name) => {
                self.place = Some(Place::Word(word));
                self.call(dot, name, Place::Word(word), &[], None)
            }
            WordKind::Pipe(pipe) => self.pipe(dot, pipe),
        }
    }

    fn variable(&self, name: &str) -> Walked<Value> {
        match self.variables.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => self.error(format!("undefined variable: {name}")),
        }
    }

    /// A number of which nothing says whether it is a float.
    fn ideal(&self, number: &Number) -> Walked<Value> {
        match (number.int, number.float) {
            (_, Some(float)) if number.looks_like_float() => Ok(Value::Float(float)),
            (Some(int), _) => Ok(Value::Int(int)),
            _ => self.error(format!("{} overflows int", number.text)),
        }
    }

    /// `.a.b`, `$x.a.b` or `(…).a.b`
    fn fields(&mut self, dot: &Value, word: &'t Word, has_arguments: bool) -> Walked<Value> {
        let (mut value, names) = match &word.kind {
            WordKind::Field(names) => (dot.clone(), &names[..]),
            WordKind::Variable(names) => {
                self.place = Some(Place::Word(word));
                (self.variable(&names[0])?, &names[1..])
            }
            WordKind::Chain(inner, names) => {
                let value = self.deeper(|exec| exec.word(dot, inner))?;
                (value, &names[..])
            }
            _ => unreachable!("no other word has fields"),
        };
        if !matches!(word.kind, WordKind::Chain(..)) {
            self.place = Some(Place::Word(word));
        }
        for (index, name) in names.iter().enumerate() {
            let last = index + 1 == names.len();
            value = self.field(&value, name, has_arguments && last)?;
        }
        Ok(value)
    }

    fn field(&self, value: &Value, name: &str, has_arguments: bool) -> Walked<Value> {
        let found = match (value, name) {
            (Value::None, _) => return Ok(Value::None),
            (Value::Labels(_) | Value::Map(_), _) if has_arguments => {
                return self.error(format!("{name} is not a method but has arguments"));
            }
            (Value::Labels(labels), _) => return Ok(Value::text(labels.get(name).unwrap_or_default())),
            (Value::Map(map), _) => return Ok(map.values.get(name).cloned().unwrap_or(Value::None)),
            (Value::Data(data), "Labels") => Value::Labels(data.labels.clone()),
            (Value::Data(data), "ExternalLabels") => Value::Labels(data.external_labels.clone()),
            (Value::Data(data), "ExternalURL") => Value::Text(Rc::clone(&data.external_url)),
            (Value::Data(data), "Value") => data.value.clone(),
            (Value::Sample(sample), "Labels") => Value::Labels(sample.labels.clone()),
            (Value::Sample(sample), "Value") => Value::Float(sample.value),
            _ => return self.error(format!("can't evaluate field {name} in type {}", value.type_name())),
        };
        if has_arguments {
            return self.error(format!("{name} has arguments but cannot be invoked as function"));
        }
        Ok(found)
    }

    /// Calls a function with what stands behind it and what came through the pipe.
    fn call(
        &mut self,
        dot: &Value,
        name: &'t str,
        place: Place<'t>,
        words: &'t [Word],
        last: Option<Value>,
    ) -> Walked<Value> {
        let signature = functions::signature(name).expect("the parser asked for it");
        let given = words.len() + usize::from(last.is_some());
        let fixed = signature.fixed.len();
        match signature.rest {
            Some(_) if given < fixed => {
                let have = words.len();
                return self
                    .error(format!("wrong number of args for {name}: want at least {fixed} got {have}"));
            }
            None if given != fixed => {
                return self.error(format!("wrong number of args for {name}: want {fixed} got {given}"));
            }
            _ => {}
        }
        let parameter =
            |index: usize| signature.fixed.get(index).copied().or(signature.rest).unwrap_or(Parameter::Any);
        if matches!(name, "and" | "or") {
            return self.logic(dot, name == "or", words, last);
        }
        let mut values = Vec::with_capacity(given);
        for (index, word) in words.iter().enumerate() {
            values.push(self.deeper(|exec| exec.argument(dot, word, parameter(index)))?);
        }
        if let Some(last) = last {
            values.push(self.fit(last, parameter(values.len()))?);
        }
        match functions::call(self, name, values) {
            Ok(value) => {
                if let Value::Text(text) | Value::Html(text) = &value {
                    self.spend(text.len())?;
                    if text.len() > OUTPUT_BYTES_MAX {
                        return self
                            .error(format!("a text exceeds {OUTPUT_BYTES_MAX} bytes: make it shorter"));
                    }
                }
                Ok(value)
            }
            Err(functions::Failure::Message(message)) => {
                self.place = Some(place);
                self.error(format!("error calling {name}: {message}"))
            }
            Err(functions::Failure::Stop(stop)) => Err(stop),
        }
    }

    /// `and` and `or`: what comes after the decision is not evaluated.
    fn logic(
        &mut self,
        dot: &Value,
        stops_at: bool,
        words: &'t [Word],
        last: Option<Value>,
    ) -> Walked<Value> {
        let mut value = Value::None;
        for word in words {
            value = self.deeper(|exec| exec.argument(dot, word, Parameter::Reflect))?;
            if value.is_true() == stops_at {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn argument(&mut self, dot: &Value, word: &'t Word, parameter: Parameter) -> Walked<Value> {
        self.spend(STEP)?;
        self.place = Some(Place::Word(word));
        match &word.kind {
            WordKind::Nil if parameter == Parameter::Text => self.error("cannot assign nil to string"),
            WordKind::Nil => Ok(Value::None),
            WordKind::Bool(_) | WordKind::Number(_) | WordKind::Text { .. } => {
                match (parameter, &word.kind) {
                    (Parameter::Text, WordKind::Text { value, .. }) => Ok(Value::text(value)),
                    (Parameter::Text, _) => self.error(format!("expected string; found {word}")),
                    (Parameter::Any | Parameter::Reflect, _) => self.word(dot, word),
                    (other, _) => {
                        self.error(format!("can't handle {word} for arg of type {}", other.type_name()))
                    }
                }
            }
            _ => {
                let value = self.word(dot, word)?;
                self.fit(value, parameter)
            }
        }
    }

    /// The value, if the parameter takes it.
    fn fit(&self, value: Value, parameter: Parameter) -> Walked<Value> {
        let fits = match (parameter, &value) {
            (Parameter::Any | Parameter::Reflect, _) => true,
            (Parameter::Text, Value::None) => return self.error("invalid value; expected string"),
            (Parameter::Text, Value::Text(_)) => true,
            (Parameter::Sample, Value::Sample(_) | Value::None) => true,
            (Parameter::Samples, Value::Samples(_) | Value::None) => true,
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        let (expected, got) = (parameter.type_name(), value.type_name());
        self.error(format!("wrong type for value; expected {expected}; got {got}"))
    }
}
