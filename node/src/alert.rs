//! What an operator should hear of at once.
//!
//! An alert is raised when a fault begins, and not again while it lasts. The process that runs the node passes alerts
//! on; without a listener they are only in the log.

use std::{collections::BTreeSet, sync::Mutex};

use symbolon_protocol::{Amount, id::DealId};
use tokio::sync::broadcast;

use crate::shared::{Shared, Stopped};

/// Something that the operator should look after.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alert {
    /// A shard is damaged. The node does not serve it any more.
    Damaged {
        /// The deal of the shard.
        deal: DealId,
        /// The index of the shard in its deal.
        index: u8,
        /// What is wrong with it.
        why: String,
    },
    /// The store cannot be read or written.
    DiskFailed {
        /// What failed.
        why: String,
    },
    /// The disk has no room for a new shard beyond what the node keeps free.
    DiskFull {
        /// Bytes that are free.
        free: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// The node has not known for a while whether there are newer blocks: it is offline, or its ledger is.
    Stale {
        /// For how long, in milliseconds; `None` if it has not known since its start.
        age_ms: Option<u64>,
    },
    /// The open window could not be proven yet. The node tries again until the window ends.
    ProofFailing {
        /// What failed.
        why: String,
    },
    /// The node has missed epochs since the last look.
    Missed {
        /// How many.
        epochs: u64,
        /// How many in a row by now.
        in_row: u32,
    },
    /// The node has less collateral than it needs for what it keeps: a part of its pay is withheld, and it is given few new
    /// shards.
    CollateralLow {
        /// What stands for its bytes.
        has: Amount,
        /// What it needs.
        needs: Amount,
    },
}

/// Faults that last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasting {
    DiskFailed,
    DiskFull,
    Stale,
    ProofFailing,
    CollateralLow,
}

/// Passes alerts on.
#[derive(Debug)]
pub(crate) struct Alerts {
    sender: broadcast::Sender<Alert>,
    /// Holds what is raised before anyone listens.
    first: Mutex<Option<broadcast::Receiver<Alert>>>,
    lasting: Mutex<BTreeSet<Lasting>>,
}

impl Alerts {
    pub(crate) fn new() -> Self {
        let (sender, first) = broadcast::channel(WAITING_MAX);
        Self { sender, first: Mutex::new(Some(first)), lasting: Mutex::default() }
    }

    /// Alerts from now on; the first listener also gets those of before.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Alert> {
        let first = self.first.lock().expect("no code that holds the receiver panics").take();
        first.unwrap_or_else(|| self.sender.subscribe())
    }

    /// Passes an alert on.
    pub(crate) fn raise(&self, alert: Alert) {
        // Without a listener there is no one to tell.
        self.sender.send(alert).ok();
    }

    /// Notes whether a fault is there. Passes an alert on when it begins.
    pub(crate) fn lasts(&self, fault: Lasting, alert: Option<Alert>) {
        let mut lasting = self.lasting.lock().expect("no code that holds the set panics");
        match alert {
            None => drop(lasting.remove(&fault)),
            Some(alert) => {
                if lasting.insert(fault) {
                    self.raise(alert);
                }
            }
        }
    }
}

/// Looks for faults that last until the node stops.
pub(crate) async fn watch_for_faults(shared: &Shared) {
    let (mut missed, began_tick) = (None, shared.host.ticks_ms());
    loop {
        look(shared, began_tick, &mut missed).await;
        if shared.sleep_ms(LOOK_MS).await == Err(Stopped) {
            return;
        }
    }
}

async fn look(shared: &Shared, began_tick: u64, missed: &mut Option<u64>) {
    let limits = &shared.options.limits;
    let reserve = limits.disk_reserve_bytes;
    let failed = match shared.with_store(symbolon_store::Shards::free_bytes).await {
        Ok(free) => {
            let full = (free <= reserve).then_some(Alert::DiskFull { free, reserve });
            shared.alerts.lasts(Lasting::DiskFull, full);
            shared.with_store(symbolon_store::Shards::counts).await.err()
        }
        Err(error) => Some(error),
    };
    let failed = failed.map(|error| Alert::DiskFailed { why: error.to_string() });
    shared.alerts.lasts(Lasting::DiskFailed, failed);
    let now_tick = shared.host.ticks_ms();
    let age_ms = shared.view.age_ms(now_tick);
    let known = (age_ms != u64::MAX).then_some(age_ms);
    // Right after the start, nothing can be known yet.
    let age_ms = age_ms.min(now_tick.saturating_sub(began_tick));
    let stale = (limits.stale_ms < age_ms).then_some(Alert::Stale { age_ms: known });
    shared.alerts.lasts(Lasting::Stale, stale);
    // The prover reads the node's row once per epoch.
    let counts = shared.view.proofs();
    if let (Some(before), Some(now)) = (*missed, counts)
        && before < now.missed
    {
        let epochs = now.missed - before;
        shared.alerts.raise(Alert::Missed { epochs, in_row: now.in_row });
    }
    let low = counts.filter(|counts| counts.backing < counts.needs);
    let low = low.map(|counts| Alert::CollateralLow { has: counts.backing, needs: counts.needs });
    shared.alerts.lasts(Lasting::CollateralLow, low);
    *missed = counts.map(|counts| counts.missed);
}

/// Alerts that wait for a slow listener; older ones are dropped.
const WAITING_MAX: usize = 256;
/// Milliseconds between two looks.
const LOOK_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_lasts_is_told_once_until_it_comes_again() {
        let alerts = Alerts::new();
        let mut told = alerts.subscribe();
        let full = || Some(Alert::DiskFull { free: 1, reserve: 2 });
        for _ in 0..3 {
            alerts.lasts(Lasting::DiskFull, full());
        }
        assert_eq!(told.try_recv().ok(), full());
        assert!(told.try_recv().is_err());
        alerts.lasts(Lasting::Stale, Some(Alert::Stale { age_ms: None }));
        assert!(told.try_recv().is_ok(), "another fault is another alert");
        alerts.lasts(Lasting::DiskFull, None);
        alerts.lasts(Lasting::DiskFull, full());
        assert_eq!(told.try_recv().ok(), full());
    }
}
