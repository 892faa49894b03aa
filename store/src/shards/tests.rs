//! A node's disk: what it stores, what it refuses, and the state after a stop at any moment.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::{FileExt, PermissionsExt},
    process::{Command, Stdio},
};

use symbolon_protocol::{
    id::{AccountId, Hash, LinkId, ObjectId, OrderId, VaultId},
    ledger::rows::Access,
    proof::{leaf_count, verify_cell, verify_leaf, verify_slice},
};

use super::*;
use crate::Damage;

const UNPAID: ShardState = ShardState::Unpaid { until_ms: LedgerTime(1000) };

fn info(deal: u8, index: u8, length: u64) -> ShardInfo {
    ShardInfo {
        deal: DealId([deal; 16]),
        index,
        owner: AccountId([1; 32]),
        object: ObjectId([2; 16]),
        access: Access::Granted,
        length,
        terms: vec![deal, index],
    }
}

fn bytes(length: u64) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(length).unwrap()];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn coming(shards: &Shards, deal: u8, index: u8, length: u64) -> ShardWriter {
    let mut writer = shards.begin(info(deal, index, length)).unwrap();
    for piece in bytes(length).chunks(50_000) {
        writer.write(piece).unwrap();
    }
    writer
}

fn store(shards: &Shards, deal: u8, index: u8, length: u64) -> Stored {
    coming(shards, deal, index, length).finish(UNPAID).unwrap()
}

fn deal(byte: u8) -> DealId {
    DealId([byte; 16])
}

/// Opens a store and checks it: every shard is whole, the sums are those of the shards, and no
/// other file exists.
fn audit(dir: &Path) -> Vec<Shard> {
    let shards = Shards::open(dir).unwrap();
    let all = shards.list(None, usize::MAX).unwrap();
    for shard in &all {
        shards.open_shard(&shard.info.deal, shard.info.index).unwrap().check().unwrap();
    }
    let used = all.iter().map(|shard| shard.info.length).sum::<u64>();
    assert_eq!(shards.used_bytes().unwrap(), used);
    assert_eq!(shards.counts().unwrap(), added_up(&all));
    assert_eq!(shards.coming_bytes(), 0);
    assert_eq!(files_in(&dir.join("temporary")), 0);
    assert_eq!(files_in(&dir.join("shards")), all.len());
    assert_eq!(shards.inner.index.garbage().unwrap(), []);
    all
}

/// The sums over shards, added up one by one.
fn added_up(all: &[Shard]) -> Counts {
    let mut unpaid = std::collections::BTreeMap::<AccountId, Unpaid>::new();
    for shard in all.iter().filter(|shard| matches!(shard.state, ShardState::Unpaid { .. })) {
        let sum = unpaid.entry(shard.info.owner).or_default();
        (sum.shards, sum.bytes) = (sum.shards + 1, sum.bytes + shard.info.length);
    }
    let bytes = all.iter().map(|shard| shard.info.length).sum();
    Counts { shards: all.len() as u64, bytes, unpaid: unpaid.into_iter().collect() }
}

/// Number of files with bytes. Empty files wait for a shard.
fn begun_in(dir: &Path) -> usize {
    let files = fs::read_dir(dir).unwrap();
    files.filter(|file| file.as_ref().unwrap().metadata().unwrap().len() > 0).count()
}

fn files_in(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
}

