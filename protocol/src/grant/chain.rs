//! Making and verifying chains. What link `i` signs depends on everything before it:
//!
//! ```text
//! m(-1) = derive_key("symbolon 2026 grant root v2", version | chain | root)
//! m(i)  = derive_key("symbolon 2026 grant link v1", m(i-1) | audience | nonce | caveats)
//! ```
//!
//! After a mandate, `m(0)` is first joined with the sale: see [`Sale::digest`].

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;

use super::{Caveat, Grant, GrantError, Link, Member, ObjectSet, Sale, ability, market_audience};
use crate::{
    codec::Encode,
    id::{AccountId, ChainId, Hash, LinkId, PeerId},
    limits::{GRANT_BYTES_MAX, GRANT_LINKS_MAX},
    signature,
};

/// A chain with a valid form and valid signatures. What it allows is a separate question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedGrant {
    grant: Grant,
    /// Of the links.
    digests: Vec<Hash>,
    /// Of the whole chain, with its sale.
    digest: Hash,
}

impl VerifiedGrant {
    /// The account whose permission it is.
    #[must_use]
    pub fn root(&self) -> AccountId {
        self.grant.root
    }

    /// The peer that may use it and pass it on: see [`Grant::holder`].
    #[must_use]
    pub fn holder(&self) -> PeerId {
        self.grant.holder().expect("a verified chain has a link")
    }

    /// The order that has to be paid: what a buyer's grant says of it.
    #[must_use]
    pub fn sale(&self) -> Option<&Sale> {
        self.grant.sale.as_ref()
    }

    /// The digest of the first link.
    pub(super) fn first_digest(&self) -> Hash {
        *self.digests.first().expect("a verified chain has a link")
    }

    /// The chain as it travels.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Gives the chain back as it travels.
    #[must_use]
    pub fn into_grant(self) -> Grant {
        self.grant
    }

    /// The links' revocation ids, beginning at the root.
    #[must_use]
    pub fn link_ids(&self) -> Vec<LinkId> {
        self.digests.iter().map(link_id).collect()
    }

    /// The digest that names the whole chain.
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// Every revocation that would end the chain: a link's id, and a key above it that may revoke it. At
    /// most 36 pairs.
    ///
    /// A one-time key is left out: everyone who saw the voucher has it, and could end what its redeemer has.
    pub fn revocations(&self) -> impl Iterator<Item = (LinkId, AccountId)> + '_ {
        let once = self.grant.once().map(|(place, _)| place);
        self.digests.iter().enumerate().flat_map(move |(place, digest)| {
            let above = (0..place).filter(move |place| Some(*place) != once);
            let above = above.map(|place| self.grant.holder_after(place).into());
            core::iter::once(self.grant.root).chain(above).map(move |by| (link_id(digest), by))
        })
    }
}

impl Grant {
    /// Begins a chain of links: the owner of objects on one ledger gives another peer rights to them.
    pub fn issue(
        chain: &ChainId,
        root: &SigningKey,
        audience: PeerId,
        caveats: Vec<Caveat>,
        entropy: &[u8; 32],
    ) -> Result<Self, GrantError> {
        let id = AccountId(root.verifying_key().to_bytes());
        let before = root_digest(chain, &id);
        let nonce = nonce(&before, &audience, &caveats, entropy);
        let link = Link::sign(root, &before, audience, nonce, caveats);
        let links = alloc::vec![link];
        let grant = Self { version: 1, root: id, sale: None, member: None, links };
        grant.verify(chain).map(VerifiedGrant::into_grant)
    }

    /// Begins a chain for several objects. `caveats` get [`Caveat::Objects`] in front of them, and the grant is for a
    /// request about the object of `member`.
    pub fn issue_for_several(
        chain: &ChainId,
        root: &SigningKey,
        audience: PeerId,
        (objects, member): (&ObjectSet, Member),
        caveats: Vec<Caveat>,
        entropy: &[u8; 32],
    ) -> Result<Self, GrantError> {
        let mut all = alloc::vec![Caveat::Objects { root: objects.root() }];
        all.extend(caveats);
        let id = AccountId(root.verifying_key().to_bytes());
        let before = root_digest(chain, &id);
        let nonce = nonce(&before, &audience, &all, entropy);
        let links = alloc::vec![Link::sign(root, &before, audience, nonce, all)];
        let grant = Self { version: 2, root: id, sale: None, member: Some(member), links };
        grant.verify(chain).map(VerifiedGrant::into_grant)
    }

    /// Passes part of it on. Only the holder is needed.
    pub fn delegate(
        &self,
        chain: &ChainId,
        holder: &SigningKey,
        audience: PeerId,
        caveats: Vec<Caveat>,
        entropy: &[u8; 32],
    ) -> Result<Self, GrantError> {
        let verified = self.verify(chain)?;
        if holder.verifying_key().to_bytes() != verified.holder().0 {
            return Err(GrantError::NotHolder);
        }
        let before = verified.digest();
        let nonce = nonce(&before, &audience, &caveats, entropy);
        let mut longer = verified.into_grant();
        longer.links.push(Link::sign(holder, &before, audience, nonce, caveats));
        longer.verify(chain).map(VerifiedGrant::into_grant)
    }

