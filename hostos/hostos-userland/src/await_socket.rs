//! `await-socket`: waits until something accepts connections on a unix socket. Units of daemons that
//! do not say themselves when they serve use it as `ExecStartPost=`.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);

pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let [_, socket] = args.as_slice() else {
        eprintln!("Usage: await-socket SOCKET");
        return ExitCode::from(2);
    };
    let end = Instant::now() + LIMIT;
    loop {
        match UnixStream::connect(socket) {
            Ok(_) => return ExitCode::SUCCESS,
            Err(error) if Instant::now() >= end => {
                eprintln!("await-socket: {}: {error}", socket.display());
                return ExitCode::FAILURE;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
