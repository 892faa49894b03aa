//! Reading many ranges of one object in one go: groups are read once and in order, and each range gets
//! its bytes from them.

use std::collections::BTreeSet;

use symbolon_protocol::content::Layout;

use super::one_of_many;
use crate::{
    download::{Group, Span, spans},
    error::ClientError,
    library::{Library, names::Found},
    progress::{Progress, Step},
};

/// Ranges that lie so close together are read cell by cell, not by whole groups.
const NEAR_BYTES: u64 = 512 * 1024;

/// A range of an object that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What the one who wants it calls it.
    pub(super) number: usize,
    pub(super) first: u64,
    pub(super) length: u64,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.first + self.length
    }
}

/// Who takes ranges as they come in. All of one range comes in order, and nothing else between.
pub(super) trait Taker: Send + 'static {
    /// More of a range; `last` with its last bytes. A range without bytes is not announced.
    fn take(&mut self, number: usize, bytes: &[u8], last: bool);
}

/// Ranges in order of which none begins before the one before it has ended; and those that do.
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

/// Hands a stretch of the object to those who want some of it.
struct Cutter {
    wanted: Vec<Wanted>,
    next: usize,
}

impl Cutter {
    fn feed(&mut self, start: u64, bytes: &[u8], taker: &mut impl Taker) -> u64 {
        let end = start + bytes.len() as u64;
        let mut used = 0;
        while let Some(one) = self.wanted.get(self.next).filter(|one| one.first < end) {
            let (from, to) = (one.first.max(start), one.end().min(end));
            let at = |place: u64| usize::try_from(place - start).unwrap_or(bytes.len());
            taker.take(one.number, &bytes[at(from)..at(to)], one.end() <= end);
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
    /// Reads ranges of the object that `file` lies in. The taker comes back, with what it got, whether
    /// or not all could be read.
    pub(super) async fn read_ranges<T: Taker>(
        &self,
        file: &Found,
        mut wanted: Vec<Wanted>,
        mut taker: T,
        progress: &Progress,
    ) -> (T, Result<(), ClientError>) {
        wanted.retain(|one| one.length > 0);
        wanted.sort_by_key(|one| (one.first, one.length));
        while !wanted.is_empty() {
            let (now, later) = apart(wanted);
            wanted = later;
            let (back, result) = self.read_apart(file, now, taker, progress).await;
            taker = back;
            if result.is_err() {
                return (taker, result);
            }
        }
        (taker, Ok(()))
    }

    async fn read_apart<T: Taker>(
        &self,
        file: &Found,
        wanted: Vec<Wanted>,
        mut taker: T,
        progress: &Progress,
    ) -> (T, Result<(), ClientError>) {
        let prepared = self.resolve_own(file).and_then(|resolved| {
            let layout = file.manifest().layout();
            let layout = layout.map_err(|error| ClientError::Index(error.to_string()))?;
            Ok((resolved.reading, layout))
        });
        let (mut reading, layout) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return (taker, Err(error)),
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
                (Err(error), _) => return (taker, Err(error.into())),
                (Ok(_), None) => {
                    let why = String::from("a group lies outside its file");
                    return (taker, Err(ClientError::Internal(why)));
                }
                (Ok(group), Some(start)) => (group, start),
            };
            let work = move || {
                let (group, start) = group;
                let used = cutter.feed(start, &group.plain, &mut taker);
                (cutter, taker, used)
            };
            let used;
            (cutter, taker, used) = self.host().blocking(work).await;
            progress.step(Step::Moved { bytes: used });
        }
        (taker, Ok(()))
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

    impl Taker for Kept {
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
