//! What an upload pays, counted where it is paid: also where the upload then fails.

use std::sync::{Arc, Mutex, MutexGuard};

use symbolon_protocol::Amount;

use crate::lock;

/// A sum that whoever started the upload can read. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Paid(Arc<Mutex<Amount>>);

impl Paid {
    fn lock(&self) -> MutexGuard<'_, Amount> {
        lock(&self.0)
    }

    /// What was paid so far, or may have been: an answer can get lost.
    #[must_use]
    pub fn sum(&self) -> Amount {
        *self.lock()
    }

    /// Before the ledger is asked.
    pub(super) fn add(&self, amount: Amount) {
        let mut sum = self.lock();
        *sum = sum.checked_add(amount).unwrap_or(*sum);
    }

    /// The ledger has refused.
    pub(super) fn take_back(&self, amount: Amount) {
        let mut sum = self.lock();
        *sum = sum.checked_sub(amount).unwrap_or(Amount::ZERO);
    }

    /// What is left of a limit.
    #[must_use]
    pub fn left(&self, limit: Option<Amount>) -> Option<Amount> {
        limit.map(|limit| limit.checked_sub(self.sum()).unwrap_or(Amount::ZERO))
    }
}
