//! `docker build`: the context sent, the engine's words printed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read};
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::context::Folder;
use crate::http::{Body, Client, Failure, escape};
use crate::streams;

const BUFFER: usize = 128 * 1024;

pub(crate) fn command() -> Command {
    let value = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let list = |name: &'static str, help: &'static str| value(name, help).action(ArgAction::Append);
    let flag = |name: &'static str, help: &'static str| value(name, help).action(ArgAction::SetTrue);
    Command::new("build")
        .about("Build an image from a Dockerfile")
        .arg(list("tag", "Name and optionally a tag in the name:tag format").short('t'))
        .arg(value("file", "Name of the Dockerfile (default is PATH/Dockerfile)").short('f'))
        .arg(list("build-arg", "Set build-time variables"))
        .arg(list("label", "Set metadata for an image"))
        .arg(list("cache-from", "Images to consider as cache sources"))
        .arg(list("add-host", "Add a custom host-to-IP mapping (host:ip)"))
        .arg(value("target", "Set the target build stage to build"))
        .arg(value("network", "Set the networking mode for the RUN instructions"))
        .arg(value("platform", "Set platform if server is multi-platform capable"))
        .arg(flag("no-cache", "Do not use cache when building the image"))
        .arg(flag("pull", "Always attempt to pull a newer version of the image"))
        .arg(flag("force-rm", "Always remove intermediate containers"))
        .arg(flag("quiet", "Suppress the build output and print image ID on success").short('q'))
        .arg(Arg::new("context").required(true).value_name("PATH | URL | -"))
}

/// What is sent as the context.
enum Source {
    Folder(Folder),
    Stdin,
    /// The engine fetches it.
    Url,
}

pub(crate) fn build(client: &Client, options: &ArgMatches) -> Result<(), Failure> {
    let context = options.get_one::<String>("context").expect("required").as_str();
    let mut query = query(options)?;
    let source = match context {
        "-" => Source::Stdin,
        url if url.starts_with("http://") || url.starts_with("https://") => {
            query.push(("remote".into(), url.to_owned()));
            Source::Url
        }
        path => {
            let dockerfile = dockerfile_in(Path::new(path), options.get_one::<String>("file"))?;
            let folder = Folder::open(Path::new(path), &dockerfile)?;
            query.push(("dockerfile".into(), dockerfile));
            Source::Folder(folder)
        }
    };
    let pairs: Vec<String> = query.iter().map(|(k, v)| format!("{k}={}", escape(v))).collect();
    let path = format!("/build?{}", pairs.join("&"));
    let answer = match source {
        Source::Url => client.send("POST", &path, Body::None)?,
        Source::Stdin => client.send("POST", &path, Body::Stream(&mut io::stdin().lock()))?,
        Source::Folder(folder) => send_folder(client, &path, &folder)?,
    };
    streams::progress(answer)
}

/// Packs on one thread and sends from another, so that no context is ever whole in memory.
fn send_folder(client: &Client, path: &str, folder: &Folder) -> Result<crate::http::Answer, Failure> {
    let (mut reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let packer = scope.spawn(move || folder.pack(BufWriter::with_capacity(BUFFER, writer)));
        let sent = client.send("POST", path, Body::Stream(&mut reader as &mut dyn Read));
        drop(reader);
        let packed = packer.join().unwrap_or_else(|_| Err(io::Error::other("packing panicked")));
        // An engine that refuses stops reading, which is no fault of the context.
        match (sent, packed) {
            (Ok(_), Err(error)) => Err(Failure::Usage(format!("error sending the build context: {error}"))),
            (sent, _) => sent,
        }
    })
}

/// `-f` is relative to where the client runs, and must lie in the context.
fn dockerfile_in(context: &Path, file: Option<&String>) -> Result<String, Failure> {
    let Some(file) = file else { return Ok("Dockerfile".into()) };
    let real = |path: &Path| {
        path.canonicalize().map_err(|error| {
            Failure::Usage(format!("unable to prepare context: {}: {error}", path.display()))
        })
    };
    let (root, own) = (real(context)?, real(Path::new(file))?);
    match own.strip_prefix(&root) {
        Ok(inside) => Ok(inside.to_string_lossy().into_owned()),
        Err(_) => Err(Failure::Usage(format!(
            "the Dockerfile ({file}) must be within the build context: move it there, or send the context by stdin"
        ))),
    }
}

fn many(options: &ArgMatches, name: &str) -> Vec<String> {
    options.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

fn query(options: &ArgMatches) -> Result<Vec<(String, String)>, Failure> {
    let mut query: Vec<(String, String)> = vec![("rm".into(), "1".into())];
    let mut put = |key: &str, value: String| query.push((key.to_owned(), value));
    for tag in many(options, "tag") {
        put("t", tag);
    }
    for host in many(options, "add-host") {
        put("extrahosts", host);
    }
    for (flag, key) in [("no-cache", "nocache"), ("pull", "pull"), ("force-rm", "forcerm"), ("quiet", "q")] {
        if options.get_flag(flag) {
            put(key, "1".into());
        }
    }
    for (option, key) in [("target", "target"), ("network", "networkmode"), ("platform", "platform")] {
        if let Some(value) = options.get_one::<String>(option) {
            put(key, value.clone());
        }
    }
    put("buildargs", json!(build_args(&many(options, "build-arg"))).to_string());
    let labels: BTreeMap<String, String> = many(options, "label")
        .iter()
        .map(|l| l.split_once('=').map_or((l.clone(), String::new()), |(k, v)| (k.to_owned(), v.to_owned())))
        .collect();
    put("labels", json!(labels).to_string());
    let sources = many(options, "cache-from");
    if !sources.is_empty() {
        put("cachefrom", json!(sources).to_string());
    }
    Ok(query)
}

/// `KEY` alone takes its value from this process; the engine knows what to do when there is none.
fn build_args(args: &[String]) -> BTreeMap<String, Value> {
    let pair = |arg: &String| match arg.split_once('=') {
        Some((key, value)) => (key.to_owned(), json!(value)),
        None => (arg.clone(), std::env::var(arg).map_or(Value::Null, Value::from)),
    };
    args.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_query() {
        let words =
            ["build", "-t", "a:1", "-t", "b", "--build-arg", "X=1", "--no-cache", "--target", "s", "."];
        let options = command().try_get_matches_from(words).unwrap();
        let query = query(&options).unwrap();
        let has = |key: &str, value: &str| query.iter().any(|(k, v)| k == key && v == value);
        assert!(has("t", "a:1") && has("t", "b") && has("nocache", "1") && has("target", "s"));
        assert!(
            has("buildargs", r#"{"X":"1"}"#) && has("labels", "{}") && !query.iter().any(|(k, _)| k == "q")
        );
    }

    #[test]
    fn the_dockerfile_is_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ctx")).unwrap();
        for name in ["ctx/D", "out"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let file = |name: &str| dir.path().join(name).display().to_string();
        let context = dir.path().join("ctx");
        assert_eq!(dockerfile_in(&context, Some(&file("ctx/D"))).unwrap(), "D");
        let e = dockerfile_in(&context, Some(&file("out"))).unwrap_err().to_string();
        assert!(e.contains("must be within the build context"), "{e}");
    }
}
