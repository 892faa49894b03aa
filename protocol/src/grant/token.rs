//! A grant as text, `grant1...`: the chain, the manifest of its file, and the file key sealed to the
//! holder.

use alloc::{string::String, vec::Vec};

use ed25519_dalek::SigningKey;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Caveat, Grant, GrantError, ObjectSet, VerifiedGrant};
use crate::{
    codec::{Decode, DecodeError, Encode},
    content::Manifest,
    envelope,
    id::{ChainId, Hash},
    identity::{Recipient, RecipientError},
    record,
    text::{TextError, TextForm},
};

/// The version of a token for one file.
const FILE: u8 = 1;
/// The version of a token for a folder.
const FOLDER: u8 = 2;
const BOX_BYTES: usize = 32 + envelope::OVERHEAD_BYTES;

record! {
    /// Everything a holder needs to fetch and open a file.
    pub struct GrantToken {
        /// 1 for a file, 2 for a folder.
        pub version: u8,
        /// The ledger where the object's deals stand.
        pub chain: ChainId,
        /// The permission.
        pub grant: Grant,
        /// The file, or the list of the folder's files.
        pub manifest: Manifest,
        /// The file key, sealed to the holder's wrap key and bound to all of the above.
        pub key_box: Vec<u8>,
    }
}

