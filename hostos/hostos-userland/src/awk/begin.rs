//! A BEGIN that reads: `BEGIN { while (getline > 0) n++ }`.
//!
//! The interpreter knows its input only once it has the first record. So a BEGIN with a bare `getline` becomes
//! the rule of a record of its own that stands before the input, and what that record did to the counters is
//! undone.

use awk_rs::{Token, TokenKind};

/// Tells that the rule has run; no name of a program has such letters in it.
const BEGUN: &str = "has begun";

/// The program with its BEGIN as such a rule, if it reads and is the only one.
pub(super) fn as_first_record(tokens: Vec<Token>) -> (Vec<Token>, bool) {
    use TokenKind::{Assign, Begin, Dollar, Equal, Exit, Identifier, LeftBrace, Next, Number, RightBrace, Semicolon, String};
    let mut begins = tokens.iter().enumerate().filter(|(_, token)| token.kind == Begin);
    let (Some((begin, _)), None) = (begins.next(), begins.next()) else { return (tokens, false) };
    let mut depth = 0_usize;
    let end = tokens[begin..].iter().position(|token| {
        match token.kind {
            LeftBrace => depth += 1,
            RightBrace => depth = depth.saturating_sub(1),
            _ => return false,
        }
        depth == 0
    });
    let Some(end) = end.map(|length| begin + length) else { return (tokens, false) };
    let Some(open) = tokens[begin..end].iter().position(|token| token.kind == LeftBrace) else {
        return (tokens, false);
    };
    if !(begin..end).any(|at| is_bare_getline(&tokens, at)) {
        return (tokens, false);
    }
    // A program of BEGIN alone is over behind it.
    let alone = tokens[..begin].iter().chain(&tokens[end + 1..]).all(|token| {
        matches!(token.kind, TokenKind::Newline | Semicolon | TokenKind::Eof)
    });
    let set = |name: &str, number: f64| [Identifier(name.to_owned()), Assign, Number(number), Semicolon];
    let mut head = vec![Identifier(BEGUN.to_owned()), Equal, Number(0.0), LeftBrace];
    head.extend(set(BEGUN, 1.0));
    head.extend(set("NR", 0.0));
    head.extend(set("FNR", 0.0));
    head.extend([Dollar, Number(0.0), Assign, String("".to_owned()), Semicolon]);
    let at = tokens[begin].location;
    let new = |kind| Token::new(kind, at.line, at.column);
    let last = if alone { Exit } else { Next };
    let mut out: Vec<Token> = tokens[..begin].to_vec();
    out.extend(head.into_iter().map(new));
    out.extend_from_slice(&tokens[begin + open + 1..end]);
    out.extend([Semicolon, last, Semicolon].map(new));
    out.extend_from_slice(&tokens[end..]);
    (out, true)
}

/// `getline` and `getline name`, neither behind a pipe nor with a file.
fn is_bare_getline(tokens: &[Token], at: usize) -> bool {
    let kind = |at: usize| tokens.get(at).map(|token| &token.kind);
    let named = matches!(kind(at + 1), Some(TokenKind::Identifier(_)));
    kind(at) == Some(&TokenKind::Getline)
        && at.checked_sub(1).and_then(kind) != Some(&TokenKind::Pipe)
        && kind(at + 1 + usize::from(named)) != Some(&TokenKind::Less)
}
