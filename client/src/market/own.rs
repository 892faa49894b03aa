//! The listings that an identity has made: their ids, the listings of an object, and ending them.
//!
//! The library asks for them as [`Promises`]. They need only the wallet and nothing of the library. So the market hands
//! them down to the library, and the library does not reach up.

use std::collections::BTreeSet;

use symbolon_protocol::{
    LedgerTime,
    id::{ListingId, ObjectId, Opening},
    ledger::{
        rows::{Listing, ListingState, Listings, ListingsOf, Sales, Sold, Table},
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

/// Derives the opening of an id. Every device of this identity derives the same again for the same `what` and `about`.
/// On another ledger the opening differs, so the ids of one owner there and here have nothing in common.
pub(super) fn opening(wallet: &Wallet, what: &str, about: &[u8]) -> Opening {
    let mut hasher = blake3::Hasher::new_keyed(&wallet.identity().names_key());
    hasher.update(&wallet.ledger().chain().0);
    hasher.update(what.as_bytes()).update(&[0]).update(about);
    Opening(hasher.finalize().into())
}

/// What names a listing in the id of a transaction: its id may stand for another listing later.
pub(super) fn about_listing(id: &ListingId, listed_ms: LedgerTime) -> Vec<u8> {
    [id.0.as_slice(), &listed_ms.0.to_le_bytes()].concat()
}

impl OwnListings {
    /// The opening of this identity's listing number `count` of an object, from 0.
    pub(super) fn opening(&self, object: &ObjectId, count: u32) -> Opening {
        let about = [object.0.as_slice(), &count.to_le_bytes()].concat();
        opening(&self.0, "listing", &about)
    }

    /// The id of that listing.
    pub(super) fn id(&self, object: &ObjectId, count: u32) -> ListingId {
        ListingId::of(&self.0.me(), &self.opening(object, count))
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
        // The numbers of an object's listings may have gaps: a listing leaves the ledger some time after its end. So
        // the ledger is asked which there are. Many objects are looked up in one list.
        let me = self.0.me();
        let network = self.0.network();
        let keys = match objects {
            [] => return Ok(Vec::new()),
            [object] => {
                let prefix = [&me.0[..], &object.0].concat();
                network.scan_all(ListingsOf, &prefix).await?
            }
            _ => network.scan_all(ListingsOf, &me.0).await?,
        };
        let wanted: BTreeSet<&ObjectId> = objects.iter().collect();
        let pairs = keys.iter().filter_map(|(key, _)| Some(ListingsOf::parse(key)?.1));
        let pairs: Vec<_> = pairs.filter(|(object, _)| wanted.contains(object)).collect();
        let ids: Vec<_> = pairs.iter().map(|(_, id)| *id).collect();
        let rows = network.rows_of(Listings, &ids).await?;
        let listed = pairs.into_iter().zip(rows);
        Ok(listed.filter_map(|((object, id), row)| Some((object, id, row?))).collect())
    }

    /// All listings of this identity that the ledger has.
    pub(super) async fn all(&self) -> Result<Vec<(ListingId, Listing)>, ClientError> {
        let network = self.0.network();
        let keys = network.scan_all(ListingsOf, &self.0.me().0).await?;
        let ids: Vec<_> =
            keys.iter().filter_map(|(key, _)| Some(ListingsOf::parse(key)?.1.1)).collect();
        let rows = network.rows_of(Listings, &ids).await?;
        Ok(ids.into_iter().zip(rows).filter_map(|(id, row)| Some((id, row?))).collect())
    }

    /// Takes a listing off the market. Gives its row from then on.
    pub(super) async fn end(&self, id: &ListingId) -> Result<Listing, ClientError> {
        let row = self.row(id).await?;
        if row.state != ListingState::Open && row.seller == self.0.me() {
            return Ok(row);
        }
        let action = Action::EndListing { listing: *id };
        let about = about_listing(id, row.listed_ms);
        self.0.send_once(Key::Account, transaction_id("end listing", &about), action).await?;
        self.row(id).await
    }

    /// Ends the open listings of objects that are about to be removed, so that no buyer pays for missing data.
    async fn end_of(
        &self,
        objects: &[ObjectId],
        progress: &Progress,
    ) -> Result<Vec<ListingId>, ClientError> {
        let mut ended = Vec::new();
        for (_, id, listing) in self.of(objects).await? {
            if listing.state == ListingState::Open {
                self.end(&id).await?;
                progress.note(format!("listing {id} ends: the file that it sells is removed"));
                ended.push(id);
            }
        }
        Ok(ended)
    }

    /// Those of these objects whose deals the ledger does not end, because a sale binds them.
    async fn bound_among(&self, objects: &[ObjectId]) -> Result<BTreeSet<ObjectId>, ClientError> {
        let listed: BTreeSet<ObjectId> =
            self.of(objects).await?.into_iter().map(|(object, ..)| object).collect();
        if listed.is_empty() {
            return Ok(listed);
        }
        let keys: Vec<_> = listed.iter().map(|object| (self.0.me(), *object)).collect();
        let sales = self.0.network().rows_of(Sales, &keys).await?;
        let now_ms = self.0.clock().await?.now_ms;
        let binds = |sale: &Sold| 0 < sale.listings || 0 < sale.orders || now_ms < sale.until_ms;
        let sold = listed.into_iter().zip(sales);
        Ok(sold.filter_map(|(object, sale)| sale.filter(binds).map(|_| object)).collect())
    }
}

impl Promises for OwnListings {
    fn among<'a>(&'a self, objects: &'a [ObjectId]) -> Answer<'a, BTreeSet<ObjectId>> {
        Box::pin(self.bound_among(objects))
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
    use symbolon_protocol::{id::ChainId, identity::Identity};

    use super::*;
    use crate::wallet::Setup;

    /// The openings that an identity derives on a ledger. Nothing is asked of the ledger for that.
    fn openings(seed: u8, chain: u8) -> [Opening; 4] {
        let (folder, network) = (tempfile::tempdir().unwrap(), MemoryNetwork::new());
        let identity = Identity::from_seed(&[seed; 64]);
        let endpoint = network.endpoint(identity.access_key().to_bytes());
        let (chain, peers) = (ChainId([chain; 32]), vec![network.endpoint([9; 32]).address()]);
        let ledger = Remote::new(endpoint.clone(), LedgerTicket { chain, peers });
        let (host, dir) = (Host::system(), folder.path().to_owned());
        let setup = Setup { identity, ledger: ledger.into(), endpoint, host, dir };
        let own = OwnListings(Wallet::new(setup).unwrap());
        let vault = opening(&own.0, "vault", &[]);
        let listing = |object: u8, count| own.opening(&ObjectId([object; 16]), count);
        [vault, listing(1, 0), listing(1, 1), listing(2, 0)]
    }

    #[test]
    fn every_ledger_and_identity_has_openings_of_its_own() {
        let all = [openings(1, 1), openings(1, 2), openings(2, 1)];
        assert_eq!(openings(1, 1), all[0], "another device derives the same");
        let distinct: BTreeSet<_> = all.iter().flatten().collect();
        assert_eq!(distinct.len(), 12);
    }
}
