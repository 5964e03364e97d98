//! Pieces into a tree.

use crate::TemplateError;
use crate::lex::{Piece, Word};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Text(String),
    Value(Expr),
    If(Expr, Vec<Node>, Vec<Node>),
    Range(Expr, Vec<Node>, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Field(Vec<String>),
    Literal(serde_json::Value),
    Call(String, Vec<Expr>),
}

/// The functions that [`crate::render`] knows.
const FUNCTIONS: [&str; 10] =
    ["json", "prettyjson", "index", "len", "not", "eq", "ne", "and", "or", "printf"];

pub(crate) fn parse(pieces: &[Piece]) -> Result<Vec<Node>, TemplateError> {
    let mut at = 0;
    let (nodes, end) = block(pieces, &mut at, 0)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(TemplateError::Parse(format!("`{{{{{word}}}}}` without a beginning"))),
    }
}

/// Nodes up to `else` or `end`, and which of them it was.
fn block(
    pieces: &[Piece],
    at: &mut usize,
    depth: usize,
) -> Result<(Vec<Node>, Option<&'static str>), TemplateError> {
    if depth > 64 {
        return Err(TemplateError::Parse("it is nested too deeply".into()));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.get(*at) {
        *at += 1;
        let words = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text.clone()));
                continue;
            }
            Piece::Action(words) => words.as_slice(),
        };
        match words {
            [Word::Name(name)] if name == "end" => return Ok((nodes, Some("end"))),
            [Word::Name(name)] if name == "else" => return Ok((nodes, Some("else"))),
            [Word::Name(name), condition @ ..] if name == "if" || name == "range" => {
                let condition = pipeline(condition)?;
                let (then, otherwise) = branches(pieces, at, depth)?;
                let make = if name == "if" { Node::If } else { Node::Range };
                nodes.push(make(condition, then, otherwise));
            }
            words => nodes.push(Node::Value(pipeline(words)?)),
        }
    }
    Ok((nodes, None))
}

fn branches(pieces: &[Piece], at: &mut usize, depth: usize) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
    let open = || TemplateError::Parse("an `if` or `range` has no `{{end}}`".into());
    let (then, end) = block(pieces, at, depth + 1)?;
    let otherwise = match end.ok_or_else(open)? {
        "else" => match block(pieces, at, depth + 1)? {
            (otherwise, Some("end")) => otherwise,
            _ => return Err(open()),
        },
        _ => Vec::new(),
    };
    Ok((then, otherwise))
}

/// `a | f x` is `f x a`.
fn pipeline(words: &[Word]) -> Result<Expr, TemplateError> {
    let mut at = 0;
    let expr = pipeline_at(words, &mut at, 0)?;
    if at == words.len() { Ok(expr) } else { Err(TemplateError::Parse("unexpected `)`".into())) }
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
    if depth > 64 {
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
            Word::Text(text) => values.push(Expr::Literal(text.clone().into())),
            Word::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                values.push(Expr::Literal((*number as i64).into()));
            }
            Word::Number(number) => values.push(Expr::Literal((*number).into())),
            Word::Bool(value) => values.push(Expr::Literal((*value).into())),
            Word::Open => {
                *at += 1;
                values.push(pipeline_at(words, at, depth + 1)?);
                if words.get(*at) != Some(&Word::Close) {
                    return Err(TemplateError::Parse("a `(` is not closed".into()));
                }
            }
        }
        *at += 1;
    }
    values.extend(piped);
    match (function, values.len()) {
        (Some(name), _) => Ok(Expr::Call(name, values)),
        (None, 1) => Ok(values.remove(0)),
        (None, 0) => Err(TemplateError::Parse("an action has no value".into())),
        (None, _) => Err(TemplateError::Parse("a value is followed by another".into())),
    }
}
