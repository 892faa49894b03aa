//! What a seller shows of a file beside the cells that a beacon picks: cells of the seller's own choice, and the columns
//! of a table.

use std::collections::BTreeSet;

use symbolon_protocol::{
    content::Layout,
    limits::{CELL_PLAIN_BYTES, CHOSEN_CELLS_MAX},
    preview::{cell_range, cells_of},
};

use super::SellOptions;
use crate::{
    error::ClientError,
    library::names::{Found, shown},
    market::{
        Market,
        table::{NotATable, Rows, Schema, TableFormat},
    },
};

/// Bytes at the beginning of a table from which its columns are read: no viewer sees more of its first rows.
const SCHEMA_BYTES: u64 = (CHOSEN_CELLS_MAX * CELL_PLAIN_BYTES) as u64;

/// What of a file everyone will be able to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Numbers of the cells that the seller chose.
    pub chosen: Vec<u64>,
    /// Bytes of the file in these.
    pub chosen_bytes: u64,
    /// Bytes of the file in all cells that are opened, at most.
    pub public_bytes_max: u64,
    /// Bytes of the file.
    pub length: u64,
    /// Rows that viewers see of the beginning of a table.
    pub rows: u64,
}

/// Whether a file is a table, and of which columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableFound {
    /// Its name is not that of a table.
    OtherFile,
    /// The seller does not want to say.
    Withheld,
    /// Its name is, its content is not.
    Unreadable(NotATable),
    /// It is.
    Table(Schema),
}

impl TableFound {
    /// The columns that the description says.
    #[must_use]
    pub fn schema(&self) -> Option<&Schema> {
        match self {
            Self::Table(schema) => Some(schema),
            Self::OtherFile | Self::Withheld | Self::Unreadable(_) => None,
        }
    }
}

/// The cells that a seller chooses of a file with this layout, and what becomes public with them.
pub(super) fn choose(
    layout: &Layout,
    options: &SellOptions,
    preview_cells: u8,
) -> Result<Shown, ClientError> {
    let length = layout.length();
    let mut chosen: BTreeSet<u64> =
        (0..layout.cells().min(u64::from(options.show_first))).collect();
    for (from, to) in &options.samples {
        let cells = cells_of(layout, *from, *to);
        if cells.is_empty() {
            let why = format!(
                "the sample from byte {from} on is behind the end of the file: it has {length}"
            );
            return Err(ClientError::Usage(why));
        }
        // A cell more than may be is enough to say so, and a range may have any number of them.
        chosen.extend(cells.take(CHOSEN_CELLS_MAX + 1));
    }
    if CHOSEN_CELLS_MAX < chosen.len() {
        let why = format!(
            "at most {CHOSEN_CELLS_MAX} cells may be shown by your own choice, of up to 64 KiB each"
        );
        return Err(ClientError::Usage(why));
    }
    if !chosen.is_empty() && preview_cells == 0 {
        let why = "cells of your own choice are shown only beside cells that a beacon picks: leave it at least one";
        return Err(ClientError::Usage(why.into()));
    }
    let bytes = |cell: &u64| cell_range(layout, *cell).map_or(0, |(_, bytes)| bytes as u64);
    let chosen_bytes: u64 = chosen.iter().map(bytes).sum();
    if !chosen.is_empty() && length <= chosen_bytes {
        let why = "that shows the whole file to everyone: nothing would be left to sell";
        return Err(ClientError::Usage(why.into()));
    }
    // The first cell is as large as any.
    let drawn = u64::from(preview_cells).saturating_mul(bytes(&0));
    let public_bytes_max = chosen_bytes.saturating_add(drawn).min(length);
    let chosen = chosen.into_iter().collect();
    Ok(Shown { chosen, chosen_bytes, public_bytes_max, length, rows: 0 })
}

/// Bytes of the file's beginning that lie in cells without a gap.
fn beginning(layout: &Layout, cells: &[u64]) -> u64 {
    let unbroken = (0..).zip(cells).take_while(|(at, cell)| at == *cell);
    let ranges = unbroken.filter_map(|(_, cell)| cell_range(layout, *cell));
    ranges.map(|(_, bytes)| bytes as u64).sum()
}

