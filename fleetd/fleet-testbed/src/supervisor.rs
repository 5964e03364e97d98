//! A supervisor that speaks the real wire and keeps account instead of processes.
//!
//! It outlives the daemon that talks to it, as PID 1 does, and remembers every deed with its time: that
//! is what tests judge. A unit whose text has `ExecStart=/bin/false` fails; every other one runs until
//! it is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use units_api::{Answer, ErrorKind, JobState, Method, Request, UnitState, WireError};

/// What was done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its file was written.
    Submitted,
    /// It was started, and did not run before.
    Started,
    /// It was stopped, and ran before.
    Stopped,
    /// Its file was removed.
    Removed,
}

/// Something done to a unit.
#[derive(Clone, Debug)]
pub struct Deed {
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
    /// To which unit.
    pub unit: String,
}

/// A supervisor; its threads end with the process.
#[derive(Clone)]
pub struct Supervisor(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    units: BTreeMap<String, Unit>,
    deeds: Vec<Deed>,
    listeners: Vec<UnixStream>,
}

#[derive(Default)]
struct Unit {
    text: Option<String>,
    active: &'static str,
}

impl Supervisor {
    /// Listens on a socket.
    ///
    /// # Panics
    /// When the socket cannot be made.
    #[must_use]
    pub fn start(socket: &Path) -> Self {
        let listener =
            UnixListener::bind(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
        let supervisor = Self(Arc::default());
        let accepting = supervisor.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = accepting.clone();
                std::thread::spawn(move || serving.serve(&stream));
            }
        });
        supervisor
    }

    /// Everything that was done, in order.
    #[must_use]
    pub fn deeds(&self) -> Vec<Deed> {
        self.lock().deeds.clone()
    }

    /// The units that run.
    #[must_use]
    pub fn running(&self) -> BTreeSet<String> {
        let state = self.lock();
        state.units.iter().filter(|(_, unit)| unit.active == "active").map(|(name, _)| name.clone()).collect()
    }

    /// The file of a unit.
    #[must_use]
    pub fn text(&self, unit: &str) -> Option<String> {
        self.lock().units.get(unit)?.text.clone()
    }

    /// A unit dies by itself.
    pub fn fail(&self, unit: &str) {
        let mut state = self.lock();
        if let Some(unit) = state.units.get_mut(unit) {
            unit.active = "failed";
        }
        state.tell(unit);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    fn serve(&self, stream: &UnixStream) {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let Ok(request) = serde_json::from_str::<Request>(&line) else { return };
            let mut state = self.lock();
            let answer = Answer { id: request.id, ..state.answer(&request.method) };
            let mut bytes = serde_json::to_vec(&answer).expect("an answer is plain");
            bytes.push(b'\n');
            if (&mut &*stream).write_all(&bytes).is_err() {
                return;
            }
            if request.method == Method::Subscribe {
                state.listeners.extend(stream.try_clone());
            }
        }
    }
}

impl State {
    fn answer(&mut self, method: &Method) -> Answer {
        let ok = Answer { ok: true, ..Answer::default() };
        match method {
            Method::Submit { unit, text } => {
                self.units.entry(unit.clone()).or_default().text = Some(text.clone());
                self.note(What::Submitted, unit);
                ok
            }
            Method::Remove { unit } => {
                let Some(has) = self.units.get_mut(unit).filter(|has| has.text.is_some()) else {
                    return refused(ErrorKind::NotFound, &format!("unit {unit} was not submitted"));
                };
                has.text = None;
                self.note(What::Removed, unit);
                ok
            }
            Method::Start(job) => self.jobs(&job.units, Self::start),
            Method::Stop(job) => self.jobs(&job.units, Self::stop),
            Method::Status { units } => {
                let states = units.iter().map(|name| self.state(name)).collect();
                Answer { units: Some(states), ..Answer::default() }
            }
            Method::Enable(_) | Method::Disable(_) => {
                Answer { changes: Some(Vec::new()), ..Answer::default() }
            }
            Method::Ping | Method::Subscribe | Method::ResetFailed { .. } => ok,
            other => refused(ErrorKind::BadRequest, &format!("{other:?} is not known to tests")),
        }
    }

    fn jobs(&mut self, units: &[String], each: fn(&mut Self, &str)) -> Answer {
        if let Some(unknown) = units.iter().find(|unit| !self.units.contains_key(*unit)) {
            return refused(ErrorKind::NotFound, &format!("unit {unknown} not found"));
        }
        let mut jobs = Vec::new();
        for unit in units {
            each(self, unit);
            jobs.push(JobState { unit: unit.clone(), result: "done".into(), ..JobState::default() });
        }
        Answer { jobs: Some(jobs), ..Answer::default() }
    }

    fn start(&mut self, name: &str) {
        let unit = self.units.entry(name.to_owned()).or_default();
        if unit.active == "active" {
            return;
        }
        let fails = unit.text.as_deref().is_some_and(|text| text.contains("ExecStart=/bin/false"));
        unit.active = if fails { "failed" } else { "active" };
        self.note(What::Started, name);
    }

    fn stop(&mut self, name: &str) {
        let unit = self.units.entry(name.to_owned()).or_default();
        if unit.active == "active" {
            unit.active = "inactive";
            self.note(What::Stopped, name);
        }
    }

    fn note(&mut self, what: What, unit: &str) {
        self.deeds.push(Deed { at: Instant::now(), what, unit: unit.to_owned() });
        self.tell(unit);
    }

    fn tell(&mut self, unit: &str) {
        let event = Answer { event: Some(self.state(unit)), ..Answer::default() };
        let mut bytes = serde_json::to_vec(&event).expect("an event is plain");
        bytes.push(b'\n');
        self.listeners.retain_mut(|listener| listener.write_all(&bytes).is_ok());
    }

    fn state(&self, name: &str) -> UnitState {
        let unit = self.units.get(name);
        let loaded = unit.is_some_and(|unit| unit.text.is_some());
        let active = unit.map(|unit| unit.active).filter(|active| !active.is_empty()).unwrap_or("inactive");
        let sub = match active {
            "active" => "running",
            "failed" => "failed",
            _ => "dead",
        };
        UnitState {
            name: name.to_owned(),
            load: if loaded { "loaded" } else { "not-found" }.into(),
            active: active.into(),
            sub: sub.into(),
            ..UnitState::default()
        }
    }
}

fn refused(kind: ErrorKind, message: &str) -> Answer {
    Answer { error: Some(WireError { kind, message: message.into() }), ..Answer::default() }
}
