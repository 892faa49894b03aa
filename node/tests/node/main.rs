//! A real node over a memory network, an embedded ledger and a store in a temporary folder, in virtual
//! time: what `spec/node.md` says, seen from outside.

mod custody;
mod life;
mod read;
mod refuse;
mod store;
mod world;
