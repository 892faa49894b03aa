//! `symbolon audit`: check all that a ledger did, from its blocks alone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use symbolon_audit::{Auditor, Finding};
use symbolon_ledger::{Ledger, LedgerError};
use symbolon_protocol::{
    Amount,
    ledger::block::{Block, Genesis},
};
use symbolon_view::audit::Audited;

use crate::{
    archive::Archive,
    context::{self, Context},
    error::{Error, Kind},
    output::Report,
    units::{count, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon audit                           from the ledger's first block to its last one
  symbolon audit --export blocks           the same, and keep the blocks; run it daily, since a ledger forgets
  symbolon audit --blocks blocks           without the ledger, on any machine
  symbolon audit --blocks blocks --until 5000 --json

No key is needed, and no party is believed. The auditor keeps books of its own: it works out who has to be paid how much,
which leaves each node had to open, and whether it did, and compares that with what every block says. Two machines that
audit the same blocks print the same report, to the last digit.")]
pub(crate) struct Args {
    /// Audit the blocks that were exported to this folder, and ask no ledger
    #[arg(long, value_name = "DIR", conflicts_with = "export")]
    blocks: Option<PathBuf>,
    /// Keep the blocks in this folder. Those that it has already are not fetched again
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// The last block to audit [default: the newest one]
    #[arg(long, value_name = "HEIGHT")]
    until: Option<u64>,
}

/// Blocks that are written together.
const TOGETHER: usize = 200;

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    if let Some(folder) = &args.blocks {
        let mut archive = Archive::open(folder)?;
        let mut audit = Audit::of(&archive.genesis, args.until);
        archive.each(|block| audit.take(block))?;
        return audit.report();
    }
    let (ledger, endpoint) = context.ledger().await?;
    let audited = from_ledger(args, &ledger).await;
    context::hang_up(endpoint).await;
    audited?.report()
}

async fn from_ledger(args: &Args, ledger: &Ledger) -> Result<Audit, Error> {
    let genesis = ledger.genesis().await?;
    let mut audit = Audit::of(&genesis, args.until);
    let mut archive =
        args.export.as_ref().map(|folder| Archive::make(folder, &genesis)).transpose()?;
    let mut next = match &mut archive {
        Some(archive) => archive.each(|block| audit.take(block))?,
        None => 0,
    };
    let head = ledger.head().await?.header.height;
    let head = args.until.map_or(head, |until| until.min(head));
    let mut follow = ledger.follow(next);
    let mut blocks = Vec::new();
    while next + (blocks.len() as u64) <= head && audit.goes_on() {
        let block = match follow.next().await {
            Ok(block) => block,
            Err(LedgerError::Pruned { oldest, .. }) => return Err(pruned(oldest.height, next)),
            Err(error) => return Err(error.into()),
        };
        audit.take(&block);
        if let Some(archive) = &mut archive {
            blocks.push(block);
            if blocks.len() == TOGETHER {
                archive.append(&blocks)?;
                next += blocks.len() as u64;
                blocks.clear();
            }
        } else {
            next += 1;
        }
    }
    if let Some(archive) = &mut archive {
        archive.append(&blocks)?;
    }
    Ok(audit)
}

fn pruned(oldest: u64, next: u64) -> Error {
    let message = format!("the ledger has forgotten block {next}: its oldest one is {oldest}");
    Error::new(Kind::NotFound, message)
        .hint("audit from blocks that were exported in time: symbolon audit --blocks DIR")
}

/// An audit under way.
struct Audit {
    auditor: Auditor,
    until: Option<u64>,
    finding: Option<Finding>,
}

impl Audit {
    fn of(genesis: &Genesis, until: Option<u64>) -> Self {
        Self { auditor: Auditor::of(genesis), until, finding: None }
    }

    /// Whether more blocks are wanted.
    fn goes_on(&self) -> bool {
        let reached = self.until.is_some_and(|until| until < self.auditor.next());
        self.finding.is_none() && !reached
    }

    /// Audits a block. Gives whether more are wanted.
    fn take(&mut self, block: &Block) -> bool {
        if !self.goes_on() {
            return false;
        }
        let height = self.auditor.next();
        // A block that these books cannot follow is a finding, not the end of this program.
        let taken = catch_unwind(AssertUnwindSafe(|| self.auditor.take(block)));
        let unfollowed = || Finding { height, what: "the auditor's books cannot follow it".into() };
        self.finding = taken.unwrap_or_else(|_| Err(unfollowed())).err();
        self.goes_on()
    }

    fn report(self) -> Result<Report, Error> {
        let report = self.auditor.report();
        if let Some(Finding { height, what }) = self.finding {
            let message = format!("block {height} is not what the rules say: {what}");
            return Err(Error::new(Kind::Corrupt, message)
                .hint(format!("the {} before it are right", count(height, "block"))));
        }
        let [made, settled, refunded] = report.orders;
        let money = |amount: u128| show_amount(Amount(amount)).to_string();
        let text = format!(
            "{} of ledger {}: all of them are what the rules say.",
            count(report.blocks, "block"),
            report.chain
        );
        Ok(Report::new(&Audited::from(&report))
            .text(text)
            .field("last block", format!("{}, in epoch {}", report.head, report.epoch))
            .field("transactions", report.transactions.to_string())
            .field(
                "proofs",
                format!(
                    "{}, with {} opened and verified; {} missed",
                    count(report.proven, "epoch of a node"),
                    count(report.leaves, "leaf"),
                    report.missed
                ),
            )
            .field("deals", report.deals.to_string())
            .field("orders", format!("{made}, of which {settled} settled and {refunded} refunded"))
            .field("money", format!("{}, all of it accounted for", money(report.issued)))
            .field("books", report.books.to_string())
            .essence(report.books.to_string()))
    }
}
