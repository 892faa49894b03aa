//! Permission as a signed chain, bound to its holder's key, that only narrows. See `spec/grant.md`.

use alloc::vec::Vec;

use crate::{
    choice,
    id::{AccountId, Hash, ObjectId, OrderId, PeerId},
    record,
};

choice! {
    /// One restriction of a link. A closed list: an unknown caveat refuses the whole grant.
    pub enum Caveat {
        /// Only this object.
        Object = 1 { object: ObjectId },
        /// Only these abilities: a set of the bits in [`ability`].
        Abilities = 2 { set: u16 },
        /// Not before this time, in milliseconds since the Unix epoch.
        NotBefore = 3 { time_ms: u64 },
        /// Not at or after this time, in milliseconds since the Unix epoch.
        NotAfter = 4 { time_ms: u64 },
        /// Only cells `first` up to and without `end` of the object, counted in file order.
        Cells = 5 { first: u64, end: u64 },
        /// At most this many read requests on any one node.
        NodeReads = 6 { count: u64 },
        /// At most this many bytes from any one node.
        NodeBytes = 7 { bytes: u64 },
        /// Paid for by this order; dead when the order is refunded.
        Order = 8 { order: OrderId },
        /// Only for the purpose whose licence or policy text has this hash.
        Purpose = 9 { hash: Hash },
        /// At most this many further links.
        Depth = 10 { links: u8 },
        /// The node's revocation set may be at most this old, in milliseconds, or it refuses.
        Staleness = 11 { max_ms: u64 },
    }
}

/// The bits of [`Caveat::Abilities`].
pub mod ability {
    /// Read cells.
    pub const READ: u16 = 1;
    /// List the objects of a collection.
    pub const LIST: u16 = 1 << 1;
    /// See sizes and roots.
    pub const HEAD: u16 = 1 << 2;
    /// Check shards against their roots.
    pub const VERIFY: u16 = 1 << 3;
    /// Rebuild lost shards.
    pub const REPAIR: u16 = 1 << 4;
    /// Store shards of the object and name the price.
    pub const STORE: u16 = 1 << 5;
    /// Delete shards of the object.
    pub const DELETE: u16 = 1 << 6;
    /// Every bit that has a meaning; any other bit refuses the grant.
    pub const ALL: u16 = (1 << 7) - 1;
}

record! {
    /// One step of delegation: the holder of the step before it passes on part of what it may do.
    pub struct Link {
        /// Who may act on the chain up to here, or pass it on.
        pub audience: PeerId,
        /// Makes two otherwise equal links different, so that one can be revoked alone.
        pub nonce: [u8; 8],
        /// What narrows.
        pub caveats: Vec<Caveat>,
        /// By the audience of the link before, or by the root, over this link and all before it.
        pub signature: [u8; 64],
    }
}

record! {
    /// A chain as it travels: decoded, not yet verified.
    pub struct Grant {
        /// Version of this layout: 1.
        pub version: u8,
        /// Whose permission it is: the owner of the object.
        pub root: AccountId,
        /// From the root's first delegation to the holder's.
        pub links: Vec<Link>,
    }
}