/// A copy of the directory as it is now: the state after a stop at this moment.
fn stopped(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    copy
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&to).unwrap();
            copy_dir(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn a_shard_comes_back_as_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    for (index, length) in (0..).zip([1, 1024, 16 * 1024, 17 * 1024, 100 * 1024, 2_100_000]) {
        let data = bytes(length);
        let stored = store(&shards, 1, index, length);
        assert_eq!(stored.root.0, *blake3::hash(&data).as_bytes());
        let info = shards.info(&deal(1), index).unwrap().unwrap();
        assert_eq!((info.root, info.state), (stored.root, UNPAID));
        assert_eq!(shards.read(&deal(1), index, 0, length).unwrap(), data);

        shards.open_shard(&deal(1), index).unwrap().check().unwrap();
        let file = shards.open_shard(&deal(1), index).unwrap();
        let root = stored.root;
        for (slice, part) in (0..).zip(data.chunks(1 << 20)) {
            let (bytes, path) = file.unit(1 << 20, slice).unwrap();
            assert_eq!(bytes, part);
            verify_slice(&root, length, slice, &bytes, &path).unwrap();
        }
        for (cell, part) in (0..).zip(data.chunks(1 << 16)) {
            let (bytes, path) = file.unit(1 << 16, cell).unwrap();
            assert_eq!(bytes, part);
            verify_cell(&root, length, cell, &bytes, &path).unwrap();
        }
        for leaf in (0..leaf_count(length)).step_by(37).chain([leaf_count(length) - 1]) {
            verify_leaf(&root, length, leaf, &file.leaf_proof(leaf).unwrap()).unwrap();
        }
        for (offset, count) in [(0, length + 1), (length, 1), (u64::MAX, 2)] {
            let refused = file.read(offset, count);
            assert!(matches!(refused, Err(StoreError::OutOfRange { .. })));
        }
        // The outboard lies behind the shard in the same file, but is not part of the shard.
        let mut beyond = [0; 2];
        assert!(matches!(
            file.read_at(length - 1, &mut beyond),
            Err(StoreError::OutOfRange { .. })
        ));
        assert_eq!(beyond, [0; 2]);
        assert!(matches!(file.unit(1 << 20, 9), Err(StoreError::OutOfRange { .. })));
        let beyond = file.leaf_proof(leaf_count(length));
        assert!(matches!(beyond, Err(StoreError::OutOfRange { .. })));
    }
    drop(shards);
    assert_eq!(audit(dir.path()).len(), 6);
}

#[test]
fn wrong_lengths_and_dropped_writers_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let mut writer = shards.begin(info(1, 0, 2048)).unwrap();
    writer.write(&bytes(2048)[..2000]).unwrap();
    assert_eq!((writer.remaining(), shards.coming_bytes()), (48, 2048));
    let long = writer.write(&[0; 49]);
    assert!(matches!(long, Err(StoreError::Length { expected: 2048, found: 2049 })));
    let short = writer.finish(UNPAID);
    assert!(matches!(short, Err(StoreError::Length { expected: 2048, found: 2000 })));
    drop(coming(&shards, 1, 0, 70_000));
    assert_eq!(begun_in(&dir.path().join("temporary")), 0);
    assert!(shards.info(&deal(1), 0).unwrap().is_none());
    assert!(matches!(shards.read(&deal(1), 0, 0, 1), Err(StoreError::NotFound { .. })));
    drop(shards);
    assert_eq!(audit(dir.path()).len(), 0);
}

#[test]
fn the_same_shard_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let (first, second) = (coming(&shards, 1, 0, 3000), coming(&shards, 1, 0, 5000));
    let stored = first.finish_accepted(UNPAID, |root| root.0.to_vec()).unwrap();
    assert_eq!(stored.acceptance, stored.root.0);
    assert!(matches!(second.finish(UNPAID), Err(StoreError::Exists { index: 0, .. })));
    assert!(matches!(shards.begin(info(1, 0, 9)), Err(StoreError::Exists { .. })));
    let kept = shards.info(&deal(1), 0).unwrap().unwrap();
    assert_eq!((kept.acceptance, kept.info.length), (stored.acceptance, 3000));
    shards.set_acceptance(&deal(1), 0, b"new").unwrap();
    assert_eq!(shards.info(&deal(1), 0).unwrap().unwrap().acceptance, b"new");
    drop(shards);
    assert_eq!(audit(dir.path()).len(), 1);
}

#[test]
fn removal_counts_back_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    store(&shards, 1, 0, 4096);
    store(&shards, 1, 1, 1024);
    assert_eq!(shards.used_bytes().unwrap(), 5120);
    let open = shards.open_shard(&deal(1), 0).unwrap();
    shards.remove(&deal(1), 0).unwrap();
    shards.remove(&deal(1), 0).unwrap();
    shards.remove(&deal(9), 9).unwrap();
    assert_eq!(shards.used_bytes().unwrap(), 1024);
    assert_eq!(open.read(0, 4096).unwrap(), bytes(4096));
    store(&shards, 1, 0, 2048);
    drop((shards, open));
    assert_eq!(audit(dir.path()).len(), 2);
}

