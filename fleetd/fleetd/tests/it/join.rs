//! Becoming a member with a token, staying one, and being removed.

use std::path::Path;
use std::time::Duration;

use fleet_join::{
    Authority, Identity, JoinError, JoinOrder, JoinToken, Joined, MEMBER_LIFE, MemberRole, Secret,
    SigningRequest,
};
use fleet_testbed::{Answer, eventually, free_port};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;

use crate::tls::Caller;
use crate::world::{PLAIN, SOON, World, options};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The first manager of a new cluster, as `fleetctl init` makes it.
pub(crate) fn first_manager(dir: &Path) -> Authority {
    let now = OffsetDateTime::now_utc();
    let authority = Authority::create("demo", now).expect("an authority");
    let request = SigningRequest::create("m1").expect("a request");
    let names = ["127.0.0.1".to_owned()];
    let role = MemberRole::Manager;
    let certificate = authority.sign(&request.request, "m1", &names, role, now, MEMBER_LIFE).expect("signs");
    let joined = Joined {
        authority: authority.pair().cert.clone(),
        certificate,
        key: request.key,
        role,
        authority_key: Some(authority.pair().key.clone()),
    };
    Identity::at(dir.join("tls")).save(&joined).expect("saves");
    authority
}

/// Serial numbers in a revocation list.
fn revoked_in(list: &Path) -> Vec<Vec<u8>> {
    let Ok(der) = CertificateRevocationListDer::from_pem_file(list) else { return Vec::new() };
    let (_, list) = x509_parser::parse_x509_crl(&der).expect("a list");
    list.iter_revoked_certificates().map(|it| it.raw_serial().to_vec()).collect()
}

pub(crate) fn settings(dir: &Path, port: u16, life: &str) -> Vec<String> {
    let file = |name: &str| dir.join("tls").join(name).display().to_string();
    vec![
        "public_ip=127.0.0.1".to_owned(),
        format!("listen={},127.0.0.1:{port}", dir.join("fleet.sock").display()),
        format!("tls_ca_file={}", file("ca.pem")),
        format!("tls_cert_file={}", file("cert.pem")),
        format!("tls_key_file={}", file("key.pem")),
        format!("authority_key_file={}", file("ca-key.pem")),
        format!("member_life={life}"),
    ]
}

pub(crate) fn socket_call(dir: &Path, method: &str, path: &str, body: &str) -> Answer {
    let headers = ["Content-Type: application/json"];
    fleet_testbed::call(&dir.join("fleet.sock"), method, &format!("/fleet/v1{path}"), &headers, body)
}

pub(crate) fn token(dir: &Path, role: &str) -> JoinToken {
    let answer = socket_call(dir, "GET", "/join/tokens", "");
    let text = answer.json()[role].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    text.parse().expect("a token")
}

pub(crate) fn join(port: u16, token: &JoinToken, id: &str, names: &[&str]) -> Result<Joined, JoinError> {
    let members = ["127.0.0.1:1".to_owned(), format!("127.0.0.1:{port}")];
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let order = JoinOrder { members: &members, token, machine_id: id, names: &names, limit: LIMIT };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(fleet_join::join(&order))
}

/// A manager alone.
pub(crate) fn one(port: u16) -> Option<World> {
    World::start_with(1, |_, dir| {
        first_manager(dir);
        settings(dir, port, "90d")
    })
}

/// A manager, and a worker that joined it over the network.
pub(crate) fn two(ports: [u16; 2], life: &str) -> Option<World> {
    World::start_with(2, |number, dir| {
        if number == 1 {
            first_manager(dir);
        } else {
            let manager = dir.with_file_name("m1");
            let worker = token(&manager, "worker");
            let joined = join(ports[0], &worker, "m2", &["127.0.0.1", "worker.demo"]).expect("joins");
            assert!(joined.authority_key.is_none(), "workers do not get the authority's key");
            Identity::at(dir.join("tls")).save(&joined).expect("saves");
        }
        settings(dir, ports[number - 1], life)
    })
}

