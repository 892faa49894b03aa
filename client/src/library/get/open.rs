//! Opens a file for reading at any offset.

use symbolon_protocol::grant::Grant;
use symbolon_transfer::reader::{Length, Reader};

use super::Readable;
use crate::{
    download::{Reading, is_for_cells},
    error::ClientError,
    library::Library,
    progress::Progress,
};

impl Library {
    /// Opens a file for reading, by its name or with a grant.
    ///
    /// `progress` gets the faults of nodes. Other nodes then give the bytes.
    pub async fn open(&self, what: &Readable, progress: &Progress) -> Result<Reader, ClientError> {
        let resolved = self.resolve_now(what).await?;
        self.reader(resolved.reading, resolved.place, progress)
    }

    /// Makes a reader of a resolved name or grant.
    pub(crate) fn reader(
        &self,
        reading: Reading,
        place: (u64, u64),
        progress: &Progress,
    ) -> Result<Reader, ClientError> {
        // An owner knows its file's length. A holder of a grant compares the length with the file's
        // last cell, unless the grant does not reach that cell.
        let own = |grant: &Grant| grant.root == self.me();
        let doubted =
            reading.grant.as_ref().is_some_and(|grant| !own(grant) && !is_for_cells(grant));
        let length = if doubted { Length::Doubted } else { Length::Known };
        Ok(Reader::new(self.network(), reading, place, length, progress)?)
    }
}
