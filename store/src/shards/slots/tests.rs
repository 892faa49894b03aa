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
    let joins = |number| Change::SlotJoins { slot: slot(number) };
    let leaves = |number| Change::SlotLeaves { deal: deal(number) };
    let ended = |number| Change::SlotEnded { deal: deal(number) };
    let turn = |epoch| Change::SlotsTurn { epoch };
    assert_eq!(head(), None);
    let first = SlotsHead { epoch: 4, slots: 2, table: Hash([1; 32]) };
    // A change that waits when the table is read stays, even if it came before that.
    shards.follow(1, &[joins(3)]).unwrap();
    shards.set_slots(first, &[slot(1), slot(2)]).unwrap();
    shards.follow(2, &[joins(4), joins(5), leaves(4), leaves(9), leaves(2)]).unwrap();
    assert_eq!(head(), Some(first));
    // The owner ended deal 2, so its removal waits. It comes after the removal of deal 1, whose
    // last epoch this was.
    shards.follow(3, &[ended(1), ended(2), ended(4), turn(5), joins(6)]).unwrap();
    let mut table = slots::left(&first.table, 0);
    for (position, number) in [(1, 3), (2, 5)] {
        table = slots::joined(&table, position, &slot(number));
    }
    table = slots::left(&table, 0);
    assert_eq!(deals(), [5, 3]);
    assert_eq!(head(), Some(SlotsHead { epoch: 5, slots: 2, table }));
    // A table that was read ahead of the blocks contains their changes already.
    let ahead = SlotsHead { epoch: 7, slots: 1, table: Hash([2; 32]) };
    shards.set_slots(ahead, &[slot(6)]).unwrap();
    shards.follow(4, &[turn(6), joins(7), ended(3), turn(7)]).unwrap();
    assert_eq!((head(), deals()), (Some(ahead), vec![6]));
    // A missing epoch makes the copy worthless.
    shards.follow(5, &[turn(9)]).unwrap();
    assert_eq!(head(), None);
    shards.set_slots(ahead, &[slot(6)]).unwrap();
    shards.forget_slots().unwrap();
    assert_eq!(head(), None);
    shards.follow(6, &[turn(8), ended(6), joins(1), leaves(1), turn(9)]).unwrap();
    assert_eq!(head(), None);
    // Missed blocks make the copy worthless, and so does what waited before them.
    shards.follow(7, &[joins(1)]).unwrap();
    shards.set_slots(ahead, &[slot(6)]).unwrap();
    shards.follow(20, &[Change::SlotsMissed]).unwrap();
    assert_eq!(head(), None);
    shards.set_slots(ahead, &[slot(6)]).unwrap();
    shards.follow(21, &[turn(8)]).unwrap();
    assert_eq!((head().unwrap().epoch, deals()), (8, vec![6]));
}