#[test]
fn unpaid_and_ended_shards_expire() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    for (index, until_ms) in [(0, 300), (1, 100), (2, 200), (3, 999)] {
        let state = ShardState::Unpaid { until_ms: LedgerTime(until_ms) };
        coming(&shards, 1, index, 1024).finish(state).unwrap();
    }
    let expired = |now, limit| shards.expired(LedgerTime(now), limit).unwrap();
    assert_eq!(expired(99, 9), []);
    assert_eq!(expired(200, 9), [(deal(1), 1), (deal(1), 2)]);
    assert_eq!(expired(999, 1), [(deal(1), 1)]);
    shards.mark(&deal(1), 1, ShardState::Active).unwrap();
    shards.mark(&deal(1), 3, ShardState::Ended).unwrap();
    assert_eq!(expired(999, 9), [(deal(1), 3), (deal(1), 2), (deal(1), 0)]);
    shards.remove(&deal(1), 2).unwrap();
    assert_eq!(expired(999, 9), [(deal(1), 3), (deal(1), 0)]);
    let unknown = shards.mark(&deal(2), 0, ShardState::Active);
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));

    let next = |after| -> Vec<u8> {
        let rows = shards.list(after, 2).unwrap();
        rows.into_iter().map(|shard| shard.info.index).collect()
    };
    assert_eq!(next(None), [0, 1]);
    assert_eq!(next(Some((deal(1), 1))), [3]);
    assert_eq!(next(Some((deal(1), 2))), [3]);
}

#[test]
fn a_block_is_followed_in_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let unpaid = |deal, index| {
        coming(&shards, deal, index, 1024)
            .finish(ShardState::Unpaid { until_ms: LedgerTime(500) })
            .unwrap()
    };
    let (ours, other, ends) = (unpaid(1, 0), unpaid(1, 7), unpaid(2, 0));
    unpaid(3, 0);
    assert_eq!(shards.height().unwrap(), None);
    let (link, by, order) = (LinkId([3; 16]), AccountId([4; 32]), OrderId([5; 16]));
    let opened = |number, index, root| Change::Opened { deal: deal(number), index, root };
    let changes = [
        opened(1, 0, ours.root),
        // The deal has another shard than the stored one. The next deal has a shard that is not
        // stored.
        opened(1, 7, Hash([9; 32])),
        opened(9, 9, ours.root),
        opened(2, 0, ends.root),
        Change::Ended { deal: deal(2) },
        // A deal that ended without the stored shard.
        Change::Ended { deal: deal(3) },
        Change::Revoked { link, by },
        Change::Refunded { order },
    ];
    let paid = shards.follow(12, &changes).unwrap();
    let paid: Vec<_> = paid.iter().map(|shard| (shard.info.deal, shard.info.index)).collect();
    assert_eq!(paid, [(deal(1), 0), (deal(2), 0)], "each once, and only unpaid shards");
    assert_eq!(shards.follow(13, &changes[..1]).unwrap(), []);
    drop(shards);
    let shards = Shards::open(dir.path()).unwrap();
    assert_eq!(shards.height().unwrap(), Some(13));
    assert_eq!(shards.expired(LedgerTime(499), 9).unwrap(), [(deal(2), 0)]);
    assert_eq!(
        shards.expired(LedgerTime::NEVER, 9).unwrap(),
        [(deal(2), 0), (deal(1), 7), (deal(3), 0)],
        "a shard that was never paid stays unpaid when its deal ends"
    );
    assert_eq!(shards.mark_paid(&deal(1), 0).unwrap(), None);
    assert_eq!(shards.mark_paid(&deal(1), 7).unwrap().unwrap().root, other.root);
    assert_eq!(shards.mark_paid(&deal(8), 0).unwrap(), None);
    assert!(shards.is_revoked(&link, &by).unwrap());
    assert!(!shards.is_revoked(&link, &AccountId([9; 32])).unwrap());
    assert!(shards.is_refunded(&order).unwrap());
    assert!(!shards.is_refunded(&OrderId([9; 16])).unwrap());
}

