//! Joining a ledger: its whole state is fetched from a checkpoint, without the blocks before it.
//!
//! The header of the checkpoint is believed as a light client believes it. The rows come in parts, each with the proof
//! that it has all rows of a range of keys. So every part is checked alone, and they come from all servers of the ticket
//! that have the checkpoint, several at a time. A part is on disk before it counts. So a machine that was stopped goes on
//! with what is missing, as long as a server keeps the checkpoint; else it begins with another one.
//!
//! No party knows beforehand where the rows lie. So a range is divided as soon as there are fewer of them than requests
//! may be under way, and only if it has more rows than one answer takes, going by those that came.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use symbolon_net::{Host, NetError, PeerAddress};
use symbolon_protocol::{
    LedgerTime,
    id::PeerId,
    ledger::{
        block::{Block, SignedHeader},
        light::Trusted,
    },
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    error::LedgerError,
    executor::{Found, Joining, Progress, Span},
    remote::{Part, Remote},
};

/// What happens while a machine joins.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Joined {
    /// It fetches the state of this block.
    Fetches {
        /// The height of the block.
        height: u64,
        /// The time of the block.
        time_ms: LedgerTime,
        /// How many rows it has of it, from an earlier attempt.
        rows: u64,
    },
    /// It has some more rows on disk.
    Has {
        /// How many rows it has.
        rows: u64,
    },
    /// A server is not asked for rows any more: it does not answer, has another state, or lies.
    GivesUp {
        /// The server.
        server: PeerId,
        /// Why.
        error: LedgerError,
    },
    /// No server keeps the state any more: the machine begins with another one.
    BeginsAnew,
}

/// Makes the file of a ledger in a folder, with the state of a recent block and that block. What the folder has of an
/// earlier attempt is used. A ledger that is there is replaced at the end.
///
/// An error leaves what was fetched, so that the next attempt goes on with it.
pub async fn join(
    remote: &Remote,
    folder: &Path,
    host: &Host,
    told: &(dyn Fn(Joined) + Send + Sync),
) -> Result<(), LedgerError> {
    let mut file = Joining::open(host, folder).await?;
    let (mut is_kept, mut liars) = (true, BTreeSet::new());
    for _ in 0..CHECKPOINTS_MAX {
        let (found, opened) = host.blocking(move || (file.found(), file)).await;
        file = opened;
        let progress = match found? {
            Found::Whole => return host.blocking(move || file.rename()).await,
            Found::Part(found, _) if found != remote.chain() => {
                return Err(LedgerError::OtherLedger { found, asked: remote.chain() });
            }
            Found::Part(_, progress) if is_kept => *progress,
            Found::Nothing | Found::Part(..) => {
                remote.turn_from(&liars).await;
                let genesis = remote.ask_genesis().await?;
                let header = remote.checkpoint_header().await?;
                let all = Span { after: None, until: None };
                let progress = Progress { header, missing: vec![all], rows: 0 };
                file = file.begin(host, &genesis, &progress).await?;
                progress
            }
        };
        let header = progress.header.clone();
        let (height, time_ms) = (header.header.height, header.header.facts.time_ms);
        told(Joined::Fetches { height, time_ms, rows: progress.rows });
        let shared = Arc::new(file);
        changes_of_any(remote, host, &shared, &header).await?;
        let mut fetch = Fetch::new(remote, host, shared.clone(), progress, &mut liars);
        let fetched = fetch.run(told).await;
        drop(fetch);
        file = Arc::into_inner(shared).expect("what wrote to it has ended");
        let block = match fetched {
            Ok(()) => last_block(remote, &header).await,
            Err(error) => Err(error),
        };
        match block {
            Ok(block) => {
                let salt = host.random();
                return host.blocking(move || file.finish(&block, &salt)).await;
            }
            Err(LedgerError::CheckpointGone | LedgerError::Pruned { .. }) => {
                is_kept = false;
                told(Joined::BeginsAnew);
            }
            Err(error) => return Err(error),
        }
    }
    Err(LedgerError::CheckpointGone)
}

/// The changes of the validators, from the first server that has them all.
async fn changes_of_any(
    remote: &Remote,
    host: &Host,
    file: &Arc<Joining>,
    header: &SignedHeader,
) -> Result<(), LedgerError> {
    for _ in 1..remote.peers().len() {
        match fetch_changes(remote, host, file, header).await {
            Err(error) if error.servers_fault() => {
                tracing::warn!(%error, "asking another server for the changes of the validators");
                remote.next_server().await;
            }
            ended => return ended,
        }
    }
    fetch_changes(remote, host, file, header).await
}

