//! Disks that lose what was not synced.
//!
//! A [`Disk`] watches a folder. Of a file it remembers the bytes it had when it was synced last, of a
//! directory the names it had then. What a power cut leaves is made of that: of the bytes alone that were
//! synced, and of the names that were ([`Disk::left`]) or that there are ([`Disk::left_with_names`]): file
//! systems may write names sooner than they are asked to, and before the bytes. In one thing they are taken at
//! their word, which `spec/store.md` asks of them: a rename is there whole or not at all.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, Metadata},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak},
};

use symbolon_store::durable;

/// A file or directory, whatever its name is.
type Inode = u64;

/// What would be left of a folder.
#[derive(Clone, Debug)]
pub struct Left {
    root: PathBuf,
    root_inode: Inode,
    files: BTreeMap<Inode, Vec<u8>>,
    directories: BTreeMap<Inode, BTreeMap<OsString, Named>>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    inode: Inode,
    is_directory: bool,
}

impl Named {
    fn of(about: &Metadata) -> Self {
        Self { inode: about.ino(), is_directory: about.is_dir() }
    }
}

/// A folder that is watched.
#[derive(Debug)]
pub struct Disk {
    left: Mutex<Left>,
}

/// All that are watched in this process: tests run side by side.
static DISKS: Mutex<Vec<Weak<Disk>>> = Mutex::new(Vec::new());

fn disks() -> MutexGuard<'static, Vec<Weak<Disk>>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Watches a folder from now on. What is in it is on the disk.
    pub fn watch(folder: &Path) -> io::Result<Arc<Self>> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| assert!(durable::watch(Box::new(synced)), "the only listener"));
        let root = folder.canonicalize()?;
        let root_inode = root.metadata()?.ino();
        let (files, directories) = (BTreeMap::new(), BTreeMap::new());
        let mut left = Left { root, root_inode, files, directories };
        for path in below(&left.root)? {
            left.keep(&File::open(path)?)?;
        }
        let disk = Arc::new(Self { left: Mutex::new(left) });
        let mut disks = disks();
        disks.retain(|disk| 0 < disk.strong_count());
        disks.push(Arc::downgrade(&disk));
        Ok(disk)
    }

    /// What a power cut would leave just now, where no name is written before it has to be.
    #[must_use]
    pub fn left(&self) -> Left {
        self.lock().clone()
    }

    /// The same where every name is written at once.
    pub fn left_with_names(&self) -> io::Result<Left> {
        let mut left = self.left();
        for path in below(&left.root)? {
            if path.is_dir() {
                left.keep(&File::open(path)?)?;
            }
        }
        Ok(left)
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file or directory was synced.
fn synced(file: &File) {
    let watching: Vec<_> = disks().iter().filter_map(Weak::upgrade).collect();
    if watching.is_empty() {
        return;
    }
    // A file without a name cannot be lost.
    let Ok(path) = fs::read_link(own(file)) else { return };
    for disk in watching {
        let mut left = disk.lock();
        if path.starts_with(&left.root) {
            left.keep(file).expect("what was synced just now can be read");
        }
    }
}

/// A way to an open file that needs no name.
fn own(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A folder and all that lies in it. What goes away meanwhile is left out.
fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![folder.to_owned()];
    let mut at = 0;
    while at < all.len() {
        if all[at].is_dir() {
            for entry in fs::read_dir(&all[at])? {
                all.push(entry?.path());
            }
        }
        at += 1;
    }
    Ok(all)
}

impl Left {
    /// Takes over how a file or directory is now.
    fn keep(&mut self, file: &File) -> io::Result<()> {
        let about = file.metadata()?;
        if !about.is_dir() {
            self.files.insert(about.ino(), fs::read(own(file))?);
            return Ok(());
        }
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(own(file))? {
            let entry = entry?;
            // One that was there a moment ago need not be any more.
            if let Ok(about) = entry.metadata() {
                names.insert(entry.file_name(), Named::of(&about));
            }
        }
        let before = self.directories.insert(about.ino(), names);
        let now = &self.directories[&about.ino()];
        let here: Vec<Named> = now.values().copied().collect();
        let gone = before.into_iter().flatten().map(|(_, named)| named);
        let gone: Vec<Named> = gone.filter(|named| !here.contains(named)).collect();
        if !gone.is_empty() {
            self.follow(&gone)?;
        }
        Ok(())
    }

    /// What has left a directory by a rename is in another one.
    fn follow(&mut self, moved: &[Named]) -> io::Result<()> {
        for path in below(&self.root)? {
            let Ok(about) = path.symlink_metadata() else { continue };
            let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { continue };
            if moved.contains(&Named::of(&about))
                && let Ok(parent) = parent.metadata()
            {
                let names = self.directories.entry(parent.ino()).or_default();
                names.insert(name.to_owned(), Named::of(&about));
            }
        }
        Ok(())
    }

    /// The bytes of a file in it; nothing where its name, or that of a folder above it, was not synced. Of
    /// one that was never synced itself there are none.
    #[must_use]
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        let mut inode = self.root_inode;
        for name in path.strip_prefix(&self.root).ok()?.components() {
            inode = self.directories.get(&inode)?.get(name.as_os_str())?.inode;
        }
        Some(self.files.get(&inode).map_or(&[], Vec::as_slice))
    }

    /// Makes the folder what it would be after the power cut.
    pub fn restore(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        self.restore_in(&self.root)
    }

    /// Makes another folder, which is empty, what this one would be.
    pub fn restore_in(&self, folder: &Path) -> io::Result<()> {
        self.make(self.root_inode, folder)
    }

    fn make(&self, directory: Inode, at: &Path) -> io::Result<()> {
        for (name, named) in self.directories.get(&directory).into_iter().flatten() {
            let path = at.join(name);
            if named.is_directory {
                fs::create_dir(&path)?;
                self.make(named.inode, &path)?;
            } else {
                fs::write(&path, self.files.get(&named.inode).map_or(&[][..], Vec::as_slice))?;
            }
        }
        Ok(())
    }
}
