//! Stores a segment on the nodes of an in-memory network and reads it back, whole and by range. It
//! needs only keys: no home folder, no names, no journal.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    io::{self, SeekFrom},
    sync::Arc,
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use symbolon_ledger::{Embedded, Ledger, Options};
use symbolon_net::{Host, MemoryNetwork};
use symbolon_node::{Limits, Node, NodeOptions};
use symbolon_protocol::{
    Amount,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme},
    dispute::LeafList,
    grant::ability,
    id::{AccountId, Hash, OrderId, PeerId, TransactionId},
    ledger::{Params, rows::Access, transaction::Action},
    merkle,
};
use symbolon_transfer::{
    Network, Owner, TransferError,
    check::Depth,
    download::{LeavesWanted, Listed, Reading, spans},
    met::Acquaintance,
    progress::Progress,
    reader::{Length, Reader},
    transaction_id,
    upload::{Begun, Forgetful, Paid, Placed, SegmentBytes, Storing},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// The start of the network: 2026-01-01 in milliseconds.
const START_MS: u64 = 1_767_225_600_000;
const NODES: u8 = 4;
const CAPACITY: u64 = 64 << 20;

struct World {
    folder: TempDir,
    memory: MemoryNetwork,
    ledger: Ledger,
    host: Host,
    nodes: Vec<Node>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::seeded(3, START_MS);
        let options = Options { key: [1; 32], params: Params::development(), host: host.clone() };
        let embedded = Embedded::open(&folder.path().join("ledger"), options).await.unwrap();
        let (memory, ledger) = (MemoryNetwork::new(), embedded.into());
        let mut world = Self { folder, memory, ledger, host, nodes: Vec::new() };
        for number in 0..NODES {
            let node = world.node(number).await;
            world.nodes.push(node);
        }
        world
    }

    async fn node(&self, number: u8) -> Node {
        let options = NodeOptions {
            dir: self.folder.path().join(format!("node-{number}")),
            capacity: CAPACITY,
            price: Amount::credits(u64::from(number) + 1),
            payout: AccountId([number; 32]),
            operator: None,
            custody: false,
            caretaker: false,
            limits: Limits { disk_reserve_bytes: 0, ..Limits::for_capacity(CAPACITY) },
            accept_loss: false,
        };
        let secret = [number + 10; 32];
        let (ledger, host) = (self.ledger.clone(), self.host.clone());
        let endpoint = self.memory.endpoint(secret);
        let node = Node::start(options, secret, endpoint, ledger, host).await.unwrap();
        node.registered().await;
        node
    }

    /// An owner with play money, and a network that answers with its key.
    async fn owner(&self) -> (Network, Owner) {
        let access = SigningKey::from_bytes(&[7; 32]);
        let peer = PeerId(access.verifying_key().to_bytes());
        let owner = Owner { account_key: SigningKey::from_bytes(&[6; 32]), peer };
        let (ledger, endpoint) = (self.ledger.clone(), self.memory.endpoint(access.to_bytes()));
        let network = Network::new(ledger, endpoint, self.host.clone(), Acquaintance::default());
        let faucet = network.send(&owner.account_key, TransactionId([1; 16]), Action::Faucet);
        faucet.await.unwrap();
        (network, owner)
    }
}

fn storing(network: &Network, owner: &Owner, memory: Arc<Forgetful>) -> Storing {
    Storing {
        owner: owner.clone(),
        key: FileKey::from_bytes(network.host().random()),
        mask: MaskMode::ChaCha20,
        scheme: Scheme::new(2, 4).unwrap(),
        access: Access::Granted,
        epochs: 30,
        begun: Begun::Now,
        live: false,
        candidates: Vec::new(),
        paid: Paid::default(),
        memory,
    }
}

async fn store(
    network: &Network,
    storing: &Storing,
    data: &Bytes,
) -> Result<Placed, TransferError> {
    let layout = Layout::new(storing.scheme, data.len() as u64)?;
    let (segment, silent) = (layout.segment(0)?, Progress::silent());
    let bytes = SegmentBytes::Bytes(data.clone());
    network.feed_segment(storing, segment, &bytes, &silent).await?.settle(None).await
}

fn manifest(storing: &Storing, memory: &Forgetful, length: u64) -> Manifest {
    let layout = Layout::new(storing.scheme, length).unwrap();
    let mut root = merkle::Builder::new();
    root.extend(memory.leaves());
    Manifest::new(&storing.key, storing.mask, &layout, root.finish())
}

fn data(length: usize) -> Bytes {
    let mut data = vec![0; length];
    blake3::Hasher::new().update(b"alone").finalize_xof().fill(&mut data);
    data.into()
}

