//! An identity: a phrase, the keys that follow from it, and what others need to know of them. See
//! `spec/identity.md`.
//!
//! Everything secret follows from 24 words. Each purpose has its own key with its own derivation context.
//! So a key on one machine or in one program reveals nothing about the others.

pub mod keyfile;
mod phrase;
mod recipient;

use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::SigningKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use phrase::{PHRASE_WORDS, Phrase, PhraseError};
pub use recipient::{Recipient, RecipientError};

use crate::{
    custody::{DeliverySecret, VaultSecret},
    envelope,
    id::{AccountId, ChainId, ListingId, Opening, OrderId, PeerId, VaultId},
};

/// The seed of all keys of one person or machine.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Identity {
    seed: [u8; 64],
}

impl Identity {
    /// The identity of a phrase: its BIP-39 seed with an empty passphrase.
    #[must_use]
    pub fn from_phrase(phrase: &Phrase) -> Self {
        Self { seed: *phrase.seed() }
    }

    /// The identity of a seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 64]) -> Self {
        Self { seed: *seed }
    }

    /// Signs transactions and first grant links: the key that owns money and objects.
    #[must_use]
    pub fn account_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.derive("symbolon 2026 identity account v1", &[]))
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId(self.account_key().verifying_key().to_bytes())
    }

    /// The QUIC identity: it answers on the network and holds grants.
    #[must_use]
    pub fn access_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.derive("symbolon 2026 identity access v1", &[]))
    }

    /// The peer id that others see.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId(self.access_key().verifying_key().to_bytes())
    }

    /// Opens everything that is sealed to this identity: file keys in grant tokens, shares at a custodian.
    #[must_use]
    pub fn wrap_secret(&self) -> Zeroizing<[u8; 32]> {
        self.derive("symbolon 2026 identity wrap v1", &[])
    }

    /// The public key that others seal to.
    #[must_use]
    pub fn wrap_key(&self) -> [u8; 32] {
        envelope::public_key(&self.wrap_secret())
    }

    /// Seals the owner's own index of names and file keys.
    #[must_use]
    pub fn names_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive("symbolon 2026 identity names v1", &[])
    }

    /// The secret of one vault on one ledger: the shares that custodians of a test network hold open
    /// nothing on another ledger.
    #[must_use]
    pub fn vault_secret(&self, chain: &ChainId, vault: &VaultId) -> VaultSecret {
        let parts: [&[u8]; 2] = [&chain.0, &vault.0];
        VaultSecret::from_seed(&self.derive("symbolon 2026 identity vault v2", &parts))
    }

    /// The one-time secret of one order.
    #[must_use]
    pub fn delivery_secret(&self, chain: &ChainId, order: &OrderId) -> DeliverySecret {
        let parts: [&[u8]; 2] = [&chain.0, &order.0];
        DeliverySecret::from_seed(&self.derive("symbolon 2026 identity delivery v2", &parts))
    }

    /// The opening of an order for a listing. It is the same on every device, so no two devices pay. `attempt`
    /// is the first number whose id stands for no order.
    #[must_use]
    pub fn order_opening(&self, chain: &ChainId, listing: &ListingId, attempt: u32) -> Opening {
        let parts: [&[u8]; 3] = [&chain.0, &listing.0, &attempt.to_le_bytes()];
        Opening(*self.derive("symbolon 2026 identity order v3", &parts))
    }

    /// What others need in order to grant something to this identity.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient::sign(&self.account_key(), self.peer(), self.wrap_key())
    }

    /// `parts` have fixed sizes, so that two different lists of them never have the same bytes.
    fn derive(&self, context: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let size = self.seed.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut material = Zeroizing::new(Vec::with_capacity(size));
        material.extend_from_slice(&self.seed);
        for part in parts {
            material.extend_from_slice(part);
        }
        Zeroizing::new(blake3::derive_key(context, &material))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, format, string::ToString};

    use super::*;

    #[test]
    fn every_purpose_has_its_own_key() {
        let identity = Identity::from_seed(&[1; 64]);
        let (here, there) = (ChainId([1; 32]), ChainId([2; 32]));
        let (one, two) = (VaultId([1; 16]), VaultId([2; 16]));
        let (first, second) = (OrderId([1; 16]), OrderId([2; 16]));
        let secrets = [
            identity.account_key().to_bytes(),
            identity.access_key().to_bytes(),
            *identity.wrap_secret(),
            *identity.names_key(),
            identity.vault_secret(&here, &one).public(),
            identity.vault_secret(&here, &two).public(),
            identity.vault_secret(&there, &one).public(),
        ];
        assert_eq!(secrets.iter().collect::<BTreeSet<_>>().len(), secrets.len());
        let key = |chain, order| {
            let secret = identity.delivery_secret(chain, order);
            crate::custody::DeliveryKey::make(&secret, &crate::id::Hash([0; 32]), &[0; 32]).point
        };
        assert_ne!(key(&here, &first), key(&here, &second));
        assert_ne!(key(&here, &first), key(&there, &first));
        let listings = [ListingId([1; 16]), ListingId([2; 16])];
        let orders = [(&here, 0, 0), (&here, 0, 1), (&here, 1, 0), (&there, 0, 0)].map(
            |(chain, at, attempt)| {
                let opening = identity.order_opening(chain, &listings[at], attempt);
                assert_eq!(identity.order_opening(chain, &listings[at], attempt), opening);
                opening
            },
        );
        assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), orders.len());
        assert_ne!(Identity::from_seed(&[2; 64]).order_opening(&here, &listings[0], 0), orders[0]);
        assert_ne!(Identity::from_seed(&[2; 64]).account(), identity.account());
    }

    /// The worked example of `spec/identity.md`.
    #[test]
    fn the_example_of_the_spec() {
        let identity = Identity::from_phrase(&Phrase::from_entropy(&[0; 32]));
        assert_eq!(
            identity.account().to_string(),
            "17a1eeb8a623936c54fd8132dbda4927c84c0239937e7fa4c21986bf7ab927df"
        );
        assert_eq!(
            identity.peer().to_string(),
            "dd38ce94d684e7b9b9ff816b5df803ffb8bda30ded127030f5a1ff890b092d7f"
        );
        assert_eq!(
            crate::id::hex(&identity.wrap_key()),
            "ae74c858334fabacbdd65816543fa3ea0f96618724896b4bf3730a09ea3a066a"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Identity::from_seed(&[1; 64])), "Identity(..)");
    }
}
