//! Ways in from this workstation, opened in a running QEMU. QEMU itself binds each port, so there is
//! no moment between choosing and taking one.

use std::time::Duration;

use machine_core::driver::{DriverError, Forward, Protocol};
use uuid::Uuid;

use crate::config::PortRange;
use crate::qmp::{Qmp, QmpError};

const LIMIT: Duration = Duration::from_secs(5);
const ATTEMPTS: u16 = 64;
/// So many neighbours are tried before a jump.
const RUN: u16 = 16;

/// Opens a way in. Takes the port it had before, or else one of its own choice.
///
/// With `pinned` only the given port will do.
pub(crate) fn open(
    qmp: &mut Qmp,
    id: Uuid,
    range: PortRange,
    wanted: &Forward,
    pinned: bool,
) -> Result<Forward, DriverError> {
    if wanted.host_port != 0 {
        match bind(qmp, wanted) {
            Ok(()) => return Ok(wanted.clone()),
            Err(Refused::Taken) if !pinned => {}
            Err(Refused::Taken) => return Err(taken(wanted)),
            Err(Refused::Other(error)) => return Err(error),
        }
    }
    for attempt in 0..ATTEMPTS {
        let forward =
            Forward { host_port: candidate(id, range, wanted.guest_port, attempt), ..wanted.clone() };
        match bind(qmp, &forward) {
            Ok(()) => return Ok(forward),
            Err(Refused::Taken) => {}
            Err(Refused::Other(error)) => return Err(error),
        }
    }
    Err(DriverError::failed(format!(
        "found no free port on {} between {} and {} for port {} of the machine",
        wanted.host_address, range.first, range.last, wanted.guest_port
    ))
    .hint("stop some machines or programs that listen there"))
}

/// The ways in that a running QEMU has.
pub(crate) fn existing(qmp: &mut Qmp) -> Result<Vec<Forward>, DriverError> {
    let said = qmp
        .human("info usernet", LIMIT)
        .map_err(|error| DriverError::failed("could not list the machine's ports").source(error))?;
    Ok(said.lines().filter_map(parse_usernet).collect())
}

/// A line of `info usernet`: `TCP[HOST_FORWARD]  12  127.0.0.1 20022  10.0.2.15  22  0  0`.
fn parse_usernet(line: &str) -> Option<Forward> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [kind, _, host_address, host_port, _, guest_port, ..] = words[..] else { return None };
    let protocol = match kind.strip_suffix("[HOST_FORWARD]")? {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return None,
    };
    Some(Forward {
        protocol,
        host_address: host_address.parse().ok()?,
        host_port: host_port.parse().ok()?,
        guest_port: guest_port.parse().ok()?,
    })
}

/// Closes a way in.
pub(crate) fn close(qmp: &mut Qmp, forward: &Forward) -> Result<(), DriverError> {
    let Forward { protocol, host_address, host_port, .. } = forward;
    let said = qmp
        .human(&format!("hostfwd_remove net0 {protocol}:{host_address}:{host_port}"), LIMIT)
        .map_err(|error| DriverError::failed(format!("could not close {forward}")).source(error))?;
    if said.contains("removed") || said.is_empty() {
        Ok(())
    } else {
        Err(DriverError::failed(format!("could not close {forward}: {said}")))
    }
}

enum Refused {
    Taken,
    Other(DriverError),
}

fn bind(qmp: &mut Qmp, forward: &Forward) -> Result<(), Refused> {
    let Forward { protocol, host_address, host_port, guest_port } = forward;
    let command = format!("hostfwd_add net0 {protocol}:{host_address}:{host_port}-:{guest_port}");
    let other = |error: QmpError| {
        Refused::Other(DriverError::failed(format!("could not open {forward}")).source(error))
    };
    let said = qmp.human(&command, LIMIT).map_err(other)?;
    if said.is_empty() {
        Ok(())
    } else if said.contains("Could not set up host forwarding rule") {
        Err(Refused::Taken)
    } else {
        Err(Refused::Other(DriverError::failed(format!("could not open {forward}: {said}"))))
    }
}

fn taken(forward: &Forward) -> DriverError {
    DriverError::failed(format!(
        "port {} of {} is taken, or this user may not bind it",
        forward.host_port, forward.host_address
    ))
    .hint(format!("see who has it with `ss -ltnp 'sport = :{}'`, or choose another port", forward.host_port))
}

/// The n-th choice of a machine for one of its ports: the same in every start, spread over machines.
/// A few choices in a row cover a small range completely.
fn candidate(id: Uuid, range: PortRange, guest_port: u16, attempt: u16) -> u16 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let (round, step) = (attempt / RUN, attempt % RUN);
    for byte in id.as_bytes().iter().copied().chain(guest_port.to_be_bytes()).chain(round.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let count = u64::from(range.last - range.first) + 1;
    range.first + u16::try_from((hash + u64::from(step)) % count).expect("below the number of ports")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_ports_of_a_running_qemu_are_read() {
        let line = "  TCP[HOST_FORWARD]  12       127.0.0.1 20022       10.0.2.15    22     0     0";
        assert_eq!(parse_usernet(line).expect("a port").to_string(), "127.0.0.1:20022 -> 22/tcp");
        for other in [
            "Hub -1 (net0):",
            "  Protocol[State]    FD  Source Address  Port",
            "  TCP[ESTABLISHED] 1 a 1 b 2 0 0",
        ] {
            assert_eq!(parse_usernet(other), None);
        }
    }

    #[test]
    fn choices_are_stable_and_spread() {
        let (id, range) = (Uuid::from_u128(42), PortRange::default());
        assert_eq!(candidate(id, range, 22, 0), candidate(id, range, 22, 0));
        let all: BTreeSet<u16> = (0..500).map(|n| candidate(Uuid::from_u128(n), range, 2376, 0)).collect();
        assert!(all.len() > 450, "{}", all.len());
        assert!(all.iter().all(|port| (range.first..=range.last).contains(port)));
        let small = PortRange { first: 40_000, last: 40_009 };
        let all: BTreeSet<u16> = (0..ATTEMPTS).map(|n| candidate(id, small, 22, n)).collect();
        assert_eq!(all.len(), 10, "none is left untried");
    }
}
