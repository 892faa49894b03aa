//! What a transaction costs besides its action: a fee for the work that it makes, and a deposit for what it leaves in the
//! state. See `spec/ledger.md`, "Fees and deposits".

use alloc::{collections::BTreeSet, vec, vec::Vec};

use crate::{
    amount::Amount,
    codec::Encode,
    id::{AccountId, NodeId},
    ledger::{
        block::{Place, Reason},
        books::Books,
        params::{BP, Params},
        rows::{
            Accounts, Ballots, Cares, Delegations, Draws, Nodes, Roots, Unbondings, ValidatorsTable,
        },
        stake,
        state::State,
        status::Status,
        transaction::{Action, Transaction},
    },
};

/// Bytes of a transaction besides its action: ledger, sender, id, last height and signature.
const ENVELOPE_BYTES: u64 = 32 + 32 + 16 + 8 + 64;

/// Weights of what an action leaves in the state: about one for each 512 bytes of rows.
pub(super) const NODE: u64 = 4;
const DEAL: u64 = 4;
const VAULT: u64 = 4;
const CARE: u64 = 4;
/// Shards for which care weighs one more: their pads, and what is noted of those that are rebuilt.
const CARED_SHARDS: u64 = 4;
pub(super) const LISTING: u64 = 8;
pub(super) const ORDER: u64 = 4;
pub(super) const REVOCATION: u64 = 1;
pub(super) const REDEMPTION: u64 = 1;
pub(super) const DELEGATION: u64 = 1;
pub(super) const UNBONDING: u64 = 1;
const VALIDATOR: u64 = 4;
pub(super) const MOTION: u64 = 4;
pub(super) const BALLOT: u64 = 1;
const ROOT: u64 = 8;

/// The weight of a deal with so many shards: each has rows of its own.
pub(super) fn deal_weight(shards: usize) -> u64 {
    DEAL + shards as u64
}

/// The weight of the care for a deal with so many shards.
pub(super) fn care_weight(shards: usize) -> u64 {
    CARE + (shards as u64).div_ceil(CARED_SHARDS)
}

/// Verification units of a transaction: the signatures and group operations that every validator checks for it, with the
/// sender's signature.
#[must_use]
pub fn units(action: &Action) -> u64 {
    1 + match action {
        Action::OpenDeal { acceptances, .. } | Action::PlaceShards { acceptances, .. } => {
            acceptances.len() as u64
        }
        // No signature but the rows of many shards.
        Action::ExtendDeals { deals, .. } => deals.len() as u64,
        Action::SetCare { deals, .. } => deals.len() as u64,
        Action::OpenVault { key, custodians, .. } | Action::RotateVault { key, custodians, .. } => {
            (custodians.len() + key.commitments.len()) as u64
        }
        // A mandate's signature, and a capsule's proof.
        Action::List { .. } => 5,
        Action::Order { .. } | Action::ClaimRepair { .. } => 1,
        Action::PostRelease { .. } => 5,
        // A row is read for each.
        Action::CoverListing { deals, .. } => deals.len() as u64,
        // The proof of a key, or hashes and an unmasking of 64 KiB.
        Action::Complain { .. } | Action::AnswerCell { .. } => 5,
        // Two signatures.
        Action::ReportEquivocation { .. } => 2,
        Action::Faucet
        | Action::Transfer { .. }
        | Action::RegisterNode { .. }
        | Action::RetireNode
        | Action::Stake { .. }
        | Action::Unstake { .. }
        | Action::JoinValidators { .. }
        | Action::ChangeValidator { .. }
        | Action::LeaveValidators { .. }
        | Action::RejoinValidators { .. }
        | Action::Delegate { .. }
        | Action::Undelegate { .. }
        | Action::ProposeMotion { .. }
        | Action::CastBallot { .. }
        | Action::DeclareRules { .. }
        | Action::EndDeal { .. }
        | Action::DeclareLost { .. }
        | Action::CollectRepair { .. }
        // Leaves and their paths are hashes.
        | Action::Prove { .. }
        | Action::Preview { .. }
        | Action::EndListing { .. }
        | Action::Acknowledge { .. }
        | Action::Revoke { .. }
        | Action::Redeem { .. }
        | Action::SetRoot { .. } => 0,
    }
}

