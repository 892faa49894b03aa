//! A storage node: serve, prove, earn, keep custody.
//!
//! A [`Node`] is a set of tasks around one store: it accepts connections and answers
//! `wire::storage` requests, follows the ledger, proves its shards once per epoch, keeps its own row
//! true, deletes what nobody pays for, and posts releases of sold keys in time. Clock, randomness and
//! blocking work come from a `Host`, so the simulator runs this very code in virtual time. See
//! `spec/node.md`.
//!
//! It knows nothing of iroh, of redb, of files as users see them, and holds no key that opens one.

extern crate alloc;

mod admission;
mod custodian;
mod follow;
mod key;
mod node;
mod options;
mod prove;
mod register;
mod serve;
mod shared;
mod slots;
mod submit;
mod sweep;

pub use node::{Node, NodeError, NodeFailure, NodeStatus, Stopper};
pub use options::{Limits, NodeOptions};
