//! A Dockerfile's logical lines: directives, comments, continuations.

use super::ParseError;

/// One instruction as written, continuations joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// First physical line, from 1.
    pub number: usize,
}

/// What a Dockerfile's text says before its instructions are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    pub lines: Vec<Line>,
    pub escape: char,
    /// For the user, complete lines.
    pub warnings: Vec<String>,
}

/// Splits the text.
pub fn split(text: &str) -> Result<Lines, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut directives = Directives { escape: '\\', seen: Vec::new(), open: true };
    let mut lines = Vec::new();
    let mut warnings = Vec::new();
    let mut physical = text.lines().enumerate();
    while let Some((at, raw)) = physical.next() {
        directives.read(raw, at + 1)?;
        let first = without_comment(raw.trim_start());
        let (mut joined, mut open) = continued(first, directives.escape);
        if joined.is_empty() && !open {
            continue;
        }
        let mut empty_continuation = false;
        while open {
            let Some((_, raw)) = physical.next() else { break };
            if raw.trim_start().starts_with('#') {
                continue;
            }
            if raw.trim().is_empty() {
                empty_continuation = true;
                continue;
            }
            let (piece, more) = continued(raw, directives.escape);
            joined.push_str(&piece);
            open = more;
        }
        if empty_continuation {
            warnings.push(format!("[WARNING]: Empty continuation line found in:\n    {joined}"));
        }
        let text = joined.trim().to_owned();
        if !text.is_empty() {
            refuse_here_document(&text, at + 1, physical.clone().map(|(_, raw)| raw))?;
            lines.push(Line { text, number: at + 1 });
        }
    }
    if !warnings.is_empty() {
        warnings.push("[WARNING]: Empty continuation lines will become errors in a future release.".into());
    }
    if lines.is_empty() {
        return Err(ParseError::whole("file with no instructions"));
    }
    Ok(Lines { lines, escape: directives.escape, warnings })
}

fn without_comment(line: &str) -> &str {
    if line.starts_with('#') { "" } else { line }
}

/// The line without its continuation mark, and whether there was one.
fn continued(line: &str, escape: char) -> (String, bool) {
    let trimmed = line.trim_end_matches([' ', '\t', '\r']);
    match trimmed.strip_suffix(escape) {
        Some(rest) => (rest.to_owned(), true),
        None => (line.trim_end_matches('\r').to_owned(), false),
    }
}

struct Directives {
    escape: char,
    seen: Vec<String>,
    /// Only at the very top, before anything else.
    open: bool,
}

impl Directives {
    fn read(&mut self, line: &str, number: usize) -> Result<(), ParseError> {
        if !self.open {
            return Ok(());
        }
        let Some((name, value)) = directive(line) else {
            self.open = false;
            return Ok(());
        };
        if self.seen.contains(&name) && name == "escape" {
            return Err(ParseError::at(number, "only one escape parser directive can be used"));
        }
        match name.as_str() {
            "escape" => {
                self.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        return Err(ParseError::at(
                            number,
                            format!("invalid ESCAPE '{other}'. Must be ` or \\"),
                        ));
                    }
                };
            }
            "syntax" => {}
            _ => self.open = false,
        }
        self.seen.push(name);
        Ok(())
    }
}

/// `# name = value`
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (fits && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

/// Here-documents came with BuildKit; without this check their body would read as unknown instructions.
fn refuse_here_document<'a>(
    text: &str,
    number: usize,
    mut following: impl Iterator<Item = &'a str>,
) -> Result<(), ParseError> {
    let instruction = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(instruction.as_str(), "RUN" | "COPY" | "ADD") {
        return Ok(());
    }
    let words = text.split_whitespace().filter_map(|word| word.split_once("<<").map(|(_, end)| end));
    let ends: Vec<&str> = words.map(|end| end.trim_start_matches('-').trim_matches(['"', '\''])).collect();
    let is_end = |line: &str| ends.iter().any(|end| !end.is_empty() && line.trim() == *end);
    if ends.is_empty() || !following.any(is_end) {
        return Ok(());
    }
    Err(ParseError::at(number, "here-documents require BuildKit; write the lines with continuations instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        split(text).expect("parses").lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_join_as_dockers() {
        assert_eq!(texts("FROM a\nRUN echo a\\\n# c\n  b\n"), ["FROM a", "RUN echo a  b"]);
        assert_eq!(texts("# escape=`\nFROM a\nRUN dir c:\\`\n x"), ["FROM a", "RUN dir c:\\ x"]);
        assert_eq!(texts("\n  # x\n  FROM a \r\nCMD b"), ["FROM a", "CMD b"]);
        let odd = split("FROM bb\nCMD a \\\n\n b\n").expect("parses");
        assert_eq!(odd.lines[1].text, "CMD a  b");
        assert_eq!(odd.warnings[0], "[WARNING]: Empty continuation line found in:\n    CMD a  b");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(split("# escape=x\nFROM a").is_err());
        assert!(split("# nothing\n").is_err());
        assert!(split("FROM a\nRUN <<EOF\necho\nEOF\n").is_err());
        assert!(split("FROM a\nRUN cat <<EOF\n").is_ok());
    }
}
