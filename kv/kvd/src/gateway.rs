//! The JSON gateway: a POST of JSON to `/v3/...` becomes the gRPC call it stands for, through the same services.
//! Keys and values are base64, 64-bit numbers are strings, names are those of the .proto files; a stream answers one
//! JSON object a line, as `{"result":…}`.

use std::{collections::HashMap, sync::OnceLock};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use serde_json::json;

use crate::{
    grpc::Services,
    http::{Whole, reply},
    serve::Body,
};

/// Path below the version, service and method.
pub(crate) const ROUTES: &[(&str, &str, &str)] = &[
    ("kv/range", "etcdserverpb.KV", "Range"),
    ("kv/put", "etcdserverpb.KV", "Put"),
    ("kv/deleterange", "etcdserverpb.KV", "DeleteRange"),
    ("kv/txn", "etcdserverpb.KV", "Txn"),
    ("kv/compaction", "etcdserverpb.KV", "Compact"),
    ("watch", "etcdserverpb.Watch", "Watch"),
    ("lease/grant", "etcdserverpb.Lease", "LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease", "LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease", "LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease", "LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease", "LeaseTimeToLive"),
    ("kv/lease/timetolive", "etcdserverpb.Lease", "LeaseTimeToLive"),
    ("lease/leases", "etcdserverpb.Lease", "LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease", "LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster", "MemberAdd"),
    ("cluster/member/remove", "etcdserverpb.Cluster", "MemberRemove"),
    ("cluster/member/update", "etcdserverpb.Cluster", "MemberUpdate"),
    ("cluster/member/list", "etcdserverpb.Cluster", "MemberList"),
    ("cluster/member/promote", "etcdserverpb.Cluster", "MemberPromote"),
    ("maintenance/alarm", "etcdserverpb.Maintenance", "Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance", "Status"),
    ("maintenance/defragment", "etcdserverpb.Maintenance", "Defragment"),
    ("maintenance/hash", "etcdserverpb.Maintenance", "Hash"),
    ("maintenance/hashkv", "etcdserverpb.Maintenance", "HashKV"),
    ("maintenance/snapshot", "etcdserverpb.Maintenance", "Snapshot"),
    ("maintenance/transfer-leadership", "etcdserverpb.Maintenance", "MoveLeader"),
    ("maintenance/downgrade", "etcdserverpb.Maintenance", "Downgrade"),
    ("auth/status", "etcdserverpb.Auth", "AuthStatus"),
    ("auth/enable", "etcdserverpb.Auth", "AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth", "AuthDisable"),
    ("auth/authenticate", "etcdserverpb.Auth", "Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth", "UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth", "UserGet"),
    ("auth/user/list", "etcdserverpb.Auth", "UserList"),
    ("auth/user/delete", "etcdserverpb.Auth", "UserDelete"),
    ("auth/user/changepw", "etcdserverpb.Auth", "UserChangePassword"),
    ("auth/user/grant", "etcdserverpb.Auth", "UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth", "UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth", "RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth", "RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth", "RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth", "RoleDelete"),
    ("auth/role/grant", "etcdserverpb.Auth", "RoleGrantPermission"),
    ("auth/role/revoke", "etcdserverpb.Auth", "RoleRevokePermission"),
    ("lock/lock", "v3lockpb.Lock", "Lock"),
    ("lock/unlock", "v3lockpb.Lock", "Unlock"),
    ("election/campaign", "v3electionpb.Election", "Campaign"),
    ("election/proclaim", "v3electionpb.Election", "Proclaim"),
    ("election/leader", "v3electionpb.Election", "Leader"),
    ("election/observe", "v3electionpb.Election", "Observe"),
    ("election/resign", "v3electionpb.Election", "Resign"),
];

const PLAIN: &str = "text/plain; charset=utf-8";

/// Calls services for who speaks JSON.
pub(crate) struct Gateway {
    services: Services,
    /// Read when first needed: most members never see JSON.
    methods: OnceLock<HashMap<&'static str, MethodDescriptor>>,
}

impl Gateway {
    pub(crate) fn new(services: Services) -> Self {
        Self { services, methods: OnceLock::new() }
    }

    fn method(&self, path: &str) -> Option<&MethodDescriptor> {
        let methods = self.methods.get_or_init(|| {
            let pool = DescriptorPool::decode(kv_api::DESCRIPTORS).expect("compiled in");
            let find = |service: &str, method: &str| {
                pool.get_service_by_name(service)?.methods().find(|found| found.name() == method)
            };
            ROUTES
                .iter()
                .filter_map(|(path, service, method)| Some((*path, find(service, method)?)))
                .collect()
        });
        let (_, below) = path.trim_start_matches('/').split_once('/')?;
        methods.get(below)
    }

