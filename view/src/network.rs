//! Ledgers and nodes: what runs, and how it does.

use serde::{Deserialize, Serialize};
use symbolon_client::{AccountView, Agreement, CareSums, FilesView, IndexView};
use symbolon_protocol::{
    id::NodeId,
    ledger::rows::{self, Chain},
};

use crate::{
    care::CareCounts,
    plain::{Id, Money},
    renew::Agreed,
};

/// Says that something runs, and answers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Ready {
    /// It does.
    Ready,
}

/// A network that runs on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetworkReady {
    /// That it runs.
    pub event: Ready,
    /// The home it belongs to.
    pub home: String,
    /// The process it runs in.
    pub pid: u32,
    /// What nodes and users need to join.
    pub ticket: String,
    /// The ledger's identity.
    pub chain: Id,
    /// How long an epoch is.
    pub epoch_ms: u64,
    /// Its nodes.
    pub nodes: Vec<Id>,
    /// The identity that was made, on the first run; else null.
    pub identity: Option<String>,
}

/// A ledger that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LedgerReady {
    /// That it runs.
    pub event: Ready,
    /// What nodes and users need to join.
    pub ticket: String,
    /// The ledger's identity.
    pub chain: Id,
    /// How long an epoch is.
    pub epoch_ms: u64,
}

/// A ledger that several validators can begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LedgerFounded {
    /// The ledger's identity.
    pub chain: Id,
    /// What nodes and users need to join, once more than two thirds of its validators run.
    pub ticket: String,
    /// The folder of each validator.
    pub folders: Vec<String>,
}

/// A mirror of a ledger that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MirrorReady {
    /// That it runs.
    pub event: Ready,
    /// What nodes and users need to use the ledger by this mirror.
    pub ticket: String,
    /// The ledger's identity.
    pub chain: Id,
    /// How long an epoch is.
    pub epoch_ms: u64,
    /// Height of the last block that it has executed.
    pub height: u64,
}

/// A node that runs, and that the ledger knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeReady {
    /// That it runs.
    pub event: Ready,
    /// The node.
    pub node: Id,
    /// Where it answers.
    pub addresses: Vec<String>,
    /// How many bytes it stores for others at most.
    pub capacity: u64,
}

/// A network that has stopped.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stopped {
    /// The home it belongs to.
    pub home: String,
    /// The process it ran in.
    pub pid: u32,
    /// Whether it had to be ended by force.
    pub forced: bool,
}

/// How a ledger does.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LedgerStatus {
    /// The ledger's identity.
    pub chain: Id,
    /// The accounts that order its transactions together.
    pub validators: Vec<Id>,
    /// Its last block.
    pub height: u64,
    /// When that was made.
    pub time_ms: u64,
    /// The epoch it is now.
    pub epoch: u64,
    /// How long an epoch is.
    pub epoch_ms: u64,
    /// What one request of play money gives; 0 where there is none.
    pub faucet: Money,
    /// What it keeps of payments.
    pub fees_bp: Fees,
    /// What transactions cost.
    pub transaction_fees: TransactionFees,
    /// Where all the money is.
    pub money: Books,
}

impl LedgerStatus {
    /// What a ledger's own row says, and where its money is.
    #[must_use]
    pub fn new(chain: &Chain, money: Books) -> Self {
        let params = &chain.params;
        Self {
            chain: chain.id.into(),
            validators: chain.validators.members.iter().map(|one| one.key.into()).collect(),
            height: chain.height,
            time_ms: chain.time_ms.0,
            epoch: chain.epoch,
            epoch_ms: params.epoch_ms.0,
            faucet: params.faucet.into(),
            fees_bp: Fees {
                storage: params.storage_fee_bp,
                repair_reserve: params.repair_reserve_bp,
                sale: params.sale_fee_bp,
                custody: params.custody_fee_bp,
            },
            transaction_fees: TransactionFees {
                base: params.fee_base.into(),
                byte: params.fee_byte.into(),
                check: params.fee_check.into(),
                duty_bp: params.duty_fee_bp,
                deposit: params.deposit.into(),
            },
            money,
        }
    }
}

/// Parts of payments, in hundredths of a percent.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fees {
    /// Of what is paid for storage.
    pub storage: u16,
    /// Put aside for repair.
    pub repair_reserve: u16,
    /// Of sales.
    pub sale: u16,
    /// For custodians, of sales.
    pub custody: u16,
}

