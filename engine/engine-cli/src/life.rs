//! Verbs that change how containers live: kill, pause, rename, restart, rm, stop,
//! unpause, update, wait.

use quiet_stdout::say;

use crate::config;
use crate::flags::Options;
use crate::http::{Body, Client, Failure, escape};
use crate::words;

/// Does something to each thing named; goes on past failures.
pub(crate) fn each(options: &Options<'_>, mut act: impl FnMut(&str) -> Result<(), Failure>) -> u8 {
    let mut code = 0;
    for name in options.args() {
        if let Err(failure) = act(&name) {
            eprintln!("{failure}");
            code = 1;
        }
    }
    code
}

/// Sends a request for each and prints its name.
fn on_each(client: &Client, options: &Options<'_>, method: &str, path: impl Fn(&str) -> String) -> u8 {
    each(options, |name| {
        client.send(method, &path(&escape(name)), Body::None)?;
        say!("{name}");
        Ok(())
    })
}

/// `?t=…&signal=…`.
fn patience(options: &Options<'_>) -> Result<String, Failure> {
    let mut query = Vec::new();
    if let Some(seconds) = options.number("timeout")? {
        query.push(format!("t={seconds}"));
    }
    if options.is_given("signal") {
        query.push(format!("signal={}", escape(&options.text("signal"))));
    }
    Ok(if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) })
}

pub(crate) fn stop(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let query = patience(options)?;
    Ok(on_each(client, options, "POST", |name| format!("/containers/{name}/stop{query}")))
}

pub(crate) fn restart(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let query = patience(options)?;
    Ok(on_each(client, options, "POST", |name| format!("/containers/{name}/restart{query}")))
}

pub(crate) fn kill(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let signal = escape(&options.text("signal"));
    let query = if signal.is_empty() { signal } else { format!("?signal={signal}") };
    Ok(on_each(client, options, "POST", |name| format!("/containers/{name}/kill{query}")))
}

pub(crate) fn pause(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    Ok(on_each(client, options, "POST", |name| format!("/containers/{name}/pause")))
}

pub(crate) fn unpause(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    Ok(on_each(client, options, "POST", |name| format!("/containers/{name}/unpause")))
}

pub(crate) fn rm(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (force, volumes, link) =
        (options.is_set("force")?, options.is_set("volumes")?, options.is_set("link")?);
    Ok(each(options, |name| {
        let path =
            format!("/containers/{}?force={force}&v={volumes}&link={link}", escape(name.trim_matches('/')));
        match client.send("DELETE", &path, Body::None) {
            // What is not there need not be removed by force.
            Err(Failure::Refused { status: 404, text }) if force => {
                eprintln!("Error response from daemon: {text}");
                Ok(())
            }
            done => done.map(|_| say!("{name}")),
        }
    }))
}

pub(crate) fn rename(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (old, new) = (options.arg(0), options.arg(1));
    let path = format!("/containers/{}/rename?name={}", escape(&old), escape(&new));
    if let Err(failure) = client.send("POST", &path, Body::None) {
        eprintln!("{failure}");
        return Err(Failure::Usage(format!("Error: failed to rename container named {old}")));
    }
    Ok(0)
}

pub(crate) fn update(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let Some(body) = config::update(options)? else {
        return Err(Failure::Usage("you must provide one or more flags when using this command".into()));
    };
    let mut warnings = Vec::new();
    let code = each(options, |name| {
        let done = client.json("POST", &format!("/containers/{}/update", escape(name)), Body::Json(&body))?;
        warnings.extend(done["Warnings"].as_array().into_iter().flatten().map(words::text));
        say!("{name}");
        Ok(())
    });
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    Ok(code)
}

pub(crate) fn wait(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    Ok(each(options, |name| {
        let done = client.json("POST", &format!("/containers/{}/wait", escape(name)), Body::None)?;
        say!("{}", done["StatusCode"]);
        Ok(())
    }))
}