impl Market {
    /// Reads the columns of a table of this identity, and counts the rows in the cells that are shown.
    pub(super) async fn table_of(
        &self,
        entry: &Found,
        layout: &Layout,
        options: &SellOptions,
        shown_cells: &mut Shown,
    ) -> Result<TableFound, ClientError> {
        let Some(format) = TableFormat::of_name(&shown(entry.name.last())) else {
            return Ok(TableFound::OtherFile);
        };
        if !options.says_columns {
            return Ok(TableFound::Withheld);
        }
        let length = layout.length();
        let bytes = match length.min(SCHEMA_BYTES) {
            0 => Vec::new(),
            end => self.read_range(&entry.name, 0, end).await?,
        };
        let beginning = usize::try_from(beginning(layout, &shown_cells.chosen));
        let of_viewers = bytes.get(..beginning.unwrap_or(usize::MAX)).unwrap_or(&bytes).to_vec();
        let read = move || {
            let whole = |bytes: &[u8]| bytes.len() as u64 == length;
            let rows = Rows::read(format, &of_viewers, whole(&of_viewers));
            (rows.map_or(0, |rows| rows.count), Rows::read(format, &bytes, whole(&bytes)))
        };
        let (rows, all) = self.host().blocking(read).await;
        shown_cells.rows = rows;
        Ok(match all {
            Ok(Rows { columns, .. }) => TableFound::Table(Schema { format, columns }),
            Err(why) => TableFound::Unreadable(why),
        })
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::content::Scheme;

    use super::*;

    fn chosen(
        length: u64,
        show_first: u8,
        samples: &[(u64, u64)],
        preview_cells: u8,
    ) -> Result<Shown, ClientError> {
        let layout = Layout::new(Scheme { required: 4, total: 8 }, length).unwrap();
        let options =
            SellOptions { show_first, samples: samples.to_vec(), ..SellOptions::default() };
        choose(&layout, &options, preview_cells)
    }

    #[test]
    fn a_seller_is_told_what_becomes_public() {
        let cell = CELL_PLAIN_BYTES as u64;
        let shown = chosen(100 * cell, 2, &[(cell, 2 * cell + 1), (9 * cell, u64::MAX >> 1)], 1);
        assert!(shown.is_err(), "the rest of a file is more than 32 cells");
        let shown = chosen(100 * cell, 2, &[(cell, 2 * cell + 1), (9 * cell, 9 * cell + 1)], 3);
        let shown = shown.unwrap();
        assert_eq!(shown.chosen, [0, 1, 2, 9]);
        assert_eq!((shown.chosen_bytes, shown.public_bytes_max), (4 * cell, 7 * cell));
        let shown = chosen(100 * cell, 0, &[], 200).unwrap();
        assert_eq!((shown.chosen_bytes, shown.public_bytes_max), (0, 100 * cell));
    }

    #[test]
    fn what_a_seller_may_not_choose_is_refused() {
        let cell = CELL_PLAIN_BYTES as u64;
        let refused =
            |first, samples: &[(u64, u64)], drawn| chosen(50 * cell, first, samples, drawn);
        assert!(refused(32, &[], 1).is_ok());
        assert!(refused(33, &[], 1).is_err(), "too many");
        assert!(refused(0, &[(0, u64::MAX)], 1).is_err(), "too many");
        assert!(refused(1, &[], 0).is_err(), "nothing that is drawn");
        assert!(refused(0, &[(50 * cell, 60 * cell)], 1).is_err(), "behind the end");
        assert!(chosen(0, 1, &[], 1).is_err(), "an empty file");
        assert!(chosen(4 * cell, 4, &[], 1).is_err(), "the whole file");
        assert!(chosen(4 * cell, 3, &[], 1).is_ok());
    }

    #[test]
    fn the_beginning_of_a_file_ends_at_the_first_gap() {
        let layout = Layout::new(Scheme { required: 4, total: 8 }, 1 << 20).unwrap();
        let cell = CELL_PLAIN_BYTES as u64;
        for (cells, bytes) in [(&[][..], 0), (&[0, 1, 3], 2 * cell), (&[1, 2], 0), (&[0], cell)] {
            assert_eq!(beginning(&layout, cells), bytes);
        }
    }
}
