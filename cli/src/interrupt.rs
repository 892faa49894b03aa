//! Ctrl-C while something long goes on: the first one stops it where it can go on from, the second one
//! ends the program at once.

use tokio::sync::watch;

use crate::{
    error::{Error, Kind},
    serve::{Leash, told_to_stop},
};

/// Hears of SIGINT and SIGTERM from the moment it is made.
#[derive(Debug)]
pub(crate) struct Interrupt {
    told: watch::Receiver<bool>,
}

impl Interrupt {
    /// Begins to listen. Before that a signal simply ends the program: nothing has begun.
    pub(crate) fn listen() -> Self {
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            if told_to_stop(Leash::Signals).await.is_err() {
                // Without a handler the signal ends the program by itself; nobody is told.
                return std::future::pending().await;
            }
            tell.send_replace(true);
            if told_to_stop(Leash::Signals).await.is_ok() {
                leave();
            }
        });
        Self { told }
    }

    /// Does something, unless it is told to stop first: then that is dropped where it is.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            Ok(_) = self.told.wait_for(|told| *told) => None,
        }
    }
}

/// What a command ends with that was stopped.
pub(crate) fn stopped(message: String, hint: &str) -> Error {
    Error::new(Kind::Interrupted, message).hint(hint)
}

#[expect(clippy::exit, reason = "who asks twice wants no goodbyes")]
fn leave() {
    std::process::exit(Kind::Interrupted as i32);
}
