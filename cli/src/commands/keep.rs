//! `symbolon keep`: keep what is stored while it runs. `symbolon up` does the same for its own identities.

use std::{
    collections::BTreeMap, convert::Infallible, ffi::OsString, path::PathBuf, time::Duration,
};

use symbolon_client::{Client, KeepOptions, KeepReport, Progress, Renewing, Stored};
use symbolon_protocol::{Amount, Millis, ledger::rows::Chain};
use symbolon_view::keep::{KeepStopped, Kept};
use tracing::{debug, info, warn};

use super::{care, vault};
use crate::{
    context::{self, Consent, Context},
    detached,
    error::{Error, Kind},
    home::{Home, RunLock},
    interrupt::Interrupt,
    keys,
    names::{self, Pay},
    output::Report,
    progress,
    units::{self, Term, count, show_amount, show_duration},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon keep                      look now and again, until Ctrl-C stops it
  symbolon keep --detach             the same in the background; stop it with: symbolon keep --stop
  symbolon keep --once               look once: for a timer such as cron
  symbolon keep --for 1y --max-cost 20

Lost shards are computed from the others and given to other nodes. Where nodes ask for more than they are paid, others are
asked. When the network has grown, files are spread over more nodes, unless put --scheme chose their number. Names that were stored or renewed with --auto are
paid for longer when half of their term is over, up to the limit that was agreed for 30 days. With --for, everything is.
Nodes go on proving what they have in between: it is enough to run this from time to time. While symbolon up runs, it
does the same for the identities of its home that have no passphrase.")]
pub(crate) struct Args {
    /// Keep everything that is stored for so long, not only what is marked with --auto: 30d, 1y, 100epochs
    #[arg(long = "for", value_name = "TERM", value_parser = units::term)]
    term: Option<Term>,
    /// Do not pay more than this in total while it runs
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Look once, and end
    #[arg(long, conflicts_with_all = ["detach", "stop"])]
    once: bool,
    /// Run in the background, after the first look; the log is run/log in the identity's folder
    #[arg(long, conflicts_with = "stop")]
    detach: bool,
    /// Stop the one in the background
    #[arg(long, conflicts_with_all = ["term", "max_cost"])]
    stop: bool,
    /// Do not ask before paying
    #[arg(long, short)]
    yes: bool,
    /// Says that this process is the one in the background
    #[arg(long, hide = true)]
    detached: bool,
}

impl Args {
    /// Whether it runs until it is stopped.
    pub(crate) const fn runs_on(&self) -> bool {
        !self.once && !self.detach && !self.stop
    }
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<(), Error> {
    let folder = context.home.identity(&context.name()?)?;
    if args.stop {
        return stop(folder, context).await;
    }
    if args.detach {
        return detach(args, folder, context).await;
    }
    #[cfg(unix)]
    if args.detached {
        detached::leave_terminal()?;
    }
    let client = context.client_synced().await?;
    let chain = client.recent_chain().await?;
    let options = options(args, context, &chain)?;
    let lock = (!args.once).then(|| lock(folder)).transpose()?;
    let kept = look_on(args, context, (&client, &chain), options).await;
    context::close(client).await;
    drop(lock);
    kept
}

/// What is kept; asks before all of it is.
fn options(args: &Args, context: &Context, chain: &Chain) -> Result<KeepOptions, Error> {
    let Some(term) = args.term else {
        return Ok(KeepOptions { renewing: Renewing::Agreed, cost_max: args.max_cost });
    };
    let epoch_ms = chain.params.epoch_ms;
    let (epochs, _) = units::epochs(Some(term), epoch_ms);
    let lasts = show_duration(epochs.saturating_mul(epoch_ms.0));
    let question = match args.max_cost {
        Some(most) => format!("Keep everything for {lasts}, for at most {}?", show_amount(most)),
        None => format!("Keep everything for {lasts}, whatever it costs?"),
    };
    context.consent(chain, &question, Consent::from(args.yes, args.max_cost))?;
    // Half of the term: what is renewed now is left alone for as long.
    let renewing = Renewing::All { least: epochs.div_ceil(2), epochs };
    Ok(KeepOptions { renewing, cost_max: args.max_cost })
}

async fn look_on(
    args: &Args,
    context: &Context,
    (client, chain): (&Client, &Chain),
    mut options: KeepOptions,
) -> Result<(), Error> {
    let mut interrupt = Interrupt::listen();
    let pause = pause(chain.params.epoch_ms, SHORTEST_MS);
    let mut first = true;
    loop {
        let Some(looked) = interrupt.or(look(client, &options, context)).await else {
            return Ok(());
        };
        match looked {
            Ok(report) => {
                let left = |limit: Amount| limit.checked_sub(report.cost).unwrap_or(Amount::ZERO);
                options.cost_max = options.cost_max.map(left);
                let pid = args.detached.then(std::process::id);
                if first {
                    let document = Kept::new(&report, pid);
                    context.out.report(&Report::new(&document).text(words(&report)))?;
                } else if is_news(&report) {
                    context.out.note(&words(&report));
                    info!("{}", words(&report));
                }
                first = false;
            }
            Err(error) if first || args.once => return Err(error),
            // The network may be away for a while.
            Err(error) => {
                context.out.warn(&error.message);
                warn!("{}", error.message);
            }
        }
        if args.once || interrupt.or(tokio::time::sleep(pause)).await.is_none() {
            return Ok(());
        }
    }
}

async fn look(
    client: &Client,
    options: &KeepOptions,
    context: &Context,
) -> Result<KeepReport, Error> {
    let bar = progress::bar(&context.out, "keeping");
    let kept = client.keep(options, &bar.progress()).await;
    bar.finish();
    let mut report = kept?;
    let left = options.cost_max.map(|most| most.checked_sub(report.cost).unwrap_or(Amount::ZERO));
    let cared = match options.renewing {
        Renewing::Agreed => care::name_as_agreed(client, left, context).await,
        Renewing::All { .. } => care::name_caretakers(client, Stored::All, left, context).await,
    };
    report.cost = report.cost.checked_add(cared).unwrap_or(report.cost);
    if let Some(words) = lost_custodians(client).await {
        context.out.note(&words);
    }
    names::publish(client, Pay::Ask, &context.out).await;
    Ok(report)
}

/// What is to be said of lost custodians. What is stored is kept all the same, so a failure says nothing.
async fn lost_custodians(client: &Client) -> Option<String> {
    let (lost, total) = client.lost_custodians().await.ok()??;
    vault::lost_words(lost, total)
}

/// Makes this process the one that keeps an identity's files.
fn lock(folder: PathBuf) -> Result<RunLock, Error> {
    let home = Home::at(folder);
    match home.running() {
        None => Home::lock_folder(home.root()),
        Some(pid) => {
            let message = format!("process {pid} keeps the files of this identity already");
            Err(Error::new(Kind::InUse, message).hint("stop it with: symbolon keep --stop"))
        }
    }
}

async fn stop(folder: PathBuf, context: &Context) -> Result<(), Error> {
    let home = Home::at(folder);
    let Some(pid) = home.running() else {
        return Err(Error::new(Kind::NotFound, "no process keeps the files of this identity")
            .hint("start one with: symbolon keep --detach"));
    };
    let forced = detached::stop(pid, || home.running().is_some(), &context.out).await?;
    let text = format!("Process {pid} has stopped. Nothing is renewed or repaired from here now.");
    context.out.report(&Report::new(&KeepStopped { pid, forced }).text(text))
}

async fn detach(args: &Args, folder: PathBuf, context: &Context) -> Result<(), Error> {
    let client = context.client().await?;
    let chain = client.recent_chain().await?;
    // The question is asked here: the other process has no terminal.
    options(args, context, &chain)?;
    context::close(client).await;
    let mut line: Vec<OsString> =
        ["keep", "--detached", "--yes", "--json", "-v", "--home"].map(OsString::from).into();
    line.push(context.home.root().into());
    let mut option = |name: &str, value: String| line.extend([name.into(), value.into()]);
    option("--as", context.name()?);
    if let Some(ticket) = context.named_ticket()? {
        option("--ledger", ticket.to_string());
    }
    if let Some(term) = args.term {
        option("--for", format!("{}epochs", term.epochs(chain.params.epoch_ms)));
    }
    if let Some(most) = args.max_cost {
        option("--max-cost", most.to_string());
    }
    if let Some(congestion) = context.congestion {
        option("--congestion", congestion.to_string());
    }
    let log = Home::at(folder).log();
    let kept: Kept = detached::start(line, &log, "the first look").await?;
    let report = Report::new(&kept).text("Files are kept in the background now.");
    let report = match kept.pid {
        Some(pid) => report.field("process", pid.to_string()).essence(pid.to_string()),
        None => report,
    };
    let report = report.field("log", log.display().to_string());
    context.out.report(&report.text("Stop it with: symbolon keep --stop"))
}

/// Keeps what was agreed for the identities of this home that need no passphrase, as long as it is polled.
pub(crate) async fn agreed(context: &Context) -> Infallible {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let options = KeepOptions { renewing: Renewing::Agreed, cost_max: None };
    let mut wait = Duration::from_millis(SHORTEST_UP_MS);
    loop {
        tokio::time::sleep(wait).await;
        for name in context.home.identities().unwrap_or_default() {
            if !clients.contains_key(&name) {
                match client_of(context, &name).await {
                    Ok(Some(client)) => drop(clients.insert(name.clone(), client)),
                    Ok(None) => {}
                    Err(error) => warn!(identity = name, "cannot be kept: {}", error.message),
                }
            }
            let Some(client) = clients.get(&name) else { continue };
            match Box::pin(look_quietly(client, &options)).await {
                Ok((report, epoch_ms)) => {
                    wait = pause(epoch_ms, SHORTEST_UP_MS);
                    if is_news(&report) {
                        info!(identity = name, "{}", words(&report));
                    }
                }
                Err(error) => warn!(identity = name, "cannot be kept: {}", error.message),
            }
        }
    }
}

/// A client of an identity that is not sealed and has stored something, or will.
async fn client_of(context: &Context, name: &str) -> Result<Option<Client>, Error> {
    let own = context.of(&context.home, name);
    match keys::open_unsealed(&context.home, name)? {
        Some(identity) => own.client_reaching(identity).await.map(Some),
        None => Ok(None),
    }
}

async fn look_quietly(
    client: &Client,
    options: &KeepOptions,
) -> Result<(KeepReport, Millis), Error> {
    let epoch_ms = client.recent_chain().await?.params.epoch_ms;
    let mut report = client.keep(options, &Progress::silent()).await?;
    if let Some(words) = lost_custodians(client).await {
        warn!("{words}");
    }
    // Caretakers go on when this process does not.
    match Box::pin(client.care_agreed(None, &Progress::silent())).await {
        Ok(cared) => {
            report.cost = report.cost.checked_add(cared.cost).unwrap_or(report.cost);
            if let Some(words) = care::news(&cared) {
                info!("{words}");
            }
        }
        Err(error) => debug!(%error, "no caretakers can be named"),
    }
    Ok((report, epoch_ms))
}

/// Half an epoch, within bounds.
fn pause(epoch_ms: Millis, shortest_ms: u64) -> Duration {
    Duration::from_millis((epoch_ms.0 / 2).clamp(shortest_ms, LONGEST_MS))
}

/// Whether a look did something, or found something that the user should know of.
fn is_news(report: &KeepReport) -> bool {
    0 < report.renewed
        + report.unpaid
        + report.repaired
        + report.lost
        + report.over
        + report.moved
        + report.widened
}

/// What was found and done, in one line.
fn words(report: &KeepReport) -> String {
    let mut words = format!("{}: ", count(report.objects, "object"));
    let mut parts = Vec::new();
    if report.renewed > 0 {
        parts.push(format!("{} renewed", report.renewed));
    }
    if report.repaired > 0 {
        parts.push(format!("{} repaired", count(report.repaired, "shard")));
    }
    if report.moved > 0 {
        parts.push(format!("{} on new terms", count(report.moved, "shard")));
    }
    if report.widened > 0 {
        parts.push(format!("{} spread over more nodes", report.widened));
    }
    if report.unpaid > 0 {
        let (number, rest) = (report.unpaid, show_amount(report.rest));
        parts.push(format!("{number} beyond the limit: {rest} more would renew them"));
    }
    if report.lost > 0 {
        let why = report.fault.as_deref().unwrap_or("unknown");
        parts.push(format!("{} not repaired ({why})", count(report.lost, "lost shard")));
    }
    if report.limited > 0 {
        parts.push(format!("{} end soon, as nodes agree to no more", report.limited));
    }
    if report.narrow > 0 {
        parts.push(format!("{} could be spread over more nodes", report.narrow));
    }
    if report.over > 0 {
        parts.push(format!("{} over: put them again", report.over));
    }
    match parts.as_slice() {
        [] => words.push_str("all is well"),
        parts => words.push_str(&parts.join(", ")),
    }
    if report.cost > Amount::ZERO {
        words.push_str(&format!("; paid {}", show_amount(report.cost)));
    }
    words + "."
}

/// The shortest pause between two looks, in milliseconds.
const SHORTEST_MS: u64 = 2_000;
/// The shortest one of `symbolon up`, which serves others meanwhile.
const SHORTEST_UP_MS: u64 = 5_000;
/// The longest one.
const LONGEST_MS: u64 = 3_600_000;
