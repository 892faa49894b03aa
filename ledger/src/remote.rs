//! The remote engine: the ledger port over the network, believing nothing it has not checked.
//!
//! What is checked: a header is the authority's, of this ledger, and not older than what this program
//! knew when it asked; a row, or its absence, stands under that header's state root; an applied
//! transaction stands in the table of seen ones, unless the authority's own key answers; a followed
//! block follows the one before and its header covers its transactions. What is not, and cannot be
//! with today's headers: events, history lines, and that a scan left nothing out.
//!
//! A lost connection is made again, with growing pauses, and the question repeated. That is safe for
//! submissions too: the same transaction is applied once, however often it is sent.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use symbolon_net::{Alpn, Connection, Endpoint, NetError, PeerAddress, Receiver, Sender};
use symbolon_protocol::{
    codec::Decode,
    grant::Link,
    id::{AccountId, ChainId, Hash, OrderId},
    ledger::{
        Status,
        block::{Block, SignedHeader, transactions_root},
        rows::{Seen, SeenTable, Table},
        transaction::Transaction,
        tree,
    },
    wire::ledger::{HistoryLine, ProvenRow, Request, Response},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{error::LedgerError, port::Outcome, ticket::LedgerTicket};

/// Somebody's ledger. Clones share one connection and what is known of the head.
#[derive(Clone, Debug)]
pub struct Remote {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    ticket: LedgerTicket,
    connection: tokio::sync::Mutex<Option<Connection>>,
    known: Mutex<Option<Known>>,
}

/// The highest header seen.
#[derive(Clone, Copy, Debug)]
struct Known {
    height: u64,
    digest: Hash,
}

impl Remote {
    /// The ledger of a ticket, reached from this endpoint. Nothing is sent before the first question.
    #[must_use]
    pub fn new(endpoint: Endpoint, ticket: LedgerTicket) -> Self {
        let connection = tokio::sync::Mutex::default();
        Self { inner: Arc::new(Inner { endpoint, ticket, connection, known: Mutex::default() }) }
    }

    /// Which ledger it is.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.inner.ticket.chain
    }

    /// Whose signature stands under its blocks.
    #[must_use]
    pub fn authority(&self) -> AccountId {
        self.inner.ticket.authority
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> &PeerAddress {
        &self.inner.ticket.address
    }

    pub(crate) async fn submit(&self, transaction: Transaction) -> Result<Outcome, LedgerError> {
        let (sender, id, digest) = (transaction.sender, transaction.id, transaction.digest());
        let outcome =
            match self.ask(&Request::Submit { transaction: Box::new(transaction) }).await?.0 {
                Response::Outcome { height, status } => Outcome { height, status },
                other => return Err(unexpected(other)),
            };
        let authority_itself = AccountId::from(self.inner.ticket.address.id) == self.authority();
        if outcome.status == Status::Applied && !authority_itself {
            let values = self.values(vec![SeenTable::key(&(sender, id))]).await?;
            let seen = values.into_iter().next().flatten();
            let seen = seen.and_then(|bytes| Seen::from_bytes(&bytes).ok());
            if seen.is_none_or(|seen| (seen.digest, seen.height) != (digest, outcome.height)) {
                return Err(LedgerError::Forged { what: "an outcome that is not on the ledger" });
            }
        }
        Ok(outcome)
    }

    pub(crate) async fn head(&self) -> Result<SignedHeader, LedgerError> {
        match self.ask(&Request::Head).await? {
            (Response::Head { header }, floor) => {
                self.believe(&header, floor)?;
                Ok(header)
            }
            (other, _) => Err(unexpected(other)),
        }
    }

    pub(crate) async fn values(
        &self,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        let mut values = Vec::with_capacity(keys.len());
        while values.len() < keys.len() {
            let rest = &keys[values.len()..];
            let asked = rest[..rest.len().min(KEYS_AT_ONCE)].to_vec();
            let request = Request::Rows { keys: asked };
            let (header, rows, floor) = match self.ask(&request).await? {
                (Response::Rows { header, rows, .. }, floor) => (header, rows, floor),
                (other, _) => return Err(unexpected(other)),
            };
            self.believe(&header, floor)?;
            // An answer may be shorter than the question when the rows are large, but never empty.
            if rows.is_empty() || KEYS_AT_ONCE.min(rest.len()) < rows.len() {
                return Err(LedgerError::Forged { what: "not the rows that were asked for" });
            }
            for (key, row) in rest.iter().zip(rows) {
                if *key != row.key {
                    return Err(LedgerError::Forged { what: "not the rows that were asked for" });
                }
                proven(&header, &row)?;
                values.push(row.value);
            }
        }
        Ok(values)
    }

    pub(crate) async fn scan(
        &self,
        prefix: Vec<u8>,
        mut after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<ProvenRow>, LedgerError> {
        let mut found: Vec<ProvenRow> = Vec::new();
        while found.len() < limit {
            let left = limit - found.len();
            let request = Request::Scan {
                prefix: prefix.clone(),
                after: after.clone(),
                limit: u32::try_from(left).unwrap_or(u32::MAX),
            };
            let (header, rows, more, floor) = match self.ask(&request).await? {
                (Response::Rows { header, rows, more }, floor) => (header, rows, more, floor),
                (other, _) => return Err(unexpected(other)),
            };
            self.believe(&header, floor)?;
            if left < rows.len() || (more && rows.is_empty()) {
                return Err(LedgerError::Forged { what: "not the scan that was asked for" });
            }
            for row in rows {
                let in_order = after.as_ref().is_none_or(|after| *after < row.key);
                if !in_order || !row.key.starts_with(&prefix) || row.value.is_none() {
                    return Err(LedgerError::Forged { what: "not the scan that was asked for" });
                }
                proven(&header, &row)?;
                after = Some(row.key.clone());
                found.push(row);
            }
            if !more {
                break;
            }
        }
        Ok(found)
    }

    pub(crate) async fn history(
        &self,
        account: AccountId,
        before: u64,
        limit: usize,
    ) -> Result<Vec<HistoryLine>, LedgerError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self.ask(&Request::History { account, before, limit }).await?.0 {
            Response::History { lines } => Ok(lines),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) async fn sale(&self, order: OrderId) -> Result<Link, LedgerError> {
        match self.ask(&Request::Sale { order }).await?.0 {
            Response::Sale { link, .. } => Ok(link),
            other => Err(unexpected(other)),
        }
    }

    /// Blocks from `height` on.
    pub(crate) fn follow(&self, height: u64) -> RemoteBlocks {
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let follower = Follower { remote: self.clone(), next: height, parent: None };
        let task = tokio::spawn(follower.run(sender));
        RemoteBlocks { blocks, task }
    }

    /// Asks until there is an answer, and says what was known of the head when it was asked.
    async fn ask(&self, request: &Request) -> Result<(Response, Option<Known>), LedgerError> {
        let mut pause = PAUSE_MIN;
        let mut attempts = 0;
        loop {
            let floor = self.known();
            attempts += 1;
            let error = match timeout(ANSWER, self.ask_once(request)).await {
                Ok(Ok(response)) => return Ok((response, floor)),
                Ok(Err(error)) => error,
                Err(_) => NetError::TimedOut { after_ms: ANSWER_MS },
            };
            match error {
                NetError::Malformed(_) | NetError::TooLarge { .. } => {
                    return Err(LedgerError::Forged { what: "a malformed message" });
                }
                last if attempts == ATTEMPTS => {
                    return Err(LedgerError::Unreachable { attempts, last });
                }
                error => {
                    tracing::debug!(%error, attempts, "asking the ledger again");
                    self.forget_connection().await;
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn ask_once(&self, request: &Request) -> Result<Response, NetError> {
        let (_sender, mut receiver) = self.open(request).await?;
        receiver.receive().await
    }

    async fn open(&self, request: &Request) -> Result<(Sender, Receiver), NetError> {
        let connection = self.connection().await?;
        let (mut sender, receiver) = connection.open().await?;
        sender.send(request).await?;
        sender.finish();
        Ok((sender, receiver))
    }

    async fn connection(&self) -> Result<Connection, NetError> {
        let mut held = self.inner.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|held| held.close_reason().is_none()) {
            return Ok(connection.clone());
        }
        let address = &self.inner.ticket.address;
        let connection = self.inner.endpoint.connect(address, Alpn::Ledger).await?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    async fn forget_connection(&self) {
        *self.inner.connection.lock().await = None;
    }

    fn known(&self) -> Option<Known> {
        *self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a header that came as an answer to a question asked when `floor` was known.
    fn believe(&self, signed: &SignedHeader, floor: Option<Known>) -> Result<(), LedgerError> {
        self.signed(signed)?;
        let header = &signed.header;
        if let Some(floor) = floor.filter(|floor| header.height < floor.height) {
            return Err(LedgerError::Stale { height: header.height, known: floor.height });
        }
        let now = Known { height: header.height, digest: header.digest() };
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(known) if known.height == now.height && known.digest != now.digest => {
                Err(LedgerError::Forked { height: now.height })
            }
            Some(known) if now.height <= known.height => Ok(()),
            _ => {
                *known = Some(now);
                Ok(())
            }
        }
    }

    /// Checks that a header is the authority's and of this ledger.
    fn signed(&self, signed: &SignedHeader) -> Result<(), LedgerError> {
        if signed.header.chain != self.chain() {
            return Err(LedgerError::Forged { what: "a header of another ledger" });
        }
        signed
            .verify(&self.authority())
            .map_err(|_| LedgerError::Forged { what: "a header the authority did not sign" })
    }
}

fn proven(header: &SignedHeader, row: &ProvenRow) -> Result<(), LedgerError> {
    tree::verify(&header.header.state_root, &row.key, row.value.as_deref(), &row.path)
        .map_err(|_| LedgerError::Forged { what: "a row that is not under the state root" })
}

fn unexpected(response: Response) -> LedgerError {
    match response {
        Response::Refused { message } => LedgerError::Refused { message },
        _ => LedgerError::Forged { what: "an answer to another question" },
    }
}

/// Followed blocks, fetched a few ahead by a task of their own so that waiting can be cut short.
pub(crate) struct RemoteBlocks {
    blocks: mpsc::Receiver<Result<Block, LedgerError>>,
    task: JoinHandle<()>,
}

impl RemoteBlocks {
    pub(crate) async fn next(&mut self) -> Result<Block, LedgerError> {
        self.blocks.recv().await.unwrap_or(Err(LedgerError::Closed))
    }
}

impl Drop for RemoteBlocks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    remote: Remote,
    next: u64,
    parent: Option<Hash>,
}

impl Follower {
    /// Follows until nobody wants more or the server is found to lie.
    async fn run(mut self, blocks: mpsc::Sender<Result<Block, LedgerError>>) {
        let mut pause = PAUSE_MIN;
        loop {
            let before = self.next;
            let error = match self.stream(&blocks).await {
                Ok(()) => return,
                Err(error) => error,
            };
            match error {
                LedgerError::Unreachable { last, .. } => {
                    tracing::debug!(%last, height = self.next, "following again");
                    self.remote.forget_connection().await;
                }
                error => {
                    drop(blocks.send(Err(error)).await);
                    return;
                }
            }
            if before < self.next {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                biased;
                () = blocks.closed() => return,
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    /// One connection's worth of blocks; `Ok` when nobody wants more.
    async fn stream(
        &mut self,
        blocks: &mpsc::Sender<Result<Block, LedgerError>>,
    ) -> Result<(), LedgerError> {
        let lost = |last| match last {
            NetError::Malformed(_) | NetError::TooLarge { .. } => {
                LedgerError::Forged { what: "a malformed message" }
            }
            last => LedgerError::Unreachable { attempts: 1, last },
        };
        let request = Request::Follow { height: self.next };
        let (_sender, mut receiver) = self.remote.open(&request).await.map_err(lost)?;
        loop {
            let response = tokio::select! {
                biased;
                () = blocks.closed() => return Ok(()),
                response = receiver.receive::<Response>() => response.map_err(lost)?,
            };
            let block = match response {
                Response::Block { block } => block,
                other => return Err(unexpected(other)),
            };
            self.check(&block)?;
            self.next += 1;
            self.parent = Some(block.header.header.digest());
            if blocks.send(Ok(block)).await.is_err() {
                return Ok(());
            }
        }
    }

    fn check(&self, block: &Block) -> Result<(), LedgerError> {
        self.remote.signed(&block.header)?;
        let header = &block.header.header;
        if header.height != self.next {
            return Err(LedgerError::Forged { what: "a block of another height" });
        }
        if self.parent.is_some_and(|parent| parent != header.parent) {
            return Err(LedgerError::Forked { height: self.next.saturating_sub(1) });
        }
        if transactions_root(&block.transactions) != header.transactions_root {
            return Err(LedgerError::Forged { what: "a block with other transactions" });
        }
        self.remote.believe(&block.header, None)
    }
}

/// How long one answer may take, a block commit included.
const ANSWER: Duration = Duration::from_millis(ANSWER_MS);
const ANSWER_MS: u64 = 20_000;
/// Attempts before a question fails: about six seconds of pauses.
const ATTEMPTS: u32 = 7;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Keys per question: with 4 KiB rows and their paths, an eighth of a message.
const KEYS_AT_ONCE: usize = 64;
/// Blocks fetched before they are asked for.
const BLOCKS_AHEAD: usize = 2;
