//! The owner in whose name something is stored: the account that pays, and the peer that nodes see.

use std::fmt;

use ed25519_dalek::SigningKey;
use symbolon_ledger::Outcome;
use symbolon_protocol::{
    grant::{Caveat, Grant},
    id::{AccountId, ObjectId, PeerId, TransactionId},
    ledger::{
        Status,
        transaction::{Action, Transaction},
    },
};

use crate::{Network, chain::VALID_BLOCKS, error::TransferError};

/// The account that owns and pays, and the peer that nodes see.
#[derive(Clone)]
pub struct Owner {
    /// The key that signs transactions and the first link of grants.
    pub account_key: SigningKey,
    /// The peer that grants are bound to. The endpoint answers with its key.
    pub peer: PeerId,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("account", &self.account()).finish_non_exhaustive()
    }
}

impl Owner {
    /// The account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId(self.account_key.verifying_key().to_bytes())
    }
}

/// The id of a transaction that its purpose and subject identify completely.
#[must_use]
pub fn transaction_id(what: &str, about: &[u8]) -> TransactionId {
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 client transaction id v1");
    hasher.update(what.as_bytes()).update(&[0]).update(about);
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    TransactionId(id)
}

impl Network {
    /// A grant of an owner's account to its own peer.
    pub fn own_grant(
        &self,
        owner: &Owner,
        object: ObjectId,
        abilities: u16,
    ) -> Result<Grant, TransferError> {
        let caveats = vec![Caveat::Object { object }, Caveat::Abilities { set: abilities }];
        // Always the same grant for the same object and abilities: a node has verified it already, and counts its reads
        // together.
        let (chain, entropy) = (self.ledger().chain(), [0; 32]);
        Grant::issue(&chain, &owner.account_key, owner.peer, caveats, &entropy)
            .map_err(|error| TransferError::Grant(error.into()))
    }

    /// Submits an action with an id, signed by a key. A refusal by the ledger is an error.
    pub async fn send(
        &self,
        key: &SigningKey,
        id: TransactionId,
        action: Action,
    ) -> Result<Outcome, TransferError> {
        let ledger = self.ledger();
        let valid = self.valid_blocks_known();
        let until = ledger.recent_height().await?.saturating_add(valid);
        let mut transaction = Transaction::build(ledger.chain(), key, id, until, action);
        let mut outcome = ledger.submit(transaction.clone()).await?;
        if outcome.status == Status::TooFarAhead {
            // A motion has made transactions valid for less than this program knew.
            let chain = self.chain_row().await?;
            let valid = chain.params.validity_blocks_max.min(VALID_BLOCKS);
            let (until, action) = (chain.height.saturating_add(valid), transaction.action);
            transaction = Transaction::build(ledger.chain(), key, id, until, action);
            outcome = ledger.submit(transaction.clone()).await?;
        }
        match outcome.status {
            Status::Applied => Ok(outcome),
            status => Err(self.refused(&transaction, status).await),
        }
    }

    /// What it means that the ledger refused a transaction. Which field is out of its range the answer does not say;
    /// the rows do, and not on a server's word. Where they cannot be had, the status has to do.
    pub async fn refused(&self, transaction: &Transaction, status: Status) -> TransferError {
        if status == Status::BadField
            && let Ok(chain) = self.recent_chain().await
        {
            let Transaction { sender, action, .. } = transaction;
            let fault = self.ledger().field_fault(&chain, sender, action).await;
            if let Ok(Some(fault)) = fault {
                return TransferError::FieldRefused { action: action.name(), fault };
            }
        }
        TransferError::LedgerRefused(status)
    }
}
