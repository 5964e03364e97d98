//! `--write-out`: a line of the user's making about a transfer that has ended.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::error::CurlError;

/// What is known of a transfer.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) start: Instant,
    pub(crate) method: String,
    pub(crate) url: String,
    /// Where the last redirect leads that was not followed.
    pub(crate) redirect_url: String,
    pub(crate) redirects: u32,
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) received: u64,
    pub(crate) header_bytes: usize,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) file: String,
    pub(crate) resolved: Option<Duration>,
    pub(crate) connected: Option<Duration>,
    pub(crate) secured: Option<Duration>,
    pub(crate) started: Option<Duration>,
    pub(crate) total: Duration,
    pub(crate) code: u8,
    pub(crate) error: String,
}

impl Stats {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            start: Instant::now(),
            method: String::new(),
            url: url.to_owned(),
            redirect_url: String::new(),
            redirects: 0,
            status: 0,
            content_type: String::new(),
            received: 0,
            header_bytes: 0,
            remote: None,
            file: String::new(),
            resolved: None,
            connected: None,
            secured: None,
            started: None,
            total: Duration::ZERO,
            code: 0,
            error: String::new(),
        }
    }

    pub(crate) fn end(&mut self, outcome: &Result<(), CurlError>) {
        self.total = self.start.elapsed();
        if let Err(error) = outcome {
            self.code = error.code();
            self.error = error.to_string();
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        let seconds = |time: Option<Duration>| format!("{:.6}", time.unwrap_or_default().as_secs_f64());
        let speed = || {
            let seconds = self.total.as_secs_f64();
            if seconds > 0.0 { format!("{:.0}", self.received as f64 / seconds) } else { "0".into() }
        };
        Some(match name {
            "http_code" | "response_code" => format!("{:03}", self.status),
            "http_version" => if self.status == 0 { "0" } else { "1.1" }.into(),
            "method" => self.method.clone(),
            "scheme" => self.url.split(':').next().unwrap_or_default().to_ascii_uppercase(),
            "url" | "url_effective" => self.url.clone(),
            "redirect_url" => self.redirect_url.clone(),
            "num_redirects" => self.redirects.to_string(),
            "num_connects" => (u32::from(self.connected.is_some()) + self.redirects).to_string(),
            "content_type" => self.content_type.clone(),
            "size_download" => self.received.to_string(),
            "size_header" => self.header_bytes.to_string(),
            "speed_download" => speed(),
            "remote_ip" => self.remote.map(|remote| remote.ip().to_string()).unwrap_or_default(),
            "remote_port" => self.remote.map_or(0, |remote| remote.port()).to_string(),
            "filename_effective" => self.file.clone(),
            "time_namelookup" => seconds(self.resolved),
            "time_connect" => seconds(self.connected),
            "time_appconnect" => seconds(self.secured),
            "time_pretransfer" => seconds(self.secured.or(self.connected)),
            "time_starttransfer" => seconds(self.started),
            "time_total" => seconds(Some(self.total)),
            "exitcode" => self.code.to_string(),
            "errormsg" => self.error.clone(),
            "ssl_verify_result" => u8::from(self.code == 60).to_string(),
            _ => return None,
        })
    }

    /// The text for `format`, and names in it that mean nothing.
    fn text(&self, format: &str) -> (String, Vec<String>) {
        let mut text = String::new();
        let mut unknown = Vec::new();
        let mut rest = format;
        while let Some(at) = rest.find(['%', '\\']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("%%") {
                text.push('%');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix("%{").and_then(|rest| rest.split_once('}'))
            {
                match self.variable(name) {
                    Some(value) => text.push_str(&value),
                    None => unknown.push(name.to_owned()),
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix('\\') {
                let mut chars = after.chars();
                match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some(other) => text.extend(['\\', other]),
                    None => text.push('\\'),
                }
                rest = chars.as_str();
            } else {
                text.push('%');
                rest = &rest[1..];
            }
        }
        text.push_str(rest);
        (text, unknown)
    }
}

/// Writes what `format`, or the file that `@FILE` names, says of a transfer.
pub(crate) fn write(format: &str, stats: &Stats) {
    let format = match format.strip_prefix('@') {
        Some("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text).unwrap_or_default()
        }
        Some(file) => fs::read_to_string(file).unwrap_or_default(),
        None => format.to_owned(),
    };
    let (text, unknown) = stats.text(&format);
    for name in unknown {
        eprintln!("curl: unknown --write-out variable: '{name}'");
    }
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_escapes_and_signs() {
        let mut stats = Stats::new("http://a/");
        stats.status = 204;
        let (text, unknown) = stats.text("%{http_code} 100%% %{x}%{scheme}\\n%");
        assert_eq!(text, "204 100% HTTP\n%");
        assert_eq!(unknown, ["x"]);
        assert_eq!(Stats::new("").text("%{http_code}").0, "000");
    }
}
