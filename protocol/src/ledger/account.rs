//! Money between accounts: the faucet and transfers.

use crate::{
    amount::Amount,
    id::AccountId,
    ledger::{
        block::{Place, Reason},
        books::Books,
        state::State,
        status::Status,
    },
};

/// A checked account action.
#[derive(Debug)]
pub(super) enum Effect {
    Faucet { to: AccountId },
    Transfer { from: AccountId, to: AccountId, amount: Amount },
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
    // Height 0 is the genesis: an account that never asked. In every case one request per block.
    if last != 0 && waited < params.faucet_blocks.max(1) {
        return Err(Status::FaucetEmpty);
    }
    if !books.can_issue(params.faucet) {
        return Err(Status::Overflow);
    }
    Ok(Effect::Faucet { to: sender })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::Faucet { to } => {
            let amount = books.chain.params.faucet;
            assert!(amount > Amount::ZERO, "a closed faucet gives nothing");
            assert!(books.can_issue(amount), "the total that was issued fits its type");
            books.mark_faucet(&to);
            books.transfer(Place::Outside, Place::Account { account: to }, amount, Reason::Faucet);
        }
        Effect::Transfer { from, to, amount } => {
            let (from, to) = (Place::Account { account: from }, Place::Account { account: to });
            books.transfer(from, to, amount, Reason::Transfer);
        }
    }
}
