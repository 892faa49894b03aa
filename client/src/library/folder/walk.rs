//! Lists the entries of a local folder, one folder after another. Links are listed, never followed.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use super::{FileFault, FolderOptions, io_why, place::is_part};
use crate::{
    error::ClientError,
    library::{
        names::path_of,
        source::{Links, MODE_BITS, modified_ns, open_file},
    },
};

/// The kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { length: u64 },
    Link { target: Vec<u8> },
    Folder,
}

/// An entry of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path relative to the folder. Empty for the folder itself.
    pub(super) relative: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) modified_ns: i128,
}

/// Properties of files that are not stored, with paths as messages show them. Bytes, permissions and times of these
/// files are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotKept {
    /// Names in the folder that are one file. They come back as several files.
    pub hard_links: Vec<String>,
    /// Files and folders with extended attributes or access lists.
    pub attributes: Vec<String>,
    /// Files with holes. They come back with zeros written out.
    pub holes: Vec<String>,
}

impl NotKept {
    /// Whether every property is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hard_links.is_empty() && self.attributes.is_empty() && self.holes.is_empty()
    }
}

/// The result of a walk, besides its entries.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Entries that could not be read.
    pub(super) faults: Vec<FileFault>,
    /// Paths below which the walk knows nothing.
    pub(super) unread: Vec<Vec<u8>>,
    /// Entries that are neither file, folder nor link.
    pub(super) special: Vec<String>,
    pub(super) not_kept: NotKept,
    /// Files with more than one name, by device and inode.
    linked: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
    /// Files with a name that an interrupted get gives to its part. The walk cannot tell what is in them.
    pub(super) parts: Vec<Vec<u8>>,
}

/// Refuses a path that is not a folder, or a folder that cannot be read.
pub(super) fn check_folder(root: &Path) -> Result<Metadata, ClientError> {
    let at_root = |source| ClientError::Io { path: root.to_owned(), source };
    let about = fs::metadata(root).map_err(at_root)?;
    fs::read_dir(root).map_err(at_root)?;
    Ok(about)
}

/// The entry of the folder itself.
pub(super) fn own_entry(root: &Path) -> Result<Entry, ClientError> {
    Ok(entry(Vec::new(), Kind::Folder, &check_folder(root)?))
}

/// Passes the entries of a folder and of each folder below it to `take`, sorted, together with the folder's path. A
/// folder comes before the folders in it, and one folder is in memory at a time. A folder inside that cannot be read is
/// a fault. If the folder itself cannot be read, that is an error.
pub(super) fn walk(
    root: &Path,
    options: &FolderOptions,
    mut take: impl FnMut(&[u8], Vec<Entry>) -> Result<(), ClientError>,
) -> Result<Walk, ClientError> {
    check_folder(root)?;
    let mut walk = Walk::default();
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        let mut inside = Vec::new();
        if let Err(error) = walk.folder(root, &folder, options, &mut inside) {
            walk.faults.push(FileFault::new(&folder, io_why(&error)));
            walk.unread.push(folder.clone());
        }
        inside.sort_unstable_by(|one, other| one.relative.cmp(&other.relative));
        let below = inside.iter().rev().filter(|entry| entry.kind == Kind::Folder);
        folders.extend(below.map(|entry| entry.relative.clone()));
        take(&folder, inside)?;
    }
    let linked = std::mem::take(&mut walk.linked).into_values().filter(|names| names.len() > 1);
    let links = &mut walk.not_kept.hard_links;
    links.extend(linked.flatten().map(|relative| crate::library::names::shown(&relative)));
    for list in [links, &mut walk.not_kept.attributes, &mut walk.not_kept.holes] {
        list.sort();
    }
    walk.faults.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(walk)
}

fn entry(relative: Vec<u8>, kind: Kind, about: &Metadata) -> Entry {
    Entry { relative, kind, mode: about.mode() & MODE_BITS, modified_ns: modified_ns(about) }
}

