//! Ledgers and nodes that run in this process, each on a folder, until a signal stops them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use symbolon_ledger::{
    EPOCHS_KEPT, Embedded, Figures, Keeping, Ledger, LedgerError, LedgerTicket, Options, Remote,
    Together,
};
use symbolon_net::{Alpn, Announced, BindOptions, Congestion, Endpoint, Host};
use symbolon_node::{Limits, Node, NodeError, NodeFailure, NodeOptions};
use symbolon_protocol::{
    Amount, Millis,
    id::{AccountId, NodeId},
    ledger::Params,
};
use tokio::task::JoinHandle;

use crate::{
    context, declare,
    error::{Error, Kind},
    founding::Founded,
    home,
    interrupt::Interrupt,
    metrics, stamp,
    units::{self, DAY_MS, Price},
};

/// Starts a server. If a signal comes first, cuts the start off wherever it waits, which is as safe as killing it.
pub(crate) async fn start<T: Send + 'static>(
    interrupt: &mut Interrupt,
    starting: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<Option<T>, Error> {
    // As a task of its own: opening files blocks, and the signal has to arrive meanwhile.
    match interrupt.or(tokio::spawn(starting)).await {
        None => Ok(None),
        Some(Ok(started)) => started.map(Some),
        Some(Err(died)) => Err(Error::internal(format!("the start died: {died}"))),
    }
}

/// Ports to choose from: below the range from which systems take ports for outgoing traffic
/// (32768 and up on Linux), so that the port is still free after a restart.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How many ports are tried before giving up.
const PORT_TRIES: u32 = 50;

/// Milliseconds of the longest deal of a new network: ten years.
const DEAL_MS_MAX: u64 = 3650 * DAY_MS;

/// The address to listen on, and the addresses that others are given.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Network {
    /// Where to listen, for example 0.0.0.0:4150, or [::]:4150 for IPv6 and IPv4 [default: this
    /// machine only, on a port that stays the same]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// An address, or a name, and a port under which others reach this from outside; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) announce: Vec<Announced>,
    /// A relay server for peers that cannot be reached directly; may be given several times
    #[arg(long, value_name = "URL")]
    pub(crate) relay: Vec<String>,
    /// The congestion control: an option of every command.
    #[arg(skip)]
    pub(crate) congestion: Option<Congestion>,
}

/// A ledger to be started.
#[derive(Clone, Debug)]
pub(crate) struct LedgerPlan {
    pub(crate) dir: PathBuf,
    pub(crate) network: Network,
    /// Length of an epoch; `None` for what the ledger has, or [`EPOCH_MS`].
    pub(crate) epoch_ms: Option<u64>,
    /// What a faucet request gives; `None` for what the ledger has, or the development default.
    pub(crate) faucet: Option<Amount>,
    /// Epochs before the current one whose blocks it keeps.
    pub(crate) epochs_kept: u64,
    /// The ledger that this machine has joined as a validator; `None` for one of its own.
    pub(crate) joined: Option<LedgerTicket>,
    /// What the rules of a new ledger say.
    pub(crate) rules: Rules,
}

/// Which blocks a ledger or a mirror keeps.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct KeepBlocks {
    /// For how many epochs before the current one blocks are kept: a number, or all. Rows stay anyway; blocks that are gone
    /// do not come back [default: 48]
    #[arg(long, value_name = "EPOCHS", value_parser = epochs_kept)]
    keep_blocks: Option<u64>,
}

impl KeepBlocks {
    /// The number of epochs.
    pub(crate) fn epochs(self) -> u64 {
        self.keep_blocks.unwrap_or(EPOCHS_KEPT)
    }
}

fn epochs_kept(text: &str) -> Result<u64, String> {
    match text {
        "all" => Ok(u64::MAX),
        number => number.parse().map_err(|_| String::from("give a number of epochs, or all")),
    }
}

/// What every machine that has a ledger is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serving {
    /// The folder; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) network: Network,
    #[command(flatten)]
    pub(crate) blocks: KeepBlocks,
    /// Serve figures for Prometheus over HTTP, on this machine only
    #[arg(long, value_name = "ADDRESS", value_parser = metrics::address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Stop when stdin ends, that is when the process that started this one ends
    #[arg(long, hide = true)]
    pub(crate) leashed: bool,
}

