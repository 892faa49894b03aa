//! Packs: small files, one after another in one object.
//!
//! A pack is first written to a nameless file in the identity's own folder, and stored from there. So its bytes cannot
//! change while it is stored, even if a segment has to be sent twice. A file that changed or could not be read while
//! the pack was written is left out of it.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use symbolon_protocol::id::Hash;

use super::{FileFault, io_why};
use crate::{
    error::ClientError,
    library::{
        names::{Name, VersionMark, path_of},
        source::{Links, Opened, modified_ns, nameless, open_file},
    },
};

/// Files with fewer bytes go into packs. A larger file gets its own deals, which cost little compared with its bytes.
pub(super) const PACKED_BELOW: u64 = 1024 * 1024;

/// The most bytes of a pack.
pub(super) const PACK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most files of a pack. Their names are written in one step, so all of them are in memory then. A full pack of
/// files of 4 KiB has this many files, so only smaller files need more packs.
pub(super) const PACK_FILES_MAX: usize = 16_384;

/// A file to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Name,
    /// The offset in the name at which its path, relative to the folder, begins.
    pub(super) below: usize,
    pub(super) length: u64,
    pub(super) mode: u32,
    pub(super) modified_ns: i128,
    /// Whether it is stored already with the same content, but ends too soon.
    pub(super) renews: bool,
    /// The version that its name had when the plan was made.
    pub(super) over: Option<VersionMark>,
}

/// A pack that is ready to be stored.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) opened: Opened,
    /// Its members, and the offset of each.
    pub(super) members: Vec<(Member, u64)>,
    pub(super) faults: Vec<FileFault>,
    /// The journal key. It depends on members and content, so every pack has another one.
    pub(super) slot: Vec<u8>,
}

impl Member {
    /// Its path, relative to the folder.
    pub(super) fn relative(&self) -> &[u8] {
        &self.name.as_bytes()[self.below..]
    }
}

/// Divides a list into packs, in its order.
pub(super) fn cut(mut members: Vec<Member>) -> Vec<Vec<Member>> {
    let (mut starts, mut filled, mut first) = (Vec::new(), 0, 0);
    for (at, member) in members.iter().enumerate() {
        let full = PACK_BYTES_MAX < filled + member.length || PACK_FILES_MAX <= at - first;
        if starts.is_empty() || full {
            starts.push(at);
            (filled, first) = (0, at);
        }
        filled += member.length;
    }
    // The packs are split off from the end, and the list returns the memory, so that a long list is not in memory
    // twice.
    let mut packs = Vec::with_capacity(starts.len());
    for start in starts.into_iter().rev() {
        packs.push(members.split_off(start));
        members.shrink_to_fit();
    }
    packs.reverse();
    packs
}

/// Writes a growing pack, and hashes its content and members.
pub(super) struct Builder {
    what: &'static str,
    file: File,
    path: std::path::PathBuf,
    content: blake3::Hasher,
    slot: blake3::Hasher,
    length: u64,
}

impl Builder {
    pub(super) fn new(spool: &Path, what: &'static str, to: &str) -> Result<Self, ClientError> {
        let file = nameless(spool, what)?;
        let mut slot = blake3::Hasher::new_derive_key("symbolon 2026 pack v1");
        slot.update(&(to.len() as u64).to_le_bytes()).update(to.as_bytes());
        let (content, path) = (blake3::Hasher::new(), spool.to_owned());
        Ok(Self { what, file, path, content, slot, length: 0 })
    }

    /// Appends a member's bytes. Gives their offset.
    pub(super) fn append(&mut self, name: &Name, bytes: &[u8]) -> Result<u64, ClientError> {
        let first = self.length;
        let written = self.file.write_all(bytes);
        written.map_err(|source| ClientError::Io { path: self.path.clone(), source })?;
        self.content.update(bytes);
        let name = name.as_bytes();
        self.slot.update(&(name.len() as u64).to_le_bytes()).update(name);
        self.slot.update(&(bytes.len() as u64).to_le_bytes());
        self.length += bytes.len() as u64;
        Ok(first)
    }

    pub(super) fn finish(mut self) -> (Opened, Vec<u8>) {
        let hash = Hash(*self.content.finalize().as_bytes());
        self.slot.update(&hash.0);
        // No name has a zero byte, so this key is never that of a name.
        let what = self.what.as_bytes();
        let slot = [b"\0", what, self.slot.finalize().as_bytes().as_slice()].concat();
        let (file, path, length) = (Arc::new(self.file), self.path, self.length);
        (Opened::Spooled { file, path, hash, length }, slot)
    }
}

