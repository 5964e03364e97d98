//! Who the holder of a certificate is, by its organisational unit.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;

/// The organisational unit of people who may only read.
pub const READ_ONLY: &str = "read-only";

/// The names and addresses that a certificate (DER) is for.
#[must_use]
pub fn names_of(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .map(|address| address.to_string())
            .ok(),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// What a machine is in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Runs units.
    Worker,
    /// Runs units, holds the authority's key, and so can invite and sign.
    Manager,
}

impl MemberRole {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Worker, Self::Manager];

    /// The organisational unit in its certificates, as in Docker's swarm.
    #[must_use]
    pub fn organizational_unit(self) -> &'static str {
        match self {
            Self::Worker => "swarm-worker",
            Self::Manager => "swarm-manager",
        }
    }

    /// `worker` or `manager`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MemberRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no role: use worker or manager"))
    }
}

/// What a certificate of the cluster's authority makes of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateRole {
    /// A person or program that may do everything.
    Admin,
    /// A person or program that may only read.
    ReadOnly,
    /// A machine.
    Machine {
        /// Its id.
        id: String,
        /// What it is in the cluster.
        role: MemberRole,
    },
}

impl CertificateRole {
    /// Reads it from a certificate (DER) whose signature was checked; nothing for one that cannot be read.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let subject = certificate.subject();
        let units: Vec<&str> =
            subject.iter_organizational_unit().filter_map(|unit| unit.as_str().ok()).collect();
        if units.contains(&READ_ONLY) {
            return Some(Self::ReadOnly);
        }
        let member = MemberRole::ALL.into_iter().find(|role| units.contains(&role.organizational_unit()));
        match member {
            Some(role) => {
                let id = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
                Some(Self::Machine { id, role })
            }
            None => Some(Self::Admin),
        }
    }
}
