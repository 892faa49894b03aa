//! Tables of one JSON object on each line.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use super::{COLUMNS_MAX, ColumnType, NotATable, ROWS_KEPT, Rows, kept, named};

/// The members of an object, in their order.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// What a value is, and how a viewer sees it.
fn seen(value: &Value) -> (Option<ColumnType>, String) {
    let kind = match value {
        Value::Null => None,
        Value::Bool(_) => Some(ColumnType::Boolean),
        Value::Number(number) if number.is_f64() => Some(ColumnType::Number),
        Value::Number(_) => Some(ColumnType::Integer),
        Value::String(text) => match ColumnType::of_text(text) {
            // Other texts that look like a value are texts here: JSON has the values themselves.
            kind @ (Some(ColumnType::Date | ColumnType::DateTime) | None) => kind,
            Some(_) => Some(ColumnType::Text),
        },
        Value::Array(_) | Value::Object(_) => Some(ColumnType::Structured),
    };
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => kept(text),
        other => kept(&other.to_string()),
    };
    (kind, text)
}

/// Reads the rows. Empty lines count for nothing.
pub(super) fn read(bytes: &[u8], whole: bool) -> Result<Rows, NotATable> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let bytes = if whole { bytes } else { &bytes[..end] };
    let mut rows = Rows::new(Vec::new());
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if line.is_empty() {
            continue;
        }
        let row = rows.count + 1;
        let Members(members) =
            serde_json::from_slice(line).map_err(|_| NotATable::NotJson { row })?;
        let mut texts = vec![String::new(); rows.columns.len()];
        for (name, value) in members {
            let at = match places.get(&name) {
                Some(at) => *at,
                None if rows.columns.len() == COLUMNS_MAX => return Err(NotATable::Wide),
                None => {
                    rows.columns.push(named(&name)?);
                    texts.push(String::new());
                    places.insert(name, rows.columns.len() - 1);
                    rows.columns.len() - 1
                }
            };
            let (kind, text) = seen(&value);
            rows.columns[at].add(kind);
            texts[at] = text;
        }
        if rows.first.len() < ROWS_KEPT {
            rows.first.push(texts);
        }
        rows.count = row;
    }
    if rows.count == 0 {
        return Err(NotATable::Empty);
    }
    // Rows before the one that brought a column have no value in it.
    let columns = rows.columns.len();
    rows.first.iter_mut().for_each(|row| row.resize(columns, String::new()));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_the_order_in_which_they_come() {
        use ColumnType::{Boolean, Date, Integer, Number, Structured, Text};
        let text = b"\xef\xbb\xbf{\"z\":1,\"a\":\"12\",\"d\":\"2026-01-01\"}\r\n\n{\"a\":null,\"z\":2.5,\"l\":[1],\"b\":false}\n{\"b\":1";
        let rows = read(text, false).unwrap();
        let columns: Vec<_> = rows
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.kind.unwrap()))
            .collect();
        let expected = [("z", Number), ("a", Text), ("d", Date), ("l", Structured), ("b", Boolean)];
        assert_eq!(columns, expected);
        assert_eq!(rows.first[0], ["1", "12", "2026-01-01", "", ""]);
        assert_eq!(rows.first[1], ["2.5", "", "", "[1]", "false"]);
        assert_eq!(read(text, true), Err(NotATable::NotJson { row: 3 }));
        let rows = read(b"{\"a\":1}\n{\"a\":\"x\"}", true).unwrap();
        assert_eq!((rows.columns[0].kind, rows.count), (Some(Text), 2));
        assert_eq!(read(b"{\"a\":1}", false), Err(NotATable::Empty));
        assert_eq!(read(b"{\"a\":1}", true).unwrap().columns[0].kind, Some(Integer));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for line in ["1", "[1]", "{", "{\"a\":1}{}", "\u{1b}[2J"] {
            assert_eq!(read(line.as_bytes(), true), Err(NotATable::NotJson { row: 1 }), "{line}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(read(deep.as_bytes(), true), Err(NotATable::NotJson { row: 1 }));
        let wide = |count: usize| {
            let members: Vec<String> = (0..count).map(|name| format!("\"{name}\":0")).collect();
            read(format!("{{{}}}", members.join(",")).as_bytes(), true).map(|rows| rows.count)
        };
        assert_eq!((wide(COLUMNS_MAX), wide(COLUMNS_MAX + 1)), (Ok(1), Err(NotATable::Wide)));
    }
}
