//! Builds the container's file system, inside its new mount namespace.
//!
//! Nothing is mounted by path: every target is first opened inside the new
//! root ([`SafeRoot`]) and the mount moved onto that handle, so a symbolic link
//! exchanged by another container in a shared volume changes nothing. `/proc`,
//! `/sys` and `/dev` go onto real directories only.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use crate::failure::{During, Failure, SETUP};
use crate::rootpath::SafeRoot;
use crate::spec::{Mount, MountKind, Namespace, Propagation, Rootfs, Spec};
use crate::sys::{
    self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, attach_mount,
    clone_tree, new_mount, set_mount_attributes,
};

const HARDENED: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
/// Targets below `/proc` that a user may mount over.
const PROC_TARGETS: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
];

/// What later steps need of the finished root.
pub(crate) struct Built {
    pub root: SafeRoot,
    /// The terminal's master, to be given to the shim.
    pub terminal: Option<Terminal>,
}

pub(crate) struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// The sources of bind mounts, cloned before the tree's propagation changes.
pub(crate) struct Sources {
    mounts: Vec<Option<OwnedFd>>,
    /// Another container's `/dev/shm`.
    shm: Option<OwnedFd>,
}

impl Sources {
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let open = |mount: &Mount| match mount.kind {
            MountKind::Tmpfs => Ok(None),
            MountKind::Bind if mount.subpath.is_empty() => {
                clone_tree(sys::CWD, &mount.source, !mount.non_recursive).map(Some).during(|| {
                    format!("error mounting \"{}\" to rootfs at \"{}\"", mount.source.display(), mount.target)
                })
            }
            MountKind::Bind => open_subpath(mount).map(Some),
        };
        let mounts = spec.mounts.iter().map(open).collect::<Result<_, _>>()?;
        let shm_of = spec.standard_mounts.shm_of.as_deref();
        let shm = shm_of.map(|namespace| sys::clone_tree_of(namespace, "/dev/shm")).transpose();
        Ok(Self { mounts, shm: shm.during(|| "mounting /dev/shm".into())? })
    }
}

/// A part of a volume. Other containers may change the volume meanwhile: what was opened is what is mounted.
fn open_subpath(mount: &Mount) -> Result<OwnedFd, Failure> {
    let shown = mount.source.join(&mount.subpath);
    let top = sys::openat2(sys::CWD, &mount.source, libc::O_PATH | libc::O_DIRECTORY, 0, 0);
    let top = top.during(|| format!("opening {}", mount.source.display()))?;
    let within = sys::RESOLVE_BENEATH | sys::RESOLVE_NO_MAGICLINKS;
    let part = sys::openat2(top.as_fd(), &mount.subpath, libc::O_PATH, 0, within).map_err(|error| {
        let what = match error.raw_os_error() {
            Some(libc::EXDEV) => "path concatenation escapes the base directory".to_owned(),
            _ => format!("cannot access path {}: {error}", shown.display()),
        };
        Failure::new(SETUP, what)
    })?;
    clone_tree(part.as_fd(), "", true)
        .during(|| format!("error mounting \"{}\" to rootfs at \"{}\"", shown.display(), mount.target))
}

