//! Discovery URLs as commands use them: where a token is served, which addresses a list names.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use http::Method;
use kv_client::fetch::fetch;
use kv_discovery::Source;

use crate::commands::ssh::runtime;
use crate::context::Context;
use crate::failure::{Failure, chain};

/// Where the store's own service says that it listens.
pub(crate) const ADDRESS_FILE: &str = "discovery.address";
/// The workstation as a guest of QEMU's own network sees it.
const WORKSTATION: &str = "10.0.2.2";
const LIMIT: Duration = Duration::from_secs(10);

/// Understands a URL; `token://ID` is served by this store's own service.
pub(crate) fn source(context: &Context, url: &str) -> Result<Source, Failure> {
    let own = own_service(context);
    Source::parse(url, own.as_deref()).map_err(|error| {
        let hint = "use token://ID (see `rmachine discovery serve`), token://HOST:PORT/ID, file:///PATH or \
                    nodes://A,B";
        Failure::new(chain(&error)).hint(hint).code(3)
    })
}

/// The base URL of the service of this store, if one was started.
pub(crate) fn own_service(context: &Context) -> Option<String> {
    let text = std::fs::read_to_string(context.store.root().join(ADDRESS_FILE)).ok()?;
    text.trim().parse::<SocketAddr>().ok().map(|address| format!("http://{address}"))
}

/// Who is listed there now.
pub(crate) fn entries(source: &Source) -> Result<Vec<String>, Failure> {
    runtime()?.block_on(source.entries()).map_err(|error| Failure::new(chain(&error)))
}

/// Refuses a URL at which nobody can be listed, before any machine is made for it.
pub(crate) fn check(context: &Context, url: &str) -> Result<(), Failure> {
    let source = source(context, url)?;
    if matches!(source, Source::Token { .. } | Source::Etcd { .. }) {
        entries(&source).map_err(|failure| failure.within(&format!("nobody can be listed at {url}")))?;
    }
    Ok(())
}

/// Lists an engine at the elder's discovery URL, until it is taken off.
pub(crate) fn register(context: &Context, url: &str, entry: &str) -> Result<(), Failure> {
    let source = source(context, url)?;
    if matches!(source, Source::Nodes(_) | Source::File(_)) {
        // Those are written by hand.
        return Ok(());
    }
    runtime()?
        .block_on(source.register(entry, Duration::ZERO))
        .map_err(|error| Failure::because(format!("{entry} is not listed at {url}"), &error))
}

/// Sees to it that a token knows how many machines found the cluster; answers its URL as machines
/// reach it.
pub(crate) fn prepare(service: &str, id: &str, count: usize) -> Result<String, Failure> {
    let url = format!("{service}/{id}/_config/size");
    let failed = |text: String| {
        Failure::new(format!("the token service at {service} does not know token `{id}`: {text}"))
            .hint("make a token with `rmachine discovery create`")
    };
    let runtime = runtime()?;
    let (status, _, text) = runtime
        .block_on(fetch(
            Method::PUT,
            &format!("{url}?prevExist=false"),
            Some(format!("value={count}")),
            None,
            LIMIT,
        ))
        .map_err(|error| failed(chain(&error)))?;
    if !(200..300).contains(&status) && status != 412 {
        return Err(failed(text));
    }
    Ok(format!("{}/{id}", as_guests_see(service)))
}

fn as_guests_see(service: &str) -> String {
    let (scheme, host) = service.split_once("://").unwrap_or(("http", service));
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    let name = if matches!(name, "127.0.0.1" | "localhost") { WORKSTATION } else { name };
    format!("{scheme}://{name}:{port}")
}

/// The machines that a list names, which must all be on one network of ours.
pub(crate) fn addresses(entries: &[String]) -> Result<Vec<Ipv4Addr>, Failure> {
    let mut found = Vec::new();
    for entry in entries {
        let host = entry.rsplit_once('=').map_or(entry.as_str(), |(_, url)| url);
        let host = host.split_once("://").map_or(host, |(_, host)| host);
        let address = host
            .parse::<SocketAddrV4>()
            .map(|socket| *socket.ip())
            .or_else(|_| host.parse::<Ipv4Addr>())
            .map_err(|_| bad(entry, "is no IPv4 address, with or without a port"))?;
        let [.., last] = address.octets();
        if !machine_switch::Network::HOSTS.contains(&last) || !address.is_private() {
            return Err(bad(
                entry,
                "cannot be given to a machine: use a private address that ends in 10 to 250",
            ));
        }
        if found.first().is_some_and(|first: &Ipv4Addr| first.octets()[..3] != address.octets()[..3]) {
            return Err(bad(entry, "is on another network than the first entry"));
        }
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if found.is_empty() {
        return Err(Failure::new("the discovery list is empty")
            .hint("write HOST:PORT lines into it")
            .code(3));
    }
    Ok(found)
}

fn bad(entry: &str, why: &str) -> Failure {
    Failure::new(format!("`{entry}` in the discovery list {why}")).code(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_addresses_of_one_network() {
        let list = |entries: &[&str]| addresses(&entries.iter().map(|&e| e.to_owned()).collect::<Vec<_>>());
        let two = [Ipv4Addr::new(10, 66, 0, 10), Ipv4Addr::new(10, 66, 0, 11)];
        assert_eq!(list(&["10.66.0.10:2380", "b=https://10.66.0.11:2380", "10.66.0.10"]).expect("good"), two);
        for bad in [&["x:1"][..], &["8.8.8.8:1"], &["10.0.0.1"], &["10.0.0.10", "10.0.1.10"], &[]] {
            assert!(list(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn guests_see_this_workstation_elsewhere() {
        assert_eq!(as_guests_see("http://127.0.0.1:7654"), "http://10.0.2.2:7654");
        assert_eq!(as_guests_see("http://disco.example"), "http://disco.example:80");
    }
}
