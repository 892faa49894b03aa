//! Complaints: what a buyer's client found is put before the ledger, which judges it from bytes alone.
//!
//! The releases have to be on the ledger first, so that it knows that the key was delivered. The client puts them there
//! itself. A complaint that a cell cannot be had waits for the answers of nodes; a client that is cut off meanwhile waits
//! on when it is asked again.

use symbolon_protocol::{
    Amount, Encode, LedgerTime, Millis,
    content::seal::LeafParts,
    custody::{self, ShownKey},
    dispute::{Complaint, LeafOpening},
    id::{OrderId, TransactionId},
    ledger::{
        Status,
        rows::{ListingState, Order, OrderState, Orders, Refund, Vaults},
        transaction::Action,
    },
    limits::CELL_BYTES,
};

use crate::{
    error::ClientError,
    market::{
        Market,
        buy::{Asked, ROUND_MS, STANDS_STILL},
        examine::{Case, Evidence, Finding},
    },
    progress::Progress,
    wallet::account::{Price, transaction_id},
};

/// More bytes than the paths and keys of a complaint have.
const PATHS_BYTES_MAX: usize = 8 * 1024;

/// What became of a complaint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisputeOutcome {
    /// The buyer has the money back.
    Refunded(Refund),
    /// Nodes have given the ledger the cell, and it is the listed one. The bond of the complaint is theirs.
    Given,
    /// The complaint was dismissed, and its bond is lost.
    Dismissed,
}

/// What a complaint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DisputeReport {
    /// The order.
    pub order: OrderId,
    /// What became of it.
    pub outcome: DisputeOutcome,
    /// What came back of the order.
    pub refunded: Amount,
    /// The buyer's part of the bond of the listing.
    pub from_bond: Amount,
    /// What was lost of the bond of the complaint.
    pub lost: Amount,
}

impl Market {
    /// What a complaint costs: the fee of its transactions, and the bond, which a true one gets back.
    pub async fn price_of_dispute(&self) -> Result<(Amount, Amount), ClientError> {
        let params = self.network().params().await?;
        // Only the size counts: a complaint carries at most one cell and the paths to it.
        let sealed = vec![0; CELL_BYTES + PATHS_BYTES_MAX];
        let parts = LeafParts::new(&[0; 32], &[], &[]);
        let leaf = LeafOpening { cell: 0, parts, path: Vec::new() };
        let complaint = Box::new(Complaint::BadCell { leaf, key: [0; 32], sealed });
        let action = Action::Complain { order: OrderId([0; 16]), complaint };
        Ok((Price::of(&params, &action).total(), params.complaint_bond))
    }

    /// Puts what an examination found before the ledger, and waits for what becomes of it.
    pub async fn dispute(
        &self,
        finding: &Finding,
        progress: &Progress,
    ) -> Result<DisputeReport, ClientError> {
        let mut case = self.case(&finding.order).await?;
        if case.order.state == OrderState::Asked {
            return self.await_answers(&case, progress).await;
        }
        case.order = self.deliver(&case, progress).await?;
        let complaint = self.complaint(&case, finding)?;
        let given = [case.order.given];
        let ordered_ms = case.order.ordered_ms.0.to_le_bytes();
        let hash = blake3::hash(&complaint.to_bytes());
        let about = [&case.id.0[..], &ordered_ms, &given, hash.as_bytes()].concat();
        let action = Action::Complain { order: case.id, complaint: Box::new(complaint) };
        progress.note("putting the complaint before the ledger");
        match self.send(transaction_id("complain", &about), action).await {
            Ok(_) | Err(ClientError::LedgerRefused(Status::IdReused)) => {}
            Err(error) => return Err(error),
        }
        self.await_answers(&case, progress).await
    }

    /// Goes on with a complaint that waits for the answers of nodes.
    pub async fn await_dispute(
        &self,
        id: &OrderId,
        progress: &Progress,
    ) -> Result<DisputeReport, ClientError> {
        let case = self.case(id).await?;
        self.await_answers(&case, progress).await
    }

    fn complaint(&self, case: &Case, finding: &Finding) -> Result<Complaint, ClientError> {
        let fault = match &finding.evidence {
            Evidence::Whole(complaint) => return Ok(complaint.clone()),
            Evidence::Key(fault) => fault.clone(),
        };
        let chain = self.ledger().chain();
        let context = custody::release_context(&chain, &case.id, &case.order.listing);
        let secret = self.identity().delivery_secret(&chain, &case.id);
        let releases = &case.order.releases;
        let entropy = self.host().random();
        let shown = ShownKey::make(releases, releases.len(), &secret, &context, &entropy);
        let shown = shown.map_err(|error| ClientError::Grant(error.into()))?;
        Ok(Complaint::BadKey { shown, fault })
    }

