//! The command line, with curl's names for everything.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser};

/// Transfer what a URL names, over http or https
#[derive(Debug, Parser)]
#[command(name = "curl", version, disable_version_flag = true, args_override_self = true)]
pub(crate) struct Options {
    /// What to transfer; http:// is assumed
    #[arg(value_name = "URL")]
    positional: Vec<String>,
    /// What to transfer, as an option
    #[arg(long = "url", value_name = "URL")]
    named: Vec<String>,
    #[command(flatten)]
    pub(crate) request: RequestOptions,
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// Try this often again after a passing error
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) retry: u32,
    /// Wait so long in between, not ever longer
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) retry_delay: Option<Duration>,
    /// Start no new try after so long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) retry_max_time: Option<Duration>,
    /// A refused connection is a passing error too
    #[arg(long)]
    pub(crate) retry_connrefused: bool,
    /// Every error is a passing one
    #[arg(long)]
    pub(crate) retry_all_errors: bool,
    /// Show the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// What is sent, put together from all the options that say so.
    #[arg(skip)]
    pub(crate) data: Vec<Data>,
}

/// What to ask for.
#[derive(Debug, Args)]
pub(crate) struct RequestOptions {
    /// Use this method
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// Ask for the headers only
    #[arg(short = 'I', long)]
    pub(crate) head: bool,
    /// Put the data into the URL and GET it
    #[arg(short = 'G', long)]
    pub(crate) get: bool,
    /// Send this; @FILE sends a file without its line breaks
    #[arg(short = 'd', long = "data", alias = "data-ascii", value_name = "DATA", allow_hyphen_values = true)]
    data: Vec<String>,
    /// Send this as it is, @ included
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    data_raw: Vec<String>,
    /// Send this; @FILE sends a file as it is
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    data_binary: Vec<String>,
    /// Send this escaped: CONTENT, =CONTENT, NAME=CONTENT, @FILE, NAME@FILE
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    data_urlencode: Vec<String>,
    /// Send this as JSON, and ask for JSON
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    json: Vec<String>,
    /// PUT this file; - is the standard input
    #[arg(short = 'T', long, value_name = "FILE")]
    pub(crate) upload_file: Option<PathBuf>,
    /// Send this header; `Name:` leaves one out
    #[arg(short = 'H', long = "header", value_name = "LINE")]
    pub(crate) headers: Vec<String>,
    /// Who asks
    #[arg(short = 'A', long, value_name = "NAME")]
    pub(crate) user_agent: Option<String>,
    /// Where the link was found
    #[arg(short = 'e', long, value_name = "URL")]
    pub(crate) referer: Option<String>,
    /// Cookies to send
    #[arg(short = 'b', long, value_name = "NAME=VALUE")]
    pub(crate) cookie: Option<String>,
    /// Who logs in, by basic authentication
    #[arg(short = 'u', long, value_name = "USER:PASSWORD")]
    pub(crate) user: Option<String>,
    /// The token that lets us in
    #[arg(long, value_name = "TOKEN")]
    pub(crate) oauth2_bearer: Option<String>,
    /// Follow redirects
    #[arg(short = 'L', long)]
    pub(crate) location: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50, allow_negative_numbers = true)]
    pub(crate) max_redirs: i32,
    /// Ask for a compressed answer (none is asked for here)
    #[arg(long, hide = true)]
    compressed: bool,
    #[arg(long = "http1.1", hide = true)]
    http11: bool,
}

/// How to get there, and whom to believe.
#[derive(Debug, Args)]
pub(crate) struct ConnectionOptions {
    /// Connect within this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Be done within this time
    #[arg(short = 'm', long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) max_time: Option<Duration>,
    /// Connect to this socket, whatever the URL says
    #[arg(long, value_name = "PATH")]
    pub(crate) unix_socket: Option<PathBuf>,
    /// Take this address for a host: HOST:PORT:ADDRESS
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    pub(crate) resolve: Vec<String>,
    /// Use IPv4 only
    #[arg(short = '4', long, overrides_with = "ipv6")]
    pub(crate) ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,
    /// Believe any certificate
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// Believe only the authorities in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Show this certificate, and with it maybe its key
    #[arg(short = 'E', long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// TLS 1.2 or newer, which is so anyway
    #[arg(long = "tlsv1.2", hide = true)]
    tls12: bool,
    /// TLS 1.3 only
    #[arg(long = "tlsv1.3")]
    pub(crate) tls13: bool,
}

