//! A tree and a value into text.

use serde_json::Value;

use crate::TemplateError;
use crate::functions::{call, index, truth};
use crate::parse::{Expr, Node, Pipeline};
use crate::print::{kind, print};

/// What a field is that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// `<no value>`, as in a map.
    NoValue,
    /// An error, as in a structure.
    Error,
}

pub(crate) fn render(
    nodes: &[Node],
    dot: &Value,
    missing: Missing,
    methods: &Value,
) -> Result<String, TemplateError> {
    let mut run = Run { out: String::new(), variables: vec![(String::new(), dot.clone())], missing, methods };
    run.append(nodes, dot)?;
    Ok(run.out)
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    out: String,
    /// The innermost last; the first, without a name, is `$`.
    variables: Vec<(String, Value)>,
    missing: Missing,
    methods: &'a Value,
}

impl Run<'_> {
    fn append(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        let outside = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(outside);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Value(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&value.as_ref().map_or("<no value>".into(), print));
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::If(condition, then, otherwise) | Node::With(condition, then, otherwise) => {
                let outside = self.variables.len();
                let value = self.pipeline(condition, dot)?.filter(truth);
                let flow = match (&value, node) {
                    (Some(value), Node::With(..)) => self.append(then, value),
                    (Some(_), _) => self.append(then, dot),
                    (None, _) => self.append(otherwise, dot),
                }?;
                self.variables.truncate(outside);
                return Ok(flow);
            }
            Node::Range(list, each, otherwise) => self.range(list, each, otherwise, dot)?,
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        list: &Pipeline,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let items: Vec<(Value, Value)> = match self.eval(&list.value, dot)? {
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(at, value)| (at.into(), value)).collect()
            }
            Some(Value::Object(map)) => {
                let mut items: Vec<_> = map.into_iter().collect();
                items.sort_by(|a, b| a.0.cmp(&b.0));
                items.into_iter().map(|(key, value)| (key.into(), value)).collect()
            }
            Some(Value::Null) | None => Vec::new(),
            Some(other) => {
                return Err(TemplateError::Fill(format!("range can't iterate over {}", print(&other))));
            }
        };
        if items.is_empty() {
            self.append(otherwise, dot)?;
        }
        for (key, value) in items {
            let outside = self.variables.len();
            match list.variables.as_slice() {
                [] => {}
                [one] => self.set(list.assigns, one, value.clone())?,
                [first, second, ..] => {
                    self.set(list.assigns, first, key)?;
                    self.set(list.assigns, second, value.clone())?;
                }
            }
            let flow = self.append(each, &value)?;
            self.variables.truncate(outside);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Option<Value>, TemplateError> {
        let value = self.eval(&pipeline.value, dot)?;
        if let [name] = pipeline.variables.as_slice() {
            self.set(pipeline.assigns, name, value.clone().unwrap_or(Value::Null))?;
        }
        Ok(value)
    }

    fn set(&mut self, assigns: bool, name: &str, value: Value) -> Result<(), TemplateError> {
        if !assigns {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let slot = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        let slot = slot.ok_or_else(|| TemplateError::Parse(format!("undefined variable \"${name}\"")))?;
        slot.1 = value;
        Ok(())
    }

    fn eval(&self, expr: &Expr, dot: &Value) -> Result<Option<Value>, TemplateError> {
        match expr {
            Expr::Literal(value) => Ok(Some(value.clone())),
            Expr::Field(path) => self.field(path, dot),
            Expr::Variable(name, path) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let unknown = || TemplateError::Parse(format!("undefined variable \"${name}\""));
                self.field(path, &known.ok_or_else(unknown)?.1)
            }
            Expr::Chain(inner, path) => match self.eval(inner, dot)? {
                Some(value) => self.field(path, &value),
                None => Ok(None),
            },
            Expr::Call(name, arguments) => call(name, &self.values(arguments, dot)?).map(Some),
            Expr::Method(field, arguments) => {
                let method = match field.as_ref() {
                    Expr::Field(path) => path.iter().try_fold(self.methods, |map, name| map.get(name)),
                    _ => None,
                };
                let unknown = || TemplateError::Fill("what is no method is given arguments".into());
                let (method, arguments) = (method.ok_or_else(unknown)?, self.values(arguments, dot)?);
                let found = arguments.iter().try_fold(method.clone(), |value, key| index(&value, key))?;
                Ok(Some(if found.is_null() { String::new().into() } else { found }))
            }
        }
    }

    fn values(&self, arguments: &[Expr], dot: &Value) -> Result<Vec<Value>, TemplateError> {
        arguments.iter().map(|argument| Ok(self.eval(argument, dot)?.unwrap_or(Value::Null))).collect()
    }

    fn field(&self, path: &[String], dot: &Value) -> Result<Option<Value>, TemplateError> {
        let mut value = dot;
        for key in path {
            match value {
                Value::Object(map) => match map.get(key) {
                    Some(inner) => value = inner,
                    None if self.missing == Missing::NoValue => return Ok(None),
                    None => return Err(TemplateError::Fill(format!("can't evaluate field {key}"))),
                },
                Value::Null => return Ok(None),
                _ => {
                    return Err(TemplateError::Fill(format!(
                        "can't evaluate field {key} in {}",
                        kind(value)
                    )));
                }
            }
        }
        Ok(Some(value.clone()))
    }
}
