//! The whole state of one block, page by page.

use symbolon_net::Host;
use symbolon_protocol::{
    ledger::{
        block::SignedHeader,
        rows::{Chains, Table as _},
        state::RowBytes,
        tree::Range,
    },
    wire::ledger::{Request, Response},
};

use super::{Answer, Remote, unexpected};
use crate::{error::LedgerError, executor::Span};

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

/// Rows of a part of a checkpoint.
pub(crate) struct Part {
    pub(crate) rows: Vec<RowBytes>,
    /// Whether the part has more rows behind these.
    pub(crate) more: bool,
}

impl Remote {
    /// The header of a checkpoint that a server keeps from now on. It is believed like that of any answer.
    pub(crate) async fn checkpoint_header(&self) -> Result<SignedHeader, LedgerError> {
        // The rows come later: here is asked for one of them only.
        let until = Some(Chains::key(&()));
        let request = Request::Checkpoint { height: None, after: None, until };
        let header = self.ask(&request, |response, _| match response {
            Response::Rows { header, .. } => self.believe(&header, None).map(|()| header),
            other => Err(unexpected(other)),
        });
        header.await
    }

    /// The first rows of a span of a checkpoint. They are checked against its header.
    pub(crate) async fn part(
        &self,
        host: &Host,
        header: &SignedHeader,
        span: &Span,
    ) -> Result<Part, LedgerError> {
        let Span { after, until } = span.clone();
        let height = Some(header.header.height);
        let request = Request::Checkpoint { height, after: after.clone(), until: until.clone() };
        let answer = self.ask_untrusting(&request, |response| match response {
            Response::Rows { header: of, rows, proof, more } if of.header == header.header => {
                Ok(Answer { header: of, rows, proof, more })
            }
            Response::Rows { .. } => Err(OTHER_BLOCK),
            Response::Gone => Err(LedgerError::CheckpointGone),
            other => Err(unexpected(other)),
        });
        let answer = answer.await?;
        // On one thread, because it takes memory: see `Host::in_turn`.
        let check = move || {
            let (after, until) = (after.as_deref(), until.as_deref());
            let more = answer.more;
            let rows = answer.all_of(&Range { prefix: &[], after, until })?;
            match more && rows.is_empty() {
                true => Err(LedgerError::Forged { what: "the rows do not match the scan" }),
                false => Ok(Part { rows, more }),
            }
        };
        host.in_turn(check).await
    }
}

const OTHER_BLOCK: LedgerError = LedgerError::Forged { what: "the page is of another block" };

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
        let request = Request::Checkpoint { height, after: self.after.clone(), until: None };
        let is_first = self.header.is_none();
        let answer = self.remote.ask(&request, |response, _| match response {
            Response::Rows { header, rows, proof, more } => {
                if is_first {
                    self.remote.believe(&header, None)?;
                }
                Ok(Answer { header, rows, proof, more })
            }
            Response::Gone => Err(LedgerError::CheckpointGone),
            other => Err(unexpected(other)),
        });
        let answer = answer.await?;
        // Two servers may have a block with different signatures.
        if self.header.as_ref().is_some_and(|known| known.header != answer.header.header) {
            return Err(OTHER_BLOCK);
        }
        let (header, more) = (answer.header.clone(), answer.more);
        let range = Range { after: self.after.as_deref(), ..Range::default() };
        let rows = answer.all_of(&range)?;
        if more && rows.is_empty() {
            return Err(LedgerError::Forged { what: "the rows do not match the scan" });
        }
        self.after = rows.last().map(|(key, _)| key.clone()).or(self.after.take());
        self.header = Some(header);
        self.is_whole = !more;
        Ok(Some(rows))
    }
}
