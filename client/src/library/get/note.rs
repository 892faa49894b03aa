//! The note beside a part: it says how far the part is good, group by group.
//!
//! The note has an entry for each group: its length and a keyed hash of its bytes. The hash key derives from the file
//! key. So an entry vouches only for these bytes at this place of this file. A part that another program has written
//! to, a part that was cut, and a part beside another file's note count up to the first group that does not match, and
//! are read again from there. An entry is appended when its bytes are on the disk. An entry that was cut off vouches
//! for nothing.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use symbolon_protocol::content::FileKey;
use symbolon_store::durable;
use zeroize::Zeroizing;

/// Bytes of an entry: a length and a hash.
const ENTRY_BYTES: usize = 8 + 32;

/// The most plain bytes of a group: the limit of what a note can make the client read at once.
const GROUP_BYTES_MAX: u64 = (symbolon_protocol::limits::SLICE_BYTES
    * symbolon_protocol::limits::SHARDS_MAX as usize) as u64;

/// The key that a note's hashes are made with.
pub(super) struct Seal(Zeroizing<[u8; 32]>);

impl Seal {
    pub(super) fn new(key: &FileKey) -> Self {
        let key = blake3::derive_key("symbolon 2026 part of a get v1", key.as_bytes());
        Self(Zeroizing::new(key))
    }

    fn hash(&self, group: u64, bytes: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // The group's number stands last, so that the bytes are hashed where they lie.
        hasher.update(bytes).update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(&group.to_le_bytes()).finalize()
    }
}

/// The groups of a part, and how many of them its note vouches for.
pub(super) struct Note {
    pub(super) path: PathBuf,
    file: File,
    seal: Seal,
    /// Number of groups that have an entry in the note.
    written: u64,
    /// Entries that are not written yet, because their bytes are not synced.
    waiting: Vec<u8>,
}

impl Note {
    pub(super) fn new(path: PathBuf, file: File, seal: Seal) -> Self {
        Self { path, file, seal, written: 0, waiting: Vec::new() }
    }

    /// The next group that an earlier get wrote, with its bytes at offset `at`. Gives `None` when no entry vouches for
    /// those bytes. Blocks.
    pub(super) fn next_kept(&mut self, part: &File, at: u64) -> io::Result<Option<Vec<u8>>> {
        let mut entry = [0; ENTRY_BYTES];
        if !read_whole(&self.file, &mut entry, self.written * ENTRY_BYTES as u64)? {
            return Ok(None);
        }
        let (length, hash) = entry.split_first_chunk::<8>().expect("an entry begins with a length");
        let length = u64::from_le_bytes(*length);
        if length > GROUP_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let complete = read_whole(part, &mut bytes, at)?;
        // `blake3::Hash` compares in constant time.
        let known = blake3::Hash::from_bytes(hash.try_into().expect("the rest is the hash"));
        if !complete || self.seal.hash(self.written, &bytes) != known {
            return Ok(None);
        }
        self.written += 1;
        Ok(Some(bytes))
    }

    /// Removes the entries that vouch for nothing.
    pub(super) fn cut(&self) -> io::Result<()> {
        let end = self.written * ENTRY_BYTES as u64;
        if self.file.metadata()?.len() != end {
            self.file.set_len(end)?;
            // An old entry must be off the disk before other bytes take the place of its group.
            durable::sync_data(&self.file)?;
        }
        Ok(())
    }

    /// Adds a group that was written. Its entry waits until the group is synced.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let group = self.written + (self.waiting.len() / ENTRY_BYTES) as u64;
        self.waiting.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.waiting.extend_from_slice(self.seal.hash(group, bytes).as_bytes());
    }

    /// Writes the waiting entries. The caller has synced their bytes.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&self.waiting, self.written * ENTRY_BYTES as u64)?;
        durable::sync_data(&self.file)?;
        self.written += (self.waiting.len() / ENTRY_BYTES) as u64;
        self.waiting.clear();
        Ok(())
    }
}

