//! Lines from a terminal: keys come in byte by byte, the line goes out as it is typed. Any terminal will do,
//! a serial line too: what is asked of it is to go back to the line's start and to erase to its end.
#![allow(unsafe_code, reason = "a terminal's width is asked for by ioctl")]

use std::io::{self, Write as _};
use std::os::fd::AsFd;

use nix::sys::termios::{
    InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};

use super::line::{Key, Line, Outcome};

/// What somebody at a terminal said.
pub(super) enum Said {
    Line(String),
    Interrupted,
    End,
}

/// What a line may go on with: the text before the cursor as it becomes, one for each way.
pub(super) type Ways = Vec<String>;

/// More ways are not shown.
const SHOWN: usize = 100;
const USUAL_WIDTH: usize = 80;

#[derive(Default)]
pub(super) struct Editor {
    line: Line,
}

impl Editor {
    /// Reads one line behind `prompt`. `complete` knows how the text before the cursor may go on.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn read(&mut self, prompt: &str, mut complete: impl FnMut(&str) -> Ways) -> io::Result<Said> {
        let _raw = Raw::enter()?;
        // Only a prompt's last line is drawn again.
        let (above, prompt) = prompt.rsplit_once('\n').map_or(("", prompt), |(above, last)| (above, last));
        if !above.is_empty() {
            show(&format!("{above}\n"))?;
        }
        self.draw(prompt)?;
        loop {
            let Some(key) = read_key()? else {
                self.line.drop_text();
                return Ok(Said::End);
            };
            // What is typed at the end of a line that has room needs nothing drawn anew.
            let only = self.echo(&key, prompt);
            let at_end = self.at_end();
            match self.line.press(key) {
                Outcome::Edited => match only {
                    Some(typed) => show(&typed)?,
                    None => self.draw(prompt)?,
                },
                Outcome::Done => {
                    // Whatever is printed next stands behind the whole line.
                    if !at_end {
                        self.line.press(Key::End);
                        self.draw(prompt)?;
                    }
                    show("\n")?;
                    return Ok(Said::Line(self.line.finish()));
                }
                Outcome::Interrupted => {
                    show("^C\n")?;
                    self.line.drop_text();
                    return Ok(Said::Interrupted);
                }
                Outcome::End => {
                    show("\n")?;
                    return Ok(Said::End);
                }
                Outcome::Clear => {
                    show("\x1b[H\x1b[2J")?;
                    self.draw(prompt)?;
                }
                Outcome::Complete => {
                    let before = self.line.before_cursor();
                    self.go_on(&before, &complete(&before))?;
                    self.draw(prompt)?;
                }
            }
        }
    }

    /// As far as all ways agree; where that is no further, shows them.
    fn go_on(&mut self, before: &str, ways: &[String]) -> io::Result<()> {
        let Some(first) = ways.first() else { return Ok(()) };
        let common = ways.iter().fold(first.as_str(), |common, way| {
            let same = common.char_indices().zip(way.chars()).find(|((_, a), b)| a != b);
            let end = same.map_or(common.len().min(way.len()), |((at, _), _)| at);
            &common[..end]
        });
        if common.len() > before.len() || ways.len() == 1 {
            self.line.set_before_cursor(common);
            return Ok(());
        }
        let start = before.rfind([' ', '/']).map_or(0, |at| at + 1);
        let shown: Vec<&str> =
            ways.iter().take(SHOWN).map(|way| way.get(start..).unwrap_or(way).trim_end()).collect();
        let more = if ways.len() > SHOWN { format!("  … {} in all", ways.len()) } else { String::new() };
        show(&format!("\n{}{more}\n", shown.join("  ")))
    }

    /// What a key shows, if that is all that changes.
    fn echo(&self, key: &Key, prompt: &str) -> Option<String> {
        let Key::Char(typed) = key else { return None };
        let taken = visible(prompt) + self.line.before_cursor().chars().count();
        (self.at_end() && taken + 2 < width()).then(|| typed.to_string())
    }

    fn at_end(&self) -> bool {
        self.line.behind_cursor().is_empty() && self.line.search_prompt().is_none()
    }

    /// The line anew; of one that is too long, the part around the cursor.
    fn draw(&self, prompt: &str) -> io::Result<()> {
        let searching = self.line.search_prompt();
        let prompt = searching.as_deref().unwrap_or(prompt);
        let width = width();
        let room = width.saturating_sub(visible(prompt) + 1).max(10);
        let (before, behind) = (self.line.before_cursor(), self.line.behind_cursor());
        let hidden = (before.chars().count() + 1).saturating_sub(room);
        let before: String = before.chars().skip(hidden).collect();
        let behind: String = behind.chars().take(room.saturating_sub(before.chars().count())).collect();
        let back = behind.chars().count();
        let back = if back > 0 { format!("\x1b[{back}D") } else { String::new() };
        show(&format!("\r{prompt}{before}{behind}\x1b[K{back}"))
    }
}

