//! The Ignition config as Rust values: spec 3.5, into which every older 3.x config is translated.
//!
//! They serialise to plain Ignition JSON: what is not set is not written, the order of keys is fixed,
//! so equal configs give equal bytes. Nothing here checks a value; see [`crate::validate`].

mod disks;
mod files;
mod new;
mod passwd;
mod resource;

pub use disks::{Cex, Clevis, ClevisCustom, Disk, Filesystem, Luks, Partition, Raid, Tang};
pub use files::{Directory, File, Link, Owner, Storage};
pub use passwd::{Passwd, PasswdGroup, PasswdUser};
pub use resource::{HttpHeader, Resource, Verification};
use serde::{Deserialize, Serialize};

/// The spec version that [`Config`] holds and that is written out.
pub const VERSION: &str = "3.5.0";

/// Declares a section: every key may be absent, and is left out when it is.
macro_rules! section {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
            #[serde(default, rename_all = "camelCase")]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    #[serde(skip_serializing_if = "crate::types::is_unset")]
                    pub $field: $type,
                )*
            }
        )*
    };
}
pub(crate) use section;

/// Whether a key holds nothing that would need writing.
pub(crate) fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A whole config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// The config about itself: version, parents, how to fetch.
    pub ignition: Ignition,
    /// What the kernel command line must and must not hold.
    #[serde(skip_serializing_if = "is_unset")]
    pub kernel_arguments: KernelArguments,
    /// Users and groups.
    #[serde(skip_serializing_if = "is_unset")]
    pub passwd: Passwd,
    /// Disks, filesystems, files.
    #[serde(skip_serializing_if = "is_unset")]
    pub storage: Storage,
    /// Units.
    #[serde(skip_serializing_if = "is_unset")]
    pub systemd: Systemd,
}

/// The config about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ignition {
    /// Other configs to fetch.
    #[serde(skip_serializing_if = "is_unset")]
    pub config: IgnitionConfig,
    /// How to reach HTTP servers.
    #[serde(skip_serializing_if = "is_unset")]
    pub proxy: Proxy,
    /// Whom to trust.
    #[serde(skip_serializing_if = "is_unset")]
    pub security: Security,
    /// How long to wait.
    #[serde(skip_serializing_if = "is_unset")]
    pub timeouts: Timeouts,
    /// Spec version; [`VERSION`] after parsing.
    pub version: String,
}

impl Default for Ignition {
    fn default() -> Self {
        Self {
            config: IgnitionConfig::default(),
            proxy: Proxy::default(),
            security: Security::default(),
            timeouts: Timeouts::default(),
            version: VERSION.into(),
        }
    }
}

section! {
    /// Other configs to fetch.
    pub struct IgnitionConfig {
        /// Configs merged over this one, in their order.
        pub merge: Vec<Resource>,
        /// A config that takes the place of this one.
        pub replace: Resource,
    }

    /// HTTP proxies, while the config is applied only.
    pub struct Proxy {
        /// For `http://`.
        pub http_proxy: Option<String>,
        /// For `https://`.
        pub https_proxy: Option<String>,
        /// Hosts, domains, addresses and networks that are reached without one.
        pub no_proxy: Vec<String>,
    }

    /// Whom to trust.
    pub struct Security {
        /// TLS settings.
        pub tls: Tls,
    }

    /// TLS settings.
    pub struct Tls {
        /// PEM bundles trusted besides the image's own.
        pub certificate_authorities: Vec<Resource>,
    }

    /// Bounds on waiting, in seconds; 0 is none.
    pub struct Timeouts {
        /// For the headers of a response; 10 unless set.
        pub http_response_headers: Option<i64>,
        /// For a whole fetch with its retries; none unless set.
        pub http_total: Option<i64>,
    }

    /// What the kernel command line must and must not hold.
    pub struct KernelArguments {
        /// Added if absent.
        pub should_exist: Vec<String>,
        /// Removed if present.
        pub should_not_exist: Vec<String>,
    }

    /// Units.
    pub struct Systemd {
        /// Each with its own name.
        pub units: Vec<Unit>,
    }

    /// A unit file, its drop-ins, and whether it starts.
    pub struct Unit {
        /// The unit file; nothing is written without it.
        pub contents: Option<String>,
        /// Drop-ins in `NAME.d`.
        pub dropins: Vec<Dropin>,
        /// Enable, disable, or leave as the image's presets say.
        pub enabled: Option<bool>,
        /// Link the unit to `/dev/null`, or remove such a link.
        pub mask: Option<bool>,
        /// With its suffix.
        pub name: String,
    }

    /// A drop-in of a unit.
    pub struct Dropin {
        /// Nothing is written without it.
        pub contents: Option<String>,
        /// Ends in `.conf`.
        pub name: String,
    }
}
