//! `symbolon up`: a network on this machine, in one process.

use std::{
    ffi::OsString,
    net::SocketAddr,
    time::{Duration, Instant},
};

use symbolon_client::{Client, Setup};
use symbolon_ledger::Ledger;
use symbolon_net::{BindOptions, Endpoint};
use symbolon_protocol::{Amount, identity::Phrase};
use symbolon_view::{
    network::{NetworkReady, Ready},
    plain::Id,
};

use super::keep;
use crate::{
    context::{self, Context},
    detached,
    error::{Error, Kind},
    founding,
    home::{self, DEFAULT_IDENTITY},
    interrupt::Interrupt,
    keys::{self, Protection},
    output::Report,
    serve::{
        self, KeepBlocks, LedgerPlan, Network, NodePlan, RunningLedger, RunningNode, node_endpoint,
    },
    stamp,
    units::{self, Price, count, show_amount, show_duration, show_size},
};

/// Nodes of a new network.
const NODES: u32 = 8;

/// How long the start may take, and how much longer for each node, because they start one by one.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_PER_NODE: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon up                            stop it with Ctrl-C
  symbolon up --detach                   stop it with: symbolon down
  symbolon up --nodes 20 --epoch 1m --home /tmp/net
  symbolon up --validators 4 --home /tmp/four

The first time it makes everything: a ledger, storage nodes, and an identity with play money.
Later it brings everything back, however it was stopped.")]
pub(crate) struct Args {
    /// Run in the background; the log is run/log in the home
    #[arg(long)]
    detach: bool,
    /// The number of storage nodes [default: 8, or the number there were before]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    nodes: Option<u32>,
    /// The number of validators that order a new ledger, each with a file of its own, as they would on machines of their own:
    /// a ledger of 4 goes on while any one of them fails. Cannot be changed later [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=8))]
    validators: Option<u32>,
    /// Length of an epoch: every node proves once in each. Cannot be changed later [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    epoch: Option<u64>,
    /// The address the ledger listens on [default: 127.0.0.1, on a port that stays the same]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    blocks: KeepBlocks,
    /// How many bytes each node offers
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = units::size)]
    capacity: u64,
    /// Start even though the store of a node, or a part of it, is gone: those shards are lost for good
    #[arg(long)]
    accept_loss: bool,
    /// Says that this process is the one in the background
    #[arg(long, hide = true)]
    detached: bool,
}

impl Args {
    /// Whether the command runs until it is stopped.
    pub(crate) fn runs_on(&self) -> bool {
        !self.detach
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    if args.detach {
        return detach(&args, context).await;
    }
    #[cfg(unix)]
    if args.detached {
        detached::leave_terminal()?;
    }
    let mut interrupt = Interrupt::listen();
    let lock = context.home.lock()?;
    let within = context.clone();
    let starting = async move {
        let patience = PATIENCE + PATIENCE_PER_NODE * nodes_to_start(&args, &within);
        let started = tokio::time::timeout(patience, Up::start(&args, &within)).await;
        started.map_err(|_| {
            let message = format!("the nodes did not come up in {} seconds", patience.as_secs());
            Error::new(Kind::Unreachable, message)
                .hint("run it again with -v to see what they wait for")
        })?
    };
    let Some(running) = serve::start(&mut interrupt, starting).await? else { return Ok(()) };
    if context.out.is_json() {
        context.out.event(&running.ready(context))?;
    } else {
        context.out.report(&running.report(context))?;
    }
    // If the ledger fails, the process ends: nodes without a ledger look alive but accept nothing more.
    let serving = async {
        tokio::select! {
            error = running.ledger.failed() => error,
            never = keep::agreed(context) => match never {},
        }
    };
    let failed = interrupt.or(serving).await;
    context.out.note("Stopping.");
    running.stop().await;
    drop(lock);
    failed.map_or(Ok(()), Err)
}

/// Everything that runs.
struct Up {
    ledger: RunningLedger,
    /// The other validators of the ledger.
    others: Vec<RunningLedger>,
    nodes: Vec<RunningNode>,
    made: Option<Made>,
    took: Duration,
}

/// The identity of a first run.
struct Made {
    balance: Amount,
}

impl Up {
    async fn start(args: &Args, context: &Context) -> Result<Self, Error> {
        let began = Instant::now();
        #[cfg(unix)]
        crate::limits::check_files(nodes_to_start(args, context))?;
        let congestion = context.congestion;
        let network = Network { listen: args.listen, congestion, ..Network::default() };
        let plan = LedgerPlan {
            dir: context.home.ledger(),
            network,
            epoch_ms: args.epoch,
            faucet: None,
            epochs_kept: args.blocks.epochs(),
            joined: None,
            rules: serve::Rules::default(),
        };
        let (ledger, others) = start_validators(args, context, plan).await?;
        // The client would look for its files on this network instead of the other one, and forget them.
        if let Some(other) =
            context.home.ticket()?.filter(|other| other.chain != ledger.ticket.chain)
        {
            let message =
                format!("this home belongs to another network, the ledger {}", other.chain);
            return Err(Error::new(Kind::Exists, message)
                .hint("run a network of your own in another folder: symbolon up --home DIR"));
        }
        context.home.set_ticket(&ledger.ticket)?;
        let rest = async {
            let nodes = start_nodes(args, context, &ledger.ledger).await?;
            let made = first_identity(context, &ledger.ledger).await?;
            for node in &nodes {
                node.registered().await;
            }
            Ok::<_, Error>((nodes, made))
        };
        let (nodes, made) = tokio::select! {
            rest = rest => rest?,
            error = ledger.failed() => return Err(error),
        };
        Ok(Self { ledger, others, nodes, made, took: began.elapsed() })
    }

