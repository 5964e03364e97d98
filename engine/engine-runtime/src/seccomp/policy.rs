//! What is refused, as data.
//!
//! Every call up to [`Table::newest`] was looked at; those not named are
//! harmless. Newer ones do not exist for the program (`ENOSYS`), so that it
//! falls back to what it knew before.

/// One architecture's calls.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// `AUDIT_ARCH_*`
    pub(super) architecture: u32,
    /// Refused with `EPERM`.
    pub(super) refused: Vec<u32>,
    /// The last known call.
    pub(super) newest: u32,
    /// Calls that depend on an argument.
    pub(super) conditional: Vec<(u32, Condition)>,
    /// `ENOSYS` although known: the caller shall use the older call.
    pub(super) hidden: Vec<u32>,
}

/// What the first argument must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// None of these bits.
    Without(u32),
    /// One of these values.
    OneOf(Vec<u32>),
    /// None of these values.
    NoneOf(Vec<u32>),
}

/// Namespace flags of `clone`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Personalities: Linux, BSD-like 32-bit limits and the like, and asking.
const PERSONALITIES: [u32; 5] = [0, 8, 0x20000, 0x20008, u32::MAX];
/// Socket families with a large attack surface: kernel crypto and VM sockets.
const FAMILIES: [u32; 2] = [38, 40];

const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_MODULE: u64 = 1 << 16;
const SYS_RAWIO: u64 = 1 << 17;
const SYS_CHROOT: u64 = 1 << 18;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_PACCT: u64 = 1 << 20;
const SYS_ADMIN: u64 = 1 << 21;
const SYS_BOOT: u64 = 1 << 22;
const SYS_NICE: u64 = 1 << 23;
const SYS_TIME: u64 = 1 << 25;
const SYS_TTY_CONFIG: u64 = 1 << 26;
const SYSLOG: u64 = 1 << 34;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
/// No capability lifts it.
const NEVER: u64 = 0;

/// (number on x86_64, number on i386, capabilities any of which allow it)
#[cfg(target_arch = "x86_64")]
const REFUSED: &[(&str, u32, u32, u64)] = &[
    ("_sysctl", 156, 149, NEVER),
    ("acct", 163, 51, SYS_PACCT),
    ("add_key", 248, 286, NEVER),
    ("afs_syscall", 183, 137, NEVER),
    ("bpf", 321, 357, SYS_ADMIN | BPF),
    ("chroot", 161, 61, SYS_CHROOT),
    ("clock_settime", 227, 264, SYS_TIME),
    ("clock_settime64", NONE, 404, SYS_TIME),
    ("create_module", 174, 127, NEVER),
    ("delete_module", 176, 129, SYS_MODULE),
    ("fanotify_init", 300, 338, SYS_ADMIN),
    ("finit_module", 313, 350, SYS_MODULE),
    ("fsconfig", 431, 431, SYS_ADMIN),
    ("fsmount", 432, 432, SYS_ADMIN),
    ("fsopen", 430, 430, SYS_ADMIN),
    ("fspick", 433, 433, SYS_ADMIN),
    ("get_kernel_syms", 177, 130, NEVER),
    ("get_mempolicy", 239, 275, SYS_NICE),
    ("getpmsg", 181, 188, NEVER),
    ("init_module", 175, 128, SYS_MODULE),
    ("io_uring_enter", 426, 426, NEVER),
    ("io_uring_register", 427, 427, NEVER),
    ("io_uring_setup", 425, 425, NEVER),
    ("ioperm", 173, 101, SYS_RAWIO),
    ("iopl", 172, 110, SYS_RAWIO),
    ("kcmp", 312, 349, SYS_PTRACE),
    ("kexec_file_load", 320, NONE, NEVER),
    ("kexec_load", 246, 283, NEVER),
    ("keyctl", 250, 288, NEVER),
    ("listmount", 458, 458, SYS_ADMIN),
    ("lookup_dcookie", 212, 253, SYS_ADMIN),
    ("mbind", 237, 274, SYS_NICE),
    ("migrate_pages", 256, 294, NEVER),
    ("mount", 165, 21, SYS_ADMIN),
    ("mount_setattr", 442, 442, SYS_ADMIN),
    ("move_mount", 429, 429, SYS_ADMIN),
    ("move_pages", 279, 317, NEVER),
    ("nfsservctl", 180, 169, NEVER),
    ("open_by_handle_at", 304, 342, DAC_READ_SEARCH),
    ("open_tree", 428, 428, SYS_ADMIN),
    ("perf_event_open", 298, 336, SYS_ADMIN | PERFMON),
    ("pidfd_getfd", 438, 438, SYS_PTRACE),
    ("pivot_root", 155, 217, NEVER),
    ("process_madvise", 440, 440, SYS_PTRACE),
    ("putpmsg", 182, 189, NEVER),
    ("query_module", 178, 167, NEVER),
    ("quotactl", 179, 131, SYS_ADMIN),
    ("quotactl_fd", 443, 443, SYS_ADMIN),
    ("reboot", 169, 88, SYS_BOOT),
    ("request_key", 249, 287, NEVER),
    ("security", 185, NONE, NEVER),
    ("set_mempolicy", 238, 276, SYS_NICE),
    ("set_mempolicy_home_node", 450, 450, SYS_NICE),
    ("setdomainname", 171, 121, SYS_ADMIN),
    ("sethostname", 170, 74, SYS_ADMIN),
    ("setns", 308, 346, SYS_ADMIN),
    ("settimeofday", 164, 79, SYS_TIME),
    ("socketcall", NONE, 102, NEVER),
    ("statmount", 457, 457, SYS_ADMIN),
    ("stime", NONE, 25, SYS_TIME),
    ("swapoff", 168, 115, NEVER),
    ("swapon", 167, 87, NEVER),
    ("sysfs", 139, 135, NEVER),
    ("syslog", 103, 103, SYS_ADMIN | SYSLOG),
    ("tuxcall", 184, NONE, NEVER),
    ("umount", NONE, 22, SYS_ADMIN),
    ("umount2", 166, 52, SYS_ADMIN),
    ("unshare", 272, 310, SYS_ADMIN),
    ("uselib", 134, 86, NEVER),
    ("userfaultfd", 323, 374, NEVER),
    ("ustat", 136, 62, NEVER),
    ("vhangup", 153, 111, SYS_TTY_CONFIG),
    ("vm86", NONE, 166, NEVER),
    ("vm86old", NONE, 113, NEVER),
    ("vserver", 236, 273, NEVER),
];

