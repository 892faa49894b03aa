//! The rules of buckets, compared with a model after random calls.

use std::{collections::BTreeMap, sync::OnceLock};

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::{
    catalog::{Arrived, WaitingBytes},
    library::index::tests::World,
};

/// A version in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    id: VersionId,
    /// Nothing for a tombstone.
    bytes: Option<Vec<u8>>,
    attributes: Vec<Attribute>,
}

/// A bucket in the model: the versions of each key, the newest first.
#[derive(Clone, Debug, Default)]
struct Model {
    keeps: bool,
    items: BTreeMap<Vec<u8>, Vec<Version>>,
}

impl Model {
    fn current(&self, key: &[u8]) -> Option<&Version> {
        self.items.get(key)?.first().filter(|version| version.bytes.is_some())
    }

    fn add(&mut self, key: &[u8], version: Version) {
        let versions = self.items.entry(key.to_vec()).or_default();
        if version.id == VersionId::NULL {
            versions.retain(|one| one.id != VersionId::NULL);
        }
        versions.insert(0, version);
    }

    fn drop_version(&mut self, key: &[u8], id: VersionId) {
        if let Some(versions) = self.items.get_mut(key) {
            versions.retain(|one| one.id != id);
            if versions.is_empty() {
                self.items.remove(key);
            }
        }
    }

    /// What a listing shows: keys with ids, or common prefixes.
    fn listed(&self, options: &PageOptions) -> Vec<Shown> {
        let mut out: Vec<Shown> = Vec::new();
        for (key, versions) in &self.items {
            let Some(rest) = key.strip_prefix(options.prefix.as_slice()) else { continue };
            let shown: Vec<&Version> = match options.versions {
                true => versions.iter().collect(),
                false => self.current(key).into_iter().collect(),
            };
            if shown.is_empty() {
                continue;
            }
            let delimiter = options.delimiter.as_slice();
            let at = (0..rest.len())
                .find(|at| !delimiter.is_empty() && rest[*at..].starts_with(delimiter));
            if let Some(at) = at {
                let common = key[..options.prefix.len() + at + delimiter.len()].to_vec();
                if out.last() != Some(&Shown::Prefix(common.clone())) {
                    out.push(Shown::Prefix(common));
                }
                continue;
            }
            for version in shown {
                let latest = versions.first() == Some(version);
                let length = version.bytes.as_ref().map(|bytes| bytes.len() as u64);
                out.push(Shown::Item(key.clone(), version.id, latest, length));
            }
        }
        out
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    Item(Vec<u8>, VersionId, bool, Option<u64>),
    Prefix(Vec<u8>),
}

fn shown(entry: PageEntry) -> Shown {
    match entry {
        PageEntry::Prefix(prefix) => Shown::Prefix(prefix),
        PageEntry::Item(item) => {
            let length = (!item.tombstone).then_some(item.length);
            Shown::Item(item.key.as_bytes().to_vec(), item.version, item.latest, length)
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Put(Vec<u8>, u8, Need),
    Remove(Vec<u8>),
    RemoveVersion(Vec<u8>, usize),
    Copy(Vec<u8>, Vec<u8>),
    Attributes(Vec<u8>, u8),
    Keep(bool),
    /// Puts an item in parts that have no bytes.
    Parts(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Absent,
    Present,
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "a/", "a/b", "a/b/c", "a/c", "b", "b/a", "ab", "c//d"])
            .prop_map(|key| key.as_bytes().to_vec()),
        1 => prop::collection::vec(
            prop_oneof![Just(b'a'), Just(b'/'), Just(0), Just(255)], 1..4),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let need =
        prop_oneof![3 => Just(Need::Nothing), 1 => Just(Need::Absent), 1 => Just(Need::Present)];
    prop_oneof![
        6 => (keys(), any::<u8>(), need).prop_map(|(key, byte, need)| Act::Put(key, byte, need)),
        3 => keys().prop_map(Act::Remove),
        2 => (keys(), 0..3_usize).prop_map(|(key, at)| Act::RemoveVersion(key, at)),
        2 => (keys(), keys()).prop_map(|(from, to)| Act::Copy(from, to)),
        1 => (keys(), any::<u8>()).prop_map(|(key, byte)| Act::Attributes(key, byte)),
        1 => any::<bool>().prop_map(Act::Keep),
        1 => keys().prop_map(Act::Parts),
    ]
}

/// A library on a ledger without nodes: nothing of the model needs them.
fn library() -> (&'static Runtime, &'static Library) {
    static ONCE: OnceLock<(Runtime, World, Library)> = OnceLock::new();
    let (runtime, _, library) = ONCE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let world = runtime.block_on(World::with_nodes(0));
        let by_hand = Library::new(world.library.wallet().clone(), crate::Devices::ByHand);
        (runtime, world, by_hand)
    });
    (runtime, library)
}

