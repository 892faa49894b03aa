//! Keeps everything stored: longer terms for what would end soon, and new nodes for lost shards.

use symbolon_protocol::{
    Amount,
    grant::ability,
    id::DealId,
    ledger::rows::{Deal, Deals},
};
use symbolon_transfer::repair::Repair;

use super::{Library, budget::Budget, put::deals_of};
use crate::{
    catalog::{Batch, Damaged, ObjectEntry, Objects},
    download::{LeavesWanted, Reading},
    error::ClientError,
    progress::Progress,
    term::runs,
};

/// What is kept, and how far it may go.
#[derive(Clone, Debug)]
pub struct KeepOptions {
    /// Number of epochs for which files are kept.
    pub epochs: u64,
    /// Files that are kept for fewer epochs than this are renewed.
    pub least: u64,
    /// The most that may be paid. Without it, there is no limit.
    pub cost_max: Option<Amount>,
}

/// What one look at all stored objects found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepReport {
    /// Objects that are stored. Small files share one.
    pub objects: u64,
    /// Objects that are kept for longer now.
    pub renewed: u64,
    /// Objects that end too soon, since their nodes do not agree to their prices for longer.
    pub limited: u64,
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
    /// Looks at all stored objects once, renews what ends too soon, and repairs what has lost shards, those in the greatest
    /// need first. It goes on with the others if one cannot be repaired.
    pub async fn keep(
        &self,
        options: &KeepOptions,
        progress: &Progress,
    ) -> Result<KeepReport, ClientError> {
        let budget = Budget::of(options.cost_max);
        let mut report = KeepReport::default();
        let ends = self.ending(options.least, options.epochs).await?;
        report.over = ends.anew.values().filter(|ends| ends.is_none()).count() as u64;
        report.limited = ends.anew.len() as u64 - report.over;
        let longer: Vec<_> = ends.longer.into_values().collect();
        if !longer.is_empty() {
            Box::pin(self.extend_objects(&longer, &budget, progress)).await?;
            report.renewed = longer.len() as u64;
        }
        self.repair_all(&mut report, &budget, progress).await?;
        report.cost = budget.paid();
        Ok(report)
    }

    async fn repair_all(
        &self,
        report: &mut KeepReport,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let entries = self.local(|local| local.catalog().rows(Objects)).await?;
        report.objects = entries.len() as u64;
        let mut degraded = self.degraded(entries).await?;
        if degraded.is_empty() {
            return Ok(());
        }
        degraded.sort_by_key(|(_, _, deal)| deal.spare());
        for (entry, deal, row) in degraded {
            let lost = row.lost().count() as u64;
            progress.note(format!("repairing {lost} of {} shards", row.shards.len()));
            let repairing = self.repair_deal(&entry, (deal, row), budget, progress);
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
                Err(ClientError::Transfer(error)) => {
                    report.lost += lost;
                    report.fault.get_or_insert(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The running deals with lost shards, and the objects they are of.
    async fn degraded(
        &self,
        entries: Vec<ObjectEntry>,
    ) -> Result<Vec<(ObjectEntry, DealId, Deal)>, ClientError> {
        let mut owners = Vec::new();
        for entry in entries {
            let own = deals_of(&self.me(), &entry)?;
            owners.extend(own.into_iter().map(|deal| (entry.clone(), deal)));
        }
        let ids: Vec<_> = owners.iter().map(|(_, deal)| *deal).collect();
        let rows = self.network().rows_of(Deals, &ids).await?;
        let degraded = owners.into_iter().zip(rows).filter_map(|((entry, deal), row)| {
            let row = row.filter(|row| runs(row) && row.lost().next().is_some())?;
            Some((entry, deal, row))
        });
        Ok(degraded.collect())
    }

    async fn repair_deal(
        &self,
        entry: &ObjectEntry,
        (deal, row): (DealId, Deal),
        budget: &Budget,
        progress: &Progress,
    ) -> Result<u64, ClientError> {
        let object = entry.manifest.object;
        let reading = Reading {
            owner: self.me(),
            manifest: entry.manifest.clone(),
            key: entry.key.file_key(),
            grant: Some(self.own_grant(object, ability::READ)?),
            leaves: LeavesWanted::No,
            only: None,
        };
        let candidates = self.network().candidates(&deal.0).await?;
        let repair = Repair { owner: self.owner(), reading, deal, row, candidates };
        let (paid, left) = (budget.counter(), budget.left());
        let repaired = self.network().repair(&repair, (&paid, left), progress).await?;
        Ok(repaired.placed.len() as u64)
    }
}