    /// Answers a request to `/v3/...`.
    pub(crate) async fn answer(&self, request: Whole) -> Response<Body> {
        let Some(method) = self.method(&request.path) else {
            return reply(StatusCode::NOT_FOUND, PLAIN, "Not Found\n");
        };
        if request.method != Method::POST {
            return reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Method Not Allowed\n");
        }
        let text = if request.body.trim().is_empty() { "{}" } else { &request.body };
        let mut reader = serde_json::Deserializer::from_str(text);
        // Fields of a later version are none of our business.
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let message = match DynamicMessage::deserialize_with_options(method.input(), &mut reader, &options) {
            Ok(message) => message,
            Err(error) => return failure(StatusCode::BAD_REQUEST, 3, &complaint(&error)),
        };
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let open = method.is_client_streaming() && method.name() == "Watch";
        let response = self.services.call(call(&path, &message, open)).await;
        if method.is_server_streaming() {
            return stream(response, method.output());
        }
        one(response, &method.output()).await
    }
}

/// A gRPC request of one message; `open` leaves the client's side of the stream open.
fn call(path: &str, message: &DynamicMessage, open: bool) -> Request<Body> {
    let mut frame = BytesMut::zeroed(1);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).expect("buffers grow");
    let body = if open {
        let first = tokio_stream::once(Ok(http_body::Frame::data(frame.freeze())));
        StreamBody::new(tokio_stream::StreamExt::chain(first, futures_util::stream::pending())).boxed_unsync()
    } else {
        Full::new(frame.freeze()).map_err(|never| match never {}).boxed_unsync()
    };
    Request::builder()
        .method(Method::POST)
        .uri(format!("http://kv{path}"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(body)
        .expect("a path of our own table")
}

async fn one(response: Response<Body>, output: &MessageDescriptor) -> Response<Body> {
    let header_status = status_of(response.headers());
    let Ok(collected) = response.into_body().collect().await else {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, 13, "the call broke off");
    };
    let status = collected.trailers().and_then(status_of).or(header_status);
    if let Some((code, message)) = status.filter(|(code, _)| *code != 0) {
        return failure(http_status(code), code, &message);
    }
    let mut frame = collected.to_bytes();
    if frame.len() < 5 {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, 13, "an empty answer");
    }
    frame.advance(5);
    match to_json(frame, output) {
        Some(text) => reply(StatusCode::OK, "application/json", text),
        None => failure(StatusCode::INTERNAL_SERVER_ERROR, 13, "not an answer"),
    }
}

/// Each message as one line.
fn stream(response: Response<Body>, output: MessageDescriptor) -> Response<Body> {
    use futures_util::StreamExt as _;
    let pieces =
        futures_util::stream::unfold((response.into_body(), BytesMut::new()), move |(mut body, mut held)| {
            let output = output.clone();
            async move {
                loop {
                    if held.len() >= 5 {
                        let length = u32::from_be_bytes(held[1..5].try_into().expect("four bytes")) as usize;
                        if held.len() >= 5 + length {
                            let frame = held.split_to(5 + length).split_off(5).freeze();
                            let line =
                                to_json(frame, &output).map(|text| format!("{{\"result\":{text}}}\n"))?;
                            return Some((Ok(http_body::Frame::data(Bytes::from(line))), (body, held)));
                        }
                    }
                    match body.frame().await {
                        Some(Ok(frame)) => {
                            if let Ok(data) = frame.into_data() {
                                held.extend_from_slice(&data);
                            }
                        }
                        _ => return None,
                    }
                }
            }
        });
    let mut response = Response::new(StreamBody::new(pieces.boxed()).boxed_unsync());
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn to_json(frame: Bytes, output: &MessageDescriptor) -> Option<String> {
    let message = DynamicMessage::decode(output.clone(), frame).ok()?;
    let mut text = Vec::new();
    let mut writer = serde_json::Serializer::new(&mut text);
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(&mut writer, &options).ok()?;
    String::from_utf8(text).ok()
}

fn status_of(headers: &http::HeaderMap) -> Option<(i32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let status = tonic::Status::from_header_map(headers)?;
    Some((code, status.message().to_owned()))
}

fn http_status(code: i32) -> StatusCode {
    match code {
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What is wrong with a body, in the words that etcd's users know where there are some.
fn complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    for (ours, theirs) in [("a boolean", "bool"), ("a map", "map[string]json.RawMessage")] {
        if let Some((_, got)) = text.split_once("invalid type: ")
            && got.contains(&format!(", expected {ours}"))
        {
            let kind = match got.split([' ', ',']).next() {
                Some("sequence") => "array",
                Some("map") => "object",
                Some("boolean") => "bool",
                Some("string") => "string",
                _ => "number",
            };
            return format!("json: cannot unmarshal {kind} into Go value of type {theirs}");
        }
    }
    if let Some((_, at)) = text.split_once("invalid base64").and_then(|(_, rest)| rest.split_once("offset "))
    {
        let digits: String = at.chars().take_while(char::is_ascii_digit).collect();
        return format!("illegal base64 data at input byte {digits}");
    }
    text
}

fn failure(status: StatusCode, code: i32, message: &str) -> Response<Body> {
    let text = json!({"error": message, "message": message, "code": code}).to_string();
    reply(status, "application/json", text)
}
