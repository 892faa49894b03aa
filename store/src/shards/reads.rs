//! Who read what, by day: rows of bytes that the caller chooses, with a bound for each object and day, and one for all.

use redb::{ReadableTable, ReadableTableMetadata as _};
use symbolon_protocol::{
    codec::{Decode, Encode},
    id::{AccountId, ObjectId},
};

use super::{Counter, Shards, index::READS};
use crate::StoreError;

/// What a read is counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadKey {
    /// The day.
    pub day: u32,
    /// The owner of the object.
    pub owner: AccountId,
    /// The object.
    pub object: ObjectId,
    /// Who read by what right, in the caller's encoding.
    pub who: Vec<u8>,
}

/// How many rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Of one object and day. What comes after is counted under the caller's name for others.
    pub of_day: usize,
    /// In all. For one more, the oldest day goes.
    pub in_all: u64,
}

impl ReadKey {
    fn bytes(&self) -> Vec<u8> {
        [&of_day(self.day, &self.owner, &self.object)[..], &self.who].concat()
    }
}

/// What the keys of one object and day begin with. The day comes first, so that the oldest day goes in one stroke.
fn of_day(day: u32, owner: &AccountId, object: &ObjectId) -> Vec<u8> {
    [&day.to_be_bytes()[..], &owner.0, &object.0].concat()
}

impl Shards {
    /// Adds to what was read. `others` is who reads are counted under when an object has no more rows for a day.
    ///
    /// This does not wait for the disk: a crash may lose the last ones.
    pub fn note_reads(
        &self,
        notes: &[(ReadKey, Counter)],
        others: &[u8],
        limits: ReadLimits,
    ) -> Result<(), StoreError> {
        self.inner.index.write_soon(|transaction| {
            let mut reads = transaction.open_table(READS)?;
            for (key, more) in notes {
                let mut row = key.bytes();
                let mut before = reads.get(row.as_slice())?.map(|row| row.value().to_vec());
                if before.is_none() {
                    let prefix = of_day(key.day, &key.owner, &key.object);
                    let mut rows = 0;
                    for found in reads.range(prefix.as_slice()..)? {
                        if !found?.0.value().starts_with(&prefix) {
                            break;
                        }
                        rows += 1;
                    }
                    if limits.of_day <= rows {
                        row = [&prefix, others].concat();
                        before = reads.get(row.as_slice())?.map(|row| row.value().to_vec());
                    }
                }
                if before.is_none() && limits.in_all <= reads.len()? {
                    let oldest = reads.first()?.map(|(key, _)| day_of(key.value()));
                    if let Some(oldest) = oldest.flatten().filter(|oldest| *oldest < key.day) {
                        reads.retain(|key, _| day_of(key) != Some(oldest))?;
                    } else {
                        // All rows are of this day: these reads are not noted.
                        continue;
                    }
                }
                let before = before.map(|row| Counter::from_bytes(&row)).transpose()?;
                let before = before.unwrap_or_default();
                let sum = Counter {
                    reads: before.reads.saturating_add(more.reads),
                    bytes: before.bytes.saturating_add(more.bytes),
                };
                reads.insert(row.as_slice(), sum.to_bytes().as_slice())?;
            }
            Ok(())
        })
    }

    /// What was read of an object from a day on, in whole days and at most so many rows; and the first day that is not
    /// in it, at most `end_day`.
    pub fn reads_of(
        &self,
        owner: &AccountId,
        object: &ObjectId,
        days: std::ops::Range<u32>,
        rows_max: usize,
    ) -> Result<(Vec<(ReadKey, Counter)>, u32), StoreError> {
        self.inner.index.read(|transaction| {
            let reads = transaction.open_table(READS)?;
            let mut out: Vec<(ReadKey, Counter)> = Vec::new();
            for day in days.clone() {
                let (prefix, begun) = (of_day(day, owner, object), out.len());
                for row in reads.range(prefix.as_slice()..)? {
                    let (key, row) = row?;
                    let Some(who) = key.value().strip_prefix(prefix.as_slice()) else { break };
                    if out.len() == rows_max {
                        out.truncate(begun);
                        return Ok((out, day));
                    }
                    let (owner, object, who) = (*owner, *object, who.to_vec());
                    let key = ReadKey { day, owner, object, who };
                    out.push((key, Counter::from_bytes(row.value())?));
                }
            }
            Ok((out, days.end))
        })
    }

