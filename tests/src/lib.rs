//! The whole: simulator, end to end, vectors, house rules.
//!
//! - [`sim`]: a network in one thread and in virtual time, made of the production parts;
//! - [`auditor`]: books of its own, kept from blocks alone, that must agree with the ledger's, and a look at nodes' disks;
//! - [`party`]: parties that act with a key and no program;
//! - [`liars`]: nodes and disks that misbehave, one way each;
//! - [`between`]: liars that change what honest nodes and ledgers answer;
//! - [`power`]: disks that lose what was not synced;
//! - [`seller`]: a seller whose program lists what it is told to;
//! - [`witness`]: nodes that remember all they were given, and compare.

pub mod auditor {
    //! The auditor of `symbolon-audit`, and what it finds on disks.
    pub use symbolon_audit::{Auditor, Finding, Held, Report};

    pub use crate::disk::{check_disk, find_file};
}
pub mod between;
pub mod disk;
pub mod liars;
pub mod party;
pub mod power;
pub mod seller;
pub mod sim;
pub mod witness;
