//! How much of a segment has really been sent.
//!
//! A byte of the user's counts when as many nodes as a deal needs have been sent their part of its
//! stripe. What is only encoded, or sent to fewer, does not count; nor does the same shard sent again
//! to another node, until that one is as far as the first was.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use crate::{
    lock,
    progress::{Progress, Step},
};

/// Counts for one segment.
#[derive(Debug)]
pub(super) struct Tally {
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
    /// Bytes of user data that were told already.
    told: u64,
}

impl Tally {
    /// For a segment that holds `plain_length` bytes of the user's, in shards of `shard_length`.
    pub(super) fn new(
        progress: &Progress,
        enough: u8,
        (plain_length, shard_length): (u64, u64),
    ) -> Self {
        let (progress, enough) = (progress.clone(), usize::from(enough.max(1)));
        Self { progress, enough, plain_length, shard_length, state: Mutex::default() }
    }

    /// So many more bytes of a shard went to its node.
    pub(super) fn sent(&self, index: u8, bytes: u64) {
        let mut state = self.lock();
        *state.sent.entry(index).or_default() += bytes;
        let more = self.more(&mut state);
        self.tell(more, |bytes| Step::Moved { bytes });
    }

    /// A node has its shard from an earlier put.
    pub(super) fn held(&self, index: u8) {
        let mut state = self.lock();
        state.sent.insert(index, self.shard_length);
        let more = self.more(&mut state);
        self.tell(more, |bytes| Step::Kept { bytes });
    }

    /// A shard has to be sent again, to somebody else.
    pub(super) fn failed(&self, index: u8) {
        self.lock().sent.remove(&index);
    }

    /// The segment is stored and paid for, however the counting went.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        let more = self.plain_length.saturating_sub(state.told);
        state.told = self.plain_length;
        self.tell(more, |bytes| Step::Moved { bytes });
    }

    /// What counts now and did not before.
    fn more(&self, state: &mut State) -> u64 {
        let mut sent: Vec<u64> = state.sent.values().copied().collect();
        sent.sort_unstable_by(|one, other| other.cmp(one));
        let sent = sent.get(self.enough - 1).copied().unwrap_or(0).min(self.shard_length);
        let counts = u128::from(self.plain_length) * u128::from(sent);
        let counts = counts / u128::from(self.shard_length.max(1));
        let counts = u64::try_from(counts).unwrap_or(self.plain_length);
        let more = counts.saturating_sub(state.told);
        state.told += more;
        more
    }

    fn tell(&self, bytes: u64, step: impl Fn(u64) -> Step) {
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

    /// A tally of three shards of 100 bytes, two of them enough, for 1,000 bytes; moved and kept.
    fn tally() -> (Tally, impl Fn() -> (u64, u64)) {
        let told = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let heard = told.clone();
        let progress = Progress::new(move |step| match step {
            Step::Moved { bytes } => drop(heard.0.fetch_add(bytes, Ordering::Relaxed)),
            Step::Kept { bytes } => drop(heard.1.fetch_add(bytes, Ordering::Relaxed)),
            _ => {}
        });
        let read = move || (told.0.load(Ordering::Relaxed), told.1.load(Ordering::Relaxed));
        (Tally::new(&progress, 2, (1_000, 100)), read)
    }

    #[test]
    fn only_what_enough_nodes_were_sent_counts() {
        let (tally, told) = tally();
        tally.sent(0, 100);
        assert_eq!(told(), (0, 0), "one node is not enough");
        tally.sent(1, 30);
        assert_eq!(told(), (300, 0));
        tally.sent(2, 50);
        assert_eq!(told(), (500, 0));
        tally.done();
        assert_eq!(told(), (1_000, 0));
        tally.sent(1, 70);
        assert_eq!(told(), (1_000, 0), "nothing counts twice");
    }

    #[test]
    fn what_is_sent_again_counts_once() {
        let (tally, told) = tally();
        tally.sent(0, 80);
        tally.sent(1, 60);
        tally.failed(1);
        assert_eq!(told(), (600, 0));
        tally.sent(1, 50);
        assert_eq!(told(), (600, 0), "the second node is not as far as the first was");
        tally.sent(1, 20);
        assert_eq!(told(), (700, 0));
    }

    #[test]
    fn what_nodes_had_is_kept_and_not_moved() {
        let (tally, told) = tally();
        tally.held(0);
        tally.held(2);
        assert_eq!(told(), (0, 1_000));
        tally.done();
        assert_eq!(told(), (0, 1_000));
    }
}
