//! Compares the sums with the totals of all rows, counted one by one, after every write and every takeover.

use std::collections::BTreeMap;

use proptest::prelude::*;
use symbolon_net::Host;
use symbolon_protocol::{
    Amount, LedgerTime,
    content::{Codec, Manifest, MaskMode, Scheme},
    id::{ChainId, Hash},
    names::{Change, RootRecord},
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::catalog::{Batch, Extent, KeyBytes, Known, KnownEntry, SourceMark, Taken, Version};

const CHAIN: ChainId = ChainId([1; 32]);

fn file_of(version: &Version) -> Option<(ObjectId, u64, u64)> {
    match version.content {
        Content::File { object, first, length } => Some((object, first, length)),
        Content::Link { .. } | Content::Folder => None,
    }
}

/// Adds what items and parts use of objects.
fn add_ranges_of_items(catalog: &Catalog, used: &mut BTreeMap<ObjectId, UsedEntry>) {
    let items = catalog.rows(Items).unwrap();
    let parts = catalog.rows(ItemParts).unwrap();
    let of_items = items.iter().map(ItemEntry::ranges);
    for ranges in of_items.chain(parts.iter().map(|part| part.ranges.as_slice())) {
        let mut seen = Vec::new();
        for range in ranges {
            let entry = used.entry(range.object).or_insert(UsedEntry::none(range.object));
            if !seen.contains(range) {
                entry.ranges += 1;
                entry.bytes += range.length;
                seen.push(*range);
            }
        }
    }
}

/// Counts all rows of a catalog and compares the totals with its sums.
pub(in crate::catalog) fn check(catalog: &Catalog) {
    let (names, objects) = (catalog.rows(Names).unwrap(), catalog.rows(Objects).unwrap());
    let mut folders: BTreeMap<Vec<u8>, FolderSums> = BTreeMap::new();
    let mut used: BTreeMap<ObjectId, UsedEntry> = BTreeMap::new();
    for row in &names {
        let now = row.versions.first().filter(|_| row.deleted_ms.is_none());
        let file = now.and_then(file_of);
        let slashes = (0..row.path.len()).filter(|at| row.path[*at] == b'/');
        for end in slashes.chain([0]) {
            let path = row.path[..end].to_vec();
            let none = FolderSums { path: path.clone(), names: 0, live: 0, files: 0, bytes: 0 };
            let sums = folders.entry(path).or_insert(none);
            sums.names += 1;
            sums.live += u64::from(now.is_some());
            sums.files += u64::from(file.is_some());
            sums.bytes += file.map_or(0, |file| file.2);
        }
        let mut seen = Vec::new();
        for range in row.versions.iter().filter_map(file_of) {
            let entry = used.entry(range.0).or_insert(UsedEntry::none(range.0));
            if !seen.contains(&range) {
                entry.ranges += 1;
                entry.bytes += range.2;
                seen.push(range);
            }
        }
        if let Some((object, _, length)) = file {
            let entry = used.get_mut(&object).unwrap();
            entry.files += 1;
            entry.file_bytes += length;
        }
    }
    add_ranges_of_items(catalog, &mut used);
    let (mut terms, mut watched) = (BTreeMap::<_, (u64, u64)>::new(), Vec::new());
    for row in &objects {
        let id = row.manifest.object;
        let use_of = used.get(&id).copied().unwrap_or(UsedEntry::none(id));
        let term = terms.entry((row.end, row.paid_until_ms)).or_default();
        *term = (term.0 + 1, term.1 + use_of.files);
        let dead = row.manifest.length.saturating_sub(use_of.bytes);
        match row.kind {
            FileKind::Own | FileKind::Pack | FileKind::Item | FileKind::ItemPack
                if use_of.ranges == 0 =>
            {
                watched.push((id, "unused"));
            }
            FileKind::Pack | FileKind::ItemPack if use_of.bytes < dead => {
                watched.push((id, "sparse"));
            }
            _ => {}
        }
    }
    let known = |id: &ObjectId| objects.iter().any(|row| row.manifest.object == *id);
    watched.extend(used.keys().filter(|id| !known(id)).map(|id| (*id, "gone")));

    let mut kept = catalog.rows(Folders).unwrap();
    kept.sort_by(|one, other| one.path.cmp(&other.path));
    assert_eq!(kept, folders.into_values().collect::<Vec<_>>(), "{names:?}");
    let mut kept = catalog.rows(Used).unwrap();
    kept.sort_by_key(|entry| entry.object);
    assert_eq!(kept, used.into_values().collect::<Vec<_>>(), "{names:?}");
    let mut kept: Vec<_> = catalog.rows(Terms).unwrap();
    kept.sort_by_key(|term| (term.end, term.paid_until_ms));
    let kept: Vec<_> = kept
        .into_iter()
        .map(|term| ((term.end, term.paid_until_ms), (term.objects, term.files)))
        .collect();
    assert_eq!(kept, terms.into_iter().collect::<Vec<_>>(), "{names:?}");
    check_watched(catalog, watched);
}

fn check_watched(catalog: &Catalog, mut watched: Vec<(ObjectId, &str)>) {
    let watched_id = |watch| match watch {
        Watch::Unused(entry) => (entry.manifest.object, "unused"),
        Watch::Sparse(entry) => (entry.manifest.object, "sparse"),
        Watch::Gone(used) => (used.object, "gone"),
    };
    let mut kept: Vec<_> = catalog.watched().unwrap().into_iter().map(watched_id).collect();
    kept.sort_unstable();
    watched.sort_unstable();
    assert_eq!(kept, watched);
}

fn object(number: u8) -> ObjectId {
    ObjectId([number; 16])
}

fn entry(number: u8, kind: FileKind, end: u64) -> ObjectEntry {
    let manifest = Manifest {
        version: 1,
        codec: Codec::ReedSolomon8,
        mask: MaskMode::ChaCha20,
        scheme: Scheme { required: 2, total: 3 },
        object: object(number),
        length: 100,
        commitment: Hash([0; 32]),
        content_root: Hash([number; 32]),
    };
    ObjectEntry {
        kind,
        key: KeyBytes::new([number; 32]),
        manifest,
        stored_ms: 0,
        paid_until_ms: LedgerTime(10 * end),
        cost: Amount::ZERO,
        end,
        source: SourceMark::Stream,
        chosen: false,
    }
}

fn name(path: &str, versions: &[(u8, u64)], deleted: bool) -> NameEntry {
    let version = |(number, length): &(u8, u64)| Version {
        number: 1,
        stored_ms: 0,
        mode: 0,
        modified_ns: [0; 16],
        content: match number {
            0 => Content::Folder,
            _ => Content::File { object: object(*number), first: *length, length: *length },
        },
    };
    NameEntry {
        path: path.as_bytes().to_vec(),
        keep: 0,
        deleted_ms: deleted.then_some(1),
        versions: versions.iter().map(version).collect(),
    }
}

struct World {
    catalog: Catalog,
    known: KnownEntry,
    _folder: TempDir,
}

fn world() -> World {
    let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    let path = folder.path().join("names");
    let catalog = Catalog::new(&path, Zeroizing::new([5; 32]), Host::seeded(1, 0));
    let record = RootRecord::default();
    let known =
        KnownEntry { version: 0, digest: None, device: 1, moment: 0, record, dropped: Vec::new() };
    catalog.put(Known, &CHAIN.0, &known).unwrap();
    World { catalog, known, _folder: folder }
}

#[derive(Clone, Debug)]
enum Step {
    Name(String, Vec<(u8, u64)>, bool),
    Remove(String),
    Object(u8, bool, u64),
    Forget(u8),
    /// Changes from the network, and their extent.
    Taken(Vec<(String, Vec<(u8, u64)>)>, u8),
}

fn paths() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "a/b", "a/c", "a/b/c", "a/b/d", "e/f/g", "a.b"])
        .prop_map(String::from)
}

