//! What others were promised of what is stored, beside grants: asked before any of it goes or is stored anew.
//!
//! The library does not know who promises what. Whoever does stands above it and is handed down to it.

use std::{collections::BTreeSet, fmt, pin::Pin};

use symbolon_protocol::id::{ListingId, ObjectId};

use crate::{error::ClientError, library::Library, progress::Progress};

/// An answer that takes a while.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + Send + 'a>>;

/// Whoever promises others something of what is stored.
pub(crate) trait Promises: fmt::Debug + Send + Sync {
    /// Those of some objects that are promised to whoever comes.
    fn among<'a>(&'a self, objects: &'a [ObjectId]) -> Answer<'a, BTreeSet<ObjectId>>;

    /// Takes back what was promised of objects that are about to go. Says which listings that were.
    fn end<'a>(
        &'a self,
        objects: &'a [ObjectId],
        progress: &'a Progress,
    ) -> Answer<'a, Vec<ListingId>>;
}

impl Library {
    /// Those of some objects that are promised to whoever comes.
    pub(super) async fn promised(
        &self,
        objects: &[ObjectId],
    ) -> Result<BTreeSet<ObjectId>, ClientError> {
        match &self.inner.promises {
            Some(promises) => promises.among(objects).await,
            None => Ok(BTreeSet::new()),
        }
    }

    /// Takes back what was promised of objects that are about to go.
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
