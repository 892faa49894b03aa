//! Whether a verified chain allows one request: all caveats of all links must hold.

use alloc::vec::Vec;
use core::ops::Range;

use super::{Caveat, GrantError, Member, PaidOrder, VerifiedGrant, ability};
use crate::{
    id::{AccountId, Hash, LinkId, ObjectId, OrderId, PeerId},
    ledger::rows::Redemption,
    time::{LedgerTime, Millis},
};

/// One request, with the facts that the receiving node itself knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The object's owner, as the node recorded it with the shard.
    pub owner: AccountId,
    /// The object.
    pub object: ObjectId,
    /// The key that the request's connection proved.
    pub peer: PeerId,
    /// The requested abilities: one or more bits of [`ability`]. The chain must allow all of them.
    pub ability: u16,
    /// The requested cells of the object, in file order. `None` if the request is about the whole object.
    pub cells: Option<Range<u64>>,
    /// The time.
    pub now_ms: LedgerTime,
    /// What the ledger's rows say of the chain's order. `None` if the node knows no such order. A chain
    /// without an order needs none.
    pub paid: Option<PaidOrder>,
    /// The ledger's row of the redemption of the chain's voucher. `None` if the node knows no such row. A chain without
    /// [`Caveat::Once`] needs none.
    pub redeemed: Option<Redemption>,
}

/// An allowed request, with further conditions that the caller must enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized {
    /// The peer that asks.
    pub holder: PeerId,
    /// What each link leaves on this node to all holders below it together.
    pub quotas: Vec<Quota>,
    /// An order that may not be refunded.
    pub order: Option<OrderId>,
    /// The greatest age of the node's knowledge of revocations, in milliseconds.
    pub staleness_ms: Option<Millis>,
    /// The purpose it may be used for. Only the holder can respect it; it is here so that a program can
    /// show and record it.
    pub purpose: Option<Hash>,
    /// Revocations of which none may be on the ledger: a link, and a key that may revoke it.
    pub revocations: Vec<(LinkId, AccountId)>,
    /// When it ends, in milliseconds since the Unix epoch. `None` if it never ends.
    pub ends_ms: Option<LedgerTime>,
}

/// A counter of one link. Counters are per link, not per holder. Otherwise ten delegates of a link would
/// have ten times its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The link.
    pub link: LinkId,
    /// Read requests at most.
    pub reads: Option<u64>,
    /// Bytes at most.
    pub bytes: Option<u64>,
}

impl Authorized {
    /// The smallest number of read requests that any link leaves.
    #[must_use]
    pub fn node_reads(&self) -> Option<u64> {
        self.quotas.iter().filter_map(|quota| quota.reads).min()
    }

    /// The smallest number of bytes that any link leaves.
    #[must_use]
    pub fn node_bytes(&self) -> Option<u64> {
        self.quotas.iter().filter_map(|quota| quota.bytes).min()
    }
}

impl VerifiedGrant {
    /// Whether the chain allows the request. This function looks nothing up and counts nothing: the caller
    /// enforces the conditions in [`Authorized`].
    pub fn authorize(&self, access: &Access) -> Result<Authorized, GrantError> {
        if access.owner != self.root() {
            return Err(GrantError::NotOwner);
        }
        if access.peer != self.holder() {
            return Err(GrantError::NotHolder);
        }
        if access.ability == 0 || access.ability & !ability::ALL != 0 {
            return Err(GrantError::NotAllowed);
        }
        if access.cells.as_ref().is_some_and(Range::is_empty) {
            return Err(GrantError::WrongCells);
        }
        self.check_named()?;
        let mut found = Authorized {
            holder: access.peer,
            quotas: Vec::new(),
            order: None,
            staleness_ms: None,
            purpose: None,
            revocations: self.revocations().collect(),
            ends_ms: None,
        };
        for (link, id) in self.grant().links.iter().zip(self.link_ids()) {
            let mut quota = Quota { link: id, reads: None, bytes: None };
            for caveat in &link.caveats {
                access.check(caveat, self.grant().member.as_ref())?;
                found.collect(caveat, &mut quota)?;
            }
            if quota.reads.is_some() || quota.bytes.is_some() {
                found.quotas.push(quota);
            }
        }
        if let Some(sale) = self.sale() {
            sale.check(&self.first_digest(), access.paid.as_ref(), access.now_ms)?;
            found.order = Some(sale.order);
            found.ends_ms = least(found.ends_ms, sale.ends_ms);
        }
        self.check_redeemed(access.redeemed.as_ref())?;
        Ok(found)
    }

