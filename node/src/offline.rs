//! A node's folder while no node runs on it: its shards are checked, and its list of damage is read.

use std::path::Path;

use symbolon_net::Host;
use symbolon_protocol::id::DealId;
use symbolon_store::{Counts, DamagedShard, Scrub, Shards, StoreError};

use crate::{
    node::NodeError,
    pace::Pace,
    scrub::{Verdict, read_whole},
    settings::Rate,
};

/// A node's folder that no node has open.
#[derive(Debug)]
pub struct Folder {
    store: Shards,
    host: Host,
}

/// What a look at a few shards has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Shards that were looked at.
    pub shards: u64,
    /// What is wrong, a sentence for each shard with a fault.
    pub faults: Vec<String>,
}

impl Folder {
    /// Opens the folder of a node. Makes nothing where there is none.
    pub async fn open(dir: &Path, host: Host) -> Result<Self, NodeError> {
        let dir = dir.to_owned();
        let opened = host.blocking(move || {
            if !dir.join("node").is_file() || !dir.join("index.redb").is_file() {
                return Err(NodeError::NoNode { path: dir });
            }
            Ok(Shards::open(&dir)?)
        });
        Ok(Self { store: opened.await?, host })
    }

    /// The sums over all shards.
    pub async fn counts(&self) -> Result<Counts, NodeError> {
        Ok(self.with_store(Shards::counts).await?)
    }

    /// How far the node's own scrub has come.
    pub async fn scrubbed(&self) -> Result<Scrub, NodeError> {
        Ok(self.with_store(Shards::scrub).await?)
    }

    /// Up to `limit` damaged shards.
    pub async fn damaged(&self, limit: usize) -> Result<Vec<DamagedShard>, NodeError> {
        Ok(self.with_store(move |store| store.damaged(limit)).await?)
    }

    /// Looks at up to `count` shards at random places.
    pub async fn sample(&self, count: usize) -> Result<Sample, NodeError> {
        Ok(sample(&self.store, &self.host, count).await?)
    }

    /// Reads every shard once at a rate, and notes which are damaged and which are whole again. Says after each how
    /// many shards and bytes are done.
    pub async fn scrub(&self, rate: Rate, mut done: impl FnMut(u64, u64)) -> Result<(), NodeError> {
        let pace = Pace::new(rate);
        let (mut after, mut shards, mut bytes) = (None, 0, 0);
        loop {
            let page = self.with_store(move |store| store.list(after, PAGE)).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.info.deal, last.info.index));
            for shard in page {
                let (deal, index, root) = (shard.info.deal, shard.info.index, shard.root);
                match read_whole(&self.store, &self.host, &pace, &shard).await? {
                    Verdict::Whole => {
                        self.with_store(move |store| store.note_whole(&deal, index)).await?;
                    }
                    Verdict::Damaged(why) => {
                        let (why, now_ms) = (why.to_string(), self.host.now_ms());
                        let noted = self.with_store(move |store| {
                            store.note_damage((&deal, index), &root, &why, now_ms)
                        });
                        noted.await?;
                    }
                    Verdict::Gone => {}
                }
                (shards, bytes) = (shards + 1, bytes + shard.info.length);
                done(shards, bytes);
            }
        }
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shards) -> T + Send + 'static,
    ) -> T {
        let store = self.store.clone();
        self.host.blocking(move || work(&store)).await
    }
}

/// Looks whether the files of some shards are there and have their lengths.
pub(crate) async fn sample(
    store: &Shards,
    host: &Host,
    count: usize,
) -> Result<Sample, StoreError> {
    let places: Vec<[u8; 16]> = (0..count).map(|_| host.random()).collect();
    let store = store.clone();
    host.blocking(move || {
        let mut sample = Sample::default();
        let mut seen = std::collections::BTreeSet::new();
        for place in places {
            // Ids of deals are random, so the next one after a random place is one at random.
            let mut page = store.list(Some((DealId(place), 0)), 1)?;
            if page.is_empty() {
                page = store.list(None, 1)?;
            }
            let Some(shard) = page.first() else { break };
            let (deal, index) = (shard.info.deal, shard.info.index);
            if !seen.insert((deal, index)) {
                continue;
            }
            sample.shards += 1;
            match store.open_shard(&deal, index) {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => sample.faults.push(error.to_string()),
            }
        }
        Ok(sample)
    })
    .await
}

/// Shards that are listed together.
const PAGE: usize = 64;
