//! Locks between processes, each a file that goes when nobody holds it any more.
//!
//! Whoever opens a file to lock it may find, once it has the lock, that the one before has removed the file: then
//! the lock is one on nothing, and somebody else may have made the file anew. So it looks whether the file still has
//! its name, and begins again when it has not.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::error::ClientError;

/// A lock that is held as long as this lives.
#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    #[expect(dead_code, reason = "the lock lives as long as the open file")]
    file: File,
}

impl FileLock {
    /// Takes the lock; nothing when another one has it.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = File::create(path)?;
            match file.try_lock() {
                Ok(()) if has_name(&file, path)? => {
                    return Ok(Some(Self { path: path.to_owned(), file }));
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// Held while a name is worked on, or whatever else no two processes may work on at a time.
#[derive(Debug)]
pub(crate) struct NameLock(
    #[expect(dead_code, reason = "the name is locked as long as this lives")] FileLock,
);

impl NameLock {
    /// Locks what `slot` stands for, in a folder of locks. Refuses where another process has it; `name` is what it
    /// is called.
    pub(crate) fn take(folder: &Path, slot: &[u8], name: &str) -> Result<Self, ClientError> {
        let path = folder.join(&blake3::hash(slot).to_hex()[..32]);
        let taken = std::fs::create_dir_all(folder).and_then(|()| FileLock::take(&path));
        match taken.map_err(|source| ClientError::Io { path, source })? {
            Some(lock) => Ok(Self(lock)),
            None => Err(ClientError::Locked { what: format!("{name:?}") }),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Before the lock ends with the open file: nobody else can have locked what has this name now.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Whether an open file is the one that a path names.
fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let named = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        named => named?,
    };
    let open = file.metadata()?;
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn a_lock_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::take(&path).unwrap().unwrap();
        assert!(FileLock::take(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        assert!(FileLock::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_that_was_removed_or_made_anew_is_not_the_one_that_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open = File::create(&path).unwrap();
        assert!(has_name(&open, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!has_name(&open, &path).unwrap());
        File::create(&path).unwrap();
        assert!(!has_name(&open, &path).unwrap());
    }

    #[test]
    fn of_many_who_try_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (holders, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 2000 {
                        let Some(_held) = FileLock::take(&path).unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::SeqCst);
                        thread::yield_now();
                        assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
