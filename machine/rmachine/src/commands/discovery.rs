//! `rmachine discovery`: swarm's create, manage and list, for clusters that found themselves.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use kv_discovery::{Service, Source};

use crate::commands::ssh::runtime;
use crate::context::Context;
use crate::discovery::{ADDRESS_FILE, entries, own_service, source};
use crate::failure::{Failure, chain};

/// Words of `discovery`.
#[derive(Debug, Args)]
pub(crate) struct Discovery {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token, and print its id
    Create(Create),
    /// Be a token service, until Ctrl-C
    Serve(Serve),
    /// Print who is listed at a discovery URL
    List(List),
}

#[derive(Debug, Args)]
struct Create {
    /// Token service to make it at [default: the one that this store serves]
    #[arg(long, value_name = "HOST:PORT")]
    service: Option<String>,
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen; machines of QEMU reach loopback as well
    #[arg(long, default_value = "127.0.0.1:7654", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Serve others than this workstation, without TLS: who reads a token
    /// may register with it
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Args)]
struct List {
    /// token://ID, token://HOST:PORT/ID, file:///PATH, nodes://A,B or
    /// etcd://HOST/PREFIX
    url: String,
}

pub(crate) fn run(context: &Context, args: &Discovery) -> Result<ExitCode, Failure> {
    match &args.verb {
        Verb::Create(args) => create(context, args),
        Verb::Serve(args) => serve(context, args),
        Verb::List(args) => {
            for entry in entries(&source(context, &args.url)?)? {
                say!("{entry}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn create(context: &Context, args: &Create) -> Result<ExitCode, Failure> {
    let given = args.service.as_deref().map(|service| format!("http://{service}"));
    let service = given.or_else(|| own_service(context)).ok_or_else(|| {
        Failure::new("no token service is known")
            .hint("start one with `rmachine discovery serve`, or name one with `--service HOST:PORT`")
    })?;
    let token = runtime()?.block_on(Source::new_token(&service)).map_err(|error| {
        Failure::because(format!("{service} made no token"), &error)
            .hint("is it running? start it with `rmachine discovery serve`")
    })?;
    say!("{token}");
    let host = service.trim_start_matches("http://");
    eprintln!(
        "hint: make machines with `rmachine create --cluster NAME --discovery token://{host}/{token} …`"
    );
    Ok(ExitCode::SUCCESS)
}

fn serve(context: &Context, args: &Serve) -> Result<ExitCode, Failure> {
    if !args.listen.ip().is_loopback() && !args.plain {
        return Err(Failure::new(format!(
            "{} can be reached by others, and tokens are told in the open",
            args.listen
        ))
        .hint("listen on 127.0.0.1, or say `--plain` if that network is yours"));
    }
    context.store.make_dir(context.store.root())?;
    let tokens = context.store.root().join("discovery.json");
    let address_file = context.store.root().join(ADDRESS_FILE);
    runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .map_err(|error| Failure::because(format!("could not listen on {}", args.listen), &error))?;
        let address = listener.local_addr().map_err(|error| Failure::new(chain(&error)))?;
        machine_store::write_atomic(&address_file, format!("{address}\n").as_bytes(), 0o600)?;
        eprintln!("serving tokens on {address}");
        let serving = Arc::new(Service::new(Some(tokens))).serve(listener);
        let cancel = context.cancel().clone();
        let ended = async {
            while !cancel.is_cancelled() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = serving => {}
            () = ended => {}
        }
        Ok::<_, Failure>(())
    })?;
    forget(&address_file);
    Ok(ExitCode::SUCCESS)
}

fn forget(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, "the address file stays");
    }
}
