//! lock and elect: holding something until we are told to stop.

use std::{process::ExitCode, time::Duration};

use kv_client::WatchOptions;

use crate::{Failure, flags::Session, output::Output};

/// Takes the lock; without a command, prints our key and holds it until interrupted.
pub(crate) async fn lock(
    session: &Session,
    name: &str,
    ttl: u64,
    exec: &[String],
) -> Result<ExitCode, Failure> {
    let lease = session.client.lease(Duration::from_secs(ttl)).await?;
    let ours = tokio::select! {
        ours = session.client.lock(name, &lease) => ours?,
        _ = tokio::signal::ctrl_c() => {
            lease.revoke().await?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let key = String::from_utf8_lossy(&ours.key).into_owned();
    let Some((program, args)) = exec.split_first() else {
        say!("{key}");
        let lost = tokio::select! {
            lost = lease.lost() => Some(lost),
            _ = tokio::signal::ctrl_c() => None,
        };
        return match lost {
            Some(lost) => Err(lost.into()),
            None => {
                session.client.resign(&ours).await?;
                lease.revoke().await?;
                Ok(ExitCode::SUCCESS)
            }
        };
    };
    let mut command = tokio::process::Command::new(program);
    command.args(args).env("ETCD_LOCK_KEY", &key).env("ETCD_LOCK_REV", ours.fence.to_string());
    let status = command.status().await?;
    session.client.resign(&ours).await?;
    lease.revoke().await?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

/// Stands for election with a proposal, or only looks who leads.
pub(crate) async fn elect(
    session: &Session,
    out: &Output,
    name: &str,
    proposal: Option<String>,
    listen: bool,
) -> Result<ExitCode, Failure> {
    let client = &session.client;
    if listen {
        let mut watch = client.watch(WatchOptions::prefix(format!("{name}/"))).await?;
        let mut told = 0;
        loop {
            if let Some(pair) = client.leader(name).await?
                && pair.mod_revision != told
            {
                told = pair.mod_revision;
                out.pair(&pair, false);
            }
            tokio::select! {
                watched = watch.next() => drop(watched?),
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            }
        }
    }
    let proposal = proposal.ok_or("elect takes an election name and a proposal, or -l")?;
    let lease = client.lease(Duration::from_secs(60)).await?;
    let ours = client.campaign(name, &lease, proposal.clone()).await?;
    say!("{}\n{proposal}", out.text(&ours.key));
    tokio::select! {
        lost = lease.lost() => return Err(lost.into()),
        _ = tokio::signal::ctrl_c() => {}
    }
    client.resign(&ours).await?;
    lease.revoke().await?;
    Ok(ExitCode::SUCCESS)
}
