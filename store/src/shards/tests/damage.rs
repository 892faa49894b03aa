//! The list of damaged shards, and the position of a scrub.

use symbolon_protocol::MachineTime;

use super::*;

#[test]
fn a_damaged_shard_is_listed_and_not_opened_as_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let (root, other) = (store(&shards, 1, 0, 4096).root, store(&shards, 2, 3, 1024).root);
    let at = MachineTime(77);
    let note = |number, index, root| {
        shards.note_damage((&deal(number), index), root, "it is bad", at).unwrap()
    };
    assert!(!note(1, 0, &other), "the shard that was read is no longer there");
    assert!(!note(9, 0, &root), "no such shard");
    assert!(shards.damaged(10).unwrap().is_empty());
    assert!(note(1, 0, &root));
    assert!(!note(1, 0, &root), "it is on the list already");
    assert!(note(2, 3, &other));
    assert_eq!(shards.damaged_count().unwrap(), 2);
    assert_eq!(shards.damaged(1).unwrap().len(), 1);

    let known = shards.open_whole(&deal(1), 0).unwrap_err();
    assert!(matches!(known, StoreError::Damaged { why: Damage::Known, .. }), "{known}");
    // The ledger may still ask for it, and some of it may be right.
    shards.open_shard(&deal(1), 0).unwrap();
    drop(shards);

    let shards = Shards::open(dir.path()).unwrap();
    let list = shards.damaged(10).unwrap();
    let first = &list[0];
    assert_eq!((first.deal, first.index, first.length, first.root), (deal(1), 0, 4096, root));
    assert_eq!((first.noticed_ms, first.why.as_str()), (at, "it is bad"));
    assert!(shards.note_whole(&deal(1), 0).unwrap());
    assert!(!shards.note_whole(&deal(1), 0).unwrap());
    shards.open_whole(&deal(1), 0).unwrap();
    // The same deal and index may come again.
    shards.remove(&deal(2), 3).unwrap();
    assert_eq!(shards.damaged_count().unwrap(), 0);
    store(&shards, 2, 3, 1024);
    shards.open_whole(&deal(2), 3).unwrap();
}

#[test]
fn a_shard_is_checked_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    store(&shards, 1, 0, (1 << 20) + 2048);
    let mut checking = shards.open_shard(&deal(1), 0).unwrap().checking();
    let mut pieces = Vec::new();
    loop {
        let next = checking.next_bytes();
        match checking.step().unwrap() {
            0 => break,
            bytes => {
                assert_eq!(bytes, next);
                pieces.push(bytes);
            }
        }
    }
    assert_eq!(pieces, [1 << 20, 2048]);
}

#[test]
fn a_scrub_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    assert_eq!(shards.scrub().unwrap(), Scrub::default());
    let scrub =
        Scrub { after: Some(deal(4)), after_index: 2, bytes: 9, passes: 1, ..Scrub::default() };
    shards.set_scrub(&scrub).unwrap();
    drop(shards);
    assert_eq!(Shards::open(dir.path()).unwrap().scrub().unwrap(), scrub);
}
