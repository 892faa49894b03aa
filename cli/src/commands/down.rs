//! `symbolon down`: stop the network that `up` runs.

use std::time::Duration;

use symbolon_view::network::Stopped;

use crate::{
    context::Context,
    error::{Error, Kind},
    output::Report,
};

/// How long the network may take to stop before it is ended by force.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait between two checks whether it has stopped.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon down
  symbolon down --home /srv/symbolon

Nothing is lost: symbolon up brings everything back.")]
pub(crate) struct Args {}

pub(crate) async fn run(_: &Args, context: &Context) -> Result<Report, Error> {
    let root = context.home.root().display().to_string();
    let Some(pid) = context.home.running() else {
        return Err(Error::new(Kind::NotFound, format!("no network is running on {root}"))
            .hint("start one with: symbolon up"));
    };
    ours(pid)?;
    signal(pid, Ending::Ask)?;
    let ended = ends(context).await;
    let forced = !ended;
    if forced {
        context.out.warn(&format!("process {pid} does not stop; ending it by force"));
        signal(pid, Ending::Force)?;
        if !ends(context).await {
            return Err(Error::new(Kind::InUse, format!("process {pid} does not end")));
        }
    }
    let text = format!("The network on {root} has stopped.");
    Ok(Report::new(&Stopped { home: root, pid, forced }).text(text))
}

async fn ends(context: &Context) -> bool {
    let gone = async {
        while context.home.running().is_some() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.is_ok()
}

enum Ending {
    Ask,
    Force,
}

/// Makes sure that the process runs this program. The lock on the home says that such a process runs. This check guards
/// against the moment in which a new process has the lock while the pid file still names the old one.
fn ours(pid: u32) -> Result<(), Error> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    // A replaced binary shows as "symbolon (deleted)".
    if name.starts_with("symbolon") {
        return Ok(());
    }
    Err(Error::new(
        Kind::InUse,
        format!("process {pid} in the pid file is not symbolon ({name:?})"),
    )
    .hint("wait a moment and try again"))
}

#[cfg(unix)]
fn signal(pid: u32, ending: Ending) -> Result<(), Error> {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match ending {
        Ending::Ask => Signal::TERM,
        Ending::Force => Signal::KILL,
    };
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let target = target.ok_or_else(|| Error::new(Kind::Corrupt, "the pid file is damaged"))?;
    match kill_process(target, signal) {
        // It ended by itself in the meantime.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => {
            Err(Error::new(Kind::NotAllowed, format!("cannot stop process {pid}: {error}")))
        }
    }
}

#[cfg(not(unix))]
fn signal(pid: u32, _: Ending) -> Result<(), Error> {
    Err(Error::new(Kind::Internal, format!("cannot stop process {pid} on this system"))
        .hint("stop it with Ctrl-C in its own window"))
}
