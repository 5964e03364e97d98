//! Device control on v2: a small program the kernel runs at each open.
//!
//! The rules are an allow-list; the program compares kind, access and numbers
//! rule by rule, and refuses what matches none.
#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::limits::DeviceRule;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low, source in the high four bits.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const AND32: u8 = 0x54;
const SHIFT_RIGHT32: u8 = 0x74;
const JUMP_UNEQUAL: u8 = 0x55;
const JUMP_UNEQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset, immediate }
}

/// The rules every container has.
fn standard() -> Vec<DeviceRule> {
    let any = |kind| DeviceRule { kind, major: None, minor: None, access: "m".into() };
    let node = |major, minor| DeviceRule { kind: 'c', major: Some(major), minor, access: "rwm".into() };
    let mut rules = vec![any('c'), any('b'), node(136, None)];
    rules.extend(
        [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)].map(|(a, b)| node(a, Some(b))),
    );
    rules
}

/// Compiles an allow-list. Registers: 2 kind, 3 access, 4 major, 5 minor.
fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(MOVE_REGISTER, 3, 2, 0, 0),
        op(AND32, 2, 0, 0, 0xffff),
        op(SHIFT_RIGHT32, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let access = rule.access.chars().fold(0, |mask, letter| {
            mask | match letter {
                'm' => 1,
                'r' => 2,
                'w' => 4,
                _ => 0,
            }
        });
        let mut tests: Vec<Instruction> = Vec::new();
        match rule.kind {
            'b' => tests.push(op(JUMP_UNEQUAL, 2, 0, 0, 1)),
            'c' => tests.push(op(JUMP_UNEQUAL, 2, 0, 0, 2)),
            _ => {}
        }
        tests.push(op(MOVE_REGISTER, 6, 3, 0, 0));
        tests.push(op(AND32, 6, 0, 0, access));
        tests.push(op(JUMP_UNEQUAL_REGISTER, 6, 3, 0, 0));
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            if let Some(number) = number {
                tests.push(op(JUMP_UNEQUAL, register, 0, 0, number as i32));
            }
        }
        let length = tests.len() + 2;
        for (at, test) in tests.iter_mut().enumerate() {
            if test.code == JUMP_UNEQUAL || test.code == JUMP_UNEQUAL_REGISTER {
                test.offset = (length - at - 1) as i16;
            }
        }
        program.extend(tests);
        program.extend([op(MOVE, 0, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
    }
    program.extend([op(MOVE, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    program
}

#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn bpf<T>(command: i32, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes have the layout this command reads, and its size.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Lets processes in `dir` use the standard devices and `extra`, no others.
pub(super) fn restrict_devices(dir: &Path, extra: &[DeviceRule]) -> io::Result<()> {
    let mut rules = standard();
    rules.extend_from_slice(extra);
    let program = compile(&rules);
    let license = c"Apache-2.0";
    let load = LoadAttributes {
        kind: 15, // BPF_PROG_TYPE_CGROUP_DEVICE
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let loaded = bpf(5, &load)?;
    // SAFETY: the kernel just gave us this descriptor.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let cgroup = std::fs::File::open(dir)?;
    let attach = AttachAttributes {
        target: cgroup.as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        kind: 6,  // BPF_CGROUP_DEVICE
        flags: 2, // BPF_F_ALLOW_MULTI
    };
    bpf(8, &attach).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> i64 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0i64; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            at += 1;
            match i.code {
                LOAD_WORD => registers[to] = i64::from(context[(i.offset / 4) as usize]),
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = i64::from(i.immediate),
                AND32 => registers[to] &= i64::from(i.immediate),
                SHIFT_RIGHT32 => registers[to] >>= i.immediate,
                JUMP_UNEQUAL if registers[to] != i64::from(i.immediate) => at += i.offset as usize,
                JUMP_UNEQUAL_REGISTER if registers[to] != registers[from] => at += i.offset as usize,
                JUMP_UNEQUAL | JUMP_UNEQUAL_REGISTER => {}
                EXIT => return registers[0],
                other => panic!("code {other:#x}"),
            }
        }
    }

    #[test]
    fn only_what_a_rule_allows_passes() {
        let mut rules = standard();
        rules.push(DeviceRule { kind: 'b', major: Some(8), minor: None, access: "r".into() });
        let program = compile(&rules);
        let (block, char) = (1, 2);
        assert_eq!(run(&program, char, 6, 1, 3), 1, "null, read and write");
        assert_eq!(run(&program, char, 6, 1, 1), 0, "mem");
        assert_eq!(run(&program, char, 1, 1, 1), 1, "making any node");
        assert_eq!(run(&program, char, 6, 136, 77), 1, "a terminal");
        assert_eq!(run(&program, block, 2, 8, 1), 1, "reading the disk");
        assert_eq!(run(&program, block, 4, 8, 1), 0, "writing the disk");
        assert_eq!(run(&program, block, 6, 8, 1), 0);
        assert_eq!(run(&program, char, 2, 8, 1), 0, "not the same kind");
    }

    /// The kernel's verifier takes it; needs a unified hierarchy to attach to.
    #[test]
    fn the_kernel_accepts_and_obeys_it() {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(root) = super::super::Layout::parse(&mounts).and_then(|layout| layout.unified) else {
            println!("skipped: no unified hierarchy");
            return;
        };
        let dir = root.join(format!("bpf-test-{}", std::process::id()));
        if std::fs::create_dir(&dir).is_err() {
            println!("skipped: not allowed to make a cgroup");
            return;
        }
        let result = restrict_devices(&dir, &[]);
        let script = format!(
            "echo 0 > {}/cgroup.procs; echo > /dev/null && echo null; head -c1 /dev/mem",
            dir.display()
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        std::fs::remove_dir(&dir).unwrap();
        if result.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::EPERM)) {
            println!("skipped: bpf is not permitted");
            return;
        }
        result.unwrap();
        assert_eq!(output.stdout, b"null\n");
    }
}
