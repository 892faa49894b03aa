//! The auditor at the nodes' disks: are the bytes there that are paid for?
//!
//! It knows of a node's folder only that shards are files somewhere under `shards`, and that a file
//! begins with the shard's bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use symbolon_audit::Held;
use symbolon_protocol::id::Hash;

fn files(under: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(under) else { return };
    for entry in entries.flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, out),
            path => out.push(path),
        }
    }
}

/// The file in a node's folder that begins with `length` bytes of hash `root`.
#[must_use]
pub fn find_file(dir: &Path, root: &Hash, length: u64) -> Option<PathBuf> {
    let mut paths = Vec::new();
    files(&dir.join("shards"), &mut paths);
    let length = usize::try_from(length).ok()?;
    paths.into_iter().find(|path| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.get(..length).is_some_and(|bytes| *blake3::hash(bytes).as_bytes() == root.0)
    })
}

/// Compares a node's folder with the shards it is paid for; names the first that is not there.
pub fn check_disk(dir: &Path, held: &[Held]) -> Result<(), String> {
    let mut paths = Vec::new();
    files(&dir.join("shards"), &mut paths);
    let mut wanted: BTreeMap<u64, BTreeSet<[u8; 32]>> = BTreeMap::new();
    for shard in held {
        wanted.entry(shard.length).or_default().insert(shard.root.0);
    }
    for path in paths {
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for (length, roots) in &mut wanted {
            let start = usize::try_from(*length).ok().and_then(|length| bytes.get(..length));
            if let Some(start) = start {
                roots.remove(blake3::hash(start).as_bytes());
            }
        }
    }
    match held.iter().find(|shard| wanted[&shard.length].contains(&shard.root.0)) {
        None => Ok(()),
        Some(shard) => Err(format!("node {} does not hold {}", shard.node, shard.root)),
    }
}
