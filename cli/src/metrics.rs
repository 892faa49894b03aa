//! Figures of a running server for Prometheus: one page of text over HTTP, on this machine only.
//!
//! The page is the text format 0.0.4. It needs one request and no library: `GET /metrics`, and then the connection is
//! closed. `spec/node.md` and `spec/operating.md` list the names.

pub(crate) mod ledger;
pub(crate) mod node;

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use symbolon_ledger::{BOUNDS_MS, Times};
use symbolon_protocol::Amount;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tracing::debug;

use crate::error::{Error, Kind};

/// Reads an address of this machine: the figures are not for others.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let problem = "an address of this machine looks like 127.0.0.1:9160 or [::1]:9160";
    let address: SocketAddr = text.parse().map_err(|_| problem)?;
    if address.ip().is_loopback() { Ok(address) } else { Err(problem.into()) }
}

/// Listens on an address, if there is one.
pub(crate) async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address).await.map(Some).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::new(
            Kind::InUse,
            format!("port {} on {} is in use", address.port(), address.ip()),
        )
        .hint("stop the program that has it, or choose another with --metrics ADDRESS:PORT"),
        _ => Error::new(Kind::Io, format!("cannot listen on {address}: {error}"))
            .hint("choose another with --metrics ADDRESS:PORT"),
    })
}

/// Answers one request after the other with what `page` gives, for as long as the server runs. Without a page it says that
/// there is none now.
pub(crate) async fn answer(
    listener: Option<&TcpListener>,
    page: impl AsyncFn() -> Option<String>,
) -> Result<(), Error> {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = timeout(PATIENCE, serve(stream, &page)).await;
                debug!(?served, "figures were asked for");
            }
            Err(error) => {
                // Too many open files, for example: an attempt at once would fail too.
                debug!(%error, "a request for figures failed");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    page: &impl AsyncFn() -> Option<String>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            bytes => request.extend_from_slice(&piece[..bytes]),
        }
        if REQUEST_MAX < request.len() {
            return reply(&mut stream, "431 Request Header Fields Too Large", "").await;
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    match words.as_slice() {
        [b"GET", b"/metrics", _] => match page().await {
            Some(page) => reply(&mut stream, "200 OK", &page).await,
            None => reply(&mut stream, "503 Service Unavailable", "").await,
        },
        [b"GET", ..] => reply(&mut stream, "404 Not Found", "").await,
        _ => reply(&mut stream, "405 Method Not Allowed", "").await,
    }
}

async fn reply(stream: &mut TcpStream, status: &str, page: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(page.as_bytes()).await?;
    stream.shutdown().await
}

/// A page of figures.
struct Page {
    /// What their names begin with.
    prefix: &'static str,
    text: String,
}

impl Page {
    fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::new() }
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.add((name, "gauge"), help, &value.to_string());
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.add((name, "counter"), help, &value.to_string());
    }

    fn credits(&mut self, kind: (&str, &str), help: &str, value: Amount) {
        self.add(kind, help, &value.to_string());
    }

    fn seconds(&mut self, name: &str, help: &str, ms: u64) {
        self.add((name, "gauge"), help, &seconds(ms));
    }

    fn times(&mut self, name: &str, help: &str, times: &Times) {
        let prefix = self.prefix;
        self.head((name, "histogram"), help);
        let mut sum = 0_u64;
        for (count, bound) in times.groups.iter().zip(BOUNDS_MS) {
            sum = sum.saturating_add(*count);
            let bound = seconds(bound);
            self.line(format_args!("{prefix}_{name}_bucket{{le=\"{bound}\"}} {sum}"));
        }
        let (all, us) = (times.count(), times.sum.as_micros());
        self.line(format_args!("{prefix}_{name}_bucket{{le=\"+Inf\"}} {all}"));
        let (whole, rest) = (us / 1_000_000, us % 1_000_000);
        self.line(format_args!("{prefix}_{name}_sum {whole}.{rest:06}"));
        self.line(format_args!("{prefix}_{name}_count {all}"));
    }

    fn add(&mut self, (name, kind): (&str, &str), help: &str, value: &str) {
        let prefix = self.prefix;
        self.head((name, kind), help);
        self.line(format_args!("{prefix}_{name} {value}"));
    }

    fn head(&mut self, (name, kind): (&str, &str), help: &str) {
        let prefix = self.prefix;
        self.line(format_args!("# HELP {prefix}_{name} {help}"));
        self.line(format_args!("# TYPE {prefix}_{name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a text takes what is written");
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of a request.
const REQUEST_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_this_machine_only() {
        assert!(address("127.0.0.1:9160").is_ok() && address("[::1]:9160").is_ok());
        for other in ["0.0.0.0:9160", "192.168.1.4:9160", "[::]:9160", "localhost", "9160"] {
            assert!(address(other).is_err(), "{other}");
        }
    }

    #[test]
    fn the_groups_of_a_histogram_contain_those_before() {
        let mut times = Times { sum: Duration::from_millis(1_234), ..Times::default() };
        (times.groups[0], times.groups[3], times.groups[BOUNDS_MS.len()]) = (2, 1, 4);
        let mut page = Page::new("x");
        page.times("seconds", "Help.", &times);
        let value = |name: &str| {
            let found = page.text.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {}", page.text)).to_owned()
        };
        assert_eq!(value("x_seconds_bucket{le=\"0.005\"} "), "2");
        assert_eq!(value("x_seconds_bucket{le=\"0.050\"} "), "3");
        assert_eq!(value("x_seconds_bucket{le=\"60.000\"} "), "3");
        assert_eq!(value("x_seconds_bucket{le=\"+Inf\"} "), "7");
        assert_eq!(
            (value("x_seconds_sum "), value("x_seconds_count ")),
            ("1.234000".into(), "7".into())
        );
    }
}
