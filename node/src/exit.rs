//! A node leaves: it takes no new shards, hands each of its shards to another node, proves them until those begin, and
//! retires.
//!
//! Where it stands follows from its settings, from the ledger and from its store alone. So a node that was killed goes on
//! where it was.

mod vaults;

use std::sync::Arc;

use bytes::Bytes;
use symbolon_net::{Alpn, Connection, NetError, PeerAddress};
use symbolon_protocol::{
    Amount, Decode,
    id::{DealId, TransactionId},
    ledger::{
        Status, fee,
        rows::{Deal, DealState, Deals, Node as NodeRow, Nodes, Table as _},
        slot_rate,
        transaction::{Acceptance, Action, DealTerms},
    },
    wire::storage::{Authority, Request, Response},
};
use symbolon_store::Shard;
use symbolon_transfer::{
    draw::{Candidate, OtherNodes},
    met::Experience,
};
use tokio::task::JoinSet;
use tracing::{info, warn};

use self::vaults::Held;
pub use self::vaults::HeldVault;
use crate::{
    shared::{Backoff, Shared, Stopped},
    submit::submit,
};

/// How far a node has come with leaving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// How far.
    pub stage: ExitStage,
    /// Shards that still have to be handed on.
    pub left: u64,
    /// Shards that this process has handed on.
    pub handed: u64,
    /// Shards that the ledger still has in the node's table, or on their way there.
    pub kept: u64,
    /// What this process has paid to nodes that ask more.
    pub paid: Amount,
    /// The vaults of which the node keeps shares.
    pub vaults: Vec<HeldVault>,
    /// Why the last shard could not be handed on; `None` if the last one was.
    pub problem: Option<String>,
}

/// A step on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExitStage {
    /// It stays.
    #[default]
    Stays,
    /// The ledger does not know yet that it wants to leave.
    Announces,
    /// It hands its shards on.
    Hands,
    /// It proves until all other nodes have begun.
    Proves,
    /// It keeps nothing but shares of vaults, and some of their owners count on it.
    Custody,
    /// It is a node no longer, and has back all that was its own.
    Retired,
}

