//! Answers peers: one task for each connection and each stream, one request for each stream.
//!
//! A peer can cause nothing worse than a refusal and the end of its own stream. A stream whose
//! request was answered in full is finished. A stream whose request was refused is asked to send no
//! more. A stream that broke off in the middle of an answer is reset, so that the peer does not
//! take half an answer for a whole one.

mod claims;
mod custody;
mod delete;
mod facts;
mod grants;
mod info;
mod read;
mod reads;
mod store;

use std::{fmt::Display, future::Future, sync::Arc, time::Duration};

use symbolon_net::{Alpn, Connection, NetError, Pass, Receiver, Sender};
use symbolon_protocol::{
    Decode,
    id::{DealId, PeerId},
    ledger::transaction::DealTerms,
    wire::storage::{Refusal, RefusalCode, Request, Response},
};
use symbolon_store::{Damage, Shard, StoreError};
use tokio::{task::JoinSet, time::timeout};
use tracing::{debug, error, warn};

pub(crate) use self::{claims::KnownClaims, facts::KnownFacts, grants::GrantCache};
use crate::{options::credit, scrub, shared::Shared};

/// Why a request ends without a complete answer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The request is refused. No part of an answer was sent yet.
    Refused(Refusal),
    /// The peer is gone or silent, or the rest of a started answer cannot be sent.
    Broken(String),
}

impl Stop {
    /// A refusal with the usual fault of its code.
    pub(crate) fn refused(code: RefusalCode, message: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(code, message))
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NetError> for Stop {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Malformed(_) | NetError::TooLarge { .. } => {
                Self::refused(RefusalCode::Malformed, error.to_string())
            }
            other => Self::Broken(other.to_string()),
        }
    }
}

/// One stream under way.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The key that the peer has proven.
    pub(crate) peer: PeerId,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    idle: Duration,
    /// The stream's place among the streams, and its connection's place among the connections.
    passes: [Arc<Pass>; 2],
}

impl Stream {
    /// Sends an answer. A peer that does not read it in time counts as gone.
    pub(crate) async fn answer(&mut self, response: &Response) -> Result<(), Stop> {
        within(self.idle, self.sender.send(response)).await?;
        self.progress(1);
        Ok(())
    }

    /// Records that bytes were sent or received.
    pub(crate) fn progress(&self, bytes: usize) {
        self.passes.iter().for_each(|pass| pass.achieved(bytes as u64));
    }

    /// Records that the node itself held the stream up, to keep its bound on bandwidth.
    pub(crate) fn was_held(&self, held_ms: u64) {
        self.passes.iter().for_each(|pass| pass.achieved(credit(held_ms)));
    }

    /// How long the peer may stay silent.
    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }
}

/// A deal and a shard index, by which a shard is found.
pub(crate) type ShardPlace = (DealId, u8);

/// A failure of this node. The log gets all details, the peer only a short message.
pub(crate) fn internal(what: &'static str, error: impl Display) -> Stop {
    error!(%error, what);
    Stop::refused(RefusalCode::Internal, what)
}

/// The refusal that a peer gets after a failure of the store.
pub(crate) fn refuse_store(error: StoreError) -> Stop {
    match error {
        StoreError::NotFound { .. } => {
            Stop::refused(RefusalCode::NotFound, "this node has no such shard")
        }
        StoreError::Damaged { .. } => {
            Stop::refused(RefusalCode::Damaged, "the shard is damaged on this node's disk")
        }
        StoreError::Full(_) => Stop::refused(RefusalCode::Full, "the node's disk is full"),
        StoreError::Root { .. } => {
            Stop::refused(RefusalCode::NotAllowed, "these bytes are not the shard that was lost")
        }
        other => internal("the node's store failed", other),
    }
}

/// The same after a read of a shard. A shard that turns out to be damaged goes on the list of those.
pub(crate) async fn found_damaged(
    shared: &Shared,
    (deal, index): ShardPlace,
    error: StoreError,
) -> Stop {
    if let StoreError::Damaged { why, .. } = &error
        && !matches!(why, Damage::Known)
        && let Ok(Some(shard)) = shared.with_store(move |store| store.info(&deal, index)).await
    {
        scrub::damaged(shared, &shard, why.to_string()).await;
    }
    refuse_store(error)
}

/// The terms under which a stored shard was accepted.
pub(crate) fn terms_of(shard: &Shard) -> Result<DealTerms, Stop> {
    DealTerms::from_bytes(&shard.info.terms)
        .map_err(|error| internal("the terms of a stored shard cannot be read", error))
}

/// Accepts connections until the node stops or its endpoint closes.
pub(crate) async fn accept_connections(shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shared.stopped() => break,
            Some(ended) = connections.join_next() => report(ended.err()),
            accepted = shared.endpoint.accept() => match accepted {
                None => {
                    shared.endpoint_ended.notify_one();
                    break;
                }
                Some(connection) => admit(&shared, connection, &mut connections),
            },
        }
    }
    connections.shutdown().await;
}

fn admit(shared: &Arc<Shared>, connection: Connection, connections: &mut JoinSet<()>) {
    if connection.alpn() != Alpn::Storage {
        connection.close("this is a storage node");
        return;
    }
    let Some(pass) = shared.admission.connection(connection.peer(), connection.remote()) else {
        connection.close("this node has too many connections");
        return;
    };
    let shared = Arc::clone(shared);
    connections.spawn(async move { serve_connection(&shared, &connection, Arc::new(pass)).await });
}