#[test]
fn what_rows_say_is_stored_without_a_height() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let stored = store(&shards, 1, 0, 1000);
    shards.mark(&deal(1), 0, ShardState::Unpaid { until_ms: LedgerTime(500) }).unwrap();
    shards.follow(3, &[]).unwrap();
    let opened = Change::Opened { deal: deal(1), index: 0, root: stored.root };
    let (link, by) = (LinkId([3; 16]), AccountId([4; 32]));
    let paid = shards.learn(&[opened, Change::Revoked { link, by }]).unwrap();
    assert_eq!(paid.len(), 1);
    assert_eq!(shards.learn(&[opened]).unwrap(), [], "it was paid before");
    assert_eq!(shards.learn(&[]).unwrap(), []);
    let left = stopped(dir.path());
    let left = Shards::open(left.path()).unwrap();
    assert!(left.is_revoked(&link, &by).unwrap(), "it is on disk");
    assert_eq!(left.height().unwrap(), Some(3), "the blocks in between are still missing");
    assert_eq!(left.info(&deal(1), 0).unwrap().unwrap().state, ShardState::Active);
}

#[test]
fn a_durable_change_makes_earlier_blocks_durable() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let revoked = |number: u8| (LinkId([number; 16]), AccountId([number; 32]));
    let follow = |height: u64, number: u8| {
        let (link, by) = revoked(number);
        shards.follow(height, &[Change::Revoked { link, by }]).unwrap();
    };
    let left = || {
        let left = stopped(dir.path());
        let shards = Shards::open(left.path()).unwrap();
        let known = |number| {
            let (link, by) = revoked(number);
            shards.is_revoked(&link, &by).unwrap()
        };
        (shards.height().unwrap(), [known(1), known(2), known(3)])
    };
    follow(1, 1);
    assert_eq!(left(), (Some(1), [true, false, false]), "the first block is durable");
    follow(2, 2);
    assert_eq!(left(), (Some(1), [true, false, false]), "height and changes go together");
    store(&shards, 1, 0, 1000);
    assert_eq!(left(), (Some(2), [true, true, false]));
    follow(3, 3);
    for height in 4..=32 {
        shards.follow(height, &[]).unwrap();
    }
    assert_eq!(left(), (Some(32), [true; 3]), "every 32nd block is durable");
}

#[test]
fn more_time_is_never_less() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    coming(&shards, 1, 0, 1024).finish(ShardState::Unpaid { until_ms: LedgerTime(500) }).unwrap();
    for (until, due) in [(400, 500), (700, 700)] {
        assert!(shards.renew(&deal(1), 0, LedgerTime(until), b"again").unwrap());
        assert_eq!(shards.expired(LedgerTime(due - 1), 9).unwrap(), []);
        assert_eq!(shards.expired(LedgerTime(due), 9).unwrap(), [(deal(1), 0)]);
    }
}

#[test]
fn a_store_knows_its_owner_and_notices_lost_shards() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    assert!(shards.is_new().unwrap());
    assert_eq!(shards.marker().unwrap(), None);
    shards.set_marker(b"mine").unwrap();
    store(&shards, 1, 0, 1024);
    store(&shards, 1, 1, 2048);
    assert!(!shards.is_new().unwrap());
    drop(shards);
    let (folder, away) = (dir.path().join("shards"), dir.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    for _ in 0..2 {
        let gone = Shards::open(dir.path()).unwrap_err();
        assert!(matches!(gone, StoreError::ShardsGone { .. }), "{gone}");
    }
    // Where its disk is not mounted, an empty folder lies in its place.
    fs::create_dir(&folder).unwrap();
    for _ in 0..2 {
        let gone = Shards::open(dir.path()).unwrap_err();
        assert!(matches!(gone, StoreError::ShardsGone { .. }), "{gone}");
    }
    fs::remove_dir(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(audit(dir.path()).len(), 2);
    let (shards, lost) = Shards::open_without_lost(dir.path()).unwrap();
    assert_eq!((lost, shards.used_bytes().unwrap()), (0, 3072));
    drop(shards);
    fs::remove_dir_all(&folder).unwrap();
    let (shards, lost) = Shards::open_without_lost(dir.path()).unwrap();
    assert_eq!((lost, shards.used_bytes().unwrap()), (2, 0));
    assert_eq!(shards.marker().unwrap().unwrap(), b"mine");
}

#[test]
fn shares_that_wait_for_their_vaults_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let limits = CustodyLimits { in_all: 3, of_owner: 2 };
    let put = |vault: u8, owner: u8, until| {
        let until_ms = LedgerTime(until);
        let waits = CustodyWaits { owner: AccountId([owner; 32]), until_ms };
        shards.put_custody(&VaultId([vault; 16]), &[vault], Some((waits, limits))).unwrap()
    };
    assert!(put(1, 1, 100) && put(2, 1, 200));
    assert!(!put(3, 1, 200), "too many of one owner");
    assert!(put(2, 1, 300), "the same again counts once");
    assert!(put(4, 2, 100));
    assert!(!put(5, 3, 100), "too many in all");
    assert_eq!(shards.custody(&VaultId([5; 16])).unwrap(), []);
    let due = |now| -> Vec<u8> {
        shards.custody_due(LedgerTime(now)).unwrap().iter().map(|(vault, _)| vault.0[0]).collect()
    };
    assert_eq!((due(99), due(100), due(300)), (vec![], vec![1, 4], vec![1, 2, 4]));
    shards.custody_opened(&VaultId([1; 16]), 0).unwrap();
    shards.remove_custody(&VaultId([4; 16]), 0).unwrap();
    assert_eq!(due(300), [2]);
    assert!(shards.put_custody(&VaultId([2; 16]), &[2], None).unwrap());
    assert_eq!(due(300), []);
    assert_eq!(shares(&shards, VaultId([1; 16])), [(0, vec![1], None)]);
    assert_eq!(shares(&shards, VaultId([4; 16])), []);
}