    fn ready(&self, context: &Context) -> NetworkReady {
        NetworkReady {
            event: Ready::Ready,
            home: context.home.root().display().to_string(),
            pid: std::process::id(),
            ticket: self.ledger.ticket.to_string(),
            chain: self.ledger.ticket.chain.into(),
            epoch_ms: self.ledger.params.epoch_ms.0,
            nodes: self.nodes.iter().map(|node| Id::from(node.id())).collect(),
            identity: self.made.as_ref().map(|_| DEFAULT_IDENTITY.to_owned()),
        }
    }

    fn ledger_in_words(&self) -> String {
        match self.others.len() {
            0 => "one ledger".into(),
            others => format!("one ledger of {} validators", others + 1),
        }
    }

    fn report(&self, context: &Context) -> Report {
        let nodes = count(self.nodes.len(), "storage node");
        let epoch = show_duration(self.ledger.params.epoch_ms.0);
        let took = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let home = context.home.root().display();
        let mut report = Report::new(&self.ready(context)).text(format!(
            "A network is running: {} and {nodes}, ready after {}.",
            self.ledger_in_words(),
            show_duration(took)
        ));
        report = report.field("home", home.to_string()).field(
            "epoch",
            format!(
                "{epoch}: each node proves once per epoch, and is paid for it; a new file is first proven in the \
                 next one"
            ),
        );
        let written = show_size(serve::idle_writes(self.ledger.params.epoch_ms, self.nodes.len()));
        report =
            report.field("disk", format!("about {written} a day are written for these proofs"));
        if let Some(made) = &self.made {
            report = report.field(
                "identity",
                format!(
                    "{DEFAULT_IDENTITY}, new, with {} of play money",
                    show_amount(made.balance)
                ),
            );
        }
        report
            .text("")
            .text("In another terminal:")
            .text("  symbolon put FILE        store a file")
            .text("  symbolon ls              list what is stored")
            .text("  symbolon get FILE -o -   read it")
            .text("  symbolon status          see how everything is")
            .text("")
            .text("Stop it with Ctrl-C. Everything comes back with: symbolon up")
    }

