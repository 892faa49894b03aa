//! The server: answers `wire::ledger` requests.
//!
//! Any peer may read and submit, but the work and memory that it can cause are bounded. Requests
//! beyond the limits wait. A malformed request is refused and its stream is given up.

mod limits;

use std::{sync::Arc, time::Duration};

use symbolon_net::{
    Alpn, Connection, Endpoint, Gate, NetError, Pass, Receiver, Sender,
    crowd::{Bounds, Group},
};
use symbolon_protocol::{
    id::AccountId,
    ledger::transaction::Transaction,
    wire::ledger::{HistoryPlace, Request, Response},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    error::LedgerError,
    executor::Replica,
    port::{History, Outcome, ROWS_MAX, Snapshot},
};
use limits::{Limits, OfConnection};

/// An engine, as the server sees it. All reads use its replica.
pub trait Engine: Clone + Send + Sync + 'static {
    /// Submits a transaction. Returns once it is on disk or refused.
    fn submit(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Result<Outcome, LedgerError>> + Send;

    /// The committed blocks and rows. A replica does not keep the engine running.
    fn replica(&self) -> &Replica;

    /// Whether its blocks are known to be older than the ledger's. Then it answers nothing that depends on the last one, and
    /// its callers ask another server.
    fn is_behind(&self) -> bool {
        false
    }

    /// Takes a connection of another validator.
    fn meet(&self, connection: Connection);

    /// Lines of an account's history: see [`Ledger::history`](crate::Ledger::history).
    fn history(
        &self,
        account: AccountId,
        before: HistoryPlace,
        limit: usize,
    ) -> impl Future<Output = Result<History, LedgerError>> + Send {
        self.replica().history(account, before, limit)
    }
}

/// Answers all callers of an endpoint until it is closed. The number of connections is limited in
/// total, for each peer and for each network address. When there is no room, a connection without
/// recent activity gives way. The number of requests at the same time is limited for each
/// connection, peer and address.
pub async fn answer(ledger: impl Engine, endpoint: Endpoint) {
    let (gate, limits) = (Gate::new(CONNECTIONS), Limits::default());
    let mut connections = JoinSet::new();
    loop {
        let connection = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            connection = endpoint.accept() => connection,
        };
        let Some(connection) = connection else {
            return;
        };
        match connection.alpn() {
            Alpn::Ledger => {}
            Alpn::Consensus => {
                ledger.meet(connection);
                continue;
            }
            _ => {
                connection.close("this is a ledger");
                continue;
            }
        }
        let peer = [Group::Peer(connection.peer())].into_iter();
        let groups: Vec<_> = peer.chain(connection.remote().map(Group::of_address)).collect();
        let Ok(pass) = gate.enter(&groups) else {
            connection.close("busy");
            continue;
        };
        let (ledger, pass, limits) = (ledger.clone(), Arc::new(pass), limits.of(&groups));
        connections.spawn(async move {
            tokio::select! {
                biased;
                () = pass.gives_way() => connection.close("this connection is idle, and others wait"),
                () = serve(ledger, connection.clone(), Arc::clone(&pass), limits) => {}
            }
        });
    }
}

/// Answers a peer until its connection ends or has been idle for too long.
async fn serve(ledger: impl Engine, connection: Connection, pass: Arc<Pass>, limits: OfConnection) {
    let follows = Arc::new(Semaphore::new(FOLLOWS_MAX));
    let mut answers = JoinSet::new();
    loop {
        // Streams that are not accepted wait in the transport, which has a limit of its own.
        let streams = tokio::select! {
            biased;
            Some(_) = answers.join_next() => continue,
            streams = connection.accept(), if answers.len() < REQUESTS_MAX => streams,
            _ = connection.closed() => return,
            () = sleep(IDLE), if answers.is_empty() => {
                connection.close("this connection was idle for too long");
                return;
            }
        };
        let Ok((sender, receiver)) = streams else {
            return;
        };
        let (follows, pass, limits) = (follows.clone(), pass.clone(), limits.clone());
        let pending = Pending { ledger: ledger.clone(), follows, sender, pass, limits };
        let peer = connection.peer();
        answers.spawn(async move {
            if let Err(error) = pending.answer(receiver).await {
                tracing::debug!(%peer, %error, "a request was not answered");
            }
        });
    }
}

/// A request that waits for its answer, and the stream for the answer.
struct Pending<E> {
    ledger: E,
    follows: Arc<Semaphore>,
    sender: Sender,
    /// The connection's place in the gate.
    pass: Arc<Pass>,
    limits: OfConnection,
}

impl<E: Engine> Pending<E> {
    async fn answer(mut self, mut receiver: Receiver) -> Result<(), NetError> {
        let permits = self.limits.enter().await;
        let request = match timeout(REQUEST, receiver.receive::<Request>()).await {
            Ok(Ok(request)) => request,
            Ok(Err(error)) if error.peers_fault() => {
                receiver.stop(MALFORMED);
                let message = error.to_string();
                return self.sender.send(&Response::Refused { message }).await;
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                receiver.stop(TOO_SLOW);
                self.sender.reset(TOO_SLOW);
                return Ok(());
            }
        };
        if self.ledger.is_behind() && needs_last_block(&request) {
            self.sender.reset(BEHIND);
            return Ok(());
        }
        let response = match request {
            Request::Follow { height } => {
                // It lasts, and has a limit of its own.
                drop(permits);
                return self.follow(height).await;
            }
            request => respond(&self.ledger, request).await,
        };
        if matches!(response, Err(LedgerError::Closed)) {
            // The client asks again, and reaches the next engine of this ledger.
            self.sender.reset(CLOSING);
            return Ok(());
        }
        let response = response.unwrap_or_else(|error| refused(&error));
        send(&mut self.sender, &response).await?;
        self.pass.achieved(1);
        self.sender.finish();
        Ok(())
    }