/// Weight of what an action leaves in the state. A node that registers again, and a root record that takes the place of
/// another, add nothing to what is there.
#[must_use]
pub fn weight(action: &Action) -> u64 {
    match action {
        Action::RegisterNode { .. } => NODE,
        Action::OpenDeal { terms, .. } => deal_weight(usize::from(terms.total)),
        Action::OpenVault { .. } => VAULT,
        Action::SetCare { caretakers, .. } if caretakers.is_empty() => 0,
        Action::SetCare { deals, .. } => {
            deals.iter().map(|cared| care_weight(cared.pads.len())).sum()
        }
        Action::List { .. } => LISTING,
        Action::Order { .. } => ORDER,
        Action::Revoke { .. } => REVOCATION,
        Action::Redeem { .. } => REDEMPTION,
        Action::JoinValidators { .. } => VALIDATOR,
        Action::Delegate { .. } => DELEGATION,
        Action::Undelegate { .. } => UNBONDING,
        Action::ProposeMotion { .. } => MOTION,
        Action::CastBallot { .. } => BALLOT,
        Action::SetRoot { .. } => ROOT,
        Action::Faucet
        | Action::Transfer { .. }
        | Action::EndDeal { .. }
        | Action::ExtendDeals { .. }
        | Action::PlaceShards { .. }
        | Action::DeclareLost { .. }
        | Action::ClaimRepair { .. }
        | Action::CollectRepair { .. }
        | Action::RetireNode
        | Action::Stake { .. }
        | Action::Unstake { .. }
        | Action::ChangeValidator { .. }
        | Action::LeaveValidators { .. }
        | Action::RejoinValidators { .. }
        | Action::ReportEquivocation { .. }
        | Action::DeclareRules { .. }
        | Action::Prove { .. }
        // The vault has its weight already.
        | Action::RotateVault { .. }
        | Action::Preview { .. }
        | Action::EndListing { .. }
        | Action::CoverListing { .. }
        // What nodes put on the ledger is there until the order goes on: the bond of the complaint is for that.
        | Action::Complain { .. }
        | Action::AnswerCell { .. }
        | Action::PostRelease { .. }
        | Action::Acknowledge { .. } => 0,
    }
}

/// The fee of a transaction with this action. An account that gets its row by the action costs its sender more, which only
/// the ledger's rows show: [`deposit`] of one unit.
#[must_use]
pub fn fee(params: &Params, action: &Action) -> Amount {
    let bytes = ENVELOPE_BYTES + action.to_bytes().len() as u64;
    let priced = |price: Amount, count: u64| price.0.saturating_mul(u128::from(count));
    // Within the ranges of parameters no sum comes near the end of its type.
    let whole = params
        .fee_base
        .0
        .saturating_add(priced(params.fee_byte, bytes))
        .saturating_add(priced(params.fee_check, units(action)));
    match action {
        // Only a development network has one.
        Action::Faucet => Amount::ZERO,
        // Each of these is useful once, and the rows name who may send it.
        Action::Prove { .. }
        | Action::PostRelease { .. }
        | Action::Acknowledge { .. }
        | Action::AnswerCell { .. } => {
            let part = Amount(whole).fraction(u64::from(params.duty_fee_bp), BP);
            part.unwrap_or(Amount(whole))
        }
        _ => Amount(whole),
    }
}

/// The deposit for what this action leaves in the state.
#[must_use]
pub fn deposit(params: &Params, action: &Action) -> Amount {
    of_weight(params, weight(action))
}

fn of_weight(params: &Params, weight: u64) -> Amount {
    Amount(params.deposit.0.saturating_mul(u128::from(weight)))
}

/// What a sender pays besides what its action moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bill {
    /// To the treasury.
    fee: Amount,
    /// To the deposits.
    deposit: Amount,
}

impl Bill {
    /// The sum of both and what the action spends; `None` past the largest amount.
    pub(super) fn with(&self, spent: Amount) -> Option<Amount> {
        self.fee.checked_add(self.deposit)?.checked_add(spent)
    }

