//! What a running node notes of itself in its folder, so that other commands need no way into its process.
//!
//! The file is `run/health`, one document, written anew every few seconds. It does not wait for the disk: after a crash
//! the one before is good enough.

use std::{
    fs,
    path::{Path, PathBuf},
};

use symbolon_net::Host;
use symbolon_node::{DamagedShard, ExitStage, NodeHealth, Sample, ScrubRate};
use symbolon_view::{operator, plain::Id};

use crate::{
    error::{Error, Kind},
    home::{self, Home},
    limits,
    output::{document_bytes, read_document},
    serve::{NodePlan, RunningNode},
    units::{count, show_size, show_time},
};

/// Keeps the note of a node up to date.
#[derive(Debug)]
pub(crate) struct Noted {
    dir: PathBuf,
    capacity: u64,
    started_ms: u64,
    host: Host,
}

impl Noted {
    pub(crate) fn new(plan: &NodePlan, host: &Host) -> Self {
        let started_ms = host.now_ms().0;
        Self { dir: plan.dir.clone(), capacity: plan.capacity, started_ms, host: host.clone() }
    }

    /// Writes the note again and again.
    pub(crate) async fn keep(&self, running: &RunningNode) -> Result<(), Error> {
        let mut sample = Sample::default();
        for round in 0_u64.. {
            if round.is_multiple_of(SAMPLE_EVERY) {
                match running.node.sample(SAMPLE).await {
                    Ok(looked) => sample = looked,
                    Err(error) => tracing::warn!(%error, "no shards could be looked at"),
                }
            }
            if let Err(error) = self.write(running, &sample).await {
                tracing::warn!(message = error.message, "the state of the node cannot be noted");
            }
            self.host.sleep_ms(EVERY_MS).await;
        }
        Ok(())
    }

    /// Writes the note now.
    pub(crate) async fn once(&self, running: &RunningNode) {
        if let Err(error) = self.write(running, &Sample::default()).await {
            tracing::warn!(message = error.message, "the state of the node cannot be noted");
        }
    }

    async fn write(&self, running: &RunningNode, sample: &Sample) -> Result<(), Error> {
        let health = running.node.health().await?;
        let damaged = running.node.damaged(DAMAGED_MAX).await?;
        let document = self.document(running, &health, &damaged, sample);
        let path = path(&self.dir);
        let beside = path.with_extension("new");
        let written =
            fs::write(&beside, document_bytes(&document)).and_then(|()| fs::rename(&beside, &path));
        written.map_err(|error| Error::io("write", &path, &error))
    }

    fn document(
        &self,
        running: &RunningNode,
        health: &NodeHealth,
        damaged: &[DamagedShard],
        sample: &Sample,
    ) -> operator::Health {
        operator::Health {
            node: running.id().into(),
            running: true,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            at_ms: self.host.now_ms().0,
            capacity: self.capacity,
            used: health.used,
            shards: health.shards,
            disk_free: health.disk_free,
            disk_reserve: health.disk_reserve,
            height: health.height,
            epoch: health.epoch,
            block_ms: health.block_ms.map(|time_ms| time_ms.0),
            block_age_ms: health.block_age_ms,
            view_age_ms: health.view_age_ms,
            registered: health.registered,
            proven_epoch: health.proven_epoch,
            missed: health.missed,
            earned: health.earned.into(),
            sent: health.sent,
            received: health.received,
            scrub: scrub(&health.scrub),
            settings: settings(&health.settings),
            exit: exit(&health.exit),
            care: health.care.as_ref().map(care),
            open_files: limits::open_files(),
            sample: operator::Sample { shards: sample.shards, faults: sample.faults.clone() },
            damaged: health.damaged,
            damaged_shards: damaged.iter().map(damaged_shard).collect(),
        }
    }

    /// The last note of a folder. It says whether the node runs now.
    pub(crate) fn read(dir: &Path) -> Result<operator::Health, Error> {
        let path = path(dir);
        let none = || {
            let message = format!("no node has noted its state in {}", dir.display());
            Error::new(Kind::NotFound, message)
                .hint("see that --dir is right and its disk is mounted; start the node with: symbolon node run")
        };
        let bytes = home::read_if_there(&path)?.ok_or_else(none)?;
        let mut health: operator::Health = read_document(&bytes).ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("{} is no note of a node of this version", path.display()))
                .hint("the running node writes it anew every few seconds; start it again with: symbolon node run")
        })?;
        health.running = Home::at(dir.to_owned()).running() == Some(health.pid);
        Ok(health)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("run").join("health")
}

pub(crate) fn scrub(scrub: &symbolon_node::Scrub) -> operator::Scrub {
    let time = |ms: u64| (ms != 0).then_some(ms);
    operator::Scrub {
        passes: scrub.passes,
        ended_ms: time(scrub.ended_ms),
        began_ms: time(scrub.began_ms),
        shards: scrub.shards,
        bytes: scrub.bytes,
    }
}

