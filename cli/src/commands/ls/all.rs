//! Prints a list while it reads it: of one folder, or of everything below it.

use symbolon_client::{Client, FileView, Name};
use symbolon_protocol::LedgerTime;
use symbolon_view::names::{Entry, Names};

use super::{Line, columns, file_row, long_columns, long_file_row, long_row, row};
use crate::{
    error::Error,
    output::{Columns, Output, Stream},
    units::{count, show_size},
};

/// What is listed, and how.
pub(super) struct Listing<'a> {
    pub(super) client: &'a Client,
    /// The folder to list; `None` for all names.
    pub(super) what: Option<Name>,
    /// Whether to list everything below it.
    pub(super) recursive: bool,
    /// Files that are stored for listings.
    pub(super) public: &'a [FileView],
    pub(super) long: bool,
    pub(super) now_ms: LedgerTime,
}

impl Listing<'_> {
    /// Prints the list. Returns whether there was anything to list.
    pub(super) async fn print(&self, out: &Output) -> Result<bool, Error> {
        let mut stream = out.stream();
        if out.is_json() {
            stream.begin_list(&Names { files: Vec::new() });
            let mut any = !self.public.is_empty();
            self.each(&mut stream, |stream, line| {
                any = true;
                stream.item(&line.entry(self.now_ms))
            })
            .await?;
            for file in self.public {
                stream.item(&Entry::file(file, self.now_ms))?;
            }
            stream.end_list()?;
            return Ok(any);
        }
        if out.is_quiet() {
            let mut any = false;
            self.each(&mut stream, |stream, line| {
                any = true;
                stream.line(&line.name())
            })
            .await?;
            stream.write()?;
            return Ok(any || !self.public.is_empty());
        }
        // The widths of the columns are known only after all lines were read, so the list is read twice.
        let mut columns = Columns::new(&if self.long { long_columns() } else { columns() });
        let (mut lines, mut files, mut bytes) = (0_u64, 0_u64, 0_u64);
        self.each(&mut stream, |_, line| {
            lines += 1;
            let (more, length) = line.counts();
            files += more;
            bytes = bytes.saturating_add(length);
            columns.fit(&self.cells(&line));
            Ok(())
        })
        .await?;
        for file in self.public {
            files += 1;
            bytes = bytes.saturating_add(file.length);
            columns.fit(&self.file_cells(file));
        }
        if lines == 0 && self.public.is_empty() {
            return Ok(false);
        }
        stream.head(&columns);
        self.each(&mut stream, |stream, line| stream.row(&columns, &self.cells(&line))).await?;
        for file in self.public {
            stream.row(&columns, &self.file_cells(file))?;
        }
        stream.line(&format!("{}, {}", count(files, "file"), show_size(bytes)))?;
        stream.write()?;
        Ok(true)
    }

    fn cells(&self, line: &Line) -> Vec<String> {
        if self.long { long_row(line) } else { row(line, self.now_ms) }
    }

    fn file_cells(&self, file: &FileView) -> Vec<String> {
        if self.long { long_file_row(file) } else { file_row(file, self.now_ms) }
    }

    async fn each<'out>(
        &self,
        stream: &mut Stream<'out>,
        mut take: impl FnMut(&mut Stream<'out>, Line) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.recursive {
            let mut names = self.client.walk_names(self.what.as_ref());
            while !stream.is_closed()
                && let Some(view) = names.next().await?
            {
                take(stream, Line::Name(view))?;
            }
        } else {
            let mut lines = self.client.walk_folder(self.what.as_ref());
            while !stream.is_closed()
                && let Some(listed) = lines.next().await?
            {
                take(stream, Line::from(listed))?;
            }
        }
        Ok(())
    }
}
