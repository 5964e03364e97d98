//! What can go wrong, in curl's words and with curl's exit codes: scripts look at both.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum CurlError {
    /// A scheme that is not spoken here.
    #[error("Protocol \"{0}\" not supported or disabled in libcurl")]
    Protocol(String),
    /// Something that is no URL.
    #[error("URL using bad/illegal format or missing URL")]
    Url,
    /// A name without an address.
    #[error("Could not resolve host: {0}")]
    Resolve(String),
    /// Nobody there.
    #[error("Failed to connect to {host} port {port} after {} ms: Couldn't connect to server", after.as_millis())]
    Connect {
        /// Where.
        host: String,
        /// Which port.
        port: u16,
        /// After how long.
        after: Duration,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `--fail` and a status of 400 or more.
    #[error("The requested URL returned error: {0}")]
    Status(u16),
    /// The answer broke off.
    #[error("transfer closed with {0}outstanding read data remaining")]
    Partial(String),
    /// Where the body goes.
    #[error("Failure writing output to destination")]
    Write(#[source] io::Error),
    /// A file to send.
    #[error("Failed to open {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Too long.
    #[error("{0}")]
    Timeout(String),
    /// The TLS handshake.
    #[error("TLS connect error: {0}")]
    Tls(String),
    /// Redirected without end.
    #[error("Maximum ({0}) redirects followed")]
    Redirects(u32),
    /// The server hung up without a word.
    #[error("Empty reply from server")]
    Empty,
    /// The request.
    #[error("Send failure: {0}")]
    Send(String),
    /// The answer.
    #[error("Recv failure: {0}")]
    Receive(String),
    /// Our own certificate or key.
    #[error("could not load PEM client certificate from {}: {reason}", path.display())]
    ClientCertificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate that is not accepted.
    #[error(
        "SSL certificate problem: {0}\nadd its authority with --cacert or below /etc/ssl/certs, or trust anyone with --insecure"
    )]
    Untrusted(String),
    /// The file of authorities.
    #[error("error setting certificate verify locations:  CAfile: {}", .0.display())]
    Authorities(PathBuf),
}

impl CurlError {
    /// curl's exit code for it.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Protocol(_) => 1,
            Self::Url => 3,
            Self::Resolve(_) => 6,
            Self::Connect { .. } => 7,
            Self::Partial(_) => 18,
            Self::Status(_) => 22,
            Self::Write(_) => 23,
            Self::Read { .. } => 26,
            Self::Timeout(_) => 28,
            Self::Tls(_) => 35,
            Self::Redirects(_) => 47,
            Self::Empty => 52,
            Self::Send(_) => 55,
            Self::Receive(_) => 56,
            Self::ClientCertificate { .. } => 58,
            Self::Untrusted(_) => 60,
            Self::Authorities(_) => 77,
        }
    }
}
