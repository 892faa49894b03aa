//! Compares the order with all rows, sorted, after every change, and the tree's pages with what a tree may be.

use std::collections::BTreeSet;

use proptest::prelude::*;
use symbolon_net::Host;
use symbolon_protocol::{
    Encode as _,
    id::{ChainId, ObjectId},
    names::RootRecord,
};
use symbolon_store::CatalogReader;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::catalog::{
    Batch, Extent, ItemContent, ItemRange, Known, KnownEntry, Taken, Used, UsedEntry,
};

const CHAIN: ChainId = ChainId([1; 32]);

fn catalog(folder: &TempDir, name: &str) -> Catalog {
    let path = folder.path().join(name);
    Catalog::new(&path, Zeroizing::new([5; 32]), Host::seeded(7, 0))
}

fn item(stamp: u64, object: Option<u8>) -> ItemEntry {
    let content = match object {
        None => ItemContent::Tombstone,
        Some(object) => {
            let (etag, checksums, parts) = (None, Vec::new(), Vec::new());
            let ranges = vec![ItemRange { object: ObjectId([object; 16]), first: 0, length: 7 }];
            ItemContent::Bytes { etag, checksums, parts, length: 7, ranges }
        }
    };
    ItemEntry { stamp, revision: 0, stored_ms: stamp, content, attributes: Vec::new() }
}

/// The order of all rows, sorted here.
fn expected(catalog: &Catalog) -> Vec<Entry> {
    let mut rows: BTreeMap<Vec<u8>, (ItemEntry, bool)> = BTreeMap::new();
    let mut note = |key: &[u8], row: ItemEntry, waiting: bool| {
        let newer = rows.get(key).is_none_or(|(other, _)| other.stamp <= row.stamp);
        newer.then(|| rows.insert(key.to_vec(), (row, waiting)));
        true
    };
    catalog.each_keyed(Items, |key, row| note(key, row, false)).unwrap();
    catalog.each_keyed(Waiting, |key, row| note(key, row, true)).unwrap();
    let mut all: Vec<Entry> = rows
        .iter()
        .map(|(key, (row, waiting))| {
            let (item, id) = split_id(key).unwrap();
            let key = [&[Shelf::Items as u8], item].concat();
            let spot = Spot { key, age: u64::MAX - row.stamp, id };
            Entry { spot, tombstone: row.is_tombstone(), waiting: *waiting }
        })
        .collect();
    let mut note = |key: &[u8], row: PartedEntry| {
        let (item, id) = split_id(key).unwrap();
        let key = [&[Shelf::Parted as u8], item].concat();
        let spot = Spot { key, age: row.made_ms, id };
        all.push(Entry { spot, tombstone: false, waiting: false });
        true
    };
    catalog.each_keyed(Parted, &mut note).unwrap();
    all.sort_by(|one, other| one.spot.cmp(&other.spot));
    all
}

fn walked(catalog: &Catalog, from: Spot) -> Vec<Entry> {
    let mut out = Vec::new();
    catalog
        .walk(&catalog.reader().unwrap(), from, |entry| {
            out.push(entry.clone());
            Walk::Next
        })
        .unwrap();
    out
}

/// Checks the pages below one, and gives their number. `spots` bounds what they may hold.
fn check_page(
    catalog: &Catalog,
    rows: &CatalogReader,
    id: u64,
    (least, end): (Option<&Spot>, Option<&Spot>),
) -> usize {
    let inside = |spot: &Spot| {
        assert!(least.is_none_or(|least| least <= spot), "{spot:?} is before its page");
        assert!(end.is_none_or(|end| spot < end), "{spot:?} is behind its page");
    };
    let page = catalog.page(rows, id).unwrap();
    assert!(id == ROOT || !page.is_empty(), "a page is empty");
    // A split page may have got a longer key for a bound.
    let (count, bytes) = page.size();
    assert!(bytes <= page::PAGE_BYTES + 1100 || count < 5, "a page has {bytes} bytes");
    match page {
        Page::Leaf(entries) => {
            entries.iter().for_each(|entry| inside(&entry.spot));
            1
        }
        Page::Inner(below) => {
            assert!(id != ROOT || 1 < below.len(), "the root has one page below it");
            let mut pages = 1;
            for (place, (first, page)) in below.iter().enumerate() {
                let least = if place == 0 { least } else { Some(first) };
                let end = below.get(place + 1).map(|(next, _)| next).or(end);
                pages += check_page(catalog, rows, *page, (least, end));
            }
            pages
        }
    }
}

