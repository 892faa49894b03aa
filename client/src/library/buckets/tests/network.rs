//! Buckets on nodes: streams, copies, parts, packs, and a second device.

use symbolon_protocol::ledger::rows::{DealState, Deals};

use super::*;
use crate::{
    catalog::{Objects, Uploads},
    library::{SumKind, index::tests::World, sum_of_whole},
};

/// Bytes that look like chance.
fn bytes(seed: u8, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new_derive_key("test").update(&[seed]).finalize_xof().fill(&mut out);
    out
}

/// A reader that gives a few bytes at a time, and then perhaps an error.
struct Slow(Cursor<Vec<u8>>, Option<std::io::ErrorKind>);

impl tokio::io::AsyncRead for Slow {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        use std::io::Read as _;
        let mut piece = vec![0; buffer.remaining().min(10_007)];
        let count = self.0.read(&mut piece)?;
        buffer.put_slice(&piece[..count]);
        std::task::Poll::Ready(match self.1.filter(|_| count == 0) {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        })
    }
}

async fn running_deals(world: &World) -> usize {
    let deals = world.ledger.scan(Deals, &[], None, 1000).await.unwrap();
    deals.into_iter().filter(|(_, deal)| deal.state == DealState::Open).count()
}

async fn uploads(library: &Library) -> usize {
    library.local(|local| local.catalog().rows(Uploads)).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_unknown_length_is_stored_and_read_by_ranges() {
    let world = World::found().await;
    let (library, name, quiet) = (&world.library, bucket("streams"), Progress::silent());
    library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
    let data = bytes(1, 3_000_000);
    let options = ItemOptions {
        sums: vec![SumKind::Crc64, SumKind::Sha256],
        attributes: vec![tag("blue")],
        ..ItemOptions::default()
    };
    let from = Slow(Cursor::new(data.clone()), None);
    let large = key("large");
    let done = library.put_item(&name, &large, from, options, &quiet).await.unwrap();
    assert!(done.item.length == 3_000_000 && done.cost > symbolon_protocol::Amount::ZERO);
    let mut digests = crate::library::digests::Digests::new(&[SumKind::Crc64, SumKind::Sha256]);
    digests.pass(&data);
    let (etag, checksums) = digests.finish();
    assert_eq!((done.item.etag, &done.item.checksums), (Some(etag), &checksums));
    let reader = library.open_item(&name, &large, None).await.unwrap();
    assert_eq!(reader.item(), &done.item);
    for (first, length) in
        [(0, u64::MAX), (0, 1), (65_519, 2), (1_000_000, 1_500_000), (2_999_999, 9)]
    {
        let got = reader.bytes(first, length, &quiet).all().await.unwrap();
        let at = |place: u64| usize::try_from(place.min(3_000_000)).unwrap();
        assert!(got == data[at(first)..at(first.saturating_add(length))], "{first}, {length}");
    }
    assert_eq!(reader.bytes(3_000_000, 5, &quiet).all().await.unwrap(), b"");
    // Bytes that are not those that were announced, a stream that breaks, and one of another length leave nothing.
    let deals = running_deals(&world).await;
    let check: Check = Box::new(|_, _| Err(String::from("another MD5")));
    let options = ItemOptions { check: Some(check), ..ItemOptions::default() };
    let wrong = put(library, (&name, &large), &data, options).await.unwrap_err();
    assert!(matches!(wrong, ClientError::WrongBytes { .. }), "{wrong:?}");
    let broken = Slow(Cursor::new(data.clone()), Some(std::io::ErrorKind::ConnectionReset));
    let broken = library.put_item(&name, &large, broken, ItemOptions::default(), &quiet).await;
    assert!(matches!(broken, Err(ClientError::Io { .. })), "{broken:?}");
    for length in [1, 2_999_999, 3_000_001] {
        let options = ItemOptions { length: Some(length), ..ItemOptions::default() };
        let other = put(library, (&name, &large), &data, options).await.unwrap_err();
        assert!(matches!(other, ClientError::SourceLength { .. }), "{other:?}");
    }
    assert_eq!(library.item(&name, &large, None).await.unwrap(), done.item);
    assert_eq!((running_deals(&world).await, uploads(library).await), (deals, 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_and_parts_move_no_bytes_and_hold_what_they_use() {
    let world = World::found().await;
    let (library, name, quiet) = (&world.library, bucket("copies"), Progress::silent());
    library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
    let (one, two) = (bytes(1, 700_000), bytes(2, 900_000));
    let [a, b, c] = ["a", "a/b", "c"].map(key);
    put(library, (&name, &a), &one, ItemOptions::default()).await.unwrap();
    let objects =
        async || library.local(|local| local.catalog().rows(Objects)).await.unwrap().len();
    let (stored, deals) = (objects().await, running_deals(&world).await);
    let options = CopyOptions { attributes: Some(vec![tag("green")]), ..Default::default() };
    let copy = library.copy_item((&name, &a, None), (&name, &b), options).await.unwrap();
    assert_eq!((copy.length, copy.attributes), (700_000, vec![tag("green")]));
    assert_eq!((objects().await, running_deals(&world).await), (stored, deals), "no byte moved");

    // Parts in any order, one of them a range of an item, one replaced, and one that is left out.
    let id = library.begin_parts(&name, &c, vec![tag("grey")]).await.unwrap();
    let upload = (&name, &c, id);
    let part = async |number, data: &[u8]| {
        let options = ItemOptions { sums: vec![SumKind::Crc32c], ..ItemOptions::default() };
        let from = Cursor::new(data.to_vec());
        library.put_part(upload, number, from, options, &quiet).await.unwrap().0
    };
    part(9, &two).await;
    part(3, &one).await;
    let third = part(3, &two).await;
    let first = library.copy_part(upload, 1, (&name, &b, None), (100, 600_000), Expected::Anything);
    let first = first.await.unwrap();
    let outside = library.copy_part(upload, 1, (&name, &b, None), (1, 700_000), Expected::Anything);
    assert!(matches!(outside.await, Err(ClientError::Usage(_))));
    let (view, parts) = library.parts(upload, (0, 2)).await.unwrap();
    assert_eq!((view.id, view.attributes), (id, vec![tag("grey")]));
    assert_eq!(parts, [first.clone(), third.clone()]);
    let rest = library.parts(upload, (3, 9)).await.unwrap().1;
    assert_eq!(rest.iter().map(|part| part.number).collect::<Vec<_>>(), [9]);
    let begun = library.parted(&name, b"", None, 10).await.unwrap();
    assert_eq!(
        begun.iter().map(|one| (one.key.clone(), one.id)).collect::<Vec<_>>(),
        [(c.clone(), id)]
    );
    let after = Some((c.clone(), id));
    assert_eq!(library.parted(&name, b"", after, 10).await.unwrap(), []);
    assert!(matches!(library.remove_bucket(&name).await, Err(ClientError::NotEmpty { .. })));
    let marks = vec![(1, first.etag), (3, third.etag)];
    for wrong in [
        vec![],
        vec![(3, third.etag), (1, first.etag)],
        vec![(1, third.etag)],
        vec![(1, first.etag), (2, third.etag)],
    ] {
        let refused = library.complete_parts(upload, wrong, Expected::Anything, Vec::new()).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ClientError::NoPart { .. } | ClientError::Usage(_)),
            "{refused:?}"
        );
    }
    let sums = third.checksums.iter().map(|one| (one.sum, third.length)).collect::<Vec<_>>();
    let whole: Vec<_> = sum_of_whole(&sums).into_iter().collect();
    assert_eq!(whole, third.checksums);
    let done =
        library.complete_parts(upload, marks.clone(), Expected::Absent, whole).await.unwrap();
    assert_eq!((done.length, done.parts.clone()), (1_500_000, vec![600_000, 900_000]));
    assert_eq!(done.etag.map(|etag| etag.parts), Some(2));
    let again = library.complete_parts(upload, marks, Expected::Anything, Vec::new()).await;
    assert!(matches!(again, Err(ClientError::NoUpload { .. })), "{again:?}");
    let all = [&one[100..600_100], &two[..]].concat();
    assert!(get(library, (&name, &c), None).await.unwrap() == all);

    give_up_unused(&world, &name, &all).await;
    give_up_an_upload(library, &name, &one).await;
    library.remove_bucket(&name).await.unwrap();
    world.end().await;
}

/// Removes the items of the test above one by one: what anything uses stays.
async fn give_up_unused(world: &World, name: &BucketName, all: &[u8]) {
    let (library, quiet) = (&world.library, Progress::silent());
    let [a, b, c] = ["a", "a/b", "c"].map(key);
    // The parts that were replaced and left out are given up, and what anything uses stays.
    let tidied = library.tidy_buckets(&quiet).await.unwrap();
    assert_eq!((tidied.objects, tidied.uploads, tidied.parts), (2, 0, 0));
    for gone in [&a, &b] {
        library.remove_item(name, gone, None, Expected::Anything).await.unwrap();
        assert_eq!(library.tidy_buckets(&quiet).await.unwrap().objects, 0);
    }
    assert!(get(library, (name, &c), None).await.unwrap() == all);
    let reader = library.open_item(name, &c, None).await.unwrap();
    let over = reader.bytes(599_990, 20, &quiet).all().await.unwrap();
    assert!(over == all[599_990..600_010], "over the border of two objects");
    library.remove_item(name, &c, None, Expected::Anything).await.unwrap();
    let tidied = library.tidy_buckets(&quiet).await.unwrap();
    assert_eq!((tidied.objects, running_deals(world).await), (2, 0));
    assert!(tidied.refunded > symbolon_protocol::Amount::ZERO);
}

/// An upload that is given up holds nothing.
async fn give_up_an_upload(library: &Library, name: &BucketName, one: &[u8]) {
    let (a, quiet) = (key("a"), Progress::silent());
    let id = library.begin_parts(name, &a, Vec::new()).await.unwrap();
    let upload = (name, &a, id);
    let from = Cursor::new(one.to_vec());
    library.put_part(upload, 1, from, ItemOptions::default(), &quiet).await.unwrap();
    library.abort_parts(upload).await.unwrap();
    let late = Cursor::new(Vec::new());
    let late = library.put_part(upload, 2, late, ItemOptions::default(), &quiet).await;
    assert!(matches!(late, Err(ClientError::NoUpload { .. })), "{late:?}");
    assert_eq!(library.tidy_buckets(&quiet).await.unwrap().objects, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_items_wait_until_they_are_packed_and_other_devices_see_them() {
    let world = World::found().await;
    let (library, name, quiet) = (&world.library, bucket("small"), Progress::silent());
    library.make_bucket(&name, Versions::Kept, Vec::new()).await.unwrap();
    let item =
        |number: u8| (key(format!("item {number:03}")), bytes(number, 100 * usize::from(number)));
    for number in 0..60 {
        let (key, data) = item(number);
        let done = put(library, (&name, &key), &data, waits()).await.unwrap();
        assert_eq!(done.waiting, number > 0, "an item without bytes has none to wait");
    }
    let (key, data) = item(7);
    assert_eq!(get(library, (&name, &key), None).await.unwrap(), data);
    let waiting: u64 = (0..60).map(|number| 100 * number).sum();
    assert_eq!(library.waiting_items().await.unwrap(), (59, waiting));
    let removed = item(9).0;
    let version = library.item(&name, &removed, None).await.unwrap().version;
    library.remove_item(&name, &removed, Some(version), Expected::Anything).await.unwrap();
    let attributes = vec![tag("late")];
    library.set_attributes((&name, &key, None), None, attributes.clone()).await.unwrap();
    let copy = super::key("copy");
    library.copy_item((&name, &key, None), (&name, &copy), CopyOptions::default()).await.unwrap();
    assert_eq!(running_deals(&world).await, 0);

    let packed = library.pack_items(&PackOptions::default(), &quiet).await.unwrap();
    assert_eq!((packed.packs, packed.items), (1, 59));
    let deals = running_deals(&world).await;
    let again = library.pack_items(&PackOptions::default(), &quiet).await.unwrap();
    assert_eq!((again, uploads(library).await), (PackReport::default(), 0));
    assert_eq!(library.waiting_items().await.unwrap(), (0, 0));
    // Where no more may wait, a small item is stored at once.
    let (full, some) = (super::key("full"), ItemOptions { wait_max: 5, ..waits() });
    let stored = put(library, (&name, &full), b"six by", some).await.unwrap();
    assert!(!stored.waiting);
    let version = Some(stored.version);
    library.remove_item(&name, &full, version, Expected::Anything).await.unwrap();
    assert_eq!(library.tidy_buckets(&quiet).await.unwrap().objects, 1);
    library.publish_names(None, &quiet).await.unwrap();

    // Devices of one identity have one key, so one of them is on this network at a time.
    for name_of_device in ["client", "other"] {
        library.close().await;
        let library = &world.device(name_of_device);
        let options = PageOptions { limit: 1000, versions: true, ..PageOptions::default() };
        let entries = listed(library, &name, &options).await;
        assert_eq!(entries.len(), 60);
        for entry in entries {
            let PageEntry::Item(item) = entry else { panic!("{entry:?}") };
            assert!(!item.waiting && item.latest);
        }
        for number in [1, 7, 59] {
            let (key, data) = item(number);
            assert!(get(library, (&name, &key), None).await.unwrap() == data);
        }
        let view = library.item(&name, &key, None).await.unwrap();
        assert_eq!(view.attributes, attributes);
        assert!(get(library, (&name, &copy), None).await.unwrap() == data);
        library.close().await;
    }
    // The other device removes all of it, and no deal is left, besides those of the index.
    let other = world.device("other");
    for entry in listed(&other, &name, &PageOptions { limit: 99, ..Default::default() }).await {
        let PageEntry::Item(item) = entry else { panic!("{entry:?}") };
        let (key, version) = (&item.key, Some(item.version));
        other.remove_item(&name, key, version, Expected::Anything).await.unwrap();
    }
    assert_eq!(other.tidy_buckets(&quiet).await.unwrap().objects, 1);
    assert!(running_deals(&world).await <= deals);
    other.remove_bucket(&name).await.unwrap();
    other.publish_names(None, &quiet).await.unwrap();
    other.close().await;
    let library = world.device("client");
    library.pull_names(&quiet).await.unwrap();
    assert_eq!(library.buckets().await.unwrap(), []);
    library.close().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mostly_dead_pack_is_stored_anew_with_what_is_in_use() {
    let world = World::found().await;
    let (library, name, quiet) = (&world.library, bucket("dead"), Progress::silent());
    library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
    let item = |number: u8| (key(format!("item {number}")), bytes(number, 100_000));
    for number in 0..8 {
        let (key, data) = item(number);
        put(library, (&name, &key), &data, waits()).await.unwrap();
    }
    let packed = library.pack_items(&PackOptions::default(), &quiet).await.unwrap();
    assert_eq!((packed.packs, packed.bytes), (1, 800_000));
    // A part uses a range of an item that is removed.
    let whole = key("whole");
    let id = library.begin_parts(&name, &whole, Vec::new()).await.unwrap();
    let (from, upload) = (item(3).0, (&name, &whole, id));
    let part = library.copy_part(upload, 1, (&name, &from, None), (10, 50_000), Expected::Anything);
    let part = part.await.unwrap();
    let object = async || library.local(|local| local.catalog().rows(Objects)).await.unwrap();
    let old = object().await[0].manifest.object;
    for number in 0..4 {
        library.remove_item(&name, &item(number).0, None, Expected::Anything).await.unwrap();
    }
    assert_eq!(library.tidy_buckets(&quiet).await.unwrap().packs, 0, "more than half is in use");
    for number in 4..6 {
        library.remove_item(&name, &item(number).0, None, Expected::Anything).await.unwrap();
    }
    let tidied = library.tidy_buckets(&quiet).await.unwrap();
    assert_eq!((tidied.packs, tidied.objects), (1, 1));
    let objects = object().await;
    assert_eq!((objects.len(), objects[0].manifest.length), (1, 250_000));
    assert!(objects[0].manifest.object != old);
    for number in 6..8 {
        let (key, data) = item(number);
        assert!(get(library, (&name, &key), None).await.unwrap() == data);
    }
    let marks = vec![(1, part.etag)];
    library.complete_parts(upload, marks, Expected::Anything, Vec::new()).await.unwrap();
    assert!(get(library, (&name, &whole), None).await.unwrap() == bytes(3, 100_000)[10..50_010]);
    assert_eq!(library.tidy_buckets(&quiet).await.unwrap(), TidyReport::default());
    world.end().await;
}
