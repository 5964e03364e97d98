//! A config that cannot be obeyed: one sentence, the same on the workstation and on the console, and
//! nothing left behind.

use anyhow::{Result, ensure};
use system_tests::{Web, bad_config, refusal};

/// The config `NAME` is refused with `sentence`, wherever it is read.
fn is_refused_with(name: &str, sentence: &str) -> Result<()> {
    let refusal = refusal(name, &bad_config(name)?)?;
    ensure!(refusal.console.ends_with(sentence), "{name}: the console says `{}`", refusal.console);
    ensure!(refusal.create.contains(sentence), "{name}: create says {}", refusal.create);
    Ok(())
}

#[test]
fn a_config_that_does_not_read_is_told_by_line_and_column() -> Result<()> {
    is_refused_with("syntax", ":3:3: expected `,` or `}`, found `\"`")?;
    is_refused_with("version", ":2:28: spec 2.3.0 is not supported yet (at $.ignition.version)")?;
    is_refused_with("duplicate", ":4:15: the path `/etc/motd` is declared twice (at $.storage.files.0)")?;
    is_refused_with(
        "unit",
        ":5:44: line 1 of the unit: the section has no `]` (at $.systemd.units.0.contents)",
    )
}

#[test]
fn what_only_the_machine_can_find_out_is_told_by_the_machine() -> Result<()> {
    is_refused_with("raid", "software arrays such as `data` are not supported yet (at $.storage.raid.0)")?;
    is_refused_with("device", "there is no device /dev/disk/by-label/data")?;
    is_refused_with(
        "hash",
        "cannot get the content of /etc/motd: the content has the hash \
         sha256-8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4, not \
         sha256-0000000000000000000000000000000000000000000000000000000000000000",
    )
}

#[test]
fn content_that_is_not_there_is_told_with_its_address() -> Result<()> {
    let web = Web::serve([].into())?;
    let address = web.from_machine("/tool");
    let config = bad_config("missing")?.replace("http://10.0.2.2:@PORT@/tool", &address);
    let refusal = refusal("missing", &config)?;
    let sentence = format!(
        "cannot get the content of /opt/bin/tool: cannot fetch {address}: \
         the server answered 404 (not found)"
    );
    ensure!(refusal.console == sentence, "the console says `{}`", refusal.console);
    ensure!(refusal.create.contains(&sentence), "create says {}", refusal.create);
    Ok(())
}