/// Compares the order with the rows, and the pages with each other. Gives the number of pages.
fn check(catalog: &Catalog) -> usize {
    crate::catalog::sums::tests::check(catalog);
    let expected = expected(catalog);
    assert_eq!(walked(catalog, Spot::before(Vec::new())), expected);
    let rows = catalog.reader().unwrap();
    let reached = check_page(catalog, &rows, ROOT, (None, None));
    let mut stored = 0;
    let count = |_: &[u8], _: &[u8]| {
        stored += 1;
        std::ops::ControlFlow::<()>::Continue(())
    };
    rows.each(Pages::TABLE, &[], None, count).unwrap();
    assert!(stored == reached || (stored == 0 && expected.is_empty()), "a page is lost");
    reached
}

#[derive(Clone, Debug)]
enum Act {
    Put { key: Vec<u8>, stamp: u64, id: u8, tombstone: bool, waiting: bool },
    Remove { key: Vec<u8>, id: u8, waiting: bool },
    Begin { key: Vec<u8>, id: u8 },
    End { key: Vec<u8>, id: u8 },
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    let letter = prop_oneof![Just(b'a'), Just(b'b'), Just(b'/'), Just(0), Just(255)];
    // Long keys fill pages, and much is common to them.
    (prop::collection::vec(letter, 1..4), prop_oneof![Just(0_usize), Just(300), Just(900)])
        .prop_map(|(key, long)| [vec![b'x'; long], key].concat())
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (keys(), 0..50_u64, 0..3_u8, any::<bool>(), any::<bool>()).prop_map(
            |(key, stamp, id, tombstone, waiting)| Act::Put { key, stamp, id, tombstone, waiting }
        ),
        3 => (keys(), 0..3_u8, any::<bool>())
            .prop_map(|(key, id, waiting)| Act::Remove { key, id, waiting }),
        1 => (keys(), 0..3_u8).prop_map(|(key, id)| Act::Begin { key, id }),
        1 => (keys(), 0..3_u8).prop_map(|(key, id)| Act::End { key, id }),
    ]
}

