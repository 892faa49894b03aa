//! Merges the changes that two devices made to one row without knowing of each other.
//!
//! A version that a device reported as stored is kept. If both gave a name a new version, ours becomes the newest,
//! because it is published later, and theirs the one before. A row that one device removed and the other changed keeps
//! the change.

use symbolon_protocol::{Decode, Encode};

use super::{
    Begun, BucketEntry, Buckets, Content, ItemEntry, ItemPartEntry, ItemParts, Items, Kind,
    NameEntry, Names, Parted, PurchaseEntry, Purchases, Version,
};

/// The merged row of `ours` here and `theirs` on the network, if neither was made from the other.
pub(super) fn merge_rows(table: u8, ours: Option<&[u8]>, theirs: Option<&[u8]>) -> Option<Vec<u8>> {
    match (ours, theirs) {
        // An upload has ended as soon as one of the devices has ended it.
        (None, Some(_)) if [Begun::TABLE, Parted::TABLE, ItemParts::TABLE].contains(&table) => None,
        (None, row) | (row, None) => row.map(<[u8]>::to_vec),
        (Some(ours), Some(theirs)) => Some(merge_values(table, ours, theirs)),
    }
}

fn merge_values(table: u8, ours: &[u8], theirs: &[u8]) -> Vec<u8> {
    let merged = match table {
        Names::TABLE => merge_as(ours, theirs, merge_names),
        Purchases::TABLE => merge_as(ours, theirs, merge_purchases),
        Buckets::TABLE => merge_as(ours, theirs, merge_buckets),
        Items::TABLE => merge_as(ours, theirs, merge_items),
        ItemParts::TABLE => merge_as(ours, theirs, merge_parts),
        _ => None,
    };
    merged.unwrap_or_else(|| ours.to_vec())
}

/// Merges two rows. Gives nothing if one of them cannot be read.
fn merge_as<T: Decode + Encode>(
    ours: &[u8],
    theirs: &[u8],
    merge: impl Fn(T, T) -> T,
) -> Option<Vec<u8>> {
    let (ours, theirs) = (T::from_bytes(ours).ok()?, T::from_bytes(theirs).ok()?);
    Some(merge(ours, theirs).to_bytes())
}

/// The purchase that has come further.
fn merge_purchases(ours: PurchaseEntry, theirs: PurchaseEntry) -> PurchaseEntry {
    if ours.token.is_none() && theirs.token.is_some() { theirs } else { ours }
}

/// The bucket that was changed more often.
fn merge_buckets(ours: BucketEntry, theirs: BucketEntry) -> BucketEntry {
    if ours.revision < theirs.revision { theirs } else { ours }
}

/// Two devices put the null version, or changed the attributes of one version. The newer one holds.
fn merge_items(ours: ItemEntry, theirs: ItemEntry) -> ItemEntry {
    let age = |item: &ItemEntry| (item.stamp, item.revision);
    if age(&ours) < age(&theirs) { theirs } else { ours }
}

/// The part that was put later.
fn merge_parts(ours: ItemPartEntry, theirs: ItemPartEntry) -> ItemPartEntry {
    if ours.stored_ms < theirs.stored_ms { theirs } else { ours }
}

fn is_file(version: &Version) -> bool {
    matches!(version.content, Content::File { .. })
}

/// Whether two versions are the same one. One of them may have moved to another object since, or both devices may have
/// completed one upload.
fn is_same(one: &Version, other: &Version) -> bool {
    let identity = |version: &Version| (version.number, version.stored_ms, version.modified_ns);
    match (&one.content, &other.content) {
        (Content::File { length, .. }, Content::File { length: other_length, .. }) => {
            one.content == other.content
                || (identity(one) == identity(other) && length == other_length)
        }
        _ => one.content == other.content && identity(one) == identity(other),
    }
}

