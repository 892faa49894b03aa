//! Changes of rows, and lists of them: the tail of a root record, the content of a run.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    limits::{INDEX_CHANGES_MAX, INDEX_KEY_BYTES_MAX, INDEX_VALUE_BYTES_MAX},
};

/// The version of a run's layout.
const RUN_VERSION: u8 = 1;

/// The new state of one row. Its bytes may hold keys of files, so it prints only their number.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// The row's table in the index.
    pub table: u8,
    /// The row's key.
    pub key: Vec<u8>,
    /// The row, or `None` if it is gone.
    pub value: Option<Vec<u8>>,
}

impl Change {
    /// Changes are ordered and distinguished by this.
    #[must_use]
    pub fn place(&self) -> (u8, &[u8]) {
        (self.table, &self.key)
    }

    /// Bytes of its encoding.
    #[must_use]
    pub fn size(&self) -> usize {
        1 + 4 + self.key.len() + 1 + self.value.as_ref().map_or(0, |value| 4 + value.len())
    }

    /// Whether every reader accepts the sizes of key and value.
    #[must_use]
    pub fn fits(&self) -> bool {
        let value = self.value.as_ref().map_or(0, Vec::len);
        !self.key.is_empty()
            && self.key.len() <= INDEX_KEY_BYTES_MAX
            && value <= INDEX_VALUE_BYTES_MAX
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_ref().map(Vec::len);
        write!(f, "Change({}, {} bytes, {value:?})", self.table, self.key.len())
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let count = u32::try_from(bytes.len()).expect("keys and values are bounded far below 4 GiB");
    count.encode(out);
    out.extend_from_slice(bytes);
}

fn decode_bytes(
    input: &mut Reader<'_>,
    what: &'static str,
    max: usize,
) -> Result<Vec<u8>, DecodeError> {
    let count = u32::decode(input)?;
    if max < count as usize {
        return Err(DecodeError::TooMany { what, count: count.into(), max: max as u64 });
    }
    input.take(count as usize).map(<[u8]>::to_vec)
}

impl Encode for Change {
    fn encode(&self, out: &mut Vec<u8>) {
        self.table.encode(out);
        encode_bytes(&self.key, out);
        match &self.value {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                encode_bytes(value, out);
            }
        }
    }
}

impl Decode for Change {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let table = u8::decode(input)?;
        let key = decode_bytes(input, "index key", INDEX_KEY_BYTES_MAX)?;
        if key.is_empty() {
            return Err(DecodeError::Invalid { what: "index key" });
        }
        let value = match u8::decode(input)? {
            0 => None,
            1 => Some(decode_bytes(input, "index value", INDEX_VALUE_BYTES_MAX)?),
            tag => return Err(DecodeError::Tag { what: "index value", tag }),
        };
        Ok(Self { table, key, value })
    }
}

/// Writes changes that are in order.
///
/// # Panics
/// If they are not in order: the caller must have merged them.
pub fn encode_changes(changes: &[Change], out: &mut Vec<u8>) {
    assert!(in_order(changes), "changes are written in order, each key once");
    let count = u32::try_from(changes.len()).expect("a list of changes is bounded");
    count.encode(out);
    changes.iter().for_each(|change| change.encode(out));
}

/// Reads changes, and refuses them in any other order.
pub fn decode_changes(input: &mut Reader<'_>) -> Result<Vec<Change>, DecodeError> {
    let count = u32::decode(input)?;
    if INDEX_CHANGES_MAX < count {
        let (count, max) = (u64::from(count), u64::from(INDEX_CHANGES_MAX));
        return Err(DecodeError::TooMany { what: "changes", count, max });
    }
    // A change takes at least seven bytes. Nothing is reserved for a count that the sender only claims.
    let mut changes: Vec<Change> = Vec::with_capacity((count as usize).min(input.remaining() / 7));
    for _ in 0..count {
        let change = Change::decode(input)?;
        if changes.last().is_some_and(|last| change.place() <= last.place()) {
            return Err(DecodeError::Invalid { what: "order of changes" });
        }
        changes.push(change);
    }
    Ok(changes)
}

fn in_order(changes: &[Change]) -> bool {
    changes.is_sorted_by(|one, next| one.place() < next.place())
}

/// The content of a run's part.
#[must_use]
pub fn encode_run(changes: &[Change]) -> Vec<u8> {
    let mut part = RunWriter::with_capacity(changes.iter().map(Change::size).sum());
    changes.iter().for_each(|change| part.push(change));
    part.finish()
}

/// Writes the content of a run's part change by change, so that the caller need not hold all of them.
pub struct RunWriter {
    out: Vec<u8>,
    count: u32,
    /// What was written last.
    last: Change,
}

/// Bytes before the changes of a part: version and count.
pub(super) const PART_HEAD: usize = 5;

impl RunWriter {
    /// A part that will have so many bytes, or about so many.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(PART_HEAD + bytes);
        out.push(RUN_VERSION);
        0_u32.encode(&mut out);
        let last = Change { table: 0, key: Vec::new(), value: None };
        Self { out, count: 0, last }
    }

    /// Writes the next change.
    ///
    /// # Panics
    /// When it does not come after the one before it.
    pub fn push(&mut self, change: &Change) {
        let ordered = self.count == 0 || self.last.place() < change.place();
        assert!(ordered, "changes are written in order, each key once");
        self.last.table = change.table;
        self.last.key.clone_from(&change.key);
        self.count = self.count.checked_add(1).expect("a list of changes is bounded");
        change.encode(&mut self.out);
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The part.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.out[1..PART_HEAD].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}

impl fmt::Debug for RunWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes hold keys of files.
        f.debug_struct("RunWriter").field("count", &self.count).finish_non_exhaustive()
    }
}

/// Reads the content of a run's part.
pub fn decode_run(bytes: &[u8]) -> Result<Vec<Change>, DecodeError> {
    let mut input = Reader::new(bytes);
    let version = u8::decode(&mut input)?;
    if version != RUN_VERSION {
        return Err(DecodeError::Tag { what: "run version", tag: version });
    }
    let changes = decode_changes(&mut input)?;
    input.finish()?;
    Ok(changes)
}