/// Stores bytes. Returns what is needed to read `length` of them.
async fn stored(world: &World, data: &Bytes, length: u64) -> (Network, Reading) {
    let (network, owner) = world.owner().await;
    let memory = Arc::new(Forgetful::default());
    let mut storing = storing(&network, &owner, memory.clone());
    storing.candidates = network.candidates(b"alone").await.unwrap();
    store(&network, &storing, data).await.unwrap();
    let manifest = manifest(&storing, &memory, length);
    let grant = network.own_grant(&owner, manifest.object, ability::READ).unwrap();
    let (owner, grant) = (owner.account(), Some(grant));
    let (key, leaves) = (storing.key.clone(), LeavesWanted::No);
    (network, Reading { owner, manifest, key, grant, leaves, only: None })
}

/// A reader of a whole object.
fn open(network: &Network, reading: &Reading, trust: Length) -> Reader {
    let place = (0, reading.manifest.length);
    Reader::new(network, reading.clone(), place, trust, &Progress::silent()).unwrap()
}

async fn read_all(network: &Network, reading: &Reading) -> Result<Vec<u8>, TransferError> {
    let layout = reading.manifest.layout().unwrap();
    let (spans, _) = spans(&layout, 0, u64::MAX, 0);
    let mut groups = network.read(reading.clone(), spans, &Progress::silent());
    let (mut plain, mut root) = (Vec::new(), merkle::Builder::new());
    while let Some(group) = groups.next().await {
        let group = group?;
        plain.extend(group.plain);
        root.extend(group.leaves);
    }
    assert_eq!(root.finish(), reading.manifest.content_root);
    Ok(plain)
}

#[tokio::test(start_paused = true)]
async fn a_segment_is_stored_read_checked_and_deleted() {
    let mut world = World::new().await;
    let (network, owner) = world.owner().await;
    let (data, memory) = (data(300_000), Arc::new(Forgetful::default()));
    let mut storing = storing(&network, &owner, memory.clone());
    storing.candidates = network.candidates(b"alone").await.unwrap();
    let placed = store(&network, &storing, &data).await.unwrap();
    assert_eq!(placed.nodes.len(), usize::from(NODES));
    assert_eq!((placed.cost, storing.paid.sum()), (placed.cost, placed.cost));

    // Read the whole object and compare it with the content root.
    let manifest = manifest(&storing, &memory, data.len() as u64);
    let object = manifest.object;
    let grant = network.own_grant(&owner, object, ability::READ | ability::DELETE).unwrap();
    let (key, leaves) = (storing.key.clone(), LeavesWanted::Yes);
    let (me, shown) = (owner.account(), Some(grant.clone()));
    let reading = Reading { owner: me, manifest, key, grant: shown, leaves, only: None };
    assert!(read_all(&network, &reading).await.unwrap() == data);

    // A range within one cell is one request.
    let (place, silent) = ((0, data.len() as u64), Progress::silent());
    let reader = Reader::new(&network, reading.clone(), place, Length::Known, &silent).unwrap();
    assert!(reader.read_at(70_000, 70_100).await.unwrap() == data[70_000..70_100]);
    assert_eq!(reader.cost().node_requests, 1);

    // Every shard is where the ledger says, and is correct.
    let id = storing.key.deal(&me, 0);
    let deal = network.deal(&id).await.unwrap().unwrap();
    let of = (0, id, &deal);
    let found = network.check_deal(of, Some(&grant), Depth::Deep, &silent).await.unwrap();
    assert_eq!(found.len(), usize::from(NODES));
    assert!(found.iter().all(|shard| shard.fault.is_none()), "{found:?}");

    // Any two of the four shards are enough, and one is not.
    for gone in [3, 2] {
        world.nodes.remove(gone).stop().await;
        assert!(read_all(&network, &reading).await.unwrap() == data);
    }
    world.nodes.remove(1).stop().await;
    let error = read_all(&network, &reading).await.unwrap_err();
    let short = matches!(error, TransferError::NotEnoughShards { usable: 1, required: 2, .. });
    assert!(short, "{error}");

    // The deal has ended and the shards are deleted. The node that is left signs a receipt.
    let end = Action::EndDeal { deal: id };
    network.send(&owner.account_key, transaction_id("end deal", &id.0), end).await.unwrap();
    let deletion = network.delete_shards([id].into_iter(), &grant).await.unwrap();
    assert_eq!((deletion.shards, deletion.confirmed().len()), (4, 1));
    assert_eq!(deletion.receipts[0].node, world.nodes[0].id());
}

