//! A unit file as a list of assignments in their order, each with its line; and what was wrong.
//!
//! Reading is as lenient as systemd's: an assignment outside a section or a line without `=` is a
//! [`Problem`] and skipped; only a broken section header makes the file unusable. A caller that
//! wants to be stricter (a validator) uses [`UnitFile::parse_strict`].

use std::fmt;

/// One `Key=Value`, as written, whitespace around both cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Section without its brackets.
    pub section: String,
    /// Key.
    pub key: String,
    /// Value, continuation lines joined by one blank.
    pub value: String,
    /// Line of the key, from 1.
    pub line: usize,
}

/// A line that was skipped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Why a text is no unit file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// A unit file, or several merged in the order of their precedence (lowest first).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFile {
    /// All assignments in their order.
    pub assignments: Vec<Assignment>,
    /// Every section header seen, in order, empty sections too.
    pub sections: Vec<String>,
    /// Lines that were skipped.
    pub problems: Vec<Problem>,
}

const LONGEST_LINE: usize = 1024 * 1024;

impl UnitFile {
    /// Reads a text leniently.
    ///
    /// # Errors
    /// A section header without its `]`, a line over 1 MiB, or a NUL byte.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut file = Self::default();
        let mut section: Option<String> = None;
        for (line, content) in logical_lines(text)? {
            if let Some(header) = content.strip_prefix('[') {
                let name = header.strip_suffix(']').ok_or_else(|| ParseError {
                    line,
                    message: format!("section header `{content}` has no closing `]`"),
                })?;
                file.sections.push(name.to_owned());
                section = Some(name.to_owned());
            } else {
                file.add_assignment(section.as_deref(), &content, line);
            }
        }
        Ok(file)
    }

    /// Reads a text and refuses it at the first line that [`UnitFile::parse`] would skip.
    ///
    /// # Errors
    /// As [`UnitFile::parse`], and for every problem.
    pub fn parse_strict(text: &str) -> Result<Self, ParseError> {
        let file = Self::parse(text)?;
        match file.problems.first() {
            None => Ok(file),
            Some(Problem { line, message }) => Err(ParseError { line: *line, message: message.clone() }),
        }
    }

    fn add_assignment(&mut self, section: Option<&str>, content: &str, line: usize) {
        let mut problem = |message: &str| self.problems.push(Problem { line, message: message.to_owned() });
        let Some(section) = section else {
            return problem("assignment outside of a section");
        };
        match content.split_once('=') {
            None => problem("missing `=`"),
            Some((key, _)) if key.trim().is_empty() => problem("missing key before `=`"),
            Some((key, value)) => self.assignments.push(Assignment {
                section: section.to_owned(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
                line,
            }),
        }
    }

    /// Adds the assignments of a drop-in, which come after (and so override) those here.
    pub fn merge(&mut self, drop_in: Self) {
        self.assignments.extend(drop_in.assignments);
        self.sections.extend(drop_in.sections);
        self.problems.extend(drop_in.problems);
    }

    /// Is there such a section (also an empty one)?
    #[must_use]
    pub fn has_section(&self, section: &str) -> bool {
        self.sections.iter().any(|name| name == section)
    }

    /// All values of a key in their order, resets not applied.
    pub fn values<'a>(
        &'a self,
        section: &'a str,
        key: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a str> + 'a {
        self.assignments
            .iter()
            .filter(move |a| a.section == section && a.key == key)
            .map(|a| a.value.as_str())
    }

    /// The last value of a key; an empty one counts, as it resets to the default.
    #[must_use]
    pub fn last<'a>(&'a self, section: &'a str, key: &'a str) -> Option<&'a str> {
        self.values(section, key).next_back()
    }

    /// The values of a list key: an empty assignment forgets what came before it.
    #[must_use]
    pub fn list<'a>(&'a self, section: &'a str, key: &'a str) -> Vec<&'a str> {
        let mut found = Vec::new();
        for value in self.values(section, key) {
            if value.is_empty() {
                found.clear();
            } else {
                found.push(value);
            }
        }
        found
    }

    /// All blank-separated words of a list key, with resets.
    #[must_use]
    pub fn words(&self, section: &str, key: &str) -> Vec<String> {
        self.list(section, key)
            .iter()
            .flat_map(|value| crate::split_words(value).unwrap_or_default())
            .collect()
    }

    /// The text of the assignments: comments and odd spacing lost, order kept, sections opened
    /// again where the order needs it. Reading it gives the same assignments.
    #[must_use]
    pub fn serialize(&self) -> String {
        let mut text = String::new();
        let mut section: Option<&str> = None;
        for assignment in &self.assignments {
            if section != Some(&assignment.section) {
                if section.is_some() {
                    text.push('\n');
                }
                text.push_str(&format!("[{}]\n", assignment.section));
                section = Some(&assignment.section);
            }
            text.push_str(&format!("{}={}\n", assignment.key, assignment.value));
        }
        text
    }
}