/// A call this architecture has not.
#[cfg(target_arch = "x86_64")]
const NONE: u32 = u32::MAX;

/// `mseal`; what came after it is told not to exist.
const NEWEST: u32 = 462;

/// The filter's tables for a container with these capabilities.
#[cfg(target_arch = "x86_64")]
pub(super) fn tables(capabilities: u64) -> Vec<Table> {
    let refused = |pick: fn(&(&str, u32, u32, u64)) -> u32| {
        REFUSED
            .iter()
            .filter(|entry| entry.3 & capabilities == 0)
            .map(pick)
            .filter(|number| *number != NONE)
            .collect::<Vec<_>>()
    };
    vec![
        table(0xc000_003e, refused(|entry| entry.1), [56, 435, 135, 41], capabilities),
        table(0x4000_0003, refused(|entry| entry.2), [120, 435, 136, 359], capabilities),
    ]
}

/// One table for architectures with the generic numbers.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn tables(capabilities: u64) -> Vec<Table> {
    let entries = [
        (libc::SYS_acct, SYS_PACCT),
        (libc::SYS_add_key, NEVER),
        (libc::SYS_bpf, SYS_ADMIN | BPF),
        (libc::SYS_chroot, SYS_CHROOT),
        (libc::SYS_clock_settime, SYS_TIME),
        (libc::SYS_delete_module, SYS_MODULE),
        (libc::SYS_fanotify_init, SYS_ADMIN),
        (libc::SYS_finit_module, SYS_MODULE),
        (libc::SYS_fsconfig, SYS_ADMIN),
        (libc::SYS_fsmount, SYS_ADMIN),
        (libc::SYS_fsopen, SYS_ADMIN),
        (libc::SYS_fspick, SYS_ADMIN),
        (libc::SYS_get_mempolicy, SYS_NICE),
        (libc::SYS_init_module, SYS_MODULE),
        (libc::SYS_io_uring_enter, NEVER),
        (libc::SYS_io_uring_register, NEVER),
        (libc::SYS_io_uring_setup, NEVER),
        (libc::SYS_kcmp, SYS_PTRACE),
        (libc::SYS_kexec_load, NEVER),
        (libc::SYS_keyctl, NEVER),
        (libc::SYS_mbind, SYS_NICE),
        (libc::SYS_migrate_pages, NEVER),
        (libc::SYS_mount, SYS_ADMIN),
        (libc::SYS_mount_setattr, SYS_ADMIN),
        (libc::SYS_move_mount, SYS_ADMIN),
        (libc::SYS_move_pages, NEVER),
        (libc::SYS_open_by_handle_at, DAC_READ_SEARCH),
        (libc::SYS_open_tree, SYS_ADMIN),
        (libc::SYS_perf_event_open, SYS_ADMIN | PERFMON),
        (libc::SYS_pidfd_getfd, SYS_PTRACE),
        (libc::SYS_pivot_root, NEVER),
        (libc::SYS_process_madvise, SYS_PTRACE),
        (libc::SYS_quotactl, SYS_ADMIN),
        (libc::SYS_quotactl_fd, SYS_ADMIN),
        (libc::SYS_reboot, SYS_BOOT),
        (libc::SYS_request_key, NEVER),
        (libc::SYS_set_mempolicy, SYS_NICE),
        (libc::SYS_setdomainname, SYS_ADMIN),
        (libc::SYS_sethostname, SYS_ADMIN),
        (libc::SYS_setns, SYS_ADMIN),
        (libc::SYS_settimeofday, SYS_TIME),
        (libc::SYS_swapoff, NEVER),
        (libc::SYS_swapon, NEVER),
        (libc::SYS_syslog, SYS_ADMIN | SYSLOG),
        (libc::SYS_umount2, SYS_ADMIN),
        (libc::SYS_unshare, SYS_ADMIN),
        (libc::SYS_userfaultfd, NEVER),
        (libc::SYS_vhangup, SYS_TTY_CONFIG),
    ];
    let _ = SYS_RAWIO;
    let refused =
        entries.iter().filter(|entry| entry.1 & capabilities == 0).map(|entry| entry.0 as u32).collect();
    let special =
        [libc::SYS_clone, libc::SYS_clone3, libc::SYS_personality, libc::SYS_socket].map(|n| n as u32);
    vec![table(0xc000_00b7, refused, special, capabilities)]
}

