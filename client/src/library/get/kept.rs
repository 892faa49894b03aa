//! Continues an earlier get: checks what it left, group by group, before any of it counts.

use symbolon_protocol::{
    content::{SegmentCoder, seal::LeafParts},
    id::Hash,
};
use symbolon_transfer::shard::SLICE_STRIPES;

use super::output::Output;
use crate::{
    download::{LeavesWanted, Reading, spans},
    error::ClientError,
    library::Library,
};

impl Library {
    /// Takes over the groups that an earlier get wrote, as far as its note vouches for them, and discards the rest. If
    /// the content root will be compared, it computes the leaves from these bytes.
    pub(super) async fn take_kept(
        &self,
        mut output: Output,
        reading: &Reading,
        (from, end): (u64, u64),
    ) -> Result<Output, ClientError> {
        let layout = reading.manifest.layout().map_err(|error| ClientError::Grant(error.into()))?;
        'all: for span in spans(&layout, from, end, 0).0 {
            let coder = match reading.leaves {
                LeavesWanted::No | LeavesWanted::Rebuilt(_) => None,
                LeavesWanted::Yes | LeavesWanted::Listed(_) => {
                    let coder = reading.manifest.coder(&reading.key, span.segment);
                    Some(std::sync::Arc::new(
                        coder.map_err(|error| ClientError::Grant(error.into()))?,
                    ))
                }
            };
            for group in span.first..span.end {
                let coder = coder.clone();
                let work = move || -> Result<_, ClientError> {
                    let kept = output.next_kept()?;
                    if let (Some(kept), Some(coder)) = (&kept, &coder) {
                        output.push_leaves(leaves_of(coder, group, kept)?);
                    }
                    Ok((output, kept.is_some()))
                };
                let more;
                (output, more) = self.host().blocking(work).await?;
                if !more {
                    break 'all;
                }
            }
        }
        self.host().blocking(move || output.truncate_to_kept().map(|()| output)).await
    }
}

/// The content leaves of a group's cells.
fn leaves_of(coder: &SegmentCoder, group: u32, plain: &[u8]) -> Result<Vec<Hash>, ClientError> {
    let first = coder.layout().stripe(group * SLICE_STRIPES).map_or(0, |stripe| stripe.first_cell);
    let parts = parts_of(coder, group, plain)?;
    Ok((first..).zip(parts).map(|(cell, parts)| parts.leaf(cell)).collect())
}

/// The parts of the leaves of a group's cells.
pub(crate) fn parts_of(
    coder: &SegmentCoder,
    group: u32,
    plain: &[u8],
) -> Result<Vec<LeafParts>, ClientError> {
    let layout = *coder.layout();
    let first = group * SLICE_STRIPES;
    let (mut parts, mut rest) = (Vec::new(), plain);
    for number in first..layout.stripes.min(first + SLICE_STRIPES) {
        let internal = |why: &str| ClientError::Internal(why.into());
        let stripe = layout.stripe(number);
        let stripe = stripe.ok_or_else(|| internal("a stripe lies outside its segment"))?;
        let (here, later) = rest
            .split_at_checked(stripe.plain_length)
            .ok_or_else(|| internal("a group has the wrong length"))?;
        rest = later;
        coder
            .leaf_parts(number, here, &mut parts)
            .map_err(|error| ClientError::Internal(error.to_string()))?;
    }
    Ok(parts)
}
