//! A crowd at work: a place is a pass that is given back when it is dropped, and who has to give way is told.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use crate::crowd::{Bounds, Crowd, Group, NoRoom, Place};

/// Lets in who there is room for. Clones are the same gate.
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
    told: BTreeMap<Place, Arc<Notify>>,
}

impl Gate {
    /// A gate through which nobody has come yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let inside = Inside { crowd: Crowd::new(bounds), told: BTreeMap::new() };
        Self { shared: Arc::new(Shared { opened: Instant::now(), inside: Mutex::new(inside) }) }
    }

    /// Takes a place, for which others may have to give way.
    pub fn enter(&self, groups: &[Group]) -> Result<Pass, NoRoom> {
        let now_ms = self.shared.now_ms();
        let mut inside = self.shared.inside();
        let (place, leaving) = inside.crowd.enter(groups, now_ms)?;
        for left in leaving {
            if let Some(told) = inside.told.remove(&left) {
                told.notify_one();
            }
        }
        let told = Arc::new(Notify::new());
        inside.told.insert(place, Arc::clone(&told));
        drop(inside);
        Ok(Pass { shared: Arc::clone(&self.shared), place, told })
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
        // Nothing that holds the lock panics half way.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place inside; dropped, it is free.
pub struct Pass {
    shared: Arc<Shared>,
    place: Place,
    told: Arc<Notify>,
}

impl Pass {
    /// Its holder has achieved something.
    pub fn achieved(&self, amount: u64) {
        let now_ms = self.shared.now_ms();
        self.shared.inside().crowd.achieved(self.place, amount, now_ms);
    }

    /// Whether its holder, left alone at first, has achieved less than `least` of late.
    #[must_use]
    pub fn is_slow(&self, least: u64) -> bool {
        let now_ms = self.shared.now_ms();
        self.shared.inside().crowd.is_slow(self.place, least, now_ms)
    }

    /// Waits until its holder has to give way. One waits for this at a time.
    pub async fn gives_way(&self) {
        self.told.notified().await;
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
        inside.told.remove(&self.place);
    }
}
