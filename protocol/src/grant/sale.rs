//! The first two links of a sale: the seller's mandate to the ledger, and the ledger's link to the buyer.

use alloc::{collections::BTreeSet, vec::Vec};

use ed25519_dalek::SigningKey;

use super::{
    Caveat, Grant, GrantError, Link, ability,
    chain::{link_id, root_digest, verify_first_link},
};
use crate::{
    codec::Encode,
    id::{AccountId, ChainId, LinkId, ObjectId, OrderId, PeerId},
    time::LedgerTime,
};

/// The values that make a sale's link. All of them are in the ledger's rows, so the same order always has
/// the same link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sale {
    /// The order.
    pub order: OrderId,
    /// The buyer's peer key.
    pub holder: PeerId,
    /// When access ends, in milliseconds since the Unix epoch.
    pub ends_ms: LedgerTime,
}

/// The seller's delegation to the ledger's signing key, made once per listing. It allows a sale while the
/// seller is offline.
pub fn mandate(
    chain: &ChainId,
    seller: &SigningKey,
    authority: &AccountId,
    object: ObjectId,
    entropy: &[u8; 32],
) -> Result<Link, GrantError> {
    let caveats = alloc::vec![Caveat::Object { object }, Caveat::Abilities { set: ability::READ },];
    let grant = Grant::issue(chain, seller, (*authority).into(), caveats, entropy)?;
    grant.links.into_iter().next().ok_or(GrantError::NotAMandate)
}

/// The ledger's checks before it takes a listing: the seller's signature, and that every buyer can read the
/// whole object under the mandate. The ledger refuses limits that would end buyers' access or that buyers
/// would have to share.
pub fn verify_mandate(
    chain: &ChainId,
    seller: &AccountId,
    link: &Link,
    authority: &AccountId,
    object: &ObjectId,
) -> Result<LinkId, GrantError> {
    let mut purposes = BTreeSet::new();
    let harmless = link.caveats.iter().all(|caveat| match caveat {
        Caveat::Object { object: named } => named == object,
        // One buyer must not delete what the next buyer pays for.
        Caveat::Abilities { set } => {
            set & ability::READ != 0 && set & (ability::STORE | ability::DELETE) == 0
        }
        Caveat::Depth { links } => 1 <= *links,
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
        | Caveat::Order { .. } => false,
    });
    // A grant allows only what its first link names. So the ledger could not sell anything else.
    let object_named = link.caveats.contains(&Caveat::Object { object: *object });
    let abilities_named = link.caveats.iter().any(|one| matches!(one, Caveat::Abilities { .. }));
    if !harmless || !object_named || !abilities_named || link.audience != PeerId::from(*authority) {
        return Err(GrantError::NotAMandate);
    }
    verify_first_link(chain, seller, link)
}

/// The id under which a seller would revoke a mandate.
#[must_use]
pub fn mandate_id(chain: &ChainId, seller: &AccountId, link: &Link) -> LinkId {
    link_id(&link.digest(&root_digest(chain, seller)))
}

