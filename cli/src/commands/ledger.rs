//! `symbolon ledger`: run a ledger, mirror one, or show its state.

mod doctor;
pub(super) mod mirror;

use std::{net::SocketAddr, path::PathBuf};

use symbolon_ledger::{EPOCHS_KEPT, Keeping, LedgerTicket};
use symbolon_protocol::Amount;
use symbolon_view::network::{Books, LedgerFounded, LedgerReady, LedgerStatus, Ready};

use crate::{
    context::{self, Context},
    error::{Error, Kind},
    founding::{self, FOUNDERS_MAX, Founded},
    home,
    interrupt::{Interrupt, Leash},
    metrics::{self, ledger::Machine},
    output::Report,
    serve::{self, LedgerPlan, Moved, Network, Rules, RunningLedger, Serving},
    units::{self, count, percent, show_amount, show_duration, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon ledger run --dir /srv/ledger --listen 0.0.0.0:4150
  symbolon ledger mirror --dir /srv/mirror --ledger ledger1qq...
  symbolon ledger doctor --dir /srv/ledger
  symbolon ledger status")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

impl Args {
    /// Whether the command runs until it is stopped.
    pub(crate) fn runs_on(&self) -> bool {
        matches!(self.verb, Verb::Run(_) | Verb::Mirror(_))
    }
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run a ledger, until Ctrl-C or SIGTERM
    Run(Box<RunArgs>),
    /// Make the folders of a new ledger that several validators order
    Found(Box<FoundArgs>),
    /// Keep a checked copy of a ledger on this machine, and answer for it
    Mirror(mirror::Args),
    /// Check a ledger from its machine, and say what to do
    Doctor(doctor::Args),
    /// Show the state of the ledger, and check that its money adds up
    #[command(after_help = "\
Examples:
  symbolon ledger status
  symbolon ledger status --ledger ledger1qq...")]
    Status,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon ledger run --dir /srv/ledger --listen 0.0.0.0:4150 --announce 203.0.113.7:4150
  symbolon ledger run --dir /tmp/l --epoch 2s --json

Once it answers, it prints its ticket: what nodes and users need to join.
With --json: {\"event\":\"ready\",\"ticket\":\"ledger1...\"} on one line.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    serving: Serving,
    /// Length of an epoch: every node proves once in each. Cannot be changed later [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    epoch: Option<u64>,
    /// Play money that one faucet request gives, 0 for none. Cannot be changed later [default: 1000]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    faucet: Option<Amount>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    moved: Moved,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon ledger found --dir /tmp/four --validators 4
  symbolon ledger found --dir four --reached-at 203.0.113.7:4150 --reached-at 203.0.113.8:4150 \\
      --reached-at 198.51.100.9:4150 --reached-at 198.51.100.10:4150

It makes a folder for each validator: DIR/1, DIR/2 and so on. Each has the validator's key, so give each to its
machine and keep no copy: two machines with one key are a fault that the others can prove. Then, on each:
  symbolon ledger run --dir DIR/NUMBER

The ledger goes on while validators with more than two thirds of the power work: of 4, any one may fail.")]
pub(crate) struct FoundArgs {
    /// Where the folders are made
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How many validators, all on this machine, each on a port that stays the same
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=8), conflicts_with = "reached_at", required_unless_present = "reached_at")]
    validators: Option<u32>,
    /// Where a validator listens and the others reach it; once for each, 2 to 8 times
    #[arg(long, value_name = "ADDRESS", num_args = 1)]
    reached_at: Vec<SocketAddr>,
    /// Length of an epoch: every node proves once in each. Cannot be changed later [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    epoch: Option<u64>,
    /// Play money that one faucet request gives, 0 for none. Cannot be changed later [default: 1000]
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    faucet: Option<Amount>,
    #[command(flatten)]
    rules: Rules,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    match args.verb {
        Verb::Found(args) => found(&args, context).and_then(|report| context.out.report(&report)),
        Verb::Run(args) => serve(*args, context).await,
        Verb::Mirror(args) => mirror::run(args, context).await,
        Verb::Doctor(args) => {
            doctor::run(&args, context).await.and_then(|report| context.out.report(&report))
        }
        Verb::Status => status(context).await.and_then(|report| context.out.report(&report)),
    }
}

async fn serve(args: RunArgs, context: &Context) -> Result<(), Error> {
    let Serving { dir, network, blocks, metrics, leashed } = args.serving;
    let mut interrupt = Interrupt::on(Leash::from(leashed));
    home::make_folder(&dir)?;
    let _lock = home::Home::lock_folder(&dir)?;
    args.moved.note(&dir)?;
    let metrics = metrics::listen(metrics).await?;
    let plan = LedgerPlan {
        dir: dir.clone(),
        network: Network { congestion: context.congestion, ..network },
        epoch_ms: args.epoch,
        faucet: args.faucet,
        epochs_kept: blocks.epochs(),
        joined: None,
        rules: args.rules,
    };
    let mut is_told = false;
    loop {
        let (host, starting) = (context.host.clone(), plan.clone());
        let starting = async move { RunningLedger::start(&starting, &host).await };
        let Some(running) = serve::start(&mut interrupt, starting).await? else { return Ok(()) };
        if !is_told {
            tell(&running, context)?;
            is_told = true;
        }
        // A ledger that still answers but accepts no more transactions would look alive, so the process ends.
        let ends = async {
            let machine = Machine::new(running.ledger.clone(), running.own(), &dir, &context.host);
            let keeping = Keeping { host: context.host.clone(), folder: dir.clone() };
            tokio::select! {
                error = running.failed() => Err(error),
                () = running.was_away(keeping) => Ok(running.others(&running.ticket)),
                never = metrics::answer(metrics.as_ref(), async || machine.page(Some(&running)).await) => never.map(|()| None),
            }
        };
        let ended = interrupt.or(ends).await;
        running.stop().await;
        let Some(others) = ended.transpose()?.flatten() else { return Ok(()) };
        serve::port_given_back(&dir).await;
        if !catch_up(&plan, others, &mut interrupt, context).await? {
            return Ok(());
        }
    }
}

/// Fetches the state of a recent block from the other validators. `false` if the process was told to stop meanwhile.
async fn catch_up(
    plan: &LedgerPlan,
    others: LedgerTicket,
    interrupt: &mut Interrupt,
    context: &Context,
) -> Result<bool, Error> {
    context.out.aside(
        "The other validators do not keep the next block any more: this one fetches the state.",
    );
    let (dir, network) = (plan.dir.clone(), plan.network.clone());
    let mirror = mirror::Plan { dir, network, ticket: others, epochs_kept: plan.epochs_kept };
    let within = context.clone();
    let starting = async move { mirror::Running::start(&mirror, &within).await };
    let Some(running) = serve::start(interrupt, starting).await? else { return Ok(false) };
    running.stop().await;
    serve::port_given_back(&plan.dir).await;
    Ok(true)
}

fn tell(running: &RunningLedger, context: &Context) -> Result<(), Error> {
    let ticket = running.ticket.to_string();
    let chain = running.ticket.chain;
    context.out.say(&format!("Ledger {chain} answers. Its ticket:\n{ticket}"))?;
    if context.out.is_json() {
        context.out.event(&LedgerReady {
            event: Ready::Ready,
            ticket,
            chain: chain.into(),
            epoch_ms: running.params.epoch_ms.0,
        })?;
    }
    context.out.note("Stop it with Ctrl-C; nothing is lost.");
    Ok(())
}

fn found(args: &FoundArgs, context: &Context) -> Result<Report, Error> {
    let count = args.validators.map_or(args.reached_at.len(), |count| count as usize);
    if !(2..=FOUNDERS_MAX).contains(&count) {
        let message = format!("2 to {FOUNDERS_MAX} validators found a ledger, not {count}");
        return Err(Error::usage(message)
            .hint("one alone needs no folders before: symbolon ledger run --dir DIR"));
    }
    let dirs: Vec<_> = (1..=count).map(|number| args.dir.join(number.to_string())).collect();
    if let Some(taken) = dirs.iter().find(|dir| dir.join("ledger.redb").exists()) {
        let message = format!("{} has a ledger already", taken.display());
        return Err(Error::new(Kind::Exists, message).hint("choose another folder with --dir"));
    }
    let plan = LedgerPlan {
        dir: args.dir.clone(),
        network: Network::default(),
        epoch_ms: args.epoch,
        faucet: args.faucet,
        epochs_kept: EPOCHS_KEPT,
        joined: None,
        rules: args.rules.clone(),
    };
    founding::found(&dirs, &args.reached_at, serve::params(&plan), &context.host)?;
    let founded = Founded::read(&dirs[0])?;
    let founded = founded.ok_or_else(|| Error::internal("the founding was not written"))?;
    let ticket = founded.ticket(&founded.addresses[0]);
    let folders: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let shown = LedgerFounded {
        chain: ticket.chain.into(),
        ticket: ticket.to_string(),
        folders: folders.clone(),
    };
    let mut report = Report::new(&shown)
        .text(format!("The ledger {} can begin, with {count} validators.", ticket.chain))
        .field("ticket", shown.ticket.clone());
    for folder in folders {
        report = report.text(format!("  symbolon ledger run --dir {folder}"));
    }
    Ok(report.essence(ticket.to_string()))
}

async fn status(context: &Context) -> Result<Report, Error> {
    let (ledger, endpoint) = context.ledger().await?;
    let chain = context::chain(&ledger).await?;
    let books = context::books(&ledger).await?;
    context::hang_up(endpoint).await;
    let params = &chain.params;
    let sound = books.sum() == Some(books.issued);
    let money = Books {
        accounts: books.accounts.into(),
        holds: books.holds.into(),
        storage: books.storage.into(),
        due: books.due.into(),
        repair: books.repair.into(),
        treasury: books.treasury.into(),
        deposits: books.deposits.into(),
        collateral: books.collateral.into(),
        stake: books.stake.into(),
        unbonding: books.unbonding.into(),
        rewards: books.rewards.into(),
        issued: books.issued.into(),
        adds_up: sound,
    };
    let adds_up = if sound { "adds up" } else { "DOES NOT ADD UP" };
    let fees = [params.fee_base, params.fee_byte, params.fee_check];
    let fees = match fees.iter().all(|fee| *fee == Amount::ZERO) {
        true => String::from("none"),
        false => format!(
            "{}, and {} a byte and {} a signature; proofs, releases and acknowledgements pay {} of this",
            show_amount(params.fee_base),
            show_amount(params.fee_byte),
            show_amount(params.fee_check),
            percent(params.duty_fee_bp)
        ),
    };
    let deposit = match params.deposit {
        Amount::ZERO => String::from("none"),
        unit => format!("{} for each half KiB that stays on the ledger", show_amount(unit)),
    };
    Ok(Report::new(&LedgerStatus::new(&chain, money))
        .field("ledger", chain.id.to_string())
        .field("height", format!("block {} of {}", chain.height, show_time(chain.time_ms)))
        .field("epoch", format!("{}, each {}", chain.epoch, show_duration(params.epoch_ms.0)))
        .field("fees", fees)
        .field("deposit", deposit)
        .field(
            "in accounts",
            format!("{} in {}", show_amount(books.accounts), count(books.account_count, "account")),
        )
        .field("in escrow", show_amount(books.holds).to_string())
        .field("for proofs", for_proofs(&books))
        .field("for repair", show_amount(books.repair).to_string())
        .field("treasury", show_amount(books.treasury).to_string())
        .field("deposits", show_amount(books.deposits).to_string())
        .field("collateral", show_amount(books.collateral).to_string())
        .field("stake", stake(&books))
        .field("issued", format!("{}; it {adds_up}", show_amount(books.issued))))
}

fn stake(books: &context::Books) -> String {
    format!(
        "{} of validators; {} of it taken back, and {} of fees for them",
        show_amount(Amount(books.stake.0.saturating_add(books.unbonding.0))),
        show_amount(books.unbonding),
        show_amount(books.rewards)
    )
}

fn for_proofs(books: &context::Books) -> String {
    let all = show_amount(books.storage);
    match books.due {
        Amount::ZERO => all.to_string(),
        due => format!("{all}, {} of them for windows that are open now", show_amount(due)),
    }
}
