//! `symbolon validator run`: a mirror of the ledger that votes while the ledger says that it is a validator.

use std::{path::PathBuf, time::Duration};

use symbolon_ledger::{Keeping, LedgerError, LedgerTicket, Remote};
use symbolon_protocol::id::AccountId;
use symbolon_view::{
    network::Ready,
    validators::{ValidatorReady, Votes},
};
use tokio::time::sleep;

use crate::{
    commands::ledger::mirror,
    context::{self, Context},
    error::Error,
    home,
    interrupt::{Interrupt, Leash},
    serve::{self, KeepBlocks, LedgerPlan, Network, Rules, RunningLedger},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator run --ledger ledger1qq... --dir /srv/validator --listen 0.0.0.0:4150 --announce 203.0.113.7:4150

It fetches the ledger's state with proofs, then follows it and executes every block, as a mirror does. Once the
validator has staked (symbolon validator join) and the ledger has chosen it, it votes. When it has left, or is jailed, it
follows again. It may be killed at any moment: what it has signed is on its disk before anyone hears it.

The files key, salt and validator.redb in the folder are this validator. Two machines with them sign against each
other, and the validator loses a part of its stake and its place for ever. So a backup of a folder that has run is of no
use; after a loss, make a new validator.")]
pub(super) struct RunArgs {
    /// The folder of the validator; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    blocks: KeepBlocks,
    /// Stop when stdin ends, that is when the process that started this one ends
    #[arg(long, hide = true)]
    leashed: bool,
}

pub(super) async fn run(args: RunArgs, context: &Context) -> Result<(), Error> {
    let ticket = context.ticket()?;
    let mut interrupt = Interrupt::on(Leash::from(args.leashed));
    home::make_folder(&args.dir)?;
    let _lock = home::Home::lock_folder(&args.dir)?;
    let host = &context.host;
    let key = home::secret(&args.dir.join("key"), host.random())?;
    home::secret(&args.dir.join("salt"), host.random())?;
    let own = AccountId::from(symbolon_net::peer_id(&key));
    let mut network = args.network;
    network.relay.extend(ticket.relays());
    network.congestion = context.congestion;
    let validator = Validator {
        own,
        dir: args.dir,
        network,
        ticket,
        epochs_kept: args.blocks.epochs(),
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
                    let ended = interrupt.or(validator.voted(&running)).await;
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
        let ended = interrupt.or(validator.chosen(&running)).await;
        running.stop().await;
        serve::port_given_back(&validator.dir).await;
        match ended {
            None => return Ok(()),
            // It was away for so long that its next block is gone: the next start sees that.
            Some(Ok(()) | Err(LedgerError::Pruned { .. })) => {}
            Some(Err(error)) => return Err(mirror::in_words(error)),
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
    async fn voted(&self, running: &RunningLedger) -> Result<(), Error> {
        let away = async {
            let mut last = 0;
            loop {
                sleep(LOOK_AHEAD).await;
                let height =
                    context::chain(&running.ledger).await.map_or(last, |chain| chain.height);
                let goes_on = last < height;
                last = height;
                if goes_on {
                    continue;
                }
                if let Some(ahead) = self.height_elsewhere().await
                    && height.saturating_add(1) < ahead
                {
                    return;
                }
            }
        };
        tokio::select! {
            error = running.ended() => match error {
                LedgerError::WrongKey { .. } => Ok(()),
                error => Err(error.into()),
            },
            () = away => Ok(()),
        }
    }

    /// The height that other servers of the ledger have.
    async fn height_elsewhere(&self) -> Option<u64> {
        let mut options = symbolon_net::BindOptions::new(self.context.host.random());
        options.accept = Vec::new();
        let endpoint = symbolon_net::Endpoint::iroh(options).await.ok()?;
        let keeping = Keeping { host: self.context.host.clone(), folder: self.dir.clone() };
        let remote = Remote::keeping(endpoint.clone(), self.ticket.clone(), keeping);
        let head = symbolon_ledger::Ledger::from(remote).head().await;
        endpoint.close().await;
        head.ok().map(|head| head.header.height)
    }

    /// Waits until the ledger has chosen it.
    async fn chosen(&self, running: &mirror::Running) -> Result<(), LedgerError> {
        let chosen = async {
            loop {
                let chain = running.mirror.chain_row().await?;
                if chain.validators.power_of(&self.own) != 0 {
                    return Ok(());
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            error = running.mirror.failed() => Err(error),
            chosen = chosen => chosen,
        }
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

/// How often a follower looks whether it is chosen.
const LOOK: Duration = Duration::from_millis(300);

/// How often one that votes looks whether the ledger goes on without it.
const LOOK_AHEAD: Duration = Duration::from_secs(10);