async fn put_bytes(
    library: &Library,
    name: &BucketName,
    model: &mut Model,
    (text, byte, need): (Vec<u8>, u8, Need),
) {
    let (bytes, key) = (vec![byte; usize::from(byte) % 5], key(text.clone()));
    let expected = match need {
        Need::Nothing => Expected::Anything,
        Need::Absent => Expected::Absent,
        Need::Present => Expected::Present,
    };
    let there = model.current(&text).is_some();
    let refused = (need == Need::Absent && there) || (need == Need::Present && !there);
    let attributes = vec![tag("red")];
    let options = ItemOptions { expected, attributes: attributes.clone(), ..waits() };
    let done = put(library, (name, &key), &bytes, options).await;
    assert_eq!(done.is_err(), refused, "{done:?}");
    if let Ok(item) = done {
        assert_eq!(item.version == VersionId::NULL, !model.keeps);
        model.add(&text, Version { id: item.version, bytes: Some(bytes), attributes });
    }
}

/// Does the same in the bucket and in the model. Both have to agree on what is refused.
async fn act(library: &Library, name: &BucketName, model: &mut Model, act: Act) {
    match act {
        Act::Put(text, byte, need) => put_bytes(library, name, model, (text, byte, need)).await,
        Act::Remove(text) => {
            let key = key(text.clone());
            let done = library.remove_item(name, &key, None, Expected::Anything).await.unwrap();
            if model.keeps || done.tombstone {
                let (bytes, attributes) = (None, Vec::new());
                let id = done.version.unwrap();
                model.add(&text, Version { id, bytes, attributes });
            } else {
                model.drop_version(&text, VersionId::NULL);
            }
        }
        Act::RemoveVersion(text, at) => {
            let versions = model.items.get(&text).cloned().unwrap_or_default();
            let Some(version) = versions.get(at) else { return };
            let (key, id) = (key(text.clone()), Some(version.id));
            let done = library.remove_item(name, &key, id, Expected::Anything).await.unwrap();
            assert_eq!(done, RemovedItem { version: id, tombstone: version.bytes.is_none() });
            model.drop_version(&text, version.id);
        }
        Act::Copy(from, to) => {
            let (source, target) = (key(from.clone()), key(to.clone()));
            let options = CopyOptions::default();
            let done = library.copy_item((name, &source, None), (name, &target), options).await;
            match model.current(&from).cloned() {
                None => assert!(matches!(done, Err(ClientError::NoItem { .. })), "{done:?}"),
                Some(version) => model.add(&to, Version { id: done.unwrap().version, ..version }),
            }
        }
        Act::Attributes(text, byte) => {
            let (key, attributes) = (key(text.clone()), vec![tag(&byte.to_string())]);
            let done = library.set_attributes((name, &key, None), None, attributes.clone()).await;
            assert_eq!(done.is_ok(), model.current(&text).is_some());
            if let Some(versions) = model.items.get_mut(&text).filter(|_| done.is_ok()) {
                versions[0].attributes = attributes;
            }
        }
        Act::Keep(keep) => {
            let bucket = library.bucket(name).await.unwrap();
            let versions = if keep { Versions::Kept } else { Versions::Paused };
            let change = (versions, Vec::new());
            library.change_bucket(name, bucket.revision, change.clone()).await.unwrap();
            let stale = library.change_bucket(name, bucket.revision, change).await;
            assert!(matches!(stale, Err(ClientError::NotAsExpected { .. })));
            model.keeps = keep;
        }
        Act::Parts(text) => put_parts(library, name, model, text).await,
    }
}

/// Puts an item in parts that have no bytes.
async fn put_parts(library: &Library, name: &BucketName, model: &mut Model, text: Vec<u8>) {
    let (key, quiet) = (key(text.clone()), Progress::silent());
    let id = library.begin_parts(name, &key, Vec::new()).await.unwrap();
    let upload = (name, &key, id);
    let mut parts = Vec::new();
    for number in [7, 2] {
        let (from, options) = (Cursor::new(Vec::new()), ItemOptions::default());
        let part = library.put_part(upload, number, from, options, &quiet).await.unwrap();
        parts.insert(0, (number, part.0.etag));
    }
    let done = library.complete_parts(upload, parts, Expected::Anything, Vec::new()).await;
    let (bytes, attributes) = (Some(Vec::new()), Vec::new());
    model.add(&text, Version { id: done.unwrap().version, bytes, attributes });
}