/// What the operator says of a validator's folder.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Moved {
    /// The folder is whole and the newest, and no other machine runs with its key, now or later: sign at once
    #[arg(long)]
    moved: bool,
}

impl Moved {
    /// Believes the operator.
    pub(crate) fn note(self, dir: &Path) -> Result<(), Error> {
        if self.moved { stamp::put(dir) } else { Ok(()) }
    }
}

/// What the rules of a ledger say. Later, only motions change them: `symbolon gov`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Rules {
    /// Fee of each transaction. Like all that follows, only a motion changes it later: symbolon gov [default: 0]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    fee: Option<Amount>,
    /// Fee for each byte of a transaction [default: 0]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    fee_per_byte: Option<Amount>,
    /// Fee for each signature or group operation that a transaction makes validators check [default: 0]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    fee_per_check: Option<Amount>,
    /// The part of these fees that proofs, releases and acknowledgements pay, in hundredths of a percent [default: 0]
    #[arg(long, value_name = "BP", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    duty_fee: Option<u16>,
    /// Deposit for each half KiB that stays on the ledger; it comes back when that leaves [default: 0]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    deposit: Option<Amount>,
    /// After how many epochs missed in a row a node loses its shards [default: 10]
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u32).range(2..=1000))]
    dead_after: Option<u32>,
    /// For how many epochs a caretaker's claim of a repair runs [default: 3]
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    claim_epochs: Option<u32>,
    /// For how many epochs of its pay a node needs collateral [default: 0]
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u32).range(0..=1000))]
    collateral_epochs: Option<u32>,
    /// What the repair of a lost GiB costs: a node needs collateral for one and a half times this [default: 0]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    repair_price: Option<Amount>,
    /// How much a new node may need beyond its collateral [default: 0]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    allowance: Option<Amount>,
    /// The part of what a node has earned without faults that it may need beyond its collateral too, in hundredths of a
    /// percent; at most the fee on storage, which is 200 [default: 0]
    #[arg(long, value_name = "BP", value_parser = clap::value_parser!(u16).range(0..=200))]
    allowance_growth: Option<u16>,
    /// The part of its collateral that a node loses by the third miss within 30 epochs, in hundredths of a percent
    /// [default: 200]
    #[arg(long, value_name = "BP", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    miss_penalty: Option<u16>,
    /// The part of its collateral that a custodian loses by keeping silent about an order that is refunded for it, in
    /// hundredths of a percent [default: 200]
    #[arg(long, value_name = "BP", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    silence_penalty: Option<u16>,
    /// Deposit of a node for each GiB that it offers; it comes back when the node retires [default: 0]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    capacity_deposit: Option<Amount>,
    /// How long custodians have for the key of an order, and nodes for a cell that a buyer asks for [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    delivery: Option<u64>,
    /// The shortest time that a seller may give buyers to check a file [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    window_min: Option<u64>,
    /// The bond of a listing, in hundredths of a percent of its price [default: 10000]
    #[arg(long, value_name = "BP", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    listing_bond: Option<u32>,
    /// The bond of a complaint, which a false one loses [default: 1]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    complaint_bond: Option<Amount>,
    /// For how many epochs a motion is voted on [default: 5]
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    voting: Option<u32>,
    /// For how many epochs a motion that was passed waits before it takes effect [default: 2]
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    lock: Option<u32>,
    /// What a motion binds while it is voted on [default: 10]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    motion_deposit: Option<Amount>,
}

/// Turns that a validator of a new ledger may miss in a row before it is jailed. A busy ledger of four has a few for each in a
/// second: a machine that starts again within minutes must keep its place, because the others have one less to lose without it.
const TURNS_MISSED_MAX: u32 = 500;

/// Length of a new ledger's epoch in milliseconds, if none is given.
///
/// Every epoch costs a window and a proof of each node, which the ledger writes to the disk. An hour suits a machine that
/// runs for months: a lost shard is noticed within two hours, and a network of eight nodes writes about two hundred
/// megabytes a day.
pub(crate) const EPOCH_MS: u64 = 3_600_000;

