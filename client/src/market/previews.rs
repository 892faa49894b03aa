//! What a viewer sees of a file before buying it: the cells that are open for everyone, and the columns that the seller
//! says it has, beside the rows that are proven to be part of it.

use symbolon_protocol::{
    Decode,
    content::Layout,
    id::{Hash, ListingId},
    ledger::rows::Listing,
    preview::{Preview, cell_range},
};
use symbolon_transfer::Reason;

use crate::{
    error::ClientError,
    market::{
        Market,
        description::listed_schema,
        table::{Conformity, Rows, Schema},
    },
};

/// An opened cell. It is checked against the content root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewCell {
    /// The cell's number in the file, from 0.
    pub cell: u64,
    /// Where the cell begins in the file, in bytes.
    pub offset: u64,
    /// The cell's bytes.
    pub plain: Vec<u8>,
}

/// The cells of a listing that are open for everyone. All are part of the file that is for sale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenCells {
    /// Those that the beacon picked: the seller could not choose them.
    pub drawn: Vec<PreviewCell>,
    /// Those that the seller chose: they say nothing of the rest of the file.
    pub chosen: Vec<PreviewCell>,
}

/// All that a viewer sees of a file before buying it.
#[derive(Clone, Debug)]
pub struct PreviewView {
    /// The open cells.
    pub cells: OpenCells,
    /// The columns, in the seller's word.
    pub schema: Option<Schema>,
    /// The first rows that lie in cells of the seller's choice, so they are part of the file.
    pub rows: Option<Rows>,
    /// Whether these rows have the columns that the seller says. None if there are no such rows.
    pub conformity: Option<Conformity>,
}

/// Opened cells as a viewer sees them.
pub(super) fn viewed(layout: &Layout, cells: Vec<(u64, Vec<u8>)>) -> Vec<PreviewCell> {
    let cells = cells.into_iter().map(|(cell, plain)| {
        let range = cell_range(layout, cell);
        PreviewCell { cell, offset: range.map_or(0, |(start, _)| start), plain }
    });
    cells.collect()
}

impl OpenCells {
    /// The beginning of the file as far as chosen cells show it without a gap.
    fn beginning(&self) -> Vec<u8> {
        let unbroken = (0..).zip(&self.chosen).take_while(|(at, cell)| *at == cell.cell);
        unbroken.flat_map(|(_, cell)| cell.plain.iter().copied()).collect()
    }
}

impl PreviewView {
    fn new(cells: OpenCells, schema: Option<Schema>, length: u64) -> Self {
        let mut view = Self { cells, schema, rows: None, conformity: None };
        let beginning = view.cells.beginning();
        let Some(schema) = view.schema.as_ref().filter(|_| !beginning.is_empty()) else {
            return view;
        };
        match Rows::read(schema.format, &beginning, beginning.len() as u64 == length) {
            Ok(rows) => {
                view.conformity = Some(schema.agrees(&rows));
                view.rows = Some(rows);
            }
            Err(why) => view.conformity = Some(Conformity::NotATable(why)),
        }
        view
    }
}

impl Market {
    /// What a listing shows of its file. The client checks that the beacon picked the cells that it should have picked,
    /// and that all cells are part of the file for sale.
    pub async fn preview(&self, id: &ListingId) -> Result<PreviewView, ClientError> {
        let listing = self.own.row(id).await?;
        let cells = match listing.terms.preview_cells {
            0 => OpenCells::default(),
            _ => self.open_preview(id, &listing).await?,
        };
        let document = self.read_public(&listing.seller, &listing.terms.document).await?;
        let length = listing.terms.manifest.length;
        let view = move || PreviewView::new(cells, listed_schema(&document), length);
        Ok(self.host().blocking(view).await)
    }

    /// Opens and checks the preview cells of a listing that has some.
    pub(crate) async fn open_preview(
        &self,
        id: &ListingId,
        listing: &Listing,
    ) -> Result<OpenCells, ClientError> {
        let (Some(seed), Some(preview)) = (listing.preview_seed, &listing.preview) else {
            return Err(ClientError::NoPreview(*id));
        };
        let bytes = self.read_public(&listing.seller, preview).await?;
        open(listing, &seed, &bytes).map_err(|why| ClientError::Corrupt { segment: 0, why })
    }
}

fn open(listing: &Listing, seed: &Hash, bytes: &[u8]) -> Result<OpenCells, Reason> {
    let preview = Preview::from_bytes(bytes)?;
    let manifest = &listing.terms.manifest;
    let layout = manifest.layout()?;
    let opened = preview.open(manifest, seed, listing.terms.preview_cells)?;
    let (drawn, chosen) = (viewed(&layout, opened.drawn), viewed(&layout, opened.chosen));
    Ok(OpenCells { drawn, chosen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::table::{Column, ColumnType, NotATable, TableFormat};

    fn cell(cell: u64, text: &str) -> PreviewCell {
        PreviewCell { cell, offset: 0, plain: text.into() }
    }

    fn view(drawn: &[PreviewCell], chosen: &[PreviewCell], length: u64) -> PreviewView {
        let column = |name: &str, kind| Column { name: name.into(), kind: Some(kind) };
        let columns = vec![column("a", ColumnType::Integer), column("b", ColumnType::Text)];
        let schema = Schema { format: TableFormat::Csv, columns };
        let cells = OpenCells { drawn: drawn.to_vec(), chosen: chosen.to_vec() };
        PreviewView::new(cells, Some(schema), length)
    }

    #[test]
    fn rows_come_of_chosen_cells_from_the_beginning_on() {
        let cells = [cell(0, "a,b\n1,"), cell(1, "x\n2,y\n3"), cell(3, ",z\n")];
        let seen = view(&[], &cells, 100);
        assert_eq!(seen.rows.map(|rows| rows.count), Some(2));
        assert_eq!(seen.conformity, Some(Conformity::Conforms));
        // Drawn cells are shown apart, and nothing is read into them.
        let seen = view(&cells, &[], 100);
        assert_eq!((seen.rows, seen.conformity), (None, None));
        let seen = view(&[], &cells[1..], 100);
        assert_eq!((seen.rows, seen.conformity), (None, None));
    }

    #[test]
    fn rows_that_are_not_as_the_seller_says_are_told() {
        let of = |text: &str| view(&[], &[cell(0, text)], text.len() as u64).conformity.unwrap();
        assert_eq!(of("a,b\n1,2\n"), Conformity::Conforms);
        assert_eq!(of("a,c\n1,2\n"), Conformity::OtherColumns);
        assert_eq!(of("a,b\nx,2\n"), Conformity::OtherType { column: "a".into() });
        let ragged = NotATable::Ragged { row: 1, values: 1, columns: 2 };
        assert_eq!(of("a,b\n1\n"), Conformity::NotATable(ragged));
    }
}
