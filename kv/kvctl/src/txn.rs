//! txn: conditions, then what to do if they hold, then what if not, from standard input; blank lines between.

use std::{io::Read as _, process::ExitCode};

use kv_api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
    response_op::Response,
};
use kv_client::Txn;
use serde_json::{Value, json};

use crate::{
    Failure,
    flags::Session,
    keys::{del_json, print_del, print_put, print_range, put_json, range_json},
    output::{Output, header_json, object},
};

pub(crate) async fn txn(session: &Session, out: &Output) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let mut parts = vec![Vec::new()];
    for line in text.lines().map(str::trim) {
        match line {
            "" => parts.push(Vec::new()),
            line => parts.last_mut().expect("never empty").push(line),
        }
    }
    let part = |at: usize| parts.get(at).cloned().unwrap_or_default();
    let when = part(0).into_iter().map(compare).collect::<Result<Vec<_>, _>>()?;
    let then = part(1).into_iter().map(operation).collect::<Result<Vec<_>, _>>()?;
    let otherwise = part(2).into_iter().map(operation).collect::<Result<Vec<_>, _>>()?;
    let reply = session.client.txn(Txn::new().when(when).then(then).or_else(otherwise)).await?;
    let responses = reply.responses.into_iter().filter_map(|op| op.response);
    if out.is_json() {
        let responses: Vec<Value> = responses
            .map(|response| match response {
                Response::ResponsePut(reply) => json!({"Response": {"response_put": put_json(&reply)}}),
                Response::ResponseRange(reply) => json!({"Response": {"response_range": range_json(&reply)}}),
                Response::ResponseDeleteRange(reply) => {
                    json!({"Response": {"response_delete_range": del_json(&reply)}})
                }
                Response::ResponseTxn(_) => Value::Null,
            })
            .collect();
        let fields = [
            ("header", header_json(&reply.header)),
            ("succeeded", json!(reply.succeeded)),
            ("responses", json!(responses)),
        ];
        say!("{}", object(&fields));
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}", if reply.succeeded { "SUCCESS" } else { "FAILURE" });
    for response in responses {
        say!();
        match response {
            Response::ResponsePut(reply) => print_put(out, &reply),
            Response::ResponseRange(reply) => print_range(out, &reply, false),
            Response::ResponseDeleteRange(reply) => print_del(out, &reply),
            Response::ResponseTxn(_) => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `value("key") = "value"`, `mod("key") > "0"` and so on.
fn compare(line: &str) -> Result<Compare, Failure> {
    let bad = || -> Failure { format!("malformed comparison: {line}").into() };
    let (target, rest) = line.split_once('(').ok_or_else(bad)?;
    let (key, rest) = rest.split_once(')').ok_or_else(bad)?;
    let mut words = rest.trim().splitn(2, char::is_whitespace);
    let (operator, value) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?);
    let result = match operator {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        _ => return Err(bad()),
    };
    let value = unquote(value.trim());
    let number = || value.parse::<i64>().map_err(|_| bad());
    let (target, to) = match target.trim() {
        "value" | "val" => (CompareTarget::Value, TargetUnion::Value(value.clone().into())),
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "lease" => {
            (CompareTarget::Lease, TargetUnion::Lease(i64::from_str_radix(&value, 16).map_err(|_| bad())?))
        }
        _ => return Err(bad()),
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: unquote(key.trim()).into(),
        target_union: Some(to),
        ..Default::default()
    })
}

/// `put key value`, `get key [end]`, `del key [end]`.
fn operation(line: &str) -> Result<RequestOp, Failure> {
    let bad = || -> Failure { format!("invalid txn command: {line}").into() };
    let words: Vec<String> = words(line);
    let mut words = words.into_iter();
    let (verb, key) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?);
    let next = words.next();
    let request = match verb.as_str() {
        "put" => {
            let value = next.ok_or_else(bad)?.into();
            Request::RequestPut(PutRequest { key: key.into(), value, ..Default::default() })
        }
        "get" => {
            let range_end = next.unwrap_or_default().into();
            Request::RequestRange(RangeRequest { key: key.into(), range_end, ..Default::default() })
        }
        "del" => {
            let range_end = next.unwrap_or_default().into();
            Request::RequestDeleteRange(DeleteRangeRequest { key: key.into(), range_end, prev_kv: false })
        }
        _ => return Err(bad()),
    };
    Ok(RequestOp { request: Some(request) })
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (quoted, any) = (!quoted, true),
            '\\' if quoted => word.extend(letters.next()),
            letter if letter.is_whitespace() && !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            letter => word.push(letter),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

fn unquote(text: &str) -> String {
    words(text).into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let read = compare("mod(\"a key\") > \"7\"").expect("good");
        assert_eq!(read.key, "a key");
        assert_eq!(read.target_union, Some(TargetUnion::ModRevision(7)));
        assert!(compare("mod(\"k\") ~ \"7\"").is_err());
        assert!(compare("size(\"k\") = \"7\"").is_err());
    }

    #[test]
    fn words_may_be_quoted() {
        assert_eq!(words(r#"put "a b" "say \"x\"" """#), ["put", "a b", "say \"x\"", ""]);
    }
}
