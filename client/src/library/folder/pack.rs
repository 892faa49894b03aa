//! Packs: small files, one after another in one object.
//!
//! A pack is first written to a nameless file in the identity's own folder, and stored from there. So its bytes cannot
//! change while it is stored, even if a segment has to be sent twice. A file that changed or could not be read while
//! the pack was written is left out of it.

use std::{
    fs::File,
    io::{Read, Write},
    ops::Range,
    path::Path,
    sync::Arc,
};

use symbolon_protocol::{Decode, DecodeError, Encode, codec::Reader, id::Hash};

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

impl Encode for Member {
    fn encode(&self, out: &mut Vec<u8>) {
        // These two are also read without the rest.
        self.length.encode(out);
        self.name.as_bytes().to_vec().encode(out);
        u32::try_from(self.below).expect("names are short").encode(out);
        self.mode.encode(out);
        self.modified_ns.to_le_bytes().encode(out);
        self.renews.encode(out);
        self.over.is_some().encode(out);
        if let Some((number, stored_ms)) = self.over {
            number.encode(out);
            stored_ms.encode(out);
        }
    }
}

impl Decode for Member {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (length, name) = (Decode::decode(input)?, Vec::<u8>::decode(input)?);
        let name = Name::new(name).map_err(|_| DecodeError::Invalid { what: "name" })?;
        let (below, mode) = (u32::decode(input)? as usize, Decode::decode(input)?);
        let modified_ns = i128::from_le_bytes(Decode::decode(input)?);
        let (renews, has_over) = (Decode::decode(input)?, bool::decode(input)?);
        let over = match has_over {
            true => Some((Decode::decode(input)?, Decode::decode(input)?)),
            false => None,
        };
        Ok(Self { name, below, length, mode, modified_ns, renews, over })
    }
}

/// Files to be stored. A plan may have a million of them, so they are encoded in one list of bytes.
#[derive(Debug, Default)]
pub(super) struct Members {
    bytes: Vec<u8>,
    /// The offset of each.
    starts: Vec<usize>,
}

impl Members {
    pub(super) fn push(&mut self, member: &Member) {
        self.starts.push(self.bytes.len());
        member.encode(&mut self.bytes);
    }

    /// Divides them into packs in the order of their names, and the files that are too large for a pack.
    pub(super) fn cut(mut self) -> (Vec<Pack>, Vec<Member>) {
        let Self { bytes, starts } = &mut self;
        starts.sort_unstable_by(|one, other| name_at(bytes, *one).cmp(name_at(bytes, *other)));
        let is_large = |start: &mut usize| PACKED_BELOW <= length_at(bytes, *start);
        let large: Vec<usize> = starts.extract_if(.., is_large).collect();
        starts.shrink_to_fit();
        let ranges = cut(starts.iter().map(|start| length_at(bytes, *start)));
        let large = large.into_iter().map(|start| member_at(bytes, start)).collect();
        let all = Arc::new(self);
        let pack = |range| Pack { all: all.clone(), range };
        (ranges.into_iter().map(pack).collect(), large)
    }
}

fn length_at(bytes: &[u8], start: usize) -> u64 {
    u64::decode(&mut Reader::new(&bytes[start..])).expect("it was encoded here")
}

fn name_at(bytes: &[u8], start: usize) -> &[u8] {
    let mut input = Reader::new(&bytes[start + size_of::<u64>()..]);
    let length = u32::decode(&mut input).expect("it was encoded here");
    input.take(length as usize).expect("it was encoded here")
}

fn member_at(bytes: &[u8], start: usize) -> Member {
    Member::decode(&mut Reader::new(&bytes[start..])).expect("it was encoded here")
}

/// The members of one pack, in order.
#[derive(Clone, Debug)]
pub(super) struct Pack {
    all: Arc<Members>,
    range: Range<usize>,
}

impl Pack {
    /// Number of members.
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// Number of their bytes.
    pub(super) fn length(&self) -> u64 {
        self.starts().map(|start| length_at(&self.all.bytes, start)).sum()
    }

