//! The description of a listing: a `Dataset` of schema.org, in the bytes that `spec/market.md` defines.

use serde::Serialize;

use super::SellOptions;
use crate::error::ClientError;

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
}

#[derive(Serialize)]
struct Download<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    name: &'a str,
    #[serde(rename = "contentSize")]
    size: String,
}

/// Describes a file with this name and so many bytes.
pub(super) fn describe(
    options: &SellOptions,
    (file, length): (&str, u64),
) -> Result<Vec<u8>, ClientError> {
    let dataset = Dataset {
        context: "https://schema.org/",
        kind: "Dataset",
        name: &options.title,
        description: &options.description,
        license: &options.licence_text,
        distribution: [Download { kind: "DataDownload", name: file, size: format!("{length} B") }],
    };
    serde_json::to_vec(&dataset).map_err(|error| ClientError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_one_form() {
        let options = SellOptions {
            title: String::from("Gr\u{f6}\u{df}e \"\\\""),
            description: String::from("a\nb\u{1}\u{7f}"),
            licence_text: String::from("CC0/1.0"),
            ..SellOptions::default()
        };
        let expected = "{\"@context\":\"https://schema.org/\",\"@type\":\"Dataset\",\
                        \"name\":\"Gr\u{f6}\u{df}e \\\"\\\\\\\"\",\"description\":\"a\\nb\\u0001\u{7f}\",\
                        \"license\":\"CC0/1.0\",\"distribution\":[{\"@type\":\"DataDownload\",\
                        \"name\":\"data.csv\",\"contentSize\":\"7 B\"}]}";
        let described = describe(&options, ("data.csv", 7)).unwrap();
        assert_eq!(String::from_utf8(described).unwrap(), expected);
    }
}
