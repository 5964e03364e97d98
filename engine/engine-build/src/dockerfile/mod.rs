//! Dockerfiles: from text to stages of instructions. Pure; knows no image and no file.

pub mod expand;
mod instruction;
pub mod lines;
mod words;

pub use instruction::{Command, Instruction, RunForm, parse_instruction};

/// A Dockerfile understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// `ARG`s before the first `FROM`, with their texts.
    pub meta_args: Vec<Instruction>,
    pub stages: Vec<Stage>,
    pub escape: char,
    pub warnings: Vec<String>,
}

/// One `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    pub from: String,
    /// Lower-case, empty without `AS`.
    pub name: String,
    pub platform: String,
    /// The line as printed.
    pub text: String,
    pub commands: Vec<Instruction>,
}

/// Why a text is no Dockerfile, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("dockerfile parse error line {line}: {reason}")]
    Line { line: usize, reason: String },
    #[error("failed to parse Dockerfile: {0}")]
    Whole(String),
    #[error("{0}")]
    Other(String),
}

impl ParseError {
    pub(crate) fn at(line: usize, reason: impl Into<String>) -> Self {
        Self::Line { line, reason: reason.into() }
    }

    pub(crate) fn whole(reason: impl Into<String>) -> Self {
        Self::Whole(reason.into())
    }
}

impl Dockerfile {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let split = lines::split(text)?;
        let mut dockerfile = Self {
            meta_args: Vec::new(),
            stages: Vec::new(),
            escape: split.escape,
            warnings: split.warnings,
        };
        let instructions: Vec<(usize, Instruction)> = split
            .lines
            .iter()
            .map(|line| Ok((line.number, parse_instruction(&line.text, line.number, split.escape)?)))
            .collect::<Result<_, ParseError>>()?;
        for (_, instruction) in instructions {
            dockerfile.add(instruction)?;
        }
        Ok(dockerfile)
    }

    fn add(&mut self, instruction: Instruction) -> Result<(), ParseError> {
        match (instruction.command, self.stages.last_mut()) {
            (Command::From { image, name, platform }, _) => {
                let text = instruction.text;
                self.stages.push(Stage { from: image, name, platform, text, commands: Vec::new() });
            }
            (command @ Command::Arg(_), None) => {
                self.meta_args.push(Instruction { command, text: instruction.text })
            }
            (_, None) => return Err(ParseError::Other("no build stage in current context".into())),
            (command, Some(stage)) => stage.commands.push(Instruction { command, text: instruction.text }),
        }
        Ok(())
    }

    /// Index of the stage with this name or number.
    pub fn stage(&self, name: &str) -> Option<usize> {
        let lower = name.to_lowercase();
        let named = self.stages.iter().rposition(|stage| !stage.name.is_empty() && stage.name == lower);
        named.or_else(|| name.parse().ok().filter(|index| *index < self.stages.len()))
    }
}

#[cfg(test)]
mod tests;
