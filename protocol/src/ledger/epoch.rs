//! Epochs, and the time that counts for them.
//!
//! Nodes can prove only while the ledger makes blocks. So the time in which it should have made a block and made none
//! does not count. Epochs and windows go by the counted time: a ledger that stood still costs no node a miss and no
//! owner an epoch.

use crate::{
    ledger::{
        block::Event,
        books::Books,
        rows::{Chain, Table, Windows},
        state::State,
    },
    time::{LedgerTime, Millis},
};

/// A block that comes this part of an epoch after it was due, or later, ends a gap in which the ledger stood still.
const LATE_PARTS: u64 = 4;

/// Gaps in a row that do not count. Otherwise late blocks could keep a node in one window for ever, unpaid and without a
/// miss.
const LATE_BLOCKS_MAX: u8 = 8;

/// The counted time at which the next epoch begins.
fn boundary(chain: &Chain) -> Millis {
    chain.params.epoch_ms.saturating_mul(chain.epoch.saturating_add(1))
}

/// The counted time at which the next epoch begins or the next window opens; not before now.
pub(super) fn due<S: State + ?Sized>(chain: &Chain, state: &S) -> Millis {
    let first = state.scan(&[Windows::TAG], None, 1);
    let first = first.first().and_then(|(key, _)| Windows::parse(key));
    let boundary = boundary(chain);
    first.map_or(boundary, |(time, _)| time.min(boundary)).max(chain.counted_ms)
}

/// The counted time of a block at `now` on top of this state, and how many gaps in a row have not counted then.
pub(super) fn counted<S: State + ?Sized>(
    chain: &Chain,
    state: &S,
    now: LedgerTime,
) -> (Millis, u8) {
    let due = due(chain, state);
    let reached = chain.counted_ms.saturating_add(now.saturating_since(chain.time_ms));
    if reached < due.saturating_add(chain.params.epoch_ms / LATE_PARTS) {
        (reached, 0)
    } else if chain.late_blocks < LATE_BLOCKS_MAX {
        (chain.counted_ms, chain.late_blocks + 1)
    } else {
        (due, chain.late_blocks)
    }
}

/// Begins the next epoch if its time has come.
pub(super) fn begin<S: State + ?Sized>(books: &mut Books<'_, S>) {
    let chain = &mut books.chain;
    if boundary(chain) <= chain.counted_ms {
        chain.epoch += 1;
        let epoch = chain.epoch;
        assert!(chain.counted_ms < boundary(chain), "epochs begin one by one");
        books.report(Event::EpochBegan { epoch });
    }
}
