//! The place of every byte of a file: stripes, segments, cells.
//!
//! A file is padded and cut into segments. A segment has as many full stripes as a shard may have. A stripe
//! is one cell of every shard. Only the last stripe of the last segment has smaller cells. All sizes follow
//! from the scheme and the length. The sizes that nodes see follow from the padded length.

use thiserror::Error;

use crate::{
    content::{Scheme, SchemeError},
    limits::{CELL_BYTES, CELL_PLAIN_BYTES, LEAF_BYTES, SHARD_BYTES_MAX, TAG_BYTES},
};

/// Bytes of a file at most: 64 PiB. With this limit every count below fits its type, under every scheme.
pub const FILE_BYTES_MAX: u64 = 1 << 56;

/// Stripes of a full segment: a shard is one cell of each.
pub const STRIPES_MAX: u32 = 1024;

const _: () = assert!(STRIPES_MAX as u64 * CELL_BYTES as u64 == SHARD_BYTES_MAX);

/// Why there is no layout.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The scheme is invalid.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// A segment that the file does not have.
    #[error("there is no segment {segment}: the file has {segments}")]
    Segment {
        /// The segment.
        segment: u32,
        /// How many segments the file has.
        segments: u32,
    },
    /// A shard with a length that no shard can have.
    #[error("a shard of {length} bytes is not one of whole cells")]
    ShardLength {
        /// Its length.
        length: u64,
    },
    /// The file is longer than any file may be.
    #[error("a file of {length} bytes is longer than {max}")]
    TooLong {
        /// Its length in bytes.
        length: u64,
        /// The most that is allowed.
        max: u64,
    },
}

/// The sizes of one file under one scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    scheme: Scheme,
    length: u64,
    padded_length: u64,
    segments: u32,
    last_stripes: u32,
    last_cell_bytes: usize,
}

/// The sizes of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLayout {
    /// Which segment, from 0.
    pub segment: u32,
    /// How many stripes it has.
    pub stripes: u32,
    /// Bytes of each of its shards.
    pub shard_length: u64,
    /// Where its first byte is in the file.
    pub plain_start: u64,
    /// Plain bytes it holds, padding included.
    pub plain_length: u64,
    /// Its first data cell, counted over the whole file.
    pub first_cell: u64,
    /// Shards that suffice to give it back.
    pub required: u8,
    /// Shards it has.
    pub total: u8,
    last_cell_bytes: usize,
    /// The file's length, when the file ends in this segment.
    end: Option<u64>,
}

/// The sizes of one stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripeLayout {
    /// Which stripe of its segment, from 0.
    pub stripe: u32,
    /// Data cells in it.
    pub required: u8,
    /// Sealed bytes of each cell.
    pub cell_bytes: usize,
    /// Plain bytes of each cell.
    pub plain_bytes: usize,
    /// Where its first byte is in the file.
    pub plain_start: u64,
    /// Bytes of the file in it, without padding.
    pub plain_length: usize,
    /// Where its cell begins in every shard.
    pub shard_offset: u64,
    /// Its first data cell, counted over the whole file.
    pub first_cell: u64,
    /// Its first data cell, counted within the segment: what cell keys are derived from.
    pub first_in_segment: u64,
    /// The file's length, if the file's last cell is in this stripe. The cell seals it.
    pub(crate) end: Option<u64>,
}

/// The place of one byte of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The segment.
    pub segment: u32,
    /// The stripe of the segment.
    pub stripe: u32,
    /// The data shard.
    pub shard: u8,
    /// The data cell, counted over the whole file.
    pub cell: u64,
    /// The offset in the cell's plain bytes.
    pub offset: usize,
}

/// The place of one data cell of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellPlace {
    /// The segment.
    pub segment: u32,
    /// Its number among the data cells of the segment.
    pub in_segment: u64,
    /// The stripe of the segment.
    pub stripe: u32,
    /// The data shard.
    pub shard: u8,
    /// Its sealed bytes.
    pub sealed_bytes: usize,
    /// Where its first byte is in the file.
    pub plain_start: u64,
    /// Bytes of the file in it, without padding.
    pub plain_length: usize,
    /// The file's length, if it is the last cell.
    pub end: Option<u64>,
}

impl CellPlace {
    /// Its plain bytes, with padding.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.sealed_bytes - TAG_BYTES
    }
}

