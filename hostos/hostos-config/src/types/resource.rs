//! Bytes from somewhere: what a config says of content that it does not hold itself.

use super::section;

section! {
    /// Bytes to fetch.
    pub struct Resource {
        /// `gzip`, or nothing.
        pub compression: Option<String>,
        /// Sent with an HTTP request (3.1).
        pub http_headers: Vec<HttpHeader>,
        /// A URL.
        pub source: Option<String>,
        /// What the bytes must be.
        pub verification: Verification,
    }

    /// One header of a request.
    pub struct HttpHeader {
        /// Name.
        pub name: String,
        /// Value; without it, the header of a parent config is removed.
        pub value: Option<String>,
    }

    /// What the bytes must be.
    pub struct Verification {
        /// `sha512-HEX`, or `sha256-HEX` (3.1), of the bytes as they are stored.
        pub hash: Option<String>,
    }
}
