//! `symbolon ledger mirror`: the whole state of a ledger on this machine, checked block by block, until it is stopped.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use symbolon_ledger::{Joined, Keeping, LedgerError, LedgerTicket, Mirror, Mirrored, Remote};
use symbolon_net::{Endpoint, Host, PeerAddress};
use symbolon_protocol::id::AccountId;
use symbolon_view::network::{MirrorReady, Ready};
use tokio::task::JoinHandle;

use crate::{
    context::Context,
    error::{Error, Kind},
    home,
    interrupt::{Interrupt, Leash},
    metrics::{self, ledger::Machine},
    output::Output,
    serve::{self, Network, Serving},
    units::{count, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon ledger mirror --ledger ledger1qq... --dir /srv/mirror
  symbolon ledger mirror --ledger @ticket.txt --dir /srv/mirror \\
      --listen 0.0.0.0:4151 --announce 203.0.113.8:4151 --keep-blocks all

It fetches the state of a recent block, with a proof for every row, and then every block after it. It
executes each block by itself, and stores it only if the result is what the validators signed: else it
says so and ends with code 8. Stopped at any moment, it goes on with what it has. While the ledger does
not answer, it waits, and still answers from the last block that it has.

Once it has the state, it prints a ticket of its own: those who use it ask this machine instead of the
ledger. What they submit is passed on to the ledger.
With --json: {\"event\":\"ready\",\"ticket\":\"ledger1...\"} on one line; what happens meanwhile goes to stderr.")]
pub(super) struct Args {
    #[command(flatten)]
    serving: Serving,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    let ticket = context.ticket()?;
    let Serving { dir, mut network, blocks, metrics, leashed } = args.serving;
    let mut interrupt = Interrupt::on(Leash::from(leashed));
    home::make_folder(&dir)?;
    let _lock = home::Home::lock_folder(&dir)?;
    let metrics = metrics::listen(metrics).await?;
    network.relay.extend(ticket.relays());
    network.congestion = context.congestion;
    let plan = Plan { dir, network, ticket, epochs_kept: blocks.epochs() };
    let mut is_told = false;
    loop {
        let (starting, own) = (plan.clone(), context.clone());
        let starting = async move { Running::start(&starting, &own).await };
        let Some(running) = serve::start(&mut interrupt, starting).await? else { return Ok(()) };
        if !is_told {
            running.tell(context)?;
            is_told = true;
        }
        let ends = async {
            let machine = running.machine(&plan.dir, &context.host);
            tokio::select! {
                error = running.mirror.failed() => Ok(error),
                never = metrics::answer(metrics.as_ref(), async || machine.page(None).await) => never.map(|()| LedgerError::Closed),
            }
        };
        let failed = interrupt.or(ends).await;
        running.stop().await;
        match failed.transpose()? {
            None => return Ok(()),
            // It was away for so long that its next block is gone: the next start sees that.
            Some(LedgerError::Pruned { .. }) => {}
            Some(error) => return Err(in_words(error)),
        }
    }
}

/// A mirror to be started.
#[derive(Clone)]
pub(in crate::commands) struct Plan {
    pub(in crate::commands) dir: PathBuf,
    pub(in crate::commands) network: Network,
    pub(in crate::commands) ticket: LedgerTicket,
    pub(in crate::commands) epochs_kept: u64,
}

/// A mirror that answers others.
pub(in crate::commands) struct Running {
    pub(in crate::commands) mirror: Mirror,
    ticket: LedgerTicket,
    epoch_ms: u64,
    height: u64,
    endpoint: Endpoint,
    server: JoinHandle<()>,
}

impl Running {
    pub(in crate::commands) async fn start(plan: &Plan, context: &Context) -> Result<Self, Error> {
        let host = &context.host;
        let endpoint = serve::mirror_endpoint(&plan.dir, &plan.network, host).await?;
        let keeping = Keeping { host: host.clone(), folder: plan.dir.clone() };
        let remote = Remote::keeping(endpoint.clone(), plan.ticket.clone(), keeping);
        let (out, said) = (context.out.clone(), AtomicU64::new(0));
        let told = move |happened| match happened {
            Mirrored::Joins(Joined::Has { rows }) => {
                // A line for each few seconds, also for a state that takes an hour.
                let steps = rows / ROWS_SAID;
                if said.swap(steps, Ordering::Relaxed) < steps {
                    out.aside(&format!("{} are there.", count(rows, "row")));
                }
            }
            happened => tell(&out, &happened),
        };
        let mirror = Mirror::open(&plan.dir, remote, host.clone(), plan.epochs_kept, told);
        let mirror = mirror.await.map_err(in_words)?;
        let ticket = LedgerTicket { peers: vec![endpoint.address()], ..plan.ticket.clone() };
        let server = tokio::spawn(symbolon_ledger::answer(mirror.clone(), endpoint.clone()));
        let chain = mirror.chain_row().await?;
        let (epoch_ms, height) = (chain.params.epoch_ms.0, chain.height);
        Ok(Self { mirror, ticket, epoch_ms, height, endpoint, server })
    }

    fn tell(&self, context: &Context) -> Result<(), Error> {
        let (ticket, chain) = (self.ticket.to_string(), self.ticket.chain);
        let height = self.height;
        context.out.say(&format!(
            "This machine has ledger {chain} up to block {height}, and answers. Its ticket:\n{ticket}"
        ))?;
        if context.out.is_json() {
            context.out.event(&MirrorReady {
                event: Ready::Ready,
                ticket,
                chain: chain.into(),
                epoch_ms: self.epoch_ms,
                height,
            })?;
        }
        context.out.note("Stop it with Ctrl-C; it goes on where it was.");
        Ok(())
    }

    /// What its figures are about.
    pub(in crate::commands) fn machine(&self, dir: &Path, host: &Host) -> Machine {
        let own = AccountId::from(self.endpoint.id());
        Machine::new(self.mirror.ledger(), own, dir, host)
    }

    /// Where others reach it.
    pub(in crate::commands) fn address(&self) -> PeerAddress {
        self.endpoint.address()
    }

    pub(in crate::commands) async fn stop(self) {
        self.endpoint.close().await;
        self.server.abort();
        // The task holds a clone of the mirror until it has ended.
        self.server.await.ok();
    }
}

/// Tells a person or a program what happens to a mirror.
fn tell(out: &Output, happened: &Mirrored) {
    match happened {
        Mirrored::Joins(Joined::Fetches { height, time_ms, rows: 0 }) => {
            let time = show_time(*time_ms);
            out.aside(&format!("Fetching the state of block {height} of {time}."));
        }
        Mirrored::Joins(Joined::Fetches { height, rows, .. }) => {
            let rows = count(*rows, "row");
            out.aside(&format!("Going on with the state of block {height}: {rows} are there."));
        }
        Mirrored::Joins(Joined::GivesUp { server, error }) => {
            out.aside(&format!("Server {server} is not asked any more: {error}."));
        }
        Mirrored::Joins(Joined::BeginsAnew) => {
            out.aside("No server keeps that state any more: beginning with a newer one.");
        }
        Mirrored::WasAway { height } => out.aside(&format!(
            "The ledger no longer has the blocks after {height}, where this mirror was: fetching a newer state."
        )),
        Mirrored::Waits { error } => out.aside(&format!("Waiting for the ledger: {error}.")),
        Mirrored::GoesOn { height } => {
            out.aside(&format!("The ledger answers again; it is at block {height}."));
        }
        _ => {}
    }
}

/// After how many rows a line says how far it is.
const ROWS_SAID: u64 = 500_000;

pub(in crate::commands) fn in_words(error: LedgerError) -> Error {
    let message = error.to_string();
    match error {
        LedgerError::Forged { .. } => Error::new(Kind::Corrupt, message).hint(
            "ask who runs the ledger; started again, the mirror goes on from its last good block",
        ),
        LedgerError::OtherLedger { .. } => Error::new(Kind::Exists, message)
            .hint("every mirror needs a folder of its own: choose another with --dir"),
        LedgerError::Disk(_) => Error::new(Kind::Io, message)
            .hint("make room, then start it again: it goes on with what it has"),
        error => error.into(),
    }
}
