//! The limit of one call, and what the call has spent of it.

use std::sync::{Arc, Mutex};

use symbolon_protocol::Amount;

use crate::{error::ClientError, library::upload::Paid, lock};

/// The limit of one call, and a counter for each of its uploads. Clones share both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget {
    limit: Option<Amount>,
    uploads: Arc<Mutex<Vec<Paid>>>,
}

impl Budget {
    /// A budget with a limit, or without one.
    pub(crate) fn of(limit: Option<Amount>) -> Self {
        Self { limit, uploads: Arc::default() }
    }

    /// A counter for one more upload. It counts what the upload pays, also when the upload fails.
    pub(crate) fn counter(&self) -> Paid {
        let paid = Paid::default();
        lock(&self.uploads).push(paid.clone());
        paid
    }

    /// A counter for one payment, which it counts. Refuses one that is more than what is left.
    pub(crate) fn spend(&self, cost: Amount) -> Result<Paid, ClientError> {
        if let Some(limit) = self.left().filter(|left| *left < cost) {
            return Err(ClientError::CostTooHigh { cost, limit });
        }
        let paid = self.counter();
        paid.add(cost);
        Ok(paid)
    }

    /// The sum of all payments so far.
    pub(crate) fn paid(&self) -> Amount {
        let paid =
            lock(&self.uploads).iter().map(Paid::sum).try_fold(Amount::ZERO, Amount::checked_add);
        // A sum above every amount leaves nothing of any limit.
        paid.unwrap_or(Amount(u128::MAX))
    }

    /// What is left of the limit. `None` without a limit.
    pub(crate) fn left(&self) -> Option<Amount> {
        self.limit.map(|limit| limit.checked_sub(self.paid()).unwrap_or(Amount::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_without_a_limit_has_no_rest() {
        assert_eq!(Budget::of(None).left(), None);
        let budget = Budget::of(Some(Amount(7)));
        budget.counter();
        assert_eq!((budget.paid(), budget.left()), (Amount::ZERO, Some(Amount(7))));
        let spent = budget.spend(Amount(5)).unwrap();
        let more = budget.spend(Amount(3));
        assert!(matches!(more, Err(ClientError::CostTooHigh { limit: Amount(2), .. })), "{more:?}");
        spent.take_back(Amount(5));
        budget.spend(Amount(7)).unwrap();
        assert_eq!(budget.left(), Some(Amount::ZERO));
    }
}
