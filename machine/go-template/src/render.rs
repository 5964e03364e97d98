//! A tree and a value into text, printed as Go prints.

use serde_json::Value;

use crate::TemplateError;
use crate::parse::{Expr, Node};

/// What a field is that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// `<no value>`, as in a map.
    NoValue,
    /// An error, as in a structure.
    Error,
}

pub(crate) fn render(nodes: &[Node], dot: &Value, missing: Missing) -> Result<String, TemplateError> {
    let mut out = String::new();
    append(&mut out, nodes, dot, missing)?;
    Ok(out)
}

fn append(out: &mut String, nodes: &[Node], dot: &Value, missing: Missing) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Value(expr) => match eval(expr, dot, missing)? {
                Some(value) => out.push_str(&print(&value)),
                None => out.push_str("<no value>"),
            },
            Node::If(condition, then, otherwise) => {
                let yes = eval(condition, dot, missing)?.is_some_and(|value| truth(&value));
                append(out, if yes { then } else { otherwise }, dot, missing)?;
            }
            Node::Range(list, each, otherwise) => {
                let list = eval(list, dot, missing)?;
                let items: Vec<Value> = match list {
                    Some(Value::Array(items)) => items,
                    Some(Value::Object(map)) => map.into_iter().map(|(_, value)| value).collect(),
                    Some(Value::Null) | None => Vec::new(),
                    Some(other) => {
                        return Err(TemplateError::Fill(format!(
                            "range can't iterate over {}",
                            print(&other)
                        )));
                    }
                };
                if items.is_empty() {
                    append(out, otherwise, dot, missing)?;
                }
                for item in &items {
                    append(out, each, item, missing)?;
                }
            }
        }
    }
    Ok(())
}

fn eval(expr: &Expr, dot: &Value, missing: Missing) -> Result<Option<Value>, TemplateError> {
    match expr {
        Expr::Literal(value) => Ok(Some(value.clone())),
        Expr::Field(path) => field(path, dot, missing),
        Expr::Call(name, arguments) => {
            let mut values = Vec::with_capacity(arguments.len());
            for argument in arguments {
                values.push(eval(argument, dot, missing)?.unwrap_or(Value::Null));
            }
            call(name, &values).map(Some)
        }
    }
}

fn field(path: &[String], dot: &Value, missing: Missing) -> Result<Option<Value>, TemplateError> {
    let mut value = dot;
    for key in path {
        match value {
            Value::Object(map) => match map.get(key) {
                Some(inner) => value = inner,
                None if missing == Missing::NoValue => return Ok(None),
                None => return Err(TemplateError::Fill(format!("can't evaluate field {key}"))),
            },
            Value::Null => return Ok(None),
            _ => return Err(TemplateError::Fill(format!("can't evaluate field {key} in {}", kind(value)))),
        }
    }
    Ok(Some(value.clone()))
}

fn call(name: &str, values: &[Value]) -> Result<Value, TemplateError> {
    let wrong = || TemplateError::Fill(format!("wrong number of arguments for {name}"));
    let one = || match values {
        [value] => Ok(value),
        _ => Err(wrong()),
    };
    Ok(match name {
        "json" => Value::String(one()?.to_string()),
        "prettyjson" => Value::String(pretty(one()?)),
        "len" => match one()? {
            Value::String(text) => text.len().into(),
            Value::Array(items) => items.len().into(),
            Value::Object(map) => map.len().into(),
            other => return Err(TemplateError::Fill(format!("len of {}", kind(other)))),
        },
        "not" => (!truth(one()?)).into(),
        "and" => pick(values, |value| !truth(value)).ok_or_else(wrong)?,
        "or" => pick(values, truth).ok_or_else(wrong)?,
        "eq" | "ne" => match values {
            [first, rest @ ..] if !rest.is_empty() => {
                (rest.iter().any(|other| same(first, other)) == (name == "eq")).into()
            }
            _ => return Err(wrong()),
        },
        "index" => {
            let (first, keys) = values.split_first().ok_or_else(wrong)?;
            keys.iter().try_fold(first.clone(), |value, key| index(&value, key))?
        }
        "printf" => {
            let (format, values) = values.split_first().ok_or_else(wrong)?;
            Value::String(printf(format.as_str().unwrap_or_default(), values)?)
        }
        _ => return Err(TemplateError::Fill(format!("function \"{name}\" not defined"))),
    })
}

/// Numbers are equal by value, whatever way they were written.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The first that `decides`, else the last.
fn pick(values: &[Value], decides: impl Fn(&Value) -> bool) -> Option<Value> {
    values.iter().find(|value| decides(value)).or(values.last()).cloned()
}

fn index(value: &Value, key: &Value) -> Result<Value, TemplateError> {
    match (value, key) {
        (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or(Value::Null)),
        (Value::Array(items), Value::Number(number)) => number
            .as_u64()
            .and_then(|at| items.get(usize::try_from(at).ok()?))
            .cloned()
            .ok_or_else(|| TemplateError::Fill(format!("index out of range: {number}"))),
        _ => Err(TemplateError::Fill(format!("can't index {} with {}", kind(value), kind(key)))),
    }
}

fn printf(format: &str, values: &[Value]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let verb = chars.next().unwrap_or('%');
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value =
            values.next().ok_or_else(|| TemplateError::Fill(format!("printf has no value for %{verb}")))?;
        match verb {
            's' | 'v' | 'd' => out.push_str(&print(value)),
            'q' => out.push_str(&Value::String(print(value)).to_string()),
            other => return Err(TemplateError::Fill(format!("printf does not know %{other}"))),
        }
    }
    Ok(out)
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", print(value))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// JSON with four spaces, as docker-machine prints it.
fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    serde::Serialize::serialize(value, &mut serializer).expect("a JSON value prints");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}
