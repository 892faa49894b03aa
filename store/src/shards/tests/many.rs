//! How long a start takes with a million shards. It takes some minutes to make them, so it runs when it is asked for:
//! `cargo test -p symbolon-store --locked a_million -- --ignored --nocapture`.

use std::time::Instant;

use symbolon_protocol::ledger::rows::Slot;

use super::*;

/// Shards of the index.
const SHARDS: u32 = 1_000_000;
/// Rows of one commit.
const COMMIT: u32 = 50_000;

fn number(number: u32) -> DealId {
    // As ids are: in no order.
    let hash = blake3::hash(&number.to_le_bytes());
    DealId(hash.as_bytes()[..16].try_into().unwrap())
}

/// An index with the rows of a million shards of 100 owners and a slot for each. There are no files.
fn fill(shards: &Shards) {
    for first in (0..SHARDS).step_by(COMMIT as usize) {
        shards
            .inner
            .index
            .write(|transaction| {
                for at in first..first + COMMIT {
                    let info = ShardInfo {
                        deal: number(at),
                        owner: AccountId([u8::try_from(at % 100).unwrap(); 32]),
                        terms: vec![7; 140],
                        ..info(0, 0, 1 << 20)
                    };
                    // One in a thousand waits for its deal.
                    let state = if at % 1000 == 0 { UNPAID } else { ShardState::Active };
                    let row = Row {
                        info,
                        root: Hash([9; 32]),
                        state,
                        acceptance: vec![8; 200],
                        file: at.into(),
                    };
                    index::insert(transaction, &row)?;
                }
                Ok(())
            })
            .unwrap();
    }
    let slots: Vec<_> = (0..SHARDS)
        .map(|at| Slot {
            deal: number(at),
            index: 0,
            root: Hash([9; 32]),
            length: 1 << 20,
            rate: symbolon_protocol::Amount(1),
            leaves: u64::MAX,
        })
        .collect();
    let head = SlotsHead { slots: SHARDS, table: Hash([4; 32]) };
    shards.set_slots(1, head, &slots).unwrap();
    shards.follow(32, &[]).unwrap();
}

fn start(what: &str, dir: &Path) -> Shards {
    let began = Instant::now();
    let shards = Shards::open(dir).unwrap();
    let counts = shards.counts().unwrap();
    println!("{what}: {} shards are known after {} ms", counts.shards, began.elapsed().as_millis());
    assert_eq!((counts.shards, counts.bytes), (SHARDS.into(), u64::from(SHARDS) << 20));
    shards
}

#[test]
#[ignore = "makes a million rows"]
fn a_million_shards_are_known_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let shards = Shards::open(dir.path()).unwrap();
    fill(&shards);
    let bytes = dir.path().join("index.redb").metadata().unwrap().len();
    println!("made after {} s, {} MB", began.elapsed().as_secs(), bytes / 1_000_000);
    // The files of this moment: what a process that was killed leaves.
    let killed = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join("index.redb"), killed.path().join("index.redb")).unwrap();
    for low in 0..=u8::MAX {
        fs::create_dir_all(killed.path().join(format!("shards/{low:02x}"))).unwrap();
    }
    drop(shards);
    drop(start("after a stop", dir.path()));
    let shards = start("after a stop, again", dir.path());
    drop(start("after a kill", killed.path()));
    let began = Instant::now();
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = shards.list(after, 4096).unwrap();
        let Some(last) = page.last() else { break };
        (after, seen) = (Some((last.info.deal, last.info.index)), seen + page.len());
    }
    println!("a walk over all {seen} rows: {} ms", began.elapsed().as_millis());
}
