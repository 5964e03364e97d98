//! inspect, and what is done with networks and volumes.

use clap::Arg;
use quiet_stdout::say;
use serde_json::{Value, json};

use crate::config::pairs;
use crate::flags::{Options, flag, list, one};
use crate::format;
use crate::http::{Body, Client, Failure, escape};
use crate::life::each;

/// What `inspect` knows, in the order it looks.
const KINDS: [(&str, &str, &str); 4] = [
    ("container", "/containers/", "/json"),
    ("image", "/images/", "/json"),
    ("network", "/networks/", ""),
    ("volume", "/volumes/", ""),
];

pub(crate) fn inspect(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let kind = options.text("type");
    let kinds: Vec<_> = KINDS.iter().filter(|(name, ..)| kind.is_empty() || kind == *name).collect();
    if kinds.is_empty() {
        return Err(Failure::Usage(format!(
            "unknown type: \"{kind}\": must be one of \"container\", \"image\", \"network\", \"volume\""
        )));
    }
    let size = if options.is_set("size")? { "?size=1" } else { "" };
    look(options, |name| {
        for (kind, before, after) in &kinds {
            let size = if *kind == "container" { size } else { "" };
            match client.json("GET", &format!("{before}{}{after}{size}", escape(name)), Body::None) {
                Err(Failure::Refused { status: 404, .. }) if kinds.len() > 1 => {}
                answer => return answer,
            }
        }
        Err(Failure::Usage(format!("error: no such object: {name}")))
    })
}

/// Prints what was found of the things named, then what was not.
fn look(options: &Options<'_>, find: impl Fn(&str) -> Result<Value, Failure>) -> Result<u8, Failure> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in options.args() {
        match find(&name) {
            Ok(object) => found.push(object),
            Err(Failure::NoEngine(socket)) => return Err(Failure::NoEngine(socket)),
            Err(failure) => missing.push(failure),
        }
    }
    format::objects(&found, &options.text("format"))?;
    if found.is_empty() && !options.text("format").is_empty() {
        // The stock client ends its empty list, too.
        say!();
    }
    missing.iter().for_each(|failure| eprintln!("{failure}"));
    Ok(u8::from(!missing.is_empty()))
}

pub(crate) fn network_inspect(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    look(options, |name| client.json("GET", &format!("/networks/{}", escape(name)), Body::None))
}

pub(crate) fn volume_inspect(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    look(options, |name| client.json("GET", &format!("/volumes/{}", escape(name)), Body::None))
}

pub(crate) fn network_flags() -> Vec<Arg> {
    vec![
        flag("attachable", None, "Enable manual container attachment"),
        list("aux-address", None, "Auxiliary IPv4 addresses used by Network driver"),
        one("driver", Some('d'), "Driver to manage the Network").default_value("bridge"),
        one("gateway", None, "IPv4 Gateway for the subnet"),
        flag("internal", None, "Restrict external access to the network"),
        one("ipam-driver", None, "IP Address Management Driver").default_value("default"),
        one("ip-range", None, "Allocate container ip from a sub-range"),
        flag("ipv6", None, "Enable IPv6 networking"),
        list("label", None, "Set metadata on a network"),
        list("opt", Some('o'), "Set driver specific options"),
        one("subnet", None, "Subnet in CIDR format that represents a network segment"),
    ]
}

pub(crate) fn network_create(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let mut pool = json!({});
    let auxiliary = pairs(&options.many("aux-address"));
    for (name, key) in [("subnet", "Subnet"), ("ip-range", "IPRange"), ("gateway", "Gateway")] {
        if options.is_given(name) {
            pool[key] = options.text(name).into();
        }
    }
    if !auxiliary.is_empty() {
        pool["AuxiliaryAddresses"] = json!(auxiliary);
    }
    let has_pool = pool.as_object().is_some_and(|pool| !pool.is_empty());
    if has_pool && !options.is_given("subnet") {
        return Err(Failure::Usage("every ip-range or gateway must have a corresponding subnet".into()));
    }
    let body = json!({
        "Name": options.arg(0), "CheckDuplicate": true, "Driver": options.text("driver"),
        "Internal": options.is_set("internal")?, "Attachable": options.is_set("attachable")?,
        "EnableIPv6": options.is_set("ipv6")?,
        "IPAM": { "Driver": options.text("ipam-driver"), "Options": {}, "Config": if has_pool { vec![pool] } else { vec![] } },
        "Options": pairs(&options.many("opt")), "Labels": pairs(&options.many("label")),
    });
    let made = client.json("POST", "/networks/create", Body::Json(&body))?;
    if let Some(warning) = made["Warning"].as_str().filter(|warning| !warning.is_empty()) {
        eprintln!("WARNING: {warning}");
    }
    say!("{}", made["Id"].as_str().unwrap_or_default());
    Ok(0)
}

pub(crate) fn network_connect(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let ip = options.text("ip");
    let body = json!({
        "Container": options.arg(1),
        "EndpointConfig": {
            "IPAMConfig": if ip.is_empty() { Value::Null } else { json!({ "IPv4Address": ip }) },
            "Aliases": options.many("alias"), "Links": options.many("link"),
        },
    });
    client.send("POST", &format!("/networks/{}/connect", escape(&options.arg(0))), Body::Json(&body))?;
    Ok(0)
}

pub(crate) fn network_disconnect(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let body = json!({ "Container": options.arg(1), "Force": options.is_set("force")? });
    client.send("POST", &format!("/networks/{}/disconnect", escape(&options.arg(0))), Body::Json(&body))?;
    Ok(0)
}

pub(crate) fn network_rm(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let force = options.is_set("force")?;
    Ok(each(options, |name| {
        match client.send("DELETE", &format!("/networks/{}", escape(name)), Body::None) {
            Err(Failure::Refused { status: 404, .. }) if force => Ok(()),
            done => done.map(|_| say!("{name}")),
        }
    }))
}

pub(crate) fn volume_create(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let name = if options.is_given("name") { options.text("name") } else { options.arg(0) };
    let body = json!({
        "Name": name, "Driver": options.text("driver"), "DriverOpts": pairs(&options.many("opt")),
        "Labels": pairs(&options.many("label")),
    });
    let made = client.json("POST", "/volumes/create", Body::Json(&body))?;
    say!("{}", made["Name"].as_str().unwrap_or_default());
    Ok(0)
}

pub(crate) fn volume_rm(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let force = options.is_set("force")?;
    Ok(each(options, |name| {
        client.send("DELETE", &format!("/volumes/{}?force={force}", escape(name)), Body::None)?;
        say!("{name}");
        Ok(())
    }))
}
