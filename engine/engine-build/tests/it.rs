//! Whole builds on a real store: steps run in a chroot of busybox, the transcript is what Docker 20.10 printed.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use engine_build::{BoxFuture, BuildError, BuildOptions, Host, RunStep, StepOutput, StepStream, build};
use engine_image::archive::{Entry, Kind, PackMode, Writer, pack};
use engine_image::{Event, ImageId, ImportOptions, Reference, Sink, Store};

/// Runs steps with chroot(8); knows no registry.
struct Chroot {
    store: Store,
}

impl Host for Chroot {
    fn run(&self, step: RunStep, output: StepOutput) -> BoxFuture<'_, Result<i64, String>> {
        Box::pin(async move {
            let root = self.store.view_writable(&step.layer).map_err(|error| error.report())?;
            let command = step.config.cmd.clone().unwrap_or_default();
            let mut child = Command::new("/usr/sbin/chroot");
            child.arg(format!("/proc/{}/fd/{}", std::process::id(), root.as_raw_fd()));
            child.arg("/bin/sh").arg("-c").arg("cd \"$0\" && exec \"$@\"").arg(
                match step.config.working_dir.as_str() {
                    "" => "/",
                    folder => folder,
                },
            );
            child.args(&command).env_clear().stdin(Stdio::null());
            for pair in step.config.env.iter().flatten() {
                if let Some((name, value)) = pair.split_once('=') {
                    child.env(name, value);
                }
            }
            let done = tokio::process::Command::from(child)
                .kill_on_drop(true)
                .output()
                .await
                .map_err(|e| e.to_string())?;
            for (stream, bytes) in [(StepStream::Stdout, &done.stdout), (StepStream::Stderr, &done.stderr)] {
                if !bytes.is_empty() {
                    output(stream, bytes);
                }
            }
            Ok(done.status.code().unwrap_or(137).into())
        })
    }

    fn pull<'a>(
        &'a self,
        name: &'a Reference,
        _: &'a str,
        _: Arc<dyn Sink>,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { Err(format!("pull access denied for {}", name.familiar_name())) })
    }

    /// `http://test/NAME` is a file that holds its own URL.
    fn download<'a>(
        &'a self,
        url: &'a str,
        mut into: fs::File,
        _: Arc<dyn Sink>,
    ) -> BoxFuture<'a, Result<engine_build::Fetched, String>> {
        Box::pin(async move {
            let name = url.strip_prefix("http://test/").ok_or_else(|| format!("failed to GET {url}"))?;
            std::io::Write::write_all(&mut into, url.as_bytes()).map_err(|e| e.to_string())?;
            Ok(engine_build::Fetched { name: name.to_owned(), modified: Some(1_000_000_000) })
        })
    }
}

struct Place {
    folder: tempfile::TempDir,
    store: Store,
    runtime: tokio::runtime::Runtime,
}

fn place() -> Option<Place> {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/busybox").exists() {
        must_run::skip("needs root and busybox");
        return None;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(&folder.path().join("data")).expect("a new store");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let place = Place { folder, store, runtime };
    place.import_busybox();
    Some(place)
}

