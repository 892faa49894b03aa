//! Locks between processes. Each lock is a file, which is removed when no process holds the lock any more.
//!
//! A process that opens a lock file may find, once it has the lock, that the holder before it has removed the file. It
//! has then locked a file without a name, and another process may have created the file anew. So it checks whether the
//! file still has its name, and begins again when it has not.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::error::ClientError;

/// A lock that is held as long as this value lives.
#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    #[expect(dead_code, reason = "the lock lives as long as the open file")]
    file: File,
}

impl FileLock {
    /// Takes the lock. Gives nothing when another process has it.
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

/// A lock on a name, or on anything else that only one process may work on at a time.
#[derive(Debug)]
pub(crate) struct NameLock(
    #[expect(dead_code, reason = "the name is locked as long as this lives")] FileLock,
);

impl NameLock {
    /// Takes the lock of `slot` in a folder of locks. Refuses when another process has it. The error calls it `name`.
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
        // The lock ends when the file is closed, after this. So no other process can have locked the file that has this
        // name now.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Whether `path` still names this open file.
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
    fn a_removed_or_recreated_file_is_not_the_open_one() {
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
    fn only_one_of_many_threads_holds_the_lock() {
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
