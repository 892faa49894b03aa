//! What is taken on: one set of counters that says yes or no before a byte is received.
//!
//! Every yes is a guard whose drop gives back what it took, so a client that goes away in the middle
//! of anything leaves nothing behind.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use symbolon_protocol::{
    id::{AccountId, DealId, PeerId},
    wire::storage::{Refusal, RefusalCode},
};

use tokio::sync::Notify;

use crate::options::Limits;

/// The counters, shared by everything that serves.
#[derive(Debug)]
pub(crate) struct Admission {
    capacity: u64,
    limits: Limits,
    counts: Mutex<Counts>,
    /// Told when an upload ends.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    streams: BTreeMap<PeerId, usize>,
    streams_in_all: usize,
    /// Uploads under way: at most one shard of a deal.
    uploads: BTreeMap<DealId, Arc<Upload>>,
    /// Bytes promised to uploads under way.
    reserved: u64,
    /// Bytes of shards on disk.
    used: u64,
    /// Bytes of shards on disk whose deal is not open, in total and by owner. Uploads under way count.
    unpaid: u64,
    unpaid_by: BTreeMap<AccountId, u64>,
}

impl Counts {
    fn unpaid_of(&self, owner: &AccountId) -> u64 {
        self.unpaid_by.get(owner).copied().unwrap_or(0)
    }

    fn add_unpaid(&mut self, owner: AccountId, bytes: u64) {
        self.unpaid += bytes;
        *self.unpaid_by.entry(owner).or_default() += bytes;
    }

    fn take_unpaid(&mut self, owner: &AccountId, bytes: u64) {
        self.unpaid = self.unpaid.saturating_sub(bytes);
        if let Some(count) = self.unpaid_by.get_mut(owner) {
            *count = count.saturating_sub(bytes);
            if *count == 0 {
                self.unpaid_by.remove(owner);
            }
        }
    }
}

/// Whether a shard's deal stands on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paid {
    No,
    Yes,
}

/// A shard that is about to be received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) deal: DealId,
    pub(crate) index: u8,
    pub(crate) owner: AccountId,
    pub(crate) length: u64,
}

/// An upload under way.
#[derive(Debug)]
pub(crate) struct Upload {
    offer: Offer,
    /// The tick at which its last bytes came.
    heard_tick: AtomicU64,
    /// Told when it has to give way.
    give_way: Notify,
}

impl Upload {
    /// Bytes came.
    pub(crate) fn heard(&self, tick_ms: u64) {
        self.heard_tick.store(tick_ms, Ordering::Relaxed);
    }

    pub(crate) fn heard_tick(&self) -> u64 {
        self.heard_tick.load(Ordering::Relaxed)
    }

    /// Waits until it has to give way.
    pub(crate) async fn gives_way(&self) {
        self.give_way.notified().await;
    }
}

impl Admission {
    pub(crate) fn new(capacity: u64, limits: Limits) -> Arc<Self> {
        Arc::new(Self { capacity, limits, counts: Mutex::default(), ended: Notify::new() })
    }

    /// Counts a shard that was on disk when the node started.
    pub(crate) fn count_kept(&self, owner: AccountId, length: u64, paid: Paid) {
        let mut counts = self.counts();
        counts.used += length;
        if paid == Paid::No {
            counts.add_unpaid(owner, length);
        }
    }

    /// A shard's deal was opened.
    pub(crate) fn count_paid(&self, owner: &AccountId, length: u64) {
        self.counts().take_unpaid(owner, length);
    }

    /// A shard was deleted.
    pub(crate) fn count_deleted(&self, owner: &AccountId, length: u64, paid: Paid) {
        let mut counts = self.counts();
        counts.used = counts.used.saturating_sub(length);
        if paid == Paid::No {
            counts.take_unpaid(owner, length);
        }
    }

    /// Bytes on disk.
    pub(crate) fn used(&self) -> u64 {
        self.counts().used
    }

    /// Bytes on disk or under way whose deal is not open.
    pub(crate) fn unpaid(&self) -> u64 {
        self.counts().unpaid
    }

    /// Bytes the node would still take.
    pub(crate) fn free(&self, disk_free: u64) -> u64 {
        let counts = self.counts();
        let offered = self.capacity.saturating_sub(counts.used + counts.reserved);
        offered.min(self.disk_room(&counts, disk_free))
    }

