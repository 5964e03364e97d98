//! From a command of a unit to a running process: environment, arguments, output, user, folders.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use unit_file::{ExecCommand, expand_arguments, parse_environment_file};

use crate::clock::wall_clock;
use crate::config::exec::{Directories, ExecConfig, Input, Output};
use crate::config::service::{ServiceType, Step};
use crate::exit;
use crate::host::{User, find_group, find_user, groups_of};
use crate::poll::Source;
use crate::service::Ran;
use crate::spawn::{Plan, find_program, pipe};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

impl Supervisor {
    /// Starts the nth `ExecStart=` command as the main process. False if there is no process.
    pub(crate) fn run_main(&mut self, id: UnitId, index: usize) -> bool {
        let kind = self.service(id).config.kind;
        let report = if kind == ServiceType::Exec { pipe().ok() } else { None };
        let (watch, tell) = report.unzip();
        let Some(pid) = self.launch(id, Step::Start, index, tell) else { return false };
        let watched = watch.filter(|watch| self.poller.add(watch, Source::ExecReport(id)).is_ok());
        self.service_mut(id).exec_report = watched;
        let service = self.service_mut(id);
        service.main_pid = Some(pid);
        service.main_known = true;
        service.main_command = Some(index);
        service.main_ran = Some(Ran { pid, exit: None, started: wall_clock(), ended: 0 });
        true
    }

    /// Starts the nth command of a step as the control process. False if there is no process.
    pub(crate) fn run_control(&mut self, id: UnitId, step: Step, index: usize) -> bool {
        let Some(pid) = self.launch(id, step, index, None) else { return false };
        let service = self.service_mut(id);
        service.control_pid = Some(pid);
        service.control_command = Some((step, index));
        true
    }

    fn launch(&mut self, id: UnitId, step: Step, index: usize, report: Option<OwnedFd>) -> Option<i32> {
        let command = self.service(id).config.commands(step)[index].clone();
        match self.prepare(id, step, &command).and_then(|mut plan| {
            plan.report = report;
            plan.spawn().map_err(|error| format!("could not fork: {error}"))
        }) {
            Ok(pid) => {
                self.pids.insert(pid, id);
                self.adopt_captures(pid);
                Some(pid)
            }
            Err(message) => {
                self.pending_captures.clear();
                self.log_unit(id, 3, &format!("Failed to run '{}' task: {message}", step.key()));
                None
            }
        }
    }

    fn prepare(&mut self, id: UnitId, step: Step, command: &ExecCommand) -> Result<Plan, String> {
        let exec = self.service(id).config.exec.clone();
        let mut plan = Plan::default();
        let privileged = command.full_privileges;
        plan.apply(&exec, privileged);
        let user = self.find_identity(&exec, command, &mut plan);
        let mut environment = self.environment_of(id, step, &exec, user.as_ref())?;
        plan.cgroup = self.unit(id).cgroup.as_ref().map(|path| path.join("cgroup.procs"));
        self.make_directories(&exec, &mut plan, &mut environment);
        self.make_private_tmp(id, &exec, &mut plan);
        plan.working_directory = exec.working_directory.as_ref().map(|(text, optional)| {
            let home = user.as_ref().map_or("/root", |user| user.home.as_str());
            (PathBuf::from(if text == "~" { home } else { text.as_str() }), *optional)
        });
        if matches!(step, Step::Start) {
            self.pass_sockets(id, &mut plan, &mut environment);
        }
        self.set_streams(id, &exec, command, &mut plan, &mut environment);
        let lookup = |name: &str| environment.get(name).cloned();
        let argv = expand_arguments(command, &lookup);
        let path = environment.get("PATH").map_or("/usr/bin:/bin", String::as_str);
        match find_program(&command.path, path) {
            Some(program) => plan.program = Some(text_to_c(&program.display().to_string())),
            None => plan.fails = plan.fails.or(Some(exit::EXEC)),
        }
        plan.argv = argv.iter().map(|word| text_to_c(word)).collect();
        plan.environment =
            environment.iter().map(|(name, value)| text_to_c(&format!("{name}={value}"))).collect();
        Ok(plan)
    }

