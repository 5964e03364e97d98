//! A line while it is typed: text, cursor, history and the search in it. Knows keys, no terminal.

/// What a key means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    /// A letter with Control.
    Control(char),
    /// A letter with Alt.
    Alt(char),
    Enter,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    Up,
    Down,
    /// Something that means nothing here.
    Other,
}

/// What comes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The line looks different now.
    Edited,
    /// It is finished.
    Done,
    /// Control-C.
    Interrupted,
    /// Control-D on an empty line.
    End,
    /// Tab.
    Complete,
    /// Control-L.
    Clear,
}

/// More than that nobody looks through.
const REMEMBERED: usize = 1000;

#[derive(Default)]
pub(super) struct Line {
    text: Vec<char>,
    cursor: usize,
    history: Vec<String>,
    /// Where in the history we are, and what was typed before.
    recalled: Option<(usize, Vec<char>)>,
    search: Option<Search>,
    /// What was cut last.
    cut: Vec<char>,
}

/// A search backwards through the history.
#[derive(Default)]
struct Search {
    wanted: String,
    found: Option<usize>,
}

impl Line {
    pub(super) fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// The text before the cursor.
    pub(super) fn before_cursor(&self) -> String {
        self.text[..self.cursor].iter().collect()
    }

    pub(super) fn behind_cursor(&self) -> String {
        self.text[self.cursor..].iter().collect()
    }

    /// What stands before the line while the history is searched.
    pub(super) fn search_prompt(&self) -> Option<String> {
        let search = self.search.as_ref()?;
        let failed = if search.found.is_none() && !search.wanted.is_empty() { "failed " } else { "" };
        Some(format!("({failed}reverse-i-search)`{}': ", search.wanted))
    }

    /// Replaces what stands before the cursor.
    pub(super) fn set_before_cursor(&mut self, text: &str) {
        let rest = self.text.split_off(self.cursor);
        self.text = text.chars().collect();
        self.cursor = self.text.len();
        self.text.extend(rest);
    }

    /// Starts the next line and remembers this one, if it says anything new.
    pub(super) fn finish(&mut self) -> String {
        let text = self.text();
        if !text.trim().is_empty() && self.history.last() != Some(&text) {
            self.history.push(text.clone());
            let over = self.history.len().saturating_sub(REMEMBERED);
            self.history.drain(..over);
        }
        self.drop_text();
        text
    }

    pub(super) fn drop_text(&mut self) {
        self.text.clear();
        self.cursor = 0;
        self.recalled = None;
        self.search = None;
    }

    pub(super) fn press(&mut self, key: Key) -> Outcome {
        if self.search.is_some()
            && let Some(outcome) = self.press_in_search(&key)
        {
            return outcome;
        }
        match key {
            Key::Enter | Key::Control('j' | 'm') => return Outcome::Done,
            Key::Control('c') => return Outcome::Interrupted,
            Key::Control('d') if self.text.is_empty() => return Outcome::End,
            Key::Tab | Key::Control('i') => return Outcome::Complete,
            Key::Control('l') => return Outcome::Clear,
            Key::Control('r') => self.search = Some(Search::default()),
            Key::Char(c) => {
                self.text.insert(self.cursor, c);
                self.cursor += 1;
            }
            Key::Backspace | Key::Control('h') => self.cut(self.cursor.saturating_sub(1)..self.cursor, false),
            Key::Delete | Key::Control('d') => self.cut(self.cursor..self.cursor + 1, false),
            Key::Left | Key::Control('b') => self.cursor = self.cursor.saturating_sub(1),
            Key::Right | Key::Control('f') => self.cursor = (self.cursor + 1).min(self.text.len()),
            Key::Home | Key::Control('a') => self.cursor = 0,
            Key::End | Key::Control('e') => self.cursor = self.text.len(),
            Key::Alt('b') => self.cursor = self.word_start(|c| c.is_alphanumeric()),
            Key::Alt('f') => self.cursor = self.word_end(),
            Key::Control('k') => self.cut(self.cursor..self.text.len(), true),
            Key::Control('u') => self.cut(0..self.cursor, true),
            Key::Control('w') => self.cut(self.word_start(|c| !c.is_whitespace())..self.cursor, true),
            Key::Alt('d') => self.cut(self.cursor..self.word_end(), true),
            Key::Control('y') => {
                let text = self.before_cursor() + &self.cut.iter().collect::<String>();
                self.set_before_cursor(&text);
            }
            Key::Up | Key::Control('p') => self.recall_older(),
            Key::Down | Key::Control('n') => self.recall_newer(),
            Key::Control(_) | Key::Alt(_) | Key::Other => {}
        }
        Outcome::Edited
    }

