//! What the operator of a node is told: how it does, what is wrong, what it earns.

use serde::{Deserialize, Serialize};

use crate::plain::{Id, Money};

/// How a node on this machine does, as it has noted itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Health {
    /// The node.
    pub node: Id,
    /// Whether it runs now.
    pub running: bool,
    /// Its process, or its last one.
    pub pid: u32,
    /// The version of the program that it runs.
    pub version: String,
    /// When it was started, by the machine's clock.
    pub started_ms: u64,
    /// When all this was noted, by the machine's clock.
    pub at_ms: u64,
    /// How many bytes it stores for others at most.
    pub capacity: u64,
    /// How many of those are taken.
    pub used: u64,
    /// How many shards it keeps.
    pub shards: u64,
    /// Bytes that the file system has left.
    pub disk_free: u64,
    /// Bytes of those that stay free.
    pub disk_reserve: u64,
    /// The last block that it has followed.
    pub height: u64,
    /// The epoch it is now.
    pub epoch: u64,
    /// The time of the newest block that it has verified and followed; null before the first since its start.
    pub block_ms: Option<u64>,
    /// How old that block was by the machine's clock when this was noted; null before the first.
    pub block_age_ms: Option<u64>,
    /// For how long it has not known whether there are newer blocks; null before the first time.
    pub view_age_ms: Option<u64>,
    /// Whether the ledger has its row as it is.
    pub registered: bool,
    /// The last epoch that it has proven since its start; null before.
    pub proven_epoch: Option<u64>,
    /// Epochs it missed, when it last looked; null before.
    pub missed: Option<u64>,
    /// What it has earned since its start.
    pub earned: Money,
    /// Bytes of shards that it has sent since its start.
    pub sent: u64,
    /// Bytes of shards that it has received since its start.
    pub received: u64,
    /// How far it has read its shards to check them.
    pub scrub: Scrub,
    /// What its operator has set.
    pub settings: Settings,
    /// How far it has come with leaving.
    pub exit: Exit,
    /// How many files it may have open; null where the system sets no limit.
    pub open_files: Option<u64>,
    /// What a look at a few shards has shown.
    pub sample: Sample,
    /// What it does as a caretaker; null if it is none.
    pub care: Option<Care>,
    /// How many shards are known to be damaged.
    pub damaged: u64,
    /// The first hundred of those.
    pub damaged_shards: Vec<Damaged>,
}

/// What a node does as a caretaker, when it last looked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Care {
    /// Its claims that run.
    pub claims: Vec<Claim>,
    /// Shards that it has rebuilt and whose new nodes have to prove them first.
    pub waiting: u64,
    /// What it is paid for those then.
    pub owed: Money,
}

/// A claim of a caretaker that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Claim {
    /// The deal.
    pub deal: Id,
    /// Shards that are still to be rebuilt.
    pub shards: u64,
    /// What it is paid for each.
    pub fee: Money,
    /// The first epoch in which the claim does not run.
    pub until_epoch: u64,
}

/// How far the reading of all shards has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Scrub {
    /// How often all of them were read.
    pub passes: u64,
    /// When that was the last time; null before the first.
    pub ended_ms: Option<u64>,
    /// When the present pass, or the last one, began; null before the first.
    pub began_ms: Option<u64>,
    /// Shards that were read in it.
    pub shards: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// What the operator of a node has set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Settings {
    /// Bytes a second that it sends at most; null for no bound.
    pub send: Option<u64>,
    /// Bytes a second of shards that it receives at most; null for no bound.
    pub receive: Option<u64>,
    /// How fast it reads its shards to check them.
    pub scrub: ScrubRate,
    /// Bytes a second of that, if it is `rate`; else null.
    pub scrub_rate: Option<u64>,
    /// When it takes no new shards, every day in UTC, such as `02:00-04:00`; null for never.
    pub pause: Option<String>,
    /// Whether it hands its shards to other nodes and retires.
    pub leaving: bool,
    /// Whether it retires even though owners of vaults count on its shares.
    pub abandons_vaults: bool,
}

/// How far a node has come with leaving.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Exit {
    /// How far.
    pub stage: ExitStage,
    /// Shards that still have to be handed on.
    pub left: u64,
    /// Shards that the node has handed on since its start.
    pub handed: u64,
    /// Shards that the ledger still asks it for, or will.
    pub kept: u64,
    /// What it has paid since its start to nodes that ask more.
    pub paid: Money,
    /// The vaults of which the node keeps shares. They are not handed on.
    pub vaults: Vec<HeldVault>,
    /// Why a shard could not be handed on; null if the last try was good.
    pub problem: Option<String>,
}

/// A vault of which a node keeps a share.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeldVault {
    /// The vault.
    pub vault: Id,
    /// Its owner.
    pub owner: Id,
    /// Paid orders that wait for releases.
    pub orders: u64,
    /// Listings that take orders.
    pub listings: u64,
    /// Running deals whose care is sealed to the vault.
    pub deals: u64,
    /// When the last of these orders and deals is over, reckoned from the current epoch; null if there is none.
    pub until_ms: Option<u64>,
}

/// A step of a node on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ExitStage {
    /// It stays.
    #[default]
    Stays,
    /// The ledger does not know yet that it wants to leave.
    Announces,
    /// It hands its shards on.
    Hands,
    /// It proves until all other nodes have begun.
    Proves,
    /// It keeps nothing but shares of vaults, and some of their owners count on it.
    Custody,
    /// It is a node no longer, and has back all that was its own.
    Retired,
}

