//! Names and numbers of signals on Linux (x86 and arm).

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// First real-time signal that programs may use.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of `SIGTERM`, `TERM`, `15`, `RTMIN+3`.
#[must_use]
pub fn signal_from_name(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(index + 1).ok();
    }
    match name {
        "POLL" => Some(29),
        "RTMIN" => Some(RTMIN),
        "RTMAX" => Some(RTMAX),
        _ => {
            let number = if let Some(plus) = name.strip_prefix("RTMIN+") {
                RTMIN + plus.parse::<i32>().ok()?
            } else {
                RTMAX - name.strip_prefix("RTMAX-")?.parse::<i32>().ok()?
            };
            (RTMIN..=RTMAX).contains(&number).then_some(number)
        }
    }
}

/// `TERM` for 15; real-time signals as `RTMIN+n`.
#[must_use]
pub fn signal_name(number: i32) -> String {
    let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
    match NAMES.get(index) {
        Some(name) => (*name).to_owned(),
        None if (RTMIN..=RTMAX).contains(&number) => format!("RTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, number) in [("SIGTERM", 15), ("KILL", 9), ("2", 2), ("SIGRTMIN+3", 37), ("SYS", 31)] {
            assert_eq!(signal_from_name(name), Some(number), "{name}");
        }
        assert_eq!(
            (signal_from_name("SIGFOO"), signal_from_name("0"), signal_from_name("RTMIN+99")),
            (None, None, None)
        );
        assert_eq!((signal_name(15).as_str(), signal_name(37).as_str()), ("TERM", "RTMIN+3"));
    }
}
