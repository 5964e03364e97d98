//! Whether a config can be applied before there is a network. If it can, it also decides what the network
//! is to be.

use hostos_config::{Config, data_url, parse, resources};

use crate::sources::URL;

/// As deep as configs in configs are looked into; deeper ones are taken to need a network.
const MAX_DEPTH: usize = 16;

/// Whether the kernel command line names a config that has to be fetched.
#[must_use]
pub fn source_needs_network(command_line: &str) -> bool {
    let mut values = command_line
        .split_whitespace()
        .filter_map(|word| word.trim_matches('"').strip_prefix(URL)?.strip_prefix('='));
    values.next_back().is_some_and(|url| !url.is_empty() && !is_data(url))
}

/// Whether a config names anything that has to be fetched, in itself or in the configs that it holds. One
/// that is broken needs no network to be refused.
#[must_use]
pub fn needs_network(source: &[u8]) -> bool {
    bytes_need_network(source, 0)
}

fn bytes_need_network(source: &[u8], depth: usize) -> bool {
    match parse(source, "config") {
        Ok((config, _)) => depth > MAX_DEPTH || config_needs_network(&config, depth),
        Err(_) => false,
    }
}

fn config_needs_network(config: &Config, depth: usize) -> bool {
    let urls = resources(config);
    let mut urls = urls.iter().filter_map(|(_, resource)| resource.source.as_deref());
    if urls.any(|url| !url.is_empty() && !is_data(url)) {
        return true;
    }
    let children = config.ignition.config.merge.iter().chain([&config.ignition.config.replace]);
    children.filter_map(|child| child.source.as_deref().map(|url| (url, &child.compression))).any(
        |(url, packed)| {
            // What is packed is not worth unpacking twice.
            let packed = packed.as_deref().is_some_and(|kind| !kind.is_empty());
            packed || data_url::decode(url).is_ok_and(|bytes| bytes_need_network(&bytes, depth + 1))
        },
    )
}

fn is_data(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

#[cfg(test)]
mod tests {
    use hostos_config::{File, Resource};

    use super::*;

    fn with(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.to_json()
    }

    #[test]
    fn what_is_written_inline_needs_no_network() {
        let inline = with(|config| config.storage.files.push(File::inline("/a", 0o644, "x")));
        assert!(!needs_network(inline.as_bytes()));
        let nested = with(|config| config.ignition.config.merge.push(Resource::inline(&inline)));
        assert!(!needs_network(nested.as_bytes()));
        assert!(!needs_network(b"{ broken"));
    }

    #[test]
    fn what_is_fetched_does_however_deep_it_is() {
        let fetched = with(|config| {
            let mut file = File::inline("/a", 0o644, "x");
            file.contents = Resource::url("https://a/");
            config.storage.files.push(file);
        });
        assert!(needs_network(fetched.as_bytes()));
        let nested = with(|config| config.ignition.config.merge.push(Resource::inline(&fetched)));
        assert!(needs_network(nested.as_bytes()));
        let merged = with(|config| config.ignition.config.merge.push(Resource::url("tftp://a/b")));
        assert!(needs_network(merged.as_bytes()));
    }

    #[test]
    fn the_last_url_of_the_command_line_counts() {
        assert!(source_needs_network("quiet ignition.config.url=http://a/"));
        assert!(!source_needs_network("ignition.config.url=http://a/ ignition.config.url=data:,{}"));
        assert!(!source_needs_network("ignition.config.url= quiet"));
        assert!(!source_needs_network("ignition.config.device=/dev/vda ignition.config.path=/a"));
    }
}