    /// Nothing if the key ends the search and means what it always means.
    fn press_in_search(&mut self, key: &Key) -> Option<Outcome> {
        let search = self.search.as_mut()?;
        let mut newest = self.history.len();
        match key {
            Key::Char(c) => search.wanted.push(*c),
            Key::Backspace | Key::Control('h') => {
                search.wanted.pop();
            }
            Key::Control('r') => newest = search.found.unwrap_or(newest),
            Key::Control('g') => {
                self.drop_text();
                return Some(Outcome::Edited);
            }
            _ => {
                self.search = None;
                return None;
            }
        }
        let older = self.history[..newest].iter().rposition(|line| line.contains(&search.wanted));
        search.found = older.or(search.found.filter(|_| *key == Key::Control('r')));
        if let Some(at) = search.found {
            self.text = self.history[at].chars().collect();
            self.cursor = self.text.len();
        }
        Some(Outcome::Edited)
    }

    fn cut(&mut self, range: std::ops::Range<usize>, keep: bool) {
        let range = range.start..range.end.min(self.text.len());
        if range.is_empty() {
            return;
        }
        self.cursor = range.start;
        let cut: Vec<char> = self.text.drain(range).collect();
        if keep {
            self.cut = cut;
        }
    }

    fn word_start(&self, inside: impl Fn(char) -> bool) -> usize {
        let before = &self.text[..self.cursor];
        let end = before.iter().rposition(|c| inside(*c)).map_or(0, |at| at + 1);
        before[..end].iter().rposition(|c| !inside(*c)).map_or(0, |at| at + 1)
    }

    fn word_end(&self) -> usize {
        let skip = |from: usize, inside: bool| {
            let rest = &self.text[from..];
            from + rest.iter().position(|c| c.is_alphanumeric() != inside).unwrap_or(rest.len())
        };
        skip(skip(self.cursor, false), true)
    }

    fn recall_older(&mut self) {
        let at = self.recalled.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let Some(older) = at.checked_sub(1) else { return };
        let typed = self.recalled.take().map_or_else(|| self.text.clone(), |(_, typed)| typed);
        self.text = self.history[older].chars().collect();
        self.cursor = self.text.len();
        self.recalled = Some((older, typed));
    }

    fn recall_newer(&mut self) {
        let Some((at, typed)) = self.recalled.take() else { return };
        self.text = match self.history.get(at + 1) {
            Some(newer) => newer.chars().collect(),
            None => typed.clone(),
        };
        self.cursor = self.text.len();
        self.recalled = (at + 1 < self.history.len()).then_some((at + 1, typed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &mut Line, text: &str) {
        for c in text.chars() {
            line.press(Key::Char(c));
        }
    }

    fn line_of(history: &[&str]) -> Line {
        Line { history: history.iter().map(|&line| line.to_owned()).collect(), ..Line::default() }
    }

    #[test]
    fn editing() {
        let mut line = Line::default();
        typed(&mut line, "echo one two");
        line.press(Key::Control('w'));
        line.press(Key::Home);
        line.press(Key::Delete);
        typed(&mut line, "E");
        assert_eq!((line.text().as_str(), line.before_cursor().as_str()), ("Echo one ", "E"));
        line.press(Key::End);
        line.press(Key::Control('y'));
        line.press(Key::Alt('b'));
        line.press(Key::Alt('b'));
        line.press(Key::Control('k'));
        assert_eq!(line.text(), "Echo ");
        line.press(Key::Control('u'));
        assert_eq!(line.press(Key::Control('d')), Outcome::End);
        typed(&mut line, "x");
        assert_eq!(line.press(Key::Control('d')), Outcome::Edited, "there is text before the cursor");
    }

    #[test]
    fn history_comes_back_and_what_was_typed_too() {
        let mut line = line_of(&["first", "second"]);
        typed(&mut line, "thi");
        line.press(Key::Up);
        assert_eq!(line.text(), "second");
        line.press(Key::Up);
        line.press(Key::Up);
        assert_eq!(line.text(), "first");
        line.press(Key::Down);
        line.press(Key::Down);
        assert_eq!(line.text(), "thi");
        assert_eq!(line.finish(), "thi");
        line.press(Key::Up);
        assert_eq!(line.text(), "thi");
    }

    #[test]
    fn the_history_is_searched_backwards() {
        let mut line = line_of(&["docker ps -a", "ls", "docker ps"]);
        line.press(Key::Control('r'));
        typed(&mut line, "ps");
        assert_eq!(line.text(), "docker ps");
        line.press(Key::Control('r'));
        assert_eq!(line.text(), "docker ps -a");
        typed(&mut line, "!");
        assert!(line.search_prompt().is_some_and(|prompt| prompt.starts_with("(failed")));
        line.press(Key::Backspace);
        assert_eq!(line.press(Key::Enter), Outcome::Done);
        assert_eq!(line.finish(), "docker ps");
    }
}