/// Why a token was not made, read or opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is not a token.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The bytes are not a token.
    #[error("this is not a grant: {0}")]
    Layout(#[from] DecodeError),
    /// A layout that this program does not know.
    #[error("grant token version {version} is not known; a newer program is needed")]
    Version {
        /// The version that was found.
        version: u8,
    },
    /// The chain is not valid.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The account does not vouch for the recipient's keys.
    #[error(transparent)]
    Recipient(#[from] RecipientError),
    /// A recipient whose key cannot receive, or that is not the grant's holder.
    #[error("the file key cannot be sealed to this recipient")]
    CannotSeal,
    /// The key box opens for another holder, or the token was changed.
    #[error("the file key in this grant is not sealed to your key")]
    Sealed,
    /// The key in the box is not the manifest's: the maker of the token made a mistake.
    #[error("the key in this grant does not open the file it names")]
    WrongKey,
}

impl GrantToken {
    /// Its text form.
    pub const FORM: TextForm = TextForm { prefix: "grant", length_max: 4096 };

    /// Begins a chain and packs it: an owner shares a file.
    pub fn issue(
        chain: ChainId,
        owner: &SigningKey,
        file: (&Manifest, &[u8; 32]),
        to: &Recipient,
        caveats: Vec<Caveat>,
        entropy: &[u8; 32],
    ) -> Result<Self, TokenError> {
        to.verify()?;
        let grant = Grant::issue(&chain, owner, to.access, caveats, entropy)?;
        Self::pack(chain, grant, file, &to.wrap, entropy)
    }

    /// Begins a chain for a folder and packs it. `file` is the object that lists the folder; it is one of `objects`.
    pub fn issue_folder(
        chain: ChainId,
        owner: &SigningKey,
        (file, objects): ((&Manifest, &[u8; 32]), &ObjectSet),
        to: &Recipient,
        caveats: Vec<Caveat>,
        entropy: &[u8; 32],
    ) -> Result<Self, TokenError> {
        to.verify()?;
        let member = objects.member(&file.0.object).ok_or(GrantError::Membership)?;
        let of = (objects, member);
        let grant = Grant::issue_for_several(&chain, owner, to.access, of, caveats, entropy)?;
        Self::pack_as(FOLDER, chain, grant, file, &to.wrap, entropy)
    }

    /// Packs an existing chain, such as a buyer's, for its holder.
    pub fn pack(
        chain: ChainId,
        grant: Grant,
        file: (&Manifest, &[u8; 32]),
        wrap: &[u8; 32],
        entropy: &[u8; 32],
    ) -> Result<Self, TokenError> {
        Self::pack_as(FILE, chain, grant, file, wrap, entropy)
    }

    fn pack_as(
        version: u8,
        chain: ChainId,
        grant: Grant,
        (manifest, file_key): (&Manifest, &[u8; 32]),
        wrap: &[u8; 32],
        entropy: &[u8; 32],
    ) -> Result<Self, TokenError> {
        if commitment(file_key) != manifest.commitment {
            return Err(TokenError::WrongKey);
        }
        let aad = box_aad(&chain, &grant.verify(&chain)?, manifest);
        let key_box = envelope::seal(wrap, box_info(version), &aad, file_key, entropy)
            .map_err(|_| TokenError::CannotSeal)?;
        Ok(Self { version, chain, grant, manifest: manifest.clone(), key_box })
    }

    /// Passes part of it on: one more link, and the key sealed to the next holder. Only the holder is
    /// needed; the caller gives the holder's access key and wrap secret.
    pub fn delegate(
        &self,
        holder: &SigningKey,
        wrap_secret: &[u8; 32],
        to: &Recipient,
        caveats: Vec<Caveat>,
        entropy: &[u8; 32],
    ) -> Result<Self, TokenError> {
        to.verify()?;
        let file_key = self.open(wrap_secret)?;
        let grant = self.grant.delegate(&self.chain, holder, to.access, caveats, entropy)?;
        let file = (&self.manifest, &*file_key);
        Self::pack_as(self.version, self.chain, grant, file, &to.wrap, entropy)
    }

    /// Whether it is for a folder: the file that it opens lists the folder's files and their keys.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.version == FOLDER
    }

    /// The file key, checked against the manifest.
    pub fn open(&self, wrap_secret: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, TokenError> {
        let aad = box_aad(&self.chain, &self.verify()?, &self.manifest);
        let plain = envelope::open(wrap_secret, box_info(self.version), &aad, &self.key_box)
            .map_err(|_| TokenError::Sealed)?;
        let key: [u8; 32] = plain.as_slice().try_into().map_err(|_| TokenError::Sealed)?;
        let key = Zeroizing::new(key);
        if commitment(&key) != self.manifest.commitment {
            return Err(TokenError::WrongKey);
        }
        Ok(key)
    }

    /// Checks version and chain: everything that needs no secret of the holder.
    pub fn verify(&self) -> Result<VerifiedGrant, TokenError> {
        if !matches!(self.version, FILE | FOLDER) {
            return Err(TokenError::Version { version: self.version });
        }
        if self.is_folder() && !self.grant.is_for_several() {
            return Err(TokenError::Grant(GrantError::Membership));
        }
        if self.key_box.len() != BOX_BYTES {
            return Err(TokenError::Sealed);
        }
        Ok(self.grant.verify(&self.chain)?)
    }

    /// The text. This program must have made or verified the token.
    ///
    /// # Panics
    ///
    /// If the token was put together by hand and is larger than any verified one.
    #[must_use]
    pub fn to_text(&self) -> String {
        Self::FORM.encode(&self.to_bytes())
    }

    /// Reads and verifies a text.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let bytes = Self::FORM.decode(text)?;
        if let Some(version) =
            bytes.first().copied().filter(|version| !matches!(*version, FILE | FOLDER))
        {
            return Err(TokenError::Version { version });
        }
        let token = Self::from_bytes(&bytes)?;
        token.verify()?;
        Ok(token)
    }
}

/// The commitment to the key in every file's manifest. See `spec/content.md`.
fn commitment(file_key: &[u8; 32]) -> Hash {
    Hash(blake3::derive_key("symbolon 2026 commit v1", file_key))
}

/// What the box is sealed under. A folder's differs, so that no token for a file passes for one of a folder.
fn box_info(version: u8) -> &'static [u8] {
    match version {
        FOLDER => b"symbolon 2026 grant folder box v1",
        _ => b"symbolon 2026 grant key box v1",
    }
}