    /// Admits a connection, or `None` when there are too many.
    pub(crate) fn connection(self: &Arc<Self>) -> Option<ConnectionGuard> {
        let mut counts = self.counts();
        if counts.connections >= self.limits.connections_max {
            return None;
        }
        counts.connections += 1;
        Some(ConnectionGuard { admission: Arc::clone(self) })
    }

    /// Admits a stream of a peer, or `None` when the peer has too many.
    pub(crate) fn stream(self: &Arc<Self>, peer: PeerId) -> Option<StreamGuard> {
        let mut counts = self.counts();
        let open = counts.streams.get(&peer).copied().unwrap_or(0);
        if open >= self.limits.streams_per_peer_max
            || counts.streams_in_all >= self.limits.streams_max
        {
            return None;
        }
        counts.streams.insert(peer, open + 1);
        counts.streams_in_all += 1;
        Some(StreamGuard { admission: Arc::clone(self), peer })
    }

    /// Admits an upload: room for all its bytes is reserved until the guard is dropped.
    pub(crate) fn upload(
        self: &Arc<Self>,
        offer: Offer,
        disk_free: u64,
        tick_ms: u64,
    ) -> Result<UploadGuard, Refusal> {
        let mut counts = self.counts();
        match counts.uploads.get(&offer.deal) {
            Some(upload) if upload.offer.index == offer.index => {
                return Err(Refusal::new(
                    RefusalCode::Busy,
                    "this shard is being received already",
                ));
            }
            Some(_) => {
                let message = "another shard of this deal is being received";
                return Err(Refusal::new(RefusalCode::Conflict, message));
            }
            None => {}
        }
        if counts.uploads.len() >= self.limits.stores_max {
            return Err(Refusal::new(RefusalCode::Busy, "too many shards are being received"));
        }
        let taken = counts.used + counts.reserved;
        if self.capacity.saturating_sub(taken) < offer.length {
            return Err(Refusal::new(RefusalCode::Full, "what this node offers is taken"));
        }
        if self.disk_room(&counts, disk_free) < offer.length {
            return Err(Refusal::new(RefusalCode::Full, "the node's disk is full"));
        }
        let of_owner = counts.unpaid_of(&offer.owner).saturating_add(offer.length);
        if of_owner > self.limits.unpaid_bytes_per_owner_max {
            let message = "the owner has too many bytes here whose deals are not open";
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        if counts.unpaid.saturating_add(offer.length) > self.limits.unpaid_bytes_max {
            let message = "the node keeps too many bytes whose deals are not open";
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        let heard_tick = AtomicU64::new(tick_ms);
        let upload = Arc::new(Upload { offer, heard_tick, give_way: Notify::new() });
        counts.uploads.insert(offer.deal, Arc::clone(&upload));
        counts.reserved += offer.length;
        counts.add_unpaid(offer.owner, offer.length);
        Ok(UploadGuard { admission: Arc::clone(self), upload, kept: false })
    }

    /// The upload of a deal that is under way for an owner.
    pub(crate) fn under_way(&self, deal: &DealId, owner: &AccountId) -> Option<Arc<Upload>> {
        let counts = self.counts();
        counts.uploads.get(deal).filter(|upload| upload.offer.owner == *owner).cloned()
    }

    /// Has an upload give way, and waits until it has.
    pub(crate) async fn displace(&self, upload: &Arc<Upload>) {
        upload.give_way.notify_one();
        loop {
            let ended = self.ended.notified();
            let there = self.counts().uploads.get(&upload.offer.deal).cloned();
            if !there.is_some_and(|there| Arc::ptr_eq(&there, upload)) {
                return;
            }
            ended.await;
        }
    }

    /// Waits until no upload is under way.
    pub(crate) async fn no_uploads(&self) {
        loop {
            let ended = self.ended.notified();
            if self.counts().uploads.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// What the disk still holds beyond its reserve and the uploads under way. Part of those may be
    /// written already and is then counted twice: that errs on the safe side.
    fn disk_room(&self, counts: &Counts, disk_free: u64) -> u64 {
        disk_free.saturating_sub(self.limits.disk_reserve_bytes).saturating_sub(counts.reserved)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("no code that holds the counters panics")
    }
}

/// A place among the open connections.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    admission: Arc<Admission>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.admission.counts().connections -= 1;
    }
}

/// A place among a peer's streams.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    admission: Arc<Admission>,
    peer: PeerId,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.streams_in_all -= 1;
        if let Some(open) = counts.streams.get_mut(&self.peer) {
            *open -= 1;
            if *open == 0 {
                counts.streams.remove(&self.peer);
            }
        }
    }
}

