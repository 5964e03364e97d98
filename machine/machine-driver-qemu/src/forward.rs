//! Ways in from this workstation, opened in a running QEMU. QEMU itself binds each port, so there is
//! no moment between choosing and taking one.

use std::time::Duration;

use machine_core::driver::{DriverError, Forward};
use uuid::Uuid;

use crate::qmp::{Qmp, QmpError};

const LIMIT: Duration = Duration::from_secs(5);
/// Below the ports that this workstation's own connections take, above the well-known ones.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
const ATTEMPTS: u16 = 64;

/// Opens a way in. Takes the port it had before, or else one of its own choice.
///
/// With `pinned` only the given port will do.
pub(crate) fn open(qmp: &mut Qmp, id: Uuid, wanted: &Forward, pinned: bool) -> Result<Forward, DriverError> {
    if wanted.host_port != 0 {
        match bind(qmp, wanted) {
            Ok(()) => return Ok(wanted.clone()),
            Err(Refused::Taken) if !pinned => {}
            Err(Refused::Taken) => return Err(taken(wanted)),
            Err(Refused::Other(error)) => return Err(error),
        }
    }
    for attempt in 0..ATTEMPTS {
        let forward = Forward { host_port: candidate(id, wanted.guest_port, attempt), ..wanted.clone() };
        match bind(qmp, &forward) {
            Ok(()) => return Ok(forward),
            Err(Refused::Taken) => {}
            Err(Refused::Other(error)) => return Err(error),
        }
    }
    let last = FIRST + COUNT - 1;
    Err(DriverError::failed(format!(
        "found no free port on {} between {FIRST} and {last} for port {} of the machine",
        wanted.host_address, wanted.guest_port
    ))
    .hint("stop some machines or programs that listen there"))
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
fn candidate(id: Uuid, guest_port: u16, attempt: u16) -> u16 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in id.as_bytes().iter().copied().chain(guest_port.to_be_bytes()).chain(attempt.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    FIRST + u16::try_from(hash % u64::from(COUNT)).expect("below 12,000")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn choices_are_stable_and_spread() {
        let id = Uuid::from_u128(42);
        assert_eq!(candidate(id, 22, 0), candidate(id, 22, 0));
        let all: BTreeSet<u16> = (0..500).map(|n| candidate(Uuid::from_u128(n), 2376, 0)).collect();
        assert!(all.len() > 450, "{}", all.len());
        assert!(all.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)));
    }
}
