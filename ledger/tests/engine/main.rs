//! The embedded engine and those who ask it, as other crates use them. All of it is one program, so that the crates below are
//! compiled into it once.

#![allow(clippy::unwrap_used, reason = "tests, where a panic is the message")]

mod common;

mod checkpoint;
mod crowd;
mod embedded;
mod flood;
mod kept;
mod large;
mod light;
mod mirror;
mod registrations;
mod remote;
mod sets;
mod several;
