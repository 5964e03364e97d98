//! lease grant, revoke, timetolive, list, keep-alive.

use std::{process::ExitCode, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kv_api::etcdserverpb::{LeaseGrantRequest, LeaseLeasesRequest, lease_client::LeaseClient};
use serde_json::{Value, json};

use crate::{
    Failure,
    flags::{self, Session},
    output::{Output, header_fields, header_json, object},
};

pub(crate) async fn lease(
    session: &Session,
    out: &Output,
    command: flags::Lease,
) -> Result<ExitCode, Failure> {
    let client = &session.client;
    match command {
        flags::Lease::Grant { ttl } => {
            let request = LeaseGrantRequest { ttl, id: 0 };
            let reply = LeaseClient::new(client.channel())
                .lease_grant(request)
                .await
                .map_err(kv_client::Error::from)?;
            let reply = reply.into_inner();
            if out.is_json() {
                say!(
                    "{}",
                    json!({"cluster_id": reply.header.unwrap_or_default().cluster_id, "ID": reply.id, "TTL": reply.ttl})
                );
            } else if out.is_fields() {
                header_fields(&reply.header);
                say!("\"ID\" : {:x}\n\"TTL\" : {}", reply.id, reply.ttl);
            } else {
                say!("lease {:016x} granted with TTL({}s)", reply.id, reply.ttl);
            }
        }
        flags::Lease::Revoke { id } => {
            let id = flags::id(&id)? as i64;
            client.lease_revoke(id).await?;
            say!("lease {id:016x} revoked");
        }
        flags::Lease::Timetolive { id, keys } => {
            time_to_live(session, out, flags::id(&id)? as i64, keys).await?
        }
        flags::Lease::List => {
            let reply = LeaseClient::new(client.channel()).lease_leases(LeaseLeasesRequest {}).await;
            let reply = reply.map_err(kv_client::Error::from)?.into_inner();
            if out.is_json() {
                let leases: Vec<Value> = reply.leases.iter().map(|lease| json!({"id": lease.id})).collect();
                say!("{}", object(&[("header", header_json(&reply.header)), ("leases", json!(leases))]));
            } else {
                say!("found {} leases", reply.leases.len());
                reply.leases.iter().for_each(|lease| say!("{:016x}", lease.id));
            }
        }
        flags::Lease::KeepAlive { id, once } => {
            let id = flags::id(&id)? as i64;
            loop {
                let ttl = client.lease_keep_alive_once(id).await?;
                if ttl <= 0 {
                    say!("lease {id:016x} expired or revoked.");
                    return Ok(ExitCode::SUCCESS);
                }
                say!("lease {id:016x} keepalived with TTL({ttl})");
                if once {
                    return Ok(ExitCode::SUCCESS);
                }
                tokio::time::sleep(Duration::from_secs_f64(ttl as f64 / 3.0)).await;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn time_to_live(session: &Session, out: &Output, id: i64, keys: bool) -> Result<(), Failure> {
    let reply = session.client.lease_time_to_live(id, keys).await?;
    if out.is_json() {
        let keys: Vec<Value> = reply.keys.iter().map(|key| json!(STANDARD.encode(key))).collect();
        let keys = if keys.is_empty() { Value::Null } else { json!(keys) };
        let id_and_times =
            json!({"id": reply.id, "ttl": reply.ttl, "granted-ttl": reply.granted_ttl, "keys": keys});
        say!("{id_and_times}");
    } else if reply.granted_ttl == 0 && reply.ttl == -1 {
        say!("lease {id:016x} already expired");
    } else {
        let mut text =
            format!("lease {id:016x} granted with TTL({}s), remaining({}s)", reply.granted_ttl, reply.ttl);
        if keys {
            let names: Vec<String> = reply.keys.iter().map(|key| out.text(key)).collect();
            text.push_str(&format!(", attached keys([{}])", names.join(" ")));
        }
        say!("{text}");
    }
    Ok(())
}
