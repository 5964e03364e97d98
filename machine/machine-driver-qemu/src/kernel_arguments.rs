//! Kernel arguments that a machine's config wants.
//!
//! Only QEMU's `-append` can give them, and QEMU reads it when it starts, not when the machine resets. So
//! a machine that finds them missing on its first boot says which and goes down (`hostos-init` has its
//! side of it); they are kept in the machine's configuration, and QEMU is started again with them, now
//! and every time from then on. It happens once: a machine that asks again is not started a third time.

use hostos_config::KernelArguments;
use machine_core::driver::{DriverError, ErrorKind, Event, Session};

use crate::config::QemuConfig;

/// Keeps what a machine asks for.
pub(crate) fn accept(
    config: &mut QemuConfig,
    session: &Session<'_>,
    wanted: KernelArguments,
) -> Result<(), DriverError> {
    if config.kernel_arguments.as_ref() == Some(&wanted) {
        return Err(asked_twice(session));
    }
    session.observer.notice(Event::Warning(format!(
        "machine `{}` restarts once, with the kernel arguments that its config wants",
        session.place.name
    )));
    config.kernel_arguments = Some(wanted);
    Ok(())
}

/// The machine does not see what it was given.
pub(crate) fn asked_twice(session: &Session<'_>) -> DriverError {
    let message = format!(
        "machine `{}` asks again for the kernel arguments that it was started with",
        session.place.name
    );
    DriverError::new(ErrorKind::Guest, message)
        .hint("does the config want an argument that it also forbids, or that `--qemu-cmdline` contradicts?")
}

/// The command line with what the machine's config wants.
pub(crate) fn apply(line: String, config: &QemuConfig) -> String {
    config.kernel_arguments.as_ref().and_then(|wanted| wanted.change(&line)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_asked_for_is_on_the_command_line_and_what_was_not_is_as_before() {
        let mut config = QemuConfig::new("a", Uuid::nil(), "image");
        assert_eq!(apply("console=ttyS0 quiet".into(), &config), "console=ttyS0 quiet");
        config.kernel_arguments = Some(KernelArguments {
            should_exist: vec!["nosmt".into(), "console=ttyS0".into()],
            should_not_exist: vec!["quiet".into()],
        });
        assert_eq!(apply("console=ttyS0 quiet".into(), &config), "console=ttyS0 nosmt");
    }

    #[test]
    fn a_machines_file_keeps_them() {
        let mut config = QemuConfig::new("a", Uuid::nil(), "image");
        let before = serde_json::to_value(&config).expect("plain");
        assert!(before.get("KernelArguments").is_none(), "{before}");
        config.kernel_arguments =
            Some(KernelArguments { should_exist: vec!["nosmt".into()], should_not_exist: Vec::new() });
        let kept = serde_json::to_value(&config).expect("plain");
        let read: QemuConfig = serde_json::from_value(kept).expect("it reads");
        assert_eq!(read.kernel_arguments, config.kernel_arguments);
    }
}