/// The shares of a vault: slot, bytes, and until when each is kept.
fn shares(shards: &Shards, vault: VaultId) -> Vec<(u8, Vec<u8>, Option<LedgerTime>)> {
    let all = shards.custody(&vault).unwrap().into_iter();
    all.map(|one| (one.slot, one.share, one.until_ms)).collect()
}

#[test]
fn shares_of_several_dealings_lie_beside_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let (vault, other) = (VaultId([1; 16]), VaultId([2; 16]));
    let limits = CustodyLimits { in_all: 300, of_owner: 300 };
    let waits = |until| CustodyWaits { owner: AccountId([1; 32]), until_ms: LedgerTime(until) };
    let put = |share: u8, until| {
        shards.put_custody(&vault, &[share], Some((waits(until), limits))).unwrap()
    };
    assert!(shards.put_custody(&vault, &[1], None).unwrap());
    assert!(put(2, 50) && put(3, 60) && put(2, 55), "the same again is the same");
    let until = |time| Some(LedgerTime(time));
    let (first, second, third) = (vec![1], vec![2], vec![3]);
    let expected =
        [(0, first.clone(), None), (1, second.clone(), until(55)), (2, third, until(60))];
    assert_eq!(shares(&shards, vault), expected);
    assert_eq!(shares(&shards, other), []);
    // The second one is on the ledger now. The first goes some time later, the third as before.
    shards.custody_dealt(&vault, |share| share == [2], waits(90)).unwrap();
    let expected = [(0, first, until(90)), (1, second, None), (2, vec![3], until(60))];
    assert_eq!(shares(&shards, vault), expected);
    shards.custody_dealt(&vault, |share| share == [2], waits(99)).unwrap();
    assert_eq!(shares(&shards, vault), expected, "no time grows");
    shards.remove_custody(&vault, 0).unwrap();
    assert!(put(4, 70));
    assert_eq!(shares(&shards, vault)[0], (0, vec![4], until(70)), "its place is free");
    for number in 3..256_u16 {
        assert!(shards.put_custody(&vault, &number.to_le_bytes(), None).unwrap());
    }
    assert!(!shards.put_custody(&vault, b"one more", None).unwrap(), "no place is left");
}

