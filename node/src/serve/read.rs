//! `Read` and `ReadCell`: slices or one cell of a shard, each with its path to the shard's root.
//!
//! The node checks every piece against the root before it sends it. That costs less than a tenth of
//! sending it. So a reader learns of a damaged disk from the node itself and at once, instead of
//! from bytes that do not verify.

use std::sync::Arc;

use bytes::Bytes;
use symbolon_protocol::{
    grant::Grant,
    id::{Hash, PeerId},
    ledger::{rows::Access, transaction::DealTerms},
    limits::{CELL_BYTES, SLICE_BYTES},
    proof::verify_unit,
    reads::ReadBy,
    wire::storage::{RefusalCode, Response, SliceHead},
};
use symbolon_store::{Damage, Shard, ShardFile, StoreError};

use super::{
    ShardPlace, Stop, Stream, claims, found_damaged,
    grants::{self, Need},
    internal, terms_of, within,
};
use crate::{pace::BOUNDED_BYTES, reads, shared::Shared};

/// The requested part of a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Range {
    /// `count` slices from `first` on.
    Slices {
        /// The first slice.
        first: u32,
        /// The number of slices.
        count: u32,
    },
    /// One cell.
    Cell {
        /// The index of the cell.
        cell: u32,
    },
}

/// Consecutive pieces of one size, which are sent one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pieces {
    unit_bytes: u64,
    first: u64,
    end: u64,
}

impl Pieces {
    /// The pieces of a range; `None` if a shard of `length` bytes does not have them all.
    fn new(range: Range, length: u64) -> Option<Self> {
        let (unit_bytes, first, count) = match range {
            Range::Slices { first, count } => (SLICE_BYTES as u64, first, count),
            Range::Cell { cell } => (CELL_BYTES as u64, cell, 1),
        };
        let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
        let inside = first < end && end <= length.div_ceil(unit_bytes);
        inside.then_some(Self { unit_bytes, first, end })
    }

    /// Bytes of all pieces.
    fn bytes(&self, length: u64) -> u64 {
        length.min(self.end * self.unit_bytes) - self.first * self.unit_bytes
    }

    /// The stripes that the pieces touch. In a shard, a stripe is one cell.
    fn stripes(&self, length: u64) -> std::ops::Range<u32> {
        let cell = CELL_BYTES as u64;
        let first = self.first * self.unit_bytes / cell;
        let end = length.min(self.end * self.unit_bytes).div_ceil(cell);
        let stripe = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        stripe(first)..stripe(end)
    }
}

/// A piece that is ready to be sent.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    path: Vec<Hash>,
}

/// Answers a read.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    place: ShardPlace,
    range: Range,
    grant: Option<&Grant>,
) -> Result<(), Stop> {
    let shard = open(shared, place).await?;
    let length = shard.terms.length;
    let Some(pieces) = Pieces::new(range, length) else {
        let message = format!("a shard of {length} bytes does not have this part");
        return Err(Stop::refused(RefusalCode::Malformed, message));
    };
    let right = match shard.terms.access {
        Access::Public => None,
        Access::Granted => {
            let need = Need::Read(pieces.stripes(length));
            let wanted = grants::Wanted { shard: (&shard.terms).into(), need };
            match grant {
                Some(_) => {
                    let (allowed, by) =
                        grants::authorize(shared, stream.peer, grant, &wanted).await?;
                    Some((Some(allowed), by))
                }
                None => {
                    check_claim(shared, stream.peer, place).await?;
                    Some((None, ReadBy::Claim))
                }
            }
        }
    };
    let mut piece = read_piece(shared, &shard, pieces, pieces.first).await?;
    if let Some((allowed, by)) = right {
        let bytes = pieces.bytes(length);
        if let Some(allowed) = allowed {
            grants::charge(shared, &allowed, bytes).await?;
        }
        let of = (shard.terms.owner, shard.terms.object);
        reads::note(shared, of, (by, stream.peer), bytes).await;
    }
    let count = u32::try_from(pieces.end - pieces.first).unwrap_or(u32::MAX);
    stream.answer(&Response::Slices { count }).await?;
    for next in pieces.first + 1..=pieces.end {
        // The next piece is read while this one is being sent, so at most two are in memory.
        let reading = async {
            match next < pieces.end {
                true => read_piece(shared, &shard, pieces, next).await.map(Some),
                false => Ok(None),
            }
        };
        let (sent, read) = tokio::join!(send(shared, stream, piece), reading);
        sent?;
        match read {
            Ok(Some(next)) => piece = next,
            Ok(None) => return Ok(()),
            // Half the answer is sent, so it is too late for a refusal.
            Err(Stop::Refused(refusal)) => return Err(Stop::Broken(refusal.message)),
            Err(broken) => return Err(broken),
        }
    }
    Ok(())
}

