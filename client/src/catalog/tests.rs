//! Two devices publish, with their steps in every possible order, and with a ledger that may be set back at every
//! point. No stored version is lost, and in the end both devices have the same rows as the network.

use std::path::Path;

use symbolon_protocol::{
    id::{ChainId, ObjectId},
    names::{Change, RootRecord, merge},
};
use tempfile::TempDir;

use super::*;

const CHAIN: ChainId = ChainId([1; 32]);

/// A change that a device makes to its names before it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Gives `x` new bytes.
    Put,
    /// Gives `x` new bytes, and keeps the old version.
    PutKept,
    /// Removes `x`.
    Remove,
    /// Renames `x` to `y`.
    Move,
    /// Gives `y` new bytes.
    PutOther,
}

const ACTS: [Act; 5] = [Act::Put, Act::PutKept, Act::Remove, Act::Move, Act::PutOther];

/// The account's row on the ledger. In this test all changes are in the tail.
#[derive(Clone, Default)]
struct Network {
    version: u64,
    record: RootRecord,
}

impl Network {
    fn digest(&self) -> Option<Hash> {
        let bytes = self.record.to_bytes();
        (self.version > 0).then(|| Hash(*blake3::hash(&bytes).as_bytes()))
    }
}

/// One of the devices. It uses its catalog as `Client` does.
struct Device {
    catalog: Catalog,
    known: KnownEntry,
    draft: Option<(Unpublished, Network)>,
    set: Option<(Unpublished, Network)>,
}

impl Device {
    fn new(folder: &Path, number: u64) -> Self {
        let host = Host::seeded(number, 0);
        let path = folder.join(format!("device {number}"));
        let known = KnownEntry {
            version: 0,
            digest: None,
            device: number,
            moment: 0,
            record: RootRecord::default(),
            dropped: Vec::new(),
        };
        let catalog = Catalog::new(&path, Zeroizing::new([5; 32]), host);
        catalog.put(Known, &CHAIN.0, &known).unwrap();
        Self { catalog, known, draft: None, set: None }
    }

    fn row(&self, name: &[u8]) -> Option<NameEntry> {
        self.catalog.row(Names, name).unwrap()
    }

    /// Gives a name new bytes. Gives the objects of dropped versions.
    fn put(&self, name: &[u8], object: u8, keep: Option<u32>) -> Vec<u8> {
        let fresh =
            || NameEntry { path: name.to_vec(), keep: 0, deleted_ms: None, versions: Vec::new() };
        let mut row = self.row(name).unwrap_or_else(fresh);
        let before = objects(Some(&row));
        row.keep = keep.unwrap_or(row.keep);
        let number = row.versions.first().map_or(0, |version| version.number) + 1;
        let content = Content::File { object: ObjectId([object; 16]), first: 0, length: 9 };
        let version = Version {
            number,
            stored_ms: object.into(),
            mode: 0,
            modified_ns: [object; 16],
            content,
        };
        row.versions.insert(0, version);
        row.trim();
        self.catalog.put(Names, name, &row).unwrap();
        let after = objects(Some(&row));
        before.into_iter().filter(|object| !after.contains(object)).collect()
    }

    /// Makes a change. Gives the objects that it removed on purpose.
    fn act(&self, act: Act, object: u8) -> Vec<u8> {
        match act {
            Act::Put => self.put(b"x", object, None),
            Act::PutKept => self.put(b"x", object, Some(1)),
            Act::PutOther => self.put(b"y", object, None),
            Act::Remove => {
                let gone = objects(self.row(b"x").as_ref());
                self.catalog.remove(Names, b"x").unwrap();
                gone
            }
            Act::Move => {
                // A rename does not replace another name.
                let (Some(row), None) = (self.row(b"x"), self.row(b"y")) else { return Vec::new() };
                let mut batch = Batch::default();
                batch.remove(Names, b"x");
                batch.put(Names, b"y", &NameEntry { path: b"y".to_vec(), ..row });
                self.catalog.write(&batch).unwrap();
                Vec::new()
            }
        }
    }

    fn pull(&mut self, network: &Network) {
        if (network.version, network.digest()) == (self.known.version, self.known.digest) {
            return;
        }
        let (record, version) = (network.record.clone(), network.version);
        let leads = self.known.version < version && record.follows(&self.known.record);
        let extent = if leads { Extent::Whole } else { Extent::Branch };
        let (device, moment) = (self.known.device, self.known.moment);
        let there = record.moment_of(device).unwrap_or(0);
        let own = leads && version == self.known.version + 1 && moment < there;
        let (changes, digest) = (record.tail.clone(), network.digest());
        let (moment, dropped) = (moment.max(there), Vec::new());
        self.known = KnownEntry { version, digest, device, moment, record, dropped };
        let taken = Taken { changes: &changes, extent, own };
        self.catalog.take_over(taken, (&CHAIN, &self.known)).unwrap();
    }

