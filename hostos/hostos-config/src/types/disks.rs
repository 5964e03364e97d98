//! Disks, arrays, encrypted volumes and filesystems as a config declares them.

use super::{Resource, section};

section! {
    /// A disk and its partition table.
    pub struct Disk {
        /// Path of the device.
        pub device: String,
        /// What the table must hold.
        pub partitions: Vec<Partition>,
        /// Start from an empty table.
        pub wipe_table: Option<bool>,
    }

    /// An entry of a GPT.
    pub struct Partition {
        /// Unique id of the entry.
        pub guid: Option<String>,
        /// At most 36 characters.
        pub label: Option<String>,
        /// From 1; 0 is the next free one.
        pub number: i64,
        /// Grow the entry if it is otherwise right (3.2).
        pub resize: Option<bool>,
        /// Make it, or see that it is gone.
        pub should_exist: Option<bool>,
        /// 0 is all that is free there.
        #[serde(rename = "sizeMiB")]
        pub size_mib: Option<i64>,
        /// 0 is the start of the largest gap.
        #[serde(rename = "startMiB")]
        pub start_mib: Option<i64>,
        /// Linux data unless set.
        pub type_guid: Option<String>,
        /// Replace an entry that does not match.
        pub wipe_partition_entry: Option<bool>,
    }

    /// A filesystem on a device.
    pub struct Filesystem {
        /// Path of the device.
        pub device: String,
        /// ext4, btrfs, xfs, vfat, swap, or none (3.3).
        pub format: Option<String>,
        /// Label of the filesystem.
        pub label: Option<String>,
        /// For the mount while the config is applied (3.1).
        pub mount_options: Vec<String>,
        /// Extra arguments of mkfs.
        pub options: Vec<String>,
        /// Where it is mounted while the config is applied.
        pub path: Option<String>,
        /// Id of the filesystem.
        pub uuid: Option<String>,
        /// Make it anew even if it matches.
        pub wipe_filesystem: Option<bool>,
    }

    /// A software array.
    pub struct Raid {
        /// Its members.
        pub devices: Vec<String>,
        /// As mdadm names it.
        pub level: Option<String>,
        /// Name of the array.
        pub name: String,
        /// Extra arguments of mdadm.
        pub options: Vec<String>,
        /// How many members stand by.
        pub spares: Option<i64>,
    }

    /// An encrypted volume (3.2).
    pub struct Luks {
        /// Keys kept by an IBM Z crypto card (3.5).
        pub cex: Cex,
        /// Automatic unlocking.
        pub clevis: Clevis,
        /// Path of the device.
        pub device: Option<String>,
        /// Pass discards through (3.4).
        pub discard: Option<bool>,
        /// The key.
        pub key_file: Resource,
        /// Label of the volume.
        pub label: Option<String>,
        /// Name of the opened volume.
        pub name: String,
        /// Options kept for opening (3.4).
        pub open_options: Vec<String>,
        /// Extra arguments of cryptsetup.
        pub options: Vec<String>,
        /// Id of the volume.
        pub uuid: Option<String>,
        /// Make it anew even if it matches.
        pub wipe_volume: Option<bool>,
    }

    /// Keys kept by an IBM Z crypto card.
    pub struct Cex {
        /// Use it.
        pub enabled: Option<bool>,
    }

    /// Automatic unlocking.
    pub struct Clevis {
        /// A pin of one's own; excludes the others.
        pub custom: ClevisCustom,
        /// Servers that hold a share of the key.
        pub tang: Vec<Tang>,
        /// How many pins must agree.
        pub threshold: Option<i64>,
        /// Bind to the TPM.
        pub tpm2: Option<bool>,
    }

    /// A pin of one's own.
    pub struct ClevisCustom {
        /// Its config, as clevis wants it.
        pub config: Option<String>,
        /// Whether it needs the network.
        pub needs_network: Option<bool>,
        /// Its name.
        pub pin: Option<String>,
    }

    /// A server that holds a share of the key.
    pub struct Tang {
        /// Its signed keys, for binding offline (3.4).
        pub advertisement: Option<String>,
        /// Thumbprint of a trusted key.
        pub thumbprint: Option<String>,
        /// Address.
        pub url: String,
    }
}