fn box_aad(chain: &ChainId, verified: &VerifiedGrant, manifest: &Manifest) -> Vec<u8> {
    let mut aad = chain.to_bytes();
    verified.digest().encode(&mut aad);
    manifest.encode(&mut aad);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        content::{
            Scheme,
            manifest::{Codec, MaskMode},
        },
        grant::{Caveat, ability},
        id::ObjectId,
        identity::Identity,
    };

    const KEY: [u8; 32] = [42; 32];

    fn manifest() -> Manifest {
        Manifest {
            version: 1,
            codec: Codec::ReedSolomon8,
            mask: MaskMode::ChaCha20,
            scheme: Scheme { required: 3, total: 5 },
            object: ObjectId([7; 16]),
            length: 1000,
            commitment: commitment(&KEY),
            content_root: Hash([9; 32]),
        }
    }

    fn example() -> (Identity, Identity, GrantToken) {
        let (owner, friend) = (Identity::from_seed(&[1; 64]), Identity::from_seed(&[2; 64]));
        let caveats = alloc::vec![
            Caveat::Object { object: ObjectId([7; 16]) },
            Caveat::Abilities { set: ability::READ },
        ];
        let token = GrantToken::issue(
            ChainId([3; 32]),
            &owner.account_key(),
            (&manifest(), &KEY),
            &friend.recipient(),
            caveats,
            &[4; 32],
        )
        .unwrap();
        (owner, friend, token)
    }

    #[test]
    fn a_token_travels_opens_and_is_passed_on() {
        let (owner, friend, token) = example();
        let read = GrantToken::parse(&token.to_text()).unwrap();
        assert_eq!(read, token);
        assert_eq!(*read.open(&friend.wrap_secret()).unwrap(), KEY);
        assert_eq!(read.open(&owner.wrap_secret()), Err(TokenError::Sealed));

        let third = Identity::from_seed(&[5; 64]);
        let (key, wrap) = (friend.access_key(), friend.wrap_secret());
        let next = read.delegate(&key, &wrap, &third.recipient(), alloc::vec![], &[6; 32]).unwrap();
        let next = GrantToken::parse(&next.to_text()).unwrap();
        assert_eq!(*next.open(&third.wrap_secret()).unwrap(), KEY);
        assert_eq!(next.open(&friend.wrap_secret()), Err(TokenError::Sealed));
        // A stranger can neither pass the token on nor use a false recipient.
        let stranger = Identity::from_seed(&[8; 64]);
        assert_eq!(
            read.delegate(&stranger.access_key(), &wrap, &third.recipient(), Vec::new(), &[6; 32]),
            Err(TokenError::Grant(GrantError::NotHolder))
        );
        let forged = Recipient { wrap: stranger.wrap_key(), ..third.recipient() };
        assert_eq!(
            read.delegate(&key, &wrap, &forged, Vec::new(), &[6; 32]),
            Err(TokenError::Recipient(RecipientError::Signature))
        );
    }

    #[test]
    fn the_box_is_bound_to_chain_grant_and_manifest() {
        let (_, friend, token) = example();
        let secret = friend.wrap_secret();
        let other_chain = GrantToken { chain: ChainId([9; 32]), ..token.clone() };
        assert_eq!(
            other_chain.open(&secret),
            Err(TokenError::Grant(GrantError::Signature { link: 0 }))
        );
        let other_file =
            GrantToken { manifest: Manifest { length: 1, ..manifest() }, ..token.clone() };
        assert_eq!(other_file.open(&secret), Err(TokenError::Sealed));
        let owner = Identity::from_seed(&[1; 64]).account_key();
        let grant =
            Grant::issue(&token.chain, &owner, friend.peer(), Vec::new(), &[9; 32]).unwrap();
        let other_grant = GrantToken { grant, ..token.clone() };
        assert_eq!(other_grant.open(&secret), Err(TokenError::Sealed));
        let folder = GrantToken { version: FOLDER, ..token.clone() };
        assert_eq!(folder.open(&secret), Err(TokenError::Grant(GrantError::Membership)));
        let later = GrantToken { version: 3, ..token };
        assert_eq!(GrantToken::parse(&later.to_text()), Err(TokenError::Version { version: 3 }));
    }

    #[test]
    fn a_key_that_is_not_the_files_is_not_packed() {
        let (_, friend, token) = example();
        assert_eq!(
            GrantToken::pack(
                token.chain,
                token.grant,
                (&manifest(), &[1; 32]),
                &friend.wrap_key(),
                &[0; 32]
            ),
            Err(TokenError::WrongKey)
        );
    }
}
