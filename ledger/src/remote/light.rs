//! What a remote ledger's user trusts: the newest header that it has verified, in memory and on disk.
//!
//! The first trust is the genesis, whose hash the ticket names. With a folder, the client keeps its newest header there, and
//! begins with that the next time. So a server that was restored from a backup, or another chain of the same validators,
//! is noticed by a program that has just started.

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{MutexGuard, PoisonError},
};

use symbolon_net::Host;
use symbolon_protocol::{
    LedgerTime, MachineTime, Millis,
    codec::{Decode, Encode},
    id::{AccountId, Hash, PeerId},
    ledger::{
        block::{Genesis, SignedHeader},
        commit::Validators,
        light::{LightError, Trusted},
    },
    record,
    wire::ledger::{Request, Response, SetChange},
};
use symbolon_store::durable;
use tokio::time::Instant;

use super::{Remote, unexpected};
use crate::{error::LedgerError, port::RECENT};

/// Where a client keeps what it trusts, and the clock by which it judges that.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The clock, and the threads for blocking work.
    pub host: Host,
    /// The folder. The client makes it when there is something to keep.
    pub folder: PathBuf,
}

record! {
    /// The file of a folder: a client's trust in one ledger.
    struct Kept {
        trusted: Trusted,
        /// The trusted header as it was received; absent for the genesis.
        header: Option<SignedHeader>,
        /// Length of an epoch, which says how old a head may be.
        epoch_ms: Millis,
    }
}

/// The newest verified header.
#[derive(Clone, Debug)]
pub(super) struct Known {
    kept: Kept,
    /// When an answer last confirmed it.
    at: Option<Instant>,
    /// Time of the header that is on disk.
    saved_ms: Option<LedgerTime>,
    /// Sets of validators that were followed by others, the newest last: answers that come late have their headers.
    past: Vec<Validators>,
}

impl Known {
    /// Trusts a header, if it follows what is trusted: `sets` are valid sets that came with it.
    fn take(&mut self, signed: &SignedHeader, sets: &[Validators]) -> Result<(), LightError> {
        let trusted = self.kept.trusted.follow(signed, sets)?;
        let is_new = self.kept.trusted.height < trusted.height;
        if is_new || self.kept.header.is_none() {
            self.kept.header = Some(signed.clone());
        }
        if trusted.validators != self.kept.trusted.validators {
            if PAST_MAX <= self.past.len() {
                self.past.remove(0);
            }
            self.past.push(self.kept.trusted.validators.clone());
        }
        self.kept.trusted = trusted;
        self.at = Some(Instant::now());
        Ok(())
    }

    /// A set that is or was trusted.
    fn find(&self, hash: &Hash) -> Option<&Validators> {
        let sets = [&self.kept.trusted.validators].into_iter().chain(self.past.iter().rev());
        sets.into_iter().find(|set| set.hash() == *hash)
    }

    pub(super) fn height(&self) -> u64 {
        self.kept.trusted.height
    }

    /// Whether this peer is the validator that orders the ledger alone.
    pub(super) fn is_only_validator(&self, peer: &PeerId) -> bool {
        self.kept.trusted.validators.only() == Some(AccountId::from(*peer))
    }
}

