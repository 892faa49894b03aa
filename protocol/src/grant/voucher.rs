//! A voucher: a grant for a person who has no keys yet, as a text that works for the first who redeems it.
//!
//! ```text
//! symbolon://redeem/grant1...#voucher1...
//! ```
//!
//! The grant's holder is a one-time identity. Its secret stands behind the `#`: programs that open addresses do not send
//! that part. See `spec/grant.md`, "Vouchers".

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{GrantToken, TokenError};
use crate::{
    id::AccountId,
    identity::{Identity, Phrase},
    text::{TextError, TextForm},
    time::LedgerTime,
};

/// What the text begins with.
const BEGINS: &str = "symbolon://redeem/";
const SECRET: TextForm = TextForm { prefix: "voucher", length_max: 128 };

/// A grant and the secret of its holder.
pub struct Voucher {
    token: GrantToken,
    secret: Secret,
    until_ms: LedgerTime,
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Secret([u8; 32]);

/// Why a text is no voucher, or a voucher cannot be redeemed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VoucherError {
    /// Something else.
    #[error("this is not a voucher: it should be {BEGINS}, then a grant, then # and a secret")]
    Form,
    /// The grant in it is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The secret in it is none.
    #[error("the secret of the voucher: {0}")]
    Secret(#[source] TextError),
    /// The secret has another length than a secret.
    #[error("the secret of the voucher has {bytes} bytes instead of 32")]
    Length {
        /// Its bytes.
        bytes: usize,
    },
    /// The last link is not one that is redeemed.
    #[error("the grant in the voucher is not one that is redeemed")]
    NotOnce,
    /// The secret of another voucher.
    #[error("the secret of the voucher is not that of its grant")]
    OtherSecret,
}

impl Voucher {
    /// The identity that a voucher's secret stands for: that of the phrase with this entropy.
    #[must_use]
    pub fn identity(secret: &[u8; 32]) -> Identity {
        Identity::from_phrase(&Phrase::from_entropy(secret))
    }

    /// A voucher of a grant to the one-time identity of this secret.
    pub fn new(token: GrantToken, secret: &[u8; 32]) -> Result<Self, VoucherError> {
        token.verify()?;
        let last = token.grant.links.len().saturating_sub(1);
        let once = token.grant.once().filter(|(place, _)| *place == last);
        let (_, until_ms) = once.ok_or(VoucherError::NotOnce)?;
        if token.grant.holder() != Some(Self::identity(secret).peer()) {
            return Err(VoucherError::OtherSecret);
        }
        Ok(Self { token, secret: Secret(*secret), until_ms })
    }

    /// The grant.
    #[must_use]
    pub fn token(&self) -> &GrantToken {
        &self.token
    }

    /// When it ends, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn until_ms(&self) -> LedgerTime {
        self.until_ms
    }

    /// The one-time identity: everyone who sees the voucher has it.
    #[must_use]
    pub fn once(&self) -> Identity {
        Self::identity(&self.secret.0)
    }

    /// The account that redeems it, and whose row says for whom.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.once().peer().into()
    }

    /// The grant of the person who redeemed it. The same person always gets the same grant, so a program that was
    /// interrupted may make it again.
    pub fn redeemed(&self, to: &Identity) -> Result<GrantToken, TokenError> {
        let once = self.once();
        // The entropy has to be unknown to those who see the grant later, and the same in every run.
        let mut both = Zeroizing::new(self.secret.0.to_vec());
        both.extend_from_slice(&*to.wrap_secret());
        let entropy = Zeroizing::new(blake3::derive_key("symbolon 2026 voucher entropy v1", &both));
        let (key, wrap) = (once.access_key(), once.wrap_secret());
        self.token.delegate(&key, &wrap, &to.recipient(), Vec::new(), &entropy)
    }

    /// The text. It is a secret until the voucher is redeemed, and opens the file key for ever.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(SECRET.encode(&self.secret.0));
        Zeroizing::new(format!("{BEGINS}{}#{}", self.token.to_text(), secret.as_str()))
    }

    /// Reads and verifies a text.
    pub fn parse(text: &str) -> Result<Self, VoucherError> {
        let parts = text.trim().strip_prefix(BEGINS).and_then(|rest| rest.split_once('#'));
        let (token, secret) = parts.ok_or(VoucherError::Form)?;
        let token = GrantToken::parse(token)?;
        let secret = Zeroizing::new(SECRET.decode(secret).map_err(VoucherError::Secret)?);
        let bytes = secret.len();
        let secret = <&[u8; 32]>::try_from(secret.as_slice());
        Self::new(token, secret.map_err(|_| VoucherError::Length { bytes })?)
    }

    /// Whether a text is meant to be a voucher.
    #[must_use]
    pub fn looks_like_one(text: &str) -> bool {
        text.trim_start().starts_with(BEGINS)
    }
}

