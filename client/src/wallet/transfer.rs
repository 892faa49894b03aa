//! Sending money, once. The client writes the signed transaction down before it asks the ledger. If the answer is lost,
//! the next request sends the very same transaction again, and the ledger applies it once.

use symbolon_ledger::Outcome;
use symbolon_protocol::{
    Amount, Encode,
    id::{AccountId, TransactionId},
    ledger::{
        Status,
        block::{Event, Place, Reason},
        transaction::{Action, Transaction},
    },
    wire::ledger::HistoryPlace,
};

use crate::{
    catalog::{TransferEntry, Transfers},
    error::ClientError,
    wallet::{Local, Wallet},
};

/// The error for an id that names another transfer. An id stays taken until it is certain that its transfer will never
/// be sent.
fn other_sum(entry: &TransferEntry, head: u64) -> ClientError {
    let until = entry.transaction.valid_until;
    let mut why = String::from("this id was used for another amount or another account");
    if entry.height.is_none() && head < until {
        why += &format!("; that transfer may still be applied until block {until}, now is {head}");
    }
    ClientError::Usage(why)
}

/// Number of history lines that one request reads when the client looks for a transfer whose time is over.
const LINES_AT_ONCE: usize = 1_000;

/// Money that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The block it is in.
    pub height: u64,
    /// Whether an earlier request had sent it, so that this one sent nothing.
    pub before: bool,
}

/// The state of a transfer that was written down.
enum Settled {
    /// It is in this block.
    Sent(u64),
    /// It may be on the ledger already, or may still be applied.
    Open,
    /// It is not on the ledger, and never will be.
    Never,
}

impl Wallet {
    /// Sends money. With an id, any further request under that id sends nothing more, ever. Without an id, a request
    /// whose answer was lost is completed by the next one for the same amount to the same account.
    pub async fn transfer(
        &self,
        to: AccountId,
        amount: Amount,
        id: Option<&str>,
    ) -> Result<Sent, ClientError> {
        let key = match id {
            Some(id) => [b"id", id.as_bytes()].concat(),
            None => [b"to", &to.0[..], &amount.to_bytes()].concat(),
        };
        let slot = [b"\0transfer", key.as_slice()].concat();
        let _lock = self.lock(slot, String::from("this transfer")).await?;
        let wanted = Action::Transfer { to, amount };
        let ledger = self.ledger();
        let head = ledger.head().await?.header.height;
        let row_key = key.clone();
        let written = self.local(move |local| local.catalog().row(Transfers, &row_key)).await?;
        let entry = match written {
            Some(entry) => match self.settled(&entry, head).await? {
                Settled::Sent(_) | Settled::Open if entry.transaction.action != wanted => {
                    return Err(other_sum(&entry, head));
                }
                Settled::Sent(height) => {
                    let keep = id.is_some();
                    self.local(move |local| local.note_sent(&key, entry, height, keep)).await?;
                    return Ok(Sent { height, before: true });
                }
                Settled::Open => Some(entry),
                Settled::Never => None,
            },
            None => None,
        };
        let (entry, before) = match entry {
            Some(entry) => (entry, true),
            None => {
                let valid = self.network().valid_blocks().await?;
                let transaction = Transaction::build(
                    ledger.chain(),
                    &self.identity().account_key(),
                    TransactionId(self.host().random()),
                    head.saturating_add(valid),
                    wanted,
                );
                let entry = TransferEntry { transaction, after: head, height: None };
                let (row_key, row) = (key.clone(), entry.clone());
                self.local(move |local| local.catalog().put(Transfers, &row_key, &row)).await?;
                (entry, false)
            }
        };
        let Outcome { height, status } = ledger.submit(entry.transaction.clone()).await?;
        match status {
            Status::Applied => {
                let keep = id.is_some();
                self.local(move |local| local.note_sent(&key, entry, height, keep)).await?;
                Ok(Sent { height, before })
            }
            // Only a server says that the ledger refused. The transaction may be on the ledger, or come to it later. So
            // the same transaction is sent for this request until its last block has passed.
            status => Err(self.network().refused(&entry.transaction, status).await.into()),
        }
    }

    /// The state of a transfer that was written down before, when the ledger is at height `head`. Blocks are signed, so
    /// no server can bring a transaction to the ledger after its last valid block.
    async fn settled(&self, entry: &TransferEntry, head: u64) -> Result<Settled, ClientError> {
        if let Some(height) = entry.height {
            return Ok(Settled::Sent(height));
        }
        if head < entry.transaction.valid_until {
            return Ok(Settled::Open);
        }
        Ok(self.find_sent(entry).await?.map_or(Settled::Never, Settled::Sent))
    }

    /// Finds a transfer in the history: the ledger forgets the ids of transactions when their time is over, but keeps
    /// every line about a transfer, also when it no longer keeps the block.
    async fn find_sent(&self, entry: &TransferEntry) -> Result<Option<u64>, ClientError> {
        let Transaction { valid_until, action, .. } = &entry.transaction;
        let Action::Transfer { to: receiver, amount: sum } = action else { return Ok(None) };
        let me = self.me();
        let ours = |event: &Event| {
            matches!(event, Event::Moved { from, to, amount, reason: Reason::Transfer }
                if *from == Place::Account { account: me }
                    && *to == Place::Account { account: *receiver }
                    && amount == sum)
        };
        let mut before = HistoryPlace::from(valid_until.saturating_add(1));
        loop {
            let lines = self.ledger().history(&me, before, LINES_AT_ONCE).await?.lines;
            let mut since = lines.iter().take_while(|line| entry.after < line.height);
            if let Some(line) = since.find(|line| ours(&line.event)) {
                return Ok(Some(line.height));
            }
            match lines.last().filter(|line| entry.after < line.height) {
                Some(line) => before = line.place(),
                None => return Ok(None),
            }
        }
    }
}

impl Local {
    /// Records that a transfer was sent. A transfer with an id of its caller's is kept. Any other is removed, so that
    /// the next request sends money again.
    fn note_sent(
        &self,
        key: &[u8],
        entry: TransferEntry,
        height: u64,
        keep: bool,
    ) -> Result<(), ClientError> {
        if keep {
            self.catalog().put(Transfers, key, &TransferEntry { height: Some(height), ..entry })
        } else {
            self.catalog().remove(Transfers, key)
        }
    }
}
