//! awk, sed, grep, xargs and find on the forms that real units hold; each is run by our program and by
//! the one of this workstation.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const INPUT: &str = "CONTAINER ID   IMAGE     STATUS\nabc123  busybox:1  Up 2 minutes\ndef456  redis:3  Exited (0)\n\
                     key=value\nkey2=a:b:c\n  indented\n10.0.0.1 host-1\n10.0.0.2 host-2\n3 1.5\n";

/// Program and arguments.
const CALLS: &[(&str, &[&str])] = &[
    ("awk", &["{print $1}"]),
    ("awk", &["NR>1{print $1\" \"$2}"]),
    ("awk", &["-F=", "/^key/{print $2}"]),
    ("awk", &["-F", ":", "{print $NF}"]),
    ("awk", &["-v", "x=7", "BEGIN{printf \"%05.2f|%s|%d\\n\", x/3, \"a\", x}"]),
    ("awk", &["/busybox/{if (/Up/) {print toupper($1); exit 3}}"]),
    ("awk", &["{n+=NF} END{print NR, n, n/NR}"]),
    ("awk", &["{a[$1]++} END{for(k in a) if(a[k]>1) print k; print length(a[\"x\"])}"]),
    ("awk", &["{gsub(/[0-9]+/,\"#\"); print}"]),
    ("awk", &["{print substr($0,1,5), index($0,\"i\"), length($0)}"]),
    ("awk", &["match($0,/[a-z]+:[0-9]/){print RSTART,RLENGTH,substr($0,RSTART,RLENGTH)}"]),
    ("awk", &["{n=split($0,p,/[ =:]+/); print n, p[1], p[n]}"]),
    ("awk", &["BEGIN{\"echo hi\" | getline v; print v}"]),
    ("awk", &["BEGIN{OFS=\"-\"} {$1=$1; print}"]),
    ("awk", &["NR==2,NR==4"]),
    ("awk", &["-F=", "-v", "OFS=-", "{$1=$1}1"]),
    ("awk", &["{if (/key/) next; print; if (NR>4) exit 3; print \"on\"} END{print \"end\", NR}"]),
    (
        "awk",
        &["BEGIN{while(1) {if (++i>3) exit; print i}} END{print \"end\"; if (i>3) exit i; print \"no\"}"],
    ),
    ("awk", &["{for(;;) {if (n++>2) exit(4)}} END{exit} END{print \"no\"}"]),
    ("awk", &["function f(x) {if (x) return \"yes\"; else return \"no\"} {print f(/key/); nextfile}"]),
    ("awk", &["/key/ && /a:b/ {print $1}"]),
    ("awk", &["/key/ || /host/;/busybox/,/redis/; NR==1{print \"one\"}"]),
    ("awk", &["/abc/,/key/ && /b:c/ {print NR} $1 ~ /^10/ && !/host-2/"]),
    ("awk", &["!seen[$1]++"]),
    ("awk", &["BEGIN{s=\"x\"; print s 1+2 \"y\", 1e3, 0.1+0.2, 2^10, 7%3, -3%2}"]),
    ("awk", &["$1 ~ /^10\\./ {print $2 > \"/dev/stdout\"}"]),
    ("awk", &["BEGIN{exit 5}"]),
    ("awk", &["function f(n){return n<2?1:n*f(n-1)} BEGIN{print f(10)}"]),
    ("sed", &["-n", "/busybox/p"]),
    ("sed", &["s/\\([a-z]*\\)=\\(.*\\)/\\2=\\1/"]),
    ("sed", &["-E", "s/([a-z]+)[0-9]*=/<\\1>/g"]),
    ("sed", &["-e", "1d", "-e", "$d"]),
    ("sed", &["-n", "2,3p"]),
    ("sed", &["/^$/d;s/^ *//"]),
    ("sed", &["s|10.0.0.1|&:2379|"]),
    ("sed", &["2q"]),
    ("sed", &["-n", "/key/{s/=/ is /;n;s/=/ too /}"]),
    ("sed", &["-n", "-e", "/key/{s/=/ is /p}", "-e", "$p"]),
    ("grep", &["key"]),
    ("grep", &["-c", "[0-9]"]),
    ("grep", &["-v", "key"]),
    ("grep", &["-qi", "BUSYBOX"]),
    ("grep", &["-oE", "[0-9]+\\.[0-9]+"]),
    ("grep", &["-w", "host"]),
    ("grep", &["-n", "^10"]),
    ("grep", &["-F", "a:b"]),
    ("grep", &["no-such-thing"]),
    ("xargs", &["-n", "2", "echo", "->"]),
    ("xargs", &["-I", "{}", "echo", "[{}]"]),
    ("cut", &["-d=", "-f2"]),
    ("cut", &["-c1-4"]),
    ("tr", &["-d", "[:digit:]"]),
    ("sort", &["-k2,2", "-r"]),
    ("uniq", &["-c"]),
    ("head", &["-n", "2"]),
    ("tail", &["-n", "+3"]),
    ("wc", &["-l"]),
    ("nl", &["-ba"]),
    ("md5sum", &[]),
    ("sha1sum", &[]),
    ("base64", &["-w0"]),
    ("tee", &["/dev/null"]),
];

fn run(command: &mut Command) -> Option<(Option<i32>, String)> {
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // One that has seen enough closes its end.
    let _ = child.stdin.take()?.write_all(INPUT.as_bytes());
    let output = child.wait_with_output().ok()?;
    Some((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn the_text_tools_do_what_the_elders_do() {
    let mut compared = 0;
    let mut problems = Vec::new();
    for (program, args) in CALLS {
        let elder = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(program));
        let Some(elder) = elder.iter().find(|path| path.exists()) else { continue };
        let theirs = run(Command::new(elder).args(*args)).expect("the elder runs");
        let ours = run(Command::new(env!("CARGO_BIN_EXE_hostos-userland")).arg(program).args(*args))
            .expect("it runs");
        compared += 1;
        if ours != theirs {
            problems.push(format!("{program} {args:?}:\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    eprintln!("{compared} calls, {} differ", problems.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