/// What transactions cost besides what they move. All of it is 0 on a development network.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TransactionFees {
    /// Each transaction.
    pub base: Money,
    /// Each of its bytes.
    pub byte: Money,
    /// Each signature or group operation that it makes validators check.
    pub check: Money,
    /// The part of these that proofs, releases and acknowledgements pay, in hundredths of a percent.
    pub duty_bp: u16,
    /// The deposit for each unit of weight of what stays on the ledger.
    pub deposit: Money,
}

/// Where all the money of a ledger is, counted at one height.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Books {
    /// In accounts.
    pub accounts: Money,
    /// In escrow.
    pub holds: Money,
    /// For proofs to come.
    pub storage: Money,
    /// The part of that which nodes earn with the proofs of their open windows.
    pub due: Money,
    /// For repair.
    pub repair: Money,
    /// The network's.
    pub treasury: Money,
    /// Deposits for what stays on the ledger.
    pub deposits: Money,
    /// What nodes stand for their bytes with: staked, and pay that is withheld.
    pub collateral: Money,
    /// What stands for the validators.
    pub stake: Money,
    /// Stake that was taken back and is still bound.
    pub unbonding: Money,
    /// Fees that the validators share at the next epoch.
    pub rewards: Money,
    /// All that was ever issued.
    pub issued: Money,
    /// Whether all places hold together what was issued.
    pub adds_up: bool,
}

/// How nodes do.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Nodes {
    /// The epoch it is now.
    pub epoch: u64,
    /// One for each node.
    pub nodes: Vec<Node>,
}

/// How a node does.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Node {
    /// The node.
    pub node: Id,
    /// Whether it answers.
    pub answers: bool,
    /// Where it says that it answers.
    pub addresses: Vec<String>,
    /// The account that is paid.
    pub payout: Id,
    /// Its price per GiB and epoch.
    pub price: Money,
    /// How many bytes it stores for others at most.
    pub capacity: u64,
    /// How many of those are taken.
    pub used: u64,
    /// How many shards it keeps.
    pub shards: u32,
    /// What all of those earn in an epoch it proves in.
    pub rate: Money,
    /// What it earns with the proof of its open window; 0 once it has proven that, or without one.
    pub due: Money,
    /// Epochs it proved in.
    pub proven: u64,
    /// Epochs it missed.
    pub missed: u64,
    /// Epochs it missed since its last proof.
    pub missed_in_row: u32,
    /// Whether it missed so many that the ledger has taken its shards from it.
    pub dead: bool,
    /// The last epoch it proved in; null before the first.
    pub last_proof_epoch: Option<u64>,
    /// Whether it keeps shares of keys.
    pub custody: bool,
    /// Who runs it, if it says so; otherwise its payout account stands for that.
    pub operator: Option<Id>,
    /// Whether it takes no new shards, because it wants to leave.
    pub leaving: bool,
    /// What was staked on it.
    pub collateral: Money,
    /// Pay of its that is withheld until it has the collateral that it needs.
    pub withheld: Money,
    /// The collateral that it needs for what it keeps.
    pub needs: Money,
    /// Bytes that it may take now: it has room for them, and they are covered.
    pub takes: u64,
    /// How many of its last 30 windows it missed.
    pub missed_lately: u32,
    /// Until which epoch it is given no new shards after too many misses; null if it is given some.
    pub paused_until: Option<u64>,
}

impl Node {
    /// What the ledger says of a node, and whether it answers.
    #[must_use]
    pub fn new(id: &NodeId, row: &rows::Node, chain: &Chain, answers: bool) -> Self {
        let params = &chain.params;
        Self {
            node: id.into(),
            answers,
            addresses: row.addresses.clone(),
            payout: row.payout.into(),
            price: row.price.into(),
            capacity: row.capacity,
            used: row.used,
            shards: row.slots,
            rate: row.rate.into(),
            due: row.due().into(),
            proven: row.passed,
            missed: row.missed,
            missed_in_row: row.missed_in_row,
            dead: row.dead,
            last_proof_epoch: row.passed_epoch,
            custody: row.custody_key.is_some(),
            operator: row.operator.map(Into::into),
            leaving: row.leaving,
            collateral: row.collateral.into(),
            withheld: row.withheld.into(),
            needs: row.needs(params).into(),
            takes: row.takes(params, chain.epoch),
            missed_lately: row.misses.count_ones(),
            paused_until: Some(row.paused_until).filter(|until| chain.epoch < *until),
        }
    }
}