    /// The user and groups of `User=` and its like; unknown ones make the child fail.
    fn find_identity(&self, exec: &ExecConfig, command: &ExecCommand, plan: &mut Plan) -> Option<User> {
        if command.full_privileges || (exec.user.is_none() && exec.group.is_none() && !exec.dynamic_user) {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let wanted = exec.user.as_deref().unwrap_or("root");
        let found = find_user(&passwd, wanted).or_else(|| exec.dynamic_user.then(|| dynamic_user(wanted)));
        let Some(user) = found else {
            plan.fails = Some(exit::USER);
            return None;
        };
        let named = exec.group.as_deref().map(|group| find_group(&groups, group));
        let Some(gid) = named.unwrap_or(Some(user.gid)) else {
            plan.fails = Some(exit::GROUP);
            return None;
        };
        let mut all = groups_of(&groups, &user.name, gid);
        all.extend(exec.supplementary_groups.iter().filter_map(|group| find_group(&groups, group)));
        if !command.keep_user {
            plan.identity = Some((user.uid, gid, all));
        }
        exec.user.is_some().then_some(user)
    }

    fn environment_of(
        &self,
        id: UnitId,
        step: Step,
        exec: &ExecConfig,
        user: Option<&User>,
    ) -> Result<BTreeMap<String, String>, String> {
        let unit = self.unit(id);
        let mut environment = self.environment.clone();
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        if let Some(user) = user {
            set("HOME", user.home.clone());
            set("LOGNAME", user.name.clone());
            set("USER", user.name.clone());
            set("SHELL", user.shell.clone());
        }
        set("INVOCATION_ID", unit.invocation.clone());
        let Detail::Service(service) = &unit.detail else { return Ok(environment) };
        if service.config.notify_access != crate::config::service::NotifyAccess::None {
            set("NOTIFY_SOCKET", self.options.notify_socket.display().to_string());
        }
        if let Some(watchdog) = service.config.watchdog.filter(|_| step == Step::Start) {
            set("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        if let Some(pid) = service.main_pid.filter(|_| step != Step::Start) {
            set("MAINPID", pid.to_string());
        }
        if matches!(step, Step::Stop | Step::StopPost) {
            set("SERVICE_RESULT", service.result.name().to_owned());
            if let Some(exit) = service.main_exit {
                set("EXIT_CODE", exit.name().to_owned());
                let status = match exit {
                    crate::exit::Exit::Code(code) => code.to_string(),
                    other => unit_file::signal_name(other.status()),
                };
                set("EXIT_STATUS", status);
            }
        }
        for name in &exec.pass_environment {
            if let Ok(value) = std::env::var(name) {
                set(name, value);
            }
        }
        environment.extend(exec.environment.iter().cloned());
        for (path, optional) in &exec.environment_files {
            environment.extend(environment_file(path, *optional)?);
        }
        for word in &exec.unset_environment {
            match word.split_once('=') {
                Some((name, value)) if environment.get(name).is_none_or(|known| known != value) => {}
                Some((name, _)) => drop(environment.remove(name)),
                None => drop(environment.remove(word)),
            }
        }
        Ok(environment)
    }

    fn make_directories(
        &self,
        exec: &ExecConfig,
        plan: &mut Plan,
        environment: &mut BTreeMap<String, String>,
    ) {
        let options = &self.options;
        let kinds: [(&Directories, &Path, &str); 5] = [
            (&exec.runtime, &options.runtime_dir, "RUNTIME_DIRECTORY"),
            (&exec.state, &options.state_dir, "STATE_DIRECTORY"),
            (&exec.cache, &options.cache_dir, "CACHE_DIRECTORY"),
            (&exec.logs, &options.logs_dir, "LOGS_DIRECTORY"),
            (&exec.configuration, &options.config_dir, "CONFIGURATION_DIRECTORY"),
        ];
        for (directories, base, variable) in kinds {
            let mut made = Vec::new();
            for name in &directories.names {
                let path = base.join(name);
                let owner = plan.identity.as_ref().filter(|_| variable != "CONFIGURATION_DIRECTORY");
                if make_directory(&path, directories.mode, owner.map(|(uid, gid, _)| (*uid, *gid))).is_err() {
                    plan.fails = plan.fails.or(Some(exit::RUNTIME_DIRECTORY));
                }
                if let Some(sandbox) = &mut plan.sandbox {
                    sandbox.read_write.push((path.display().to_string(), true));
                }
                made.push(path.display().to_string());
            }
            if !made.is_empty() {
                environment.insert(variable.to_owned(), made.join(":"));
            }
        }
    }

    fn make_private_tmp(&mut self, id: UnitId, exec: &ExecConfig, plan: &mut Plan) {
        if !exec.sandbox.private_tmp || plan.sandbox.is_none() {
            return;
        }
        let dir = self.private_tmp_dir(id);
        for name in ["tmp", "var-tmp"] {
            let path = dir.join(name);
            let sticky = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            if made.and_then(|()| fs::set_permissions(&path, sticky)).is_err() {
                plan.fails = plan.fails.or(Some(exit::NAMESPACE));
            }
        }
        self.service_mut(id).has_private_tmp = true;
        plan.private_tmp = Some(dir);
    }

    fn private_tmp_dir(&self, id: UnitId) -> PathBuf {
        PathBuf::from("/tmp").join(format!(
            "units-private-{}-{}",
            self.specifiers.boot_id,
            self.unit(id).name
        ))
    }

    fn set_streams(
        &mut self,
        id: UnitId,
        exec: &ExecConfig,
        command: &ExecCommand,
        plan: &mut Plan,
        environment: &mut BTreeMap<String, String>,
    ) {
        plan.stdin = match &exec.input {
            Input::Null => open_null(),
            Input::Tty => {
                plan.controlling_tty = true;
                OpenOptions::new().read(true).write(true).open(&exec.tty).ok().map(OwnedFd::from)
            }
            Input::Data(data) => data_file(data),
            Input::File(path) => OpenOptions::new().read(true).open(path).ok().map(OwnedFd::from),
            Input::Socket => plan.passed.first().and_then(|fd| fd.try_clone().ok()),
        };
        if plan.stdin.is_none() {
            plan.fails = plan.fails.or(Some(exit::STDIN));
        }
        let output = match (&exec.output, &exec.input) {
            (Output::Inherit, Input::Tty) => Output::Tty,
            (Output::Inherit, Input::Socket) => Output::Socket,
            (Output::Inherit, Input::Null | Input::Data(_)) => Output::Null,
            (Output::Inherit, Input::File(_)) => Output::Journal,
            (output, _) => output.clone(),
        };
        let identifier = exec
            .identifier
            .clone()
            .unwrap_or_else(|| command.path.rsplit('/').next().unwrap_or_default().to_owned());
        plan.stdout = self.open_output(id, &output, exec, &identifier, plan);
        plan.stderr = match &exec.error {
            Output::Inherit => plan.stdout.as_ref().and_then(|fd| fd.try_clone().ok()),
            error if *error == output => plan.stdout.as_ref().and_then(|fd| fd.try_clone().ok()),
            error => self.open_output(id, error, exec, &identifier, plan),
        };
        if plan.stdout.is_none() || plan.stderr.is_none() {
            plan.fails = plan.fails.or(Some(exit::STDOUT));
        }
        if matches!(exec.input, Input::Tty) || output == Output::Tty {
            environment.entry("TERM".to_owned()).or_insert_with(|| "linux".to_owned());
        }
    }

    fn open_output(
        &mut self,
        id: UnitId,
        output: &Output,
        exec: &ExecConfig,
        identifier: &str,
        plan: &Plan,
    ) -> Option<OwnedFd> {
        let open = |path: &Path, append: bool, truncate: bool| {
            let mut options = OpenOptions::new();
            options.create(true).mode(0o644).custom_flags(libc::O_NOCTTY);
            let options = if append { options.append(true) } else { options.write(true).truncate(truncate) };
            options.open(path).ok().map(OwnedFd::from)
        };
        match output {
            Output::Null => open_null(),
            Output::Inherit | Output::Journal => self.capture(id, identifier, exec.log_level, false),
            Output::JournalAndConsole => self.capture(id, identifier, exec.log_level, true),
            Output::Kmsg => open(Path::new("/dev/kmsg"), false, false),
            Output::Tty => open(&exec.tty, false, false),
            Output::File(path) => open(path, false, false),
            Output::Append(path) => open(path, true, false),
            Output::Truncate(path) => open(path, false, true),
            Output::Socket => plan.passed.first().and_then(|fd| fd.try_clone().ok()),
        }
    }

    /// Removes what a service that has ended leaves behind.
    pub(crate) fn clean_up_service(&mut self, id: UnitId) {
        let restarts = self.service(id).state == crate::states::ServiceState::AutoRestart;
        let exec = &self.service(id).config.exec;
        let (names, keep) = (exec.runtime.names.clone(), exec.keep_runtime);
        if !keep && !restarts {
            for name in names {
                let _ = fs::remove_dir_all(self.options.runtime_dir.join(name));
            }
        }
        if let Some(path) = self.service(id).config.pid_file.clone() {
            let _ = fs::remove_file(path);
        }
        if !restarts && std::mem::take(&mut self.service_mut(id).has_private_tmp) {
            let _ = fs::remove_dir_all(self.private_tmp_dir(id));
        }
        self.remove_cgroup(id);
    }

    /// Makes the cgroup of a service that starts.
    pub(crate) fn make_cgroup(&mut self, id: UnitId) {
        if self.unit(id).cgroup.as_ref().is_some_and(|path| path.exists()) {
            return;
        }
        let resources = self.service(id).config.resources.clone();
        let name = self.unit(id).name.to_string();
        let slice = resources.slice.as_deref().unwrap_or("system.slice");
        let Some((path, refused)) = self.cgroups.create(id, &name, slice, &resources.settings) else {
            return;
        };
        for message in refused {
            self.log_unit(id, 4, &message);
        }
        self.service_mut(id).oom_kills = crate::cgroup::oom_kills(&path);
        if let Some((uid, gid)) = resources.delegate.then(|| self.owner(id)).flatten() {
            for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                let _ = std::os::unix::fs::chown(path.join(file), Some(uid), Some(gid));
            }
        }
        self.unit_mut(id).cgroup = Some(path);
    }

    fn owner(&self, id: UnitId) -> Option<(u32, u32)> {
        let user = self.service(id).config.exec.user.as_deref()?;
        let user = find_user(&fs::read_to_string("/etc/passwd").ok()?, user)?;
        Some((user.uid, user.gid))
    }

    fn remove_cgroup(&mut self, id: UnitId) {
        let Some(path) = self.unit(id).cgroup.clone() else { return };
        if self.cgroups.remove(id, &path) {
            self.unit_mut(id).cgroup = None;
        }
    }
}

fn dynamic_user(name: &str) -> User {
    // The same name always gets the same number, in the range that is reserved for it.
    let uid = 61_184 + crc32fast::hash(name.as_bytes()) % (65_519 - 61_184);
    User { name: name.to_owned(), uid, gid: uid, home: "/".into(), shell: "/usr/sbin/nologin".into() }
}

fn environment_file(pattern: &str, optional: bool) -> Result<Vec<(String, String)>, String> {
    if crate::glob::is_pattern(pattern) {
        let path = Path::new(pattern);
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Ok(Vec::new());
        };
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries
            .filter(|entry| crate::glob::matches(name, &entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        if paths.is_empty() && !optional {
            return Err(format!("no environment file matches {pattern}"));
        }
        let texts = paths.iter().filter_map(|path| fs::read_to_string(path).ok());
        return Ok(texts.flat_map(|text| parse_environment_file(&text)).collect());
    }
    match fs::read(pattern) {
        Ok(text) => Ok(parse_environment_file(&String::from_utf8_lossy(&text))),
        Err(_) if optional => Ok(Vec::new()),
        Err(error) => Err(format!("could not read environment file {pattern}: {error}")),
    }
}

fn make_directory(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    let (uid, gid) = owner.unwrap_or((0, 0));
    match std::os::unix::fs::chown(path, Some(uid), Some(gid)) {
        Err(error) if owner.is_some() => Err(error),
        _ => Ok(()),
    }
}

fn open_null() -> Option<OwnedFd> {
    OpenOptions::new().read(true).write(true).open("/dev/null").ok().map(OwnedFd::from)
}

fn data_file(data: &[u8]) -> Option<OwnedFd> {
    use std::io::{Seek as _, Write as _};
    let file = nix::sys::memfd::memfd_create(c"stdin", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).ok()?;
    let mut file = fs::File::from(file);
    file.write_all(data).ok()?;
    file.rewind().ok()?;
    Some(file.into())
}

fn text_to_c(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("has no NUL any more")
}
