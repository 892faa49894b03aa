//! How a share reaches a custodian: the owner requests it and seals the share to the node's key, and the
//! node accepts.

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;

use super::{CustodyAcceptance, CustodyError, Share, VaultKey};
use crate::{
    codec::Encode,
    envelope,
    id::{AccountId, ChainId, Hash, NodeId, VaultId},
    signature,
    time::LedgerTime,
};

/// One share of one vault at one node. The owner signs these terms, the node signs them back, and the
/// sealed share is bound to them.
#[derive(Clone, Copy, Debug)]
pub struct CustodyTerms<'a> {
    /// The ledger the vault is opened on.
    pub chain: &'a ChainId,
    /// The vault.
    pub vault: &'a VaultId,
    /// The owner of the secret.
    pub owner: &'a AccountId,
    /// The public side.
    pub key: &'a VaultKey,
    /// Which share, from 1.
    pub index: u8,
    /// The custodian.
    pub node: &'a NodeId,
}

impl CustodyTerms<'_> {
    /// The owner's request that this node keep this share: the signature of a `KeepShare` request.
    #[must_use]
    pub fn sign_request(&self, owner: &SigningKey) -> [u8; 64] {
        signature::sign(owner, &self.digest("symbolon 2026 custody request v1"))
    }

    /// Checks a `KeepShare` request's signature.
    pub fn verify_request(&self, by_owner: &[u8; 64]) -> Result<(), CustodyError> {
        let digest = self.digest("symbolon 2026 custody request v1");
        signature::verify(&self.owner.0, &digest, by_owner)
            .map_err(|_| CustodyError::Signature { whose: "owner" })
    }

    /// The node's statement that it keeps the share, for a ledger that has it by `expires_ms`. The node must have opened and
    /// checked the share before.
    #[must_use]
    pub fn accept(&self, node: &SigningKey, expires_ms: LedgerTime) -> CustodyAcceptance {
        let signature = signature::sign(node, &self.acceptance(expires_ms));
        CustodyAcceptance { node: *self.node, index: self.index, expires_ms, signature }
    }

    /// Checks a node's acceptance: that it is about these terms and that this node signed it.
    pub fn verify_acceptance(&self, acceptance: &CustodyAcceptance) -> Result<(), CustodyError> {
        let digest = self.acceptance(acceptance.expires_ms);
        if acceptance.node != *self.node || acceptance.index != self.index {
            return Err(CustodyError::Signature { whose: "custodian" });
        }
        signature::verify(&self.node.0, &digest, &acceptance.signature)
            .map_err(|_| CustodyError::Signature { whose: "custodian" })
    }

    /// Seals the share to the node's custody key.
    pub fn seal(
        &self,
        share: &Share,
        custody_key: &[u8; 32],
        entropy: &[u8; 32],
    ) -> Result<Vec<u8>, CustodyError> {
        if share.index() != self.index {
            return Err(CustodyError::Share { index: share.index() });
        }
        let aad = self.digest("symbolon 2026 custody share aad v1");
        envelope::seal(custody_key, SHARE_INFO, &aad.0, share.as_bytes(), entropy)
            .map_err(|_| CustodyError::Sealed)
    }

    /// Opens a sealed share with the node's custody secret and checks it against the commitments.
    pub fn open(&self, sealed: &[u8], custody_secret: &[u8; 32]) -> Result<Share, CustodyError> {
        let aad = self.digest("symbolon 2026 custody share aad v1");
        let plain = envelope::open(custody_secret, SHARE_INFO, &aad.0, sealed)
            .map_err(|_| CustodyError::Sealed)?;
        let bytes: &[u8; 32] = plain.as_slice().try_into().map_err(|_| CustodyError::Sealed)?;
        let share = Share::from_bytes(self.index, bytes)?;
        self.key.verify_share(&share)?;
        Ok(share)
    }

    fn acceptance(&self, expires_ms: LedgerTime) -> Hash {
        let mut bytes = self.bytes();
        expires_ms.encode(&mut bytes);
        Hash(blake3::derive_key("symbolon 2026 custody acceptance v2", &bytes))
    }

    fn digest(&self, context: &str) -> Hash {
        Hash(blake3::derive_key(context, &self.bytes()))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.chain.to_bytes();
        self.vault.encode(&mut bytes);
        self.owner.encode(&mut bytes);
        self.key.encode(&mut bytes);
        self.index.encode(&mut bytes);
        self.node.encode(&mut bytes);
        bytes
    }
}

