//! Cover: shows the ledger which deals keep a listed file, so that it knows for how long. It takes no order before, and
//! none whose access would outlast these deals.

use std::collections::BTreeMap;

use symbolon_protocol::{
    Amount, LedgerTime,
    id::{DealId, ListingId, ObjectId, TransactionId},
    ledger::{
        COVERED_DEALS_MAX,
        rows::{Chain, Deal, Listing, ListingState},
        transaction::Action,
    },
};

use crate::{
    catalog::ObjectEntry,
    error::ClientError,
    library::{KeepOptions, KeepReport, Renewal, budget::Budget},
    market::Market,
    progress::Progress,
    term::{epoch_ms, runs},
};

/// How often a file is shown, at most, until the ledger knows its whole term: another device may make the term longer, or
/// show it too, at the same time.
const ROUNDS: usize = 3;

/// The transactions that show the deals of so many segments. Only their sizes count.
pub(super) fn largest(segments: u32) -> Vec<Action> {
    let chunk = u32::try_from(COVERED_DEALS_MAX).unwrap_or(u32::MAX);
    let chunks = (0..segments).step_by(COVERED_DEALS_MAX);
    let action = |first: u32| Action::CoverListing {
        listing: ListingId([0; 16]),
        first,
        deals: vec![DealId([0; 16]); (segments - first).min(chunk) as usize],
    };
    chunks.map(action).collect()
}

impl Market {
    /// Keeps everything stored: see [`Library::keep`](crate::Library::keep). Where listed files are kept for longer then,
    /// it shows that to the ledger, so that they can be sold for longer.
    pub async fn keep(
        &self,
        options: &KeepOptions,
        progress: &Progress,
    ) -> Result<KeepReport, ClientError> {
        let mut report = self.library.keep(options, progress).await?;
        let left = options.cost_max.map(|limit| limit.checked_sub(report.cost).unwrap_or_default());
        let shown = self.cover_grown(left, progress).await?;
        report.cost = report.cost.checked_add(shown).unwrap_or(report.cost);
        Ok(report)
    }

    /// Pays for a renewal: see [`Library::renew`](crate::Library::renew). Where listed files are kept for longer then, it
    /// shows that to the ledger.
    pub async fn renew(
        &self,
        renewal: &Renewal,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<Amount, ClientError> {
        let paid = self.library.renew(renewal, cost_max, progress).await?;
        let left = cost_max.map(|limit| limit.checked_sub(paid).unwrap_or_default());
        let shown = self.cover_grown(left, progress).await?;
        Ok(paid.checked_add(shown).unwrap_or(paid))
    }

    /// Shows the ledger the deals of a listed object, unless it knows them for their whole term. Gives until when it knows
    /// that the file is kept.
    pub(super) async fn cover(
        &self,
        id: ListingId,
        entry: &ObjectEntry,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<LedgerTime, ClientError> {
        for round in 0..ROUNDS {
            let stored = self.library.stored(vec![entry.clone()]).await?.remove(0);
            let chain = self.network().chain_row().await?;
            let listing = self.own.row(&id).await?;
            let (deals, end) = whole(&stored.deals)?;
            if let Some(until) = listing.cover.until.filter(|until| end <= *until) {
                return Ok(epoch_ms(&chain, until));
            }
            if round == 0 {
                progress.note("showing the ledger the deals that keep the file");
            }
            self.show(id, &listing, (&deals, end), budget).await?;
        }
        let chain = self.network().chain_row().await?;
        let until = self.own.row(&id).await?.cover.until;
        until.map(|until| epoch_ms(&chain, until)).ok_or_else(|| {
            ClientError::Internal(String::from("the ledger does not know the deals it was shown"))
        })
    }

    /// Shows all deals, or those that an earlier call has not shown.
    async fn show(
        &self,
        id: ListingId,
        listing: &Listing,
        (deals, end): (&[DealId], u64),
        budget: &Budget,
    ) -> Result<(), ClientError> {
        // What was shown before counts only if it lasts as long as the rest does.
        let shown = match end <= listing.cover.shown_until {
            true => listing.cover.shown as usize,
            false => 0,
        };
        let chunks = deals.get(shown..).unwrap_or_default().chunks(COVERED_DEALS_MAX);
        for (number, chunk) in chunks.enumerate() {
            let first = shown + number * COVERED_DEALS_MAX;
            let first = u32::try_from(first).expect("no more than the segments of a file");
            let action = Action::CoverListing { listing: id, first, deals: chunk.to_vec() };
            let transaction = TransactionId(self.host().random());
            self.send_within(budget, transaction, action).await?;
        }
        Ok(())
    }

    /// Shows the deals of this identity's listed files again, where their term has grown. Gives what was paid.
    async fn cover_grown(
        &self,
        limit: Option<Amount>,
        progress: &Progress,
    ) -> Result<Amount, ClientError> {
        let listed = self.own.all().await?;
        let open = listed.into_iter().filter(|(_, row)| row.state == ListingState::Open);
        let open: Vec<(ListingId, Listing)> = open.collect();
        if open.is_empty() {
            return Ok(Amount::ZERO);
        }
        let stored = self.library.all_stored().await?.into_iter();
        let stored: BTreeMap<ObjectId, _> =
            stored.map(|one| (one.entry.manifest.object, one)).collect();
        let budget = Budget::of(limit);
        for (id, row) in open {
            let Some(one) = stored.get(&row.terms.manifest.object) else { continue };
            // A file that is over cannot be covered. The next sale stores it anew.
            let Ok((_, end)) = whole(&one.deals) else { continue };
            if row.cover.until.is_none_or(|until| until < end) {
                match self.cover(id, &one.entry, &budget, &Progress::silent()).await {
                    // The term is longer already, and the next call shows it.
                    Err(ClientError::CostTooHigh { .. }) => progress.note(format!(
                        "the limit does not allow to show the ledger that listing {id} can be sold for longer"
                    )),
                    covered => drop(covered?),
                }
            }
        }
        Ok(budget.paid())
    }

    /// Until when the ledger knows that the file of a listing is kept.
    pub(super) fn covered_until(chain: &Chain, listing: &Listing) -> Option<LedgerTime> {
        listing.cover.until.map(|until| epoch_ms(chain, until))
    }
}

/// The deals of an object, and the first epoch in which one of them is over.
fn whole(deals: &[(DealId, Option<Deal>)]) -> Result<(Vec<DealId>, u64), ClientError> {
    let running = |(_, row): &(DealId, Option<Deal>)| {
        row.as_ref().filter(|deal| runs(deal)).map(|deal| deal.end)
    };
    let ends: Option<Vec<u64>> = deals.iter().map(running).collect();
    let end = ends.and_then(|ends| ends.into_iter().min());
    let over = || ClientError::Usage(String::from("the file is not stored any more: put it again"));
    Ok((deals.iter().map(|(id, _)| *id).collect(), end.ok_or_else(over)?))
}
