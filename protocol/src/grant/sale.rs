//! What a sale's chain begins with: the seller's mandate, and the order that passes it on to a buyer.
//!
//! No party signs when something is sold. A mandate names no key but its ledger, and a buyer's chain names an
//! order. A node believes it because the ledger's rows prove that the order is paid. So a mandate stays valid
//! when the ledger's key changes.

use alloc::collections::BTreeSet;

use ed25519_dalek::SigningKey;

use super::{
    Caveat, Grant, GrantError, Link, ability,
    chain::{link_id, root_digest, verify_first_link},
};
use crate::{
    codec::Encode,
    id::{AccountId, ChainId, Hash, LinkId, ObjectId, OrderId, PeerId},
    ledger::rows::{Listing, Order, OrderState},
    record,
    time::LedgerTime,
};

record! {
    /// What a buyer's grant says of the order that paid for it. The order's row says the same.
    #[derive(Copy)]
    pub struct Sale {
        /// The order.
        pub order: OrderId,
        /// The buyer's peer key: it holds the grant, and may pass it on.
        pub holder: PeerId,
        /// When access ends, in milliseconds since the Unix epoch.
        pub ends_ms: LedgerTime,
    }
}

/// What the ledger's rows say of an order: the facts by which a node believes a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidOrder {
    /// The digest of its listing's mandate: it names ledger, seller and object.
    pub mandate: Hash,
    /// The peer that it was placed for.
    pub holder: PeerId,
    /// When access ends, in milliseconds since the Unix epoch.
    pub ends_ms: LedgerTime,
    /// Whether the buyer has the money back. Every other order is paid, into escrow or to the seller.
    pub refunded: bool,
}

impl PaidOrder {
    /// The facts of an order, from its row and its listing's row.
    #[must_use]
    pub fn of(chain: &ChainId, order: &Order, listing: &Listing) -> Self {
        let refunded = match order.state {
            OrderState::Paid | OrderState::Delivered | OrderState::Asked | OrderState::Settled => {
                false
            }
            OrderState::Refunded => true,
        };
        Self {
            mandate: mandate_digest(chain, &listing.seller, &listing.terms.mandate),
            holder: order.holder,
            ends_ms: order.access_until_ms,
            refunded,
        }
    }
}

impl Sale {
    /// The digest of a chain of a mandate and this sale.
    pub(super) fn digest(&self, mandate: &Hash) -> Hash {
        let mut bytes = mandate.to_bytes();
        self.encode(&mut bytes);
        Hash(blake3::derive_key("symbolon 2026 grant sale v1", &bytes))
    }

    /// Checks it against the ledger's facts.
    pub(super) fn check(
        &self,
        mandate: &Hash,
        paid: Option<&PaidOrder>,
        now_ms: LedgerTime,
    ) -> Result<(), GrantError> {
        if self.ends_ms <= now_ms {
            return Err(GrantError::Expired { time_ms: self.ends_ms });
        }
        let paid = paid.ok_or(GrantError::UnknownOrder { order: self.order })?;
        for (same, what) in [
            (paid.mandate == *mandate, "listing"),
            (paid.holder == self.holder, "holder"),
            (paid.ends_ms == self.ends_ms, "end"),
        ] {
            if !same {
                return Err(GrantError::OrderDiffers { what });
            }
        }
        if paid.refunded { Err(GrantError::OrderRefunded) } else { Ok(()) }
    }
}

/// The audience of every mandate on a ledger. It follows from the ledger's id, and is no party's key: only an
/// order can pass a mandate on.
#[must_use]
pub fn market_audience(chain: &ChainId) -> PeerId {
    PeerId(blake3::derive_key("symbolon 2026 grant market v1", &chain.to_bytes()))
}

/// The seller's permission for every buyer on a ledger, made once per listing. It allows sales while the
/// seller is offline.
pub fn mandate(
    chain: &ChainId,
    seller: &SigningKey,
    object: ObjectId,
    entropy: &[u8; 32],
) -> Result<Link, GrantError> {
    let caveats = alloc::vec![Caveat::Object { object }, Caveat::Abilities { set: ability::READ },];
    let grant = Grant::issue(chain, seller, market_audience(chain), caveats, entropy)?;
    grant.links.into_iter().next().ok_or(GrantError::NotAMandate)
}

/// A buyer's chain, made of the rows of an order and its listing.
#[must_use]
pub fn bought(id: OrderId, order: &Order, listing: &Listing) -> Grant {
    let sale = Sale { order: id, holder: order.holder, ends_ms: order.access_until_ms };
    let links = alloc::vec![listing.terms.mandate.clone()];
    Grant { version: 1, root: listing.seller, sale: Some(sale), member: None, links }
}

/// The ledger's checks before it takes a listing: the seller's signature, and that every buyer can read the
/// whole object under the mandate. The ledger refuses limits that would end buyers' access or that buyers
/// would have to share.
pub fn verify_mandate(
    chain: &ChainId,
    seller: &AccountId,
    link: &Link,
    object: &ObjectId,
) -> Result<LinkId, GrantError> {
    let mut purposes = BTreeSet::new();
    let harmless = link.caveats.iter().all(|caveat| match caveat {
        Caveat::Object { object: named } => named == object,
        // One buyer must not delete what the next buyer pays for.
        Caveat::Abilities { set } => {
            set & ability::READ != 0 && set & (ability::STORE | ability::DELETE) == 0
        }
        // An order is no link, so a buyer can always read.
        Caveat::Depth { .. } => true,
        // Two different purposes allow no read at all.
        Caveat::Purpose { .. } => {
            purposes.insert(caveat.to_bytes());
            purposes.len() == 1
        }
        Caveat::NotBefore { .. }
        | Caveat::NotAfter { .. }
        | Caveat::Cells { .. }
        | Caveat::NodeReads { .. }
        | Caveat::NodeBytes { .. }
        // The buyer decides how fresh a node's view of revocations must be.
        | Caveat::Staleness { .. }
        // A listing is of one object.
        | Caveat::Objects { .. }
        // The audience of mandates is no party's key, so it redeems nothing.
        | Caveat::Once { .. } => false,
    });
    // A grant allows only what its first link names. So an order could not give anything else.
    let object_named = link.caveats.contains(&Caveat::Object { object: *object });
    let abilities_named = link.caveats.iter().any(|one| matches!(one, Caveat::Abilities { .. }));
    if !harmless || !object_named || !abilities_named || link.audience != market_audience(chain) {
        return Err(GrantError::NotAMandate);
    }
    verify_first_link(chain, seller, link)
}

/// The id under which a seller would revoke a mandate.
#[must_use]
pub fn mandate_id(chain: &ChainId, seller: &AccountId, link: &Link) -> LinkId {
    link_id(&mandate_digest(chain, seller, link))
}

fn mandate_digest(chain: &ChainId, seller: &AccountId, link: &Link) -> Hash {
    link.digest(&root_digest(chain, seller))
}

#[cfg(test)]
mod tests;
