//! What a reader needs to read a file, besides its file key.

use alloc::vec::Vec;

use crate::{
    choice,
    codec::{Decode, DecodeError, Encode, Reader},
    content::{ContentError, FileKey, Layout, LayoutError, Scheme, SegmentCoder},
    id::{Hash, ObjectId},
};

choice! {
    /// Whether shards are masked. The mask makes shards independent random strings, so that no node
    /// can recompute its shard from the others instead of keeping it.
    #[derive(Copy)]
    pub enum MaskMode {
        /// No mask: public data, which anyone may repair.
        None = 0,
        /// ChaCha20 over the whole shard, under a key that only the owner and caretakers have.
        ChaCha20 = 1,
    }
}

choice! {
    /// The erasure code, identified by its parity bytes.
    #[derive(Copy)]
    pub enum Codec {
        /// Reed-Solomon over GF(2^8), the Vandermonde-derived matrix of `reed-solomon-erasure`.
        ReedSolomon8 = 1,
    }
}

/// The description of one stored file version. It holds no key. Its true `length` is the only field that
/// the ledger and the nodes do not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Version of this layout: 1.
    pub version: u8,
    /// Erasure code.
    pub codec: Codec,
    /// Mask mode.
    pub mask: MaskMode,
    /// Required and total shards.
    pub scheme: Scheme,
    /// The object that the file's deals name.
    pub object: ObjectId,
    /// Bytes of the file.
    pub length: u64,
    /// `derive_key("symbolon 2026 commit v1", file_key)`: checked before the first decryption.
    pub commitment: Hash,
    /// Merkle root over all cells: previews and sales are proven against it.
    pub content_root: Hash,
}

impl Manifest {
    /// The version this program writes and reads.
    pub const VERSION: u8 = 1;

    /// Describes a file that was stored under `key`.
    #[must_use]
    pub fn new(key: &FileKey, mask: MaskMode, layout: &Layout, content_root: Hash) -> Self {
        Self {
            version: Self::VERSION,
            codec: Codec::ReedSolomon8,
            mask,
            scheme: layout.scheme(),
            object: key.object(),
            length: layout.length(),
            commitment: key.commitment(),
            content_root,
        }
    }

    /// The sizes of the file.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        Layout::new(self.scheme, self.length)
    }

    /// Refuses a key that the manifest does not commit to, or that names another object.
    pub fn check_key(&self, key: &FileKey) -> Result<(), ContentError> {
        match key.is_committed(&self.commitment) && key.object() == self.object {
            true => Ok(()),
            false => Err(ContentError::Key),
        }
    }

    /// The coder that reads one segment. It checks the key before it opens anything.
    pub fn coder(&self, key: &FileKey, segment: u32) -> Result<SegmentCoder, ContentError> {
        self.check_key(key)?;
        let layout = self.layout()?.segment(segment)?;
        Ok(SegmentCoder::new(key, self.mask, layout))
    }
}

impl Encode for Manifest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        self.codec.encode(out);
        self.mask.encode(out);
        self.scheme.encode(out);
        self.object.encode(out);
        self.length.encode(out);
        self.commitment.encode(out);
        self.content_root.encode(out);
    }
}

impl Decode for Manifest {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = u8::decode(input)?;
        if version != Self::VERSION {
            return Err(DecodeError::Tag { what: "manifest version", tag: version });
        }
        let manifest = Self {
            version,
            codec: Codec::decode(input)?,
            mask: MaskMode::decode(input)?,
            scheme: Scheme::decode(input)?,
            object: ObjectId::decode(input)?,
            length: u64::decode(input)?,
            commitment: Hash::decode(input)?,
            content_root: Hash::decode(input)?,
        };
        match manifest.layout() {
            Ok(_) => Ok(manifest),
            Err(_) => Err(DecodeError::Invalid { what: "manifest length" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Location;

    fn manifest() -> (FileKey, Manifest) {
        let key = FileKey::from_bytes([3; 32]);
        let layout = Layout::new(Scheme { required: 4, total: 8 }, 1_000_000).unwrap();
        let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, Hash([9; 32]));
        (key, manifest)
    }

    #[test]
    fn there_and_back() {
        let (key, manifest) = manifest();
        let bytes = manifest.to_bytes();
        assert_eq!(bytes.len(), 93);
        assert_eq!(Manifest::from_bytes(&bytes), Ok(manifest.clone()));
        assert_eq!(manifest.check_key(&key), Ok(()));
        let at = manifest.layout().unwrap().locate(65_520).unwrap();
        assert_eq!(at, Location { segment: 0, stripe: 0, shard: 1, cell: 1, offset: 0 });
        assert!(manifest.coder(&key, 0).is_ok());
        let beyond = LayoutError::Segment { segment: 1, segments: 1 };
        assert_eq!(manifest.coder(&key, 1).unwrap_err(), ContentError::Layout(beyond));
    }

    #[test]
    fn another_key_is_refused_before_anything_is_opened() {
        let (_, manifest) = manifest();
        let other = FileKey::from_bytes([4; 32]);
        assert_eq!(manifest.check_key(&other), Err(ContentError::Key));
        assert_eq!(manifest.coder(&other, 0).unwrap_err(), ContentError::Key);
        // A commitment copied beside another object does not make a manifest of this key either.
        let moved = Manifest { object: ObjectId([0; 16]), ..manifest };
        assert_eq!(moved.check_key(&FileKey::from_bytes([3; 32])), Err(ContentError::Key));
    }

    #[test]
    fn what_is_not_a_manifest() {
        let (_, manifest) = manifest();
        let bytes = manifest.to_bytes();
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 2), (2, 2), (3, 0), (4, 3), (4, 129)] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            assert!(Manifest::from_bytes(&bytes).is_err(), "byte {at} = {value}");
        }
        let mut long = bytes.clone();
        long[28] = 2; // 2^57 bytes and more
        let invalid = DecodeError::Invalid { what: "manifest length" };
        assert_eq!(Manifest::from_bytes(&long), Err(invalid));
        assert!(Manifest::from_bytes(&bytes[..92]).is_err());
    }
}
