//! The program: it reads the arguments, runs a command, and ends with an exit code.

mod alerts;
mod archive;
mod args;
mod auto;
mod checks;
mod client_error;
mod commands;
mod context;
mod declare;
mod detached;
mod durability;
mod env;
mod error;
mod founding;
mod grants;
mod health;
mod hints;
mod home;
mod interrupt;
mod keys;
#[cfg(unix)]
mod limits;
mod log;
mod metrics;
mod names;
mod nodes;
mod output;
mod own_account;
mod progress;
mod serve;
mod stamp;
mod target;
mod units;
mod unseen;

use std::{process::ExitCode, thread, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _};
use symbolon_client::is_unprintable;

use crate::{
    args::Args,
    context::Context,
    error::{Error, Kind},
    hints::Verb,
    output::{Chatter, Format, Output},
};

/// How long a stopped command may take to finish what it is writing.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Bytes of the stack of the command's own thread. It is address space, not memory.
const STACK: usize = 64 << 20;

/// Bytes of the stack of each other thread. glibc reads a thread's stack once more after it was detached, and keeps the
/// stacks of ended threads for that, but only 40 MiB of them: with larger ones a command may crash at its end.
const WORKER_STACK: usize = 8 << 20;

fn main() -> ExitCode {
    let parsed = Args::command().try_get_matches().and_then(|matches| {
        let args = Args::from_arg_matches(&matches)?;
        Ok((args, Verb::of(Args::command(), &matches)))
    });
    let (args, verb) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return explain(&error),
    };
    let out = context::output(&args.global);
    ended(on_a_deep_stack(args).map_err(|error| error.hint_for(&verb)), &out)
}

/// Runs the command on a thread with room for the futures of a whole folder, which a build without optimisation copies
/// from frame to frame.
fn on_a_deep_stack(args: Args) -> Result<(), Error> {
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || run(args));
    let thread =
        thread.map_err(|error| Error::internal(format!("cannot start a thread: {error}")))?;
    // What it panicked with is on stderr already.
    thread.join().unwrap_or_else(|_| Err(Error::internal("the command panicked")))
}

/// Prints the error, if there is one.
fn ended(result: Result<(), Error>, out: &Output) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.kind as u8)
        }
    }
}

fn run(args: Args) -> Result<(), Error> {
    log::start(args.global.verbose, args.global.log_format);
    #[cfg(unix)]
    limits::raise_files();
    interrupt::hear(&context::output(&args.global), commands::runs_on(&args.verb))?;
    let context = Context::new(&args.global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(WORKER_STACK)
        .enable_all()
        .build()
        .map_err(|error| Error::internal(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(commands::run(args.verb, &context));
    if result.as_ref().is_err_and(|error| error.kind == Kind::Interrupted) {
        // Writes that had begun are finished, so that the same command can go on from them.
        runtime.shutdown_timeout(LAST_WRITES);
    } else {
        // All results are there. A read of stdin that never ends must not hold up the end.
        runtime.shutdown_background();
    }
    result
}

/// Prints help, version, or the fault of the command line.
fn explain(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    let format = if json { Format::Json } else { Format::Human };
    let out = Output::new(format, Chatter::Normal, env::no_colour());
    if !error.use_stderr() {
        return ended(error.print().or_else(output::stdout_failed), &out);
    }
    let text = error.render().to_string();
    if json {
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        out.error(&Error::usage(message).hint("see: symbolon --help"));
    } else if text.contains(|letter| letter != '\n' && is_unprintable(letter)) {
        // The text repeats arguments, which may be names of files with unprintable characters.
        out.aside(text.trim_end());
    } else if error.print().is_err() {
        // The stream is closed; the exit code still tells.
    }
    ExitCode::from(Kind::Usage as u8)
}