#[test]
fn a_daemon_that_waits_for_certificates_goes_on_when_they_come_and_when_they_change() {
    let ports = [free_port(), free_port()];
    let Some(world) = World::start_with(2, |number, dir| {
        if number == 1 {
            first_manager(dir);
        } else {
            let (manager, identity) = (dir.with_file_name("m1"), Identity::at(dir.join("tls")));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(2));
                let joined = join(ports[0], &token(&manager, "worker"), "m2", &["127.0.0.1"]);
                identity.save(&joined.expect("joins")).expect("saves");
            });
        }
        settings(dir, ports[number - 1], "90d")
    }) else {
        return;
    };
    let machine = &world.machines[1];
    assert!(machine.log().contains("waiting for the certificates"), "{}", machine.log());
    let tls = Caller::member(&machine.dir.join("tls"));
    assert_eq!(tls.call(ports[1], "GET", "/fleet/v1/machines", "").status, 200);
    // It becomes the first of another cluster: whoever is of the old one is a stranger to it.
    let kept = machine.dir.join("kept");
    std::fs::rename(machine.dir.join("tls"), &kept).expect("keeps the old certificates");
    first_manager(&machine.dir);
    eventually("it begins anew", SOON, || machine.log().contains("beginning anew"));
    eventually("it takes the new certificate only", SOON, || {
        let calls = [&kept, &machine.dir.join("tls")]
            .map(|dir| Caller::member(dir).try_call(ports[1], "GET", "/fleet/v1/machines", ""));
        matches!(calls, [None, Some(answer)] if answer.status == 200)
    });
}

