//! Figures of a machine that has a ledger: one that orders it, alone or with others, or a mirror. `spec/operating.md`,
//! "Watching".

use std::{
    fs,
    path::{Path, PathBuf},
};

use symbolon_ledger::{Figures, Ledger};
use symbolon_net::Host;
use symbolon_protocol::{
    id::AccountId,
    ledger::rows::{Chain, DutiesTable, Duty, ValidatorRow, ValidatorsTable},
};

use super::Page;
use crate::{context, serve::RunningLedger};

/// A machine that has a ledger.
pub(crate) struct Machine {
    ledger: Ledger,
    own: AccountId,
    dir: PathBuf,
    host: Host,
}

impl Machine {
    /// `own` is the key of the machine, which may be a validator.
    pub(crate) fn new(ledger: Ledger, own: AccountId, dir: &Path, host: &Host) -> Self {
        Self { ledger, own, dir: dir.to_owned(), host: host.clone() }
    }

    /// The page; `None` if the ledger cannot be read.
    pub(crate) async fn page(&self, running: Option<&RunningLedger>) -> Option<String> {
        let chain = context::chain(&self.ledger).await.ok()?;
        let row = self.ledger.row(ValidatorsTable, &self.own).await.ok()?;
        let duties = self.ledger.row(DutiesTable, &()).await.ok()?;
        let dir = self.dir.clone();
        let disk = self.host.blocking(move || Disk::of(&dir)).await;
        let mut page = Page::new("symbolon_ledger");
        self.of_chain(&chain, &mut page);
        if let Some(running) = running {
            of_engine(&running.figures(), running.connected(), &mut page);
        }
        if let Some(row) = &row {
            let members = &chain.validators.members;
            let place = members.binary_search_by_key(&self.own, |member| member.key).ok();
            let duty = place.and_then(|place| duties?.members.get(place).copied());
            of_row(row, &duty.unwrap_or_default(), &mut page);
        }
        page.gauge("disk_used_bytes", "Bytes of the files in the folder.", disk.used);
        if let Some(free) = disk.free {
            page.gauge("disk_free_bytes", "Bytes the file system has left.", free);
        }
        Some(page.text)
    }

    fn of_chain(&self, chain: &Chain, page: &mut Page) {
        let set = &chain.validators;
        let own = set.power_of(&self.own);
        let age_ms = self.host.now_ms().0.saturating_sub(chain.time_ms.0);
        page.gauge("height", "The last block on this machine.", chain.height);
        page.seconds("block_age_seconds", "How old that block is by this machine's clock.", age_ms);
        page.gauge("epoch", "The present epoch.", chain.epoch);
        page.gauge("validators", "Validators in the set.", set.members.len() as u64);
        page.gauge("power", "The power of the set.", set.power());
        page.gauge("own_power", "This machine's part of it; 0 if it is not in the set.", own);
    }
}

fn of_engine(figures: &Figures, peers: usize, page: &mut Page) {
    page.gauge("votes", "1 if this machine votes, or orders the ledger alone.", 1);
    page.gauge("round", "The round of the height that is being decided.", figures.round.into());
    page.gauge("peers", "Other validators with which this machine is connected.", peers as u64);
    page.gauge("waiting_transactions", "Transactions that wait for a block.", figures.waiting);
    page.gauge("waiting_bytes", "Bytes of those.", figures.waiting_bytes);
    page.counter(
        "counted_blocks_total",
        "Blocks since the start of which the next one has said who signed them.",
        figures.counted,
    );
    page.counter(
        "unsigned_blocks_total",
        "Those of them without this machine's signature.",
        figures.unsigned,
    );
    page.times(
        "decide_seconds",
        "From building or judging a block until one of its height is on the disk.",
        &figures.decided,
    );
    page.times(
        "submit_seconds",
        "From taking a transaction until a block with it is on the disk.",
        &figures.submitted,
    );
}

fn of_row(row: &ValidatorRow, duty: &Duty, page: &mut Page) {
    let with = |all: u64, lately: u32| all.saturating_add(u64::from(lately));
    let (turns, missed) = (with(row.turns, duty.turns), with(row.missed, duty.missed));
    page.counter("turns_total", "Turns of this validator to propose, ever.", turns);
    page.counter("missed_turns_total", "Turns that it has missed, ever.", missed);
    page.gauge(
        "missed_turns_in_row",
        "Turns that it has missed in a row, up to now.",
        duty.missed_in_row.into(),
    );
    let stake = ("stake_credits", "gauge");
    page.credits(stake, "Its stake, that of those who delegate included.", row.stake);
}

/// What the folder takes and leaves of a disk.
struct Disk {
    used: u64,
    free: Option<u64>,
}

impl Disk {
    fn of(dir: &Path) -> Self {
        let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        let files = entries.filter_map(|entry| entry.metadata().ok());
        let used = files.filter(fs::Metadata::is_file).map(|about| about.len()).sum();
        Self { used, free: symbolon_store::free_bytes(dir).ok() }
    }
}