/// Fetches how the validators of a block came to be, from the genesis on. A server that leaves changes out is an error: this
/// machine could not show them to others.
async fn fetch_changes(
    remote: &Remote,
    host: &Host,
    file: &Arc<Joining>,
    header: &SignedHeader,
) -> Result<(), LedgerError> {
    let height = header.header.height;
    let mut trusted = Trusted::genesis(&remote.ask_genesis().await?);
    loop {
        let (changes, after, more) = remote.past_changes(trusted, height).await?;
        trusted = after;
        let file = file.clone();
        host.in_turn(move || file.write_changes(&changes)).await?;
        if !more {
            break;
        }
    }
    match trusted.follow(header, &[]) {
        Ok(_) => Ok(()),
        Err(_) => Err(LedgerError::NewValidators { height }),
    }
}

/// The block of a checkpoint.
async fn last_block(remote: &Remote, header: &SignedHeader) -> Result<Block, LedgerError> {
    let height = header.header.height;
    let mut blocks = remote.follow(height);
    let block = timeout(BLOCK, blocks.next()).await.unwrap_or_else(|_| {
        let after_ms = u64::try_from(BLOCK.as_millis()).unwrap_or(u64::MAX);
        Err(LedgerError::Unreachable { attempts: 1, last: NetError::TimedOut { after_ms } })
    })?;
    match block.header.header == header.header {
        true => Ok(block),
        false => Err(LedgerError::Forked { height, kept: None }),
    }
}

/// A server that is asked for rows.
struct Server {
    id: PeerId,
    remote: Remote,
    /// How many requests of it are under way.
    asked: usize,
}

/// A range of keys whose rows are missing.
struct Missing {
    span: Span,
    /// About how many answers its rows take.
    answers: u128,
}

/// The rows of one checkpoint, while they are fetched.
struct Fetch<'a> {
    host: &'a Host,
    file: Arc<Joining>,
    header: SignedHeader,
    servers: Vec<Server>,
    liars: &'a mut BTreeSet<PeerId>,
    waiting: Vec<Missing>,
    under_way: BTreeMap<u64, Missing>,
    /// Number of the next request.
    next: u64,
    rows: u64,
    /// Why the last server was given up; that one has no such state, if any server said that.
    why: LedgerError,
}

impl<'a> Fetch<'a> {
    fn new(
        remote: &Remote,
        host: &'a Host,
        file: Arc<Joining>,
        progress: Progress,
        liars: &'a mut BTreeSet<PeerId>,
    ) -> Self {
        let Progress { header, missing, rows } = progress;
        let honest = remote.peers().iter().filter(|peer| !liars.contains(&peer.id));
        let server = |peer: &PeerAddress| {
            let remote = remote.at(peer.clone());
            Server { id: peer.id, remote, asked: 0 }
        };
        let servers = honest.map(server).collect();
        let waiting = missing.into_iter().map(|span| Missing { span, answers: 1 }).collect();
        let why = LedgerError::Forged { what: "no server is left that has not lied" };
        let under_way = BTreeMap::new();
        Self { host, file, header, servers, liars, waiting, under_way, next: 0, rows, why }
    }

    /// Fetches all rows that are missing.
    async fn run(&mut self, told: &(dyn Fn(Joined) + Send + Sync)) -> Result<(), LedgerError> {
        let mut answers = JoinSet::new();
        loop {
            while self.under_way.len() < REQUESTS_MAX
                && let Some(missing) = self.take()
            {
                let Some(server) = self.servers.iter_mut().min_by_key(|server| server.asked) else {
                    return Err(self.why.clone());
                };
                server.asked += 1;
                let (id, remote, number) = (server.id, server.remote.clone(), self.next);
                let (host, header, span) =
                    (self.host.clone(), self.header.clone(), missing.span.clone());
                self.under_way.insert(number, missing);
                self.next += 1;
                answers
                    .spawn(async move { (number, id, remote.part(&host, &header, &span).await) });
            }
            let Some(answer) = answers.join_next().await else { return Ok(()) };
            let (number, id, part) = answer.expect("a request does not panic, and none is cut off");
            let missing = self.under_way.remove(&number).expect("it was under way");
            if let Some(server) = self.servers.iter_mut().find(|server| server.id == id) {
                server.asked -= 1;
            }
            match part {
                Ok(part) => self.keep(missing, part, told).await?,
                Err(error) => {
                    self.waiting.push(missing);
                    self.give_up(id, error, told);
                }
            }
        }
    }

    /// The range to ask for next: the one that has most. It is divided while there are fewer than requests that may be
    /// under way.
    fn take(&mut self) -> Option<Missing> {
        let places = self.waiting.iter().enumerate();
        let (place, _) = places.max_by_key(|(_, missing)| missing.answers)?;
        let missing = self.waiting.swap_remove(place);
        if REQUESTS_MAX <= self.under_way.len() + self.waiting.len() + 1 {
            return Some(missing);
        }
        match missing.halves() {
            Ok([first, second]) => {
                self.waiting.push(second);
                Some(first)
            }
            Err(whole) => Some(whole),
        }
    }