impl Walk {
    fn folder(
        &mut self,
        root: &Path,
        folder: &[u8],
        options: &FolderOptions,
        inside: &mut Vec<Entry>,
    ) -> std::io::Result<()> {
        for item in fs::read_dir(root.join(path_of(folder)))? {
            let item = item?;
            let own = item.file_name();
            let relative = match folder {
                [] => own.as_bytes().to_vec(),
                folder => [folder, own.as_bytes()].join(&b'/'),
            };
            if options.excludes(&relative) {
                continue;
            }
            if let Err(error) = self.item(&item, relative.clone(), inside) {
                self.faults.push(FileFault::new(&relative, io_why(&error)));
                self.unread.push(relative);
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        item: &fs::DirEntry,
        relative: Vec<u8>,
        inside: &mut Vec<Entry>,
    ) -> std::io::Result<()> {
        let about = item.metadata()?;
        let kind = if about.is_dir() {
            Kind::Folder
        } else if about.is_symlink() {
            Kind::Link { target: fs::read_link(item.path())?.as_os_str().as_bytes().to_vec() }
        } else if about.is_file() && is_part(item.file_name().as_bytes()) {
            self.parts.push(relative);
            return Ok(());
        } else if about.is_file() {
            Kind::File { length: about.len() }
        } else {
            self.special.push(crate::library::names::shown(&relative));
            return Ok(());
        };
        self.look_for_more(&item.path(), &relative, &kind, &about);
        inside.push(entry(relative, kind, &about));
        Ok(())
    }

    /// Notes properties that are not stored.
    fn look_for_more(&mut self, path: &Path, relative: &[u8], kind: &Kind, about: &Metadata) {
        let is_file = matches!(kind, Kind::File { .. });
        if is_file && about.nlink() > 1 {
            let names = self.linked.entry((about.dev(), about.ino())).or_default();
            names.push(relative.to_vec());
        }
        if !about.is_symlink() && has_attributes(path) {
            self.not_kept.attributes.push(crate::library::names::shown(relative));
        }
        if is_file
            && about.blocks().saturating_mul(512) < about.len()
            && has_holes(path, about.len())
        {
            self.not_kept.holes.push(crate::library::names::shown(relative));
        }
    }
}

/// The most bytes of attribute names that are read. If there are more, one of them counts.
const ATTRIBUTE_BYTES: usize = 4096;

/// Whether a path has attributes, besides those that a system gives every file.
fn has_attributes(path: &Path) -> bool {
    let mut names = [0; ATTRIBUTE_BYTES];
    match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => names[..length]
            .split(|byte| *byte == 0)
            .any(|name| !name.is_empty() && name != b"security.selinux"),
        Err(error) => error == rustix::io::Errno::RANGE,
    }
}

/// Whether a file has a hole. Having fewer blocks than bytes is not enough, because the file system may compress.
fn has_holes(path: &Path, length: u64) -> bool {
    let Ok((file, _)) = open_file(path, Links::Refused) else { return false };
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)).is_ok_and(|hole| hole < length)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn properties_that_are_not_stored_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one"), "1").unwrap();
        fs::create_dir(at("in")).unwrap();
        fs::hard_link(at("one"), at("in/other")).unwrap();
        // The second name of this file lies outside the folder.
        let outside = tempfile::NamedTempFile::new_in(folder.path().parent().unwrap()).unwrap();
        fs::hard_link(outside.path(), at("only")).unwrap();
        let sparse = fs::File::create(at("sparse")).unwrap();
        sparse.write_all_at(b"end", 1 << 20).unwrap();
        fs::write(at("plain"), vec![0; 1 << 20]).unwrap();
        let flags = rustix::fs::XattrFlags::CREATE;
        let set = rustix::fs::setxattr(at("plain"), "user.note", b"x", flags);
        let found = walk(folder.path(), &FolderOptions::default(), |_, _| Ok(())).unwrap().not_kept;
        assert_eq!(found.hard_links, ["in/other", "one"]);
        assert_eq!(found.holes, ["sparse"]);
        // Not every file system has attributes.
        let attributes = if set.is_ok() { vec!["plain"] } else { Vec::new() };
        assert_eq!(found.attributes, attributes);
        assert!(!found.is_empty() && NotKept::default().is_empty());
    }
}
