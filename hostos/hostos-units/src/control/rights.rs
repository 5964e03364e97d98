//! Who may do what: everybody may ask, root and the administrators' groups may change things.
//!
//! The kernel says who is at the other end of a connection, as of the moment when it was made. Groups
//! are looked up in /etc/group then, as there is no NSS on a machine.

use std::fs;
use std::os::unix::net::UnixStream;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use units_api::Method;

/// What the other end of a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Everything.
    Change,
    /// Ask.
    Read,
}

impl Rights {
    /// Of whoever made this connection.
    pub(super) fn of(stream: &UnixStream, groups: &[String]) -> Self {
        let Ok(peer) = getsockopt(stream, PeerCredentials) else { return Self::Read };
        // A supervisor that an ordinary user runs for trying things out is that user's.
        if peer.uid() == 0 || peer.uid() == nix::unistd::getuid().as_raw() {
            return Self::Change;
        }
        let file = |name: &str| fs::read_to_string(format!("/etc/{name}")).unwrap_or_default();
        let member = is_member(&file("passwd"), &file("group"), groups, peer.uid(), peer.gid());
        if member { Self::Change } else { Self::Read }
    }

    pub(super) fn allow(self, method: &Method) -> bool {
        self == Self::Change || only_asks(method)
    }
}

/// Whether a user is in one of the groups, by its own group or by being listed.
fn is_member(passwd: &str, group: &str, groups: &[String], uid: u32, gid: u32) -> bool {
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    group.lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [group, _, number, members] = fields.as_slice() else { return false };
        let listed = name.is_some_and(|name| members.split(',').any(|member| member == name));
        groups.iter().any(|wanted| wanted == group) && (number.parse() == Ok(gid) || listed)
    })
}

fn only_asks(method: &Method) -> bool {
    match method {
        Method::Ping
        | Method::Status { .. }
        | Method::List
        | Method::Show { .. }
        | Method::Cat { .. }
        | Method::ListFiles
        | Method::ListJobs
        | Method::ListTimers
        | Method::ShowEnvironment
        | Method::Subscribe => true,
        Method::Start(_)
        | Method::Stop(_)
        | Method::Restart(_)
        | Method::TryRestart(_)
        | Method::Reload(_)
        | Method::ReloadOrRestart(_)
        | Method::Kill { .. }
        | Method::ResetFailed { .. }
        | Method::Submit { .. }
        | Method::Remove { .. }
        | Method::Enable(_)
        | Method::Disable(_)
        | Method::Mask(_)
        | Method::Unmask(_)
        | Method::DaemonReload
        | Method::SetEnvironment { .. }
        | Method::Shutdown { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0::/root:/bin/sh\ncore:x:500:500::/home/core:/bin/bash\nann:x:501:501::/:/bin/sh\n";
    const GROUP: &str = "core:x:500:\nwheel:x:10:ann,bob\nann:x:501:\n";

    #[test]
    fn a_member_is_known_by_its_own_group_or_by_the_list() {
        let groups = |name: &str| vec![name.to_owned()];
        assert!(is_member(PASSWD, GROUP, &groups("core"), 500, 500));
        assert!(is_member(PASSWD, GROUP, &groups("wheel"), 501, 501));
        assert!(!is_member(PASSWD, GROUP, &groups("core"), 501, 501));
        assert!(!is_member(PASSWD, GROUP, &groups("wheel"), 502, 501), "the number decides, not the group");
        assert!(!is_member("", "", &groups("core"), 500, 500));
        assert!(!is_member(PASSWD, GROUP, &[], 500, 500));
    }
}
