//! The view of iproute2's `ip`: `addr`, `link`, `route` and `neigh`, as text, one line each (`-o`), in
//! brief (`-br`) or as JSON (`-j`), in iproute2's own format.
//!
//! It changes nothing: the network of a machine is declared by `.network` files.

mod addresses;
mod call;
mod links;
mod neighbours;
mod routes;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use call::{Call, Object};

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum IpError {
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// No link of that name.
    #[error("Device \"{0}\" does not exist.")]
    NoDevice(String),
    /// No netlink.
    #[error("Cannot open netlink socket: {0}")]
    Netlink(std::io::Error),
    /// The kernel said no.
    #[error("RTNETLINK answers: {0}")]
    Kernel(rtnetlink::Error),
}

const MISUSED: u8 = 255;

/// Runs `ip` with these arguments, of which the first is its name.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if words.first().is_some_and(|word| word == "-V" || word == "-Version") {
        println!("ip utility of rmachine {}, in the format of iproute2-6.1.0", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let shown = Call::parse(&words).and_then(|call| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(IpError::Netlink)?.block_on(show(&call))
    });
    match shown {
        Ok(text) => {
            use std::io::Write as _;
            // Whoever reads may have seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error @ IpError::Usage(_)) => {
            eprintln!("{error}");
            ExitCode::from(MISUSED)
        }
        Err(error @ IpError::NoDevice(_)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn show(call: &Call) -> Result<String, IpError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(IpError::Netlink)?;
    tokio::spawn(connection);
    let links = links::list(&handle).await?;
    if let Some(name) = &call.dev
        && !links.iter().any(|link| link.name == *name)
    {
        return Err(IpError::NoDevice(name.clone()));
    }
    match call.object {
        Object::Link => Ok(links::show(call, &links)),
        Object::Address => addresses::show(call, &handle, &links).await,
        Object::Route => routes::show(call, &handle, &links).await,
        Object::Neighbour => neighbours::show(call, &handle, &links).await,
    }
}
