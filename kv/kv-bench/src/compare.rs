//! Ours and the elder on the same work, alternating in one run, on one node and on three. Figures are medians of the
//! rounds; a ratio is ours to theirs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kv_client::{Client, Config};

use crate::{
    Load, LoadError, drive,
    servers::{Servers, ServersError},
};

/// What to compare, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    pub elder: String,
    pub ours: String,
    pub rounds: usize,
    pub secs: f64,
    /// Keys of the test of memory and restart; 0 leaves it out.
    pub keys: usize,
    pub dir: PathBuf,
}

/// Why the comparison ended.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Servers(#[from] ServersError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Config(#[from] kv_client::ConfigError),
}

/// A figure of both, and what is aimed at.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub name: String,
    pub elder: f64,
    pub ours: f64,
    pub aim: &'static str,
}

impl Row {
    /// Ours to theirs.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.elder == 0.0 { 0.0 } else { self.ours / self.elder }
    }
}

/// Figures by name, one list of rounds for each program.
#[derive(Default)]
struct Table {
    names: Vec<(String, &'static str)>,
    values: BTreeMap<(String, bool), Vec<f64>>,
}

impl Table {
    fn add(&mut self, name: &str, aim: &'static str, is_ours: bool, value: f64) {
        if !self.names.iter().any(|(known, _)| known == name) {
            self.names.push((name.to_owned(), aim));
        }
        self.values.entry((name.to_owned(), is_ours)).or_default().push(value);
    }

