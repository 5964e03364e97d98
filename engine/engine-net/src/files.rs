//! Contents of the three files every container gets: hosts, hostname,
//! resolv.conf. Pure.

use std::net::IpAddr;

/// `/etc/hosts`: Docker's fixed lines, then `entries` (address, names), in order.
#[must_use]
pub fn hosts(entries: &[(String, String)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for (address, names) in entries {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    text
}

/// `/etc/hostname`
#[must_use]
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// What matters of a resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads the host's file; servers on its loopback are of no use elsewhere.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace();
            let key = words.next();
            let rest = words.map(str::to_owned);
            match key {
                Some("nameserver") => {
                    resolver.servers.extend(rest.filter_map(|word| word.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => resolver.search = rest.collect(),
                Some("options") => resolver.options.extend(rest),
                _ => {}
            }
        }
        resolver
    }

    /// `--dns`, `--dns-search`, `--dns-opt` each replace what the host has.
    #[must_use]
    pub fn overridden(mut self, servers: &[IpAddr], search: &[String], options: &[String]) -> Self {
        if !servers.is_empty() {
            self.servers = servers.to_vec();
        }
        if !search.is_empty() {
            self.search = search.iter().filter(|domain| domain.as_str() != ".").cloned().collect();
        }
        if !options.is_empty() {
            self.options = options.to_vec();
        }
        self
    }

    /// Servers a container can reach by itself; public ones if none is left.
    #[must_use]
    pub fn reachable_servers(&self) -> Vec<IpAddr> {
        let reachable: Vec<IpAddr> =
            self.servers.iter().copied().filter(|ip| !ip.is_loopback() && ip.is_ipv4()).collect();
        if reachable.is_empty() { vec![[8, 8, 8, 8].into(), [8, 8, 4, 4].into()] } else { reachable }
    }

    /// The file for a container on the default bridge: the servers themselves.
    #[must_use]
    pub fn text(&self) -> String {
        self.render(&self.reachable_servers())
    }

    /// The file for a container on the host's network: servers as they are.
    #[must_use]
    pub fn host_text(&self) -> String {
        self.render(&self.servers)
    }

    /// The file for a container with the engine's own resolver.
    #[must_use]
    pub fn embedded_text(&self) -> String {
        let mut with_ndots = self.clone();
        if !with_ndots.options.iter().any(|option| option.starts_with("ndots:")) {
            with_ndots.options.push("ndots:0".into());
        }
        with_ndots.render(&[[127, 0, 0, 11].into()])
    }

    fn render(&self, servers: &[IpAddr]) -> String {
        let mut text = String::new();
        if !self.search.is_empty() {
            text.push_str(&format!("search {}\n", self.search.join(" ")));
        }
        for server in servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_resolver_is_made_fit_for_a_container() {
        let host = Resolver::parse(
            "# c\nnameserver 127.0.0.53\nnameserver 10.0.0.2 ; x\nsearch a.b c.d\noptions edns0\n",
        );
        assert_eq!(host.text(), "search a.b c.d\nnameserver 10.0.0.2\noptions edns0\n");
        assert_eq!(host.embedded_text(), "search a.b c.d\nnameserver 127.0.0.11\noptions edns0 ndots:0\n");
        assert!(Resolver::parse("nameserver ::1\n").text().contains("8.8.8.8"));
        let own = host.overridden(&["1.2.3.4".parse().unwrap()], &[".".into()], &[]);
        assert_eq!(own.text(), "nameserver 1.2.3.4\noptions edns0\n");
    }

    #[test]
    fn hosts_has_dockers_head() {
        let text = hosts(&[("172.17.0.2".into(), "abc web".into())]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("ff02::2\tip6-allrouters\n172.17.0.2\tabc web\n"));
    }
}
