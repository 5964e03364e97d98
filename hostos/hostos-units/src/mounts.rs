//! What is mounted where, as the kernel tells it.

/// Is something mounted exactly there?
pub(crate) fn is_mount_point(path: &str) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    table.lines().any(|line| line.split(' ').nth(4).map(unescape_octal).as_deref() == Some(path))
}

/// `\040` and its like in tables of the kernel.
fn unescape_octal(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            out.push(byte);
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
