//! What signals of systemd tell.

use super::wire::Message;

const UNITS: &str = "/org/freedesktop/systemd1/unit/";

/// What a signal tells of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// This unit.
    Unit(String),
    /// Any unit: the unit files were read again.
    All,
    /// Nothing that a state depends on.
    Nothing,
}

/// What a signal tells of.
pub(super) fn told(signal: &Message) -> Told {
    if let Some(escaped) = signal.path.strip_prefix(UNITS) {
        return Told::Unit(unescape(escaped));
    }
    let unit = match signal.member.as_str() {
        "JobNew" => signal.said("uos").and_then(|mut said| {
            let (_job, _object) = (said.number()?, said.text()?);
            said.text()
        }),
        "JobRemoved" => ended(signal).map(|job| job.unit),
        "UnitNew" | "UnitRemoved" => signal.said("so").and_then(|mut said| said.text()),
        "Reloading" => return Told::All,
        _ => return Told::Nothing,
    };
    unit.map_or(Told::All, Told::Unit)
}

/// A job that is over.
pub(super) struct Ended {
    pub(super) job: String,
    unit: String,
    /// `done` when all went well.
    pub(super) result: String,
}

/// The job that was removed, if the signal says so.
pub(super) fn job_ended(signal: &Message) -> Option<Ended> {
    (signal.member == "JobRemoved").then(|| ended(signal).ok())?
}

fn ended(signal: &Message) -> Result<Ended, super::wire::Malformed> {
    let mut said = signal.said("uoss")?;
    said.number()?;
    Ok(Ended { job: said.text()?, unit: said.text()?, result: said.text()? })
}

/// A unit's name from the last part of its object's path: `_` and two digits stand for other bytes.
fn unescape(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        let digit = |at: usize| behind.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (*first, digit(0), digit(1)) {
            (b'_', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(high * 16 + low));
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_unit() {
        for (path, unit) in [
            ("a_401_2eservice", "a@1.service"),
            ("plain", "plain"),
            ("dev_2d_2dnull_2emount", "dev--null.mount"),
            ("odd_", "odd_"),
            ("odd_zz", "odd_zz"),
            ("s_c3_a9_2eservice", "sé.service"),
        ] {
            let signal = Message { path: format!("{UNITS}{path}"), ..Message::default() };
            assert_eq!(told(&signal), Told::Unit(unit.to_owned()));
        }
    }
}
