//! The part of Go's text/template that `--format` and unit scripts ask for, over JSON values.
//!
//! Known: text; `{{.Field.Path}}`, `{{.}}`, `{{$}}`, `{{(pipe).Field}}`; pipes; variables (`:=`, `=`);
//! `if`, `range` (also `$k, $v :=`) and `with`, each with `else` and `else if`; `break`, `continue`; comments
//! and the `{{- -}}` trims; Go's functions `and or not eq ne lt le gt ge index slice len print println
//! printf`, and the docker client's `json prettyjson join split lower upper title pad truncate println`.
//! Everything else is refused by name, never printed wrongly.

mod functions;
mod lex;
mod parse;
mod print;
mod render;

pub use render::Missing;

/// A template ready to be filled.
#[derive(Debug, Clone)]
pub struct Template(Vec<parse::Node>);

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not parse.
    #[error("the template does not parse: {0}")]
    Parse(String),
    /// It asks for what is not there, or treats it as what it is not.
    #[error("the template cannot be filled: {0}")]
    Fill(String),
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(&lex::lex(text)?).map(Self)
    }

    /// Fills it with a value.
    pub fn fill(&self, value: &serde_json::Value, missing: Missing) -> Result<String, TemplateError> {
        self.fill_with(value, missing, &serde_json::Value::Null)
    }

    /// The same where `{{.Name "x"}}` looks `x` up in the map `Name` of `methods`; a missing entry is an
    /// empty text.
    pub fn fill_with(
        &self,
        value: &serde_json::Value,
        missing: Missing,
        methods: &serde_json::Value,
    ) -> Result<String, TemplateError> {
        render::render(&self.0, value, missing, methods)
    }
}

#[cfg(test)]
mod tests;
