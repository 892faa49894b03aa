//! The output: words and tables for people, one JSON document for programs.
//!
//! Results go to stdout, everything else (questions, notes, progress, errors) to stderr, so that
//! `symbolon get x -o - | less` and `symbolon ls --json | jq` work. Colours only on a terminal.
//!
//! Names, titles and texts of others pass through here on their way to a terminal. Characters that would move the
//! cursor, change the direction of the text around them or be invisible are escaped.

mod stream;

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use symbolon_client::{is_unprintable, printable};
use symbolon_view::{Document, failure::Failure, shell::LogLine};

use crate::{
    error::{Error, Kind},
    interrupt,
    progress::Show,
};

pub(crate) use stream::{Columns, Stream};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Words and tables.
    Human,
    /// One JSON document.
    Json,
}

/// How much is printed besides the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chatter {
    /// Only what the command was asked for.
    Quiet,
    /// Also notes and questions for a person.
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

/// The alignment of a column.
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
        self.rows.push(cells.iter().map(|cell| one_line(cell)).collect());
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

/// The first line of another process of this program: that it is ready, or why it is not.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Said<Ready> {
    Ready(Ready),
    Failed(Failure),
}

impl<Ready: DeserializeOwned> Said<Ready> {
    /// Parses the line; `None` if it is no such document.
    pub(crate) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// A document as it is kept in a file or given to another program.
pub(crate) fn document_bytes(document: &impl Document) -> Vec<u8> {
    json_line(&document.to_value()).into_bytes()
}

/// A log line as JSON.
pub(crate) fn log_line(line: &LogLine) -> String {
    json_line(&symbolon_view::to_value(line))
}

/// Reads a document that this program has kept; `None` if it is no such document.
pub(crate) fn read_document<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Report {
    document: Value,
    silent: bool,
    lines: Vec<Line>,
    essence: Option<String>,
}

impl Report {
    /// A result with its JSON document.
    pub(crate) fn new(document: &impl Document) -> Self {
        Self { document: document.to_value(), silent: false, lines: Vec::new(), essence: None }
    }

    /// A result of which nothing is printed.
    pub(crate) fn nothing() -> Self {
        Self { document: Value::Null, silent: true, lines: Vec::new(), essence: None }
    }

    /// Adds a sentence.
    #[must_use]
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.lines.push(Line::Text(text.into()));
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

/// All output passes through it.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    chatter: Chatter,
    colour: bool,
    error_colour: bool,
    /// Progress is reported without a terminal too.
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

    /// With progress reported without a terminal too.
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

    /// Whether a person watches: stderr is a terminal, and the user did not ask for silence.
    pub(crate) fn is_watched(&self) -> bool {
        self.chatter == Chatter::Normal && !self.is_json() && io::stderr().is_terminal()
    }

    /// Prints a result.
    pub(crate) fn report(&self, report: &Report) -> Result<(), Error> {
        if report.silent {
            return Ok(());
        }
        if self.is_json() {
            return print(&report.document);
        }
        let mut text = String::new();
        if self.chatter == Chatter::Quiet {
            if let Some(essence) = &report.essence {
                text.extend([lines(essence).as_str(), "\n"]);
            }
        } else {
            self.render(&report.lines, &mut text);
        }
        write_out(&text)
    }

    /// Prints one JSON document on a line of its own.
    pub(crate) fn event(&self, document: &impl Document) -> Result<(), Error> {
        print(&document.to_value())
    }

    /// Prints a sentence of a running command's result; nothing in JSON.
    pub(crate) fn say(&self, text: &str) -> Result<(), Error> {
        self.say_styled(&lines(text))
    }

    /// The same for text of this program, which may contain colours.
    pub(crate) fn say_styled(&self, text: &str) -> Result<(), Error> {
        if self.is_json() || self.chatter == Chatter::Quiet {
            return Ok(());
        }
        write_out(&format!("{text}\n"))
    }

    /// Tells a person something beside the result.
    pub(crate) fn note(&self, text: &str) {
        if self.chatter == Chatter::Normal && !self.is_json() {
            complain(&format!("{}\n", lines(text)));
        }
    }

    /// Writes a line to stderr about the work in progress, for people and programs.
    pub(crate) fn aside(&self, line: &str) {
        complain(&format!("{}\n", lines(line)));
    }

    /// Writes a JSON document to stderr about the work in progress.
    pub(crate) fn aside_event(&self, document: &impl Document) {
        complain(&json_line(&document.to_value()));
    }

    /// Clears the terminal's line of an unfinished progress bar.
    pub(crate) fn clear_line(&self) {
        if self.is_watched() {
            complain("\r\x1b[2K");
        }
    }

    /// Tells a person something that needs care; a program finds it in the document.
    pub(crate) fn warn(&self, text: &str) {
        if self.is_json() || self.chatter == Chatter::Quiet {
            return;
        }
        let word = paint(self.error_colour, "1;33", "warning:");
        complain(&format!("{word} {}\n", lines(text)));
    }

    /// Prints what ended a command: a JSON document on stdout, or sentences on stderr.
    pub(crate) fn error(&self, error: &Error) {
        if error.kind == Kind::ClosedPipe {
            // The reader has closed the pipe: it has seen enough.
            return;
        }
        if self.is_json() {
            // If stdout is gone too, only the exit code is left to tell of the error.
            let line = stream::before_error().to_owned() + &json_line(&error.document().to_value());
            drop(interrupt::last_word(|| write_out(&line)));
            return;
        }
        self.complain_of(error);
    }

