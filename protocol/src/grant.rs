//! Permission as a signed chain, bound to its holder's key, that can only narrow. See `spec/grant.md`.
//!
//! - [`Grant`]: a chain as it travels, decoded but not verified; [`VerifiedGrant`]: a chain with a valid
//!   form and valid signatures; [`Authorized`]: one request that the chain allows, with the conditions that
//!   the node must enforce.
//! - [`Grant::issue`] begins a chain, [`Grant::delegate`] lengthens it, both offline. A buyer's chain is the
//!   seller's [`mandate`] and a [`Sale`]: an order that the ledger's rows prove ([`PaidOrder`]).
//! - [`GrantToken`] is a grant as text, with the manifest and the sealed file key. A [`Voucher`] is a token with the
//!   secret of its holder, for a person who has no keys yet: the ledger says who redeemed it.

mod authorize;
mod chain;
mod codec;
mod objects;
mod once;
mod sale;
mod token;
mod voucher;
mod words;

use alloc::vec::Vec;

use thiserror::Error;

use crate::{
    choice,
    id::{AccountId, Hash, ObjectId, OrderId, PeerId},
    time::{LedgerTime, Millis},
    wire::storage::RefusalCode,
};

pub use authorize::{Access, Authorized, Quota};
pub use chain::{VerifiedGrant, verify_first_link};
pub use objects::{Member, ObjectSet};
pub use sale::{PaidOrder, Sale, bought, mandate, mandate_id, market_audience, verify_mandate};
pub use token::{GrantToken, TokenError};
pub use voucher::{Voucher, VoucherError};

choice! {
    /// One restriction of a link. A closed list: an unknown caveat refuses the whole grant.
    pub enum Caveat {
        /// Only this object.
        Object = 1 {
            /// The object.
            object: ObjectId,
        },
        /// Only these abilities: a set of the bits in [`ability`]. A first link without this caveat, or
        /// without [`Caveat::Object`] or [`Caveat::Objects`], allows nothing.
        Abilities = 2 {
            /// The bits.
            set: u16,
        },
        /// Not before this time, in milliseconds since the Unix epoch.
        NotBefore = 3 {
            /// The first millisecond it counts.
            time_ms: LedgerTime,
        },
        /// Not at or after this time, in milliseconds since the Unix epoch.
        NotAfter = 4 {
            /// The first millisecond it no longer counts.
            time_ms: LedgerTime,
        },
        /// Only cells `first` up to and without `end` of the object, counted in file order.
        Cells = 5 {
            /// The first cell.
            first: u64,
            /// The first cell that is no longer in it.
            end: u64,
        },
        /// At most this many read requests on any one node, by everyone below this link together.
        NodeReads = 6 {
            /// How many.
            count: u64,
        },
        /// At most this many bytes from any one node, by everyone below this link together.
        NodeBytes = 7 {
            /// How many.
            bytes: u64,
        },
        /// Only for the purpose whose licence or policy text has this hash.
        Purpose = 8 {
            /// The hash of the text.
            hash: Hash,
        },
        /// At most this many further links.
        Depth = 9 {
            /// How many.
            links: u8,
        },
        /// The newest block of the ledger that the node has verified may be at most this old by its clock, in milliseconds,
        /// or it refuses.
        Staleness = 10 {
            /// How old.
            max_ms: Millis,
        },
        /// Only objects under this root: the first link of a grant for several objects, such as the files of a folder.
        /// It stands in place of [`Caveat::Object`].
        Objects = 11 {
            /// The root of the tree over their ids.
            root: Hash,
        },
        /// Only for whom the ledger says has redeemed this link, and not at or after this time. The link's audience is a
        /// one-time key, which everyone who sees a voucher has.
        Once = 12 {
            /// The first millisecond it no longer counts, in milliseconds since the Unix epoch.
            until_ms: LedgerTime,
        },
    }
}

