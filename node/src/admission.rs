//! Admission: counters that accept or refuse work before its first byte is received. Connections,
//! streams and uploads each have a limited number of places. When all are taken, the holder with
//! the least progress gives way (`symbolon_net::crowd`).
//!
//! Each acceptance is a guard. Dropping it gives back everything that it took, so a client that
//! goes away at any moment leaves nothing behind.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use symbolon_net::{Gate, Pass, crowd::Group};
use symbolon_protocol::{
    id::{AccountId, DealId, PeerId},
    wire::storage::{Refusal, RefusalCode},
};
use symbolon_store::Counts as KeptCounts;
use tokio::sync::Notify;

use crate::options::{Limits, credit};

/// The counters, shared by all parts that serve peers.
#[derive(Debug)]
pub(crate) struct Admission {
    capacity: u64,
    limits: Limits,
    connections: Gate,
    streams: Gate,
    stores: Gate,
    counts: Mutex<Counts>,
    /// Notified when an upload ends.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    /// Uploads under way, at most one for each deal.
    uploads: BTreeMap<DealId, Arc<Upload>>,
    /// Bytes reserved for uploads under way.
    reserved: u64,
    /// Bytes of shards on disk.
    used: u64,
    /// Bytes of shards whose deal is not open, in total and by owner. Includes uploads under way.
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

/// Whether a shard's deal is on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paid {
    No,
    Yes,
}

/// A shard that is to be received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) peer: PeerId,
    pub(crate) deal: DealId,
    pub(crate) index: u8,
    pub(crate) owner: AccountId,
    pub(crate) length: u64,
}

/// An upload under way.
#[derive(Debug)]
pub(crate) struct Upload {
    offer: Offer,
    /// The tick at which its last bytes arrived.
    received_tick: AtomicU64,
    /// Milliseconds for which the node itself held it up.
    held_ms: AtomicU64,
    /// Notified when it has to give way to another upload of its deal.
    give_way: Notify,
    /// Its place among the uploads.
    pass: Pass,
}

/// Why an upload ends before its shard is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivesWay {
    /// Its owner sends the same shard again.
    SentAnew,
    /// Other uploads wait, and this one is the slowest.
    Slowest,
}

impl Upload {
    /// Records that bytes arrived.
    pub(crate) fn received(&self, bytes: u64, tick_ms: u64) {
        self.pass.achieved(bytes);
        self.received_tick.store(tick_ms, Ordering::Relaxed);
    }

    /// Records that the node itself held it up, to keep its bound on bandwidth.
    pub(crate) fn was_held(&self, held_ms: u64, tick_ms: u64) {
        self.held_ms.fetch_add(held_ms, Ordering::Relaxed);
        self.received(credit(held_ms), tick_ms);
    }

    /// Milliseconds for which the node itself held it up.
    pub(crate) fn held_ms(&self) -> u64 {
        self.held_ms.load(Ordering::Relaxed)
    }

    /// Whether it has received almost nothing for a while.
    pub(crate) fn is_trickle(&self) -> bool {
        self.pass.is_slow(TRICKLE_BYTES)
    }

    pub(crate) fn received_tick(&self) -> u64 {
        self.received_tick.load(Ordering::Relaxed)
    }

    /// Waits until it has to give way.
    pub(crate) async fn gives_way(&self) -> GivesWay {
        tokio::select! {
            biased;
            () = self.give_way.notified() => GivesWay::SentAnew,
            () = self.pass.gives_way() => GivesWay::Slowest,
        }
    }
}

impl Admission {
    pub(crate) fn new(capacity: u64, limits: Limits) -> Arc<Self> {
        let connections = Gate::new(limits.connections());
        let (streams, stores) = (Gate::new(limits.streams()), Gate::new(limits.stores()));
        let (counts, ended) = (Mutex::default(), Notify::new());
        Arc::new(Self { capacity, limits, connections, streams, stores, counts, ended })
    }

