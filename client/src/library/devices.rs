//! Keeping in step with the other devices of the identity. Before a call reads or changes something, it takes over the
//! changes of the other devices. After a call has changed something, it publishes the change to them.
//!
//! Neither step ever makes a call fail: the index on this machine is enough to work with. Changes that could not be
//! published go out with the next change.

use symbolon_protocol::{Amount, grant::GrantToken, id::ObjectId};

use crate::{
    error::ClientError,
    library::{Library, Local, budget::Budget, index::PullReport},
    progress::Progress,
};

/// Milliseconds that a call waits for a silent ledger before it continues without the changes of other devices.
const PATIENCE_MS: u64 = 1_000;

/// How a client keeps in step with the other devices of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// Each call that reads or changes files first takes over the changes of other devices. Each call that changes
    /// files then publishes its changes.
    InStep {
        /// The limit for one publication, if it has to store a list of names. Without a value it is
        /// [`Devices::COST_MAX`]. A call with a limit of its own lowers it to what is left of that. If a publication would
        /// cost more, a later one takes its changes along.
        cost_max: Option<Amount>,
    },
    /// The program calls [`Library::pull_names`] and [`Library::publish_names`] itself. This is for a program that asks
    /// a person before it pays.
    ByHand,
}

impl Default for Devices {
    fn default() -> Self {
        Self::InStep { cost_max: None }
    }
}

impl Devices {
    /// The limit for one publication when neither the client nor the call has one. At the usual price of a node, one
    /// credit pays for a GiB and a month.
    pub const COST_MAX: Amount = Amount::credits(1);

    /// The limit for the publication after a call that has `left` of its own limit. `None` if the program publishes.
    fn cost_max(self, left: Option<Amount>) -> Option<Amount> {
        let Self::InStep { cost_max } = self else { return None };
        Some(match (cost_max, left) {
            (Some(most), Some(left)) => most.min(left),
            (Some(most), None) | (None, Some(most)) => most,
            (None, None) => Self::COST_MAX,
        })
    }
}

impl Library {
    /// Reads from the index after taking over the changes of other devices.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Local) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        self.catch_up().await;
        self.local(work).await
    }

    /// All grants in the index, given and received, each with its label.
    pub async fn grants(&self) -> Result<Vec<(String, GrantToken)>, ClientError> {
        self.read(|local| local.grants()).await
    }

    /// The grants of this identity for an object.
    pub async fn grants_of(&self, object: &ObjectId) -> Result<Vec<GrantToken>, ClientError> {
        let object = *object;
        self.read(move |local| local.grants_of(&object)).await
    }

    /// Changes stored files: takes over the changes of other devices first, and publishes to them afterwards. The work
    /// counts its payments in `budget`, and the publication may spend what is left of it.
    pub(crate) async fn changing<T>(
        &self,
        budget: &Budget,
        progress: &Progress,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        self.catch_up().await;
        let done = work.await;
        // This also happens after a failure: another device can continue what the work has begun or paid for.
        self.publish_changes(budget.left(), progress).await;
        done
    }

    /// Takes over the changes of other devices, unless the program does so itself.
    pub(crate) async fn catch_up(&self) {
        if self.inner.devices == Devices::ByHand {
            return;
        }
        let quiet = Progress::silent();
        // Nearly every call contains a pull and a publication. Both are boxed, so that the calls stay small.
        let mut pulling = Box::pin(self.pull_names(&quiet));
        // Once the ledger has answered, fetching a list of names may take as long as it needs.
        let answering = async {
            tokio::select! {
                biased;
                answered = self.network().recent_chain() => answered.is_ok(),
                () = self.host().sleep_ms(PATIENCE_MS) => false,
            }
        };
        let pulled = tokio::select! {
            biased;
            pulled = &mut pulling => pulled,
            answered = answering => match answered {
                true => pulling.await,
                false => return tracing::debug!("the ledger does not answer: using the names on this machine"),
            },
        };
        match pulled {
            Ok(report) => warn(report.as_ref()),
            Err(error) => tracing::debug!(%error, "names of other devices could not be fetched"),
        }
    }

    /// Publishes the changes of this device, unless the program does so itself.
    async fn publish_changes(&self, left: Option<Amount>, progress: &Progress) {
        let Some(most) = self.inner.devices.cost_max(left) else { return };
        let quiet = Progress::silent();
        match Box::pin(self.publish_names(Some(most), &quiet)).await {
            Ok(report) => warn(report.as_ref().and_then(|report| report.pulled.as_ref())),
            Err(error) => {
                progress.note(format!("other devices cannot see the change yet: {error}"))
            }
        }
    }
}

/// Logs what the owner should know about a pull.
fn warn(report: Option<&PullReport>) {
    let Some(report) = report else { return };
    if report.set_back {
        tracing::warn!(
            "the ledger had an older or another list of names than this device has seen"
        );
    }
    for name in &report.merged {
        tracing::warn!(name, "changed on two devices at once; both contents are versions of it");
    }
}