impl fmt::Debug for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Voucher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        content::{
            Manifest, Scheme,
            manifest::{Codec, MaskMode},
        },
        grant::{Caveat, ability},
        id::{ChainId, Hash, ObjectId},
    };

    const KEY: [u8; 32] = [42; 32];
    const SECRET_BYTES: [u8; 32] = [9; 32];

    fn token(to: &Identity, caveats: &[Caveat]) -> GrantToken {
        let manifest = Manifest {
            version: 1,
            codec: Codec::ReedSolomon8,
            mask: MaskMode::ChaCha20,
            scheme: Scheme { required: 3, total: 5 },
            object: ObjectId([7; 16]),
            length: 1000,
            commitment: Hash(blake3::derive_key("symbolon 2026 commit v1", &KEY)),
            content_root: Hash([9; 32]),
        };
        let owner = Identity::from_seed(&[1; 64]).account_key();
        let mut all = alloc::vec![
            Caveat::Object { object: ObjectId([7; 16]) },
            Caveat::Abilities { set: ability::READ },
        ];
        all.extend_from_slice(caveats);
        let file = (&manifest, &KEY);
        GrantToken::issue(ChainId([3; 32]), &owner, file, &to.recipient(), all, &[4; 32]).unwrap()
    }

    fn example() -> Voucher {
        let once = Voucher::identity(&SECRET_BYTES);
        let caveats = [Caveat::Once { until_ms: LedgerTime(1_000) }];
        Voucher::new(token(&once, &caveats), &SECRET_BYTES).unwrap()
    }

    #[test]
    fn a_voucher_travels_and_becomes_a_grant_of_its_redeemer() {
        let voucher = example();
        let text = voucher.to_text();
        assert!(text.starts_with("symbolon://redeem/grant1") && Voucher::looks_like_one(&text));
        let read = Voucher::parse(&format!(" {}\n", text.as_str())).unwrap();
        assert_eq!((read.token(), read.until_ms()), (voucher.token(), LedgerTime(1_000)));
        let me = Identity::from_seed(&[5; 64]);
        let grant = read.redeemed(&me).unwrap();
        assert_eq!(*grant.open(&me.wrap_secret()).unwrap(), KEY);
        assert_eq!(grant.grant.once_account(), Some(voucher.account()));
        assert_eq!(voucher.redeemed(&me).unwrap(), grant, "an interrupted run comes to the same");
        let other = Identity::from_seed(&[6; 64]);
        assert_ne!(voucher.redeemed(&other).unwrap(), grant);
    }

    #[test]
    fn it_tells_nothing_when_it_is_printed_for_a_programmer() {
        assert_eq!(format!("{:?}", example()), "Voucher(..)");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = example().to_text();
        let (front, secret) = text.split_once('#').unwrap();
        let parse = |text: &str| Voucher::parse(text).unwrap_err();
        assert_eq!(parse("hello"), VoucherError::Form);
        assert_eq!(parse(front), VoucherError::Form);
        assert_eq!(parse(&example().token().to_text()), VoucherError::Form);
        let damaged = format!("{front}#{}", &secret[..secret.len() - 1]);
        assert_eq!(parse(&damaged), VoucherError::Secret(TextError::Damaged));
        let short = format!("{front}#{}", SECRET.encode(&[9; 31]));
        assert_eq!(parse(&short), VoucherError::Length { bytes: 31 });
        let other = format!("{front}#{}", SECRET.encode(&[8; 32]));
        assert_eq!(parse(&other), VoucherError::OtherSecret);
        let cut = format!("{}#{secret}", &front[..front.len() - 1]);
        assert_eq!(parse(&cut), VoucherError::Token(TokenError::Text(TextError::Damaged)));
        let once = Voucher::identity(&SECRET_BYTES);
        let plain = Voucher::new(token(&once, &[]), &SECRET_BYTES);
        assert_eq!(plain.unwrap_err(), VoucherError::NotOnce);
        // A grant that was redeemed is its holder's, and no voucher.
        let me = Identity::from_seed(&[5; 64]);
        let redeemed = Voucher::new(example().redeemed(&me).unwrap(), &SECRET_BYTES);
        assert_eq!(redeemed.unwrap_err(), VoucherError::NotOnce);
    }
}