pub(crate) fn settings(settings: &symbolon_node::Settings) -> operator::Settings {
    let (scrub, scrub_rate) = match settings.scrub {
        ScrubRate::Weeks => (operator::ScrubRate::Weeks, None),
        ScrubRate::Off => (operator::ScrubRate::Off, None),
        ScrubRate::Bytes(rate) => (operator::ScrubRate::Rate, Some(rate)),
    };
    operator::Settings {
        send: settings.send,
        receive: settings.receive,
        scrub,
        scrub_rate,
        pause: settings.pause.map(|times| times.to_string()),
        leaving: settings.leaving,
        abandons_vaults: settings.abandons_vaults,
    }
}

fn exit(exit: &symbolon_node::Exit) -> operator::Exit {
    let stage = match exit.stage {
        ExitStage::Stays => operator::ExitStage::Stays,
        ExitStage::Announces => operator::ExitStage::Announces,
        ExitStage::Hands => operator::ExitStage::Hands,
        ExitStage::Proves => operator::ExitStage::Proves,
        ExitStage::Custody => operator::ExitStage::Custody,
        ExitStage::Retired => operator::ExitStage::Retired,
    };
    let &symbolon_node::Exit { left, handed, kept, paid, .. } = exit;
    let (vaults, problem) = (exit.vaults.iter().map(vault).collect(), exit.problem.clone());
    operator::Exit { stage, left, handed, kept, paid: paid.into(), vaults, problem }
}

fn vault(held: &symbolon_node::HeldVault) -> operator::HeldVault {
    operator::HeldVault {
        vault: held.vault.into(),
        owner: held.owner.into(),
        orders: held.orders,
        listings: held.listings,
        deals: held.deals,
        until_ms: held.is_needed().then_some(held.until_ms.0),
    }
}

fn care(caring: &symbolon_node::Caring) -> operator::Care {
    let claim = |claim: &symbolon_node::OpenClaim| operator::Claim {
        deal: claim.deal.into(),
        shards: claim.shards,
        fee: claim.fee.into(),
        until_epoch: claim.until,
    };
    operator::Care {
        claims: caring.claims.iter().map(claim).collect(),
        waiting: caring.waiting,
        owed: caring.owed.into(),
    }
}

pub(crate) fn damaged_shard(shard: &DamagedShard) -> operator::Damaged {
    operator::Damaged {
        deal: Id::from(shard.deal),
        shard: shard.index,
        owner: Id::from(shard.owner),
        length: shard.length,
        noticed_ms: shard.noticed_ms.0,
        why: shard.why.clone(),
    }
}

/// How far a scrub is, in words.
pub(crate) fn scrub_words(scrub: &operator::Scrub) -> String {
    let at = |ms: u64| show_time(ms);
    let now = format!("{}, {}", count(scrub.shards, "shard"), show_size(scrub.bytes));
    match (scrub.ended_ms, scrub.began_ms) {
        (Some(ended), Some(began)) if began <= ended => {
            format!("all {now} were read, the last one at {}", at(ended))
        }
        (Some(ended), _) => format!("{now} read in this pass; all were read last at {}", at(ended)),
        (None, Some(began)) => format!("{now} read since {}; not all yet", at(began)),
        (None, None) => String::from("has not begun"),
    }
}

/// Settings in words.
pub(crate) fn settings_words(settings: &operator::Settings) -> String {
    let rate = |rate: Option<u64>| {
        rate.map_or_else(|| String::from("without bound"), |rate| format!("{}/s", show_size(rate)))
    };
    let scrub = match (settings.scrub, settings.scrub_rate) {
        (operator::ScrubRate::Off, _) => String::from("off"),
        (_, Some(bytes)) => rate(Some(bytes)),
        _ => String::from("all shards in four weeks"),
    };
    let leaving = if settings.leaving { "; it leaves" } else { "" };
    let pause = settings
        .pause
        .as_ref()
        .map_or_else(|| String::from("never"), |times| format!("every day {times} UTC"));
    let (send, receive) = (rate(settings.send), rate(settings.receive));
    format!(
        "sends {send}, receives {receive}; scrub: {scrub}; takes no new shards: {pause}{leaving}"
    )
}

/// How old a note may be, in milliseconds, before the node seems to hang.
pub(crate) const STALE_MS: u64 = 60_000;

/// Milliseconds between two notes.
const EVERY_MS: u64 = 2_000;
/// Every how many notes a few shards are looked at: every hour.
const SAMPLE_EVERY: u64 = 1_800;
/// Shards that are looked at.
pub(crate) const SAMPLE: usize = 100;
/// Damaged shards that are listed.
pub(crate) const DAMAGED_MAX: usize = 100;
