//! What others need to know of an identity to grant it something: `recipient1...`.

use alloc::string::String;

use ed25519_dalek::SigningKey;
use thiserror::Error;

use crate::{
    codec::{Decode, DecodeError, Encode},
    id::{AccountId, Hash, PeerId},
    record, signature,
    text::{TextError, TextForm},
};

record! {
    /// The public side of an identity. The account vouches for the other two keys.
    pub struct Recipient {
        /// Version of this layout: 1.
        pub version: u8,
        /// The account.
        pub account: AccountId,
        /// The peer key that grants are bound to.
        pub access: PeerId,
        /// The X25519 key that file keys are sealed to.
        pub wrap: [u8; 32],
        /// By the account, over everything above.
        pub signature: [u8; 64],
    }
}

/// Why bytes or a text are not a recipient.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecipientError {
    /// The text is not a recipient.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The bytes are not a recipient.
    #[error("this is not a recipient: {0}")]
    Layout(#[from] DecodeError),
    /// A layout that this program does not know.
    #[error("recipient version {version} is not known; a newer program is needed")]
    Version {
        /// The version that was found.
        version: u8,
    },
    /// The account did not sign these keys.
    #[error("the recipient's signature does not hold: someone changed it")]
    Signature,
}

impl Recipient {
    /// Its text form.
    pub const FORM: TextForm = TextForm { prefix: "recipient", length_max: 4096 };

    /// Makes the recipient of an identity.
    #[must_use]
    pub fn sign(account: &SigningKey, access: PeerId, wrap: [u8; 32]) -> Self {
        let id = AccountId(account.verifying_key().to_bytes());
        let mut made = Self { version: 1, account: id, access, wrap, signature: [0; 64] };
        made.signature = signature::sign(account, &made.digest());
        made
    }

    /// Checks version and signature.
    pub fn verify(&self) -> Result<(), RecipientError> {
        if self.version != 1 {
            return Err(RecipientError::Version { version: self.version });
        }
        signature::verify(&self.account.0, &self.digest(), &self.signature)
            .map_err(|_| RecipientError::Signature)
    }

    /// The text for others.
    #[must_use]
    pub fn to_text(&self) -> String {
        Self::FORM.encode(&self.to_bytes())
    }

    /// Reads and verifies a text.
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        let bytes = Self::FORM.decode(text)?;
        if let Some(version) = bytes.first().copied().filter(|version| *version != 1) {
            return Err(RecipientError::Version { version });
        }
        let read = Self::from_bytes(&bytes)?;
        read.verify()?;
        Ok(read)
    }

    fn digest(&self) -> Hash {
        let mut bytes = alloc::vec![self.version];
        self.account.encode(&mut bytes);
        self.access.encode(&mut bytes);
        self.wrap.encode(&mut bytes);
        Hash(blake3::derive_key("symbolon 2026 recipient v1", &bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn a_recipient_goes_there_and_back_and_cannot_be_changed() {
        let recipient = Identity::from_seed(&[1; 64]).recipient();
        let text = recipient.to_text();
        assert_eq!(Recipient::parse(&text), Ok(recipient.clone()));
        let other = Identity::from_seed(&[2; 64]);
        for changed in [
            Recipient { wrap: other.wrap_key(), ..recipient.clone() },
            Recipient { access: other.peer(), ..recipient.clone() },
            Recipient { account: other.account(), ..recipient.clone() },
        ] {
            assert_eq!(Recipient::parse(&changed.to_text()), Err(RecipientError::Signature));
        }
        let later = Recipient { version: 2, ..recipient };
        assert_eq!(Recipient::parse(&later.to_text()), Err(RecipientError::Version { version: 2 }));
        let short = Recipient::FORM.encode(&[1, 2, 3]);
        assert!(matches!(Recipient::parse(&short), Err(RecipientError::Layout(_))));
    }
}
