//! `state`: how units are on their machines.

use fleet_api::{UnitState, UnitStatePage};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::reply::{Reply, error, json};
use super::{Api, page_token, query, store_error};

impl Api {
    pub(super) async fn states(&self, item: Option<&str>, request: &Request<Incoming>) -> Reply {
        if request.method() != Method::GET {
            return error(StatusCode::METHOD_NOT_ALLOWED, "only GET supported against this resource");
        }
        let token = match page_token(request, self.token_limit) {
            Ok(token) => token,
            Err(refused) => return *refused,
        };
        let of_unit = item.map(super::percent_decoded).or_else(|| query(request, "unitName").pop());
        let on_machine = query(request, "machineID").pop();
        let snapshot = match self.registry.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(failure) => return store_error(&failure),
        };
        let wanted = |name: &str, machine: &str| {
            of_unit.as_deref().is_none_or(|it| it == name)
                && on_machine.as_deref().is_none_or(|it| it == machine)
        };
        let all: Vec<UnitState> = snapshot
            .states
            .into_iter()
            .filter(|((name, machine), _)| wanted(name.as_str(), machine))
            .map(|((name, machine), state)| UnitState {
                hash: state.hash,
                machine_id: machine,
                name: name.to_string(),
                systemd_active_state: state.active,
                systemd_load_state: state.load,
                systemd_sub_state: state.sub,
            })
            .collect();
        if item.is_some() && all.is_empty() {
            return error(StatusCode::NOT_FOUND, "unit does not exist");
        }
        let (states, next) = token.slice(&all);
        json(&UnitStatePage { states, next_page_token: next.map(|it| it.encode()).unwrap_or_default() })
    }
}
