//! `fd-forward`: the far end of a tunnel.

use tokio::net::UnixStream;

use crate::cli::Socket;
use crate::failure::Failure;

pub(crate) async fn run(args: &Socket) -> Result<u8, Failure> {
    let unreachable =
        |error: std::io::Error| Failure::Unreachable { at: args.socket.clone(), reason: error.to_string() };
    let stream = UnixStream::connect(&args.socket).await.map_err(unreachable)?;
    let (mut from, mut to) = stream.into_split();
    let outward = async {
        let copied = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut to).await;
        copied.map(drop)
    };
    let mut stdout = tokio::io::stdout();
    let inward = async { tokio::io::copy(&mut from, &mut stdout).await.map(drop) };
    // What the daemon has to say decides when it is over.
    tokio::select! {
        done = inward => done.map_err(unreachable)?,
        done = async { let _ = outward.await; std::future::pending::<std::io::Result<()>>().await } => {
            done.map_err(unreachable)?;
        }
    }
    Ok(0)
}