#[test]
fn quotas_and_custody_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let max = Counter { reads: 3, bytes: 1000 };
    let until = LedgerTime(50);
    let charge =
        |reads, bytes| shards.charge(&[(b"g", max)], Counter { reads, bytes }, until).unwrap();
    assert_eq!(charge(1, 900), Charge::Counted(vec![Counter { reads: 1, bytes: 900 }]));
    assert_eq!(
        charge(1, 101),
        Charge::Exceeded { place: 0, so_far: Counter { reads: 1, bytes: 900 } }
    );
    assert_eq!(charge(1, 100), Charge::Counted(vec![Counter { reads: 2, bytes: 1000 }]));
    assert_eq!(
        charge(2, 0),
        Charge::Exceeded { place: 0, so_far: Counter { reads: 2, bytes: 1000 } }
    );
    assert_eq!(
        charge(u64::MAX, 0),
        Charge::Exceeded { place: 0, so_far: Counter { reads: 2, bytes: 1000 } }
    );
    // If one key refuses, no key counts the read.
    let (more, wide) = (Counter { reads: 1, bytes: 1 }, Counter { reads: 9, bytes: 9 });
    let both = shards.charge(&[(b"above", wide), (b"g", max)], more, until).unwrap();
    assert!(matches!(both, Charge::Exceeded { place: 1, .. }));
    assert_eq!(shards.counter(b"above").unwrap(), Counter::default());
    let vault = VaultId([6; 16]);
    assert!(shards.put_custody(&vault, b"share", None).unwrap());
    drop(shards);

    let shards = Shards::open(dir.path()).unwrap();
    assert_eq!(shards.counter(b"g").unwrap(), Counter { reads: 2, bytes: 1000 });
    assert_eq!(shares(&shards, vault), [(0, b"share".to_vec(), None)]);
    let next = VaultId([vault.0[0] + 1; 16]);
    for share in [b"share", b"other"] {
        assert!(shards.put_custody(&next, share, None).unwrap());
    }
    assert_eq!(shards.vaults(None, 10).unwrap(), [vault, next]);
    assert_eq!(shards.vaults(None, 1).unwrap(), [vault]);
    assert_eq!(shards.vaults(Some(vault), 1).unwrap(), [next]);
    assert_eq!(shards.vaults(Some(next), 1).unwrap(), []);
    shards.remove_custody(&vault, 0).unwrap();
    assert_eq!(shards.custody(&vault).unwrap(), []);
    shards.sweep_counters(LedgerTime(49)).unwrap();
    assert_eq!(shards.counter(b"g").unwrap().reads, 2);
    shards.sweep_counters(LedgerTime(50)).unwrap();
    assert_eq!(shards.counter(b"g").unwrap(), Counter::default());
}

#[test]
fn damage_is_distinguished_from_absence() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let length = 40 * 1024;
    for index in 0..4 {
        store(&shards, 1, index, length);
    }
    let path = |index: u8| {
        let row = shards.inner.row(ShardKey::new(&deal(1), index)).unwrap().unwrap();
        shards.inner.final_path(row.file)
    };
    let open = |index: u8| fs::OpenOptions::new().write(true).open(path(index)).unwrap();
    open(0).set_len(length).unwrap();
    let why = |error| match error {
        StoreError::Damaged { why, .. } => why,
        other => panic!("{other}"),
    };
    let short = shards.open_shard(&deal(1), 0).unwrap_err();
    assert!(matches!(why(short), Damage::Length { found, .. } if found == length));
    fs::remove_file(path(1)).unwrap();
    let gone = shards.open_shard(&deal(1), 1).unwrap_err();
    assert!(matches!(why(gone), Damage::Missing));
    // An error that keeps this process from opening a file does not mean that the file is damaged.
    let (folder, aside) = (path(1).parent().unwrap().to_owned(), dir.path().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, b"no folder").unwrap();
    let closed = shards.open_shard(&deal(1), 1).unwrap_err();
    assert!(matches!(closed, StoreError::Io { .. }), "{closed}");
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();

    // Change one byte of a shard, and one byte of an outboard.
    open(2).write_all_at(&[0x55], 17 * 1024).unwrap();
    open(3).write_all_at(&[0x55], length + 5).unwrap();
    for index in [2, 3] {
        let whole = shards.open_shard(&deal(1), index).unwrap().check();
        assert!(matches!(why(whole.unwrap_err()), Damage::Root));
        let file = shards.open_shard(&deal(1), index).unwrap();
        let proven = (0..40).filter(|leaf| file.leaf_proof(*leaf).is_ok()).count();
        assert!(proven < 40, "an invalid proof is not given out");
        assert!(matches!(why(file.leaf_proof(17).unwrap_err()), Damage::Root));
    }
}

#[test]
fn the_directory_is_private_and_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("node");
    let shards = Shards::open(&home).unwrap();
    assert!(matches!(Shards::open(&home), Err(StoreError::InUse { .. })));
    assert!(shards.free_bytes().unwrap() > 0);
    store(&shards, 1, 0, 1024);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home), 0o700);
    assert_eq!(mode(&home.join("shards/00")), 0o700);
    assert_eq!(mode(&home.join("index.redb")), 0o600);
    assert_eq!(mode(&shards.inner.final_path(0)), 0o600);

    shards.inner.index.write(|transaction| index::set_number(transaction, "version", 9)).unwrap();
    drop(shards);
    assert!(matches!(Shards::open(&home), Err(StoreError::Version { found: 9, .. })));
}

