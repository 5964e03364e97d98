//! Carries what a client sends to a program, however slowly the program reads.
//!
//! The ssh library hands data over faster than it is consumed and stops the whole connection when a
//! channel's small queue is full, which would also stop the program's own output. So data waits here,
//! up to a limit, and only beyond that limit the connection waits.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Bytes that may wait for a program that does not read.
const LIMIT: usize = 32 * 1024 * 1024;

/// Runs until the client has ended its input and all of it is written, or the program reads no more.
/// True if the client closed the channel altogether.
pub(crate) async fn carry<W: AsyncWrite + Unpin>(channel: &mut ChannelReadHalf, mut to: Option<W>) -> bool {
    let mut waiting: VecDeque<Bytes> = VecDeque::new();
    let mut size = 0;
    let mut ended = false;
    loop {
        if ended && waiting.is_empty() {
            // Dropping the pipe is how a program sees the end of its input.
            to = None;
        }
        tokio::select! {
            message = channel.wait(), if size < LIMIT => match message {
                Some(ChannelMsg::Data { data }) if to.is_some() => {
                    size += data.len();
                    waiting.push_back(data);
                }
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Close) | None => return true,
                Some(_) => {}
            },
            written = write_some(to.as_mut(), waiting.front_mut()), if to.is_some() && !waiting.is_empty() => match written {
                Ok(count) => {
                    size -= count;
                    if waiting.front().is_some_and(Bytes::is_empty) {
                        waiting.pop_front();
                    }
                }
                Err(_) => {
                    to = None;
                    waiting.clear();
                    size = 0;
                }
            },
        }
    }
}

async fn write_some<W: AsyncWrite + Unpin>(
    to: Option<&mut W>,
    data: Option<&mut Bytes>,
) -> io::Result<usize> {
    match (to, data) {
        (Some(to), Some(data)) => to.write_buf(data).await,
        _ => std::future::pending().await,
    }
}