    /// Forgets the days before one.
    pub fn sweep_reads(&self, before_day: u32) -> Result<(), StoreError> {
        let oldest = self.inner.index.read(|transaction| {
            let reads = transaction.open_table(READS)?;
            let first = reads.first()?;
            Ok(first.and_then(|(key, _)| day_of(key.value())))
        })?;
        if oldest.is_none_or(|oldest| before_day <= oldest) {
            return Ok(());
        }
        self.inner.index.write(|transaction| {
            let mut reads = transaction.open_table(READS)?;
            reads.retain(|key, _| day_of(key).is_some_and(|day| before_day <= day))?;
            Ok(())
        })
    }
}

/// The day in a key.
fn day_of(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|day| u32::from_be_bytes(*day))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReadLimits = ReadLimits { of_day: 3, in_all: 6 };
    const OWNER: AccountId = AccountId([1; 32]);
    const OBJECT: ObjectId = ObjectId([2; 16]);

    fn note(shards: &Shards, day: u32, object: ObjectId, who: &str) {
        let key = ReadKey { day, owner: OWNER, object, who: who.into() };
        shards.note_reads(&[(key, Counter { reads: 1, bytes: 10 })], b"others", LIMITS).unwrap();
    }

    fn rows(shards: &Shards, days: std::ops::Range<u32>, max: usize) -> (Vec<String>, u32) {
        let (rows, end) = shards.reads_of(&OWNER, &OBJECT, days, max).unwrap();
        let shown = rows.into_iter().map(|(key, sum)| {
            let who = String::from_utf8(key.who).unwrap();
            format!("{} {who} {} {}", key.day, sum.reads, sum.bytes)
        });
        (shown.collect(), end)
    }

    #[test]
    fn reads_are_summed_by_day_and_reader_and_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let shards = Shards::open(folder.path()).unwrap();
        for who in ["a", "b", "a"] {
            note(&shards, 5, OBJECT, who);
        }
        note(&shards, 6, OBJECT, "a");
        note(&shards, 5, ObjectId([9; 16]), "x");
        drop(shards);
        let shards = Shards::open(folder.path()).unwrap();
        let all = ["5 a 2 20", "5 b 1 10", "6 a 1 10"].map(String::from).to_vec();
        assert_eq!(rows(&shards, 0..9, 10), (all.clone(), 9));
        // Whole days only.
        assert_eq!(rows(&shards, 0..9, 2), (all[..2].to_vec(), 6));
        assert_eq!(rows(&shards, 6..9, 2), (all[2..].to_vec(), 9));
        assert_eq!(rows(&shards, 0..9, 1), (vec![], 5));
        shards.sweep_reads(6).unwrap();
        assert_eq!(rows(&shards, 0..9, 10).0, all[2..]);
    }

    #[test]
    fn a_crowd_of_readers_makes_no_more_rows() {
        let folder = tempfile::tempdir().unwrap();
        let shards = Shards::open(folder.path()).unwrap();
        for who in ["a", "b", "c", "d", "e", "a"] {
            note(&shards, 5, OBJECT, who);
        }
        let (of_day, _) = rows(&shards, 5..6, 10);
        assert_eq!(of_day, ["5 a 2 20", "5 b 1 10", "5 c 1 10", "5 others 2 20"]);
        // Nor do many objects: the oldest day goes for a newer one, and never the present one for itself.
        for day in [6, 7] {
            for object in 0..4 {
                note(&shards, day, ObjectId([object; 16]), "a");
            }
        }
        assert_eq!(rows(&shards, 5..9, 10).0, ["7 a 1 10"]);
        let kept: u64 = shards
            .inner
            .index
            .read(|transaction| Ok(transaction.open_table(READS)?.len()?))
            .unwrap();
        assert!(kept <= LIMITS.in_all, "{kept} rows");
        for object in 10..30 {
            note(&shards, 7, ObjectId([object; 16]), "a");
        }
        assert_eq!(rows(&shards, 5..9, 10).0, ["7 a 1 10"]);
        let kept: u64 = shards
            .inner
            .index
            .read(|transaction| Ok(transaction.open_table(READS)?.len()?))
            .unwrap();
        assert_eq!(kept, LIMITS.in_all);
        // What is there already has room.
        note(&shards, 7, OBJECT, "a");
        assert_eq!(rows(&shards, 5..9, 10).0, ["7 a 2 20"]);
    }
}
