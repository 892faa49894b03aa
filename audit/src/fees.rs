//! The auditor's books of what transactions cost besides their action: fees, and deposits for rows that stay.

use std::collections::BTreeSet;

use symbolon_protocol::{
    Encode,
    id::{AccountId, DealId},
    ledger::{
        block::{Place, Reason},
        transaction::{Action, CaredDeal, Transaction},
    },
};

use super::{Auditor, care::care_weight, hundredths, id_of};

/// Deposits by kind, in units.
const NODE: usize = 4;
const DEAL: usize = 4;
const VAULT: usize = 4;
const LISTING: usize = 8;
const ORDER: usize = 4;
const REVOCATION: usize = 1;
const REDEMPTION: usize = 1;
const MOTION: usize = 4;
const ROOT: usize = 8;

impl Auditor {
    /// Notes what a sender pays before its action is done.
    pub(super) fn charge(&mut self, transaction: &Transaction) {
        let (sender, action) = (transaction.sender, &transaction.action);
        let bytes = transaction.to_bytes().len() as u128;
        let (checks, weight) = match action {
            Action::Faucet => return,
            Action::RegisterNode { .. } => (1, if self.has_node(sender) { 0 } else { NODE }),
            Action::OpenDeal { acceptances, terms, .. } => {
                (1 + acceptances.len(), DEAL + usize::from(terms.total))
            }
            Action::PlaceShards { acceptances, .. } => (1 + acceptances.len(), 0),
            Action::ExtendDeals { deals, .. } => (1 + deals.len(), 0),
            Action::SetCare { caretakers, deals, .. } if caretakers.is_empty() => {
                (1 + deals.len(), 0)
            }
            Action::SetCare { deals, .. } => {
                let id =
                    |cared: &CaredDeal| id_of("symbolon 2026 deal id v2", &sender, &cared.opening);
                let new = deals.iter().filter(|cared| !self.cares.contains_key(&DealId(id(cared))));
                (1 + deals.len(), new.map(|cared| care_weight(cared.pads.len())).sum())
            }
            Action::ClaimRepair { .. } => (2, 0),
            Action::OpenVault { key, custodians, .. } => {
                (1 + custodians.len() + key.commitments.len(), VAULT)
            }
            Action::RotateVault { key, custodians, .. } => {
                (1 + custodians.len() + key.commitments.len(), 0)
            }
            Action::List { .. } => (6, LISTING),
            Action::Order { .. } => (2, ORDER),
            Action::PostRelease { .. } => (6, 0),
            Action::CoverListing { deals, .. } => (1 + deals.len(), 0),
            Action::Complain { .. } | Action::AnswerCell { .. } => (6, 0),
            Action::ReportEquivocation { .. } => (3, 0),
            Action::JoinValidators { .. } | Action::Delegate { .. } | Action::Undelegate { .. } => {
                (1, self.stake_weight(sender, action))
            }
            Action::ProposeMotion { .. } => (1, MOTION),
            Action::CastBallot { motion, validator, .. } => {
                (1, usize::from(!self.motions.has(*motion, *validator, sender)))
            }
            Action::Revoke { .. } => (1, REVOCATION),
            Action::Redeem { .. } => (1, REDEMPTION),
            Action::SetRoot { .. } => (1, if self.roots.contains_key(&sender) { 0 } else { ROOT }),
            _ => (1, 0),
        };
        let of = &self.params;
        let mut fee = of.fee_base.0 + of.fee_byte.0 * bytes + of.fee_check.0 * checks as u128;
        if matches!(
            action,
            Action::Prove { .. }
                | Action::PostRelease { .. }
                | Action::Acknowledge { .. }
                | Action::AnswerCell { .. }
        ) {
            fee = hundredths(fee, of.duty_fee_bp);
        }
        let unit = of.deposit.0;
        let named = named(action);
        fee += unit * named.difference(&self.known).count() as u128;
        // The draw of a file's preview stays for ever.
        if let Action::List { terms, .. } = action {
            let drawn = self.draws.contains_key(&terms.manifest.content_root);
            fee += unit * u128::from(terms.preview_cells > 0 && !drawn);
        }
        let from = Place::Account { account: sender };
        let shared = hundredths(fee, of.validators_fee_bp);
        self.expect(from, Place::Treasury, fee - shared, Reason::Fee);
        self.expect(from, Place::Rewards, shared, Reason::Fee);
        self.expect(from, Place::Deposits, unit * weight as u128, Reason::Deposit);
    }

    /// Notes that a row with this weight has left, and its deposit goes back.
    fn returned(&mut self, account: AccountId, weight: usize) {
        let amount = self.params.deposit.0 * weight as u128;
        self.expect(Place::Deposits, Place::Account { account }, amount, Reason::Deposit);
    }

    pub(super) fn deal_returned(&mut self, owner: AccountId, shards: usize) {
        self.returned(owner, DEAL + shards);
    }

    pub(super) fn care_returned(&mut self, owner: AccountId, shards: usize) {
        self.returned(owner, care_weight(shards));
    }

    pub(super) fn node_returned(&mut self, node: AccountId) {
        self.returned(node, NODE);
    }

    pub(super) fn order_returned(&mut self, buyer: AccountId) {
        self.returned(buyer, ORDER);
    }

    pub(super) fn listing_returned(&mut self, seller: AccountId) {
        self.returned(seller, LISTING);
    }

    /// A part of a validator's stake, or one on its way out, has left.
    pub(super) fn stake_returned(&mut self, account: AccountId) {
        self.returned(account, 1);
    }

    /// A motion or a ballot has left.
    pub(super) fn motion_returned(&mut self, account: AccountId, weight: usize) {
        self.returned(account, weight);
    }

    pub(super) fn revocation_returned(&mut self, by: AccountId) {
        self.returned(by, REVOCATION);
    }

    pub(super) fn redemption_returned(&mut self, once: AccountId) {
        self.returned(once, REDEMPTION);
    }

    /// What all that these books have on the ledger is to have bound.
    pub(super) fn deposits(&self) -> u128 {
        let weight = NODE * self.nodes.len()
            + self.deals_on_ledger().map(|shards| DEAL + shards).sum::<usize>()
            + self.care_weights()
            + VAULT * self.vaults.len()
            + LISTING * self.listings.len()
            + ORDER * self.orders.len()
            + REVOCATION * self.revocations.len()
            + REDEMPTION * self.redemptions.len()
            + self.stakes.weight()
            + self.motions.weight()
            + ROOT * self.roots.len();
        let capacity: u128 = self.nodes.values().map(|book| book.capacity_paid).sum();
        self.params.deposit.0 * weight as u128 + capacity
    }
}

/// The accounts that an action names as receivers of money.
fn named(action: &Action) -> BTreeSet<AccountId> {
    match action {
        Action::Transfer { to, .. } => BTreeSet::from([*to]),
        Action::RegisterNode { payout, .. } => BTreeSet::from([*payout]),
        Action::JoinValidators { operator, .. } => BTreeSet::from([*operator]),
        Action::List { terms, .. } => terms.splits.iter().map(|split| split.account).collect(),
        _ => BTreeSet::new(),
    }
}
