//! systemd unit syntax: first code follows.
