//! The HTTP API's own manners: statuses, messages, pages, both forms of a patch.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use fleet_testbed::{call, eventually};
use serde_json::{Value, json};

use crate::world::{PLAIN, SOON, World, options};

const JSON: &str = "Content-Type: application/json";

#[test]
fn units_are_refused_with_fleets_statuses_and_words() {
    let Some(world) = World::start(1) else { return };
    let socket = world.machines[0].socket();
    let content = options(PLAIN);
    let put = |path: &str, headers: &[&str], body: &Value| {
        let answer = call(&socket, "PUT", path, headers, &body.to_string());
        (answer.status, if answer.body.is_empty() { String::new() } else { answer.message() })
    };
    let a = "/fleet/v1/units/a.service";
    let full = json!({ "desiredState": "inactive", "options": content });

    let refused = (415, "application/json is only supported Content-Type".to_owned());
    assert_eq!(put(a, &[], &full), refused);
    assert_eq!(put(a, &["Content-Type: text/plain"], &full), refused);
    let missing = put(a, &[JSON], &json!({ "desiredState": "launched" }));
    assert_eq!(missing, (409, "unit does not exist and options field empty".into()));
    let named = json!({ "name": "b.service", "options": content });
    let expected = "name in URL \"a.service\" differs from unit name in request body \"b.service\"";
    assert_eq!(put(a, &[JSON], &named), (400, expected.into()));
    let (status, message) = put("/fleet/v1/units/a.nonsense", &[JSON], &full);
    assert_eq!((status, message.as_str()), (400, "invalid unit type: \"nonsense\""));
    let broken = call(&socket, "PUT", a, &[JSON], "{");
    assert_eq!(broken.status, 400);
    assert!(broken.message().starts_with("unable to decode body: "), "{broken:?}");
    let both = "[X-Fleet]\nGlobal=true\nMachineOf=b.service\n";
    assert_eq!(put(a, &[JSON], &json!({ "options": options(both) })).0, 400);
    let (status, message) = put(a, &[JSON], &json!({ "desiredState": "running", "options": content }));
    assert_eq!(status, 400, "{message}");

    // As Go's own client may write it.
    let of_go = json!({ "DesiredState": "inactive", "Options": content });
    assert_eq!(put(a, &["Content-Type: application/json; charset=utf-8"], &of_go), (201, String::new()));
    assert_eq!(put(a, &[JSON], &full), (204, String::new()), "the same again");
    let (status, message) = put(a, &[JSON], &json!({}));
    assert_eq!((status, message.as_str()), (409, "must provide DesiredState to update existing unit"));
    assert_eq!(put(a, &[JSON], &json!({ "desiredState": "loaded" })), (204, String::new()));
    let other = json!({ "desiredState": "loaded", "options": options("[Service]\nExecStart=/bin/true\n") });
    assert_eq!(put(a, &[JSON], &other), (201, String::new()), "another content replaces");
    let template = "/v1-alpha/units/t@.service";
    assert_eq!(put(template, &[JSON], &full), (201, String::new()));
    let (status, message) = put(template, &[JSON], &json!({ "desiredState": "launched" }));
    assert_eq!((status, message.as_str()), (400, "cannot activate template \"t@.service\""));
}

