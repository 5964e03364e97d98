//! A DigitalOcean in this process: droplets, keys, actions, and one fault at a time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What goes wrong, once unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The droplet is not made, and 500 is answered.
    CreateFails,
    /// It is made, and 500 is answered all the same.
    CreateLies,
    /// The connection ends before the droplet is made.
    CreateResets,
    /// The connection ends after it was made.
    CreateLostAfter,
    /// No answer before it is made.
    CreateHangs,
    /// No answer after it was made.
    CreateHangsAfter,
    /// It is made, the answer is cut.
    CreateCut,
    /// It is made, the answer is no JSON.
    CreateGarbage,
    /// It is made, the answer names no droplet.
    CreateEmpty,
    /// It is made, lists show it late, and the answer is lost.
    CreateLostListsLate,
    /// Too many requests, in seconds.
    LimitedSeconds,
    /// Too many requests, as a date.
    LimitedDate,
    /// About every third request of any kind fails with 503 and a page of HTML.
    Flaky,
    /// The token is bad.
    Unauthorized,
    /// The token may not write.
    Forbidden,
    /// The size does not exist.
    Unprocessable,
    /// The droplet never runs.
    StuckNew,
    /// It runs, and has no address.
    NoAddress,
    /// A new droplet is not found by its number at first.
    GoneAtFirst,
    /// The key is added, and the answer lost.
    KeyLostAfter,
    /// The first removal fails.
    DeleteFails,
    /// The first removal works, and the answer is lost.
    DeleteLostAfter,
    /// The first list fails.
    ListFails,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) droplets: BTreeMap<u64, Droplet>,
    pub(crate) keys: BTreeMap<u64, String>,
    /// Most droplets of one tag at any time.
    pub(crate) most: usize,
    pub(crate) tokens: Vec<String>,
    requests: u64,
    next: u64,
    done: bool,
}

pub(crate) struct Droplet {
    pub(crate) tags: Vec<String>,
    pub(crate) status: &'static str,
    made: Instant,
    asked: u32,
}

pub(crate) struct Mock {
    pub(crate) url: String,
    world: Arc<Mutex<World>>,
}

/// How long late lists are late.
const LATE: Duration = Duration::from_millis(60);

enum Reply {
    Json(u16, Value),
    Raw(Vec<u8>),
    Reset,
    Hang,
}

impl Mock {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let world = Arc::new(Mutex::new(World { next: 100, ..World::default() }));
        let shared = Arc::clone(&world);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let world = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &world, fault));
            }
        });
        Self { url, world }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(mut stream: TcpStream, world: &Mutex<World>, fault: Fault) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend(&buffer[..count]),
        }
    };
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
    let reply = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        world.tokens.push(token.to_owned());
        world.requests += 1;
        answer(&mut world, fault, method, target, &body)
    };
    match reply {
        Reply::Json(204, _) => {
            drop(stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"))
        }
        Reply::Json(status, value) => {
            let text = value.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                text.len()
            );
            drop(stream.write_all((head + &text).as_bytes()));
        }
        Reply::Raw(bytes) => drop(stream.write_all(&bytes)),
        Reply::Reset => {}
        Reply::Hang => thread::sleep(Duration::from_secs(2)),
    }
}

fn answer(world: &mut World, fault: Fault, method: &str, target: &str, body: &str) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let page = |status: u16, extra: &str| {
        Reply::Raw(
            format!(
                "HTTP/1.1 {status} X\r\n{extra}Content-Length: 13\r\nConnection: close\r\n\r\n<html></html>"
            )
            .into_bytes(),
        )
    };
    match fault {
        Fault::Unauthorized => return Reply::Json(401, json!({ "message": "Unable to authenticate you" })),
        Fault::Forbidden if method != "GET" => return Reply::Json(403, json!({ "message": "read only" })),
        Fault::Flaky if scatter(world.requests).is_multiple_of(3) => return page(503, ""),
        _ => {}
    }
    let once =
        |world: &mut World, wanted: Fault| fault == wanted && !std::mem::replace(&mut world.done, true);
    match (method, path) {
        ("GET", "/v2/droplets") => {
            if once(world, Fault::ListFails) {
                return page(502, "");
            }
            let tag = query.split('&').find_map(|pair| pair.strip_prefix("tag_name=")).unwrap_or_default();
            let late = fault == Fault::CreateLostListsLate;
            let shown: Vec<Value> = world
                .droplets
                .iter()
                .filter(|(_, it)| it.tags.iter().any(|own| own == tag))
                .filter(|(_, it)| !late || it.made.elapsed() > LATE)
                .map(|(id, it)| show(*id, it, fault))
                .collect();
            Reply::Json(200, json!({ "droplets": shown }))
        }
        ("POST", "/v2/droplets") => create(world, fault, body),
        ("DELETE", "/v2/droplets") => {
            if once(world, Fault::DeleteFails) {
                return page(500, "");
            }
            let tag = query.strip_prefix("tag_name=").unwrap_or_default().to_owned();
            world.droplets.retain(|_, it| !it.tags.contains(&tag));
            if once(world, Fault::DeleteLostAfter) { Reply::Reset } else { Reply::Json(204, Value::Null) }
        }
        ("GET", "/v2/account/keys") => {
            let keys: Vec<Value> =
                world.keys.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
            Reply::Json(200, json!({ "ssh_keys": keys }))
        }
        ("POST", "/v2/account/keys") => {
            let wish: Value = serde_json::from_str(body).unwrap_or_default();
            let name = wish["name"].as_str().unwrap_or_default().to_owned();
            if world.keys.values().any(|known| *known == name) {
                return Reply::Json(422, json!({ "message": "SSH Key is already in use on your account" }));
            }
            world.next += 1;
            let id = world.next;
            world.keys.insert(id, name);
            if once(world, Fault::KeyLostAfter) {
                return Reply::Reset;
            }
            Reply::Json(201, json!({ "ssh_key": { "id": id } }))
        }
        _ => by_number(world, fault, method, path),
    }
}

