//! Bytes as text that a person can copy: bech32m with a prefix that names the kind of text, at lengths that
//! the original format does not allow.

use alloc::{string::String, vec::Vec};
use core::ops::RangeInclusive;

use bech32::{
    Bech32m, Checksum, Fe1024, Hrp,
    primitives::decode::{
        CheckedHrpstring, CheckedHrpstringError, ChecksumError, UncheckedHrpstring,
    },
};
use thiserror::Error;

/// One kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextForm {
    /// The prefix, before the `1`.
    pub prefix: &'static str,
    /// Characters at most, up to [`TEXT_LENGTH_MAX`].
    pub length_max: usize,
}

/// Characters of the longest text of any form.
pub const TEXT_LENGTH_MAX: usize = 8192;

/// Why a text is not of the expected kind.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextError {
    /// A text of another kind.
    #[error("this begins with {found:?}, a {expected:?} text was expected")]
    Prefix {
        /// The prefix that was found.
        found: String,
        /// The expected prefix.
        expected: &'static str,
    },
    /// A text of no such kind.
    #[error(
        "this is not a {expected:?} text: it should be {expected}1 and then letters and digits"
    )]
    Form {
        /// The expected prefix.
        expected: &'static str,
    },
    /// A character was changed, lost or added.
    #[error("the text is damaged: its checksum does not match; was it copied whole?")]
    Damaged,
    /// A text longer than any of its kind.
    #[error("the text is {length} characters, at most {most} are allowed")]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        most: usize,
    },
}

impl TextForm {
    /// The text of some bytes.
    ///
    /// # Panics
    ///
    /// If the prefix is invalid or the bytes do not fit into the longest text: both come from this program.
    #[must_use]
    pub fn encode(&self, bytes: &[u8]) -> String {
        let prefix = Hrp::parse(self.prefix).expect("prefixes are constants of this program");
        bech32::encode_lower::<LongBech32m>(prefix, bytes)
            .expect("every text that this program writes is shorter than the longest text")
    }

    /// The bytes of a text. A text is accepted only if it is the one text of its bytes, in one case
    /// throughout.
    pub fn decode(&self, text: &str) -> Result<Vec<u8>, TextError> {
        let (text, expected) = (text.trim(), self.prefix);
        if self.length_max < text.len() {
            return Err(TextError::TooLong { length: text.len(), most: self.length_max });
        }
        let form = TextError::Form { expected };
        let unchecked = UncheckedHrpstring::new(text).map_err(|_| form.clone())?;
        let found = unchecked.hrp().to_lowercase();
        if found != expected {
            return Err(TextError::Prefix { found, expected });
        }
        let checked = CheckedHrpstring::new::<LongBech32m>(text).map_err(|error| match error {
            CheckedHrpstringError::Checksum(ChecksumError::InvalidResidue(_)) => TextError::Damaged,
            _ => form,
        })?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        // The last character carries padding bits, which could have any value.
        if self.encode(&bytes).eq_ignore_ascii_case(text) {
            Ok(bytes)
        } else {
            Err(TextError::Damaged)
        }
    }
}

/// Bech32m (BIP-350) for longer texts. Beyond 1023 characters the code no longer promises to find every
/// four changed characters. It finds all but one in 2^30 of random changes; the content is signed.
enum LongBech32m {}

impl Checksum for LongBech32m {
    type MidstateRepr = u32;
    type CorrectionField = Fe1024;

    const ROOT_GENERATOR: Fe1024 = Bech32m::ROOT_GENERATOR;
    const ROOT_EXPONENTS: RangeInclusive<usize> = Bech32m::ROOT_EXPONENTS;
    const CODE_LENGTH: usize = TEXT_LENGTH_MAX;
    const CHECKSUM_LENGTH: usize = Bech32m::CHECKSUM_LENGTH;
    const GENERATOR_SH: [u32; 5] = Bech32m::GENERATOR_SH;
    const TARGET_RESIDUE: u32 = Bech32m::TARGET_RESIDUE;
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString};

    use proptest::prelude::*;

    use super::*;

    const GRANT: TextForm = TextForm { prefix: "grant", length_max: 4096 };
    const RECIPIENT: TextForm = TextForm { prefix: "recipient", length_max: 4096 };

    #[test]
    fn what_is_wrong_is_said() {
        let text = GRANT.encode(&[7; 40]);
        assert!(text.starts_with("grant1"));
        assert_eq!(GRANT.decode(&text), Ok([7; 40].to_vec()));
        assert_eq!(GRANT.decode(&format!(" {}\n", text.to_uppercase())), Ok([7; 40].to_vec()));
        assert_eq!(
            RECIPIENT.decode(&text),
            Err(TextError::Prefix { found: "grant".to_string(), expected: "recipient" })
        );
        assert_eq!(GRANT.decode(&text[..text.len() - 1]), Err(TextError::Damaged));
        assert_eq!(GRANT.decode("hello"), Err(TextError::Form { expected: "grant" }));
        assert_eq!(GRANT.decode(""), Err(TextError::Form { expected: "grant" }));
        let mixed = text.replace('q', "Q");
        assert_eq!(GRANT.decode(&mixed), Err(TextError::Form { expected: "grant" }));
        let long = "q".repeat(5000);
        assert_eq!(GRANT.decode(&long), Err(TextError::TooLong { length: 5000, most: 4096 }));
    }

    #[test]
    fn padding_bits_must_be_zero() {
        // One byte is two characters; the second one's lowest two bits are padding.
        let prefix = Hrp::parse("grant").unwrap();
        let mut found = 0;
        for padding in 0_u8..4 {
            let symbols = [0_u8, padding].map(|symbol| bech32::Fe32::try_from(symbol).unwrap());
            let text: String = bech32::primitives::iter::Fe32IterExt::with_checksum::<LongBech32m>(
                symbols.into_iter(),
                &prefix,
            )
            .chars()
            .collect();
            found += usize::from(GRANT.decode(&text).is_ok());
        }
        assert_eq!(found, 1);
    }

    proptest! {
        #[test]
        fn texts_go_there_and_back(bytes in prop::collection::vec(any::<u8>(), 0..2400)) {
            prop_assert_eq!(GRANT.decode(&GRANT.encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn one_changed_character_is_found(place in any::<prop::sample::Index>(), other in "[02-9ac-hj-np-z]") {
            let mut text = GRANT.encode(&[3; 60]);
            let place = 6 + place.index(text.len() - 6);
            prop_assume!(text[place..=place] != other);
            text.replace_range(place..=place, &other);
            prop_assert_eq!(GRANT.decode(&text), Err(TextError::Damaged));
        }
    }
}
