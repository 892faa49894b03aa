//! A get of a few cells reads the cells themselves, not the groups around them.

use super::{
    GetReport, Sink,
    output::{Output, PartOptions},
};
use crate::{
    download::{Group, Reading},
    error::ClientError,
    library::Library,
    progress::{Progress, Step},
};

/// The longest range that is read cell by cell: the bytes that a reader requests at once.
const SHORT_BYTES: u64 = 16 * symbolon_protocol::limits::CELL_PLAIN_BYTES as u64;

/// Whether a range is read cell by cell.
pub(super) const fn is_short(from: u64, to: u64) -> bool {
    to - from <= SHORT_BYTES
}

impl Library {
    /// Reads a short range. A range within one cell needs one request.
    pub(super) async fn get_short(
        &self,
        reading: Reading,
        sink: Sink,
        part_options: PartOptions,
        (from, to): (u64, u64),
        progress: &Progress,
    ) -> Result<GetReport, ClientError> {
        let output = self.host().blocking(move || Output::open(sink, part_options)).await?;
        progress.step(Step::Planned { total_bytes: Some(to - from) });
        let place = (0, reading.manifest.length);
        let reader = self.reader(reading, place, progress)?;
        let plain = reader.read_at(from, to).await?;
        let count = plain.len();
        let (leaves, rebuilt) = (Vec::new(), Vec::new());
        let group = Group { segment: 0, first_stripe: 0, first_cell: 0, plain, leaves, rebuilt };
        let output = output.write(self.host(), group, 0..count).await?;
        progress.step(Step::Moved { bytes: count as u64 });
        let mut report = output.finish(self.host(), to - from, 0).await?;
        report.faults = reader.faults();
        Ok(report)
    }
}
