//! The JSON documents: one type for each, shared by all programs that print them.
//!
//! The fields of a document are the fields of its type, with their comments; `spec/json` has the schemas that are made
//! from them. A client's results become documents only here, so that two programs report the same thing in the same
//! words.

pub mod account;
pub mod audit;
pub mod care;
pub mod demo;
pub mod earnings;
pub mod failure;
pub mod files;
pub mod folder;
pub mod get;
pub mod grant;
pub mod identity;
pub mod keep;
pub mod market;
pub mod motions;
pub mod names;
pub mod network;
pub mod operator;
pub mod plain;
pub mod progress;
pub mod put;
pub mod renew;
pub mod rm;
pub mod shell;
pub mod stat;
#[cfg(test)]
mod tests;
pub mod validators;
pub mod vault;
pub mod verify;

use serde::Serialize;
use serde_json::Value;

/// A whole document, which is printed at once, on a line of its own.
pub trait Document: Serialize {
    /// As a value, with its fields in alphabetical order.
    fn to_value(&self) -> Value {
        to_value(self)
    }
}

/// A document, or a part of one, as a value, with its fields in alphabetical order.
///
/// # Panics
/// Never for what is in this crate.
pub fn to_value(view: &(impl Serialize + ?Sized)) -> Value {
    serde_json::to_value(view).expect("a view is plain data, and all its keys are texts")
}

macro_rules! documents {
    ($($part:ident::$name:ident,)*) => {
        $(impl Document for $part::$name {})*

        /// The names of all documents.
        #[cfg(test)]
        const DOCUMENTS: &[&str] = &[$(stringify!($name)),*];
    };
}

documents! {
    account::Balance,
    account::History,
    account::Sent,
    account::Statement,
    audit::Audited,
    care::Cared,
    demo::Held,
    earnings::Earnings,
    failure::Failure,
    files::Renamed,
    files::Undeleted,
    files::Usages,
    files::Versions,
    folder::FolderFetch,
    folder::FolderQuote,
    folder::FolderStored,
    folder::FolderWritten,
    get::FileFetched,
    grant::Attenuated,
    grant::Grants,
    grant::Inspected,
    grant::ReadersShown,
    grant::Redeemed,
    grant::Revoked,
    grant::Shared,
    identity::Identities,
    identity::Identity,
    identity::Made,
    identity::Restored,
    identity::Words,
    market::Acknowledged,
    market::Bought,
    market::Detail,
    market::Disputed,
    market::Ended,
    market::ForSale,
    market::FreshPreview,
    market::Listings,
    market::OrderShown,
    market::Orders,
    market::Preview,
    market::ViewersReady,
    motions::BallotsCast,
    motions::MotionMade,
    motions::MotionShown,
    motions::MotionsShown,
    names::Names,
    network::LedgerFounded,
    network::LedgerReady,
    network::LedgerStatus,
    network::MirrorReady,
    network::NetworkReady,
    network::NodeReady,
    network::Nodes,
    network::Status,
    network::Stopped,
    operator::Alert,
    operator::Diagnosis,
    operator::Health,
    operator::LedgerDiagnosis,
    operator::Limited,
    operator::Exited,
    operator::Scrubbed,
    operator::Staked,
    progress::Event,
    validators::OwnStakes,
    validators::StakeChanged,
    validators::ValidatorChanged,
    validators::ValidatorReady,
    validators::ValidatorsShown,
    put::FileQuote,
    put::FileStored,
    keep::KeepStopped,
    keep::Kept,
    renew::Renewed,
    renew::Unmarked,
    rm::Removed,
    shell::Completions,
    stat::Stat,
    vault::VaultDealt,
    vault::VaultStatus,
    verify::FileVerified,
    verify::FolderVerified,
}