async fn serve_connection(shared: &Arc<Shared>, connection: &Connection, place: Arc<Pass>) {
    let peer = connection.peer();
    let limits = &shared.options.limits;
    let idle = Duration::from_millis(limits.idle_ms);
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = streams.join_next() => report(ended.err()),
            () = place.gives_way() => {
                connection.close("this connection is idle, and others wait");
                break;
            }
            accepted = connection.accept() => {
                let (sender, receiver) = match accepted {
                    Ok(halves) => halves,
                    Err(error) => {
                        debug!(%peer, %error, "connection ended");
                        break;
                    }
                };
                let Some(pass) = shared.admission.stream(peer) else {
                    let passes = [Arc::clone(&place), Arc::clone(&place)];
                    let mut stream = Stream { peer, sender, receiver, idle, passes };
                    refuse(&mut stream, &Refusal::new(RefusalCode::Busy, "there are too many streams")).await;
                    continue;
                };
                let passes = [Arc::new(pass), Arc::clone(&place)];
                let stream = Stream { peer, sender, receiver, idle, passes };
                let shared = Arc::clone(shared);
                streams.spawn(async move { serve_stream(&shared, stream).await });
            }
            () = shared.host.sleep_ms(limits.connection_idle_ms), if streams.is_empty() => {
                connection.close("this connection was idle for too long");
                break;
            }
        }
    }
    streams.shutdown().await;
}

async fn serve_stream(shared: &Arc<Shared>, mut stream: Stream) {
    let pass = Arc::clone(&stream.passes[0]);
    let answered = tokio::select! {
        biased;
        answered = answer_request(shared, &mut stream) => answered,
        () = pass.gives_way() => {
            Err(Stop::Broken(String::from("this stream is the slowest, and others wait")))
        }
    };
    match answered {
        Ok(()) => stream.sender.finish(),
        Err(Stop::Refused(refusal)) => refuse(&mut stream, &refusal).await,
        Err(Stop::Broken(why)) => {
            debug!(peer = %stream.peer, why, "a stream was broken off");
            stream.sender.reset(RESET_BROKEN);
            stream.receiver.stop(RESET_BROKEN);
        }
    }
}

async fn answer_request(shared: &Arc<Shared>, stream: &mut Stream) -> Result<(), Stop> {
    let request = within(stream.idle, stream.receiver.receive::<Request>()).await?;
    match request {
        Request::Info => info::answer(shared, stream).await,
        Request::Store { terms, index, price, authority } => {
            let wanted = store::Wanted { terms, index, price };
            store::answer(shared, stream, wanted, &authority).await
        }
        Request::Read { deal, index, first, count, grant } => {
            let range = read::Range::Slices { first, count };
            read::answer(shared, stream, (deal, index), range, grant.as_ref()).await
        }
        Request::ReadCell { deal, index, cell, grant } => {
            let range = read::Range::Cell { cell };
            read::answer(shared, stream, (deal, index), range, grant.as_ref()).await
        }
        Request::Check { deal, index, grant } => {
            info::check(shared, stream, (deal, index), grant.as_ref()).await
        }
        Request::Delete { deal, index, grant } => {
            delete::answer(shared, stream, (deal, index), &grant).await
        }
        Request::KeepShare { owner, opening, key, index, share, signature } => {
            let offered = custody::Offered { owner, opening, key, index, share, signature };
            custody::keep_share(shared, stream, offered).await
        }
        Request::ReadLog { owner, object, from_day, signature } => {
            reads::answer(shared, stream, (owner, object), from_day, &signature).await
        }
        Request::Release { order } => custody::release(shared, stream, order).await,
        Request::ReleaseClaim { deal } => custody::release_claim(shared, stream, deal).await,
    }
}

async fn refuse(stream: &mut Stream, refusal: &Refusal) {
    debug!(peer = %stream.peer, code = ?refusal.code, message = refusal.message, "a request was refused");
    stream.receiver.stop(RESET_REFUSED);
    let response = Response::Refused { refusal: refusal.clone() };
    match within(stream.idle.min(REFUSAL_TIME), stream.sender.send(&response)).await {
        Ok(()) => stream.sender.finish(),
        Err(_) => stream.sender.reset(RESET_BROKEN),
    }
}

/// Runs a step that waits for the peer. Fails when it takes longer than `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, NetError>>,
) -> Result<T, Stop> {
    match timeout(limit, step).await {
        Ok(done) => done.map_err(Stop::from),
        Err(_) => Err(Stop::Broken(String::from("the peer stayed silent for too long"))),
    }
}

fn report(ended: Option<tokio::task::JoinError>) {
    if let Some(error) = ended.filter(tokio::task::JoinError::is_panic) {
        // This is a bug of the node. It ended only one stream, but it must appear in the log.
        warn!(%error, "a task that served a peer panicked");
    }
}

/// Stream code after a refusal. The other half of the stream carries the refusal.
const RESET_REFUSED: u32 = 1;
/// Stream code when an answer could not be completed.
const RESET_BROKEN: u32 = 2;
/// How long the sending of a refusal may take. The connection's other streams wait meanwhile.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
