//! Figures of a running node for Prometheus: one page of text over HTTP, on this machine only.
//!
//! The page is the text format 0.0.4. It needs one request and no library: `GET /metrics`, and then the connection is
//! closed. `spec/node.md` lists the names.

use std::{net::SocketAddr, time::Duration};

use symbolon_node::{NodeHealth, NodeStatus};
use symbolon_protocol::Amount;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tracing::debug;

use crate::{
    error::{Error, Kind},
    serve::{NodePlan, RunningNode},
};

/// Reads an address of this machine: the figures are not for others.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let problem = "an address of this machine looks like 127.0.0.1:9160 or [::1]:9160";
    let address: SocketAddr = text.parse().map_err(|_| problem)?;
    if address.ip().is_loopback() { Ok(address) } else { Err(problem.into()) }
}

/// Listens on an address.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::new(
            Kind::InUse,
            format!("port {} on {} is in use", address.port(), address.ip()),
        )
        .hint("stop the program that has it, or choose another with --metrics ADDRESS:PORT"),
        _ => Error::new(Kind::Io, format!("cannot listen on {address}: {error}"))
            .hint("choose another with --metrics ADDRESS:PORT"),
    })
}

/// Answers one request after the other for as long as the node runs.
pub(crate) async fn answer(
    listener: Option<TcpListener>,
    running: &RunningNode,
    plan: &NodePlan,
) -> Result<(), Error> {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = timeout(PATIENCE, serve(stream, running, plan)).await;
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
    running: &RunningNode,
    plan: &NodePlan,
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
        [b"GET", b"/metrics", _] => match page(running, plan).await {
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

/// The page; `None` if the store cannot be read. What only the ledger knows is left out while it does not answer.
async fn page(running: &RunningNode, plan: &NodePlan) -> Option<String> {
    let health = running.node.health().await.ok()?;
    let status = timeout(LEDGER_PATIENCE, running.node.status()).await;
    Some(render(&health, plan.capacity, status.ok().and_then(Result::ok).as_ref()))
}

fn render(health: &NodeHealth, capacity: u64, status: Option<&NodeStatus>) -> String {
    let mut page = Page::default();
    page.gauge("capacity_bytes", "Bytes the node offers.", capacity);
    page.gauge("used_bytes", "Bytes of stored shards.", health.used);
    page.gauge("shards", "Stored shards.", health.shards);
    page.gauge("damaged_shards", "Shards that are known to be damaged.", health.damaged);
    page.gauge("disk_free_bytes", "Bytes the file system has left.", health.disk_free);
    page.gauge("disk_reserve_bytes", "Bytes of those that stay free.", health.disk_reserve);
    page.gauge("ledger_height", "The last block that the node has followed.", health.height);
    page.gauge("epoch", "The present epoch.", health.epoch);
    if let Some(age_ms) = health.view_age_ms {
        page.seconds("ledger_view_age_seconds", "How old the view of the ledger is.", age_ms);
    }
    page.gauge(
        "registered",
        "1 if the ledger has the node's row as it is.",
        health.registered.into(),
    );
    page.counter("sent_bytes_total", "Bytes of shards sent since the start.", health.sent);
    page.counter(
        "received_bytes_total",
        "Bytes of shards received since the start.",
        health.received,
    );
    page.credits("earned_credits_total", "Credits earned since the start.", health.earned);
    page.counter("scrub_passes_total", "How often all shards were read.", health.scrub.passes);
    page.gauge("scrub_pass_bytes", "Bytes that were read in the present pass.", health.scrub.bytes);
    if let Some(status) = status {
        page.gauge("unpaid_shards", "Stored shards whose deal is not open.", status.unpaid_shards);
        page.gauge("unpaid_bytes", "Bytes whose deal is not open.", status.unpaid_bytes);
        page.gauge("slots", "Shards that the node must prove.", status.slots.into());
        page.counter("proven_epochs_total", "Epochs proven, ever.", status.passed);
        page.counter("missed_epochs_total", "Epochs missed, ever.", status.missed);
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.add((name, "gauge"), help, &value.to_string());
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.add((name, "counter"), help, &value.to_string());
    }

    fn credits(&mut self, name: &str, help: &str, value: Amount) {
        self.add((name, "counter"), help, &value.to_string());
    }

    fn seconds(&mut self, name: &str, help: &str, ms: u64) {
        self.add((name, "gauge"), help, &format!("{}.{:03}", ms / 1_000, ms % 1_000));
    }

    fn add(&mut self, (name, kind): (&str, &str), help: &str, value: &str) {
        let name = format!("symbolon_node_{name}");
        let lines = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        self.text.push_str(&lines);
    }
}

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the ledger may take for what only it knows.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);
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
}
