//! The rules of `spec/node.md`, tested from outside: a real node with a memory network, an embedded
//! ledger and a store in a temporary folder, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test")]

mod away;
#[path = "../../../ledger/tests/engine/common/between.rs"]
mod between;
mod bounded;
mod care;
mod counted;
mod custody;
mod delete;
mod far;
mod follow;
mod life;
mod loss;
mod read;
mod real;
mod refuse;
mod sales;
mod scrub;
mod store;
mod vouchers;
mod world;
