//! `ReadLog`: who read an object from this node, for its owner and for no other peer.

use std::{ops::Range, sync::Arc};

use symbolon_protocol::{
    Decode,
    codec::Reader,
    id::{AccountId, ObjectId},
    limits::{READ_DAYS_KEPT, READ_ROWS_MAX},
    reads::{ReadBy, ReadLog, ReadRow, day_of, question},
    signature,
    wire::storage::{RefusalCode, Response},
};
use symbolon_store::{Counter, ReadKey};

use super::{Stop, Stream, internal, refuse_store};
use crate::{reads, shared::Shared};

/// Answers the owner of an object.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    (owner, object): (AccountId, ObjectId),
    from_day: u32,
    by_owner: &[u8; 64],
) -> Result<(), Stop> {
    let asked = question(&shared.chain, &shared.key.id(), &stream.peer, (&owner, &object));
    if signature::verify(&owner.0, &asked, by_owner).is_err() {
        let message = "only the owner of an object may ask who read it";
        return Err(Stop::refused(RefusalCode::NotAllowed, message));
    }
    reads::store(shared).await.map_err(refuse_store)?;
    let time_ms = shared.now_ms();
    let days = days(from_day, day_of(time_ms));
    let kept = days.clone();
    let read = shared.with_store(move |store| store.reads_of(&owner, &object, kept, READ_ROWS_MAX));
    let (rows, end_day) = read.await.map_err(refuse_store)?;
    let rows = rows.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let log: ReadLog =
        shared.key.who_read(&shared.chain, (owner, object), days.start..end_day, time_ms, rows);
    stream.answer(&Response::ReadLog { log }).await
}

/// The days to tell of: those asked for that the node keeps, and at least today.
fn days(from_day: u32, today: u32) -> Range<u32> {
    let oldest = today.saturating_sub(READ_DAYS_KEPT);
    from_day.clamp(oldest, today)..today.saturating_add(1)
}

fn row((key, sum): (ReadKey, Counter)) -> Result<ReadRow, Stop> {
    let mut who = Reader::new(&key.who);
    let damaged = |error| internal("a note of who read an object cannot be read", error);
    let by = ReadBy::decode(&mut who).map_err(damaged)?;
    let reader = Decode::decode(&mut who).map_err(damaged)?;
    Ok(ReadRow { day: key.day, by, reader, reads: sum.reads, bytes: sum.bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_about_days_that_are_kept() {
        assert_eq!(days(0, 100), 69..101);
        assert_eq!(days(80, 100), 80..101);
        assert_eq!(days(u32::MAX, 100), 100..101);
        assert_eq!(days(0, 3), 0..4);
    }
}
