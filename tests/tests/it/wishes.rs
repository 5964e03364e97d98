//! What was asked of create, a port or an upgrade is what the machine does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use system_tests::{Workstation, image};

#[test]
fn what_create_was_told_holds_in_the_engine_and_ports_open_while_it_runs() -> Result<()> {
    let here = Workstation::new()?;
    let config = here.store().join("extra.ign");
    fs::write(
        &config,
        r#"{"ignition": {"version": "3.3.0"}, "storage": {"files": [
            {"path": "/etc/motd.d/x", "contents": {"source": "data:,mine"}}]}}"#,
    )?;
    here.rmachine(&[
        "create",
        "--engine-label",
        "zone=a",
        "--engine-insecure-registry",
        "10.9.8.7:5000",
        "--engine-registry-mirror",
        "http://10.9.8.6:5000",
        "--engine-env",
        "HTTP_PROXY=http://10.9.8.5:3128",
        "--engine-opt",
        "debug=true",
        "--tls-san",
        "w1.example",
        "--qemu-ssh-user",
        "ada",
        "--qemu-localports",
        "33000-33099",
        "--ignition",
        &config.to_string_lossy(),
        "worker1",
    ])?;
    let info = here.docker("worker1", &["info"])?;
    for wanted in [
        "zone=a",
        "provider=qemu",
        "10.9.8.7:5000",
        "http://10.9.8.6:5000/",
        "Debug Mode: true",
        "10.9.8.5:3128",
    ] {
        ensure!(info.contains(wanted), "docker info does not show {wanted}: {info}");
    }
    ensure!(here.rmachine(&["ssh", "worker1", "id -un; cat /etc/motd.d/x"])? == "ada\nmine");
    ensure!(here.rmachine(&["url", "worker1"])?.starts_with("tcp://127.0.0.1:330"));
    let cert = fs::read(here.machine_dir("worker1").join("server.pem"))?;
    here.rmachine(&["regenerate-certs", "-f", "worker1"])?;
    ensure!(
        fs::read(here.machine_dir("worker1").join("server.pem"))? != cert,
        "the certificate is the old one"
    );
    ensure!(here.docker("worker1", &["version"])?.contains("Server:"));

    let opened = here.rmachine(&["port", "add", "worker1", "22"])?;
    ensure!(opened.starts_with("127.0.0.1:"), "{opened}");
    let banner = system_tests::first_bytes(opened.trim(), 4)?;
    ensure!(banner == b"SSH-", "{banner:?}");
    let port = opened.trim().rsplit(':').next().unwrap_or_default();
    here.rmachine(&["port", "rm", "worker1", &format!("{port}:22")])?;
    ensure!(!here.rmachine(&["port", "ls", "worker1"])?.contains(port));
    ensure!(system_tests::first_bytes(opened.trim(), 4).is_err(), "the port is still open");
    ensure!(here.rmachine(&["logs", "--log", "stages", "worker1"])?.contains("\"ready\""));
    Ok(())
}

#[test]
fn an_upgrade_changes_the_image_and_comes_back_from_one_that_does_not_boot() -> Result<()> {
    let here = Workstation::new()?;
    here.rmachine(&["create", "worker1"])?;
    let uses = || here.rmachine(&["inspect", "-f", "{{.Driver.Image}}", "worker1"]);
    let first = uses()?;
    here.docker("worker1", &["volume", "create", "kept"])?;

    let newer = release(&here.store().join("newer"), "99.0.0", |_| Ok(()))?;
    here.rmachine(&["upgrade", "--image", &newer.to_string_lossy(), "worker1"])?;
    let second = uses()?;
    ensure!(second.starts_with("99.0.0-") && second != first, "{second}");
    ensure!(here.docker("worker1", &["volume", "ls", "-q"])?.trim() == "kept");

    // Nothing to run as PID 1: its kernel panics.
    let broken = release(&here.store().join("broken"), "99.0.1", |initramfs| Ok(fs::write(initramfs, "")?))?;
    let told = here.try_rmachine(&["upgrade", "--image", &broken.to_string_lossy(), "worker1"])?;
    ensure!(told.code == Some(1) && told.stderr.contains("Kernel panic"), "{told:?}");
    ensure!(uses()? == second && here.rmachine(&["status", "worker1"])?.trim() == "Running");
    ensure!(here.docker("worker1", &["volume", "ls", "-q"])?.trim() == "kept");
    Ok(())
}

/// The image under test as another version, with its initramfs changed.
fn release(dir: &Path, version: &str, change: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let source = image().context("there is no image to make a second one of")?;
    fs::create_dir_all(dir)?;
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(source.join("manifest.json"))?)?;
    for name in manifest["files"].as_object().into_iter().flatten().map(|(name, _)| name) {
        fs::copy(source.join(name), dir.join(name))?;
    }
    let name = manifest["initramfs"].as_str().unwrap_or_default().to_owned();
    change(&dir.join(&name))?;
    manifest["version"] = version.into();
    manifest["files"][&name]["size"] = fs::metadata(dir.join(&name))?.len().into();
    manifest["files"][&name]["sha256"] = system_tests::sha256(&dir.join(&name))?.into();
    fs::write(dir.join("manifest.json"), manifest.to_string())?;
    Ok(dir.to_owned())
}
