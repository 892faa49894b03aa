//! Layouts at every border, and what holds for all of them.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const SCHEMES: [(u8, u8); 9] =
    [(1, 1), (1, 2), (2, 3), (3, 5), (4, 8), (8, 20), (16, 32), (32, 72), (128, 128)];

fn scheme(required: u8, total: u8) -> Scheme {
    Scheme::new(required, total).unwrap()
}

fn layout(required: u8, length: u64) -> Layout {
    Layout::new(scheme(required, 2 * required.min(64)), length).unwrap()
}

#[test]
fn padding_keeps_the_leading_bits() {
    let expected = [
        (0, 0),
        (1, 1),
        (2, 2),
        (9, 10),
        (1007, 1024),
        (1009, 1024),
        (65_520, 65_536),
        (65_536, 65_536),
        (65_537, 67_584),
        ((1 << 30) + 1, (1 << 30) + (1 << 25)),
        (FILE_BYTES_MAX, FILE_BYTES_MAX),
    ];
    for (length, padded) in expected {
        assert_eq!(padme(length), padded, "{length}");
    }
    for length in (1..1 << 20).step_by(7) {
        let padded = padme(length);
        assert!(length <= padded && padded - length <= length * 12 / 100, "{length}");
        assert!(length < 1 << 16 || padded - length <= length * 32 / 1000, "{length}");
        assert_eq!(padme(padded), padded);
    }
}

#[test]
fn the_smallest_files() {
    let expected =
        [(0, 1024), (1, 1024), (1007, 2048), (1008, 2048), (1009, 2048), (976, 1024), (1024, 2048)];
    for (length, cell_bytes) in expected {
        let layout = layout(1, length);
        let stripe = layout.segment(0).unwrap().stripe(0).unwrap();
        assert_eq!(stripe.cell_bytes, cell_bytes, "{length} bytes, padded {}", padme(length));
        assert_eq!(stripe.plain_length as u64, length);
        assert_eq!((layout.segments(), layout.cells()), (1, 1));
    }
}

#[test]
fn one_cell_and_two() {
    for (length, stripes, last) in
        [(63_488, 1, 64_512), (65_519, 2, 1024), (65_520, 2, 1024), (65_521, 2, 1024)]
    {
        let segment = layout(1, length).segment(0).unwrap();
        let stripe = segment.stripe(stripes - 1).unwrap();
        assert_eq!((segment.stripes, stripe.cell_bytes), (stripes, last), "{length}");
        assert_eq!(segment.stripe(stripes), None);
    }
}

/// Two segments less or more a byte: padding never opens a segment of its own.
#[test]
fn segment_borders() {
    for (required, _) in SCHEMES {
        let full = segment_capacity(scheme(required, required));
        assert_eq!(full, u64::from(required) * 1024 * 65_520);
        for segments in 1..4 {
            for length in [segments * full - 1, segments * full] {
                let layout = layout(required, length);
                assert_eq!(u64::from(layout.segments()), segments);
                assert_eq!(layout.padded_length(), segments * full);
                let last = layout.segment(layout.segments() - 1).unwrap();
                assert_eq!(last.shard_length, SHARD_BYTES_MAX);
                assert_eq!(last.plain_length, full);
            }
            let layout = layout(required, segments * full + 1);
            assert_eq!(u64::from(layout.segments()), segments + 1);
            assert!(layout.padded_length() <= (segments + 1) * full);
            consistent(&layout);
        }
    }
}

#[test]
fn stripe_borders() {
    for (required, _) in SCHEMES {
        let stripe = stripe_capacity(scheme(required, required));
        for stripes in [1, 2, 3, 17, 1023] {
            for length in [stripes * stripe - 1, stripes * stripe, stripes * stripe + 1] {
                let layout = layout(required, length);
                consistent(&layout);
                let last = layout.segment(0).unwrap();
                let needed = layout.padded_length().div_ceil(stripe);
                assert_eq!(u64::from(last.stripes), needed, "{required} {length}");
            }
        }
    }
}

#[test]
fn the_longest_file() {
    for (required, total) in SCHEMES {
        let scheme = scheme(required, total);
        let layout = Layout::new(scheme, FILE_BYTES_MAX).unwrap();
        let last = layout.segment(layout.segments() - 1).unwrap();
        assert!(last.plain_start + last.plain_length >= FILE_BYTES_MAX);
        assert_eq!(
            layout.locate(FILE_BYTES_MAX - 1).map(|at| at.segment),
            Some(layout.segments() - 1)
        );
        let long = FILE_BYTES_MAX + 1;
        let error = LayoutError::TooLong { length: long, max: FILE_BYTES_MAX };
        assert_eq!(Layout::new(scheme, long), Err(error));
        assert!(Layout::new(scheme, u64::MAX).is_err());
    }
    let scheme = scheme(128, 128);
    assert!(matches!(Layout::full_segment(scheme, u32::MAX), Err(LayoutError::TooLong { .. })));
}

