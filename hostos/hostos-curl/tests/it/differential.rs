//! The table of calls, and the comparison.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::Server;

/// Words of a call (`$P` is the server's port, `$T` its TLS port, `$C` a closed one, `$Q` a silent one, `$D` the
/// server's folder, `$O` a folder of the call's own), the exit code, and the standard output.
const CALLS: &[(&str, u8, &str)] = &[
    ("-s http://127.0.0.1:$P/hello", 0, "hello\n"),
    ("-s 127.0.0.1:$P/hello", 0, "hello\n"),
    ("-sS http://127.0.0.1:$P/a http://127.0.0.1:$P/b?c=d", 0, "/a\n/b?c=d\n"),
    ("-fsS http://127.0.0.1:$P/missing", 22, ""),
    ("-s http://127.0.0.1:$P/missing", 0, "gone\n"),
    ("-s --fail-with-body http://127.0.0.1:$P/missing", 22, "gone\n"),
    ("-s -o /dev/null -w %{http_code} http://127.0.0.1:$P/missing", 0, "404"),
    (
        "-s -w %{http_code}:%{size_download}:%{content_type}:%{num_redirects}\\n http://127.0.0.1:$P/hello",
        0,
        "hello\n200:6:text/plain:0\n",
    ),
    ("-s -o /dev/null -w %{http_code} http://127.0.0.1:$C/", 7, "000"),
    ("-sS http://127.0.0.1:$C/", 7, ""),
    ("-sS http://no-such-host.invalid/", 6, ""),
    ("-s http://127.0.0.1:$P/moved", 0, ""),
    ("-s -w %{redirect_url} http://127.0.0.1:$P/moved", 0, "http://127.0.0.1:$P/hello?$P"),
    (
        "-sL -w %{num_redirects}:%{url_effective} http://127.0.0.1:$P/moved",
        0,
        "hello\n1:http://127.0.0.1:$P/hello?$P",
    ),
    ("-sL --max-redirs 3 http://127.0.0.1:$P/circle", 47, ""),
    ("-sL -d a=b http://127.0.0.1:$P/kept", 0, "a=b"),
    ("-s -d a=b -d c http://127.0.0.1:$P/echo", 0, "a=b&c"),
    ("-s --data-urlencode x=ä&b http://127.0.0.1:$P/echo", 0, "x=%C3%A4%26b"),
    ("-s -G -d a=b http://127.0.0.1:$P/x", 0, "/x?a=b\n"),
    ("-s -X DELETE http://127.0.0.1:$P/x", 0, "/x\n"),
    ("-s --data-binary @$D/ca.pem -o $O/out http://127.0.0.1:$P/echo", 0, ""),
    ("-s -T $D/ca.pem -o $O/out http://127.0.0.1:$P/echo", 0, ""),
    ("-s -T $D/ca.pem http://127.0.0.1:$P/put/", 0, "/put/ca.pem\n"),
    ("-sO --output-dir $O http://127.0.0.1:$P/dir/name.txt?q", 0, ""),
    ("-sO http://127.0.0.1:$P/", 23, ""),
    ("-s -o $O/deep/out http://127.0.0.1:$P/hello", 23, ""),
    ("-s --create-dirs -o $O/deep/out http://127.0.0.1:$P/hello", 0, ""),
    (
        "-sI http://127.0.0.1:$P/hello",
        0,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\n",
    ),
    ("-si http://127.0.0.1:$P/missing", 0, "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\ngone\n"),
    ("-s http://127.0.0.1:$P/chunked", 0, "abcdefg"),
    ("-s http://127.0.0.1:$P/short", 18, "only this"),
    ("-sS http://127.0.0.1:$P/mute", 52, ""),
    ("-s -m 0.5 http://127.0.0.1:$P/slow", 28, ""),
    ("-s --max-time 0.5 http://127.0.0.1:$Q/", 28, ""),
    ("-sS --unix-socket $D/socket http://localhost/hello", 0, "hello\n"),
    ("-sS --unix-socket $D/none http://localhost/hello", 7, ""),
    ("-sS --cacert $D/ca.pem https://localhost:$T/hello", 0, "hello\n"),
    ("-sS https://localhost:$T/hello", 60, ""),
    ("-sSk https://localhost:$T/hello", 0, "hello\n"),
    ("-sS --cacert $D/ca.pem https://127.0.0.1:$T/hello", 60, ""),
    ("-sS --cacert $D/none https://localhost:$T/hello", 77, ""),
    ("-sS --cert $D/none https://localhost:$T/hello", 58, ""),
    ("-sS https://localhost:$P/hello", 35, ""),
    ("-sS --resolve a.test:$P:127.0.0.1 http://a.test:$P/hello", 0, "hello\n"),
    ("-sf --retry 1 http://127.0.0.1:$P/flaky", 0, "at last\n"),
    ("-sf --retry 1 --retry-delay 1 http://127.0.0.1:$P/missing", 22, ""),
    ("-s --retry 1 --retry-connrefused http://127.0.0.1:$C/", 7, ""),
    ("-sS gopherx://127.0.0.1/", 1, ""),
    ("-sS http://127.0.0.1:99999/", 3, ""),
    ("-s --no-such-flag http://127.0.0.1:$P/", 2, ""),
    ("-s -H X-Own:1 -H Accept: -A me -u a:b -e http://from/ -b k=v http://127.0.0.1:$P/x", 0, "/x\n"),
    ("-s --json {} http://127.0.0.1:$P/echo", 0, "{}"),
];

