//! What a name or a grant stands for: an object, the key to it, the right to read it.

use symbolon_protocol::{
    grant::{Caveat, ability},
    id::OrderId,
};

use super::Readable;
use crate::{
    download::{LeavesWanted, Reading},
    error::ClientError,
    library::{Library, Local, names::Found, source::Dress},
};

/// What a name or grant resolves to.
pub(crate) struct Resolved {
    pub(crate) reading: Reading,
    /// The order that the grant came from. Whoever has paid compares all of it with what was promised.
    pub(crate) order: Option<OrderId>,
    /// Where in its object the file begins, and its bytes.
    pub(crate) place: (u64, u64),
    /// What an own file has beside its bytes; a grant says nothing of that.
    pub(crate) dress: Option<Dress>,
}

impl Library {
    /// What a name or grant gives the right and the key to read, as far as this machine knows it.
    pub(crate) async fn resolve(&self, what: &Readable) -> Result<Resolved, ClientError> {
        let what = what.clone();
        self.local(move |local| local.resolve_here(&what)).await
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
}

impl Local {
    /// The same where it may block.
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
