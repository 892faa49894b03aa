//! The whole state of a block, fetched in chunks while the ledger goes on.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crate::common::{answer, between::stand_between, open, transfer};
use ed25519_dalek::SigningKey;
use symbolon_ledger::{Checkpoint, Embedded, Ledger, LedgerError, LedgerTicket, Remote};
use symbolon_net::{Host, MemoryNetwork};
use symbolon_protocol::{
    id::TransactionId,
    ledger::{
        Status,
        block::Header,
        rows::{Accounts, Roots, Table},
        state::{MemoryState, Update},
        transaction::{Action, Transaction},
        tree,
    },
    limits::ROOT_BYTES_MAX,
    wire::ledger::{Request, Response},
};
use tokio::task::JoinSet;

/// As many root records as take more than one answer.
const RECORDS: u32 = 400;

pub(crate) fn host() -> Host {
    Host::seeded(7, 1_795_370_000_000)
}

async fn submit(ledger: &Ledger, transaction: Transaction) {
    assert_eq!(ledger.submit(transaction).await.unwrap().status, Status::Applied);
}

/// A ledger with records of two answers, and money of account 1.
pub(crate) async fn founded(folder: &Path) -> Embedded {
    founded_with(folder, RECORDS).await
}

/// The same with so many records, of about 4 KiB each.
pub(crate) async fn founded_with(folder: &Path, records: u32) -> Embedded {
    let embedded = open(folder, host()).await;
    let ledger = Ledger::from(embedded.clone());
    let mut submitted = JoinSet::new();
    for number in 0..records {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let blob = vec![3; ROOT_BYTES_MAX];
        let action = Action::SetRoot { expected_version: 0, blob };
        let (key, id) = (SigningKey::from_bytes(&seed), TransactionId([1; 16]));
        let record = Transaction::build(ledger.chain(), &key, id, 500, action);
        let ledger = ledger.clone();
        submitted.spawn(async move { submit(&ledger, record).await });
    }
    submitted.join_all().await;
    submit(&ledger, crate::common::transaction(ledger.chain(), 1, 1, Action::Faucet)).await;
    embedded
}

/// All pages of a checkpoint, and what `between` does after each of them.
pub(crate) async fn fetch(
    checkpoint: &mut Checkpoint,
    mut between: impl AsyncFnMut(),
) -> Result<(MemoryState, usize), LedgerError> {
    let (mut rows, mut pages) = (Update::default(), 0);
    while let Some(page) = checkpoint.page().await? {
        pages += 1;
        rows.rows.extend(page.into_iter().map(|(key, value)| (key, Some(value))));
        between().await;
    }
    // What a follower does: the rows, and the tree over them.
    let mut state = MemoryState::default();
    let (_, nodes) = tree::update(&state, &rows.rows);
    state.commit(&rows);
    state.commit(&Update { rows: nodes });
    Ok((state, pages))
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_the_state_of_one_block_while_others_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let home = founded(folder.path()).await;
    let network = MemoryNetwork::new();
    let ticket = answer(home.clone(), network.endpoint([1; 32]));
    let remote = Remote::new(network.endpoint([2; 32]), ticket);
    let (ledger, id) = (Ledger::from(home), AtomicU8::new(2));
    let before = ledger.head().await.unwrap().header;
    let mut checkpoint = remote.checkpoint();
    assert!(checkpoint.header().is_none());
    let pay = async || {
        let id = id.fetch_add(1, Ordering::Relaxed);
        submit(&ledger, transfer(ledger.chain(), 1, id, 100 + id, 1)).await;
    };
    let (state, pages) = fetch(&mut checkpoint, pay).await.unwrap();
    assert!(2 <= pages, "{pages}");
    let Header { height, state_root, .. } = checkpoint.header().unwrap().header.clone();
    assert_eq!((height, state_root), (before.height, before.state_root));
    assert_eq!(tree::root(&state), state_root);
    let count = |tag| state.rows().filter(|(key, _)| key[0] == tag).count();
    assert_eq!(count(Roots::TAG), usize::try_from(RECORDS).unwrap());
    assert_eq!(count(Accounts::TAG), 1, "payments came later");
    assert!(checkpoint.page().await.unwrap().is_none(), "it is whole");
    assert!(before.height < ledger.head().await.unwrap().header.height);
}

