//! Places that are taken: by a folder that has nothing in it, by a file where a folder was, by whatever comes to lie
//! where a get writes while it writes. What is there stays, and what was to go there is refused; and a put that is
//! refused for its price has begun nothing.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use symbolon_client::{
    Client, ClientError, FolderOptions, GetOptions, NameKind, Pattern, Progress, PutOptions,
    Readable, Replace, Sink, Source, Step,
};
use symbolon_protocol::Amount;
use symbolon_tests::sim::{Trace, World, called};

use super::put_options;

const EPOCHS: u64 = 60;

pub(super) async fn places(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    an_empty_folder(&mut world, &owner).await;
    a_file_where_a_folder_was(&mut world, &owner).await;
    by_a_pattern(&mut world, &owner).await;
    while_it_is_written(&mut world, &owner).await;
    too_dear(&mut world, &owner).await;
    owner.close().await;
    world.finish().await
}

async fn put(
    world: &World,
    owner: &Client,
    name: &str,
    options: &PutOptions,
) -> Result<(), ClientError> {
    let source = Source::Bytes(world.bytes(name, 20_000).into());
    owner.put(source, &called(name), options, &Progress::silent()).await.map(drop)
}

async fn remove(owner: &Client, what: &str) {
    let names = owner.select(&Pattern::whole(what.as_bytes()), false).await.unwrap().names;
    owner.remove(&names, false, &Progress::silent()).await.unwrap();
}

/// A folder that is stored by itself is no file that another one may replace.
async fn an_empty_folder(world: &mut World, owner: &Client) {
    let folder = world.folder().join("nothing in it");
    fs::create_dir(&folder).unwrap();
    // Times are stored too, and a seed decides everything.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::open(&folder).unwrap().set_modified(time).unwrap();
    let (to, options) = (called("empty"), put_options(EPOCHS));
    let plan = owner.plan_folder(&folder, Some(&to), &FolderOptions::default()).await.unwrap();
    let quote = owner.quote_folder(&plan, &options).await.unwrap();
    owner.store_folder(plan, &quote, &options, &Progress::silent()).await.unwrap();
    let replace = PutOptions { replace: Replace::Overwrite, ..options.clone() };
    for options in [options, replace, PutOptions { keep: Some(3), ..put_options(EPOCHS) }] {
        let error = put(world, owner, "empty", &options).await.unwrap_err();
        world.note(format!("a file on a folder: {error}"));
        assert!(matches!(error, ClientError::Exists { .. }), "{error:?}");
    }
    let there = owner.names(Some(&Pattern::whole(b"empty")), false).await.unwrap();
    assert!(matches!(there[..], [ref one] if matches!(one.kind, NameKind::Folder)), "{there:?}");
    assert!(owner.unfinished().await.unwrap().is_empty(), "nothing was begun");
}

/// What was removed with its folder does not come back into a file.
async fn a_file_where_a_folder_was(world: &mut World, owner: &Client) {
    let kept = PutOptions { keep: Some(2), ..put_options(EPOCHS) };
    put(world, owner, "was/inside", &kept).await.unwrap();
    remove(owner, "was").await;
    put(world, owner, "was", &put_options(EPOCHS)).await.unwrap();
    let inside = called("was/inside");
    for number in [None, Some(1)] {
        let error = owner.undelete(&inside, number, &Progress::silent()).await.unwrap_err();
        world.note(format!("back into a file: {error}"));
        assert!(matches!(error, ClientError::NotAFolder { .. }), "{error:?}");
    }
    remove(owner, "was").await;
    owner.undelete(&inside, None, &Progress::silent()).await.unwrap();
    let (what, all) = (Readable::Name(inside), GetOptions::default());
    let got = owner.get(&what, Sink::Memory, &all, &Progress::silent()).await.unwrap();
    assert_eq!(got.bytes, Some(world.bytes("was/inside", 20_000)));
}

/// A pattern that matches files is one thing; one that matches the folder they lie in means all that is in it.
async fn by_a_pattern(world: &mut World, owner: &Client) {
    for name in ["deep/one", "deep/two"] {
        put(world, owner, name, &put_options(EPOCHS)).await.unwrap();
    }
    for (what, has_folder) in
        [("deep/*", false), ("deep/one", false), ("dee*", true), ("deep", true), ("*p", true)]
    {
        let chosen = owner.select(&Pattern::whole(what.as_bytes()), false).await.unwrap();
        world.note(format!("{what}: {} files, folder {}", chosen.files, chosen.has_folder));
        assert_eq!(chosen.has_folder, has_folder, "{what}");
    }
}

/// Somebody writes a file where a get is about to put its own: it is not replaced.
async fn while_it_is_written(world: &mut World, owner: &Client) {
    put(world, owner, "fetched", &put_options(EPOCHS)).await.unwrap();
    let target = world.folder().join("fetched");
    let (there, written) = (target.clone(), Arc::new(AtomicBool::new(false)));
    let once = written.clone();
    let progress = Progress::new(move |step| {
        if matches!(step, Step::Moved { .. }) && !once.swap(true, Ordering::Relaxed) {
            fs::write(&there, "somebody else's").unwrap();
        }
    });
    let (what, all) = (Readable::Name(called("fetched")), GetOptions::default());
    let got = owner.get(&what, Sink::File(target.clone()), &all, &progress).await;
    assert!(written.load(Ordering::Relaxed), "it was there before the get had ended");
    let error = got.unwrap_err();
    assert!(matches!(error, ClientError::Exists { .. }), "{error:?}");
    assert_eq!(fs::read(&target).unwrap(), b"somebody else's");
    // What was fetched is not fetched again when the place is free.
    fs::remove_file(&target).unwrap();
    let got = owner.get(&what, Sink::File(target.clone()), &all, &Progress::silent()).await;
    world.note(format!("fetched, {} bytes kept", got.unwrap().kept));
    assert_eq!(fs::read(&target).unwrap(), world.bytes("fetched", 20_000));
}

/// What costs more than is allowed is refused before anything is sent: there is nothing to go on with.
async fn too_dear(world: &mut World, owner: &Client) {
    let limited = PutOptions { cost_max: Some(Amount(1)), ..put_options(EPOCHS) };
    let error = put(world, owner, "dear", &limited).await.unwrap_err();
    assert!(matches!(error, ClientError::CostTooHigh { .. }), "{error:?}");
    assert!(owner.unfinished().await.unwrap().is_empty(), "it has begun");
}