/// Bytes that a ledger writes to the disk for a block at most: see `BENCHMARKS.md`, "An idle network".
const BLOCK_WRITES: u64 = 500_000;

/// About how many bytes a network writes to the disk in a day while it is not used.
pub(crate) fn idle_writes(epoch_ms: Millis, nodes: usize) -> u64 {
    // One block begins the epoch. Of each node, one opens its window, and one has its proof.
    let blocks = (nodes as u64).saturating_mul(2).saturating_add(1);
    let epochs = DAY_MS / epoch_ms.0.max(1);
    epochs.saturating_mul(blocks).saturating_mul(BLOCK_WRITES)
}

/// How often a validator looks whether it gets on.
const LOOK_AHEAD: Duration = Duration::from_secs(5);

/// A ledger in this process, answering others.
#[derive(Debug)]
pub(crate) struct RunningLedger {
    pub(crate) ledger: Ledger,
    pub(crate) ticket: LedgerTicket,
    pub(crate) params: Params,
    endpoint: Endpoint,
    server: JoinHandle<()>,
    /// Tells the ledger which rules this program knows.
    declaring: JoinHandle<()>,
    embedded: Embedded,
}

impl RunningLedger {
    /// Starts it, making it first when the folder has none.
    pub(crate) async fn start(plan: &LedgerPlan, host: &Host) -> Result<Self, Error> {
        Self::open(plan, host).await?.map_err(|error| match error {
            LedgerError::Copied => copied(&plan.dir),
            error => error.into(),
        })
    }