/// Room reserved for a shard.
#[derive(Debug)]
pub(crate) struct UploadGuard {
    admission: Arc<Admission>,
    upload: Arc<Upload>,
    kept: bool,
}

impl UploadGuard {
    pub(crate) fn upload(&self) -> &Upload {
        &self.upload
    }

    /// The shard is on disk: its bytes are used now, no longer reserved. They stay unpaid.
    pub(crate) fn keep(mut self) {
        self.admission.counts().used += self.upload.offer.length;
        self.kept = true;
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        let Offer { deal, owner, length, .. } = self.upload.offer;
        counts.uploads.remove(&deal);
        counts.reserved -= length;
        if !self.kept {
            counts.take_unpaid(&owner, length);
        }
        drop(counts);
        self.admission.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = u64::MAX;

    fn limits() -> Limits {
        Limits {
            stores_max: 2,
            streams_per_peer_max: 1,
            connections_max: 1,
            unpaid_bytes_max: 70,
            unpaid_bytes_per_owner_max: 50,
            disk_reserve_bytes: 1000,
            ..Limits::for_capacity(100)
        }
    }

    fn offer(deal: u8, owner: u8, length: u64) -> Offer {
        Offer { deal: DealId([deal; 16]), index: 0, owner: AccountId([owner; 32]), length }
    }

    fn refused(result: Result<UploadGuard, Refusal>) -> RefusalCode {
        result.expect_err("refused").code
    }

    #[test]
    fn a_dropped_upload_leaves_nothing() {
        let admission = Admission::new(100, limits());
        let guard = admission.upload(offer(1, 1, 40), PLENTY, 0).unwrap();
        assert_eq!((admission.free(PLENTY), admission.unpaid()), (60, 40));
        drop(guard);
        assert_eq!((admission.free(PLENTY), admission.unpaid(), admission.used()), (100, 0, 0));
    }

    #[test]
    fn a_kept_upload_is_unpaid_until_its_deal_opens_and_used_until_deleted() {
        let admission = Admission::new(100, limits());
        admission.upload(offer(1, 1, 40), PLENTY, 0).unwrap().keep();
        assert_eq!((admission.used(), admission.unpaid()), (40, 40));
        let owner = AccountId([1; 32]);
        admission.count_paid(&owner, 40);
        assert_eq!((admission.used(), admission.unpaid()), (40, 0));
        admission.count_deleted(&owner, 40, Paid::Yes);
        assert_eq!((admission.used(), admission.free(PLENTY)), (0, 100));
    }

    #[test]
    fn every_bound_refuses() {
        let admission = Admission::new(100, limits());
        assert_eq!(refused(admission.upload(offer(1, 1, 101), PLENTY, 0)), RefusalCode::Full);
        assert_eq!(refused(admission.upload(offer(1, 1, 40), 1039, 0)), RefusalCode::Full);
        assert_eq!(refused(admission.upload(offer(1, 1, 51), PLENTY, 0)), RefusalCode::Busy);
        let first = admission.upload(offer(1, 1, 40), PLENTY, 0).unwrap();
        assert_eq!(refused(admission.upload(offer(1, 1, 1), PLENTY, 0)), RefusalCode::Busy);
        let other_index = Offer { index: 1, ..offer(1, 1, 1) };
        assert_eq!(refused(admission.upload(other_index, PLENTY, 0)), RefusalCode::Conflict);
        assert_eq!(refused(admission.upload(offer(2, 2, 31), PLENTY, 0)), RefusalCode::Busy);
        let second = admission.upload(offer(2, 2, 1), PLENTY, 0).unwrap();
        assert_eq!(refused(admission.upload(offer(3, 3, 1), PLENTY, 0)), RefusalCode::Busy);
        drop((first, second));

        let peer = PeerId([7; 32]);
        let stream = admission.stream(peer).unwrap();
        assert!(admission.stream(peer).is_none());
        assert!(admission.stream(PeerId([8; 32])).is_some());
        drop(stream);
        assert!(admission.stream(peer).is_some());

        let connection = admission.connection().unwrap();
        assert!(admission.connection().is_none());
        drop(connection);
        assert!(admission.connection().is_some());
    }
}
