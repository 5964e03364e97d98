//! Page tokens: base64url of two little-endian 16-bit numbers, the limit and the page.
//!
//! fleet's quirk is kept: when the number of items is an exact multiple of the limit, an empty last
//! page is announced. Its overflow past 65,535 items is not.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

/// Which page of how many items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// Items on a page.
    pub limit: u16,
    /// From 1.
    pub page: u16,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageTokenError {
    /// No base64, or not four bytes.
    #[error("malformed nextPageToken")]
    Malformed,
    /// Page 0.
    #[error("token page must be greater than zero")]
    PageZero,
    /// A limit other than the server's.
    #[error("token limit must be {expected}")]
    Limit {
        /// The server's `token_limit`.
        expected: u16,
        /// The token's.
        found: u16,
    },
}

impl PageToken {
    /// The first page.
    #[must_use]
    pub fn first(limit: u16) -> Self {
        Self { limit, page: 1 }
    }

    /// The text in a query.
    #[must_use]
    pub fn encode(self) -> String {
        let [a, b] = self.limit.to_le_bytes();
        let [c, d] = self.page.to_le_bytes();
        URL_SAFE.encode([a, b, c, d])
    }

    /// Reads a text from a query.
    ///
    /// # Errors
    /// A token that this server did not make.
    pub fn decode(text: &str, limit: u16) -> Result<Self, PageTokenError> {
        let bytes =
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| PageTokenError::Malformed)?;
        let [a, b, c, d] = bytes[..] else { return Err(PageTokenError::Malformed) };
        let token = Self { limit: u16::from_le_bytes([a, b]), page: u16::from_le_bytes([c, d]) };
        if token.page == 0 {
            return Err(PageTokenError::PageZero);
        }
        if token.limit != limit {
            return Err(PageTokenError::Limit { expected: limit, found: token.limit });
        }
        Ok(token)
    }

    /// The items of this page, and the token of the next if there may be one.
    #[must_use]
    pub fn slice<T: Clone>(self, all: &[T]) -> (Vec<T>, Option<PageToken>) {
        let limit = usize::from(self.limit);
        let start = usize::from(self.page - 1) * limit;
        if start >= all.len() {
            return (Vec::new(), None);
        }
        let stop = start + limit;
        let next = (stop <= all.len() && self.page < u16::MAX).then(|| Self { page: self.page + 1, ..self });
        (all[start..stop.min(all.len())].to_vec(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_four_bytes_in_base64() {
        let token = PageToken { limit: 100, page: 2 };
        assert_eq!(token.encode(), "ZAACAA==");
        assert_eq!(PageToken::decode("ZAACAA==", 100), Ok(token));
        assert_eq!(PageToken::decode("ZAACAA", 100), Ok(token));
    }

    #[test]
    fn foreign_tokens_are_refused() {
        assert_eq!(PageToken::decode("nonsense!", 100), Err(PageTokenError::Malformed));
        assert_eq!(PageToken::decode("", 100), Err(PageTokenError::Malformed));
        assert_eq!(PageToken::decode("ZAAAAA==", 100), Err(PageTokenError::PageZero));
        let error = PageTokenError::Limit { expected: 50, found: 100 };
        assert_eq!(PageToken::decode("ZAACAA==", 50), Err(error));
        // fleet's own cases.
        assert_eq!(PageToken { limit: 12482, page: 0 }.encode(), "wjAAAA==");
        assert_eq!(PageToken { limit: 19, page: 11852 }.encode(), "EwBMLg==");
        assert_eq!(PageToken::decode("LQAJAA==", 45), Ok(PageToken { limit: 45, page: 9 }));
        assert!(PageToken::decode("basdfasdf", 100).is_err());
    }

    #[test]
    fn an_exact_multiple_announces_an_empty_page() {
        let all: Vec<u32> = (0..200).collect();
        let (first, next) = PageToken::first(100).slice(&all);
        assert_eq!((first.len(), next), (100, Some(PageToken { limit: 100, page: 2 })));
        let (second, next) = next.expect("a page").slice(&all);
        assert_eq!((second.len(), next), (100, Some(PageToken { limit: 100, page: 3 })));
        assert_eq!(next.expect("a page").slice(&all), (vec![], None));
        let (rest, next) = PageToken { limit: 100, page: 2 }.slice(&all[..150]);
        assert_eq!((rest.len(), next), (50, None));
    }

    #[test]
    fn many_items_do_not_overflow() {
        let all = vec![0_u8; 700 * 100 + 5];
        let (last, next) = PageToken { limit: 100, page: 701 }.slice(&all);
        assert_eq!((last.len(), next), (5, None));
    }
}