    /// The same on the folder of a validator; `None` if others order the ledger, as far as the folder knows, or if the folder
    /// is a copy.
    pub(crate) async fn start_if_member(
        plan: &LedgerPlan,
        host: &Host,
    ) -> Result<Option<Self>, Error> {
        match Self::open(plan, host).await? {
            Ok(running) => Ok(Some(running)),
            Err(LedgerError::WrongKey { .. } | LedgerError::Copied) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn open(plan: &LedgerPlan, host: &Host) -> Result<Result<Self, LedgerError>, Error> {
        home::make_folder(&plan.dir)?;
        not_anothers(&plan.dir, "node", "a node")?;
        let secret = stamp::signing_key(&plan.dir, host)?;
        let is_copy = !stamp::is_own(&plan.dir)?;
        let address = address(&plan.dir, plan.network.listen, IfTaken::Fail, host)?;
        let alpns = [Alpn::Ledger, Alpn::Consensus];
        let endpoint = endpoint(secret, address, &plan.network, &alpns).await?;
        let options = Options { key: secret, params: params(plan), host: host.clone() };
        let founded = Founded::read(&plan.dir)?;
        // A founder has a journal from the beginning: without it, no one knows what its key has signed.
        let is_copy = is_copy || (founded.is_some() && !symbolon_ledger::has_guard(&plan.dir)?);
        if is_copy && plan.joined.is_some() {
            // It may be from a time when this machine ordered the ledger alone. Whether it still does, the mirror finds out.
            endpoint.close().await;
            return Ok(Err(LedgerError::Copied));
        }
        let own = endpoint.address();
        let (founding, salt, addresses, together) = match founded {
            None if plan.joined.is_some() => {
                let salt = home::secret(&plan.dir.join("salt"), host.random())?;
                let others = plan.joined.iter().flat_map(|ticket| ticket.peers.clone());
                (None, Some(salt), others.collect(), vec![own])
            }
            None => (None, None, Vec::new(), vec![own]),
            Some(founded) => {
                let peers = founded.ticket(&own).peers;
                (Some(founded.genesis), Some(founded.salt), founded.addresses, peers)
            }
        };
        let group = Together { endpoint: endpoint.clone(), addresses, salt, founding, is_copy };
        let opened = Embedded::open_together(&plan.dir, options, plan.epochs_kept, group).await;
        let embedded = match opened {
            Ok(embedded) => embedded,
            Err(error) => {
                endpoint.close().await;
                if matches!(error, LedgerError::Copied) {
                    // If what it had signed is lost, the folder is a copy from now on.
                    stamp::remove(&plan.dir)?;
                }
                return Ok(Err(error));
            }
        };
        // Anew at each start, so that the stamp in an older copy is not that of this folder, even if it is put back in place. A
        // copy that comes here orders the ledger alone: no other signature can contradict those that it makes.
        stamp::put(&plan.dir)?;
        let ledger = Ledger::from(embedded.clone());
        let server = tokio::spawn(symbolon_ledger::answer(embedded.clone(), endpoint.clone()));
        let chain = context::chain(&ledger).await?;
        if let Some(epoch_ms) =
            plan.epoch_ms.filter(|epoch_ms| *epoch_ms != chain.params.epoch_ms.0)
        {
            let has = units::show_duration(chain.params.epoch_ms.0);
            let asked = units::show_duration(epoch_ms);
            return Err(Error::usage(format!("this ledger's epoch is {has}, not {asked}"))
                .hint("it is fixed when a ledger is made; use another folder for another epoch"));
        }
        let ticket = LedgerTicket { chain: ledger.chain(), peers: together };
        let own = symbolon_node::OwnKey::new(&secret);
        let declaring = tokio::spawn(declare::rules(ledger.clone(), own, host.clone()));
        let params = chain.params;
        Ok(Ok(Self { ledger, ticket, params, endpoint, server, declaring, embedded }))
    }

    /// What its engine has counted.
    pub(crate) fn figures(&self) -> Figures {
        self.embedded.figures()
    }

    /// With how many other validators it is connected.
    pub(crate) fn connected(&self) -> usize {
        self.embedded.connected().len()
    }

    /// The key with which it signs.
    pub(crate) fn own(&self) -> AccountId {
        AccountId::from(self.endpoint.id())
    }

    /// The ledger as other servers have it, asked from this machine; `None` if the ticket names no other.
    pub(crate) fn elsewhere(&self, ticket: &LedgerTicket, keeping: Keeping) -> Option<Remote> {
        let ticket = self.others(ticket)?;
        Some(Remote::keeping(self.endpoint.clone(), ticket, keeping))
    }

    /// The other servers of a ticket.
    pub(crate) fn others(&self, ticket: &LedgerTicket) -> Option<LedgerTicket> {
        let own = self.endpoint.id();
        let peers: Vec<_> = ticket.peers.iter().filter(|peer| peer.id != own).cloned().collect();
        (!peers.is_empty()).then(|| LedgerTicket { peers, ..ticket.clone() })
    }

    /// Ends when this machine is behind and does not get on, because the others do not keep its next block any more. It was
    /// away for too long, or its ledger was lost.
    pub(crate) async fn was_away(&self, keeping: Keeping) {
        let Some(elsewhere) = self.elsewhere(&self.ticket, keeping) else {
            return std::future::pending().await;
        };
        let mut last = None;
        loop {
            tokio::time::sleep(LOOK_AHEAD).await;
            let height = context::chain(&self.ledger).await.ok().map(|chain| chain.height);
            let stands = self.embedded.is_behind() && last == height;
            last = height;
            if let Some(height) = height.filter(|_| stands)
                && symbolon_ledger::was_away(&elsewhere, height).await
            {
                return;
            }
        }
    }

    /// Waits until the ledger cannot go on. While its disk works, that never happens.
    pub(crate) async fn failed(&self) -> Error {
        match self.ended().await {
            LedgerError::Disk(_) | LedgerError::Closed => {
                Error::new(Kind::Io, "the ledger has stopped: its disk is full or failed")
                    .hint("make room, then start it again: nothing that was acknowledged is lost")
            }
            error => error.into(),
        }
    }

    /// The same in the ledger's own words.
    pub(crate) async fn ended(&self) -> LedgerError {
        self.embedded.stopped().await
    }

    /// Stops it; everything it acknowledged is on disk already.
    pub(crate) async fn stop(self) {
        self.endpoint.close().await;
        self.server.abort();
        self.declaring.abort();
        drop(self.ledger);
        self.embedded.close().await;
    }
}

/// The error of a folder that is a copy of a validator's.
fn copied(dir: &Path) -> Error {
    let message = format!(
        "{} is a copy of a validator's folder, or has lost a part: it does not know what its key has signed last",
        dir.display()
    );
    Error::new(Kind::WrongDisk, message)
        .hint("follow the ledger with symbolon validator run --dir DIR: it votes once that is safe. If the machine that had the folder was stopped and never runs again: --moved")
        .or_hint("see spec/operating.md, \"Copies of a folder\"")
}

/// The parameters of a new ledger.
pub(crate) fn params(plan: &LedgerPlan) -> Params {
    let epoch_ms = plan.epoch_ms.unwrap_or(EPOCH_MS);
    let development = Params::development();
    Params {
        epoch_ms: Millis(epoch_ms),
        faucet: plan.faucet.unwrap_or(development.faucet),
        // The rules take at most a hundred million.
        deal_epochs_max: (DEAL_MS_MAX / epoch_ms.max(1)).clamp(1, 100_000_000),
        fee_base: plan.rules.fee.unwrap_or_default(),
        fee_byte: plan.rules.fee_per_byte.unwrap_or_default(),
        fee_check: plan.rules.fee_per_check.unwrap_or_default(),
        duty_fee_bp: plan.rules.duty_fee.unwrap_or_default(),
        deposit: plan.rules.deposit.unwrap_or_default(),
        dead_after_epochs: plan.rules.dead_after.unwrap_or(development.dead_after_epochs),
        claim_epochs: plan.rules.claim_epochs.unwrap_or(development.claim_epochs),
        collateral_epochs: plan.rules.collateral_epochs.unwrap_or_default(),
        repair_price: plan.rules.repair_price.unwrap_or_default(),
        allowance: plan.rules.allowance.unwrap_or_default(),
        allowance_growth_bp: plan.rules.allowance_growth.unwrap_or_default(),
        silence_penalty_bp: plan.rules.silence_penalty.unwrap_or(development.silence_penalty_bp),
        miss_penalty_bp: plan.rules.miss_penalty.unwrap_or(development.miss_penalty_bp),
        capacity_deposit: plan.rules.capacity_deposit.unwrap_or_default(),
        delivery_ms: plan.rules.delivery.map_or(development.delivery_ms, Millis),
        window_ms_min: plan.rules.window_min.map_or(development.window_ms_min, Millis),
        listing_bond_bp: plan.rules.listing_bond.unwrap_or(development.listing_bond_bp),
        complaint_bond: plan.rules.complaint_bond.unwrap_or(development.complaint_bond),
        turns_missed_max: TURNS_MISSED_MAX,
        voting_epochs: plan.rules.voting.unwrap_or(development.voting_epochs),
        lock_epochs: plan.rules.lock.unwrap_or(development.lock_epochs),
        motion_deposit: plan.rules.motion_deposit.unwrap_or(development.motion_deposit),
        ..development
    }
}

/// A node to be started.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    pub(crate) dir: PathBuf,
    pub(crate) network: Network,
    pub(crate) capacity: u64,
    pub(crate) price: Price,
    /// The account that is paid; `None` for the node's own.
    pub(crate) payout: Option<AccountId>,
    /// Who runs it; `None` if the account that is paid stands for that.
    pub(crate) operator: Option<AccountId>,
    /// How long a shard waits for its deal; `None` for the default.
    pub(crate) unpaid: Option<Unpaid>,
    /// For how long it agrees to its price, in milliseconds.
    pub(crate) agreed_ms: u64,
    /// After how many milliseconds a damaged shard is declared lost; `None` for the default.
    pub(crate) declare_after_ms: Option<u64>,
    /// Bytes of its disk that stay free; `None` for the default.
    pub(crate) reserve: Option<u64>,
    /// Whether it rebuilds lost shards of owners that name it.
    pub(crate) caretaker: bool,
    /// The least fee for a rebuilt shard for which it does.
    pub(crate) repair_fee_min: Amount,
    /// Whether it starts even if its store is gone.
    pub(crate) accept_loss: bool,
}

/// For how long a node agrees to its price, in milliseconds, if nothing else is said: a year.
pub(crate) const AGREED_MS: u64 = 365 * 86_400_000;

/// How long a node keeps a shard whose deal is not open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpaid {
    /// Until its owner has to open the deal.
    pub(crate) acceptance_ms: u64,
    /// Until it is deleted after that.
    pub(crate) grace_ms: u64,
}