#[tokio::test(start_paused = true)]
async fn a_state_is_kept_for_ten_minutes_and_shared_for_five() {
    let folder = tempfile::tempdir().unwrap();
    let home = founded(folder.path()).await;
    let network = MemoryNetwork::new();
    let ticket = answer(home.clone(), network.endpoint([1; 32]));
    let remote = Remote::new(network.endpoint([2; 32]), ticket);
    let ledger = Ledger::from(home);
    let begin = async || {
        let mut checkpoint = remote.checkpoint();
        checkpoint.page().await.unwrap();
        let height = checkpoint.header().unwrap().header.height;
        (checkpoint, height)
    };
    let (mut first, oldest) = begin().await;
    submit(&ledger, transfer(ledger.chain(), 1, 2, 2, 1)).await;
    tokio::time::sleep(Duration::from_secs(4 * 60)).await;
    let (mut shared, height) = begin().await;
    assert_eq!(height, oldest, "a young state is for all callers");
    tokio::time::sleep(Duration::from_secs(2 * 60)).await;
    let (mut second, height) = begin().await;
    assert!(oldest < height, "an older one has a successor");
    assert!(first.page().await.unwrap().is_some());
    tokio::time::sleep(Duration::from_secs(5 * 60)).await;
    assert!(matches!(shared.page().await, Err(LedgerError::CheckpointGone)));
    assert!(second.page().await.unwrap().is_some());
}

/// A server that changes its answers to requests for a checkpoint.
fn liar(
    network: &MemoryNetwork,
    truth: LedgerTicket,
    twist: impl Fn(&Request, Response) -> Response + Send + Sync + 'static,
) -> LedgerTicket {
    let front = network.endpoint([66; 32]);
    let ticket = LedgerTicket { peers: vec![front.address()], ..truth.clone() };
    stand_between(front, truth.peers[0].clone(), Arc::new(twist));
    ticket
}

/// Fetches from a server that changes its second answer.
async fn lied_to(
    twist: impl Fn(Response) -> Response + Send + Sync + 'static,
) -> Result<usize, LedgerError> {
    let second = move |request: &Request, response| match request {
        Request::Checkpoint { height: Some(_), .. } => twist(response),
        _ => response,
    };
    fetched_from(second).await
}

async fn fetched_from(
    twist: impl Fn(&Request, Response) -> Response + Send + Sync + 'static,
) -> Result<usize, LedgerError> {
    let folder = tempfile::tempdir().unwrap();
    let home = founded(folder.path()).await;
    let network = MemoryNetwork::new();
    let truth = answer(home.clone(), network.endpoint([1; 32]));
    let ticket = liar(&network, truth, twist);
    let mut checkpoint = Remote::new(network.endpoint([2; 32]), ticket).checkpoint();
    let fetched = fetch(&mut checkpoint, async || {}).await;
    fetched.map(|(_, pages)| pages)
}

#[tokio::test(start_paused = true)]
async fn a_page_without_a_row_and_one_of_another_block_are_refused() {
    assert!(2 <= lied_to(|response| response).await.unwrap());
    let forged = |fetched| matches!(fetched, Err(LedgerError::Forged { .. }));
    let ends = lied_to(|response| match response {
        Response::Rows { header, mut rows, proof, .. } => {
            rows.pop();
            Response::Rows { header, rows, proof, more: false }
        }
        other => other,
    });
    assert!(forged(ends.await), "the last row is missing");
    let begins = lied_to(|response| match response {
        Response::Rows { header, mut rows, proof, more } => {
            rows.remove(0);
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    });
    assert!(forged(begins.await), "the first row is missing");
    let other_header = lied_to(|response| match response {
        Response::Rows { mut header, rows, proof, more } => {
            header.header.height += 1;
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    });
    assert!(forged(other_header.await), "another header");
    // All pages have the same header, and the rows are those of its state root.
    let unsigned = fetched_from(|_, response| match response {
        Response::Rows { mut header, rows, proof, more } => {
            header.header.events_root.0[0] ^= 1;
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    });
    assert!(forged(unsigned.await), "a header that the validators did not sign");
    let gone = lied_to(|_| Response::Gone).await;
    assert!(matches!(gone, Err(LedgerError::CheckpointGone)));
}
