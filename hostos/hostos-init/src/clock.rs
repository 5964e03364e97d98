//! The machine's clock: never before what it cannot be, right before anything is fetched, and kept
//! right from then on.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostos_timesync::{Config, SystemClock, floor, follow, keep_floor, set_once};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use x509_parser::pem::parse_x509_pem;

/// How long a fetch waits for the right time. Without a time server in reach it goes on with what the
/// clock shows, and certificates are judged by that.
const BEFORE_FETCH: Duration = Duration::from_secs(3);

/// What this machine's engine shows its clients; whoever made the machine put it there.
const CERTIFICATE: &str = "/etc/docker/server.pem";

/// Exists while the clock is known to be right; systemd-timesyncd's file.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// Sets a clock that is wrong for sure to the earliest moment that can be.
pub(crate) fn not_before_the_floor() {
    not_before(floor(), "this image was built or last ran");
}

/// The same, by the certificate that was made for this machine: a clock that is behind it would take
/// the clients' certificates for ones of the future. Time servers may still set it back.
pub(crate) fn not_before_the_certificate() {
    if let Some(made) = fs::read(CERTIFICATE).ok().and_then(|pem| made_at(&pem)) {
        not_before(made, "its certificate was made");
    }
}

fn made_at(pem: &[u8]) -> Option<SystemTime> {
    let (_, pem) = parse_x509_pem(pem).ok()?;
    let from = pem.parse_x509().ok()?.validity().not_before.timestamp();
    Some(UNIX_EPOCH + Duration::from_secs(from.try_into().ok()?))
}

fn not_before(earliest: SystemTime, what: &str) {
    if SystemTime::now() >= earliest {
        return;
    }
    let since = earliest.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(since)) {
        Ok(()) => tracing::warn!("the clock showed a time before {what}; it is set to that"),
        Err(error) => tracing::warn!(%error, "clock not set"),
    }
}

/// Sets the clock by a time server, if one is in reach, because certificates are about to be judged.
pub(crate) async fn set_before_fetch(network: &[String]) {
    let servers = Config::read().choose(network);
    if let Err(error) = set_once(&servers, &mut SystemClock, floor(), BEFORE_FETCH).await {
        tracing::warn!(%error, "the clock is not compared with anyone's before the config is fetched");
    }
}

/// Keeps the clock right, for ever.
pub(crate) async fn keep_right(network: impl Fn() -> Vec<String>) {
    // Files may have come with the config: they are read once it is applied, that is now.
    let config = Config::read();
    let servers = move || config.choose(&network());
    follow(servers, SystemClock, floor(), Some(PathBuf::from(SYNCHRONIZED)), |_| keep_floor()).await;
}

/// Remembers the time for the next boot, if it is known to be right.
pub(crate) fn remember() {
    if PathBuf::from(SYNCHRONIZED).exists() {
        keep_floor();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_when_it_was_made() {
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2031, 5, 17);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let made = UNIX_EPOCH + Duration::from_secs(1_936_742_400);
        assert_eq!(made_at(certificate.pem().as_bytes()), Some(made));
        assert_eq!(made_at(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), None);
        assert_eq!(made_at(b""), None);
    }
}