fn act(batch: &mut Batch, act: &Act) {
    let row_key = |key: &[u8], id: u8| item_row_key(b"bucket", key, &[id; 16]);
    match act {
        Act::Put { key, stamp, id, tombstone, waiting } => {
            let item = item(*stamp, (!tombstone).then_some(*id));
            match waiting {
                true => batch.put(Waiting, &row_key(key, *id), &item),
                false => batch.put(Items, &row_key(key, *id), &item),
            }
        }
        Act::Remove { key, id, waiting: true } => batch.remove(Waiting, &row_key(key, *id)),
        Act::Remove { key, id, waiting: false } => batch.remove(Items, &row_key(key, *id)),
        Act::Begin { key, id } => {
            let row = PartedEntry { made_ms: u64::from(*id), attributes: Vec::new() };
            batch.put(Parted, &row_key(key, *id), &row);
        }
        Act::End { key, id } => batch.remove(Parted, &row_key(key, *id)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_order_is_that_of_the_rows(
        edits in prop::collection::vec(prop::collection::vec(acts(), 1..40), 1..12),
        from in keys(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog(&folder, "one");
        for edit in edits {
            let mut batch = Batch::default();
            edit.iter().for_each(|one| act(&mut batch, one));
            catalog.write(&batch).unwrap();
            check(&catalog);
        }
        // From any spot on, and over any stretch.
        let all = expected(&catalog);
        let place = Shelf::Items.at(b"bucket", &from);
        for spot in [Spot::before(place.clone()), Spot::behind(place.clone()), Spot::behind_all(place)] {
            let rest: Vec<_> = all.iter().filter(|entry| spot <= entry.spot).cloned().collect();
            prop_assert_eq!(walked(&catalog, spot.clone()), rest.clone());
            let mut seen = Vec::new();
            catalog.walk(&catalog.reader().unwrap(), Spot::before(Vec::new()), |entry| {
                seen.push(entry.clone());
                if seen.len() == 1 { Walk::To(spot.clone()) } else { Walk::Next }
            }).unwrap();
            let first = all.first().cloned();
            let rest = rest.into_iter().filter(|entry| Some(entry) != first.as_ref());
            let wanted: Vec<_> = first.clone().into_iter().chain(rest).collect();
            prop_assert_eq!(seen, wanted);
        }
        // Without rows there is no page.
        let mut batch = Batch::default();
        for key in rows_of(&catalog) {
            batch.remove(Items, &key);
            batch.remove(Waiting, &key);
            batch.remove(Parted, &key);
        }
        catalog.write(&batch).unwrap();
        prop_assert_eq!(check(&catalog), 1);
    }
}

fn rows_of(catalog: &Catalog) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    let mut note = |key: &[u8], _: ItemEntry| {
        keys.insert(key.to_vec());
        true
    };
    catalog.each_keyed(Items, &mut note).unwrap();
    catalog.each_keyed(Waiting, &mut note).unwrap();
    let note = |key: &[u8], _: PartedEntry| {
        keys.insert(key.to_vec());
        true
    };
    catalog.each_keyed(Parted, note).unwrap();
    keys
}

/// Keys in order, in no order, and backwards: the pages are full in the first case, and at least half full in the others.
#[test]
fn pages_are_well_filled() {
    let folder = tempfile::tempdir().unwrap();
    let mut pages = Vec::new();
    // A step of one less than the modulus goes back by one.
    for (name, step) in [("in order", 1), ("mixed", 7_919), ("backwards", 5_002)] {
        let catalog = catalog(&folder, name);
        let mut batch = Batch::default();
        for number in 1..=5_000_u32 {
            let key = format!("photos/{:08}.jpg", number * step % 5_003);
            batch.put(Items, &item_row_key(b"bucket", key.as_bytes(), &[0; 16]), &item(1, Some(1)));
        }
        // One edit for all rows would sort them.
        for one in batch.0.chunks(100) {
            catalog.write(&Batch(one.to_vec())).unwrap();
        }
        pages.push(check(&catalog));
        // Removing them in any order leaves nothing.
        let mut keys: Vec<_> = rows_of(&catalog).into_iter().collect();
        keys.sort_by_key(|key| blake3::hash(key).as_bytes().to_owned());
        for some in keys.chunks(500) {
            let mut batch = Batch::default();
            some.iter().for_each(|key| batch.remove(Items, key));
            catalog.write(&batch).unwrap();
            check(&catalog);
        }
        assert_eq!(check(&catalog), 1);
    }
    assert!(pages[0] < 60 && pages[1] < 110 && pages[2] < 110, "{pages:?}");
}

fn known() -> KnownEntry {
    let (version, digest, device, moment) = (1, None, 1, 1);
    let (record, dropped) = (RootRecord::default(), Vec::new());
    KnownEntry { version, digest, device, moment, record, dropped }
}

/// What another device has changed comes into the order too, and a range that two devices use counts twice.
#[test]
fn the_rows_of_another_device_come_into_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| catalog(&folder, name));
    let key = |text: &str| item_row_key(b"bucket", text.as_bytes(), &[0; 16]);
    for (text, stamp) in [("a", 1), ("a/b", 2), ("b", 3)] {
        one.put(Items, &key(text), &item(stamp, Some(4))).unwrap();
    }
    let take = |from: &Catalog, to: &Catalog, extent| {
        let changes = from.unpublished(u64::MAX).unwrap().changes;
        let taken = Taken { changes: &changes, extent, own: false };
        to.put(Known, &CHAIN.0, &known()).unwrap();
        to.take_over(taken, (&CHAIN, &known())).unwrap();
        check(to);
    };
    take(&one, &other, Extent::Some);
    assert_eq!(walked(&other, Spot::before(Vec::new())), walked(&one, Spot::before(Vec::new())));
    assert_eq!(other.row(Used, &[4; 16]).unwrap().map(|used: UsedEntry| used.ranges), Some(3));

    // Both put the null version, and the newer one holds on both.
    one.put(Items, &key("a"), &item(10, Some(5))).unwrap();
    other.put(Items, &key("a"), &item(9, Some(6))).unwrap();
    take(&one, &other, Extent::Some);
    assert_eq!(other.row(Items, &key("a")).unwrap(), Some(item(10, Some(5))));
    other.put(Items, &key("b"), &item(12, None)).unwrap();
    take(&other, &one, Extent::Some);
    assert_eq!(one.row(Items, &key("b")).unwrap(), Some(item(12, None)));

    // A record that does not have a row removes it.
    let third = catalog(&folder, "third");
    third.put(Items, &key("c"), &item(1, Some(4))).unwrap();
    third
        .take_over(Taken { changes: &[], extent: Extent::Some, own: false }, (&CHAIN, &known()))
        .unwrap();
    let at = third.snapshot().unwrap();
    third.settle(Some(at), &[], (&CHAIN, &known())).unwrap();
    take(&one, &third, Extent::Whole);
    assert_eq!(third.row(Items, &key("c")).unwrap(), None);
}

