//! Money between accounts: the faucet, transfers, and holds between two accounts.

use crate::{
    amount::Amount,
    id::{AccountId, TransactionId},
    ledger::{
        block::{Place, Reason},
        books::Books,
        rows::{Hold, HoldKey, Holds},
        state::State,
        status::Status,
        transaction::Transaction,
    },
};

/// A checked account action.
#[derive(Debug)]
pub(super) enum Effect {
    Faucet { to: AccountId },
    Transfer { from: AccountId, to: AccountId, amount: Amount },
    Place { key: HoldKey, hold: Hold },
    Release { key: HoldKey, payer: AccountId, payee: AccountId, amount: Amount },
    Void { key: HoldKey, payer: AccountId },
}

pub(super) fn check_faucet<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
) -> Result<Effect, Status> {
    let params = &books.chain.params;
    if params.faucet == Amount::ZERO {
        return Err(Status::FaucetClosed);
    }
    let last = books.account(&sender).faucet_height;
    let waited = books.chain.height - last;
    // Height 0 is the genesis: an account that never asked. One request per block in any case.
    if last != 0 && waited < params.faucet_blocks.max(1) {
        return Err(Status::FaucetEmpty);
    }
    if !books.can_issue(params.faucet) {
        return Err(Status::Overflow);
    }
    Ok(Effect::Faucet { to: sender })
}

pub(super) fn check_transfer<S: State + ?Sized>(
    books: &Books<'_, S>,
    from: AccountId,
    to: AccountId,
    amount: Amount,
) -> Result<Effect, Status> {
    if amount == Amount::ZERO || from == to {
        return Err(Status::BadField);
    }
    can_pay(books, &from, amount)?;
    Ok(Effect::Transfer { from, to, amount })
}

pub(super) fn check_place<S: State + ?Sized>(
    books: &Books<'_, S>,
    transaction: &Transaction,
    payee: AccountId,
    amount: Amount,
    expires_ms: u64,
) -> Result<Effect, Status> {
    let payer = transaction.sender;
    if amount == Amount::ZERO || payer == payee || expires_ms <= books.now() {
        return Err(Status::BadField);
    }
    let key = HoldKey::Request { payer, id: transaction.id };
    // Ids are remembered only for a while, holds until they are closed.
    if books.has(Holds, &key) {
        return Err(Status::Exists);
    }
    can_pay(books, &payer, amount)?;
    Ok(Effect::Place { key, hold: Hold { payer, payee: Some(payee), amount, expires_ms } })
}

pub(super) fn check_release<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    (payer, id): (AccountId, TransactionId),
    amount: Amount,
) -> Result<Effect, Status> {
    let key = HoldKey::Request { payer, id };
    let hold = books.get(Holds, &key);
    if amount == Amount::ZERO || hold.as_ref().is_some_and(|hold| hold.amount < amount) {
        return Err(Status::BadField);
    }
    let hold = hold.ok_or(Status::UnknownHold)?;
    if hold.payee != Some(sender) {
        return Err(Status::NotYours);
    }
    Ok(Effect::Release { key, payer, payee: sender, amount })
}

pub(super) fn check_void<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    (payer, id): (AccountId, TransactionId),
) -> Result<Effect, Status> {
    let key = HoldKey::Request { payer, id };
    let hold = books.get(Holds, &key).ok_or(Status::UnknownHold)?;
    if hold.payee == Some(sender) {
        return Ok(Effect::Void { key, payer });
    }
    if hold.payer != sender {
        return Err(Status::NotYours);
    }
    if books.now() < hold.expires_ms {
        return Err(Status::TooEarly);
    }
    Ok(Effect::Void { key, payer })
}

/// Whether an account can spend that much.
pub(super) fn can_pay<S: State + ?Sized>(
    books: &Books<'_, S>,
    account: &AccountId,
    amount: Amount,
) -> Result<(), Status> {
    if books.account(account).balance < amount {
        return Err(Status::BalanceTooLow);
    }
    Ok(())
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::Faucet { to } => {
            let amount = books.chain.params.faucet;
            assert!(amount > Amount::ZERO, "a closed faucet gives nothing");
            assert!(books.can_issue(amount), "what was issued can be counted");
            books.mark_faucet(&to);
            books.transfer(Place::Outside, Place::Account { account: to }, amount, Reason::Faucet);
        }
        Effect::Transfer { from, to, amount } => {
            let (from, to) = (Place::Account { account: from }, Place::Account { account: to });
            books.transfer(from, to, amount, Reason::Transfer);
        }
        Effect::Place { key, hold } => {
            assert!(hold.amount > Amount::ZERO, "a hold reserves something");
            assert!(hold.expires_ms > books.now(), "a hold cannot be void at once");
            books.place_hold(key, &hold, Reason::Hold);
        }
        Effect::Release { key, payer, payee, amount } => {
            assert!(payer != payee, "a hold is between two accounts");
            let (from, to) = (Place::Hold { hold: key }, Place::Account { account: payee });
            books.transfer(from, to, amount, Reason::Hold);
            books.close_hold(key, payer, Reason::Hold);
            assert!(!books.has(Holds, &key), "a hold is released once");
        }
        Effect::Void { key, payer } => {
            books.close_hold(key, payer, Reason::Hold);
            assert!(!books.has(Holds, &key), "a hold is voided once");
        }
    }
}