/// A node in this process.
#[derive(Debug)]
pub(crate) struct RunningNode {
    pub(crate) node: Node,
    pub(crate) endpoint: Endpoint,
}

impl RunningNode {
    /// Starts it, making its key first when the folder has none.
    pub(crate) async fn start(
        plan: &NodePlan,
        secret: [u8; 32],
        endpoint: Endpoint,
        ledger: &Ledger,
        host: &Host,
    ) -> Result<Self, Error> {
        let epoch_ms = context::chain(ledger).await?.params.epoch_ms;
        let mut limits = Limits::for_capacity(plan.capacity);
        if let Some(Unpaid { acceptance_ms, grace_ms }) = plan.unpaid {
            limits = limits.unpaid_for(acceptance_ms, grace_ms);
        }
        if let Some(reserve) = plan.reserve {
            limits.disk_reserve_bytes = reserve;
        }
        limits.repair_fee_min = plan.repair_fee_min;
        limits.agreed_epochs = Millis(plan.agreed_ms).steps_of(epoch_ms);
        if let Some(after_ms) = plan.declare_after_ms {
            limits.declare_after_ms = after_ms;
        }
        let options = NodeOptions {
            dir: plan.dir.clone(),
            capacity: plan.capacity,
            price: plan.price.per_epoch(epoch_ms),
            payout: plan.payout.unwrap_or(endpoint.id().into()),
            operator: plan.operator,
            custody: true,
            caretaker: plan.caretaker,
            limits,
            accept_loss: plan.accept_loss,
        };
        let node =
            Node::start(options, secret, endpoint.clone(), ledger.clone(), host.clone()).await?;
        Ok(Self { node, endpoint })
    }

