//! Where bytes and names are made durable: what somebody else is told after it outlives a power cut.
//!
//! Nodes, clients and databases sync here and nowhere else, so that a test can stand for a disk that loses
//! whatever was not synced.

use std::{fs::File, io, path::Path, sync::OnceLock};

/// Hears of a file or directory right after it was synced.
pub type Watch = Box<dyn Fn(&File) + Send + Sync>;

static WATCH: OnceLock<Watch> = OnceLock::new();

/// Has all syncs of this process heard, for as long as it lives; `false` when somebody else hears them.
pub fn watch(watch: Watch) -> bool {
    WATCH.set(watch).is_ok()
}

fn heard(file: &File) {
    if let Some(watch) = WATCH.get() {
        watch(file);
    }
}

/// Waits until a file's bytes are on the disk, and what the system knows about it.
pub fn sync_all(file: &File) -> io::Result<()> {
    file.sync_all()?;
    heard(file);
    Ok(())
}

/// Waits until a file's bytes are on the disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()?;
    heard(file);
    Ok(())
}

/// Waits until the names in a directory are on the disk.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    sync_all(&File::open(path)?)
}
