//! fleet's HTTP API v1: the shapes it carries, its page tokens and its paths. No server, no client.
//!
//! Empty fields are left out, as fleet leaves them out: clients test for their presence.

mod page;
mod read;

use std::collections::BTreeMap;

use fleet_unit::UnitOption;
use serde::{Deserialize, Serialize};

pub use page::{PageToken, PageTokenError};
pub use read::read;

/// Where the API is served; the second is fleet's older name for it.
pub const BASE_PATHS: [&str; 2] = ["/fleet/v1", "/v1-alpha"];

/// The trailer after the journal or the status of a unit: how the program ended that wrote it.
pub const EXIT_CODE: &str = "fleet-exit-code";

fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A unit, as stored and as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Unit {
    /// `inactive`, `loaded` or `launched`: what was reached.
    #[serde(skip_serializing_if = "is_empty")]
    pub current_state: String,
    /// The same words: what is wished.
    #[serde(skip_serializing_if = "is_empty")]
    pub desired_state: String,
    /// The machine that it is assigned to.
    #[serde(rename = "machineID", skip_serializing_if = "is_empty")]
    pub machine_id: String,
    /// Its name.
    #[serde(skip_serializing_if = "is_empty")]
    pub name: String,
    /// Its content.
    #[serde(skip_serializing_if = "is_empty")]
    pub options: Vec<UnitOption>,
}

/// A page of units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnitPage {
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "is_empty")]
    pub next_page_token: String,
    /// The units, by name.
    #[serde(skip_serializing_if = "is_empty")]
    pub units: Vec<Unit>,
}

/// What a unit is on one machine, in systemd's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnitState {
    /// Hash of the content that runs there.
    #[serde(skip_serializing_if = "is_empty")]
    pub hash: String,
    /// Which machine.
    #[serde(rename = "machineID", skip_serializing_if = "is_empty")]
    pub machine_id: String,
    /// Name of the unit.
    #[serde(skip_serializing_if = "is_empty")]
    pub name: String,
    /// `active`, `failed`, …
    #[serde(skip_serializing_if = "is_empty")]
    pub systemd_active_state: String,
    /// `loaded`, `not-found`, …
    #[serde(skip_serializing_if = "is_empty")]
    pub systemd_load_state: String,
    /// `running`, `dead`, …
    #[serde(skip_serializing_if = "is_empty")]
    pub systemd_sub_state: String,
}

/// A page of states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnitStatePage {
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "is_empty")]
    pub next_page_token: String,
    /// The states, by unit and machine.
    #[serde(skip_serializing_if = "is_empty")]
    pub states: Vec<UnitState>,
}

/// A live machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Machine {
    /// Its id.
    #[serde(skip_serializing_if = "is_empty")]
    pub id: String,
    /// Its metadata, configured and set at run time.
    #[serde(skip_serializing_if = "is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Where it says it can be reached.
    #[serde(rename = "primaryIP", skip_serializing_if = "is_empty")]
    pub primary_ip: String,
}

/// A page of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachinePage {
    /// The machines, by id.
    #[serde(skip_serializing_if = "is_empty")]
    pub machines: Vec<Machine>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "is_empty")]
    pub next_page_token: String,
}

/// One change of `PATCH machines`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataPatch {
    /// `add`, `replace` or `remove`.
    pub op: String,
    /// `/MACHINE/metadata/KEY`.
    pub path: String,
    /// The value to set, in either of the forms that fleet's manual and fleet's code ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<PatchValue>,
}

/// A value of a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PatchValue {
    /// `"ssd"`, as in the manual.
    Plain(String),
    /// `{"value": "ssd"}`, as in the code.
    Object {
        /// The value.
        value: String,
    },
}

impl PatchValue {
    /// The value itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Plain(value) | Self::Object { value } => value,
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// The only field.
    pub error: ErrorBody,
}

/// The inside of an [`ErrorReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The HTTP status.
    pub code: u16,
    /// One sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Why a unit is where it is (ours, not fleet's).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Why {
    /// Name of the unit.
    pub name: String,
    /// One sentence, with counts.
    pub explanation: String,
    /// The machine that it is assigned to.
    #[serde(rename = "machineID", skip_serializing_if = "is_empty")]
    pub machine_id: String,
    /// How many live machines there are.
    pub machines: usize,
    /// How many of them would do.
    pub eligible: usize,
}

/// Something that happened in the cluster (ours): one JSON object a line on the event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterEvent {
    /// Revision of the store.
    pub revision: i64,
    /// `unit`, `schedule`, `state` or `machine`.
    pub kind: String,
    /// `set` or `removed`.
    pub action: String,
    /// Name of the unit, if it concerns one.
    #[serde(skip_serializing_if = "is_empty")]
    pub unit: String,
    /// The machine, if it concerns one.
    #[serde(rename = "machineID", skip_serializing_if = "is_empty")]
    pub machine_id: String,
    /// The new state, in words.
    #[serde(skip_serializing_if = "is_empty")]
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_left_out() {
        let unit = Unit { name: "a.service".into(), desired_state: "launched".into(), ..Unit::default() };
        let json = serde_json::to_string(&unit).expect("serialises");
        assert_eq!(json, r#"{"desiredState":"launched","name":"a.service"}"#);
        assert_eq!(serde_json::to_string(&MachinePage::default()).expect("serialises"), "{}");
    }

    #[test]
    fn both_forms_of_a_patch_are_read() {
        for value in [r#""ssd""#, r#"{"value":"ssd"}"#] {
            let json = format!(r#"{{"op":"add","path":"/m/metadata/disk","value":{value}}}"#);
            let patch: MetadataPatch = serde_json::from_str(&json).expect("parses");
            assert_eq!(patch.value.as_ref().map(PatchValue::as_str), Some("ssd"));
        }
    }
}