    /// Its identity.
    pub(crate) fn id(&self) -> NodeId {
        self.node.id()
    }

    /// Waits until the ledger knows it.
    pub(crate) async fn registered(&self) {
        self.node.registered().await;
    }

    /// Stops it gracefully.
    pub(crate) async fn stop(self) {
        self.node.stop().await;
    }
}

/// The secret and endpoint of a node's folder.
pub(crate) async fn node_endpoint(
    plan: &NodePlan,
    host: &Host,
) -> Result<([u8; 32], Endpoint), Error> {
    home::make_folder(&plan.dir)?;
    not_anothers(&plan.dir, "ledger.redb", "a ledger")?;
    let secret = home::secret(&plan.dir.join("key"), host.random())?;
    let address = address(&plan.dir, plan.network.listen, IfTaken::Move, host)?;
    let endpoint = endpoint(secret, address, &plan.network, &[Alpn::Storage]).await?;
    Ok((secret, endpoint))
}

/// Refuses a folder that is there and has no key: it may be the place of a disk that is not mounted. With `new` a node
/// begins in it, and then it must not have one yet.
pub(crate) fn check_folder(dir: &Path, new: bool) -> Result<(), Error> {
    let shown = dir.display();
    match (dir.is_dir(), dir.join("key").exists()) {
        (true, false) if !new => {
            Err(Error::new(Kind::WrongDisk, format!("{shown} is there, but no node is in it"))
                .hint("see that its disk is mounted; to begin a new node in this folder: --new"))
        }
        (_, true) if new && dir.join("node").exists() => {
            Err(Error::new(Kind::Exists, format!("{shown} has a node already"))
                .hint("leave out --new to start it, or choose another folder with --dir"))
        }
        _ => Ok(()),
    }
}

/// Refuses a folder in which `file` shows that it belongs to a `whose`: both kinds keep a key and a port there.
fn not_anothers(dir: &Path, file: &str, whose: &str) -> Result<(), Error> {
    if !dir.join(file).exists() {
        return Ok(());
    }
    Err(Error::new(Kind::Exists, format!("{} is the folder of {whose}", dir.display()))
        .hint("every node and ledger needs a folder of its own: choose another with --dir")
        .or_hint(
            "every node and ledger needs a folder of its own: choose another home with --home",
        ))
}

