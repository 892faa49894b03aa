//! Reads anywhere in an object: tokio's `AsyncRead` and `AsyncSeek` over the object, or over the
//! part of it that is a file.
//!
//! A download reads whole groups of stripes from many nodes at once. A reader asks for single cells
//! of 64 KiB instead. A read within one cell is one request to one node. When a program reads on in
//! order, the reader fetches more and more cells ahead, up to a mebibyte. It verifies every byte
//! before it returns it.

mod cells;
mod one;

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use symbolon_protocol::{id::NodeId, session::NodeFault};
use tokio::{
    io::{AsyncRead, AsyncSeek, ReadBuf, SeekFrom},
    task::JoinHandle,
};

use crate::{Network, error::TransferError, progress::Progress, reading::Reading};
use cells::Cells;
pub use cells::ReadCost;

/// Most cells under way: a mebibyte.
const AHEAD_MAX: usize = 16;

/// A node that failed and that other nodes made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFault {
    /// The node.
    pub node: NodeId,
    /// The index of the requested shard.
    pub index: u8,
    /// The node's fault.
    pub fault: NodeFault,
}

/// Whether the length of an object is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The length is certain, at least for the part that may be read.
    Known,
    /// The length comes from another party and may be wrong. The object's last cell is sealed with
    /// the true length. The reader compares both before it returns the end.
    Doubted,
}

/// A stored file, open for reading. Nothing is requested before the first read.
///
/// A reader is cheap to keep, but cannot be cloned: its read-ahead belongs to one position. Several
/// readers of one file are independent.
pub struct Reader {
    cells: Arc<Cells>,
    /// The range of the file in its object, which may hold other files too.
    first: u64,
    end: u64,
    position: u64,
    /// The current cell: its number, its start, and its bytes.
    current: Option<(u64, u64, Bytes)>,
    ahead: VecDeque<(u64, Fetch)>,
    /// The number of cells to have under way, without the current one.
    window: usize,
    /// The target of a seek that has to check the file's end first.
    seeking: Option<u64>,
    /// A running check of the end.
    ending: Option<Fetch>,
    /// Whether the file's length comes from another party and may be wrong.
    doubted: bool,
}

