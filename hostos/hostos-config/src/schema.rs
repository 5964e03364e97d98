//! Which key came with which minor version: an older config is read by the schema of its own minor,
//! so a key from a later one is unknown to it, as it is to the elder.

/// The newest minor of spec 3 that is understood.
pub(crate) const NEWEST_MINOR: u32 = 5;

/// Type, key, and the first minor that has it. A key that is not listed has always been there.
const SINCE: &[(&str, &str, u32)] = &[
    ("Ignition", "proxy", 1),
    ("Resource", "httpHeaders", 1),
    ("Filesystem", "mountOptions", 1),
    ("Storage", "luks", 2),
    ("Partition", "resize", 2),
    ("PasswdUser", "shouldExist", 2),
    ("PasswdGroup", "shouldExist", 2),
    ("Config", "kernelArguments", 3),
    ("Luks", "discard", 4),
    ("Luks", "openOptions", 4),
    ("Tang", "advertisement", 4),
    ("Luks", "cex", 5),
];

/// Whether the schema of `3.minor` has that key of that type, at that path.
pub(crate) fn knows(minor: u32, type_name: &str, key: &str, path: &str) -> bool {
    since(type_name, key, path) <= minor
}

/// The first minor that has the key.
pub(crate) fn since(type_name: &str, key: &str, path: &str) -> u32 {
    let of_a_file = !path.starts_with("$.ignition");
    if type_name == "Resource" && key == "compression" {
        return u32::from(!of_a_file);
    }
    SINCE.iter().find(|(of, listed, _)| *of == type_name && *listed == key).map_or(0, |(_, _, minor)| *minor)
}
