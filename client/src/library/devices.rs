//! Other devices of the identity: what they changed is here before something is read or changed, and what is changed
//! here is theirs to see afterwards.
//!
//! Neither ever makes a call fail: the index on this machine is enough to work with. What could not be published is
//! published after the next change.

use std::pin::pin;

use symbolon_protocol::{Amount, grant::GrantToken, id::ObjectId};

use crate::{
    error::ClientError,
    library::{Library, Local, index::PullReport},
    progress::Progress,
};

/// How long a call waits for a ledger that does not answer before it goes on without, in milliseconds.
const PATIENCE_MS: u64 = 1_000;

/// How a client keeps in step with the other devices of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// Each call that reads or changes what is stored takes over first what other devices changed, and each that
    /// changes it publishes that afterwards.
    InStep {
        /// The most that one publishing may cost, where a list of names has to be stored for it. It is not part of
        /// what the call itself may cost.
        cost_max: Option<Amount>,
    },
    /// The client's user does so with [`Library::pull_names`] and [`Library::publish_names`]: a program that asks a
    /// person before it pays.
    ByHand,
}

impl Default for Devices {
    fn default() -> Self {
        Self::InStep { cost_max: None }
    }
}

impl Library {
    /// Reads what is stored, with what other devices changed.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Local) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        self.catch_up().await;
        self.local(work).await
    }

    /// All grants in the index, given and received, with what they are.
    pub async fn grants(&self) -> Result<Vec<(String, GrantToken)>, ClientError> {
        self.read(|local| local.grants()).await
    }

    /// The grants of this identity for an object.
    pub async fn grants_of(&self, object: &ObjectId) -> Result<Vec<GrantToken>, ClientError> {
        let object = *object;
        self.read(move |local| local.grants_of(&object)).await
    }

    /// Changes what is stored, between taking over what other devices changed and telling them.
    pub(crate) async fn changing<T>(
        &self,
        progress: &Progress,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        self.catch_up().await;
        let done = work.await;
        // Also where it failed: what it began or paid for is another device's to go on with.
        self.tell(progress).await;
        done
    }

    /// Takes over what other devices changed, where that is not left to the client's user.
    pub(crate) async fn catch_up(&self) {
        if self.inner.devices == Devices::ByHand {
            return;
        }
        let quiet = Progress::silent();
        let mut pulling = pin!(self.pull_names(&quiet));
        // A list of names may take as long as it needs, once the ledger has answered.
        let heard = async {
            tokio::select! {
                biased;
                answered = self.network().recent_chain() => answered.is_ok(),
                () = self.host().sleep_ms(PATIENCE_MS) => false,
            }
        };
        let pulled = tokio::select! {
            biased;
            pulled = &mut pulling => pulled,
            heard = heard => match heard {
                true => pulling.await,
                false => return tracing::debug!("the ledger does not answer: names are as they are here"),
            },
        };
        match pulled {
            Ok(report) => warn(report.as_ref()),
            Err(error) => tracing::debug!(%error, "names of other devices could not be fetched"),
        }
    }

    /// Publishes what changed here, where that is not left to the client's user.
    async fn tell(&self, progress: &Progress) {
        let Devices::InStep { cost_max } = self.inner.devices else { return };
        match self.publish_names(cost_max, &Progress::silent()).await {
            Ok(report) => warn(report.as_ref().and_then(|report| report.pulled.as_ref())),
            Err(error) => progress.note(format!("other devices cannot see it yet: {error}")),
        }
    }
}

/// Says what the identity's owner should know of.
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