/// Everything at a glance.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// The home.
    pub home: String,
    /// The identity's name on this machine.
    pub identity: String,
    /// Its account.
    pub account: Id,
    /// What it can spend.
    pub balance: Money,
    /// The network it uses.
    pub network: NetworkStatus,
    /// The nodes of that.
    pub nodes: NodeCounts,
    /// What it has stored.
    pub files: FileCounts,
    /// The care of that, and what was repaired lately.
    pub care: CareCounts,
    /// The custodians of its vault; null if none is open.
    pub vault: Option<VaultCounts>,
    /// What this machine renews without being asked.
    pub agreed: Agreed,
    /// Names of unfinished puts of any device.
    pub unfinished: Vec<String>,
    /// Its index of names.
    pub index: Index,
}

/// The custodians of a vault, by the ledger's rows.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VaultCounts {
    /// How many there are.
    pub custodians: usize,
    /// How many of them are lost: dead, or nodes no longer.
    pub lost: usize,
}

impl Status {
    /// Puts together what was asked for at several places.
    #[must_use]
    pub fn new(
        (home, identity): (String, String),
        account: &AccountView,
        (network, nodes): (NetworkStatus, NodeCounts),
        (files, care, agreed, unfinished): (&FilesView, CareSums, &Agreement, Vec<String>),
        custodians: Option<(usize, usize)>,
        index: &IndexView,
    ) -> Self {
        Self {
            home,
            identity,
            account: account.account.into(),
            balance: account.balance.into(),
            network,
            nodes,
            files: FileCounts {
                count: files.count,
                length: files.bytes,
                over: files.over,
                soon: files.soon,
            },
            care: care.into(),
            vault: custodians.map(|(lost, custodians)| VaultCounts { custodians, lost }),
            agreed: agreed.into(),
            unfinished,
            index: index.into(),
        }
    }
}

/// A network as one of its users sees it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetworkStatus {
    /// The ledger's identity.
    pub chain: Id,
    /// Its last block.
    pub height: u64,
    /// The epoch it is now.
    pub epoch: u64,
    /// How long an epoch is.
    pub epoch_ms: u64,
    /// The process that runs it from this home; null where none does.
    pub own: Option<Process>,
}

impl NetworkStatus {
    /// What a ledger's own row says; `pid` is the process that runs it from this home.
    #[must_use]
    pub fn new(chain: &Chain, pid: Option<u32>) -> Self {
        Self {
            chain: chain.id.into(),
            height: chain.height,
            epoch: chain.epoch,
            epoch_ms: chain.params.epoch_ms.0,
            own: pid.map(|pid| Process { pid }),
        }
    }
}

/// A process.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Process {
    /// Its number.
    pub pid: u32,
}

/// How many nodes there are, and how full they are.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeCounts {
    /// Nodes that the ledger knows.
    pub known: usize,
    /// How many of those answer.
    pub answering: usize,
    /// How many bytes all of them store at most.
    pub capacity: u64,
    /// How many of those are taken.
    pub used: u64,
}

/// How much is stored.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileCounts {
    /// How many files.
    pub count: u64,
    /// Bytes of those.
    pub length: u64,
    /// How many of those are not paid any more.
    pub over: u64,
    /// How many of the others end within seven days.
    pub soon: u64,
}

/// An index of names.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Index {
    /// Names of files, folders and links.
    pub names: usize,
    /// Grants that others gave.
    pub grants: usize,
    /// Purchases.
    pub purchases: usize,
    /// Rows that changed on this machine and are not on the network yet.
    pub unpublished: usize,
    /// The deals that store what does not fit into the root record.
    pub deals: Vec<Id>,
}

impl From<&IndexView> for Index {
    fn from(index: &IndexView) -> Self {
        Self {
            names: index.names,
            grants: index.grants,
            purchases: index.purchases,
            unpublished: index.unpublished,
            deals: Id::list(&index.deals),
        }
    }
}
