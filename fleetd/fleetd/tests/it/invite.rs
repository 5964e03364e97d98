//! Invitations: one machine, once, under the names that it was invited by.

use fleet_join::{Identity, JoinError, JoinToken, MemberRole};
use fleet_testbed::free_port;
use serde_json::json;
use x509_parser::pem::parse_x509_pem;

use crate::join::{join, one, socket_call};
use crate::tls::Caller;

fn invited(dir: &std::path::Path, id: &str, seconds: u32) -> JoinToken {
    let wish = json!({
        "machineID": id, "role": "worker", "names": ["metal1", "10.0.0.9"], "validSeconds": seconds,
    });
    let answer = socket_call(dir, "POST", "/join/invitations", &wish.to_string());
    answer.json()["token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).parse().expect("a token")
}

fn refusal(joined: Result<fleet_join::Joined, JoinError>) -> String {
    match joined {
        Ok(joined) => panic!("it was let in: {joined:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_invited_machine_gets_in_once_and_as_nobody_else() {
    let port = free_port();
    let Some(world) = one(port) else { return };
    let dir = &world.machines[0].dir;
    let token = invited(dir, "m7", 60);
    assert!(refusal(join(port, &token, "m8", &[])).ends_with("the join token invites another machine"));
    // What it asks to be called does not matter: whoever reads the token cannot use it to be a manager.
    let joined = join(port, &token, "m7", &["10.0.0.10", "manager.demo"]).expect("it is let in");
    assert_eq!((joined.role, joined.authority_key.is_none()), (MemberRole::Worker, true));
    let (_, pem) = parse_x509_pem(joined.certificate.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("a certificate");
    let names = format!("{:?}", certificate.subject_alternative_name());
    assert!(names.contains("metal1") && !names.contains("manager.demo"), "{names}");
    assert!(refusal(join(port, &token, "m7", &[])).contains("its secret is not one of this cluster"));

    // The machine boots anew: the next invitation takes the place of one that it never used.
    let (unused, next) = (invited(dir, "m7", 60), invited(dir, "m7", 60));
    assert!(refusal(join(port, &unused, "m7", &[])).contains("its secret is not one of this cluster"));
    // Somebody may be alive under that id: it is itself, before.
    join(port, &next, "m7", &[]).expect("it is let in again");
    let alive = invited(dir, "m1", 60);
    join(port, &alive, "m1", &[]).expect("it is let in although it lives");

    let late = invited(dir, "m9", 0);
    assert!(refusal(join(port, &late, "m9", &[])).contains("the join token expired at "));
    // The store knows whom it invited, and no secret.
    let open = invited(dir, "m10", 60);
    let kept = kept(world.etcd.endpoint());
    assert!(kept.contains("\"machineID\":\"m10\""), "{kept}");
    assert!(!kept.contains(&open.secret.text()) && !kept.contains("SWMTKN"), "{kept}");
}

/// Everything that the store holds about joining.
fn kept(endpoint: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = kv_client::Client::new(kv_client::Config::new([endpoint])).expect("an endpoint");
        let found = client.get_prefix("/_coreos.com/fleet/join/").await.expect("it answers");
        let text = |pair: kv_client::KeyValue| [&pair.key[..], b" ", &pair.value[..], b"\n"].concat();
        String::from_utf8_lossy(&found.kvs.into_iter().flat_map(text).collect::<Vec<u8>>()).into_owned()
    })
}

#[test]
fn only_an_administrator_invites() {
    let port = free_port();
    let Some(world) = one(port) else { return };
    let dir = &world.machines[0].dir;
    let token = invited(dir, "m7", 60);
    let joined = join(port, &token, "m7", &[]).expect("it is let in");
    let own = Identity::at(dir.join("m7"));
    own.save(&joined).expect("saves");
    let wish = json!({ "machineID": "m8", "role": "manager", "names": [], "validSeconds": 60 }).to_string();
    for caller in [Caller::member(&dir.join("m7")), Caller::nobody(&dir.join("tls"))] {
        let answer = caller.call(port, "POST", "/fleet/v1/join/invitations", &wish);
        assert_eq!(answer.status, 403, "{answer:?}");
    }
}
