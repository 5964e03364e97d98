//! The text of a join token: `SWMTKN-1-<50 digits>-<25 digits>`, both numbers in base 36.
//!
//! The first number is the SHA-256 digest of the authority's certificate in its canonical PEM form, the
//! second 128 random bits. Docker writes and reads the same, so `docker swarm join` can read ours.

use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "SWMTKN";
const VERSION: &str = "1";
const DIGEST_DIGITS: usize = 50;
const SECRET_DIGITS: usize = 25;

/// The secret of a token; never shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An invitation to a cluster. Its `Display` is the secret text; `Debug` hides the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the authority's certificate.
    pub authority: [u8; 32],
    /// What proves the invitation.
    pub secret: Secret,
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form at all.
    #[error(
        "this is no join token: it looks like SWMTKN-1-<{DIGEST_DIGITS} digits>-<{SECRET_DIGITS} digits>"
    )]
    Form,
    /// Of a form that came later.
    #[error("join tokens of version {0} are not understood; this program knows version {VERSION}")]
    Version(String),
    /// A part has not its length.
    #[error("the {part} of the join token has {has} digits instead of {wants}: was it copied whole?")]
    Length {
        /// Which part.
        part: &'static str,
        /// Its length.
        has: usize,
        /// The length it should have.
        wants: usize,
    },
    /// A part is no number, or too large a one.
    #[error("the {0} of the join token is damaged: ask for it again")]
    Digits(&'static str),
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = to_base36(&self.authority, DIGEST_DIGITS);
        write!(f, "{PREFIX}-{VERSION}-{digest}-{}", self.secret.text())
    }
}

impl Secret {
    /// Its digits, as in a token.
    #[must_use]
    pub fn text(&self) -> String {
        to_base36(&self.0, SECRET_DIGITS)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [prefix, version, digest, secret] = parts.as_slice() else { return Err(TokenError::Form) };
        if *prefix != PREFIX {
            return Err(TokenError::Form);
        }
        if *version != VERSION {
            return Err(TokenError::Version((*version).to_owned()));
        }
        Ok(Self {
            authority: from_base36(digest, DIGEST_DIGITS, "digest")?,
            secret: Secret(from_base36(secret, SECRET_DIGITS, "secret")?),
        })
    }
}

/// The number that these bytes are, most significant first, in so many digits.
fn to_base36(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; digits];
    for place in text.iter_mut().rev() {
        let mut rest: u32 = 0;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 36).expect("the rest is below 36, so this is below 256");
            rest = value % 36;
        }
        *place = char::from_digit(rest, 36).map_or(b'0', |digit| digit as u8);
    }
    String::from_utf8(text).expect("digits are ASCII")
}

fn from_base36<const N: usize>(text: &str, wants: usize, part: &'static str) -> Result<[u8; N], TokenError> {
    let has = text.chars().count();
    if has != wants {
        return Err(TokenError::Length { part, has, wants });
    }
    let mut number = [0u8; N];
    for digit in text.chars() {
        let lower = !digit.is_ascii_uppercase();
        let digit = digit.to_digit(36).filter(|_| lower).ok_or(TokenError::Digits(part))?;
        let mut carry = digit;
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte) * 36 + carry;
            *byte = (value & 0xff) as u8;
            carry = value >> 8;
        }
        if carry > 0 {
            return Err(TokenError::Digits(part));
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Docker's manual.
    const DOCKERS: &str =
        "SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-8vxv8rssmk743ojnwacrr2e7c";

    #[test]
    fn dockers_token_is_read_and_written_as_it_was() {
        let token: JoinToken = DOCKERS.parse().expect("a token");
        assert_eq!(token.to_string(), DOCKERS);
        assert_eq!(format!("{:?}", token.secret), "Secret(…)");
    }

    #[test]
    fn all_numbers_fit_and_come_back() {
        for byte in [0u8, 1, 35, 36, 0x7f, 0xff] {
            let token = JoinToken { authority: [byte; 32], secret: Secret([byte; 16]) };
            let text = token.to_string();
            assert_eq!(text.len(), "SWMTKN-1-".len() + 50 + 1 + 25, "{text}");
            assert_eq!(text.parse(), Ok(token));
        }
        let mut authority = [0; 32];
        authority[31] = 37;
        let token = JoinToken { authority, secret: Secret(0xff_u128.to_be_bytes()) };
        let zeros = "0".repeat(23);
        assert!(token.to_string().ends_with(&format!("0011-{zeros}73")), "{token}");
    }

    #[test]
    fn what_is_no_token_is_refused_with_its_reason() {
        let long = "z".repeat(50);
        for (text, says) in [
            ("", "this is no join token"),
            ("SWMTKN-1-abc", "this is no join token"),
            ("SWMTKN-2-a-b", "version 2 are not understood"),
            ("SWMTKN-1-abc-def", "the digest of the join token has 3 digits instead of 50"),
            (&DOCKERS[..DOCKERS.len() - 1], "the secret of the join token has 24 digits instead of 25"),
            (
                &format!("SWMTKN-1-{long}-8vxv8rssmk743ojnwacrr2e7c"),
                "the digest of the join token is damaged",
            ),
            (&DOCKERS.replace("49nj", "49nJ"), "the digest of the join token is damaged"),
        ] {
            let refused = text.parse::<JoinToken>().expect_err(text).to_string();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