/// Builds the root on top of `place` (a directory of the shim's own) and makes
/// it the current directory, ready for the pivot.
pub(crate) fn build(spec: &Spec, sources: Sources, place: &Path) -> Result<Built, Failure> {
    let tree = mount_root(&spec.rootfs)?;
    let place = sys::openat2(sys::CWD, place, libc::O_PATH | libc::O_DIRECTORY, 0, 0)
        .during(|| format!("opening {}", place.display()))?;
    attach_mount(tree.as_fd(), place.as_fd()).during(|| "attaching the root file system".into())?;
    sys::fchdir(tree.as_fd()).during(|| "entering the root file system".into())?;
    let root = SafeRoot::from_fd(tree);
    let proc = mount_proc(&root)?;
    // Before anything lies over it.
    set_sysctls(spec, &proc)?;
    drop(proc);
    let replaced =
        |target: &str| spec.mounts.iter().any(|mount| mount.target.trim_end_matches('/') == target);
    let null = if replaced("/dev") { None } else { Some(crate::devices::mount_dev(spec, &root)?) };
    mount_sys(spec, &root)?;
    let mut terminal = None;
    if let Some(dev) = &null {
        terminal = mount_dev_children(spec, dev, sources.shm, &replaced)?;
    }
    for (mount, source) in spec.mounts.iter().zip(sources.mounts) {
        user_mount(&root, mount, source)?;
    }
    if null.is_none() && spec.process.tty {
        terminal = Some(open_terminal(&root.handle("dev/pts").during(|| "opening /dev/pts".into())?)?);
    }
    crate::devices::make_devices(spec, &root)?;
    for path in &spec.readonly_paths {
        make_readonly(&root, path)?;
    }
    for path in &spec.masked_paths {
        mask(&root, path, null.as_ref())?;
    }
    make_cwd(&root, &spec.process.cwd)?;
    if spec.readonly_rootfs {
        set_mount_attributes(root.as_fd(), MOUNT_ATTR_RDONLY, 0, false)
            .during(|| "making the root read-only".into())?;
    }
    Ok(Built { root, terminal })
}

/// The root file system, mounted nowhere yet.
pub fn mount_root(rootfs: &Rootfs) -> Result<OwnedFd, Failure> {
    let tree = match rootfs {
        Rootfs::Dir { path } => clone_tree(sys::CWD, path, true)
            .during(|| format!("opening the root file system {}", path.display()))?,
        Rootfs::Overlay { lower, upper, work, volatile } => {
            crate::overlay::mount(lower, upper, work, *volatile).during(|| "mounting the overlay".into())?
        }
    };
    set_mount_attributes(tree.as_fd(), 0, libc::MS_PRIVATE, true)
        .during(|| "making the root private".into())?;
    Ok(tree)
}

fn mount_proc(root: &SafeRoot) -> Result<OwnedFd, Failure> {
    let target = standard_target(root, "proc")?;
    let proc = new_mount("proc", "", HARDENED).during(|| "mounting proc".into())?;
    attach_mount(proc.as_fd(), target.as_fd()).during(|| "mounting proc to rootfs at \"/proc\"".into())?;
    Ok(proc)
}

/// Makes and opens `/proc`, `/sys` or `/dev`: never through a symbolic link.
pub(crate) fn standard_target(root: &SafeRoot, name: &str) -> Result<OwnedFd, Failure> {
    let refused = || {
        Failure::new(SETUP, format!("filesystem {name:?} must be mounted on ordinary directory \"/{name}\""))
    };
    match sys::mkdirat(root.as_fd(), name, 0o755) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
            return Err(Failure::io(format!("making /{name}"), &error));
        }
        _ => {}
    }
    root.real_directory(name).map_err(|_| refused())
}

fn mount_sys(spec: &Spec, root: &SafeRoot) -> Result<(), Failure> {
    let target = standard_target(root, "sys")?;
    let readonly = if spec.standard_mounts.writable_sys { 0 } else { MOUNT_ATTR_RDONLY };
    let sysfs = match new_mount("sysfs", "", HARDENED | readonly) {
        // With the network namespace of the host, a user namespace may only bind.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => clone_tree(sys::CWD, "/sys", true)
            .and_then(|tree| set_mount_attributes(tree.as_fd(), HARDENED | readonly, 0, true).map(|()| tree)),
        done => done,
    }
    .during(|| "mounting sysfs".into())?;
    attach_mount(sysfs.as_fd(), target.as_fd()).during(|| "mounting sysfs to rootfs at \"/sys\"".into())?;
    if spec.standard_mounts.cgroup { mount_cgroups(spec, &sysfs, readonly) } else { Ok(()) }
}