async fn compare(library: &Library, name: &BucketName, model: &Model) {
    for (text, versions) in &model.items {
        for (at, version) in versions.iter().enumerate() {
            let (key, id) = (key(text.clone()), Some(version.id));
            let item = library.item(name, &key, id).await.unwrap();
            assert_eq!((item.latest, item.tombstone), (at == 0, version.bytes.is_none()));
            assert_eq!(item.attributes, version.attributes);
            if let Some(bytes) = &version.bytes {
                assert_eq!(&get(library, (name, &key), id).await.unwrap(), bytes);
            }
        }
        let current = library.item(name, &key(text.clone()), None).await;
        assert_eq!(current.is_ok(), model.current(text).is_some());
    }
    for prefix in ["", "a", "a/", "b", "\0"] {
        for delimiter in ["", "/", "b", "/b"] {
            for versions in [false, true] {
                for limit in [1, 3, 1000] {
                    let options = PageOptions {
                        prefix: prefix.into(),
                        delimiter: delimiter.into(),
                        versions,
                        start: Start::First,
                        limit,
                    };
                    let found = listed(library, name, &options).await.into_iter().map(shown);
                    assert_eq!(found.collect::<Vec<_>>(), model.listed(&options), "{options:?}");
                }
            }
        }
    }
    starts(library, name, model).await;
    let waiting = library.local(|local| {
        let mut sum = (0, 0);
        local.catalog().each_keyed(Arrived, |_, bytes: WaitingBytes| {
            sum = (sum.0 + 1, sum.1 + bytes.0.len() as u64);
            true
        })?;
        Ok::<_, ClientError>(sum)
    });
    assert_eq!(library.waiting_items().await.unwrap(), waiting.await.unwrap());
}

