//! How a machine becomes a member of a cluster, and how members stay it.
//!
//! A [`JoinToken`] (`SWMTKN-1-<digest>-<secret>`, Docker's text format) names the cluster's authority by
//! its digest and proves that its holder was invited. The joiner asks any member for the authority's
//! certificate over TLS that it cannot check yet, compares the digest, and only then tells the secret,
//! over TLS that it can check: nobody in between can answer for the cluster. It makes its key on
//! board and sends a signing request; the member's answer is a certificate with the machine's id,
//! names, addresses and [`MemberRole`]. Before that runs out it asks for the next one, with the present
//! one as its proof.
//!
//! The authority's key is on the managers' disks only. The store holds a token's secret sealed under
//! it ([`TokenRecord`]), so that neither a worker nor a copy of the store can invite anybody.
//!
//! Tokens, authority and records are values to values: time and randomness come in. [`client`] is the
//! part that speaks over a network, [`Identity`] the part that knows the files.

mod authority;
pub mod client;
mod files;
mod invitation;
mod record;
mod request;
mod revocation;
mod role;
mod seal;
mod token;
mod wire;

pub use authority::{Authority, Holder, MEMBER_LIFE, Pair, canonical_pem, digest_of};
pub use client::{JoinError, JoinOrder, Joined, RenewOrder, join, leave, renew};
pub use files::{Identity, IdentityError, Validity};
pub use invitation::Invitation;
pub use record::{TokenRecord, TokenRefusal};
pub use request::SigningRequest;
pub use revocation::Issued;
pub use role::{CertificateRole, MemberRole, READ_ONLY, names_of};
pub use seal::SealError;
pub use token::{JoinToken, Secret, TokenError};
pub use wire::{
    AuthorityReply, InviteReply, InviteRequest, JoinReply, JoinRequest, Member, MemberPage, RenewRequest,
    RotateRequest, TokenReply,
};

/// Why something about certificates could not be done.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A key could not be made.
    #[error("could not make a key")]
    MakeKey(#[source] rcgen::Error),
    /// A key that is none.
    #[error("the authority's key is unreadable")]
    ReadKey(#[source] rcgen::Error),
    /// A certificate that is none.
    #[error("the certificate is unreadable: {0}")]
    ReadCertificate(String),
    /// The key is of another certificate.
    #[error("the authority's key does not belong to its certificate")]
    KeyOfAnother,
    /// A signing request that is none, or whose sender does not hold the key.
    #[error("the signing request is not valid")]
    Request(#[source] rcgen::Error),
    /// A name cannot stand in a certificate.
    #[error("`{}` cannot stand in a certificate: it is neither an address nor a host name", .0.escape_debug())]
    Name(String),
    /// A serial number that is none.
    #[error("`{0}` is no serial number in hexadecimal digits")]
    Serial(String),
    /// Signing failed.
    #[error("could not sign a certificate")]
    Sign(#[source] rcgen::Error),
}
