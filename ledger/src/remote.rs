//! The remote engine: the ledger port over the network. It checks the answers of the server.
//!
//! It checks the following:
//!
//! - The authority signed the header, the header is of this ledger, and it is not older than what
//!   this program knew when it asked.
//! - A row, or its absence, is proven against that header's state root.
//! - The table of seen transactions holds an applied transaction, and one whose id was used before.
//!   This is skipped if the server answers with the authority's own key.
//! - A followed block follows the one before, and its header covers its transactions.
//!
//! Today's headers do not allow it to check events, history lines, and whether a scan left rows
//! out.
//!
//! If an answer is older than what is known, the question is repeated, because a server may be a
//! moment behind. After a lost connection it connects again, with growing pauses, and repeats the
//! question. That is safe for submissions too: the ledger applies the same transaction once,
//! however often it is sent.

mod recent;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use symbolon_net::{Alpn, Connection, Endpoint, NetError, PeerAddress, Receiver, Sender};
use symbolon_protocol::{
    LedgerTime,
    codec::Decode,
    id::{AccountId, ChainId, Hash},
    ledger::{
        Status,
        block::{Block, SignedHeader, transactions_root},
        rows::{Deals, Nodes, Seen, SeenTable, Table, Vaults},
        transaction::{Action, Transaction},
        tree,
    },
    limits::EVENTS_PAGE,
    wire::ledger::{HistoryLine, HistoryPlace, ProvenRow, Request, Response},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    error::LedgerError,
    port::{BlockPage, History, Outcome, RECENT},
    ticket::LedgerTicket,
};
use recent::RecentRows;

/// A ledger on another machine. Clones share one connection and the known head.
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
    recent: Mutex<RecentRows>,
}

/// The highest header seen.
#[derive(Clone, Copy, Debug)]
struct Known {
    height: u64,
    digest: Hash,
    time_ms: LedgerTime,
    /// When an answer last confirmed this height.
    at: Instant,
}

