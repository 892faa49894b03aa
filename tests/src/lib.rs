//! The whole: simulator, end to end, vectors, house rules.
//!
//! - [`sim`]: a network in one thread and in virtual time, made of the production parts;
//! - [`auditor`]: books of its own, kept from blocks alone, that must agree with the ledger's;
//! - [`liars`]: nodes and disks that misbehave, one way each;
//! - [`between`]: liars that change what honest nodes and ledgers answer;
//! - [`power`]: disks that lose what was not synced;
//! - [`witness`]: nodes that remember all they were given, and compare.

pub mod auditor;
pub mod between;
pub mod liars;
pub mod power;
pub mod sim;
pub mod witness;
