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
        "Ports": {"80/tcp": [{"HostPort": "8080"}]},
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
        ("{{range $k, $v := .Driver}}{{$k}}={{$v}};{{end}}", "IPAddress=127.0.0.1;"),
        ("{{range $i, $e := .List}}{{if $i}},{{end}}{{$e}}{{end}}", "a,b"),
        ("{{range .List}}{{$.Name}}{{.}} {{end}}", "w1a w1b "),
        ("{{with .Driver}}{{.IPAddress}}{{else}}none{{end}}{{with .None}}x{{else}}y{{end}}", "127.0.0.1y"),
        ("{{if .Empty}}a{{else if eq .N 3}}b{{else}}c{{end}}", "b"),
        ("{{$x := 1}}{{if .On}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .List}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{end}}", "b"),
        ("{{(index .Ports \"80/tcp\" 0).HostPort}}", "8080"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        (
            "{{join .List \", \"}} {{upper .Name}} {{title \"two words\"}} {{split \"a/b\" \"/\"}}",
            "a, b W1 Two Words [a b]",
        ),
        ("{{slice .Name 0 1}}{{len (slice .List 1)}}{{lt .N 4}}{{ge .N 4}}", "w1truefalse"),
        ("{{print .N .N}} {{print .Name .Name}} {{println .Name .N}}", "3 3 w1w1 w1 3\n"),
        ("{{printf \"%-4s|%4s|%03d\" .Name .Name .N}}", "w1  |  w1|003"),
        ("{{pad .Name 1 2}}|{{truncate \"abc\" 2}}", " w1  |ab"),
    ] {
        assert_eq!(fill(template, &value), expected, "{template}");
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (template, part) in [
        ("{{.Name", "not closed"),
        ("{{shout .Name}}", "\"shout\" not defined"),
        ("{{if .Name}}", "{{end}}"),
        ("{{end}}", "without a beginning"),
        ("{{}}", "no value"),
        ("{{.Name.First}}", "field First in a string"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{$x = 1}}", "undefined variable"),
        ("{{break}}", "outside {{range}}"),
        ("{{.Name 1}}", "no method"),
        ("{{.Name = 1}}", "only a variable"),
        ("{{index .Nothing 0}}", "untyped nil"),
        ("{{lt 1 \"a\"}}", "incompatible types"),
        ("{{slice .Name 3}}", "out of range"),
        ("{{range .Name}}{{end}}", "iterate"),
    ] {
        let said = fill(template, &json!({"Name": "w1"}));
        assert!(said.starts_with("error") && said.contains(part), "{template}: {said}");
    }
    let strict = Template::parse("{{.Nope}}").expect("it parses").fill(&json!({}), Missing::Error);
    assert!(strict.expect_err("no such field").to_string().contains("Nope"));
}

#[test]
fn methods_are_maps_of_their_own() {
    let template = Template::parse("{{.Label \"a.b\"}}|{{.Label \"no\"}}|{{json .}}").expect("it parses");
    let filled = template.fill_with(&json!({"N": 1}), Missing::Error, &json!({"Label": {"a.b": "c"}}));
    assert_eq!(filled.as_deref(), Ok("c||{\"N\":1}"));
}
