//! Keeping stored files for longer: the deals of their objects get more epochs, and no byte moves.

use std::collections::BTreeMap;

use symbolon_protocol::{Amount, LedgerTime, id::ObjectId, ledger::rows::Chain};
use symbolon_transfer::extend::{Extension, extension_price};

use super::{Library, budget::Budget, names::Name, upload::Paid};
use crate::{
    catalog::{Batch, ObjectEntry, Objects},
    error::ClientError,
    progress::Progress,
    term::epoch_ms,
};

/// What it takes to keep files for longer.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Number of files.
    pub files: u64,
    /// Number of their bytes.
    pub bytes: u64,
    /// Number of files that are kept so long already.
    pub kept: u64,
    /// Files that are over: nodes delete them. Only a put stores them anew.
    pub over: Vec<Name>,
    /// When the first of the others ends now, in milliseconds since the Unix epoch.
    pub ends_ms: Option<LedgerTime>,
    /// Until when all of them will be kept.
    pub until_ms: LedgerTime,
    /// Whether nodes agree to less than was asked.
    pub limited: bool,
    /// The price, including everything.
    pub cost: Amount,
    /// The objects, with what their deals lack.
    objects: Vec<(ObjectEntry, Vec<Extension>)>,
}

impl Renewal {
    /// Whether nothing has to be paid.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.objects.is_empty()
    }
}

impl Library {
    /// What it takes to keep these files for so many more epochs, beginning with the next one. Names of folders and links
    /// count for nothing.
    pub async fn renewal(&self, names: &[Name], epochs: u64) -> Result<Renewal, ClientError> {
        let chain = self.network().chain_row().await?;
        let until = chain.epoch.saturating_add(1).saturating_add(epochs);
        let asked = names.to_vec();
        let found = self
            .local(move |local| {
                let found = asked.iter().filter_map(|name| match local.find(name) {
                    Ok(found) => Some(Ok((name.clone(), found))),
                    Err(ClientError::NotAFile { .. }) => None,
                    Err(error) => Some(Err(error)),
                });
                found.collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let mut objects: BTreeMap<ObjectId, ObjectEntry> = BTreeMap::new();
        for (_, file) in &found {
            let object = &file.object;
            objects.entry(object.manifest.object).or_insert_with(|| (**object).clone());
        }
        let stored = self.stored(objects.into_values().collect()).await?;
        let nodes = stored.iter().flat_map(|one| one.asked_anew(until)).collect();
        let agreed = self.network().agreements(nodes).await?;
        let params = &chain.params;
        let mut renewal = Renewal {
            files: found.len() as u64,
            bytes: found.iter().map(|(_, file)| file.length).sum(),
            kept: 0,
            over: Vec::new(),
            ends_ms: None,
            until_ms: epoch_ms(&chain, until),
            limited: false,
            cost: Amount::ZERO,
            objects: Vec::new(),
        };
        let mut ends: BTreeMap<ObjectId, Option<u64>> = BTreeMap::new();
        let mut first = until;
        for one in stored {
            let object = one.entry.manifest.object;
            let end = one.kept(&chain).end();
            ends.insert(object, end);
            if end.is_none() {
                continue;
            }
            let reached = one.known().map(|(_, deal)| deal.end.max(until.min(agreed.until(deal))));
            first = first.min(reached.min().unwrap_or(until));
            let lacking = one.lacking(until, &agreed);
            if !lacking.is_empty() {
                renewal.objects.push((one.entry, lacking));
            }
        }
        for (name, file) in found {
            match ends[&file.object.manifest.object] {
                None => renewal.over.push(name),
                Some(end) if until <= end => renewal.kept += 1,
                Some(end) => {
                    let end_ms = epoch_ms(&chain, end);
                    renewal.ends_ms = Some(renewal.ends_ms.map_or(end_ms, |ms| ms.min(end_ms)));
                }
            }
        }
        (renewal.limited, renewal.until_ms) = (first < until, epoch_ms(&chain, first));
        let all: Vec<_> = renewal.objects.iter().flat_map(|(_, deals)| deals.clone()).collect();
        renewal.cost = extension_price(params, &all)?;
        Ok(renewal)
    }

    /// Pays for a renewal, up to a limit, and notes until when the files are kept. Gives what was paid.
    pub async fn renew(
        &self,
        renewal: &Renewal,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<Amount, ClientError> {
        let budget = Budget::of(cost_max);
        let paid = self.extend_objects(&renewal.objects, &budget, progress).await?;
        Ok(paid.sum())
    }

    /// Extends the deals of objects. Whatever comes of it, the objects' rows then say what the ledger does.
    pub(crate) async fn extend_objects(
        &self,
        objects: &[(ObjectEntry, Vec<Extension>)],
        budget: &Budget,
        progress: &Progress,
    ) -> Result<Paid, ClientError> {
        let all: Vec<_> = objects.iter().flat_map(|(_, deals)| deals.clone()).collect();
        let chain = self.network().chain_row().await?;
        let cost = extension_price(&chain.params, &all)?;
        if let Some(limit) = budget.left().filter(|left| *left < cost) {
            return Err(ClientError::CostTooHigh { cost, limit });
        }
        progress.note("paying for a longer term");
        let paid = budget.counter();
        let extended = self.network().extend(&self.owner(), &all, &paid).await;
        let entries = objects.iter().map(|(entry, _)| entry.clone()).collect();
        let noted = self.note_ends(&chain, entries).await;
        extended?;
        noted?;
        Ok(paid)
    }

    /// Writes until when objects are kept into their rows.
    async fn note_ends(&self, chain: &Chain, entries: Vec<ObjectEntry>) -> Result<(), ClientError> {
        let mut batch = Batch::default();
        for one in self.stored(entries).await? {
            let Some(end) = one.kept(chain).end() else { continue };
            let mut entry = one.entry;
            if entry.end < end {
                (entry.end, entry.paid_until_ms) = (end, epoch_ms(chain, end));
                let object = entry.manifest.object;
                batch.put(Objects, &object.0, &entry);
            }
        }
        self.local(move |local| local.catalog().write(&batch)).await
    }
}
