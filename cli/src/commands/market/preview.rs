//! `symbolon market preview`: what anyone may see of a file that is for sale, and how sure each part is.

use std::path::{Path, PathBuf};

use symbolon_client::{
    Client, PreviewCell,
    market::{Conformity, PreviewView, Rows, Schema},
};
use symbolon_protocol::id::ListingId;
use symbolon_view::market::{FreshPreview, Preview};

use super::find;
use crate::{
    error::{Error, Kind},
    home,
    output::{Align, Report, Table},
    units::{count, show_size},
};

/// Rows, columns of a row, columns of a schema, and characters of a value that are shown.
const ROWS_SHOWN: usize = 10;
const COLUMNS_SHOWN: usize = 6;
const SCHEMA_SHOWN: usize = 40;
const VALUE_SHOWN: usize = 24;

pub(super) async fn run(
    client: &Client,
    listing: &str,
    fresh: Option<u8>,
    output: Option<PathBuf>,
) -> Result<Report, Error> {
    let id = find(client, listing).await?;
    if let Some(count) = fresh {
        return drawn_here(client, &id, count, output).await;
    }
    let view = client.preview(&id).await?;
    let cells = &view.cells;
    if cells.drawn.is_empty() && cells.chosen.is_empty() && view.schema.is_none() {
        return Err(Error::new(Kind::NotFound, "this listing has no preview"));
    }
    if let Some(folder) = &output {
        write(folder, cells.drawn.iter().chain(&cells.chosen))?;
    }
    let mut report = columns(Report::new(&Preview::new(&id, &view)), &view);
    for cell in &cells.drawn {
        let who = "drawn by the ledger's beacon, so the seller could not choose it";
        report = shown(report, cell, who);
    }
    for cell in &cells.chosen {
        let who = "chosen by the seller, so it says nothing of the rest of the file";
        report = shown(report, cell, who);
    }
    Ok(report)
}

/// Shows the cells that a number of this viewer's own picks.
async fn drawn_here(
    client: &Client,
    id: &ListingId,
    count: u8,
    output: Option<PathBuf>,
) -> Result<Report, Error> {
    let fresh = client.fresh_preview(id, count).await?;
    if let Some(folder) = &output {
        write(folder, fresh.cells.iter())?;
    }
    let mut report = Report::new(&FreshPreview::new(id, &fresh));
    for cell in &fresh.cells {
        let who = "drawn by your own number, answered by the seller just now";
        report = shown(report, cell, who);
    }
    Ok(report)
}

/// Writes each cell to a file of its own.
fn write<'a>(folder: &Path, cells: impl Iterator<Item = &'a PreviewCell>) -> Result<(), Error> {
    home::make_folder(folder)?;
    for cell in cells {
        let path = folder.join(format!("cell-{}", cell.cell));
        match home::read_if_there(&path)? {
            Some(there) if *there == *cell.plain => {}
            Some(_) => {
                return Err(Error::new(Kind::Exists, format!("{} exists", path.display()))
                    .hint("write the cells to another folder"));
            }
            None => home::write_whole(&path, &cell.plain)?,
        }
    }
    Ok(())
}

/// The columns that the seller says, and the rows that are proven.
fn columns(mut report: Report, view: &PreviewView) -> Report {
    let Some(schema) = &view.schema else {
        return report.text("The seller says no columns of this file.");
    };
    report = schema_table(report, schema);
    match &view.rows {
        Some(rows) => report = rows_table(report, rows),
        None if view.conformity.is_none() => {
            report = report.text("The seller shows no first rows, so nothing proves the columns.");
        }
        None => {}
    }
    match &view.conformity {
        None => report,
        Some(Conformity::Conforms) => {
            report.text("These rows have the columns that the seller says.")
        }
        Some(Conformity::OtherColumns) => {
            report.text("WARNING: these rows have other columns than the seller says.")
        }
        Some(Conformity::OtherType { column }) => report.text(format!(
            "WARNING: {:?} has other values in these rows than the seller says.",
            short(column)
        )),
        Some(Conformity::NotATable(why)) => {
            report.text(format!("WARNING: the beginning of the file is not such a table: {why}."))
        }
    }
}

fn schema_table(report: Report, schema: &Schema) -> Report {
    let mut table = Table::new(&[("COLUMN", Align::Left), ("TYPE", Align::Left)]);
    for column in schema.columns.iter().take(SCHEMA_SHOWN) {
        let kind = column.kind.map_or("not said", |kind| kind.word());
        table.row(vec![short(&column.name), kind.to_owned()]);
    }
    let report = report
        .heading(format!(
            "The columns, in the seller's word: {} of {}",
            count(schema.columns.len(), "column"),
            schema.format.word()
        ))
        .table(table);
    match schema.columns.len().saturating_sub(SCHEMA_SHOWN) {
        0 => report,
        more => report.text(format!("and {more} more; --json shows all")),
    }
}

fn rows_table(report: Report, rows: &Rows) -> Report {
    let heading = "The first rows, proven to be part of what is sold. The seller chose to show them, so they say nothing \
                   of the rest of the file:";
    let columns = rows.columns.len().min(COLUMNS_SHOWN);
    // The names are a stranger's: they stand in a row, as values do.
    let mut table = Table::new(&[("", Align::Left); COLUMNS_SHOWN][..columns]);
    table.row(rows.columns.iter().take(columns).map(|column| short(&column.name)).collect());
    for row in rows.first.iter().take(ROWS_SHOWN) {
        table.row(row.iter().take(columns).map(|value| short(value)).collect());
    }
    let shown = rows.first.len().min(ROWS_SHOWN);
    report.heading(heading).table(table).text(format!(
        "{shown} of {} and {columns} of {} are here; --json shows more.",
        count(rows.count, "row"),
        count(rows.columns.len(), "column"),
    ))
}

/// A stranger's value, cut to what fits beside others.
fn short(value: &str) -> String {
    let mut letters = value.chars();
    let mut short: String = letters.by_ref().take(VALUE_SHOWN).collect();
    if letters.next().is_some() {
        short.push('\u{2026}');
    }
    short
}

fn shown(report: Report, cell: &PreviewCell, who: &str) -> Report {
    let size = show_size(cell.plain.len() as u64);
    report
        .heading(format!(
            "Cell {}, {size} from byte {} on, {who}; proven to be part of what is sold:",
            cell.cell, cell.offset
        ))
        .text(glimpse(&cell.plain))
}

/// The beginning of a cell as a terminal may show it.
fn glimpse(bytes: &[u8]) -> String {
    const SHOWN: usize = 800;
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let text = String::from_utf8_lossy(shown);
    let printable = text.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').count();
    // Seven in eight readable characters: a text, perhaps cut in the middle of one.
    if printable * 8 < text.chars().count() * 7 || text.contains('\u{1b}') {
        return format!("  (not text: {})", show_size(bytes.len() as u64));
    }
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let lines: Vec<_> = text.lines().map(|line| format!("  {}", clean(line))).collect();
    lines.join("\n")
}