impl Remote {
    /// The ledger of a ticket, reached from this endpoint. Nothing is sent before the first
    /// question.
    #[must_use]
    pub fn new(endpoint: Endpoint, ticket: LedgerTicket) -> Self {
        let connection = tokio::sync::Mutex::default();
        let (known, recent) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { endpoint, ticket, connection, known, recent }) }
    }

    /// The ledger's id.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.inner.ticket.chain
    }

    /// The authority, which signs the ledger's blocks.
    #[must_use]
    pub fn authority(&self) -> AccountId {
        self.inner.ticket.authority
    }

    /// The address at which the ledger answers.
    #[must_use]
    pub fn address(&self) -> &PeerAddress {
        &self.inner.ticket.address
    }

    pub(crate) async fn submit(&self, transaction: Transaction) -> Result<Outcome, LedgerError> {
        let (sender, id, digest) = (transaction.sender, transaction.id, transaction.digest());
        let unchanged = unchanged_tables(&transaction.action);
        let request = Request::Submit { transaction: Box::new(transaction) };
        let authority_itself = AccountId::from(self.inner.ticket.address.id) == self.authority();
        for _ in 0..SUBMITTED_TIMES {
            let outcome = self.ask(&request, |response, _| match response {
                Response::Outcome { height, status } => Ok(Outcome { height, status }),
                other => Err(unexpected(other)),
            });
            // Rows that are requested before the transaction may be older than it, even if their
            // answer arrives later.
            self.recent().forget(unchanged);
            let outcome = outcome.await;
            self.recent().forget(unchanged);
            let outcome = outcome?;
            // Both statuses say that a transaction is on the ledger, so they need a proof.
            let done = matches!(outcome.status, Status::Applied | Status::IdReused);
            if authority_itself || !done {
                return Ok(outcome);
            }
            let values = self.values(vec![SeenTable::key(&(sender, id))]).await?;
            let seen = values.into_iter().next().flatten();
            let seen = seen.and_then(|bytes| Seen::from_bytes(&bytes).ok());
            let holds = match (outcome.status, seen) {
                (Status::Applied, Some(seen)) => {
                    (seen.digest, seen.height) == (digest, outcome.height)
                }
                (_, Some(seen)) => seen.digest != digest,
                // The ledger may drop an id between the answer and the question. Then the id is
                // free again.
                (_, None) => false,
            };
            if holds {
                return Ok(outcome);
            }
        }
        Err(LedgerError::Forged { what: "the outcome does not match the ledger" })
    }

    pub(crate) async fn head(&self) -> Result<SignedHeader, LedgerError> {
        let head = self.ask(&Request::Head, |response, floor| match response {
            Response::Head { header } => {
                self.believe(&header, floor)?;
                Ok(header)
            }
            other => Err(unexpected(other)),
        });
        head.await
    }

    pub(crate) async fn values(
        &self,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        let mut values = Vec::with_capacity(keys.len());
        let since = self.recent().since();
        while values.len() < keys.len() {
            values.extend(self.first_values(&keys[values.len()..]).await?);
        }
        let rows = keys.into_iter().zip(values.iter().cloned());
        self.recent().take(since, rows);
        Ok(values)
    }

    /// Values by key, without asking for those that are known from a recent answer.
    pub(crate) async fn values_lately(
        &self,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        let mut values: Vec<_> = {
            let recent = self.recent();
            keys.iter().map(|key| recent.value(key)).collect()
        };
        let missing = keys.into_iter().zip(&values);
        let missing: Vec<_> =
            missing.filter(|(_, value)| value.is_none()).map(|(key, _)| key).collect();
        let mut answers = self.values(missing).await?.into_iter();
        for value in values.iter_mut().filter(|value| value.is_none()) {
            *value = answers.next();
        }
        Ok(values.into_iter().map(Option::flatten).collect())
    }

    /// Values of a few keys from one answer, and so all of the same block.
    pub(crate) async fn values_of_one_block(
        &self,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        let values = self.first_values(&keys).await?;
        match values.len() == keys.len() {
            true => Ok(values),
            false => Err(LedgerError::Forged { what: "the answer holds only some of a few rows" }),
        }
    }

    /// Values of the first few keys. The answer may be shorter than the question when the rows are
    /// large, but never empty.
    async fn first_values(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        let asked = &keys[..keys.len().min(KEYS_AT_ONCE)];
        let request = Request::Rows { keys: asked.to_vec() };
        let (header, rows, _) = self.ask_rows(&request).await?;
        if rows.is_empty() || asked.len() < rows.len() {
            return Err(LedgerError::Forged { what: "the rows are not those of the request" });
        }
        let mut values = Vec::with_capacity(rows.len());
        for (key, row) in asked.iter().zip(rows) {
            if *key != row.key {
                return Err(LedgerError::Forged { what: "the rows are not those of the request" });
            }
            proven(&header, &row)?;
            values.push(row.value);
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
        let since = self.recent().since();
        while found.len() < limit {
            let left = limit - found.len();
            let request = Request::Scan {
                prefix: prefix.clone(),
                after: after.clone(),
                limit: u32::try_from(left).unwrap_or(u32::MAX),
            };
            let (header, rows, more) = self.ask_rows(&request).await?;
            if left < rows.len() || (more && rows.is_empty()) {
                return Err(LedgerError::Forged { what: "the rows do not match the scan" });
            }
            for row in rows {
                let in_order = after.as_ref().is_none_or(|after| *after < row.key);
                if !in_order || !row.key.starts_with(&prefix) || row.value.is_none() {
                    return Err(LedgerError::Forged { what: "the rows do not match the scan" });
                }
                proven(&header, &row)?;
                after = Some(row.key.clone());
                found.push(row);
            }
            if !more {
                break;
            }
        }
        let rows = found.iter().map(|row| (row.key.clone(), row.value.clone()));
        self.recent().take(since, rows);
        Ok(found)
    }

    pub(crate) async fn history(
        &self,
        account: AccountId,
        before: HistoryPlace,
        limit: usize,
    ) -> Result<History, LedgerError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let request = Request::History { account, before, limit };
        let history = self.ask(&request, |response, _| {
            let Response::History { lines, oldest } = response else {
                return Err(unexpected(response));
            };
            // The caller continues from the last line's place, so the places must descend.
            let earlier = lines.iter().map(HistoryLine::place);
            let places: Vec<_> = [before].into_iter().chain(earlier).collect();
            match places.is_sorted_by(|later, place| place < later) {
                true => Ok(History { lines, oldest }),
                false => Err(LedgerError::Forged { what: "the lines do not match the request" }),
            }
        });
        history.await
    }

    async fn ask_rows(
        &self,
        request: &Request,
    ) -> Result<(SignedHeader, Vec<ProvenRow>, bool), LedgerError> {
        let rows = self.ask(request, |response, floor| match response {
            Response::Rows { header, rows, more } => {
                self.believe(&header, floor)?;
                Ok((header, rows, more))
            }
            other => Err(unexpected(other)),
        });
        rows.await
    }

    /// Blocks from `height` on.
    pub(crate) fn follow(&self, height: u64) -> RemoteBlocks {
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let follower =
            Follower { remote: self.clone(), next: height, events: 0, open: None, parent: None };
        let task = tokio::spawn(follower.run(sender));
        RemoteBlocks { blocks, task }
    }

    /// Asks until there is an answer. `read` reads it, given the head that was known when the
    /// question was sent. An answer older than that is requested again, because the server may be a
    /// block behind for a moment.
    async fn ask<T>(
        &self,
        request: &Request,
        read: impl Fn(Response, Option<Known>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut pause = PAUSE_MIN;
        let mut attempts = 0;
        tracing::trace!(question = describe(request), "asking the ledger");
        loop {
            let floor = self.known();
            attempts += 1;
            let error = match timeout(ANSWER, self.ask_once(request)).await {
                Ok(Ok(response)) => match read(response, floor) {
                    Err(LedgerError::Stale { height, known }) if attempts < STALE_ATTEMPTS => {
                        tracing::debug!(height, known, "the answer is too old; asking again");
                        sleep(pause).await;
                        pause *= 2;
                        continue;
                    }
                    answer => return answer,
                },
                Ok(Err(error)) => error,
                Err(_) => NetError::TimedOut { after_ms: ANSWER_MS },
            };
            match error {
                NetError::Malformed(_) | NetError::TooLarge { .. } => {
                    return Err(LedgerError::Forged { what: "the message is malformed" });
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

    /// The height and time of the known head, if an answer within [`RECENT`] confirmed it.
    pub(crate) fn recent_block(&self) -> Option<(u64, LedgerTime)> {
        let known = self.known().filter(|known| known.at.elapsed() < RECENT)?;
        Some((known.height, known.time_ms))
    }

    fn recent(&self) -> MutexGuard<'_, RecentRows> {
        // A thread that panicked with the lock left whole rows.
        self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> Option<Known> {
        *self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the header of an answer. `floor` is the head that was known when the question was
    /// sent.
    fn believe(&self, signed: &SignedHeader, floor: Option<Known>) -> Result<(), LedgerError> {
        self.signed(signed)?;
        let header = &signed.header;
        if let Some(floor) = floor.filter(|floor| header.height < floor.height) {
            return Err(LedgerError::Stale { height: header.height, known: floor.height });
        }
        let (height, digest) = (header.height, header.digest());
        let now = Known { height, digest, time_ms: header.facts.time_ms, at: Instant::now() };
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(known) if known.height == now.height && known.digest != now.digest => {
                Err(LedgerError::Forked { height: now.height })
            }
            Some(known) if now.height < known.height => Ok(()),
            _ => {
                *known = Some(now);
                Ok(())
            }
        }
    }

    /// Checks that the authority signed a header, and that it is of this ledger.
    fn signed(&self, signed: &SignedHeader) -> Result<(), LedgerError> {
        if signed.header.chain != self.chain() {
            return Err(LedgerError::Forged { what: "the header is of another ledger" });
        }
        signed
            .verify(&self.authority())
            .map_err(|_| LedgerError::Forged { what: "the authority did not sign the header" })
    }
}

/// Tables in which an action changes no row. Known rows of these tables stay valid after it.
fn unchanged_tables(action: &Action) -> &'static [u8] {
    match action {
        Action::Order { .. } | Action::Acknowledge { .. } | Action::SetRoot { .. } => {
            &[Deals::TAG, Nodes::TAG, Vaults::TAG]
        }
        _ => &[],
    }
}

/// A short description of a request, for the log.
fn describe(request: &Request) -> String {
    match request {
        Request::Submit { transaction } => {
            format!("submit {}", transaction.action.name())
        }
        Request::Head => "head".to_owned(),
        Request::Rows { keys } => {
            let tables: Vec<u8> = keys.iter().filter_map(|key| key.first().copied()).collect();
            format!("rows of tables {tables:?}")
        }
        Request::Scan { prefix, .. } => format!("scan of table {:?}", prefix.first()),
        Request::Follow { height, .. } => format!("follow from {height}"),
        Request::History { .. } => "history".to_owned(),
    }
}

fn proven(header: &SignedHeader, row: &ProvenRow) -> Result<(), LedgerError> {
    tree::verify(&header.header.state_root, &row.key, row.value.as_deref(), &row.path)
        .map_err(|_| LedgerError::Forged { what: "a row is not under the state root" })
}

fn unexpected(response: Response) -> LedgerError {
    match response {
        Response::Refused { message } => LedgerError::Refused { message },
        _ => LedgerError::Forged { what: "the answer is to another question" },
    }
}

/// Followed blocks. A task of its own fetches a few ahead, so that a caller may stop waiting at any
/// time.
pub(crate) struct RemoteBlocks {
    blocks: mpsc::Receiver<Result<BlockPage, LedgerError>>,
    task: JoinHandle<()>,
}

impl RemoteBlocks {
    pub(crate) async fn next(&mut self) -> Result<BlockPage, LedgerError> {
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
    /// Events of the next block that have arrived already. If any have, `open` is the block's
    /// header.
    events: u64,
    open: Option<SignedHeader>,
    parent: Option<Hash>,
}

impl Follower {
    /// Follows until the receiver is dropped or the server turns out to lie.
    async fn run(mut self, blocks: mpsc::Sender<Result<BlockPage, LedgerError>>) {
        let mut pause = PAUSE_MIN;
        loop {
            let before = (self.next, self.events);
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
            if before < (self.next, self.events) {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                biased;
                () = blocks.closed() => return,
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    /// Follows blocks over one connection. Returns `Ok` when the receiver is dropped.
    async fn stream(
        &mut self,
        blocks: &mpsc::Sender<Result<BlockPage, LedgerError>>,
    ) -> Result<(), LedgerError> {
        let lost = |last| match last {
            NetError::Malformed(_) | NetError::TooLarge { .. } => {
                LedgerError::Forged { what: "the message is malformed" }
            }
            last => LedgerError::Unreachable { attempts: 1, last },
        };
        let request = Request::Follow { height: self.next, events: self.events };
        let (_sender, mut receiver) = self.remote.open(&request).await.map_err(lost)?;
        let mut first = true;
        loop {
            let response = tokio::select! {
                biased;
                () = blocks.closed() => return Ok(()),
                response = receiver.receive::<Response>() => response.map_err(lost)?,
            };
            let page = self.take(response, std::mem::take(&mut first))?;
            if blocks.send(Ok(page)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Checks a response and continues from it. `first` says whether it is the first on its stream.
    fn take(&mut self, response: Response, first: bool) -> Result<BlockPage, LedgerError> {
        let forged = |what| Err(LedgerError::Forged { what });
        let (header, begins, transactions, events, more) = match (response, self.open.take()) {
            (Response::Block { block, more }, open) if first || open.is_none() => {
                self.check(&block)?;
                let Block { header, transactions, events } = block;
                match open {
                    Some(open) if open != header => {
                        return Err(LedgerError::Forked { height: self.next });
                    }
                    // The block's transactions arrived before the connection was lost.
                    Some(_) => (header, false, Vec::new(), events, more),
                    None => (header, true, transactions, events, more),
                }
            }
            (Response::Events { events, more }, Some(header)) if !first => {
                (header, false, Vec::new(), events, more)
            }
            (Response::Pruned { oldest }, _) => {
                let height = self.next;
                return match height < oldest.height {
                    true => Err(LedgerError::Pruned { height, oldest }),
                    false => forged("the block is one that the ledger keeps"),
                };
            }
            (Response::Block { .. } | Response::Events { .. }, _) => {
                return forged("the page is of another block");
            }
            (other, _) => return Err(unexpected(other)),
        };
        if EVENTS_PAGE < events.len() || more && events.is_empty() {
            return forged("the page has a wrong number of events");
        }
        if more {
            self.events += events.len() as u64;
            self.open = Some(header.clone());
        } else {
            self.next += 1;
            self.events = 0;
            self.parent = Some(header.header.digest());
        }
        Ok(BlockPage { header, begins, transactions, events, more })
    }

    fn check(&self, block: &Block) -> Result<(), LedgerError> {
        self.remote.signed(&block.header)?;
        let header = &block.header.header;
        if header.height != self.next {
            return Err(LedgerError::Forged { what: "the block has another height" });
        }
        if self.parent.is_some_and(|parent| parent != header.parent) {
            return Err(LedgerError::Forked { height: self.next.saturating_sub(1) });
        }
        if transactions_root(&block.transactions) != header.transactions_root {
            return Err(LedgerError::Forged { what: "the header does not cover the transactions" });
        }
        self.remote.believe(&block.header, None)
    }
}

/// How often a transaction is sent whose outcome cannot be proven.
const SUBMITTED_TIMES: usize = 2;
/// How long an answer may take, including the commit of a block.
const ANSWER: Duration = Duration::from_millis(ANSWER_MS);
const ANSWER_MS: u64 = 20_000;
/// Attempts before an answer that is too old is returned as an error: about a second and a half of
/// pauses.
const STALE_ATTEMPTS: u32 = 5;
/// Attempts before a question fails: about six seconds of pauses.
const ATTEMPTS: u32 = 7;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Keys of one request. With rows of 4 KiB and their paths the answer takes an eighth of a message.
const KEYS_AT_ONCE: usize = 64;
/// Blocks that are fetched ahead of the reader.
const BLOCKS_AHEAD: usize = 2;
