//! `%` specifiers. What a host knows (machine id, host name, …) comes in through [`Specifiers`].

use crate::name::{UnitName, unescape, unescape_path};

/// What specifiers of a host and of a unit's user stand for.
#[derive(Clone, Debug, Default)]
pub struct Specifiers {
    /// `%m`, 32 hexadecimal digits.
    pub machine_id: String,
    /// `%b`, 32 hexadecimal digits.
    pub boot_id: String,
    /// `%H`; `%l` and `%q` follow from it.
    pub host_name: String,
    /// `%v`, kernel release.
    pub kernel: String,
    /// `%a`, architecture in systemd's words (`x86-64`).
    pub architecture: String,
    /// Fields of os-release for `%o %w %W %A %B %M`: ID, VERSION_ID, VARIANT_ID, IMAGE_VERSION,
    /// BUILD_ID, IMAGE_ID.
    pub os_release: Vec<(String, String)>,
    /// `%u`, name of the user that runs the manager.
    pub user: String,
    /// `%U`.
    pub uid: u32,
    /// `%g`.
    pub group: String,
    /// `%G`.
    pub gid: u32,
    /// `%h`.
    pub home: String,
    /// `%s`.
    pub shell: String,
    /// `%t`.
    pub runtime_dir: String,
    /// `%S`.
    pub state_dir: String,
    /// `%C`.
    pub cache_dir: String,
    /// `%L`.
    pub logs_dir: String,
    /// `%E`.
    pub config_dir: String,
    /// `%T`.
    pub tmp_dir: String,
    /// `%V`.
    pub var_tmp_dir: String,
    /// `%y`, path of the unit's fragment.
    pub fragment: String,
}

/// Replaces every specifier; an unknown one stays as it is, `%%` becomes `%`.
#[must_use]
pub fn expand(text: &str, unit: &UnitName, host: &Specifiers) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => out.push('%'),
            Some('%') => out.push('%'),
            Some(letter) => match value(letter, unit, host) {
                Some(value) => out.push_str(&value),
                None => out.extend(['%', letter]),
            },
        }
    }
    out
}

fn value(letter: char, unit: &UnitName, host: &Specifiers) -> Option<String> {
    let own = |text: &str| Some(text.to_owned());
    let final_part = |text: &str| text.rsplit('-').next().unwrap_or(text).to_owned();
    let os = |field: &str| {
        Some(host.os_release.iter().find(|(key, _)| key == field).map(|(_, v)| v.clone()).unwrap_or_default())
    };
    match letter {
        'n' => own(unit.as_str()),
        'N' => own(unit.stem()),
        'p' => own(unit.prefix()),
        'P' => Some(unescape(unit.prefix())),
        'i' => own(unit.instance().unwrap_or_default()),
        'I' => Some(unescape(unit.instance().unwrap_or_default())),
        'f' => Some(unescape_path(unit.instance().unwrap_or_else(|| unit.prefix()))),
        'j' => Some(final_part(unit.prefix())),
        'J' => Some(unescape(&final_part(unit.prefix()))),
        'm' => own(&host.machine_id),
        'b' => own(&host.boot_id),
        'H' | 'q' => own(&host.host_name),
        'l' => own(host.host_name.split('.').next().unwrap_or_default()),
        'v' => own(&host.kernel),
        'a' => own(&host.architecture),
        'u' => own(&host.user),
        'U' => Some(host.uid.to_string()),
        'g' => own(&host.group),
        'G' => Some(host.gid.to_string()),
        'h' => own(&host.home),
        's' => own(&host.shell),
        't' => own(&host.runtime_dir),
        'S' => own(&host.state_dir),
        'C' => own(&host.cache_dir),
        'L' => own(&host.logs_dir),
        'E' => own(&host.config_dir),
        'T' => own(&host.tmp_dir),
        'V' => own(&host.var_tmp_dir),
        'o' => os("ID"),
        'w' => os("VERSION_ID"),
        'W' => os("VARIANT_ID"),
        'A' => os("IMAGE_VERSION"),
        'B' => os("BUILD_ID"),
        'M' => os("IMAGE_ID"),
        'y' => own(&host.fragment),
        'Y' => own(host.fragment.rsplit_once('/').map_or("", |(dir, _)| dir)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers() {
        let unit: UnitName = "web-app@a\\x2db-c.service".parse().expect("valid");
        let host =
            Specifiers { machine_id: "abc".into(), host_name: "h.example".into(), ..Specifiers::default() };
        let expand = |text: &str| expand(text, &unit, &host);
        assert_eq!(expand("%n|%N|%p|%i"), "web-app@a\\x2db-c.service|web-app@a\\x2db-c|web-app|a\\x2db-c");
        assert_eq!(expand("%I|%f|%j|%m|%H|%l"), "a-b/c|/a-b/c|app|abc|h.example|h");
        assert_eq!(expand("100%% %Z %"), "100% %Z %");
    }
}