    /// Counts the shards that are on disk when the node starts.
    pub(crate) fn count_kept(&self, kept: &KeptCounts) {
        let mut counts = self.counts();
        counts.used += kept.bytes;
        for (owner, unpaid) in &kept.unpaid {
            counts.add_unpaid(*owner, unpaid.bytes);
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

    /// Bytes that the node would still accept.
    pub(crate) fn free(&self, disk_free: u64) -> u64 {
        let counts = self.counts();
        let offered = self.capacity.saturating_sub(counts.used + counts.reserved);
        offered.min(self.disk_room(&counts, disk_free))
    }

    /// Admits a connection of a peer; another connection may have to give way for it. Returns
    /// `None` when there is no room.
    pub(crate) fn connection(&self, peer: PeerId, from: Option<IpAddr>) -> Option<Pass> {
        let address = from.map(Group::of_address);
        let groups: Vec<_> = [Group::Peer(peer)].into_iter().chain(address).collect();
        self.connections.enter(&groups).ok()
    }

    /// Admits a stream of a peer in the same way.
    pub(crate) fn stream(&self, peer: PeerId) -> Option<Pass> {
        self.streams.enter(&[Group::Peer(peer)]).ok()
    }

    /// Admits an upload. Room for all its bytes is reserved until the guard is dropped.
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
        let taken = counts.used + counts.reserved;
        if self.capacity.saturating_sub(taken) < offer.length {
            return Err(Refusal::new(
                RefusalCode::Full,
                "all bytes that this node offers are taken",
            ));
        }
        if self.disk_room(&counts, disk_free) < offer.length {
            let message = "the node's disk has no more room than the node keeps free";
            return Err(Refusal::new(RefusalCode::Full, message));
        }
        let of_owner = counts.unpaid_of(&offer.owner).saturating_add(offer.length);
        if of_owner > self.limits.unpaid_bytes_per_owner_max {
            let message = "this node stores too many bytes of the owner whose deals are not open";
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        if counts.unpaid.saturating_add(offer.length) > self.limits.unpaid_bytes_max {
            let message = "this node stores too many bytes whose deals are not open";
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        // This comes last: no upload should give way for one that is refused anyway.
        let groups = [Group::Peer(offer.peer), Group::Owner(offer.owner)];
        let pass = self
            .stores
            .enter(&groups)
            .map_err(|_| Refusal::new(RefusalCode::Busy, "too many shards are being received"))?;
        let (received_tick, held_ms) = (AtomicU64::new(tick_ms), AtomicU64::new(0));
        let give_way = Notify::new();
        let upload = Arc::new(Upload { offer, received_tick, held_ms, give_way, pass });
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

    /// Makes an upload give way and waits until it has ended.
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

    /// The room on the disk beyond its reserve and the uploads under way. Bytes that those have
    /// already written are counted twice, which errs on the safe side.
    fn disk_room(&self, counts: &Counts, disk_free: u64) -> u64 {
        disk_free.saturating_sub(self.limits.disk_reserve_bytes).saturating_sub(counts.reserved)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("no code that holds the counters panics")
    }
}

/// The room that is reserved for a shard.
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

    /// The shard is on disk: its bytes are now used and no longer reserved. They stay unpaid.
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

/// Bytes that an upload has to receive in ten to twenty seconds.
const TRICKLE_BYTES: u64 = 16_384;

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
        let (peer, owner) = (PeerId([owner; 32]), AccountId([owner; 32]));
        Offer { peer, deal: DealId([deal; 16]), index: 0, owner, length }
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

        let connection = admission.connection(peer, None).unwrap();
        assert!(admission.connection(PeerId([8; 32]), None).is_none());
        drop(connection);
        assert!(admission.connection(peer, None).is_some());
    }

    #[test]
    fn connections_of_a_peer_and_of_an_address_are_limited() {
        let mut limits = Limits::for_capacity(100);
        (limits.connections_per_peer_max, limits.connections_per_address_max) = (2, 3);
        let admission = Admission::new(100, limits);
        let from = |text: &str| Some(text.parse().unwrap());
        let enter = |peer, address| admission.connection(PeerId([peer; 32]), from(address));
        let _mine = [enter(1, "192.0.2.1"), enter(1, "192.0.2.2")].map(Option::unwrap);
        assert!(enter(1, "192.0.2.3").is_none());
        let _others = [enter(2, "192.0.2.1"), enter(3, "192.0.2.1")].map(Option::unwrap);
        assert!(enter(4, "192.0.2.1").is_none());
        assert!(enter(4, "192.0.2.2").is_some());
    }
}
