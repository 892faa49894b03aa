//! The description of a listing: a `Dataset` of schema.org, in the bytes that `spec/market.md` defines. What a seller
//! writes, and what a viewer reads of it.

use serde::{Deserialize, Serialize};
use symbolon_net::PeerAddress;
use symbolon_protocol::limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};

use super::table::{COLUMNS_MAX, Column, ColumnType, NAME_BYTES_MAX, Schema, TableFormat};
use crate::error::ClientError;

/// What stands before the name of a type in schema.org.
const SCHEMA_ORG: &str = "https://schema.org/";

/// What stands before the address of a seller who answers viewers.
const VIEWERS: &str = "symbolon-preview://";

/// What a description says.
pub(super) struct Described<'a> {
    pub(super) title: &'a str,
    pub(super) description: &'a str,
    pub(super) licence_text: &'a str,
    /// The file's name as it is shown.
    pub(super) file: &'a str,
    /// Bytes of the file.
    pub(super) length: u64,
    /// Its columns, if it is a table.
    pub(super) schema: Option<&'a Schema>,
    /// Where its seller answers viewers.
    pub(super) answering: Option<&'a PeerAddress>,
}

/// Its members stand in this order.
#[derive(Serialize)]
struct Dataset<'a> {
    #[serde(rename = "@context")]
    context: &'static str,
    #[serde(rename = "@type")]
    kind: &'static str,
    name: &'a str,
    description: &'a str,
    license: &'a str,
    distribution: [Download<'a>; 1],
    #[serde(rename = "variableMeasured", skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<Variable<'a>>>,
    #[serde(rename = "potentialAction", skip_serializing_if = "Option::is_none")]
    answering: Option<View>,
}

#[derive(Serialize)]
struct View {
    #[serde(rename = "@type")]
    kind: &'static str,
    target: Vec<String>,
}

#[derive(Serialize)]
struct Download<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    name: &'a str,
    #[serde(rename = "contentSize")]
    size: String,
    #[serde(rename = "encodingFormat", skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
}

#[derive(Serialize)]
struct Variable<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    name: &'a str,
    #[serde(rename = "additionalType", skip_serializing_if = "Option::is_none")]
    of: Option<String>,
}

/// The bytes of a description.
pub(super) fn describe(of: &Described<'_>) -> Result<Vec<u8>, ClientError> {
    let columns = of.schema.map(|schema| {
        let columns = schema.columns.iter().map(|column| Variable {
            kind: "PropertyValue",
            name: &column.name,
            of: column.kind.map(|kind| format!("{SCHEMA_ORG}{}", kind.word())),
        });
        columns.collect()
    });
    let dataset = Dataset {
        context: SCHEMA_ORG,
        kind: "Dataset",
        name: of.title,
        description: of.description,
        license: of.licence_text,
        distribution: [Download {
            kind: "DataDownload",
            name: of.file,
            size: format!("{} B", of.length),
            format: of.schema.map(|schema| schema.format.media_type()),
        }],
        columns,
        answering: of.answering.map(|peer| {
            let target = |address: &String| format!("{VIEWERS}{}@{address}", peer.id);
            View { kind: "ViewAction", target: peer.addresses.iter().map(target).collect() }
        }),
    };
    serde_json::to_vec(&dataset).map_err(|error| ClientError::Internal(error.to_string()))
}

/// What is read of a stranger's description.
#[derive(Deserialize)]
struct Listed {
    distribution: Vec<ListedDownload>,
    #[serde(rename = "variableMeasured")]
    columns: Vec<ListedVariable>,
}

#[derive(Deserialize)]
struct ListedDownload {
    #[serde(rename = "encodingFormat")]
    format: String,
}

#[derive(Deserialize)]
struct ListedVariable {
    name: String,
    #[serde(rename = "additionalType")]
    of: Option<String>,
}

#[derive(Deserialize)]
struct ListedAnswering {
    #[serde(rename = "potentialAction")]
    answering: ListedView,
}

#[derive(Deserialize)]
struct ListedView {
    target: Vec<String>,
}

/// Where a description says that the seller answers viewers. None if it says nothing, or no address that can be.
pub(super) fn listed_answering(document: &[u8]) -> Option<PeerAddress> {
    let listed: ListedAnswering = serde_json::from_slice(document).ok()?;
    let mut peer: Option<PeerAddress> = None;
    for target in listed.answering.target {
        let (id, address) = target.strip_prefix(VIEWERS)?.split_once('@')?;
        let id = id.parse().ok()?;
        let peer = peer.get_or_insert_with(|| PeerAddress { id, addresses: Vec::new() });
        if peer.id != id
            || peer.addresses.len() == ADDRESSES_MAX
            || ADDRESS_BYTES_MAX < address.len()
        {
            return None;
        }
        peer.addresses.push(address.to_owned());
    }
    peer
}

