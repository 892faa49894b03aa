//! The one binary: arguments in, words and exit codes out.

mod args;
mod client_error;
mod commands;
mod context;
mod durability;
mod env;
mod error;
mod grants;
mod home;
mod interrupt;
mod keys;
mod names;
mod nodes;
mod output;
mod progress;
mod serve;
mod units;

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::{
    args::Args,
    context::Context,
    error::{Error, Kind},
    output::{Chatter, Format, Output},
};

/// How long a command that was stopped may take to put down what it has in hand.
const LAST_WRITES: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return explain(&error),
    };
    let out = context::output(&args.global);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.kind as u8)
        }
    }
}

fn run(args: Args) -> Result<(), Error> {
    log(args.global.verbose);
    let context = Context::new(&args.global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(commands::run(args.verb, &context));
    if result.as_ref().is_err_and(|error| error.kind == Kind::Interrupted) {
        // What was being written when it was stopped is finished, so that it can be gone on from.
        runtime.shutdown_timeout(LAST_WRITES);
    } else {
        // What matters was waited for; a read of stdin that never ends must not be.
        runtime.shutdown_background();
    }
    result
}

/// Help, version, or what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if error.use_stderr() && json {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let out = Output::new(Format::Json, Chatter::Normal, true);
        out.error(&Error::usage(message).hint("see: symbolon --help"));
    } else if error.print().is_err() {
        // Nobody reads; the exit code still says it.
    }
    ExitCode::from(if error.use_stderr() { Kind::Usage as u8 } else { 0 })
}

/// What happens inside, on stderr.
fn log(verbose: u8) {
    let default = match verbose {
        // The transport complains about every peer that vanishes; what that means is said elsewhere.
        0 => "error,iroh=off,noq=off",
        1 => {
            "warn,iroh=off,noq=off,symbolon=info,symbolon_node=info,symbolon_ledger=info,symbolon_client=info"
        }
        2 => {
            "info,symbolon=debug,symbolon_node=debug,symbolon_ledger=debug,symbolon_client=debug,\
              symbolon_net=debug"
        }
        _ => "trace",
    };
    let filter = env::log_filter().unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!env::no_colour() && std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}
