//! Whole Dockerfiles, and the sentences for broken ones, as Docker 20.10 says them.

use super::*;

#[test]
fn stages_and_instructions() {
    let text = "ARG V=1\nFROM a:$V AS Base\nENV A=1 B=\"two words\"\nRUN [\"x\",\"y\"]\nFROM base\nCOPY --from=base /a /b\n";
    let dockerfile = Dockerfile::parse(text).expect("fine");
    assert_eq!(dockerfile.meta_args.len(), 1);
    assert_eq!((dockerfile.stages[0].name.as_str(), dockerfile.stages[0].from.as_str()), ("base", "a:$V"));
    assert_eq!(
        dockerfile.stages[0].commands[1].command,
        Command::Run { form: RunForm::Exec(vec!["x".into(), "y".into()]), buildkit_flag: None }
    );
    assert_eq!(dockerfile.stages[0].commands[0].text, "ENV A=1 B=\"two words\"");
    assert_eq!(
        (dockerfile.stage("BASE"), dockerfile.stage("1"), dockerfile.stage("2")),
        (Some(0), Some(1), None)
    );
}

#[test]
fn errors_are_dockers() {
    let cases = [
        ("FOO x", "dockerfile parse error line 1: unknown instruction: FOO"),
        ("FROM", "dockerfile parse error line 1: FROM requires either one or three arguments"),
        ("FROM a\nENV a", "failed to parse Dockerfile: ENV must have two arguments"),
        (
            "FROM a\nCOPY a",
            "dockerfile parse error line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("# c", "failed to parse Dockerfile: file with no instructions"),
        (
            "FROM a\nHEALTHCHECK x",
            "dockerfile parse error line 2: Unknown type \"X\" in HEALTHCHECK (try CMD)",
        ),
        (
            "FROM a AS 1",
            "dockerfile parse error line 1: invalid name for build stage: \"1\", name can't start with a number or contain symbols",
        ),
        ("ENV a=b\nFROM a", "no build stage in current context"),
        ("FROM a\nVOLUME []", "dockerfile parse error line 2: VOLUME requires at least one argument"),
        ("FROM a\nONBUILD FROM x", "dockerfile parse error line 2: FROM isn't allowed as an ONBUILD trigger"),
        (
            "FROM a\nONBUILD ONBUILD RUN x",
            "dockerfile parse error line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        ("FROM a\nUSER", "dockerfile parse error line 2: USER requires exactly one argument"),
        ("FROM a\nADD --foo=a b c", "dockerfile parse error line 2: Unknown flag: foo"),
        ("FROM a\nARG", "dockerfile parse error line 2: ARG requires at least one argument"),
        (
            "FROM a\nSHELL bad",
            "dockerfile parse error line 2: SHELL requires the arguments to be in JSON form",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(Dockerfile::parse(text).expect_err(text).to_string(), message);
    }
}
