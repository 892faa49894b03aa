//! 24 English words that give every key back (BIP-39).

use alloc::string::String;
use core::fmt;

use bip39::{Language, Mnemonic};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Words of a phrase: 256 bits of entropy and 8 of checksum, 11 bits a word.
pub const PHRASE_WORDS: usize = 24;

/// Why words are not a phrase. No variant holds a word: even a misspelt word is half of a secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PhraseError {
    /// Not 24 words.
    #[error("a phrase has {PHRASE_WORDS} words, this has {found}")]
    Count {
        /// How many words were given.
        found: usize,
    },
    /// A word that occurs in no phrase: misspelt, or not English.
    #[error("word {position} is not in the list of phrase words; check its spelling")]
    Word {
        /// The word's position, counted from 1.
        position: usize,
    },
    /// All words exist, but not together, or not in this order.
    #[error("every word exists, but together they are no phrase; check their order and for a swap")]
    Checksum,
}

/// The 24 words, as the 32 bytes they stand for.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Phrase {
    entropy: [u8; 32],
}

impl Phrase {
    /// The phrase of 32 uniform bytes.
    #[must_use]
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        Self { entropy: *entropy }
    }

    /// Reads words as a person types them: any case, any white space between.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let found = text.split_whitespace().count();
        if found != PHRASE_WORDS {
            return Err(PhraseError::Count { found });
        }
        let lower = Zeroizing::new(text.to_lowercase());
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &lower).map_err(
            |error| match error {
                bip39::Error::UnknownWord(index) => PhraseError::Word { position: index + 1 },
                bip39::Error::BadWordCount(found) => PhraseError::Count { found },
                _ => PhraseError::Checksum,
            },
        )?;
        let (mut bytes, count) = mnemonic.to_entropy_array();
        let entropy = bytes[..count].try_into().map_err(|_| PhraseError::Count { found });
        bytes.zeroize();
        Ok(Self { entropy: entropy? })
    }

    /// The words, one space between.
    #[must_use]
    pub fn words(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PHRASE_WORDS * 9));
        for (index, word) in self.mnemonic().words().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// The bytes that the words stand for. A key file keeps them.
    #[must_use]
    pub fn entropy(&self) -> &[u8; 32] {
        &self.entropy
    }

    /// The BIP-39 seed, with an empty BIP-39 passphrase. 2048 rounds of HMAC-SHA-512 take milliseconds.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.mnemonic().to_seed_normalized(""))
    }

    fn mnemonic(&self) -> Mnemonic {
        Mnemonic::from_entropy(&self.entropy).expect("32 bytes are a length BIP-39 allows")
    }
}

impl fmt::Debug for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrase(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn words_and_bytes_agree() {
        let phrase = Phrase::from_entropy(&[0; 32]);
        let words = phrase.words();
        assert!(words.starts_with("abandon abandon"));
        assert!(words.ends_with(" art"));
        assert_eq!(Phrase::parse(&words), Ok(phrase.clone()));
        let typed = words.to_uppercase().replace(' ', "\n  ");
        assert_eq!(Phrase::parse(&typed), Ok(phrase));
    }

    #[test]
    fn each_mistake_has_its_own_words() {
        let words = Phrase::from_entropy(&[7; 32]).words().to_string();
        let mut list: std::vec::Vec<&str> = words.split(' ').collect();
        let misspelt = words.replacen(list[4], "absandon", 1);
        let place = misspelt.split(' ').position(|word| word == "absandon").unwrap() + 1;
        assert_eq!(Phrase::parse(&misspelt), Err(PhraseError::Word { position: place }));
        assert_eq!(Phrase::parse("abandon art"), Err(PhraseError::Count { found: 2 }));
        assert_eq!(Phrase::parse(""), Err(PhraseError::Count { found: 0 }));
        list[23] = if list[23] == "art" { "able" } else { "art" };
        assert_eq!(Phrase::parse(&list.join(" ")), Err(PhraseError::Checksum));
    }
}
