//! Motions: what those with stake vote on.

use serde::Serialize;

use crate::plain::{Id, Money};

/// What was voted, in credits of stake.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Votes {
    /// For it.
    pub yes: Money,
    /// Against it.
    pub no: Money,
    /// Neither.
    pub abstain: Money,
    /// Against it, and against its deposit.
    pub veto: Money,
    /// All that may vote.
    pub all: Money,
}

/// A parameter that a motion changes. Sums are in the smallest unit of money.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ParameterChange {
    /// Its name.
    pub parameter: String,
    /// Its value now.
    pub now: String,
    /// Its value then.
    pub then: String,
}

/// What this person, or a validator's folder, said to a motion.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BallotShown {
    /// For the stake on which validator.
    pub validator: Id,
    /// `yes`, `no`, `abstain` or `veto`.
    pub choice: String,
    /// The stake that it counts for now.
    pub stake: Money,
}

/// A motion.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MotionShown {
    /// Its number.
    pub motion: u64,
    /// `params`, `treasury` or `rules`.
    pub kind: String,
    /// `open`, `passed`, `pending`, `done`, `rejected`, `no_quorum`, `vetoed` or `failed`.
    pub state: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// What it would change, in words.
    pub what: Vec<String>,
    /// The parameters that it would change.
    pub changes: Vec<ParameterChange>,
    /// Who made it.
    pub proposer: Id,
    /// Why, in its proposer's words.
    pub text: String,
    /// What was bound for it.
    pub deposit: Money,
    /// The epoch with which the vote ends.
    pub closes: u64,
    /// The epoch with which it takes effect, if it is passed.
    pub effective: u64,
    /// What was voted: so far, or when the vote ended.
    pub votes: Votes,
    /// The part of the stake that must vote, in hundredths of a percent.
    pub quorum_bp: u16,
    /// The part of those who do not abstain that must be for it.
    pub majority_bp: u16,
    /// The part of all votes that stops it by a veto.
    pub veto_bp: u16,
    /// What would come of it if the vote ended now; what has come of it if it has ended.
    pub outlook: String,
    /// The ballots of who asks.
    pub ballots: Vec<BallotShown>,
}

/// The motions of a ledger.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MotionsShown {
    /// The present epoch.
    pub epoch: u64,
    /// What the treasury has.
    pub treasury: Money,
    /// The version of the rules that is in force.
    pub rules: u32,
    /// The newest motions first.
    pub motions: Vec<MotionShown>,
}

/// A motion that was made.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MotionMade {
    /// Its number.
    pub motion: u64,
    /// What it would change, in words.
    pub what: Vec<String>,
    /// What is bound for it.
    pub deposit: Money,
    /// The epoch with which the vote ends.
    pub closes: u64,
    /// The height of the block.
    pub height: u64,
}

/// Ballots that were cast.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BallotsCast {
    /// The motion.
    pub motion: u64,
    /// The ballots, one for each validator that the sender has stake on.
    pub ballots: Vec<BallotShown>,
    /// The height of the last one's block.
    pub height: u64,
}
