//! The demo's ledger and nodes: processes of their own, started from this binary.

use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

use serde::de::DeserializeOwned;
use symbolon_protocol::id::NodeId;
use symbolon_view::network::{LedgerReady, NodeReady};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    task::JoinSet,
};

use crate::{
    error::{Error, Kind},
    output::Said,
};

/// How long a process may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes of the demo.
const NODES: usize = 8;

/// What each node offers.
const CAPACITY: &str = "10GiB";

/// How long custodians have for a key: seconds instead of minutes.
const DELIVERY: &str = "30s";

/// The shortest time to check what was bought.
const WINDOW_MIN: &str = "5s";

/// The price of each node: high enough to show the pay of every proof in the figures.
const PRICE: &str = "1/epoch";

/// A running process. It ends when this value is dropped. It also ends when this process ends, even after a crash,
/// because its stdin then ends.
pub(super) struct Process {
    child: Child,
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Kills it, as a power cut would.
    pub(super) async fn cut(mut self) -> Result<(), Error> {
        self.child
            .kill()
            .await
            .map_err(|error| Error::internal(format!("cannot kill a process: {error}")))
    }
}

/// Everything that runs.
pub(super) struct Network {
    _ledger: Process,
    pub(super) ticket: String,
    pub(super) nodes: Vec<(NodeId, Process)>,
}

impl Network {
    /// Starts the ledger, then all nodes at once.
    pub(super) async fn start(folder: &Path, epoch_ms: u64) -> Result<Self, Error> {
        let epoch = format!("{epoch_ms}ms");
        let dir = folder.join("ledger");
        let arguments: [&OsStr; 10] = [
            "ledger".as_ref(),
            "run".as_ref(),
            "--dir".as_ref(),
            dir.as_os_str(),
            "--epoch".as_ref(),
            epoch.as_ref(),
            "--delivery".as_ref(),
            DELIVERY.as_ref(),
            "--window-min".as_ref(),
            WINDOW_MIN.as_ref(),
        ];
        let (ledger, LedgerReady { ticket, .. }) = start(&arguments, folder).await?;
        let mut starting = JoinSet::new();
        for number in 1..=NODES {
            let (folder, ticket) = (folder.to_owned(), ticket.clone());
            starting.spawn(async move { node(&folder, number, &ticket).await });
        }
        let mut nodes = Vec::new();
        while let Some(node) = starting.join_next().await {
            nodes.push(node.map_err(|error| Error::internal(error.to_string()))??);
        }
        nodes.sort_by_key(|(id, _)| *id);
        Ok(Self { _ledger: ledger, ticket, nodes })
    }

    /// Takes a node out, to be killed.
    pub(super) fn take(&mut self, id: &NodeId) -> Option<Process> {
        let index = self.nodes.iter().position(|(node, _)| node == id)?;
        Some(self.nodes.swap_remove(index).1)
    }
}

async fn node(folder: &Path, number: usize, ticket: &str) -> Result<(NodeId, Process), Error> {
    let dir = folder.join("nodes").join(number.to_string());
    let arguments: [&OsStr; 10] = [
        "node".as_ref(),
        "run".as_ref(),
        "--ledger".as_ref(),
        ticket.as_ref(),
        "--capacity".as_ref(),
        CAPACITY.as_ref(),
        "--price".as_ref(),
        PRICE.as_ref(),
        "--dir".as_ref(),
        dir.as_os_str(),
    ];
    let (process, NodeReady { node, .. }) = start(&arguments, folder).await?;
    let id = node.as_str().parse();
    Ok((id.map_err(|_| Error::internal("a node without identity"))?, process))
}

/// Starts a process and waits for its ready line.
async fn start<Ready: DeserializeOwned>(
    arguments: &[&OsStr],
    folder: &Path,
) -> Result<(Process, Ready), Error> {
    let exe = std::env::current_exe()
        .map_err(|error| Error::internal(format!("cannot find this program: {error}")))?;
    let mut child = Command::new(exe)
        .args(arguments)
        .args(["--leashed", "--json", "--home"])
        .arg(folder.join("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        // Ctrl-C in the terminal is for the demo; it ends its children itself.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::internal(format!("cannot start a process: {error}")))?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or_else(|| Error::internal("a child without stdout"))?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let line = line.map_err(|_| Error::new(Kind::Unreachable, "a process did not get ready"))?;
    match line.ok().flatten().and_then(|line| Said::read(&line)) {
        Some(Said::Ready(ready)) => Ok((Process { child, _stdin: stdin }, ready)),
        Some(Said::Failed(failure)) => Err(failure.into()),
        None => Err(Error::internal("a process ended before it was ready")),
    }
}