fn table(architecture: u32, mut refused: Vec<u32>, special: [u32; 4], capabilities: u64) -> Table {
    let [clone, clone3, personality, socket] = special;
    let mut conditional = vec![
        (personality, Condition::OneOf(PERSONALITIES.to_vec())),
        (socket, Condition::NoneOf(FAMILIES.to_vec())),
    ];
    let mut hidden = Vec::new();
    if capabilities & SYS_ADMIN == 0 {
        conditional.push((clone, Condition::Without(NEW_NAMESPACES)));
        // Its flags lie in memory, where a filter cannot look.
        hidden.push(clone3);
    }
    refused.sort_unstable();
    Table { architecture, refused, newest: NEWEST, conditional, hidden }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_libcs() {
        let number = |name: &str| REFUSED.iter().find(|entry| entry.0 == name).unwrap().1;
        for (name, expected) in [
            ("mount", libc::SYS_mount),
            ("umount2", libc::SYS_umount2),
            ("unshare", libc::SYS_unshare),
            ("setns", libc::SYS_setns),
            ("bpf", libc::SYS_bpf),
            ("keyctl", libc::SYS_keyctl),
            ("add_key", libc::SYS_add_key),
            ("request_key", libc::SYS_request_key),
            ("kexec_load", libc::SYS_kexec_load),
            ("kexec_file_load", libc::SYS_kexec_file_load),
            ("init_module", libc::SYS_init_module),
            ("finit_module", libc::SYS_finit_module),
            ("delete_module", libc::SYS_delete_module),
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("pivot_root", libc::SYS_pivot_root),
            ("userfaultfd", libc::SYS_userfaultfd),
            ("reboot", libc::SYS_reboot),
            ("swapon", libc::SYS_swapon),
            ("swapoff", libc::SYS_swapoff),
            ("settimeofday", libc::SYS_settimeofday),
            ("clock_settime", libc::SYS_clock_settime),
            ("iopl", libc::SYS_iopl),
            ("ioperm", libc::SYS_ioperm),
            ("fsopen", libc::SYS_fsopen),
            ("open_tree", libc::SYS_open_tree),
            ("move_mount", libc::SYS_move_mount),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("syslog", libc::SYS_syslog),
            ("acct", libc::SYS_acct),
            ("quotactl", libc::SYS_quotactl),
            ("sethostname", libc::SYS_sethostname),
            ("fanotify_init", libc::SYS_fanotify_init),
            ("kcmp", libc::SYS_kcmp),
            ("mbind", libc::SYS_mbind),
            ("vhangup", libc::SYS_vhangup),
            ("uselib", libc::SYS_uselib),
            ("ustat", libc::SYS_ustat),
            ("sysfs", libc::SYS_sysfs),
            ("chroot", libc::SYS_chroot),
            ("pidfd_getfd", libc::SYS_pidfd_getfd),
        ] {
            assert_eq!(i64::from(number(name)), expected, "{name}");
        }
    }
}
