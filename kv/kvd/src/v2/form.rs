//! A request's fields: of its query, and of a form in its body.

use kv_core::v2::Refusal;

use crate::http::Whole;

/// etcd's sentence; it quotes all names but one.
fn invalid(name: &str) -> String {
    if name == "prevExist" {
        return "invalid value for prevExist".to_owned();
    }
    format!("invalid value for \"{name}\"")
}

/// A request's form: query and body, the body's last.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn of(request: &Whole) -> Self {
        let is_form = request
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let mut all = fields(&request.query);
        if is_form {
            all.extend(fields(&request.body));
        }
        Self(all)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "1" | "t" | "True" | "TRUE") => Ok(Some(true)),
            Some("false" | "0" | "f" | "False" | "FALSE") => Ok(Some(false)),
            Some(_) => Err(Refusal { code: 209, cause: invalid(name) }),
        }
    }

    pub(super) fn number(&self, name: &str, code: u16) -> Result<Option<u64>, Refusal> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => {
                let bad = |_| Refusal { code, cause: invalid(name) };
                text.parse().map(Some).map_err(bad)
            }
        }
    }
}

/// The fields of a query or a form, in order.
pub(crate) fn fields(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let parts = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    parts.map(|(name, value)| (decode(name), decode(value))).collect()
}

pub(super) fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let code = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(code.unwrap_or(b'?'));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
