//! A web server on loopback that hands out a few texts. A machine on QEMU's user network reaches it at
//! 10.0.2.2.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// Serves until it is dropped.
pub struct Web {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Serves these paths (with their leading slash); everything else is not found.
    ///
    /// # Errors
    /// There is no free port.
    pub fn serve(pages: BTreeMap<String, String>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let port = listener.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client that went away in the middle is its own affair.
                let _ = answer(&stream, &pages);
            }
        });
        Ok(Self { port, stop, thread: Some(thread) })
    }

    /// Where it listens on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a path, as a machine on the user network sees it.
    #[must_use]
    pub fn from_machine(&self, path: &str) -> String {
        format!("http://10.0.2.2:{}{path}", self.port)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It looks at the flag with the next connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: &TcpStream, pages: &BTreeMap<String, String>) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().context("no request")??;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let page = request.split(' ').nth(1).and_then(|path| pages.get(path));
    let (status, text) = page.map_or(("404 Not Found", ""), |text| ("200 OK", text.as_str()));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())?;
    Ok(stream.flush()?)
}