#[test]
fn pages_have_one_encoding() {
    let spot = |key: &str, age| Spot { key: key.into(), age, id: [3; 16] };
    let leaf = Page::Leaf(vec![
        Entry { spot: spot("photos/a", 1), tombstone: false, waiting: true },
        Entry {
            spot: Spot { id: [0; 16], ..spot("photos/b", 0) },
            tombstone: true,
            waiting: false,
        },
    ]);
    let inner = Page::Inner(vec![(spot("a", 1), 9), (spot("a", 2), 8)]);
    for page in [leaf, inner, Page::Leaf(Vec::new())] {
        assert_eq!(Page::from_bytes(&page.to_bytes()), Ok(page));
    }
    let disorder = Page::Inner(vec![(spot("a", 2), 9), (spot("a", 1), 8)]);
    assert!(Page::from_bytes(&disorder.to_bytes()).is_err());
    let twice = Page::Inner(vec![(spot("a", 2), 9), (spot("a", 2), 8)]);
    assert!(Page::from_bytes(&twice.to_bytes()).is_err());
    assert!(Page::from_bytes(&[3]).is_err());
}

#[test]
fn the_spot_behind_all_keys_of_a_prefix() {
    let behind = |prefix: &[u8]| Spot::behind_all(prefix.to_vec()).key;
    assert_eq!(behind(b"ab"), b"ac");
    assert_eq!(behind(b"a\xff\xff"), b"b");
    assert_eq!(behind(b"\xff"), [255]);
    let last = Spot { key: b"a".to_vec(), age: 5, id: [255; 16] };
    assert_eq!(last.next(), Spot { key: b"a".to_vec(), age: 6, id: [0; 16] });
    let end = Spot { key: b"a".to_vec(), age: u64::MAX, id: [255; 16] };
    assert_eq!(end.next(), Spot::behind(b"a".to_vec()));
}
