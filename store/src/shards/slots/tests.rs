//! The copy of the slot table: which changes it follows, and which delete it.

use symbolon_protocol::Amount;

use super::*;
use crate::Change;

fn deal(byte: u8) -> DealId {
    DealId([byte; 16])
}

#[test]
fn the_copy_of_the_slot_table_follows_its_changes_or_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let shards = Shards::open(dir.path()).unwrap();
    let slot = |number: u8| Slot {
        deal: deal(number),
        index: number,
        root: Hash([number; 32]),
        length: 1024 * u64::from(number),
        rate: Amount(u128::from(number)),
        leaves: u64::MAX,
    };
    let head = || shards.view_slots(|view| Ok(view.head())).unwrap();
    let deals = || {
        let read = shards.view_slots(|view| {
            assert_eq!(view.slot(view.head().slots)?, None, "no slot beyond the end");
            let slots = (0..view.head().slots).map(|place| Ok(view.slot(place)?.unwrap().index));
            slots.collect::<Result<Vec<u8>, StoreError>>()
        });
        read.unwrap().unwrap()
    };
    let waits = |number| Change::SlotWaits { slot: slot(number) };
    let joined = |number| Change::SlotJoined { deal: deal(number) };
    let left = |number| Change::SlotLeft { deal: deal(number) };
    let spared = |number| Change::SlotSpared { deal: deal(number) };
    assert_eq!(head(), None);
    let first = SlotsHead { slots: 2, table: Hash([1; 32]) };
    // A shard that waits when the table is read goes on waiting.
    shards.follow(1, &[waits(3)]).unwrap();
    shards.set_slots(1, first, &[slot(1), slot(2)]).unwrap();
    // The owner ends deal 4 before it begins.
    shards.follow(2, &[waits(4), waits(5), spared(4)]).unwrap();
    assert_eq!(head(), Some(first));
    shards.follow(3, &[left(1), joined(3), joined(5), left(2), waits(6)]).unwrap();
    let mut table = slots::left(&first.table, 0);
    for (position, number) in [(1, 3), (2, 5)] {
        table = slots::joined(&table, position, &slot(number));
    }
    table = slots::left(&table, 0);
    assert_eq!(deals(), [5, 3]);
    assert_eq!(head(), Some(SlotsHead { slots: 2, table }));
    // A table that was read ahead of the blocks contains their changes already.
    let ahead = SlotsHead { slots: 1, table: Hash([2; 32]) };
    shards.set_slots(5, ahead, &[slot(6)]).unwrap();
    shards.follow(4, &[left(3), waits(7), joined(6)]).unwrap();
    shards.follow(5, &[left(5)]).unwrap();
    assert_eq!((head(), deals()), (Some(ahead), vec![6]));
    shards.follow(6, &[joined(7)]).unwrap();
    assert_eq!(deals(), [6, 7]);
    // What does not fit makes the copy worthless: a shard that did not wait, or that is not there.
    for stray in [joined(8), left(8)] {
        shards.set_slots(6, ahead, &[slot(6)]).unwrap();
        shards.follow(7, &[stray]).unwrap();
        assert_eq!(head(), None);
    }
    shards.set_slots(7, ahead, &[slot(6)]).unwrap();
    shards.forget_slots().unwrap();
    assert_eq!(head(), None);
    shards.follow(8, &[waits(9), joined(9), left(9)]).unwrap();
    assert_eq!(head(), None);
    // Missed blocks make the copy worthless, and so does what waited before them.
    shards.follow(9, &[waits(1)]).unwrap();
    shards.set_slots(9, ahead, &[slot(6)]).unwrap();
    shards.follow(20, &[Change::SlotsMissed]).unwrap();
    assert_eq!(head(), None);
    shards.set_slots(20, ahead, &[slot(6)]).unwrap();
    shards.follow(21, &[joined(1)]).unwrap();
    assert_eq!(head(), None, "it waits no more");
}
