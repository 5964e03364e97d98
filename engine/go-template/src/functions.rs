//! The functions a template may call.

use serde_json::Value;

use crate::TemplateError;
use crate::print::{kind, pretty, print};

pub(crate) const FUNCTIONS: [&str; 24] = [
    "and",
    "eq",
    "ge",
    "gt",
    "index",
    "join",
    "json",
    "le",
    "len",
    "lower",
    "lt",
    "ne",
    "not",
    "or",
    "pad",
    "prettyjson",
    "print",
    "printf",
    "println",
    "slice",
    "split",
    "title",
    "truncate",
    "upper",
];

pub(crate) fn call(name: &str, values: &[Value]) -> Result<Value, TemplateError> {
    let wrong = || TemplateError::Fill(format!("wrong number of arguments for {name}"));
    let one = || match values {
        [value] => Ok(value),
        _ => Err(wrong()),
    };
    let word = || one().map(print);
    Ok(match name {
        "json" => Value::String(one()?.to_string()),
        "prettyjson" => Value::String(pretty(one()?)),
        "lower" => word()?.to_lowercase().into(),
        "upper" => word()?.to_uppercase().into(),
        "title" => title(&word()?).into(),
        "print" => spaced(values, false).into(),
        "println" => format!("{}\n", spaced(values, true)).into(),
        "len" => length(one()?)?.into(),
        "not" => (!truth(one()?)).into(),
        "and" => pick(values, |value| !truth(value)).ok_or_else(wrong)?,
        "or" => pick(values, truth).ok_or_else(wrong)?,
        "eq" | "ne" => match values {
            [first, rest @ ..] if !rest.is_empty() => {
                (rest.iter().any(|other| same(first, other)) == (name == "eq")).into()
            }
            _ => return Err(wrong()),
        },
        "lt" | "le" | "gt" | "ge" => match values {
            [a, b] => {
                let order = compare(a, b)?;
                match name {
                    "lt" => order.is_lt(),
                    "le" => order.is_le(),
                    "gt" => order.is_gt(),
                    _ => order.is_ge(),
                }
                .into()
            }
            _ => return Err(wrong()),
        },
        "index" => {
            let (first, keys) = values.split_first().ok_or_else(wrong)?;
            keys.iter().try_fold(first.clone(), |value, key| index(&value, key))?
        }
        "slice" => {
            let (first, bounds) = values.split_first().ok_or_else(wrong)?;
            slice(first, bounds)?
        }
        "join" => match values {
            [Value::Array(items), separator] => {
                items.iter().map(print).collect::<Vec<_>>().join(&print(separator)).into()
            }
            [Value::Null, _] => String::new().into(),
            [other, _] => return Err(TemplateError::Fill(format!("can't join {}", kind(other)))),
            _ => return Err(wrong()),
        },
        "split" => match values {
            [text, separator] => print(text).split(&print(separator)).map(Value::from).collect(),
            _ => return Err(wrong()),
        },
        "pad" => match values {
            [text, before, after] => {
                let text = print(text);
                let blank = |n: &Value| " ".repeat(n.as_u64().map_or(0, |n| n.min(4096) as usize));
                if text.is_empty() { text } else { format!("{}{text}{}", blank(before), blank(after)) }.into()
            }
            _ => return Err(wrong()),
        },
        "truncate" => match values {
            [text, most] => {
                let most = most.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
                print(text).chars().take(most).collect::<String>().into()
            }
            _ => return Err(wrong()),
        },
        "printf" => {
            let (format, values) = values.split_first().ok_or_else(wrong)?;
            Value::String(printf(format.as_str().unwrap_or_default(), values)?)
        }
        _ => return Err(TemplateError::Fill(format!("function \"{name}\" not defined"))),
    })
}

/// What counts as true: anything but the type's zero.
pub(crate) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// One element, by key or number.
pub(crate) fn index(value: &Value, key: &Value) -> Result<Value, TemplateError> {
    match (value, key) {
        (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or(Value::Null)),
        (Value::Array(items), Value::Number(number)) => {
            number.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?)).cloned().ok_or_else(|| {
                TemplateError::Fill(format!("error calling index: index out of range: {number}"))
            })
        }
        (Value::Null, _) => Err(TemplateError::Fill("error calling index: index of untyped nil".into())),
        _ => Err(TemplateError::Fill(format!(
            "error calling index: can't index {} with {}",
            kind(value),
            kind(key)
        ))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, TemplateError> {
    let length = length(value)?;
    let bound = |at: usize, usual: usize| match bounds.get(at) {
        None => Some(usual),
        Some(value) => value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= length),
    };
    let range = || bound(0, 0).zip(bound(1, length)).filter(|(from, to)| from <= to && bounds.len() < 3);
    let (from, to) =
        range().ok_or_else(|| TemplateError::Fill("error calling slice: index out of range".into()))?;
    match value {
        Value::String(text) => match text.get(from..to) {
            Some(part) => Ok(part.into()),
            None => Err(TemplateError::Fill("error calling slice: it would cut a character".into())),
        },
        Value::Array(items) => Ok(items[from..to].to_vec().into()),
        other => Err(TemplateError::Fill(format!("error calling slice: can't slice {}", kind(other)))),
    }
}

fn length(value: &Value) -> Result<usize, TemplateError> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        other => Err(TemplateError::Fill(format!("error calling len: len of {}", kind(other)))),
    }
}

/// Numbers are equal by value, whatever way they were written.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn compare(a: &Value, b: &Value) -> Result<std::cmp::Ordering, TemplateError> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
    .ok_or_else(|| TemplateError::Fill("incompatible types for comparison".into()))
}

/// The first that `decides`, else the last.
fn pick(values: &[Value], decides: impl Fn(&Value) -> bool) -> Option<Value> {
    values.iter().find(|value| decides(value)).or(values.last()).cloned()
}

fn title(text: &str) -> String {
    let mut starts = true;
    let raise = |c: char| {
        let raised = if starts { c.to_uppercase().next().unwrap_or(c) } else { c };
        starts = c.is_whitespace();
        raised
    };
    text.chars().map(raise).collect()
}

/// As Go's Sprint and Sprintln: spaces between all, or only where neither neighbour is text.
fn spaced(values: &[Value], always: bool) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let plain = |value: &Value| !value.is_string();
        if at > 0 && (always || plain(value) && plain(&values[at - 1])) {
            out.push(' ');
        }
        out.push_str(&print(value));
    }
    out
}

fn printf(format: &str, values: &[Value]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut width = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_digit() || (width.is_empty() && *c == '-')) {
            width.push(c);
        }
        let verb = chars.next().unwrap_or('%');
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value =
            values.next().ok_or_else(|| TemplateError::Fill(format!("printf has no value for %{verb}")))?;
        let text = match verb {
            's' | 'v' | 'd' | 't' => print(value),
            'q' => Value::String(print(value)).to_string(),
            other => return Err(TemplateError::Fill(format!("printf does not know %{other}"))),
        };
        let columns = width.trim_start_matches('-').parse::<usize>().unwrap_or(0).min(4096);
        match width.starts_with('-') {
            true => out.push_str(&format!("{text:<columns$}")),
            false if width.starts_with('0') => out.push_str(&format!("{text:0>columns$}")),
            false => out.push_str(&format!("{text:>columns$}")),
        }
    }
    Ok(out)
}