/// The endpoint of a mirror, with which it asks the ledger and answers others.
pub(crate) async fn mirror_endpoint(
    dir: &Path,
    network: &Network,
    host: &Host,
) -> Result<Endpoint, Error> {
    home::make_folder(dir)?;
    not_anothers(dir, "node", "a node")?;
    let secret = stamp::signing_key(dir, host)?;
    let address = address(dir, network.listen, IfTaken::Fail, host)?;
    endpoint(secret, address, network, &[Alpn::Ledger]).await
}

/// The endpoint of a seller who answers viewers.
pub(crate) async fn viewers_endpoint(
    secret: [u8; 32],
    listen: SocketAddr,
    congestion: Option<Congestion>,
) -> Result<Endpoint, Error> {
    if let Err(error) = probe(listen) {
        return Err(taken(listen, &error));
    }
    let network = Network { congestion, ..Network::default() };
    endpoint(secret, listen, &network, &[Alpn::Preview]).await
}

async fn endpoint(
    secret: [u8; 32],
    address: SocketAddr,
    network: &Network,
    alpns: &[Alpn],
) -> Result<Endpoint, Error> {
    let mut options = BindOptions::new(secret);
    options.listen = vec![address];
    options.announce.clone_from(&network.announce);
    options.relays.clone_from(&network.relay);
    options.accept = alpns.to_vec();
    let usual = Congestion::usual(address.ip().is_loopback());
    options.congestion = network.congestion.unwrap_or(usual);
    Ok(Endpoint::iroh(options).await?)
}

/// The address on this machine of a ledger in this folder: that of last time, or one on a free port.
pub(crate) fn ledger_address(dir: &Path, host: &Host) -> Result<SocketAddr, Error> {
    address(dir, None, IfTaken::Fail, host)
}

/// Waits until this process has given back the port of a folder: an endpoint's last tasks end a moment after it.
pub(crate) async fn port_given_back(dir: &Path) {
    let kept = home::read_if_there(&dir.join("listen")).ok().flatten();
    let address = kept.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok());
    let Some(address) = address else { return };
    for _ in 0..PORT_TRIES {
        if probe(address).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What to do when the port kept from last time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfTaken {
    /// Fail: others know the port.
    Fail,
    /// Take another port, which others learn from the ledger.
    Move,
}

/// The address to listen on: the one asked for, else the one of last time, else a free port.
fn address(
    dir: &Path,
    asked: Option<SocketAddr>,
    if_taken: IfTaken,
    host: &Host,
) -> Result<SocketAddr, Error> {
    let path = dir.join("listen");
    let kept = home::read_if_there(&path)?
        .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<SocketAddr>().ok());
    let wanted = match (asked, kept) {
        (Some(asked), _) if asked.port() != 0 => Some(asked),
        (Some(asked), Some(kept)) if asked.ip() == kept.ip() => Some(kept),
        (None, kept) => kept,
        _ => None,
    };
    let ip = asked.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |asked| asked.ip());
    let address = match wanted.map(|wanted| (wanted, probe(wanted))) {
        None => free(ip, host)?,
        Some((wanted, Ok(()))) => wanted,
        Some((_, Err(_))) if if_taken == IfTaken::Move && asked.is_none_or(|a| a.port() == 0) => {
            free(ip, host)?
        }
        Some((wanted, Err(error))) => return Err(taken(wanted, &error)),
    };
    if kept != Some(address) {
        home::write_whole(&path, format!("{address}\n").as_bytes())?;
    }
    Ok(address)
}

/// Whether an address can be bound right now.
fn probe(address: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(address).map(drop)
}

