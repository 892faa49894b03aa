//! Tables in files: their columns and their first rows. The bytes may be a stranger's, so all that is kept of them is
//! bounded, and none of it is believed to be what its name says.

mod json_lines;

use thiserror::Error;

/// Columns of a table at most. Wider ones are data that people do not look at row by row.
pub(super) const COLUMNS_MAX: usize = 512;

/// Bytes of a column's name at most.
pub(super) const NAME_BYTES_MAX: usize = 200;

/// Rows that are kept for a viewer.
const ROWS_KEPT: usize = 20;

/// Characters of a value that are kept for a viewer.
const VALUE_CHARS_KEPT: usize = 200;

/// How a table is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Comma-separated values; the first record names the columns.
    Csv,
    /// Tab-separated values; the first record names the columns.
    Tsv,
    /// One JSON object on each line.
    JsonLines,
}

impl TableFormat {
    const ALL: [Self; 3] = [Self::Csv, Self::Tsv, Self::JsonLines];

    /// The format that the ending of a file's name says.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Tsv => "text/tab-separated-values",
            Self::JsonLines => "application/x-ndjson",
        }
    }

    /// The format of a media type.
    pub(super) fn of_media_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.media_type() == text)
    }

    /// Its name, for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::JsonLines => "JSON lines",
        }
    }
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// Whole numbers.
    Integer,
    /// Numbers.
    Number,
    /// Dates, as 2026-12-31.
    Date,
    /// Dates with a time of day, as 2026-12-31T18:00.
    DateTime,
    /// Lists and objects of JSON.
    Structured,
    /// Text, or values of several kinds.
    Text,
}

impl ColumnType {
    const ALL: [Self; 7] = [
        Self::Boolean,
        Self::Integer,
        Self::Number,
        Self::Date,
        Self::DateTime,
        Self::Structured,
        Self::Text,
    ];

    /// Its name in schema.org.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Boolean => "Boolean",
            Self::Integer => "Integer",
            Self::Number => "Number",
            Self::Date => "Date",
            Self::DateTime => "DateTime",
            Self::Structured => "StructuredValue",
            Self::Text => "Text",
        }
    }

    /// The type of this name.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The narrowest type that has the values of both.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            _ => Self::Text,
        }
    }

    /// What a text is. None if it says that there is no value.
    fn of_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text == "NA" {
            return None;
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let numeric = |letter: u8| letter.is_ascii_digit() || b"+-.eE".contains(&letter);
        Some(if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            Self::Boolean
        } else if !digits.is_empty() && digits.bytes().all(|letter| letter.is_ascii_digit()) {
            Self::Integer
        } else if text.bytes().all(numeric) && text.parse::<f64>().is_ok() {
            Self::Number
        } else {
            Self::of_date(text.as_bytes()).unwrap_or(Self::Text)
        })
    }

    fn of_date(text: &[u8]) -> Option<Self> {
        let (date, time) = text.split_at_checked(10)?;
        let shape = |text: &[u8], shape: &[u8]| {
            text.iter().zip(shape).all(|(letter, wanted)| match wanted {
                b'0' => letter.is_ascii_digit(),
                b'T' => b"T ".contains(letter),
                _ => letter == wanted,
            })
        };
        match time.len() {
            0 if shape(date, b"0000-00-00") => Some(Self::Date),
            6.. if shape(date, b"0000-00-00") && shape(time, b"T00:00") => Some(Self::DateTime),
            _ => None,
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values are. None if it has none, or if that is not said.
    pub kind: Option<ColumnType>,
}

impl Column {
    fn add(&mut self, kind: Option<ColumnType>) {
        self.kind = match (self.kind, kind) {
            (Some(one), Some(other)) => Some(one.join(other)),
            (one, other) => one.or(other),
        };
    }
}

/// The columns of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// How the table is written down.
    pub format: TableFormat,
    /// The columns.
    pub columns: Vec<Column>,
}

/// The rows at the beginning of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The columns, with what the values of these rows are.
    pub columns: Vec<Column>,
    /// How many rows there are.
    pub count: u64,
    /// The first of them, their values cut if they are long.
    pub first: Vec<Vec<String>>,
}

/// Whether the rows of a table are as its schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conformity {
    /// They are.
    Conforms,
    /// They have other columns.
    OtherColumns,
    /// A column has values of another type.
    OtherType {
        /// Its name.
        column: String,
    },
    /// They cannot be read as a table of this format.
    NotATable(NotATable),
}

/// Why bytes are not read as a table.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotATable {
    /// It has no row that is whole.
    #[error("no row of it is whole")]
    Empty,
    /// It has too many columns.
    #[error("it has more than {COLUMNS_MAX} columns")]
    Wide,
    /// A column has a name that is none.
    #[error("a column's name is longer than {NAME_BYTES_MAX} bytes, or not text")]
    Name,
    /// A row has another number of values than there are columns.
    #[error("row {row} has {values} values, not {columns}")]
    Ragged {
        /// The row, from 1.
        row: u64,
        /// Its values.
        values: usize,
        /// The columns.
        columns: usize,
    },
    /// A line is not an object of JSON.
    #[error("row {row} is not a JSON object")]
    NotJson {
        /// The row, from 1.
        row: u64,
    },
}

