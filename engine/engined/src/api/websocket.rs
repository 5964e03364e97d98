//! Attach for browsers: `GET /containers/{id}/attach/ws`, a container's streams in a WebSocket (RFC 6455).
//!
//! A message carries bytes of one of them, unframed: who wants stdout and stderr apart opens two. What the
//! client sends is input; fragments and control frames are understood, extensions are not offered.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use engine_http::{BoxRead, BoxWrite};
use engine_runtime::Streams;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;

use super::call::{Call, Done, Fail};
use super::streams::{Attaching, Raw};
use crate::daemon::Daemon;

/// Ends every key that is answered.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes are carried in pieces of this size.
const PIECE: usize = 32 * 1024;
/// No control frame is longer.
const LONGEST_CONTROL: u64 = 125;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// What a connection that ends well is closed with: 1000.
const NORMAL: [u8; 2] = [0x03, 0xe8];

pub(super) async fn attach(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let streams = {
        let asked = |name: &str| call.query.flag(name) || !call.at_least(42);
        Streams { stdin: asked("stdin"), stdout: asked("stdout"), stderr: asked("stderr") }
    };
    let mut attaching = Attaching::prepare(d, &call.query, id, streams).await?;
    let key = call.ex.head.header("sec-websocket-key").unwrap_or_default().trim().to_owned();
    let upgrades = call.ex.head.header("upgrade").is_some_and(|u| u.eq_ignore_ascii_case("websocket"));
    if key.is_empty() || !upgrades {
        return Err(Fail::bad("this is no WebSocket handshake: Upgrade or Sec-WebSocket-Key is missing"));
    }
    attaching.joint.tty = true;
    // Text it was before 1.28, whatever the bytes.
    let opcode = if call.at_least(28) { BINARY } else { TEXT };
    let accepted = accept(&key);
    let fields = [("Sec-WebSocket-Accept", accepted.as_str())];
    let (reader, writer, head) = call.ex.upgrade("websocket", &fields).await?.into_parts();
    let (ours, theirs) = tokio::io::duplex(PIECE);
    let (from_client, to_client) = tokio::io::split(ours);
    let raw = Raw { reader: Box::new(from_client), writer: Box::new(to_client), head };
    let (program, bytes) = tokio::io::split(theirs);
    let carrying = carry(reader, writer, program, bytes, opcode);
    tokio::pin!(carrying);
    tokio::select! {
        done = attaching.carry(d, raw) => {
            // What was written last, and the goodbye. The client may be gone.
            let _ = carrying.await;
            done
        }
        _ = &mut carrying => Ok(()),
    }
}

/// The answer to a client's key.
fn accept(key: &str) -> String {
    let digest = Sha1::digest(format!("{key}{MAGIC}"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// Carries frames on one side and bytes on the other until either side ends.
async fn carry(
    reader: BoxRead,
    writer: BoxWrite,
    mut output: impl tokio::io::AsyncRead + Unpin,
    mut input: impl tokio::io::AsyncWrite + Unpin,
    opcode: u8,
) -> io::Result<()> {
    let writer = Mutex::new(writer);
    let outward = async {
        let mut piece = vec![0; PIECE];
        loop {
            match output.read(&mut piece).await? {
                0 => return send(&writer, CLOSE, &NORMAL).await,
                n => send(&writer, opcode, &piece[..n]).await?,
            }
        }
    };
    let inward = async {
        let mut reader = reader;
        while receive(&mut reader, &mut input, &writer).await? {}
        input.shutdown().await?;
        io::Result::Ok(())
    };
    let done = tokio::select! {
        done = outward => done,
        done = inward => done,
    };
    // It may be closed already.
    let _ = writer.lock().await.shutdown().await;
    done
}

/// Sends one message in one frame.
async fn send(writer: &Mutex<BoxWrite>, opcode: u8, bytes: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(bytes.len() + 10);
    frame.push(0x80 | opcode);
    match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
        (Ok(short @ 0..=125), _) => frame.push(short),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(bytes);
    let mut writer = writer.lock().await;
    writer.write_all(&frame).await?;
    writer.flush().await
}

/// Takes one frame. False: the client said goodbye.
async fn receive(
    reader: &mut BoxRead,
    input: &mut (impl tokio::io::AsyncWrite + Unpin),
    writer: &Mutex<BoxWrite>,
) -> io::Result<bool> {
    let mut head = [0; 2];
    reader.read_exact(&mut head).await?;
    let (opcode, masked) = (head[0] & 0x0f, head[1] & 0x80 != 0);
    let length = match head[1] & 0x7f {
        126 => u64::from(reader.read_u16().await?),
        127 => reader.read_u64().await?,
        short => u64::from(short),
    };
    let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if !masked {
        return wrong("a client's frame is not masked");
    }
    let mut mask = [0; 4];
    reader.read_exact(&mut mask).await?;
    if opcode >= CLOSE {
        if length > LONGEST_CONTROL {
            return wrong("a control frame is too long");
        }
        let mut payload = vec![0; length as usize];
        reader.read_exact(&mut payload).await?;
        unmask(&mut payload, mask, 0);
        match opcode {
            CLOSE => {
                send(writer, CLOSE, &payload).await?;
                return Ok(false);
            }
            PING => send(writer, PONG, &payload).await?,
            _ => {}
        }
        return Ok(true);
    }
    let mut done = 0;
    let mut piece = vec![0; PIECE];
    while done < length {
        let want = usize::try_from(length - done).map_or(PIECE, |left| left.min(PIECE));
        reader.read_exact(&mut piece[..want]).await?;
        unmask(&mut piece[..want], mask, done);
        input.write_all(&piece[..want]).await?;
        done += want as u64;
    }
    Ok(true)
}

/// `from` is where in the frame the bytes stand.
fn unmask(bytes: &mut [u8], mask: [u8; 4], from: u64) {
    for (at, byte) in (from..).zip(bytes) {
        *byte ^= mask[(at % 4) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn frames_go_both_ways() {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (reader, writer) = tokio::io::split(server);
        let (program, ours) = tokio::io::duplex(1 << 20);
        let (output, input) = tokio::io::split(ours);
        let carried = tokio::spawn(carry(Box::new(reader), Box::new(writer), output, input, BINARY));
        let (mut program_in, mut program_out) = tokio::io::split(program);
        let (mut from, mut to) = tokio::io::split(client);
        // "hello" in two fragments, a ping between them.
        to.write_all(&[0x01, 0x83, 1, 2, 3, 4, b'h' ^ 1, b'e' ^ 2, b'l' ^ 3]).await.unwrap();
        to.write_all(&[0x89, 0x81, 0, 0, 0, 0, b'!']).await.unwrap();
        to.write_all(&[0x80, 0x82, 9, 9, 9, 9, b'l' ^ 9, b'o' ^ 9]).await.unwrap();
        let mut read = [0; 5];
        program_in.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        let mut pong = [0; 3];
        from.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 1, b'!']);
        program_out.write_all(&[7; 300]).await.unwrap();
        let mut frame = [0; 304];
        from.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[..5], [0x82, 126, 1, 44, 7]);
        program_out.shutdown().await.unwrap();
        let mut rest = Vec::new();
        from.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, [0x88, 2, 3, 0xe8]);
        carried.await.unwrap().unwrap();
    }
}
