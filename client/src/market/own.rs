//! The listings an identity has made: the id of each, those there are of an object, and ending them.
//!
//! They are what the library asks for as [`Promises`]. They need the wallet and nothing of the library: so it is the
//! market that is handed down, and not the library that reaches up.

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

/// An id that only this identity could have chosen, and chooses again for the same thing on this
/// ledger. On another one it is another: who sees it there cannot take it here.
pub(super) fn own_id(wallet: &Wallet, what: &str, about: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(&wallet.identity().names_key());
    hasher.update(&wallet.ledger().chain().0);
    hasher.update(what.as_bytes()).update(&[0]).update(about);
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}

impl OwnListings {
    /// The id of this identity's listing of an object, the first, second and so on.
    pub(super) fn id(&self, object: &ObjectId, count: u32) -> ListingId {
        let about = [object.0.as_slice(), &count.to_le_bytes()].concat();
        ListingId(own_id(&self.0, "listing", &about))
    }

    /// A listing's row, whoever made it.
    pub(super) async fn row(&self, id: &ListingId) -> Result<Listing, ClientError> {
        self.0.ledger().row(Listings, id).await?.ok_or(ClientError::NoListing(*id))
    }

    /// The listings this identity has made of objects, with the object of each.
    pub(super) async fn of(
        &self,
        objects: &[ObjectId],
    ) -> Result<Vec<(ObjectId, ListingId, Listing)>, ClientError> {
        let mut found = Vec::new();
        let mut left: Vec<ObjectId> = objects.to_vec();
        // One after another: the next id is used when the listing before it has ended.
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

    /// Ends the listings of objects that are about to go: nobody may pay for what will not be there.
    async fn end_of(
        &self,
        objects: &[ObjectId],
        progress: &Progress,
    ) -> Result<Vec<ListingId>, ClientError> {
        let mut ended = Vec::new();
        for (_, id, listing) in self.of(objects).await? {
            if listing.state == ListingState::Open && listing.seller == self.0.me() {
                self.end(&id).await?;
                progress.note(format!("listing {id} ends: what it sold goes"));
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
