//! Which cloud a machine is in. Only text.

use std::fs;
use std::path::Path;

/// A cloud with a metadata service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// DigitalOcean's droplets.
    DigitalOcean,
    /// Amazon's EC2 instances.
    Ec2,
}

/// What the firmware says of the machine, as the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// `sys_vendor`
    pub vendor: String,
    /// `board_asset_tag`; EC2's newer instances show their id here.
    pub asset: String,
    /// `bios_version`; EC2's older instances are told by it.
    pub bios: String,
}

impl Firmware {
    /// Of this machine.
    #[must_use]
    pub fn read(sys: &Path) -> Self {
        let line = |name: &str| {
            let text = fs::read_to_string(sys.join("class/dmi/id").join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        Self { vendor: line("sys_vendor"), asset: line("board_asset_tag"), bios: line("bios_version") }
    }
}

impl Platform {
    /// The one that the kernel command line names, or else the firmware.
    #[must_use]
    pub fn detect(command_line: &str, firmware: &Firmware) -> Option<Self> {
        let words = command_line.split_whitespace();
        match words.filter_map(|word| word.strip_prefix("ignition.platform.id=")).next_back() {
            Some("digitalocean") => return Some(Self::DigitalOcean),
            Some("aws" | "ec2") => return Some(Self::Ec2),
            // Named, and none of ours: the firmware must not overrule that.
            Some(_) => return None,
            None => {}
        }
        if firmware.vendor == "DigitalOcean" {
            Some(Self::DigitalOcean)
        } else if firmware.vendor == "Amazon EC2" || firmware.bios.ends_with(".amazon") {
            Some(Self::Ec2)
        } else {
            None
        }
    }

    /// Its name, as on the kernel command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DigitalOcean => "digitalocean",
            Self::Ec2 => "aws",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_firmware() {
        let firmware = |vendor: &str, bios: &str| Firmware {
            vendor: vendor.into(),
            bios: bios.into(),
            ..Firmware::default()
        };
        let droplet = firmware("DigitalOcean", "20171212");
        assert_eq!(Platform::detect("quiet", &droplet), Some(Platform::DigitalOcean));
        assert_eq!(Platform::detect("ignition.platform.id=aws", &droplet), Some(Platform::Ec2));
        assert_eq!(Platform::detect("ignition.platform.id=metal", &droplet), None);
        assert_eq!(Platform::detect("", &firmware("Amazon EC2", "1.0")), Some(Platform::Ec2));
        assert_eq!(Platform::detect("", &firmware("Xen", "4.11.amazon")), Some(Platform::Ec2));
        assert_eq!(Platform::detect("", &firmware("QEMU", "1.16.0-debian")), None);
    }
}
