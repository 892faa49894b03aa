//! What an engine counts while it runs, for its operator. Nothing here decides anything.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper ends of the groups of [`Times`], in milliseconds. Above the last one is one group more.
pub const BOUNDS_MS: [u64; 13] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// What an engine has counted since it was started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// The height that is being decided, or that is next; 0 while one machine orders alone.
    pub height: u64,
    /// The round of that height.
    pub round: u32,
    /// Transactions that wait for a block.
    pub waiting: u64,
    /// Bytes of those.
    pub waiting_bytes: u64,
    /// Blocks of which the next one has said who signed them, while this machine was in their set.
    pub counted: u64,
    /// Those of them without this machine's signature: its vote was missing, or came after the others had enough.
    pub unsigned: u64,
    /// From when this machine began to build or to judge a block until one of that height was on its disk.
    pub decided: Times,
    /// From when a transaction was given to this machine until a block with it was on its disk.
    pub submitted: Times,
}

/// How long something has taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// How often it took at most the time of [`BOUNDS_MS`] at the same place, and longer than the one before; and last, how
    /// often it took longer than all.
    pub groups: [u64; BOUNDS_MS.len() + 1],
    /// The sum of all times.
    pub sum: Duration,
}

impl Times {
    /// How often it was measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.groups.iter().sum()
    }
}

/// The counts of an engine that runs.
#[derive(Default)]
pub(crate) struct Counts {
    height: AtomicU64,
    round: AtomicU64,
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    counted: AtomicU64,
    unsigned: AtomicU64,
    pub(crate) decided: Clock,
    pub(crate) submitted: Clock,
}

/// Measured times.
#[derive(Default)]
pub(crate) struct Clock {
    groups: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Clock {
    pub(crate) fn note(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let group = BOUNDS_MS.partition_point(|bound| bound.saturating_mul(1_000) < us);
        self.groups[group].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn read(&self) -> Times {
        let groups = std::array::from_fn(|at| self.groups[at].load(Relaxed));
        Times { groups, sum: Duration::from_micros(self.sum_us.load(Relaxed)) }
    }
}

impl Counts {
    /// Where the agreement stands.
    pub(crate) fn stands(&self, height: u64, round: u32) {
        self.height.store(height, Relaxed);
        self.round.store(u64::from(round), Relaxed);
    }

    /// What waits for a block.
    pub(crate) fn waits(&self, transactions: usize, bytes: usize) {
        self.waiting.store(transactions as u64, Relaxed);
        self.waiting_bytes.store(bytes as u64, Relaxed);
    }

    /// Whether a block has this machine's signature.
    pub(crate) fn signed(&self, is_there: bool) {
        self.counted.fetch_add(1, Relaxed);
        self.unsigned.fetch_add(u64::from(!is_there), Relaxed);
    }

    pub(crate) fn read(&self) -> Figures {
        Figures {
            height: self.height.load(Relaxed),
            round: u32::try_from(self.round.load(Relaxed)).unwrap_or(u32::MAX),
            waiting: self.waiting.load(Relaxed),
            waiting_bytes: self.waiting_bytes.load(Relaxed),
            counted: self.counted.load(Relaxed),
            unsigned: self.unsigned.load(Relaxed),
            decided: self.decided.read(),
            submitted: self.submitted.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_group_that_it_does_not_exceed() {
        let counts = Counts::default();
        for ms in [0, 5, 6, 60_000, 60_001, 10_000_000] {
            counts.decided.note(Duration::from_millis(ms));
        }
        let decided = counts.read().decided;
        assert_eq!((decided.groups[0], decided.groups[1]), (2, 1));
        assert_eq!(decided.groups[BOUNDS_MS.len() - 1..], [1, 2]);
        assert_eq!((decided.count(), decided.sum), (6, Duration::from_millis(10_120_012)));
    }

    #[test]
    fn signatures_that_are_missing_are_counted() {
        let counts = Counts::default();
        counts.signed(true);
        counts.signed(false);
        let figures = counts.read();
        assert_eq!((figures.counted, figures.unsigned), (2, 1));
    }
}
