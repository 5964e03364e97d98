//! Bytes through a published port: by the loopback address and by the bridge's.
//!
//! The server runs in the container's network but outside of its root, so that the small image needs none.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::Plan;
use crate::engine::{Engine, in_network_of};
use crate::figures::{Aim, Report, Unit};
use crate::http::Body;
use crate::pair::Pair;

const PORT: u16 = 5201;
const PUBLISHED: u16 = 15201;

pub(super) fn measure(pair: &Pair, plan: &Plan, report: &mut Report) -> Result<()> {
    let rounds = plan.long_rounds.max(3);
    let [loopback, bridge, share] =
        pair.alternate_many(0, rounds, |engine| round(engine, plan.flow_seconds))?;
    let unit = Unit::GigabitsPerSecond;
    report.add("published on 127.0.0.1", unit, Aim::None, loopback.elder, loopback.ours);
    report.add("published on the bridge's address", unit, Aim::None, bridge.elder, bridge.ours);
    report.add("  the first by the second", Unit::Share, Aim::AtLeast(0.95), share.elder, share.ours);
    Ok(())
}

fn round(engine: &Engine, seconds: usize) -> Result<[f64; 3]> {
    let mut client = engine.client();
    let port = format!("{PORT}/tcp");
    let published = json!({ &port: [{ "HostPort": PUBLISHED.to_string() }] });
    let settings = json!({ "ExposedPorts": { &port: {} }, "HostConfig": { "PortBindings": published } });
    let id = engine.run(&mut client, &["/bin/sleep", "3600"], settings)?;
    let shown = client.call("GET", &format!("/containers/{id}/json"), Body::Nothing)?;
    let pid = shown["State"]["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).context("no process")?;
    let gateway = shown["NetworkSettings"]["Gateway"].as_str().context("no gateway")?.to_owned();
    let time = Duration::from_secs(seconds as u64) / 2;
    let by = |address: &str| flow(engine, pid, address, time);
    // There and back: neither is always the first of a new container, nor the nearer to what was before.
    let there = [by("127.0.0.1")?, by(&gateway)?];
    let back = [by(&gateway)?, by("127.0.0.1")?];
    engine.remove(&mut client, &id)?;
    let (loopback, bridge) = ((there[0] + back[1]) / 2.0, (there[1] + back[0]) / 2.0);
    Ok([loopback, bridge, loopback / bridge])
}

/// Gigabits a second from the engine's network to the container's.
fn flow(engine: &Engine, container: u32, address: &str, time: Duration) -> Result<f64> {
    let listener = in_network_of(container, || Ok(TcpListener::bind(("0.0.0.0", PORT))?))?;
    std::thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<f64> {
            let (mut stream, _) = listener.accept()?;
            let (mut buffer, mut bytes) = (vec![0; 256 * 1024], 0);
            let began = Instant::now();
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(bytes as f64 * 8.0 / 1e9 / began.elapsed().as_secs_f64()),
                    read => bytes += read,
                }
            }
        });
        let sent = engine.in_network(|| {
            let mut stream = TcpStream::connect((address, PUBLISHED))
                .with_context(|| format!("could not connect to {address}:{PUBLISHED}"))?;
            let (buffer, end) = (vec![0; 128 * 1024], Instant::now() + time);
            while Instant::now() < end {
                stream.write_all(&buffer)?;
            }
            Ok(())
        });
        if let Err(error) = sent {
            // The server would wait for ever.
            let _ = in_network_of(container, || Ok(TcpStream::connect(("127.0.0.1", PORT))?));
            let _ = server.join();
            return Err(error);
        }
        server.join().unwrap_or_else(|_| bail!("the server panicked"))
    })
}