    /// Bytes of their names.
    pub(super) fn name_bytes(&self) -> usize {
        self.starts().map(|start| name_at(&self.all.bytes, start).len()).sum()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = Member> {
        self.starts().map(|start| member_at(&self.all.bytes, start))
    }

    fn starts(&self) -> impl Iterator<Item = usize> {
        self.all.starts[self.range.clone()].iter().copied()
    }
}

/// Divides files of these lengths into packs, in their order.
fn cut(lengths: impl ExactSizeIterator<Item = u64>) -> Vec<Range<usize>> {
    let (mut packs, mut filled, mut first, count) = (Vec::new(), 0, 0, lengths.len());
    for (at, length) in lengths.enumerate() {
        if first < at && (PACK_BYTES_MAX < filled + length || PACK_FILES_MAX <= at - first) {
            packs.push(first..at);
            (filled, first) = (0, at);
        }
        filled += length;
    }
    if first < count {
        packs.push(first..count);
    }
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
    pack: &Pack,
    spool: &Path,
    to: &str,
) -> Result<Built, ClientError> {
    let mut builder = Builder::new(spool, "pack", to)?;
    let (mut kept, mut faults) = (Vec::with_capacity(pack.len()), Vec::new());
    let mut bytes = Vec::new();
    for member in pack.members() {
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

    fn members(all: &[Member]) -> Members {
        let mut members = Members::default();
        all.iter().for_each(|member| members.push(member));
        members
    }

    /// The packs and the large files, in that order.
    fn packed(all: &[Member]) -> (Vec<Vec<Member>>, Vec<Member>) {
        let (packs, large) = members(all).cut();
        for pack in &packs {
            let sum =
                |of: fn(&Member) -> u64| pack.members().map(|member| of(&member)).sum::<u64>();
            assert_eq!(pack.length(), sum(|member| member.length));
            assert_eq!(pack.name_bytes() as u64, sum(|member| member.name.as_bytes().len() as u64));
            assert_eq!(pack.len(), pack.members().count());
        }
        (packs.iter().map(|pack| pack.members().collect()).collect(), large)
    }

    #[test]
    fn a_pack_holds_no_more_files_than_are_written_at_once() {
        let files: Vec<_> = (0..2 * PACK_FILES_MAX + 1).map(|number| member(number, 1)).collect();
        let (packs, _) = packed(&files);
        let sizes: Vec<_> = packs.iter().map(Vec::len).collect();
        assert_eq!(sizes, [PACK_FILES_MAX, PACK_FILES_MAX, 1]);
        assert_eq!(packs.concat(), files);
        assert!(packed(&[]).0.is_empty());
    }

    #[test]
    fn a_member_comes_out_of_the_list_as_it_was() {
        let plain = member(1, PACKED_BELOW - 1);
        let whole = Member {
            name: Name::new(b"\xff/a b".as_slice()).unwrap(),
            below: 2,
            length: PACKED_BELOW,
            mode: u32::MAX,
            modified_ns: i128::MIN,
            renews: true,
            over: Some((u64::MAX, 7)),
        };
        let none = Member { name: Name::new("a").unwrap(), length: 0, ..whole.clone() };
        let (packs, large) = packed(&[whole.clone(), plain.clone(), none.clone()]);
        assert_eq!(packs, [vec![none, plain]], "sorted by name");
        assert_eq!(large, [whole], "too large for a pack");
    }

    proptest! {
        #[test]
        fn packs_hold_every_file_once_in_order(lengths in prop::collection::vec(0..PACKED_BELOW, 0..400)) {
            let files: Vec<_> = lengths.iter().enumerate().map(|(i, l)| member(i, *l)).collect();
            let mut mixed = files.clone();
            mixed.reverse();
            let (packs, large) = packed(&mixed);
            prop_assert!(large.is_empty());
            let sizes: Vec<u64> =
                packs.iter().map(|pack| pack.iter().map(|member| member.length).sum()).collect();
            prop_assert!(sizes.iter().all(|size| *size <= PACK_BYTES_MAX));
            // No pack has room for the first file of the next one.
            for (size, next) in sizes.iter().zip(packs.iter().skip(1)) {
                prop_assert!(size + next[0].length > PACK_BYTES_MAX);
            }
            // After some packs were stored, the rest is divided in the same way.
            if packs.len() > 1 {
                let rest = &files[packs[0].len()..];
                prop_assert_eq!(&packed(rest).0[..], &packs[1..]);
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
        let build = || {
            let (packs, _) = self::members(&members).cut();
            build(folder.path(), &packs[0], &folder.path().join("spool"), "to").unwrap()
        };
        let built = build();
        assert_eq!(built.members.iter().map(|(_, first)| *first).collect::<Vec<_>>(), [0, 3, 3]);
        assert_eq!((built.opened.length(), built.faults.len()), (Some(8), 0));
        assert_eq!(build().slot, built.slot, "the same files make the same pack");

        std::fs::write(folder.path().join("f000000"), "longer").unwrap();
        std::fs::remove_file(folder.path().join("f000001")).unwrap();
        let changed = build();
        assert_eq!(changed.members.len(), 1);
        assert_eq!(changed.faults.len(), 2);
        assert_ne!(changed.slot, built.slot);
    }
}