/// Takes a terminal's keys one by one until it is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut raw = before.clone();
        raw.local_flags -= LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN;
        raw.input_flags -= InputFlags::IXON;
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.before);
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stderr().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn width() -> usize {
    use std::os::fd::AsRawFd as _;
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills in the structure that it is given.
    let told = unsafe { libc::ioctl(io::stdin().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    if told == 0 && size.ws_col > 0 { size.ws_col.into() } else { USUAL_WIDTH }
}

/// How many columns a prompt takes: colours take none.
fn visible(prompt: &str) -> usize {
    let (mut columns, mut escape) = (0, false);
    for c in prompt.chars() {
        match c {
            '\x1b' => escape = true,
            c if escape => escape = !c.is_ascii_alphabetic(),
            c if c.is_control() => {}
            _ => columns += 1,
        }
    }
    columns
}

/// One byte, never more: what follows may be for the command that is typed here. Nothing at the end.
pub(super) fn read_byte() -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match nix::unistd::read(io::stdin(), &mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(nix::errno::Errno::EINTR) => {}
            // A terminal that was hung up.
            Err(nix::errno::Errno::EIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_key() -> io::Result<Option<Key>> {
    let Some(byte) = read_byte()? else { return Ok(None) };
    Ok(Some(match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Backspace,
        0x1b => return escape(),
        1..=26 => Key::Control(char::from(byte - 1 + b'a')),
        0..=31 => Key::Other,
        32..=126 => Key::Char(byte.into()),
        _ => return wide(byte),
    }))
}

/// What follows an escape byte: an arrow, or a letter with Alt.
fn escape() -> io::Result<Option<Key>> {
    let Some(kind) = read_byte()? else { return Ok(None) };
    if kind != b'[' && kind != b'O' {
        return Ok(Some(if kind.is_ascii_alphabetic() { Key::Alt(kind.into()) } else { Key::Other }));
    }
    let mut number = String::new();
    loop {
        let Some(byte) = read_byte()? else { return Ok(None) };
        match byte {
            0x40..=0x7e => return Ok(Some(sequence(&number, byte))),
            _ if number.len() > 8 => return Ok(Some(Key::Other)),
            _ => number.push(byte.into()),
        }
    }
}

fn sequence(number: &str, last: u8) -> Key {
    match (number, last) {
        ("", b'A') => Key::Up,
        ("", b'B') => Key::Down,
        ("", b'C') => Key::Right,
        ("", b'D') => Key::Left,
        ("", b'H') | ("1" | "7", b'~') => Key::Home,
        ("", b'F') | ("4" | "8", b'~') => Key::End,
        ("3", b'~') => Key::Delete,
        // With Control: by words.
        ("1;5", b'C') => Key::Alt('f'),
        ("1;5", b'D') => Key::Alt('b'),
        _ => Key::Other,
    }
}

/// A character of several bytes.
fn wide(first: u8) -> io::Result<Option<Key>> {
    let length = match first {
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf8 => 4,
        _ => return Ok(Some(Key::Other)),
    };
    let mut bytes = vec![first];
    while bytes.len() < length {
        let Some(byte) = read_byte()? else { return Ok(None) };
        bytes.push(byte);
    }
    let character = String::from_utf8(bytes).ok().and_then(|text| text.chars().next());
    Ok(Some(character.map_or(Key::Other, Key::Char)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        assert_eq!(visible("\x1b[1;32mcore@host\x1b[0m $ "), 12);
    }

    #[test]
    fn a_line_goes_on_as_far_as_all_ways_agree() {
        let mut editor = Editor::default();
        let ways = ["systemctl sta", "systemctl sto"].map(str::to_owned);
        editor.go_on("sys", &ways).expect("a place to write to");
        assert_eq!(editor.line.text(), "systemctl st");
        editor.go_on("systemctl st", &["systemctl stop ".to_owned()]).expect("a place to write to");
        assert_eq!(editor.line.text(), "systemctl stop ");
    }
}
