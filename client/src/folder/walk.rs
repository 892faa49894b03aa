//! A local folder as a sorted list of what is in it. Links are listed, never followed.

use std::{
    fs::{self, Metadata},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use super::{FileFault, FolderOptions, io_why, place::is_part};
use crate::{
    error::ClientError,
    names::path_of,
    source::{MODE_BITS, modified_ns},
};

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { length: u64 },
    Link { target: Vec<u8> },
    Folder,
}

/// Something in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path from the folder on; empty for the folder itself.
    pub(super) relative: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) modified_ns: i128,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// By path.
    pub(super) entries: Vec<Entry>,
    /// What could not be read.
    pub(super) faults: Vec<FileFault>,
    /// Paths below which nothing is known.
    pub(super) unread: Vec<Vec<u8>>,
    /// Neither file nor folder nor link.
    pub(super) special: Vec<String>,
}

/// Lists a folder. A folder inside that cannot be read is a fault; this one is an error.
pub(super) fn walk(root: &Path, options: &FolderOptions) -> Result<Walk, ClientError> {
    let at_root = |source| ClientError::Io { path: root.to_owned(), source };
    let about = fs::metadata(root).map_err(at_root)?;
    if !about.is_dir() {
        return Err(at_root(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
    }
    drop(fs::read_dir(root).map_err(at_root)?);
    let mut walk = Walk::default();
    walk.entries.push(entry(Vec::new(), Kind::Folder, &about));
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        if let Err(error) = walk.folder(root, &folder, options, &mut folders) {
            walk.faults.push(FileFault::new(&folder, io_why(&error)));
            walk.unread.push(folder);
        }
    }
    walk.entries.sort_by(|one, other| one.relative.cmp(&other.relative));
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
        folders: &mut Vec<Vec<u8>>,
    ) -> std::io::Result<()> {
        for item in fs::read_dir(root.join(path_of(folder)))? {
            let item = item?;
            let own = item.file_name();
            let relative = match folder {
                [] => own.as_bytes().to_vec(),
                folder => [folder, own.as_bytes()].join(&b'/'),
            };
            // What an interrupted get left is not the user's.
            if options.excludes(&relative) || is_part(own.as_bytes()) {
                continue;
            }
            if let Err(error) = self.item(&item, relative.clone(), folders) {
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
        folders: &mut Vec<Vec<u8>>,
    ) -> std::io::Result<()> {
        let about = item.metadata()?;
        let kind = if about.is_dir() {
            folders.push(relative.clone());
            Kind::Folder
        } else if about.is_symlink() {
            Kind::Link { target: fs::read_link(item.path())?.as_os_str().as_bytes().to_vec() }
        } else if about.is_file() {
            Kind::File { length: about.len() }
        } else {
            self.special.push(crate::names::shown(&relative));
            return Ok(());
        };
        self.entries.push(entry(relative, kind, &about));
        Ok(())
    }
}
