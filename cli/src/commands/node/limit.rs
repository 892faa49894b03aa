//! `symbolon node limit`: what a node may use, set while it runs.

use std::path::{Path, PathBuf};

use symbolon_node::{DayTimes, RATE_MIN, Rate, ScrubRate, Settings};
use symbolon_view::operator::Limited;

use crate::{
    error::{Error, Kind},
    health, home,
    output::Report,
    units::{self, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node limit --dir /srv/node                       show what is set
  symbolon node limit --dir /srv/node --send 10MiB --receive 2MiB
  symbolon node limit --dir /srv/node --send none
  symbolon node limit --dir /srv/node --scrub 20MiB
  symbolon node limit --dir /srv/node --pause 02:00-04:00   no new shards at night, UTC
  symbolon node limit --dir /srv/node --reset

Rates are bytes a second, at least 16KiB. A running node takes a change over within ten seconds.")]
pub(crate) struct LimitArgs {
    /// The folder of the node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// What the node sends to peers, in bytes a second, or none
    #[arg(long, value_name = "RATE", value_parser = rate)]
    send: Option<Bound>,
    /// What the node receives of new shards, in bytes a second, or none
    #[arg(long, value_name = "RATE", value_parser = rate)]
    receive: Option<Bound>,
    /// How fast it reads its shards to check them: bytes a second, off, or weeks for all of them in four weeks
    #[arg(long, value_name = "RATE", value_parser = scrub)]
    scrub: Option<ScrubRate>,
    /// When it takes no new shards, every day in UTC, or none
    #[arg(long, value_name = "TIMES", value_parser = pause)]
    pause: Option<Pause>,
    /// Forget all that was set before
    #[arg(long)]
    reset: bool,
}

/// A rate or none.
#[derive(Clone, Copy, Debug)]
struct Bound(Rate);

/// Times of the day or none.
#[derive(Clone, Copy, Debug)]
struct Pause(Option<DayTimes>);

/// Reads a rate that is not too small to be of use.
pub(crate) fn bytes_a_second(text: &str) -> Result<u64, String> {
    let rate = units::size(text.trim().trim_end_matches("/s"))?;
    match RATE_MIN <= rate {
        true => Ok(rate),
        false => Err(format!("the smallest rate is {} a second", show_size(RATE_MIN))),
    }
}

fn rate(text: &str) -> Result<Bound, String> {
    if text == "none" {
        Ok(Bound(None))
    } else {
        bytes_a_second(text).map(|rate| Bound(Some(rate)))
    }
}

fn scrub(text: &str) -> Result<ScrubRate, String> {
    match text {
        "off" => Ok(ScrubRate::Off),
        "weeks" => Ok(ScrubRate::Weeks),
        rate => bytes_a_second(rate).map(ScrubRate::Bytes),
    }
}

fn pause(text: &str) -> Result<Pause, String> {
    if text == "none" {
        return Ok(Pause(None));
    }
    let times = DayTimes::parse(text).ok_or("times of a day look like 02:00-04:30")?;
    Ok(Pause(Some(times)))
}

pub(crate) fn run(args: &LimitArgs) -> Result<Report, Error> {
    is_node(&args.dir)?;
    let before = match args.reset {
        // Whether it leaves is no limit.
        true => {
            let before = Settings::read(&args.dir).unwrap_or_default();
            let Settings { leaving, abandons_vaults, .. } = before;
            Settings { leaving, abandons_vaults, ..Settings::default() }
        }
        false => Settings::read(&args.dir).map_err(|error| {
            Error::usage(error.to_string())
                .hint("set them anew with: symbolon node limit --dir DIR --reset")
        })?,
    };
    let mut now = before;
    if let Some(Bound(send)) = args.send {
        now.send = send;
    }
    if let Some(Bound(receive)) = args.receive {
        now.receive = receive;
    }
    if let Some(scrub) = args.scrub {
        now.scrub = scrub;
    }
    if let Some(Pause(pause)) = args.pause {
        now.pause = pause;
    }
    let changed = args.reset || now != before;
    if changed {
        home::write_whole(&args.dir.join(Settings::FILE), now.to_text().as_bytes())?;
    }
    let settings = health::settings(&now);
    let words = health::settings_words(&settings);
    Ok(Report::new(&Limited { changed, settings }).text(format!("The node {words}.")))
}

/// Refuses a folder that has no node.
pub(crate) fn is_node(dir: &Path) -> Result<(), Error> {
    if dir.join("key").is_file() && dir.join("node").is_file() {
        return Ok(());
    }
    Err(Error::new(Kind::WrongDisk, format!("no node is in {}", dir.display()))
        .hint("see that its disk is mounted and that --dir is right"))
}
