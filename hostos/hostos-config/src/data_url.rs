//! `data:` URLs, RFC 2397, as strict as the elder's reader.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding is needed; bits beyond the last byte may be set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// Why a data URL cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataUrlError {
    /// Another scheme.
    #[error("it does not begin with `data:`")]
    NotData,
    /// No comma.
    #[error("it has no comma, which separates the type from the content")]
    NoComma,
    /// A type that is none.
    #[error("`{0}` is no media type")]
    MediaType(String),
    /// A character that a URL cannot hold.
    #[error("it holds the character `{0}`, which a URL must escape")]
    Character(char),
    /// `%` without two digits.
    #[error("it has a `%` without two hexadecimal digits")]
    Escape,
    /// Broken base64.
    #[error("its base64 is broken")]
    Base64(#[source] base64::DecodeError),
}

/// The bytes that a data URL holds.
///
/// # Errors
/// It is none, or its content cannot be read.
pub fn decode(url: &str) -> Result<Vec<u8>, DataUrlError> {
    let rest = url.strip_prefix("data:").ok_or(DataUrlError::NotData)?;
    let (head, content) = rest.split_once(',').ok_or(DataUrlError::NoComma)?;
    let base64 = head.strip_suffix(";base64");
    check_media_type(base64.unwrap_or(head))?;
    match base64 {
        Some(_) => match content.chars().find(|character| !is_base64(*character)) {
            Some(other) => Err(DataUrlError::Character(other)),
            None => BASE64.decode(content).map_err(DataUrlError::Base64),
        },
        None => unescape(content),
    }
}

/// `type/subtype;key=value;…`, every part of it optional.
fn check_media_type(head: &str) -> Result<(), DataUrlError> {
    let bad = || DataUrlError::MediaType(head.into());
    let mut parts = head.split(';');
    let kind = parts.next().unwrap_or_default();
    if !kind.is_empty() && !kind.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub)) {
        return Err(bad());
    }
    let quoted = |value: &str| value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    let good = |part: &str| {
        part.split_once('=').is_some_and(|(key, value)| is_token(key) && (is_token(value) || quoted(value)))
    };
    if parts.all(good) { Ok(()) } else { Err(bad()) }
}

fn is_token(part: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte);
    !part.is_empty() && part.bytes().all(good)
}

fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '=')
}

/// What RFC 2396 lets stand in a URL unescaped.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || ";/?:@&=+$,-_.!~*'()".contains(character)
}

fn unescape(content: &str) -> Result<Vec<u8>, DataUrlError> {
    let mut bytes = Vec::with_capacity(content.len());
    let mut characters = content.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => {
                let mut digit = || characters.next().and_then(|digit| digit.to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(DataUrlError::Escape) };
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            }
            character if is_plain(character) => {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes())
            }
            character => return Err(DataUrlError::Character(character)),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_base64_contents_are_read() {
        assert_eq!(decode("data:,a%20b%0A").as_deref(), Ok(&b"a b\n"[..]));
        assert_eq!(decode("data:text/plain;charset=utf-8;base64,aGk=").as_deref(), Ok(&b"hi"[..]));
        assert_eq!(decode("data:;base64,").as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        assert_eq!(decode("http:,a"), Err(DataUrlError::NotData));
        assert_eq!(decode("data:a"), Err(DataUrlError::NoComma));
        assert_eq!(decode("data:,a b"), Err(DataUrlError::Character(' ')));
        assert_eq!(decode("data:,%4"), Err(DataUrlError::Escape));
        assert_eq!(decode("data:x,a"), Err(DataUrlError::MediaType("x".into())));
        assert!(matches!(decode("data:;base64,a"), Err(DataUrlError::Base64(_))));
    }
}
