//! Processes of this program in the background: how one starts, says its first word, and is ended.

use std::{ffi::OsStr, fs::OpenOptions, path::Path, process::Stdio, time::Duration};

use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    error::{Error, Kind},
    home,
    interrupt::{self, Interrupt},
    output::{Output, Said},
};

/// How long a process may take to stop before it is ended by force.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait between two checks whether it has stopped.
const LOOK: Duration = Duration::from_millis(50);

/// Leaves the terminal's session: closing the terminal must not end this process.
#[cfg(unix)]
pub(crate) fn leave_terminal() -> Result<(), Error> {
    let left = rustix::process::setsid();
    left.map(drop)
        .map_err(|error| Error::new(Kind::Io, format!("cannot leave the session: {error}")))
}

/// Starts this program in the background and waits for its first document. Its log goes to a file.
pub(crate) async fn start<T: DeserializeOwned>(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    log: &Path,
    what: &str,
) -> Result<T, Error> {
    home::make_folder(log.parent().unwrap_or(Path::new(".")))?;
    let out = OpenOptions::new().create(true).append(true).open(log);
    let out = out.map_err(|error| Error::io("write", log, &error))?;
    let exe = std::env::current_exe()
        .map_err(|error| Error::internal(format!("cannot find this program: {error}")))?;
    let mut command = Command::new(exe);
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(out));
    let mut child = command.spawn().map_err(|error| {
        Error::internal(format!("cannot start the background process: {error}"))
    })?;
    let stdout = child.stdout.take().ok_or_else(|| Error::internal("the child has no stdout"))?;
    let mut lines = BufReader::new(stdout).lines();
    let mut interrupt = Interrupt::listen();
    let Some(line) = interrupt.or(lines.next_line()).await else {
        // The child is in a session of its own, which Ctrl-C does not reach. What it has made stays valid.
        child.kill().await.ok();
        let hint = "nothing runs; the same command again starts it";
        return Err(interrupt::stopped(format!("stopped before {what} was ready"), hint));
    };
    match line.ok().flatten().and_then(|line| Said::read(&line)) {
        Some(Said::Ready(ready)) => Ok(ready),
        Some(Said::Failed(failure)) => Err(failure.into()),
        None => Err(Error::internal("the background process ended without an answer")
            .hint(format!("its log is {}", log.display()))),
    }
}

/// Ends a process that holds the lock of a folder. Gives whether that took force.
pub(crate) async fn stop(
    pid: u32,
    running: impl Fn() -> bool,
    out: &Output,
) -> Result<bool, Error> {
    ours(pid)?;
    signal(pid, Ending::Ask)?;
    if ends(&running).await {
        return Ok(false);
    }
    out.warn(&format!("process {pid} does not stop; ending it by force"));
    signal(pid, Ending::Force)?;
    match ends(&running).await {
        true => Ok(true),
        false => Err(Error::new(Kind::InUse, format!("process {pid} does not end"))),
    }
}

async fn ends(running: &impl Fn() -> bool) -> bool {
    let gone = async {
        while running() {
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