/// The columns that a description says the file has. None if it says none, or some that cannot be.
pub(super) fn listed_schema(document: &[u8]) -> Option<Schema> {
    let listed: Listed = serde_json::from_slice(document).ok()?;
    let format = TableFormat::of_media_type(&listed.distribution.first()?.format)?;
    let names = listed.columns.iter().all(|column| column.name.len() <= NAME_BYTES_MAX);
    if listed.columns.is_empty() || COLUMNS_MAX < listed.columns.len() || !names {
        return None;
    }
    let kind = |of: &str| ColumnType::of_word(of.strip_prefix(SCHEMA_ORG)?);
    let columns = listed.columns.into_iter();
    let columns = columns
        .map(|ListedVariable { name, of }| Column { name, kind: of.as_deref().and_then(kind) });
    Some(Schema { format, columns: columns.collect() })
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::PeerId;

    use super::*;

    const OF: Described<'_> = Described {
        title: "Gr\u{f6}\u{df}e \"\\\"",
        description: "a\nb\u{1}\u{7f}",
        licence_text: "CC0/1.0",
        file: "data.csv",
        length: 7,
        schema: None,
        answering: None,
    };

    #[test]
    fn a_description_has_one_form() {
        let begin = "{\"@context\":\"https://schema.org/\",\"@type\":\"Dataset\",\
                     \"name\":\"Gr\u{f6}\u{df}e \\\"\\\\\\\"\",\"description\":\"a\\nb\\u0001\u{7f}\",\
                     \"license\":\"CC0/1.0\",\"distribution\":[{\"@type\":\"DataDownload\",\
                     \"name\":\"data.csv\",\"contentSize\":\"7 B\"";
        let text = |of: &Described<'_>| String::from_utf8(describe(of).unwrap()).unwrap();
        assert_eq!(text(&OF), format!("{begin}}}]}}"));
        assert_eq!(listed_schema(text(&OF).as_bytes()), None);
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        let columns = vec![column("id", Some(ColumnType::Integer)), column("none", None)];
        let schema = Schema { format: TableFormat::Csv, columns };
        let with = text(&Described { schema: Some(&schema), ..OF });
        let end = ",\"encodingFormat\":\"text/csv\"}],\"variableMeasured\":[{\"@type\":\"PropertyValue\",\
                   \"name\":\"id\",\"additionalType\":\"https://schema.org/Integer\"},\
                   {\"@type\":\"PropertyValue\",\"name\":\"none\"}]}";
        assert_eq!(with, format!("{begin}{end}"));
        assert_eq!(listed_schema(with.as_bytes()), Some(schema));
    }

    #[test]
    fn a_description_says_where_its_seller_answers() {
        let addresses = vec!["192.0.2.7:1".to_owned(), "a.example:2".to_owned()];
        let peer = PeerAddress { id: PeerId([7; 32]), addresses };
        let document = describe(&Described { answering: Some(&peer), ..OF }).unwrap();
        assert_eq!(listed_answering(&document), Some(peer.clone()));
        assert_eq!(listed_answering(&describe(&OF).unwrap()), None);
        let id = peer.id;
        let target = |targets: &[String]| {
            let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
            let text = format!("{{\"potentialAction\":{{\"target\":[{}]}}}}", targets.join(","));
            listed_answering(text.as_bytes())
        };
        let good = format!("{VIEWERS}{id}@192.0.2.7:1");
        assert!(target(&vec![good.clone(); ADDRESSES_MAX]).is_some());
        assert_eq!(target(&vec![good.clone(); ADDRESSES_MAX + 1]), None);
        let other = format!("{VIEWERS}{}@192.0.2.7:1", PeerId([8; 32]));
        for bad in [
            vec![],
            vec![good.clone(), other],
            vec![format!("https://{id}@192.0.2.7:1")],
            vec![format!("{VIEWERS}7@192.0.2.7:1")],
            vec![format!("{VIEWERS}{id}")],
            vec![format!("{VIEWERS}{id}@{}", "a".repeat(ADDRESS_BYTES_MAX + 1))],
        ] {
            assert_eq!(target(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_strangers_columns_are_few_and_their_types_known() {
        let document = |format: &str, columns: &str| {
            let text = format!(
                r#"{{"distribution":[{{"encodingFormat":"{format}"}}],"variableMeasured":[{columns}]}}"#
            );
            listed_schema(text.as_bytes())
        };
        let column = r#"{"name":"a","additionalType":"https://schema.org/Nothing","more":[1]}"#;
        let found = document("text/csv", column).unwrap();
        assert_eq!(found.columns, [Column { name: "a".into(), kind: None }]);
        assert_eq!(document("text/html", column), None);
        assert_eq!(document("text/csv", ""), None);
        assert_eq!(document("text/csv", r#"{"name":1}"#), None);
        assert!(document("text/csv", &vec![column; COLUMNS_MAX].join(",")).is_some());
        assert_eq!(document("text/csv", &vec![column; COLUMNS_MAX + 1].join(",")), None);
        let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(document("text/csv", &long), None);
        for bad in
            [&b""[..], b"{", b"[]", b"{\"distribution\":[],\"variableMeasured\":[]}", b"\xff"]
        {
            assert_eq!(listed_schema(bad), None);
        }
    }
}