/// Pages that begin after a key or after a version.
async fn starts(library: &Library, name: &BucketName, model: &Model) {
    let options = PageOptions { versions: true, limit: 1000, ..PageOptions::default() };
    let all = model.listed(&options);
    for (at, entry) in all.iter().enumerate() {
        let Shown::Item(text, id, ..) = entry else { continue };
        let start = Start::AfterVersion(key(text.clone()), *id);
        let page = library.page(name, PageOptions { start, ..options.clone() }).await.unwrap();
        let found: Vec<_> = page.entries.into_iter().map(shown).collect();
        assert_eq!(found, all[at + 1..]);
    }
    for after in [&b"a"[..], b"a/", b"a/b", b"zz", b"\xff"] {
        let plain = PageOptions { limit: 1000, ..PageOptions::default() };
        for delimiter in ["", "/"] {
            let options = PageOptions { delimiter: delimiter.into(), ..plain.clone() };
            let start = Start::After(after.to_vec());
            let page = library.page(name, PageOptions { start, ..options.clone() }).await.unwrap();
            let found: Vec<_> = page.entries.into_iter().map(shown).collect();
            // What has the key as its common prefix is not shown again.
            let is_prefix = delimiter == "/" && after.ends_with(b"/");
            let mut rest = model.clone();
            rest.items.retain(|text, _| {
                text.as_slice() > after && !(is_prefix && text.starts_with(after))
            });
            assert_eq!(found, rest.listed(&options), "after {after:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn a_bucket_is_its_model(acts in prop::collection::vec(acts(), 1..40)) {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (runtime, library) = library();
        runtime.block_on(async {
            let (name, mut model) = (bucket(&format!("bucket-{number}")), Model::default());
            // What lies in the buckets before and behind it is not its own.
            for other in [format!("bucket-{number}-a"), format!("bucket-{number}.")] {
                let name = bucket(&other);
                library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
                for text in ["a", "a/b", "\u{1}"] {
                    put(library, (&name, &key(text)), b"x", waits()).await.unwrap();
                }
            }
            library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
            for one in acts {
                act(library, &name, &mut model, one).await;
            }
            compare(library, &name, &model).await;
            let empty = model.items.is_empty();
            let removed = library.remove_bucket(&name).await;
            assert_eq!(removed.is_ok(), empty, "{removed:?}");
        });
    }
}

#[test]
fn what_is_not_as_expected_is_refused() {
    let (runtime, library) = library();
    runtime.block_on(async {
        let (name, key) = (bucket("expected"), key("item"));
        let place = (&name, &key);
        let none = put(library, place, b"x", waits()).await.unwrap_err();
        assert!(matches!(none, ClientError::NoBucket { .. }), "{none:?}");
        library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
        let again = library.make_bucket(&name, Versions::Kept, Vec::new()).await.unwrap_err();
        assert!(matches!(again, ClientError::Exists { .. }), "{again:?}");
        let with = |expected| ItemOptions { expected, ..waits() };
        let first = put(library, place, b"one", with(Expected::Absent)).await.unwrap();
        let etag = first.etag.unwrap();
        for (expected, fine) in [
            (Expected::Absent, false),
            (Expected::NotEtag(etag), false),
            (Expected::Etag(Etag { md5: [0; 16], parts: 0 }), false),
            (Expected::Etag(etag), true),
            (Expected::Exactly(first.mark()), false),
        ] {
            let done = put(library, place, b"two", with(expected)).await;
            match fine {
                true => drop(done.unwrap()),
                false => {
                    assert!(matches!(done, Err(ClientError::NotAsExpected { .. })), "{done:?}")
                }
            }
        }
        // An attribute that changed is another state of the same bytes.
        let now = library.item(&name, &key, None).await.unwrap();
        let mark = Some(now.mark());
        let version = (&name, &key, None);
        let then = library.set_attributes(version, mark, vec![tag("red")]).await.unwrap();
        assert_eq!((then.etag, then.version), (now.etag, now.version));
        let stale = library.set_attributes(version, mark, Vec::new()).await.unwrap_err();
        assert!(matches!(stale, ClientError::NotAsExpected { .. }), "{stale:?}");
        let stale = library.remove_item(&name, &key, None, Expected::Exactly(now.mark())).await;
        assert!(matches!(stale, Err(ClientError::NotAsExpected { .. })), "{stale:?}");
        let twice = library.set_attributes(version, None, vec![tag("a"), tag("b")]).await;
        assert!(matches!(twice, Err(ClientError::Usage(_))), "{twice:?}");
        library.remove_item(&name, &key, None, Expected::Exactly(then.mark())).await.unwrap();
        let gone = put(library, place, b"three", with(Expected::Present)).await.unwrap_err();
        assert!(matches!(gone, ClientError::NoItem { .. }), "{gone:?}");
        assert_eq!(library.remove_bucket(&name).await.ok(), Some(()));
    });
}

#[test]
fn a_token_is_good_for_its_listing_alone() {
    let (runtime, library) = library();
    runtime.block_on(async {
        let name = bucket("tokens");
        library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
        for text in ["a", "b", "c"] {
            put(library, (&name, &key(text)), b"", waits()).await.unwrap();
        }
        let options = PageOptions { limit: 1, ..PageOptions::default() };
        let token = library.page(&name, options.clone()).await.unwrap().next.unwrap();
        let with = |token: &PageToken| PageOptions {
            start: Start::Token(token.clone()),
            ..options.clone()
        };
        assert_eq!(library.page(&name, with(&token)).await.unwrap().entries.len(), 1);
        let mut wrong = vec![
            (name.clone(), PageOptions { prefix: b"b".to_vec(), ..with(&token) }),
            (name.clone(), PageOptions { versions: true, ..with(&token) }),
        ];
        let other = bucket("tokens-2");
        library.make_bucket(&other, Versions::Never, Vec::new()).await.unwrap();
        wrong.push((other, with(&token)));
        let text = token.to_string();
        for changed in [format!("{text}00"), text[2..].to_owned(), String::new()] {
            wrong.push((name.clone(), with(&changed.parse().unwrap())));
        }
        for (name, options) in wrong {
            let refused = library.page(&name, options).await;
            assert!(matches!(refused, Err(ClientError::Usage(_))), "{refused:?}");
        }
        assert!("0".parse::<PageToken>().is_err() && "zz".parse::<PageToken>().is_err());
    });
}

/// Many small items that come at once are written together, and each caller gets its own answer.
#[test]
fn small_items_that_come_at_once_are_each_answered() {
    let (runtime, library) = library();
    runtime.block_on(async {
        let name = bucket("at-once");
        library.make_bucket(&name, Versions::Never, Vec::new()).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..64_u8 {
            let (library, name) = (library.clone(), name.clone());
            tasks.spawn(async move {
                // Two want to be the first of each key.
                let options = ItemOptions { expected: Expected::Absent, ..waits() };
                let key = key(vec![b'k', number / 2]);
                let done = put(&library, (&name, &key), &[number], options).await;
                (number, done.map(|item| item.etag))
            });
        }
        let mut won = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            match done.unwrap() {
                (number, Ok(_)) => assert_eq!(won.insert(number / 2, number), None),
                (_, Err(error)) => assert!(matches!(error, ClientError::NotAsExpected { .. })),
            }
        }
        assert_eq!(won.len(), 32);
        for (item, number) in won {
            assert_eq!(
                get(library, (&name, &key(vec![b'k', item])), None).await.unwrap(),
                [number]
            );
        }
    });
}
