//! What a cut or damaged text does: an error with a place, never a panic.

use hostos_config::parse;
use proptest::prelude::*;

const CONFIG: &str = r#"{
  "ignition": {"version": "3.5.0", "timeouts": {"httpTotal": 30}},
  "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": ["ssh-ed25519 AAAA \u00e4\ud83d\ude00"]}]},
  "storage": {
    "files": [{"path": "/etc/a", "mode": 420, "contents": {"source": "data:;base64,aGk="}, "user": {"id": -0}}],
    "disks": [{"device": "/dev/vda", "wipeTable": true, "partitions": [{"number": 1, "sizeMiB": null}]}]
  },
  "systemd": {"units": [{"name": "a@b.service", "contents": "[Unit]\nA=b\\\n c\n", "enabled": false}]}
}"#;

#[test]
fn a_text_cut_at_any_byte_is_refused_with_a_place() {
    parse(CONFIG.as_bytes(), "whole").expect("the whole text is fine");
    for end in 0..CONFIG.len() {
        let rejected = parse(&CONFIG.as_bytes()[..end], "cut").expect_err("a part is not");
        let first = rejected.first().expect("it says why");
        assert!(first.line > 0 && first.column > 0, "cut at {end}: {first}");
        assert!(first.line as usize <= CONFIG.lines().count());
    }
}

#[test]
fn a_text_with_any_byte_changed_does_not_panic() {
    for at in 0..CONFIG.len() {
        for byte in [0, b'"', b'\\', b'{', b']', b',', b':', b'9', b'n', 0xff] {
            let mut text = CONFIG.as_bytes().to_vec();
            text[at] = byte;
            let _ = parse(&text, "changed");
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    let text = "[".repeat(100_000);
    let rejected = parse(text.as_bytes(), "deep").expect_err("too deep");
    assert!(rejected.to_string().contains("nested deeper"), "{rejected}");
}

#[test]
fn a_place_counts_lines_and_characters() {
    let text = "{\"ignition\": {\"version\": \"3.3.0\"},\n \"storage\": {\"files\": [\n  {\"path\": \"\u{e4}\", \"mode\": \"0644\"}]}}";
    let rejected = parse(text.as_bytes(), "places.ign").expect_err("a mode is no string");
    let said = rejected.first().expect("an error").to_string();
    assert_eq!(said, "places.ign:3:25: expected an integer, found a string (at $.storage.files.0.mode)");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, "bytes");
    }

    #[test]
    fn any_json_like_text_is_read_without_a_panic(
        text in r#"([{}\[\],:"\\ ]|ignition|version|3\.3\.0|storage|files|null|true|-?[0-9.eE]{1,4}|\\u[0-9a-f]{4}){0,40}"#
    ) {
        let _ = parse(text.as_bytes(), "text");
    }

    #[test]
    fn any_strings_in_a_config_are_read_without_a_panic(path in ".{0,20}", source in ".{0,30}", unit in ".{0,30}") {
        let config = serde_json::json!({
            "ignition": {"version": "3.5.0"},
            "storage": {
                "files": [{"path": path, "contents": {"source": source, "verification": {"hash": unit}}}],
                "links": [{"path": unit, "target": path, "hard": true}],
            },
            "systemd": {"units": [{"name": path, "contents": unit}]},
        });
        let _ = parse(config.to_string().as_bytes(), "strings");
    }
}
