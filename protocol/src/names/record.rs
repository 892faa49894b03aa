//! The root record: the list of runs, and the newest changes themselves.

use alloc::vec::Vec;

use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    content::{FileKey, Manifest},
    limits::{INDEX_DEVICES_MAX, INDEX_PART_BYTES_MAX, INDEX_PARTS_MAX, INDEX_RUNS_MAX},
    names::{Change, decode_changes, encode_changes},
    record,
};

/// The version of the record's layout.
const VERSION: u8 = 2;

record! {
    /// The last publication of a device that led to a record.
    #[derive(Copy)]
    pub struct Seen {
        /// The device: a number that it has drawn for itself.
        pub device: u64,
        /// When the device last published something that led to the record: its clock at that time, in
        /// milliseconds, or one more than it ever used before. It never uses a value twice, also if it has
        /// to set a version again.
        pub moment: u64,
    }
}

/// A stored object with a piece of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The key that opens it.
    pub key: FileKey,
    /// Its description.
    pub manifest: Manifest,
}

/// Changes in order, stored in one or more parts whose keys follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first epoch for which its storage is not paid.
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

/// The sealed content of an account's row on the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootRecord {
    /// The epoch until which the index serves: the latest end of everything it names, computed when a run
    /// was last stored.
    pub until: u64,
    /// The publications that led to this record, by device in ascending order.
    pub seen: Vec<Seen>,
    /// The runs, oldest first. Each run is paid for at least as long as the runs before it.
    pub runs: Vec<Run>,
    /// Changes newer than every run.
    pub tail: Vec<Change>,
}

impl RootRecord {
    /// How many runs of this record, from the oldest on, are also the first ones of `other`. Everything
    /// after them is newer than everything in them.
    #[must_use]
    pub fn common(&self, other: &Self) -> usize {
        let pairs = self.runs.iter().zip(&other.runs);
        pairs.take_while(|(one, other)| one.parts == other.parts).count()
    }

    /// Whether this record was made from `earlier`, directly or through others: every publication that led
    /// there also led here. If a ledger was set back, or shows different devices different records, this
    /// fails.
    #[must_use]
    pub fn follows(&self, earlier: &Self) -> bool {
        earlier.seen.iter().all(|mark| match self.moment_of(mark.device) {
            Some(moment) => mark.moment <= moment,
            // The list drops the devices that have published nothing for the longest time.
            None => {
                self.seen.len() == INDEX_DEVICES_MAX
                    && self.seen.iter().all(|kept| mark.moment < kept.moment)
            }
        })
    }

    /// When a device last published something that led to this record.
    #[must_use]
    pub fn moment_of(&self, device: u64) -> Option<u64> {
        let place = self.seen.binary_search_by_key(&device, |mark| mark.device).ok()?;
        Some(self.seen[place].moment)
    }

    /// Records that a device publishes this record. If the list is full, the device that has published
    /// nothing for the longest time leaves it.
    pub fn mark(&mut self, device: u64, moment: u64) {
        match self.seen.binary_search_by_key(&device, |mark| mark.device) {
            Ok(place) => self.seen[place].moment = moment,
            Err(place) => self.seen.insert(place, Seen { device, moment }),
        }
        if INDEX_DEVICES_MAX < self.seen.len() {
            let oldest = self.seen.iter().min_by_key(|mark| mark.moment).map(|mark| mark.device);
            self.seen.retain(|mark| Some(mark.device) != oldest);
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        let too_many = |what, count: usize, max: usize| {
            Err(DecodeError::TooMany { what, count: count as u64, max: max as u64 })
        };
        if INDEX_DEVICES_MAX < self.seen.len() {
            return too_many("devices", self.seen.len(), INDEX_DEVICES_MAX);
        }
        if !self.seen.is_sorted_by(|one, next| one.device < next.device) {
            return Err(DecodeError::Invalid { what: "order of devices" });
        }
        if !self.runs.is_sorted_by_key(|run| run.end) {
            return Err(DecodeError::Invalid { what: "order of the ends of runs" });
        }
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

    /// Whether all counts and the order of the record are such that every reader accepts it.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.check().is_ok()
    }
}

impl Encode for RootRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        VERSION.encode(out);
        self.until.encode(out);
        let count = |count: usize| u8::try_from(count).expect("devices, runs and parts are few");
        count(self.seen.len()).encode(out);
        self.seen.iter().for_each(|mark| mark.encode(out));
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
        let (mut seen, mut runs) = (Vec::new(), Vec::new());
        for _ in 0..u8::decode(input)? {
            seen.push(Seen::decode(input)?);
        }
        for _ in 0..u8::decode(input)? {
            let (end, entries) = (u64::decode(input)?, u64::decode(input)?);
            let mut parts = Vec::new();
            for _ in 0..u8::decode(input)? {
                parts.push(Part::decode(input)?);
            }
            runs.push(Run { end, entries, parts });
        }
        let record = Self { until, seen, runs, tail: decode_changes(input)? };
        record.check()?;
        Ok(record)
    }
}
