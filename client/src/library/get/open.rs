//! Opening a file to be read anywhere.

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
    /// `progress` hears of nodes that did not do what they should; the bytes then come from others.
    pub async fn open(&self, what: &Readable, progress: &Progress) -> Result<Reader, ClientError> {
        let resolved = self.resolve_now(what).await?;
        self.reader(resolved.reading, resolved.place, progress)
    }

    /// A reader of what a name or grant resolved to.
    pub(crate) fn reader(
        &self,
        reading: Reading,
        place: (u64, u64),
        progress: &Progress,
    ) -> Result<Reader, ClientError> {
        // An own file's length is known. Who has it from a grant compares it with the file's last
        // cell, unless the grant does not reach that far.
        let own = |grant: &Grant| grant.root == self.me();
        let doubted =
            reading.grant.as_ref().is_some_and(|grant| !own(grant) && !is_for_cells(grant));
        let length = if doubted { Length::Doubted } else { Length::Known };
        Ok(Reader::new(self.network(), reading, place, length, progress)?)
    }
}