/// Where things go.
#[derive(Debug, Args)]
pub(crate) struct OutputOptions {
    /// Write to this file, one for each URL; - is the standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write to a file named as the URL ends
    #[arg(short = 'O', long)]
    pub(crate) remote_name: bool,
    /// Write files into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Make missing folders
    #[arg(long)]
    pub(crate) create_dirs: bool,
    /// Say nothing
    #[arg(short = 's', long)]
    pub(crate) silent: bool,
    /// Say errors even so
    #[arg(short = 'S', long)]
    pub(crate) show_error: bool,
    /// A status of 400 or more is an error
    #[arg(short = 'f', long)]
    pub(crate) fail: bool,
    /// The same, but write the body
    #[arg(long)]
    pub(crate) fail_with_body: bool,
    /// Write the headers before the body
    #[arg(short = 'i', long)]
    pub(crate) include: bool,
    /// Write the headers to this file
    #[arg(short = 'D', long, value_name = "FILE")]
    pub(crate) dump_header: Option<PathBuf>,
    /// Say what is sent and received
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,
    /// Write this at the end, with %{VARIABLES}
    #[arg(short = 'w', long, value_name = "FORMAT", allow_hyphen_values = true)]
    pub(crate) write_out: Option<String>,
    #[arg(short = 'N', long, hide = true)]
    no_buffer: bool,
    #[arg(short = '#', long, hide = true)]
    progress_bar: bool,
    #[arg(long, hide = true)]
    no_progress_meter: bool,
    #[arg(short = 'q', long, hide = true)]
    disable: bool,
}

/// A piece of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) kind: DataKind,
    pub(crate) text: String,
}

/// How a piece is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataKind {
    Ascii,
    Raw,
    Binary,
    Escaped,
    Json,
}

impl Options {
    pub(crate) fn parse(args: Vec<OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(args)?;
        let mut options = Self::from_arg_matches(&matches)?;
        options.data = data(&matches);
        if options.urls().next().is_none() {
            let message = "no URL specified\ncurl: try 'curl --help' for more information";
            return Err(clap::Error::raw(clap::error::ErrorKind::MissingRequiredArgument, message));
        }
        Ok(options)
    }

    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        self.named.iter().chain(&self.positional).map(String::as_str)
    }

    pub(crate) fn shows_errors(&self) -> bool {
        !self.output.silent || self.output.show_error
    }
}

/// The pieces of all options that say what to send, in the order of the command line.
fn data(matches: &ArgMatches) -> Vec<Data> {
    let kinds = [
        ("data", DataKind::Ascii),
        ("data_raw", DataKind::Raw),
        ("data_binary", DataKind::Binary),
        ("data_urlencode", DataKind::Escaped),
        ("json", DataKind::Json),
    ];
    let mut found = Vec::new();
    for (id, kind) in kinds {
        let (Some(indices), Some(texts)) = (matches.indices_of(id), matches.get_many::<String>(id)) else {
            continue;
        };
        found.extend(indices.zip(texts).map(|(index, text)| (index, Data { kind, text: text.clone() })));
    }
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, data)| data).collect()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a proper numerical parameter".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Options {
        Options::parse(line.split(' ').map(OsString::from).collect()).expect("a good command line")
    }

    #[test]
    fn short_flags_stick_together_as_hands_know_them() {
        let options = parse("curl -fsSLo out -XPUT -m5 http://a");
        assert!(options.output.fail && options.output.silent && options.request.location);
        assert_eq!(options.output.files, [PathBuf::from("out")]);
        assert_eq!(options.request.method.as_deref(), Some("PUT"));
        assert_eq!(options.connection.max_time, Some(Duration::from_secs(5)));
    }

    #[test]
    fn data_keeps_the_order_of_the_command_line() {
        let options = parse("curl --data-raw @a -d b=1 --data-binary @c -d d http://a");
        let texts: Vec<_> = options.data.iter().map(|data| data.text.as_str()).collect();
        assert_eq!(texts, ["@a", "b=1", "@c", "d"]);
        assert_eq!(options.data[0].kind, DataKind::Raw);
    }

    #[test]
    fn a_flag_may_be_given_twice() {
        assert!(parse("curl -s -s -k -k http://a").connection.insecure);
        assert_eq!(parse("curl -m 1 -m 2 http://a").connection.max_time, Some(Duration::from_secs(2)));
    }
}
