//! `symbolon node doctor`: everything about a node that can be checked from its machine, and what to do about faults.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use symbolon_ledger::Ledger;
use symbolon_net::{Endpoint, PeerAddress};
use symbolon_node::Folder;
use symbolon_protocol::{
    id::NodeId,
    ledger::rows::{Chain, Node, Nodes},
    wire::storage::{Request, Response},
};
use symbolon_view::operator::{CheckKind, Diagnosis, Health};

use super::limit;
use crate::{
    checks::Checks,
    context::{self, Context},
    error::Error,
    health::{self, Noted, SAMPLE},
    home::{self, Home},
    nodes,
    output::Report,
    units::{count, show_amount, show_duration, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node doctor --dir /srv/node
  symbolon node doctor --dir /srv/node --ledger @ticket.txt --json

If something does not work, the exit code is 15, and the document of the error lists all checks.")]
pub(crate) struct DoctorArgs {
    /// The folder of the node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) async fn run(args: &DoctorArgs, context: &Context) -> Result<Report, Error> {
    let mut checks = Checks::default();
    let id = folder(args, &mut checks)?;
    if id.is_some() {
        let health = Noted::read(&args.dir).ok();
        running(health.as_ref(), &mut checks, context);
        disk(&args.dir, &mut checks);
        match health.as_ref().filter(|health| health.running) {
            Some(health) => of_running(health, &mut checks),
            None => offline(&args.dir, &mut checks, context).await,
        }
    }
    of_ledger(id, &mut checks, context).await;
    let (healthy, list) = (checks.are_good(), checks.list().to_vec());
    checks.end(&Diagnosis { node: id.map(Into::into), healthy, checks: list }, context)
}

/// The node of the folder, from its key.
fn folder(args: &DoctorArgs, checks: &mut Checks) -> Result<Option<NodeId>, Error> {
    if limit::is_node(&args.dir).is_err() {
        let what = format!("no node is in {}", args.dir.display());
        checks.bad(CheckKind::Folder, what, "see that its disk is mounted and that --dir is right");
        return Ok(None);
    }
    let marker = home::read_if_there(&args.dir.join("node"))?.unwrap_or_default();
    let marker = String::from_utf8_lossy(&marker).into_owned();
    let id = marker.split(' ').next().and_then(|id| id.parse::<NodeId>().ok());
    match id {
        Some(id) => checks.good(CheckKind::Folder, format!("the folder of node {id}")),
        None => checks.bad(
            CheckKind::Folder,
            "the folder's file node does not say which node it is of",
            "bring the file back from a copy of the folder",
        ),
    }
    Ok(id)
}

fn running(health: Option<&Health>, checks: &mut Checks, context: &Context) {
    let now_ms = context.host.now_ms().0;
    let version = env!("CARGO_PKG_VERSION");
    let Some(health) = health.filter(|health| health.running) else {
        let hint =
            "start it with: symbolon node run; it earns nothing meanwhile, and misses its epochs";
        checks.bad(CheckKind::Running, "the node does not run", hint);
        return;
    };
    let age_ms = now_ms.saturating_sub(health.at_ms);
    match age_ms <= health::STALE_MS {
        true => checks.good(CheckKind::Running, format!("runs as process {}", health.pid)),
        false => checks.bad(
            CheckKind::Running,
            format!("the node has not noted its state for {}", show_duration(age_ms)),
            "see its log: its disk may be full or slow, or the process hangs",
        ),
    }
    match health.version == version {
        true => checks.good(CheckKind::Version, format!("version {version}")),
        false => checks.warn(
            CheckKind::Version,
            format!("the node runs version {}, and this program is {version}", health.version),
            "start the node again with this program",
        ),
    }
}

/// Writes, reads and removes a small file.
fn disk(dir: &Path, checks: &mut Checks) {
    let path = dir.join("run").join("doctor");
    let text = [0x5a; 4096];
    let tried = || -> io::Result<bool> {
        let mut file = File::create(&path)?;
        file.write_all(&text)?;
        file.sync_all()?;
        let mut back = Vec::new();
        File::open(&path)?.read_to_end(&mut back)?;
        Ok(back == text)
    };
    match tried() {
        Ok(true) => checks.good(CheckKind::Disk, "the disk can be written and read"),
        Ok(false) => checks.bad(
            CheckKind::Disk,
            "the disk does not give back what was written",
            "stop the node and replace the disk; see its health with smartctl",
        ),
        Err(error) => checks.bad(
            CheckKind::Disk,
            format!("the disk cannot be used: {}", crate::error::plain(&error)),
            "see that it is mounted, writable and not full, and whose the folder is",
        ),
    }
    drop(fs::remove_file(path));
}

/// What the running node knows of itself.
fn of_running(health: &Health, checks: &mut Checks) {
    let (free, reserve) = (health.disk_free, health.disk_reserve);
    let missing = health.capacity.saturating_sub(health.used);
    let room = free.saturating_sub(reserve);
    if room == 0 {
        let what = format!(
            "{} are free, and {} stay free: no new shards",
            show_size(free),
            show_size(reserve)
        );
        checks.bad(
            CheckKind::Room,
            what,
            "make room on the disk, or move the node to a larger one",
        );
    } else if room < missing {
        let what = format!(
            "the node offers {} more, and the disk has room for {}",
            show_size(missing),
            show_size(room)
        );
        checks.warn(
            CheckKind::Room,
            what,
            "make room, or start it again with a smaller --capacity: see symbolon node run",
        );
    } else {
        checks.good(CheckKind::Room, format!("{} are free", show_size(free)));
    }
    sampled(health.sample.shards, &health.sample.faults, checks);
    damage(health.damaged, checks);
    view(health, checks);
    match health.open_files {
        Some(allowed) if allowed < FILES => checks.warn(
            CheckKind::OpenFiles,
            format!("the node may have {allowed} files open"),
            "allow it 1024 or more, for example with ulimit or LimitNOFILE, and start it again",
        ),
        _ => checks.good(CheckKind::OpenFiles, "it may have enough files open"),
    }
}

/// Whether the node knows the newest blocks, so that it may serve grants.
fn view(health: &Health, checks: &mut Checks) {
    let newest = match (health.block_ms, health.block_age_ms) {
        (Some(block_ms), Some(age_ms)) => {
            format!(
                "block {} of {}, {} old",
                health.height,
                show_time(block_ms),
                show_duration(age_ms)
            )
        }
        _ => format!("block {}", health.height),
    };
    match health.view_age_ms {
        Some(age_ms) if age_ms <= VIEW_MS => {
            checks.good(CheckKind::View, format!("it knows the ledger up to {newest}"));
        }
        age_ms => {
            let since = age_ms.map_or_else(
                || String::from("since its start"),
                |age_ms| format!("for {}", show_duration(age_ms)),
            );
            checks.bad(
                CheckKind::View,
                format!("it has not known {since} whether there are newer blocks: {newest}"),
                "it serves no grants meanwhile, since it may have missed a revocation; see that it reaches its ledger",
            );
        }
    }
}

fn sampled(shards: u64, faults: &[String], checks: &mut Checks) {
    match faults.first() {
        None => {
            let what =
                format!("the files of {} at random places are there", count(shards, "shard"));
            checks.good(CheckKind::Store, what);
        }
        Some(first) => {
            let what = format!("{} of {shards} shards have faults; {first}", faults.len());
            let hint = "see the disk's health, and what else is lost with: symbolon node scrub";
            checks.bad(CheckKind::Store, what, hint);
        }
    }
}

fn damage(damaged: u64, checks: &mut Checks) {
    match damaged {
        0 => checks.good(CheckKind::Damage, "no shard is known to be damaged"),
        damaged => checks.bad(
            CheckKind::Damage,
            format!("{} known to be damaged", count(damaged, "shard")),
            "see which with: symbolon node scrub; a bad disk goes on losing more",
        ),
    }
}

/// What the folder of a node shows that does not run.
async fn offline(dir: &Path, checks: &mut Checks, context: &Context) {
    let looked = async {
        let _lock = Home::lock_folder(dir)?;
        let folder = Folder::open(dir, context.host.clone()).await?;
        Ok::<_, Error>((folder.sample(SAMPLE).await?, folder.damaged(usize::MAX).await?.len()))
    };
    match looked.await {
        Ok((sample, damaged)) => {
            sampled(sample.shards, &sample.faults, checks);
            damage(damaged as u64, checks);
        }
        Err(error) => checks.bad(
            CheckKind::Store,
            format!("the store cannot be opened: {}", error.message),
            error.hint.as_deref().unwrap_or("see the disk's health"),
        ),
    }
}

/// What the ledger says of the node, and whether it answers where the ledger says.
async fn of_ledger(id: Option<NodeId>, checks: &mut Checks, context: &Context) {
    let (ledger, endpoint) = match context.ledger().await {
        Ok(reached) => reached,
        Err(error) => {
            let hint = "see that this machine is online and the ticket right: --ledger; a node without its ledger proves nothing";
            checks.bad(CheckKind::Ledger, error.message, hint);
            return;
        }
    };
    match asked(&ledger, id).await {
        Ok((chain, row)) => {
            checks.good(CheckKind::Ledger, format!("the ledger answers: block {}", chain.height));
            clock(&ledger, &chain, checks, context);
            match (id, row) {
                (Some(id), Some(row)) => {
                    collateral(&row, &chain, checks);
                    of_row((&id, &row), &endpoint, checks).await;
                }
                (Some(_), None) => checks.bad(
                    CheckKind::Registered,
                    "the ledger does not know the node",
                    "start it with: symbolon node run; its log says why it is not registered",
                ),
                (None, _) => {}
            }
        }
        Err(error) => {
            checks.bad(CheckKind::Ledger, error.message, error.hint.as_deref().unwrap_or(""));
        }
    }
    context::hang_up(endpoint).await;
}

async fn asked(ledger: &Ledger, id: Option<NodeId>) -> Result<(Chain, Option<Node>), Error> {
    let chain = context::chain(ledger).await?;
    let row = match id {
        Some(id) => ledger.row(Nodes, &id).await?,
        None => None,
    };
    Ok((chain, row))
}

/// A clock that is behind the last block is wrong. One that is ahead looks as if blocks were late.
fn clock(ledger: &Ledger, chain: &Chain, checks: &mut Checks, context: &Context) {
    let behind_ms = chain.time_ms.0.saturating_sub(context.host.now_ms().0);
    let hint =
        "set the machine's clock by NTP: a wrong clock signs acceptances that no block takes";
    match (behind_ms, ledger.overdue()) {
        (CLOCK_MS.., _) => {
            let what =
                format!("this machine's clock is {} behind the ledger", show_duration(behind_ms));
            checks.bad(CheckKind::Clock, what, hint);
        }
        (_, Some(late)) => {
            let what = format!(
                "a block is {} late: this machine's clock is ahead, or the ledger stands still",
                show_duration(late.0)
            );
            checks.warn(CheckKind::Clock, what, hint);
        }
        _ => checks.good(CheckKind::Clock, "the machine's clock fits the ledger's time"),
    }
}

/// What stands for the node's bytes, and whether it may be given more.
fn collateral(row: &Node, chain: &Chain, checks: &mut Checks) {
    let params = &chain.params;
    let (has, needs) = (show_amount(row.backing()), show_amount(row.needs(params)));
    let takes = show_size(row.takes(params, chain.epoch));
    if row.backing() < row.needs(params) {
        checks.warn(
            CheckKind::Collateral,
            format!("{has} stand for its bytes, and it needs {needs}; it may take {takes} more"),
            "a part of its pay is withheld until it has enough; stake more with: symbolon node stake",
        );
    } else if !row.is_open(chain.epoch) {
        checks.warn(
            CheckKind::Collateral,
            "it is given no new shards now: it leaves, or has missed three of its last 30 windows",
            "see the checks of proofs here",
        );
    } else {
        let what = format!("{has} stand for its bytes, and it needs {needs}; it may take {takes}");
        checks.good(CheckKind::Collateral, what);
    }
}

async fn of_row((id, row): (&NodeId, &Node), endpoint: &Endpoint, checks: &mut Checks) {
    let what =
        format!("registered, with {} and {}", show_size(row.capacity), count(row.slots, "slot"));
    checks.good(CheckKind::Registered, what);
    match (row.missed_in_row, row.missed) {
        (0, missed) => {
            let what = format!("{} proven, {missed} missed, none of the last ones", row.passed);
            checks.good(CheckKind::Proofs, what);
        }
        (in_row, _) => checks.bad(
            CheckKind::Proofs,
            format!("the last {} brought no pay", count(in_row, "epoch")),
            "see the node's log for what it cannot prove, and the checks of disk, store and ledger here",
        ),
    }
    let private: Vec<&String> =
        row.addresses.iter().filter(|address| is_private(address)).collect();
    let peer = PeerAddress { id: *id, addresses: row.addresses.clone() };
    let asked = nodes::ask(endpoint, &peer, &Request::Info);
    let answered = tokio::time::timeout(nodes::PATIENCE, asked).await;
    let listed = row.addresses.join(", ");
    match answered {
        Ok(Ok(Response::Info { node, .. })) if node == *id && private.len() < row.addresses.len() => {
            let what = format!("it answers this machine at {listed}; whether others reach it, only they can tell");
            checks.good(CheckKind::Reachable, what);
        }
        Ok(Ok(Response::Info { node, .. })) if node == *id => checks.warn(
            CheckKind::Reachable,
            format!("it answers this machine, but the ledger has only addresses that others cannot use: {listed}"),
            "publish an address that others reach with --announce, or name a relay: see symbolon node run",
        ),
        _ => checks.bad(
            CheckKind::Reachable,
            format!("it does not answer at {listed}"),
            "see that its port is open and forwarded, and that --announce is right: see symbolon node run",
        ),
    }
}

/// Whether an address is of this machine or of a private network.
fn is_private(address: &str) -> bool {
    let Ok(socket) = address.parse::<std::net::SocketAddr>() else { return false };
    match socket.ip() {
        std::net::IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

/// Open files of a node with all of its connections.
const FILES: u64 = 1_024;
/// How old the view of a node may be, in milliseconds, before it serves no grants.
const VIEW_MS: u64 = 10 * 60_000;
/// Milliseconds that the machine's clock may be behind the last block.
const CLOCK_MS: u64 = 60_000;
