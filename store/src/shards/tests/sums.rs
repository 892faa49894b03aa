//! The sums over shards follow every change, and those of an older index are made once.

use super::*;

fn of(owner: u8, number: u8, length: u64) -> ShardInfo {
    ShardInfo { owner: AccountId([owner; 32]), ..info(number, 0, length) }
}

fn keep(shards: &Shards, info: ShardInfo, state: ShardState) {
    let length = info.length;
    let mut writer = shards.begin(info).unwrap();
    writer.write(&bytes(length)).unwrap();
    writer.finish(state).unwrap();
}

#[test]
fn sums_are_those_of_the_shards_after_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let agree = |what: &str| {
        let all = shards.list(None, usize::MAX).unwrap();
        assert_eq!(shards.counts().unwrap(), added_up(&all), "{what}");
    };
    agree("an empty store");
    for (number, owner) in (0..).zip([1, 1, 2, 3, 3]) {
        keep(&shards, of(owner, number, 1024 * (1 + u64::from(number))), UNPAID);
        agree("one more unpaid shard");
    }
    keep(&shards, of(1, 9, 2048), ShardState::Active);
    agree("an active shard");
    let root = shards.info(&deal(0), 0).unwrap().unwrap().root;
    for _ in 0..2 {
        shards.follow(1, &[Change::Opened { deal: deal(0), index: 0, root }]).unwrap();
        agree("paid, also when it is told twice");
    }
    shards.mark_paid(&deal(1), 0).unwrap();
    agree("paid by a row");
    shards.follow(2, &[Change::Ended { deal: deal(0) }]).unwrap();
    agree("ended");
    shards.renew(&deal(2), 0, LedgerTime(5_000), b"again").unwrap();
    agree("renewed");
    shards.mark(&deal(9), 0, UNPAID).unwrap();
    agree("unpaid again");
    for number in [0, 2, 3, 4, 9, 9] {
        shards.remove(&deal(number), 0).unwrap();
        agree("removed");
    }
    let left = shards.counts().unwrap();
    assert_eq!((left.shards, left.bytes, left.unpaid.len()), (1, 2048, 0));
}

#[test]
fn an_index_without_sums_gets_them_once() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    keep(&shards, of(1, 1, 1024), UNPAID);
    keep(&shards, of(2, 2, 4096), ShardState::Active);
    let counts = shards.counts().unwrap();
    shards.inner.index.write(index::without_sums).unwrap();
    assert_ne!(shards.counts().unwrap(), counts);
    drop(shards);
    let shards = Shards::open(dir.path()).unwrap();
    assert_eq!(shards.counts().unwrap(), counts);
    drop(shards);
    assert_eq!(audit(dir.path()).len(), 2);
}
