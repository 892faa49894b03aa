//! A value that tasks wait on. They wake in the order in which they began to wait.
//!
//! This is tokio's `watch` with one difference. Tokio spreads waiters over eight lists at random,
//! so that many threads do not contend for one lock, and wakes list after list. Here there is one
//! list, because a simulated run must wake its tasks in the same order every time. One list is fast
//! enough: these values change a few times a second.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use thiserror::Error;
use tokio::sync::Notify;

/// All senders are gone, so the value cannot change any more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no sender is left to change the value")]
pub struct Closed;

/// A new value, and its two ends.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

struct Shared<T> {
    state: RwLock<State<T>>,
    changed: Notify,
}

struct State<T> {
    value: T,
    version: u64,
    senders: usize,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        // A panic during a change does not leave a half-changed value: values are replaced whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut usize)) -> usize {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.senders);
        state.senders
    }
}

/// The value as it is now. It cannot change while this guard lives, so do not hold it for long.
pub struct Ref<'a, T>(RwLockReadGuard<'a, State<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

/// Changes the value. Clones change the same value.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// A value without receivers.
    pub fn new(value: T) -> Self {
        let state = RwLock::new(State { value, version: 0, senders: 1 });
        Self { shared: Arc::new(Shared { state, changed: Notify::new() }) }
    }

    /// Sets the value, wakes all waiters, and returns the old value.
    pub fn send_replace(&self, value: T) -> T {
        let mut old = value;
        self.send_if_modified(|now| {
            std::mem::swap(now, &mut old);
            true
        });
        old
    }

    /// Lets `change` change the value. Wakes all waiters if `change` returns true. `change` must
    /// not panic.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        let modified = change(&mut state.value);
        state.version += u64::from(modified);
        drop(state);
        if modified {
            self.shared.changed.notify_waiters();
        }
        modified
    }

    /// The current value.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// A new receiver, which has already seen the current value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.shared.read().version;
        Receiver { shared: self.shared.clone(), seen }
    }

    /// Whether another sender changes the same value.
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.count(|senders| *senders += 1);
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.count(|senders| *senders -= 1) == 0 {
            self.shared.changed.notify_waiters();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&*self.borrow()).finish()
    }
}

/// Waits for changes of the value.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Receiver<T> {
    /// The current value.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// The current value, which then counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let state = self.shared.read();
        self.seen = state.version;
        Ref(state)
    }

    /// Waits for a value that this receiver has not seen. It then counts as seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Registered before the value is read, so a later change wakes this task.
            let changed = self.shared.changed.notified();
            {
                let state = self.shared.read();
                if self.seen != state.version {
                    self.seen = state.version;
                    return Ok(());
                }
                if state.senders == 0 {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }

    /// Waits until `wanted` accepts the value, which may be at once. The value then counts as seen.
    pub async fn wait_for(&mut self, wanted: impl Fn(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        loop {
            let changed = self.shared.changed.notified();
            {
                let state = self.shared.read();
                self.seen = state.version;
                if wanted(&state.value) {
                    return Ok(Ref(state));
                }
                if state.senders == 0 {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&*self.borrow()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn waiters_wake_in_the_order_they_came() {
        for _ in 0..20 {
            let (sender, receiver) = channel(0);
            let woken = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..30 {
                let (mut receiver, woken) = (receiver.clone(), woken.clone());
                tasks.spawn(async move {
                    receiver.changed().await.unwrap();
                    woken.lock().unwrap().push(number);
                });
            }
            tokio::task::yield_now().await;
            sender.send_replace(1);
            tasks.join_all().await;
            assert_eq!(*woken.lock().unwrap(), (0..30).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_change_is_seen_once_and_the_end_is_noticed() {
        let (sender, mut receiver) = channel(1);
        let other = sender.clone();
        assert!(sender.same_channel(&other) && !sender.same_channel(&Sender::new(1)));
        assert_eq!(sender.send_replace(2), 1);
        assert!(!sender.send_if_modified(|_| false));
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*receiver.borrow(), 2);
        assert_eq!(*receiver.borrow_and_update(), 2);
        drop(sender);
        other.send_replace(3);
        assert_eq!(receiver.wait_for(|value| *value == 3).await.map(|value| *value), Ok(3));
        drop(other);
        // The last value can still be waited for. No other value comes.
        assert_eq!(receiver.wait_for(|value| *value == 3).await.map(|value| *value), Ok(3));
        assert_eq!(receiver.wait_for(|value| *value == 4).await.map(|value| *value), Err(Closed));
        assert_eq!(receiver.changed().await, Err(Closed));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_change_is_missed_between_threads() {
        let (sender, receiver) = channel(0_u32);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let mut receiver = receiver.clone();
            tasks
                .spawn(async move { receiver.wait_for(|value| *value == 2_000).await.map(|v| *v) });
        }
        let rest = sender.clone();
        tasks.spawn(async move {
            for _ in 0..2_000 {
                rest.send_if_modified(|value| {
                    *value += 1;
                    true
                });
                tokio::task::yield_now().await;
            }
            Ok(2_000)
        });
        drop(sender);
        assert!(tasks.join_all().await.into_iter().all(|last| last == Ok(2_000)));
    }
}