/// Lines without comments and blank ones, continuation lines joined; with the line they begin on.
fn logical_lines(text: &str) -> Result<Vec<(usize, String)>, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let error = |message: &str| ParseError { line: index + 1, message: message.to_owned() };
        if raw.contains('\0') {
            return Err(error("a NUL byte in the text"));
        }
        let line = raw.trim_start();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (start, mut whole) = pending.take().unwrap_or((index + 1, String::new()));
        whole.push_str(line);
        if whole.len() > LONGEST_LINE {
            return Err(error("line is longer than 1 MiB"));
        }
        if ends_in_lone_backslash(&whole) {
            whole.pop();
            whole.push(' ');
            pending = Some((start, whole));
        } else if !whole.trim().is_empty() {
            lines.push((start, whole.trim().to_owned()));
        }
    }
    if let Some((start, whole)) = pending.filter(|(_, whole)| !whole.trim().is_empty()) {
        lines.push((start, whole.trim().to_owned()));
    }
    Ok(lines)
}

fn ends_in_lone_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_lines_are_kept() {
        let file =
            UnitFile::parse("# c\n[Unit]\nAfter=a b\n After = c\n\n[X-Fleet]\nGlobal=true").expect("valid");
        assert_eq!(file.words("Unit", "After"), ["a", "b", "c"]);
        let lines: Vec<_> = file.assignments.iter().map(|a| a.line).collect();
        assert_eq!(lines, [3, 4, 7]);
        assert_eq!(UnitFile::parse(&file.serialize()).expect("valid").serialize(), file.serialize());
    }

    #[test]
    fn continuation_skips_comments_in_between() {
        let text = "[Service]\nExecStart=/bin/docker run \\\n  # why\n  --rm \\\n\t-p 80 x\nUser=core";
        let file = UnitFile::parse(text).expect("valid");
        assert_eq!(file.last("Service", "ExecStart"), Some("/bin/docker run  --rm  -p 80 x"));
        assert_eq!(file.last("Service", "User"), Some("core"));
    }

    #[test]
    fn two_backslashes_do_not_continue() {
        let file = UnitFile::parse("[S]\nA=x\\\\\nB=y").expect("valid");
        assert_eq!(file.last("S", "A"), Some("x\\\\"));
        assert_eq!(file.last("S", "B"), Some("y"));
    }

    #[test]
    fn an_empty_value_resets_a_list() {
        let file = UnitFile::parse("[S]\nE=1\nE=\nE=2\nE=3").expect("valid");
        assert_eq!(file.list("S", "E"), ["2", "3"]);
    }

    #[test]
    fn lenient_and_strict_differ_on_stray_lines() {
        let text = "A=1\n[Unit]\nwhat\n=x\nB=2";
        let file = UnitFile::parse(text).expect("lenient");
        assert_eq!(file.problems.len(), 3);
        assert_eq!(file.last("Unit", "B"), Some("2"));
        assert_eq!(UnitFile::parse_strict(text).expect_err("strict").line, 1);
        assert_eq!(UnitFile::parse("[Unit]\n\n[Service\n").expect_err("header").line, 3);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_comes_back(text in "(\\PC|\n|\\\\|=|\\[|\\]){0,200}") {
            if let Ok(file) = UnitFile::parse(&text) {
                let again = UnitFile::parse(&file.serialize()).expect("own output is valid");
                let pairs = |file: &UnitFile| -> Vec<_> {
                    file.assignments.iter().map(|a| (a.section.clone(), a.key.clone(), a.value.clone())).collect()
                };
                proptest::prop_assert_eq!(pairs(&again), pairs(&file));
            }
            let _ = crate::parse_exec(&text, &str::to_owned);
            let _ = crate::parse_environment_file(&text);
            let _ = crate::parse_span(&text, std::time::Duration::from_secs(1));
            if let Ok(calendar) = text.parse::<crate::Calendar>() {
                proptest::prop_assert_eq!(calendar.to_string().parse::<crate::Calendar>(), Ok(calendar));
            }
        }
    }
}
