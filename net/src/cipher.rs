//! The cipher for QUIC packets.
//!
//! TLS 1.3 has two families of ciphers. AES-GCM is faster on processors with AES instructions and
//! much slower on others. ChaCha20-Poly1305 is equally fast everywhere. The dialling side proposes
//! ciphers in the order that suits its own processor. The answering side takes the first one that
//! it supports.

use std::sync::Arc;

use rustls::{
    CipherSuite, SupportedCipherSuite,
    crypto::{CryptoProvider, ring},
};

/// The cipher that a dialling endpoint proposes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    /// The faster cipher on this processor.
    #[default]
    Fastest,
    /// AES-128-GCM.
    Aes128Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Cipher {
    fn first(self) -> CipherSuite {
        match self {
            Self::Aes128Gcm => CipherSuite::TLS13_AES_128_GCM_SHA256,
            Self::ChaCha20Poly1305 => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            Self::Fastest if has_aes() => CipherSuite::TLS13_AES_128_GCM_SHA256,
            Self::Fastest => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        }
    }

    /// *ring* with this cipher before the others. The others stay: QUIC's first packets always use
    /// AES-128-GCM (RFC 9001, section 5.2), and the peer may prefer another cipher.
    pub(crate) fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = ring::default_provider();
        let first = self.first();
        provider.cipher_suites.sort_by_key(|suite: &SupportedCipherSuite| suite.suite() != first);
        Arc::new(provider)
    }
}

/// Whether the processor has instructions for AES and for the multiplication in GCM.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_first_and_none_is_missing() {
        let all = ring::default_provider().cipher_suites.len();
        for (cipher, first) in [
            (Cipher::Aes128Gcm, CipherSuite::TLS13_AES_128_GCM_SHA256),
            (Cipher::ChaCha20Poly1305, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        ] {
            let suites = &cipher.provider().cipher_suites;
            assert_eq!(suites.first().map(SupportedCipherSuite::suite), Some(first));
            assert_eq!(suites.len(), all);
        }
    }
}
