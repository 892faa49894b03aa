//! Stored objects, the deals that keep them, and how long these last.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    LedgerTime,
    content::Layout,
    id::{AccountId, DealId, NodeId, ObjectId},
    ledger::rows::{Chain, Deal, Deals},
};
use symbolon_transfer::extend::{Agreements, Extension, asked_anew};

use super::Library;
use crate::{
    catalog::{Damaged, ObjectEntry, Objects},
    error::ClientError,
    term::Kept,
};

/// An object, and its deals as the ledger has them.
pub(crate) struct Stored {
    pub(crate) entry: ObjectEntry,
    pub(crate) deals: Vec<(DealId, Option<Deal>)>,
}

impl Stored {
    /// Until when the object is stored. Nodes delete shards without a running deal.
    pub(crate) fn kept(&self, chain: &Chain) -> Kept {
        Kept::of(chain, self.deals.iter().map(|(_, row)| row.as_ref()))
    }

    /// The deals that the ledger has.
    pub(crate) fn known(&self) -> impl Iterator<Item = (DealId, &Deal)> {
        self.deals.iter().filter_map(|(id, row)| Some((*id, row.as_ref()?)))
    }

    /// The nodes that have to agree anew if the deals are to last until `until`.
    pub(crate) fn asked_anew(&self, until: u64) -> impl Iterator<Item = NodeId> {
        self.known().flat_map(move |(_, deal)| asked_anew(deal, until))
    }

    /// The epochs that the deals lack to last until `until`, as far as their nodes agree.
    pub(crate) fn lacking(&self, until: u64, agreed: &Agreements) -> Vec<Extension> {
        self.known().filter_map(|(id, deal)| agreed.extension(id, deal, until)).collect()
    }

    /// The same; `None` if the nodes do not even agree to last until `least`.
    pub(crate) fn lacking_at_least(
        &self,
        (least, until): (u64, u64),
        agreed: &Agreements,
    ) -> Option<Vec<Extension>> {
        let agrees = self.known().all(|(_, deal)| least <= agreed.until(deal));
        agrees.then(|| self.lacking(until, agreed))
    }

    fn limited(&self, terms: (u64, u64), agreed: &Agreements) -> Limited {
        let short = self.known().filter_map(|(id, deal)| {
            let short = agreed.short_of(deal, terms.0);
            (!short.is_empty()).then(|| (id, deal.clone(), short))
        });
        Limited { entry: self.entry.clone(), terms, short: short.collect() }
    }
}

/// For how many epochs objects should be kept.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// All objects alike: those that are kept for fewer than `least` epochs should be kept for `epochs`.
    All { least: u64, epochs: u64 },
    /// Only these, each for so many epochs whenever half of them are over.
    These(BTreeMap<ObjectId, u64>),
}

impl Wanted {
    /// Whether anything is wanted of an object.
    pub(crate) fn is_for(&self, object: &ObjectId) -> bool {
        self.of(object).is_some()
    }

    fn of(&self, object: &ObjectId) -> Option<(u64, u64)> {
        match self {
            Self::All { least, epochs } => Some((*least, *epochs)),
            Self::These(objects) => objects.get(object).map(|epochs| (epochs.div_ceil(2), *epochs)),
        }
    }
}

/// Objects that have to be stored anew, each with the time at which its deals end. The time is missing when the deals
/// are over or shards are damaged.
pub(crate) type Ending = BTreeMap<ObjectId, Option<LedgerTime>>;

/// Objects, with the epochs that their deals lack.
pub(crate) type Longer = BTreeMap<ObjectId, (ObjectEntry, Vec<Extension>)>;

/// The stored objects that do not last as long as a caller asks.
#[derive(Default)]
pub(crate) struct Ends {
    /// Those that have to be stored anew.
    pub(crate) anew: Ending,
    /// Those of them to which another person has a right.
    pub(crate) held: BTreeSet<ObjectId>,
    /// Those whose deals can get the epochs that they lack.
    pub(crate) longer: Longer,
    /// Those that have to be stored anew only because nodes ask for more than they are paid, or leave.
    pub(crate) limited: Vec<Limited>,
}

