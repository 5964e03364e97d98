//! The registry client against a real registry on loopback, and skopeo as a second opinion.

mod mirrors;
mod tokens;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine_image::archive::{Entry, Kind, Writer};
use engine_image::registry::{Auth, Registry, RegistryConfig};
use engine_image::{Digest, Event, Image, ImageConfig, Reference, RootFs, Sink, Store};

struct Daemon {
    process: Child,
    port: u16,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian's registry on a free port, with its own configuration and data.
fn registry(place: &Path, extra: &str) -> Option<Daemon> {
    let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
    let data = place.join(format!("registry-{port}"));
    let config = place.join(format!("registry-{port}.yml"));
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{extra}",
        data.display()
    );
    fs::write(&config, text).expect("written");
    let program = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(process) = program else {
        must_run::skip("needs docker-registry");
        return None;
    };
    let daemon = Daemon { process, port };
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the registry does not start");
        std::thread::sleep(Duration::from_millis(30));
    }
    Some(daemon)
}

struct Place {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    client: Registry,
    lines: Arc<Mutex<Vec<String>>>,
}

fn place() -> Option<Place> {
    if !rustix::process::geteuid().is_root() {
        must_run::skip("needs root");
        return None;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let client = Registry::new(RegistryConfig::default());
    Some(Place {
        folder: tempfile::tempdir().expect("temporary folder"),
        runtime,
        client,
        lines: Arc::default(),
    })
}

impl Place {
    fn store(&self, name: &str) -> Store {
        Store::open(&self.folder.path().join(name)).expect("a store")
    }

    fn sink(&self) -> Arc<dyn Sink> {
        let lines = self.lines.clone();
        Arc::new(move |event: Event| {
            lines.lock().expect("not poisoned").push(serde_json::to_string(&event).expect("plain"));
        })
    }

    /// What was told since the last call, without figures.
    fn told(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.lines.lock().expect("not poisoned"));
        lines.retain(|line| !line.contains("\"progress\""));
        lines
    }

    fn push(&self, store: &Store, name: &str, auth: &Auth) -> Result<(), String> {
        let reference = Reference::parse(name).expect("fine");
        self.runtime
            .block_on(self.client.push(store, &reference, auth, &self.sink()))
            .map_err(|error| error.report())
    }

    fn pull(&self, store: &Store, name: &str, auth: &Auth) -> Result<Digest, String> {
        let reference = Reference::parse(name).expect("fine");
        self.runtime
            .block_on(self.client.pull(store, &reference, auth, None, &self.sink()))
            .map_err(|error| error.report())
    }
}

fn layer(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = Writer::new(Vec::new());
    for (name, content) in files {
        out.file(&Entry::new(*name, Kind::File, 0o644), content).expect("to memory");
    }
    out.finish().expect("to memory")
}

fn image(store: &Store, tars: &[Vec<u8>], tag: &str) -> Arc<Image> {
    let holds: Vec<_> = tars.iter().map(|tar| store.import_layer(&tar[..]).expect("unpacked")).collect();
    let diff_ids = holds.iter().map(|hold| *hold.diff_id()).collect();
    let config = ImageConfig {
        os: "linux".into(),
        architecture: engine_image::Platform::here().architecture,
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    };
    let image = store.create_image(&config, None).expect("made");
    store.tag(&image.id, &Reference::parse(tag).expect("fine")).expect("tagged");
    image
}

fn two_layers() -> Vec<Vec<u8>> {
    vec![layer(&[("a", vec![7; 300_000])]), layer(&[("b", b"small".to_vec())])]
}

