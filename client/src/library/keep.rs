//! Keeps everything stored: longer terms for what would end soon, and new nodes for lost shards.

use std::collections::BTreeSet;

use symbolon_protocol::{Amount, LedgerTime, id::DealId, ledger::rows::Deal};
use symbolon_transfer::{
    TransferError,
    extend::{Extension, extension_price},
    repair::Repair,
};

use super::{
    Library,
    budget::Budget,
    stored::{Ends, Limited, Longer, Stored, Wanted},
    widen::Narrow,
};
use crate::{
    catalog::{Batch, Damaged, ObjectEntry},
    error::{ClientError, ErrorKind},
    progress::Progress,
    term::runs,
};

/// What a look renews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewing {
    /// All stored files: those that are kept for fewer than `least` epochs will be kept for `epochs`.
    All {
        /// The least number of epochs.
        least: u64,
        /// The number of epochs.
        epochs: u64,
    },
    /// The names that were marked, within the monthly limit: see [`Library::agree`]. Repairs count too.
    Agreed,
}

/// What is kept, and how far it may go.
#[derive(Clone, Debug)]
pub struct KeepOptions {
    /// What is renewed. Whatever has lost shards is repaired.
    pub renewing: Renewing,
    /// The most that may be paid. Without it, there is no limit but the one that was agreed.
    pub cost_max: Option<Amount>,
}

/// What one look at all stored objects found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepReport {
    /// Objects that are stored. Small files share one.
    pub objects: u64,
    /// Objects that are kept for longer now.
    pub renewed: u64,
    /// Objects that end too soon, since the limit does not allow to renew them.
    pub unpaid: u64,
    /// What it would cost to renew these.
    pub rest: Amount,
    /// Objects that end too soon, since their nodes do not agree to their prices for longer, and no others for more.
    pub limited: u64,
    /// Shards that are kept on new terms, by their nodes or by others, since their nodes agreed to no more.
    pub moved: u64,
    /// Objects that were spread over more nodes, as the network has grown.
    pub widened: u64,
    /// Objects that could be spread over more nodes.
    pub narrow: u64,
    /// Objects that are over: nodes delete them.
    pub over: u64,
    /// Lost shards that have a node again.
    pub repaired: u64,
    /// Lost shards that have none: there are too few nodes or too few shards left, or the limit was reached.
    pub lost: u64,
    /// Why the first of these could not be repaired.
    pub fault: Option<String>,
    /// What was paid.
    pub cost: Amount,
}

impl Library {
    /// Looks at all stored objects once, renews what ends too soon, those first that end first, and repairs what has lost
    /// shards, those in the greatest need first. It goes on with the others if one cannot be paid or repaired.
    pub async fn keep(
        &self,
        options: &KeepOptions,
        progress: &Progress,
    ) -> Result<KeepReport, ClientError> {
        // Two processes that keep the same files would spend one budget twice.
        let _lock = self.lock(KEEPING.to_vec(), String::from("keep")).await?;
        let (wanted, limit) = match options.renewing {
            Renewing::All { least, epochs } => (Wanted::All { least, epochs }, options.cost_max),
            Renewing::Agreed => {
                let left = self.agreement().await?.left();
                let left = options.cost_max.map_or(left, |limit| left.min(limit));
                (Wanted::These(self.read(|local| local.marked_objects()).await?), Some(left))
            }
        };
        let (mut stored, budget) = (self.all_stored().await?, Budget::of(limit));
        // A file that was removed is only there for its buyers. Its term is not made longer.
        let unused = self.local(|local| local.unused_objects()).await?;
        stored.retain(|one| !unused.contains(&one.entry.manifest.object));
        let mut report = KeepReport { objects: stored.len() as u64, ..KeepReport::default() };
        let ends = self.ending(&stored, &wanted).await?;
        report.over = ends.anew.values().filter(|ends| ends.is_none()).count() as u64;
        report.limited = ends.limited.len() as u64;
        let narrow = self.narrow(&stored, &wanted).await?;
        let work = Work { degraded: degraded(stored), ends, narrow };
        if work.is_nothing() {
            return Ok(report);
        }
        let is_monthly = options.renewing == Renewing::Agreed;
        let noted = if is_monthly { self.note_all(&budget).await? } else { None };
        let doing = self.keep_these(work, (&mut report, &budget), progress);
        let done = Box::pin(doing).await;
        report.cost = budget.paid();
        if let Some((at_ms, amount)) = noted {
            self.settle_spending(at_ms, (amount, report.cost)).await?;
        }
        done.map(|()| report)
    }

    /// Notes the whole budget as spent before any of it is. A process that is killed while it pays leaves too little for
    /// this month, never too much.
    async fn note_all(&self, budget: &Budget) -> Result<Option<(LedgerTime, Amount)>, ClientError> {
        let Some(left) = budget.left().filter(|left| Amount::ZERO < *left) else {
            return Ok(None);
        };
        let now_ms = self.clock().await?.now_ms;
        self.note_spending(now_ms, left).await?;
        Ok(Some((now_ms, left)))
    }

    async fn keep_these(
        &self,
        work: Work,
        (report, budget): (&mut KeepReport, &Budget),
        progress: &Progress,
    ) -> Result<(), ClientError> {
        self.renew_ending(work.ends.longer, report, budget, progress).await?;
        self.repair_all(work.degraded, report, budget, progress).await?;
        self.move_limited(work.ends.limited, report, budget, progress).await?;
        (report.widened, report.narrow) = self.widen_all(work.narrow, budget, progress).await?;
        Ok(())
    }

