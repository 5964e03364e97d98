//! `discovery`: the API described in the form that generators of clients read. It says of fleet's
//! resources what fleet says, and of `PATCH machines` what fleet leaves out.

use serde_json::{Map, Value, json};

/// The document.
pub(super) fn document() -> Value {
    json!({
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "fleet:v1",
        "name": "schema",
        "version": "v1",
        "title": "fleet API",
        "description": "",
        "documentationLink": "http://github.com/coreos/fleet",
        "protocol": "rest",
        "icons": { "x16": "", "x32": "" },
        "labels": [],
        "baseUrl": "$ENDPOINT/fleet/v1/",
        "basePath": "/fleet/v1/",
        "rootUrl": "$ENDPOINT/",
        "servicePath": "fleet/v1/",
        "batchPath": "batch",
        "parameters": {},
        "auth": {},
        "schemas": schemas(),
        "resources": resources(),
    })
}

fn schemas() -> Value {
    let state = || json!({ "type": "string", "enum": ["inactive", "loaded", "launched"] });
    let map = json!({ "type": "object", "properties": {}, "additionalProperties": string() });
    let shapes = [
        object("Machine", vec![("id", string()), ("primaryIP", string()), ("metadata", map)]),
        page("MachinePage", "machines", "Machine"),
        object("UnitOption", strings(&["section", "name", "value"])),
        object(
            "Unit",
            vec![
                ("name", string()),
                ("options", list_of("UnitOption")),
                ("desiredState", state()),
                ("currentState", state()),
                ("machineID", json!({ "type": "string", "required": true })),
            ],
        ),
        page("UnitPage", "units", "Unit"),
        object(
            "UnitState",
            strings(&[
                "name",
                "hash",
                "machineID",
                "systemdLoadState",
                "systemdActiveState",
                "systemdSubState",
            ]),
        ),
        page("UnitStatePage", "states", "UnitState"),
        object("MetadataPatch", strings(&["op", "path", "value"])),
    ];
    Value::Object(shapes.into_iter().collect())
}

fn string() -> Value {
    json!({ "type": "string" })
}

fn strings<'a>(names: &[&'a str]) -> Vec<(&'a str, Value)> {
    names.iter().map(|name| (*name, string())).collect()
}

fn list_of(shape: &str) -> Value {
    json!({ "type": "array", "items": { "$ref": shape } })
}

fn object(id: &str, properties: Vec<(&str, Value)>) -> (String, Value) {
    let properties: Map<String, Value> =
        properties.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect();
    (id.to_owned(), json!({ "id": id, "type": "object", "properties": properties }))
}

fn page(id: &str, items: &str, shape: &str) -> (String, Value) {
    object(id, vec![(items, list_of(shape)), ("nextPageToken", string())])
}

fn resources() -> Value {
    let page = json!({ "type": "string", "location": "query" });
    json!({
        "Machines": { "methods": {
            "List": listing("fleet.Machine.List", "Retrieve a page of Machine objects.", "machines",
                            "MachinePage", json!({ "nextPageToken": page })),
            "Patch": {
                "id": "fleet.Machine.Patch",
                "description": "Change metadata of machines.",
                "httpMethod": "PATCH",
                "path": "machines",
                "request": list_of("MetadataPatch"),
            },
        } },
        "Units": { "methods": {
            "List": listing("fleet.Unit.List", "Retrieve a page of Unit objects.", "units",
                            "UnitPage", json!({ "nextPageToken": page })),
            "Get": of_unit("fleet.Unit.Get", "Retrieve a single Unit object.", "GET", ("response", "Unit")),
            "Delete": of_unit("fleet.Unit.Delete", "Delete the referenced Unit object.", "DELETE", ("", "")),
            "Set": of_unit("fleet.Unit.Set", "Create or update a Unit.", "PUT", ("request", "Unit")),
        } },
        "UnitState": { "methods": {
            "List": listing("fleet.UnitState.List", "Retrieve a page of UnitState objects.", "state",
                            "UnitStatePage",
                            json!({ "nextPageToken": page, "unitName": page, "machineID": page })),
        } },
    })
}

fn listing(id: &str, description: &str, path: &str, shape: &str, parameters: Value) -> Value {
    json!({
        "id": id,
        "description": description,
        "httpMethod": "GET",
        "path": path,
        "parameters": parameters,
        "response": { "$ref": shape },
    })
}

/// `body`: `request` or `response`, and its shape; nothing when there is none.
fn of_unit(id: &str, description: &str, method: &str, body: (&str, &str)) -> Value {
    let mut it = json!({
        "id": id,
        "description": description,
        "httpMethod": method,
        "path": "units/{unitName}",
        "parameters": { "unitName": { "type": "string", "location": "path", "required": true } },
        "parameterOrder": ["unitName"],
    });
    if !body.0.is_empty() {
        it[body.0] = json!({ "$ref": body.1 });
    }
    it
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` of a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| match value.as_str() {
                Some(shape) if key == "$ref" => found.push(shape.to_owned()),
                _ => references(value, found),
            }),
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_shape_that_is_named_is_described() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() >= 10, "{found:?}");
        for shape in found {
            assert_eq!(document["schemas"][&shape]["id"], shape);
        }
        assert_eq!(document["resources"]["Units"]["methods"]["Set"]["request"]["$ref"], "Unit");
        assert_eq!(document["resources"]["Units"]["methods"]["Delete"].get("response"), None);
    }
}
