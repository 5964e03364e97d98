//! A network of our own: a hub with a bridge, and a namespace for each member, joined to it. Nothing of it touches the
//! machine's own network. Gone when dropped.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use nix::sched::{CloneFlags, setns};

/// The network, named by the process so that tests side by side do not meet.
pub(crate) struct Network {
    tag: String,
    members: usize,
}

fn run(command: &str) -> bool {
    let mut words = command.split(' ');
    let program = words.next().expect("a program");
    let status = Command::new(program).args(words).stderr(Stdio::null()).stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Network {
    /// Makes the network, or says why a test must do without.
    pub(crate) fn new(members: usize) -> Option<Self> {
        let network = Self { tag: format!("kvt{}", std::process::id()), members };
        let hub = network.hub();
        if !run("nft --version") {
            must_run::skip("nft is not installed, networks cannot be cut");
            return None;
        }
        if !run(&format!("ip netns add {hub}")) {
            must_run::skip("no network namespaces can be made here");
            return None;
        }
        let inside = |command: &str| run(&format!("ip netns exec {hub} {command}"));
        let mut good = inside("ip link set lo up")
            && inside("ip link add br0 type bridge")
            && inside("ip addr add 10.77.0.254/24 dev br0")
            && inside("ip link set br0 up");
        for at in 0..members {
            let space = network.space(at);
            good = good
                && run(&format!("ip netns add {space}"))
                && inside(&format!("ip link add v{at} type veth peer name eth0 netns {space}"))
                && inside(&format!("ip link set v{at} master br0 up"))
                && run(&format!("ip netns exec {space} ip link set lo up"))
                && run(&format!("ip netns exec {space} ip addr add {}/24 dev eth0", network.address(at)))
                && run(&format!("ip netns exec {space} ip link set eth0 up"));
        }
        if !good {
            must_run::skip("no bridge can be made in a namespace here");
            return None;
        }
        Some(network)
    }

    fn hub(&self) -> String {
        format!("{}h", self.tag)
    }

    /// The namespace of a member.
    pub(crate) fn space(&self, at: usize) -> String {
        format!("{}m{at}", self.tag)
    }

    pub(crate) fn address(&self, at: usize) -> String {
        format!("10.77.0.{}", at + 1)
    }

    /// Cuts a member off, or joins it again.
    pub(crate) fn link(&self, at: usize, up: bool) {
        let state = if up { "up" } else { "down" };
        let done = run(&format!("ip netns exec {} ip link set v{at} {state}", self.hub()));
        assert!(done, "member {at} could not be cut off or joined again");
    }

    /// Lets a member hear, but not be heard; or ends that.
    pub(crate) fn mute(&self, at: usize, muted: bool) {
        let space = self.space(at);
        let nft = |rule: &str| {
            let done = run(&format!("ip netns exec {space} nft {rule}"));
            assert!(done, "member {at}: nft could not {rule}");
        };
        if muted {
            nft("add table inet mute");
            nft("add chain inet mute out { type filter hook output priority 0 ; policy drop ; }");
        } else {
            nft("delete table inet mute");
        }
    }

    /// From now on this thread speaks from the hub.
    pub(crate) fn enter(&self) {
        let space = File::open(format!("/run/netns/{}", self.hub())).expect("made before");
        setns(space, CloneFlags::CLONE_NEWNET).expect("we are root");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for at in 0..self.members {
            run(&format!("ip netns del {}", self.space(at)));
        }
        run(&format!("ip netns del {}", self.hub()));
    }
}