/// The bits of [`Caveat::Abilities`].
pub mod ability {
    /// Read cells.
    pub const READ: u16 = 1;
    /// Check shards against their roots.
    pub const VERIFY: u16 = 1 << 1;
    /// Rebuild lost shards.
    pub const REPAIR: u16 = 1 << 2;
    /// Store shards of the object and name the price.
    pub const STORE: u16 = 1 << 3;
    /// Delete shards of the object.
    pub const DELETE: u16 = 1 << 4;
    /// Every bit that has a meaning; any other bit refuses the grant.
    pub const ALL: u16 = (1 << 5) - 1;
}

/// One step of delegation: the holder of the step before it passes on part of what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who may act on the chain up to here, or pass it on.
    pub audience: PeerId,
    /// Makes two otherwise equal links different, so that one can be revoked alone.
    pub nonce: [u8; 8],
    /// The conditions that this link adds.
    pub caveats: Vec<Caveat>,
    /// By the holder of the chain before it, or by the root, over this link and all before it.
    pub signature: [u8; 64],
}

/// A chain as it travels: decoded, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Version of this layout: 1 for one object, 2 for several.
    pub version: u8,
    /// Whose permission it is: the owner of the object.
    pub root: AccountId,
    /// The order that passes a mandate, link 0, on to a buyer. Only a mandate has one.
    pub sale: Option<Sale>,
    /// Where the requested object stands among the objects of the grant. Only a grant for several has one. No link
    /// covers it, so the holder puts in the object that it asks for.
    pub member: Option<Member>,
    /// From the root's first delegation to the holder's.
    pub links: Vec<Link>,
}

/// Why a chain is invalid, does not allow a request, or cannot be lengthened.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantError {
    /// A layout that this program does not know.
    #[error("grant version {version} is not known")]
    Version {
        /// The version that was found.
        version: u8,
    },
    /// No link, or too many.
    #[error("a grant has 1 to 8 links, this has {found}")]
    Links {
        /// How many there are.
        found: usize,
    },
    /// A grant with more bytes than a node reads.
    #[error("the grant is {bytes} bytes, at most 2048 are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// An ability bit without a meaning. The rules do not know what it allows, so they refuse the grant.
    #[error("link {link} names unknown abilities")]
    UnknownAbility {
        /// Which link, from 0.
        link: usize,
    },
    /// A key that already occurs above the link.
    #[error("link {link} passes the grant to a key that already had it")]
    AudienceRepeated {
        /// Which link, from 0.
        link: usize,
    },
    /// More links than a link above allows.
    #[error("link {link} allows fewer further links")]
    TooDeep {
        /// The link that forbids it, from 0.
        link: usize,
    },
    /// A signature that does not hold.
    #[error("the signature of link {link} does not hold")]
    Signature {
        /// Which link, from 0.
        link: usize,
    },
    /// The caller is not the grant's holder: a stolen grant.
    #[error("the grant was made for another key")]
    NotHolder,
    /// The object's owner is not the grant's root.
    #[error("the grant is not of the object's owner")]
    NotOwner,
    /// Another object.
    #[error("the grant is for another object")]
    WrongObject,
    /// A first link that does not name its object or its abilities.
    #[error("the grant's first link names no {what}, so the grant allows nothing")]
    Unnamed {
        /// What is missing.
        what: &'static str,
    },
    /// A first link that names several objects without a place among them, a place without such a link, or another link
    /// that names several.
    #[error("the grant does not say right which of its objects it is for")]
    Membership,
    /// An ability that the grant does not have, or a request for none.
    #[error("the grant does not allow this")]
    NotAllowed,
    /// Cells outside the grant's range.
    #[error("the grant covers only a part of the object, and not these cells")]
    WrongCells,
    /// The grant has not begun.
    #[error("the grant begins at {}", time_ms.utc())]
    NotYet {
        /// When it begins.
        time_ms: LedgerTime,
    },
    /// The grant has ended.
    #[error("the grant ended at {}", time_ms.utc())]
    Expired {
        /// When it ended.
        time_ms: LedgerTime,
    },
    /// Two different purposes: no use can have both.
    #[error("the grant's purposes contradict each other")]
    PurposesDiffer,
    /// A mandate that would not let every buyer read the whole object.
    #[error("the mandate does not let buyers on this ledger read this object")]
    NotAMandate,
    /// An order after a first link that is not a mandate.
    #[error("the grant names an order, but its first link is no mandate for this ledger")]
    NoMandate,
    /// A further link after a mandate, without an order.
    #[error("only an order passes a mandate on, and the grant names none")]
    NoOrder,
    /// A sale to a key that stands above it.
    #[error("the grant's order is for a key that already had the grant")]
    HolderRepeated,
    /// The caller did not give the order's facts: the ledger has no such order, as far as the caller knows.
    #[error("the ledger has no order {order}, as far as is known here")]
    UnknownOrder {
        /// The order.
        order: OrderId,
    },
    /// The ledger's order is not what the grant says.
    #[error("the grant's order has another {what} on the ledger")]
    OrderDiffers {
        /// What is different.
        what: &'static str,
    },
    /// The buyer has the money back.
    #[error("the grant's order was refunded")]
    OrderRefunded,
    /// More than one link that is redeemed.
    #[error("link {link} is to be redeemed, as one above it is")]
    OnceRepeated {
        /// Which link, from 0.
        link: usize,
    },
    /// A grant that ends with a link that is redeemed.
    #[error("the grant is a voucher: it allows nothing before it is redeemed")]
    NotRedeemed,
    /// The caller did not give the redemption's facts: the ledger has none, as far as the caller knows.
    #[error("the ledger has no redemption by {once}, as far as is known here")]
    UnknownRedemption {
        /// The one-time account.
        once: AccountId,
    },
    /// The ledger forgets the redemption before the link ends: the link could be redeemed once more.
    #[error("the redemption of the grant's voucher ends before the voucher")]
    RedemptionEnds,
    /// The link was redeemed for another key.
    #[error("the grant's voucher was redeemed by somebody else")]
    RedeemedElsewhere,
}

