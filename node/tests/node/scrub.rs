//! The scrub: it finds damage by itself, goes on after a restart, and a damaged shard is not served as a whole one.

use std::{fs, os::unix::fs::FileExt, path::PathBuf};

use symbolon_node::{Alert, Node};
use symbolon_protocol::{
    Millis,
    ledger::{
        Params,
        rows::{Deals, Nodes},
    },
    wire::storage::{RefusalCode, Request, Response},
};

use crate::world::{PRICE, Peer, World, code, deal_id, shard};

const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
const LENGTH: u64 = 100 * 1024;

/// A world whose epochs are long: weeks pass here, and a ledger writes blocks in each epoch.
async fn quiet() -> World {
    World::with(Params { epoch_ms: Millis::DAY, ..Params::development() }).await
}

impl World {
    /// The files of shards.
    fn shard_files(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.dir.path().join("node/shards")).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    /// A node with three shards, which are not paid for a long time.
    async fn with_shards(&self) -> (Node, Peer) {
        let mut options = self.options("node");
        options.limits = options.limits.unpaid_for(100 * WEEK_MS, 60_000);
        let node = self.node_with(options, crate::world::NODE_SECRET).await;
        let owner = self.peer(&self.owner, &node).await;
        for deal in 1..=3 {
            let (terms, grant) = (self.terms(deal, LENGTH), self.own_grant());
            owner.store(&terms, 0, PRICE, &grant, &shard(LENGTH)).await.unwrap();
        }
        (node, owner)
    }

    fn read_of(&self, deal: u8) -> Request {
        let grant = Some(self.own_grant());
        Request::Read { deal: deal_id(deal), index: 0, first: 0, count: 1, grant }
    }
}

fn damage(path: &PathBuf) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0x55], 90 * 1024).unwrap();
}

#[tokio::test(start_paused = true)]
async fn damage_is_found_told_once_and_not_served() {
    let world = quiet().await;
    let (node, owner) = world.with_shards().await;
    let mut alerts = node.alerts();
    world.pass(WEEK_MS).await;
    let first = node.health().await.unwrap();
    assert_eq!((first.damaged, first.scrub.passes), (0, 1), "all of it is whole");

    // The store numbers files in the order of their arrival.
    let files = world.shard_files();
    damage(&files[1]);
    // A cell that is whole can be read: the damage is not known yet.
    let cell =
        Request::ReadCell { deal: deal_id(2), index: 0, cell: 0, grant: Some(world.own_grant()) };
    owner.read(&cell).await.unwrap();
    world.pass(WEEK_MS).await;
    let list = node.damaged(10).await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].deal, list[0].index, list[0].length), (deal_id(2), 0, LENGTH));
    let told = alerts.try_recv().unwrap();
    assert!(matches!(told, Alert::Damaged { deal, .. } if deal == deal_id(2)), "{told:?}");
    assert_eq!(code(owner.read(&cell).await), RefusalCode::Damaged);
    let check = Request::Check { deal: deal_id(2), index: 0, grant: Some(world.own_grant()) };
    let answer = owner.ask(&check).await.unwrap();
    assert_eq!(answer, Response::Held { length: None, root: None });
    owner.read(&world.read_of(1)).await.unwrap();

    world.pass(2 * WEEK_MS).await;
    let health = node.health().await.unwrap();
    assert_eq!((health.damaged, health.scrub.passes), (1, 4));
    assert!(alerts.try_recv().is_err(), "it was told once");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_finds_damage_too_and_a_shard_that_is_whole_again_is_served() {
    let world = quiet().await;
    let (node, owner) = world.with_shards().await;
    let path = world.shard_files()[0].clone();
    let good = fs::read(&path).unwrap();
    damage(&path);
    assert_eq!(code(owner.read(&world.read_of(1)).await), RefusalCode::Damaged);
    assert_eq!(node.damaged(10).await.unwrap().len(), 1);
    // The operator brings the file back.
    fs::write(&path, good).unwrap();
    assert_eq!(code(owner.read(&world.read_of(1)).await), RefusalCode::Damaged);
    world.pass(2 * WEEK_MS).await;
    assert_eq!(node.damaged(10).await.unwrap(), []);
    owner.read(&world.read_of(1)).await.unwrap();
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_scrub_goes_on_after_a_restart_and_stops_when_it_is_told() {
    let world = quiet().await;
    let settings = |text: &str| {
        let dir = world.dir.path().join("node");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(symbolon_node::Settings::FILE), text).unwrap();
    };
    settings("scrub off\n");
    let (node, _owner) = world.with_shards().await;
    world.pass(2 * WEEK_MS).await;
    assert_eq!(node.health().await.unwrap().scrub.shards, 0);
    // At this rate a shard takes six seconds.
    settings("scrub 16384\n");
    while node.health().await.unwrap().scrub.shards == 0 {
        world.pass(500).await;
    }
    node.stop().await;
    let node = world.node_with(world.options("node"), crate::world::NODE_SECRET).await;
    let scrub = node.health().await.unwrap().scrub;
    assert!(scrub.after.is_some() && scrub.passes == 0, "{scrub:?}");
    world.pass(60_000).await;
    let scrub = node.health().await.unwrap().scrub;
    assert_eq!((scrub.passes, scrub.shards, scrub.bytes), (1, 3, 3 * LENGTH));
    node.stop().await;
}

/// A damaged shard of a deal is declared lost: the node is asked for it no more, and its owner can have it elsewhere.
#[tokio::test(start_paused = true)]
async fn a_damaged_shard_is_declared_lost() {
    let world = quiet().await;
    let node = world.node_with(world.options("node"), crate::world::NODE_SECRET).await;
    let owner = world.peer(&world.owner, &node).await;
    let mut terms = Vec::new();
    for deal in 1..=2 {
        let (one, grant) = (world.terms(deal, LENGTH), world.own_grant());
        let accepted = owner.store(&one, 0, PRICE, &grant, &shard(LENGTH)).await.unwrap();
        world.open_deal(&one, accepted).await;
        terms.push(one);
    }
    damage(&world.shard_files()[0]);
    world.pass(2 * WEEK_MS).await;
    let rows = world.ledger.rows(Deals, &[terms[0].deal(), terms[1].deal()]).await.unwrap();
    let lost: Vec<_> =
        rows.into_iter().map(|row| row.unwrap().shards[0].unwrap().lost.is_some()).collect();
    assert_eq!(lost, [true, false]);
    let row = world.ledger.row(Nodes, &node.id()).await.unwrap().unwrap();
    assert_eq!((row.slots, row.used, row.missed_in_row), (1, LENGTH, 0));
    let health = node.health().await.unwrap();
    assert_eq!((health.damaged, world.shard_files().len()), (0, 1), "it is deleted");
    node.stop().await;
}