    async fn stop(self) {
        let mut stopping = tokio::task::JoinSet::new();
        for node in self.nodes {
            stopping.spawn(node.stop());
        }
        while stopping.join_next().await.is_some() {}
        for other in self.others {
            other.stop().await;
        }
        self.ledger.stop().await;
    }
}

/// Starts the validators of the ledger, of which the first is this network's own.
async fn start_validators(
    args: &Args,
    context: &Context,
    plan: LedgerPlan,
) -> Result<(RunningLedger, Vec<RunningLedger>), Error> {
    let there = context.home.validators();
    let wanted = args.validators.unwrap_or(there.max(1));
    if there != 0 && there != wanted {
        let message = format!("this network has {}, not {wanted}", count(there, "validator"));
        return Err(Error::usage(message)
            .hint("who orders a ledger is fixed when it is made; use another folder with --home"));
    }
    let dirs: Vec<_> = (1..=wanted).map(|number| context.home.validator(number)).collect();
    if 1 < wanted {
        founding::found(&dirs, &[], serve::params(&plan), &context.host)?;
    }
    let mut running = Vec::new();
    for dir in dirs {
        let plan = LedgerPlan { dir, ..plan.clone() };
        home::make_folder(&plan.dir)?;
        if !stamp::is_own(&plan.dir)? {
            // All validators of this ledger are in this home, and its lock is held: no other machine signs with their keys.
            stamp::put(&plan.dir)?;
        }
        running.push(RunningLedger::start(&plan, &context.host).await?);
    }
    let others = running.split_off(1);
    let first = running.pop().expect("there is one at least");
    Ok((first, others))
}

/// The number of nodes to start: as many as were asked for, but never fewer than exist, because files are on them.
fn nodes_to_start(args: &Args, context: &Context) -> u32 {
    let there = context.home.nodes();
    args.nodes.unwrap_or(if there == 0 { NODES } else { there }).max(there)
}

async fn start_nodes(
    args: &Args,
    context: &Context,
    ledger: &Ledger,
) -> Result<Vec<RunningNode>, Error> {
    let there = context.home.nodes();
    if args.nodes.is_some_and(|wanted| wanted < there) {
        context.out.warn(&format!(
            "this network has {}; all of them are started, because files are on them",
            count(there, "node")
        ));
    }
    let mut nodes = Vec::new();
    for number in 1..=nodes_to_start(args, context) {
        let plan = NodePlan {
            dir: context.home.node(number),
            network: Network { congestion: context.congestion, ..Network::default() },
            capacity: args.capacity,
            price: Price::Month(Amount::credits(1)),
            payout: None,
            operator: None,
            unpaid: None,
            agreed_ms: serve::AGREED_MS,
            declare_after_ms: None,
            reserve: None,
            caretaker: true,
            repair_fee_min: Amount::ZERO,
            accept_loss: args.accept_loss,
        };
        let (secret, endpoint) = node_endpoint(&plan, &context.host).await?;
        nodes.push(RunningNode::start(&plan, secret, endpoint, ledger, &context.host).await?);
    }
    Ok(nodes)
}

/// Makes the first identity of a home, with play money. It has no passphrase, because it is of use only on this
/// network.
async fn first_identity(context: &Context, ledger: &Ledger) -> Result<Option<Made>, Error> {
    if !context.home.identities()?.is_empty() {
        return Ok(None);
    }
    let phrase = Phrase::from_entropy(&context.host.random());
    let none = Protection::FilePermissions;
    let home = &context.home;
    let identity =
        keys::create(home, DEFAULT_IDENTITY, &phrase, none, &context.out, &context.host)?;
    let mut options = BindOptions::new(identity.access_key().to_bytes());
    options.accept = Vec::new();
    let client = Client::new(Setup {
        endpoint: Endpoint::iroh(options).await?,
        identity,
        ledger: ledger.clone(),
        host: context.host.clone(),
        dir: home.identity(DEFAULT_IDENTITY)?,
    })?;
    let balance = client.faucet().await;
    context::close(client).await;
    Ok(Some(Made { balance: balance? }))
}

/// Starts this program again in the background and waits until it is ready, or says why it is not.
async fn detach(args: &Args, context: &Context) -> Result<(), Error> {
    let mut line: Vec<OsString> =
        ["up", "--detached", "--json", "-v", "--home"].map(OsString::from).into();
    line.push(context.home.root().into());
    let mut option = |name: &str, value: String| line.extend([name.into(), value.into()]);
    option("--capacity", args.capacity.to_string());
    if let Some(nodes) = args.nodes {
        option("--nodes", nodes.to_string());
    }
    if let Some(validators) = args.validators {
        option("--validators", validators.to_string());
    }
    if let Some(epoch_ms) = args.epoch {
        option("--epoch", format!("{epoch_ms}ms"));
    }
    if let Some(congestion) = context.congestion {
        option("--congestion", congestion.to_string());
    }
    if let Some(listen) = args.listen {
        option("--listen", listen.to_string());
    }
    if args.accept_loss {
        line.push("--accept-loss".into());
    }
    let ready = detached::start(line, &context.home.log(), "the network").await?;
    context.out.report(&detached_report(&ready, context))
}

fn detached_report(ready: &NetworkReady, context: &Context) -> Report {
    let nodes = count(ready.nodes.len(), "storage node");
    let pid = ready.pid.to_string();
    let home = context.home.root().display().to_string();
    let log = context.home.log().display().to_string();
    Report::new(ready)
        .text(format!("A network is running: one ledger and {nodes}."))
        .field("home", home)
        .field("process", pid.clone())
        .field("log", log)
        .text("Store a file with: symbolon put FILE. Stop the network with: symbolon down")
        .essence(pid)
}
