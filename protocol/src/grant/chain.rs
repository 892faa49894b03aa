//! Making and verifying chains. What link `i` signs depends on everything before it:
//!
//! ```text
//! m(-1) = derive_key("symbolon 2026 grant root v2", version | chain | root)
//! m(i)  = derive_key("symbolon 2026 grant link v1", m(i-1) | audience | nonce | caveats)
//! ```

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;

use super::{Caveat, Grant, GrantError, Link, ability};
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
    digests: Vec<Hash>,
}

impl VerifiedGrant {
    /// The account whose permission it is.
    #[must_use]
    pub fn root(&self) -> AccountId {
        self.grant.root
    }

    /// The peer that may use it and pass it on: the last audience.
    #[must_use]
    pub fn holder(&self) -> PeerId {
        self.grant.links.last().expect("a verified chain has a link").audience
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

    /// The digest under the last signature. It names the whole chain.
    #[must_use]
    pub fn digest(&self) -> Hash {
        *self.digests.last().expect("a verified chain has a link")
    }

    /// Every revocation that would end the chain: a link's id, and a key above it that may revoke it. At
    /// most 36 pairs.
    pub fn revocations(&self) -> impl Iterator<Item = (LinkId, AccountId)> + '_ {
        self.digests.iter().enumerate().flat_map(move |(place, digest)| {
            let above = self.grant.links[..place].iter().map(|link| link.audience.into());
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
        let grant = Self { version: 1, root: id, links: alloc::vec![link] };
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
        let mut digests = Vec::with_capacity(self.links.len());
        let mut before = root_digest(chain, &self.root);
        let mut issuer = &self.root.0;
        for (place, link) in self.links.iter().enumerate() {
            before = link.digest(&before);
            signature::verify(issuer, &before, &link.signature)
                .map_err(|_| GrantError::Signature { link: place })?;
            digests.push(before);
            issuer = &link.audience.0;
        }
        Ok(VerifiedGrant { grant: self.clone(), digests })
    }

    fn check_form(&self) -> Result<(), GrantError> {
        if self.version != 1 {
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
            if link.audience.0 == self.root.0 || above.any(|key| key == link.audience) {
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
        Ok(())
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
    let alone = Grant { version: 1, root: *root, links: alloc::vec![link.clone()] };
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
