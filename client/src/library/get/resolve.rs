//! Resolving a name or a grant to an object, its key, and the right to read it.

use symbolon_protocol::{grant::ability, id::OrderId};

use super::Readable;
use crate::{
    catalog::ObjectEntry,
    download::{LeavesWanted, Reading},
    error::ClientError,
    library::{Library, Local, names::Found, source::FileMetadata},
};

/// A resolved name or grant.
pub(crate) struct Resolved {
    pub(crate) reading: Reading,
    /// The order that the grant came from. A buyer's client compares the whole file with the listing.
    pub(crate) bought: Option<OrderId>,
    /// Where the file begins in its object, and its length in bytes.
    pub(crate) place: (u64, u64),
    /// The metadata of an own file. A grant has none.
    pub(crate) metadata: Option<FileMetadata>,
}

impl Library {
    /// Resolves a name or grant to the right and the key to read it, as far as this machine knows them.
    pub(crate) async fn resolve(&self, what: &Readable) -> Result<Resolved, ClientError> {
        let what = what.clone();
        self.local(move |local| local.resolve_here(&what)).await
    }

    /// Gives the right and the key to read an own file, or one of a shared folder.
    pub(crate) fn resolve_own(&self, file: &Found) -> Result<Resolved, ClientError> {
        let reading = match &file.right {
            None => self.own_reading(&file.object)?,
            Some(right) => Reading {
                owner: right.owner,
                manifest: file.manifest().clone(),
                key: file.object.key.file_key(),
                grant: Some(right.grant.clone()),
                leaves: LeavesWanted::No,
                only: None,
            },
        };
        let (place, metadata) = ((file.first, file.length), Some(file.metadata));
        Ok(Resolved { reading, bought: None, place, metadata })
    }

    /// How to read an object of this identity.
    pub(crate) fn own_reading(&self, entry: &ObjectEntry) -> Result<Reading, ClientError> {
        let (manifest, key) = (entry.manifest.clone(), entry.key.file_key());
        let grant = Some(self.own_grant(manifest.object, ability::READ)?);
        let leaves = LeavesWanted::No;
        Ok(Reading { owner: self.me(), manifest, key, grant, leaves, only: None })
    }
}

impl Local {
    /// Does the same on a thread where it may block.
    pub(crate) fn resolve_here(&self, what: &Readable) -> Result<Resolved, ClientError> {
        match what {
            Readable::Name(name) => self.resolve_own(&self.find(name)?),
            Readable::Version(name, number) => self.resolve_own(&self.find_version(name, *number)?),
            Readable::Token(token) => {
                let (manifest, key) = self.open_token(token)?;
                let sale = token.grant.sale;
                let bought = sale.map(|sale| sale.order);
                let owner = token.grant.root;
                let (grant, leaves) = (Some(token.grant.clone()), LeavesWanted::No);
                let reading = Reading { owner, manifest, key, grant, leaves, only: None };
                let place = (0, reading.manifest.length);
                Ok(Resolved { reading, bought, place, metadata: None })
            }
        }
    }
}