    fn rows(&self) -> Vec<Row> {
        let of = |name: &String, is_ours| median(self.values.get(&(name.clone(), is_ours)));
        let row = |(name, aim): &(String, &'static str)| Row {
            name: name.clone(),
            elder: of(name, false),
            ours: of(name, true),
            aim,
        };
        self.names.iter().map(row).collect()
    }
}

fn median(values: Option<&Vec<f64>>) -> f64 {
    let mut values = values.cloned().unwrap_or_default();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Runs the whole plan.
///
/// # Errors
/// When a server does not start or serve.
pub async fn compare(plan: &Plan) -> Result<Vec<Row>, CompareError> {
    let mut table = Table::default();
    for nodes in [1, 3] {
        for round in 0..plan.rounds {
            for is_ours in [false, true] {
                let program = if is_ours { &plan.ours } else { &plan.elder };
                let dir = plan.dir.join(format!("{nodes}-{round}-{is_ours}"));
                loads(plan, program, nodes, is_ours, &dir, &mut table).await?;
                let _ = std::fs::remove_dir_all(&dir);
            }
        }
    }
    if plan.keys > 0 {
        for is_ours in [false, true] {
            let program = if is_ours { &plan.ours } else { &plan.elder };
            let dir = plan.dir.join(format!("keys-{is_ours}"));
            many_keys(plan, program, is_ours, &dir, &mut table).await?;
            let _ = std::fs::remove_dir_all(&dir);
        }
    }
    Ok(table.rows())
}

async fn loads(
    plan: &Plan,
    program: &str,
    nodes: usize,
    is_ours: bool,
    dir: &Path,
    table: &mut Table,
) -> Result<(), CompareError> {
    let mut servers = Servers::start(program, nodes, dir)?;
    ready(&servers).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut add = |name: &str, aim: &'static str, value: f64| {
        table.add(&format!("{nodes}n {name}"), aim, is_ours, value);
    };
    let (resident, own) = servers.memory();
    add("idle memory, resident, MiB", "<= 20 MiB", resident);
    add("idle memory, own share, MiB", "", own);
    let endpoints = servers.endpoints();
    let secs = Duration::from_secs_f64(plan.secs);
    let before = servers.syncs().await;
    let figures = drive(&endpoints[..1], 1, Load::Put, 1, secs).await?;
    add("put, 1 client, p50 ms", "<= 1.0 x", figures.p50_ms);
    add(
        "put, 1 client, syncs per put",
        "",
        (servers.syncs().await - before) as f64 / figures.done.max(1) as f64,
    );
    for clients in [256, 1000] {
        let figures = drive(&endpoints, 16, Load::Put, clients, secs).await?;
        let aim = if nodes == 3 { ">= 1.3 x" } else { "" };
        add(&format!("put, {clients} clients, /s"), aim, figures.per_second);
        add(&format!("put, {clients} clients, p99 ms"), "", figures.p99_ms);
    }
    let figures = drive(&endpoints, 16, Load::Get { serializable: false }, 64, secs).await?;
    add("get, 64 clients, /s", if nodes == 3 { ">= 1.5 x" } else { "" }, figures.per_second);
    let figures = drive(&endpoints, 64, Load::KeepAlive, 64, secs).await?;
    add("keep-alive, 64 leases, /s", ">= 1.5 x", figures.per_second);
    let figures = drive(&endpoints, 16, Load::Watch, 1000, secs).await?;
    add("1000 watchers, last one p99 ms", "<= 0.7 x", figures.p99_ms);
    let quiet = drive(&endpoints, 16, Load::Put, 64, secs).await?;
    let busy = while_compacting(&endpoints, secs).await?;
    add("put p99 during compaction to idle", "<= 2", busy / quiet.p99_ms.max(0.001));
    if nodes == 3 {
        add("leader killed, gap ms", "<= 1.0 x", leader_gap(&mut servers).await?);
    }
    Ok(())
}

async fn ready(servers: &Servers) -> Result<Duration, CompareError> {
    let started = Instant::now();
    for endpoint in servers.endpoints() {
        let client = client(&[endpoint], Duration::from_secs(30))?;
        while client.get("ready?").await.is_err() {
            if started.elapsed() > Duration::from_secs(60) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(started.elapsed())
}

fn client(endpoints: &[String], limit: Duration) -> Result<Client, CompareError> {
    let mut config = Config::new(endpoints.iter().cloned());
    config.request_timeout = limit;
    Ok(Client::new(config)?)
}

/// p99 of puts while all history before now is compacted.
async fn while_compacting(endpoints: &[String], secs: Duration) -> Result<f64, CompareError> {
    let compacting = client(endpoints, Duration::from_secs(60))?;
    let revision = compacting.put("compact", "now").await.map_err(LoadError::from)?;
    let task = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        compacting.compact(revision, false).await
    });
    let figures = drive(endpoints, 16, Load::Put, 64, secs).await?;
    let _ = task.await;
    Ok(figures.p99_ms)
}

/// How long no write succeeds after the leader is killed.
async fn leader_gap(servers: &mut Servers) -> Result<f64, CompareError> {
    let endpoints = servers.endpoints();
    let mut leader = 0;
    for (at, endpoint) in endpoints.iter().enumerate() {
        let one = client(std::slice::from_ref(endpoint), Duration::from_secs(5))?;
        let mut maintenance = kv_client::pb::maintenance_client::MaintenanceClient::new(one.channel());
        if let Ok(status) = maintenance.status(kv_client::pb::StatusRequest {}).await {
            let status = status.into_inner();
            if status.leader == status.header.unwrap_or_default().member_id {
                leader = at;
            }
        }
    }
    let others: Vec<String> =
        endpoints.iter().enumerate().filter(|(at, _)| *at != leader).map(|(_, url)| url.clone()).collect();
    // The client's own patience must not be what is measured: short attempts, side by side.
    let mut writers = Vec::new();
    for at in 0..6 {
        let url = others[at % others.len()].clone();
        writers.push(client(&[url], Duration::from_millis(200))?);
    }
    for (at, writer) in writers.iter().enumerate() {
        let _ = writer.put(format!("gap{at}"), "before").await;
    }
    servers.kill(leader);
    let killed = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (at, writer) in writers.into_iter().enumerate() {
        running.spawn(async move {
            while killed.elapsed() < Duration::from_secs(20) {
                if writer.put(format!("gap{at}"), "after").await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    let _ = running.join_next().await;
    let gap = killed.elapsed().as_secs_f64() * 1000.0;
    running.shutdown().await;
    Ok(gap)
}

/// Memory with many keys, and how long a killed member needs until it answers again.
async fn many_keys(
    plan: &Plan,
    program: &str,
    is_ours: bool,
    dir: &Path,
    table: &mut Table,
) -> Result<(), CompareError> {
    let mut servers = Servers::start(program, 1, dir)?;
    ready(&servers).await?;
    let endpoints = servers.endpoints();
    let figures =
        drive(&endpoints, 16, Load::Fill { keys: plan.keys }, 32, Duration::from_secs(3600)).await?;
    let thousands = plan.keys / 1000;
    let mut add = |name: &str, aim, value| {
        table.add(&format!("{thousands} k keys, {name}"), aim, is_ours, value);
    };
    add("keys/s", "", figures.per_second * 100.0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    add("memory, resident, MiB", "<= 0.5 x", servers.memory().0);
    servers.kill(0);
    let started = Instant::now();
    servers.boot(0)?;
    ready(&servers).await?;
    add("restart ms", "<= 1000", started.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_medians_in_the_order_of_the_work() {
        let mut table = Table::default();
        for value in [3.0, 1.0, 2.0] {
            table.add("b", "", false, value);
            table.add("b", "", true, value * 2.0);
        }
        table.add("a", "", true, 1.0);
        let rows = table.rows();
        assert_eq!((rows[0].name.as_str(), rows[0].elder, rows[0].ours), ("b", 2.0, 4.0));
        assert_eq!(rows[0].ratio(), 2.0);
        assert_eq!((rows[1].name.as_str(), rows[1].elder, rows[1].ratio()), ("a", 0.0, 0.0));
    }
}
