//! Ctrl-C and SIGTERM, from the first moment to the last.
//!
//! A thread of its own waits for signals, so that they arrive even while a command blocks. Work that a later command
//! can go on from runs under an [`Interrupt`]: the first signal stops that work where it is. At any other moment,
//! and at a second signal, the program ends at once. That is safe: all work can be cut off anywhere.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustix::termios::{self, OptionalActions, Termios};
use tokio::{io::AsyncReadExt as _, sync::watch};

use crate::{
    error::{Error, Kind},
    output::Output,
};

/// The signal handling of this process.
static SIGNALS: OnceLock<Signals> = OnceLock::new();

/// Held while the last document is written; says whether it was written.
static LAST_WORD: Mutex<bool> = Mutex::new(false);

/// How the terminal was before a secret is typed on it.
static TERMINAL: Mutex<Option<Termios>> = Mutex::new(None);

struct Signals {
    out: Output,
    /// Whether the command runs until it is stopped; a signal then ends it with exit code 0.
    serves: bool,
    /// The number of live [`Interrupt`]s.
    listening: AtomicUsize,
    told: watch::Sender<bool>,
}

/// What stops a running command from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leash {
    /// A signal: Ctrl-C or a request to terminate.
    Signals,
    /// Also the end of stdin, which means that the parent has ended.
    Stdin,
}

impl Leash {
    /// From `--leashed`.
    pub(crate) fn from(leashed: bool) -> Self {
        if leashed { Self::Stdin } else { Self::Signals }
    }
}

/// While it lives, the first signal does not end the program but arrives here.
#[derive(Debug)]
pub(crate) struct Interrupt {
    told: watch::Receiver<bool>,
}

impl Interrupt {
    /// Begins to listen.
    pub(crate) fn listen() -> Self {
        Self::on(Leash::Signals)
    }

    /// The same, perhaps also for the end of stdin.
    pub(crate) fn on(leash: Leash) -> Self {
        let Some(signals) = SIGNALS.get() else {
            // No thread listens: signals end the program by themselves.
            return Self { told: watch::channel(false).1 };
        };
        signals.listening.fetch_add(1, Ordering::SeqCst);
        if leash == Leash::Stdin {
            tokio::spawn(async {
                let mut stdin = tokio::io::stdin();
                let mut waste = [0; 64];
                while stdin.read(&mut waste).await.is_ok_and(|count| count > 0) {}
                signals.told.send_replace(true);
            });
        }
        Self { told: signals.told.subscribe() }
    }

    /// Runs `work`. If a signal comes first, drops `work` where it is and returns `None`.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.told() => None,
        }
    }

    /// Waits for the signal to stop.
    pub(crate) async fn told(&mut self) {
        if self.told.wait_for(|told| *told).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(signals) = SIGNALS.get() {
            signals.listening.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The error of a stopped command.
pub(crate) fn stopped(message: String, hint: &str) -> Error {
    Error::new(Kind::Interrupted, message).hint(hint)
}

/// Whether this process was told to stop.
pub(crate) fn was_told() -> bool {
    SIGNALS.get().is_some_and(|signals| *signals.told.borrow())
}

/// Begins to listen for signals, for the whole process. It has to come before anything that waits.
pub(crate) fn hear(out: &Output, serves: bool) -> Result<(), Error> {
    let problem = |error: std::io::Error| Error::internal(format!("cannot hear signals: {error}"));
    let signals = Signals {
        out: out.clone(),
        serves,
        listening: AtomicUsize::new(0),
        told: watch::channel(false).0,
    };
    let signals = SIGNALS.get_or_init(|| signals);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(problem)?;
    let (mut interrupts, mut requests) = {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt()).map_err(problem)?,
            signal(SignalKind::terminate()).map_err(problem)?,
        )
    };
    let listening = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = requests.recv() => {}
                }
                on_signal(signals);
            }
        });
    };
    thread::Builder::new().name(String::from("signals")).spawn(listening).map_err(problem)?;
    Ok(())
}

fn on_signal(signals: &Signals) {
    let first = !*signals.told.borrow();
    if first && 0 < signals.listening.load(Ordering::SeqCst) {
        signals.told.send_replace(true);
        return;
    }
    restore_terminal();
    signals.out.clear_line();
    if first && signals.serves {
        leave(0);
    }
    let error = stopped(
        String::from("stopped by a signal"),
        "finished work is kept; run the same command again for the rest",
    );
    // If another thread writes the last document now, or has written it, it stands.
    match LAST_WORD.try_lock() {
        Ok(said) if !*said && (first || signals.out.is_json()) => signals.out.error_at_last(&error),
        _ => {}
    }
    leave(Kind::Interrupted as i32);
}

/// Writes the last document of a command. A signal that comes meanwhile writes none.
pub(crate) fn last_word<T>(write: impl FnOnce() -> T) -> T {
    let mut said = LAST_WORD.lock().unwrap_or_else(PoisonError::into_inner);
    *said = true;
    write()
}

/// Keeps the state of the terminal for [`restore_terminal`], which a signal calls too.
pub(crate) fn keep_terminal(now: Termios) {
    *TERMINAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
}

/// Restores the kept state of the terminal.
pub(crate) fn restore_terminal() {
    let kept = TERMINAL.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(kept) = kept {
        // A terminal that is gone needs nothing back.
        termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, &kept).ok();
    }
}

#[expect(clippy::exit, reason = "who does not want to wait wants no goodbyes")]
fn leave(code: i32) -> ! {
    std::process::exit(code);
}
