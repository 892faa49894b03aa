//! Reads many ranges of one object together. It reads each group once and in order, and hands each range its bytes.

use std::collections::BTreeSet;

use symbolon_protocol::content::Layout;

use super::one_of_many;
use crate::{
    download::{Group, Span, spans},
    error::ClientError,
    library::{Library, names::Found},
    progress::{Progress, Step},
};

/// Ranges within this many bytes are read cell by cell, not by whole groups.
const NEAR_BYTES: u64 = 512 * 1024;

/// A range of an object that the caller wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::library) struct Wanted {
    /// The caller's number for the range.
    pub(in crate::library) number: usize,
    pub(in crate::library) first: u64,
    pub(in crate::library) length: u64,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.first + self.length
    }
}

/// Receives ranges as their bytes arrive. The bytes of one range come in order, without bytes of another range in
/// between.
pub(in crate::library) trait RangeSink: Send + 'static {
    /// Takes more bytes of a range. `last` marks its last bytes. A range without bytes is never passed.
    fn take(&mut self, number: usize, bytes: &[u8], last: bool);
}

/// Divides sorted ranges into those that begin after the one before has ended, and the others.
fn apart(wanted: Vec<Wanted>) -> (Vec<Wanted>, Vec<Wanted>) {
    let mut end = 0;
    wanted.into_iter().partition(|one| {
        let fits = one.first >= end;
        if fits {
            end = one.end();
        }
        fits
    })
}

/// The groups that hold any of the ranges, each once, in order.
fn spans_of(layout: &Layout, wanted: &[Wanted]) -> Vec<Span> {
    let mut groups = BTreeSet::new();
    for one in wanted {
        for span in spans(layout, one.first, one.end(), 0).0 {
            groups.extend((span.first..span.end).map(|group| (span.segment, group)));
        }
    }
    let mut all: Vec<Span> = Vec::new();
    for (segment, group) in groups {
        match all.last_mut() {
            Some(span) if span.segment == segment && span.end == group => span.end += 1,
            _ => all.push(Span { segment, first: group, end: group + 1 }),
        }
    }
    all
}

/// Cuts a stretch of the object into the wanted ranges.
struct Cutter {
    wanted: Vec<Wanted>,
    next: usize,
}

impl Cutter {
    fn feed(&mut self, start: u64, bytes: &[u8], sink: &mut impl RangeSink) -> u64 {
        let end = start + bytes.len() as u64;
        let mut used = 0;
        while let Some(one) = self.wanted.get(self.next).filter(|one| one.first < end) {
            let (from, to) = (one.first.max(start), one.end().min(end));
            let at = |place: u64| usize::try_from(place - start).unwrap_or(bytes.len());
            sink.take(one.number, &bytes[at(from)..at(to)], one.end() <= end);
            used += to - from;
            if one.end() > end {
                break;
            }
            self.next += 1;
        }
        used
    }
}

impl Library {
    /// Reads ranges of the object that contains `file`. Gives the receiver back with its bytes, even if an error ended
    /// the read.
    pub(in crate::library) async fn read_ranges<T: RangeSink>(
        &self,
        file: &Found,
        mut wanted: Vec<Wanted>,
        mut sink: T,
        progress: &Progress,
    ) -> (T, Result<(), ClientError>) {
        wanted.retain(|one| one.length > 0);
        wanted.sort_by_key(|one| (one.first, one.length));
        while !wanted.is_empty() {
            let (now, later) = apart(wanted);
            wanted = later;
            let (back, result) = self.read_apart(file, now, sink, progress).await;
            sink = back;
            if result.is_err() {
                return (sink, result);
            }
        }
        (sink, Ok(()))
    }

    async fn read_apart<T: RangeSink>(
        &self,
        file: &Found,
        wanted: Vec<Wanted>,
        mut sink: T,
        progress: &Progress,
    ) -> (T, Result<(), ClientError>) {
        let prepared = self.resolve_own(file).and_then(|resolved| {
            let layout = file.manifest().layout();
            let layout = layout.map_err(|error| ClientError::Index(error.to_string()))?;
            Ok((resolved.reading, layout))
        });
        let (mut reading, layout) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return (sink, Err(error)),
        };
        if let (Some(first), Some(last)) = (wanted.first(), wanted.last())
            && last.end() - first.first <= NEAR_BYTES
        {
            reading.only = Some((first.first, last.end()));
        }
        let spans = spans_of(&layout, &wanted);
        let mut groups = self.network().read(reading, spans.into_iter(), &one_of_many(progress));
        let mut cutter = Cutter { wanted, next: 0 };
        while let Some(group) = groups.next().await {
            let start = group.as_ref().ok().and_then(|group| start_of(&layout, group));
            let group = match (group, start) {
                (Err(error), _) => return (sink, Err(error.into())),
                (Ok(_), None) => {
                    let why = String::from("a group lies outside its file");
                    return (sink, Err(ClientError::Internal(why)));
                }
                (Ok(group), Some(start)) => (group, start),
            };
            let work = move || {
                let (group, start) = group;
                let used = cutter.feed(start, &group.plain, &mut sink);
                (cutter, sink, used)
            };
            let used;
            (cutter, sink, used) = self.host().blocking(work).await;
            progress.step(Step::Moved { bytes: used });
        }
        (sink, Ok(()))
    }
}

fn start_of(layout: &Layout, group: &Group) -> Option<u64> {
    let segment = layout.segment(group.segment).ok()?;
    Some(segment.stripe(group.first_stripe)?.plain_start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Kept(Vec<(usize, Vec<u8>, bool)>);

    impl RangeSink for Kept {
        fn take(&mut self, number: usize, bytes: &[u8], last: bool) {
            match self.0.last_mut().filter(|(at, _, over)| *at == number && !over) {
                Some((_, all, over)) => {
                    all.extend_from_slice(bytes);
                    *over = last;
                }
                None => self.0.push((number, bytes.to_vec(), last)),
            }
        }
    }

    proptest! {
        #[test]
        fn every_range_gets_its_bytes(
            ranges in prop::collection::vec((0..900_u64, 1..100_u64), 0..30),
            piece in 1..300_usize,
        ) {
            let object: Vec<u8> = (0..1000_u32).flat_map(u32::to_le_bytes).take(1000).collect();
            let mut wanted: Vec<_> = ranges.iter().enumerate()
                .map(|(number, (first, length))| Wanted { number, first: *first, length: *length })
                .collect();
            wanted.sort_by_key(|one| (one.first, one.length));
            let mut kept = Kept::default();
            while !wanted.is_empty() {
                let (now, later) = apart(wanted);
                wanted = later;
                let mut cutter = Cutter { wanted: now, next: 0 };
                for (number, bytes) in object.chunks(piece).enumerate() {
                    cutter.feed((number * piece) as u64, bytes, &mut kept);
                }
            }
            prop_assert_eq!(kept.0.len(), ranges.len());
            for (number, bytes, over) in kept.0 {
                let (first, length) = ranges[number];
                let at = |place: u64| usize::try_from(place).unwrap();
                prop_assert!(over && bytes == object[at(first)..at(first + length)]);
            }
        }
    }
}