fn merge_names(ours: NameEntry, theirs: NameEntry) -> NameEntry {
    let current = |row: &NameEntry| row.current().cloned();
    let (mine, other) = (current(&ours), current(&theirs));
    let other = other.filter(|other| !ours.versions.iter().any(|own| is_same(own, other)));
    // The row of a folder or link does not hide a file.
    let theirs_first = match (&mine, &other) {
        (None, _) => true,
        (Some(mine), Some(other)) => !is_file(mine) && is_file(other),
        (Some(_), None) => false,
    };
    let (first, second) = if theirs_first { (other, mine) } else { (mine, other) };
    let second = second.filter(is_file);
    let known = |version: &Version| {
        [&first, &second].into_iter().flatten().any(|one| is_same(one, version))
    };
    let mut older: Vec<Version> = Vec::new();
    for version in ours.versions.iter().chain(&theirs.versions).filter(|version| is_file(version)) {
        if !known(version) && !older.iter().any(|one| is_same(one, version)) {
            older.push(version.clone());
        }
    }
    older.sort_by_key(|version| (version.stored_ms, version.number));
    let keep = ours.keep.max(theirs.keep).saturating_add(u32::from(second.is_some()));
    let deleted_ms = match first {
        Some(_) => None,
        None => ours.deleted_ms.max(theirs.deleted_ms),
    };
    let mut versions: Vec<Version> = older.into_iter().chain(second).chain(first).collect();
    // Every version has a number of its own, and a newer one has a greater number.
    let mut last = 0;
    for version in &mut versions {
        version.number = version.number.max(last + 1);
        last = version.number;
    }
    versions.reverse();
    let mut row = NameEntry { path: ours.path, keep, deleted_ms, versions };
    row.trim();
    row
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::ObjectId;

    use super::*;

    fn version(number: u64, object: u8) -> Version {
        Version {
            number,
            stored_ms: 100 * number,
            mode: 0o644,
            modified_ns: [object; 16],
            content: Content::File { object: ObjectId([object; 16]), first: 0, length: 9 },
        }
    }

    fn row(keep: u32, versions: &[(u64, u8)]) -> NameEntry {
        let versions = versions.iter().map(|(number, object)| version(*number, *object)).collect();
        NameEntry { path: b"name".to_vec(), keep, deleted_ms: None, versions }
    }

    fn summary(row: &NameEntry) -> (u32, Option<u64>, Vec<(u64, u8)>) {
        let version = |version: &Version| match version.content {
            Content::File { object, .. } => (version.number, object.0[0]),
            _ => (version.number, 0),
        };
        (row.keep, row.deleted_ms, row.versions.iter().map(version).collect())
    }

    #[test]
    fn a_name_given_on_two_devices_keeps_both_versions() {
        let merged = merge_names(row(0, &[(2, 5)]), row(0, &[(2, 6)]));
        assert_eq!(summary(&merged), (1, None, vec![(3, 5), (2, 6)]));
        // With older versions on both sides.
        let merged = merge_names(row(2, &[(4, 7), (3, 5), (1, 1)]), row(1, &[(3, 6), (1, 1)]));
        assert_eq!(summary(&merged), (3, None, vec![(5, 7), (4, 6), (3, 5), (1, 1)]));
    }

    #[test]
    fn a_version_that_both_have_is_kept_once() {
        let mut moved = row(1, &[(2, 5), (1, 4)]);
        for version in &mut moved.versions {
            let (first, object) = (7 * version.number, ObjectId([9; 16]));
            version.content = Content::File { object, first, length: 9 };
        }
        let merged = merge_names(moved.clone(), row(1, &[(2, 5), (1, 4)]));
        assert_eq!(merged, moved, "it was stored once more elsewhere here");
        let mut later = row(0, &[(2, 5)]);
        later.versions[0].stored_ms += 1;
        let merged = merge_names(later.clone(), row(0, &[(2, 5)]));
        assert_eq!(merged, later, "both ended one upload");
        let merged = merge_names(row(0, &[(2, 5)]), row(3, &[(2, 5)]));
        assert_eq!(summary(&merged), (3, None, vec![(2, 5)]), "only more is kept");
    }

    #[test]
    fn a_removal_does_not_undo_a_change() {
        let mut removed = row(1, &[(1, 5)]);
        removed.deleted_ms = Some(3);
        let merged = merge_names(removed.clone(), row(1, &[(2, 6), (1, 5)]));
        assert_eq!(summary(&merged), (1, None, vec![(2, 6), (1, 5)]));
        let merged = merge_names(row(1, &[(2, 6), (1, 5)]), removed.clone());
        assert_eq!(summary(&merged), (1, None, vec![(2, 6), (1, 5)]));
        let merged = merge_names(removed.clone(), removed.clone());
        assert_eq!(merged, removed);
        let theirs = row(0, &[(2, 6)]).to_bytes();
        assert_eq!(merge_rows(Names::TABLE, None, Some(&theirs)), Some(theirs.clone()));
        assert_eq!(merge_rows(Names::TABLE, Some(&theirs), None), Some(theirs.clone()));
        assert_eq!(merge_rows(Begun::TABLE, None, Some(b"row")), None);
    }

    #[test]
    fn a_folder_hides_no_file() {
        let mut folder = row(0, &[(1, 5)]);
        folder.versions[0].content = Content::Folder;
        for (one, other) in [(&folder, &row(0, &[(1, 6)])), (&row(0, &[(1, 6)]), &folder)] {
            assert_eq!(summary(&merge_names(one.clone(), other.clone())).2, [(1, 6)]);
        }
    }
}
