//! What a child does to itself to see and be able to do less: mounts, network, capabilities.
#![allow(unsafe_code, reason = "capabilities have no safe form")]

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::config::exec::Sandbox;
use crate::exit;

const NONE: Option<&str> = None;

/// Namespaces and mounts. Errors are exit codes.
pub(crate) fn enter(sandbox: &Sandbox, private_tmp: Option<&Path>, _uid: u32) -> Result<(), i32> {
    if sandbox.private_network {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|_| exit::NETWORK)?;
        bring_loopback_up();
    }
    if !sandbox.needs_mounts() {
        return Ok(());
    }
    let failed = |_| exit::NAMESPACE;
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE).map_err(failed)?;
    for (from, to, read_only, optional) in &sandbox.binds {
        match bind(from, to) {
            Err(_) if *optional => {}
            other => other?,
        }
        if *read_only {
            remount_read_only(to)?;
        }
    }
    let mut paths = sandbox.read_only.clone();
    paths.sort();
    for (path, optional) in &paths {
        protect(path, *optional)?;
    }
    // What stays writable is bound again over what was made read-only.
    let writable = ["/dev", "/proc", "/sys"].map(|path| (path.to_owned(), true));
    let strict = paths.iter().any(|(path, _)| path == "/");
    for (path, optional) in sandbox.read_write.iter().chain(writable.iter().filter(|_| strict)) {
        open_up(path, *optional)?;
    }
    if let Some(dir) = private_tmp {
        // The folder is in /tmp itself, so that one is covered last.
        bind(&dir.join("var-tmp").display().to_string(), "/var/tmp")?;
        bind(&dir.join("tmp").display().to_string(), "/tmp")?;
    }
    for (path, optional) in &sandbox.inaccessible {
        hide(path, *optional)?;
    }
    if sandbox.private_devices {
        hide("/dev/mem", true)?;
        hide("/dev/port", true)?;
        hide("/dev/kmsg", true)?;
    }
    Ok(())
}

fn bind(from: &str, to: &str) -> Result<(), i32> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).map_err(|_| exit::NAMESPACE)
}

fn remount_read_only(path: &str) -> Result<(), i32> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(NONE, path, NONE, flags, NONE).map_err(|_| exit::NAMESPACE)
}

fn protect(path: &str, optional: bool) -> Result<(), i32> {
    if !Path::new(path).exists() {
        return if optional { Ok(()) } else { Err(exit::NAMESPACE) };
    }
    bind(path, path)?;
    remount_read_only(path)
}

fn open_up(path: &str, optional: bool) -> Result<(), i32> {
    if !Path::new(path).exists() {
        return if optional { Ok(()) } else { Err(exit::NAMESPACE) };
    }
    bind(path, path)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    mount(NONE, path, NONE, flags, NONE).map_err(|_| exit::NAMESPACE)
}

fn hide(path: &str, optional: bool) -> Result<(), i32> {
    let target = Path::new(path);
    if !target.exists() {
        return if optional { Ok(()) } else { Err(exit::NAMESPACE) };
    }
    if target.is_dir() {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        return mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=000,size=0k,nr_inodes=1"))
            .or_else(|_| mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=000")))
            .map_err(|_| exit::NAMESPACE);
    }
    bind("/dev/null", path)
}

/// A network of its own has a loopback interface that is down.
fn bring_loopback_up() {
    // SAFETY: plain system calls; the request is zeroed before it is filled.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return;
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(1);
        libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut request);
        libc::close(socket);
    }
}

/// Lets go of a mount, also when it is in use.
pub(crate) fn detach(path: &Path) -> bool {
    umount2(path, MntFlags::MNT_DETACH).is_ok()
}

/// What changing the user needs.
pub(crate) const SETUID_SETGID: u64 = (1 << 6) | (1 << 7);

/// Drops all capabilities that are not in the set from the bounding set.
pub(crate) fn limit_capabilities(set: u64) -> Result<(), i32> {
    for capability in 0..64 {
        if set & (1 << capability) == 0 {
            // SAFETY: plain system call on this process; unknown numbers are refused with EINVAL.
            let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
            if result < 0 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
                return Err(exit::CAPABILITIES);
            }
        }
    }
    Ok(())
}

/// Capabilities survive the change of the user.
pub(crate) fn keep_capabilities() {
    // SAFETY: plain system call on this process.
    unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) };
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives the program these capabilities although it is not root.
pub(crate) fn raise_ambient(set: u64) -> Result<(), i32> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both structures have the layout the kernel expects for this version.
    unsafe {
        if libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) < 0 {
            return Err(exit::CAPABILITIES);
        }
        for (half, data) in (0u32..).zip(&mut data) {
            let wanted = u32::try_from((set >> (32 * half)) & 0xffff_ffff).unwrap_or(0);
            data.inheritable |= wanted & data.permitted;
            data.effective |= wanted & data.permitted;
        }
        if libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) < 0 {
            return Err(exit::CAPABILITIES);
        }
        for capability in (0..64).filter(|capability| set & (1 << capability) != 0) {
            if libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0 {
                return Err(exit::CAPABILITIES);
            }
        }
    }
    Ok(())
}
