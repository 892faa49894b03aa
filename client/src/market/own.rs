//! The listings that an identity has made: their ids, the listings of an object, and ending them.
//!
//! The library asks for them as [`Promises`]. They need only the wallet and nothing of the library. So the market hands
//! them down to the library, and the library does not reach up.

use std::collections::BTreeSet;

use symbolon_protocol::{
    id::{ListingId, ObjectId},
    ledger::{
        rows::{Listing, ListingState, Listings},
        transaction::Action,
    },
};

use crate::{
    error::ClientError,
    library::promises::{Answer, Promises},
    progress::Progress,
    wallet::{
        Wallet,
        account::{Key, transaction_id},
    },
};

/// The listings of an identity. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct OwnListings(pub(super) Wallet);

/// Derives an id that only this identity can choose. On this ledger it chooses the same id again for the same `what`
/// and `about`. On another ledger the id differs, so a party that sees it there cannot take it here.
pub(super) fn own_id(wallet: &Wallet, what: &str, about: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(&wallet.identity().names_key());
    hasher.update(&wallet.ledger().chain().0);
    hasher.update(what.as_bytes()).update(&[0]).update(about);
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}

impl OwnListings {
    /// The id of this identity's listing number `count` of an object, from 0.
    pub(super) fn id(&self, object: &ObjectId, count: u32) -> ListingId {
        let about = [object.0.as_slice(), &count.to_le_bytes()].concat();
        ListingId(own_id(&self.0, "listing", &about))
    }

    /// The row of any listing.
    pub(super) async fn row(&self, id: &ListingId) -> Result<Listing, ClientError> {
        self.0.ledger().row(Listings, id).await?.ok_or(ClientError::NoListing(*id))
    }

    /// The listings that this identity has made of some objects, each with its object.
    pub(super) async fn of(
        &self,
        objects: &[ObjectId],
    ) -> Result<Vec<(ObjectId, ListingId, Listing)>, ClientError> {
        let mut found = Vec::new();
        let mut left: Vec<ObjectId> = objects.to_vec();
        // The listings of an object have one number after another: the next number is used when the listing before it
        // has ended.
        for count in 0_u32.. {
            if left.is_empty() {
                break;
            }
            let ids: Vec<_> = left.iter().map(|object| self.id(object, count)).collect();
            let rows = self.0.network().rows_of(Listings, &ids).await?;
            let mut next = Vec::new();
            for ((object, id), row) in left.into_iter().zip(ids).zip(rows) {
                if let Some(listing) = row {
                    found.push((object, id, listing));
                    next.push(object);
                }
            }
            left = next;
        }
        Ok(found)
    }

    /// Takes a listing off the market.
    pub(super) async fn end(&self, id: &ListingId) -> Result<(), ClientError> {
        self.row(id).await?;
        let action = Action::EndListing { listing: *id };
        self.0.send_once(Key::Account, transaction_id("end listing", &id.0), action).await
    }

    /// Ends the open listings of objects that are about to be removed, so that no buyer pays for missing data.
    async fn end_of(
        &self,
        objects: &[ObjectId],
        progress: &Progress,
    ) -> Result<Vec<ListingId>, ClientError> {
        let mut ended = Vec::new();
        for (_, id, listing) in self.of(objects).await? {
            if listing.state == ListingState::Open && listing.seller == self.0.me() {
                self.end(&id).await?;
                progress.note(format!("listing {id} ends: the file that it sells is removed"));
                ended.push(id);
            }
        }
        Ok(ended)
    }

    async fn open_among(&self, objects: &[ObjectId]) -> Result<BTreeSet<ObjectId>, ClientError> {
        let all = self.of(objects).await?.into_iter();
        let open = all.filter(|(_, _, listing)| listing.state == ListingState::Open);
        Ok(open.map(|(object, ..)| object).collect())
    }
}

impl Promises for OwnListings {
    fn among<'a>(&'a self, objects: &'a [ObjectId]) -> Answer<'a, BTreeSet<ObjectId>> {
        Box::pin(self.open_among(objects))
    }

    fn end<'a>(
        &'a self,
        objects: &'a [ObjectId],
        progress: &'a Progress,
    ) -> Answer<'a, Vec<ListingId>> {
        Box::pin(self.end_of(objects, progress))
    }
}

#[cfg(test)]
mod tests {
    use symbolon_ledger::{LedgerTicket, Remote};
    use symbolon_net::{Host, MemoryNetwork};
    use symbolon_protocol::{
        id::{AccountId, ChainId},
        identity::Identity,
    };

    use super::*;
    use crate::wallet::Setup;

    /// The ids that an identity derives on a ledger. Nothing is asked of the ledger for that.
    fn ids(seed: u8, chain: u8) -> [[u8; 16]; 4] {
        let (folder, network) = (tempfile::tempdir().unwrap(), MemoryNetwork::new());
        let identity = Identity::from_seed(&[seed; 64]);
        let endpoint = network.endpoint(identity.access_key().to_bytes());
        let (chain, authority) = (ChainId([chain; 32]), AccountId([8; 32]));
        let address = network.endpoint([9; 32]).address();
        let ledger = Remote::new(endpoint.clone(), LedgerTicket { chain, authority, address });
        let (host, dir) = (Host::system(), folder.path().to_owned());
        let setup = Setup { identity, ledger: ledger.into(), endpoint, host, dir };
        let own = OwnListings(Wallet::new(setup).unwrap());
        let vault = own_id(&own.0, "vault", &[]);
        let listing = |object: u8, count| own.id(&ObjectId([object; 16]), count).0;
        [vault, listing(1, 0), listing(1, 1), listing(2, 0)]
    }

    #[test]
    fn every_ledger_and_identity_has_ids_of_its_own() {
        let all = [ids(1, 1), ids(1, 2), ids(2, 1)];
        assert_eq!(ids(1, 1), all[0], "another device derives the same");
        let distinct: BTreeSet<_> = all.iter().flatten().collect();
        assert_eq!(distinct.len(), 12);
    }
}
