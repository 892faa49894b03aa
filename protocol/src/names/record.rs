//! The root record: which runs there are, and the newest changes themselves.

use alloc::vec::Vec;

use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    content::{FileKey, Manifest},
    limits::{INDEX_PART_BYTES_MAX, INDEX_PARTS_MAX, INDEX_RUNS_MAX},
    names::{Change, decode_changes, encode_changes},
};

/// The version of the record's layout.
const VERSION: u8 = 1;

/// A stored object with a piece of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Opens it.
    pub key: FileKey,
    /// Describes it.
    pub manifest: Manifest,
}

/// Changes in order, stored in one or more parts whose keys follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The epoch its storage is paid until.
    pub end: u64,
    /// How many changes it holds.
    pub entries: u64,
    /// Its parts.
    pub parts: Vec<Part>,
}

impl Encode for Part {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key.as_bytes());
        self.manifest.encode(out);
    }
}

impl Decode for Part {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = FileKey::from_bytes(input.array()?);
        Ok(Self { key, manifest: Manifest::decode(input)? })
    }
}

impl Run {
    /// Bytes of all parts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.manifest.length).fold(0, u64::saturating_add)
    }
}

/// What an account's row on the ledger holds, sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootRecord {
    /// The epoch up to which the owner wants the index kept: runs are paid until then.
    pub until: u64,
    /// The runs, oldest first.
    pub runs: Vec<Run>,
    /// Changes newer than every run.
    pub tail: Vec<Change>,
}

impl RootRecord {
    /// How many runs of this record, from the oldest on, are the first ones of `other` too. What comes
    /// after them is newer than everything in them.
    #[must_use]
    pub fn common(&self, other: &Self) -> usize {
        let pairs = self.runs.iter().zip(&other.runs);
        pairs.take_while(|(one, other)| one.parts == other.parts).count()
    }

    fn check(&self) -> Result<(), DecodeError> {
        let too_many = |what, count: usize, max: usize| {
            Err(DecodeError::TooMany { what, count: count as u64, max: max as u64 })
        };
        if INDEX_RUNS_MAX < self.runs.len() {
            return too_many("runs", self.runs.len(), INDEX_RUNS_MAX);
        }
        let parts = self.runs.iter().map(|run| run.parts.len()).sum();
        if INDEX_PARTS_MAX < parts {
            return too_many("parts of runs", parts, INDEX_PARTS_MAX);
        }
        for run in &self.runs {
            if run.parts.is_empty() || run.entries == 0 {
                return Err(DecodeError::Invalid { what: "run" });
            }
            for part in &run.parts {
                let fits = part.manifest.length <= INDEX_PART_BYTES_MAX;
                if !fits || part.manifest.check_key(&part.key).is_err() {
                    return Err(DecodeError::Invalid { what: "part of a run" });
                }
            }
        }
        Ok(())
    }

    /// Whether the record has no more runs and parts than a reader takes.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.check().is_ok()
    }
}

impl Encode for RootRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        VERSION.encode(out);
        self.until.encode(out);
        let count = |count: usize| u8::try_from(count).expect("runs and parts are few");
        count(self.runs.len()).encode(out);
        for run in &self.runs {
            run.end.encode(out);
            run.entries.encode(out);
            count(run.parts.len()).encode(out);
            for part in &run.parts {
                part.encode(out);
            }
        }
        encode_changes(&self.tail, out);
    }
}

impl Decode for RootRecord {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = u8::decode(input)?;
        if version != VERSION {
            return Err(DecodeError::Tag { what: "root record version", tag: version });
        }
        let until = u64::decode(input)?;
        let mut runs = Vec::new();
        for _ in 0..u8::decode(input)? {
            let (end, entries) = (u64::decode(input)?, u64::decode(input)?);
            let mut parts = Vec::new();
            for _ in 0..u8::decode(input)? {
                parts.push(Part::decode(input)?);
            }
            runs.push(Run { end, entries, parts });
        }
        let record = Self { until, runs, tail: decode_changes(input)? };
        record.check()?;
        Ok(record)
    }
}
