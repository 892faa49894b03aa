//! The rules of Symbolon as values: no IO, no clock, no randomness source, no async.
//!
//! This crate has everything on which two parties of the network must agree. So a node, a
//! client, a simulator, a browser or an auditor run exactly the same rules:
//!
//! - [`content`]: from a file to shards and back (seal, code, mask, manifest);
//! - [`proof`]: proofs that a node has a shard's bytes, leaf by leaf, against its BLAKE3 root;
//! - [`grant`]: permission as a signed chain that only narrows;
//! - [`custody`]: keys that custodians hold in shares, and release for a paid order;
//! - [`dispute`]: what is listed of a file's keys and cells, and how a lie about it is proven;
//! - [`ledger`]: money, deals, epochs, listings and orders as `validate` and `apply`;
//! - [`names`]: the index of an owner's names, as the network keeps it;
//! - [`session`]: upload and reading as pure procedures; [`wire`]: the messages between parties.
//!
//! One file through all of it:
//!
//! ```
//! use ed25519_dalek::SigningKey;
//! use symbolon_protocol::{
//!     Amount,
//!     content::{FileKey, Layout, Manifest, MaskMode, Scheme, SegmentCoder},
//!     grant::{Caveat, Grant, ability},
//!     id::{ChainId, Hash, PeerId},
//!     ledger::slot_rate,
//!     merkle, proof,
//! };
//!
//! // Cut, seal, shard: any two of three shards suffice.
//! let file = b"a symbolon was a token broken in pieces".repeat(50);
//! let key = FileKey::from_bytes([7; 32]);
//! let layout = Layout::new(Scheme::new(2, 3)?, file.len() as u64)?;
//! let segment = layout.segment(0)?;
//! let coder = SegmentCoder::new(&key, MaskMode::ChaCha20, segment);
//! let cell = segment.stripe(0).unwrap().cell_bytes;
//! let (mut shards, mut leaves) = (vec![0; 3 * cell], Vec::new());
//! coder.encode(0, &file, &mut shards, &mut leaves)?;
//! let mut tree = merkle::Builder::new();
//! tree.extend(leaves);
//! let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, tree.finish());
//!
//! // A node keeps the last shard and vouches for it by its root.
//! let shard = &shards[2 * cell..];
//! let mut hasher = proof::ShardHasher::new();
//! hasher.update(shard);
//! let (root, outboard) = hasher.finish();
//!
//! // Lose the first shard, rebuild its data, open.
//! let cells = [None, Some(&shards[cell..2 * cell]), Some(shard)];
//! let mut plain = vec![0; segment.stripe(0).unwrap().capacity()];
//! manifest.coder(&key, 0)?.decode(0, &cells, &mut plain)?;
//! assert_eq!(plain[..file.len()], file);
//!
//! // Grant a friend the right to read it on this ledger. Any node can check the grant by itself.
//! let (chain, owner) = (ChainId([0; 32]), SigningKey::from_bytes(&[1; 32]));
//! let friend = PeerId(SigningKey::from_bytes(&[2; 32]).verifying_key().to_bytes());
//! let object = Caveat::Object { object: manifest.object };
//! let caveats = vec![object, Caveat::Abilities { set: ability::READ }];
//! let grant = Grant::issue(&chain, &owner, friend, caveats, &[3; 32])?;
//! assert_eq!(grant.verify(&chain)?.holder(), friend);
//!
//! // An epoch begins: the beacon picks leaves, the node opens them, anyone checks, the node earns.
//! let length = shard.len() as u64;
//! let seed = proof::challenge_seed(&chain, 1, &Hash([9; 32]), &friend, &Hash([0; 32]));
//! for challenge in proof::challenges(&seed, 1, length, length, |_| length) {
//!     let group = proof::group_range(length, challenge.leaf)?;
//!     let group = &shard[group.start as usize..group.end as usize];
//!     let opened = proof::leaf_proof(&outboard, length, challenge.leaf, group)?;
//!     proof::verify_leaf(&root, length, challenge.leaf, &opened)?;
//! }
//! assert_eq!(slot_rate(Amount::credits(1), length), Some(Amount(954)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod amount;
pub mod codec;
pub mod content;
pub mod custody;
pub mod deletion;
pub mod describe;
pub mod dispute;
pub mod envelope;
pub mod grant;
pub mod id;
pub mod identity;
pub mod ledger;
pub mod limits;
pub mod merkle;
pub mod names;
pub mod preview;
pub mod proof;
pub mod reads;
pub mod session;
pub mod signature;
pub mod text;
pub mod time;
pub mod wire;

pub use amount::Amount;
pub use codec::{Decode, DecodeError, Encode};
pub use time::{LedgerTime, MachineTime, Millis};
