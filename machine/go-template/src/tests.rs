//! What templates in the wild ask for.

use serde_json::{Value, json};

use super::*;

fn fill(template: &str, value: &Value) -> String {
    Template::parse(template)
        .and_then(|template| template.fill(value, Missing::NoValue))
        .unwrap_or_else(|error| format!("error: {error}"))
}

#[test]
fn fields_functions_and_blocks_print_as_in_go() {
    let value = json!({
        "Name": "w1", "N": 3, "Driver": {"IPAddress": "127.0.0.1"}, "Empty": "", "On": true,
        "List": ["a", "b"], "None": null,
    });
    for (template, expected) in [
        ("{{.Name}}", "w1"),
        ("{{ .Driver.IPAddress }}:{{.N}}", "127.0.0.1:3"),
        ("{{.Nothing}} {{.None}}", "<no value> <nil>"),
        ("{{json .List}}", r#"["a","b"]"#),
        ("{{.Driver | json}}", r#"{"IPAddress":"127.0.0.1"}"#),
        ("{{prettyjson .Driver}}", "{\n    \"IPAddress\": \"127.0.0.1\"\n}"),
        ("{{if .On}}yes{{else}}no{{end}}{{if .Empty}}full{{end}}", "yes"),
        ("{{range .List}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{index .List 1}}{{index .Driver \"IPAddress\"}}", "b127.0.0.1"),
        ("{{if and .On (eq .Name \"w1\" \"w2\")}}both{{end}}", "both"),
        ("{{printf \"%s-%d%%\" .Name .N}} {{printf \"%q\" .Name}}", "w1-3% \"w1\""),
        ("a {{- /* quiet */ -}} b {{- .Name}}", "abw1"),
        ("{{.List}} {{.Driver}} {{len .List}}", "[a b] map[IPAddress:127.0.0.1] 2"),
        ("{{\"}}\"}}", "}}"),
    ] {
        assert_eq!(fill(template, &value), expected, "{template}");
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (template, part) in [
        ("{{.Name", "not closed"),
        ("{{upper .Name}}", "\"upper\" not defined"),
        ("{{if .Name}}", "{{end}}"),
        ("{{end}}", "without a beginning"),
        ("{{}}", "no value"),
        ("{{.Name.First}}", "field First in a string"),
        ("{{$x}}", "$x"),
        ("{{range .Name}}{{end}}", "iterate"),
    ] {
        let said = fill(template, &json!({"Name": "w1"}));
        assert!(said.starts_with("error") && said.contains(part), "{template}: {said}");
    }
    let strict = Template::parse("{{.Nope}}").expect("it parses").fill(&json!({}), Missing::Error);
    assert!(strict.expect_err("no such field").to_string().contains("Nope"));
}
