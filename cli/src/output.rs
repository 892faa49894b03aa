//! What a user or a program sees: words and tables for people, one JSON document for programs.
//!
//! Results go to stdout, everything else (questions, notes, progress, errors) to stderr, so that
//! `symbolon get x -o - | less` and `symbolon ls --json | jq` work. Colours only on a terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::{
    error::{Error, Kind},
    progress::Show,
};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Words and tables.
    Human,
    /// One JSON document.
    Json,
}

/// How much is said besides the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chatter {
    /// Only what the command was asked for.
    Quiet,
    /// Also what helps a person.
    Normal,
}

/// A line of a result.
#[derive(Debug)]
enum Line {
    Text(String),
    Heading(String),
    Field(&'static str, String),
    Table(Table),
}

/// Which edge of its column a cell keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row with one cell per column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a table's rows have its columns");
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            longest.max(self.columns[column].0.chars().count())
        };
        (0..self.columns.len()).map(width).collect()
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, (_, align)), width) in cells.zip(&self.columns).zip(widths) {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => line.extend([cell, &gap, "  "]),
                Align::Right => line.extend([&gap, cell, "  "]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// What a command has to say when it went well.
#[derive(Debug)]
pub(crate) struct Report {
    json: Value,
    silent: bool,
    lines: Vec<Line>,
    essence: Option<String>,
}

impl Report {
    /// A result with its JSON document.
    pub(crate) fn new(json: Value) -> Self {
        Self { json, silent: false, lines: Vec::new(), essence: None }
    }

    /// Adds a sentence.
    #[must_use]
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.lines.push(Line::Text(text.into()));
        self
    }

    /// Sets a field of the JSON document.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.json[name] = value;
        self
    }

    /// Only the JSON document.
    pub(crate) fn into_json(self) -> Value {
        self.json
    }

    /// Prints nothing at all: stdout was used for something else.
    #[must_use]
    pub(crate) fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    /// Adds a heading.
    #[must_use]
    pub(crate) fn heading(mut self, text: impl Into<String>) -> Self {
        self.lines.push(Line::Heading(text.into()));
        self
    }

    /// Adds a name and its value.
    #[must_use]
    pub(crate) fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.lines.push(Line::Field(name, value.into()));
        self
    }

    /// Adds a table.
    #[must_use]
    pub(crate) fn table(mut self, table: Table) -> Self {
        self.lines.push(Line::Table(table));
        self
    }

    /// What `--quiet` still prints: the one thing a script takes from the command.
    #[must_use]
    pub(crate) fn essence(mut self, text: impl Into<String>) -> Self {
        self.essence = Some(text.into());
        self
    }
}

/// Where everything a user sees goes through.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    chatter: Chatter,
    colour: bool,
    error_colour: bool,
    /// Progress is told also where nobody watches.
    progress: bool,
}

impl Output {
    /// For this process's terminal.
    pub(crate) fn new(format: Format, chatter: Chatter, plain: bool) -> Self {
        Self {
            format,
            chatter,
            colour: !plain && io::stdout().is_terminal(),
            error_colour: !plain && io::stderr().is_terminal(),
            progress: false,
        }
    }

    /// With progress told also where nobody watches.
    pub(crate) fn with_progress(mut self, progress: bool) -> Self {
        self.progress = progress;
        self
    }

    /// How progress is shown.
    pub(crate) fn progress(&self) -> Show {
        match (self.is_json(), self.progress) {
            (true, true) => Show::Events,
            (true, false) => Show::Nothing,
            (false, _) if self.is_watched() => Show::Bar,
            (false, true) => Show::Lines,
            (false, false) => Show::Nothing,
        }
    }

    /// Whether one JSON document is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a person looks on: stderr is a terminal and nobody asked for silence.
    pub(crate) fn is_watched(&self) -> bool {
        self.chatter == Chatter::Normal && !self.is_json() && io::stderr().is_terminal()
    }

    /// Prints a result.
    pub(crate) fn report(&self, report: &Report) -> Result<(), Error> {
        if report.silent {
            return Ok(());
        }
        if self.is_json() {
            return self.event(&report.json);
        }
        let mut text = String::new();
        if self.chatter == Chatter::Quiet {
            text.extend(report.essence.iter().flat_map(|essence| [essence.as_str(), "\n"]));
        } else {
            self.render(&report.lines, &mut text);
        }
        write_out(&text)
    }

