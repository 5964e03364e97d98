//! What a machine is called: its name, and the number by which it knows itself.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use crate::keep;

const MACHINE_ID: &str = "/etc/machine-id";

/// The maker's number of this machine; QEMU's `-uuid`.
const PRODUCT: &str = "/sys/class/dmi/id/product_uuid";

/// Gives the machine a number if it has none: its maker's, else one of its own.
pub(crate) fn ensure_machine_id() -> io::Result<()> {
    let now = fs::read_to_string(MACHINE_ID).unwrap_or_default();
    if plain(&now).is_some() {
        return Ok(());
    }
    let id = match plain(&fs::read_to_string(PRODUCT).unwrap_or_default()) {
        Some(id) => id,
        None => random()?,
    };
    keep::replace(Path::new(MACHINE_ID), &format!("{id}\n"))
}

/// A number of 128 bits as 32 digits; makers who leave it out write only zeros or only ones.
fn plain(text: &str) -> Option<String> {
    let id = text.trim().replace('-', "").to_ascii_lowercase();
    let digits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unset = id.bytes().all(|byte| byte == b'0') || id.bytes().all(|byte| byte == b'f');
    (digits && !unset).then_some(id)
}

fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // As a random UUID, which it may be read as.
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The name in /etc/hostname, else the one that is offered, else `localhost`.
pub(crate) fn name_machine(offered: Option<&str>) {
    let chosen = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = [chosen.trim(), offered.unwrap_or_default(), "localhost"]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("localhost")
        .to_owned();
    if let Err(error) = nix::unistd::sethostname(&name) {
        tracing::warn!(name, %error, "hostname not set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_number_counts() {
        let id = "1b4e28ba2fa111d2883f0016d3cca427";
        assert_eq!(plain("1B4E28BA-2FA1-11D2-883F-0016D3CCA427\n").as_deref(), Some(id));
        assert_eq!(plain(&format!("{id}\n")).as_deref(), Some(id));
        for text in
            ["", "00000000-0000-0000-0000-000000000000", "uninitialized", "ffffffffffffffffffffffffffffffff"]
        {
            assert_eq!(plain(text), None, "{text}");
        }
        assert_eq!(plain(&random().expect("there is randomness")).map(|id| id.len()), Some(32));
    }
}