    /// Stores the rows of an answer, and notes what of the range is still missing.
    async fn keep(
        &mut self,
        missing: Missing,
        part: Part,
        told: &(dyn Fn(Joined) + Send + Sync),
    ) -> Result<(), LedgerError> {
        let Part { rows, more } = part;
        // Where there are no rows nothing is noted: the range is empty for who asks again.
        let Some((last, _)) = rows.last() else { return Ok(()) };
        if more {
            self.waiting.push(missing.behind(last));
        }
        self.rows += rows.len() as u64;
        let all = self.waiting.iter().chain(self.under_way.values());
        let missing = all.map(|missing| missing.span.clone()).collect();
        let progress = Progress { header: self.header.clone(), missing, rows: self.rows };
        let file = self.file.clone();
        self.host.in_turn(move || file.write(rows, &progress)).await?;
        told(Joined::Has { rows: self.rows });
        Ok(())
    }

    /// Does not ask a server any more.
    fn give_up(&mut self, id: PeerId, error: LedgerError, told: &(dyn Fn(Joined) + Send + Sync)) {
        let Some(place) = self.servers.iter().position(|server| server.id == id) else { return };
        self.servers.remove(place);
        if error.servers_fault() {
            self.liars.insert(id);
        }
        // If one of them is there and has another state, that one is fetched.
        if !matches!(self.why, LedgerError::CheckpointGone) {
            self.why = error.clone();
        }
        told(Joined::GivesUp { server: id, error });
    }
}

impl Missing {
    /// What of it is missing after an answer whose last row has this key.
    fn behind(&self, last: &[u8]) -> Self {
        let [from, to] = self.span.ends();
        let at = number(last);
        let answers = (to.saturating_sub(at) / at.saturating_sub(from).max(1)).max(1);
        Self { span: Span { after: Some(last.to_vec()), until: self.span.until.clone() }, answers }
    }

    /// Two ranges, if it is worth two answers and its ends differ enough.
    fn halves(self) -> Result<[Self; 2], Self> {
        let [from, to] = self.span.ends();
        let middle = from + to.saturating_sub(from) / 2;
        if self.answers < 2 || middle <= from || to <= middle {
            return Err(self);
        }
        let (key, answers) = (Some(middle.to_be_bytes().to_vec()), self.answers / 2);
        let Span { after, until } = self.span;
        let first = Span { after, until: key.clone() };
        let second = Span { after: key, until };
        Ok([first, second].map(|span| Self { span, answers }))
    }
}

impl Span {
    /// Its ends as numbers.
    fn ends(&self) -> [u128; 2] {
        let [after, until] = [&self.after, &self.until].map(Option::as_deref);
        [after.map_or(0, number), until.map_or(u128::MAX, number)]
    }
}

/// The first bytes of a key as a number, in the order of the keys.
fn number(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}

/// Requests that are under way at once. An answer has about 1 MiB. So they hide the time of the way to servers that are
/// far, and take a few MiB.
const REQUESTS_MAX: usize = 4;
/// Checkpoints that are begun with until the caller hears that servers keep none for long enough.
const CHECKPOINTS_MAX: usize = 3;
/// How long the block of the checkpoint may take to come.
const BLOCK: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn missing(after: &[u8], until: &[u8], answers: u128) -> Missing {
        Missing { span: Span { after: Some(after.to_vec()), until: Some(until.to_vec()) }, answers }
    }

    #[test]
    fn a_range_is_divided_by_what_it_is_thought_to_have() {
        let whole = Missing { span: Span { after: None, until: None }, answers: 1 };
        assert!(whole.halves().is_err(), "nothing is known of it yet");
        let whole = Missing { span: Span { after: None, until: None }, answers: 1 };
        let rest = whole.behind(&[4, 0]);
        assert_eq!(rest.span, Span { after: Some(vec![4, 0]), until: None });
        assert_eq!(rest.answers, 62, "so many times as many keys are behind it as before");
        let Ok([first, second]) = rest.halves() else { panic!("it is divided") };
        assert_eq!((first.answers, second.answers), (31, 31));
        assert_eq!(first.span.after, Some(vec![4, 0]));
        assert_eq!(first.span.until, second.span.after);
        assert_eq!(first.span.until.unwrap()[..2], [0x81, 0xff]);
        assert_eq!(second.span.until, None);
        // The end of what is left is not divided for ever, nor are keys that begin alike.
        assert!(missing(&[3; 33], &[4; 33], 1).halves().is_err());
        assert!(missing(&[3; 33], &[3; 34], 9).halves().is_err());
    }
}
