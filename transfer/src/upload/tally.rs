//! Counts how much of a segment has been sent.
//!
//! A byte of user data counts once as many nodes as a deal needs were sent their part of its
//! stripe. Bytes that are only encoded, or were sent to fewer nodes, do not count. If a shard is
//! sent again to another node, its bytes count only once that node is further than the first one
//! was.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use crate::{
    lock,
    progress::{Progress, Step},
};

/// The count of one segment.
#[derive(Debug)]
pub(crate) struct Tally {
    progress: Progress,
    enough: usize,
    plain_length: u64,
    shard_length: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes sent of each shard that has not failed.
    sent: BTreeMap<u8, u64>,
    /// Bytes of user data that were reported already.
    reported: u64,
}

impl Tally {
    /// A count for a segment with `plain_length` bytes of user data, in shards of `shard_length`.
    pub(crate) fn new(
        progress: &Progress,
        enough: u8,
        (plain_length, shard_length): (u64, u64),
    ) -> Self {
        let (progress, enough) = (progress.clone(), usize::from(enough.max(1)));
        Self { progress, enough, plain_length, shard_length, state: Mutex::default() }
    }

    /// Further bytes of a shard were sent to its node.
    pub(crate) fn sent(&self, index: u8, bytes: u64) {
        let mut state = self.lock();
        *state.sent.entry(index).or_default() += bytes;
        let more = self.more(&mut state);
        self.report(more, |bytes| Step::Moved { bytes });
    }

    /// A node has its shard from an earlier put.
    pub(crate) fn held(&self, index: u8) {
        let mut state = self.lock();
        state.sent.insert(index, self.shard_length);
        let more = self.more(&mut state);
        self.report(more, |bytes| Step::Kept { bytes });
    }

    /// A shard has to be sent again to another node.
    pub(crate) fn failed(&self, index: u8) {
        self.lock().sent.remove(&index);
    }

    /// The segment is stored and paid for, so all its bytes count.
    pub(crate) fn done(&self) {
        let mut state = self.lock();
        let more = self.plain_length.saturating_sub(state.reported);
        state.reported = self.plain_length;
        self.report(more, |bytes| Step::Moved { bytes });
    }

    /// Bytes that count now and were not reported before.
    fn more(&self, state: &mut State) -> u64 {
        let mut sent: Vec<u64> = state.sent.values().copied().collect();
        sent.sort_unstable_by(|one, other| other.cmp(one));
        let sent = sent.get(self.enough - 1).copied().unwrap_or(0).min(self.shard_length);
        let counts = u128::from(self.plain_length) * u128::from(sent);
        let counts = counts / u128::from(self.shard_length.max(1));
        let counts = u64::try_from(counts).unwrap_or(self.plain_length);
        let more = counts.saturating_sub(state.reported);
        state.reported += more;
        more
    }

    fn report(&self, bytes: u64, step: impl Fn(u64) -> Step) {
        if bytes > 0 {
            self.progress.step(step(bytes));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    /// A tally for 1,000 bytes in three shards of 100 bytes, two of which are enough. The function
    /// returns the bytes that were reported as moved and as kept.
    fn tally() -> (Tally, impl Fn() -> (u64, u64)) {
        let reported = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let sums = reported.clone();
        let progress = Progress::new(move |step| match step {
            Step::Moved { bytes } => drop(sums.0.fetch_add(bytes, Ordering::Relaxed)),
            Step::Kept { bytes } => drop(sums.1.fetch_add(bytes, Ordering::Relaxed)),
            _ => {}
        });
        let read = move || (reported.0.load(Ordering::Relaxed), reported.1.load(Ordering::Relaxed));
        (Tally::new(&progress, 2, (1_000, 100)), read)
    }

    #[test]
    fn bytes_count_once_enough_nodes_were_sent_them() {
        let (tally, reported) = tally();
        tally.sent(0, 100);
        assert_eq!(reported(), (0, 0), "one node is not enough");
        tally.sent(1, 30);
        assert_eq!(reported(), (300, 0));
        tally.sent(2, 50);
        assert_eq!(reported(), (500, 0));
        tally.done();
        assert_eq!(reported(), (1_000, 0));
        tally.sent(1, 70);
        assert_eq!(reported(), (1_000, 0), "no byte counts twice");
    }

    #[test]
    fn bytes_that_are_sent_again_count_once() {
        let (tally, reported) = tally();
        tally.sent(0, 80);
        tally.sent(1, 60);
        tally.failed(1);
        assert_eq!(reported(), (600, 0));
        tally.sent(1, 50);
        assert_eq!(reported(), (600, 0), "the second node is not as far as the first was");
        tally.sent(1, 20);
        assert_eq!(reported(), (700, 0));
    }

    #[test]
    fn bytes_that_nodes_had_already_are_kept_and_not_moved() {
        let (tally, reported) = tally();
        tally.held(0);
        tally.held(2);
        assert_eq!(reported(), (0, 1_000));
        tally.done();
        assert_eq!(reported(), (0, 1_000));
    }
}
