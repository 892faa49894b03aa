//! A get that was stopped, and goes on from what lies on the disk: bytes of the part that were written over, a
//! part that is shorter than its note says, the note of another file. What comes out is what was stored,
//! always; and a seller is paid for content that was compared as it lies here, not as a note says it was.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use symbolon_client::{
    Client, GetOptions, GetReport, Progress, PutOptions, Readable, Replace, SellOptions, Sink,
    Source, Step,
};
use symbolon_protocol::{Amount, content::Scheme, grant::GrantToken};
use symbolon_tests::sim::{Trace, World, called};
use tokio::task::AbortHandle;

use super::sell_options;

/// Twelve groups of a mebibyte, and a bit.
const LENGTH: u64 = 12 * GROUP + 70_000;
const GROUP: u64 = 16 * 65_520;

const NODES: usize = 5;

/// Everything that may have become of a part, and one get that nothing happened to.
const HARMS: [Harm; 7] =
    [Harm::None, Harm::First, Harm::Any, Harm::Shorter, Harm::OtherNote, Harm::Other, Harm::NoNote];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    None,
    /// Bytes of the first group are others.
    First,
    /// Bytes of any group are others.
    Any,
    Shorter,
    OtherNote,
    /// Both part and note are another file's: they agree with each other.
    Other,
    NoNote,
}

pub(super) async fn resumed(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    for name in ["file", "other"] {
        let bytes = world.bytes(name, LENGTH);
        let source = Source::Bytes(bytes.into());
        owner.put(source, &called(name), &options(), &Progress::silent()).await.unwrap();
    }
    for harm in HARMS {
        let what = Readable::Name(called(b"file"));
        goes_on(&mut world, &owner, &what, ("owner", harm)).await;
    }
    let listing = sell(&owner).await;
    let buyer = world.client("buyer");
    buyer.faucet().await.unwrap();
    for (number, harm) in
        [Harm::Any, Harm::OtherNote, Harm::Other, Harm::None].into_iter().enumerate()
    {
        if number == 0 {
            let bought = buyer.buy(&listing, PRICE, &Progress::silent()).await.unwrap();
            let token = bought.token.to_text();
            fs::write(world.folder().join("token"), token).unwrap();
        }
        let token = fs::read_to_string(world.folder().join("token")).unwrap();
        let what = Readable::Token(Box::new(GrantToken::parse(&token).unwrap()));
        let got = goes_on(&mut world, &buyer, &what, ("buyer", harm)).await;
        assert!(got.checked_root, "{harm:?}");
        // The first whole get pays, and it was of the right bytes.
        assert_eq!(got.acknowledged.is_some(), number == 0, "{harm:?}");
    }
    owner.close().await;
    buyer.close().await;
    world.audit().await;
    assert_eq!(world.auditor.orders(), (1, 1, 0));
    world.finish().await
}

const PRICE: Amount = Amount(1_000_000_007);

fn options() -> PutOptions {
    let scheme = Some(Scheme::new(1, 2).unwrap());
    PutOptions {
        epochs: Some(200),
        least: Some(0),
        cost_max: None,
        scheme,
        replace: Replace::Refuse,
        keep: None,
    }
}

async fn sell(owner: &Client) -> symbolon_protocol::id::ListingId {
    let options = SellOptions { epochs: Some(200), ..sell_options("File", PRICE) };
    owner.sell(&called("file"), &options, &Progress::silent()).await.unwrap().listing
}

fn beside(target: &Path, what: &str) -> PathBuf {
    target.with_extension(format!("symbolon-{what}"))
}

/// Begins a get and stops it when so many bytes were written: at that very step, since all that is on its way may
/// arrive at the same moment.
pub(super) async fn stopped(client: &Client, what: &Readable, target: &Path, after: u64) {
    let moved = AtomicU64::new(0);
    let getting = Arc::new(OnceLock::<AbortHandle>::new());
    let stop = getting.clone();
    let progress = Progress::new(move |step| {
        if let Step::Moved { bytes } = step
            && after <= moved.fetch_add(bytes, Ordering::Relaxed) + bytes
        {
            stop.get().unwrap().abort();
        }
    });
    let (client, what, sink) = (client.clone(), what.clone(), Sink::File(target.to_owned()));
    let options = GetOptions::default();
    let task = tokio::spawn(async move { client.get(&what, sink, &options, &progress).await });
    getting.set(task.abort_handle()).unwrap();
    assert!(task.await.unwrap_err().is_cancelled());
}

async fn goes_on(
    world: &mut World,
    client: &Client,
    what: &Readable,
    (who, harm): (&str, Harm),
) -> GetReport {
    let target = world.folder().join(format!("{who}-{harm:?}"));
    let dice =
        |world: &World, what: &str, below| world.dice(&format!("{who} {harm:?} {what}"), below);
    let after = GROUP * (2 + dice(world, "after", 3));
    stopped(client, what, &target, after).await;
    let part = OpenOptions::new().read(true).write(true).open(beside(&target, "part")).unwrap();
    let written = part.metadata().unwrap().len();
    assert!(after <= written && !target.exists(), "{written} of {after}");
    // How much may count: up to the first harm.
    let most = match harm {
        Harm::None => written,
        Harm::First | Harm::Any => {
            let below = if harm == Harm::First { GROUP } else { written };
            let at = dice(world, "where", below - 8);
            part.write_all_at(b"not that", at).unwrap();
            at / GROUP * GROUP
        }
        Harm::Shorter => {
            let length = dice(world, "length", written);
            part.set_len(length).unwrap();
            length / GROUP * GROUP
        }
        Harm::OtherNote | Harm::Other => {
            let other = world.folder().join(format!("{who}-{harm:?}-other"));
            // A buyer has no other file: the owner's own note of one will do.
            let name = Readable::Name(called(b"other"));
            if who == "owner" {
                stopped(client, &name, &other, after).await;
            }
            let theirs = match who {
                "owner" => other,
                _ => world.folder().join("owner-OtherNote-other"),
            };
            for file in if harm == Harm::Other { &["note", "part"][..] } else { &["note"] } {
                fs::copy(beside(&theirs, file), beside(&target, file)).unwrap();
            }
            0
        }
        Harm::NoNote => {
            fs::remove_file(beside(&target, "note")).unwrap();
            0
        }
    };
    let sink = Sink::File(target.clone());
    let got = client.get(what, sink, &GetOptions::default(), &Progress::silent()).await.unwrap();
    world.note(format!("{who} {harm:?}: kept {} of {written}", got.kept));
    assert!(fs::read(&target).unwrap() == world.bytes("file", LENGTH), "{who} {harm:?}");
    assert_eq!(got.kept, most, "{who} {harm:?}: what is well counts, and nothing else");
    assert_eq!(got.length, LENGTH);
    assert!(!beside(&target, "part").exists() && !beside(&target, "note").exists());
    got
}
