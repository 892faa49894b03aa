//! Results that are printed piece by piece, so that a long one is never in memory as a whole. The bytes are the same as
//! those of a [`Report`](super::Report).

use std::{
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;
use symbolon_view::{Document, to_value};

use super::{Align, Chatter, Output, Table, json_line, one_line, stdout_failed};
use crate::{error::Error, interrupt};

/// Bytes that are collected before they are written.
const CHUNK_BYTES: usize = 64 * 1024;

/// Whether a document on stdout has begun, and not ended.
static UNENDED: AtomicBool = AtomicBool::new(false);

/// The text before an error's document. After a document that was cut off, the error needs a line of its own.
pub(super) fn before_error() -> &'static str {
    if UNENDED.load(Ordering::Relaxed) { "\n" } else { "" }
}

/// How wide the columns of a table are.
#[derive(Debug)]
pub(crate) struct Columns {
    table: Table,
    widths: Vec<usize>,
}

impl Columns {
    /// As wide as their headings.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        let table = Table::new(columns);
        let widths = table.widths();
        Self { table, widths }
    }

    /// Makes room for a row.
    pub(crate) fn fit(&mut self, cells: &[String]) {
        for (width, cell) in self.widths.iter_mut().zip(cells) {
            *width = (*width).max(one_line(cell).chars().count());
        }
    }

    fn line(&self, cells: &[String]) -> String {
        let cells: Vec<_> = cells.iter().map(|cell| one_line(cell)).collect();
        self.table.line(cells.iter().map(String::as_str), &self.widths)
    }
}

/// Where a long result goes.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    out: &'a Output,
    text: String,
    items: u64,
    /// What ends the JSON document.
    end: String,
    closed: bool,
}

impl Output {
    /// A result that is printed piece by piece.
    pub(crate) fn stream(&self) -> Stream<'_> {
        Stream { out: self, text: String::new(), items: 0, end: String::new(), closed: false }
    }

    /// Whether only the essence of a result is wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_json() && self.chatter == Chatter::Quiet
    }
}

impl Stream<'_> {
    /// Begins a JSON document that has one list; `empty` is the same without items.
    pub(crate) fn begin_list(&mut self, empty: &impl Document) {
        let line = json_line(&empty.to_value());
        // The list is the only thing in the document that could look like an empty one.
        let (before, after) = line.split_once("[]").unwrap_or((&line, ""));
        self.text.extend([before, "["]);
        self.end = format!("]{after}");
    }

    /// The next item of the list.
    pub(crate) fn item(&mut self, item: &impl Serialize) -> Result<(), Error> {
        if self.items > 0 {
            self.text.push(',');
        }
        self.items += 1;
        self.text.push_str(json_line(&to_value(item)).trim_end());
        self.flow()
    }

    /// Ends the list and the document, and writes the rest of it.
    pub(crate) fn end_list(&mut self) -> Result<(), Error> {
        self.text.push_str(&std::mem::take(&mut self.end));
        self.write()?;
        UNENDED.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// A table's headings.
    pub(crate) fn head(&mut self, columns: &Columns) {
        let head = columns.table.columns.iter().map(|(name, _)| *name);
        let head = columns.table.line(head, &columns.widths);
        self.text.extend([self.out.dim(&head).as_str(), "\n"]);
    }

    /// A table's next row.
    pub(crate) fn row(&mut self, columns: &Columns, cells: &[String]) -> Result<(), Error> {
        self.text.extend([columns.line(cells).as_str(), "\n"]);
        self.flow()
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Error> {
        self.text.extend([one_line(text).as_str(), "\n"]);
        self.flow()
    }

    /// Whether the reader has closed the pipe.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn flow(&mut self) -> Result<(), Error> {
        if self.text.len() < CHUNK_BYTES { Ok(()) } else { self.write() }
    }

    /// Writes what was collected.
    pub(crate) fn write(&mut self) -> Result<(), Error> {
        let text = std::mem::take(&mut self.text);
        if self.closed {
            return Ok(());
        }
        let write = || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        };
        // Once a document has begun, a signal writes no other one after it.
        UNENDED.store(self.out.is_json(), Ordering::Relaxed);
        let written = if self.out.is_json() { interrupt::last_word(write) } else { write() };
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.closed = written.as_ref().is_err_and(gone);
        written.or_else(stdout_failed)
    }
}
