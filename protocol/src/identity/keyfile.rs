//! The phrase on disk: sealed under a passphrase, or plain when its owner says so.
//!
//! ```text
//! plain   "symbolon key\n" | version 1 | kind 0 | entropy 32 | check 16
//! sealed  "symbolon key\n" | version 1 | kind 1 | memory KiB u32 | passes u32 | lanes u32
//!                          | salt 16 | nonce 12 | ChaCha20-Poly1305(entropy) 48 | check 16
//! ```
//!
//! The check is a hash over everything before it. It is no secret and protects nothing; it tells a
//! damaged file from a wrong passphrase, which would otherwise look the same.

use alloc::{string::String, vec, vec::Vec};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::AeadInOut};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::Phrase;
use crate::{
    codec::{DecodeError, Encode, Reader},
    record,
};

/// Why a key file was not made or opened.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyfileError {
    /// Another kind of file.
    #[error("this is not a symbolon key file")]
    NotAKeyfile,
    /// A later program made it.
    #[error("key file version {version} is not known; a newer program is needed")]
    Version {
        /// The version that was found.
        version: u8,
    },
    /// Some bytes were changed or lost.
    #[error("the key file is damaged; restore it from its copy or from the phrase")]
    Damaged,
    /// The file is sealed, and no passphrase was given.
    #[error("the key file is sealed: a passphrase is needed")]
    PassphraseNeeded,
    /// The passphrase does not open the file.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// An empty passphrase, which would protect nothing.
    #[error("an empty passphrase protects nothing")]
    EmptyPassphrase,
    /// Costs that are too high for any machine, or that Argon2 does not know.
    #[error(
        "{memory_kib} KiB, {passes} passes and {lanes} lanes are not costs this program accepts"
    )]
    Cost {
        /// Memory.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

record! {
    /// The cost of one guess at the passphrase (Argon2id, RFC 9106).
    #[derive(Copy)]
    pub struct Cost {
        /// Memory in KiB.
        pub memory_kib: u32,
        /// Passes over the memory.
        pub passes: u32,
        /// Independent lanes.
        pub lanes: u32,
    }
}

impl Cost {
    /// The second choice of RFC 9106, section 4: 64 MiB, three passes, four lanes. The first needs
    /// 2 GiB, which a small node does not have.
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    /// The limit. A file that asks for more would stop the machine that reads it.
    pub const MAX: Self = Self { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

    fn params(self) -> Result<Params, KeyfileError> {
        let Self { memory_kib, passes, lanes } = self;
        let error = KeyfileError::Cost { memory_kib, passes, lanes };
        if memory_kib > Self::MAX.memory_kib || passes > Self::MAX.passes || lanes > Self::MAX.lanes
        {
            return Err(error);
        }
        Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| error)
    }
}

/// Whether a file is sealed, and so needs a passphrase.
pub fn is_sealed(file: &[u8]) -> Result<bool, KeyfileError> {
    Ok(matches!(read(file)?, Contents::Sealed { .. }))
}

/// A plain key file: a reader of the file has the keys.
#[must_use]
pub fn plain(phrase: &Phrase) -> Zeroizing<Vec<u8>> {
    let mut file = Zeroizing::new(Vec::with_capacity(MAGIC.len() + 2 + 32 + CHECK_BYTES));
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[VERSION, PLAIN]);
    file.extend_from_slice(phrase.entropy());
    let check = check(&file);
    file.extend_from_slice(&check);
    file
}

/// A key file sealed under a passphrase.
pub fn seal(
    phrase: &Phrase,
    passphrase: &str,
    cost: Cost,
    entropy: &[u8; 32],
) -> Result<Vec<u8>, KeyfileError> {
    if passphrase.is_empty() {
        return Err(KeyfileError::EmptyPassphrase);
    }
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&[VERSION, SEALED]);
    cost.encode(&mut file);
    let (salt, rest) = entropy.split_at(SALT_BYTES);
    let (nonce, _) = rest.split_at(NONCE_BYTES);
    file.extend_from_slice(salt);
    file.extend_from_slice(nonce);
    let key = stretch(passphrase, salt, cost)?;
    let mut sealed = Zeroizing::new(phrase.entropy().to_vec());
    cipher(&key)
        .encrypt_in_place(&nonce_of(nonce), &file, &mut *sealed)
        .expect("32 bytes are within what the cipher seals");
    file.extend_from_slice(&sealed);
    let check = check(&file);
    file.extend_from_slice(&check);
    Ok(file)
}

