//! Posting a listing's preview: the cells that the beacon picked and those that the seller chose, opened for everyone.

use symbolon_protocol::{
    Encode,
    content::Layout,
    id::{Hash, ListingId},
    ledger::{rows::Listing, transaction::Action},
    limits::CELL_BYTES,
    preview::{Preview, PreviewCell, cell_range, picks},
};

use super::{Budget, layout};
use crate::{
    catalog::{FileKind, ObjectEntry},
    download::{LeavesWanted, spans},
    error::ClientError,
    library::{
        get::{GetOptions, Readable, Sink},
        names::{Found, Name},
        upload::{Replace, leaves::root_of},
    },
    market::{Market, own::about_listing},
    progress::Progress,
    reader::{Length, Reader},
    wallet::account::transaction_id,
};

/// Milliseconds between the first requests to the ledger for the beacon.
const LOOK_MS: u64 = 50;

/// The most bytes of an opened cell: its sealed bytes, its key, and a path longer than any file
/// has.
pub(super) const PREVIEW_CELL_BYTES_MAX: u64 = CELL_BYTES as u64 + 4 * 1024;

impl Market {
    /// Waits for the beacon and opens the cells that it picks, and those that the seller chose.
    pub(super) async fn post_preview(
        &self,
        entry: &Found,
        (id, listing): (ListingId, Listing),
        (chosen, epochs): (&[u64], u64),
        budget: &Budget,
        progress: &Progress,
    ) -> Result<Vec<u64>, ClientError> {
        let (count, listed_ms) = (listing.terms.preview_cells, listing.listed_ms);
        if count == 0 {
            // The beacon picks nothing for a listing without a preview, so there is nothing to wait
            // for.
            return Ok(Vec::new());
        }
        let seed = self.preview_seed(&id, listing.preview_seed).await?;
        let layout = layout(entry.manifest())?;
        let cells = picks(&seed, layout.cells(), count);
        if listing.preview.is_some() {
            let posted = self.open_preview(&id, &listing).await?.chosen;
            if posted.iter().map(|cell| cell.cell).eq(chosen.iter().copied()) {
                return Ok(cells);
            }
            let name = entry.name.to_string();
            let what = format!("a listing of {name:?} that shows other cells ({id})");
            return Err(ClientError::Exists { name: what });
        }
        progress.note(format!("opening {} preview cells the beacon picked", cells.len()));
        let opened = Preview {
            cells: self.open_cells(&entry.object, &layout, &cells).await?,
            chosen: self.open_cells(&entry.object, &layout, chosen).await?,
        };
        let kind = FileKind::Preview { listing: id };
        let preview = self.publish(kind, opened.to_bytes(), epochs, budget).await?;
        let action = Action::Preview { listing: id, preview };
        let about = about_listing(&id, listed_ms);
        self.send_within(budget, transaction_id("preview", &about), action).await?;
        Ok(cells)
    }

    /// Opens cells of a file of this identity, which is a whole object.
    pub(crate) async fn open_cells(
        &self,
        entry: &ObjectEntry,
        layout: &Layout,
        cells: &[u64],
    ) -> Result<Vec<PreviewCell>, ClientError> {
        if cells.is_empty() {
            return Ok(Vec::new());
        }
        let key = entry.key.file_key();
        let leaves = self.leaves_of(entry).await?;
        let (reading, whole) = (self.own_reading(entry)?, (0, layout.length()));
        let reader =
            Reader::new(self.network(), reading, whole, Length::Known, &Progress::silent())?;
        let missing = || ClientError::Internal(String::from("a picked cell is not in the file"));
        let mut opened = Vec::new();
        for cell in cells {
            let (start, length) = cell_range(layout, *cell).ok_or_else(missing)?;
            // A cell in the padding holds no bytes of the file and begins after its end.
            let plain = match length {
                0 => Vec::new(),
                _ => reader.read_at(start, start + length as u64).await?,
            };
            let made = PreviewCell::make(layout, &key, *cell, &plain, &leaves);
            opened.push(made.ok_or_else(missing)?);
        }
        Ok(opened)
    }

    async fn preview_seed(
        &self,
        id: &ListingId,
        mut seed: Option<Hash>,
    ) -> Result<Hash, ClientError> {
        let mut waited_ms = 0;
        loop {
            if let Some(seed) = seed {
                return Ok(seed);
            }
            let pause_ms = pause_ms(waited_ms);
            self.host().sleep_ms(pause_ms).await;
            waited_ms += pause_ms;
            seed = self.own.row(id).await?.preview_seed;
        }
    }

    /// Reads some bytes of a file of this identity.
    pub(super) async fn read_range(
        &self,
        name: &Name,
        from: u64,
        to: u64,
    ) -> Result<Vec<u8>, ClientError> {
        let options = GetOptions { range: Some((from, to)), replace: Replace::Refuse };
        let what = Readable::from(name);
        let resolved = self.resolve(&what).await?;
        let report = self.fetch(resolved, Sink::Memory, &options, &Progress::silent()).await?;
        Ok(report.bytes.unwrap_or_default())
    }

    /// All content leaves of a file of this identity: those kept since it was put, or else computed
    /// by reading it again.
    async fn leaves_of(&self, entry: &ObjectEntry) -> Result<Vec<Hash>, ClientError> {
        let manifest = &entry.manifest;
        let layout = layout(manifest)?;
        let (object, cells, root) = (manifest.object, layout.cells(), manifest.content_root);
        if let Some(kept) =
            self.library.local(move |local| local.kept_leaves(&object, cells, &root)).await?
        {
            return Ok(kept);
        }
        let mut reading = self.own_reading(entry)?;
        reading.leaves = LeavesWanted::Yes;
        let (spans, _) = spans(&layout, 0, u64::MAX, 0);
        let mut groups = self.network().read(reading, spans, &Progress::silent());
        let mut leaves = Vec::new();
        while let Some(group) = groups.next().await {
            leaves.extend(group?.leaves);
        }
        if root_of(&leaves) != manifest.content_root {
            let why = "its cells do not lead to its content root".into();
            return Err(ClientError::Corrupt { segment: 0, why });
        }
        self.library.local(move |local| local.keep_leaves(&object, &leaves).map(|()| leaves)).await
    }
}

/// How long to wait for the beacon before the next request. It is there with the next tick, a 4096th of an epoch: after
/// milliseconds on one network and minutes on another. So no request is later than a quarter of the wait.
fn pause_ms(waited_ms: u64) -> u64 {
    LOOK_MS.max(waited_ms / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_tick_takes_few_requests_and_is_noticed_soon() {
        for tick_ms in [2, 900, 600_000, 10_000_000] {
            let (mut waited_ms, mut requests) = (0, 0);
            while waited_ms < tick_ms {
                waited_ms += pause_ms(waited_ms);
                requests += 1;
            }
            assert!(requests <= 70, "{requests}");
            assert!(waited_ms <= tick_ms + LOOK_MS.max(tick_ms / 4), "{waited_ms} of {tick_ms}");
        }
    }
}
