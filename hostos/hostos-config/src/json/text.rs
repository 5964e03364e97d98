//! The characters of a source and where they stand. Invalid UTF-8 reads as U+FFFD, as Go reads it.

use super::Position;

/// A cursor over a source that counts lines and columns.
pub(super) struct Text {
    characters: Vec<char>,
    next: usize,
    at: Position,
}

impl Text {
    pub(super) fn new(source: &[u8]) -> Self {
        Self {
            characters: String::from_utf8_lossy(source).chars().collect(),
            next: 0,
            at: Position { line: 1, column: 1 },
        }
    }

    pub(super) fn at(&self) -> Position {
        self.at
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.characters.get(self.next).copied()
    }

    pub(super) fn advance(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.next += 1;
        if character == '\n' {
            self.at.line += 1;
            self.at.column = 1;
        } else {
            self.at.column += 1;
        }
        Some(character)
    }

    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.advance();
        }
    }

    /// Takes characters while they satisfy `wanted`.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(character) = self.peek().filter(|character| wanted(*character)) {
            taken.push(character);
            self.advance();
        }
        taken
    }
}