const SHARE_INFO: &[u8] = b"symbolon 2026 custody share v1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::{VaultSecret, share};

    #[test]
    fn a_share_travels_and_is_accepted() {
        let owner = SigningKey::from_bytes(&[1; 32]);
        let node = SigningKey::from_bytes(&[2; 32]);
        let (key, shares) = share(&VaultSecret::from_seed(&[3; 32]), 2, 3, &[4; 32]).unwrap();
        let terms = CustodyTerms {
            chain: &ChainId([5; 32]),
            vault: &VaultId([6; 16]),
            owner: &AccountId(owner.verifying_key().to_bytes()),
            key: &key,
            index: 2,
            node: &NodeId::from(AccountId(node.verifying_key().to_bytes())),
        };
        let custody_key = envelope::public_key(&[7; 32]);
        let sealed = terms.seal(&shares[1], &custody_key, &[8; 32]).unwrap();
        assert_eq!(sealed.len(), 80);
        assert_eq!(terms.open(&sealed, &[7; 32]).unwrap().as_bytes(), shares[1].as_bytes());
        let request = terms.sign_request(&owner);
        terms.verify_request(&request).unwrap();
        let acceptance = terms.accept(&node, LedgerTime(9));
        terms.verify_acceptance(&acceptance).unwrap();

        // The envelope and both signatures bind every term.
        let (other_key, _) = share(&VaultSecret::from_seed(&[9; 32]), 2, 3, &[4; 32]).unwrap();
        for other in [
            CustodyTerms { chain: &ChainId([9; 32]), ..terms },
            CustodyTerms { vault: &VaultId([9; 16]), ..terms },
            CustodyTerms { owner: &AccountId([9; 32]), ..terms },
            CustodyTerms { key: &other_key, ..terms },
            CustodyTerms { index: 1, ..terms },
            CustodyTerms { node: &NodeId::from(*terms.owner), ..terms },
        ] {
            assert_eq!(other.open(&sealed, &[7; 32]).unwrap_err(), CustodyError::Sealed);
            assert!(other.verify_request(&request).is_err());
            assert!(other.verify_acceptance(&acceptance).is_err());
        }
        let longer = CustodyAcceptance { expires_ms: LedgerTime(10), ..acceptance.clone() };
        assert!(terms.verify_acceptance(&longer).is_err());
        // The one signature does not verify as the other, and another key opens nothing.
        assert!(terms.verify_request(&acceptance.signature).is_err());
        assert!(terms.open(&sealed, &[9; 32]).is_err());
        assert!(terms.seal(&shares[0], &custody_key, &[8; 32]).is_err());
    }

    #[test]
    fn a_false_share_is_found_on_arrival() {
        let (key, _) = share(&VaultSecret::from_seed(&[3; 32]), 2, 3, &[4; 32]).unwrap();
        let (_, others) = share(&VaultSecret::from_seed(&[9; 32]), 2, 3, &[4; 32]).unwrap();
        let terms = CustodyTerms {
            chain: &ChainId([5; 32]),
            vault: &VaultId([6; 16]),
            owner: &AccountId([1; 32]),
            key: &key,
            index: 1,
            node: &NodeId::from(AccountId([2; 32])),
        };
        let sealed = terms.seal(&others[0], &envelope::public_key(&[7; 32]), &[8; 32]).unwrap();
        assert_eq!(terms.open(&sealed, &[7; 32]).unwrap_err(), CustodyError::Share { index: 1 });
    }
}