/// What stands for a node's bytes after a stake, or after some of it came back.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Staked {
    /// The node.
    pub node: Id,
    /// What is staked on it.
    pub collateral: Money,
    /// Pay of its that is withheld.
    pub withheld: Money,
    /// The collateral that it needs for what it keeps.
    pub needs: Money,
    /// Bytes that it may take now.
    pub takes: u64,
    /// What its own account has left.
    pub balance: Money,
}

/// How far a node's exit is.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Exited {
    /// Whether the node is to leave.
    pub leaving: bool,
    /// Whether it runs.
    pub running: bool,
    /// How far it has noted that it is.
    pub exit: Exit,
}

/// How fast a node reads its shards to check them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ScrubRate {
    /// So fast that all are read in four weeks.
    Weeks,
    /// Not at all.
    Off,
    /// At a rate that was set.
    Rate,
}

/// What a look at a few shards has shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sample {
    /// Shards that were looked at.
    pub shards: u64,
    /// What is wrong with those, for people.
    pub faults: Vec<String>,
}

/// A shard whose bytes are not those that were stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Damaged {
    /// Its deal.
    pub deal: Id,
    /// Its index in the deal.
    pub shard: u8,
    /// Who pays for it.
    pub owner: Id,
    /// How many bytes it has.
    pub length: u64,
    /// When the damage was noticed, by the machine's clock.
    pub noticed_ms: u64,
    /// What is wrong with it, for people.
    pub why: String,
}

/// What reading the shards of a node has shown.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Scrubbed {
    /// Whether the node runs, and reads its shards by itself; else the command has read them.
    pub running: bool,
    /// How many shards the node keeps.
    pub shards: u64,
    /// Bytes of those.
    pub used: u64,
    /// How far the reading has come.
    pub scrub: Scrub,
    /// How many are known to be damaged.
    pub damaged: u64,
    /// The first hundred of those.
    pub damaged_shards: Vec<Damaged>,
}

/// What a node's operator has set for it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Limited {
    /// Whether the command has changed it.
    pub changed: bool,
    /// As it is now.
    pub settings: Settings,
}

/// What can be checked of a node from its machine.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// The node; null if the folder has none.
    pub node: Option<Id>,
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// What was checked.
    pub checks: Vec<Check>,
}

/// What can be checked of a ledger from its machine.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LedgerDiagnosis {
    /// The ledger; null if the folder has none that can be read.
    pub chain: Option<Id>,
    /// The key of the machine; null if the folder has none.
    pub validator: Option<Id>,
    /// The last block on the machine; null if it is not known.
    pub height: Option<u64>,
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// What was checked.
    pub checks: Vec<Check>,
}

/// One thing that was checked.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// What.
    pub check: CheckKind,
    /// What came of it.
    pub outcome: CheckOutcome,
    /// What was found, for people.
    pub what: String,
    /// What to do, for people; null if nothing.
    pub hint: Option<String>,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum CheckKind {
    /// Whether the folder is that of a node.
    Folder,
    /// Whether it runs, and has noted that lately.
    Running,
    /// Whether its program is of this version.
    Version,
    /// Whether the disk can be written and read.
    Disk,
    /// Whether the disk has room.
    Room,
    /// Whether the files of a few shards are there.
    Store,
    /// Whether shards are known to be damaged.
    Damage,
    /// Whether it may have enough files open.
    OpenFiles,
    /// Whether its view of the ledger is new enough to serve grants.
    View,
    /// Whether the ledger answers.
    Ledger,
    /// Whether the machine's clock fits the ledger's time.
    Clock,
    /// Whether the ledger knows it as it is.
    Registered,
    /// Whether it proves its shards.
    Proofs,
    /// Whether it has the collateral that it needs, and may be given new shards.
    Collateral,
    /// Whether it answers at the addresses that the ledger has; of a validator, whether the others do.
    Reachable,
    /// Whether the key is whole, and readable by its owner alone.
    Key,
    /// Whether the folder is a copy, which may not sign.
    Copy,
    /// Whether the rows of a ledger are those of its last block.
    Rows,
    /// Whether the last blocks of a ledger are its validators', and follow each other.
    Blocks,
    /// Whether the money of a ledger adds up to what was issued.
    Money,
    /// Whether what a validator has signed fits its ledger.
    Signed,
    /// Whether the machine is in the set of validators.
    Set,
    /// Whether a validator takes its turns.
    Turns,
    /// Whether the machine has the newest blocks.
    Behind,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum CheckOutcome {
    /// All is well.
    Good,
    /// It works, and needs a look.
    Warning,
    /// It does not work.
    Bad,
    /// It could not be checked.
    Unknown,
}

/// What the operator should hear of at once.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Alert {
    /// The node.
    pub node: Id,
    /// When, by the machine's clock.
    pub at_ms: u64,
    /// What kind of thing.
    pub alert: AlertKind,
    /// What has happened, for people.
    pub what: String,
    /// The deal of the damaged shard; absent in other alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Id"))]
    pub deal: Option<Id>,
    /// The index of the damaged shard; absent in other alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u8"))]
    pub shard: Option<u8>,
}

/// What kind of thing an operator should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum AlertKind {
    /// A shard is damaged.
    Damaged,
    /// The store cannot be read or written.
    DiskFailed,
    /// The disk has no room beyond what stays free.
    DiskFull,
    /// The node has not known for a while whether there are newer blocks.
    Stale,
    /// The open window could not be proven yet.
    ProofFailing,
    /// Epochs were missed.
    Missed,
    /// There is less collateral than the node needs.
    CollateralLow,
    /// Something of a kind that this list does not have.
    Other,
}