/// A cell under way. Dropping it stops the reading.
struct Fetch(JoinHandle<Result<Bytes, TransferError>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fetch {
    fn start(cells: &Arc<Cells>, number: u64) -> Self {
        let cells = Arc::clone(cells);
        Self(tokio::spawn(async move { cells.plain(number).await }))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, TransferError>> {
        Pin::new(&mut self.0).poll(context).map(|joined| match joined {
            Ok(read) => read,
            Err(error) => Err(TransferError::Internal(format!("a reading task panicked: {error}"))),
        })
    }

    async fn finish(mut self) -> Result<Bytes, TransferError> {
        std::future::poll_fn(|context| self.poll(context)).await
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("length", &self.length())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader of an object's bytes from `first` on, `length` of them.
    ///
    /// `progress` gets the faults of nodes; the bytes then come from other nodes.
    pub fn new(
        network: &Network,
        reading: Reading,
        (first, length): (u64, u64),
        trust: Length,
        progress: &Progress,
    ) -> Result<Self, TransferError> {
        let layout = reading.manifest.layout();
        let layout = layout.map_err(|error| TransferError::Grant(error.into()))?;
        let end = first.checked_add(length).filter(|end| *end <= layout.length());
        let outside = || TransferError::Internal(String::from("a file lies outside its object"));
        let end = end.ok_or_else(outside)?;
        let cells = Arc::new(Cells::new(network, reading, layout, progress));
        Ok(Self {
            first,
            end,
            cells,
            position: 0,
            current: None,
            ahead: VecDeque::new(),
            window: 1,
            seeking: None,
            ending: None,
            doubted: trust == Length::Doubted,
        })
    }

    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.end - self.first
    }

    /// The requests of this reader so far.
    #[must_use]
    pub fn cost(&self) -> ReadCost {
        self.cells.cost()
    }

    /// Nodes that failed and that other nodes made up for.
    #[must_use]
    pub fn faults(&self) -> Vec<ReadFault> {
        self.cells.faults()
    }

    /// The bytes from `from` up to but not including `to`, independent of the reader's position.
    /// All of them are held in memory. Bytes beyond the file's end are left out.
    pub async fn read_at(&self, from: u64, to: u64) -> Result<Vec<u8>, TransferError> {
        let to = self.first + to.min(self.length());
        let from = self.first.saturating_add(from);
        let mut out = Vec::new();
        let mut ahead = VecDeque::new();
        let at_end = to == self.cells.length() && self.is_end_open();
        let ending = at_end.then(|| Fetch::start(&self.cells, self.cells.last()));
        if from < to {
            let last = self.cells.number_at(to - 1);
            for number in self.cells.number_at(from)..=last {
                ahead.push_back((number, Fetch::start(&self.cells, number)));
                if ahead.len() == AHEAD_MAX || number == last {
                    let keep = if number == last { 0 } else { AHEAD_MAX - 1 };
                    while ahead.len() > keep {
                        let Some((number, fetch)) = ahead.pop_front() else { break };
                        let plain = fetch.finish().await?;
                        out.extend_from_slice(self.clip(number, &plain, from, to));
                    }
                }
            }
        }
        if let Some(ending) = ending {
            ending.finish().await?;
        }
        Ok(out)
    }

    /// The part of a cell's bytes that lies between `from` and `to`.
    fn clip<'a>(&self, number: u64, plain: &'a [u8], from: u64, to: u64) -> &'a [u8] {
        let start = self.cells.place(number).map_or(0, |place| place.start);
        let inside = |at: u64| {
            let at = at.saturating_sub(start).min(plain.len() as u64);
            usize::try_from(at).unwrap_or(plain.len())
        };
        &plain[inside(from)..inside(to)]
    }

    /// Whether the end still has to be checked.
    fn is_end_open(&self) -> bool {
        self.doubted && !self.cells.is_ended()
    }

    /// Checks the end: the last cell is sealed with the file's length.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_end_open() {
            return Poll::Ready(Ok(()));
        }
        let cells = &self.cells;
        let ending = self.ending.get_or_insert_with(|| Fetch::start(cells, cells.last()));
        let done = ready!(ending.poll(context));
        self.ending = None;
        Poll::Ready(done.map(drop).map_err(io_error))
    }

    /// Starts the cells that must be under way. `wanted` is read next, and `more` cells may follow.
    fn look_ahead(&mut self, wanted: u64, more: u64) {
        while self.ahead.front().is_some_and(|(number, _)| *number != wanted) {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty()
            && self.current.as_ref().is_none_or(|(number, ..)| number + 1 != wanted)
        {
            // The position has jumped, so it is not known yet whether the program reads on from
            // here.
            self.window = 1;
        }
        let more = usize::try_from(more).unwrap_or(AHEAD_MAX).saturating_add(1);
        let count = self.window.max(more).min(AHEAD_MAX);
        let last = self.cells.number_at(self.end - 1);
        let mut next = self.ahead.back().map_or(wanted, |(number, _)| number + 1);
        while self.ahead.len() < count && next <= last {
            self.ahead.push_back((next, Fetch::start(&self.cells, next)));
            next += 1;
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.position >= this.length() {
            return this.poll_end(context);
        }
        loop {
            let at = this.first + this.position;
            if let Some((_, start, plain)) = &this.current
                && let Some(skip) = at.checked_sub(*start)
                && skip < plain.len() as u64
            {
                let rest = &plain[usize::try_from(skip).unwrap_or(plain.len())..];
                let left = usize::try_from(this.end - at).unwrap_or(usize::MAX);
                let count = rest.len().min(out.remaining()).min(left);
                out.put_slice(&rest[..count]);
                this.position += count as u64;
                return Poll::Ready(Ok(()));
            }
            let wanted = this.cells.number_at(at);
            let end = at.saturating_add(out.remaining() as u64).min(this.end);
            let more = this.cells.number_at(end - 1).saturating_sub(wanted);
            this.look_ahead(wanted, more);
            let Some((_, fetch)) = this.ahead.front_mut() else {
                let lost = TransferError::Internal(String::from("a cell was not requested"));
                return Poll::Ready(Err(io_error(lost)));
            };
            let read = ready!(fetch.poll(context));
            this.ahead.pop_front();
            let plain = read.map_err(io_error)?;
            let on = this.current.as_ref().is_some_and(|(number, ..)| number + 1 == wanted);
            this.window = if on { (this.window * 2).min(AHEAD_MAX) } else { 1 };
            let start = this.cells.place(wanted).map_or(0, |place| place.start);
            this.current = Some((wanted, start, plain));
        }
    }
}

impl AsyncSeek for Reader {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => this.position.checked_add_signed(by),
            SeekFrom::End(by) => this.length().checked_add_signed(by),
        };
        let target = target.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the seek goes before the file's beginning")
        })?;
        match to {
            SeekFrom::End(_) => this.seeking = Some(target),
            SeekFrom::Start(_) | SeekFrom::Current(_) => this.position = target,
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        if let Some(target) = this.seeking {
            let ended = ready!(this.poll_end(context));
            this.seeking = None;
            ended?;
            this.position = target;
        }
        Poll::Ready(Ok(this.position))
    }
}

fn io_error(error: TransferError) -> io::Error {
    use TransferError as Error;
    let kind = match &error {
        Error::DealGone { .. } | Error::DealOver { .. } => io::ErrorKind::NotFound,
        error if error.is_denial() => io::ErrorKind::PermissionDenied,
        Error::NotEnoughShards { .. } | Error::Ledger(_) | Error::Net(_) => {
            io::ErrorKind::NotConnected
        }
        Error::Corrupt { .. } | Error::NotListed { .. } => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::{
        LedgerTime,
        id::{DealId, PeerId},
        wire::storage::RefusalCode,
    };

    use super::*;

    fn short(fault: NodeFault) -> TransferError {
        let faults = vec![(PeerId([1; 32]), fault)];
        TransferError::NotEnoughShards { segment: 0, usable: 1, required: 2, faults }
    }

    #[test]
    fn an_error_maps_to_its_kind_and_keeps_its_text() {
        let refused = |code| short(NodeFault::Refused { code });
        for (error, kind) in [
            (
                TransferError::DealGone { segment: 0, deal: DealId([1; 16]) },
                io::ErrorKind::NotFound,
            ),
            (
                TransferError::DealOver { segment: 0, since_ms: LedgerTime(1) },
                io::ErrorKind::NotFound,
            ),
            (TransferError::Grant("no".into()), io::ErrorKind::PermissionDenied),
            (refused(RefusalCode::Revoked), io::ErrorKind::PermissionDenied),
            (refused(RefusalCode::Busy), io::ErrorKind::NotConnected),
            (short(NodeFault::Offline), io::ErrorKind::NotConnected),
            (TransferError::Corrupt { segment: 0, why: "so".into() }, io::ErrorKind::InvalidData),
            (TransferError::Internal(String::new()), io::ErrorKind::Other),
        ] {
            let text = error.to_string();
            let error = io_error(error);
            assert_eq!((error.kind(), error.to_string()), (kind, text));
        }
    }
}