impl Schema {
    /// Whether rows of the same file are as this schema says.
    pub(super) fn agrees(&self, rows: &Rows) -> Conformity {
        // A row of JSON lines may lack what a later one has.
        let same = match self.format {
            TableFormat::Csv | TableFormat::Tsv => self.columns.len() == rows.columns.len(),
            TableFormat::JsonLines => true,
        };
        if !same {
            return Conformity::OtherColumns;
        }
        for (at, column) in rows.columns.iter().enumerate() {
            let listed = match self.format {
                TableFormat::Csv | TableFormat::Tsv => {
                    self.columns.get(at).filter(|listed| listed.name == column.name)
                }
                TableFormat::JsonLines => {
                    self.columns.iter().find(|listed| listed.name == column.name)
                }
            };
            let Some(listed) = listed else { return Conformity::OtherColumns };
            if let (Some(says), Some(is)) = (listed.kind, column.kind)
                && says.join(is) != says
            {
                return Conformity::OtherType { column: column.name.clone() };
            }
        }
        Conformity::Conforms
    }
}

impl Rows {
    /// Reads the beginning of a table. `whole` says that it is all of it; else its last row may be cut, and does not
    /// count.
    pub(super) fn read(format: TableFormat, bytes: &[u8], whole: bool) -> Result<Self, NotATable> {
        match format {
            TableFormat::Csv => delimited(b',', bytes, whole),
            TableFormat::Tsv => delimited(b'\t', bytes, whole),
            TableFormat::JsonLines => json_lines::read(bytes, whole),
        }
    }

    fn new(columns: Vec<Column>) -> Self {
        Self { columns, count: 0, first: Vec::new() }
    }
}

/// A column of this name, if it is one that a column may have.
fn named(name: &str) -> Result<Column, NotATable> {
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(NotATable::Name);
    }
    Ok(Column { name: name.to_owned(), kind: None })
}

fn kept(value: &str) -> String {
    value.chars().take(VALUE_CHARS_KEPT).collect()
}

