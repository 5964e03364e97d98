//! `$!` and the processes that it names. The crate runs what stands before `&` as a task of the shell itself,
//! which has no process to name; so before it sees a text that asks for `$!`, each `A &` in it is replaced
//! by a call of our own command [`START`], and each `$!` by the variable that this command sets.
//!
//! The crate's syntax tree is public as serde writes it, and it is changed in that form: lists are arrays
//! of `[pipeline, "Async" or "Sequence"]`, words are objects with a text `value`.

use std::sync::{Mutex, PoisonError};

use brush_core::{Error, ExecutionParameters, ExecutionResult, Shell, SourceInfo};
use serde_json::Value;

/// The command that starts what stood before `&`.
pub(super) const START: &str = "__start_in_background";
/// What `$!` is.
pub(super) const PROCESS: &str = "__last_background_process";

/// What stood before `&`, by number.
static PARTS: Mutex<Vec<Value>> = Mutex::new(Vec::new());

/// Whether a text is to be rewritten before it runs.
pub(super) fn is_needed(text: &str) -> bool {
    text.contains("$!") || text.contains("${!}") || text.contains("wait -n")
}

/// Runs a text in `shell`, rewritten if it has to be.
pub(super) async fn run(
    shell: &mut Shell,
    text: &str,
    source: &SourceInfo,
    params: &ExecutionParameters,
) -> Result<ExecutionResult, Error> {
    let parsed = is_needed(text).then(|| shell.parse_string(text));
    let rewritten = parsed.and_then(Result::ok).and_then(|program| {
        let mut tree = serde_json::to_value(program).ok()?;
        in_tree(&mut tree, shell);
        serde_json::from_value(tree).ok()
    });
    match rewritten {
        Some(program) => match shell.run_program(program, params).await {
            Ok(result) => Ok(result),
            Err(error) => {
                let mut stderr = shell.stderr();
                let _ = shell.display_error(&mut stderr, &error);
                Ok(error.into_result(shell))
            }
        },
        // A text that does not parse is told of by the crate.
        None => shell.run_string(text, source, params).await,
    }
}

/// Part `number`, as [`START`] is told it.
pub(super) fn part(number: &str) -> Option<Value> {
    PARTS.lock().unwrap_or_else(PoisonError::into_inner).get(number.parse::<usize>().ok()?).cloned()
}

fn in_tree(tree: &mut Value, shell: &Shell) {
    in_words(tree, &in_word);
    in_lists(tree, shell);
}

/// Puts `change` to every word.
fn in_words(tree: &mut Value, change: &impl Fn(&str) -> String) {
    match tree {
        Value::Array(items) => items.iter_mut().for_each(|item| in_words(item, change)),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match field {
                    Value::String(text) if key == "value" => *text = change(text),
                    _ => in_words(field, change),
                }
            }
        }
        _ => {}
    }
}

/// Replaces what stands before `&`, innermost first.
fn in_lists(tree: &mut Value, shell: &Shell) {
    match tree {
        Value::Array(items) => {
            items.iter_mut().for_each(|item| in_lists(item, shell));
            if let [list @ Value::Object(_), separator] = items.as_mut_slice()
                && separator == "Async"
                && let Some(call) = call(list, shell)
            {
                *list = call;
                *separator = "Sequence".into();
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| in_lists(field, shell)),
        _ => {}
    }
}

/// The call of our command in the place of `list`, which is kept for it.
fn call(list: &Value, shell: &Shell) -> Option<Value> {
    let mut parts = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    let text = format!("{START} {}", parts.len());
    let tree = serde_json::to_value(shell.parse_string(text).ok()?).ok()?;
    let call = tree.pointer("/complete_commands/0/0/0")?.clone();
    parts.push(list.clone());
    Some(call)
}

/// `$$` of a tree that another process will run is still this one.
pub(super) fn keep_process_id(tree: &mut Value) {
    let own = std::process::id().to_string();
    in_words(tree, &|word| replaced(word, &["$$", "${$}"], &own));
}

/// `$!` outside of single quotes becomes the variable.
pub(super) fn in_word(word: &str) -> String {
    replaced(word, &["$!", "${!}"], &format!("${{{PROCESS}-}}"))
}

/// A word with `value` for each of `names` that the shell would expand.
fn replaced(word: &str, names: &[&str], value: &str) -> String {
    if !names.iter().any(|name| word.contains(name)) {
        return word.to_owned();
    }
    let mut out = String::with_capacity(word.len());
    let (mut single, mut double) = (false, false);
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        if let Some(name) = names.iter().find(|name| !single && rest.starts_with(**name)) {
            out.push_str(value);
            rest = &rest[name.len()..];
            continue;
        }
        let mut taken = c.len_utf8();
        match c {
            '\\' if !single => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            _ => {}
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_parameter_itself_is_replaced() {
        let variable = format!("${{{PROCESS}-}}");
        assert_eq!(in_word("$!"), variable);
        assert_eq!(in_word("\"pid $! it's\""), format!("\"pid {variable} it's\""));
        assert_eq!(in_word("${!}"), variable);
        for same in ["'$!'", "\\$!", "${!name}", "a!b", "$x!", "\"\\$!\""] {
            assert_eq!(in_word(same), same);
        }
    }
}