impl Remote {
    /// Makes sure that something is trusted: reads the file, or asks for the genesis. Its type is written out, because a
    /// question waits for this, and this asks a question.
    pub(super) fn begin(
        &self,
    ) -> Pin<Box<dyn Future<Output = Result<(), LedgerError>> + Send + '_>> {
        Box::pin(async {
            if self.known().is_some() {
                return Ok(());
            }
            let _turn = self.inner.beginning.lock().await;
            if self.known().is_some() {
                return Ok(());
            }
            let known = match self.read_kept().await? {
                Some(kept) => {
                    Known { saved_ms: Some(kept.trusted.time_ms), kept, at: None, past: Vec::new() }
                }
                None => {
                    let genesis = self.ask_genesis().await?;
                    let (trusted, epoch_ms) = (Trusted::genesis(&genesis), genesis.params.epoch_ms);
                    let kept = Kept { trusted, header: None, epoch_ms };
                    Known { kept, at: None, saved_ms: None, past: Vec::new() }
                }
            };
            *self.lock_known() = Some(known);
            Ok(())
        })
    }

    pub(crate) async fn ask_genesis(&self) -> Result<Genesis, LedgerError> {
        self.ask_untrusting(&Request::Genesis, |response| match response {
            Response::Genesis { genesis } => {
                let is_ours = genesis.chain() == self.chain();
                match is_ours && genesis.check().is_ok() {
                    true => Ok(*genesis),
                    false => Err(LedgerError::Forged { what: "the genesis is of another ledger" }),
                }
            }
            other => Err(unexpected(other)),
        })
        .await
    }

    /// The trust on disk. A damaged file is an error: without it, the client would notice less.
    async fn read_kept(&self) -> Result<Option<Kept>, LedgerError> {
        let Some((host, path)) = self.kept_file() else { return Ok(None) };
        let reading = path.clone();
        let bytes = match host.blocking(move || fs::read(reading)).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::Trust { path, why: error.to_string() }),
        };
        let kept = Kept::from_bytes(&bytes).ok().filter(|kept| {
            kept.trusted.chain == self.chain() && kept.trusted.validators.check().is_ok()
        });
        let Some(kept) = kept else {
            return Err(LedgerError::Trust { path, why: "it is damaged".into() });
        };
        match kept.trusted.holds_at(host.now_ms()) {
            true => Ok(Some(kept)),
            false => {
                let days = kept.trusted.trusting_ms.0 / Millis::DAY.0;
                let why =
                    format!("its header is older than the {days} days for which one is trusted");
                Err(LedgerError::Trust { path, why })
            }
        }
    }

    fn kept_file(&self) -> Option<(Host, PathBuf)> {
        let Keeping { host, folder } = self.inner.keeping.as_ref()?;
        let name = format!("trusted-{}", &self.chain().to_string()[..16]);
        Some((host.clone(), folder.join(name)))
    }

    /// Writes the trust to disk, at most once for each minute of the ledger's time.
    pub(super) async fn save(&self) {
        let Some((host, path)) = self.kept_file() else { return };
        let bytes = {
            let mut known = self.lock_known();
            let Some(known) = known.as_mut() else { return };
            let now_ms = known.kept.trusted.time_ms;
            let is_due = |saved: LedgerTime| SAVE_EVERY <= now_ms.saturating_since(saved);
            if !known.saved_ms.is_none_or(is_due) || known.kept.header.is_none() {
                return;
            }
            known.saved_ms = Some(now_ms);
            known.kept.to_bytes()
        };
        let writing = path.clone();
        if let Err(error) = host.blocking(move || write(&writing, &bytes)).await {
            tracing::warn!(path = %path.display(), %error, "the trusted header was not kept");
        }
    }

    pub(super) fn known(&self) -> Option<Known> {
        self.lock_known().clone()
    }

    fn lock_known(&self) -> MutexGuard<'_, Option<Known>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the header of an answer. `floor` is the height that was known when the question was sent.
    pub(super) fn believe(
        &self,
        signed: &SignedHeader,
        floor: Option<u64>,
    ) -> Result<(), LedgerError> {
        let header = &signed.header;
        let mut known = self.lock_known();
        let known = known.as_mut().expect("trust begins before an answer is read");
        let stale = |known| LedgerError::Stale { height: header.height, known };
        if let Some(floor) = floor.filter(|floor| header.height < *floor) {
            return Err(stale(floor));
        }
        let taken = known.take(signed, &[]);
        match taken {
            Ok(()) => Ok(()),
            // An answer that another one has overtaken.
            Err(LightError::Older { .. }) => {
                let set = known.find(&header.validators);
                let set = set.ok_or(forged(NOT_COMMITTED))?;
                signed.commit.verify(header, set).map_err(|_| forged(NOT_COMMITTED))
            }
            Err(LightError::Forked { height }) => {
                if let Some(before) = &known.kept.header {
                    let pair = (before.clone(), signed.clone());
                    *self.inner.fork.lock().unwrap_or_else(PoisonError::into_inner) = Some(pair);
                }
                Err(LedgerError::Forked { height, kept: None })
            }
            Err(LightError::OtherLedger) => Err(forged("the header is of another ledger")),
            Err(LightError::TimeBackwards) => Err(forged("the ledger's time runs backwards")),
            Err(LightError::UnknownValidators) => {
                Err(LedgerError::NewValidators { height: header.height })
            }
            Err(LightError::Commit(_) | LightError::TooFewKnown { .. }) => {
                Err(forged(NOT_COMMITTED))
            }
            Err(_) => Err(forged("the header does not follow the trusted one")),
        }
    }

    /// Whether a later header than the trusted one names validators that are not known.
    pub(super) fn names_new_sets(&self, signed: &SignedHeader) -> bool {
        let header = &signed.header;
        let known = self.lock_known();
        let is_new = |known: &Known| {
            let names = [&header.validators, &header.next_validators];
            known.height() < header.height && names.into_iter().any(|set| known.find(set).is_none())
        };
        known.as_ref().is_some_and(is_new)
    }

    /// Follows the changes of the validators that the server has after the trusted header, one after the other.
    pub(super) async fn learn_sets(&self) -> Result<(), LedgerError> {
        loop {
            let Some(after) = self.known().map(|known| known.height()) else { return Ok(()) };
            let (changes, more) = self
                .ask_untrusting(&Request::Sets { after }, |response| match response {
                    Response::Sets { changes, more } => Ok((changes, more)),
                    other => Err(unexpected(other)),
                })
                .await?;
            let mut known = self.lock_known();
            let known = known.as_mut().expect("trust began before it was asked");
            for SetChange { header, validators, next } in &changes {
                let sets = valid_sets(validators, next)?;
                // Another answer may have been quicker.
                if known.height() < header.header.height {
                    known.take(header, &sets).map_err(|_| forged(NOT_COMMITTED))?;
                }
            }
            if !more || changes.is_empty() {
                return Ok(());
            }
        }
    }

    /// The changes of the validators after this trust and up to a height, as many as an answer has: each followed from the
    /// one before. With them come the trust after them, and whether there are more.
    pub(crate) async fn past_changes(
        &self,
        mut trusted: Trusted,
        until: u64,
    ) -> Result<(Vec<SetChange>, Trusted, bool), LedgerError> {
        let request = Request::Sets { after: trusted.height };
        let answer = self.ask_untrusting(&request, |response| match response {
            Response::Sets { changes, more } => Ok((changes, more)),
            other => Err(unexpected(other)),
        });
        let (mut changes, mut more) = answer.await?;
        let wanted = changes.iter().take_while(|change| change.header.header.height <= until);
        let wanted = wanted.count();
        more &= wanted == changes.len() && wanted != 0;
        changes.truncate(wanted);
        for SetChange { header, validators, next } in &changes {
            let sets = valid_sets(validators, next)?;
            // A client may skip a change, but who trusts what lies between two needs both.
            if *validators != trusted.validators {
                return Err(forged("the server leaves out a change of the validators"));
            }
            let is_change = validators != next && trusted.height < header.header.height;
            if !is_change {
                return Err(forged("the server gives no change of the validators for one"));
            }
            trusted = trusted.follow(header, &sets).map_err(|_| forged(NOT_COMMITTED))?;
        }
        Ok((changes, trusted, more))
    }

    /// Keeps the two headers that prove a fork, and names their file in the error.
    pub(super) async fn keep_evidence(&self, error: LedgerError) -> LedgerError {
        let LedgerError::Forked { height, kept: None } = error else { return error };
        let pair = self.inner.fork.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some((before, after)), Some(Keeping { host, folder })) = (pair, &self.inner.keeping)
        else {
            return error;
        };
        let path = folder.join(format!("fork-{}-{height}", &self.chain().to_string()[..16]));
        let (mut bytes, writing) = (before.to_bytes(), path.clone());
        after.encode(&mut bytes);
        match host.blocking(move || write(&writing, &bytes)).await {
            Ok(()) => LedgerError::Forked { height, kept: Some(path) },
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the evidence was not kept");
                LedgerError::Forked { height, kept: None }
            }
        }
    }

    /// The height and time of the known head, if an answer within [`RECENT`] confirmed it.
    pub(crate) fn recent_block(&self) -> Option<(u64, LedgerTime)> {
        let known = self.lock_known();
        let known = known.as_ref()?;
        let is_recent = known.at.is_some_and(|at| at.elapsed() < RECENT);
        is_recent.then_some((known.kept.trusted.height, known.kept.trusted.time_ms))
    }

    /// How much later than the ledger must have made another block it is now, by this machine's clock.
    pub(crate) fn overdue(&self) -> Option<Millis> {
        let now_ms = self.inner.keeping.as_ref()?.host.now_ms();
        let known = self.lock_known();
        let kept = &known.as_ref()?.kept;
        overdue(kept.trusted.time_ms, kept.epoch_ms, now_ms)
    }
}