    /// Prints what ended a command, for a caller that holds the lock of the last document.
    pub(crate) fn error_at_last(&self, error: &Error) {
        if self.is_json() {
            // As above.
            drop(write_out(&json_line(&error.document().to_value())));
            return;
        }
        self.complain_of(error);
    }

    fn complain_of(&self, error: &Error) {
        let word = paint(self.error_colour, "1;31", "error:");
        complain(&format!("{word} {}\n", lines(&error.message)));
        if let Some(hint) = &error.hint {
            let word = paint(self.error_colour, "1;36", "hint:");
            complain(&format!("{word} {}\n", lines(hint)));
        }
    }

    /// Asks a yes-or-no question on the terminal; an answer that is not yes is no.
    pub(crate) fn ask(&self, question: &str) -> Result<bool, Error> {
        complain(&format!("{} [y/N] ", lines(question)));
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| Error::new(Kind::Io, format!("cannot read the answer: {error}")))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for what is typed next.
    pub(crate) fn prompt(&self, prompt: &str) {
        complain(&lines(prompt));
    }

    /// Whether a question can be asked and will be seen.
    pub(crate) fn can_ask(&self) -> bool {
        !self.is_json() && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Bold text on a terminal.
    pub(crate) fn bold(&self, text: &str) -> String {
        paint(self.colour, "1", text)
    }

    /// Text in green on a terminal.
    pub(crate) fn good(&self, text: &str) -> String {
        paint(self.colour, "32", text)
    }

    /// Dim text on a terminal.
    pub(crate) fn dim(&self, text: &str) -> String {
        paint(self.colour, "2", text)
    }

    fn render(&self, all: &[Line], out: &mut String) {
        let name_width = all.iter().filter_map(|line| match line {
            Line::Field(name, _) => Some(name.chars().count()),
            _ => None,
        });
        let name_width = name_width.max().unwrap_or(0);
        for line in all {
            match line {
                Line::Text(text) => out.push_str(&lines(text)),
                Line::Heading(text) => out.push_str(&self.bold(&one_line(text))),
                Line::Field(name, value) => {
                    let name = format!("{name:<name_width$}");
                    out.extend([&self.dim(&name), "  ", &lines(value)]);
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

/// Text of one line as a terminal may show it.
pub(crate) fn one_line(text: &str) -> String {
    printable(text, &[])
}

/// Text of several lines as a terminal may show it.
fn lines(text: &str) -> String {
    printable(text, &['\n', '\t'])
}

/// A document on one line. Characters that a terminal would not show as they are stand there as escapes; to a JSON
/// parser this is the same text.
fn json_line(json: &Value) -> String {
    let text = json.to_string();
    let mut line = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        if is_unprintable(letter) {
            let units = letter.encode_utf16(&mut [0; 2]).to_vec();
            line.extend(units.into_iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            line.push(letter);
        }
    }
    line.push('\n');
    line
}

/// Prints one JSON document on a line of its own.
fn print(document: &Value) -> Result<(), Error> {
    let line = json_line(document);
    interrupt::last_word(|| write_out(&line))
}

/// Writes to stdout.
fn write_out(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).or_else(stdout_failed)
}

/// The error for a failed write to stdout. A reader that closed the pipe has seen enough, so that is no error.
pub(crate) fn stdout_failed(error: io::Error) -> Result<(), Error> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Error::io("write to", Path::new("stdout"), &error)),
    }
}

/// Writes to stderr. There is no other place to report a failure of that.
fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}

#[cfg(test)]
mod tests {
    use symbolon_view::files::Renamed;

    use super::*;

    fn document(from: &str, to: &str) -> Renamed {
        Renamed { from: from.to_owned(), to: to.to_owned(), names: 1 }
    }

    #[test]
    fn tables_line_up() {
        let out = Output::new(Format::Human, Chatter::Normal, true);
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right)]);
        table.row(vec!["penguins.csv".into(), "14.9 KiB".into()]);
        table.row(vec!["ünï".into(), "3 B".into()]);
        let report = Report::new(&document("", "")).field("a", "1").field("long", "2").table(table);
        let mut text = String::new();
        out.render(&report.lines, &mut text);
        let expected = "a     1\nlong  2\n\
                        NAME              SIZE\npenguins.csv  14.9 KiB\nünï                3 B\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_words_of_others_reach_a_terminal_as_they_are() {
        let out = Output::new(Format::Human, Chatter::Normal, true);
        let evil = "a\u{202e}b\x1b[2Jc\rd";
        let mut table = Table::new(&[("NAME", Align::Left)]);
        table.row(vec![format!("{evil}\nfaked  line")]);
        let report = Report::new(&document("", ""))
            .text(evil)
            .heading(format!("{evil}\n"))
            .field("a", evil)
            .table(table);
        let mut text = String::new();
        out.render(&report.lines, &mut text);
        assert!(!text.contains(|letter| letter != '\n' && is_unprintable(letter)), "{text:?}");
        assert_eq!(text.lines().count(), 5, "no line is faked: {text:?}");
        // To a program it is what it was.
        let json = document(evil, "\u{e0041}").to_value();
        let line = json_line(&json);
        assert!(!line.trim_end().contains(is_unprintable), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), json);
    }
}