/// Shows the container its own cgroups and no others.
fn mount_cgroups(spec: &Spec, sysfs: &OwnedFd, readonly: u64) -> Result<(), Failure> {
    let Ok(target) = sys::openat2(sysfs.as_fd(), "fs/cgroup", libc::O_PATH | libc::O_DIRECTORY, 0, 0) else {
        return Ok(());
    };
    let during = || "mounting cgroup to rootfs at \"/sys/fs/cgroup\"".to_owned();
    let own = |dir: &Path| {
        let tree = clone_tree(sys::CWD, dir, false).during(during)?;
        set_mount_attributes(tree.as_fd(), HARDENED | readonly, libc::MS_PRIVATE, false).during(during)?;
        Ok::<_, Failure>(tree)
    };
    if spec.cgroup.v1.is_empty() {
        let Some(dir) = &spec.cgroup.v2 else { return Ok(()) };
        let tree = match spec.namespaces.cgroup {
            Namespace::New => new_mount("cgroup2", "", HARDENED | readonly).during(during)?,
            _ => own(dir)?,
        };
        return attach_mount(tree.as_fd(), target.as_fd()).during(during);
    }
    let tmpfs = new_mount("tmpfs", "mode=755", HARDENED).during(during)?;
    attach_mount(tmpfs.as_fd(), target.as_fd()).during(during)?;
    for dir in spec.cgroup.v1.iter().chain(&spec.cgroup.v2) {
        let Some(name) = hierarchy_name(dir, &spec.cgroup.path) else { continue };
        sys::mkdirat(tmpfs.as_fd(), &name, 0o755).during(during)?;
        let place = sys::openat2(tmpfs.as_fd(), name.as_str(), libc::O_PATH, 0, 0).during(during)?;
        attach_mount(own(dir)?.as_fd(), place.as_fd()).during(during)?;
        for part in name.split(',').filter(|part| *part != name) {
            let _ = sys::symlinkat(&name, tmpfs.as_fd(), part);
        }
    }
    set_mount_attributes(tmpfs.as_fd(), readonly, 0, false).during(during)
}

