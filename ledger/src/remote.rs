//! The remote engine: the ledger port over the network. It checks the answers of the server.
//!
//! It checks the following:
//!
//! - The ledger's validators have signed the header, the header follows from the one that is trusted, and it is not older
//!   than what this program knew when it asked. See [`light`].
//! - A row, or its absence, is proven against that header's state root. A scan is proven as a whole:
//!   it has all rows from its beginning to the last row of the answer, or to its end. A scan that
//!   takes several answers is complete in each of them, but these may be of different blocks.
//! - A checkpoint is proven like a scan over all tables, and all its answers have one header.
//! - The table of seen transactions holds an applied transaction, and one whose id was used before.
//!   This is skipped if the server is the only validator itself.
//! - A followed block follows the one before, and its header covers its transactions and its events.
//!
//! It cannot check history lines.
//!
//! If an answer is older than what is known, the question is repeated, because a server may be a
//! moment behind. After a lost connection it connects again, with growing pauses, and repeats the
//! question. That is safe for submissions too: the ledger applies the same transaction once,
//! however often it is sent. A ticket may name several servers: when one does not answer, answers falsely, or has no newer
//! block when one is due, the next one is asked.

mod checkpoint;
mod follow;
mod light;
mod recent;
mod servers;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use symbolon_net::{Connection, Endpoint, NetError, PeerAddress};
use symbolon_protocol::{
    codec::Decode,
    id::{AccountId, ChainId},
    ledger::{
        Status,
        block::SignedHeader,
        rows::{Deals, Nodes, Seen, SeenTable, Table, Vaults},
        state::RowBytes,
        transaction::{Action, Transaction},
        tree::{self, Range},
    },
    wire::ledger::{HistoryLine, HistoryPlace, Request, Response, Row},
};
use tokio::time::{sleep, timeout};

use crate::{
    error::LedgerError,
    port::{History, Outcome},
    ticket::LedgerTicket,
};
pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::Part;
pub(crate) use follow::RemoteBlocks;
pub use light::Keeping;
use light::Known;
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
    keeping: Option<Keeping>,
    connection: tokio::sync::Mutex<Option<Connection>>,
    /// Which server is asked: its place in the ticket, counted on at each change.
    turn: AtomicUsize,
    /// Held while the first trust is read or fetched.
    beginning: tokio::sync::Mutex<()>,
    known: Mutex<Option<Known>>,
    /// Two headers that prove a fork, until they are kept.
    fork: Mutex<Option<(SignedHeader, SignedHeader)>>,
    recent: Mutex<RecentRows>,
}

impl Remote {
    /// The ledger of a ticket, reached from this endpoint. Nothing is sent before the first
    /// question. What it trusts is forgotten with it.
    #[must_use]
    pub fn new(endpoint: Endpoint, ticket: LedgerTicket) -> Self {
        Self::with(endpoint, ticket, None)
    }

    /// The same, but what it trusts is kept in a folder, and judged by a clock.
    #[must_use]
    pub fn keeping(endpoint: Endpoint, ticket: LedgerTicket, keeping: Keeping) -> Self {
        Self::with(endpoint, ticket, Some(keeping))
    }

    fn with(endpoint: Endpoint, ticket: LedgerTicket, keeping: Option<Keeping>) -> Self {
        Self {
            inner: Arc::new(Inner {
                endpoint,
                ticket,
                keeping,
                connection: tokio::sync::Mutex::default(),
                turn: AtomicUsize::default(),
                beginning: tokio::sync::Mutex::default(),
                known: Mutex::default(),
                fork: Mutex::default(),
                recent: Mutex::default(),
            }),
        }
    }

    /// The same ledger, of which only this server is asked. Nothing is believed of it without a header from elsewhere.
    pub(crate) fn at(&self, server: PeerAddress) -> Self {
        let ticket = LedgerTicket { chain: self.chain(), peers: vec![server] };
        Self::new(self.inner.endpoint.clone(), ticket)
    }

