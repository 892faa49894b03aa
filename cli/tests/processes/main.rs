//! The binary as its users run it: real processes, real QUIC, real disks. All of it is one program, so that tests which
//! wait for epochs wait at the same time, and the binary's crates are linked once.

#![allow(clippy::unwrap_used, reason = "tests, where a panic is the message")]

mod common;

mod audit;
mod command_line;
mod deletion;
mod disputes;
mod documents;
mod families;
mod faults;
mod folders;
mod kills;
mod lasting;
mod leaving;
mod market;
mod mirror;
mod motions;
mod network;
mod operator;
mod people;
mod previews;
mod recovery;
mod restart;
mod signals;
mod sync;
mod targets;
mod terminal;
mod terms;
mod validators;
mod vaults;
mod vouchers;
