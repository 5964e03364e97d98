//! `docker build`: the context sent, the engine's words printed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read};
use std::path::Path;

use clap::Arg;
use engine_image::archive::{Entry, Kind, Writer};
use quiet_stdout::put;
use serde_json::{Value, json};

use crate::config::pairs;
use crate::context::Folder;
use crate::flags::{Options, flag, list, one};
use crate::http::{Body, Client, Failure, escape};
use crate::streams;

const BUFFER: usize = 128 * 1024;

pub(crate) fn flags() -> Vec<Arg> {
    vec![
        list("add-host", None, "Add a custom host-to-IP mapping (host:ip)"),
        list("build-arg", None, "Set build-time variables"),
        list("cache-from", None, "Images to consider as cache sources"),
        one("file", Some('f'), "Name of the Dockerfile (Default is 'PATH/Dockerfile')"),
        flag("force-rm", None, "Always remove intermediate containers"),
        list("label", None, "Set metadata for an image"),
        one("network", None, "Set the networking mode for the RUN instructions during build"),
        flag("no-cache", None, "Do not use cache when building the image"),
        one("platform", None, "Set platform if server is multi-platform capable"),
        flag("pull", None, "Always attempt to pull a newer version of the image"),
        flag("quiet", Some('q'), "Suppress the build output and print image ID on success"),
        flag("rm", None, "Remove intermediate containers after a successful build").default_value("true"),
        list("tag", Some('t'), "Name and optionally a tag in the 'name:tag' format"),
        one("target", None, "Set the target build stage to build."),
    ]
}

/// What is sent as the context.
enum Source {
    Folder(Folder),
    Stdin,
    /// The engine fetches it.
    Url,
}

pub(crate) fn build(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let context = options.arg(0);
    let mut query = query(options)?;
    let source = match context.as_str() {
        "-" => Source::Stdin,
        url if url.starts_with("http://") || url.starts_with("https://") => {
            query.push(("remote".into(), url.to_owned()));
            Source::Url
        }
        path => {
            let dockerfile = dockerfile_in(Path::new(path), &options.text("file"))?;
            let folder = Folder::open(Path::new(path), &dockerfile)?;
            query.push(("dockerfile".into(), dockerfile));
            Source::Folder(folder)
        }
    };
    let pairs: Vec<String> = query.iter().map(|(k, v)| format!("{k}={}", escape(v))).collect();
    let path = format!("/build?{}", pairs.join("&"));
    let quiet = options.is_set("quiet")?;
    let answer = match source {
        Source::Url => client.send("POST", &path, Body::None)?,
        Source::Stdin => client.send("POST", &path, Body::Stream(&mut Told::new(stdin_context()?, quiet)))?,
        Source::Folder(folder) => send_folder(client, &path, &folder, quiet)?,
    };
    streams::progress(answer, streams::Shown::Out)?;
    Ok(0)
}

/// A context that says how large it was once it is sent.
struct Told<R> {
    context: R,
    bytes: u64,
    quiet: bool,
}

impl<R> Told<R> {
    fn new(context: R, quiet: bool) -> Told<R> {
        Told { context, bytes: 0, quiet }
    }
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.context.read(buffer)?;
        self.bytes += n as u64;
        if n == 0 && !std::mem::replace(&mut self.quiet, true) {
            put!("Sending build context to Docker daemon  {}\r\r\n", engine_api::size::human(self.bytes));
        }
        Ok(n)
    }
}

/// Stdin as a context: a tar as it is, and anything else as the Dockerfile of one.
fn stdin_context() -> Result<Box<dyn Read>, Failure> {
    const HEAD: u64 = 512;
    let mut head = Vec::new();
    io::stdin().take(HEAD).read_to_end(&mut head)?;
    let is_packed = [&[0x1f, 0x8b][..], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z'], &[0x28, 0xb5, 0x2f, 0xfd]]
        .iter()
        .any(|magic| head.starts_with(magic));
    if is_packed || head.get(257..262) == Some(b"ustar") {
        return Ok(Box::new(io::Cursor::new(head).chain(io::stdin())));
    }
    io::stdin().read_to_end(&mut head)?;
    let mut entry = Entry::new(b"Dockerfile".to_vec(), Kind::File, 0o600);
    entry.size = head.len() as u64;
    let mut tar = Writer::new(Vec::new());
    tar.entry(&entry)?;
    tar.content(&mut head.as_slice())?;
    Ok(Box::new(io::Cursor::new(tar.finish()?)))
}

/// Packs on one thread and sends from another, so that no context is ever whole in memory.
fn send_folder(
    client: &Client,
    path: &str,
    folder: &Folder,
    quiet: bool,
) -> Result<crate::http::Answer, Failure> {
    let (reader, writer) = io::pipe()?;
    let mut reader = Told::new(reader, quiet);
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
fn dockerfile_in(context: &Path, file: &str) -> Result<String, Failure> {
    if file.is_empty() {
        return Ok("Dockerfile".into());
    }
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

fn query(options: &Options<'_>) -> Result<Vec<(String, String)>, Failure> {
    let mut query: Vec<(String, String)> = Vec::new();
    let mut put = |key: &str, value: String| query.push((key.to_owned(), value));
    for tag in options.many("tag") {
        put("t", tag);
    }
    for host in options.many("add-host") {
        put("extrahosts", host);
    }
    let switches =
        [("rm", "rm"), ("no-cache", "nocache"), ("pull", "pull"), ("force-rm", "forcerm"), ("quiet", "q")];
    for (flag, key) in switches {
        if options.is_set(flag)? {
            put(key, "1".into());
        }
    }
    for (option, key) in [("target", "target"), ("network", "networkmode"), ("platform", "platform")] {
        if options.is_given(option) {
            put(key, options.text(option));
        }
    }
    // Docker's engine removes unless it is told not to.
    if !options.is_set("rm")? {
        put("rm", "0".into());
    }
    put("buildargs", json!(build_args(&options.many("build-arg"))).to_string());
    put("labels", json!(pairs(&options.many("label"))).to_string());
    let sources = options.many("cache-from");
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
        let command = clap::Command::new("build").args(flags()).arg(Arg::new("args").num_args(0..));
        let matches = command.try_get_matches_from(words).unwrap();
        let query = query(&Options::new(&matches, &[])).unwrap();
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
        assert_eq!(dockerfile_in(&context, &file("ctx/D")).unwrap(), "D");
        let e = dockerfile_in(&context, &file("out")).unwrap_err().to_string();
        assert!(e.contains("must be within the build context"), "{e}");
    }
}
