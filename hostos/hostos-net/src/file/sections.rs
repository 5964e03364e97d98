//! A file cut into its sections, which may repeat: each `[Address]` and each `[Route]` is one of its
//! own.

use unit_file::UnitFile;

use super::Warning;

/// One section and what is set in it.
pub(super) struct Section {
    pub(super) name: String,
    pub(super) settings: Vec<Setting>,
}

/// `Key=Value` and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// The sections of a text in their order.
pub(super) fn settings(text: &str, warnings: &mut Vec<Warning>) -> Vec<Section> {
    let mut pieces: Vec<(usize, String)> = vec![(0, String::new())];
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('[') {
            pieces.push((index, String::new()));
        }
        let (_, piece) = pieces.last_mut().expect("there is always one");
        piece.push_str(line);
        piece.push('\n');
    }
    let mut sections = Vec::new();
    for (before, piece) in pieces {
        match UnitFile::parse(&piece) {
            Ok(file) => {
                warnings.extend(
                    file.problems
                        .into_iter()
                        .map(|problem| Warning { line: before + problem.line, message: problem.message }),
                );
                let Some(name) = file.sections.first() else { continue };
                let settings = file.assignments.into_iter().map(|assignment| Setting {
                    key: assignment.key,
                    value: assignment.value,
                    line: before + assignment.line,
                });
                sections.push(Section { name: name.clone(), settings: settings.collect() });
            }
            Err(error) => warnings.push(Warning { line: before + error.line, message: error.message }),
        }
    }
    sections
}

impl Setting {
    pub(super) fn boolean(&self) -> Result<bool, String> {
        unit_file::parse_bool(&self.value).ok_or_else(|| self.bad("yes or no"))
    }

    /// Adds each word to `list`; nothing at all empties it.
    pub(super) fn list<T>(&self, list: &mut Vec<T>, read: impl Fn(&str) -> Option<T>) -> Result<(), String> {
        if self.value.is_empty() {
            list.clear();
            return Ok(());
        }
        for word in self.value.split_whitespace() {
            list.push(read(word).ok_or_else(|| format!("{}: `{word}` is not understood", self.key))?);
        }
        Ok(())
    }

    pub(super) fn bad(&self, wanted: &str) -> String {
        format!("{}= wants {wanted}, not `{}`", self.key, self.value)
    }

    pub(super) fn unknown(&self, section: &str) -> String {
        format!("{}= of [{section}] is not understood and not done", self.key)
    }
}
