//! `/init` of the initramfs: loads the modules that the root needs, mounts the root read-only and
//! becomes its PID 1. It prints only when it must give up.

use std::convert::Infallible;
use std::error::Error;
use std::ffi::CString;
use std::path::Path;
use std::time::Duration;

use hostos_stage1::{INIT, ROOT_IMAGE, loopdev, modules, mounts, root};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::execv;

fn main() {
    if std::process::id() != 1 {
        eprintln!("hostos-stage1: this is the first program of an initramfs, it runs as PID 1 only");
        std::process::exit(2);
    }
    let Err(error) = boot();
    eprintln!("rmachine: cannot start: {}", sentence(error.as_ref()));
    std::thread::sleep(Duration::from_millis(200));
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

fn boot() -> Result<Infallible, Box<dyn Error>> {
    mounts::mount_basics()?;
    modules::load_list(Path::new("/modules"), Path::new("/modules/load"))?;
    let device = loopdev::attach_read_only(Path::new(ROOT_IMAGE))
        .map_err(|error| format!("cannot bind {ROOT_IMAGE} to a loop device: {error}"))?;
    let new = Path::new("/newroot");
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    mounts::mount_at(Some(&device.path), new, Some("squashfs"), flags, None)?;
    drop(device);
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)?;
    root::switch_root(new).map_err(|error| format!("cannot move to the read-only root: {error}"))?;
    let program = CString::new(INIT)?;
    let mut args = vec![c"hostos-init".to_owned()];
    for arg in std::env::args_os().skip(1) {
        args.push(CString::new(arg.into_encoded_bytes())?);
    }
    execv(&program, &args).map_err(|errno| format!("cannot run {INIT}: {errno}"))?;
    unreachable!("execv returns only with an error")
}

/// An error and its causes in one line.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
