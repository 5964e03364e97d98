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
    let is_data = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let rest = if is_data { &url[5..] } else { return Err(DataUrlError::NotData) };
    let (head, content) = rest.split_once(',').ok_or(DataUrlError::NoComma)?;
    let base64 = head.strip_suffix(";base64");
    check_media_type(base64.unwrap_or(head))?;
    let bytes = unescape(content)?;
    match base64 {
        Some(_) => BASE64.decode(bytes).map_err(DataUrlError::Base64),
        None => Ok(bytes),
    }
}

/// `type/subtype;key=value;…`, every part of it optional.
fn check_media_type(head: &str) -> Result<(), DataUrlError> {
    let bad = || DataUrlError::MediaType(head.into());
    let mut parts = head.split(';');
    let kind = parts.next().unwrap_or_default();
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+%*'`{}|~".contains(&byte))
    };
    if !kind.is_empty() && !kind.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub)) {
        return Err(bad());
    }
    for parameter in parts {
        if !parameter.split_once('=').is_some_and(|(key, _)| token(key)) {
            return Err(bad());
        }
    }
    Ok(())
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
            character if character == ' ' || character.is_control() => {
                return Err(DataUrlError::Character(character));
            }
            character => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(bytes)
}