/// Hands shards on for as long as the operator wants the node to leave, until the node stops.
pub(crate) async fn leave_when_wanted(shared: &Arc<Shared>) {
    let mut settings = shared.settings.subscribe();
    let mut held = Held::default();
    loop {
        if shared.settings().leaving {
            if let Err(why) = step(shared, &mut held).await {
                warn!(why, "the node cannot leave yet, and tries again");
                note(shared, |exit| exit.problem = Some(why.clone()));
            }
        } else {
            shared.exit.send_replace(Exit::default());
        }
        tokio::select! {
            biased;
            slept = shared.sleep_ms(LOOK_MS) => if slept == Err(Stopped) { return },
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

/// Notes how far the node is.
fn note(shared: &Shared, change: impl Fn(&mut Exit)) {
    shared.exit.send_if_modified(|exit| {
        let before = exit.clone();
        change(exit);
        *exit != before
    });
}

/// Goes as far as it can now.
async fn step(shared: &Arc<Shared>, held: &mut Held) -> Result<(), String> {
    let row =
        shared.ledger.row(Nodes, &shared.key.id()).await.map_err(|error| error.to_string())?;
    let Some(row) = row else {
        note(shared, |exit| (exit.stage, exit.problem) = (ExitStage::Retired, None));
        return Ok(());
    };
    let kept = |row: &NodeRow| u64::from(row.slots).max(u64::from(0 < row.used));
    if !row.leaving {
        note(shared, |exit| (exit.stage, exit.kept) = (ExitStage::Announces, kept(&row)));
        return Ok(());
    }
    let mine = to_hand_on(shared).await?;
    let left = mine.len() as u64;
    note(shared, |exit| {
        (exit.left, exit.kept, exit.problem) = (left, kept(&row), None);
        exit.stage = match (left, exit.stage) {
            // It stays so until a look says something else.
            (0, ExitStage::Custody) => ExitStage::Custody,
            (0, _) => ExitStage::Proves,
            _ => ExitStage::Hands,
        };
    });
    let vaults = held.look(shared).await?;
    note(shared, |exit| exit.vaults = vaults.to_vec());
    if !mine.is_empty() {
        hand_all(shared, mine).await?;
    } else if row.used == 0 {
        let is_needed = vaults.iter().any(HeldVault::is_needed);
        match is_needed && !shared.settings().abandons_vaults {
            true => note(shared, |exit| exit.stage = ExitStage::Custody),
            false => retire(shared).await?,
        }
    }
    Ok(())
}

/// A shard that another node has to take.
#[derive(Debug)]
struct Mine {
    shard: Shard,
    deal: Deal,
}

/// The shards of deals that go on: those of all others leave by themselves.
async fn to_hand_on(shared: &Shared) -> Result<Vec<Mine>, String> {
    let (mut mine, mut after) = (Vec::new(), None);
    loop {
        let page = shared.with_store(move |store| store.list(after, PAGE)).await;
        let page = page.map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { return Ok(mine) };
        after = Some((last.info.deal, last.info.index));
        let deals: Vec<DealId> = page.iter().map(|shard| shard.info.deal).collect();
        let rows = shared.ledger.rows(Deals, &deals).await.map_err(|error| error.to_string())?;
        let epoch = shared.view.epoch();
        for (shard, row) in page.into_iter().zip(rows) {
            let Some(deal) = row.filter(|deal| deal.state == DealState::Open) else { continue };
            let kept = deal.kept_by(&shared.key.id()).map(|(index, _)| index);
            if kept == Some(shard.info.index) && epoch.saturating_add(1) < deal.end {
                mine.push(Mine { shard, deal });
            }
        }
    }
}

/// Hands shards on, a few at a time.
async fn hand_all(shared: &Arc<Shared>, mine: Vec<Mine>) -> Result<(), String> {
    let nodes = shared.ledger.scan_all(Nodes, &[]).await.map_err(|error| error.to_string())?;
    let epoch = shared.view.epoch();
    let params = shared.params();
    let now = (&*params, epoch);
    // Full ones too: they may keep other shards of a deal.
    let nodes: Vec<Candidate> = nodes
        .into_iter()
        .filter_map(|(key, row)| Some((Nodes::parse(&key)?, row)))
        .filter(|(id, _)| *id != shared.key.id())
        .map(|(id, row)| Candidate::of(id, &row, now, Experience::None))
        .collect();
    let nodes = Arc::new(nodes);
    let mut tasks = JoinSet::new();
    let mut problem = None;
    for mine in mine {
        if *shared.stop.borrow() || !shared.settings().leaving {
            break;
        }
        while AT_ONCE <= tasks.len() {
            ended(shared, tasks.join_next().await, &mut problem);
        }
        let (here, nodes) = (Arc::clone(shared), Arc::clone(&nodes));
        tasks.spawn(async move { hand_on(&here, &nodes, mine).await });
    }
    while let Some(end) = tasks.join_next().await {
        ended(shared, Some(end), &mut problem);
    }
    problem.map_or(Ok(()), Err)
}

/// Notes what came of one shard.
fn ended(
    shared: &Shared,
    end: Option<Result<Result<Amount, String>, tokio::task::JoinError>>,
    problem: &mut Option<String>,
) {
    match end {
        None => {}
        Some(Ok(Ok(paid))) => note(shared, |exit| {
            exit.left = exit.left.saturating_sub(1);
            exit.handed += 1;
            exit.paid = exit.paid.checked_add(paid).unwrap_or(exit.paid);
        }),
        Some(Ok(Err(why))) => *problem = Some(why),
        Some(Err(error)) => *problem = Some(error.to_string()),
    }
}

/// Hands one shard to the first node that takes it. Returns what that cost.
async fn hand_on(shared: &Shared, nodes: &[Candidate], mine: Mine) -> Result<Amount, String> {
    let Mine { shard, deal } = mine;
    let (id, index) = (shard.info.deal, shard.info.index);
    let accepted = DealTerms::from_bytes(&shard.info.terms).map_err(|error| error.to_string())?;
    let next = shared.view.epoch().saturating_add(1);
    let terms = DealTerms { epochs: deal.end.saturating_sub(next).max(1), ..accepted };
    let mut problem = String::from("no other node has room for the shard and is covered");
    // This node is not in the way of its operator's others: it leaves.
    let keeps = |node: &&Candidate| deal.kept_by(&node.address.id).is_some();
    let keepers = nodes.iter().filter(keeps).cloned().collect();
    let mut others = OtherNodes::new(id, &deal, keepers, nodes);
    for _ in 0..TRIED {
        let Some(node) = others.next(1).pop() else { break };
        match send(shared, &node.address, node.price, (&terms, &shard)).await {
            Ok(acceptance) => {
                return place(shared, (terms, acceptance), (&deal, index, next)).await;
            }
            Err(why) => problem = format!("node {}: {why}", node.address.id),
        }
    }
    Err(format!("deal {id}: {problem}"))
}

/// Sends a shard to a node, which takes it on the word of the ledger that the sender keeps it.
async fn send(
    shared: &Shared,
    node: &PeerAddress,
    price: Amount,
    (terms, shard): (&DealTerms, &Shard),
) -> Result<Acceptance, String> {
    let (deal, index) = (shard.info.deal, shard.info.index);
    let connection =
        within(shared, ANSWER_MS, shared.endpoint.connect(node, Alpn::Storage)).await?;
    let sent = async {
        let authority = Authority::Keeper;
        let request = Request::Store { terms: terms.clone(), index, price, authority };
        exchange(shared, &connection, &request, (deal, index, terms.length)).await
    };
    let sent = sent.await;
    connection.close("the shard is handed on");
    let acceptance = sent?;
    let ours = acceptance.node == node.id
        && acceptance.index == index
        && acceptance.price == price
        && acceptance.root == shard.root
        && acceptance.verify(&shared.chain, terms).is_ok();
    if ours { Ok(acceptance) } else { Err(String::from("it has accepted something else")) }
}

async fn exchange(
    shared: &Shared,
    connection: &Connection,
    request: &Request,
    (deal, index, length): (DealId, u8, u64),
) -> Result<Acceptance, String> {
    let opened = async {
        let (mut sender, mut receiver) = connection.open().await?;
        sender.send(request).await?;
        let answer = receiver.receive::<Response>().await?;
        Ok::<_, NetError>((sender, receiver, answer))
    };
    let (mut sender, mut receiver, answer) = within(shared, ANSWER_MS, opened).await?;
    match answer {
        Response::Accepted { acceptance } => return Ok(acceptance),
        Response::Ready => {}
        other => return Err(refused(other)),
    }
    let mut sent = 0;
    while sent < length {
        let part = (length - sent).min(PART_BYTES);
        let read = shared.with_store(move |store| store.read(&deal, index, sent, part)).await;
        let bytes = read.map_err(|error| error.to_string())?;
        shared.send.take(part, &shared.host, |_| {}).await;
        within(shared, ANSWER_MS, sender.write(Bytes::from(bytes))).await?;
        sent += part;
    }
    sender.finish();
    match within(shared, ANSWER_MS, receiver.receive::<Response>()).await? {
        Response::Accepted { acceptance } => Ok(acceptance),
        other => Err(refused(other)),
    }
}

fn refused(answer: Response) -> String {
    match answer {
        Response::Refused { refusal } => refusal.message,
        _ => String::from("it answers something else"),
    }
}

/// Limits the time of a step.
async fn within<T, E: std::fmt::Display>(
    shared: &Shared,
    patience_ms: u64,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    tokio::select! {
        biased;
        done = work => done.map_err(|error| error.to_string()),
        slept = shared.sleep_ms(patience_ms) => Err(match slept {
            Ok(()) => String::from("it does not answer"),
            Err(Stopped) => String::from("the node stops"),
        }),
    }
}

/// Has the ledger note the shard's next node. What that asks more is paid by this one.
async fn place(
    shared: &Shared,
    (terms, acceptance): (DealTerms, Acceptance),
    (deal, index, next): (&Deal, u8, u64),
) -> Result<Amount, String> {
    let old = deal.shards[usize::from(index)].as_ref().map_or(Amount::ZERO, |shard| shard.price);
    let cost = |price| slot_rate(price, deal.length)?.checked_mul(deal.end.saturating_sub(next));
    let more = cost(acceptance.price)
        .zip(cost(old))
        .map(|(new, old)| new.checked_sub(old).unwrap_or(Amount::ZERO));
    let more = more.ok_or("its price exceeds what can be counted")?;
    let node = acceptance.node;
    let placing = |cost_max| Action::PlaceShards {
        terms: terms.clone(),
        acceptances: vec![acceptance.clone()],
        cost_max,
    };
    let fee = fee(&shared.params(), &placing(Amount::ZERO));
    let limit = more.checked_add(fee).ok_or("its price exceeds what can be counted")?;
    let id = TransactionId(shared.host.random());
    let until_tick = shared.host.ticks_ms().saturating_add(PATIENCE_MS);
    let sent = submit(shared, id, placing(limit), until_tick, Backoff::new(500, 10_000)).await;
    match sent.map_err(|error| format!("{error}; the node's own account pays {limit}"))? {
        Status::Applied => {
            info!(deal = %terms.deal(), index, %node, %more, "handed on");
            Ok(more)
        }
        status => Err(status.to_string()),
    }
}

/// Gives the registration up: collateral, withheld pay and deposits come back.
async fn retire(shared: &Shared) -> Result<(), String> {
    let id = TransactionId(shared.host.random());
    let until_tick = shared.host.ticks_ms().saturating_add(PATIENCE_MS);
    let sent = submit(shared, id, Action::RetireNode, until_tick, Backoff::new(500, 10_000)).await;
    match sent.map_err(|error| error.to_string())? {
        Status::Applied | Status::UnknownNode => {
            info!(node = %shared.key.id(), "retired");
            note(shared, |exit| exit.stage = ExitStage::Retired);
            Ok(())
        }
        status => Err(status.to_string()),
    }
}

/// Milliseconds between two looks.
const LOOK_MS: u64 = 1_000;
/// Shards that are listed at once.
const PAGE: usize = 256;
/// Shards that are handed on at once.
const AT_ONCE: usize = 4;
/// Nodes that are asked for one shard.
const TRIED: usize = 8;
/// Bytes that are read and sent in one step.
const PART_BYTES: u64 = 256 * 1024;
/// Milliseconds for which an answer is waited for: a part of a shard, and its sync to disk.
const ANSWER_MS: u64 = 30_000;
/// For how long a transaction is sent again, in milliseconds: longer than a turn that is overdue takes.
const PATIENCE_MS: u64 = 60_000;