struct Outcome {
    code: Option<i32>,
    out: String,
    /// Requests as the server saw them, without what tells the programs apart.
    asked: Vec<String>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

fn call(program: &str, server: &Server, words: &str) -> Outcome {
    let own = tempfile::tempdir().expect("a temporary directory");
    let replaced = words
        .replace("$P", &server.port.to_string())
        .replace("$T", &server.tls_port.to_string())
        .replace("$C", &server.closed_port.to_string())
        .replace("$Q", &server.silent_port.to_string())
        .replace("$D", &server.dir.path().display().to_string())
        .replace("$O", &own.path().display().to_string());
    // The pieces of one call are separated by blanks; a word with one is written with `~`.
    let args = replaced.split(' ').map(|word| word.replace('~', " "));
    server.asked.lock().expect("no panic").clear();
    let output = Command::new(program)
        .args(args)
        .current_dir(own.path())
        .env("SSL_CERT_DIR", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let asked = std::mem::take(&mut *server.asked.lock().expect("no panic"));
    Outcome {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        asked: asked.iter().map(|request| comparable(request)).collect(),
        files: files_below(own.path(), own.path()),
    }
}

/// Headers sorted and in lower case, without who asks.
fn comparable(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let mut headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| format!("{}: {}", name.to_ascii_lowercase(), value.trim()))
        // Who asks; and that curl asks for leave before it sends a file, which ours does not.
        .filter(|line| !line.starts_with("user-agent: curl/") && !line.starts_with("expect: "))
        .collect();
    headers.sort();
    format!("{first}|{}|{body}", headers.join("|"))
}

fn files_below(root: &Path, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(root, &path));
        } else {
            let name = path.strip_prefix(root).expect("it is below").to_owned();
            files.push((name, std::fs::read(&path).unwrap_or_default()));
        }
    }
    files.sort();
    files
}

#[test]
fn ours_does_what_curl_does() {
    let server = Server::start();
    let elder = Path::new("/usr/bin/curl").exists().then_some("/usr/bin/curl");
    if elder.is_none() {
        eprintln!("curl is not installed: ours is checked against the table only");
    }
    let mut problems = Vec::new();
    for (words, code, out) in CALLS {
        let out = out.replace("$P", &server.port.to_string());
        let ours = call(env!("CARGO_BIN_EXE_hostos-curl"), &server, words);
        if ours.code != Some((*code).into()) || ours.out != out {
            problems.push(format!("{words}: ours gave {:?} {:?}", ours.code, ours.out));
        }
        let Some(elder) = elder else { continue };
        let theirs = call(elder, &server, words);
        if theirs.code != Some((*code).into()) || theirs.out != out {
            problems
                .push(format!("{words}: the table is wrong, curl gave {:?} {:?}", theirs.code, theirs.out));
        }
        if ours.asked != theirs.asked {
            problems.push(format!("{words}: asked {:?}, curl {:?}", ours.asked, theirs.asked));
        }
        if ours.files != theirs.files {
            problems.push(format!("{words}: wrote {:?}, curl {:?}", names(&ours), names(&theirs)));
        }
    }
    eprintln!("{} calls, {} problems", CALLS.len(), problems.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn names(outcome: &Outcome) -> Vec<(&Path, usize)> {
    outcome.files.iter().map(|(name, bytes)| (name.as_path(), bytes.len())).collect()
}
