//! Answers: JSON, text, an error in fleet's shape, or a stream.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};

/// What goes back to a client.
pub(crate) type Reply = Response<BoxBody<Bytes, Infallible>>;

const SERVER: &str = concat!("fleetd/", env!("CARGO_PKG_VERSION"));

pub(crate) fn with_body(status: StatusCode, kind: &str, body: BoxBody<Bytes, Infallible>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(http::header::SERVER, http::HeaderValue::from_static(SERVER));
    if let Ok(kind) = http::HeaderValue::from_str(kind)
        && !kind.is_empty()
    {
        headers.insert(http::header::CONTENT_TYPE, kind);
    }
    reply
}

fn whole(bytes: Vec<u8>) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(bytes)).boxed()
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Reply {
    let bytes =
        serde_json::to_vec(value).expect("the API's shapes hold only strings, numbers and lists of them");
    with_body(StatusCode::OK, "application/json", whole(bytes))
}

pub(crate) fn text(text: String) -> Reply {
    with_body(StatusCode::OK, "text/plain; version=0.0.4", whole(text.into_bytes()))
}

pub(crate) fn empty(status: StatusCode) -> Reply {
    with_body(status, "", whole(Vec::new()))
}

pub(crate) fn error(code: StatusCode, message: &str) -> Reply {
    let body = fleet_api::ErrorBody { code: code.as_u16(), message: message.to_owned() };
    let mut reply = json(&fleet_api::ErrorReply { error: body });
    *reply.status_mut() = code;
    reply
}

/// An error with its causes.
pub(crate) fn error_of(code: StatusCode, failure: &dyn std::error::Error) -> Reply {
    let mut message = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    error(code, &message)
}