#[test]
fn what_has_no_layout() {
    assert!(matches!(
        Layout::new(Scheme { required: 0, total: 2 }, 5),
        Err(LayoutError::Scheme(SchemeError::Required { .. }))
    ));
    let layout = layout(4, 100);
    assert_eq!(layout.segment(1), Err(LayoutError::Segment { segment: 1, segments: 1 }));
    assert_eq!(layout.locate(100), None);
    assert_eq!(self::layout(4, 0).locate(0), None);
    for length in [0, 1, 1023, 1025, 65_537, SHARD_BYTES_MAX + 1024, u64::MAX] {
        let error = Err(LayoutError::ShardLength { length });
        assert_eq!(SegmentLayout::from_shard(scheme(4, 8), 0, length), error);
    }
}

#[test]
fn a_full_segment_of_a_stream_is_that_of_the_whole_file() {
    for (required, total) in SCHEMES {
        let scheme = scheme(required, total);
        let layout = Layout::new(scheme, 3 * segment_capacity(scheme)).unwrap();
        assert_eq!(Layout::full_segment(scheme, 1), layout.segment(1));
        let (open, end) = (Layout::full_segment(scheme, 2).unwrap(), layout.segment(2).unwrap());
        assert_ne!(open, end, "the last one seals the length");
        assert_eq!(SegmentLayout { end: None, ..end }, open);
    }
}

/// What holds for every layout, checked over its first, second and last stripes and segments.
fn consistent(layout: &Layout) {
    let required = u64::from(layout.scheme().required);
    let (mut plain, mut cells, mut stored) = (0, 0, 0);
    for segment in layout.iter() {
        assert_eq!((segment.plain_start, segment.first_cell), (plain, cells));
        let (mut offset, mut in_stripes, mut file) = (0, 0, 0);
        for stripe in (0..segment.stripes).filter_map(|stripe| segment.stripe(stripe)) {
            assert_eq!(stripe.shard_offset, offset);
            assert_eq!(stripe.plain_start, plain + in_stripes);
            assert_eq!(stripe.first_cell, cells + stripe.first_in_segment);
            assert!(
                stripe.cell_bytes.is_multiple_of(LEAF_BYTES) && stripe.cell_bytes <= CELL_BYTES
            );
            assert_eq!(stripe.capacity() as u64, stripe.plain_bytes as u64 * required);
            offset += stripe.cell_bytes as u64;
            in_stripes += stripe.capacity() as u64;
            file += stripe.plain_length as u64;
        }
        assert_eq!((segment.shard_length, segment.plain_length), (offset, in_stripes));
        assert!(segment.shard_length <= SHARD_BYTES_MAX);
        assert_eq!(file, layout.length().saturating_sub(plain).min(segment.plain_length));
        let scheme = layout.scheme();
        let told = SegmentLayout::from_shard(scheme, segment.segment, segment.shard_length);
        assert_eq!(told, Ok(SegmentLayout { end: None, ..segment }));
        plain += segment.plain_length;
        cells += segment.cells();
        stored += segment.shard_length * u64::from(segment.total);
    }
    assert_eq!((cells, stored), (layout.cells(), layout.stored_bytes()));
    assert!(layout.length() <= layout.padded_length() && layout.padded_length() <= plain);
    // Room that is not padding: less than a leaf and its tag per cell of the last stripe.
    assert!(plain - layout.padded_length() < required * (LEAF_BYTES as u64 + 1));
}

proptest! {
    #[test]
    fn all_is_consistent(
        (required, total) in (1_u8..=128).prop_flat_map(|r| (Just(r), r..=128)),
        length in prop_oneof![0_u64..200_000, 0_u64..3_000_000_000],
    ) {
        consistent(&Layout::new(scheme(required, total), length).unwrap());
    }

    #[test]
    fn every_byte_is_where_it_is_found(
        required in 1_u8..=40,
        length in 1_u64..20_000_000_000,
        at in 0.0..1.0_f64,
    ) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss,
            clippy::cast_precision_loss, reason = "any byte will do")]
        let offset = ((length as f64 * at) as u64).min(length - 1);
        let layout = layout(required, length);
        let found = layout.locate(offset).unwrap();
        let stripe = layout.segment(found.segment).unwrap().stripe(found.stripe).unwrap();
        let before = usize::from(found.shard) * stripe.plain_bytes + found.offset;
        prop_assert!(found.offset < stripe.plain_bytes && found.shard < required);
        prop_assert_eq!(stripe.plain_start + before as u64, offset);
        prop_assert_eq!(stripe.first_cell + u64::from(found.shard), found.cell);
        prop_assert!(found.cell < layout.cells());
    }

    /// Lengths that pad alike look alike to nodes.
    #[test]
    fn sizes_follow_from_the_padded_length(required in 1_u8..=40, length in 1_u64..200_000_000) {
        let (one, padded) = (layout(required, length), padme(length));
        if padded <= u64::from(one.segments()) * segment_capacity(one.scheme()) {
            let other = layout(required, padded);
            let sizes = |layout: &Layout| -> Vec<u64> {
                layout.iter().map(|segment| segment.shard_length).collect()
            };
            prop_assert_eq!(sizes(&one), sizes(&other));
        }
    }
}