    /// Prints one JSON document on a line of its own.
    pub(crate) fn event(&self, json: &Value) -> Result<(), Error> {
        write_out(&format!("{json}\n"))
    }

    /// Prints a sentence of a running command's result; nothing in JSON.
    pub(crate) fn say(&self, text: &str) -> Result<(), Error> {
        if self.is_json() || self.chatter == Chatter::Quiet {
            return Ok(());
        }
        write_out(&format!("{text}\n"))
    }

    /// Tells a person something beside the result.
    pub(crate) fn note(&self, text: &str) {
        if self.chatter == Chatter::Normal && !self.is_json() {
            complain(&format!("{text}\n"));
        }
    }

    /// Writes a line about what goes on beside the result, whoever reads it.
    pub(crate) fn aside(&self, line: &str) {
        complain(&format!("{line}\n"));
    }

    /// Tells a person something that needs care; a program finds it in the document.
    pub(crate) fn warn(&self, text: &str) {
        if self.is_json() || self.chatter == Chatter::Quiet {
            return;
        }
        let word = paint(self.error_colour, "1;33", "warning:");
        complain(&format!("{word} {text}\n"));
    }

    /// Prints what ended a command: a JSON document on stdout, or sentences on stderr.
    pub(crate) fn error(&self, error: &Error) {
        if self.is_json() {
            // Nothing is left to tell it to when stdout is gone too; the exit code still says it.
            drop(self.event(&error.to_json()));
            return;
        }
        let word = paint(self.error_colour, "1;31", "error:");
        complain(&format!("{word} {}\n", error.message));
        if let Some(hint) = &error.hint {
            let word = paint(self.error_colour, "1;36", "hint:");
            complain(&format!("{word} {hint}\n"));
        }
    }

    /// Asks a yes-or-no question on the terminal; an answer that is not yes is no.
    pub(crate) fn ask(&self, question: &str) -> Result<bool, Error> {
        complain(&format!("{question} [y/N] "));
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| Error::new(Kind::Io, format!("cannot read the answer: {error}")))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Whether a question can be asked and will be seen.
    pub(crate) fn can_ask(&self) -> bool {
        !self.is_json() && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Text that stands out on a terminal.
    pub(crate) fn bold(&self, text: &str) -> String {
        paint(self.colour, "1", text)
    }

    /// Text in green on a terminal.
    pub(crate) fn good(&self, text: &str) -> String {
        paint(self.colour, "32", text)
    }

    /// Text that steps back on a terminal.
    pub(crate) fn dim(&self, text: &str) -> String {
        paint(self.colour, "2", text)
    }

    fn render(&self, lines: &[Line], out: &mut String) {
        let name_width = lines.iter().filter_map(|line| match line {
            Line::Field(name, _) => Some(name.chars().count()),
            _ => None,
        });
        let name_width = name_width.max().unwrap_or(0);
        for line in lines {
            match line {
                Line::Text(text) => out.push_str(text),
                Line::Heading(text) => out.push_str(&self.bold(text)),
                Line::Field(name, value) => {
                    let name = format!("{name:<name_width$}");
                    out.extend([&self.dim(&name), "  ", value]);
                }
                Line::Table(table) => {
                    let widths = table.widths();
                    let head = table.line(table.columns.iter().map(|(name, _)| *name), &widths);
                    out.push_str(&self.dim(&head));
                    for row in &table.rows {
                        out.push('\n');
                        out.push_str(&table.line(row.iter().map(String::as_str), &widths));
                    }
                }
            }
            out.push('\n');
        }
    }
}

fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Writes to stdout. Whoever stopped reading has seen enough: a closed pipe is no error.
fn write_out(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Io, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes to stderr. When that fails there is nobody left to tell.
fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_line_up() {
        let out = Output::new(Format::Human, Chatter::Normal, true);
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right)]);
        table.row(vec!["penguins.csv".into(), "14.9 KiB".into()]);
        table.row(vec!["ünï".into(), "3 B".into()]);
        let report = Report::new(json!({})).field("a", "1").field("long", "2").table(table);
        let mut text = String::new();
        out.render(&report.lines, &mut text);
        let expected = "a     1\nlong  2\n\
                        NAME              SIZE\npenguins.csv  14.9 KiB\nünï                3 B\n";
        assert_eq!(text, expected);
    }
}