    async fn follow(mut self, height: u64) -> Result<(), NetError> {
        let Ok(_permit) = self.follows.clone().try_acquire_owned() else {
            let message = format!("a connection may have at most {FOLLOWS_MAX} follows");
            return self.sender.send(&Response::Refused { message }).await;
        };
        let mut blocks = self.ledger.replica().follow(height);
        // From here on the task holds only the replica, so a follower does not keep the engine
        // running.
        drop(self.ledger);
        loop {
            let block = match blocks.next().await {
                Ok(block) => block,
                Err(LedgerError::Closed) => {
                    self.sender.reset(CLOSING);
                    return Ok(());
                }
                Err(LedgerError::Pruned { oldest, .. }) => {
                    return send(&mut self.sender, &Response::Pruned { oldest }).await;
                }
                Err(error) => return send(&mut self.sender, &refused(&error)).await,
            };
            send(&mut self.sender, &Response::Block { block }).await?;
            self.pass.achieved(1);
        }
    }
}

/// Sends an answer. A client that does not read it in time loses the rest, because answers take
/// memory.
async fn send(sender: &mut Sender, response: &Response) -> Result<(), NetError> {
    match timeout(ANSWER, sender.send(response)).await {
        Ok(sent) => sent,
        Err(_) => {
            sender.reset(TOO_SLOW);
            let after_ms = u64::try_from(ANSWER.as_millis()).unwrap_or(u64::MAX);
            Err(NetError::TimedOut { after_ms })
        }
    }
}

/// Whether the answer to a request is wrong by an older block than the ledger's last one.
fn needs_last_block(request: &Request) -> bool {
    match request {
        Request::Submit { .. }
        | Request::Head
        | Request::Rows { .. }
        | Request::Scan { .. }
        | Request::History { .. } => true,
        Request::Genesis
        | Request::Checkpoint { .. }
        | Request::Sets { .. }
        | Request::Follow { .. } => false,
    }
}

async fn respond(ledger: &impl Engine, request: Request) -> Result<Response, LedgerError> {
    let replica = ledger.replica();
    match request {
        Request::Submit { transaction } => {
            let outcome = ledger.submit(*transaction).await?;
            Ok(Response::Outcome { height: outcome.height, status: outcome.status })
        }
        Request::Genesis => {
            let genesis = Box::new(replica.genesis().await?);
            Ok(Response::Genesis { genesis })
        }
        Request::Head => Ok(Response::Head { header: replica.head().await? }),
        Request::Rows { keys } => {
            if keys.is_empty() || ROWS_MAX < keys.len() {
                let message = format!("a request may have 1 to {ROWS_MAX} keys");
                return Ok(Response::Refused { message });
            }
            Ok(rows(replica.proven_rows(keys, ROWS_BYTES_MAX).await?))
        }
        Request::Scan { prefix, after, limit } => {
            if prefix.is_empty() || prefix[0] == 0 {
                let message = "a scan needs the prefix of one table".into();
                return Ok(Response::Refused { message });
            }
            let limit = usize::try_from(limit).unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
            Ok(rows(replica.proven_scan(prefix, after, limit, ROWS_BYTES_MAX).await?))
        }
        Request::Checkpoint { height, after, until } => {
            let page = replica.checkpoint(height, (after, until), ROWS_BYTES_MAX).await?;
            Ok(page.map_or(Response::Gone, rows))
        }
        Request::History { account, before, limit } => {
            let limit = usize::try_from(limit).unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
            let History { lines, oldest } = ledger.history(account, before, limit).await?;
            Ok(Response::History { lines, oldest })
        }
        Request::Sets { after } => {
            let (changes, more) = replica.set_changes(after, CHANGES_MAX).await?;
            Ok(Response::Sets { changes, more })
        }
        Request::Follow { .. } => unreachable!("follows are answered on their own"),
    }
}

fn rows(Snapshot { header, rows, proof, more }: Snapshot) -> Response {
    Response::Rows { header, rows, proof, more }
}

fn refused(error: &LedgerError) -> Response {
    let message = match error {
        // The details of a disk error are not for clients.
        LedgerError::Disk(_) | LedgerError::Damaged(_) => "the ledger failed".into(),
        error => error.to_string(),
    };
    Response::Refused { message }
}

/// Limits of open connections. Each may have 64 requests and their answers in memory. A connection
/// with at least one answer or block in five seconds keeps its place.
const CONNECTIONS: Bounds = Bounds {
    places: 1_024,
    of_peer: 16,
    of_owner: 1_024,
    of_address: 256,
    window_ms: 5_000,
    keeps_from: 1,
};
/// How long a connection without requests stays open.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// Requests of one connection that are answered at once.
const REQUESTS_MAX: usize = 64;
/// Follows of one connection at once.
const FOLLOWS_MAX: usize = 8;
/// How long a client may take to read an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a request may take to arrive.
const REQUEST: Duration = Duration::from_secs(10);
/// Changes of the validators in one answer: 16 of the largest sets take 300 kB.
const CHANGES_MAX: usize = 16;
/// Bytes of rows in one answer. Their proof has at most an eighth of that, so the answer stays well
/// below the limit.
const ROWS_BYTES_MAX: usize = 1024 * 1024;
/// Codes that say why a stream was given up.
const MALFORMED: u32 = 1;
const TOO_SLOW: u32 = 2;
const CLOSING: u32 = 3;
const BEHIND: u32 = 4;