fn versions() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0_u8..4, prop::sample::select(vec![1_u64, 20, 60])), 1..4)
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let taken = prop::collection::btree_map(paths(), versions(), 0..4)
        .prop_map(|rows| rows.into_iter().collect::<Vec<_>>());
    let step = prop_oneof![
        4 => (paths(), versions(), any::<bool>()).prop_map(|(path, rows, gone)| Step::Name(path, rows, gone)),
        2 => paths().prop_map(Step::Remove),
        2 => (1_u8..4, any::<bool>(), 1_u64..3).prop_map(|(id, pack, end)| Step::Object(id, pack, end)),
        1 => (1_u8..4).prop_map(Step::Forget),
        1 => (taken, 0_u8..3).prop_map(|(rows, extent)| Step::Taken(rows, extent)),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..5), 1..6)
}

proptest! {
    #[test]
    fn sums_are_the_totals_of_all_rows(steps in steps()) {
        let World { catalog, known, _folder } = world();
        for together in steps {
            let mut batch = Batch::default();
            for step in together {
                match step {
                    Step::Name(path, versions, gone) => {
                        batch.put(Names, path.as_bytes(), &name(&path, &versions, gone));
                    }
                    Step::Remove(path) => batch.remove(Names, path.as_bytes()),
                    Step::Object(number, pack, end) => {
                        let kind = if pack { FileKind::Pack } else { FileKind::Own };
                        batch.put(Objects, &object(number).0, &entry(number, kind, end));
                    }
                    Step::Forget(number) => batch.remove(Objects, &object(number).0),
                    Step::Taken(rows, extent) => {
                        let change = |(path, versions): &(String, Vec<(u8, u64)>)| Change {
                            table: Names::TABLE,
                            key: path.as_bytes().to_vec(),
                            value: Some(name(path, versions, false).to_bytes()),
                        };
                        let changes: Vec<_> = rows.iter().map(change).collect();
                        let extent = [Extent::Some, Extent::Whole, Extent::Branch][usize::from(extent)];
                        let taken = Taken { changes: &changes, extent, own: false };
                        catalog.take_over(taken, (&CHAIN, &known)).unwrap();
                    }
                }
            }
            catalog.write(&batch).unwrap();
            check(&catalog);
        }
    }
}

