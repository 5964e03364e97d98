//! `--format`: tables, Go templates and JSON.

use go_template::{Missing, Template};
use quiet_stdout::{put, say};
use serde_json::{Map, Value, json};

use crate::flags::Options;
use crate::http::Failure;

/// The header of each field a row may have.
pub(crate) type Headers = &'static [(&'static str, &'static str)];

/// What is shown of one thing.
pub(crate) struct Row {
    pub(crate) fields: Value,
    /// What `{{.Label "x"}}` looks into.
    pub(crate) labels: Value,
}

/// The value of `--format`, refused before anything is asked of the engine if it does not parse.
pub(crate) fn asked(options: &Options<'_>) -> Result<String, Failure> {
    let format = options.text("format");
    parse(format.strip_prefix("table").unwrap_or(&format))?;
    Ok(format)
}

/// Prints rows as `format` wants them. `columns` is the template of the usual table.
pub(crate) fn rows(rows: &[Row], format: &str, columns: &str, headers: Headers) -> Result<(), Failure> {
    put!("{}", lines(rows, format, columns, headers)?);
    Ok(())
}

/// The same as text, each line with its end.
pub(crate) fn lines(rows: &[Row], format: &str, columns: &str, headers: Headers) -> Result<String, Failure> {
    let format = format.replace("\\t", "\t").replace("\\n", "\n");
    let (is_table, template) = match format.strip_prefix("table") {
        _ if format.is_empty() => (true, columns),
        Some(rest) if rest.trim().is_empty() => (true, columns),
        Some(rest) if rest.starts_with([' ', '\t']) => (true, rest.trim()),
        _ if format == "json" => (false, "{{json .}}"),
        _ => (false, format.as_str()),
    };
    let (template_text, template) = (template, parse(template)?);
    let lines = rows
        .iter()
        .map(|row| template.fill_with(&row.fields, Missing::Error, &json!({ "Label": row.labels })));
    let lines = lines.collect::<Result<Vec<_>, _>>().map_err(unfilled)?;
    if !is_table {
        // Whole rows are written as for a page of HTML.
        let whole = template_text.trim() == "{{json .}}";
        let lines = lines.into_iter().map(|line| if whole { for_html(&line) } else { line });
        return Ok(lines.map(|line| format!("{line}\n")).collect());
    }
    let names: Map<String, Value> =
        headers.iter().map(|(key, name)| ((*key).to_owned(), json!(name))).collect();
    let head = template
        .fill_with(&Value::Object(names), Missing::NoValue, &json!({ "Label": {} }))
        .map_err(unfilled)?;
    let cells = |line: &str| line.split('\t').map(str::to_owned).collect();
    let mut table: Vec<Vec<String>> = vec![cells(&head)];
    table.extend(lines.iter().map(|line| cells(line)));
    Ok(aligned(&table, 10))
}

fn for_html(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// Cells below each other: a column is three wider than its widest cell, and at least `least`.
pub(crate) fn aligned(table: &[Vec<String>], least: usize) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    // The last cell of a row has no column.
    let width = |column: usize| {
        let cells =
            table.iter().filter(|row| row.len() > column + 1).map(|row| row[column].chars().count() + 3);
        cells.max().unwrap_or(0).max(least)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in table {
        for (cell, width) in row.iter().zip(&widths).take(row.len().saturating_sub(1)) {
            out.push_str(&format!("{cell:<width$}"));
        }
        out.push_str(row.last().map_or("", String::as_str));
        out.push('\n');
    }
    out
}

/// Prints objects as `inspect` does: a JSON list, or a template for each.
pub(crate) fn objects(found: &[Value], format: &str) -> Result<(), Failure> {
    match format {
        "" => {
            let mut bytes = Vec::new();
            let pretty = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, pretty);
            serde::Serialize::serialize(found, &mut serializer)
                .map_err(|error| Failure::Usage(format!("the answer does not print: {error}")))?;
            say!("{}", String::from_utf8_lossy(&bytes));
        }
        "json" => say!("{}", Value::from(found)),
        _ => {
            let template = parse(format)?;
            for object in found {
                say!("{}", one(&template, object)?);
            }
        }
    }
    Ok(())
}

/// Prints one object by a template or as JSON.
pub(crate) fn object(object: &Value, format: &str) -> Result<(), Failure> {
    say!("{}", filled(object, format)?);
    Ok(())
}

/// The same as text without an end.
pub(crate) fn filled(object: &Value, format: &str) -> Result<String, Failure> {
    match format {
        "json" => Ok(object.to_string()),
        _ => one(&parse(format)?, object),
    }
}

fn one(template: &Template, object: &Value) -> Result<String, Failure> {
    template
        .fill(object, Missing::Error)
        .map_err(|error| Failure::Usage(format!("template parsing error: template: :1: {error}")))
}

fn parse(template: &str) -> Result<Template, Failure> {
    Template::parse(template).map_err(|error| Failure::Ended {
        text: format!("failed to parse template: template: :1: {error}"),
        code: 1,
    })
}

fn unfilled(error: go_template::TemplateError) -> Failure {
    Failure::Usage(format!("failed to execute template: template: :1: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_go_makes_them() {
        let table = [vec!["ID", "A LONG HEADER", "NAME"], vec!["123456789012", "x", "y"]];
        let table: Vec<Vec<String>> =
            table.iter().map(|row| row.iter().map(|c| (*c).to_owned()).collect()).collect();
        assert_eq!(
            aligned(&table, 10),
            "ID             A LONG HEADER   NAME\n123456789012   x               y\n"
        );
        assert_eq!(aligned(&[vec!["a".into(), "b".into()]], 10), "a         b\n");
    }
}
