//! Pieces into a tree.

use crate::TemplateError;
use crate::functions::FUNCTIONS;
use crate::lex::{Piece, Word};

/// How deeply blocks and parentheses may be nested.
const DEPTH: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Text(String),
    Value(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// A value, and the variables that are to hold it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pipeline {
    pub(crate) variables: Vec<String>,
    /// `=` instead of `:=`: the variable is there already.
    pub(crate) assigns: bool,
    pub(crate) value: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Field(Vec<String>),
    Variable(String, Vec<String>),
    /// Fields of what is in parentheses.
    Chain(Box<Expr>, Vec<String>),
    Literal(serde_json::Value),
    Call(String, Vec<Expr>),
    /// A field with arguments.
    Method(Box<Expr>, Vec<Expr>),
}

/// What ended a block.
#[derive(PartialEq)]
enum End {
    Text,
    Closed,
    /// With what follows the word, such as `if .X`.
    Else(Vec<Word>),
}

pub(crate) fn parse(pieces: &[Piece]) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces, at: 0, loops: 0 };
    match parser.block(0)? {
        (nodes, End::Text) => Ok(nodes),
        (_, End::Closed) => Err(TemplateError::Parse("`{{end}}` without a beginning".into())),
        (_, End::Else(_)) => Err(TemplateError::Parse("`{{else}}` without a beginning".into())),
    }
}

struct Parser<'a> {
    pieces: &'a [Piece],
    at: usize,
    /// How many `range` are open.
    loops: usize,
}

impl Parser<'_> {
    fn block(&mut self, depth: usize) -> Result<(Vec<Node>, End), TemplateError> {
        if depth > DEPTH {
            return Err(TemplateError::Parse("it is nested too deeply".into()));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.at) {
            self.at += 1;
            let words = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    continue;
                }
                Piece::Action(words) => words.as_slice(),
            };
            let (first, rest) = match words {
                [Word::Name(name), rest @ ..] => (name.as_str(), rest),
                _ => ("", words),
            };
            match first {
                "end" if rest.is_empty() => return Ok((nodes, End::Closed)),
                "else" => return Ok((nodes, End::Else(rest.to_vec()))),
                "if" | "range" | "with" => nodes.push(self.control(first, rest, depth)?),
                "break" | "continue" if rest.is_empty() => {
                    if self.loops == 0 {
                        return Err(TemplateError::Parse(format!("{{{{{first}}}}} outside {{{{range}}}}")));
                    }
                    nodes.push(if first == "break" { Node::Break } else { Node::Continue });
                }
                _ => nodes.push(Node::Value(pipeline(words, 1)?)),
            }
        }
        Ok((nodes, End::Text))
    }

    fn control(&mut self, word: &str, condition: &[Word], depth: usize) -> Result<Node, TemplateError> {
        let condition = pipeline(condition, if word == "range" { 2 } else { 1 })?;
        let open = || TemplateError::Parse(format!("`{{{{{word}}}}}` has no `{{{{end}}}}`"));
        self.loops += usize::from(word == "range");
        let (then, end) = self.block(depth + 1)?;
        self.loops -= usize::from(word == "range");
        let otherwise = match end {
            End::Text => return Err(open()),
            End::Closed => Vec::new(),
            // `else if` is an `if` within the `else`, and shares its end.
            End::Else(words) => match words.split_first() {
                None => match self.block(depth + 1)? {
                    (otherwise, End::Closed) => otherwise,
                    _ => return Err(open()),
                },
                Some((Word::Name(again), rest)) if again == word && word != "range" => {
                    vec![self.control(word, rest, depth + 1)?]
                }
                Some(_) => return Err(TemplateError::Parse(format!("`else` of `{word}` is not understood"))),
            },
        };
        Ok(match word {
            "if" => Node::If(condition, then, otherwise),
            "range" => Node::Range(condition, then, otherwise),
            _ => Node::With(condition, then, otherwise),
        })
    }
}

