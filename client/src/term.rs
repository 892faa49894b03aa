//! Time as the ledger counts it: the present time, and until when deals keep something.

use symbolon_protocol::{
    LedgerTime, MachineTime, Millis,
    ledger::rows::{Chain, Deal},
};
pub(crate) use symbolon_transfer::{epoch_ms, runs};

/// Milliseconds by which this machine's clock may differ from the ledger's before the client reports it.
const CLOCK_OFF: Millis = Millis(60_000);

/// Until when something is stored, according to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All its deals run.
    Until {
        /// The first epoch that is not paid.
        epoch: u64,
        /// When that epoch begins, in milliseconds since the Unix epoch, estimated from the current epoch.
        time_ms: LedgerTime,
    },
    /// At least one of its deals is over, so nodes delete its shards.
    Over {
        /// When the first of them ended, in milliseconds since the Unix epoch. Nothing when the ledger does not know
        /// any of the ended deals.
        since_ms: Option<LedgerTime>,
    },
}

/// The time by which grants and terms are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerClock {
    /// Now, in milliseconds since the Unix epoch: this machine's time, as far as the ledger's blocks allow it.
    pub now_ms: LedgerTime,
    /// Milliseconds by which this machine's clock is ahead; negative when it is behind. Nothing when the blocks do not
    /// show that it is wrong.
    pub off_ms: Option<i64>,
}

impl LedgerClock {
    /// Reads the clock from the ledger's own row. A live ledger makes at least one block in an epoch. So its time lies
    /// between the last block's time and a little more than an epoch after the last boundary.
    #[must_use]
    pub fn read(chain: &Chain, machine: MachineTime) -> Self {
        let length = chain.params.epoch_ms;
        let latest = chain.epoch_started().saturating_add(length).saturating_add(length / 4);
        let latest = latest.max(chain.time_ms).saturating_add(CLOCK_OFF);
        let signed = |length: Millis| i64::try_from(length.0).unwrap_or(i64::MAX);
        let (behind, ahead) = (machine.behind(chain.time_ms), machine.ahead_of(latest));
        let off_ms = if CLOCK_OFF < behind {
            Some(-signed(behind))
        } else if Millis::ZERO < ahead {
            Some(signed(ahead))
        } else {
            None
        };
        Self { now_ms: machine.within(chain.time_ms, latest), off_ms }
    }
}

impl Kept {
    /// Until when a thing is stored that needs all these deals. A deal that the ledger does not have counts as over.
    pub(crate) fn of<'a>(chain: &Chain, deals: impl IntoIterator<Item = Option<&'a Deal>>) -> Self {
        let (mut first, mut since, mut over) = (u64::MAX, None, false);
        for deal in deals {
            match deal {
                Some(deal) if runs(deal) => first = first.min(deal.end),
                Some(deal) => {
                    over = true;
                    since = Some(since.map_or(deal.end, |since: u64| since.min(deal.end)));
                }
                None => over = true,
            }
        }
        match over {
            true => Self::Over { since_ms: since.map(|epoch| epoch_ms(chain, epoch)) },
            false => Self::Until { epoch: first, time_ms: epoch_ms(chain, first) },
        }
    }

    /// The first epoch that is not paid. Nothing when a deal is over.
    pub(crate) fn end(self) -> Option<u64> {
        match self {
            Self::Until { epoch, .. } => Some(epoch),
            Self::Over { .. } => None,
        }
    }
}
