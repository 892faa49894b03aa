//! Time as the ledger counts it: what o'clock it is, when an epoch begins, until when something is kept.

use symbolon_protocol::ledger::rows::{Chain, Deal};
pub(crate) use symbolon_transfer::{epoch_ms, runs};

/// How far this machine's clock may be from the ledger's before it is spoken of, in milliseconds.
const CLOCK_OFF_MS: u64 = 60_000;

/// Until when something is stored, as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All its deals run.
    Until {
        /// The first epoch that is not paid.
        epoch: u64,
        /// When that begins, in milliseconds since the Unix epoch, reckoned from the current epoch.
        time_ms: u64,
    },
    /// A deal of it is over: nodes delete it.
    Over {
        /// Since when; nothing where the ledger has no such deal at all.
        since_ms: Option<u64>,
    },
}

/// What o'clock it is where grants and terms are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerClock {
    /// Now, in milliseconds since the Unix epoch: this machine's time where the ledger's blocks allow it.
    pub now_ms: u64,
    /// By how much this machine's clock is ahead, or behind where it is below zero; nothing when it is
    /// not wrong as far as the blocks show.
    pub off_ms: Option<i64>,
}

impl LedgerClock {
    /// By a ledger's row about itself. A live ledger makes a block at least once an epoch, so its time lies
    /// between the last block's and a little more than an epoch after the last boundary.
    #[must_use]
    pub fn read(chain: &Chain, machine_ms: u64) -> Self {
        let length = chain.params.epoch_ms;
        let latest = chain.epoch_started_ms.saturating_add(length).saturating_add(length / 4);
        let latest = latest.max(chain.time_ms).saturating_add(CLOCK_OFF_MS);
        let now_ms = machine_ms.clamp(chain.time_ms, latest);
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let off_ms = if machine_ms.saturating_add(CLOCK_OFF_MS) < chain.time_ms {
            Some(-signed(chain.time_ms - machine_ms))
        } else if latest < machine_ms {
            Some(signed(machine_ms - latest))
        } else {
            None
        };
        Self { now_ms, off_ms }
    }
}

impl Kept {
    /// Of something that all these deals are for.
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

    /// The first epoch that is not paid; nothing when it is over.
    pub(crate) fn end(self) -> Option<u64> {
        match self {
            Self::Until { epoch, .. } => Some(epoch),
            Self::Over { .. } => None,
        }
    }
}
