//! Where a machine finds its config without our tools: a config drive, and a cloud's metadata service.

use std::fs;

use anyhow::{Result, ensure};
use system_tests::{Plain, Web, iso};

/// The machine is up, with the config from `source`.
fn took_its_config_from(machine: &Plain, source: &str) -> Result<()> {
    let mut running = machine.start()?;
    running.reached("ready")?;
    let told = running.report("ignition").unwrap_or_default();
    ensure!(told["detail"].as_str().is_some_and(|detail| detail.starts_with(source)), "{told}");
    ensure!(running.ssh("cat /etc/from")? == "here\n");
    Ok(())
}

fn config(machine: &Plain) -> Result<String> {
    Ok(machine.open_config()?.file("/etc/from", 0o644, "here\n").text())
}

#[test]
fn a_config_drive_is_read_whether_vfat_or_iso9660() -> Result<()> {
    let drive = "openstack/latest/user_data on /dev/vd";
    let machine = Plain::new()?;
    let dir = machine.path("drive/openstack/latest");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("user_data"), config(&machine)?)?;
    let vfat = format!(
        "if=none,id=config,driver=vvfat,label=config-2,read-only=on,dir={}",
        machine.path("drive").display()
    );
    let machine = machine.with(&["-drive", &vfat, "-device", "virtio-blk-pci,drive=config"]);
    took_its_config_from(&machine, drive)?;

    let machine = Plain::new()?;
    let image = machine.path("drive.iso");
    fs::write(&image, iso("config-2", &["openstack", "latest"], "user_data", config(&machine)?.as_bytes()))?;
    let cd = format!("if=none,id=config,format=raw,read-only=on,file={}", image.display());
    let machine = machine.with(&["-drive", &cd, "-device", "virtio-blk-pci,drive=config"]);
    took_its_config_from(&machine, drive)
}

#[test]
fn a_cloud_hands_its_user_data_to_the_machine() -> Result<()> {
    let machine = Plain::new()?;
    let droplet = [("/metadata/v1/user-data".to_owned(), config(&machine)?)].into();
    let web = Web::serve(droplet)?;
    let machine = machine.in_cloud("DigitalOcean", &web)?;
    took_its_config_from(&machine, "user data of digitalocean")?;

    let machine = Plain::new()?;
    let instance = [
        ("/latest/api/token".to_owned(), "a-token".to_owned()),
        ("/latest/user-data".to_owned(), config(&machine)?),
    ];
    let web = Web::serve(instance.into())?;
    let machine = machine.in_cloud("Amazon EC2", &web)?;
    took_its_config_from(&machine, "user data of aws")
}