impl Place {
    fn import_busybox(&self) {
        let tree = self.folder.path().join("tree");
        fs::create_dir_all(tree.join("bin")).expect("made");
        fs::create_dir_all(tree.join("etc")).expect("made");
        fs::create_dir_all(tree.join("tmp")).expect("made");
        fs::copy("/usr/bin/busybox", tree.join("bin/busybox")).expect("copied");
        for name in ["sh", "true", "echo", "cat", "sleep", "ls", "stat", "rm", "env"] {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).expect("linked");
        }
        fs::write(tree.join("etc/passwd"), "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n")
            .expect("written");
        fs::write(tree.join("etc/group"), "root:x:0:\napp:x:1002:\n").expect("written");
        let root = engine_image::overlay::open_folder(&tree).expect("opened");
        let mut out = Writer::new(Vec::new());
        pack(std::os::fd::AsFd::as_fd(&root), PackMode::Tree, &mut out).expect("packed");
        let tar = out.finish().expect("packed");
        let reference = Some(Reference::parse("bb:latest").expect("fine"));
        let options =
            ImportOptions { reference, comment: "Imported from -".into(), ..ImportOptions::default() };
        self.store.import(&tar[..], &options, &|_: Event| {}).expect("imported");
    }

    fn build(&self, files: &[(&str, &str)], options: BuildOptions) -> (Result<ImageId, BuildError>, String) {
        let mut out = Writer::new(Vec::new());
        for (name, content) in files {
            out.file(&Entry::new(*name, Kind::File, 0o644), content.as_bytes()).expect("packed");
        }
        let context = std::io::Cursor::new(out.finish().expect("packed"));
        let printed = Arc::new(Mutex::new(String::new()));
        let seen = printed.clone();
        let sink: Arc<dyn Sink> = Arc::new(move |event: Event| {
            if let Event::Stream(text) = event {
                seen.lock().expect("not poisoned").push_str(&text);
            }
        });
        let host = Arc::new(Chroot { store: self.store.clone() });
        let built = self.runtime.block_on(build(self.store.clone(), host, options, context, sink));
        let printed = printed.lock().expect("not poisoned").clone();
        (built, printed)
    }

    fn read(&self, image: &ImageId, path: &str) -> Option<String> {
        let image = self.store.image(image)?;
        let root = self.store.view_image(&self.store.lower_dirs(&image).ok()?).ok()?;
        let mut file =
            engine_image::dirfd::open_file_in(std::os::fd::AsFd::as_fd(&root), Path::new(path)).ok()?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text).ok()?;
        Some(text)
    }

    fn leftovers(&self) -> Vec<String> {
        let below = |folder: &str| fs::read_dir(self.store.root().join(folder)).expect("listed").count();
        let mut left = Vec::new();
        for _ in 0..100 {
            left = ["tmp", "rw"]
                .iter()
                .filter(|folder| below(folder) > 0)
                .map(|folder| (*folder).to_owned())
                .collect();
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        left
    }
}