    /// Renews objects as far as the budget goes.
    async fn renew_ending(
        &self,
        longer: Longer,
        report: &mut KeepReport,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        if longer.is_empty() {
            return Ok(());
        }
        let params = self.network().params().await?;
        let mut longer: Vec<_> = longer.into_values().collect();
        longer.sort_by_key(|(_, lacking)| first_end(lacking));
        let (mut taken, mut cost) = (Vec::new(), Amount::ZERO);
        for (entry, lacking) in longer {
            // Together they cost no more than one by one: they share the fees of transactions.
            let price = extension_price(&params, &lacking)?;
            let sum = cost.checked_add(price).ok_or(TransferError::PriceTooLarge)?;
            if budget.left().is_none_or(|left| sum <= left) {
                cost = sum;
                taken.push((entry, lacking));
            } else {
                report.unpaid += 1;
                report.rest = report.rest.checked_add(price).unwrap_or(Amount(u128::MAX));
            }
        }
        if !taken.is_empty() {
            self.extend_objects(&taken, budget, progress).await?;
            report.renewed += taken.len() as u64;
        }
        Ok(())
    }

    async fn repair_all(
        &self,
        mut degraded: Vec<Degraded>,
        report: &mut KeepReport,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        degraded.sort_by_key(|(_, _, deal)| deal.spare());
        for (entry, deal, row) in degraded {
            let lost = row.lost().count() as u64;
            progress.note(format!("repairing {lost} of {} shards", row.shards.len()));
            let repairing =
                self.repair_deal(&entry, (deal, row, BTreeSet::new()), budget, progress);
            match Box::pin(repairing).await {
                Ok(repaired) => {
                    if repaired == lost {
                        // What a check found damaged may have been these shards. The next check says whether it was more.
                        let object = entry.manifest.object;
                        let mut batch = Batch::default();
                        batch.remove(Damaged, &object.0);
                        self.local(move |local| local.catalog().write(&batch)).await?;
                    }
                    report.repaired += repaired;
                    report.lost += lost - repaired;
                    if repaired < lost && report.fault.is_none() {
                        report.fault = Some(String::from("too few nodes have room for them"));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
                Err(error) => {
                    report.lost += lost;
                    report.fault.get_or_insert(error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Finds new terms for shards whose nodes ask for more than they are paid, or leave, and then pays for a longer term.
    async fn move_limited(
        &self,
        limited: Vec<Limited>,
        report: &mut KeepReport,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let mut longer = Longer::new();
        for Limited { entry, terms, short } in limited {
            for (deal, row, shards) in short {
                progress.note(format!("finding new terms for {} shards", shards.len()));
                let moving = self.repair_deal(&entry, (deal, row, shards), budget, progress);
                match Box::pin(moving).await {
                    Ok(moved) => report.moved += moved,
                    Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
                    Err(error) => drop(report.fault.get_or_insert(error.to_string())),
                }
            }
            let now = self.stored(vec![entry]).await?.remove(0);
            let agreed = self.network().agreements(now.asked_anew(terms.1).collect()).await?;
            if let Some(lacking) = now.lacking_at_least(terms, &agreed) {
                longer.insert(now.entry.manifest.object, (now.entry, lacking));
            }
        }
        report.limited -= longer.len() as u64;
        self.renew_ending(longer, report, budget, progress).await
    }

    /// Gives the lost shards of a deal, and those that are to move, to other nodes.
    async fn repair_deal(
        &self,
        entry: &ObjectEntry,
        (deal, row, moving): (DealId, Deal, BTreeSet<u8>),
        budget: &Budget,
        progress: &Progress,
    ) -> Result<u64, ClientError> {
        let reading = self.own_reading(entry)?;
        let candidates = self.network().candidates(&deal.0).await?;
        let repair = Repair { owner: self.owner(), reading, deal, row, candidates, moving };
        let (paid, left) = (budget.counter(), budget.left());
        let repaired = self.network().repair(&repair, (&paid, left), progress).await?;
        Ok(repaired.placed.len() as u64)
    }
}

/// What a look found to do.
struct Work {
    ends: Ends,
    degraded: Vec<Degraded>,
    narrow: Vec<Narrow>,
}

impl Work {
    fn is_nothing(&self) -> bool {
        let Self { ends, degraded, narrow } = self;
        ends.longer.is_empty()
            && ends.limited.is_empty()
            && degraded.is_empty()
            && narrow.is_empty()
    }
}

/// A running deal with lost shards, and the object it is of.
type Degraded = (ObjectEntry, DealId, Deal);

fn degraded(stored: Vec<Stored>) -> Vec<Degraded> {
    let is_degraded = |row: &Deal| runs(row) && row.lost().next().is_some();
    let of_one = |Stored { entry, deals }: Stored| {
        let rows = deals.into_iter().filter_map(|(deal, row)| Some((deal, row?)));
        let degraded = rows.filter(move |(_, row)| is_degraded(row));
        degraded.map(move |(deal, row)| (entry.clone(), deal, row)).collect::<Vec<_>>()
    };
    stored.into_iter().flat_map(of_one).collect()
}

/// When the first of these deals ends.
fn first_end(lacking: &[Extension]) -> u64 {
    lacking.iter().map(|one| one.row.end).min().unwrap_or(u64::MAX)
}

/// What the lock of a keeping process is called. No name of a file begins with a zero byte.
const KEEPING: &[u8] = b"\0keep";
