//! Signatures that hold, remembered: most come twice, once in a vote and once in a certificate.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use symbolon_protocol::{
    id::Hash,
    signature::{self, SignatureError},
};

/// A bounded memory of signatures that hold. Clones are the same memory.
#[derive(Clone, Debug, Default)]
pub struct Signatures {
    known: Arc<Mutex<HashSet<[u8; 32]>>>,
}

impl Signatures {
    /// Checks a signature, unless it was found to hold before.
    pub fn verify(
        &self,
        key: &[u8; 32],
        digest: &Hash,
        signature: &[u8; 64],
    ) -> Result<(), SignatureError> {
        let mut name = blake3::Hasher::new();
        name.update(key).update(&digest.0).update(signature);
        let name = *name.finalize().as_bytes();
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&name) {
            return Ok(());
        }
        signature::verify(key, digest, signature)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgetting all costs a few checks again, and no order of use has to be kept.
        if KNOWN_MAX <= known.len() {
            known.clear();
        }
        known.insert(name);
        Ok(())
    }
}

/// Signatures that are remembered at most, 32 bytes each: those of 128 validators for dozens of rounds.
const KNOWN_MAX: usize = 1 << 14;