/// `/sys/fs/cgroup/cpu,cpuacct/docker/ID` without `/docker/ID` ends in the name.
fn hierarchy_name(dir: &Path, path: &str) -> Option<String> {
    let depth = Path::new(path).components().filter(|c| matches!(c, std::path::Component::Normal(_))).count();
    dir.ancestors().nth(depth)?.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn mount_dev_children(
    spec: &Spec,
    dev: &OwnedFd,
    shared_shm: Option<OwnedFd>,
    replaced: &dyn Fn(&str) -> bool,
) -> Result<Option<Terminal>, Failure> {
    let child = |name: &str| {
        sys::mkdirat(dev.as_fd(), name, 0o755)
            .and_then(|()| sys::openat2(dev.as_fd(), name, libc::O_PATH | libc::O_DIRECTORY, 0, 0))
            .during(|| format!("making /dev/{name}"))
    };
    let mut terminal = None;
    let pts = child("pts")?;
    if !replaced("/dev/pts") {
        let devpts = crate::devices::new_devpts().during(|| "mounting devpts".into())?;
        attach_mount(devpts.as_fd(), pts.as_fd()).during(|| "mounting devpts".into())?;
        if spec.process.tty {
            terminal = Some(open_terminal(&devpts)?);
        }
    }
    if let Some(terminal) = &terminal {
        bind_console(dev, terminal)?;
    }
    if !replaced("/dev/shm") && !spec.standard_mounts.no_shm {
        let shm = child("shm")?;
        let shared = match &spec.standard_mounts.shm_from {
            Some(source) => Some(clone_tree(sys::CWD, source, false)),
            None => shared_shm.map(Ok),
        };
        let tree = match shared {
            Some(tree) => {
                tree.and_then(|tree| set_mount_attributes(tree.as_fd(), HARDENED, 0, false).map(|()| tree))
            }
            None => {
                let size =
                    if spec.standard_mounts.shm_size == 0 { 64 << 20 } else { spec.standard_mounts.shm_size };
                new_mount("tmpfs", &format!("source=shm,mode=1777,size={size}"), HARDENED)
            }
        }
        .during(|| "mounting /dev/shm".into())?;
        attach_mount(tree.as_fd(), shm.as_fd()).during(|| "mounting /dev/shm".into())?;
    }
    if !replaced("/dev/mqueue") {
        let place = child("mqueue")?;
        let mqueue = if spec.standard_mounts.host_mqueue {
            clone_tree(sys::CWD, "/dev/mqueue", false)
        } else {
            new_mount("mqueue", "", HARDENED)
        };
        // A kernel without mqueue, or a host that never mounted it: go without.
        if let Ok(mqueue) = mqueue {
            attach_mount(mqueue.as_fd(), place.as_fd()).during(|| "mounting /dev/mqueue".into())?;
        }
    }
    Ok(terminal)
}

/// A terminal from this devpts, both ends by descriptor.
pub(crate) fn open_terminal(devpts: &OwnedFd) -> Result<Terminal, Failure> {
    const DEVPTS_MAGIC: i64 = 0x1cd1;
    let during = || "opening a terminal".to_owned();
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let resolve = sys::RESOLVE_NO_SYMLINKS | sys::RESOLVE_NO_XDEV;
    let master = sys::openat2(devpts.as_fd(), "ptmx", flags, 0, resolve).during(during)?;
    let stat = sys::fstat(master.as_fd()).during(during)?;
    let magic = sys::file_system_magic(master.as_fd()).during(during)?;
    if magic != DEVPTS_MAGIC || stat.st_rdev != libc::makedev(5, 2) {
        return Err(Failure::new(SETUP, "opening a terminal: /dev/pts is not a devpts file system"));
    }
    let slave = sys::open_terminal_peer(master.as_fd()).during(during)?;
    Ok(Terminal { master, slave })
}

fn bind_console(dev: &OwnedFd, terminal: &Terminal) -> Result<(), Failure> {
    let during = || "making /dev/console".to_owned();
    sys::mknodat(dev.as_fd(), "console", libc::S_IFREG | 0o600, 0).during(during)?;
    let place =
        sys::openat2(dev.as_fd(), "console", libc::O_PATH | libc::O_NOFOLLOW, 0, sys::RESOLVE_NO_SYMLINKS)
            .during(during)?;
    let tree = clone_tree(terminal.slave.as_fd(), "", false).during(during)?;
    attach_mount(tree.as_fd(), place.as_fd()).during(during)
}

fn user_mount(root: &SafeRoot, mount: &Mount, source: Option<OwnedFd>) -> Result<(), Failure> {
    let describe = || match mount.kind {
        MountKind::Bind => {
            format!("error mounting \"{}\" to rootfs at \"{}\"", mount.source.display(), mount.target)
        }
        MountKind::Tmpfs => format!("error mounting \"tmpfs\" to rootfs at \"{}\"", mount.target),
    };
    refuse_proc(mount)?;
    let target = |directory: bool| {
        if directory { root.make_directory(&mount.target) } else { root.make_file(&mount.target) }
    };
    let mut attributes = 0;
    for (wanted, bit) in [
        (mount.readonly, MOUNT_ATTR_RDONLY),
        (mount.noexec, MOUNT_ATTR_NOEXEC),
        (mount.nosuid, MOUNT_ATTR_NOSUID),
        (mount.nodev, MOUNT_ATTR_NODEV),
    ] {
        attributes |= if wanted { bit } else { 0 };
    }
    let (tree, target) = match source {
        Some(tree) => {
            let stat = sys::fstat(tree.as_fd()).during(describe)?;
            (tree, target(stat.st_mode & libc::S_IFMT == libc::S_IFDIR).during(describe)?)
        }
        None => {
            let tree = new_mount("tmpfs", &format!("source=tmpfs,{}", mount.data), 0).during(describe)?;
            (tree, target(true).during(describe)?)
        }
    };
    let (propagation, recursive) = propagation_flags(mount.propagation);
    set_mount_attributes(tree.as_fd(), 0, propagation, recursive).during(describe)?;
    if attributes != 0 {
        set_mount_attributes(tree.as_fd(), attributes, 0, false).during(describe)?;
    }
    if mount.readonly && mount.readonly_below {
        // As much as the kernel lets: what is read-only by now stays so.
        let _ = set_mount_attributes(tree.as_fd(), MOUNT_ATTR_RDONLY, 0, true);
    }
    // The place was opened inside the root; a mount of /proc over it would show here.
    if mount.target.starts_with("/proc") || !is_below_proc(root, &target) {
        return attach_mount(tree.as_fd(), target.as_fd()).during(describe);
    }
    Err(Failure::new(SETUP, format!("{}: the target leads into /proc", describe())))
}

/// A volume on `/proc` itself, or on most of what is below, would defeat the
/// masks.
fn refuse_proc(mount: &Mount) -> Result<(), Failure> {
    let target = crate::rootfs::lexical(&mount.target);
    if target != "/proc" && !target.starts_with("/proc/") {
        return Ok(());
    }
    if PROC_TARGETS.contains(&target.as_str()) {
        return Ok(());
    }
    let source =
        if mount.kind == MountKind::Tmpfs { "tmpfs".into() } else { mount.source.display().to_string() };
    let why = if target == "/proc" { "it is not of type proc" } else { "it is inside /proc" };
    Err(Failure::new(SETUP, format!("\"{source}\" cannot be mounted because {why}")))
}

fn is_below_proc(root: &SafeRoot, target: &OwnedFd) -> bool {
    let _ = root;
    const PROC_MAGIC: i64 = 0x9fa0;
    sys::file_system_magic(target.as_fd()).is_ok_and(|magic| magic == PROC_MAGIC)
}

/// The path with `.`, `..` and doubled slashes worked out on paper.
pub(crate) fn lexical(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

pub fn propagation_flags(propagation: Propagation) -> (std::ffi::c_ulong, bool) {
    match propagation {
        Propagation::Private => (libc::MS_PRIVATE, false),
        Propagation::Rprivate => (libc::MS_PRIVATE, true),
        Propagation::Slave => (libc::MS_SLAVE, false),
        Propagation::Rslave => (libc::MS_SLAVE, true),
        Propagation::Shared => (libc::MS_SHARED, false),
        Propagation::Rshared => (libc::MS_SHARED, true),
    }
}

fn make_readonly(root: &SafeRoot, path: &str) -> Result<(), Failure> {
    let during = || format!("making {path} read-only");
    let Some(target) = existing(root, path).during(during)? else { return Ok(()) };
    let tree = clone_tree(target.as_fd(), "", true).during(during)?;
    set_mount_attributes(tree.as_fd(), MOUNT_ATTR_RDONLY, 0, true).during(during)?;
    attach_mount(tree.as_fd(), target.as_fd()).during(during)
}

/// Hides a file behind a null device of our own making, a directory behind an
/// empty read-only tmpfs. The image's `/dev/null` is never trusted.
fn mask(root: &SafeRoot, path: &str, dev: Option<&OwnedFd>) -> Result<(), Failure> {
    let during = || format!("masking {path}");
    let Some(target) = existing(root, path).during(during)? else { return Ok(()) };
    let stat = sys::fstat(target.as_fd()).during(during)?;
    let cover = if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        new_mount("tmpfs", "nr_blocks=1,nr_inodes=1", MOUNT_ATTR_RDONLY)
    } else {
        null_mount(dev)
    };
    attach_mount(cover.during(during)?.as_fd(), target.as_fd()).during(during)
}

fn null_mount(dev: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let null = match dev {
        Some(dev) => {
            sys::openat2(dev.as_fd(), "null", libc::O_PATH | libc::O_NOFOLLOW, 0, sys::RESOLVE_NO_SYMLINKS)?
        }
        None => sys::openat2(sys::CWD, "/dev/null", libc::O_PATH | libc::O_NOFOLLOW, 0, 0)?,
    };
    let stat = sys::fstat(null.as_fd())?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != libc::makedev(1, 3) {
        return Err(io::Error::other("/dev/null is not the null device"));
    }
    clone_tree(null.as_fd(), "", false)
}

fn existing(root: &SafeRoot, path: &str) -> io::Result<Option<OwnedFd>> {
    match root.handle(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A working directory that is missing is made, as Docker does.
fn make_cwd(root: &SafeRoot, cwd: &str) -> Result<(), Failure> {
    if cwd.is_empty() || cwd == "/" {
        return Ok(());
    }
    match root.make_directory(cwd) {
        Ok(_) => Ok(()),
        // Left to the program's own chdir, which says it in Docker's words.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ELOOP | libc::ENOTDIR | libc::EROFS | libc::ENOENT | libc::EACCES | libc::EPERM)
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(Failure::io(format!("mkdir {cwd}"), &error)),
    }
}

/// Writes sysctls through the container's own procfs, whatever is mounted over it.
fn set_sysctls(spec: &Spec, proc: &OwnedFd) -> Result<(), Failure> {
    for (key, value) in &spec.sysctl {
        let path = format!("sys/{}", key.replace('.', "/"));
        let during = |what: &str| format!("error during container init: {what} /proc/{path}");
        let resolve = sys::RESOLVE_NO_XDEV | sys::RESOLVE_NO_SYMLINKS | sys::RESOLVE_IN_ROOT;
        let file = sys::openat2(proc.as_fd(), path.as_str(), libc::O_WRONLY, 0, resolve)
            .during(|| during("open"))?;
        sys::write(file.as_fd(), value.as_bytes()).during(|| during("write"))?;
    }
    Ok(())
}

/// The null device of the finished root, for standard streams.
pub(crate) fn open_null(root: &SafeRoot, flags: i32) -> io::Result<OwnedFd> {
    let fd = root.open_file("dev/null", flags | libc::O_NOCTTY | libc::O_NONBLOCK, 0)?;
    let stat = sys::fstat(fd.as_fd())?;
    if stat.st_rdev != libc::makedev(1, 3) || stat.st_mode & libc::S_IFMT != libc::S_IFCHR {
        return Err(io::Error::other("/dev/null of the container is not the null device"));
    }
    let _ = fd.as_raw_fd();
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_keep_their_names() {
        let name = |dir: &str, path: &str| hierarchy_name(Path::new(dir), path);
        assert_eq!(name("/sys/fs/cgroup/cpu,cpuacct/docker/abc", "/docker/abc").unwrap(), "cpu,cpuacct");
        assert_eq!(name("/sys/fs/cgroup/memory/x", "/x").unwrap(), "memory");
    }

    #[test]
    fn paths_are_worked_out_on_paper() {
        assert_eq!(lexical("/a/./b//../c/"), "/a/c");
        assert_eq!(lexical("../../proc/x/.."), "/proc");
    }

    #[test]
    fn nothing_goes_over_proc() {
        let refused = |target: &str| {
            let mount = Mount { source: "/vol".into(), target: target.into(), ..Mount::default() };
            refuse_proc(&mount).err().map(|failure| failure.message)
        };
        assert_eq!(refused("/proc").unwrap(), "\"/vol\" cannot be mounted because it is not of type proc");
        assert_eq!(
            refused("/x/../proc/self").unwrap(),
            "\"/vol\" cannot be mounted because it is inside /proc"
        );
        assert_eq!(refused("/proc/cpuinfo"), None);
        assert_eq!(refused("/processor"), None);
    }
}
