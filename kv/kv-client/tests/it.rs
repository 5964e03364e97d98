//! The client against a real etcd (Debian's), when one is installed. Starts its own on free loopback ports.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use kv_client::{Client, Config, Error, ErrorKind, EventType, Txn, WatchError, WatchOptions, compare, op};

struct Etcd {
    child: Child,
    port: u16,
    data: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port()
}

fn spawn(port: u16, data: &Path) -> std::io::Result<Child> {
    let client = format!("http://127.0.0.1:{port}");
    Command::new("etcd")
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &format!("http://127.0.0.1:{}", free_port())])
        .args(["--log-level", "error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

impl Etcd {
    fn start() -> Option<Self> {
        let data = tempfile::tempdir().expect("temporary directory");
        let port = free_port();
        match spawn(port, data.path()) {
            Ok(child) => Some(Self { child, port, data }),
            Err(error) => {
                must_run::skip(format_args!("no etcd to test against ({error})"));
                None
            }
        }
    }

    fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(self.port, self.data.path()).expect("it started before");
    }

    async fn client(&self) -> Client {
        let mut config = Config::new(["127.0.0.1:1".to_owned(), format!("http://localhost:{}", self.port)]);
        config.request_timeout = Duration::from_secs(15);
        let client = Client::new(config).expect("good endpoints");
        client.get("is it up?").await.expect("fails over from the dead endpoint, waits for the live one");
        client
    }
}

#[tokio::test]
async fn reads_writes_and_transactions() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    client.put("a/1", "one").await.expect("put");
    client.put("a/2", "two").await.expect("put");
    assert_eq!(client.get("a/1").await.expect("get").expect("there").value, "one");
    assert_eq!(client.get_prefix("a/").await.expect("range").count, 2);

    let swap = || {
        Txn::new()
            .when([compare::value_is("a/1", "one")])
            .then([op::put("a/1", "uno")])
            .or_else([op::get("a/1")])
    };
    assert!(client.txn(swap()).await.expect("txn").succeeded);
    assert!(!client.txn(swap()).await.expect("txn").succeeded);
    assert_eq!(client.delete_prefix("a/").await.expect("delete"), 2);

    let twice = Txn::new().then([op::put("x", "1"), op::put("x", "2")]);
    let error = client.txn(twice).await.expect_err("refused");
    assert_eq!(error.kind(), Some(ErrorKind::DuplicateKey));
}

#[tokio::test]
async fn a_watch_resumes_after_a_restart_without_gap_or_repeat() {
    let Some(mut etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let mut watch = client.watch(WatchOptions::prefix("w/")).await.expect("watch");
    let mut seen = Vec::new();
    for round in 0..3 {
        for i in 0..5 {
            let value = format!("{round}/{i}");
            while client.put("w/k", value.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while seen.len() < (round + 1) * 5 {
            let next = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("in time");
            for event in next.expect("still watching").events {
                assert_eq!(event.r#type(), EventType::Put);
                seen.push(String::from_utf8(event.kv.expect("pair").value.to_vec()).expect("text"));
            }
        }
        etcd.restart();
    }
    let expected: Vec<_> = (0..3).flat_map(|r| (0..5).map(move |i| format!("{r}/{i}"))).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_watch_into_compacted_history_says_so() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let mut revision = 0;
    for _ in 0..5 {
        revision = client.put("k", "v").await.expect("put");
    }
    client.compact(revision, true).await.expect("compact");
    let options = WatchOptions::key("k").from_revision(2);
    let ended = match client.watch(options).await {
        Ok(mut watch) => watch.next().await.expect_err("compacted"),
        Err(Error::Watch(ended)) => ended,
        Err(other) => panic!("{other}"),
    };
    assert!(matches!(ended, WatchError::Compacted(at) if at == revision), "{ended}");
}

#[tokio::test]
async fn leadership_passes_on_when_the_leader_lets_go() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let first = client.lease(Duration::from_secs(5)).await.expect("lease");
    let second = client.lease(Duration::from_secs(5)).await.expect("lease");
    let leads = client.campaign("boss", &first, "first").await.expect("free");
    assert!(client.try_lock("boss", &second).await.expect("asked").is_none());
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.campaign("boss", &second, "second").await.map(|o| (o, second)) })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    assert_eq!(client.leader("boss").await.expect("read").expect("led").value, "first");
    client.resign(&leads).await.expect("resign");
    let (follows, _lease) = waiting.await.expect("no panic").expect("leads now");
    assert!(follows.fence > leads.fence);
    assert_eq!(client.leader("boss").await.expect("read").expect("led").value, "second");
    first.revoke().await.expect("revoke");
}

#[tokio::test]
async fn a_kept_lease_outlives_its_ttl_and_a_revoked_one_is_noticed() {
    let Some(etcd) = Etcd::start() else { return };
    let client = etcd.client().await;
    let lease = client.lease(Duration::from_secs(2)).await.expect("lease");
    client.put_leased("mine", "yes", lease.id()).await.expect("put");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(client.get("mine").await.expect("get").is_some());
    client.lease_revoke(lease.id()).await.expect("revoke");
    tokio::time::timeout(Duration::from_secs(3), lease.lost()).await.expect("noticed");
    assert!(client.get("mine").await.expect("get").is_none());
}
