//! `symbolon node scrub`: reads all shards of a node, or shows how far the running node is with that.

use std::path::PathBuf;

use symbolon_node::Folder;
use symbolon_view::operator::{Damaged, Scrubbed};

use super::limit;
use crate::{
    context::Context,
    error::{Error, Kind},
    health::{self, DAMAGED_MAX, Noted},
    home::Home,
    interrupt::{self, Interrupt},
    output::Report,
    units::{count, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node scrub --dir /srv/node                  while the node runs: how far it is, and what it has found
  symbolon node scrub --dir /srv/node --rate 100MiB    while it does not run: read everything now

A running node reads everything by itself, by default once in four weeks: see symbolon node limit --scrub.
If shards are damaged, the exit code is 8.")]
pub(crate) struct ScrubArgs {
    /// The folder of the node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Read at most so many bytes a second [default: as fast as the disk allows]
    #[arg(long, value_name = "RATE", value_parser = limit::bytes_a_second)]
    rate: Option<u64>,
}

pub(crate) async fn run(args: ScrubArgs, context: &Context) -> Result<Report, Error> {
    limit::is_node(&args.dir)?;
    let document = if Home::at(args.dir.clone()).running().is_some() {
        if args.rate.is_some() {
            return Err(Error::new(Kind::InUse, "the node runs, and reads its shards by itself")
                .hint("set its rate with: symbolon node limit --dir DIR --scrub RATE"));
        }
        let health = Noted::read(&args.dir)?;
        Scrubbed {
            running: true,
            shards: health.shards,
            used: health.used,
            scrub: health.scrub,
            damaged: health.damaged,
            damaged_shards: health.damaged_shards,
        }
    } else {
        let _lock = Home::lock_folder(&args.dir)?;
        let mut interrupt = Interrupt::listen();
        match interrupt.or(read_all(&args, context)).await {
            Some(read) => read?,
            None => {
                let hint = "what it has found is noted; the same command again begins anew";
                return Err(interrupt::stopped(String::from("stopped before all was read"), hint));
            }
        }
    };
    let report = report(&document);
    if document.damaged == 0 {
        return Ok(report);
    }
    let damaged = count(document.damaged, "shard");
    let first: Vec<String> = document.damaged_shards.iter().take(SHOWN).map(words).collect();
    Err(Error::new(Kind::Corrupt, format!("{damaged} damaged: {}", first.join("; ")))
        .hint("see the disk's health; bring the files back from a copy if there is one. The node does not serve these shards")
        .details(document))
}

async fn read_all(args: &ScrubArgs, context: &Context) -> Result<Scrubbed, Error> {
    let folder = Folder::open(&args.dir, context.host.clone()).await?;
    let all = folder.counts().await?;
    let (mut shards, mut bytes) = (0, 0);
    let began_ms = context.host.now_ms().0;
    let mut told_ms = began_ms;
    let done = |now_shards: u64, now_bytes: u64| {
        (shards, bytes) = (now_shards, now_bytes);
        let now_ms = context.host.now_ms().0;
        if told_ms.saturating_add(TELL_MS) <= now_ms {
            told_ms = now_ms;
            let (done, of) = (show_size(now_bytes), show_size(all.bytes));
            context.out.note(&format!("{done} of {of}, {}", count(now_shards, "shard")));
        }
    };
    folder.scrub(args.rate, done).await?;
    let damaged_shards = folder.damaged(DAMAGED_MAX).await?;
    let noted = folder.scrubbed().await?;
    Ok(Scrubbed {
        running: false,
        shards: all.shards,
        used: all.bytes,
        scrub: symbolon_view::operator::Scrub {
            passes: noted.passes + 1,
            ended_ms: Some(context.host.now_ms().0),
            began_ms: Some(began_ms),
            shards,
            bytes,
        },
        damaged: damaged_shards.len() as u64,
        damaged_shards: damaged_shards.iter().map(health::damaged_shard).collect(),
    })
}

fn words(shard: &Damaged) -> String {
    format!("shard {} of deal {}, {}", shard.shard, shard.deal.as_str(), shard.why)
}

fn report(document: &Scrubbed) -> Report {
    let stored = format!("{}, {}", count(document.shards, "shard"), show_size(document.used));
    Report::new(document)
        .field("stored", stored)
        .field("scrub", health::scrub_words(&document.scrub))
        .field("damaged", "none that is known")
}

/// Damaged shards that the error names.
const SHOWN: usize = 3;
/// Milliseconds between two lines about how far it is.
const TELL_MS: u64 = 5_000;
