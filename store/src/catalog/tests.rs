//! One file that several have open: what each sees, and for whom it waits.

use std::{os::unix::fs::PermissionsExt, sync::mpsc};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn put(table: u8, key: &[u8], value: &[u8]) -> CatalogChange {
    CatalogChange::Put { table, key: key.to_vec(), value: value.to_vec() }
}

/// A file in a folder of its own, and a catalog of it.
fn catalog() -> (tempfile::TempDir, PathBuf, Catalog) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/catalog");
    let catalog = Catalog::new(&path, Duration::ZERO);
    (dir, path, catalog)
}

fn is_to_write(catalog: &Catalog) -> bool {
    lock(&catalog.open).to_write.is_some()
}

fn value(catalog: &Catalog, key: &[u8]) -> Option<Vec<u8>> {
    catalog.read().unwrap().get(1, key).unwrap()
}

#[test]
fn rows_survive_and_scan_in_order() {
    let (_dir, path, catalog) = catalog();
    catalog
        .write([
            put(1, b"aa", b"1"),
            put(1, b"ab", b"2"),
            put(1, b"b", b"3"),
            put(2, b"aa", b"4"),
            put(1, b"gone", b"5"),
            CatalogChange::Remove { table: 1, key: b"gone".to_vec() },
        ])
        .unwrap();
    drop(catalog);
    let catalog = Catalog::new(&path, Duration::ZERO);
    let rows = catalog.read().unwrap();
    let keys = |prefix: &[u8], after: Option<&[u8]>, limit| -> Vec<Vec<u8>> {
        let rows = rows.scan(1, prefix, after, limit).unwrap();
        rows.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(b"", None, 9), [&b"aa"[..], b"ab", b"b"]);
    assert_eq!(keys(b"a", None, 9), [b"aa", b"ab"]);
    assert_eq!(keys(b"a", Some(b"aa"), 9), [b"ab"]);
    assert_eq!(keys(b"b", Some(b"aa"), 9), [b"b"]);
    assert_eq!(keys(b"", None, 1), [b"aa"]);
    assert_eq!(rows.get(2, b"aa").unwrap().unwrap(), b"4");
    assert_eq!(rows.get(2, b"ab").unwrap(), None);
    catalog.put(2, b"aa", b"6").unwrap();
    assert_eq!(rows.get(2, b"aa").unwrap().unwrap(), b"4", "as they were when reading began");
    let rows = || catalog.read().unwrap();
    assert_eq!(rows().get(2, b"aa").unwrap().unwrap(), b"6");
    catalog.remove(2, b"aa").unwrap();
    assert_eq!(rows().get(2, b"aa").unwrap(), None);

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn a_catalog_opens_its_file_once_to_read_and_once_to_write() {
    let (_dir, path, catalog) = catalog();
    assert_eq!(catalog.opened(), 0, "nothing is opened before it is needed");
    catalog.put(1, b"key", b"value").unwrap();
    drop(catalog);
    let catalog = Catalog::new(&path, Duration::ZERO);
    for _ in 0..50 {
        assert_eq!(value(&catalog, b"key").unwrap(), b"value");
    }
    assert_eq!((catalog.opened(), is_to_write(&catalog)), (1, false));
    for number in 0..50 {
        catalog.put(1, b"key", &[number]).unwrap();
        assert_eq!(value(&catalog, b"key").unwrap(), [number]);
    }
    assert_eq!((catalog.opened(), is_to_write(&catalog)), (2, true));
    // Another file under the name is another catalog.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(value(&catalog, b"key"), None);
}

#[test]
fn room_that_is_left_is_given_back() {
    let (_dir, path, catalog) = catalog();
    let bytes = || std::fs::metadata(&path).unwrap().len();
    let key = |number: u32| number.to_be_bytes();
    catalog.write((0..20_000).map(|number| put(1, &key(number), &[7; 200]))).unwrap();
    let remove = |number| CatalogChange::Remove { table: 1, key: key(number).to_vec() };
    catalog.write((100..20_000).map(remove)).unwrap();
    let before = bytes();
    let reader = catalog.read().unwrap();
    catalog.compact().unwrap();
    assert_eq!(bytes(), before, "somebody reads what would be moved");
    drop(reader);
    catalog.compact().unwrap();
    assert!(bytes() < before / 4, "{} of {before}", bytes());
    let count = |catalog: &Catalog| {
        let rows = catalog.read().unwrap();
        rows.scan(1, &[], None, usize::MAX).unwrap().len()
    };
    assert_eq!(count(&catalog), 100);
    drop(catalog);
    assert_eq!(count(&Catalog::new(&path, Duration::ZERO)), 100);
}

#[test]
fn a_change_is_there_as_a_whole_or_not_at_all() {
    let (dir, path, catalog) = catalog();
    catalog.put(1, b"one", b"value").unwrap();
    let failed = catalog.change(|rows| {
        rows.apply(put(1, b"two", b"value"))?;
        assert_eq!(rows.get(1, b"two")?.unwrap(), b"value", "what was written is read again");
        rows.apply(CatalogChange::Remove { table: 1, key: b"one".to_vec() })?;
        let found = rows.each(1, b"", None, |key, _| ControlFlow::Break(key.to_vec()))?;
        assert_eq!(found.unwrap(), b"two");
        Err::<(), _>(CatalogError::InUse { path: path.clone() })
    });
    assert!(matches!(failed, Err(CatalogError::InUse { .. })));
    assert!(value(&catalog, b"one").is_some() && value(&catalog, b"two").is_none());
    // What is on the disk when the process dies in the middle of a change.
    let copy = dir.path().join("copy");
    let there = catalog.change(|rows| {
        rows.apply(put(1, b"three", b"value"))?;
        std::fs::copy(&path, &copy).unwrap();
        Ok::<_, CatalogError>(rows.get(1, b"three")?.is_some())
    });
    assert!(there.unwrap());
    let left = Catalog::new(&copy, Duration::ZERO);
    assert!(value(&left, b"one").is_some() && value(&left, b"three").is_none());
    assert!(value(&catalog, b"three").is_some());
}

#[test]
fn readers_wait_for_no_other_process() {
    let (_dir, path, catalog) = catalog();
    let opened = || Catalog::new(&path, Duration::ZERO);
    assert_eq!(value(&opened(), b"key"), None, "an empty one is made");
    catalog.put(1, b"key", b"value").unwrap();
    drop(catalog);
    let before = std::fs::read(&path).unwrap();
    let (one, other) = (opened(), opened());
    for one in [&one, &other] {
        assert_eq!(value(one, b"key").unwrap(), b"value");
    }
    drop(one);
    assert!(std::fs::read(&path).unwrap() == before, "reading writes nothing");
    let writer = opened();
    let seen = writer.change(|rows| {
        rows.apply(put(1, b"key", b"new"))?;
        // Also one that opens the file only now.
        Ok::<_, CatalogError>((value(&other, b"key"), value(&opened(), b"key")))
    });
    let old = Some(b"value".to_vec());
    assert_eq!(seen.unwrap(), (old.clone(), old));
    for one in [&other, &opened(), &writer] {
        assert_eq!(value(one, b"key").unwrap(), b"new");
    }
}

#[test]
fn one_that_was_left_open_is_repaired_by_who_reads() {
    let (dir, path, writer) = catalog();
    writer.put(1, b"key", b"value").unwrap();
    // What is on the disk when the process dies now.
    let left = dir.path().join("left");
    std::fs::copy(&path, &left).unwrap();
    // A process that lives has not left anything.
    let reader = Catalog::new(&path, Duration::ZERO);
    assert_eq!(value(&reader, b"key").unwrap(), b"value");
    assert!(!is_to_write(&reader));
    let reader = Catalog::new(&left, Duration::ZERO);
    assert_eq!(value(&reader, b"key").unwrap(), b"value");
    assert!(is_to_write(&reader), "it had to be repaired");
    drop(reader);
    let reader = Catalog::new(&left, Duration::ZERO);
    assert_eq!(value(&reader, b"key").unwrap(), b"value");
    assert!(!is_to_write(&reader));
}

#[test]
fn the_second_writer_waits_for_the_first_and_no_longer_than_it_may() {
    let (_dir, path, first) = catalog();
    let hasty = Catalog::new(&path, Duration::ZERO);
    let (tell, told) = mpsc::channel();
    let waiting = thread::spawn({
        let path = path.clone();
        move || {
            told.recv().unwrap();
            Catalog::new(&path, LONG).change(|rows| {
                let seen = rows.get(1, b"key")?;
                rows.apply(put(1, b"key", b"second"))?;
                Ok::<_, CatalogError>(seen)
            })
        }
    });
    let refused = first.change(|rows| {
        rows.apply(put(1, b"key", b"first"))?;
        tell.send(()).unwrap();
        Ok::<_, CatalogError>(hasty.put(1, b"key", b"hasty"))
    });
    assert!(matches!(refused.unwrap(), Err(CatalogError::InUse { .. })));
    assert_eq!(waiting.join().unwrap().unwrap().unwrap(), b"first", "it came after the first");
    assert_eq!(value(&first, b"key").unwrap(), b"second");
    hasty.put(1, b"key", b"hasty").unwrap();
    assert_eq!(value(&first, b"key").unwrap(), b"hasty", "a refusal ends nothing");
}

#[test]
fn the_writer_with_the_turn_writes_next() {
    let (_dir, path, first) = catalog();
    first.put(1, b"key", b"first").unwrap();
    let other = Catalog::new(&path, Duration::ZERO);
    let waits = other.to_write().unwrap();
    let turn = waits.backend.turn().unwrap();
    // A writer that has just written does not write again before it.
    assert!(matches!(first.put(1, b"key", b"again"), Err(CatalogError::InUse { .. })));
    assert_eq!(value(&first, b"key").unwrap(), b"first", "readers do not wait");
    drop(turn);
    // While one writes, the next one may have the turn.
    let next = first.change(|rows| {
        rows.apply(put(1, b"key", b"again"))?;
        Ok::<_, CatalogError>(waits.backend.turn().is_ok())
    });
    assert!(next.unwrap());
    other.put(1, b"key", b"other").unwrap();
    assert_eq!(value(&first, b"key").unwrap(), b"other");
    assert_eq!((first.opened(), other.opened()), (1, 1), "none was closed for that");
}

#[test]
fn a_file_whose_disk_failed_is_opened_anew() {
    let (_dir, _, catalog) = catalog();
    catalog.put(1, b"key", b"value").unwrap();
    let failed = noted::<()>(&catalog.failed, Err(StorageError::Corrupted(String::from("no"))));
    assert!(matches!(failed, Err(CatalogError::Index(_))));
    assert_eq!(value(&catalog, b"key").unwrap(), b"value");
    assert_eq!(catalog.opened(), 2);
}