/// Opens a key file. A plain file needs no passphrase and ignores one.
pub fn open(file: &[u8], passphrase: Option<&str>) -> Result<Phrase, KeyfileError> {
    match read(file)? {
        Contents::Plain(entropy) => Ok(Phrase::from_entropy(&entropy)),
        Contents::Sealed { head, cost, salt, nonce, sealed } => {
            let passphrase = passphrase.ok_or(KeyfileError::PassphraseNeeded)?;
            let key = stretch(passphrase, salt, cost)?;
            let mut bytes = Zeroizing::new(sealed.to_vec());
            cipher(&key)
                .decrypt_in_place(&nonce_of(nonce), head, &mut *bytes)
                .map_err(|_| KeyfileError::WrongPassphrase)?;
            let entropy: &[u8; 32] =
                bytes.as_slice().try_into().map_err(|_| KeyfileError::Damaged)?;
            Ok(Phrase::from_entropy(entropy))
        }
    }
}

const MAGIC: &[u8] = b"symbolon key\n";
const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const CHECK_BYTES: usize = 16;

enum Contents<'a> {
    Plain(Zeroizing<[u8; 32]>),
    Sealed { head: &'a [u8], cost: Cost, salt: &'a [u8], nonce: &'a [u8], sealed: &'a [u8] },
}

fn read(file: &[u8]) -> Result<Contents<'_>, KeyfileError> {
    let rest = file.strip_prefix(MAGIC).ok_or(KeyfileError::NotAKeyfile)?;
    match rest.first() {
        Some(&VERSION) => {}
        Some(&version) => return Err(KeyfileError::Version { version }),
        None => return Err(KeyfileError::Damaged),
    }
    let (body, tail) = file.split_last_chunk::<CHECK_BYTES>().ok_or(KeyfileError::Damaged)?;
    if !bool::from(check(body).ct_eq(tail)) {
        return Err(KeyfileError::Damaged);
    }
    contents(body).map_err(|_| KeyfileError::Damaged)
}

fn contents(body: &[u8]) -> Result<Contents<'_>, DecodeError> {
    let mut input = Reader::new(body);
    input.take(MAGIC.len() + 1)?;
    let found = match input.array::<1>()? {
        [PLAIN] => Contents::Plain(Zeroizing::new(input.array()?)),
        [SEALED] => {
            let cost = crate::codec::Decode::decode(&mut input)?;
            let salt = input.take(SALT_BYTES)?;
            let nonce = input.take(NONCE_BYTES)?;
            let head = &body[..body.len() - input.remaining()];
            Contents::Sealed { head, cost, salt, nonce, sealed: input.take(48)? }
        }
        [tag] => return Err(DecodeError::Tag { what: "key file kind", tag }),
    };
    input.finish()?;
    Ok(found)
}

fn check(body: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = blake3::derive_key("symbolon 2026 keyfile check v1", body);
    core::array::from_fn(|i| hash[i])
}

/// The key of a passphrase. Accents that are typed in two ways give the same passphrase (NFKD, as in
/// BIP-39).
fn stretch(passphrase: &str, salt: &[u8], cost: Cost) -> Result<Zeroizing<[u8; 32]>, KeyfileError> {
    let params = cost.params()?;
    let mut text = passphrase.into();
    bip39::Mnemonic::normalize_utf8_cow(&mut text);
    let text = Zeroizing::new(String::from(text));
    let mut memory = vec![Block::default(); params.block_count()];
    let mut key = Zeroizing::new([0; 32]);
    let Cost { memory_kib, passes, lanes } = cost;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(text.as_bytes(), salt, key.as_mut_slice(), &mut memory)
        .map_err(|_| KeyfileError::Cost { memory_kib, passes, lanes })?;
    memory.fill(Block::default());
    core::hint::black_box(&memory);
    Ok(key)
}

