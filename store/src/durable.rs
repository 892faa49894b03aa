//! Makes bytes and names durable. A program syncs here before it promises anything that must
//! survive a power cut.
//!
//! Nodes, clients and databases sync only here. So a test can simulate a disk that loses everything
//! that was not synced.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::files;

/// Called with a file or directory right after it was synced.
pub type Watch = Box<dyn Fn(&File) + Send + Sync>;

static WATCH: OnceLock<Watch> = OnceLock::new();

/// Sets the watch that is called after every sync of this process, for the life of the process.
/// Returns `false` if one is set already.
pub fn watch(watch: Watch) -> bool {
    WATCH.set(watch).is_ok()
}

fn report(file: &File) {
    if let Some(watch) = WATCH.get() {
        watch(file);
    }
}

/// Waits until a file's bytes and its metadata are on disk.
pub fn sync_all(file: &File) -> io::Result<()> {
    file.sync_all()?;
    report(file);
    Ok(())
}

/// Waits until a file's bytes are on disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()?;
    report(file);
    Ok(())
}

/// Waits until the names in a directory are on disk.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    sync_all(&File::open(path)?)
}

/// Writes a small file for this user alone, and waits until it is on disk. A reader, also after a crash, finds the old
/// bytes or the new ones. Of several programs that write it at the same time, the last one wins.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let written = write_beside(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        files::remove_if_there(&beside).ok();
        return Err(error);
    }
    // A rename is on disk when its folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_dir(folder.unwrap_or_else(|| Path::new(".")))
}

fn write_beside(beside: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash of a process with the same number left.
    files::remove_if_there(beside)?;
    let mut file = files::private_file(beside)?;
    file.write_all(bytes)?;
    sync_all(&file)
}

/// A name in the same folder that no other writer has.
fn beside(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{number}.new", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_written_whole_or_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small");
        let names = || fs::read_dir(folder.path()).unwrap().count();
        for bytes in [&b"first"[..], b"", b"second"] {
            write_whole(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(names(), 1, "nothing is left beside it");
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A folder cannot be replaced by a file.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        write_whole(&taken, b"x").unwrap_err();
        assert!(taken.is_dir());
        assert_eq!(names(), 2, "nor is anything left of a failure");
        write_whole(&folder.path().join("no folder/small"), b"x").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }
}
