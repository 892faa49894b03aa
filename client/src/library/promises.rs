//! The objects of this library that were promised to other people by something other than a grant. The library asks for
//! them before it removes an object or stores it anew.
//!
//! The library does not know who makes the promises. The room above it makes them, and hands the library a value that
//! answers.

use std::{collections::BTreeSet, fmt, pin::Pin};

use symbolon_protocol::id::{ListingId, ObjectId};

use crate::{error::ClientError, library::Library, progress::Progress};

/// An answer that arrives later.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + Send + 'a>>;

/// A source of promises about stored objects.
pub(crate) trait Promises: fmt::Debug + Send + Sync {
    /// The objects of `objects` that are promised to other people: by an open listing, an open order, or the access of a
    /// buyer that runs. The ledger refuses to end their deals.
    fn among<'a>(&'a self, objects: &'a [ObjectId]) -> Answer<'a, BTreeSet<ObjectId>>;

    /// Withdraws the promises for objects that are about to be removed. Gives the listings that it ended.
    fn end<'a>(
        &'a self,
        objects: &'a [ObjectId],
        progress: &'a Progress,
    ) -> Answer<'a, Vec<ListingId>>;
}

impl Library {
    /// The objects of `objects` that are promised to other people.
    pub(super) async fn promised(
        &self,
        objects: &[ObjectId],
    ) -> Result<BTreeSet<ObjectId>, ClientError> {
        match &self.inner.promises {
            Some(promises) => promises.among(objects).await,
            None => Ok(BTreeSet::new()),
        }
    }

    /// Withdraws the promises for objects that are about to be removed.
    pub(super) async fn end_promises(
        &self,
        objects: &[ObjectId],
        progress: &Progress,
    ) -> Result<Vec<ListingId>, ClientError> {
        match &self.inner.promises {
            Some(promises) => promises.end(objects, progress).await,
            None => Ok(Vec::new()),
        }
    }
}