#[tokio::test(start_paused = true)]
async fn an_upload_continues_and_is_paid_once() {
    let world = World::new().await;
    let (network, owner) = world.owner().await;
    let (data, memory) = (data(300_000), Arc::new(Forgetful::default()));
    let mut storing = storing(&network, &owner, memory);
    storing.candidates = network.candidates(b"alone").await.unwrap();
    let placed = store(&network, &storing, &data).await.unwrap();

    // The upload continues: nothing is sent or paid.
    let again = Storing { begun: Begun::Here, paid: Paid::default(), ..storing.clone() };
    let kept = store(&network, &again, &data).await.unwrap();
    assert_eq!((kept.cost, again.paid.sum()), (placed.cost, Amount::ZERO));

    // Other bytes under the same key are never sent, whether the sealed leaves are known or only
    // the stored roots.
    let mut other = data.to_vec();
    other[200_000] ^= 1;
    for live in [true, false] {
        let again = Storing { live, ..again.clone() };
        let error = store(&network, &again, &other.clone().into()).await.unwrap_err();
        assert!(matches!(error, TransferError::SourceChanged { .. }), "{error}");
    }

    // Another owner's upload under the same key is another one, with deals of its own.
    let (peer, account) = (owner.peer, SigningKey::from_bytes(&[9; 32]));
    let faucet = network.send(&account, TransactionId([1; 16]), Action::Faucet);
    faucet.await.unwrap();
    let thief = Owner { account_key: account, peer };
    let memory = Arc::new(Forgetful::default());
    let (begun, paid) = (Begun::Here, Paid::default());
    let theirs = Storing { owner: thief, begun, memory, paid, ..again.clone() };
    let own = store(&network, &theirs, &data).await.unwrap();
    assert_eq!(theirs.paid.sum(), own.cost);

    // The cells that another device has sealed of a changeable file are not known here, so nothing
    // is sealed again.
    let key = FileKey::from_bytes([7; 32]);
    let memory = Arc::new(Forgetful::default());
    let unknown = Storing { key, begun: Begun::Elsewhere, live: true, memory, ..again.clone() };
    let error = store(&network, &unknown, &data).await.unwrap_err();
    assert!(matches!(error, TransferError::Lapsed { segment: 0 }), "{error}");

    // A deal that costs more than the limit is not opened.
    let dear = Storing { key: FileKey::from_bytes([8; 32]), ..storing };
    let layout = Layout::new(dear.scheme, data.len() as u64).unwrap().segment(0).unwrap();
    let (bytes, silent) = (SegmentBytes::Bytes(data), Progress::silent());
    let dear = Storing { memory: Arc::new(Forgetful::default()), paid: Paid::default(), ..dear };
    let fed = network.feed_segment(&dear, layout, &bytes, &silent).await.unwrap();
    let error = fed.settle(Some(Amount::ZERO)).await.unwrap_err();
    assert!(matches!(error, TransferError::CostTooHigh { .. }), "{error}");
    assert!(network.deal(&dear.key.deal(&owner.account(), 0)).await.unwrap().is_none());
}

/// Plain bytes of a full cell.
const CELL: u64 = 65_520;

#[tokio::test(start_paused = true)]
async fn a_doubted_length_is_checked_before_the_end_is_returned() {
    // Twenty bytes are in the fifth cell. The sixth cell holds only padding, and the length.
    let (world, data) = (World::new().await, data(262_100));
    let (network, reading) = stored(&world, &data, 262_100).await;
    let mut reader = open(&network, &reading, Length::Doubted);
    assert!(reader.read_at(262_000, 262_099).await.unwrap() == data[262_000..262_099]);
    assert_eq!(reader.cost().node_requests, 2, "the end is not returned");
    assert!(reader.read_at(262_099, 262_100).await.unwrap() == data[262_099..]);
    assert_eq!(reader.cost().node_requests, 4, "the end is returned");
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert!(all == data);
    assert_eq!(reader.cost().node_requests, 9, "the end is checked once");
    let known = open(&network, &reading, Length::Known);
    assert!(known.read_at(262_099, 262_100).await.unwrap() == data[262_099..]);
    assert_eq!(known.cost().node_requests, 1);

    // The manifest states a shorter length.
    let mut reading = reading;
    reading.manifest.length -= 1;
    let false_end = |error: io::Error| error.kind() == io::ErrorKind::InvalidData;
    let mut reader = open(&network, &reading, Length::Doubted);
    assert_eq!(reader.read_u8().await.unwrap(), data[0]);
    assert!(false_end(reader.seek(SeekFrom::End(-5)).await.unwrap_err()));
    assert_eq!(reader.stream_position().await.unwrap(), 1, "the position has not moved");
    assert!(false_end(reader.read_to_end(&mut Vec::new()).await.unwrap_err()));
    let error = reader.read_at(0, u64::MAX).await.unwrap_err();
    assert!(matches!(error, TransferError::Corrupt { segment: 0, .. }), "{error}");
    assert_eq!(reader.read_at(0, 9).await.unwrap(), data[..9]);
    let known = open(&network, &reading, Length::Known);
    assert!(known.read_at(0, u64::MAX).await.unwrap() == data[..262_099]);
}

