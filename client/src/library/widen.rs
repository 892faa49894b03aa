//! Spreads files over more nodes when the network has grown: reads an object and stores its bytes anew under a wider scheme.
//!
//! The bytes pass through, segment by segment. Then all names that stood for the old object get the new one, in one step, and
//! the old one is given up. What another person may read stays as it is: a grant is for one object.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::content::Scheme;

use super::{
    Library, Local,
    budget::Budget,
    get::{GetOptions, Resolved, Sink},
    names::Range,
    source::Source,
    stored::{Stored, Wanted},
    upload::{PutTerms, Request},
};
use crate::{
    catalog::{Damaged, FileKind, ObjectEntry},
    error::{ClientError, ErrorKind},
    place::{choose_scheme, with_room},
    progress::Progress,
};

/// Bytes that one look stores anew at most, if they are of more than one object: renewals and repairs of the next look must
/// not wait for long.
const LOOK_BYTES_MAX: u64 = 1 << 30;

/// Bytes that are read ahead of what is stored.
const PIPE_BYTES: usize = 1 << 20;

/// An object that could be spread over more nodes.
pub(crate) struct Narrow {
    entry: ObjectEntry,
    /// The scheme that fits the network now.
    scheme: Scheme,
}

impl Library {
    /// Those of these objects that the network of today allows to spread over more nodes. Where the user chose the scheme, it
    /// stays.
    pub(crate) async fn narrow(
        &self,
        stored: &[Stored],
        wanted: &Wanted,
    ) -> Result<Vec<Narrow>, ClientError> {
        let chain = self.network().recent_chain().await?;
        let may_widen = |one: &&Stored| {
            let ObjectEntry { kind, chosen, manifest, .. } = &one.entry;
            matches!(kind, FileKind::Own | FileKind::Pack)
                && !chosen
                && wanted.is_for(&manifest.object)
                && one.kept(&chain).end().is_some_and(|end| chain.epoch + 1 < end)
        };
        let entries: Vec<_> = stored.iter().filter(may_widen).map(|one| &one.entry).collect();
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = self.network().candidates(b"widen").await?;
        let mut narrow = Vec::new();
        for entry in entries {
            let fit = with_room(candidates.clone(), None, Some(entry.manifest.length));
            let scheme = choose_scheme(None, &fit)?;
            if entry.manifest.scheme.total < scheme.total {
                narrow.push(Narrow { entry: entry.clone(), scheme });
            }
        }
        if narrow.is_empty() {
            return Ok(narrow);
        }
        let held = self.held(&narrow.iter().map(|one| one.entry.manifest.object).collect()).await?;
        let damaged = self.local(|local| local.catalog().rows(Damaged)).await?;
        let damaged: BTreeSet<_> = damaged.into_iter().map(|row| row.object).collect();
        narrow.retain(|Narrow { entry, .. }| {
            let object = &entry.manifest.object;
            !held.contains(object) && !damaged.contains(object)
        });
        Ok(narrow)
    }

    /// Spreads objects over more nodes, as far as the budget and the time of one look go. Gives how many it did, and how many
    /// it did not.
    pub(crate) async fn widen_all(
        &self,
        narrow: Vec<Narrow>,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(u64, u64), ClientError> {
        let (mut widened, mut left, mut bytes) = (0, 0, 0_u64);
        for one in narrow {
            bytes = bytes.saturating_add(one.entry.manifest.length);
            if 0 < widened && LOOK_BYTES_MAX < bytes {
                left += 1;
                continue;
            }
            match Box::pin(self.widen(&one, budget, progress)).await {
                Ok(()) => widened += 1,
                Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "an object was not spread over more nodes");
                    left += 1;
                }
            }
        }
        Ok((widened, left))
    }

    async fn widen(
        &self,
        Narrow { entry, scheme }: &Narrow,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let (object, length) = (entry.manifest.object, entry.manifest.length);
        let label = format!("object {object}");
        let slot = [b"\0wide", &object.0[..]].concat();
        let _lock = self.lock(slot.clone(), label.clone()).await?;
        // What comes back for the old deals pays for the new ones.
        let back = self.refund_of(entry).await?;
        let cost_max = budget.left().map(|left| left.checked_add(back).unwrap_or(left));
        let rest = self.rest_of(&label, entry).await?;
        let options = PutTerms { cost_max, scheme: Some(*scheme), ..rest };
        let paid = budget.counter();
        let request = Request::own(&slot, label.clone(), entry.kind, &options);
        let request = request.counting(paid.clone());
        progress.note(format!("spreading {label} over {} nodes", scheme.total));
        let (into, from) = tokio::io::duplex(PIPE_BYTES);
        let source = Source::reader(label.clone(), from, Some(length));
        let opened = self.local(move |local| local.open_source(source)).await?;
        let (sink, quiet) = (Sink::writer(label, into), Progress::silent());
        let everything = GetOptions::default();
        let (reading, place) = (self.own_reading(entry)?, (0, length));
        let whole = Resolved { reading, bought: None, place, metadata: None };
        let reading = self.fetch(whole, sink, &everything, &quiet);
        let storing = self.upload(&request, opened, &quiet);
        let (_, mut stored) = tokio::try_join!(Box::pin(reading), Box::pin(storing))?;
        // A later put of the same source finds it unchanged.
        (stored.entry.source, stored.entry.chosen) = (entry.source.clone(), false);
        let new = stored.entry.manifest.object;
        let settle = move |local: &Local| {
            let tree = local.tree()?;
            let old = tree.ranges_of(&object).into_keys();
            let moves: BTreeMap<Range, Range> =
                old.map(|range| (range, (new, range.1, range.2))).collect();
            local.relocate(&moves, stored.batch(), None)?;
            local.settle_leaves(&stored.entry);
            Ok::<_, ClientError>(())
        };
        self.local(settle).await?;
        let swept = self.sweep(progress).await?;
        paid.take_back(swept.refunded.min(paid.sum()));
        Ok(())
    }
}