/// Reads records with a delimiter between their values, in quotes where these need them.
fn delimited(delimiter: u8, bytes: &[u8], whole: bool) -> Result<Rows, NotATable> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut rows: Option<Rows> = None;
    let mut records = reader.byte_records();
    // Bytes in memory do not fail to be read.
    let mut next = records.next().and_then(Result::ok);
    while let Some(record) = next {
        next = records.next().and_then(Result::ok);
        if next.is_none() && !whole {
            break;
        }
        let Some(rows) = &mut rows else {
            if record.len() > COLUMNS_MAX {
                return Err(NotATable::Wide);
            }
            let name = |name: &[u8]| named(std::str::from_utf8(name).map_err(|_| NotATable::Name)?);
            rows = Some(Rows::new(record.iter().map(name).collect::<Result<_, _>>()?));
            continue;
        };
        let (values, columns) = (record.len(), rows.columns.len());
        if values != columns {
            return Err(NotATable::Ragged { row: rows.count + 1, values, columns });
        }
        let texts: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
        for (column, text) in rows.columns.iter_mut().zip(&texts) {
            column.add(ColumnType::of_text(text));
        }
        if rows.first.len() < ROWS_KEPT {
            rows.first.push(texts.iter().map(|text| kept(text)).collect());
        }
        rows.count += 1;
    }
    rows.ok_or(NotATable::Empty)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns(rows: &Rows) -> Vec<(&str, Option<ColumnType>)> {
        rows.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect()
    }

    const TABLE: &[u8] =
        b"id,mass,seen,when,\"a, b\"\r\n1,3.5,true,2026-01-02,x\n2,NA,FALSE,2026-01-03,\"y\nz\"\n";

    #[test]
    fn a_table_has_the_narrowest_types_of_its_values() {
        use ColumnType::{Boolean, Date, Integer, Number, Text};
        let rows = Rows::read(TableFormat::Csv, TABLE, true).unwrap();
        let expected =
            [("id", Integer), ("mass", Number), ("seen", Boolean), ("when", Date), ("a, b", Text)];
        assert_eq!(columns(&rows), expected.map(|(name, kind)| (name, Some(kind))));
        assert_eq!((rows.count, rows.first[1][4].as_str()), (2, "y\nz"));
        let rows = Rows::read(TableFormat::Tsv, b"a\tb\n-1\t\n2.5\t\n", true).unwrap();
        assert_eq!(columns(&rows), [("a", Some(Number)), ("b", None)]);
    }

    #[test]
    fn what_a_text_is() {
        use ColumnType::{Boolean, Date, DateTime, Integer, Number, Text};
        for (text, kind) in [
            ("", None),
            (" ", None),
            ("NA", None),
            ("TRUE", Some(Boolean)),
            ("-12", Some(Integer)),
            ("+", Some(Text)),
            ("1e3", Some(Number)),
            ("-.5", Some(Number)),
            ("1.2.3", Some(Text)),
            ("inf", Some(Text)),
            ("NaN", Some(Text)),
            ("2026-12-31", Some(Date)),
            ("2026-12-31T18:00", Some(DateTime)),
            ("2026-12-31 18:00:01Z", Some(DateTime)),
            ("2026-12-31T", Some(Text)),
            ("2026/12/31", Some(Text)),
            ("\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}", Some(Text)),
        ] {
            assert_eq!(ColumnType::of_text(text), kind, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let read = |bytes: &[u8]| Rows::read(TableFormat::Csv, bytes, true).map(|rows| rows.count);
        let ragged = NotATable::Ragged { row: 2, values: 1, columns: 2 };
        assert_eq!(read(b"a,b\n1,2\n3\n"), Err(ragged));
        assert_eq!(read(b""), Err(NotATable::Empty));
        assert_eq!(read(b"a,\xff\n1,2\n"), Err(NotATable::Name));
        assert_eq!(read(b"a,\x1b[2J\n1,2\n"), Err(NotATable::Name));
        assert_eq!(read("n".repeat(NAME_BYTES_MAX + 1).as_bytes()), Err(NotATable::Name));
        assert_eq!(read(",".repeat(COLUMNS_MAX).as_bytes()), Err(NotATable::Wide));
        assert_eq!(read(",".repeat(COLUMNS_MAX - 1).as_bytes()), Ok(0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = format!("a\n{}\n", "x".repeat(10_000)).repeat(50);
        let rows = Rows::read(TableFormat::Csv, long.as_bytes(), true).unwrap();
        assert_eq!((rows.count, rows.first.len()), (99, ROWS_KEPT));
        assert!(rows.first.iter().flatten().all(|value| value.len() <= VALUE_CHARS_KEPT));
    }

    #[test]
    fn rows_agree_with_a_schema_that_has_their_columns_and_wider_types() {
        let rows = Rows::read(TableFormat::Csv, b"a,b\n1,x\n", true).unwrap();
        let agrees = |listed: &[(&str, Option<ColumnType>)]| {
            let columns = listed
                .iter()
                .map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind })
                .collect();
            Schema { format: TableFormat::Csv, columns }.agrees(&rows)
        };
        let (integer, number, text) =
            (Some(ColumnType::Integer), Some(ColumnType::Number), Some(ColumnType::Text));
        assert_eq!(agrees(&[("a", integer), ("b", text)]), Conformity::Conforms);
        assert_eq!(agrees(&[("a", number), ("b", None)]), Conformity::Conforms);
        assert_eq!(agrees(&[("b", text), ("a", integer)]), Conformity::OtherColumns);
        assert_eq!(agrees(&[("a", integer)]), Conformity::OtherColumns);
        let other = Conformity::OtherType { column: String::from("b") };
        assert_eq!(agrees(&[("a", integer), ("b", number)]), other);
        // An object may lack what a later one has.
        let rows = Rows::read(TableFormat::JsonLines, b"{\"b\":1}\n", true).unwrap();
        let column = |name: &str| Column { name: name.to_owned(), kind: integer };
        let of = |names: &[&str]| {
            let columns = names.iter().map(|name| column(name)).collect();
            Schema { format: TableFormat::JsonLines, columns }.agrees(&rows)
        };
        assert_eq!((of(&["a", "b"]), of(&["a"])), (Conformity::Conforms, Conformity::OtherColumns));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_table_or_refused(bytes: Vec<u8>, whole: bool) {
            for format in TableFormat::ALL {
                drop(Rows::read(format, &bytes, whole));
            }
        }

        #[test]
        fn the_beginning_of_a_table_agrees_with_all_of_it(
            values in prop::collection::vec(("[0-9]{0,3}", "[a-z0-9,\"\n]{0,6}"), 1..30),
            cut in 0_usize..400,
        ) {
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let csv = values.iter().map(|(one, other)| format!("{one},{}\n", quoted(other)));
            let csv = format!("one,other\n{}", csv.collect::<String>());
            let json = values.iter().map(|(one, other)| {
                let other = other.replace('"', "\\\"").replace('\n', "\\n");
                format!("{{\"one\": \"{one}\",\"other\":\"{other}\"}}\n")
            });
            let json: String = json.collect();
            for (format, text) in [(TableFormat::Csv, csv), (TableFormat::JsonLines, json)] {
                let all = Rows::read(format, text.as_bytes(), true).unwrap();
                prop_assert_eq!(all.count, values.len() as u64);
                let schema = Schema { format, columns: all.columns.clone() };
                let part = &text.as_bytes()[..cut.min(text.len())];
                if let Ok(rows) = Rows::read(format, part, false) {
                    prop_assert!(rows.count < all.count || part.len() == text.len());
                    let first = all.first.iter().take(rows.first.len());
                    prop_assert!(rows.first.iter().eq(first));
                    prop_assert_eq!(schema.agrees(&rows), Conformity::Conforms);
                }
            }
        }
    }
}
