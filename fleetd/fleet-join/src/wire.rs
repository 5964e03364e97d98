//! What goes over the fleet API below `/fleet/v1/join`.
//!
//! | request | who may | body → answer |
//! | --- | --- | --- |
//! | `GET join/authority` | everybody | → [`AuthorityReply`] |
//! | `POST join` | holders of a token | [`JoinRequest`] → [`JoinReply`] |
//! | `POST join/renew` | machines | [`RenewRequest`] → [`JoinReply`] |
//! | `GET join/tokens` | administrators | → [`TokenReply`] |
//! | `POST join/tokens/ROLE/rotate` | administrators | [`RotateRequest`] → [`TokenReply`] |
//! | `POST join/invitations` | administrators | [`InviteRequest`] → [`InviteReply`] |
//! | `GET join/members` | everybody with a certificate | → [`MemberPage`] |
//! | `DELETE machines/ID` | administrators, and the machine itself | → 204 |

use serde::{Deserialize, Serialize};

use crate::{Issued, MemberRole};

/// The authority, to be compared with a token's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityReply {
    /// Its certificate in canonical PEM form.
    pub authority: String,
}

/// A machine wants to be a member.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// The token's text.
    pub token: String,
    /// Id of the machine.
    #[serde(rename = "machineID")]
    pub machine_id: String,
    /// Host names and addresses for the certificate.
    pub names: Vec<String>,
    /// PKCS #10, PEM.
    pub request: String,
}

/// A member wants its next certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// Host names and addresses for the certificate; none: those of the present one.
    #[serde(default)]
    pub names: Vec<String>,
    /// PKCS #10, PEM.
    pub request: String,
}

/// The machine is a member.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinReply {
    /// The authority's certificate, PEM.
    pub authority: String,
    /// The member's certificate, PEM.
    pub certificate: String,
    /// What the machine is now.
    pub role: MemberRole,
    /// The authority's key, PEM; for managers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_key: Option<String>,
}

impl std::fmt::Debug for JoinReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinReply").field("role", &self.role).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("machine_id", &self.machine_id).finish_non_exhaustive()
    }
}

/// How a new token is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotateRequest {
    /// Seconds that it is valid; for ever when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_seconds: Option<u32>,
}

/// The tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReply {
    /// For workers.
    pub worker: String,
    /// For managers.
    pub manager: String,
}

impl std::fmt::Debug for TokenReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenReply").finish_non_exhaustive()
    }
}

/// One machine is to be let in, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteRequest {
    /// Id of the machine.
    #[serde(rename = "machineID")]
    pub machine_id: String,
    /// What it is to be.
    pub role: MemberRole,
    /// Host names and addresses for its certificate.
    pub names: Vec<String>,
    /// Seconds that the invitation is good.
    pub valid_seconds: u32,
}

/// The invitation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteReply {
    /// A join token that works once, for that machine.
    pub token: String,
}

impl std::fmt::Debug for InviteReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InviteReply").finish_non_exhaustive()
    }
}

/// A machine that was let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its id.
    #[serde(rename = "machineID")]
    pub machine_id: String,
    /// What it is.
    pub role: MemberRole,
    /// Names and addresses in its certificate.
    pub names: Vec<String>,
    /// Seconds since 1970 at which its certificate runs out.
    pub valid_until: i64,
    /// Its certificates that have not run out: what is revoked when it is removed.
    #[serde(default)]
    pub certificates: Vec<Issued>,
}

impl Member {
    /// The same with one more certificate, without those that have run out.
    #[must_use]
    pub fn holding(mut self, issued: Issued, now: i64) -> Self {
        self.certificates.retain(|it| it.valid_until > now && it.serial != issued.serial);
        self.valid_until = issued.valid_until;
        self.certificates.push(issued);
        self
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberPage {
    /// By id.
    pub members: Vec<Member>,
}
