//! Sharing: turns a name into a grant for its bytes and for nothing else.

use symbolon_protocol::{
    Amount,
    grant::{Caveat, GrantToken},
    identity::Recipient,
};

use crate::{
    error::ClientError,
    library::{
        Library,
        budget::Budget,
        names::{Found, Name},
    },
    progress::Progress,
    term::Kept,
};

/// Milliseconds that a ledger may take to say until when a file is stored.
const LEDGER_PATIENCE_MS: u64 = 2_000;

impl Library {
    /// Grants another identity the right to read a file, restricted by `caveats`.
    ///
    /// A file that shares its object with others gets an object of its own first, because a holder of an object's key
    /// can read all of the object. That and publishing the grant cost at most `cost_max` together.
    pub async fn share(
        &self,
        name: &Name,
        to: &Recipient,
        caveats: Vec<Caveat>,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<GrantToken, ClientError> {
        let budget = Budget::of(cost_max);
        let sharing = async {
            let found = self.find(name).await?;
            self.check_share(&found, &caveats).await?;
            // A grant that cannot be made must cost nothing, so this tries to make it for the present object first.
            self.grant_for((found.manifest(), &found.key()), to, caveats.clone())?;
            let entry = self.object_of_its_own(name, &budget, progress).await?;
            let token = self.grant_for((entry.manifest(), &entry.key()), to, caveats)?;
            let (label, given) = (format!("given: {name}"), token.clone());
            self.local(move |local| local.remember_grant(&label, &given)).await?;
            Ok(token)
        };
        self.changing(&budget, progress, sharing).await
    }

    /// Refuses to grant access for longer than the file is stored. If no ledger answers, the client cannot check that
    /// and makes the grant all the same.
    async fn check_share(&self, entry: &Found, caveats: &[Caveat]) -> Result<(), ClientError> {
        let name = entry.name.to_string();
        let chain = tokio::select! {
            biased;
            chain = self.network().chain_row() => chain.map_err(ClientError::from),
            () = self.host().sleep_ms(LEDGER_PATIENCE_MS) => return Ok(()),
        };
        let chain = match chain {
            Ok(chain) => chain,
            Err(ClientError::Ledger(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let paid_until_ms = match self.kept(&chain, &entry.object).await? {
            Kept::Until { time_ms, .. } => time_ms,
            Kept::Over { since_ms } => return Err(ClientError::Over { name, since_ms }),
        };
        let ends = caveats.iter().filter_map(|caveat| match caveat {
            Caveat::NotAfter { time_ms } | Caveat::Once { until_ms: time_ms } => Some(*time_ms),
            _ => None,
        });
        match ends.min() {
            Some(wanted_ms) if paid_until_ms < wanted_ms => {
                Err(ClientError::EndsEarly { name, paid_until_ms, wanted_ms })
            }
            _ => Ok(()),
        }
    }
}
