//! One API call: what was asked, and the ways to answer it.

use engine_api::ApiVersion;
use engine_api::lenient::{self, Unreadable, WrongType};
use engine_http::Exchange;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::golang;

/// The largest JSON body; containers with long environments fit many times over.
const JSON_LIMIT: usize = 8 << 20;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Fail {
    /// Told to the client as `{"message": …}`.
    Refused(StatusCode, String),
    /// The connection broke; nobody is left to tell.
    Gone(std::io::Error),
}

pub(crate) type Done = Result<(), Fail>;

impl Fail {
    pub(crate) fn bad(message: impl Into<String>) -> Fail {
        Fail::Refused(StatusCode::BAD_REQUEST, message.into())
    }

    pub(crate) fn missing(message: impl Into<String>) -> Fail {
        Fail::Refused(StatusCode::NOT_FOUND, message.into())
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Fail {
        Fail::Refused(StatusCode::CONFLICT, message.into())
    }

    pub(crate) fn internal(message: impl Into<String>) -> Fail {
        Fail::Refused(StatusCode::INTERNAL_SERVER_ERROR, message.into())
    }
}

/// What Go says of a text that should be a number, or a time.
pub(super) fn no_number(text: &str) -> Fail {
    Fail::bad(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
}

impl From<WrongType> for Fail {
    fn from(error: WrongType) -> Fail {
        Fail::bad(format!("invalid JSON: {error}"))
    }
}

impl From<std::io::Error> for Fail {
    fn from(error: std::io::Error) -> Fail {
        Fail::Gone(error)
    }
}

/// The parameters after the question mark.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Query(pairs.collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All of them, as they came.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Absent and empty are the same.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Everything but "", 0, no, false and none is true.
    pub(crate) fn flag(&self, key: &str) -> bool {
        let value = self.text(key).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A flag that has a value of its own when it is absent.
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> bool {
        if self.get(key).is_none() { default } else { self.flag(key) }
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, Fail> {
        match self.text(key) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Fail::bad(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
        }
    }
}

/// Undoes percent-encoding; what is no UTF-8 afterwards is replaced.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |b: u8| char::from(b).to_digit(16);
        let escape = match bytes[i] {
            b'%' => bytes.get(i + 1).copied().and_then(hex).zip(bytes.get(i + 2).copied().and_then(hex)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            out.push((high * 16 + low) as u8);
            i += 3;
            continue;
        }
        out.push(if bytes[i] == b'+' && plus_is_space { b' ' } else { bytes[i] });
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A path as it stands in a URL.
pub(crate) fn encode_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~:@!$&'()*+,;=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A call with its parameters.
pub(crate) struct Call<'a> {
    pub(crate) ex: &'a mut Exchange,
    pub(crate) query: Query,
    pub(crate) version: ApiVersion,
}

impl Call<'_> {
    pub(crate) fn at_least(&self, minor: u32) -> bool {
        self.version >= ApiVersion::v1(minor)
    }

    /// The body as JSON. An absent one reads as `null`, which is all defaults.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Fail> {
        let bytes = self.json_bytes().await?;
        parse_json(if bytes.is_empty() { b"null" } else { &bytes })
    }

    /// The body, which must say that it is JSON if there is one.
    pub(crate) async fn json_bytes(&mut self) -> Result<Vec<u8>, Fail> {
        let content_type = self.ex.head.header("content-type").unwrap_or_default().to_owned();
        let bytes = self.ex.body(JSON_LIMIT).await.map_err(too_large)?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.is_empty() && !bytes.is_empty() {
            return Err(Fail::bad("malformed Content-Type header (): mime: no media type"));
        }
        if !essence.is_empty() && !essence.eq_ignore_ascii_case("application/json") {
            return Err(Fail::bad(format!(
                "unsupported Content-Type header ({content_type}): must be 'application/json'"
            )));
        }
        Ok(bytes)
    }

    pub(crate) async fn reply_json<T: Serialize + ?Sized>(&mut self, status: StatusCode, value: &T) -> Done {
        let mut bytes = serde_json::to_vec(value).map_err(|e| Fail::internal(e.to_string()))?;
        bytes.push(b'\n');
        Ok(self.ex.reply(status, "application/json", &bytes).await?)
    }

    pub(crate) async fn ok_json<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.reply_json(StatusCode::OK, value).await
    }

    pub(crate) async fn empty(&mut self, status: StatusCode) -> Done {
        Ok(self.ex.reply(status, "", b"").await?)
    }
}

pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fail> {
    lenient::from_slice(bytes).map_err(|error| match error {
        Unreadable::Syntax(error) if golang::is_trailing(&error) => {
            Fail::bad("unexpected content after JSON")
        }
        Unreadable::Syntax(error) => Fail::bad(format!("invalid JSON: {}", golang::problem(bytes, &error))),
        Unreadable::Type(error) => error.into(),
    })
}

fn too_large(error: std::io::Error) -> Fail {
    match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            Fail::Refused(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large".into())
        }
        std::io::ErrorKind::InvalidData => Fail::bad(error.to_string()),
        _ => Fail::Gone(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let q = Query::parse("a=1&b=x%2Fy+z&a=2&c&d=False&e=%zz");
        assert_eq!((q.text("a"), q.text("b"), q.text("e")), ("1", "x/y z", "%zz"));
        assert_eq!(q.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(q.flag("a") && !q.flag("c") && !q.flag("d") && !q.flag("nope"));
        assert!(q.flag_or("nope", true) && !q.flag_or("d", true));
        assert!(q.number("b").is_err() && q.number("nope").unwrap().is_none());
        assert_eq!(encode_path("/a b/c:1%"), "/a%20b/c:1%25");
    }
}
