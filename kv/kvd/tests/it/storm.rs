//! Real processes in real networks, in trouble: kill -9, SIGSTOP, partitions both ways and one way, a member replaced, a
//! rolling restart. Clients record what they see; afterwards the whole history is judged.
//!
//! `KV_STORM_SECS=n` goes on making random trouble for that long after the fixed story.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kv_client::{Client, Config, Event, EventType, WatchOptions, pb};
use tokio::time::{sleep, timeout};

use crate::{
    history::{Record, Saw, Writes, check},
    network::Network,
    process::KVD,
};

const KEYS: &str = "storm/";
/// For what takes a second or two on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(60);

struct Process {
    args: Vec<String>,
    space: String,
    child: Option<Child>,
}

impl Process {
    fn start(&mut self) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space, KVD]).args(&self.args);
        // `ip netns exec` becomes the program: its process is the member's.
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &self.child {
            let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        }
    }

    fn end(&mut self, signal: &str) {
        self.signal(signal);
        if let Some(mut child) = self.child.take() {
            let deadline = Instant::now() + Duration::from_secs(10);
            while child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end("-KILL");
    }
}

/// The cluster, and what was seen of it.
struct Storm {
    network: Network,
    dir: tempfile::TempDir,
    members: BTreeMap<usize, Process>,
    records: Arc<Mutex<Vec<Record>>>,
    epoch: Instant,
    stop: Arc<AtomicBool>,
}

impl Storm {
    fn url(&self, at: usize) -> String {
        format!("http://{}:2379", self.network.address(at))
    }

    fn peer(&self, at: usize) -> String {
        format!("http://{}:2380", self.network.address(at))
    }

    fn add(&mut self, at: usize, cluster: &str, state: &str) {
        let data = self.dir.path().join(format!("m{at}")).to_string_lossy().into_owned();
        let (client, peer) = (self.url(at), self.peer(at));
        let args = [
            ("--name", format!("m{at}")),
            ("--data-dir", data),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", cluster.to_owned()),
            ("--initial-cluster-state", state.to_owned()),
        ];
        let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let mut process = Process { args, space: self.network.space(at), child: None };
        process.start();
        self.members.insert(at, process);
    }

    fn client(&self, at: &[usize], patience: Duration) -> Client {
        let mut config = Config::new(at.iter().map(|at| self.url(*at)));
        config.request_timeout = patience;
        config.connect_timeout = Duration::from_millis(500);
        Client::new(config).expect("good URLs")
    }

    fn all(&self) -> Vec<usize> {
        self.members.keys().copied().collect()
    }