/// Reads the members and writes them one after another. Blocks.
pub(super) fn build(
    root: &Path,
    members: Vec<Member>,
    spool: &Path,
    to: &str,
) -> Result<Built, ClientError> {
    let mut builder = Builder::new(spool, "pack", to)?;
    let (mut kept, mut faults) = (Vec::with_capacity(members.len()), Vec::new());
    let mut bytes = Vec::new();
    for member in members {
        match read(root, &member, &mut bytes) {
            Ok(()) => {
                let first = builder.append(&member.name, &bytes)?;
                kept.push((member, first));
            }
            Err(why) => faults.push(FileFault::new(member.relative(), why)),
        }
    }
    let (opened, slot) = builder.finish();
    Ok(Built { opened, members: kept, faults, slot })
}

/// Reads a file. Refuses one that is not as the walk saw it.
fn read(root: &Path, member: &Member, bytes: &mut Vec<u8>) -> Result<(), String> {
    bytes.clear();
    let io = |error: std::io::Error| io_why(&error);
    let path = root.join(path_of(member.relative()));
    let (file, _) = open_file(&path, Links::Refused).map_err(io)?;
    // Reading one byte more shows whether the file has grown.
    (&file).take(member.length + 1).read_to_end(bytes).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    let same = bytes.len() as u64 == member.length
        && about.len() == member.length
        && modified_ns(&about) == member.modified_ns;
    if same { Ok(()) } else { Err(String::from("it changed while it was being read")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(number: usize, length: u64) -> Member {
        let name = Name::new(format!("f{number:06}")).unwrap();
        Member { name, below: 0, length, mode: 0o644, modified_ns: 0, renews: false, over: None }
    }

    #[test]
    fn a_pack_holds_no_more_files_than_are_written_at_once() {
        let files: Vec<_> = (0..2 * PACK_FILES_MAX + 1).map(|number| member(number, 1)).collect();
        let packs = cut(files.clone());
        let sizes: Vec<_> = packs.iter().map(Vec::len).collect();
        assert_eq!(sizes, [PACK_FILES_MAX, PACK_FILES_MAX, 1]);
        assert_eq!(packs.concat(), files);
        assert!(cut(Vec::new()).is_empty());
    }

    proptest! {
        #[test]
        fn packs_hold_every_file_once_in_order(lengths in prop::collection::vec(0..PACKED_BELOW, 0..400)) {
            let files: Vec<_> = lengths.iter().enumerate().map(|(i, l)| member(i, *l)).collect();
            let packs = cut(files.clone());
            let sizes: Vec<u64> =
                packs.iter().map(|pack| pack.iter().map(|member| member.length).sum()).collect();
            prop_assert!(sizes.iter().all(|size| *size <= PACK_BYTES_MAX));
            // No pack has room for the first file of the next one.
            for (size, next) in sizes.iter().zip(packs.iter().skip(1)) {
                prop_assert!(size + next[0].length > PACK_BYTES_MAX);
            }
            // After some packs were stored, the rest is divided in the same way.
            if packs.len() > 1 {
                let rest = files[packs[0].len()..].to_vec();
                prop_assert_eq!(&cut(rest)[..], &packs[1..]);
            }
            prop_assert_eq!(packs.concat(), files);
        }
    }

    #[test]
    fn a_file_that_has_changed_is_not_in_the_pack() {
        let folder = tempfile::tempdir().unwrap();
        let mut members = Vec::new();
        for (number, bytes) in ["one", "", "three"].iter().enumerate() {
            let mut member = member(number, bytes.len() as u64);
            let path = folder.path().join(path_of(member.relative()));
            std::fs::write(&path, bytes).unwrap();
            member.modified_ns = modified_ns(&std::fs::metadata(&path).unwrap());
            members.push(member);
        }
        let build =
            |members| build(folder.path(), members, &folder.path().join("spool"), "to").unwrap();
        let built = build(members.clone());
        assert_eq!(built.members.iter().map(|(_, first)| *first).collect::<Vec<_>>(), [0, 3, 3]);
        assert_eq!((built.opened.length(), built.faults.len()), (Some(8), 0));
        assert_eq!(build(members.clone()).slot, built.slot, "the same files make the same pack");

        std::fs::write(folder.path().join("f000000"), "longer").unwrap();
        std::fs::remove_file(folder.path().join("f000001")).unwrap();
        let changed = build(members);
        assert_eq!(changed.members.len(), 1);
        assert_eq!(changed.faults.len(), 2);
        assert_ne!(changed.slot, built.slot);
    }
}