    /// What is left of a limit; `None` if both are more.
    pub(super) fn rest_of(&self, limit: Amount) -> Option<Amount> {
        limit.checked_sub(self.fee)?.checked_sub(self.deposit)
    }
}

/// Whether the sender has the fee. This is cheap, and comes before everything that is not.
pub(super) fn check_covered<S: State + ?Sized>(
    books: &Books<'_, S>,
    transaction: &Transaction,
) -> Result<(), Status> {
    let fee = fee(&books.chain.params, &transaction.action);
    if fee > Amount::ZERO && books.account(&transaction.sender).balance < fee {
        return Err(Status::FeeNotCovered);
    }
    Ok(())
}

/// What the sender pays for this action, as the rows are now.
pub(super) fn bill<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: &AccountId,
    action: &Action,
) -> Bill {
    let params = &books.chain.params;
    let fee = fee(params, action);
    if params.deposit == Amount::ZERO {
        return Bill { fee, deposit: Amount::ZERO };
    }
    let is_there = match action {
        Action::RegisterNode { .. } => books.has(Nodes, &NodeId::from(*sender)),
        Action::SetRoot { .. } => books.has(Roots, sender),
        // The operator's part stands in the validator's row.
        Action::Delegate { validator, .. } => {
            books.get(ValidatorsTable, validator).is_some_and(|row| row.operator == *sender)
                || books.has(Delegations, &(*validator, *sender))
        }
        Action::Undelegate { validator, .. } => {
            books.has(Unbondings, &stake::unbonding_key(books, *validator, *sender))
        }
        Action::CastBallot { motion, validator, .. } => {
            books.has(Ballots, &(*motion, (*validator, *sender)))
        }
        _ => false,
    };
    let deposit = match action {
        // Care that takes the place of other care adds nothing.
        Action::SetCare { caretakers, deals, .. } if !caretakers.is_empty() => {
            let new = deals.iter().filter(|cared| !books.has(Cares, &cared.deal(sender)));
            of_weight(params, new.map(|cared| care_weight(cared.pads.len())).sum())
        }
        _ if is_there => Amount::ZERO,
        _ => deposit(params, action),
    };
    // The rows of an account and of a draw stay for ever, so they are no deposit.
    let new = receivers(action).into_iter().filter(|account| !books.has(Accounts, account));
    let rows = of_weight(params, new.count() as u64 + u64::from(makes_draw(books, action)));
    let fee = fee.checked_add(rows).expect("both are far from the largest amount");
    Bill { fee, deposit }
}

/// Whether an action has a preview drawn for a content root that has none yet.
fn makes_draw<S: State + ?Sized>(books: &Books<'_, S>, action: &Action) -> bool {
    match action {
        Action::List { terms, .. } => {
            0 < terms.preview_cells && !books.has(Draws, &terms.manifest.content_root)
        }
        _ => false,
    }
}

/// The accounts that an action names as receivers of money, each once.
fn receivers(action: &Action) -> BTreeSet<AccountId> {
    let named: Vec<AccountId> = match action {
        Action::Transfer { to, .. } => vec![*to],
        Action::RegisterNode { payout, .. } => vec![*payout],
        Action::JoinValidators { operator, .. } => vec![*operator],
        Action::List { terms, .. } => terms.splits.iter().map(|split| split.account).collect(),
        _ => Vec::new(),
    };
    named.into_iter().collect()
}

/// Takes fee and deposit from the sender.
pub(super) fn pay<S: State + ?Sized>(books: &mut Books<'_, S>, sender: AccountId, bill: &Bill) {
    let from = Place::Account { account: sender };
    let shared = bill.fee.part(books.chain.params.validators_fee_bp);
    let rest = bill.fee.checked_sub(shared).expect("a part of it");
    books.transfer(from, Place::Treasury, rest, Reason::Fee);
    books.transfer(from, Place::Rewards, shared, Reason::Fee);
    books.bind(sender, bill.deposit);
}

/// Gives a deposit back to the account that paid it.
pub(super) fn give_back<S: State + ?Sized>(books: &mut Books<'_, S>, to: AccountId, weight: u64) {
    let amount = of_weight(&books.chain.params, weight);
    books.unbind(to, amount);
}