/// Fills `out` from offset `at` of a file. Gives `false` when the file ends before.
fn read_whole(file: &File, out: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(out, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a note, if it exists.
pub(super) fn forget(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use proptest::prelude::*;

    use super::*;

    fn open(path: &Path) -> File {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    fn seal(byte: u8) -> Seal {
        Seal::new(&FileKey::from_bytes([byte; 32]))
    }

    /// Makes a part with groups of these lengths, and its note.
    fn made(folder: &Path, lengths: &[usize]) -> (File, PathBuf, Vec<u8>) {
        let (part, note_path) = (open(&folder.join("part")), folder.join("note"));
        let pattern = (0..=u8::MAX).cycle().map(|byte| byte ^ 0x5a);
        let all: Vec<u8> = pattern.take(lengths.iter().sum()).collect();
        part.write_all_at(&all, 0).unwrap();
        let mut note = Note::new(note_path.clone(), open(&note_path), seal(1));
        let mut at = 0;
        for length in lengths {
            note.push(&all[at..at + length]);
            at += length;
            if length % 2 == 0 {
                note.write().unwrap();
            }
        }
        note.write().unwrap();
        (part, note_path, all)
    }

    /// Number of bytes of a part that count.
    fn kept(part: &File, note_path: &Path, seal: Seal) -> u64 {
        let mut note = Note::new(note_path.to_owned(), open(note_path), seal);
        let mut at = 0;
        while let Some(bytes) = note.next_kept(part, at).unwrap() {
            at += bytes.len() as u64;
        }
        note.cut().unwrap();
        at
    }

    proptest! {
        #[test]
        fn only_written_bytes_count(
            lengths in prop::collection::vec(0..300_usize, 0..8),
            harm in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1..=255_u8), 0..4),
            cut in prop::option::of((any::<bool>(), any::<prop::sample::Index>())),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (part, note_path, all) = made(folder.path(), &lengths);
            let note = open(&note_path);
            for (in_part, place, bits) in &harm {
                let file = if *in_part { &part } else { &note };
                let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
                if length > 0 {
                    let (at, mut byte) = (place.index(length) as u64, [0]);
                    file.read_exact_at(&mut byte, at).unwrap();
                    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
                }
            }
            if let Some((in_part, place)) = cut {
                let file = if in_part { &part } else { &note };
                let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
                file.set_len(place.index(length + 1) as u64).unwrap();
            }
            let counts = kept(&part, &note_path, seal(1));
            let mut now = vec![0; usize::try_from(counts).unwrap()];
            part.read_exact_at(&mut now, 0).unwrap();
            prop_assert!(now[..] == all[..now.len()], "only written bytes count");
            if harm.is_empty() && cut.is_none() {
                prop_assert_eq!(counts, all.len() as u64);
            }
            // Bytes that were cut off do not count again later.
            prop_assert_eq!(kept(&part, &note_path, seal(1)), counts);
        }
    }

    #[test]
    fn the_note_of_another_file_vouches_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (part, note_path, all) = made(folder.path(), &[100, 100]);
        assert_eq!(kept(&part, &note_path, seal(1)), all.len() as u64);
        assert_eq!(kept(&part, &note_path, seal(2)), 0);
    }

    #[test]
    fn groups_cannot_change_places() {
        let folder = tempfile::tempdir().unwrap();
        let (part, note_path, all) = made(folder.path(), &[100, 100, 100]);
        // The second group's entry and bytes take the place of the first one's.
        let (note, mut entry) = (open(&note_path), [0; ENTRY_BYTES]);
        note.read_exact_at(&mut entry, ENTRY_BYTES as u64).unwrap();
        note.write_all_at(&entry, 0).unwrap();
        part.write_all_at(&all[100..200], 0).unwrap();
        assert_eq!(kept(&part, &note_path, seal(1)), 0);
    }

    #[test]
    fn a_note_asks_for_no_more_than_a_group() {
        let folder = tempfile::tempdir().unwrap();
        let (part, note_path, _) = made(folder.path(), &[100]);
        open(&note_path).write_all_at(&u64::MAX.to_le_bytes(), 0).unwrap();
        assert_eq!(kept(&part, &note_path, seal(1)), 0);
    }

    #[test]
    fn a_note_that_is_not_there_is_forgotten_and_one_that_stays_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note");
        forget(&path).unwrap();
        std::fs::write(&path, "note").unwrap();
        forget(&path).unwrap();
        assert!(!path.exists());
        // What cannot be removed would vouch for bytes that are about to be others.
        std::fs::create_dir(&path).unwrap();
        forget(&path).unwrap_err();
    }
}