    fn draft(&mut self) {
        let rows = self.catalog.unpublished(u64::MAX).unwrap();
        if rows.changes.is_empty() {
            return;
        }
        let mut record = self.known.record.clone();
        record.tail = merge(record.tail, rows.changes.clone());
        let version = self.known.version + 1;
        record.mark(self.known.device, self.known.moment + 1);
        self.draft = Some((rows, Network { version, record }));
    }

    /// Sets the record. Begins again when another device was first.
    fn set(&mut self, network: &mut Network) {
        loop {
            let Some((rows, next)) = self.draft.take() else { return };
            if network.version + 1 == next.version {
                *network = next.clone();
                self.set = Some((rows, next));
                return;
            }
            self.pull(network);
            self.draft();
        }
    }

    fn settle(&mut self) {
        let Some((rows, next)) = self.set.take() else { return };
        let (digest, device) = (next.digest(), self.known.device);
        let Network { version, record } = next;
        let moment = record.moment_of(device).unwrap();
        self.known = KnownEntry { version, digest, device, moment, record, dropped: Vec::new() };
        self.catalog.settle(Some(rows.at), &[], (&CHAIN, &self.known)).unwrap();
    }

    fn publish(&mut self, network: &mut Network) {
        self.pull(network);
        self.draft();
        self.set(network);
        self.settle();
    }

    /// One of the steps of a command.
    fn step(&mut self, step: usize, act: (Act, u8), network: &mut Network, gone: &mut Vec<u8>) {
        match step {
            0 => gone.extend(self.act(act.0, act.1)),
            1 => {
                self.pull(network);
                self.draft();
            }
            2 => self.set(network),
            _ => self.settle(),
        }
    }

    fn names(&self) -> Vec<Change> {
        let places = self.catalog.published_places(&self.catalog.snapshot().unwrap()).unwrap();
        let (all, mut rows) = (0..places.len(), Vec::new());
        self.catalog.each_published(&places, all, |change| rows.push(change)).unwrap();
        let bytes = rows.iter().map(|change| change.size() as u64);
        assert!(bytes.eq(places.bytes()));
        rows
    }
}

fn objects(row: Option<&NameEntry>) -> Vec<u8> {
    let versions = row.iter().flat_map(|row| &row.versions);
    let object = |version: &Version| match version.content {
        Content::File { object, .. } => Some(object.0[0]),
        Content::Link { .. } | Content::Folder => None,
    };
    versions.filter_map(object).collect()
}

const STEPS: usize = 4;

/// Every order of the steps of two commands, as the device that takes each step.
fn orders() -> Vec<Vec<usize>> {
    let bits = (0..1_u32 << (2 * STEPS)).filter(|bits| bits.count_ones() as usize == STEPS);
    bits.map(|bits| (0..2 * STEPS).map(|at| ((bits >> at) & 1) as usize).collect()).collect()
}

/// Runs two commands in one order. The ledger is set back before step `back`, if there is one.
fn run(folder: &Path, acts: [Act; 2], order: &[usize], back: Option<usize>) {
    let (mut network, mut gone) = (Network::default(), Vec::new());
    let mut devices = [Device::new(folder, 1), Device::new(folder, 2)];
    devices[0].put(b"x", 1, None);
    devices[0].publish(&mut network);
    let backup = network.clone();
    devices[1].pull(&network);
    if back.is_some() {
        // There is a row that the backup does not have and that the other device does not know.
        devices[0].put(b"z", 9, None);
        devices[0].publish(&mut network);
    }
    let mut steps = [0, 0];
    for (place, who) in order.iter().enumerate() {
        if back == Some(place) {
            network = backup.clone();
        }
        let act = (acts[*who], 2 + u8::try_from(*who).unwrap());
        devices[*who].step(steps[*who], act, &mut network, &mut gone);
        steps[*who] += 1;
    }
    for _ in 0..3 {
        devices.iter_mut().for_each(|device| device.publish(&mut network));
    }
    let told = format!("{acts:?} in the order {order:?}, set back before {back:?}");
    let rows = devices[0].names();
    assert_eq!(rows, devices[1].names(), "{told}");
    assert_eq!(rows, symbolon_protocol::names::without_removed(network.record.tail), "{told}");
    devices.iter().for_each(|device| sums::tests::check(&device.catalog));
    let names = devices[0].catalog.rows(Names).unwrap();
    let there: Vec<u8> = names.iter().flat_map(|row| objects(Some(row))).collect();
    let mut stored = vec![1];
    stored.extend(back.map(|_| 9));
    stored.extend((2..).zip(acts).filter_map(|(object, act)| {
        matches!(act, Act::Put | Act::PutKept | Act::PutOther).then_some(object)
    }));
    for object in stored {
        let kept = there.contains(&object) || gone.contains(&object);
        assert!(kept, "{object} is gone: {told}, {names:?}");
    }
    for row in &names {
        let numbers = row.versions.iter().map(|version| version.number);
        assert!(numbers.is_sorted_by(|newer, older| newer > older), "{told}, {row:?}");
    }
}

