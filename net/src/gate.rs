//! A [`Crowd`] with a clock and a lock. A place is a [`Pass`]: dropping it frees the place. The
//! gate notifies a holder that has to give way.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use crate::crowd::{Bounds, Crowd, Group, NoRoom, Place};

/// Lets callers in while there is room. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    opened: Instant,
    inside: Mutex<Inside>,
}

struct Inside {
    crowd: Crowd,
    to_leave: BTreeMap<Place, Arc<Notify>>,
}

impl Gate {
    /// A gate without holders.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let inside = Inside { crowd: Crowd::new(bounds), to_leave: BTreeMap::new() };
        Self { shared: Arc::new(Shared { opened: Instant::now(), inside: Mutex::new(inside) }) }
    }

    /// Takes a place. Another holder may have to give way for it.
    pub fn enter(&self, groups: &[Group]) -> Result<Pass, NoRoom> {
        let now_ms = self.shared.now_ms();
        let mut inside = self.shared.inside();
        let (place, leaving) = inside.crowd.enter(groups, now_ms)?;
        for left in leaving {
            if let Some(leave) = inside.to_leave.remove(&left) {
                leave.notify_one();
            }
        }
        let leave = Arc::new(Notify::new());
        inside.to_leave.insert(place, Arc::clone(&leave));
        drop(inside);
        Ok(Pass { shared: Arc::clone(&self.shared), place, leave })
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("inside", &self.shared.inside().crowd.len()).finish()
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Code that holds the lock does not panic half way.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place inside. Dropping the pass frees the place.
pub struct Pass {
    shared: Arc<Shared>,
    place: Place,
    leave: Arc<Notify>,
}

impl Pass {
    /// Counts progress of the holder.
    pub fn achieved(&self, amount: u64) {
        let now_ms = self.shared.now_ms();
        self.shared.inside().crowd.achieved(self.place, amount, now_ms);
    }

    /// Whether the holder's recent progress is below `least`. Never true in its first two
    /// windows.
    #[must_use]
    pub fn is_slow(&self, least: u64) -> bool {
        let now_ms = self.shared.now_ms();
        self.shared.inside().crowd.is_slow(self.place, least, now_ms)
    }

    /// Waits until the holder has to give way. Only one task may wait for this at a time.
    pub async fn gives_way(&self) {
        self.leave.notified().await;
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.shared.inside();
        inside.crowd.leave(self.place);
        inside.to_leave.remove(&self.place);
    }
}