#[test]
fn paths_and_methods_that_are_not_there_are_told() {
    let Some(world) = World::start(1) else { return };
    let socket = world.machines[0].socket();
    for (method, path, status) in [
        ("GET", "/", 405),
        ("GET", "/fleet/v1", 405),
        ("GET", "/v1-alpha", 405),
        ("GET", "/fleet/v1/units/", 404),
        ("GET", "/fleet/v1/units/foo/bar", 404),
        ("PUT", "/fleet/v1/units/foo/bar", 404),
        ("GET", "/fleet/v1/machines/", 404),
        ("GET", "/fleet/v1/state?unitName=nope", 200),
        ("GET", "/nonsense", 404),
        ("GET", "/fleet/v1/nonsense", 404),
        ("GET", "/fleet/v1beta/units", 404),
        ("GET", "/fleet/v1/units/none.service", 404),
        ("DELETE", "/fleet/v1/units/none.service", 404),
        ("GET", "/fleet/v1/state/none.service", 404),
        ("POST", "/fleet/v1/units", 405),
        ("POST", "/fleet/v1/units/a.service", 405),
        ("PUT", "/fleet/v1/state", 405),
        ("PUT", "/fleet/v1/machines", 405),
        ("PUT", "/fleet/v1/discovery", 405),
        ("PUT", "/fleet/v1/drain/nobody", 404),
        ("GET", "/fleet/v1/drain/m1", 405),
        ("POST", "/fleet/v1/why/a.service", 405),
        ("POST", "/fleet/v1/events", 405),
        ("GET", "/fleet/v1/why/none.service", 404),
        ("GET", "/fleet/v1/journal/none.service", 404),
        ("GET", "/fleet/v1/units", 200),
        ("GET", "/v1-alpha/machines", 200),
        ("GET", "/fleet/v1/discovery", 200),
        ("GET", "/metrics", 200),
    ] {
        let answer = call(&socket, method, path, &[], "");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(answer.header("server").is_some_and(|it| it.starts_with("fleetd/")), "{answer:?}");
        if status >= 400 {
            assert_eq!(answer.json()["error"]["code"], status);
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
    let discovery = call(&socket, "GET", "/fleet/v1/discovery", &[], "").json();
    assert_eq!(discovery["basePath"], "/fleet/v1/");
    assert_eq!(discovery["resources"]["Units"]["methods"]["Set"]["httpMethod"], "PUT");
    let metrics = call(&socket, "GET", "/metrics", &[], "").body;
    assert!(metrics.contains("\nfleet_engine_reconcile_count_total "), "{metrics}");
}

#[test]
fn listings_come_in_pages() {
    let Some(world) = World::start_with(1, |_, _| vec!["token_limit=2".into()]) else { return };
    let mut names: Vec<String> = (1..=4).map(|n| format!("u{n}.service")).collect();
    names.iter().for_each(|name| world.put(name, PLAIN, "inactive"));
    let socket = world.machines[0].socket();
    let page = |token: &str| {
        let query = if token.is_empty() { String::new() } else { format!("?nextPageToken={token}") };
        let page = call(&socket, "GET", &format!("/fleet/v1/units{query}"), &[], "").json();
        let units: Vec<String> = page["units"]
            .as_array()
            .map(|units| units.iter().map(|unit| unit["name"].as_str().expect("a name").to_owned()).collect())
            .unwrap_or_default();
        (units, page["nextPageToken"].as_str().unwrap_or_default().to_owned())
    };
    let (first, token) = page("");
    assert_eq!((first.as_slice(), token.as_str()), (&names[..2], "AgACAA=="));
    let (second, token) = page(&token);
    assert_eq!(second, names[2..]);
    // An exact multiple of the limit announces an empty page, as fleet does.
    assert_eq!(page(&token), (vec![], String::new()));
    names.truncate(3);
    assert_eq!(world.any().call("DELETE", "/units/u4.service", "").status, 204);
    let (second, token) = page("AgACAA==");
    assert_eq!((second.as_slice(), token.as_str()), (&names[2..], ""));
    for refused in ["nonsense", "ZAACAA==", "AgAAAA==", "AgACAA==&nextPageToken=AgACAA=="] {
        for resource in ["units", "state", "machines"] {
            let path = format!("/fleet/v1/{resource}?nextPageToken={refused}");
            assert_eq!(call(&socket, "GET", &path, &[], "").status, 400, "{path}");
        }
    }
}

#[test]
fn metadata_is_patched_in_both_forms() {
    let Some(world) = World::start_with(1, |_, _| vec!["metadata=disk=ssd,zone=a".into()]) else { return };
    let patch = |body: Value| world.any().call("PATCH", "/machines", &body.to_string()).status;
    let metadata = || world.get("/machines")["machines"][0]["metadata"].clone();
    let path = |key: &str| format!("/m1/metadata/{key}");
    assert_eq!(metadata(), json!({ "disk": "ssd", "zone": "a" }));
    let both = json!([
        { "op": "add", "path": path("rack"), "value": "7" },
        { "op": "replace", "path": path("zone"), "value": { "value": "b" } },
        { "op": "remove", "path": path("disk") },
    ]);
    assert_eq!(patch(both), 204);
    assert_eq!(metadata(), json!({ "rack": "7", "zone": "b" }));
    // The body of fleet's own functional test: its `Value` has a capital, and what is removed has one too.
    let of_fleet = json!([
        { "op": "add", "path": path("foo"), "Value": { "value": "bar" } },
        { "op": "remove", "path": path("rack"), "Value": { "value": "" } },
    ]);
    let answer = world.any().call("PATCH", "/machines", &of_fleet.to_string());
    assert_eq!((answer.status, answer.header("content-type")), (204, Some("application/json")));
    assert_eq!(metadata(), json!({ "foo": "bar", "zone": "b" }));
    let before = metadata();
    for refused in [
        json!([{ "op": "add", "path": path("rack"), "value": "8" }, { "op": "move", "path": path("zone"), "value": "c" }]),
        json!([{ "op": "add", "path": "/m1/nonsense/zone", "value": "c" }]),
        json!([{ "op": "add", "path": path("a/b"), "value": "c" }]),
        json!([{ "op": "add", "path": path("zone") }]),
        json!([{ "op": "noop", "path": path("foo"), "Value": { "value": "bar" } }]),
        json!([{ "op": "add", "path": "/m1/foo", "Value": { "value": "bar" } }]),
        json!([{ "op": "add", "path": path("foo"), "Value": { "value": "" } }]),
        json!({ "op": "add" }),
    ] {
        assert_eq!(patch(refused.clone()), 400, "{refused}");
        assert_eq!(metadata(), before, "nothing of a refused patch is done");
    }
}

#[test]
fn journal_and_status_come_from_the_machine_itself() {
    let programs = |_, dir: &std::path::Path| {
        let bin = dir.join("bin");
        std::fs::create_dir(&bin).expect("a directory");
        for program in ["journalctl", "systemctl"] {
            let path = bin.join(program);
            std::fs::write(&path, format!("#!/bin/sh\necho \"{program} $*\"\n")).expect("a program");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        }
        Vec::new()
    };
    let Some(world) = World::start_with(1, programs) else { return };
    world.put("a.service", PLAIN, "inactive");
    let nowhere = world.any().call("GET", "/journal/a.service", "");
    assert_eq!(nowhere.status, 409, "{nowhere:?}");
    assert!(nowhere.message().contains("on no machine"), "{nowhere:?}");
    world.wish("a.service", "launched");
    world.runner("a.service");
    let body = |path: &str| world.any().call("GET", path, "").body;
    eventually("it is scheduled", SOON, || world.get("/units/a.service")["machineID"] == "m1");
    let expected = "journalctl --no-pager -o short -n 10 -u a.service\n";
    assert_eq!(body("/journal/a.service"), expected);
    let expected = "journalctl --no-pager -o cat -n 3 -f -u a.service\n";
    assert_eq!(body("/journal/a.service?lines=3&output=cat&follow=1"), expected);
    assert_eq!(body("/status/a.service"), "systemctl --no-pager -l status -- a.service\n");
    // How the program ended comes after what it said, for whoever can take it.
    let raw = |headers: &str| {
        let mut stream = UnixStream::connect(world.machines[0].socket()).expect("it listens");
        let request = format!(
            "GET /fleet/v1/status/a.service HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers, and ends");
        answer
    };
    let program = world.machines[0].dir.join("bin/systemctl");
    std::fs::write(program, "#!/bin/sh\necho not well\nexit 3\n").expect("a program");
    let answer = raw("TE: trailers\r\n");
    assert!(answer.ends_with("0\r\nfleet-exit-code: 3\r\n\r\n"), "{answer}");
    assert!(raw("").ends_with("\r\n0\r\n\r\n"));
    for refused in ["lines=many", "lines=100001", "output=short%20-D%20/etc"] {
        assert_eq!(world.any().call("GET", &format!("/journal/a.service?{refused}"), "").status, 400);
    }
}
