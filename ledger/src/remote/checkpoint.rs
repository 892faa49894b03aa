//! The whole state of one block, page by page.

use symbolon_protocol::{
    ledger::{block::SignedHeader, state::RowBytes},
    wire::ledger::{Request, Response},
};

use super::{Answer, Remote, unexpected};
use crate::error::LedgerError;

/// A checkpoint that is being fetched: all rows of all tables under one header, in the order of their
/// keys, without those of the state tree. Each page is checked against the header, and no row between two
/// pages is left out. So a state that is built from all pages has the header's state root.
///
/// The header is not older than the server likes: a follower goes on from it with the blocks behind it,
/// and sees how far the ledger is.
#[derive(Debug)]
pub struct Checkpoint {
    remote: Remote,
    header: Option<SignedHeader>,
    after: Option<Vec<u8>>,
    is_whole: bool,
}

impl Remote {
    /// Fetches a checkpoint. A server keeps its state for some minutes only: if it no longer does, a page
    /// is [`LedgerError::CheckpointGone`], and the caller begins with another checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { remote: self.clone(), header: None, after: None, is_whole: false }
    }
}

impl Checkpoint {
    /// The header, once there is a page.
    #[must_use]
    pub fn header(&self) -> Option<&SignedHeader> {
        self.header.as_ref()
    }

    /// The next rows; `None` after the last ones.
    pub async fn page(&mut self) -> Result<Option<Vec<RowBytes>>, LedgerError> {
        if self.is_whole {
            return Ok(None);
        }
        let height = self.header.as_ref().map(|header| header.header.height);
        let request = Request::Checkpoint { height, after: self.after.clone() };
        let answer = self.remote.ask(&request, |response, _| match response {
            Response::Rows { header, rows, proof, more } => {
                Ok(Answer { header, rows, proof, more })
            }
            Response::Gone => Err(LedgerError::CheckpointGone),
            other => Err(unexpected(other)),
        });
        let answer = answer.await?;
        match &self.header {
            Some(header) if *header != answer.header => {
                return Err(LedgerError::Forged { what: "the page is of another block" });
            }
            Some(_) => {}
            None => self.remote.believe(&answer.header, None)?,
        }
        let (header, more) = (answer.header.clone(), answer.more);
        let rows = answer.all_of(&[], self.after.as_deref())?;
        if more && rows.is_empty() {
            return Err(LedgerError::Forged { what: "the rows do not match the scan" });
        }
        self.after = rows.last().map(|(key, _)| key.clone()).or(self.after.take());
        self.header = Some(header);
        self.is_whole = !more;
        Ok(Some(rows))
    }
}
