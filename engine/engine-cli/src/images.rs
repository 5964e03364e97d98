//! Verbs that bring images in, send them out, name and remove them.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};

use quiet_stdout::say;
use serde_json::json;

use crate::auth;
use crate::flags::Options;
use crate::http::{Body, Client, Failure, escape, reason};
use crate::life::each;
use crate::streams::{Shown, check_name, progress, pull_shown, repository, tagged};

fn open(path: &str) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::Usage(format!("open {path}: {}", reason(&error))))
}

pub(crate) fn pull(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let name = options.arg(0);
    check_name(&name)?;
    let quiet = options.is_set("quiet")?;
    if tagged(&name) != name && !quiet {
        say!("Using default tag: latest");
    }
    let shown = if quiet { Shown::Nowhere } else { Shown::Out };
    pull_shown(client, &name, &options.text("platform"), shown)?;
    say!("{}", whole(&tagged(&name)));
    Ok(0)
}

/// With its registry.
fn whole(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

pub(crate) fn push(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let name = options.arg(0);
    let (repository, tag) = repository(&name);
    let quiet = options.is_set("quiet")?;
    if tagged(&name) != name && !quiet {
        say!("Using default tag: latest");
    }
    let path = format!("/images/{}/push?tag={}", escape(repository), escape(tag));
    // The engine wants the header, even if it says nothing.
    let header = match auth::header(&name)? {
        header if header.is_empty() => "X-Registry-Auth: e30=\r\n".to_owned(),
        header => header,
    };
    let shown = if quiet { Shown::Nowhere } else { Shown::Out };
    progress(client.send_with("POST", &path, &header, Body::None)?, shown)?;
    if quiet {
        say!("{}", whole(&tagged(&name)));
    }
    Ok(0)
}

pub(crate) fn load(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let input = options.text("input");
    let mut source: Box<dyn Read> =
        if input.is_empty() { Box::new(io::stdin()) } else { Box::new(open(&input)?) };
    let path = format!("/images/load?quiet={}", u8::from(options.is_set("quiet")?));
    progress(client.send("POST", &path, Body::Stream(&mut *source))?, Shown::Out)?;
    Ok(0)
}

/// Copies an answer to `--output`, or to stdout.
fn deliver(client: &Client, path: &str, output: &str) -> Result<u8, Failure> {
    let mut answer = client.send("GET", path, Body::None)?;
    if output.is_empty() {
        answer.each(&mut |piece| {
            quiet_stdout::write(piece);
            Ok(())
        })?;
        return Ok(0);
    }
    let failed = |error: io::Error| Failure::Usage(format!("could not write {output}: {}", reason(&error)));
    let mut file = File::create(output).map_err(failed)?;
    answer.each(&mut |piece| file.write_all(piece))?;
    file.sync_all().map_err(failed)?;
    Ok(0)
}

pub(crate) fn save(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let names: Vec<String> = options.args().iter().map(|name| format!("names={}", escape(name))).collect();
    deliver(client, &format!("/images/get?{}", names.join("&")), &options.text("output"))
}

pub(crate) fn export(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    deliver(client, &format!("/containers/{}/export", escape(&options.arg(0))), &options.text("output"))
}

/// `--change`, as it is sent.
fn changes(options: &Options<'_>) -> String {
    options.many("change").iter().map(|change| format!("&changes={}", escape(change))).collect()
}

/// Of an argument that may be missing.
fn named(name: &str) -> Result<(String, String), Failure> {
    if name.is_empty() {
        return Ok((String::new(), String::new()));
    }
    check_name(name)?;
    Ok(match repository(name) {
        (repository, "latest") if !name.ends_with(":latest") => (repository.to_owned(), String::new()),
        (repository, tag) => (repository.to_owned(), tag.to_owned()),
    })
}

pub(crate) fn import(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let source = options.arg(0);
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let (repository, tag) = named(&options.arg(1))?;
    let path = format!(
        "/images/create?fromSrc={}&repo={}&tag={}&message={}{}",
        if is_url { escape(&source) } else { "-".into() },
        escape(&repository),
        escape(&tag),
        escape(&options.text("message")),
        changes(options)
    );
    let answer = match source.as_str() {
        "-" => client.send("POST", &path, Body::Stream(&mut io::stdin())),
        _ if is_url => client.send("POST", &path, Body::None),
        file => client.send("POST", &path, Body::Stream(&mut open(file)?)),
    };
    progress(answer?, Shown::Out)?;
    Ok(0)
}

pub(crate) fn commit(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (repository, tag) = named(&options.arg(1))?;
    let path = format!(
        "/commit?container={}&repo={}&tag={}&author={}&comment={}&pause={}{}",
        escape(&options.arg(0)),
        escape(&repository),
        escape(&tag),
        escape(&options.text("author")),
        escape(&options.text("message")),
        u8::from(options.is_set("pause")?),
        changes(options)
    );
    let made = client.json("POST", &path, Body::Json(&json!({})))?;
    say!("{}", made["Id"].as_str().unwrap_or_default());
    Ok(0)
}

pub(crate) fn tag(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let target = options.arg(1);
    check_name(&options.arg(0))?;
    check_name(&target)?;
    if target.contains('@') {
        return Err(Failure::Usage("refusing to create a tag with a digest reference".into()));
    }
    let (repository, tag) = repository(&target);
    let path =
        format!("/images/{}/tag?repo={}&tag={}", escape(&options.arg(0)), escape(repository), escape(tag));
    client.send("POST", &path, Body::None)?;
    Ok(0)
}

pub(crate) fn rmi(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (force, keep) = (options.is_set("force")?, options.is_set("no-prune")?);
    Ok(each(options, |name| {
        let path = format!("/images/{}?force={force}&noprune={keep}", escape(name));
        let removed = client.json("DELETE", &path, Body::None)?;
        for one in removed.as_array().into_iter().flatten() {
            for key in ["Untagged", "Deleted"] {
                if let Some(what) = one[key].as_str() {
                    say!("{key}: {what}");
                }
            }
        }
        Ok(())
    }))
}

pub(crate) fn login(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (server, user) = (auth::server(&options.arg(0)), options.text("username"));
    let mut password = options.text("password");
    if options.is_set("password-stdin")? {
        if options.is_given("password") {
            return Err(Failure::Usage(
                "conflicting options: cannot specify both --password and --password-stdin".into(),
            ));
        }
        if user.is_empty() {
            return Err(Failure::Usage("the --password-stdin option requires --username to be set".into()));
        }
        password.clear();
        io::stdin().lock().read_line(&mut password)?;
        password.truncate(password.trim_end_matches(['\r', '\n']).len());
    } else if options.is_given("password") {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if user.is_empty() || password.is_empty() {
        let text = "username and password are required: give --username and --password-stdin";
        return Err(Failure::Usage(text.into()));
    }
    let body = json!({ "username": user, "password": password, "serveraddress": server });
    let answer = client.json("POST", "/auth", Body::Json(&body))?;
    let token = answer["IdentityToken"].as_str().unwrap_or_default();
    let kept = auth::keep(&server, &user, &password, token)?;
    eprintln!("\nWARNING! Your credentials are stored unencrypted in '{}'.", kept.display());
    say!("Login Succeeded");
    Ok(0)
}

pub(crate) fn logout(_: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let server = auth::server(&options.arg(0));
    if auth::forget(&server)? {
        say!("Removing login credentials for {server}");
    } else {
        say!("Not logged in to {server}");
    }
    Ok(0)
}