#[test]
fn a_full_disk_is_reported_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let mut writer = shards.begin(info(1, 0, 4096)).unwrap();
    // A device that is always full stands in for the shard's file.
    writer.set_file(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    writer.write(&[1; 4096]).unwrap();
    assert!(matches!(writer.finish(UNPAID), Err(StoreError::Full(_))));
    let mut writer = shards.begin(info(1, 0, 400_000)).unwrap();
    writer.set_file(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert!(matches!(writer.write(&[1; 400_000]), Err(StoreError::Full(_))));
    drop(writer);
    assert_eq!(shards.coming_bytes(), 0);
    drop(shards);
    assert_eq!(audit(dir.path()).len(), 0);
}

/// A file system of a few mebibytes, to fill a real disk. It is unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts the file system. Returns the reason if this user may not.
    fn mount() -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(dir.path());
        match mount.output() {
            Ok(done) if done.status.success() => Ok(Self(dir)),
            Ok(done) => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_disk_that_fills_up_works_again_once_there_is_space() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(why) => return eprintln!("skipped, no small file system can be mounted: {why}"),
    };
    let dir = disk.0.path().join("node");
    let shards = Shards::open(&dir).unwrap();
    let ballast = disk.0.path().join("ballast");
    for (round, length) in [(0, 200_000), (1, 1024), (2, 50_000)] {
        let mut stored = 0;
        let full = loop {
            let mut writer = match shards.begin(info(round, stored, length)) {
                Ok(writer) => writer,
                Err(error) => break error,
            };
            let whole = writer.write(&bytes(length)).and_then(|()| writer.finish(UNPAID));
            match whole {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            // Small shards would take long to fill the disk, so the ballast fills the rest.
            if stored == 50 {
                let free = shards.free_bytes().unwrap();
                fs::write(&ballast, vec![1; usize::try_from(free).unwrap()]).ok();
            }
        };
        println!("{stored} shards of {length}, then: {full} {full:?}");
        assert!(matches!(full, StoreError::Full(_)), "{full}");
        assert_eq!(begun_in(&dir.join("temporary")), 0);
        files::remove_if_there(&ballast).unwrap();
        let all = shards.list(None, usize::MAX).unwrap();
        assert_eq!(
            all.iter().filter(|shard| shard.info.deal == deal(round)).count(),
            stored.into()
        );
        for shard in all {
            shards.open_shard(&shard.info.deal, shard.info.index).unwrap().check().unwrap();
            shards.remove(&shard.info.deal, shard.info.index).unwrap();
        }
        assert_eq!(shards.used_bytes().unwrap(), 0);
    }
    // Now the index itself has no room to grow.
    fs::write(&ballast, vec![1; usize::try_from(shards.free_bytes().unwrap()).unwrap()]).ok();
    let put = |number: u8| shards.put_custody(&VaultId([number; 16]), &[number; 100_000], None);
    let (kept, full) = (0..).find_map(|number| Some((number, put(number).err()?))).unwrap();
    assert!(matches!(full, StoreError::Full(_)), "after {kept}: {full} {full:?}");
    println!("{kept} custody shares, then: {full}");
    files::remove_if_there(&ballast).unwrap();
    put(kept).unwrap();
    drop(shards);
    assert_eq!(audit(&dir).len(), 0);
    let shards = Shards::open(&dir).unwrap();
    for number in 0..=kept {
        assert!(!shards.custody(&VaultId([number; 16])).unwrap().is_empty());
    }
}

#[test]
fn the_index_is_opened_again_after_an_io_error() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    store(&shards, 1, 0, 1024);
    let refused: Result<(), _> = shards
        .inner
        .index
        .write(|_| Err(redb::StorageError::Io(std::io::ErrorKind::StorageFull.into()).into()));
    assert!(matches!(refused, Err(StoreError::Full(_))));
    store(&shards, 1, 1, 1024);
    drop(shards);
    assert_eq!(audit(dir.path()).len(), 2);
}