    /// A grant allows what its first link names, and nothing by default. Otherwise a link without an object
    /// or abilities would let its holder delete everything that the owner has.
    fn check_named(&self) -> Result<(), GrantError> {
        let first = &self.grant().links[0].caveats;
        let names_object =
            |caveat: &Caveat| matches!(caveat, Caveat::Object { .. } | Caveat::Objects { .. });
        if !first.iter().any(names_object) {
            return Err(GrantError::Unnamed { what: "object" });
        }
        if !first.iter().any(|caveat| matches!(caveat, Caveat::Abilities { .. })) {
            return Err(GrantError::Unnamed { what: "abilities" });
        }
        Ok(())
    }
}

impl Access {
    /// The part of a caveat that depends only on the request.
    fn check(&self, caveat: &Caveat, member: Option<&Member>) -> Result<(), GrantError> {
        match caveat {
            Caveat::Objects { root } => {
                let proven = member.is_some_and(|member| member.proves(root, &self.object));
                if proven { Ok(()) } else { Err(GrantError::WrongObject) }
            }
            Caveat::Object { object } if *object != self.object => Err(GrantError::WrongObject),
            Caveat::Abilities { set } if self.ability & !set != 0 => Err(GrantError::NotAllowed),
            Caveat::NotBefore { time_ms } if self.now_ms < *time_ms => {
                Err(GrantError::NotYet { time_ms: *time_ms })
            }
            Caveat::NotAfter { time_ms } | Caveat::Once { until_ms: time_ms }
                if *time_ms <= self.now_ms =>
            {
                Err(GrantError::Expired { time_ms: *time_ms })
            }
            Caveat::Cells { first, end } => match &self.cells {
                Some(cells) if *first <= cells.start && cells.end <= *end => Ok(()),
                _ => Err(GrantError::WrongCells),
            },
            // Other code judges these caveats. Each stands here by name, so that a new caveat does not
            // compile until it has a place.
            Caveat::Object { .. }
            | Caveat::Abilities { .. }
            | Caveat::NotBefore { .. }
            | Caveat::NotAfter { .. }
            | Caveat::NodeReads { .. }
            | Caveat::NodeBytes { .. }
            | Caveat::Purpose { .. }
            | Caveat::Depth { .. }
            | Caveat::Staleness { .. }
            | Caveat::Once { .. } => Ok(()),
        }
    }
}

fn least<T: Ord>(old: Option<T>, new: T) -> Option<T> {
    match old {
        Some(old) => Some(old.min(new)),
        None => Some(new),
    }
}

impl Authorized {
    /// The part of a caveat that is left to the caller.
    fn collect(&mut self, caveat: &Caveat, quota: &mut Quota) -> Result<(), GrantError> {
        match caveat {
            Caveat::NodeReads { count } => quota.reads = least(quota.reads, *count),
            Caveat::NodeBytes { bytes } => quota.bytes = least(quota.bytes, *bytes),
            Caveat::Staleness { max_ms } => self.staleness_ms = least(self.staleness_ms, *max_ms),
            Caveat::NotAfter { time_ms } | Caveat::Once { until_ms: time_ms } => {
                self.ends_ms = least(self.ends_ms, *time_ms);
            }
            Caveat::Purpose { hash } => {
                if self.purpose.is_some_and(|purpose| purpose != *hash) {
                    return Err(GrantError::PurposesDiffer);
                }
                self.purpose = Some(*hash);
            }
            _ => {}
        }
        Ok(())
    }
}