#[test]
fn a_worker_joins_does_its_work_and_has_no_more_rights_than_that() {
    let ports = [free_port(), free_port()];
    let Some(world) = two(ports, "90d") else { return };
    let worker = Caller::member(&world.machines[1].dir.join("tls"));
    let unit = serde_json::json!({ "desiredState": "launched", "options": options(PLAIN) }).to_string();
    let ask = |method: &str, path: &str| worker.call(ports[0], method, path, &unit);
    assert_eq!(ask("GET", "/fleet/v1/machines").json()["machines"].as_array().map(Vec::len), Some(2));
    for (method, path, says) in [
        ("PUT", "/fleet/v1/units/a.service", "machine m2 may not do that"),
        ("DELETE", "/fleet/v1/machines/m1?force=true", "machine m2 may not do that"),
        ("GET", "/fleet/v1/join/tokens", "only an administrator's certificate shows join tokens"),
        ("POST", "/fleet/v1/join/tokens/worker/rotate", "only an administrator's certificate"),
    ] {
        let answer = ask(method, path);
        assert_eq!(
            (answer.status, answer.message().contains(says)),
            (403, true),
            "{method} {path}: {answer:?}"
        );
    }
    // A worker is asked too: it passes the wish on to the manager, who signs.
    let manager_token = token(&world.machines[0].dir, "manager");
    let joined = join(ports[1], &manager_token, "m3", &["10.0.0.3"]).expect("joins through a worker");
    assert_eq!(joined.role, MemberRole::Manager);
    assert!(joined.authority_key.is_some(), "managers sign");
    let refused = socket_call(&world.machines[1].dir, "GET", "/join/tokens", "");
    assert!(refused.message().contains(&format!("ask one that does: 127.0.0.1:{}", ports[0])), "{refused:?}");
    let members = world.get("/join/members");
    let ids: Vec<&str> = members["members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["machineID"].as_str())
        .collect();
    assert_eq!(ids, ["m1", "m2", "m3"], "{members}");
}

#[test]
fn certificates_renew_by_themselves_while_the_daemons_run() {
    let ports = [free_port(), free_port()];
    let Some(world) = two(ports, "12s") else { return };
    let identity = Identity::at(world.machines[1].dir.join("tls"));
    let first = identity.validity().expect("readable");
    let shown_first = Caller::member(&world.machines[0].dir.join("tls")).shown_by(ports[1]);
    eventually("the worker has its next certificate", LIMIT, || {
        identity.validity().is_ok_and(|now| now.until > first.until)
    });
    eventually("the first certificate has run out", LIMIT, || OffsetDateTime::now_utc() > first.until);
    let manager = Caller::member(&world.machines[0].dir.join("tls"));
    eventually("the daemon shows a later one", SOON, || manager.shown_by(ports[1]) != shown_first);
    let worker = Caller::member(&world.machines[1].dir.join("tls"));
    assert_eq!(worker.call(ports[0], "GET", "/fleet/v1/machines", "").status, 200);
    assert!(world.machines[1].log().contains("certificate renewed"), "{}", world.machines[1].log());
}

#[test]
fn who_is_not_invited_is_told_why() {
    let port = free_port();
    let Some(world) = one(port) else { return };
    let dir = &world.machines[0].dir;
    let refusal = |token: &JoinToken, id: &str, names: &[&str]| match join(port, token, id, names) {
        Ok(joined) => panic!("{id} was let in: {joined:?}"),
        Err(error) => error.to_string(),
    };
    let good = token(dir, "worker");
    assert_eq!(token(dir, "worker"), good, "a token stays as it is");
    let wrong = JoinToken { secret: Secret([9; 16]), ..good };
    assert!(refusal(&wrong, "m2", &[]).ends_with("its secret is not one of this cluster"));
    let other = JoinToken { authority: [1; 32], ..good };
    assert!(refusal(&other, "m2", &[]).contains("its authority's digest differs"));
    assert!(refusal(&good, "m1", &[]).contains("machine m1 is a member and alive"));
    assert!(refusal(&good, "../m2", &[]).contains("is none: use up to 64 letters"));
    assert!(refusal(&good, "m2", &["not a name\n"]).contains("cannot stand in a certificate"));
    assert!(join(port, &good, "m2", &["10.0.0.2"]).is_ok());

    let answer = socket_call(dir, "POST", "/join/tokens/worker/rotate", "{\"validSeconds\":1}");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(refusal(&good, "m3", &[]).contains("was rotated and is no longer valid"));
    let short = token(dir, "worker");
    assert_ne!(short, good);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(refusal(&short, "m3", &[]).contains("the join token expired at "));
    let answer = socket_call(dir, "POST", "/join/tokens/nobody/rotate", "");
    assert_eq!(answer.status, 404, "{answer:?}");
    // Anonymous clients may do nothing else.
    let nobody = Caller::nobody(&dir.join("tls"));
    for (method, path) in
        [("GET", "/fleet/v1/machines"), ("GET", "/metrics"), ("POST", "/fleet/v1/join/renew")]
    {
        let answer = nobody.call(port, method, path, "");
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        assert!(answer.message().contains("needs a client certificate"), "{answer:?}");
    }
}

#[test]
fn a_removed_machine_stays_out_until_it_joins_again() {
    let ports = [free_port(), free_port()];
    let Some(mut world) = two(ports, "90d") else { return };
    world.put("a.service", &format!("{PLAIN}[X-Fleet]\nMachineID=m2\n"), "launched");
    world.put("everywhere.service", &format!("{PLAIN}[X-Fleet]\nGlobal=true\n"), "launched");
    world.put("b.service", PLAIN, "launched");
    eventually("m2 runs its units", SOON, || {
        world.machines[1]
            .supervisor
            .running()
            .is_superset(&["a.service", "everywhere.service"].map(str::to_owned).into())
    });
    let answer = world.machines[0].call("DELETE", "/machines/m2", "");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.message().contains("`fleetctl leave`"), "{answer:?}");
    assert_eq!(world.machines[0].call("DELETE", "/machines/m9", "").status, 404);
    let answer = world.machines[0].call("DELETE", "/machines/m2?force=true", "");
    assert_eq!(answer.status, 204, "{answer:?}");
    let list = world.machines[0].dir.join("tls/crl.pem");
    let gone = Caller::member(&world.machines[1].dir.join("tls")).serial();
    eventually("its certificate is on the list", SOON, || revoked_in(&list).contains(&gone));
    eventually("m2 stops everything", SOON, || world.machines[1].supervisor.running().is_empty());
    eventually("b.service runs on m1", SOON, || world.runners("b.service") == [0]);
    let worker = Caller::member(&world.machines[1].dir.join("tls"));
    let answer = worker.call(ports[0], "GET", "/fleet/v1/machines", "");
    assert!(
        answer.status == 403 && answer.message().contains("no member of the cluster any more"),
        "{answer:?}"
    );
    let answer = worker.call(ports[0], "POST", "/fleet/v1/join/renew", "{}");
    assert_eq!(answer.status, 403, "{answer:?}");
    world.machines[1].terminate();
    world.machines[1].start();
    eventually("it is told why it is out", SOON, || {
        world.machines[1]
            .log()
            .contains("this machine was removed from the cluster; join it again with a token")
    });
    assert_eq!(world.get("/machines")["machines"].as_array().map(Vec::len), Some(1));

    let worker = token(&world.machines[0].dir, "worker");
    let joined = join(ports[0], &worker, "m2", &["127.0.0.1"]).expect("joins again");
    Identity::at(world.machines[1].dir.join("tls")).save(&joined).expect("saves");
    world.machines[1].terminate();
    world.machines[1].start();
    eventually("its unit comes back", SOON, || world.runners("a.service") == [1]);
}
