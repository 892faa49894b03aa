//! Agreement of validators on the next block of a ledger, as a value: no clock, no socket, no disk, no randomness.
//!
//! A [`Node`] is one validator, or one follower that is none. Its caller tells it what happens (an [`Event`]) and carries out
//! what it answers (each [`Output`], in order). So a simulator and a real machine run exactly this code.
//!
//! - [`message`]: what nodes send each other, each with its one encoding and its bounds;
//! - [`statement`]: what a validator signs;
//! - [`guard`]: why it signs nothing twice, whatever its disk remembers;
//! - [`log`]: what it writes down before it speaks;
//! - [`ledger`]: what it needs to know of a ledger;
//! - [`evidence`]: how to show that a validator signed two things that exclude each other.
//!
//! The agreement itself is Tendermint's, by the core of Malachite. `context` gives that core this ledger's types, and no
//! type of it leaves this crate. See `spec/consensus.md`.

mod context;
mod convert;
pub mod guard;
pub mod ledger;
pub mod log;
pub mod message;
mod node;
pub mod settings;
pub mod signatures;

pub use guard::Guard;
pub use ledger::{Decided, Ledger, Request, Tip, Verdict};
pub use message::Message;
pub use node::{Event, Node, Output, Refusal, Restored, StartError, TimerId, To};
pub use settings::Settings;
pub use signatures::Signatures;
pub use symbolon_protocol::ledger::{
    evidence::{self, Evidence},
    proposer::proposer,
    statement,
};
