//! A fake server on loopback, a fake clock, and what the one does to the other.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hostos_timesync::{AskError, Clock, ask, follow, packet, set_once};

/// A clock that shows what it is told to, and goes on from there.
#[derive(Clone)]
struct FakeClock(Arc<Mutex<FakeState>>);

struct FakeState {
    base: SystemTime,
    since: Instant,
    steps: u32,
    slews: u32,
}

impl FakeClock {
    fn at(seconds: u64) -> Self {
        let base = UNIX_EPOCH + Duration::from_secs(seconds);
        Self(Arc::new(Mutex::new(FakeState { base, since: Instant::now(), steps: 0, slews: 0 })))
    }

    fn counts(&self) -> (u32, u32) {
        let state = self.0.lock().expect("no panic");
        (state.steps, state.slews)
    }
}

impl Clock for FakeClock {
    fn now(&self) -> SystemTime {
        let state = self.0.lock().expect("no panic");
        state.base + state.since.elapsed()
    }

    fn step(&mut self, by: Duration, back: bool) -> io::Result<()> {
        let mut state = self.0.lock().expect("no panic");
        state.steps += 1;
        state.base = if back { state.base - by } else { state.base + by };
        Ok(())
    }

    fn slew(&mut self, _: Duration, _: bool) -> io::Result<()> {
        self.0.lock().expect("no panic").slews += 1;
        Ok(())
    }
}

/// What a server does with a question.
#[derive(Clone, Copy)]
enum Manner {
    Good,
    /// Answers only every other question.
    Lossy,
    Mute,
    /// Sends three answers to other questions first.
    Spoofed,
    Unsynchronized,
    Refusing,
}

/// A server whose clock shows `now` when it starts.
fn serve(now: SystemTime, manner: Manner) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
    let address = socket.local_addr().expect("bound");
    let start = Instant::now();
    std::thread::spawn(move || {
        let mut question = [0; 128];
        let mut count = 0;
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            count += 1;
            let lost = matches!(manner, Manner::Lossy) && count % 2 == 1;
            if length < packet::LENGTH || lost || matches!(manner, Manner::Mute) {
                continue;
            }
            let time = packet::wire(now + start.elapsed()).to_be_bytes();
            let mut answer = [0; packet::LENGTH];
            answer[0] = if matches!(manner, Manner::Unsynchronized) { 0b11_100_100 } else { 0b00_100_100 };
            answer[1] = if matches!(manner, Manner::Refusing) { 0 } else { 1 };
            answer[12..16].copy_from_slice(b"RATE");
            answer[32..40].copy_from_slice(&time);
            answer[40..48].copy_from_slice(&time);
            if matches!(manner, Manner::Spoofed) {
                for cookie in 0..3u64 {
                    answer[24..32].copy_from_slice(&cookie.to_be_bytes());
                    let _ = socket.send_to(&answer, from);
                }
            }
            answer[24..32].copy_from_slice(&question[40..48]);
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

const BUILT: u64 = 1_790_000_000;
const LIMIT: Duration = Duration::from_secs(10);

fn floor() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(BUILT)
}

fn apart(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|error| error.duration())
}

#[tokio::test]
async fn a_clock_of_1970_is_set_by_one_question() {
    let truth = floor() + Duration::from_secs(86_400);
    let server = serve(truth, Manner::Good);
    let mut clock = FakeClock::at(12);
    set_once(&[server.to_string()], &mut clock, floor(), LIMIT).await.expect("it answers");
    assert!(apart(clock.now(), truth) < Duration::from_secs(5));
    assert_eq!(clock.counts(), (1, 0));
}

#[tokio::test]
async fn a_clock_that_is_ahead_goes_back() {
    let truth = floor() + Duration::from_secs(86_400);
    let server = serve(truth, Manner::Good);
    let mut clock = FakeClock::at(BUILT * 2);
    set_once(&[server.to_string()], &mut clock, floor(), LIMIT).await.expect("it answers");
    assert!(apart(clock.now(), truth) < Duration::from_secs(5));
}

#[tokio::test]
async fn a_time_before_the_build_is_not_believed() {
    for lie in [floor() - Duration::from_secs(3600), UNIX_EPOCH] {
        let server = serve(lie, Manner::Good);
        let mut clock = FakeClock::at(BUILT + 10);
        let error = set_once(&[server.to_string()], &mut clock, floor(), LIMIT).await.expect_err("it lies");
        assert!(matches!(error, AskError::Early { .. }), "{error}");
        assert_eq!(clock.counts(), (0, 0));
    }
}

#[tokio::test]
async fn lost_and_false_answers_do_not_matter() {
    let truth = floor() + Duration::from_secs(100);
    for manner in [Manner::Lossy, Manner::Spoofed] {
        let server = serve(truth, manner);
        let sample =
            ask(server, &FakeClock::at(BUILT), floor(), Duration::from_secs(4)).await.expect("it answers");
        assert!(apart(sample.time, truth) < Duration::from_secs(4));
    }
}

#[tokio::test]
async fn servers_without_time_are_passed_over() {
    let truth = floor() + Duration::from_secs(100);
    let bad = [Manner::Unsynchronized, Manner::Refusing, Manner::Mute].map(|manner| serve(truth, manner));
    let mut servers: Vec<String> = bad.iter().map(SocketAddr::to_string).collect();
    servers.push(serve(truth, Manner::Good).to_string());
    let mut clock = FakeClock::at(0);
    let sample =
        set_once(&servers, &mut clock, floor(), Duration::from_secs(20)).await.expect("the last answers");
    assert_eq!(sample.server.to_string(), servers[3]);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_limit() {
    let mute = serve(floor(), Manner::Mute).to_string();
    let start = Instant::now();
    let error = set_once(&[mute.clone(), mute], &mut FakeClock::at(0), floor(), Duration::from_secs(1)).await;
    assert!(error.is_err());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_loop_sets_once_and_then_only_follows() {
    let truth = floor() + Duration::from_secs(100);
    let server = serve(truth, Manner::Good).to_string();
    let clock = FakeClock::at(0);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let noted = dir.path().join("run/synchronized");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(follow(
        move || vec![server.clone()],
        clock.clone(),
        floor(),
        Some(noted.clone()),
        move |sample| {
            let _ = tell.send(*sample);
        },
    ));
    let first = tokio::time::timeout(LIMIT, told.recv()).await.expect("in time").expect("a sample");
    assert!(first.offset > Duration::from_secs(BUILT / 2));
    assert!(noted.exists());
    assert!(apart(clock.now(), truth) < Duration::from_secs(5));
    assert_eq!(clock.counts(), (1, 0));
    task.abort();
}
