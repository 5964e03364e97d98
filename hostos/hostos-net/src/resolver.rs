//! Writes the resolver file that everything on the machine reads.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// The text of a `resolv.conf`.
#[must_use]
pub fn text(servers: &[IpAddr], search: &[String]) -> String {
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    text
}

/// Puts `text` at `path` in one step, so that no reader sees half of it.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_come_one_a_line() {
        let servers = ["10.0.2.3".parse().unwrap(), "fec0::3".parse().unwrap()];
        assert_eq!(
            text(&servers, &["lan".to_owned(), "example.com".to_owned()]),
            "nameserver 10.0.2.3\nnameserver fec0::3\nsearch lan example.com\n"
        );
    }
}