#[test]
fn names_below_a_name_are_found_and_no_other_is_read() {
    let World { catalog, _folder, .. } = world();
    let mut batch = Batch::default();
    for folder in 0..20 {
        for file in 0..50 {
            let path = format!("top/{folder}/in/{file}");
            batch.put(Names, path.as_bytes(), &name(&path, &[(1, 7)], false));
        }
    }
    for path in ["top/3", "top/3.txt", "top/33"] {
        batch.put(Names, path.as_bytes(), &name(path, &[(0, 1)], false));
    }
    catalog.write(&batch).unwrap();
    let read = |work: &dyn Fn()| {
        let before = catalog.unsealed.load(std::sync::atomic::Ordering::Relaxed);
        work();
        catalog.unsealed.load(std::sync::atomic::Ordering::Relaxed) - before
    };
    let below = |path: &str, count: usize| {
        let rows = catalog.names_below(path.as_bytes()).unwrap();
        let inside = if path.is_empty() { String::new() } else { format!("{path}/") };
        let is_below = |row: &&NameEntry| {
            row.path == path.as_bytes() || row.path.starts_with(inside.as_bytes())
        };
        assert_eq!(rows.iter().filter(is_below).count(), count, "{path}");
        assert_eq!(rows.len(), count, "{path}");
    };
    assert!(read(&|| below("top/3", 51)) < 60);
    assert!(read(&|| below("top/3/in/7", 1)) < 10);
    below("top", 1003);
    below("", 1003);
    below("none", 0);
    let write = |path: &str, row: NameEntry| catalog.put(Names, path.as_bytes(), &row).unwrap();
    assert!(read(&|| write("top/4/in/new", name("top/4/in/new", &[(1, 7)], false))) < 20);
    assert!(read(&|| catalog.remove(Names, b"top/4/in/new").unwrap()) < 20);
    check(&catalog);
}

#[test]
fn wrong_sums_remove_nothing() {
    let World { catalog, _folder, .. } = world();
    catalog.put(Names, b"a", &name("a", &[(1, 7)], false)).unwrap();
    let wrong = UsedEntry::none(object(1));
    catalog.put(Used, &object(1).0, &wrong).unwrap();
    let removed = catalog.remove(Names, b"a");
    assert!(matches!(removed, Err(ClientError::Internal(_))), "{removed:?}");
    assert!(catalog.row(Names, b"a").unwrap().is_some());
}
