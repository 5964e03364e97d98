//! Reads the `.modinfo` section of a kernel module: `key=value` strings ended by zero bytes.

/// What loading a module asks for first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModInfo {
    /// Modules it cannot do without.
    pub(crate) depends: Vec<String>,
    /// Modules to load before it, where they exist.
    pub(crate) soft_before: Vec<String>,
    /// Patterns of what the kernel asks for when it needs this module, such as `rtnl-link-veth`.
    pub(crate) aliases: Vec<String>,
}

/// The facts of the module whose ELF file is `elf`; nothing if it is no such file.
pub(crate) fn parse(elf: &[u8]) -> Option<ModInfo> {
    let section = section(elf, ".modinfo")?;
    let mut info = ModInfo::default();
    for line in section.split(|byte| *byte == 0) {
        let Some((key, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once('=')) else {
            continue;
        };
        match key {
            "depends" => info.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(normal)),
            "softdep" => info.soft_before.extend(soft_before(value)),
            "alias" => info.aliases.push(value.to_owned()),
            _ => {}
        }
    }
    Some(info)
}

/// Module names use `-` and `_` alike; files and lists here use `_`.
pub(crate) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// `pre: a b post: c` names a and b.
fn soft_before(value: &str) -> Vec<String> {
    let mut before = false;
    let mut names = Vec::new();
    for word in value.split_whitespace() {
        match word {
            "pre:" => before = true,
            "post:" => before = false,
            name if before => names.push(normal(name)),
            _ => {}
        }
    }
    names
}

/// The bytes of the section `wanted` of a 64-bit little-endian ELF file.
fn section<'a>(elf: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64_at(elf, 0x28)?).ok()?;
    let size = usize::from(u16_at(elf, 0x3a)?);
    let count = usize::from(u16_at(elf, 0x3c)?);
    let names = usize::from(u16_at(elf, 0x3e)?);
    let body = |index: usize| -> Option<&'a [u8]> {
        let header = table + index * size;
        let start = usize::try_from(u64_at(elf, header + 0x18)?).ok()?;
        let length = usize::try_from(u64_at(elf, header + 0x20)?).ok()?;
        elf.get(start..start.checked_add(length)?)
    };
    let strings = body(names)?;
    (0..count).find_map(|index| {
        let at = usize::try_from(u32_at(elf, table + index * size)?).ok()?;
        let name = strings.get(at..)?.split(|byte| *byte == 0).next()?;
        (name == wanted.as_bytes()).then(|| body(index))?
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_before_is_a_soft_dependency() {
        assert_eq!(soft_before("pre: crc32c sha-256 post: x"), ["crc32c", "sha_256"]);
    }

    #[test]
    fn what_is_no_module_is_no_module() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"\x7fELF\x02\x01"), None);
    }
}
