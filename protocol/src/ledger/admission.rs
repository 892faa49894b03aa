//! What an engine finds out about a transaction before it gives it a place in a block.
//!
//! Signatures cost most of the time of a block, and nothing in the state changes them. So an engine checks the
//! signatures of many transactions at the same time, on other threads than the one that makes blocks. The rules take the
//! result as [`Signatures`]. They check only what was not checked before.
//!
//! An engine may refuse a transaction here, for any reason that applies to the last block. It looks at what costs least
//! first, so the reason may be another one than the first in the order of [`Status`].

use crate::{
    id::{ChainId, NodeId},
    ledger::{
        books::Books,
        execute::{self, Pushed},
        fees, order,
        rows::{Deals, Listings, Nodes, OrderState, Orders, Vaults},
        state::{State, StateExt},
        status::Status,
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    time::LedgerTime,
};

/// Whether the signatures of a transaction verify, as far as they were checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    sender: Option<bool>,
    acceptances: Option<bool>,
}

impl Signatures {
    /// Nothing was checked yet: the rules check what they need.
    pub const UNCHECKED: Self = Self { sender: None, acceptances: None };

    /// Whether the sender's signature verifies.
    pub(super) fn sender(&self, transaction: &Transaction) -> bool {
        self.sender.unwrap_or_else(|| transaction.verify().is_ok())
    }

    /// Whether the sender's signature verifies. Checks it if that was not done yet.
    pub fn check_sender(&mut self, transaction: &Transaction) -> bool {
        let verifies = self.sender(transaction);
        self.sender = Some(verifies);
        verifies
    }

    /// Whether the acceptances of a deal verify.
    pub(super) fn acceptances(
        &self,
        chain: &ChainId,
        terms: &DealTerms,
        acceptances: &[Acceptance],
    ) -> bool {
        let verify = |accepted: &Acceptance| accepted.verify(chain, terms).is_ok();
        self.acceptances.unwrap_or_else(|| acceptances.iter().all(verify))
    }
}

/// The result that a transaction would have in a block at `now` on top of this state, or a reason to refuse it now: unless
/// the status [is final](Status::is_final), a later block may apply it. What is due at `now` is not done yet in this
/// state. With it come the signatures as far as they were checked, so that they are not checked again.
pub fn judge<S: State + ?Sized>(
    state: &S,
    now: LedgerTime,
    transaction: &Transaction,
) -> (Result<Pushed, Status>, Signatures) {
    let mut signatures = Signatures::UNCHECKED;
    let pushed = judge_noting(state, now, transaction, &mut signatures);
    (pushed, signatures)
}

fn judge_noting<S: State + ?Sized>(
    state: &S,
    now: LedgerTime,
    transaction: &Transaction,
    signatures: &mut Signatures,
) -> Result<Pushed, Status> {
    let mut books = Books::open(state).ok_or(Status::WrongChain)?;
    books.chain.height += 1;
    books.chain.time_ms = books.chain.time_ms.max(now);
    if transaction.chain != books.chain.id {
        return Err(Status::WrongChain);
    }
    execute::check_age(&books, transaction)?;
    if let Some(height) = execute::applied_at(&books, transaction, &transaction.digest())? {
        return Ok(Pushed::Already { height });
    }
    // A sender without the fee costs no signature.
    fees::check_covered(&books, transaction)?;
    signatures.check_sender(transaction);
    let pushed = execute::verdict(&books, transaction, signatures)?;
    // A deal gets here only if its acceptances verify.
    let accepted =
        matches!(transaction.action, Action::OpenDeal { .. } | Action::PlaceShards { .. });
    signatures.acceptances = accepted.then_some(true);
    Ok(pushed)
}

/// Whether a transaction has a deadline that somebody else could make its sender miss: a proof of a node that has
/// something to prove, a custodian's release of a paid order, by either of the two who may post it, a node's cell that a
/// buyer asked for, a buyer's acknowledgement or complaint. An engine gives these a lane of
/// their own. Only a sender that the rows name for it can have one, and each only once.
pub fn is_urgent<S: State + ?Sized>(state: &S, transaction: &Transaction) -> bool {
    let sender = transaction.sender;
    match &transaction.action {
        Action::Prove { epoch, .. } => {
            let node = state.get(Nodes, &NodeId::from(sender));
            let open = node.filter(|node| node.window.is_some_and(|window| window.epoch == *epoch));
            open.is_some_and(|node| node.passed_epoch != Some(*epoch))
        }
        Action::PostRelease { order, release } => {
            let Some(order) = state.get(Orders, order).filter(|row| row.state == OrderState::Paid)
            else {
                return false;
            };
            let vault = state
                .get(Listings, &order.listing)
                .and_then(|listing| state.get(Vaults, &listing.terms.vault));
            let place = usize::from(release.index).checked_sub(1);
            let is_posted = order.releases.iter().any(|posted| posted.index == release.index);
            let custodian = place.and_then(|place| vault.as_ref()?.custodians.get(place).copied());
            let is_new = !is_posted || vault.is_some_and(|vault| vault.dealing != order.dealing);
            is_new
                && (order.buyer == sender && custodian.is_some()
                    || custodian == Some(NodeId::from(sender)))
        }
        Action::Acknowledge { order: id, .. } => {
            let order = state.get(Orders, id);
            order.is_some_and(|order| order.buyer == sender && order::open(order.state))
        }
        Action::AnswerCell { order, .. } => {
            let asked = state.get(Orders, order).and_then(|order| order.asked);
            let Some(asked) = asked else { return false };
            let deal = state.get(Deals, &asked.deal);
            let shard = deal.as_ref().and_then(|deal| deal.kept_by(&NodeId::from(sender)));
            shard.is_some_and(|(index, _)| !asked.answered.contains(&index))
        }
        Action::Complain { order, .. } => {
            let order = state.get(Orders, order);
            order.is_some_and(|order| order.buyer == sender && order::open(order.state))
        }
        _ => false,
    }
}
