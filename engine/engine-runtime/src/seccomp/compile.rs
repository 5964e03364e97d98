//! From a policy to a classic BPF program.

use super::policy::{Condition, Table};

/// `struct sock_filter`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const JUMP_BITS: u16 = 0x45;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;
const UNKNOWN: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn give(value: u32) -> Instruction {
    op(RETURN, 0, 0, value)
}

/// A foreign architecture kills the process: nothing is known about its calls.
pub(super) fn compile(tables: &[Table]) -> Vec<Instruction> {
    let mut program = vec![op(LOAD, 0, 0, ARCHITECTURE)];
    for table in tables {
        let section = section(table);
        // The section may be longer than a conditional jump reaches.
        program.push(op(JUMP_EQUAL, 1, 0, table.architecture));
        program.push(op(JUMP, 0, 0, section.len() as u32));
        program.extend(section);
    }
    program.push(give(KILL_PROCESS));
    program
}

fn section(table: &Table) -> Vec<Instruction> {
    let mut out = vec![op(LOAD, 0, 0, NUMBER)];
    for (number, condition) in &table.conditional {
        let check = check(condition);
        out.push(op(JUMP_EQUAL, 0, check.len() as u8, *number));
        out.extend(check);
    }
    for number in &table.hidden {
        out.push(op(JUMP_EQUAL, 0, 1, *number));
        out.push(give(UNKNOWN));
    }
    out.push(op(JUMP_GREATER, 0, 1, table.newest));
    out.push(give(UNKNOWN));
    for (first, last) in ranges(&table.refused) {
        if first == last {
            out.push(op(JUMP_EQUAL, 0, 1, first));
        } else {
            out.push(op(JUMP_GREATER_EQUAL, 0, 2, first));
            out.push(op(JUMP_GREATER, 1, 0, last));
        }
        out.push(give(REFUSE));
    }
    out.push(give(ALLOW));
    out
}

fn check(condition: &Condition) -> Vec<Instruction> {
    let mut out = vec![op(LOAD, 0, 0, FIRST_ARGUMENT)];
    let (values, found, otherwise) = match condition {
        Condition::Without(bits) => {
            out.extend([op(JUMP_BITS, 0, 1, *bits), give(REFUSE), give(ALLOW)]);
            return out;
        }
        Condition::OneOf(values) => (values, ALLOW, REFUSE),
        Condition::NoneOf(values) => (values, REFUSE, ALLOW),
    };
    for value in values {
        out.extend([op(JUMP_EQUAL, 0, 1, *value), give(found)]);
    }
    out.push(give(otherwise));
    out
}

/// Neighbouring numbers as (first, last).
fn ranges(sorted: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    ranges
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use engine_shim::caps;

    use super::*;
    use crate::seccomp::policy;

    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    /// What the kernel would answer.
    fn run(program: &[Instruction], architecture: u32, number: u32, argument: u32) -> u32 {
        let mut accumulator = 0;
        let mut at = 0;
        loop {
            let i = program[at];
            let taken = match i.code {
                LOAD => {
                    accumulator = match i.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => argument,
                        other => panic!("offset {other}"),
                    };
                    None
                }
                JUMP => {
                    at += i.k as usize;
                    None
                }
                RETURN => return i.k,
                JUMP_EQUAL => Some(accumulator == i.k),
                JUMP_GREATER => Some(accumulator > i.k),
                JUMP_GREATER_EQUAL => Some(accumulator >= i.k),
                JUMP_BITS => Some(accumulator & i.k != 0),
                other => panic!("code {other:#x}"),
            };
            at += 1 + taken.map_or(0, |yes| usize::from(if yes { i.jt } else { i.jf }));
        }
    }

    fn program(capabilities: &[&str]) -> Vec<Instruction> {
        let names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
        compile(&policy::tables(caps::mask(&names)))
    }

    #[test]
    fn each_refused_call_is_refused_and_its_neighbours_are_not() {
        let program = program(&["SYS_CHROOT"]);
        let tables = policy::tables(caps::mask(&["SYS_CHROOT".to_owned()]));
        for table in &tables {
            for number in 0..=table.newest {
                let answer = run(&program, table.architecture, number, 0);
                let expected = if table.hidden.contains(&number) {
                    UNKNOWN
                } else if table.refused.contains(&number) {
                    REFUSE
                } else {
                    ALLOW
                };
                assert_eq!(answer, expected, "call {number} of {:#x}", table.architecture);
            }
            assert_eq!(run(&program, table.architecture, table.newest + 1, 0), UNKNOWN);
            assert_eq!(run(&program, table.architecture, 0x4000_0000, 0), UNKNOWN, "x32");
        }
        assert_eq!(run(&program, 0x1234, 0, 0), KILL_PROCESS);
    }

    #[test]
    fn arguments_decide() {
        let program = program(&[]);
        let clone = |flags: i32| run(&program, X86_64, 56, flags as u32);
        assert_eq!(clone(libc::SIGCHLD | libc::CLONE_VM), ALLOW);
        assert_eq!(clone(libc::CLONE_NEWUSER), REFUSE);
        assert_eq!(clone(libc::CLONE_NEWNS | libc::SIGCHLD), REFUSE);
        let socket = |family: i32| run(&program, X86_64, 41, family as u32);
        assert_eq!(socket(libc::AF_INET), ALLOW);
        assert_eq!(socket(libc::AF_ALG), REFUSE);
        assert_eq!(socket(libc::AF_VSOCK), REFUSE);
        assert_eq!(run(&program, I386, 359, 40), REFUSE);
        assert_eq!(run(&program, I386, 102, 1), REFUSE, "socketcall hides its arguments");
        assert_eq!(run(&program, X86_64, 135, 0xffff_ffff), ALLOW);
        assert_eq!(run(&program, X86_64, 135, 0x4000), REFUSE);
        assert_eq!(run(&program, X86_64, 435, 0), UNKNOWN);
    }

    #[test]
    fn capabilities_open_their_calls() {
        let mount = libc::SYS_mount as u32;
        assert_eq!(run(&program(&[]), X86_64, mount, 0), REFUSE);
        assert_eq!(run(&program(&["CAP_SYS_ADMIN"]), X86_64, mount, 0), ALLOW);
        assert_eq!(run(&program(&["CAP_SYS_ADMIN"]), X86_64, 56, libc::CLONE_NEWNS as u32), ALLOW);
        assert_eq!(run(&program(&["CAP_SYS_ADMIN"]), X86_64, 435, 0), ALLOW);
        assert_eq!(run(&program(&["CAP_SYS_MODULE"]), X86_64, libc::SYS_init_module as u32, 0), ALLOW);
        assert_eq!(run(&program(&["CAP_SYSLOG"]), X86_64, libc::SYS_syslog as u32, 0), ALLOW);
        assert_eq!(run(&program(&["CAP_SYS_ADMIN"]), X86_64, libc::SYS_keyctl as u32, 0), REFUSE);
    }

    #[test]
    fn it_is_short() {
        assert!(program(&["SYS_CHROOT"]).len() < 300, "{}", program(&["SYS_CHROOT"]).len());
    }
}
