//! Finds the groups that hold a range of an object's bytes.

use std::ops::Range;

use symbolon_protocol::{
    content::{Layout, SegmentLayout},
    limits::{CELL_BYTES, CELL_PLAIN_BYTES, SLICE_BYTES},
};

use super::{Group, group_count};
use crate::error::TransferError;

/// A range of groups in one segment.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The segment.
    pub segment: u32,
    /// The first group to read.
    pub first: u32,
    /// The group after the last one.
    pub end: u32,
}

/// Plain bytes of a full group.
fn group_bytes(layout: &Layout) -> u64 {
    let cells = (SLICE_BYTES / CELL_BYTES) as u64 * u64::from(layout.scheme().required);
    cells * CELL_PLAIN_BYTES as u64
}

/// The groups that hold bytes `from` up to `to`, without the first `done` groups, and the number of
/// plain bytes in those. The spans are computed one at a time, because a stranger's manifest may
/// claim any length.
pub fn spans(
    layout: &Layout,
    from: u64,
    to: u64,
    done: u64,
) -> (impl Iterator<Item = Span> + Send + use<>, u64) {
    let full = Layout::full_segment(layout.scheme(), 0).expect("a layout has a scheme");
    let first = u32::try_from(from / full.plain_length).unwrap_or(u32::MAX);
    let layout = *layout;
    let segments = (first..layout.segments()).map_while(move |number| {
        let segment = layout.segment(number).ok()?;
        let (first, end) = groups_in(&layout, &segment, from, to);
        (first < end).then_some((segment, first, end))
    });
    let (mut left, mut skipped) = (done, 0);
    for (segment, first, end) in segments.clone() {
        if left == 0 {
            break;
        }
        let skip = left.min(end - first);
        let (length, start) = (layout.length(), segment.plain_start);
        let plain = |groups: u64| (start + groups * group_bytes(&layout)).min(length);
        skipped += plain(first + skip) - plain(first);
        left -= skip;
    }
    let mut left = done;
    let spans = segments.filter_map(move |(segment, first, end)| {
        let skip = left.min(end - first);
        left -= skip;
        let narrow = |number: u64| u32::try_from(number).expect("a segment has at most 64 groups");
        let (first, end) = (narrow(first + skip), narrow(end));
        (first < end).then_some(Span { segment: segment.segment, first, end })
    });
    (spans, skipped)
}

/// The groups of a segment that hold bytes `from` up to `to`.
fn groups_in(layout: &Layout, segment: &SegmentLayout, from: u64, to: u64) -> (u64, u64) {
    let (group, start) = (group_bytes(layout), segment.plain_start);
    let first = from.saturating_sub(start) / group;
    let end = to.saturating_sub(start).div_ceil(group).min(u64::from(group_count(segment)));
    // A file without bytes still has one group, and reading it checks that it is there.
    (first, if layout.length() == 0 { 1 } else { end })
}

/// The bytes of a group that lie between `from` and `to` of the object.
pub fn clip(
    layout: &Layout,
    group: &Group,
    from: u64,
    to: u64,
) -> Result<Range<usize>, TransferError> {
    let segment = layout.segment(group.segment).ok();
    let start = segment.and_then(|segment| segment.stripe(group.first_stripe));
    let start =
        start.ok_or_else(|| TransferError::Internal("a group lies outside its file".into()))?;
    let start = start.plain_start;
    let inside = |at: u64| {
        let at = at.saturating_sub(start).min(group.plain.len() as u64);
        usize::try_from(at).expect("a group is in memory")
    };
    Ok(inside(from)..inside(to))
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::content::Scheme;

    use super::*;

    fn groups(spans: &[Span]) -> u64 {
        spans.iter().map(|span| u64::from(span.end - span.first)).sum()
    }

    fn collected(layout: &Layout, done: u64) -> (Vec<Span>, u64) {
        let (spans, skipped) = spans(layout, 0, u64::MAX, done);
        (spans.collect(), skipped)
    }

    #[test]
    fn a_claimed_length_costs_nothing_until_it_is_read() {
        let scheme = Scheme { required: 1, total: 1 };
        let layout = Layout::new(scheme, 1 << 56).unwrap();
        let (mut all, skipped) = spans(&layout, 0, u64::MAX, 0);
        let (first, second) = (all.next().unwrap(), all.next().unwrap());
        assert_eq!((first.segment, second.segment, skipped), (0, 1, 0));
        let (mut end, _) = spans(&layout, (1 << 56) - 1, 1 << 56, 0);
        assert!(end.next().is_some() && end.next().is_none());
    }

    #[test]
    fn an_open_end_covers_all_groups_and_an_exact_end_leaves_out_padding() {
        let scheme = Scheme { required: 4, total: 8 };
        let group = 16 * 4 * 65_520;
        let mut padding_groups = 0;
        for length in [0, 1, group, group + 1, 70_000_000, 319_333_084, 1_000_000_000] {
            let layout = Layout::new(scheme, length).unwrap();
            let all: u64 = layout.iter().map(|segment| u64::from(group_count(&segment))).sum();
            let checked: Vec<_> = spans(&layout, 0, u64::MAX, 0).0.collect();
            assert_eq!(groups(&checked), all, "{length}");
            let read: Vec<_> = spans(&layout, 0, length, 0).0.collect();
            assert_eq!(groups(&read), length.div_ceil(group).max(1), "{length}");
            padding_groups += all - groups(&read);
        }
        assert!(padding_groups > 0, "some of these files have groups that hold only padding");
    }

    #[test]
    fn groups_of_an_earlier_get_are_not_read_again() {
        let layout = Layout::new(Scheme { required: 4, total: 8 }, 319_333_084).unwrap();
        let (all, none) = collected(&layout, 0);
        assert_eq!(none, 0);
        for done in [1, 63, 64, 65, 70] {
            let (rest, skipped) = collected(&layout, done);
            assert_eq!(groups(&rest), groups(&all) - done);
            assert_eq!(skipped, done * 16 * 4 * 65_520);
        }
        let (rest, skipped) = collected(&layout, groups(&all));
        assert_eq!((groups(&rest), skipped), (0, 319_333_084));
    }
}
