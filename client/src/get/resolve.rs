//! What a name or a grant stands for: an object, the key to it, the right to read it.

use symbolon_protocol::{
    content::{FileKey, Manifest},
    grant::{Caveat, GrantToken, ability},
    id::OrderId,
    ledger::rows::{OrderState, Orders},
};

use super::Readable;
use crate::{
    Client, Local,
    download::{LeavesWanted, Reading},
    error::ClientError,
    names::Found,
    source::Dress,
};

/// What a name or grant resolves to.
pub(crate) struct Resolved {
    pub(crate) reading: Reading,
    pub(crate) order: Option<OrderId>,
    /// Where in its object the file begins, and its bytes.
    pub(crate) place: (u64, u64),
    /// What an own file has beside its bytes; a grant says nothing of that.
    pub(crate) dress: Option<Dress>,
}

impl Client {
    /// What a name or grant gives the right and the key to read.
    pub(crate) async fn resolve(&self, what: &Readable) -> Result<Resolved, ClientError> {
        let what = what.clone();
        let resolved = self.local(move |local| local.resolve_here(&what)).await?;
        if let Some(order) = &resolved.order {
            let row = self.ledger().row_lately(Orders, order).await?;
            if row.is_some_and(|row| row.state == OrderState::Refunded) {
                return Err(ClientError::OrderRefunded(*order));
            }
        }
        Ok(resolved)
    }

    /// The right and the key to read an own file.
    pub(crate) fn resolve_own(&self, file: &Found) -> Result<Resolved, ClientError> {
        let key = file.object.key.file_key();
        let grant = Some(self.own_grant(file.manifest().object, ability::READ)?);
        let (manifest, leaves) = (file.manifest().clone(), LeavesWanted::No);
        let reading = Reading { manifest, key, grant, leaves, only: None };
        let (place, dress) = ((file.first, file.length), Some(file.dress));
        Ok(Resolved { reading, order: None, place, dress })
    }

    /// Unwraps the key of a grant that is bound to this identity.
    pub(crate) fn open_token(
        &self,
        token: &GrantToken,
    ) -> Result<(Manifest, FileKey), ClientError> {
        if token.chain != self.ledger().chain() {
            return Err(ClientError::Grant("it is for another network".into()));
        }
        let holder = token.grant.links.last().map(|link| link.audience);
        if holder != Some(self.identity().peer()) {
            return Err(ClientError::Grant("it is bound to another key".into()));
        }
        let key = token
            .open(&self.identity().wrap_secret())
            .map_err(|error| ClientError::Grant(error.into()))?;
        Ok((token.manifest.clone(), FileKey::from_bytes(*key)))
    }
}

impl Local {
    /// The same as far as this machine knows it: of what was bought, the money may be back.
    pub(crate) fn resolve_here(&self, what: &Readable) -> Result<Resolved, ClientError> {
        match what {
            Readable::Name(name) => self.resolve_own(&self.find(name)?),
            Readable::Version(name, number) => self.resolve_own(&self.find_version(name, *number)?),
            Readable::Token(token) => {
                let (manifest, key) = self.open_token(token)?;
                let mut caveats = token.grant.links.iter().flat_map(|link| &link.caveats);
                let order = caveats.find_map(|caveat| match caveat {
                    Caveat::Order { order } => Some(*order),
                    _ => None,
                });
                let (grant, leaves) = (Some(token.grant.clone()), LeavesWanted::No);
                let reading = Reading { manifest, key, grant, leaves, only: None };
                let place = (0, reading.manifest.length);
                Ok(Resolved { reading, order, place, dress: None })
            }
        }
    }
}
