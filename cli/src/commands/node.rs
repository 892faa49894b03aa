//! `symbolon node`: run a storage node, or show the nodes of the network.

use std::path::PathBuf;

use symbolon_view::network::{Node, NodeReady, Nodes, Ready};

use crate::{
    context::{self, Context},
    error::Error,
    grants,
    home::{self, Home},
    interrupt::{Interrupt, Leash},
    nodes,
    output::{Align, Report, Table},
    serve::{self, Network, NodePlan, RunningNode, Unpaid},
    units::{self, Price, count, show_amount, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node run --ledger ledger1qq... --capacity 100GiB --dir /srv/node
  symbolon node status")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

impl Args {
    /// Whether the command runs until it is stopped.
    pub(crate) fn runs_on(&self) -> bool {
        matches!(self.verb, Verb::Run(_))
    }
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run a storage node, until Ctrl-C or SIGTERM
    Run(RunArgs),
    /// Show every node: space, price, proofs, and whether it answers
    #[command(after_help = "\
Examples:
  symbolon node status
  symbolon node status 3f2a              only nodes whose digits begin so")]
    Status {
        /// Only nodes whose id begins with these digits
        node: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node run --ledger ledger1qq... --capacity 100GiB --dir /srv/node
  symbolon node run --ledger @ticket.txt --capacity 2TiB --dir /srv/node \\
      --listen 0.0.0.0:4160 --announce 203.0.113.7:4160 --price 1.5 --payout recipient1qq...

Once the ledger knows the node, it prints the node's identity.
With --json: {\"event\":\"ready\",\"node\":\"...\"} on one line.")]
pub(crate) struct RunArgs {
    /// The folder of the node; it is created if it does not exist. Every node needs its own
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The most bytes that the node stores for others
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    capacity: u64,
    /// The price in credits per GiB and month; or per GiB and epoch: 0.001/epoch
    #[arg(long, value_name = "PRICE", default_value = "1", value_parser = units::price)]
    price: Price,
    /// The account that is paid: its digits, recipient1..., @FILE, or an identity in this home
    /// [default: the node's own key]
    #[arg(long, value_name = "WHO")]
    payout: Option<String>,
    /// How long an owner has to pay for a shard after uploading it
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::duration)]
    pay_within: u64,
    /// How long an unpaid shard is kept after that, before it is deleted
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = units::duration)]
    grace: u64,
    /// Start even though the store, or a part of it, is gone: those shards are lost for good
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    network: Network,
    /// Stop when stdin ends, that is when the process that started this one ends
    #[arg(long, hide = true)]
    leashed: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    match args.verb {
        Verb::Run(args) => run_node(args, context).await,
        Verb::Status { node } => {
            context.out.report(&status(node.as_deref().unwrap_or(""), context).await?)
        }
    }
}

async fn run_node(args: RunArgs, context: &Context) -> Result<(), Error> {
    let payout = args.payout.as_deref().map(|who| grants::account(who, &context.home));
    let payout = payout.transpose()?;
    let ticket = context.ticket()?;
    let mut interrupt = Interrupt::on(Leash::from(args.leashed));
    home::make_folder(&args.dir)?;
    let _lock = Home::lock_folder(&args.dir)?;
    let mut network = args.network;
    network.relay.extend(ticket.relays());
    network.congestion = context.congestion;
    let plan = NodePlan {
        dir: args.dir,
        network,
        capacity: args.capacity,
        price: args.price,
        payout,
        unpaid: Some(Unpaid { acceptance_ms: args.pay_within, grace_ms: args.grace }),
        accept_loss: args.accept_loss,
    };
    let (starting, host) = (plan.clone(), context.host.clone());
    let starting = async move {
        let (secret, endpoint) = serve::node_endpoint(&starting, &host).await?;
        let ledger = Context::reach(&ticket, &endpoint, &starting.dir, &host);
        RunningNode::start(&starting, secret, endpoint, &ledger, &host).await
    };
    let Some(running) = serve::start(&mut interrupt, starting).await? else { return Ok(()) };
    let runs = async {
        running.registered().await;
        ready(&running, &plan, context)?;
        std::future::pending::<Result<(), Error>>().await
    };
    let ends = async {
        tokio::select! {
            failure = running.node.failed() => Err(failure.into()),
            ended = runs => ended,
        }
    };
    let told = interrupt.or(ends).await.unwrap_or(Ok(()));
    running.stop().await;
    told
}

fn ready(running: &RunningNode, plan: &NodePlan, context: &Context) -> Result<(), Error> {
    let id = running.id();
    let addresses = running.endpoint.address().addresses;
    let capacity = show_size(plan.capacity);
    context.out.say(&format!("Node {id} keeps up to {capacity}, at {}.", addresses.join(", ")))?;
    if context.out.is_json() {
        context.out.event(&NodeReady {
            event: Ready::Ready,
            node: id.into(),
            addresses,
            capacity: plan.capacity,
        })?;
    }
    if plan.payout.is_none() {
        context
            .out
            .note("The node earns for its own key, which is in its folder. Choose another account with --payout.");
    }
    context.out.note("Stop it with Ctrl-C; a node earns nothing while it is offline.");
    Ok(())
}

async fn status(prefix: &str, context: &Context) -> Result<Report, Error> {
    let (ledger, endpoint) = context.ledger().await?;
    let chain = context::chain(&ledger).await?;
    let all = nodes::all(&ledger).await?;
    let wanted: Vec<_> =
        all.into_iter().filter(|(id, _)| id.to_string().starts_with(prefix)).collect();
    let answers = nodes::call(&wanted, &endpoint).await;
    context::hang_up(endpoint).await;
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("ANSWERS", Align::Left),
        ("USED", Align::Right),
        ("OF", Align::Right),
        ("SHARDS", Align::Right),
        ("PROVEN", Align::Right),
        ("MISSED", Align::Right),
        ("LAST PROOF", Align::Left),
        ("EARNS PER EPOCH", Align::Right),
        ("ADDRESS", Align::Left),
    ]);
    let mut list = Vec::new();
    for ((id, row), answer) in wanted.iter().zip(&answers) {
        table.row(vec![
            id.to_string()[..16].to_owned(),
            if *answer { "yes".into() } else { "no".into() },
            show_size(row.used),
            show_size(row.capacity),
            row.slots.to_string(),
            row.passed.to_string(),
            row.missed.to_string(),
            row.passed_epoch.map_or_else(|| "none yet".into(), |epoch| format!("epoch {epoch}")),
            row.rate.to_string(),
            row.addresses.first().cloned().unwrap_or_default(),
        ]);
        list.push(Node::new(id, row, *answer));
    }
    let up = answers.iter().filter(|answer| **answer).count();
    let price = wanted.iter().map(|(_, row)| row.price).min().unwrap_or_default();
    let document = Nodes { epoch: chain.epoch, nodes: list };
    let total = count(wanted.len(), "node");
    Ok(Report::new(&document).table(table).text(format!(
        "{total}, {up} answering; epoch {}; from {} per GiB and epoch.",
        chain.epoch,
        show_amount(price)
    )))
}