impl Layout {
    /// The layout of a file of `length` bytes.
    pub fn new(scheme: Scheme, length: u64) -> Result<Self, LayoutError> {
        let scheme = scheme.check()?;
        if length > FILE_BYTES_MAX {
            return Err(LayoutError::TooLong { length, max: FILE_BYTES_MAX });
        }
        let stripe = stripe_capacity(scheme);
        let segment = segment_capacity(scheme);
        let segments = length.div_ceil(segment).max(1);
        // Padding fills a segment and never opens another one, which would cost a deal of its own.
        let padded_length = padme(length).min(segments * segment);
        let in_last = padded_length - (segments - 1) * segment;
        let last_stripes = in_last.div_ceil(stripe).max(1);
        let rest = in_last - (last_stripes - 1) * stripe;
        let plain = rest.div_ceil(u64::from(scheme.required));
        Ok(Self {
            scheme,
            length,
            padded_length,
            segments: u32::try_from(segments).expect("FILE_BYTES_MAX is 2^30 smallest segments"),
            last_stripes: u32::try_from(last_stripes).expect("at most STRIPES_MAX"),
            last_cell_bytes: sealed_bytes(plain),
        })
    }

    /// A full segment of a file that continues after it. A writer can code it before it knows the length of
    /// a stream. If a file ends exactly where a full segment does, its last segment is *not* this one but
    /// [`Self::segment`], since the file's length is sealed into its last cell.
    pub fn full_segment(scheme: Scheme, segment: u32) -> Result<SegmentLayout, LayoutError> {
        SegmentLayout::new(scheme.check()?, segment, STRIPES_MAX, CELL_BYTES, None)
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the file with its padding: the sizes that nodes see follow from this.
    #[must_use]
    pub const fn padded_length(&self) -> u64 {
        self.padded_length
    }

    /// How many segments the file has: at least one.
    #[must_use]
    pub const fn segments(&self) -> u32 {
        self.segments
    }

    /// One segment.
    pub fn segment(&self, segment: u32) -> Result<SegmentLayout, LayoutError> {
        let segments = self.segments;
        if segment >= segments {
            return Err(LayoutError::Segment { segment, segments });
        }
        match segment == segments - 1 {
            false => Self::full_segment(self.scheme, segment),
            true => SegmentLayout::new(
                self.scheme,
                segment,
                self.last_stripes,
                self.last_cell_bytes,
                Some(self.length),
            ),
        }
    }

    /// All segments, in file order.
    pub fn iter(&self) -> impl Iterator<Item = SegmentLayout> + use<> {
        let layout = *self;
        (0..self.segments).map(move |index| layout.segment(index).expect("index is below segments"))
    }

    /// Data cells of the whole file. Each is a leaf under the content root.
    #[must_use]
    pub fn cells(&self) -> u64 {
        let stripes = u64::from(self.segments - 1) * u64::from(STRIPES_MAX);
        (stripes + u64::from(self.last_stripes)) * u64::from(self.scheme.required)
    }

    /// The place of a data cell, counted over the whole file; `None` if the file has no such cell.
    #[must_use]
    pub fn cell(&self, cell: u64) -> Option<CellPlace> {
        // All segments but the last are full, so there is no list of them to walk.
        let full = Self::full_segment(self.scheme, 0).ok()?.cells();
        let segment = self.segment(u32::try_from(cell / full).ok()?).ok()?;
        if segment.first_cell + segment.cells() <= cell {
            return None;
        }
        let in_segment = cell.checked_sub(segment.first_cell)?;
        let required = u64::from(segment.required);
        let stripe = segment.stripe(u32::try_from(in_segment / required).ok()?)?;
        let before = in_segment % required * stripe.plain_bytes as u64;
        let length = (stripe.plain_length as u64).saturating_sub(before);
        let shard = u8::try_from(in_segment % required).ok()?;
        Some(CellPlace {
            segment: segment.segment,
            in_segment,
            stripe: stripe.stripe,
            shard,
            sealed_bytes: stripe.cell_bytes,
            plain_start: stripe.plain_start + before,
            plain_length: usize::try_from(length.min(stripe.plain_bytes as u64)).ok()?,
            end: stripe.end_at(shard),
        })
    }

    /// Bytes of all shards of all segments together.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let last = u64::from(self.last_stripes - 1) * CELL_BYTES as u64;
        let full = u64::from(self.segments - 1) * SHARD_BYTES_MAX;
        (full + last + self.last_cell_bytes as u64) * u64::from(self.scheme.total)
    }

    /// The place of the byte at `offset`; `None` if the file ends before it.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Option<Location> {
        if offset >= self.length {
            return None;
        }
        let in_segment = offset % segment_capacity(self.scheme);
        let segment = u32::try_from(offset / segment_capacity(self.scheme)).ok()?;
        let stripe = u32::try_from(in_segment / stripe_capacity(self.scheme)).ok()?;
        let layout = self.segment(segment).ok()?.stripe(stripe)?;
        let in_stripe = usize::try_from(offset - layout.plain_start).ok()?;
        let shard = u8::try_from(in_stripe / layout.plain_bytes).ok()?;
        Some(Location {
            segment,
            stripe,
            shard,
            cell: layout.first_cell + u64::from(shard),
            offset: in_stripe % layout.plain_bytes,
        })
    }
}

