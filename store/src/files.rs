//! The operations on the file system: private files and directories, free space.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Bytes that this user can still write to the file system of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Creates a directory that only this user may enter, and its missing parents in the same way.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a file for this user alone. Fails if it exists.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens the file of a database for this user alone. Creates an empty one if there is none.
pub(crate) fn database_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Asks the kernel to begin to write a part of a file to disk, and does not wait for it. The advice "not needed" has
/// that effect on Linux, and pages that are being written stay in the cache. This is only a hint: where it has no
/// effect, the sync does all the work.
#[cfg(target_os = "linux")]
pub(crate) fn begin_writing(file: &File, range: Range<u64>) {
    let length = std::num::NonZeroU64::new(range.end - range.start);
    rustix::fs::fadvise(file, range.start, length, rustix::fs::Advice::DontNeed).ok();
}

/// Other systems have no such hint.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_writing(_file: &File, _range: Range<u64>) {}

/// Removes a file if it exists. Returns whether it existed.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_removal_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"here").unwrap();
        assert!(remove_if_there(&file).unwrap());
        assert!(!remove_if_there(&file).unwrap());
        assert!(remove_if_there(dir.path()).is_err());
        assert!(dir.path().exists());
    }
}
