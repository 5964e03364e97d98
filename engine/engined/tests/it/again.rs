//! A container that is started again the moment its program has ended: what is left of the old program is cleaned up
//! before the new one is there, and never after.

use crate::killed::set_up;

const ROUNDS: usize = 12;

#[test]
fn a_restart_keeps_the_new_program() {
    let Some(engine) = set_up(&["busybox", "nsenter"]) else { return };
    // It dies of SIGKILL only, so that the end and the new start follow each other closely.
    engine.must("docker run -d --name again busybox sleep 999");
    engine.must("docker run -d --name bare --network none busybox sleep 999");
    for round in 0..ROUNDS {
        for name in ["again", "bare"] {
            let before = engine.must(&format!("docker inspect -f '{{{{.State.Pid}}}}' {name}"));
            engine.must(&format!("docker restart -t 0 {name}"));
            std::thread::sleep(std::time::Duration::from_millis(100));
            let after =
                engine.must(&format!("docker inspect -f '{{{{.State.Status}}}} {{{{.State.Pid}}}}' {name}"));
            let pid = after.strip_prefix("running ");
            assert!(pid.is_some_and(|pid| pid != before), "round {round}, {name}: {after}");
        }
    }
}

/// The same by the two calls that a supervisor makes.
#[test]
fn a_start_after_wait_keeps_the_new_program() {
    let Some(engine) = set_up(&["busybox", "nsenter"]) else { return };
    engine.must("docker create --name job busybox sh -c '[ -e /ran ] && exec sleep 999; touch /ran; exit 3'");
    for round in 0..ROUNDS {
        let code =
            engine.must("docker start job >/dev/null && docker wait job && docker start job >/dev/null");
        assert_eq!(code, "3", "round {round}");
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(engine.must("docker inspect -f '{{.State.Status}}' job"), "running", "round {round}");
        engine.must("docker exec job rm /ran && docker kill job >/dev/null");
    }
}
