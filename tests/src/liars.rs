//! Nodes and disks that misbehave, each in one way.

use std::{fs, io, path::Path};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use symbolon_net::{Connection, Endpoint, NetError};
use symbolon_protocol::{
    id::{AccountId, Hash, TransactionId},
    ledger::{
        Status,
        rows::Nodes,
        transaction::{Action, Transaction},
    },
    limits::{CELL_BYTES, SLICE_BYTES},
    wire::storage::{Refusal, RefusalCode, Request, Response, SliceHead},
};
use symbolon_store::Shards;
use tokio::task::{JoinHandle, JoinSet};

use crate::{
    auditor,
    sim::{Station, World, derive, settle},
};

/// What a liar does with a request to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Sends the piece with one bit turned, and the true path.
    Flips,
    /// Sends what is asked, to anybody; it only never proves.
    Idles,
    /// Refuses every request.
    Refuses,
    /// Takes every request and never answers one.
    Stalls,
    /// Sends one byte less than it announces, then nothing.
    Truncates,
}

/// A program that answers in a node's name, from the node's own disk, and does nothing else a node
/// does: it takes no shards, follows no ledger, proves nothing.
#[derive(Debug)]
pub struct Liar {
    task: JoinHandle<()>,
}

impl Liar {
    /// Takes the place of a node that does not run.
    #[must_use]
    pub fn start(world: &World, station: &Station, habit: Habit) -> Self {
        assert!(!station.runs(), "the node is killed first");
        let store = Shards::open(&station.dir).expect("the node's folder can be opened");
        let endpoint = world.network.endpoint(station.secret);
        Self { task: tokio::spawn(answer_all(endpoint, store, habit)) }
    }

    /// Goes away, so that the node can start again.
    pub async fn stop(self) {
        self.task.abort();
        settle().await;
    }
}

async fn answer_all(endpoint: Endpoint, store: Shards, habit: Habit) {
    let mut connections = JoinSet::new();
    while let Some(connection) = endpoint.accept().await {
        connections.spawn(answer_one(connection, store.clone(), habit));
    }
}

async fn answer_one(connection: Connection, store: Shards, habit: Habit) {
    // Ends with an error when the connection does.
    while answer(&connection, &store, habit).await.is_ok() {}
}

async fn answer(connection: &Connection, store: &Shards, habit: Habit) -> Result<(), NetError> {
    let (mut sender, mut receiver) = connection.accept().await?;
    let request = receiver.receive::<Request>().await?;
    let (deal, index, unit_bytes, unit) = match request {
        Request::Read { deal, index, first, count: 1, .. } => (deal, index, SLICE_BYTES, first),
        Request::ReadCell { deal, index, cell, .. } => (deal, index, CELL_BYTES, cell),
        _ => {
            let refusal = Refusal::new(RefusalCode::Busy, "not today");
            return sender.send(&Response::Refused { refusal }).await;
        }
    };
    if habit == Habit::Stalls {
        // The answer is owed for as long as the connection lasts.
        connection.closed().await;
        return Ok(());
    }
    if habit == Habit::Refuses {
        let refusal = Refusal::new(RefusalCode::NotAllowed, "I do not like you");
        return sender.send(&Response::Refused { refusal }).await;
    }
    let shard = store.open_shard(&deal, index);
    let piece = shard.and_then(|shard| shard.unit(unit_bytes as u64, u64::from(unit)));
    let Ok((mut bytes, path)) = piece else {
        let refusal = Refusal::new(RefusalCode::NotFound, "I never had it");
        return sender.send(&Response::Refused { refusal }).await;
    };
    sender.send(&Response::Slices { count: 1 }).await?;
    let length = u32::try_from(bytes.len()).expect("a piece has at most a mebibyte");
    sender.send(&SliceHead { length, path }).await?;
    match habit {
        Habit::Flips => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Habit::Truncates => bytes.truncate(bytes.len() - 1),
        Habit::Idles | Habit::Refuses | Habit::Stalls => {}
    }
    sender.write(Bytes::from(bytes)).await?;
    sender.finish();
    Ok(())
}

/// A node that lost its shards and sends its last proof again, in the name of its open window.
pub async fn prove_again(world: &World, station: &Station) -> Status {
    let sender = AccountId::from(station.id);
    let proofs = world.blocks.iter().rev().flat_map(|block| &block.transactions);
    let mut old = proofs.filter(|transaction| transaction.sender == sender);
    let leaves = old.find_map(|transaction| match &transaction.action {
        Action::Prove { leaves, .. } => Some(leaves.clone()),
        _ => None,
    });
    let ledger = world.ledger();
    let row = ledger.row(Nodes, &station.id).await.expect("the ledger answers");
    let window = row.and_then(|row| row.window).expect("the node has something to prove");
    let leaves = leaves.expect("the node has proven an epoch");
    let action = Action::Prove { epoch: window.epoch, leaves };
    let height = ledger.head().await.expect("the ledger answers").header.height;
    let id = TransactionId(derive(height, "an old proof")[..16].try_into().expect("16 bytes"));
    let key = SigningKey::from_bytes(&station.secret);
    let transaction = Transaction::build(ledger.chain(), &key, id, height + 10, action);
    ledger.submit(transaction).await.expect("the ledger answers").status
}

/// Turns every bit of a shard in a node's folder; done again, they are right again.
pub fn spoil(
    dir: &Path,
    root: &Hash,
    length: u64,
) -> io::Result<impl Fn() -> io::Result<()> + use<>> {
    let found = auditor::find_file(dir, root, length);
    let path = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let turn = move || {
        let mut bytes = fs::read(&path)?;
        for byte in &mut bytes {
            *byte = !*byte;
        }
        fs::write(&path, bytes)
    };
    turn()?;
    Ok(turn)
}
