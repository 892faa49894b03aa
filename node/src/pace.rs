//! A bound on bytes per second in one direction, for all peers together.
//!
//! Each part waits for its turn before it moves: the parts stand in one queue, so all streams go on evenly.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use symbolon_net::Host;
use symbolon_transfer::pace::{self, Turn};
use tokio::sync::Notify;

/// The bound of one direction.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes per second; 0 means no bound.
    rate: AtomicU64,
    /// The tick in microseconds at which all parts so far have had their time.
    busy_until_us: Mutex<u64>,
    /// Notified when the bound changes.
    changed: Notify,
    /// Bytes that have moved since the start.
    moved: AtomicU64,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let rate = AtomicU64::new(rate.unwrap_or(0));
        Self {
            rate,
            busy_until_us: Mutex::new(0),
            changed: Notify::new(),
            moved: AtomicU64::new(0),
        }
    }

    /// Sets another bound. Parts that wait under the one before go on at once.
    pub(crate) fn set(&self, rate: Option<u64>) {
        let before = self.rate.swap(rate.unwrap_or(0), Ordering::AcqRel);
        if before != rate.unwrap_or(0) {
            *self.busy_until_us() = 0;
            self.changed.notify_waiters();
        }
    }

    /// Whether there is a bound.
    pub(crate) fn is_bounded(&self) -> bool {
        self.rate.load(Ordering::Acquire) != 0
    }

    /// Bytes that have moved since the start.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Waits until `bytes` may move. Tells `held` at least once a second for how many milliseconds it has waited: they
    /// are the node's doing, not the peer's.
    pub(crate) async fn take(&self, bytes: u64, host: &Host, mut held: impl FnMut(u64)) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        let changed = self.changed.notified();
        let mut left_ms = self.turn_in_ms(bytes, host.ticks_ms());
        tokio::pin!(changed);
        while left_ms != 0 {
            let step_ms = left_ms.min(STEP_MS);
            let began_tick = host.ticks_ms();
            let is_changed = tokio::select! {
                () = &mut changed => true,
                () = host.sleep_ms(step_ms) => false,
            };
            held(host.ticks_ms().saturating_sub(began_tick));
            left_ms = if is_changed { 0 } else { left_ms - step_ms };
        }
    }

    /// Puts a part into the queue. Returns in how many milliseconds its turn comes.
    fn turn_in_ms(&self, bytes: u64, now_ms: u64) -> u64 {
        let rate = self.rate.load(Ordering::Acquire);
        if rate == 0 {
            return 0;
        }
        let now_us = now_ms.saturating_mul(1_000);
        let takes_us = u128::from(bytes) * 1_000_000 / u128::from(rate);
        let mut busy_until_us = self.busy_until_us();
        // What was not used in the last moments may be made up for, so that short gaps cost no throughput.
        let from_us = (*busy_until_us).max(now_us.saturating_sub(SLACK_US));
        *busy_until_us = from_us.saturating_add(u64::try_from(takes_us).unwrap_or(u64::MAX));
        busy_until_us.saturating_sub(now_us) / 1_000
    }

    fn busy_until_us(&self) -> MutexGuard<'_, u64> {
        self.busy_until_us.lock().expect("no code that holds the time panics")
    }
}

/// Both directions, for what the node itself moves as a caretaker.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    pub(crate) send: Arc<Pace>,
    pub(crate) receive: Arc<Pace>,
    pub(crate) host: Host,
}

impl pace::Pace for Bandwidth {
    fn is_bounded(&self) -> bool {
        self.send.is_bounded() || self.receive.is_bounded()
    }

    fn send(&self, bytes: u64) -> Turn<'_> {
        Box::pin(self.send.take(bytes, &self.host, |_| {}))
    }

    fn receive(&self, bytes: u64) -> Turn<'_> {
        Box::pin(self.receive.take(bytes, &self.host, |_| {}))
    }
}

/// Bytes of a part where bandwidth is bounded.
pub(crate) const BOUNDED_BYTES: usize = pace::PART_BYTES;
/// The longest time between two words about a wait, in milliseconds: much less than that over which a peer's pace is
/// measured.
const STEP_MS: u64 = 1_000;
/// Microseconds of unused time that count later.
const SLACK_US: u64 = 250_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_move_at_the_rate_and_unused_time_counts_for_a_moment() {
        let pace = Pace::new(Some(1_000_000));
        // A quarter of a second may be made up for at the beginning.
        assert_eq!(pace.turn_in_ms(250_000, 10_000), 0);
        let turns: Vec<_> = (0..4).map(|_| pace.turn_in_ms(100_000, 10_000)).collect();
        assert_eq!(turns, [100, 200, 300, 400], "streams wait in one queue");
        assert_eq!(pace.turn_in_ms(100_000, 10_400), 100);
        // A long silence is not saved up.
        assert_eq!(pace.turn_in_ms(500_000, 1_000_000), 250);
        pace.set(None);
        assert_eq!(pace.turn_in_ms(u64::MAX, 1_000_000), 0);
        pace.set(Some(1));
        assert_eq!(pace.turn_in_ms(u64::MAX, 1_000_000), u64::MAX / 1_000 - 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_lets_those_go_that_wait() {
        let host = Host::seeded(1, 1_000);
        let pace = Pace::new(Some(1_000));
        let mut waited = 0;
        let hour = pace.take(3_600_000, &host, |ms| waited += ms);
        let change = async {
            host.sleep_ms(10_000).await;
            pace.set(None);
        };
        tokio::join!(hour, change);
        assert_eq!(waited, 10_000);
        pace.take(1 << 40, &host, |ms| panic!("held for {ms} ms without a bound")).await;
        assert_eq!(pace.moved(), 3_600_000 + (1 << 40));
    }
}