impl GrantError {
    /// The code of a node's refusal for this reason. It says whose fault the refusal is: that of a node which does not
    /// know an order or a redemption passes, every other one is the asking peer's.
    #[must_use]
    pub fn code(self) -> RefusalCode {
        match self {
            Self::NotHolder => RefusalCode::NotYourGrant,
            Self::NotYet { .. } | Self::Expired { .. } => RefusalCode::OutOfTime,
            Self::UnknownOrder { .. } => RefusalCode::NotPaid,
            Self::OrderRefunded => RefusalCode::Revoked,
            Self::NotRedeemed | Self::UnknownRedemption { .. } | Self::RedemptionEnds => {
                RefusalCode::NotRedeemed
            }
            Self::RedeemedElsewhere => RefusalCode::RedeemedElsewhere,
            _ => RefusalCode::NotAllowed,
        }
    }
}

impl Grant {
    /// The peer that the chain gives permission to: the last audience, or the order's holder. `None` without
    /// a link.
    #[must_use]
    pub fn holder(&self) -> Option<PeerId> {
        match (&self.sale, self.links.as_slice()) {
            (Some(sale), [_]) => Some(sale.holder),
            (_, links) => links.last().map(|link| link.audience),
        }
    }

    /// The same grant, for a request about another of its objects.
    #[must_use]
    pub fn of_member(&self, member: Member) -> Self {
        Self { version: 2, member: Some(member), ..self.clone() }
    }

    /// Whether it is for several objects.
    #[must_use]
    pub fn is_for_several(&self) -> bool {
        self.member.is_some()
    }

    /// When it ends, in milliseconds since the Unix epoch. `None` if nothing in it ends it.
    #[must_use]
    pub fn ends_ms(&self) -> Option<LedgerTime> {
        let caveats = self.links.iter().flat_map(|link| &link.caveats);
        let ends = caveats.filter_map(|caveat| match caveat {
            Caveat::NotAfter { time_ms: ends_ms } | Caveat::Once { until_ms: ends_ms } => {
                Some(*ends_ms)
            }
            _ => None,
        });
        ends.chain(self.sale.map(|sale| sale.ends_ms)).min()
    }
}
