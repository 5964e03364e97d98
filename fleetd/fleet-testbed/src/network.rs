//! Machines in network namespaces of their own, joined by a bridge in another: each can be cut off.
//!
//! Nothing outside the namespaces is touched; they go with the value. `ip netns exec` replaces itself
//! by the program, so a signal to the command reaches the daemon.

use std::process::{Command, Stdio};

/// A bridge and machines on it, numbered from 1.
pub struct Network {
    name: String,
    machines: usize,
}

impl Network {
    /// The bridge's address, for the store.
    pub const HUB: &'static str = "10.77.0.1";

    /// So many machines; nothing, and a line saying so, where namespaces cannot be made.
    ///
    /// # Panics
    /// When some of it can be made and some not.
    #[must_use]
    pub fn start(machines: usize) -> Option<Self> {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("fl{}-{count}", std::process::id());
        if !ip(&["netns", "add", &name]) {
            must_run::skip("network namespaces need root and iproute2");
            return None;
        }
        let network = Self { name, machines };
        let hub = network.name.as_str();
        must(&["-n", hub, "link", "set", "lo", "up"]);
        must(&["-n", hub, "link", "add", "br0", "type", "bridge"]);
        must(&["-n", hub, "addr", "add", &format!("{}/24", Self::HUB), "dev", "br0"]);
        must(&["-n", hub, "link", "set", "br0", "up"]);
        for number in 1..=machines {
            let of_machine = network.of(number);
            let port = format!("v{number}");
            must(&["netns", "add", &of_machine]);
            must(&[
                "-n",
                hub,
                "link",
                "add",
                &port,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                &of_machine,
            ]);
            must(&["-n", hub, "link", "set", &port, "master", "br0", "up"]);
            must(&["-n", &of_machine, "link", "set", "lo", "up"]);
            let address = format!("{}/24", Self::address(number));
            must(&["-n", &of_machine, "addr", "add", &address, "dev", "eth0"]);
            must(&["-n", &of_machine, "link", "set", "eth0", "up"]);
        }
        Some(network)
    }

    /// A machine's address.
    #[must_use]
    pub fn address(number: usize) -> String {
        format!("10.77.0.{}", 10 + number)
    }

    /// What a machine's commands stand behind.
    #[must_use]
    pub fn behind(&self, number: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.of(number)].map(str::to_owned).to_vec()
    }

    /// What the store's command stands behind.
    #[must_use]
    pub fn behind_hub(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// Pulls a machine's cable.
    pub fn cut(&self, number: usize) {
        must(&["-n", &self.name, "link", "set", &format!("v{number}"), "down"]);
    }

    /// Puts it back.
    pub fn mend(&self, number: usize) {
        must(&["-n", &self.name, "link", "set", &format!("v{number}"), "up"]);
    }

    fn of(&self, number: usize) -> String {
        format!("{}-m{number}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 1..=self.machines {
            ip(&["netns", "delete", &self.of(number)]);
        }
        ip(&["netns", "delete", &self.name]);
    }
}

fn ip(words: &[&str]) -> bool {
    let ran = Command::new("ip").args(words).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

fn must(words: &[&str]) {
    assert!(ip(words), "could not: ip {}", words.join(" "));
}