/// The ledger's link to a buyer: the proof of purchase. Its nonce follows from the order, so the ledger can
/// make the same link again.
pub fn sale_link(
    chain: &ChainId,
    seller: &AccountId,
    mandate: &Link,
    authority: &SigningKey,
    sale: &Sale,
) -> Result<Link, GrantError> {
    let before = mandate.digest(&root_digest(chain, seller));
    let caveats: Vec<Caveat> = alloc::vec![
        Caveat::Order { order: sale.order },
        Caveat::NotAfter { time_ms: sale.ends_ms },
    ];
    let hash = blake3::derive_key("symbolon 2026 grant sale nonce v1", &sale.order.to_bytes());
    let nonce = core::array::from_fn(|i| hash[i]);
    let link = Link::sign(authority, &before, sale.holder, nonce, caveats);
    // The whole chain is verified: an authority that is not the mandate's, or a holder above itself, fails
    // here.
    let grant =
        Grant { version: 1, root: *seller, links: alloc::vec![mandate.clone(), link.clone()] };
    grant.verify(chain).map(|_| link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{grant::Access, identity::Identity};

    const CHAIN: ChainId = ChainId([77; 32]);

    #[test]
    fn a_sale_is_a_chain_the_buyer_can_use_and_pass_on() {
        let (seller, buyer) = (Identity::from_seed(&[1; 64]), Identity::from_seed(&[2; 64]));
        let ledger = SigningKey::from_bytes(&[3; 32]);
        let authority = AccountId(ledger.verifying_key().to_bytes());
        let object = ObjectId([4; 16]);
        let first = mandate(&CHAIN, &seller.account_key(), &authority, object, &[5; 32]).unwrap();
        verify_mandate(&CHAIN, &seller.account(), &first, &authority, &object).unwrap();

        let sale =
            Sale { order: OrderId([6; 16]), holder: buyer.peer(), ends_ms: LedgerTime(1000) };
        let link = sale_link(&CHAIN, &seller.account(), &first, &ledger, &sale).unwrap();
        assert_eq!(sale_link(&CHAIN, &seller.account(), &first, &ledger, &sale), Ok(link.clone()));
        let grant =
            Grant { version: 1, root: seller.account(), links: alloc::vec![first.clone(), link] };
        let access = Access {
            owner: seller.account(),
            object,
            peer: buyer.peer(),
            ability: ability::READ,
            cells: Some(0..10),
            now_ms: LedgerTime(999),
        };
        let found = grant.verify(&CHAIN).unwrap().authorize(&access).unwrap();
        assert_eq!(found.orders, [OrderId([6; 16])]);
        assert_eq!(found.ends_ms, Some(LedgerTime(1000)));
        assert_eq!(found.revocations.len(), 3);

        let employee = Identity::from_seed(&[7; 64]);
        let longer = grant
            .delegate(&CHAIN, &buyer.access_key(), employee.peer(), alloc::vec![], &[8; 32])
            .unwrap()
            .verify(&CHAIN)
            .unwrap();
        let theirs = Access { peer: employee.peer(), ..access.clone() };
        assert_eq!(longer.authorize(&theirs).unwrap().orders, found.orders);
        assert_eq!(longer.authorize(&access), Err(GrantError::NotHolder));
    }

    #[test]
    fn a_sale_by_another_ledger_or_to_the_seller_fails() {
        let seller = Identity::from_seed(&[1; 64]);
        let ledger = SigningKey::from_bytes(&[3; 32]);
        let authority = AccountId(ledger.verifying_key().to_bytes());
        let first = mandate(&CHAIN, &seller.account_key(), &authority, ObjectId([4; 16]), &[5; 32])
            .unwrap();
        let sale =
            Sale { order: OrderId([6; 16]), holder: PeerId([9; 32]), ends_ms: LedgerTime(1000) };
        let rogue = SigningKey::from_bytes(&[9; 32]);
        assert_eq!(
            sale_link(&CHAIN, &seller.account(), &first, &rogue, &sale),
            Err(GrantError::Signature { link: 1 })
        );
        for holder in [seller.account().into(), authority.into()] {
            assert_eq!(
                sale_link(&CHAIN, &seller.account(), &first, &ledger, &Sale { holder, ..sale }),
                Err(GrantError::AudienceRepeated { link: 1 })
            );
        }
    }

    #[test]
    fn a_mandate_that_cheats_buyers_is_refused() {
        let seller = Identity::from_seed(&[1; 64]);
        let authority = AccountId([3; 32]);
        let object = ObjectId([4; 16]);
        let named = Caveat::Object { object };
        let check = |caveats: Vec<Caveat>| {
            let grant =
                Grant::issue(&CHAIN, &seller.account_key(), authority.into(), caveats, &[0; 32])
                    .unwrap();
            verify_mandate(&CHAIN, &seller.account(), &grant.links[0], &authority, &object)
                .map(|_| ())
        };
        let read = Caveat::Abilities { set: ability::READ };
        assert_eq!(check(alloc::vec![named.clone(), read.clone()]), Ok(()));
        for bare in [alloc::vec![], alloc::vec![named.clone()], alloc::vec![read.clone()]] {
            assert_eq!(check(bare), Err(GrantError::NotAMandate));
        }
        for bad in [
            Caveat::Object { object: ObjectId([9; 16]) },
            Caveat::Abilities { set: ability::VERIFY },
            Caveat::NotAfter { time_ms: LedgerTime::NEVER },
            Caveat::NotBefore { time_ms: LedgerTime::ZERO },
            Caveat::Cells { first: 0, end: 1 },
            Caveat::NodeReads { count: 1 },
            Caveat::NodeBytes { bytes: 1 },
            Caveat::Order { order: OrderId([1; 16]) },
            Caveat::Depth { links: 0 },
        ] {
            let caveats = alloc::vec![named.clone(), read.clone(), bad];
            assert_eq!(check(caveats), Err(GrantError::NotAMandate));
        }
        let link = mandate(&CHAIN, &seller.account_key(), &authority, object, &[0; 32]).unwrap();
        assert_eq!(
            verify_mandate(&CHAIN, &AccountId([8; 32]), &link, &authority, &object),
            Err(GrantError::Signature { link: 0 })
        );
        assert_eq!(
            verify_mandate(&CHAIN, &seller.account(), &link, &AccountId([8; 32]), &object),
            Err(GrantError::NotAMandate)
        );
        // A mandate that a seller signed on a test ledger sells nothing here, even if one operator runs
        // both ledgers.
        let elsewhere = ChainId([78; 32]);
        assert_eq!(
            verify_mandate(&elsewhere, &seller.account(), &link, &authority, &object),
            Err(GrantError::Signature { link: 0 })
        );
    }
}
