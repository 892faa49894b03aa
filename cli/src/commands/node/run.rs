//! `symbolon node run`: a storage node, until it is stopped.

use std::path::PathBuf;

use symbolon_protocol::Amount;
use symbolon_view::network::{NodeReady, Ready};

use crate::{
    alerts,
    context::Context,
    error::Error,
    grants,
    health::Noted,
    home::{self, Home},
    interrupt::{Interrupt, Leash},
    metrics,
    serve::{self, Network, NodePlan, RunningNode, Unpaid},
    units::{self, Price, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node run --ledger ledger1qq... --capacity 100GiB --dir /srv/node
  symbolon node run --ledger @ticket.txt --capacity 2TiB --dir /srv/node \\
      --listen 0.0.0.0:4160 --announce 203.0.113.7:4160 --price 1.5 --payout recipient1qq...

In a folder that is there already and has no node, the first start needs --new.
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
    /// The account of who runs the node, where several nodes of one operator have accounts of their own for their pay: owners
    /// give the shards of a file to different operators
    #[arg(long, value_name = "WHO")]
    operator: Option<String>,
    /// How long an owner has to pay for a shard after uploading it
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::duration)]
    pay_within: u64,
    /// How long an unpaid shard is kept after that, before it is deleted
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = units::duration)]
    grace: u64,
    /// For how long the node agrees to its price: until then owners may pay for longer terms
    #[arg(long, value_name = "TIME", default_value = "1y", value_parser = units::duration)]
    agree_for: u64,
    /// After what time a shard that was found damaged is declared lost, if it is not whole again
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::duration)]
    declare_after: u64,
    /// Bytes of the disk that stay free for other programs: with less free, the node takes no new shard
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = units::size)]
    reserve: u64,
    /// Rebuild lost shards of owners that name this node, for the fee that they offer
    #[arg(long)]
    caretaker: bool,
    /// The least fee for a rebuilt shard: the node leaves repairs to others whose owners pay less
    #[arg(long, value_name = "CREDITS", default_value = "0", value_parser = units::amount)]
    repair_fee_min: Amount,
    /// A program that is run for every alert, with the alert as JSON on its stdin; no shell is involved
    #[arg(long, value_name = "PROGRAM")]
    alert_command: Option<PathBuf>,
    /// Serve figures for Prometheus over HTTP, on this machine only
    #[arg(long, value_name = "ADDRESS", value_parser = metrics::address)]
    metrics: Option<std::net::SocketAddr>,
    /// Begin a new node in a folder that is there already and has no node: without this, an empty folder counts as a
    /// disk that is not mounted
    #[arg(long)]
    new: bool,
    /// Start even though the store, or a part of it, is gone: those shards are lost for good
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    network: Network,
    /// Stop when stdin ends, that is when the process that started this one ends
    #[arg(long, hide = true)]
    leashed: bool,
}

pub(crate) async fn run(args: RunArgs, context: &Context) -> Result<(), Error> {
    let payout = args.payout.as_deref().map(|who| grants::account(who, &context.home));
    let payout = payout.transpose()?;
    let operator = args.operator.as_deref().map(|who| grants::account(who, &context.home));
    let operator = operator.transpose()?;
    let ticket = context.ticket()?;
    let mut interrupt = Interrupt::on(Leash::from(args.leashed));
    serve::check_folder(&args.dir, args.new)?;
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
        operator,
        unpaid: Some(Unpaid { acceptance_ms: args.pay_within, grace_ms: args.grace }),
        agreed_ms: args.agree_for,
        declare_after_ms: Some(args.declare_after),
        reserve: Some(args.reserve),
        caretaker: args.caretaker,
        repair_fee_min: args.repair_fee_min,
        accept_loss: args.accept_loss,
    };
    let (starting, host) = (plan.clone(), context.host.clone());
    let starting = async move {
        let (secret, endpoint) = serve::node_endpoint(&starting, &host).await?;
        let ledger = Context::reach(&ticket, &endpoint, &starting.dir, &host);
        RunningNode::start(&starting, secret, endpoint, &ledger, &host).await
    };
    let Some(running) = serve::start(&mut interrupt, starting).await? else { return Ok(()) };
    let metrics = metrics::listen(args.metrics).await?;
    let runs = async {
        running.registered().await;
        ready(&running, &plan, context)?;
        std::future::pending::<Result<(), Error>>().await
    };
    let noted = Noted::new(&plan, &context.host);
    let ends = async {
        tokio::select! {
            failure = running.node.failed() => Err(failure.into()),
            () = retires(&running, &noted, context) => Ok(()),
            ended = runs => ended,
            never = noted.keep(&running) => never,
            never = alerts::pass_on(&running, args.alert_command.as_deref(), &context.host) => never,
            never = metrics::answer(metrics.as_ref(), async || metrics::node::page(&running, &plan).await) => never,
        }
    };
    let told = interrupt.or(ends).await.unwrap_or(Ok(()));
    running.stop().await;
    told
}

/// Ends when the node has retired, and has noted that.
async fn retires(running: &RunningNode, noted: &Noted, context: &Context) {
    running.node.retired().await;
    noted.once(running).await;
    context.out.note("The node has retired, and has back what was its own.");
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
