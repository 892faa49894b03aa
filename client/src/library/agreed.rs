//! What the user has agreed to in advance: names that are renewed without a question, and the most that this may cost in
//! thirty days.
//!
//! This machine alone knows it. If each device had the same marks, each would have a budget of its own to spend.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{Amount, LedgerTime, Millis, id::ObjectId};

use super::{
    Library, Local,
    names::{Name, below},
};
use crate::{
    catalog::{Agreed, AgreedEntry, Batch, Content, Mark, Spent},
    error::ClientError,
};

/// The time for which a budget is stated.
const MONTH: Millis = Millis::DAY.saturating_mul(30);

/// Names that may be marked. A folder needs one mark for everything in it.
const MARKS_MAX: usize = 1_000;

/// What was agreed to on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// The names that are renewed, and for how many epochs. A folder stands for everything in it.
    pub names: Vec<(Name, u64)>,
    /// The most that may be spent in thirty days.
    pub monthly_max: Amount,
    /// What was spent in the last thirty days.
    pub spent: Amount,
}

impl Agreement {
    /// What may be spent now.
    #[must_use]
    pub fn left(&self) -> Amount {
        self.monthly_max.checked_sub(self.spent).unwrap_or(Amount::ZERO)
    }
}

impl Library {
    /// What was agreed to on this machine.
    pub async fn agreement(&self) -> Result<Agreement, ClientError> {
        let now_ms = self.clock().await?.now_ms;
        self.read(move |local| local.agreement(now_ms)).await
    }

    /// Marks names, so that a keeping process renews what is stored under them for `epochs` whenever half of that is over.
    /// `monthly_max` becomes the limit of thirty days for all marks together; without it, the limit stays.
    pub async fn agree(
        &self,
        names: &[Name],
        epochs: u64,
        monthly_max: Option<Amount>,
    ) -> Result<(), ClientError> {
        let names = names.to_vec();
        self.local(move |local| {
            local.edit_agreed(|entry| {
                entry.monthly_max = monthly_max.unwrap_or(entry.monthly_max);
                for name in names {
                    let path = name.as_bytes().to_vec();
                    entry.marks.retain(|mark| mark.path != path);
                    entry.marks.push(Mark { path, epochs });
                }
                match entry.marks.len() <= MARKS_MAX {
                    true => Ok(()),
                    false => Err(ClientError::Usage(format!(
                        "at most {MARKS_MAX} names can be marked: mark the folder that they are in"
                    ))),
                }
            })
        })
        .await
    }

    /// Takes the marks from names, and from names below them. Gives how many had one.
    pub async fn disagree(&self, names: &[Name]) -> Result<u64, ClientError> {
        let names = names.to_vec();
        self.local(move |local| local.unmark(&names)).await
    }

    /// Notes money before it is spent, so that a crash cannot make a month's limit larger.
    pub(crate) async fn note_spending(
        &self,
        at_ms: LedgerTime,
        amount: Amount,
    ) -> Result<(), ClientError> {
        let note = move |entry: &mut AgreedEntry| {
            forget_old(entry, at_ms);
            entry.spent.push(Spent { at_ms, amount });
            Ok(())
        };
        self.local(move |local| local.edit_agreed(note)).await
    }

    /// Notes all that is left of the limit as spent, and gives it; with `most`, no more than that. Two processes that
    /// spend at the same time get it once.
    pub(crate) async fn take_left(
        &self,
        at_ms: LedgerTime,
        most: Option<Amount>,
    ) -> Result<Amount, ClientError> {
        self.local(move |local| {
            let mut taken = Amount::ZERO;
            local.edit_agreed(|entry| {
                forget_old(entry, at_ms);
                let mut spent = entry.spent.iter().map(|one| one.amount);
                let spent = spent.try_fold(Amount::ZERO, Amount::checked_add);
                let left = spent.and_then(|spent| entry.monthly_max.checked_sub(spent));
                let left = left.unwrap_or(Amount::ZERO);
                taken = most.map_or(left, |most| left.min(most));
                if Amount::ZERO < taken {
                    entry.spent.push(Spent { at_ms, amount: taken });
                }
                Ok(())
            })?;
            Ok(taken)
        })
        .await
    }

    /// Notes what was spent of an amount that was noted before.
    pub(crate) async fn settle_spending(
        &self,
        at_ms: LedgerTime,
        (noted, spent): (Amount, Amount),
    ) -> Result<(), ClientError> {
        let settle = move |entry: &mut AgreedEntry| {
            let was = Spent { at_ms, amount: noted };
            if let Some(place) = entry.spent.iter().rposition(|one| *one == was) {
                entry.spent[place].amount = spent;
            }
            entry.spent.retain(|one| Amount::ZERO < one.amount);
            Ok(())
        };
        self.local(move |local| local.edit_agreed(settle)).await
    }
}