/// Numbers in a row without their order (splitmix64): no kind of request may be hit every time.
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn by_number(world: &mut World, fault: Fault, method: &str, path: &str) -> Reply {
    let number = |prefix: &str| path.strip_prefix(prefix)?.split('/').next()?.parse::<u64>().ok();
    let gone = || Reply::Json(404, json!({ "id": "not_found", "message": "not found" }));
    if let Some(id) = number("/v2/account/keys/") {
        return if world.keys.remove(&id).is_some() { Reply::Json(204, Value::Null) } else { gone() };
    }
    if number("/v2/actions/").is_some() {
        return Reply::Json(200, json!({ "action": { "id": 1, "status": "completed" } }));
    }
    let Some(id) = number("/v2/droplets/") else { return gone() };
    if method == "DELETE" {
        return if world.droplets.remove(&id).is_some() { Reply::Json(204, Value::Null) } else { gone() };
    }
    let Some(droplet) = world.droplets.get_mut(&id) else { return gone() };
    if method == "POST" {
        return Reply::Json(201, json!({ "action": { "id": 1, "status": "in-progress" } }));
    }
    droplet.asked += 1;
    if fault == Fault::GoneAtFirst && droplet.asked < 3 {
        return gone();
    }
    if droplet.asked >= 2 && fault != Fault::StuckNew {
        droplet.status = "active";
    }
    let shown = show(id, droplet, fault);
    Reply::Json(200, json!({ "droplet": shown }))
}

fn create(world: &mut World, fault: Fault, body: &str) -> Reply {
    use Fault::{
        CreateCut, CreateEmpty, CreateFails, CreateGarbage, CreateHangs, CreateHangsAfter, CreateLies,
        CreateLostAfter, CreateLostListsLate, CreateResets, LimitedDate, LimitedSeconds, Unprocessable,
    };
    let first = !std::mem::replace(&mut world.done, true);
    let limited = |after: String| {
        Reply::Raw(
            format!(
                "HTTP/1.1 429 X\r\nRetry-After: {after}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .into_bytes(),
        )
    };
    match fault {
        Unprocessable => return Reply::Json(422, json!({ "message": "You specified an invalid size" })),
        CreateFails if first => return Reply::Json(500, json!({ "message": "Server Error" })),
        CreateResets if first => return Reply::Reset,
        CreateHangs if first => return Reply::Hang,
        LimitedSeconds if first => return limited("1".into()),
        LimitedDate if first => {
            let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(1));
            return limited(date);
        }
        _ => {}
    }
    let wish: Value = serde_json::from_str(body).unwrap_or_default();
    let tags = wish["tags"].as_array().into_iter().flatten().filter_map(|tag| Some(tag.as_str()?.to_owned()));
    world.next += 1;
    let id = world.next;
    let droplet = Droplet { tags: tags.collect(), status: "new", made: Instant::now(), asked: 0 };
    let shown = show(id, &droplet, fault);
    world.droplets.insert(id, droplet);
    world.most = world.most.max(world.droplets.len());
    match fault {
        CreateLies if first => Reply::Json(500, json!({ "message": "Server Error" })),
        CreateLostAfter | CreateLostListsLate if first => Reply::Reset,
        CreateHangsAfter if first => Reply::Hang,
        CreateCut if first => Reply::Raw(
            b"HTTP/1.1 202 X\r\nContent-Length: 500\r\nConnection: close\r\n\r\n{\"droplet\":{\"id".to_vec(),
        ),
        CreateGarbage if first => {
            Reply::Raw(b"HTTP/1.1 202 X\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwhat".to_vec())
        }
        CreateEmpty if first => Reply::Json(202, json!({})),
        _ => Reply::Json(202, json!({ "droplet": shown })),
    }
}

fn show(id: u64, droplet: &Droplet, fault: Fault) -> Value {
    let has_address = droplet.status == "active" && fault != Fault::NoAddress;
    let addresses = if has_address {
        json!([{ "ip_address": "10.10.0.5", "type": "private" }, { "ip_address": "127.0.0.1", "type": "public" }])
    } else {
        json!([])
    };
    json!({ "id": id, "status": droplet.status, "networks": { "v4": addresses } })
}
