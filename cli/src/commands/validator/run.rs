//! `symbolon validator run`: a mirror of the ledger that votes while the ledger says that it is a validator.

use std::{path::PathBuf, time::Duration};

use symbolon_ledger::{Keeping, Ledger, LedgerError, LedgerTicket, sign_after};
use symbolon_protocol::{id::AccountId, ledger::rows::Chain};
use symbolon_view::{
    network::Ready,
    validators::{ValidatorReady, Votes},
};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    commands::ledger::mirror,
    context::{self, Context},
    error::Error,
    home,
    interrupt::{Interrupt, Leash},
    metrics::{self, ledger::Machine},
    serve::{self, LedgerPlan, Moved, Network, Rules, RunningLedger, Serving},
    stamp,
    units::show_time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator run --ledger ledger1qq... --dir /srv/validator --listen 0.0.0.0:4150 --announce 203.0.113.7:4150

It fetches the ledger's state with proofs, then follows it and executes every block, as a mirror does. Once the
validator has staked (symbolon validator join) and the ledger has chosen it, it votes. When it has left, or is jailed, it
follows again. It may be killed at any moment: what it has signed is on its disk before anyone hears it.

The files key, salt and validator.redb in the folder are this validator. Two machines with them sign against each
other, and the validator loses a part of its stake and its place for ever. A copy of the folder, such as one from a backup,
does not know what was signed since: it follows, and votes only once the ledger has made a block that is newer than its start.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    serving: Serving,
    #[command(flatten)]
    moved: Moved,
}

pub(super) async fn run(args: RunArgs, context: &Context) -> Result<(), Error> {
    let ticket = context.ticket()?;
    let Serving { dir, mut network, blocks, metrics, leashed } = args.serving;
    let mut interrupt = Interrupt::on(Leash::from(leashed));
    home::make_folder(&dir)?;
    let _lock = home::Home::lock_folder(&dir)?;
    let host = &context.host;
    let key = stamp::signing_key(&dir, host)?;
    home::secret(&dir.join("salt"), host.random())?;
    args.moved.note(&dir)?;
    let metrics = metrics::listen(metrics).await?;
    let own = AccountId::from(symbolon_net::peer_id(&key));
    network.relay.extend(ticket.relays());
    network.congestion = context.congestion;
    let validator = Validator {
        own,
        dir,
        network,
        ticket,
        epochs_kept: blocks.epochs(),
        started_ms: host.now_ms().0,
        context: context.clone(),
    };
    let mut is_told = false;
    loop {
        // The ledger's file says which it was last. If that is over, the mirror finds out.
        if validator.has_file() {
            let starting = validator.clone();
            let starting = async move { starting.vote().await };
            match serve::start(&mut interrupt, starting).await? {
                None => return Ok(()),
                Some(None) => {}
                Some(Some(running)) => {
                    validator.tell(Votes::Yes, &mut is_told)?;
                    let ended = interrupt.or(validator.voted(&running, metrics.as_ref())).await;
                    running.stop().await;
                    serve::port_given_back(&validator.dir).await;
                    match ended {
                        None => return Ok(()),
                        Some(voted) => voted?,
                    }
                }
            }
        }
        let plan = validator.mirror();
        let within = context.clone();
        let starting = async move { mirror::Running::start(&plan, &within).await };
        let Some(running) = serve::start(&mut interrupt, starting).await? else { return Ok(()) };
        validator.note_address(&running)?;
        validator.tell(Votes::No, &mut is_told)?;
        let ended = interrupt.or(validator.chosen(&running, metrics.as_ref())).await;
        running.stop().await;
        serve::port_given_back(&validator.dir).await;
        match ended {
            None => return Ok(()),
            // It was away for so long that its next block is gone: the next start sees that.
            Some(Ok(None | Some(LedgerError::Pruned { .. }))) => {}
            Some(Ok(Some(error))) => return Err(mirror::in_words(error)),
            Some(Err(error)) => return Err(error),
        }
    }
}

/// A validator of which it is not known yet whether it votes.
#[derive(Clone)]
struct Validator {
    own: AccountId,
    dir: PathBuf,
    network: Network,
    ticket: LedgerTicket,
    epochs_kept: u64,
    /// When the process was started, by the machine's clock.
    started_ms: u64,
    context: Context,
}

impl Validator {
    fn has_file(&self) -> bool {
        self.dir.join("ledger.redb").exists()
    }

    fn mirror(&self) -> mirror::Plan {
        mirror::Plan {
            dir: self.dir.clone(),
            network: self.network.clone(),
            ticket: self.ticket.clone(),
            epochs_kept: self.epochs_kept,
        }
    }

    /// Starts to vote, if the folder's ledger says that it is a validator.
    async fn vote(&self) -> Result<Option<RunningLedger>, Error> {
        let plan = LedgerPlan {
            dir: self.dir.clone(),
            network: self.network.clone(),
            epoch_ms: None,
            faucet: None,
            epochs_kept: self.epochs_kept,
            joined: Some(self.ticket.clone()),
            rules: Rules::default(),
        };
        RunningLedger::start_if_member(&plan, &self.context.host).await
    }

