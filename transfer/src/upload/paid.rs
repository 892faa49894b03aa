//! Counts what an upload pays, also if the upload then fails.

use std::sync::{Arc, Mutex, MutexGuard};

use symbolon_protocol::Amount;

use crate::lock;

/// A sum that the starter of the upload can read. Clones share one sum.
#[derive(Clone, Debug, Default)]
pub struct Paid(Arc<Mutex<Amount>>);

impl Paid {
    fn lock(&self) -> MutexGuard<'_, Amount> {
        lock(&self.0)
    }

    /// The amount paid so far. It includes payments whose answer was lost.
    #[must_use]
    pub fn sum(&self) -> Amount {
        *self.lock()
    }

    /// Adds an amount, before the ledger is asked.
    pub fn add(&self, amount: Amount) {
        let mut sum = self.lock();
        *sum = sum.checked_add(amount).unwrap_or(*sum);
    }

    /// Subtracts an amount that the ledger has refused.
    pub fn take_back(&self, amount: Amount) {
        let mut sum = self.lock();
        *sum = sum.checked_sub(amount).unwrap_or(Amount::ZERO);
    }

    /// The part of a limit that is left.
    #[must_use]
    pub fn left(&self, limit: Option<Amount>) -> Option<Amount> {
        limit.map(|limit| limit.checked_sub(self.sum()).unwrap_or(Amount::ZERO))
    }
}
