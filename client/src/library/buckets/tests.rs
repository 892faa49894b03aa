//! Buckets against a model that is a sorted map of lists, on a network of nodes, and under SIGKILL.

mod killed;
mod large;
mod model;
mod network;

use std::io::Cursor;

use super::*;
use crate::{library::Library, progress::Progress};

fn bucket(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

fn key(text: impl Into<Vec<u8>>) -> ItemKey {
    ItemKey::new(text).unwrap()
}

/// The options of a put that may wait on this machine.
fn waits() -> ItemOptions {
    ItemOptions { wait_max: u64::MAX, ..ItemOptions::default() }
}

async fn put(
    library: &Library,
    (bucket, key): (&BucketName, &ItemKey),
    bytes: &[u8],
    options: ItemOptions,
) -> Result<ItemView, ClientError> {
    let from = Cursor::new(bytes.to_vec());
    let put = library.put_item(bucket, key, from, options, &Progress::silent()).await?;
    Ok(put.item)
}

async fn get(
    library: &Library,
    (bucket, key): (&BucketName, &ItemKey),
    version: Option<VersionId>,
) -> Result<Vec<u8>, ClientError> {
    let reader = library.open_item(bucket, key, version).await?;
    reader.bytes(0, u64::MAX, &Progress::silent()).all().await
}

fn tag(value: &str) -> Attribute {
    let (name, value) = (String::from("colour"), value.as_bytes().to_vec());
    Attribute { kind: AttributeKind::Tag, name, value }
}

/// All entries of a listing, page by page. Every page but the last is full.
async fn listed(library: &Library, bucket: &BucketName, options: &PageOptions) -> Vec<PageEntry> {
    let (mut all, mut options) = (Vec::new(), options.clone());
    loop {
        let page = library.page(bucket, options.clone()).await.unwrap();
        assert!(page.entries.len() <= options.limit);
        assert!(page.next.is_none() || page.entries.len() == options.limit);
        all.extend(page.entries);
        let Some(next) = page.next else { return all };
        // As a client sends it back.
        options.start = Start::Token(next.to_string().parse().unwrap());
    }
}

#[test]
fn names_keys_and_ids_have_one_text_each() {
    for good in ["a", "my-bucket.2", &"x".repeat(63)] {
        assert_eq!(good.parse::<BucketName>().unwrap().as_str(), good);
    }
    for bad in ["", "A", "a/b", "a_b", "a\0", "é", &"x".repeat(64)] {
        assert!(BucketName::new(bad).is_err(), "{bad:?}");
    }
    assert!(ItemKey::new(vec![b'k'; 1024]).is_ok());
    assert!(ItemKey::new(vec![b'k'; 1025]).is_err() && ItemKey::new("").is_err());
    let id = VersionId([0xab; 16]);
    assert_eq!(id.to_string(), "ab".repeat(16));
    assert_eq!(id.to_string().parse::<VersionId>().unwrap(), id);
    assert_eq!("null".parse::<VersionId>().unwrap(), VersionId::NULL);
    let zeros = "00".repeat(16);
    for bad in ["", "NULL", "ab", &"AB".repeat(16), &"ab".repeat(17), &zeros, "+f"] {
        assert!(bad.parse::<VersionId>().is_err(), "{bad:?}");
    }
}

#[test]
fn ranges_are_cut_and_joined() {
    let object = |number: u8| symbolon_protocol::id::ObjectId([number; 16]);
    let range = |number, first, length| ItemRange { object: object(number), first, length };
    let all = [range(1, 10, 5), range(2, 0, 3), range(1, 15, 5)];
    assert_eq!(cut_ranges(&all, 0, u64::MAX), all);
    assert_eq!(cut_ranges(&all, 4, 5), [range(1, 14, 1), range(2, 0, 3), range(1, 15, 1)]);
    assert_eq!(cut_ranges(&all, 5, 3), [range(2, 0, 3)]);
    assert_eq!(cut_ranges(&all, 13, 9), []);
    assert_eq!(cut_ranges(&all, 3, 0), []);
    let mut joined = vec![range(1, 0, 4)];
    extend_ranges(&mut joined, [range(1, 4, 4), range(2, 8, 1), range(1, 8, 1)]);
    assert_eq!(joined, [range(1, 0, 8), range(2, 8, 1), range(1, 8, 1)]);
}