    /// Checks everything that does not depend on the request, and the expensive signatures last. If a chain
    /// was signed for another ledger than `chain`, no signature verifies here.
    pub fn verify(&self, chain: &ChainId) -> Result<VerifiedGrant, GrantError> {
        self.check_form()?;
        self.check_sale(chain)?;
        let mut digests = Vec::with_capacity(self.links.len());
        let mut before = root_digest(chain, &self.root);
        let mut issuer = PeerId::from(self.root);
        for (place, link) in self.links.iter().enumerate() {
            before = link.digest(&before);
            signature::verify(&issuer.0, &before, &link.signature)
                .map_err(|_| GrantError::Signature { link: place })?;
            digests.push(before);
            issuer = self.holder_after(place);
            if let Some(sale) = self.sale.filter(|_| place == 0) {
                before = sale.digest(&before);
            }
        }
        Ok(VerifiedGrant { grant: self.clone(), digests, digest: before })
    }

    /// Who holds the chain up to and with this link, and its sale.
    fn holder_after(&self, place: usize) -> PeerId {
        match self.sale {
            Some(sale) if place == 0 => sale.holder,
            _ => self.links[place].audience,
        }
    }

    /// A mandate is passed on by an order, and nothing else is.
    fn check_sale(&self, chain: &ChainId) -> Result<(), GrantError> {
        let is_mandate = self.links[0].audience == market_audience(chain);
        match self.sale {
            Some(_) if !is_mandate => Err(GrantError::NoMandate),
            Some(sale) if sale.holder.0 == self.root.0 => Err(GrantError::HolderRepeated),
            Some(sale) if sale.holder == self.links[0].audience => Err(GrantError::HolderRepeated),
            None if is_mandate && 1 < self.links.len() => Err(GrantError::NoOrder),
            _ => Ok(()),
        }
    }

    fn check_form(&self) -> Result<(), GrantError> {
        if self.version != 1 + u8::from(self.member.is_some()) {
            return Err(GrantError::Version { version: self.version });
        }
        let found = self.links.len();
        if found == 0 || found > GRANT_LINKS_MAX {
            return Err(GrantError::Links { found });
        }
        let bytes = self.to_bytes().len();
        if bytes > GRANT_BYTES_MAX {
            return Err(GrantError::TooLarge { bytes });
        }
        for (place, link) in self.links.iter().enumerate() {
            let mut above = self.links[..place].iter().map(|link| link.audience);
            let buyers = self.sale.is_some_and(|sale| 0 < place && sale.holder == link.audience);
            if buyers || link.audience.0 == self.root.0 || above.any(|key| key == link.audience) {
                return Err(GrantError::AudienceRepeated { link: place });
            }
            let below = found - 1 - place;
            for caveat in &link.caveats {
                match caveat {
                    Caveat::Abilities { set } if set & !ability::ALL != 0 => {
                        return Err(GrantError::UnknownAbility { link: place });
                    }
                    Caveat::Depth { links } if usize::from(*links) < below => {
                        return Err(GrantError::TooDeep { link: place });
                    }
                    _ => {}
                }
            }
        }
        self.check_membership()?;
        self.check_once()
    }

    /// A first link that names several objects goes with a place among them, and no other link names several.
    fn check_membership(&self) -> Result<(), GrantError> {
        let of = |link: &Link| {
            link.caveats.iter().filter(|caveat| matches!(caveat, Caveat::Objects { .. })).count()
        };
        let first = of(&self.links[0]);
        let later: usize = self.links[1..].iter().map(of).sum();
        match first == usize::from(self.member.is_some()) && later == 0 {
            true => Ok(()),
            false => Err(GrantError::Membership),
        }
    }
}

impl Link {
    /// Signs a link that follows the chain with this digest.
    pub(super) fn sign(
        issuer: &SigningKey,
        before: &Hash,
        audience: PeerId,
        nonce: [u8; 8],
        caveats: Vec<Caveat>,
    ) -> Self {
        let mut link = Self { audience, nonce, caveats, signature: [0; 64] };
        link.signature = signature::sign(issuer, &link.digest(before));
        link
    }

    pub(super) fn digest(&self, before: &Hash) -> Hash {
        let mut bytes = before.to_bytes();
        self.encode_unsigned(&mut bytes);
        Hash(blake3::derive_key("symbolon 2026 grant link v1", &bytes))
    }
}

/// Checks a first link by itself, as the ledger does with a listing's mandate, and gives its id.
pub fn verify_first_link(
    chain: &ChainId,
    root: &AccountId,
    link: &Link,
) -> Result<LinkId, GrantError> {
    let links = alloc::vec![link.clone()];
    let alone = Grant { version: 1, root: *root, sale: None, member: None, links };
    alone.verify(chain).map(|verified| link_id(&verified.digest()))
}

pub(super) fn root_digest(chain: &ChainId, root: &AccountId) -> Hash {
    let mut bytes = alloc::vec![1];
    chain.encode(&mut bytes);
    root.encode(&mut bytes);
    Hash(blake3::derive_key("symbolon 2026 grant root v2", &bytes))
}

pub(super) fn link_id(digest: &Hash) -> LinkId {
    LinkId(core::array::from_fn(|i| digest.0[i]))
}

/// Eight bytes that need not be secret; they only have to differ.
fn nonce(before: &Hash, audience: &PeerId, caveats: &Vec<Caveat>, entropy: &[u8; 32]) -> [u8; 8] {
    let mut bytes = before.to_bytes();
    audience.encode(&mut bytes);
    entropy.encode(&mut bytes);
    caveats.encode(&mut bytes);
    let hash = blake3::derive_key("symbolon 2026 grant nonce v1", &bytes);
    core::array::from_fn(|i| hash[i])
}

#[cfg(test)]
mod tests;
