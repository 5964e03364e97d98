//! `units`: submit, change, list, destroy.

use fleet_api::{Unit, UnitPage};
use fleet_registry::{CreateOutcome, Snapshot, StoredUnit};
use fleet_unit::{NameError, Placement, TargetState, UnitName, UnitOptions};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::reply::{Reply, empty, error, json};
use super::{Api, page_token, store_error};

/// The longest body that is read.
const LONGEST_BODY: usize = 1024 * 1024;

impl Api {
    pub(super) async fn units(&self, request: Request<Incoming>) -> Reply {
        if request.method() != Method::GET {
            return error(StatusCode::METHOD_NOT_ALLOWED, "only GET supported against this resource");
        }
        let token = match page_token(&request, self.token_limit) {
            Ok(token) => token,
            Err(refused) => return *refused,
        };
        match self.registry.snapshot().await {
            Ok(snapshot) => {
                let assigned = Assigned::of(&snapshot);
                let all: Vec<Unit> =
                    snapshot.units.iter().map(|(name, unit)| assigned.unit(&snapshot, name, unit)).collect();
                let (units, next) = token.slice(&all);
                json(&UnitPage { units, next_page_token: next.map(|it| it.encode()).unwrap_or_default() })
            }
            Err(failure) => store_error(&failure),
        }
    }

    pub(super) async fn unit(&self, name: &str, request: Request<Incoming>) -> Reply {
        let method = request.method().clone();
        let name = super::percent_decoded(name);
        match method {
            Method::PUT => self.put_unit(&name, request).await,
            Method::GET | Method::DELETE => {
                let Ok(name) = name.parse::<UnitName>() else {
                    return error(StatusCode::NOT_FOUND, "unit does not exist");
                };
                if method == Method::GET { self.get_unit(&name).await } else { self.delete_unit(&name).await }
            }
            _ => error(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET, PUT and DELETE supported against this resource",
            ),
        }
    }

    async fn get_unit(&self, name: &UnitName) -> Reply {
        match self.registry.snapshot().await {
            Ok(snapshot) => match snapshot.units.get(name) {
                Some(unit) => json(&Assigned::of(&snapshot).unit(&snapshot, name, unit)),
                None => error(StatusCode::NOT_FOUND, "unit does not exist"),
            },
            Err(failure) => store_error(&failure),
        }
    }

    async fn delete_unit(&self, name: &UnitName) -> Reply {
        match self.registry.destroy_unit(name).await {
            Ok(()) => empty(StatusCode::NO_CONTENT),
            Err(failure) => store_error(&failure),
        }
    }

    async fn put_unit(&self, item: &str, request: Request<Incoming>) -> Reply {
        let content_type = request.headers().get(http::header::CONTENT_TYPE);
        // It may say in which characters, too.
        let kind = content_type.and_then(|value| value.to_str().ok()?.split(';').next());
        if kind.is_none_or(|kind| kind.trim() != "application/json") {
            let message = "application/json is only supported Content-Type";
            return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        }
        let body = match Limited::new(request.into_body(), LONGEST_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(failure) => {
                return error(StatusCode::BAD_REQUEST, &format!("unable to read body: {failure}"));
            }
        };
        let wanted: Unit = match fleet_api::read(&body) {
            Ok(wanted) => wanted,
            Err(failure) => {
                return error(StatusCode::BAD_REQUEST, &format!("unable to decode body: {failure}"));
            }
        };
        if !wanted.name.is_empty() && wanted.name != item {
            let message =
                format!("name in URL \"{item}\" differs from unit name in request body \"{}\"", wanted.name);
            return error(StatusCode::BAD_REQUEST, &message);
        }
        let name: UnitName = match item.parse() {
            Ok(name) => name,
            Err(refused) => return error(StatusCode::BAD_REQUEST, &NameError::to_string(&refused)),
        };
        match self.registry.unit(&name).await {
            Ok(existing) => self.put_checked(&name, wanted, existing).await,
            Err(failure) => store_error(&failure),
        }
    }

    async fn put_checked(&self, name: &UnitName, wanted: Unit, existing: Option<StoredUnit>) -> Reply {
        let options = UnitOptions(wanted.options);
        let target = match wanted.desired_state.as_str() {
            "" => None,
            word => match word.parse::<TargetState>() {
                Ok(target) => Some(target),
                Err(refused) => return error(StatusCode::BAD_REQUEST, &refused.to_string()),
            },
        };
        if name.is_template() && target.is_some_and(|target| target != TargetState::Inactive) {
            return error(StatusCode::BAD_REQUEST, &format!("cannot activate template \"{name}\""));
        }
        match existing {
            None if options.0.is_empty() => {
                error(StatusCode::CONFLICT, "unit does not exist and options field empty")
            }
            Some(old) if options.0.is_empty() || old.options.same_as(&options) => match target {
                None => error(StatusCode::CONFLICT, "must provide DesiredState to update existing unit"),
                Some(target) => match self.registry.set_target(name, target).await {
                    Ok(()) => empty(StatusCode::NO_CONTENT),
                    Err(failure) => store_error(&failure),
                },
            },
            old => {
                if let Err(refused) = Placement::of(name, &options) {
                    return error(StatusCode::BAD_REQUEST, &refused.to_string());
                }
                let target = target.or(old.map(|old| old.target)).unwrap_or(TargetState::Inactive);
                match self.registry.put_unit(name, &StoredUnit { options, target }).await {
                    Ok(CreateOutcome::Created | CreateOutcome::Replaced) => empty(StatusCode::CREATED),
                    Ok(CreateOutcome::Unchanged) => empty(StatusCode::NO_CONTENT),
                    Err(failure) => store_error(&failure),
                }
            }
        }
    }
}

/// Who runs what, by unit.
struct Assigned<'a>(std::collections::BTreeMap<&'a UnitName, &'a str>);

impl<'a> Assigned<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        Self(snapshot.schedule.keys().map(|(machine, name)| (name, machine.as_str())).collect())
    }

    fn unit(&self, snapshot: &Snapshot, name: &UnitName, unit: &StoredUnit) -> Unit {
        let machine = self.0.get(name).copied().unwrap_or_default();
        let state = snapshot.states.get(&(name.clone(), machine.to_owned()));
        let current = match state {
            _ if machine.is_empty() => TargetState::Inactive,
            None => TargetState::Inactive,
            Some(state) if state.launched => TargetState::Launched,
            Some(_) => TargetState::Loaded,
        };
        // A global unit has no one machine, so no one state.
        let is_global = Placement::of(name, &unit.options).is_ok_and(|placement| placement.global);
        Unit {
            current_state: if is_global { String::new() } else { current.to_string() },
            desired_state: unit.target.to_string(),
            machine_id: machine.to_owned(),
            name: name.to_string(),
            options: unit.options.0.clone(),
        }
    }
}
