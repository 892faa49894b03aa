//! Sending money, once: the signed transaction is written down before the ledger is asked. When the answer
//! got lost, the same request asks for the very same transaction again, which the ledger applies once.

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

use super::VALID_BLOCKS;
use crate::{
    Client,
    catalog::{TransferEntry, Transfers},
    error::ClientError,
};

/// Lines of history that are read in one go to find a transfer whose time is over.
const LINES_AT_ONCE: usize = 1_000;

/// Money that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The block it is in.
    pub height: u64,
    /// Whether an earlier request had sent it, and this one sent nothing.
    pub before: bool,
}

impl Client {
    /// Sends money. With an id, whatever else is asked for under that id sends nothing more, ever. Without
    /// one, a request whose answer got lost is finished by the next one for the same money to the same
    /// account.
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
        let _lock = self.lock(&[b"\0transfer", key.as_slice()].concat(), "this transfer")?;
        if let Some(entry) = self.catalog().row(Transfers, &key)? {
            if entry.transaction.action != (Action::Transfer { to, amount }) {
                let why = "this id was used to send another amount, or to somebody else";
                return Err(ClientError::Usage(String::from(why)));
            }
            if let Some(height) = self.sent_before(&entry).await? {
                self.note_sent(&key, entry, height, id.is_some())?;
                return Ok(Sent { height, before: true });
            }
        }
        let ledger = self.ledger();
        let after = ledger.head().await?.header.height;
        let transaction = Transaction::build(
            ledger.chain(),
            &self.identity().account_key(),
            TransactionId(self.host().random()),
            after + VALID_BLOCKS,
            Action::Transfer { to, amount },
        );
        let entry = TransferEntry { transaction: transaction.clone(), after, height: None };
        self.catalog().put(Transfers, &key, &entry)?;
        let Outcome { height, status } = ledger.submit(transaction).await?;
        match status {
            Status::Applied => {
                self.note_sent(&key, entry, height, id.is_some())?;
                Ok(Sent { height, before: false })
            }
            status => {
                self.catalog().remove(Transfers, &key)?;
                Err(ClientError::LedgerRefused(status))
            }
        }
    }

    /// In which block a transfer that was written down before is; none when it is in none, and never
    /// will be.
    async fn sent_before(&self, entry: &TransferEntry) -> Result<Option<u64>, ClientError> {
        if entry.height.is_some() {
            return Ok(entry.height);
        }
        let outcome = self.ledger().submit(entry.transaction.clone()).await?;
        match outcome.status {
            Status::Applied => Ok(Some(outcome.height)),
            // Then it was not applied before either: the ledger would have said so.
            Status::Expired => self.find_sent(entry).await,
            _ => Ok(None),
        }
    }

    /// The ledger forgets ids when their time is over; what moved money it does not.
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
            let lines = self.ledger().history(&me, before, LINES_AT_ONCE).await?;
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

    /// What has an id of its caller's is remembered; otherwise the next request is another one.
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