fn cipher(key: &[u8; 32]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&(*key).into())
}

fn nonce_of(bytes: &[u8]) -> chacha20poly1305::Nonce {
    chacha20poly1305::Nonce::try_from(bytes).expect("the nonce was cut at its length")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 32, passes: 1, lanes: 1 };

    #[test]
    fn a_sealed_file_opens_with_its_passphrase_only() {
        let phrase = Phrase::from_entropy(&[1; 32]);
        let file = seal(&phrase, "caf\u{e9}", CHEAP, &[2; 32]).unwrap();
        assert_eq!(is_sealed(&file), Ok(true));
        assert_eq!(open(&file, Some("caf\u{e9}")), Ok(phrase.clone()));
        assert_eq!(open(&file, Some("cafe\u{301}")), Ok(phrase.clone()));
        assert_eq!(open(&file, Some("cafe")), Err(KeyfileError::WrongPassphrase));
        assert_eq!(open(&file, None), Err(KeyfileError::PassphraseNeeded));
        assert_eq!(seal(&phrase, "", CHEAP, &[2; 32]), Err(KeyfileError::EmptyPassphrase));
        assert!(!file.windows(32).any(|part| part == phrase.entropy()));
    }

    #[test]
    fn the_standard_cost_works() {
        let phrase = Phrase::from_entropy(&[1; 32]);
        let file = seal(&phrase, "a", Cost::STANDARD, &[2; 32]).unwrap();
        assert_eq!(open(&file, Some("a")), Ok(phrase));
    }

    #[test]
    fn a_plain_file_needs_nothing() {
        let phrase = Phrase::from_entropy(&[1; 32]);
        let file = plain(&phrase);
        assert_eq!(is_sealed(&file), Ok(false));
        assert_eq!(open(&file, None), Ok(phrase));
    }

    #[test]
    fn damage_is_not_a_wrong_passphrase() {
        let phrase = Phrase::from_entropy(&[1; 32]);
        let sealed = seal(&phrase, "a", CHEAP, &[2; 32]).unwrap();
        for file in [sealed.as_slice(), plain(&phrase).as_slice()] {
            for at in 0..file.len() {
                let mut changed = file.to_vec();
                changed[at] ^= 1;
                let expected = match at {
                    0..=12 => KeyfileError::NotAKeyfile,
                    13 => KeyfileError::Version { version: 0 },
                    _ => KeyfileError::Damaged,
                };
                assert_eq!(open(&changed, Some("a")), Err(expected), "byte {at}");
                let cut = open(&file[..at], Some("a")).unwrap_err();
                assert!(matches!(cut, KeyfileError::NotAKeyfile | KeyfileError::Damaged));
            }
        }
    }

    #[test]
    fn a_file_cannot_demand_a_machine() {
        let huge = Cost { memory_kib: u32::MAX, passes: 1, lanes: 1 };
        let phrase = Phrase::from_entropy(&[1; 32]);
        assert!(matches!(seal(&phrase, "a", huge, &[0; 32]), Err(KeyfileError::Cost { .. })));
        let mut file = seal(&phrase, "a", CHEAP, &[2; 32]).unwrap();
        file[15..19].copy_from_slice(&u32::MAX.to_le_bytes());
        let body = file.len() - CHECK_BYTES;
        let fixed = check(&file[..body]);
        file[body..].copy_from_slice(&fixed);
        assert!(matches!(open(&file, Some("a")), Err(KeyfileError::Cost { .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&tail, Some("a")).is_err());
            let mut file = MAGIC.to_vec();
            file.extend_from_slice(&[VERSION, SEALED]);
            file.extend_from_slice(&tail);
            let check = check(&file);
            file.extend_from_slice(&check);
            // A well-formed file of the right length may ask for real work: leave those out.
            prop_assume!(tail.len() != 12 + SALT_BYTES + NONCE_BYTES + 48);
            prop_assert_eq!(open(&file, Some("a")), Err(KeyfileError::Damaged));
        }
    }
}