/// `[$a[, $b] :=] a | f x`, the last being `f x a`.
fn pipeline(words: &[Word], most: usize) -> Result<Pipeline, TemplateError> {
    let (variables, assigns, words) = declaration(words)?;
    if variables.len() > most {
        return Err(TemplateError::Parse("too many variables are declared".into()));
    }
    let mut at = 0;
    let value = pipeline_at(words, &mut at, 0)?;
    match words.get(at) {
        None => Ok(Pipeline { variables, assigns, value }),
        Some(_) => Err(TemplateError::Parse("unexpected `)`".into())),
    }
}

fn declaration(words: &[Word]) -> Result<(Vec<String>, bool, &[Word]), TemplateError> {
    let Some(sign) = words.iter().position(|word| matches!(word, Word::Declare | Word::Assign)) else {
        return Ok((Vec::new(), false, words));
    };
    let mut names = Vec::new();
    for part in words[..sign].split(|word| *word == Word::Comma) {
        match part {
            [Word::Variable(name, path)] if path.is_empty() && !name.is_empty() => names.push(name.clone()),
            _ => return Err(TemplateError::Parse("only a variable can be given a value".into())),
        }
    }
    Ok((names, words[sign] == Word::Assign, &words[sign + 1..]))
}

fn pipeline_at(words: &[Word], at: &mut usize, depth: usize) -> Result<Expr, TemplateError> {
    let mut value = command(words, at, None, depth)?;
    while words.get(*at) == Some(&Word::Pipe) {
        *at += 1;
        value = command(words, at, Some(value), depth)?;
    }
    Ok(value)
}

fn command(words: &[Word], at: &mut usize, piped: Option<Expr>, depth: usize) -> Result<Expr, TemplateError> {
    if depth > DEPTH {
        return Err(TemplateError::Parse("it is nested too deeply".into()));
    }
    let mut function = None;
    let mut values = Vec::new();
    while let Some(word) = words.get(*at) {
        match word {
            Word::Pipe | Word::Close => break,
            Word::Name(name) if function.is_none() && values.is_empty() => {
                if !FUNCTIONS.contains(&name.as_str()) {
                    return Err(TemplateError::Parse(format!("function \"{name}\" not defined")));
                }
                function = Some(name.clone());
            }
            Word::Name(name) => return Err(TemplateError::Parse(format!("unexpected `{name}`"))),
            Word::Field(path) => values.push(Expr::Field(path.clone())),
            Word::Variable(name, path) => values.push(Expr::Variable(name.clone(), path.clone())),
            Word::Text(text) => values.push(Expr::Literal(text.clone().into())),
            Word::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                values.push(Expr::Literal((*number as i64).into()));
            }
            Word::Number(number) => values.push(Expr::Literal((*number).into())),
            Word::Bool(value) => values.push(Expr::Literal((*value).into())),
            Word::Open => {
                *at += 1;
                let inner = pipeline_at(words, at, depth + 1)?;
                if words.get(*at) != Some(&Word::Close) {
                    return Err(TemplateError::Parse("a `(` is not closed".into()));
                }
                values.push(match words.get(*at + 1) {
                    Some(Word::Chain(path)) => {
                        *at += 1;
                        Expr::Chain(Box::new(inner), path.clone())
                    }
                    _ => inner,
                });
            }
            Word::Chain(_) | Word::Comma | Word::Declare | Word::Assign => {
                return Err(TemplateError::Parse("unexpected `,`, `=` or `:=`".into()));
            }
        }
        *at += 1;
    }
    values.extend(piped);
    match (function, values.len()) {
        (Some(name), _) => Ok(Expr::Call(name, values)),
        (None, 1) => Ok(values.remove(0)),
        (None, 0) => Err(TemplateError::Parse("an action has no value".into())),
        (None, _) => match values.remove(0) {
            Expr::Literal(_) => Err(TemplateError::Parse("a value is followed by another".into())),
            method => Ok(Expr::Method(Box::new(method), values)),
        },
    }
}
