//! The cost of the index, and the time for which its runs are paid.
//!
//! A run is paid until everything that the index names has ended: the objects, and the access that was bought. A newer
//! run may hide or remove rows of an older one, so it is paid at least as long as the older one. So every run outlives
//! all that it names, and no run is paid for a time in which it is not needed.

use symbolon_protocol::{
    Amount, Encode,
    ledger::{rows::Chain, transaction::Action},
    limits::{INDEX_PART_BYTES_MAX, ROOT_BYTES_MAX},
    names::{Change, RootRecord, Run, has_room, runs_to_merge},
};

use crate::{
    catalog::{Begun, Purchases, Terms},
    error::ClientError,
    library::{Library, Local},
    place::{Candidate, choose_scheme, quote, with_room},
};

/// The most that a command is about to add to the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Number of names that it gives, changes or removes.
    pub names: u64,
    /// Bytes of these names, and of the paths that they are read from.
    pub name_bytes: u64,
    /// Number of objects that it stores.
    pub objects: u64,
}

/// Bytes of a name's row with one version, without the name. The row holds the name twice.
const NAME_ROW_BYTES: u64 = 128;

/// Bytes of an object's row without its source path, together with the rows that its upload leaves.
const OBJECT_ROW_BYTES: u64 = 320;

impl Growth {
    /// The growth by one file under a name, read from a path.
    #[must_use]
    pub fn file(name_bytes: usize, path_bytes: usize) -> Self {
        Self { names: 1, name_bytes: (name_bytes + path_bytes) as u64, objects: 1 }
    }

    fn bytes(&self) -> u64 {
        let names = self.names.saturating_mul(NAME_ROW_BYTES);
        let objects = self.objects.saturating_mul(OBJECT_ROW_BYTES);
        names.saturating_add(objects).saturating_add(self.name_bytes.saturating_mul(2))
    }
}

/// The time for which runs are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// The current epoch.
    pub(super) now: u64,
    /// The first epoch in which nothing that the index names is kept any more.
    pub(super) until: u64,
    /// The most epochs of a deal.
    pub(super) most: u64,
}

impl Term {
    /// Number of epochs for which a new run is paid, if it comes after `older` ones.
    pub(super) fn epochs(&self, older: &RootRecord) -> u64 {
        let until = older.runs.last().map_or(self.until, |run| self.until.max(run.end));
        // A deal that is opened now begins with the next epoch.
        until.saturating_sub(self.now + 1).clamp(1, self.most)
    }

    /// Whether the runs of a record have to be written anew. That is so when one is over, because no other run holds
    /// its rows. It is also so when one is paid for more than twice as long as it is needed, because the rest of the
    /// money comes back.
    pub(super) fn is_stale(&self, record: &RootRecord) -> bool {
        let left = |end: u64| end.saturating_sub(self.now + 1);
        let twice = left(self.until).max(1).saturating_mul(2);
        record.runs.iter().any(|run| run.end <= self.now || twice < left(run.end))
    }
}

fn size(changes: &[Change]) -> u64 {
    changes.iter().map(|change| change.size() as u64).sum()
}

/// Whether a record has room for a tail of `tail` bytes, after one more device is entered.
fn has_room_for(record: &RootRecord, tail: u64) -> bool {
    let mut head = RootRecord { tail: Vec::new(), ..record.clone() };
    head.mark(0, u64::MAX);
    let whole = (head.to_bytes().len() as u64).saturating_add(tail);
    usize::try_from(whole).is_ok_and(has_room)
}

impl Library {
    /// The most that publishing the index costs in all, after a command has added `growth` to it, with objects that are
    /// kept for `epochs` epochs. It includes rows that are not published yet. It is zero as long as the newest changes
    /// fit into the root record, which is usual.
    pub async fn quote_index(&self, growth: &Growth, epochs: u64) -> Result<Amount, ClientError> {
        let read = |local: &Local| {
            let known = local.standing()?.known;
            Ok::<_, ClientError>((
                (known.version, known.record),
                local.catalog().unpublished(0)?.bytes,
            ))
        };
        let ((version, record), unpublished) = self.local(read).await?;
        let largest = Action::SetRoot { expected_version: version, blob: vec![0; ROOT_BYTES_MAX] };
        let root = self.price_of_root(&largest, version).await?;
        let runs = self.quote_runs(record, unpublished, growth, epochs).await?;
        Ok(runs.checked_add(root).unwrap_or(Amount(u128::MAX)))
    }

    /// What setting the root record costs: nothing on a network without fees. The deposit is for the first one.
    pub(super) async fn price_of_root(
        &self,
        action: &Action,
        version: u64,
    ) -> Result<Amount, ClientError> {
        let price = self.price_of_action(action).await?;
        Ok(if version == 0 { price.total() } else { price.fee })
    }

