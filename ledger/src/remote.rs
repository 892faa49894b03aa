//! The remote engine: the ledger port over the network, believing nothing it has not checked.
//!
//! What is checked: a header is the authority's, of this ledger, and not older than what this program
//! knew when it asked; a row, or its absence, stands under that header's state root; an applied
//! transaction, and one whose id was used, stands in the table of seen ones, unless the authority's own
//! key answers; a followed block follows the one before and its header covers its transactions. What is
//! not, and cannot be with today's headers: events, history lines, and that a scan left nothing out.
//!
//! An answer from before what is known is asked for again: a server may be a moment behind itself. A lost connection is made again, with growing pauses, and the question repeated. That is safe for
//! submissions too: the same transaction is applied once, however often it is sent.

mod lately;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    port::{BlockPage, Outcome, RECENT},
    ticket::LedgerTicket,
};
use lately::Lately;

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
    lately: Mutex<Lately>,
}

/// The highest header seen.
#[derive(Clone, Copy, Debug)]
struct Known {
    height: u64,
    digest: Hash,
    time_ms: u64,
    /// When an answer last said that it had come so far.
    at: Instant,
}

impl Remote {
    /// The ledger of a ticket, reached from this endpoint. Nothing is sent before the first question.
    #[must_use]
    pub fn new(endpoint: Endpoint, ticket: LedgerTicket) -> Self {
        let connection = tokio::sync::Mutex::default();
        let (known, lately) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { endpoint, ticket, connection, known, lately }) }
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
        let stays = left_alone(&transaction.action);
        let request = Request::Submit { transaction: Box::new(transaction) };
        let authority_itself = AccountId::from(self.inner.ticket.address.id) == self.authority();
        for _ in 0..SUBMITTED_TIMES {
            let outcome = self.ask(&request, |response, _| match response {
                Response::Outcome { height, status } => Ok(Outcome { height, status }),
                other => Err(unexpected(other)),
            });
            // What was asked before it is from before it, whichever answer comes first.
            self.lately().forget(stays);
            let outcome = outcome.await;
            self.lately().forget(stays);
            let outcome = outcome?;
            // What both of these say is done: that is not taken on a server's word.
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
                // An id may be forgotten between answer and question: then it is free again.
                (_, None) => false,
            };
            if holds {
                return Ok(outcome);
            }
        }
        Err(LedgerError::Forged { what: "an outcome that is not on the ledger" })
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
        let since = self.lately().since();
        while values.len() < keys.len() {
            values.extend(self.first_values(&keys[values.len()..]).await?);
        }
        let told = keys.into_iter().zip(values.iter().cloned());
        self.lately().take(since, told);
        Ok(values)
    }

    /// The same, without asking for those that are known as they were a moment ago.
    pub(crate) async fn values_lately(
        &self,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        let mut values: Vec<_> = {
            let lately = self.lately();
            keys.iter().map(|key| lately.value(key)).collect()
        };
        let asked = keys.into_iter().zip(&values);
        let asked: Vec<_> =
            asked.filter(|(_, value)| value.is_none()).map(|(key, _)| key).collect();
        let mut told = self.values(asked).await?.into_iter();
        for value in values.iter_mut().filter(|value| value.is_none()) {
            *value = told.next();
        }
        Ok(values.into_iter().map(Option::flatten).collect())
    }

    /// Values of so few keys that one answer has them all: what they say was so at one moment.
    pub(crate) async fn values_of_one_block(
        &self,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        let values = self.first_values(&keys).await?;
        match values.len() == keys.len() {
            true => Ok(values),
            false => Err(LedgerError::Forged { what: "only some of a few small rows" }),
        }
    }

    /// Values of the first few keys; an answer may be shorter than the question when the rows are
    /// large, but never empty.
    async fn first_values(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        let asked = &keys[..keys.len().min(KEYS_AT_ONCE)];
        let request = Request::Rows { keys: asked.to_vec() };
        let (header, rows, _) = self.ask_rows(&request).await?;
        if rows.is_empty() || asked.len() < rows.len() {
            return Err(LedgerError::Forged { what: "not the rows that were asked for" });
        }
        let mut values = Vec::with_capacity(rows.len());
        for (key, row) in asked.iter().zip(rows) {
            if *key != row.key {
                return Err(LedgerError::Forged { what: "not the rows that were asked for" });
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
        let since = self.lately().since();
        while found.len() < limit {
            let left = limit - found.len();
            let request = Request::Scan {
                prefix: prefix.clone(),
                after: after.clone(),
                limit: u32::try_from(left).unwrap_or(u32::MAX),
            };
            let (header, rows, more) = self.ask_rows(&request).await?;
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
        let told = found.iter().map(|row| (row.key.clone(), row.value.clone()));
        self.lately().take(since, told);
        Ok(found)
    }

    pub(crate) async fn history(
        &self,
        account: AccountId,
        before: HistoryPlace,
        limit: usize,
    ) -> Result<Vec<HistoryLine>, LedgerError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let request = Request::History { account, before, limit };
        let lines = self.ask(&request, |response, _| {
            let Response::History { lines } = response else { return Err(unexpected(response)) };
            // Who asks for the next ones goes on before the last of these.
            let earlier = lines.iter().map(HistoryLine::place);
            let places: Vec<_> = [before].into_iter().chain(earlier).collect();
            match places.is_sorted_by(|later, place| place < later) {
                true => Ok(lines),
                false => Err(LedgerError::Forged { what: "not the history that was asked for" }),
            }
        });
        lines.await
    }

    pub(crate) async fn sale(&self, order: OrderId) -> Result<Link, LedgerError> {
        let request = Request::Sale { order };
        let link = self.ask(&request, |response, _| match response {
            Response::Sale { link, .. } => Ok(link),
            other => Err(unexpected(other)),
        });
        link.await
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

    /// Asks until there is an answer, which `read` reads, given what was known of the head when it was asked.
    /// One from before that is asked for again: who answers may be a block behind for a moment.
    async fn ask<T>(
        &self,
        request: &Request,
        read: impl Fn(Response, Option<Known>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut pause = PAUSE_MIN;
        let mut attempts = 0;
        tracing::trace!(question = asked(request), "asking the ledger");
        loop {
            let floor = self.known();
            attempts += 1;
            let error = match timeout(ANSWER, self.ask_once(request)).await {
                Ok(Ok(response)) => match read(response, floor) {
                    Err(LedgerError::Stale { height, known }) if attempts < STALE_ATTEMPTS => {
                        tracing::debug!(height, known, "asking the ledger again for what is newer");
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

    /// A height that the ledger had reached a moment ago, if it said anything since, and its time then.
    pub(crate) fn recent_block(&self) -> Option<(u64, u64)> {
        let known = self.known().filter(|known| known.at.elapsed() < RECENT)?;
        Some((known.height, known.time_ms))
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        // Rows are whole whatever happened to whoever held them.
        self.inner.lately.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The tables of which an action changes no row: what is known of those is as good after it as before.
fn left_alone(action: &Action) -> &'static [u8] {
    match action {
        Action::Order { .. } | Action::Acknowledge { .. } | Action::SetRoot { .. } => {
            &[Deals::TAG, Nodes::TAG, Vaults::TAG]
        }
        _ => &[],
    }
}

/// What is asked, in short, for the log.
fn asked(request: &Request) -> String {
    match request {
        Request::Submit { transaction } => {
            let action = format!("{:?}", transaction.action);
            let name = action.split([' ', '(', '{']).next().unwrap_or_default();
            format!("submit {name}")
        }
        Request::Head => "head".to_owned(),
        Request::Rows { keys } => {
            let tables: Vec<u8> = keys.iter().filter_map(|key| key.first().copied()).collect();
            format!("rows of tables {tables:?}")
        }
        Request::Scan { prefix, .. } => format!("scan of table {:?}", prefix.first()),
        Request::Follow { height, .. } => format!("follow from {height}"),
        Request::History { .. } => "history".to_owned(),
        Request::Sale { .. } => "sale".to_owned(),
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
    /// How many events of the next block came already, and its header, when some of it did.
    events: u64,
    open: Option<SignedHeader>,
    parent: Option<Hash>,
}

impl Follower {
    /// Follows until nobody wants more or the server is found to lie.
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

    /// One connection's worth of blocks; `Ok` when nobody wants more.
    async fn stream(
        &mut self,
        blocks: &mpsc::Sender<Result<BlockPage, LedgerError>>,
    ) -> Result<(), LedgerError> {
        let lost = |last| match last {
            NetError::Malformed(_) | NetError::TooLarge { .. } => {
                LedgerError::Forged { what: "a malformed message" }
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

    /// Checks an answer, the first one on its stream or a later one, and goes on by it.
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
                    // Its transactions came before the connection was lost.
                    Some(_) => (header, false, Vec::new(), events, more),
                    None => (header, true, transactions, events, more),
                }
            }
            (Response::Events { events, more }, Some(header)) if !first => {
                (header, false, Vec::new(), events, more)
            }
            (Response::Block { .. } | Response::Events { .. }, _) => {
                return forged("a page of another block");
            }
            (other, _) => return Err(unexpected(other)),
        };
        if EVENTS_PAGE < events.len() || more && events.is_empty() {
            return forged("a page of no size that pages have");
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

/// How often a transaction is sent whose outcome does not hold.
const SUBMITTED_TIMES: usize = 2;
/// How long one answer may take, a block commit included.
const ANSWER: Duration = Duration::from_millis(ANSWER_MS);
const ANSWER_MS: u64 = 20_000;
/// Attempts before an answer from the past is believed to be all there is: about a second and a half of pauses.
const STALE_ATTEMPTS: u32 = 5;
/// Attempts before a question fails: about six seconds of pauses.
const ATTEMPTS: u32 = 7;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Keys per question: with 4 KiB rows and their paths, an eighth of a message.
const KEYS_AT_ONCE: usize = 64;
/// Blocks fetched before they are asked for.
const BLOCKS_AHEAD: usize = 2;