/// An object with shards whose nodes do not agree to keep them for as long as is wanted.
pub(crate) struct Limited {
    pub(crate) entry: ObjectEntry,
    /// The least epoch that is wanted, and the one until which it should be kept.
    pub(crate) terms: (u64, u64),
    /// Its deals, and these shards of each.
    pub(crate) short: Vec<(DealId, Deal, BTreeSet<u8>)>,
}

impl Library {
    /// An object of this identity, if it is stored.
    pub(crate) async fn own_object(
        &self,
        object: &ObjectId,
    ) -> Result<Option<ObjectEntry>, ClientError> {
        let object = *object;
        self.local(move |local| local.catalog().row(Objects, &object.0)).await
    }

    /// These objects, with their deals.
    pub(crate) async fn stored(
        &self,
        entries: Vec<ObjectEntry>,
    ) -> Result<Vec<Stored>, ClientError> {
        let own = entries.iter().map(|entry| deals_of(&self.me(), entry));
        let own = own.collect::<Result<Vec<_>, _>>()?;
        let rows = self.network().rows_of(Deals, &own.concat()).await?;
        let mut rows = rows.into_iter();
        let with_deals = |(entry, ids): (_, Vec<_>)| Stored {
            entry,
            deals: ids.into_iter().zip(rows.by_ref()).collect(),
        };
        Ok(entries.into_iter().zip(own).map(with_deals).collect())
    }

    /// All objects, with their deals.
    pub(crate) async fn all_stored(&self) -> Result<Vec<Stored>, ClientError> {
        let entries = self.local(|local| local.catalog().rows(Objects)).await?;
        self.stored(entries).await
    }

    /// Those of these objects that are not kept as long as is wanted, or were found damaged. Those that can last longer are
    /// apart.
    pub(crate) async fn ending(
        &self,
        stored: &[Stored],
        wanted: &Wanted,
    ) -> Result<Ends, ClientError> {
        let chain = self.network().chain_row().await?;
        let damaged = self.local(|local| local.catalog().rows(Damaged)).await?;
        let damaged: BTreeSet<ObjectId> = damaged.into_iter().map(|row| row.object).collect();
        let mut ends = Ends::default();
        let terms = |object: &ObjectId| {
            let (least, epochs) = wanted.of(object)?;
            let until = chain.epoch.saturating_add(1).saturating_add(epochs);
            Some((chain.epoch.saturating_add(least), until))
        };
        let mut nodes = BTreeSet::new();
        for one in stored {
            if let Some((least, until)) = terms(&one.entry.manifest.object)
                && one.kept(&chain).end().is_some_and(|end| end < least)
            {
                nodes.extend(one.asked_anew(until));
            }
        }
        let agreed = self.network().agreements(nodes).await?;
        for one in stored {
            let object = one.entry.manifest.object;
            let Some((least, until)) = terms(&object) else { continue };
            match one.kept(&chain) {
                Kept::Over { .. } => drop(ends.anew.insert(object, None)),
                Kept::Until { epoch, time_ms } if epoch < least => {
                    let lacking = one.lacking_at_least((least, until), &agreed);
                    match lacking.filter(|_| !damaged.contains(&object)) {
                        Some(lacking) => {
                            drop(ends.longer.insert(object, (one.entry.clone(), lacking)));
                        }
                        None => {
                            ends.anew.insert(object, Some(time_ms));
                            if !damaged.contains(&object) {
                                ends.limited.push(one.limited((least, until), &agreed));
                            }
                        }
                    }
                }
                Kept::Until { .. } => {}
            }
        }
        let running = ends.anew.iter().filter(|(_, ends)| ends.is_some());
        ends.held = self.held(&running.map(|(object, _)| *object).collect()).await?;
        for object in damaged {
            if wanted.of(&object).is_some() {
                ends.anew.entry(object).or_insert(None);
            }
        }
        Ok(ends)
    }
}

/// The deals that keep an owner's object.
pub(crate) fn deals_of(owner: &AccountId, entry: &ObjectEntry) -> Result<Vec<DealId>, ClientError> {
    let layout = Layout::new(entry.manifest.scheme, entry.manifest.length)
        .map_err(|error| ClientError::Internal(error.to_string()))?;
    let key = entry.key.file_key();
    Ok((0..layout.segments()).map(|segment| key.deal(owner, segment)).collect())
}