fn free(ip: IpAddr, host: &Host) -> Result<SocketAddr, Error> {
    let width = u32::from(PORTS.end - PORTS.start);
    for _ in 0..PORT_TRIES {
        let offset = u32::from_le_bytes(host.random()) % width;
        let port = PORTS.start + u16::try_from(offset).unwrap_or(0);
        let address = SocketAddr::new(ip, port);
        match probe(address) {
            Ok(()) => return Ok(address),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(taken(address, &error)),
        }
    }
    Err(Error::new(Kind::InUse, format!("no free port found in {PORTS:?} on {ip}")))
}

fn taken(address: SocketAddr, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(
            Kind::InUse,
            format!("port {} on {} is in use", address.port(), address.ip()),
        )
        .hint("stop the program that has it, or choose another with --listen ADDRESS:PORT"),
        io::ErrorKind::AddrNotAvailable => {
            Error::usage(format!("{} is not an address of this machine", address.ip()))
        }
        _ => Error::new(Kind::Io, format!("cannot listen on {address}: {error}")),
    }
}

impl From<NodeFailure> for Error {
    fn from(failure: NodeFailure) -> Self {
        Self::new(Kind::Unreachable, failure.to_string())
            .hint("ask who runs the ledger; started again, the node tries again")
    }
}

impl From<NodeError> for Error {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Ledger(error) => error.into(),
            NodeError::NoNode { .. } => Self::new(Kind::WrongDisk, error.to_string())
                .hint("see that its disk is mounted and that --dir is right"),
            NodeError::WrongFolder { .. } => Self::new(Kind::WrongDisk, error.to_string())
                .hint("every node and ledger needs a folder of its own: choose another with --dir")
                .or_hint("every node and ledger needs a folder of its own: choose another home with --home"),
            _ if error.is_loss() => {
                let message = match &error {
                    NodeError::Store(store) => format!("{error}: {store}"),
                    other => other.to_string(),
                };
                Self::new(Kind::WrongDisk, message).hint(
                    "see that its disk is there, or bring the folder back. To go on without what is lost: \
                     --accept-loss. It then misses the pay of those shards until their deals are over, and \
                     its shares of vaults are gone",
                )
            }
            NodeError::CapacityTooSmall { bound, .. } => {
                Self::usage(error.to_string()).hint(format!(
                    "give it --capacity {bound}B or more; with exactly that it takes nothing new"
                ))
            }
            NodeError::Settings(_) => Self::usage(error.to_string())
                .hint("set them anew with: symbolon node limit --dir DIR --reset"),
            NodeError::Store(ref store) => {
                let kind = match (error.is_disk_full(), error.is_in_use()) {
                    (true, _) => Kind::DiskFull,
                    (_, true) => Kind::InUse,
                    _ => Kind::Io,
                };
                Self::new(kind, format!("{error}: {store}"))
            }
            _ => Self::internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stays() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::system();
        let first = address(folder.path(), None, IfTaken::Fail, &host).unwrap();
        assert!(PORTS.contains(&first.port()));
        assert_eq!(address(folder.path(), None, IfTaken::Fail, &host).unwrap(), first);

        let _occupied = UdpSocket::bind(first).unwrap();
        let error = address(folder.path(), None, IfTaken::Fail, &host).unwrap_err();
        assert_eq!(error.kind, Kind::InUse);
        let error = address(folder.path(), Some(first), IfTaken::Move, &host).unwrap_err();
        assert_eq!(error.kind, Kind::InUse, "what was asked for is never replaced");
        let moved = address(folder.path(), None, IfTaken::Move, &host).unwrap();
        assert_ne!(moved, first);
        assert_eq!(address(folder.path(), None, IfTaken::Move, &host).unwrap(), moved);
    }

    #[test]
    fn deals_can_last_ten_years_whatever_the_epoch() {
        let plan = |epoch_ms| LedgerPlan {
            dir: PathBuf::new(),
            network: Network::default(),
            epoch_ms: Some(epoch_ms),
            faucet: None,
            epochs_kept: 0,
            joined: None,
            rules: Rules::default(),
        };
        for epoch_ms in [1000, EPOCH_MS, DAY_MS] {
            assert_eq!(params(&plan(epoch_ms)).check(), Ok(()));
        }
        assert_eq!(params(&plan(DAY_MS)).deal_epochs_max, 3650);
    }
}