    /// Puts the releases on the ledger, unless enough of them are there. Gives the order as it is then.
    async fn deliver(&self, case: &Case, progress: &Progress) -> Result<Order, ClientError> {
        let until = case.order.due_ms.saturating_add(STANDS_STILL);
        let mut is_told = false;
        loop {
            // The seller may deal the secret anew meanwhile.
            let vault = self.ledger().row(Vaults, &case.listing.terms.vault).await?;
            let vault =
                vault.ok_or_else(|| ClientError::Internal("a listing has a vault".into()))?;
            let needed = vault.key.required();
            let asked = self.ask_custodians(&case.id, &case.listing, &vault).await?;
            let Asked { order, releases, faults } = asked;
            match order.state {
                OrderState::Delivered | OrderState::Asked => return Ok(order),
                OrderState::Refunded => return Err(ClientError::OrderRefunded(case.id)),
                state @ OrderState::Settled => {
                    return Err(ClientError::OrderClosed { order: case.id, state });
                }
                OrderState::Paid => {}
            }
            if !is_told {
                progress.note("putting the releases of the key on the ledger");
                is_told = true;
            }
            let released = releases.len();
            let there = |index| order.releases.iter().any(|posted| posted.index == index);
            for release in releases.into_iter().filter(|release| !there(release.index)) {
                let action = Action::PostRelease { order: case.id, release };
                match self.send(TransactionId(self.host().random()), action).await {
                    Ok(_) => {}
                    // A custodian was quicker.
                    Err(ClientError::LedgerRefused(_)) => break,
                    Err(error) => return Err(error),
                }
            }
            let order = self.ledger().row(Orders, &case.id).await?;
            let order = order.ok_or(ClientError::NoOrder(case.id))?;
            if order.state != OrderState::Paid {
                continue;
            }
            if until < self.ledger().recent_time_ms().await? {
                return Err(ClientError::NotEnoughCustodians { released, needed, faults });
            }
            self.host().sleep_ms(ROUND_MS).await;
        }
    }

    /// Waits until no cell is asked for any more, and says what became of the complaint. `case` is the order before it.
    async fn await_answers(
        &self,
        case: &Case,
        progress: &Progress,
    ) -> Result<DisputeReport, ClientError> {
        let mut is_told = false;
        loop {
            let order = self.ledger().row(Orders, &case.id).await?;
            let order = order.ok_or(ClientError::NoOrder(case.id))?;
            if order.state != OrderState::Asked {
                return self.disputed(case, &order).await;
            }
            if !is_told {
                progress.note("nodes are to put the cell on the ledger: waiting for their answers");
                is_told = true;
            }
            let now_ms: LedgerTime = self.ledger().recent_time_ms().await?;
            if order.due_ms.saturating_add(STANDS_STILL) < now_ms {
                let after_ms = now_ms.saturating_since(order.due_ms).0;
                return Err(ClientError::NoAnswer { after_ms });
            }
            let left = order.due_ms.saturating_since(now_ms);
            self.host().sleep_ms(left.clamp(Millis(ROUND_MS / 2), Millis(ROUND_MS)).0).await;
        }
    }

    async fn disputed(&self, case: &Case, order: &Order) -> Result<DisputeReport, ClientError> {
        let params = self.network().params().await?;
        let (mut refunded, mut from_bond, mut lost) = (Amount::ZERO, Amount::ZERO, Amount::ZERO);
        let outcome = match (order.state, order.refund) {
            (OrderState::Refunded, Some(refund)) => {
                refunded = order.amount;
                let was_frozen = case.listing.state == ListingState::Frozen;
                if !was_frozen && is_of_listing(refund) {
                    let bond = case.listing.terms.bond;
                    from_bond = Amount(bond.0 - bond.0 / 2);
                }
                let listing = order.listing;
                self.local(move |local| local.forget_listed(&listing)).await;
                DisputeOutcome::Refunded(refund)
            }
            _ if case.order.given < order.given => {
                lost = params.complaint_bond;
                DisputeOutcome::Given
            }
            _ => {
                lost = params.complaint_bond;
                DisputeOutcome::Dismissed
            }
        };
        Ok(DisputeReport { order: case.id, outcome, refunded, from_bond, lost })
    }
}

/// Whether a refund was for something that is wrong with the listing, and that this buyer has proven.
fn is_of_listing(refund: Refund) -> bool {
    match refund {
        Refund::BadKey | Refund::BadCell | Refund::OtherCell => true,
        Refund::NotDelivered | Refund::Unavailable | Refund::Frozen => false,
    }
}