/// In memory, if the machine allows it, because the test makes thousands of small databases.
fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn all(runs: impl Fn(&Path, [Act; 2], &[usize])) {
    let orders = orders();
    assert_eq!(orders.len(), 70);
    for one in ACTS {
        for other in ACTS {
            for order in &orders {
                let folder = folder();
                runs(folder.path(), [one, other], order);
            }
        }
    }
}

#[test]
fn two_devices_lose_nothing_in_any_order() {
    all(|folder, acts, order| run(folder, acts, order, None));
}

#[test]
fn a_ledger_that_is_set_back_loses_nothing_in_any_order() {
    all(|folder, acts, order| {
        // Every order has one point, and every point has many orders.
        let seed = order.iter().fold(0, |sum, who| 2 * sum + who) + acts[0] as usize * 3;
        run(folder, acts, order, Some(seed % (2 * STEPS)));
    });
}

fn named(catalog: &Catalog, name: &[u8], object: u8) {
    let content = Content::File { object: ObjectId([object; 16]), first: 0, length: 1 };
    let version = Version { number: 1, stored_ms: 0, mode: 0, modified_ns: [0; 16], content };
    let path = name.to_vec();
    let row = NameEntry { path, keep: 0, deleted_ms: None, versions: vec![version] };
    catalog.put(Names, name, &row).unwrap();
}

#[test]
fn two_processes_with_one_index_lose_nothing_and_open_it_once() {
    const NAMES: u8 = 40;
    let folder = folder();
    let path = folder.path().join("names");
    let opened = |number| Catalog::new(&path, Zeroizing::new([5; 32]), Host::seeded(number, 0));
    // Two catalogs on one file, like two processes.
    let both = [opened(1), opened(2)];
    std::thread::scope(|scope| {
        for (number, catalog) in (1..).zip(&both) {
            scope.spawn(move || {
                for name in 0..NAMES {
                    let own = format!("folder/{number}/{name}").into_bytes();
                    named(catalog, &own, number);
                    assert!(catalog.row(Names, &own).unwrap().is_some());
                }
            });
        }
    });
    let all = usize::from(NAMES) * both.len();
    for catalog in &both {
        assert_eq!(catalog.rows(Names).unwrap().len(), all);
        assert_eq!(catalog.row(Folders, b"folder").unwrap().unwrap().live, all as u64);
        assert_eq!(catalog.dirty_count().unwrap(), all);
        sums::tests::check(catalog);
        assert_eq!(catalog.rows.opened(), 1, "a burst of changes opens it once");
    }
    let reader = opened(3);
    for _ in 0..10 {
        assert_eq!(reader.rows(Names).unwrap().len(), all);
    }
    assert_eq!(reader.rows.opened(), 1);
    named(&both[0], b"one more", 9);
    assert_eq!(reader.rows(Names).unwrap().len(), all + 1, "others see it at once");
    named(&reader, b"and one", 9);
    assert_eq!(reader.rows.opened(), 2, "once to read, once to write");
}

#[test]
fn changes_too_large_to_hold_are_only_counted() {
    let folder = folder();
    let device = Device::new(folder.path(), 1);
    for name in [b"b".as_slice(), b"a", b"c"] {
        named(&device.catalog, name, 1);
    }
    let all = device.catalog.unpublished(u64::MAX).unwrap();
    let keys: Vec<_> = all.changes.iter().map(|change| change.key.as_slice()).collect();
    assert_eq!(keys, [b"a", b"b", b"c"]);
    assert_eq!(all.bytes, all.changes.iter().map(|change| change.size() as u64).sum::<u64>());
    assert!(!all.is_too_much());
    let held = device.catalog.unpublished(all.bytes).unwrap();
    assert!(!held.is_too_much());
    let much = device.catalog.unpublished(all.bytes - 1).unwrap();
    assert!(much.is_too_much() && much.changes.is_empty());
    assert_eq!((much.bytes, much.count), (all.bytes, 3));
}

