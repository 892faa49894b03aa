//! Shared parts of the ledger's tests: keys, transactions, and a server.

#![allow(dead_code, reason = "other crates use parts of it")]

pub(crate) mod between;
pub(crate) mod duties;
pub(crate) mod machines;
pub(crate) mod shards;

use std::path::Path;

use ed25519_dalek::SigningKey;
use symbolon_ledger::{Embedded, Ledger, LedgerTicket, Options};
use symbolon_net::{Endpoint, Host};
use symbolon_protocol::{
    Amount,
    id::{AccountId, ChainId, TransactionId},
    ledger::{
        Params,
        rows::{Account, Accounts},
        transaction::{Action, Transaction},
    },
};

pub(crate) const VALIDATOR: [u8; 32] = [42; 32];

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// The key of the ledger's only validator.
pub(crate) fn validator() -> SigningKey {
    SigningKey::from_bytes(&VALIDATOR)
}

pub(crate) fn validator_id() -> AccountId {
    AccountId(validator().verifying_key().to_bytes())
}

pub(crate) fn account(number: u8) -> AccountId {
    AccountId(key(number).verifying_key().to_bytes())
}

/// A transaction of an account with this id.
pub(crate) fn transaction(chain: ChainId, from: u8, id: u8, action: Action) -> Transaction {
    Transaction::build(chain, &key(from), TransactionId([id; 16]), 500, action)
}

pub(crate) fn transfer(chain: ChainId, from: u8, id: u8, to: u8, credits: u64) -> Transaction {
    let action = Action::Transfer { to: account(to), amount: Amount::credits(credits) };
    transaction(chain, from, id, action)
}

pub(crate) async fn open(folder: &Path, host: Host) -> Embedded {
    let options = Options { key: VALIDATOR, params: Params::development(), host };
    Embedded::open(folder, options).await.unwrap()
}

/// A ledger that keeps the blocks of so many epochs before the current one.
pub(crate) async fn open_keeping(folder: &Path, host: Host, epochs_kept: u64) -> Embedded {
    let options = Options { key: VALIDATOR, params: Params::development(), host };
    Embedded::open_keeping(folder, options, epochs_kept).await.unwrap()
}

pub(crate) async fn balance(ledger: &Ledger, number: u8) -> Amount {
    let row = ledger.row(Accounts, &account(number)).await.unwrap();
    row.map_or(Amount::ZERO, |row: Account| row.balance)
}

/// Serves a ledger at an endpoint and returns its ticket.
pub(crate) fn answer(ledger: Embedded, endpoint: Endpoint) -> LedgerTicket {
    let ticket = LedgerTicket { chain: ledger.chain(), peers: vec![endpoint.address()] };
    tokio::spawn(symbolon_ledger::answer(ledger, endpoint));
    ticket
}
