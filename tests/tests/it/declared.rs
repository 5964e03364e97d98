//! A good config: the machine is what it declares, and nothing beside.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use system_tests::{Config, Plain, Running, data_url};

#[test]
fn a_machine_is_what_its_config_declares() -> Result<()> {
    let machine = Plain::new()?.disk(1024)?;
    let config = declared(machine.open_config()?, &machine.key()?);
    let machine = machine.config(&config.text())?;
    let mut running = machine.start()?;
    running.reached("ready")?;
    ensure!(running.ssh("hostname; cat /etc/motd /opt/note")? == "declared1\nfirst\nsecond\nlinked\n");
    let owners = running.as_root("stat -c '%a %U %G' /opt/app /opt/app/secret")?.stdout;
    ensure!(owners == "750 ops staff\n600 ops staff\n", "{owners}");
    ensure!(running.ssh("readlink /opt/link; id -Gn ops; grep ^ops: /etc/passwd")? == OPS);
    ensure!(running.ssh("cat /run/greeting")? == "hello from the drop-in\n");
    ensure!(
        running.try_ssh("systemctl is-enabled hello.service idle.service masked.service")?.stdout
            == "enabled\ndisabled\nmasked\n"
    );
    ensure!(
        running.ssh("systemctl is-active docker kv multi-user.target network-online.target")?
            == "active\n".repeat(4)
    );
    nothing_listens_but_what_is_declared(&running)
}

const OPS: &str = "/opt/note\nops staff\nops:x:1500:1500:Operator:/home/ops:/bin/bash\n";

fn declared(open: Config, key: &str) -> Config {
    let greeting = "[Unit]\nDescription=Greets\n[Service]\nType=oneshot\nRemainAfterExit=yes\nEnvironment=FROM=nobody\n\
                    ExecStart=/bin/sh -c 'echo hello from $FROM > /run/greeting'\n[Install]\nWantedBy=multi-user.target\n";
    let idle = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n";
    let owner = json!({ "user": { "name": "ops" }, "group": { "name": "staff" } });
    let dir = json!({ "path": "/opt/app", "mode": 0o750, "user": owner["user"], "group": owner["group"] });
    let parts = |name: &str, text: &str| json!({ "name": name, "contents": text });
    let ops = json!({ "name": "ops", "uid": 1500, "gecos": "Operator", "groups": ["staff"],
                      "shell": "/bin/bash", "sshAuthorizedKeys": [key.trim()] });
    let text = open
        .file("/etc/hostname", 0o644, "declared1\n")
        .file("/opt/note", 0o644, "linked\n")
        .owned_file("/opt/app/secret", 0o600, "s", &owner)
        .push(
            "/storage/files",
            json!({ "path": "/etc/motd", "overwrite": true,
            "contents": { "source": data_url("first\n") }, "append": [{ "source": data_url("second\n") }] }),
        )
        .set("/storage", "directories", json!([dir]))
        .set("/storage", "links", json!([{ "path": "/opt/link", "target": "/opt/note" }]))
        .set("/passwd", "groups", json!([{ "name": "staff", "gid": 1600 }]))
        .push("/passwd/users", ops);
    text.push(
        "/systemd/units",
        json!({ "name": "hello.service", "enabled": true, "contents": greeting,
            "dropins": [parts("10-from.conf", "[Service]\nEnvironment=FROM='the drop-in'\n")] }),
    )
    .push("/systemd/units", json!({ "name": "idle.service", "enabled": false, "contents": idle }))
    .push("/systemd/units", json!({ "name": "masked.service", "mask": true }))
    .enable("kv.service")
}

/// Every socket that waits for others: ssh and the engine to all, the store to the machine itself.
fn nothing_listens_but_what_is_declared(running: &Running<'_>) -> Result<()> {
    let table = running.ssh("cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6")?;
    let mut open = BTreeSet::new();
    for line in table.lines().filter(|line| line.contains(':') && !line.contains("local_address")) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields[1].rsplit_once(':').context("no port")?;
        // Listening, or bound without a peer.
        if matches!(fields[3], "0A" | "07") {
            let local = address == "0100007F" || address.ends_with("0000000001000000");
            open.insert((u16::from_str_radix(port, 16)?, local));
        }
    }
    let declared = BTreeSet::from([(22, false), (2379, true), (2380, true)]);
    ensure!(open == declared, "ports (and whether only the machine reaches them): {open:?}");
    Ok(())
}