/// A reading that compares every cell with a list, in which one cell, if any, stands for other bytes.
fn compared(reading: &Reading, data: &[u8], other: Option<usize>) -> Reading {
    let layout = reading.manifest.layout().unwrap();
    let coder = reading.manifest.coder(&reading.key, 0).unwrap();
    let (mut parts, mut rest) = (Vec::new(), data);
    for number in 0..coder.layout().stripes {
        let stripe = coder.layout().stripe(number).unwrap();
        let (here, later) = rest.split_at(stripe.plain_length);
        rest = later;
        coder.leaf_parts(number, here, &mut parts).unwrap();
    }
    if let Some(cell) = other {
        parts[cell].plain = Hash([9; 32]);
    }
    let list = LeafList::new(&reading.key, &layout, parts);
    let leaves = LeavesWanted::Listed(Arc::new(Listed { order: OrderId([5; 16]), list }));
    Reading { leaves, ..reading.clone() }
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_is_not_the_listed_one_is_not_passed_on() {
    let (world, data) = (World::new().await, data(300_000));
    let (network, reading) = stored(&world, &data, 300_000).await;
    let right = compared(&reading, &data, None);
    assert!(read_all(&network, &right).await.unwrap() == data);
    assert!(open(&network, &right, Length::Known).read_at(0, u64::MAX).await.unwrap() == data);

    let wrong = compared(&reading, &data, Some(3));
    let refused = |error: &TransferError| {
        matches!(error, TransferError::NotListed { order: OrderId([5, ..]), cell: 3 })
    };
    let error = read_all(&network, &wrong).await.unwrap_err();
    assert!(refused(&error), "{error}");
    let mut reader = open(&network, &wrong, Length::Known);
    assert!(reader.read_at(0, 3 * CELL).await.unwrap() == data[..196_560], "before it");
    let error = reader.read_at(3 * CELL, 3 * CELL + 1).await.unwrap_err();
    assert!(refused(&error), "{error}");
    reader.seek(SeekFrom::Start(3 * CELL)).await.unwrap();
    let error = reader.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    // A part of the file is compared as far as it is read.
    let layout = wrong.manifest.layout().unwrap();
    let (before, _) = spans(&layout, 0, CELL, 0);
    let only = Reading { only: Some((0, CELL)), ..wrong };
    let mut groups = network.read(only, before, &Progress::silent());
    let group = groups.next().await.unwrap().unwrap();
    assert!(group.plain[..65_520] == data[..65_520]);
}

#[tokio::test(start_paused = true)]
async fn reading_in_order_fetches_more_and_more_ahead() {
    let (world, data) = (World::new().await, data(50 * 65_520));
    let (network, reading) = stored(&world, &data, 50 * CELL).await;
    let mut reader = open(&network, &reading, Length::Known);
    assert_eq!(reader.read(&mut []).await.unwrap(), 0);
    assert_eq!(reader.cost().node_requests, 0, "an empty read requests nothing");
    // The reader fetches the cell and as many further cells as were read in order, up to sixteen.
    let mut costs = Vec::new();
    for cell in [0, 1, 2, 3, 4, 5, 40, 41, 42, 1, 0] {
        reader.seek(SeekFrom::Start(cell * CELL)).await.unwrap();
        assert_eq!(reader.read_u8().await.unwrap(), data[usize::try_from(cell * CELL).unwrap()]);
        // Let the newest fetch send its request.
        tokio::task::yield_now().await;
        costs.push(reader.cost().node_requests);
    }
    assert_eq!(costs, [1, 2, 4, 7, 12, 21, 22, 23, 25, 26, 27]);
    let mut bytes = vec![0; 100_000];
    reader.seek(SeekFrom::Start(10 * CELL)).await.unwrap();
    reader.read_exact(&mut bytes).await.unwrap();
    assert!(bytes == data[655_200..755_200]);
    assert_eq!(reader.cost().node_requests, 29, "one read fetches all its cells at once");
}

#[tokio::test(start_paused = true)]
async fn a_file_lies_within_its_object() {
    let (world, data) = (World::new().await, data(300_000));
    let (network, reading) = stored(&world, &data, 300_000).await;
    let reader = |place| {
        let reading = reading.clone();
        Reader::new(&network, reading, place, Length::Known, &Progress::silent())
    };
    for outside in [(0, 300_001), (300_001, 0), (200_000, 100_001), (1, u64::MAX)] {
        let error = reader(outside).unwrap_err();
        assert!(matches!(error, TransferError::Internal(_)), "{error}");
    }
    for (first, length) in [(0, 300_000), (200_000, 100_000), (100_000, 70_000), (300_000, 0)] {
        let mut all = Vec::new();
        reader((first, length)).unwrap().read_to_end(&mut all).await.unwrap();
        let first = usize::try_from(first).unwrap();
        assert!(all == data[first..first + all.len()] && all.len() as u64 == length);
    }
}
