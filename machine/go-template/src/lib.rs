//! The part of Go's text/template that docker-machine's `--format` needs, over JSON values.
//!
//! Known: text, `{{.Field.Path}}`, `{{.}}`, `{{json X}}`, `{{prettyjson X}}`, pipes into these,
//! `{{if}}…{{else}}…{{end}}`, `{{range}}…{{else}}…{{end}}`, `{{index X k …}}`, `{{len X}}`,
//! `{{not X}}`, `{{eq X Y}}`, `{{ne X Y}}`, `{{and …}}`, `{{or …}}`, `{{printf "…" …}}` with `%s %v
//! %d %q`, string and number literals, comments and the `{{- -}}` trims. Everything else is refused by
//! name, never printed wrongly.

mod lex;
mod parse;
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
        render::render(&self.0, value, missing)
    }
}

#[cfg(test)]
mod tests;
