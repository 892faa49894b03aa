//! Copies: an item under another key, over the same ranges of the same objects. No byte moves.

use super::{
    Attribute, BucketName, Expected, ItemKey, ItemView, VersionId, ordered,
    rows::{NewRow, Row, newest, put_row, version_row, waiting_bytes},
};
use crate::{
    catalog::ItemContent,
    error::ClientError,
    library::{Library, Local, budget::Budget},
    progress::Progress,
};

/// How to copy.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// What the source has to be.
    pub source: Expected,
    /// What has to be there before.
    pub expected: Expected,
    /// Other attributes than those of the source.
    pub attributes: Option<Vec<Attribute>>,
}

impl Library {
    /// Copies a version of an item, or its current one.
    pub async fn copy_item(
        &self,
        (bucket, key, version): (&BucketName, &ItemKey, Option<VersionId>),
        to: (&BucketName, &ItemKey),
        options: CopyOptions,
    ) -> Result<ItemView, ClientError> {
        let from = (bucket.clone(), key.clone());
        let to = (to.0.clone(), to.1.clone());
        let attributes = options.attributes.map(ordered).transpose()?;
        let (source, expected) = (options.source, options.expected);
        let copy = move |local: &Local| {
            local.catalog().edit(|rows| {
                let place = (&from.0, &from.1);
                let row = match version {
                    Some(version) => version_row(rows, place, version)?,
                    None => newest(rows, place)?,
                };
                source.check(&from.1, row.as_ref().map(|row| (row.version, &row.item)))?;
                let row = row.filter(|row| !row.item.is_tombstone());
                let missing = || ClientError::NoItem { key: from.1.to_string() };
                let Row { version, item, waiting } = row.ok_or_else(missing)?;
                let ItemContent::Bytes { .. } = item.content else { return Err(missing()) };
                let waiting = match waiting {
                    true => Some(waiting_bytes(rows, place, version)?),
                    false => None,
                };
                let attributes = attributes.unwrap_or(item.attributes);
                let (bucket, key, content) = (to.0, to.1, item.content);
                let new = NewRow { bucket, key, expected, content, attributes, waiting };
                put_row(rows, local.host(), new)
            })
        };
        self.changing(&Budget::default(), &Progress::silent(), self.local(copy)).await
    }
}