    async fn quote_runs(
        &self,
        record: RootRecord,
        unpublished: u64,
        growth: &Growth,
        epochs: u64,
    ) -> Result<Amount, ClientError> {
        let more = unpublished.saturating_add(growth.bytes());
        let fresh = size(&record.tail).saturating_add(more);
        if record.runs.is_empty() && has_room_for(&record, fresh) {
            return Ok(Amount::ZERO);
        }
        let chain = self.network().recent_chain().await?;
        let (row, known) = (chain.clone(), record.clone());
        let mut term = self.local(move |local| local.term(&row, &known)).await?;
        term.until = term.until.max((term.now + 1).saturating_add(epochs));
        let (record, fresh) = if term.is_stale(&record) {
            let all = |local: &Local| {
                let places = local.catalog().published_places(&local.catalog().snapshot()?)?;
                Ok::<_, ClientError>(places.bytes().sum::<u64>())
            };
            let all = self.local(all).await?.saturating_add(more);
            (RootRecord { runs: Vec::new(), ..record }, all)
        } else {
            (record, fresh)
        };
        if has_room_for(&record, fresh) {
            return Ok(Amount::ZERO);
        }
        let kept = record.runs.len() - runs_to_merge(&record, fresh);
        let merged = record.runs[kept..].iter().map(Run::bytes);
        let bytes = merged.fold(fresh, u64::saturating_add);
        let older = RootRecord { runs: record.runs[..kept].to_vec(), ..RootRecord::default() };
        self.most_for(&chain, bytes, term.epochs(&older)).await
    }

    /// The most that runs of `bytes` bytes cost: the price on the most expensive of the acceptable nodes.
    async fn most_for(
        &self,
        chain: &Chain,
        bytes: u64,
        epochs: u64,
    ) -> Result<Amount, ClientError> {
        let candidates = self.network().candidates(b"index").await?;
        let mut most = Amount::ZERO;
        let mut left = bytes.max(1);
        while left > 0 {
            let part = left.min(INDEX_PART_BYTES_MAX);
            let cost = part_cost(chain, &candidates, part, epochs)?;
            most = most.checked_add(cost).unwrap_or(Amount(u128::MAX));
            left -= part;
        }
        Ok(most)
    }

    /// The price of parts with these lengths, on the nodes that answer now.
    pub(super) async fn parts_cost(
        &self,
        lengths: &[u64],
        epochs: u64,
    ) -> Result<Amount, ClientError> {
        let (chain, candidates) =
            (self.network().recent_chain().await?, self.network().candidates(b"index").await?);
        let mut sum = Amount::ZERO;
        for length in lengths {
            let cost = part_cost(&chain, &candidates, *length, epochs)?;
            sum = sum.checked_add(cost).unwrap_or(Amount(u128::MAX));
        }
        Ok(sum)
    }
}

impl Local {
    /// Until when the index is needed, as far as its rows show now.
    pub(super) fn term(&self, chain: &Chain, record: &RootRecord) -> Result<Term, ClientError> {
        let (now, params) = (chain.epoch, &chain.params);
        let mut until = now + 1;
        for term in self.catalog().rows(Terms)? {
            until = until.max(term.end);
        }
        for purchase in self.catalog().rows(Purchases)? {
            let left = purchase.until_ms.saturating_since(chain.epoch_started());
            until = until.max(now.saturating_add(left.steps_of(params.epoch_ms)));
        }
        // An upload that began may be completed now.
        for upload in self.catalog().rows(Begun)? {
            until = until.max((now + 1).saturating_add(upload.epochs));
        }
        // A newer program may have written rows that this one does not know. It knew how long they are needed.
        if self.catalog().has_unknown_rows()? {
            until = until.max(record.until);
        }
        Ok(Term { now, until, most: params.deal_epochs_max })
    }
}

fn part_cost(
    chain: &Chain,
    candidates: &[Candidate],
    length: u64,
    epochs: u64,
) -> Result<Amount, ClientError> {
    let candidates = with_room(candidates.to_vec(), None, Some(length));
    let scheme = choose_scheme(None, &candidates)?;
    Ok(quote(&chain.params, &candidates, scheme, length, epochs)?.total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ends: &[u64]) -> RootRecord {
        let run = |end: &u64| Run { end: *end, entries: 1, parts: Vec::new() };
        RootRecord { runs: ends.iter().map(run).collect(), ..RootRecord::default() }
    }

    #[test]
    fn a_run_is_paid_as_long_as_it_is_needed() {
        let term = Term { now: 10, until: 50, most: 1000 };
        assert_eq!(term.epochs(&record(&[])), 39, "from epoch 11 on, and not in epoch 50");
        assert_eq!(term.epochs(&record(&[20, 60])), 49, "as long as the ones it follows");
        assert_eq!(Term { most: 7, ..term }.epochs(&record(&[])), 7);
        assert_eq!(Term { until: 11, ..term }.epochs(&record(&[])), 1, "nothing is needed");
    }

    #[test]
    fn runs_that_are_over_or_far_too_long_are_written_anew() {
        let term = Term { now: 10, until: 50, most: 1000 };
        assert!(!term.is_stale(&record(&[11, 50, 89])));
        assert!(term.is_stale(&record(&[10, 50])), "over");
        assert!(term.is_stale(&record(&[50, 90])), "39 epochs are needed, 79 are paid");
    }
}
