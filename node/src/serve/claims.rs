//! Claims of caretakers, as the ledger's rows have them. A claim is all that a caretaker has to show: the connection proves
//! its key.
//!
//! The node asks the ledger for a claim, and remembers the answer for a moment. After an answer that gave it nothing, a
//! peer waits, so that strangers do not cause one question after the other.

use std::sync::{Mutex, MutexGuard};

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    id::{DealId, PeerId},
    ledger::rows::{Claim, Repairs},
    wire::storage::RefusalCode,
};

use super::Stop;
use crate::{lru::Lru, options::Limits, shared::Shared};

/// The claims that are known.
#[derive(Debug)]
pub(crate) struct KnownClaims {
    memory: Mutex<Memory>,
    pause_ms: u64,
}

#[derive(Debug)]
struct Memory {
    /// Running claims, and the ticks until which they are believed.
    claims: Lru<DealId, (Claim, u64)>,
    /// Peers that must wait, until these ticks.
    pauses: Lru<PeerId, u64>,
}

impl KnownClaims {
    pub(crate) fn new(limits: &Limits) -> Self {
        let memory =
            Memory { claims: Lru::new(CLAIMS_KNOWN), pauses: Lru::new(limits.connections_max) };
        Self { memory: Mutex::new(memory), pause_ms: limits.look_up_pause_ms }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no code that holds the memory panics")
    }
}

/// The claim of a peer for a deal, if it runs.
pub(crate) async fn of(shared: &Shared, peer: PeerId, deal: DealId) -> Result<Claim, Stop> {
    let (now_ms, epoch) = (shared.host.ticks_ms(), shared.view.epoch());
    let is_its = |claim: &Claim| claim.claimant == peer && claim.runs(epoch);
    let known = shared.claims.memory().claims.find(&deal);
    if let Some((claim, _)) = known.filter(|(claim, until)| now_ms < *until && is_its(claim)) {
        return Ok(claim);
    }
    if shared.claims.memory().pauses.find(&peer).is_some_and(|until| now_ms < until) {
        let message = "the claim before this one did not run: ask again in a moment";
        return Err(Stop::refused(RefusalCode::Busy, message));
    }
    let stale = |error: LedgerError| {
        Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
    };
    let row = shared.ledger.row(Repairs, &deal).await.map_err(stale)?;
    match row.and_then(|row| row.claim).filter(is_its) {
        Some(claim) => {
            shared.claims.memory().claims.keep(deal, (claim.clone(), now_ms + BELIEVED_MS));
            Ok(claim)
        }
        None => {
            let until_ms = now_ms + shared.claims.pause_ms;
            shared.claims.memory().pauses.keep(peer, until_ms);
            let message = "no claim of this peer to repair the deal runs";
            Err(Stop::refused(RefusalCode::NoClaim, message))
        }
    }
}

/// Claims that are remembered. Few deals are repaired at once.
const CLAIMS_KNOWN: usize = 256;
/// Milliseconds for which a claim is believed without asking again. It may have been placed meanwhile: what its claimant can
/// still read it could have read before.
const BELIEVED_MS: u64 = 10_000;
