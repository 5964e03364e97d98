//! `STOPSIGNAL`: which words are signals on Linux.

const NAMES: [&str; 33] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "UNUSED", "URG", "USR1", "USR2", "VTALRM", "WINCH",
];

/// A number, a name with or without `SIG`, or a real-time signal.
pub(crate) fn is_signal(word: &str) -> bool {
    if let Ok(number) = word.parse::<i32>() {
        return number != 0;
    }
    let upper = word.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || matches!(name, "XCPU" | "XFSZ") || is_real_time(name)
}

fn is_real_time(name: &str) -> bool {
    let offset =
        |text: &str, most: u8| text.is_empty() || text[1..].parse::<u8>().is_ok_and(|offset| offset <= most);
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => offset(rest, 15),
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => offset(rest, 14),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known() {
        for word in ["9", "SIGTERM", "term", "RTMIN+3", "SIGRTMAX"] {
            assert!(is_signal(word), "{word}");
        }
        for word in ["XX", "0", "RTMIN+99", "RTMINx"] {
            assert!(!is_signal(word), "{word}");
        }
    }
}
