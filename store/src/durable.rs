//! Makes bytes and names durable. A program syncs here before it promises anything that must
//! survive a power cut.
//!
//! Nodes, clients and databases sync only here. So a test can simulate a disk that loses everything
//! that was not synced.

use std::{fs::File, io, path::Path, sync::OnceLock};

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