#[test]
fn push_and_pull_round_trip() {
    let Some(place) = place() else { return };
    let Some(daemon) = registry(place.folder.path(), "") else { return };
    let name = format!("127.0.0.1:{}/zt/app:1", daemon.port);
    let (one, anonymous) = (place.store("one"), Auth::default());
    let made = image(&one, &two_layers(), &name);
    let shorts: Vec<String> = made.config.rootfs.diff_ids.iter().map(Digest::short).collect();
    place.push(&one, &name, &anonymous).expect("pushed");
    let told = place.told();
    assert_eq!(
        told[0],
        format!(r#"{{"status":"The push refers to repository [127.0.0.1:{}/zt/app]"}}"#, daemon.port)
    );
    assert_eq!(told[1], format!(r#"{{"status":"Preparing","progressDetail":{{}},"id":"{}"}}"#, shorts[1]));
    assert!(
        told.contains(&format!(r#"{{"status":"Pushed","progressDetail":{{}},"id":"{}"}}"#, shorts[0])),
        "{told:?}"
    );
    let [.., summary, aux] = &told[..] else { panic!("{told:?}") };
    assert!(
        summary.starts_with(r#"{"status":"1: digest: sha256:"#) && aux.contains(r#""aux":{"Digest""#),
        "{told:?}"
    );

    place.push(&one, &name, &anonymous).expect("pushed again");
    let again = place.told();
    assert_eq!(again.iter().filter(|line| line.contains("Layer already exists")).count(), 2);
    assert_eq!(again[again.len() - 2], *summary, "the same manifest");
    let other = format!("127.0.0.1:{}/other/app:1", daemon.port);
    one.tag(&made.id, &Reference::parse(&other).expect("fine")).expect("tagged");
    place.push(&one, &other, &anonymous).expect("pushed elsewhere");
    assert_eq!(place.told().iter().filter(|line| line.contains("Mounted from zt/app")).count(), 2);

    let two = place.store("two");
    assert_eq!(place.pull(&two, &name, &anonymous), Ok(made.id));
    let told = place.told();
    assert_eq!(told[0], r#"{"status":"Pulling from zt/app","id":"1"}"#);
    assert_eq!(told.iter().filter(|line| line.contains("Pull complete")).count(), 2);
    assert_eq!(told[told.len() - 1], format!(r#"{{"status":"Status: Downloaded newer image for {name}"}}"#));
    place.pull(&two, &name, &anonymous).expect("pulled again");
    assert_eq!(
        place.told().last(),
        Some(&format!(r#"{{"status":"Status: Image is up to date for {name}"}}"#))
    );

    // What was pulled is pushed byte for byte.
    let moved = format!("127.0.0.1:{}/moved:2", daemon.port);
    two.tag(&made.id, &Reference::parse(&moved).expect("fine")).expect("tagged");
    place.push(&two, &moved, &anonymous).expect("pushed");
    let digest =
        |lines: &[String]| lines.iter().find_map(|l| l.split("digest: ").nth(1).map(|d| d[..71].to_owned()));
    assert_eq!(digest(&place.told()), digest(std::slice::from_ref(summary)));
    assert_eq!(two.digests_of(&made.id).len(), 2);

    let missing = place
        .pull(&two, &format!("127.0.0.1:{}/zt/app:nope", daemon.port), &anonymous)
        .expect_err("no such tag");
    assert_eq!(
        missing,
        format!(
            "manifest for 127.0.0.1:{}/zt/app:nope not found: manifest unknown: manifest unknown",
            daemon.port
        )
    );
}

#[test]
fn skopeo_agrees() {
    let Some(place) = place() else { return };
    let Some(daemon) = registry(place.folder.path(), "") else { return };
    if Command::new("skopeo").arg("--version").stdout(Stdio::null()).status().is_err() {
        must_run::skip("needs skopeo");
        return;
    }
    let skopeo = |args: &[&str]| {
        let policy = place.folder.path().join("policy.json");
        fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).expect("written");
        let done = Command::new("skopeo").arg("--policy").arg(&policy).args(args).output().expect("runs");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let name = format!("127.0.0.1:{}/app:1", daemon.port);
    let (one, anonymous) = (place.store("one"), Auth::default());
    let made = image(&one, &two_layers(), &name);
    place.push(&one, &name, &anonymous).expect("pushed");
    let source = format!("docker://{name}");
    let archive = place.folder.path().join("archive.tar");
    let layout = place.folder.path().join("layout.tar");
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        &source,
        &format!("docker-archive:{}:app:2", archive.display()),
    ]);
    skopeo(&["copy", "--src-tls-verify=false", &source, &format!("oci-archive:{}:app:3", layout.display())]);
    let zstd = format!("docker://127.0.0.1:{}/zstd:1", daemon.port);
    let format = [
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--dest-compress-format=zstd",
        "-f",
        "oci",
    ];
    skopeo(&[&format[..], &[&source, &zstd]].concat());

    let quiet = |_: Event| {};
    let two = place.store("two");
    let load =
        |path: &Path| two.load(std::io::BufReader::new(fs::File::open(path).expect("there")), true, &quiet);
    assert_eq!(load(&archive).expect("loaded"), [made.id]);
    assert_eq!(two.lookup("app:2").expect("tagged").id, made.id);
    let loaded = load(&layout).expect("loaded")[0];
    assert_eq!(two.image(&loaded).expect("there").config.rootfs, made.config.rootfs);
    let three = place.store("three");
    let pulled = place.pull(&three, &zstd.replace("docker://", ""), &anonymous).expect("pulled");
    assert_eq!(three.image(&pulled).expect("there").config.rootfs, made.config.rootfs);
    let saved = place.folder.path().join("saved.tar");
    let mut out = fs::File::create(&saved).expect("made");
    three.save(&three.plan_save(&[pulled.to_string()]).expect("known"), &mut out).expect("saved");
    skopeo(&["inspect", &format!("docker-archive:{}", saved.display())]);
}

/// bcrypt of `secret`.
const PASSWORD_HASH: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

#[test]
fn passwords_are_asked_for() {
    let Some(place) = place() else { return };
    let file = place.folder.path().join("htpasswd");
    fs::write(&file, format!("user:{PASSWORD_HASH}\n")).expect("written");
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display());
    let Some(daemon) = registry(place.folder.path(), &auth) else { return };
    let name = format!("127.0.0.1:{}/app:1", daemon.port);
    let store = place.store("one");
    image(&store, &two_layers(), &name);
    let server_address = format!("127.0.0.1:{}", daemon.port);
    let good = Auth { username: "user".into(), password: "secret".into(), server_address, ..Auth::default() };
    let bad = Auth { password: "wrong".into(), ..good.clone() };
    assert!(place.push(&store, &name, &Auth::default()).is_err());
    assert!(place.push(&store, &name, &bad).is_err());
    place.push(&store, &name, &good).expect("pushed");
    assert!(
        place.pull(&place.store("two"), &name, &bad).expect_err("refused").starts_with("pull access denied")
    );
    place.pull(&place.store("three"), &name, &good).expect("pulled");
    let login = place.runtime.block_on(place.client.login(&good)).expect("good");
    assert_eq!((login.status.as_str(), login.identity_token.as_str()), ("Login Succeeded", ""));
    assert!(place.runtime.block_on(place.client.login(&bad)).is_err());
}

/// A registry that lies: what it sends is not what its digests promise.
#[test]
fn damaged_layers_leave_nothing() {
    let Some(place) = place() else { return };
    let Some(daemon) = registry(place.folder.path(), "") else { return };
    let name = format!("127.0.0.1:{}/app:1", daemon.port);
    let (one, anonymous) = (place.store("one"), Auth::default());
    image(&one, &two_layers(), &name);
    place.push(&one, &name, &anonymous).expect("pushed");
    damage_blobs(&place.folder.path().join(format!("registry-{}", daemon.port)));
    let two = place.store("two");
    let error = place.pull(&two, &name, &anonymous).expect_err("damaged");
    assert!(!error.is_empty());
    assert!(two.images().is_empty() && two.references().is_empty());
    let left = |folder: &str| fs::read_dir(two.root().join(folder)).expect("listed").count();
    let deadline = Instant::now() + Duration::from_secs(5);
    while ["tmp", "blobs", "l", "layers"].iter().any(|folder| left(folder) > 0) {
        assert!(Instant::now() < deadline, "left: {:?}", ["tmp", "blobs", "l", "layers"].map(left));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Turns a byte in the middle of every layer blob.
fn damage_blobs(root: &Path) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("data") {
                let mut bytes = fs::read(&path).expect("read");
                if bytes.starts_with(&[0x1f, 0x8b]) {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0xff;
                    fs::write(&path, bytes).expect("written");
                }
            }
        }
    }
}

const KILL_STORE: &str = "ENGINE_IMAGE_TEST_KILL_STORE";

/// Not a test of its own: what the next one runs in another process and kills.
#[test]
fn load_until_killed() {
    let Some(root) = std::env::var_os(KILL_STORE) else { return };
    let root = Path::new(&root);
    let store = Store::open(&root.join("data")).expect("a store");
    let archive = fs::File::open(root.join("archive.tar")).expect("there");
    store.load(std::io::BufReader::new(archive), true, &|_: Event| {}).expect("loaded");
}

#[test]
fn a_kill_at_any_moment_leaves_no_half_image() {
    let Some(place) = place() else { return };
    let source = place.store("source");
    let tars: Vec<Vec<u8>> =
        (0..4u8).map(|n| layer(&[("x", vec![n; 3_000_000]), ("y", vec![n + 9; 70_000])])).collect();
    let made = image(&source, &tars, "app:1");
    let mut out = fs::File::create(place.folder.path().join("archive.tar")).expect("made");
    source.save(&source.plan_save(&["app:1".into()]).expect("known"), &mut out).expect("saved");
    let (mut whole, mut absent) = (0, 0);
    for round in 0..14u64 {
        let data = place.folder.path().join("data");
        let _ = fs::remove_dir_all(&data);
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "load_until_killed"])
            .env(KILL_STORE, place.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("runs");
        std::thread::sleep(Duration::from_millis(4 + round * round * 2));
        let _ = child.kill();
        let _ = child.wait();
        let store = Store::open(&data).expect("opens after a kill");
        match store.lookup("app:1") {
            Ok(found) => {
                whole += 1;
                assert_eq!(found.id, made.id);
                store
                    .save(&store.plan_save(&["app:1".into()]).expect("known"), &mut std::io::sink())
                    .expect("whole");
            }
            Err(_) => {
                absent += 1;
                // Without its name the image may be there, but then whole.
                for image in store.images() {
                    store
                        .save(&store.plan_save(&[image.id.to_string()]).expect("known"), &mut std::io::sink())
                        .expect("whole");
                }
                let layers = store.images().first().map_or(0, |image| image.config.rootfs.diff_ids.len());
                assert_eq!(fs::read_dir(data.join("l")).expect("listed").count(), layers, "no half layer");
            }
        }
    }
    println!("{whole} loads were done before the kill, {absent} were not");
    assert!(absent > 0, "no kill came in time");
}
