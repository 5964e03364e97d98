//! QEMU's command line. Every name in it is relative to the machine's folder, so that the store can
//! move, and none can hold a comma, which QEMU would split at.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hostos_api::{FW_CFG_CONFIG, PORT_NAME};
use machine_core::driver::Place;
use machine_store::Image;

use crate::accel::Verdict;
use crate::config::{Network, QemuConfig, mac};
use crate::{files, kernel_arguments};

/// The arguments for this machine.
pub(crate) fn arguments(config: &QemuConfig, place: &Place, image: &Image, accel: &Verdict) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.add(["-nodefaults", "-no-user-config", "-no-reboot", "-daemonize", "-display", "none"]);
    args.pair("-pidfile", files::PID);
    args.pair("-name", format!("guest={},process=qemu-{}", place.name, place.name));
    args.pair("-uuid", place.id.to_string());
    args.pair("-machine", "q35,sata=off,smbus=off,usb=off,vmport=off");
    args.pair("-accel", if accel.kvm { "kvm" } else { "tcg,thread=multi" });
    args.pair("-cpu", if accel.kvm { "host" } else { "max" });
    args.pair("-m", config.memory.to_string());
    args.pair("-smp", config.cpu.to_string());
    kernel(&mut args, config, place, image, accel);
    control(&mut args);
    network(&mut args, config, place);
    args.pair("-fw_cfg", format!("name={FW_CFG_CONFIG},file={}", files::CONFIG));
    args.pair("-drive", drive(config));
    args.pair("-device", "virtio-blk-pci,drive=state,serial=rmachine-state");
    args.pair("-device", "virtio-rng-pci");
    args.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

fn kernel(args: &mut Arguments, config: &QemuConfig, place: &Place, image: &Image, accel: &Verdict) {
    args.pair("-kernel", from_machine(place, &image.kernel()));
    args.pair("-initrd", from_machine(place, &image.initramfs()));
    let line = command_line(&image.manifest.cmdline, &config.cmdline, accel);
    args.pair("-append", kernel_arguments::apply(line, config));
}

/// The release's words, what any machine of ours needs beside them, then the user's.
fn command_line(release: &str, user: &str, accel: &Verdict) -> String {
    let mut line = release.trim().to_owned();
    let mut need = |key: &str, word: &str| {
        let given = |words: &str| words.split_whitespace().any(|word| word.starts_with(key));
        if !given(release) && !given(user) {
            line.push(' ');
            line.push_str(word);
        }
    };
    need("console=", "console=ttyS0");
    // With -no-reboot a panicked machine ends at once, instead of standing still.
    need("panic=", "panic=-1");
    if !accel.kvm {
        need("no_timer_check", "no_timer_check");
    }
    line.push(' ');
    line.push_str(user);
    line.trim().to_owned()
}

/// Sockets for control, console and reports. Reports go to a file: it never makes the guest wait,
/// and whoever comes later reads it from the start.
fn control(args: &mut Arguments) {
    for (id, socket) in [("control", files::CONTROL), ("query", files::QUERY)] {
        args.pair("-chardev", format!("socket,id={id},path={socket},server=on,wait=off"));
        args.pair("-mon", format!("chardev={id},mode=control"));
    }
    args.pair(
        "-chardev",
        format!(
            "socket,id=serial,path={},server=on,wait=off,logfile={},logappend=off",
            files::CONSOLE,
            files::SERIAL
        ),
    );
    args.pair("-serial", "chardev:serial");
    args.pair("-chardev", format!("file,id=report,path={}", files::REPORT));
    args.pair("-device", "virtio-serial-pci");
    args.pair("-device", format!("virtserialport,chardev=report,name={PORT_NAME}"));
}

fn network(args: &mut Arguments, config: &QemuConfig, place: &Place) {
    args.pair("-netdev", format!("user,id=net0,hostname={}", place.name));
    args.pair("-device", format!("virtio-net-pci,netdev=net0,mac={},romfile=", config.mac));
    let second = match config.network {
        Network::User => return,
        Network::Cluster => {
            let switch = from_machine(place, &place.store.join(&config.network_switch));
            format!("stream,id=net1,server=off,addr.type=unix,addr.path={}", switch.display())
        }
        Network::Bridge => format!("bridge,id=net1,br={}", no_comma(&config.network_bridge)),
        Network::Tap => {
            format!("tap,id=net1,ifname={},script=no,downscript=no", no_comma(&config.network_interface))
        }
    };
    args.pair("-netdev", second);
    args.pair("-device", format!("virtio-net-pci,netdev=net1,mac={},romfile=", mac(place.id, 1)));
}

