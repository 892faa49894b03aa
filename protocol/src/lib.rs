//! The rules of Symbolon as values: no IO, no clock, no randomness source, no async.
//!
//! Everything a party of the network has to agree on with another one lives here, so that a node, a
//! client, a simulator, a browser or an auditor run exactly the same rules:
//!
//! - [`content`]: from a file to shards and back (seal, code, mask, manifest);
//! - [`proof`]: that a shard's bytes are there, leaf by leaf, against its BLAKE3 root;
//! - [`grant`]: permission as a signed chain that only narrows;
//! - [`custody`]: keys held by strangers, released against a receipt;
//! - [`ledger`]: money, deals, epochs, listings and orders as `validate` and `apply`;
//! - [`session`]: upload and download as pure procedures; [`wire`]: the messages between parties.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod amount;
pub mod codec;
pub mod content;
pub mod custody;
pub mod grant;
pub mod id;
pub mod identity;
pub mod ledger;
pub mod limits;
pub mod merkle;
pub mod preview;
pub mod proof;
pub mod session;
pub mod wire;

pub use amount::Amount;
pub use codec::{Decode, DecodeError, Encode};