/// The two sets of a change, if ledgers can have them.
fn valid_sets(before: &Validators, next: &Validators) -> Result<[Validators; 2], LedgerError> {
    match before.check().is_ok() && next.check().is_ok() {
        true => Ok([before.clone(), next.clone()]),
        false => Err(forged("what the server calls validators is no valid set")),
    }
}

/// A ledger makes a block at least once an epoch. So a head that is a quarter of an epoch and a minute older than that is
/// one that was held back, or the ledger stands still, or one of the clocks is wrong.
fn overdue(head_ms: LedgerTime, epoch_ms: Millis, now_ms: MachineTime) -> Option<Millis> {
    let slack = epoch_ms.saturating_add(epoch_ms / 4).saturating_add(Millis(60_000));
    let due = head_ms.saturating_add(slack);
    now_ms.0.checked_sub(due.0).filter(|late| 0 < *late).map(Millis)
}

fn forged(what: &'static str) -> LedgerError {
    LedgerError::Forged { what }
}

/// Writes a file of the client's folder, which may not exist yet.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    durable::write_whole(path, bytes)
}

/// Past sets that are remembered: an answer is late by seconds, and a set lasts for an epoch mostly.
const PAST_MAX: usize = 16;
const NOT_COMMITTED: &str = "the ledger's validators did not sign the header";
/// How much the ledger's time moves between two writes of the trust.
const SAVE_EVERY: Millis = Millis(60_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_overdue_when_a_block_must_have_followed_it() {
        let of = |now| overdue(LedgerTime(1_000), Millis(40_000), MachineTime(now));
        assert_eq!(of(0), None);
        assert_eq!(of(111_000), None);
        assert_eq!(of(111_001), Some(Millis(1)));
    }
}