    /// The servers of its ticket.
    pub(crate) fn peers(&self) -> &[PeerAddress] {
        &self.inner.ticket.peers
    }

    /// The ledger's id.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.inner.ticket.chain
    }

    pub(crate) async fn submit(&self, transaction: Transaction) -> Result<Outcome, LedgerError> {
        let (sender, id, digest) = (transaction.sender, transaction.id, transaction.digest());
        let unchanged = unchanged_tables(&transaction.action);
        let request = Request::Submit { transaction: Box::new(transaction) };
        for _ in 0..SUBMITTED_TIMES {
            let outcome = self.ask(&request, |response, floor| match response {
                Response::Outcome { height, status } => {
                    // What an older state refuses, the one that this program has seen may allow.
                    let may_differ = status != Status::Applied && !status.is_final();
                    match floor.filter(|known| may_differ && height < *known) {
                        Some(known) => Err(LedgerError::Stale { height, known }),
                        None => Ok(Outcome { height, status }),
                    }
                }
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
            if !done || self.server_is_validator() {
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
        let Answer { header, rows, proof, .. } = self.ask_rows(&request).await?;
        let are_asked = rows.iter().zip(asked).all(|(row, key)| row.key == *key);
        if rows.is_empty() || asked.len() < rows.len() || !are_asked {
            return Err(LedgerError::Forged { what: "the rows are not those of the request" });
        }
        let pairs = rows.iter().map(|row| (row.key.as_slice(), row.value.as_deref()));
        tree::verify_rows(&header.header.state_root, pairs, &proof)
            .map_err(|_| LedgerError::Forged { what: "a row is not under the state root" })?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }

    pub(crate) async fn scan(
        &self,
        prefix: Vec<u8>,
        mut after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<RowBytes>, LedgerError> {
        let mut found: Vec<RowBytes> = Vec::new();
        let since = self.recent().since();
        while found.len() < limit {
            let left = limit - found.len();
            let request = Request::Scan {
                prefix: prefix.clone(),
                after: after.clone(),
                limit: u32::try_from(left).unwrap_or(u32::MAX),
            };
            let answer = self.ask_rows(&request).await?;
            let more = answer.more;
            let range = Range { prefix: &prefix, after: after.as_deref(), until: None };
            let rows = answer.all_of(&range)?;
            if left < rows.len() || (more && rows.is_empty()) {
                return Err(LedgerError::Forged { what: "the rows do not match the scan" });
            }
            after = rows.last().map(|(key, _)| key.clone()).or(after);
            found.extend(rows);
            if !more {
                break;
            }
        }
        let rows = found.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
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

    /// Rows under a header that is believed. Their proof is not checked yet.
    async fn ask_rows(&self, request: &Request) -> Result<Answer, LedgerError> {
        let rows = self.ask(request, |response, floor| match response {
            Response::Rows { header, rows, proof, more } => {
                self.believe(&header, floor)?;
                Ok(Answer { header, rows, proof, more })
            }
            other => Err(unexpected(other)),
        });
        rows.await
    }

    /// Blocks from `height` on.
    pub(crate) fn follow(&self, height: u64) -> RemoteBlocks {
        RemoteBlocks::new(self.clone(), height)
    }

    /// Whether the server is the only validator, whose word orders the ledger anyway.
    fn server_is_validator(&self) -> bool {
        let known = self.known();
        let peer = self.server().map(|server| server.id);
        known.zip(peer).is_some_and(|(known, peer)| known.is_only_validator(&peer))
    }

    /// Asks until there is an answer that can be believed. `read` reads it, given the height that was known when the
    /// question was sent. If one server answers falsely, or has no newer block when one is due, the others are asked.
    async fn ask<T>(
        &self,
        request: &Request,
        read: impl Fn(Response, Option<u64>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        for others in (0..self.servers()).rev() {
            let mut answer = self.ask_server(request, true, &read).await;
            if matches!(answer, Err(LedgerError::NewValidators { .. })) {
                answer = match self.learn_sets().await {
                    Ok(()) => self.ask_server(request, true, &read).await,
                    Err(error) => Err(error),
                };
            }
            match answer {
                Ok(answer) => {
                    self.save().await;
                    let is_held_back = || self.overdue().is_some();
                    let is_read = !matches!(request, Request::Submit { .. });
                    if others == 0 || !is_read || !is_held_back() {
                        return Ok(answer);
                    }
                }
                Err(error) => {
                    let error = self.keep_evidence(error).await;
                    let is_fork = matches!(error, LedgerError::Forked { .. });
                    if others == 0 || is_fork || !error.servers_fault() {
                        return Err(error);
                    }
                    tracing::warn!(%error, "asking another server of the ledger");
                }
            }
            self.next_server().await;
        }
        unreachable!("the last server's answer is returned")
    }

    /// Asks before anything is trusted.
    async fn ask_untrusting<T>(
        &self,
        request: &Request,
        read: impl Fn(Response) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.ask_server(request, false, &|response, _| read(response)).await
    }

    /// Asks until a server answers. An answer that is older than what was known is requested again, because the server may
    /// be a block behind for a moment.
    async fn ask_server<T>(
        &self,
        request: &Request,
        trusts: bool,
        read: &impl Fn(Response, Option<u64>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut pause = PAUSE_MIN;
        let mut attempts = 0;
        tracing::trace!(question = describe(request), "asking the ledger");
        loop {
            let mut floor = self.known().map(|known| known.height());
            attempts += 1;
            let asked = timeout(ANSWER, self.ask_once(request));
            let answer = if trusts && floor.is_none() {
                // What is trusted is found while the question is under way.
                let (begun, answer) = tokio::join!(self.begin(), asked);
                begun?;
                floor = self.known().map(|known| known.height());
                answer
            } else {
                asked.await
            };
            let error = match answer {
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
                    self.next_server().await;
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn recent(&self) -> MutexGuard<'_, RecentRows> {
        // A thread that panicked with the lock left whole rows.
        self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner)
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
        Request::Follow { height } => format!("follow from {height}"),
        Request::History { .. } => "history".to_owned(),
        Request::Genesis => "genesis".to_owned(),
        Request::Checkpoint { .. } => "checkpoint".to_owned(),
        Request::Sets { after } => format!("validators after {after}"),
    }
}

/// An answer with rows.
struct Answer {
    header: SignedHeader,
    rows: Vec<Row>,
    proof: Vec<u8>,
    more: bool,
}

impl Answer {
    /// The rows, if they are all rows of a range, up to the last of them if there are more.
    fn all_of(self, range: &Range<'_>) -> Result<Vec<RowBytes>, LedgerError> {
        let forged = LedgerError::Forged { what: "the rows do not match the scan" };
        let rows = self.rows.into_iter().map(|row| Some((row.key, row.value?)));
        let rows: Vec<RowBytes> = rows.collect::<Option<_>>().ok_or(forged)?;
        let pairs: Vec<_> =
            rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
        let last = pairs.last().filter(|_| self.more).map(|(key, _)| *key);
        let range = Range { until: last.or(range.until), ..*range };
        tree::verify_range(&self.header.header.state_root, &range, &pairs, &self.proof)
            .map_err(|_| LedgerError::Forged { what: "the rows are not all rows of the scan" })?;
        Ok(rows)
    }
}

fn unexpected(response: Response) -> LedgerError {
    match response {
        Response::Refused { message } => LedgerError::Refused { message },
        _ => LedgerError::Forged { what: "the answer is to another question" },
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
/// Keys of one request. With rows of 4 KiB and their proof the answer takes an eighth of a message.
const KEYS_AT_ONCE: usize = 64;
/// Blocks that are fetched ahead of the reader.
const BLOCKS_AHEAD: usize = 2;
