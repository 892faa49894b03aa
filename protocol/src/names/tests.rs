//! The tree as a whole: whatever is changed, published and pulled, in whatever order, every device ends
//! with the same rows.

use alloc::collections::BTreeMap;
use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    codec::Encode,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme},
    id::{AccountId, ChainId, Hash, ObjectId},
    limits::{INDEX_DEVICES_MAX, INDEX_RUNS_MAX, ROOT_BYTES_MAX},
};

const KEY: [u8; 32] = [5; 32];

fn place(version: u64) -> Place {
    Place { chain: ChainId([1; 32]), account: AccountId([2; 32]), version }
}

fn change(table: u8, key: &[u8], value: Option<&[u8]>) -> Change {
    Change { table, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

type Rows = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// A network that keeps parts, and one sealed row.
#[derive(Default)]
struct Network {
    parts: BTreeMap<ObjectId, Vec<u8>>,
    row: Option<(u64, Vec<u8>)>,
    keys: u64,
}

/// A device: its rows, what it has not published, and the record it knows.
#[derive(Default)]
struct Device {
    rows: Rows,
    dirty: BTreeMap<(u8, Vec<u8>), ()>,
    version: u64,
    record: RootRecord,
}

impl Network {
    fn read(&self, run: &Run) -> Vec<Change> {
        let read = |part: &Part| decode_run(&self.parts[&part.manifest.object]).unwrap();
        let changes: Vec<_> = run.parts.iter().flat_map(read).collect();
        assert_eq!(changes.len() as u64, run.entries);
        changes
    }

    fn store(&mut self, changes: Vec<Change>) -> Run {
        let entries = changes.len() as u64;
        let parts = cut(changes).into_iter().map(|part| {
            let bytes = encode_run(&part);
            self.keys += 1;
            let mut key = [0; 32];
            key[..8].copy_from_slice(&self.keys.to_le_bytes());
            let key = FileKey::from_bytes(key);
            let layout = Layout::new(Scheme { required: 2, total: 3 }, bytes.len() as u64).unwrap();
            let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, Hash([0; 32]));
            self.parts.insert(manifest.object, bytes);
            Part { key, manifest }
        });
        Run { end: 9, entries, parts: parts.collect() }
    }
}

impl Device {
    fn set(&mut self, table: u8, key: u16, value: Option<Vec<u8>>) {
        let at = (table, key.to_be_bytes().to_vec());
        match value {
            Some(value) => self.rows.insert(at.clone(), value),
            None => self.rows.remove(&at),
        };
        self.dirty.insert(at, ());
    }

    fn pull(&mut self, network: &Network) {
        let Some((version, blob)) = &network.row else { return };
        if *version == self.version {
            return;
        }
        let record = open(&KEY, &place(*version), blob).unwrap();
        let common = self.record.common(&record);
        let mut all = Vec::new();
        for run in &record.runs[common..] {
            all = merge(all, network.read(run));
        }
        all = merge(all, record.tail.clone());
        if common == 0 {
            let dirty = &self.dirty;
            self.rows.retain(|at, _| dirty.contains_key(at));
        }
        for change in all {
            let at = (change.table, change.key);
            if self.dirty.contains_key(&at) {
                continue;
            }
            match change.value {
                Some(value) => self.rows.insert(at, value),
                None => self.rows.remove(&at),
            };
        }
        (self.version, self.record) = (*version, record);
    }

    /// Publishes; when `dies`, the parts are stored and the row is never set.
    fn publish(&mut self, network: &mut Network, dies: bool) {
        self.pull(network);
        let fresh = self.dirty.keys().map(|at| Change {
            table: at.0,
            key: at.1.clone(),
            value: self.rows.get(at).cloned(),
        });
        let tail = merge(self.record.tail.clone(), fresh.collect());
        let mut record = RootRecord { tail, ..self.record.clone() };
        let version = self.version + 1;
        let blob = match seal(&KEY, &place(version), &record, &[7; 24]) {
            Ok(blob) => blob,
            Err(RootError::TooLarge { .. }) => {
                let mut changes = core::mem::take(&mut record.tail);
                let taken = runs_to_merge(&record, encode_run(&changes).len() as u64);
                let kept = record.runs.len() - taken;
                for run in record.runs.split_off(kept).iter().rev() {
                    changes = merge(network.read(run), changes);
                }
                if kept == 0 {
                    changes = without_removed(changes);
                }
                if !changes.is_empty() {
                    record.runs.push(network.store(changes));
                }
                seal(&KEY, &place(version), &record, &[7; 24]).unwrap()
            }
            Err(error) => panic!("{error}"),
        };
        assert!(blob.len() <= ROOT_BYTES_MAX && record.runs.len() <= INDEX_RUNS_MAX);
        if !dies {
            network.row = Some((version, blob));
            self.dirty.clear();
            (self.version, self.record) = (version, record);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set { device: usize, table: u8, key: u16, value: Option<u8> },
    Many { device: usize, from: u16, value: u8 },
    Publish { device: usize, dies: bool },
    Pull { device: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let device = 0..2_usize;
    let set = (device.clone(), 1..3_u8, 0..60_u16, any::<Option<u8>>());
    let step = prop_oneof![
        6 => set.prop_map(|(device, table, key, value)| Step::Set { device, table, key, value }),
        1 => (device.clone(), 0..300_u16, any::<u8>())
            .prop_map(|(device, from, value)| Step::Many { device, from, value }),
        4 => (device.clone(), prop::bool::weighted(0.3))
            .prop_map(|(device, dies)| Step::Publish { device, dies }),
        2 => device.prop_map(|device| Step::Pull { device }),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_device_ends_with_the_same_rows(steps in steps()) {
        let mut network = Network::default();
        let mut devices = [Device::default(), Device::default()];
        // What the network must say: the last published word on every key.
        let mut truth = Rows::new();
        for step in steps {
            match step {
                Step::Set { device, table, key, value } => {
                    devices[device].set(table, key, value.map(|value| vec![value; 90]));
                }
                Step::Many { device, from, value } => {
                    for key in from..from + 40 {
                        devices[device].set(1, key, (key % 5 != 0).then(|| vec![value; 90]));
                    }
                }
                Step::Publish { device, dies } => {
                    let device = &mut devices[device];
                    let words: Vec<_> = device.dirty.keys().cloned().collect();
                    device.publish(&mut network, dies);
                    for at in words.into_iter().filter(|_| !dies) {
                        match device.rows.get(&at) {
                            Some(value) => truth.insert(at, value.clone()),
                            None => truth.remove(&at),
                        };
                    }
                }
                Step::Pull { device } => devices[device].pull(&network),
            }
        }
        let mut fresh = Device::default();
        fresh.pull(&network);
        prop_assert_eq!(&fresh.rows, &truth);
        for device in &mut devices {
            device.dirty.clear();
            device.version = 0;
            device.record = RootRecord::default();
            device.pull(&network);
            prop_assert!(network.row.is_none() || device.rows == truth);
        }
    }
}

#[test]
fn a_run_is_several_times_the_next() {
    let mut network = Network::default();
    let mut device = Device::default();
    for key in 0..4000_u16 {
        device.set(1, key, Some(vec![7; 90]));
        if key % 9 == 0 {
            device.publish(&mut network, false);
        }
    }
    device.publish(&mut network, false);
    let sizes: Vec<_> = device.record.runs.iter().map(Run::bytes).collect();
    assert!(sizes.windows(2).all(|two| two[1] * 4 <= two[0]), "{sizes:?}");
    let written: usize = network.parts.values().map(Vec::len).sum();
    let held: u64 = sizes.iter().sum();
    assert!((written as u64) < 12 * held, "{written} bytes written for {held}");
}

#[test]
fn no_other_account_and_no_other_version_opens_it() {
    let record = RootRecord { tail: vec![change(1, b"a", Some(b"b"))], ..RootRecord::default() };
    let blob = seal(&KEY, &place(3), &record, &[9; 24]).unwrap();
    assert_eq!(blob.len(), 512);
    assert_eq!(open(&KEY, &place(3), &blob), Ok(record));
    assert_eq!(open(&KEY, &place(4), &blob), Err(RootError::Sealed));
    assert_eq!(open(&[6; 32], &place(3), &blob), Err(RootError::Sealed));
    let other = Place { chain: ChainId([9; 32]), ..place(3) };
    assert_eq!(open(&KEY, &other, &blob), Err(RootError::Sealed));
    assert_eq!(open(&KEY, &place(3), &blob[..511]), Err(RootError::Length { bytes: 511 }));
}

#[test]
fn changes_have_one_order() {
    let twice = [change(1, b"b", None), change(1, b"a", None)];
    let mut bytes = vec![1, 2, 0, 0, 0];
    twice.iter().for_each(|one| one.encode(&mut bytes));
    assert!(decode_run(&bytes).is_err());
    let merged = merge(vec![twice[1].clone()], vec![twice[0].clone()]);
    assert_eq!(decode_run(&encode_run(&merged)), Ok(merged));
}

#[test]
fn a_record_follows_what_led_to_it_and_nothing_else() {
    let mut first = RootRecord::default();
    first.mark(7, 1);
    let mut second = first.clone();
    second.mark(3, 2);
    let (mut mine, mut theirs) = (second.clone(), second.clone());
    mine.mark(7, 3);
    theirs.mark(3, 3);
    assert!(second.follows(&first) && mine.follows(&first) && mine.follows(&second));
    assert!(mine.follows(&mine) && !first.follows(&second), "an older one follows nothing newer");
    assert!(!mine.follows(&theirs) && !theirs.follows(&mine), "two branches, at one version");
    let mut later = theirs.clone();
    later.mark(9, 4);
    later.mark(3, 5);
    assert!(later.follows(&theirs) && !later.follows(&mine), "nor when one went on");
    assert_eq!((later.moment_of(3), later.moment_of(8)), (Some(5), None));
}

#[test]
fn who_is_forgotten_is_no_other_branch() {
    let mut record = RootRecord::default();
    let devices = INDEX_DEVICES_MAX as u64;
    for device in 0..devices {
        record.mark(100 - device, device + 1);
    }
    let early = record.clone();
    record.mark(1, devices + 1);
    assert_eq!((record.seen.len(), record.moment_of(100)), (INDEX_DEVICES_MAX, None));
    assert!(record.is_bounded() && record.follows(&early), "the oldest mark made room");
    let mut branch = early.clone();
    branch.mark(100, devices + 1);
    assert!(!record.follows(&branch), "a younger one cannot have");
}
