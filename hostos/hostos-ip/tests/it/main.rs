//! iproute2's `ip` and ours, asked the same in the same network namespace. They need root, `unshare`
//! and iproute2, and say so otherwise.

use std::process::Command;

/// A network with a pair, a bridge, another pair, addresses of both families, routes and neighbours.
const SETUP: &str = "\
ip link set lo up
ip link add br0 type bridge
ip link add left type veth peer name right
ip link set left master br0
ip link add host0 type veth peer name peer0
ip link set peer0 up
ip link set host0 address 02:00:00:00:00:07 mtu 1400
ip link set br0 up
ip link set right up
ip link set left up
ip link set host0 up
ip addr add 10.1.2.3/24 brd 10.1.2.255 dev host0
ip addr add 10.1.2.4/24 dev host0
ip addr add 192.0.2.1 peer 192.0.2.2/32 dev br0
ip addr add fd00:1::7/64 dev host0 nodad
ip addr add 10.9.0.1/16 dev host0 valid_lft 9000 preferred_lft 8000
ip route add default via 10.1.2.1 dev host0 proto dhcp src 10.1.2.3 metric 100
ip route add 172.16.0.0/12 via 10.1.2.254
ip route add unreachable 198.51.100.0/24
ip route add 203.0.113.9 dev host0 proto static scope link mtu 1300
ip route add default via fd00:1::1 dev host0 metric 1024
ip neigh add 10.1.2.9 lladdr 02:00:00:00:00:09 dev host0 nud permanent
ip neigh add fd00:1::9 lladdr 02:00:00:00:00:0a dev host0 nud permanent router
sleep 2
for _ in 1 2 3 4 5 6 7 8 9 10; do ip addr | grep -q tentative || break; sleep 0.5; done
";

const CALLS: &[&str] = &[
    "addr",
    "a",
    "-4 addr",
    "addr show dev host0",
    "-4 addr show host0",
    "addr show up",
    "addr show scope global",
    "-o addr",
    "-o -4 addr show dev host0",
    "-br addr",
    "-br -4 addr",
    "-j addr",
    "-j -4 addr show dev host0",
    "link",
    "link show dev left",
    "link show type bridge",
    "link show up",
    "-o link",
    "-br link",
    "-j link",
    "route",
    "r show default",
    "-6 route",
    "route show table local",
    "-j route",
    "-j -6 route",
    "route get 10.1.2.77",
    "route get 8.8.8.8",
    "-o route get 8.8.8.8",
    "-j route get 8.8.8.8",
    "neigh",
    "-4 neigh",
    "neigh show dev host0",
    "-j neigh",
    "addr show dev none",
];

/// Blanks at the ends of lines say nothing, and neither does the second in which a time was read.
fn comparable(text: &str, json: bool) -> String {
    if json && let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        return seconds_rounded(&value.to_string());
    }
    seconds_rounded(&text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

fn seconds_rounded(text: &str) -> String {
    let mut out = text.to_owned();
    for (low, high, to) in [(8900, 9000, "9000"), (7900, 8000, "8000")] {
        for number in low..=high {
            out = out.replace(&format!("{number}sec"), &format!("{to}sec"));
            out = out.replace(&format!("life_time\":{number}"), &format!("life_time\":{to}"));
        }
    }
    out
}

#[test]
fn ours_shows_what_iproute_shows() {
    let ours = env!("CARGO_BIN_EXE_hostos-ip");
    let able =
        Command::new("unshare").args(["-n", "ip", "-V"]).output().is_ok_and(|out| out.status.success());
    if !able {
        must_run::skip("needs root, unshare and iproute2");
        return;
    }
    let mut script = String::from(SETUP);
    for (number, call) in CALLS.iter().enumerate() {
        for (who, program) in [("theirs", "ip"), ("ours", ours)] {
            script.push_str(&format!(
                "{program} {call} > \"$DIR/{number}.{who}\" 2> \"$DIR/{number}.{who}.err\" && code=0 || code=$?; echo $code >> \"$DIR/{number}.{who}\"\n"
            ));
        }
    }
    let dir = std::env::temp_dir().join(format!("hostos-ip-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let run = Command::new("unshare")
        .args(["-n", "sh", "-ec", &script])
        .env("DIR", &dir)
        .output()
        .expect("it runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let mut problems = Vec::new();
    for (number, call) in CALLS.iter().enumerate() {
        let read = |who: &str| {
            let text = std::fs::read_to_string(dir.join(format!("{number}.{who}"))).expect("it was written");
            let (body, code) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
            (comparable(body, call.contains("-j")), code.to_owned())
        };
        let (theirs, ours) = (read("theirs"), read("ours"));
        if theirs != ours {
            problems.push(format!(
                "ip {call}\n--- theirs\n{}\n{}\n--- ours\n{}\n{}",
                theirs.0, theirs.1, ours.0, ours.1
            ));
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    eprintln!("{} calls, {} differ", CALLS.len(), problems.len());
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}