/// Replaces what differs from build to build: twelve hexadecimal digits.
fn normal(text: &str) -> String {
    let line = |line: &str| {
        let words = line.split(' ').map(|word| {
            let is_id = word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_id { "ID" } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

const DOCKERFILE: &str = "FROM bb AS base\nENV A=1 B=\"two words\"\nRUN echo hello; echo err >&2\nCOPY f.txt /x/\nFROM base\n\
ARG V=3\nWORKDIR /srv/app\nRUN echo $V $A\nADD f.txt .\nLABEL a=b\nEXPOSE 80\nUSER app\nCMD [\"echo\",\"x\"]\n";

const TRANSCRIPT: &str = "Step 1/13 : FROM bb AS base
 ---> ID
Step 2/13 : ENV A=1 B=\"two words\"
 ---> Running in ID
Removing intermediate container ID
 ---> ID
Step 3/13 : RUN echo hello; echo err >&2
 ---> Running in ID
hello
\u{1b}[91merr
\u{1b}[0mRemoving intermediate container ID
 ---> ID
Step 4/13 : COPY f.txt /x/
 ---> ID
Step 5/13 : FROM base
 ---> ID
Step 6/13 : ARG V=3
 ---> Running in ID
Removing intermediate container ID
 ---> ID
Step 7/13 : WORKDIR /srv/app
 ---> Running in ID
Removing intermediate container ID
 ---> ID
Step 8/13 : RUN echo $V $A
 ---> Running in ID
3 1
Removing intermediate container ID
 ---> ID
Step 9/13 : ADD f.txt .
 ---> ID
Step 10/13 : LABEL a=b
 ---> Running in ID
Removing intermediate container ID
 ---> ID
Step 11/13 : EXPOSE 80
 ---> Running in ID
Removing intermediate container ID
 ---> ID
Step 12/13 : USER app
 ---> Running in ID
Removing intermediate container ID
 ---> ID
Step 13/13 : CMD [\"echo\",\"x\"]
 ---> Running in ID
Removing intermediate container ID
 ---> ID
Successfully built ID
Successfully tagged t1:x";

#[test]
fn a_build_reads_as_dockers() {
    let Some(place) = place() else { return };
    let options = || BuildOptions { tags: vec!["t1:x".into()], ..BuildOptions::default() };
    let files = [("Dockerfile", DOCKERFILE), ("f.txt", "hi\n")];
    let (built, printed) = place.build(&files, options());
    assert_eq!(normal(&printed), TRANSCRIPT, "{built:?}");
    let image = built.expect("built");
    assert_eq!(place.read(&image, "/srv/app/f.txt").as_deref(), Some("hi\n"));
    let config = place.store.image(&image).expect("there").config.clone();
    let lines: Vec<String> = config.history.iter().map(|line| line.created_by.clone()).rev().collect();
    assert_eq!(lines[0], "/bin/sh -c #(nop)  CMD [\"echo\" \"x\"]");
    assert_eq!(lines[5], "|1 V=3 /bin/sh -c echo $V $A");
    assert_eq!(lines[6], "/bin/sh -c #(nop) WORKDIR /srv/app");
    assert_eq!(lines[10], "/bin/sh -c #(nop)  ENV A=1 B=two words");
    let config = config.config.expect("present");
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app", "/srv/app"));

    let (again, printed) = place.build(&files, options());
    assert_eq!(again.expect("built"), image);
    assert_eq!(printed.matches(" ---> Using cache\n").count(), 11);
    let changed = [("Dockerfile", DOCKERFILE), ("f.txt", "ho\n")];
    let (third, printed) = place.build(&changed, options());
    assert_ne!(third.expect("built"), image);
    assert_eq!(printed.matches(" ---> Using cache\n").count(), 2);
    let (_, printed) = place.build(&files, BuildOptions { no_cache: true, ..options() });
    assert!(!printed.contains("Using cache"));
    assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
}

#[test]
fn copies_follow_the_rules() {
    let Some(place) = place() else { return };
    let dockerfile = "FROM bb AS one\nRUN echo made > /tmp/made\nFROM bb\nCOPY --from=one /tmp/made /from/name\n\
        COPY --from=0 /tmp/made /from/number/\nCOPY --chown=app:1234 a.txt /owned\nCOPY *.txt d /all/\n\
        COPY d /merged\nADD x.tar /unpacked\nRUN stat -c '%u:%g' /owned\n";
    let mut tar = Writer::new(Vec::new());
    tar.file(&Entry::new("inner", Kind::File, 0o600), b"in").expect("packed");
    let tar = String::from_utf8(tar.finish().expect("packed")).expect("ASCII");
    let files = [
        ("Dockerfile", dockerfile),
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("d/e/f", "f"),
        ("d/g", "g"),
        ("x.tar", &tar),
    ];
    let (built, printed) = place.build(&files, BuildOptions::default());
    let image = built.unwrap_or_else(|error| panic!("{error}\n{printed}"));
    let expected = [
        ("/from/name", "made\n"),
        ("/from/number/made", "made\n"),
        ("/all/a.txt", "a"),
        ("/all/b.txt", "b"),
        ("/all/e/f", "f"),
        ("/merged/g", "g"),
        ("/unpacked/inner", "in"),
    ];
    for (path, content) in expected {
        assert_eq!(place.read(&image, path).as_deref(), Some(content), "{path}");
    }
    assert!(printed.contains("1000:1234\n"), "{printed}");
}

#[test]
fn failures_are_dockers() {
    let Some(place) = place() else { return };
    let cases = [
        ("FROM bb\nRUN exit 3\n", "The command '/bin/sh -c exit 3' returned a non-zero code: 3"),
        (
            "FROM bb\nCOPY nope /\n",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: file does not exist",
        ),
        ("FROM bb\nCOPY ../x /\n", "COPY failed: forbidden path outside the build context: ../x ()"),
        (
            "FROM bb\nCOPY Dockerfile Dockerfile /x\n",
            "When using COPY with more than one source file, the destination must be a directory and end with a /",
        ),
        (
            "FROM bb\nCOPY --chown=zz Dockerfile /b\n",
            "unable to convert uid/gid chown string to host mapping: can't find uid for user zz: no such user: zz",
        ),
        ("ARG x\nFROM $x\n", "base name ($x) should not be blank"),
        ("FROM scratch\n", "No image was generated. Is your Dockerfile empty?"),
        ("FROM nope\n", "pull access denied for nope"),
        ("FROM bb\nEXPOSE x\n", "Invalid containerPort: x"),
        ("FROM bb\nSTOPSIGNAL XX\n", "Invalid signal: XX"),
        ("FROM bb\nENV a=${x\n", "failed to process \"${x\": missing ':' in substitution"),
        (
            "FROM bb\nRUN --mount=type=cache,target=/x true\n",
            "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled",
        ),
    ];
    for (dockerfile, message) in cases {
        let (built, _) = place.build(&[("Dockerfile", dockerfile)], BuildOptions::default());
        assert_eq!(built.expect_err(dockerfile).to_string(), message);
    }
    let target = BuildOptions { target: "foo".into(), ..BuildOptions::default() };
    let (built, _) = place.build(&[("Dockerfile", "FROM bb\n")], target);
    assert_eq!(
        built.expect_err("no such stage").to_string(),
        "failed to reach build target foo in Dockerfile"
    );
    assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
}

#[test]
fn triggers_labels_and_arguments() {
    let Some(place) = place() else { return };
    let base = BuildOptions { tags: vec!["base".into()], ..BuildOptions::default() };
    place
        .build(&[("Dockerfile", "FROM bb\nONBUILD RUN echo trigger\nONBUILD ENV T=1\n")], base)
        .0
        .expect("built");
    let given = [("A", "1"), ("ZZ", "2"), ("HTTP_PROXY", "x")];
    let options = BuildOptions {
        build_args: given.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into(),
        labels: [("q".to_owned(), "r".to_owned())].into(),
        ..BuildOptions::default()
    };
    let (built, printed) =
        place.build(&[("Dockerfile", "FROM base\nARG A\nRUN echo $A $HTTP_PROXY $T\n")], options);
    let image = built.unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert!(printed.contains("# Executing 2 build triggers") && printed.contains("trigger\n"), "{printed}");
    assert!(printed.contains("Step 4/4 : LABEL q=r\n") && printed.contains("\n1 x 1\n"), "{printed}");
    assert!(printed.contains("[Warning] One or more build-args [ZZ] were not consumed\n"), "{printed}");
    let history = place.store.image(&image).expect("there").config.history.clone();
    assert!(history.iter().any(|line| line.created_by == "|1 A=1 /bin/sh -c echo $A $HTTP_PROXY $T"));
}

#[test]
fn a_cancelled_build_leaves_nothing() {
    let Some(place) = place() else { return };
    let mut out = Writer::new(Vec::new());
    out.file(&Entry::new("Dockerfile", Kind::File, 0o644), b"FROM bb\nRUN sleep 30\n").expect("packed");
    let context = std::io::Cursor::new(out.finish().expect("packed"));
    let host = Arc::new(Chroot { store: place.store.clone() });
    let sink: Arc<dyn Sink> = Arc::new(|_: Event| {});
    let building = build(place.store.clone(), host, BuildOptions::default(), context, sink);
    let soon = std::time::Duration::from_millis(700);
    let outcome = place.runtime.block_on(async { tokio::time::timeout(soon, building).await });
    assert!(outcome.is_err(), "the step was still running");
    assert!(place.leftovers().is_empty(), "{:?}", place.leftovers());
    assert_eq!(place.store.images().len(), 1);
}
