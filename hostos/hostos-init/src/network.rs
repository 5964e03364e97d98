//! The machine's network: as its `.network` files declare, else an address for every link.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use hostos_net::{Configuration, Network, NetworkUpError, Places};

use crate::keep;
use crate::report::Reporter;

/// How long the first address may take.
const FIRST_ADDRESS: Duration = Duration::from_secs(45);

/// Has an address when it returns, unless no link must have one.
pub(crate) async fn bring_up(reporter: &Reporter) -> Result<(Configuration, Network), NetworkUpError> {
    let configuration = read(reporter);
    let network = Network::bring_up(&configuration, &Places::machine(), FIRST_ADDRESS).await?;
    Ok((configuration, network))
}

/// Does it again if a config that came over the network declares another network than it came over.
pub(crate) async fn obey(
    reporter: &Reporter,
    old: Configuration,
    network: Network,
) -> Result<Network, NetworkUpError> {
    let configuration = read(reporter);
    if configuration == old {
        return Ok(network);
    }
    // The links' old tasks end here; the new ones take over what they left.
    drop(network);
    Network::bring_up(&configuration, &Places::machine(), FIRST_ADDRESS).await
}

fn read(reporter: &Reporter) -> Configuration {
    let (configuration, warnings) = Configuration::read();
    for warning in warnings {
        reporter.warn(warning);
    }
    configuration
}

/// Writes the two addresses that units of clusters read from /etc/environment, keeping other lines.
pub(crate) fn write_environment(private: IpAddr) -> io::Result<()> {
    let text = fs::read_to_string(ENVIRONMENT).unwrap_or_default();
    let kept = fs::read_to_string(WRITTEN).unwrap_or_default();
    if let Some(fresh) = environment(&text, kept.trim(), private) {
        keep::replace(Path::new(ENVIRONMENT), &fresh)?;
        keep::replace(Path::new(WRITTEN), &format!("{private}\n"))?;
    }
    Ok(())
}

const ENVIRONMENT: &str = "/etc/environment";
/// The address that was written last: a line with another one is its author's, and stays.
const WRITTEN: &str = "/var/lib/hostos/environment-address";

/// The file with this address in it; nothing if it is right already.
fn environment(text: &str, written: &str, address: IpAddr) -> Option<String> {
    let mut fresh = String::new();
    let names = ["COREOS_PRIVATE_IPV4", "COREOS_PUBLIC_IPV4"];
    let own = |line: &str| {
        names
            .iter()
            .any(|name| line.split_once('=').is_some_and(|(key, value)| key == *name && value == written))
    };
    for line in text.lines().filter(|line| written.is_empty() || !own(line)) {
        fresh.push_str(line);
        fresh.push('\n');
    }
    for name in names {
        if !fresh.lines().any(|line| line.starts_with(&format!("{name}="))) {
            fresh.push_str(&format!("{name}={address}\n"));
        }
    }
    (fresh != text).then_some(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_follows_the_machine_and_an_authors_line_stays() {
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = environment("A=1\nCOREOS_PUBLIC_IPV4=192.0.2.9\n", "", one).expect("it changes");
        assert_eq!(first, "A=1\nCOREOS_PUBLIC_IPV4=192.0.2.9\nCOREOS_PRIVATE_IPV4=10.0.0.1\n");
        assert_eq!(environment(&first, "10.0.0.1", one), None);
        let second = environment(&first, "10.0.0.1", two).expect("it changes");
        assert_eq!(second, "A=1\nCOREOS_PUBLIC_IPV4=192.0.2.9\nCOREOS_PRIVATE_IPV4=10.0.0.2\n");
    }
}
