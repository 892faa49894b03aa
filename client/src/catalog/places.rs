//! The keys of all rows of the published index, sorted, for a run that holds all of them. In the file the rows lie in
//! another order, because their places are hashed.

use std::ops::{ControlFlow, Range};

use symbolon_protocol::names::Change;
use symbolon_store::CatalogRows as _;

use super::{
    Catalog, LOCAL_FROM, is_local,
    published::{Snapshot, fitting},
};
use crate::error::ClientError;

/// The keys of all rows of the published index at one moment, in the order of changes. There may be a million, so all
/// keys lie in one list of bytes.
#[derive(Debug)]
pub(crate) struct Places {
    at: Snapshot,
    keys: Vec<u8>,
    rows: Vec<RowPlace>,
}

#[derive(Clone, Copy, Debug)]
struct RowPlace {
    /// The offset of its key.
    first: u32,
    /// Bytes of a change with its value.
    bytes: u32,
    /// Bytes of its key.
    length: u16,
    table: u8,
}

impl Places {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of the change of each row.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().map(|row| u64::from(row.bytes))
    }

    fn note(&mut self, table: u8, key: &[u8], row: &[u8]) -> Result<(), ClientError> {
        let bytes = 1 + 4 + key.len() + 1 + 4 + row.len();
        let place = || {
            let (first, length) = (self.keys.len().try_into().ok()?, key.len().try_into().ok()?);
            Some(RowPlace { first, bytes: bytes.try_into().ok()?, length, table })
        };
        let place = place().ok_or_else(|| {
            ClientError::Index(String::from("there are more names than an index has room for"))
        })?;
        self.rows.push(place);
        self.keys.extend_from_slice(key);
        Ok(())
    }

    fn key(&self, row: &RowPlace) -> &[u8] {
        key_in(&self.keys, row)
    }
}

fn key_in<'a>(keys: &'a [u8], row: &RowPlace) -> &'a [u8] {
    let first = row.first as usize;
    &keys[first..first + usize::from(row.length)]
}

impl Catalog {
    /// The keys of all rows of the published index, in the order of changes.
    pub(crate) fn published_places(&self, at: &Snapshot) -> Result<Places, ClientError> {
        let mut out = Places { at: at.clone(), keys: Vec::new(), rows: Vec::new() };
        for table in (0..LOCAL_FROM).filter(|table| !is_local(*table)) {
            let failed = at.0.each(table, &[], None, |place, sealed| {
                let row = self.unseal_any(table, place, sealed);
                match row.and_then(|(key, row)| out.note(table, &key, &row)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(error),
                }
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        let Places { keys, rows, .. } = &mut out;
        rows.sort_unstable_by(|one, other| {
            (one.table, key_in(keys, one)).cmp(&(other.table, key_in(keys, other)))
        });
        Ok(out)
    }

    /// Passes the rows at some of these places to `take`.
    pub(crate) fn each_published(
        &self,
        places: &Places,
        range: Range<usize>,
        mut take: impl FnMut(Change),
    ) -> Result<(), ClientError> {
        for row in &places.rows[range] {
            let key = places.key(row);
            let value = self.value(&*places.at.0, row.table, key)?;
            take(fitting(Change { table: row.table, key: key.to_vec(), value })?);
        }
        Ok(())
    }
}