/// Without a grant, only a caretaker reads: the shards that its claim names.
async fn check_claim(shared: &Shared, peer: PeerId, place: ShardPlace) -> Result<(), Stop> {
    let (deal, index) = place;
    match claims::of(shared, peer, deal).await {
        Ok(claim) if claim.read.contains(&index) => Ok(()),
        Ok(_) => {
            let message = "the claim does not read this shard";
            Err(Stop::refused(RefusalCode::NotAllowed, message))
        }
        Err(Stop::Refused(refusal))
            if matches!(refusal.code, RefusalCode::NoClaim | RefusalCode::Busy) =>
        {
            let message = "this request needs a grant, or a claim on the ledger";
            Err(Stop::refused(RefusalCode::NotAllowed, message))
        }
        Err(stop) => Err(stop),
    }
}

/// An open shard and the terms under which it was accepted.
#[derive(Debug)]
struct Opened {
    file: Arc<ShardFile>,
    terms: DealTerms,
}

async fn open(shared: &Shared, (deal, index): ShardPlace) -> Result<Opened, Stop> {
    let file = shared.with_store(move |store| store.open_whole(&deal, index)).await;
    let file = match file {
        Ok(file) => file,
        Err(error) => return Err(found_damaged(shared, (deal, index), error).await),
    };
    let terms = terms_of(file.shard())?;
    Ok(Opened { file: Arc::new(file), terms })
}

async fn read_piece(
    shared: &Shared,
    shard: &Opened,
    pieces: Pieces,
    unit: u64,
) -> Result<Piece, Stop> {
    let file = Arc::clone(&shard.file);
    let unit_bytes = pieces.unit_bytes;
    let place = (file.shard().info.deal, file.shard().info.index);
    let read = shared.host.blocking(move || {
        let (bytes, path) = file.unit(unit_bytes, unit)?;
        let Shard { info, root, .. } = file.shard();
        match verify_unit(root, info.length, unit_bytes, unit, &bytes, &path) {
            Ok(()) => Ok(Piece { bytes: Bytes::from(bytes), path }),
            Err(_) => {
                Err(StoreError::Damaged { deal: info.deal, index: info.index, why: Damage::Root })
            }
        }
    });
    match read.await {
        Ok(piece) => Ok(piece),
        Err(error) => Err(found_damaged(shared, place, error).await),
    }
}

async fn send(shared: &Shared, stream: &mut Stream, piece: Piece) -> Result<(), Stop> {
    let length = u32::try_from(piece.bytes.len())
        .map_err(|error| internal("a piece is larger than any slice", error))?;
    let idle = stream.idle();
    within(idle, stream.sender.send(&SliceHead { length, path: piece.path })).await?;
    // A peer may be slow, but not silent: each part has a time limit of its own.
    let mut rest = piece.bytes;
    while !rest.is_empty() {
        // Where bandwidth is bounded, many streams take turns, so each gets little at a time.
        let most = if shared.send.is_bounded() { BOUNDED_BYTES } else { CELL_BYTES };
        let part = rest.split_to(rest.len().min(most));
        let bytes = part.len();
        shared.send.take(bytes as u64, &shared.host, |ms| stream.was_held(ms)).await;
        within(idle, stream.sender.write(part)).await?;
        stream.progress(bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: u64 = SLICE_BYTES as u64;
    const CELL: u64 = CELL_BYTES as u64;

    #[test]
    fn only_parts_a_shard_has_are_pieces() {
        let length = 2 * SLICE + 5 * CELL + 1024;
        let slices = |first, count| Pieces::new(Range::Slices { first, count }, length);
        let cell = |cell| Pieces::new(Range::Cell { cell }, length);
        assert_eq!(slices(0, 3).map(|pieces| pieces.bytes(length)), Some(length));
        assert_eq!(slices(2, 1).map(|pieces| pieces.bytes(length)), Some(5 * CELL + 1024));
        assert_eq!(slices(1, 1).map(|pieces| pieces.stripes(length)), Some(16..32));
        assert_eq!(slices(2, 1).map(|pieces| pieces.stripes(length)), Some(32..38));
        assert_eq!(cell(37).map(|pieces| pieces.bytes(length)), Some(1024));
        assert_eq!(cell(37).map(|pieces| pieces.stripes(length)), Some(37..38));
        for none in [slices(0, 0), slices(0, 4), slices(3, 1), slices(u32::MAX, u32::MAX), cell(38)]
        {
            assert_eq!(none, None);
        }
    }
}