#[test]
fn a_stop_between_any_two_steps_leaves_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    store(&shards, 9, 9, 5000);
    let count = || audit(stopped(dir.path()).path()).len();

    let writer = coming(&shards, 1, 0, 70_000);
    assert_eq!(count(), 1, "bytes have arrived, but nothing is synced");
    let sealed = writer.seal().unwrap();
    assert_eq!(count(), 1, "synced, not in the index");
    let known = sealed.enter(UNPAID, Vec::new()).unwrap();
    assert_eq!(count(), 2, "in the index, not moved");
    known.publish().unwrap();
    assert_eq!(count(), 2, "moved");

    let key = ShardKey::new(&deal(1), 0);
    shards.inner.index.write(|transaction| index::remove(transaction, &key)).unwrap();
    assert_eq!(files_in(&dir.path().join("shards")), 2);
    assert_eq!(count(), 1, "out of the index, its file still there");
    shards.inner.collect_garbage().unwrap();
    assert_eq!(count(), 1, "its file gone");
    // The file's number is not given to another shard.
    store(&shards, 1, 0, 3000);
    assert_eq!(count(), 2);
}

#[test]
fn a_failed_move_takes_the_shard_back() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let writer = coming(&shards, 1, 0, 70_000);
    fs::remove_dir(dir.path().join("shards/00")).unwrap();
    assert!(matches!(writer.finish(UNPAID), Err(StoreError::Io { what: "move", .. })));
    assert!(shards.info(&deal(1), 0).unwrap().is_none());
    drop(shards);
    assert_eq!(audit(dir.path()).len(), 0);
}

const CRASH_DIR: &str = "SYMBOLON_TEST_CRASH_DIR";

/// Not a test of its own: the process that the next test kills. It stores and removes shards until
/// then, and prints each shard that is stored.
#[test]
#[ignore = "a process of the test below"]
fn crash_child() {
    let Some(dir) = std::env::var_os(CRASH_DIR) else { return };
    let shards = Shards::open(Path::new(&dir)).unwrap();
    // The process before may have been killed before it removed this one.
    shards.remove(&deal(255), 0).unwrap();
    let first = shards.list(None, usize::MAX).unwrap().len();
    println!("ready");
    for round in first.. {
        let (low, high) = (u8::try_from(round % 200).unwrap(), u8::try_from(round / 200).unwrap());
        store(&shards, low, high, 1024 * (1 + round as u64 % 90));
        println!("stored {low} {high}");
        if round % 3 == 2 {
            store(&shards, 255, 0, 1024);
            shards.remove(&deal(255), 0).unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut reported = Vec::new();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["shards::tests::crash_child", "--exact", "--nocapture", "--ignored"])
            .env(CRASH_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.ends_with("ready"));
        assert!(ready);
        // Kill the child while it stores a further shard; it may be at any step.
        let first: Vec<_> = lines.by_ref().map_while(Result::ok).take(3 + 2 * round).collect();
        assert_eq!(first.len(), 3 + 2 * round, "it ended before it was killed");
        child.kill().unwrap();
        child.wait().unwrap();
        for line in first.into_iter().chain(lines.map_while(Result::ok)) {
            let words: Vec<_> = line.split(' ').collect();
            if let ["stored", low, high] = words[..] {
                reported.push((low.parse::<u8>().unwrap(), high.parse::<u8>().unwrap()));
            }
        }
        let there = audit(dir.path());
        for (low, high) in &reported {
            let key = (deal(*low), *high);
            let is_there = there.iter().any(|shard| (shard.info.deal, shard.info.index) == key);
            assert!(is_there, "{low} {high} was reported as stored and is gone");
        }
        // At most one shard, and the one that is stored and removed, were under way.
        assert!(there.len() <= reported.len() + 2 + round);
    }
    assert!(!reported.is_empty());
}

#[test]
fn a_clone_shares_the_disk() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    is_send_and_sync(&shards);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shards = shards.clone();
            scope.spawn(move || {
                for index in 0..8 {
                    let writer = coming(&shards, thread, index, 20_000);
                    is_send_and_sync(&writer);
                    let root: Hash = writer.finish(UNPAID).unwrap().root;
                    assert_eq!(root.0, *blake3::hash(&bytes(20_000)).as_bytes());
                }
            });
        }
    });
    drop(shards);
    assert_eq!(audit(dir.path()).len(), 32);
}

mod damage;
mod many;
mod sums;