impl SegmentLayout {
    fn new(
        scheme: Scheme,
        segment: u32,
        stripes: u32,
        last_cell_bytes: usize,
        end: Option<u64>,
    ) -> Result<Self, LayoutError> {
        let plain_start = u64::from(segment).saturating_mul(segment_capacity(scheme));
        if plain_start > FILE_BYTES_MAX {
            return Err(LayoutError::TooLong { length: plain_start, max: FILE_BYTES_MAX });
        }
        let last_plain = (last_cell_bytes - TAG_BYTES) as u64 * u64::from(scheme.required);
        let full_stripes = u64::from(stripes - 1);
        Ok(Self {
            segment,
            stripes,
            shard_length: full_stripes * CELL_BYTES as u64 + last_cell_bytes as u64,
            plain_start,
            plain_length: full_stripes * stripe_capacity(scheme) + last_plain,
            first_cell: u64::from(segment) * u64::from(STRIPES_MAX) * u64::from(scheme.required),
            required: scheme.required,
            total: scheme.total,
            last_cell_bytes,
            end,
        })
    }

    /// What a caretaker can compute from the length of a shard: enough to rebuild shards, but not to open
    /// the file's last cell, which needs the length of the file.
    pub fn from_shard(scheme: Scheme, segment: u32, length: u64) -> Result<Self, LayoutError> {
        let scheme = scheme.check()?;
        let whole = length.is_multiple_of(LEAF_BYTES as u64);
        if length == 0 || length > SHARD_BYTES_MAX || !whole {
            return Err(LayoutError::ShardLength { length });
        }
        let stripes = length.div_ceil(CELL_BYTES as u64);
        let last = length - (stripes - 1) * CELL_BYTES as u64;
        Self::new(
            scheme,
            segment,
            u32::try_from(stripes).expect("at most STRIPES_MAX"),
            usize::try_from(last).expect("at most CELL_BYTES"),
            None,
        )
    }

    /// Its scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        Scheme { required: self.required, total: self.total }
    }

    /// Data cells in it.
    #[must_use]
    pub fn cells(&self) -> u64 {
        u64::from(self.stripes) * u64::from(self.required)
    }

    /// One stripe; `None` if the segment has no such stripe.
    #[must_use]
    pub fn stripe(&self, stripe: u32) -> Option<StripeLayout> {
        if stripe >= self.stripes {
            return None;
        }
        let last = stripe == self.stripes - 1;
        let cell_bytes = if last { self.last_cell_bytes } else { CELL_BYTES };
        let plain_bytes = cell_bytes - TAG_BYTES;
        let capacity = plain_bytes * usize::from(self.required);
        let before = u64::from(stripe) * stripe_capacity(self.scheme());
        let plain_start = self.plain_start + before;
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(plain_start));
        let first_in_segment = u64::from(stripe) * u64::from(self.required);
        Some(StripeLayout {
            stripe,
            required: self.required,
            cell_bytes,
            plain_bytes,
            plain_start,
            plain_length: usize::try_from(left).map_or(capacity, |left| left.min(capacity)),
            shard_offset: u64::from(stripe) * CELL_BYTES as u64,
            first_cell: self.first_cell + first_in_segment,
            first_in_segment,
            end: self.end.filter(|_| last),
        })
    }
}

impl StripeLayout {
    /// Plain bytes of all its data cells, with padding: the size of the buffer that it decodes into.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.plain_bytes * usize::from(self.required)
    }

    /// The file's length, if data cell `index` of this stripe is the file's last.
    pub(crate) fn end_at(&self, index: u8) -> Option<u64> {
        self.end.filter(|_| index + 1 == self.required)
    }
}

/// Padmé (Nikitin and others, PETS 2019): it keeps only as many leading bits of the length as the length's
/// magnitude has bits. So a length reveals O(log log) bits of itself, and padding stays under 12 %.
fn padme(length: u64) -> u64 {
    let Some(exponent) = length.checked_ilog2().filter(|&exponent| exponent > 0) else {
        return length;
    };
    let kept = exponent.ilog2() + 1;
    length.next_multiple_of(1 << exponent.saturating_sub(kept))
}

fn stripe_capacity(scheme: Scheme) -> u64 {
    u64::from(scheme.required) * CELL_PLAIN_BYTES as u64
}

fn segment_capacity(scheme: Scheme) -> u64 {
    stripe_capacity(scheme) * u64::from(STRIPES_MAX)
}

/// Sealed bytes of a cell with `plain` bytes: whole BLAKE3 chunks, so that proofs open whole leaves.
fn sealed_bytes(plain: u64) -> usize {
    let plain = usize::try_from(plain).expect("at most CELL_PLAIN_BYTES");
    (plain + TAG_BYTES).next_multiple_of(LEAF_BYTES)
}

#[cfg(test)]
mod tests;
