//! A program, spelled out so that the interpreter does with it what awk does.
//!
//! - A pattern that begins with a regular expression may go on, as in `/a/ && /b/`: it gets brackets.
//! - `next` and `exit` only take note; they end their action when a `return` follows.
//! - END is run from here, so that it also follows an `exit`; an `exit` in END notes its code in a variable.
//! - A program of BEGIN alone reads nothing.

use std::io::Write;

use awk_rs::ast::{Block, Expr, Pattern, Program};
use awk_rs::{Interpreter, Lexer, Parser, Token, TokenKind};

/// Holds the code of an `exit` in END; no name of a program has such letters in it.
const CODE: &str = "exit code";
/// Its value where no code is given.
const KEPT: &str = "kept";

/// A program without its END, and that.
pub(super) struct Whole {
    pub(super) rules: Program,
    ends: Vec<Block>,
    /// Whether there is anything to do with input.
    pub(super) reads: bool,
}

impl Whole {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let tokens = Lexer::new(text).tokenize().map_err(|error| error.to_string())?;
        let tokens = spelled_out(whole_patterns(tokens));
        let mut rules = Parser::new(tokens).parse().map_err(|error| error.to_string())?;
        let (ends, others): (Vec<_>, Vec<_>) =
            rules.rules.drain(..).partition(|rule| matches!(rule.pattern, Some(Pattern::End)));
        let reads =
            !ends.is_empty() || others.iter().any(|rule| !matches!(rule.pattern, Some(Pattern::Begin)));
        rules.rules = others;
        Ok(Self { rules, ends: ends.into_iter().filter_map(|rule| rule.action).collect(), reads })
    }

    /// Runs END after everything else ended with `code`, and says how the program ends.
    pub(super) fn end<W: Write>(
        &self,
        interpreter: &mut Interpreter<'_>,
        code: i32,
        out: &mut W,
    ) -> awk_rs::Result<i32> {
        for block in &self.ends {
            interpreter.execute_block(block, out)?;
            let ended = interpreter.eval_expr(&variable())?;
            match ended.to_string_val().as_str() {
                "" => {}
                KEPT => return Ok(code),
                #[expect(clippy::cast_possible_truncation, reason = "codes are small")]
                _ => return Ok(ended.to_number() as i32),
            }
        }
        Ok(code)
    }
}

fn variable() -> Expr {
    Expr::Var(CODE.to_owned(), awk_rs::SourceLocation::new(0, 0))
}

/// The assignment to a variable that the interpreter keeps apart from others, as a block.
pub(super) fn assignment(name: &str, value: &str) -> Option<Block> {
    let apart =
        ["FS", "OFS", "RS", "ORS", "NR", "FNR", "NF", "SUBSEP", "CONVFMT", "OFMT", "FPAT", "FIELDWIDTHS"];
    if !apart.contains(&name) {
        return None;
    }
    let token = |kind| Token::new(kind, 0, 0);
    let tokens = [
        TokenKind::Begin,
        TokenKind::LeftBrace,
        TokenKind::Identifier(name.to_owned()),
        TokenKind::Assign,
        TokenKind::String(value.to_owned()),
        TokenKind::RightBrace,
        TokenKind::Eof,
    ];
    Parser::new(tokens.map(token).to_vec()).parse().ok()?.rules.pop()?.action
}

/// The parser takes a pattern that begins with a regular expression to end with it; in brackets it reads on.
fn whole_patterns(tokens: Vec<Token>) -> Vec<Token> {
    use TokenKind::{Comma, Eof, LeftBrace, LeftParen, Newline, Regex, RightBrace, RightParen, Semicolon};
    let mut whole = Vec::with_capacity(tokens.len() + 2);
    let mut tokens = tokens.into_iter().peekable();
    let (mut depth, mut begins) = (0_usize, true);
    while let Some(mut token) = tokens.next() {
        match token.kind {
            LeftBrace | LeftParen => depth += 1,
            RightBrace | RightParen => depth = depth.saturating_sub(1),
            // Between rules either will do; the parser knows one of them.
            Semicolon if depth == 0 => token.kind = Newline,
            _ => {}
        }
        let ends = |next: &Token| matches!(next.kind, LeftBrace | Newline | Semicolon | Comma | Eof);
        let goes_on = matches!(token.kind, Regex(_)) && tokens.peek().is_some_and(|next| !ends(next));
        let (guarded, at) = (begins && goes_on, token.location);
        begins = depth == 0 && matches!(token.kind, Newline | RightBrace | Comma);
        let bracket = |kind| guarded.then(|| Token::new(kind, at.line, at.column));
        whole.extend(bracket(LeftParen));
        whole.push(token);
        whole.extend(bracket(RightParen));
    }
    whole
}

/// `next` becomes `{ next; return }`, and `exit` alike.
fn spelled_out(tokens: Vec<Token>) -> Vec<Token> {
    use TokenKind::{
        Assign, End, Eof, Exit, Identifier, LeftBrace, LeftParen, Newline, Next, Nextfile, Return,
        RightBrace, RightParen, Semicolon,
    };
    let mut out = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    let (mut depth, mut in_end) = (0_usize, false);
    while let Some(token) = tokens.next() {
        let at = token.location;
        let new = |kind| Token::new(kind, at.line, at.column);
        match token.kind {
            End if depth == 0 => in_end = true,
            LeftBrace => depth += 1,
            RightBrace => {
                depth = depth.saturating_sub(1);
                in_end &= depth > 0;
            }
            Next | Nextfile | Exit => {
                let exit = token.kind == Exit;
                out.push(new(LeftBrace));
                if exit && in_end {
                    out.extend([new(Identifier(CODE.to_owned())), new(Assign)]);
                } else {
                    out.push(token);
                }
                let (begin, mut open) = (out.len(), 0_usize);
                while exit && let Some(next) = tokens.peek() {
                    match next.kind {
                        LeftParen => open += 1,
                        RightParen => open = open.saturating_sub(1),
                        Semicolon | Newline | RightBrace | Eof if open == 0 => break,
                        _ => {}
                    }
                    out.extend(tokens.next());
                }
                if exit && in_end && out.len() == begin {
                    out.push(new(TokenKind::String(KEPT.to_owned())));
                }
                out.extend([new(Semicolon), new(Return), new(Semicolon), new(RightBrace)]);
                continue;
            }
            _ => {}
        }
        out.push(token);
    }
    out
}