fn drive(config: &QemuConfig) -> String {
    let mut drive =
        format!("if=none,id=state,file={},format=qcow2,discard=unmap,detect-zeroes=unmap", files::DISK);
    for (option, word) in [("cache", &config.cache_mode), ("aio", &config.io_mode)] {
        if !word.is_empty() {
            drive.push_str(&format!(",{option}={word}"));
        }
    }
    drive
}

/// A user's word; QEMU takes a doubled comma for a plain one.
fn no_comma(word: &str) -> String {
    word.replace(',', ",,")
}

/// A path of the store as seen from the machine's folder, or the path itself.
fn from_machine(place: &Place, path: &Path) -> PathBuf {
    match path.strip_prefix(&place.store) {
        Ok(inside) => {
            let up = place.relative_dir().components().count();
            std::iter::repeat_n("..", up).collect::<PathBuf>().join(inside)
        }
        Err(_) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn place(store: &str) -> Place {
        Place {
            store: store.into(),
            dir: Path::new(store).join("machines/w1"),
            name: "w1".parse().expect("a name"),
            id: Uuid::from_u128(1),
        }
    }

    fn image(store: &str) -> Image {
        let manifest = serde_json::from_value(serde_json::json!({
            "format": 1, "version": "1.0.0", "flavor": "vm", "kernel_version": "6.1",
            "cmdline": "console=ttyS0 quiet", "kernel": "vmlinuz", "initramfs": "initrd", "files": {},
        }));
        let dir = Path::new(store).join("images/1.0.0-x");
        Image { id: "1.0.0-x".into(), dir, manifest: manifest.expect("a manifest") }
    }

    #[test]
    fn no_argument_names_the_place_of_the_store() {
        let config = QemuConfig {
            network: Network::Cluster,
            network_switch: "clusters/c/s".into(),
            ..QemuConfig::new("w1", Uuid::from_u128(1), "x")
        };
        let tcg = Verdict { kvm: false, reason: String::new() };
        let args =
            arguments(&config, &place("/home/me,too/.rmachine"), &image("/home/me,too/.rmachine"), &tcg);
        let text: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
        assert!(text.iter().all(|word| !word.contains("me,too")), "{text:?}");
        assert!(text.contains(&"../../images/1.0.0-x/vmlinuz".into()), "{text:?}");
        assert!(text.iter().any(|word| word.ends_with("addr.path=../../clusters/c/s")), "{text:?}");
        assert!(!text.iter().any(|word| word.contains("hostfwd")), "forwards come over QMP");
    }

    #[test]
    fn what_the_user_chooses_of_disk_and_network_is_handed_on() {
        let mut config = QemuConfig::new("w1", Uuid::from_u128(1), "x");
        assert!(!drive(&config).contains("cache="));
        (config.cache_mode, config.io_mode) = ("none".into(), "native".into());
        assert!(drive(&config).ends_with(",cache=none,aio=native"));
        (config.network, config.network_interface) = (Network::Tap, "tap0,x".into());
        let tcg = Verdict { kvm: false, reason: String::new() };
        let args = arguments(&config, &place("/s"), &image("/s"), &tcg);
        let tap = "tap,id=net1,ifname=tap0,,x,script=no,downscript=no";
        assert!(args.iter().any(|word| word == tap), "{args:?}");
    }

    #[test]
    fn the_kernel_gets_what_it_needs_once() {
        let tcg = Verdict { kvm: false, reason: String::new() };
        let kvm = Verdict { kvm: true, reason: String::new() };
        assert_eq!(
            command_line("console=ttyS0 quiet", "", &tcg),
            "console=ttyS0 quiet panic=-1 no_timer_check"
        );
        assert_eq!(command_line("panic=5", "debug console=tty0", &kvm), "panic=5 debug console=tty0");
    }
}