    /// Clients that write and read until told to stop, each through one member.
    fn clients(&self, running: &mut tokio::task::JoinSet<()>) {
        for number in 0..6_usize {
            let at = self.all()[number % self.members.len()];
            let client = self.client(&[at], Duration::from_secs(2));
            let (records, epoch, stop) = (self.records.clone(), self.epoch, self.stop.clone());
            running.spawn(async move {
                for step in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("{KEYS}{}", (step * 7 + number as u64) % 5);
                    let began = epoch.elapsed();
                    let seen = match step % 3 {
                        0 | 1 => {
                            let value = format!("{number}/{step}");
                            let put = client.put(key.clone(), value.clone()).await;
                            put.ok().map(|revision| (revision, Saw::Wrote { key, value }))
                        }
                        _ => {
                            let request = pb::RangeRequest { key: key.clone().into(), ..Default::default() };
                            client.range(request).await.ok().map(|reply| {
                                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                                let value = reply.kvs.first().map(|pair| text(&pair.value));
                                (reply.header.unwrap_or_default().revision, Saw::Read { key, value })
                            })
                        }
                    };
                    if let Some((revision, saw)) = seen {
                        let record = Record { began, ended: epoch.elapsed(), revision, saw };
                        records.lock().expect("no panics inside").push(record);
                    }
                    sleep(Duration::from_millis(15)).await;
                }
            });
        }
    }

    async fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nobody leads");
            for at in self.all() {
                let client = self.client(&[at], Duration::from_secs(1));
                if let Ok(status) = client.status().await
                    && status.leader != 0
                    && status.leader == status.header.unwrap_or_default().member_id
                {
                    return at;
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until every member answers reads of its own.
    async fn healthy(&self) {
        for at in self.all() {
            let client = self.client(&[at], Duration::from_secs(3));
            let deadline = Instant::now() + PATIENCE;
            while let Err(error) = client.get("healthy?").await {
                assert!(Instant::now() < deadline, "member {at} does not come back: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Everything a story of trouble needs once.
    async fn story(&mut self) {
        let pause = |millis| sleep(Duration::from_millis(millis));
        pause(1000).await;
        let leader = self.leader().await;
        self.members.get_mut(&leader).expect("there").end("-KILL");
        pause(2500).await;
        self.members.get_mut(&leader).expect("there").start();
        self.healthy().await;

        let leader = self.leader().await;
        self.members[&leader].signal("-STOP");
        pause(2500).await;
        self.members[&leader].signal("-CONT");
        pause(500).await;

        let leader = self.leader().await;
        self.network.link(leader, false);
        pause(2500).await;
        self.network.link(leader, true);
        self.healthy().await;

        let leader = self.leader().await;
        self.network.mute(leader, true);
        pause(2500).await;
        self.network.mute(leader, false);
        self.healthy().await;
    }

    async fn replace(&mut self, old: usize, new: usize) {
        let others: Vec<usize> = self.all().into_iter().filter(|at| *at != old).collect();
        self.members.get_mut(&old).expect("there").end("-KILL");
        self.members.remove(&old);
        // The dead may have led: the others need a moment, and an answer may get lost though the deed was done.
        self.healthy().await;
        let client = self.client(&others, Duration::from_secs(5));
        let listed = client.members().await.expect("a quorum is there");
        let gone = listed.iter().find(|member| member.name == format!("m{old}")).expect("listed").id;
        let mut cluster = pb::cluster_client::ClusterClient::new(client.channel());
        cluster.member_remove(pb::MemberRemoveRequest { id: gone }).await.expect("removed");
        let request = pb::MemberAddRequest { peer_ur_ls: vec![self.peer(new)], is_learner: false };
        cluster.member_add(request).await.expect("added");
        let names: Vec<String> =
            others.iter().chain([&new]).map(|at| format!("m{at}={}", self.peer(*at))).collect();
        self.add(new, &names.join(","), "existing");
        self.healthy().await;
    }

    async fn roll(&mut self) {
        for at in self.all() {
            let process = self.members.get_mut(&at).expect("there");
            process.end("-TERM");
            process.start();
            self.healthy().await;
        }
    }

    async fn at_random(&mut self, secs: u64) {
        let until = Instant::now() + Duration::from_secs(secs);
        let mut dice = u64::from(std::process::id());
        while Instant::now() < until {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let all = self.all();
            let at = all[(dice >> 40) as usize % all.len()];
            let millis = 200 + (dice >> 20) % 3000;
            match (dice >> 33) % 4 {
                0 => {
                    self.members.get_mut(&at).expect("there").end("-KILL");
                    sleep(Duration::from_millis(millis)).await;
                    self.members.get_mut(&at).expect("there").start();
                }
                1 => {
                    self.members[&at].signal("-STOP");
                    sleep(Duration::from_millis(millis)).await;
                    self.members[&at].signal("-CONT");
                }
                2 => {
                    self.network.link(at, false);
                    sleep(Duration::from_millis(millis)).await;
                    self.network.link(at, true);
                }
                _ => {
                    self.network.mute(at, true);
                    sleep(Duration::from_millis(millis)).await;
                    self.network.mute(at, false);
                }
            }
            sleep(Duration::from_millis(500)).await;
        }
        self.healthy().await;
    }
}

/// Every event below a prefix, from the beginning to a revision.
async fn history(client: &Client, upto: i64) -> Vec<Event> {
    let options = WatchOptions::prefix(KEYS).from_revision(1).with_prev_kv();
    let mut watch = client.watch(options).await.expect("watched");
    let mut events = Vec::new();
    while let Ok(Ok(watched)) = timeout(Duration::from_secs(2), watch.next()).await {
        events.extend(watched.events);
        if events.last().is_some_and(|event| revision(event) >= upto) {
            break;
        }
    }
    events
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |pair| pair.mod_revision)
}

/// What a watcher was told all along must be the history: all of it, in order, once, each with what was before.
fn check_watch(told: &[Event], history: &[Event]) -> Result<(), String> {
    let mut before: BTreeMap<Vec<u8>, (i64, Vec<u8>)> = BTreeMap::new();
    for event in told {
        let pair = event.kv.clone().unwrap_or_default();
        let last = before.get(pair.key.as_ref());
        let previous = event.prev_kv.as_ref().map(|pair| (pair.mod_revision, pair.value.to_vec()));
        if previous.as_ref() != last {
            return Err(format!("the pair before {pair:?} is told as {previous:?}, it was {last:?}"));
        }
        let first = pair.create_revision == pair.mod_revision;
        if event.r#type() == EventType::Put && first != last.is_none() {
            return Err(format!("{pair:?} is told to be new: {first}, before it was {last:?}"));
        }
        match event.r#type() {
            EventType::Put => before.insert(pair.key.to_vec(), (pair.mod_revision, pair.value.to_vec())),
            EventType::Delete => before.remove(pair.key.as_ref()),
        };
    }
    if !told.is_sorted_by_key(revision) {
        return Err("the watch went back in time".to_owned());
    }
    let revisions = |events: &[Event]| events.iter().map(revision).collect::<Vec<_>>();
    if revisions(told) != revisions(history) {
        let (told, history): (BTreeSet<i64>, BTreeSet<i64>) =
            (revisions(told).into_iter().collect(), revisions(history).into_iter().collect());
        let missing: Vec<&i64> = history.difference(&told).take(5).collect();
        let extra: Vec<&i64> = told.difference(&history).take(5).collect();
        return Err(format!("the watch missed {missing:?} and made up {extra:?}"));
    }
    Ok(())
}

async fn tell(mut storm: Storm) {
    let all = storm.all();
    storm.healthy().await;
    let mut running = tokio::task::JoinSet::new();
    storm.clients(&mut running);

    let watching = storm.client(&all, Duration::from_secs(5));
    let told: Arc<Mutex<Vec<Event>>> = Arc::default();
    let seen = told.clone();
    let mut watch =
        watching.watch(WatchOptions::prefix(KEYS).from_revision(1).with_prev_kv()).await.expect("watched");
    let watcher = tokio::spawn(async move {
        while let Ok(watched) = watch.next().await {
            seen.lock().expect("no panics inside").extend(watched.events);
        }
    });

    // A lease that nobody renews, and one that somebody does.
    let leases = storm.client(&all, Duration::from_secs(5));
    let short = leases.lease_grant(Duration::from_secs(6), 0).await.expect("granted");
    let granted = Instant::now();
    leases.put_leased("lease/short", "v", short.id).await.expect("put");
    let kept = leases.lease(Duration::from_secs(6)).await.expect("granted");
    leases.put_leased("lease/kept", "v", kept.id()).await.expect("put");
    let expiry = storm.client(&all, Duration::from_secs(2));
    let expired = tokio::spawn(async move {
        while !matches!(expiry.get("lease/short").await, Ok(None)) {
            sleep(Duration::from_millis(50)).await;
        }
        granted.elapsed()
    });

    storm.story().await;
    let spare = all.len();
    storm.replace(all[0], spare).await;
    storm.roll().await;
    let more = std::env::var("KV_STORM_SECS").ok().and_then(|secs| secs.parse().ok()).unwrap_or(0);
    storm.at_random(more).await;

    let answers = || storm.records.lock().expect("no panics inside").len();
    assert!(answers() > 50, "only {} answers in trouble", answers());
    let deadline = Instant::now() + PATIENCE;
    while answers() < 200 {
        assert!(Instant::now() < deadline, "only {} answers", answers());
        sleep(Duration::from_millis(100)).await;
    }
    storm.stop.store(true, Ordering::Relaxed);
    while running.join_next().await.is_some() {}
    let members = storm.all();
    let client = storm.client(&members, Duration::from_secs(10));
    let end = client.put(format!("{KEYS}end"), "end").await.expect("writes go on");
    let history = history(&client, end).await;
    let mut writes = Writes::new();
    for event in &history {
        let pair = event.kv.clone().unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        writes.entry(text(&pair.key)).or_default().insert(pair.mod_revision, text(&pair.value));
    }
    let records = storm.records.lock().expect("no panics inside").clone();
    println!("{} answers, {} writes", records.len(), history.len());
    check(&records, &writes).unwrap_or_else(|wrong| panic!("{wrong}"));

    let deadline = Instant::now() + Duration::from_secs(20);
    let told_end =
        || told.lock().expect("no panics inside").last().is_some_and(|event| revision(event) >= end);
    while !told_end() {
        assert!(Instant::now() < deadline, "the watch does not get to the end");
        sleep(Duration::from_millis(50)).await;
    }
    watcher.abort();
    let told = told.lock().expect("no panics inside").clone();
    check_watch(&told, &history).unwrap_or_else(|wrong| panic!("{wrong}"));

    assert!(client.get("lease/kept").await.expect("reads").is_some(), "a lease that is kept alive ended");
    let lived = timeout(Duration::from_secs(30), expired).await.expect("a lease ends").expect("no panic");
    assert!(lived >= Duration::from_millis(5900), "a lease ended early: {lived:?}");

    let mut hashes = BTreeSet::new();
    for at in members {
        let one = storm.client(&[at], Duration::from_secs(10));
        // It has everything up to the end when it answers a read.
        one.get("healthy?").await.expect("reads");
        let mut maintenance = pb::maintenance_client::MaintenanceClient::new(one.channel());
        let reply = maintenance.hash_kv(pb::HashKvRequest { revision: end }).await.expect("hashed");
        hashes.insert(reply.into_inner().hash);
    }
    assert_eq!(hashes.len(), 1, "members differ");
}

#[test]
fn members_in_trouble_never_lie() {
    const MEMBERS: usize = 3;
    let Some(network) = Network::new(MEMBERS + 1) else { return };
    let mut storm = Storm {
        network,
        dir: tempfile::tempdir().expect("temporary directory"),
        members: BTreeMap::new(),
        records: Arc::default(),
        epoch: Instant::now(),
        stop: Arc::default(),
    };
    let names: Vec<String> = (0..MEMBERS).map(|at| format!("m{at}={}", storm.peer(at))).collect();
    for at in 0..MEMBERS {
        storm.add(at, &names.join(","), "new");
    }
    // Namespaces belong to threads: one thread, and a runtime that stays on it.
    let story = std::thread::spawn(move || {
        storm.network.enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(tell(storm));
    });
    if let Err(panic) = story.join() {
        std::panic::resume_unwind(panic);
    }
}
