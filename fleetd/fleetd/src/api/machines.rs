//! `machines`: list, and set metadata at run time; `drain`.

use fleet_api::{Machine, MachinePage, MetadataPatch, PatchValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::reply::{Reply, empty, error, json};
use super::{Api, page_token, store_error};

const LONGEST_BODY: usize = 64 * 1024;

impl Api {
    pub(super) async fn machines(&self, request: Request<Incoming>) -> Reply {
        match *request.method() {
            Method::GET => self.list_machines(&request).await,
            Method::PATCH => self.patch_machines(request).await,
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "only GET and PATCH supported against this resource"),
        }
    }

    async fn list_machines(&self, request: &Request<Incoming>) -> Reply {
        let token = match page_token(request, self.token_limit) {
            Ok(token) => token,
            Err(refused) => return *refused,
        };
        let snapshot = match self.registry.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(failure) => return store_error(&failure),
        };
        let all: Vec<Machine> = snapshot
            .machines
            .into_iter()
            .map(|(id, record)| Machine { id, metadata: record.metadata, primary_ip: record.public_ip })
            .collect();
        let (machines, next) = token.slice(&all);
        json(&MachinePage { machines, next_page_token: next.map(|it| it.encode()).unwrap_or_default() })
    }

    async fn patch_machines(&self, request: Request<Incoming>) -> Reply {
        let body = match Limited::new(request.into_body(), LONGEST_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(failure) => {
                return error(StatusCode::BAD_REQUEST, &format!("unable to read body: {failure}"));
            }
        };
        let patches: Vec<MetadataPatch> = match fleet_api::read(&body) {
            Ok(patches) => patches,
            Err(failure) => {
                return error(StatusCode::BAD_REQUEST, &format!("unable to decode body: {failure}"));
            }
        };
        // All are understood before the first is done.
        let changes: Result<Vec<_>, String> = patches.iter().map(change_of).collect();
        let changes = match changes {
            Ok(changes) => changes,
            Err(message) => return error(StatusCode::BAD_REQUEST, &message),
        };
        for (machine, key, value) in changes {
            if let Err(failure) = self.registry.set_metadata(machine, key, value).await {
                return store_error(&failure);
            }
        }
        no_content()
    }

    /// `PUT drain/MACHINE` and `DELETE drain/MACHINE`.
    pub(super) async fn drain(&self, machine: &str, method: &Method) -> Reply {
        let draining = match *method {
            Method::PUT => true,
            Method::DELETE => false,
            _ => {
                return error(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "only PUT and DELETE supported against this resource",
                );
            }
        };
        match self.registry.snapshot().await {
            Ok(snapshot) if !snapshot.machines.contains_key(machine) && draining => {
                error(StatusCode::NOT_FOUND, "machine does not exist")
            }
            Ok(_) => match self.registry.set_draining(machine, draining).await {
                Ok(()) => empty(StatusCode::NO_CONTENT),
                Err(failure) => store_error(&failure),
            },
            Err(failure) => store_error(&failure),
        }
    }
}

/// As fleet answers a patch: nothing, as JSON.
fn no_content() -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    let json = http::HeaderValue::from_static("application/json");
    reply.headers_mut().insert(http::header::CONTENT_TYPE, json);
    reply
}

/// Machine, key and value of a patch; nothing as the value removes the key.
fn change_of(patch: &MetadataPatch) -> Result<(&str, &str, Option<&str>), String> {
    let path = patch.path.strip_prefix('/').and_then(|path| path.split_once("/metadata/"));
    let valid =
        |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    let (machine, key) = path
        .filter(|(machine, key)| !machine.is_empty() && !machine.contains('/') && valid(key))
        .ok_or_else(|| format!("path \"{}\" is not /MACHINE/metadata/KEY", patch.path))?;
    match patch.op.as_str() {
        "add" | "replace" => {
            let value = patch.value.as_ref().map(PatchValue::as_str).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| format!("no value to {} at \"{}\"", patch.op, patch.path))?;
            Ok((machine, key, Some(value)))
        }
        "remove" => Ok((machine, key, None)),
        other => Err(format!("op \"{other}\" is not add, remove or replace")),
    }
}
