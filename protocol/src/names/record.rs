//! The root record: which runs there are, and the newest changes themselves.

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
    /// How far a record knows of what a device has published.
    #[derive(Copy)]
    pub struct Seen {
        /// The device: a number it has drawn for itself.
        pub device: u64,
        /// When it has published last, of what led to the record: its clock then, in milliseconds, or one
        /// more than ever before. It never says the same twice, also where a version has to be set again.
        pub moment: u64,
    }
}

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
    /// The epoch up to which the index serves: the latest end of what it names, when a run was stored last.
    pub until: u64,
    /// Which publications led to this record, by device in ascending order.
    pub seen: Vec<Seen>,
    /// The runs, oldest first. Each is paid for at least as long as the ones before it.
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

    /// Whether this record was made from `earlier`, directly or by way of others: whatever a device published
    /// that led there led here too. A ledger that was set back breaks that, and so does one that shows
    /// different devices different records.
    #[must_use]
    pub fn follows(&self, earlier: &Self) -> bool {
        earlier.seen.iter().all(|mark| match self.moment_of(mark.device) {
            Some(moment) => mark.moment <= moment,
            // The list forgets those who have published nothing for the longest time.
            None => {
                self.seen.len() == INDEX_DEVICES_MAX
                    && self.seen.iter().all(|kept| mark.moment < kept.moment)
            }
        })
    }

    /// When a device published last, of what led to this record.
    #[must_use]
    pub fn moment_of(&self, device: u64) -> Option<u64> {
        let place = self.seen.binary_search_by_key(&device, |mark| mark.device).ok()?;
        Some(self.seen[place].moment)
    }

    /// Writes down that a device publishes this record. Where the list is full, who has published nothing
    /// for the longest time goes.
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

    /// Whether the record has no more of anything than a reader takes, and in the order it takes.
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