impl Local {
    pub(crate) fn agreement(&self, now_ms: LedgerTime) -> Result<Agreement, ClientError> {
        let mut entry = self.catalog().row(Agreed, b"")?.unwrap_or_default();
        forget_old(&mut entry, now_ms);
        let names = entry.marks.iter().map(|mark| Ok((Name::checked(&mark.path)?, mark.epochs)));
        let mut spent = entry.spent.iter().map(|one| one.amount);
        Ok(Agreement {
            names: names.collect::<Result<_, ClientError>>()?,
            monthly_max: entry.monthly_max,
            spent: spent.try_fold(Amount::ZERO, Amount::checked_add).unwrap_or(Amount(u128::MAX)),
        })
    }

    /// The objects under marked names, and for how many epochs each is renewed.
    pub(crate) fn marked_objects(&self) -> Result<BTreeMap<ObjectId, u64>, ClientError> {
        let entry = self.catalog().row(Agreed, b"")?.unwrap_or_default();
        let mut objects: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for mark in &entry.marks {
            let tree = self.tree_below(&mark.path)?;
            for (_, version) in tree.live() {
                if let Content::File { object, .. } = version.content {
                    let epochs = objects.entry(object).or_default();
                    *epochs = mark.epochs.max(*epochs);
                }
            }
        }
        Ok(objects)
    }

    /// Takes the marks from names, and from names below them. Gives how many had one.
    pub(crate) fn unmark(&self, names: &[Name]) -> Result<u64, ClientError> {
        let gone: BTreeSet<&[u8]> = names.iter().map(Name::as_bytes).collect();
        let is_gone = |mark: &Mark| {
            gone.contains(&*mark.path) || gone.iter().any(|name| below(&mark.path, name).is_some())
        };
        if !self.has_mark(is_gone)? {
            return Ok(0);
        }
        let mut count = 0;
        self.edit_agreed(|entry| {
            entry.marks.retain(|mark| {
                count += u64::from(is_gone(mark));
                !is_gone(mark)
            });
            Ok(())
        })?;
        Ok(count)
    }

    /// Takes the marks under which nothing is left after names were removed. What is stored under such a name later is
    /// another file: its owner has to agree anew.
    pub(crate) fn unmark_gone(&self, removed: &[Name]) -> Result<(), ClientError> {
        let entry = self.catalog().row(Agreed, b"")?.unwrap_or_default();
        let mut gone = Vec::new();
        for mark in &entry.marks {
            let touched = removed.iter().any(|name| below(name.as_bytes(), &mark.path).is_some());
            if touched && self.tree_below(&mark.path)?.live().next().is_none() {
                gone.push(Name::checked(&mark.path)?);
            }
        }
        self.unmark(&gone).map(drop)
    }

    /// Gives the marks of a name, and of names below it, to its new name.
    pub(crate) fn move_marks(&self, from: &Name, to: &Name) -> Result<(), ClientError> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        if !self.has_mark(|mark| below(&mark.path, from).is_some())? {
            return Ok(());
        }
        self.edit_agreed(|entry| {
            for mark in &mut entry.marks {
                let Some(rest) = below(&mark.path, from) else { continue };
                mark.path = match rest.is_empty() {
                    true => to.to_vec(),
                    false => [to, b"/", rest].concat(),
                };
            }
            Ok(())
        })
    }

    fn has_mark(&self, wanted: impl Fn(&Mark) -> bool) -> Result<bool, ClientError> {
        let entry = self.catalog().row(Agreed, b"")?;
        Ok(entry.is_some_and(|entry| entry.marks.iter().any(wanted)))
    }

    fn edit_agreed(
        &self,
        edit: impl FnOnce(&mut AgreedEntry) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let _lock = self.lock_names()?;
        let mut entry = self.catalog().row(Agreed, b"")?.unwrap_or_default();
        edit(&mut entry)?;
        let mut batch = Batch::default();
        batch.put(Agreed, b"", &entry);
        self.catalog().write(&batch)
    }
}

/// Drops what was spent more than thirty days ago.
fn forget_old(entry: &mut AgreedEntry, now_ms: LedgerTime) {
    entry.spent.retain(|one| now_ms < one.at_ms.saturating_add(MONTH));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_counts_for_thirty_days() {
        let at = |days: u64| LedgerTime(Millis::DAY.saturating_mul(days).0);
        let spent = |days| Spent { at_ms: at(days), amount: Amount(1) };
        let mut entry = AgreedEntry { spent: vec![spent(1), spent(2)], ..AgreedEntry::default() };
        forget_old(&mut entry, LedgerTime(at(31).0 - 1));
        assert_eq!(entry.spent, [spent(1), spent(2)]);
        forget_old(&mut entry, at(31));
        assert_eq!(entry.spent, [spent(2)]);
        let agreement = |spent| Agreement { monthly_max: Amount(3), spent, ..Agreement::default() };
        assert_eq!(agreement(Amount(2)).left(), Amount(1));
        assert_eq!(agreement(Amount(4)).left(), Amount::ZERO, "the limit was lowered meanwhile");
    }
}
