//! gRPC calls as any client may make them, beyond what etcdctl asks: corner cases of every service.
//!
//! A line is `SERVICE/METHOD JSON`; see `calls.txt` for streams. Bytes are written as text, one letter a byte.

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage as _,
    SerializeOptions,
};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use crate::{
    golden::{Block, command, judge, lines},
    process::{Member, Place, has, serves},
};

const CALLS: &str = include_str!("calls.txt");

/// Messages by their descriptors.
#[derive(Clone)]
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let decoded = DynamicMessage::decode(self.0.clone(), input);
        decoded.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

struct Stream {
    method: MethodDescriptor,
    requests: Option<mpsc::Sender<DynamicMessage>>,
    shown: mpsc::Receiver<String>,
}

struct Caller {
    channel: Channel,
    pool: DescriptorPool,
    place: Place,
    streams: HashMap<String, Stream>,
}

impl Caller {
    fn method(&self, name: &str) -> MethodDescriptor {
        let (service, method) = name.split_once('/').expect("SERVICE/METHOD");
        let mut services = self.pool.services();
        let service = services.find(|found| found.name() == service).expect("a service of etcd");
        service.methods().find(|found| found.name() == method).expect("a method of it")
    }

    async fn one(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (name, after) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "open" => {
                let (method, text) = after.split_once(' ').unwrap_or((after, "{}"));
                self.open(name, method, text).await;
                String::new()
            }
            "send" => {
                let stream = &self.streams[name];
                let message = message(&stream.method.input(), after);
                stream.requests.as_ref().expect("still open").send(message).await.expect("listened to");
                String::new()
            }
            "close" => {
                self.streams.get_mut(name).expect("opened").requests = None;
                String::new()
            }
            "read" => {
                let mut shown = Vec::new();
                let stream = self.streams.get_mut(name).expect("opened");
                let quiet = Duration::from_millis(600);
                while let Ok(Some(line)) = tokio::time::timeout(quiet, stream.shown.recv()).await {
                    shown.push(line);
                }
                shown.join("\n")
            }
            "many" => {
                let count: usize = name.parse().expect("a number");
                let ops: Vec<Value> =
                    (0..count).map(|n| json!({"request_put": {"key": format!("many{n}")}})).collect();
                let answer = self.call(after, &json!({"success": ops}).to_string()).await;
                answer.chars().take(200).collect()
            }
            method => self.call(method, rest).await,
        }
    }

    async fn call(&self, method: &str, text: &str) -> String {
        let method = self.method(method);
        let mut grpc = self.grpc().await;
        let request = Request::new(message(&method.input(), text));
        let codec = Dynamic(method.output());
        let answer = tokio::time::timeout(Duration::from_secs(20), grpc.unary(request, path(&method), codec));
        match answer.await {
            Ok(Ok(reply)) => show(&reply.into_inner(), &self.place),
            Ok(Err(status)) => failed(&status),
            Err(_) => "no answer".to_owned(),
        }
    }

    async fn grpc(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        grpc.ready().await.expect("connected");
        grpc
    }

    async fn open(&mut self, name: &str, method: &str, text: &str) {
        let method = self.method(method);
        let mut grpc = self.grpc().await;
        let (requests, receiver) = mpsc::channel(16);
        requests.send(message(&method.input(), text)).await.expect("room");
        let (out, shown) = mpsc::channel(256);
        let (codec, path) = (Dynamic(method.output()), path(&method));
        let place = self.place.clone();
        // A method that takes one message is told that there is no other.
        let requests = Some(requests).filter(|_| method.is_client_streaming());
        tokio::spawn(async move {
            let request = Request::new(ReceiverStream::new(receiver));
            let mut replies = match grpc.streaming(request, path, codec).await {
                Ok(replies) => replies.into_inner(),
                Err(status) => return drop(out.send(failed(&status)).await),
            };
            loop {
                let line = match replies.message().await {
                    Ok(Some(reply)) => show(&reply, &place),
                    Ok(None) => return drop(out.send("end".to_owned()).await),
                    Err(status) => return drop(out.send(failed(&status)).await),
                };
                if out.send(line).await.is_err() {
                    return;
                }
            }
        });
        self.streams.insert(name.to_owned(), Stream { method, requests, shown });
    }
}

fn path(method: &MethodDescriptor) -> http::uri::PathAndQuery {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    path.parse().expect("names make a path")
}

fn failed(status: &Status) -> String {
    format!("{:?} {:?}", status.code(), status.message())
}

fn message(descriptor: &MessageDescriptor, text: &str) -> DynamicMessage {
    let text = if text.is_empty() { "{}" } else { text };
    let mut value: Value = serde_json::from_str(text).expect("JSON");
    bytes(&mut value, descriptor, &|text| {
        let text = match text.strip_prefix('@').and_then(|count| count.parse().ok()) {
            Some(count) => "x".repeat(count),
            None => text.to_owned(),
        };
        STANDARD.encode(text.chars().map(|letter| letter as u8).collect::<Vec<u8>>())
    });
    DynamicMessage::deserialize(descriptor.clone(), value).expect("a message of the method")
}

/// A reply as JSON, without what is of this cluster alone.
fn show(message: &DynamicMessage, place: &Place) -> String {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut value = message.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON");
    bytes(&mut value, &message.descriptor(), &|text| {
        let bytes = STANDARD.decode(text).expect("base64");
        bytes.into_iter().map(char::from).collect()
    });
    let text = sorted(value).to_string();
    let text = text.replace(&place.client, "CLIENT").replace(&place.peer, "PEER");
    let mut out = String::new();
    for word in text.split_inclusive(|letter: char| !letter.is_ascii_digit()) {
        let digits = word.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        out.push_str(&if digits.len() >= 15 { word.replace(digits, "NUMBER") } else { word.to_owned() });
    }
    out
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.retain(|(name, _)| !["cluster_id", "member_id", "raft_term"].contains(&name.as_str()));
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(
                fields.into_iter().map(|(name, value)| (name, sorted(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        value => value,
    }
}

/// Rewrites every text that stands for bytes.
fn bytes(value: &mut Value, descriptor: &MessageDescriptor, rewrite: &dyn Fn(&str) -> String) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let by_name = descriptor.get_field_by_name(name);
        let Some(field) = by_name.or_else(|| descriptor.get_field_by_json_name(name)) else { continue };
        let items: Vec<&mut Value> = match value {
            Value::Array(items) => items.iter_mut().collect(),
            one => vec![one],
        };
        for item in items {
            match (field.kind(), &*item) {
                (Kind::Bytes, Value::String(text)) => *item = Value::String(rewrite(text)),
                (Kind::Message(message), _) => bytes(item, &message, rewrite),
                _ => {}
            }
        }
    }
}

fn run_all(program: &str) -> Vec<Block> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let place = Place::new("one", dir.path());
    let member = Member::start(program, &place, &["--initial-cluster", &format!("one={}", place.peer)]);
    serves(&member.client);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let endpoint = Channel::from_shared(member.client.clone()).expect("a URL");
        let channel = endpoint.connect().await.expect("it listens");
        let pool = DescriptorPool::decode(kv_api::DESCRIPTORS).expect("compiled in");
        let mut caller = Caller { channel, pool, place, streams: HashMap::new() };
        let mut blocks = Vec::new();
        for line in lines(CALLS) {
            blocks.push(Block { line: line.to_owned(), answer: caller.one(command(line)).await });
        }
        blocks
    })
}

#[test]
fn grpc_clients_see_no_difference() {
    if has("etcdctl") {
        judge("calls-answers.txt", "etcd-3.5", 250, run_all);
    }
}
