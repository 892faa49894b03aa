//! `symbolon demo`: every feature once, with real processes, in a temporary home.
//!
//! One ledger and eight nodes run as processes of their own, started from this binary. The owner, the buyer and the
//! thief are three clients in this process. The demo checks every step, and ends with an error at the first that fails.

mod network;
mod play;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use symbolon_view::demo::{Broken, Figures, Held, Step};

use crate::{
    context::Context,
    error::{Error, Kind},
    home::{self, Home},
    interrupt::Interrupt,
    units::{self, show_duration},
};

/// The Palmer penguins table (Horst, Hill, Gorman; CC0), from the PyPI package `palmerpenguins` 0.1.6.
const PENGUINS: &[u8] = include_bytes!("../../data/penguins.csv");

/// For how long the demo's files are stored, in milliseconds.
const STORED_MS: u64 = 600_000;

/// The fewest epochs for which they are stored.
const EPOCHS_MIN: u64 = 100;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon demo                          with a small real data set (Palmer penguins, CC0)
  symbolon demo big.iso
  symbolon demo --keep                   keep the home, to look into it

The demo writes only to a temporary folder, contacts nothing outside this machine, and removes
everything at the end. Exit code 0 means that every step held.")]
pub(crate) struct Args {
    /// The file to store and sell
    file: Option<PathBuf>,
    /// Length of an epoch
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    epoch: u64,
    /// Keep the temporary home
    #[arg(long)]
    keep: bool,
}

/// State that the steps share, and the steps that `--json` prints at the end.
struct Stage {
    context: Context,
    home: Home,
    epoch_ms: u64,
    began: Instant,
    steps: Vec<Step>,
}

impl Stage {
    /// Epochs that storage is paid for: longer than any demo, and long enough to sell access.
    fn epochs(&self) -> u64 {
        (STORED_MS / self.epoch_ms.max(1)).max(EPOCHS_MIN)
    }

    /// Reports that a step held: a heading, sentences, and figures.
    fn held(&mut self, step: &str, words: &[String], figures: Figures) -> Result<(), Error> {
        let at = millis(self.began);
        let number = self.steps.len() + 1;
        let heading = self.context.out.bold(&format!("{number}. {step}"));
        let time = self.context.out.dim(&show_duration(at));
        self.context.out.say_styled(&format!("{heading}  {time}"))?;
        for line in words {
            self.context.out.say(&format!("   {line}"))?;
        }
        self.steps.push(Step { step: step.to_owned(), at_ms: at, figures });
        Ok(())
    }
}

/// A step that does not hold.
fn broken(step: &str, why: impl Into<String>) -> Error {
    Error::new(Kind::Internal, format!("{step}: {}", why.into()))
        .hint("the demo found something broken; run it again with -v, and please report it")
}

/// Milliseconds since a moment.
fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    let folder = temporary(context)?;
    let mut interrupt = Interrupt::listen();
    let played = interrupt.or(play(&args, context, &folder)).await;
    let played =
        played.unwrap_or_else(|| Err(Error::new(Kind::Interrupted, "the demo was stopped")));
    // The children end: their handles were dropped, and with those their stdin.
    if args.keep {
        context.out.note(&format!("The home is left in {}.", folder.display()));
        return played;
    }
    let cleared = clear(&folder).await;
    played.and(cleared)
}

async fn play(args: &Args, context: &Context, folder: &Path) -> Result<(), Error> {
    let file = source(args, folder)?;
    let home = Home::at(folder.join("home"));
    let mut stage = Stage {
        context: context.clone(),
        home,
        epoch_ms: args.epoch,
        began: Instant::now(),
        steps: Vec::new(),
    };
    let ended = play::all(&mut stage, &file).await;
    let took = millis(stage.began);
    if let Err(error) = ended {
        return Err(error.details(Broken { took_ms: took, steps: stage.steps }));
    }
    let done = context.out.good(&format!("Everything held, in {}.", show_duration(took)));
    context.out.say_styled(&format!("\n{done}"))?;
    context.out.say("Start a network of your own with: symbolon up")?;
    if context.out.is_json() {
        context.out.event(&Held { held: true, took_ms: took, steps: stage.steps })?;
    }
    Ok(())
}

/// The file to use: the user's, or the one that ships with the program.
fn source(args: &Args, folder: &Path) -> Result<PathBuf, Error> {
    let Some(path) = &args.file else {
        let path = folder.join("penguins.csv");
        home::write_whole(&path, PENGUINS)?;
        return Ok(path);
    };
    let about = fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
    if !about.is_file() {
        return Err(Error::usage(format!("{} is not a file", path.display())));
    }
    if about.len() == 0 {
        return Err(Error::usage(format!("{} is empty, so it cannot be sold", path.display())));
    }
    Ok(path.clone())
}

fn temporary(context: &Context) -> Result<PathBuf, Error> {
    let name = format!("symbolon-demo-{:016x}", u64::from_le_bytes(context.host.random()));
    let folder = std::env::temp_dir().join(name);
    home::make_folder(&folder)?;
    Ok(folder)
}

/// Removes the folder; nodes that are just ending may still write a last file.
async fn clear(folder: &Path) -> Result<(), Error> {
    const TRIES: u32 = 40;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
    for _ in 1..TRIES {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    fs::remove_dir_all(folder).map_err(|error| Error::io("remove", folder, &error))
}