    /// Waits until it votes no longer: it has left, or has been away for so long that it has to follow first.
    async fn voted(
        &self,
        running: &RunningLedger,
        metrics: Option<&TcpListener>,
    ) -> Result<(), Error> {
        let machine = Machine::new(running.ledger.clone(), self.own, &self.dir, &self.context.host);
        tokio::select! {
            error = running.ended() => match error {
                LedgerError::WrongKey { .. } => Ok(()),
                error => Err(error.into()),
            },
            () = self.left_behind(running) => Ok(()),
            never = metrics::answer(metrics, async || machine.page(Some(running)).await) => never,
        }
    }

    /// Ends when the ledger goes on without this machine.
    async fn left_behind(&self, running: &RunningLedger) {
        let keeping = Keeping { host: self.context.host.clone(), folder: self.dir.clone() };
        let Some(elsewhere) = running.elsewhere(&self.ticket, keeping) else {
            return std::future::pending().await;
        };
        let elsewhere = elsewhere.into();
        let mut last = 0;
        loop {
            sleep(LOOK_AHEAD).await;
            let height = context::chain(&running.ledger).await.map_or(last, |chain| chain.height);
            let goes_on = last < height;
            last = height;
            if goes_on {
                continue;
            }
            if let Some(ahead) = height_of(&elsewhere).await
                && height.saturating_add(1) < ahead
            {
                return;
            }
        }
    }

    /// Waits until the ledger has chosen it, and its key may sign. Gives the error at which the mirror stops.
    async fn chosen(
        &self,
        running: &mirror::Running,
        metrics: Option<&TcpListener>,
    ) -> Result<Option<LedgerError>, Error> {
        let machine = running.machine(&self.dir, &self.context.host);
        let chosen = async {
            let mut is_own = stamp::is_own(&self.dir)?;
            let first = chain_of(running).await?;
            let safe_ms = self.safe_ms(&first);
            if !is_own {
                self.context.out.aside(&format!(
                    "This folder is a copy. It votes once the ledger has a block of after {}.",
                    show_time(safe_ms)
                ));
            }
            loop {
                let chain = chain_of(running).await?;
                if !is_own && safe_ms < chain.time_ms.0 {
                    // What the key may have signed elsewhere was signed before the start, so below this block.
                    let (host, dir) = (&self.context.host, self.dir.clone());
                    sign_after(host, dir, chain.height).await?;
                    stamp::put(&self.dir)?;
                    is_own = true;
                }
                if is_own && chain.validators.power_of(&self.own) != 0 {
                    return Ok(None);
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            error = running.mirror.failed() => Ok(Some(error)),
            chosen = chosen => chosen,
            never = metrics::answer(metrics, async || machine.page(None).await) => never.map(|()| None),
        }
    }

    /// A time after which a block can only have been made since the start of this process: a validator signs no block whose
    /// time is more than two seconds ahead of its clock.
    fn safe_ms(&self, first: &Chain) -> u64 {
        self.started_ms.max(first.time_ms.0).saturating_add(CLOCKS_MS)
    }

    /// Notes where others reach it: `join` tells the ledger.
    fn note_address(&self, running: &mirror::Running) -> Result<(), Error> {
        let text = running.address().addresses.join("\n");
        home::write_whole(&self.dir.join("reached-at"), text.as_bytes())
    }

    fn tell(&self, votes: Votes, is_told: &mut bool) -> Result<(), Error> {
        let out = &self.context.out;
        let does = match votes {
            Votes::Yes => "votes",
            Votes::No => "follows the ledger, and does not vote",
        };
        if *is_told {
            out.aside(&format!("This validator {does} now."));
            return Ok(());
        }
        *is_told = true;
        out.say(&format!("Validator {} {does}.", self.own))?;
        if out.is_json() {
            let (validator, chain) = (self.own.into(), self.ticket.chain.into());
            out.event(&ValidatorReady { event: Ready::Ready, validator, chain, votes })?;
        }
        out.note("Stop it with Ctrl-C; it goes on where it was.");
        Ok(())
    }
}

async fn chain_of(running: &mirror::Running) -> Result<Chain, Error> {
    Ok(running.mirror.chain_row().await?)
}

async fn height_of(ledger: &Ledger) -> Option<u64> {
    ledger.head().await.ok().map(|head| head.header.height)
}

/// How much later than the start of a copy a block must be, in milliseconds: what blocks may be ahead of clocks, and what
/// clocks that are set over the network may differ.
const CLOCKS_MS: u64 = 10_000;

/// How often a follower looks whether it is chosen.
const LOOK: Duration = Duration::from_millis(300);

/// How often one that votes looks whether the ledger goes on without it.
const LOOK_AHEAD: Duration = Duration::from_secs(10);