#[test]
fn a_file_whose_marks_were_a_large_part_of_it_is_compacted() {
    let folder = folder();
    let device = Device::new(folder.path(), 1);
    let bytes = || std::fs::metadata(folder.path().join("device 1")).unwrap().len();
    let names = |range: std::ops::Range<usize>| {
        let mut batch = Batch::default();
        for number in range {
            let name = format!("folder/{number:08}").into_bytes();
            let content = Content::File { object: ObjectId([1; 16]), first: 0, length: 1 };
            let version =
                Version { number: 1, stored_ms: 0, mode: 0, modified_ns: [0; 16], content };
            let (path, versions) = (name.clone(), vec![version]);
            batch.put(Names, &name, &NameEntry { path, keep: 0, deleted_ms: None, versions });
        }
        batch
    };
    device.catalog.write(&names(0..4096)).unwrap();
    let (before, rows) = (bytes(), device.catalog.unpublished(0).unwrap());
    device.catalog.settle(Some(rows.at), &[], (&CHAIN, &device.known)).unwrap();
    let compacted = bytes();
    assert!(compacted < before / 3 * 2, "{compacted} of {before}");
    assert_eq!(device.catalog.dirty_count().unwrap(), 0);
    assert_eq!(device.catalog.rows(Names).unwrap().len(), 4096);
    // A few marks, or few beside many names, are not worth it.
    assert!(!device.catalog.is_worth_compacting(4095).unwrap());
    device.catalog.write(&names(4096..4 * 4096)).unwrap();
    assert!(device.catalog.is_worth_compacting(4096).unwrap());
    device.catalog.write(&names(4 * 4096..4 * 4096 + 1)).unwrap();
    assert!(!device.catalog.is_worth_compacting(4096).unwrap());
}

#[test]
fn all_rows_are_read_in_the_order_of_changes_and_in_parts() {
    let folder = folder();
    let device = Device::new(folder.path(), 1);
    for name in [b"b".as_slice(), b"a/b", b"a", b"a.b"] {
        named(&device.catalog, name, 1);
    }
    let places = device.catalog.published_places(&device.catalog.snapshot().unwrap()).unwrap();
    // What changes later is not in it.
    named(&device.catalog, b"c", 1);
    device.catalog.remove(Names, b"a").unwrap();
    let part = |range| {
        let mut keys = Vec::new();
        let take = |change: Change| {
            assert!(change.value.is_some());
            keys.push(change.key);
        };
        device.catalog.each_published(&places, range, take).unwrap();
        keys
    };
    assert_eq!(places.len(), 4);
    assert_eq!(part(0..1), [b"a"]);
    assert_eq!(part(1..4), [b"a.b".as_slice(), b"a/b", b"b"]);
}

#[test]
fn a_row_that_changes_while_it_is_published_stays_unpublished() {
    let folder = folder();
    let device = Device::new(folder.path(), 1);
    for name in [b"changed".as_slice(), b"removed", b"same", b"undone"] {
        named(&device.catalog, name, 1);
    }
    let published = device.catalog.unpublished(u64::MAX).unwrap();
    assert_eq!(published.count, 4);
    let then = published.changes[0].value.clone();
    named(&device.catalog, b"changed", 2);
    named(&device.catalog, b"new", 3);
    device.catalog.remove(Names, b"removed").unwrap();
    // The same bytes again are a change too: they are not compared.
    named(&device.catalog, b"undone", 1);
    device.catalog.settle(Some(published.at), &[], (&CHAIN, &device.known)).unwrap();
    let left = device.catalog.unpublished(u64::MAX).unwrap();
    let keys: Vec<_> = left.changes.iter().map(|change| change.key.as_slice()).collect();
    assert_eq!(keys, [b"changed".as_slice(), b"new", b"removed", b"undone"]);
    let base = |key: &[u8]| {
        let marks = device.catalog.rows(Dirty).unwrap();
        marks.into_iter().find(|mark| mark.key == key).unwrap().base
    };
    assert_eq!(base(b"changed"), published::digest(then.as_deref()), "what the network has now");
    assert_eq!(base(b"new"), None);
    assert!(base(b"removed").is_some());
}
