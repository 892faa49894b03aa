//! How many requests are answered at the same time for one peer, and for one network address, over all of its
//! connections. The others wait, and are not read before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use symbolon_net::crowd::Group;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limits of all peers and addresses that have a connection.
#[derive(Default)]
pub(super) struct Limits(Mutex<BTreeMap<Group, Weak<Semaphore>>>);

/// The limits of one connection.
#[derive(Clone)]
pub(super) struct OfConnection(Arc<[Arc<Semaphore>]>);

impl Limits {
    /// The limits that a connection of these groups shares with all others of them.
    pub(super) fn of(&self, groups: &[Group]) -> OfConnection {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, limit| 0 < limit.strong_count());
        let shared = groups.iter().map(|group| {
            known.get(group).and_then(Weak::upgrade).unwrap_or_else(|| {
                let made = Arc::new(Semaphore::new(most(group)));
                known.insert(*group, Arc::downgrade(&made));
                made
            })
        });
        OfConnection(shared.collect())
    }
}

impl OfConnection {
    /// Waits until one more request may be read. It counts until the permits are dropped.
    pub(super) async fn enter(&self) -> Vec<OwnedSemaphorePermit> {
        let mut permits = Vec::new();
        for limit in self.0.iter() {
            let permit = limit.clone().acquire_owned().await;
            permits.push(permit.expect("a limit is never closed"));
        }
        permits
    }
}

fn most(group: &Group) -> usize {
    match group {
        Group::Peer(_) | Group::Owner(_) => OF_PEER,
        Group::Address(_) => OF_ADDRESS,
    }
}

/// Requests of one peer: four connections that use all they may. With the largest transactions they hold 32 MiB.
const OF_PEER: usize = 256;
/// Requests of one network address, behind which several peers may be.
const OF_ADDRESS: usize = 1_024;
