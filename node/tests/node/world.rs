//! A ledger, a network, an owner with money, and peers that send the wire messages themselves.

use std::{sync::OnceLock, time::Duration};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use symbolon_ledger::{EPOCHS_KEPT, Embedded, Ledger, Options};
use symbolon_net::{Alpn, Connection, Endpoint, Host, MemoryNetwork, Receiver, Sender};
use symbolon_node::{Limits, Node, NodeOptions};
use symbolon_protocol::{
    Amount, LedgerTime,
    grant::{Caveat, Grant, ability},
    id::{AccountId, DealId, Hash, ObjectId, Opening, PeerId, TransactionId},
    identity::Identity,
    ledger::{
        Params, Status,
        rows::{Access, Account, Accounts, Deal, Deals},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    limits::SLICE_BYTES,
    proof::verify_unit,
    wire::storage::{Refusal, RefusalCode, Request, Response, SliceHead},
};
use tempfile::TempDir;

/// A Sunday evening in November 2026.
pub(crate) const START_MS: u64 = 1_795_370_000_000;

/// The ledger's time, in tests where the host's clock is the ledger's clock.
pub(crate) fn now(host: &Host) -> LedgerTime {
    host.now_ms().within(LedgerTime::ZERO, LedgerTime::NEVER)
}
pub(crate) const NODE_SECRET: [u8; 32] = [11; 32];
/// Credits per GiB and epoch.
pub(crate) const PRICE: Amount = Amount::credits(2);
pub(crate) const CAPACITY: u64 = 64 * 1024 * 1024;

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) host: Host,
    pub(crate) network: MemoryNetwork,
    pub(crate) ledger: Ledger,
    pub(crate) owner: Identity,
}

impl World {
    /// A network of its own with an owner who has 1000 credits.
    pub(crate) async fn new() -> Self {
        Self::with(Params::development()).await
    }

    pub(crate) async fn with(params: Params) -> Self {
        Self::keeping(params, EPOCHS_KEPT).await
    }

    /// The same with a ledger that keeps the blocks of so many epochs before the current one.
    pub(crate) async fn keeping(params: Params, epochs_kept: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::seeded(7, START_MS);
        let options = Options { key: [1; 32], params, host: host.clone() };
        let folder = dir.path().join("ledger");
        let ledger = Embedded::open_keeping(&folder, options, epochs_kept).await.unwrap().into();
        let network = MemoryNetwork::new();
        let world = Self { dir, host, network, ledger, owner: owner() };
        world.apply(&world.owner.account_key(), Action::Faucet).await;
        world
    }

    pub(crate) fn options(&self, name: &str) -> NodeOptions {
        NodeOptions {
            dir: self.dir.path().join(name),
            capacity: CAPACITY,
            price: PRICE,
            payout: AccountId([77; 32]),
            operator: None,
            custody: true,
            caretaker: false,
            limits: Limits {
                disk_reserve_bytes: 0,
                // Peers in a test may be silent for weeks.
                connection_idle_ms: 1 << 40,
                ..Limits::for_capacity(CAPACITY)
            },
            accept_loss: false,
        }
    }

    /// A registered node.
    pub(crate) async fn node(&self) -> Node {
        self.node_with(self.options("node"), NODE_SECRET).await
    }

    pub(crate) async fn node_with(&self, options: NodeOptions, secret: [u8; 32]) -> Node {
        let endpoint = self.network.endpoint(secret);
        let (ledger, host) = (self.ledger.clone(), self.host.clone());
        let node = Node::start(options, secret, endpoint, ledger, host).await.unwrap();
        node.registered().await;
        node
    }

    /// A peer with a connection to the node.
    pub(crate) async fn peer(&self, identity: &Identity, node: &Node) -> Peer {
        let endpoint = self.network.endpoint(identity.access_key().to_bytes());
        let address = symbolon_net::PeerAddress { id: node.id(), addresses: Vec::new() };
        let connection = endpoint.connect(&address, Alpn::Storage).await.unwrap();
        Peer { endpoint, connection }
    }

    /// Submits an action and returns its status.
    pub(crate) async fn submit(&self, key: &SigningKey, action: Action) -> Status {
        let height = self.ledger.head().await.unwrap().header.height;
        let id = TransactionId(self.host.random());
        let transaction = Transaction::build(self.ledger.chain(), key, id, height + 100, action);
        self.ledger.submit(transaction).await.unwrap().status
    }

    pub(crate) async fn apply(&self, key: &SigningKey, action: Action) {
        assert_eq!(self.submit(key, action).await, Status::Applied);
    }

    /// Opens a deal over one shard.
    pub(crate) async fn open_deal(&self, terms: &DealTerms, acceptance: Acceptance) {
        let action = Action::OpenDeal {
            terms: terms.clone(),
            acceptances: vec![acceptance],
            cost_max: Amount::credits(1000),
        };
        self.apply(&self.owner.account_key(), action).await;
    }

    /// Terms for one shard of a segment that needs one shard.
    pub(crate) fn terms(&self, deal: u8, length: u64) -> DealTerms {
        DealTerms {
            owner: self.owner.account(),
            opening: Opening([deal; 32]),
            object: ObjectId([5; 16]),
            segment: 0,
            required: 1,
            total: 3,
            length,
            access: Access::Granted,
            epochs: 1000,
        }
    }

    /// The owner's grant to a peer key. Unless the caveats say otherwise, it names the object of
    /// [`Self::terms`] and every ability.
    pub(crate) fn grant(&self, to: PeerId, caveats: Vec<Caveat>) -> Grant {
        let caveats = named(caveats);
        let chain = self.ledger.chain();
        Grant::issue(&chain, &self.owner.account_key(), to, caveats, &self.host.random()).unwrap()
    }

    /// The owner's grant to itself to store and read.
    pub(crate) fn own_grant(&self) -> Grant {
        let set = ability::STORE | ability::READ | ability::VERIFY;
        self.grant(self.owner.peer(), vec![Caveat::Abilities { set }])
    }

    pub(crate) async fn balance(&self, account: &AccountId) -> Amount {
        let row: Option<Account> = self.ledger.row(Accounts, account).await.unwrap();
        row.map_or(Amount::ZERO, |row| row.balance)
    }

    pub(crate) async fn deal(&self, deal: &DealId) -> Deal {
        self.ledger.row(Deals, deal).await.unwrap().unwrap()
    }

    /// Lets virtual time pass until the node's first window is open, and a second more for its proof.
    pub(crate) async fn opened(&self, node: &Node) {
        while node.status().await.unwrap().slots == 0 {
            self.pass(1_000).await;
        }
        self.pass(1_000).await;
    }

    /// Lets virtual time pass.
    pub(crate) async fn pass(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// A peer that talks to a node.
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
}

/// The code of an expected refusal.
pub(crate) fn code<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> RefusalCode {
    answer.expect_err("should be refused").code
}

/// A part of a shard and its path.
pub(crate) type Piece = (Vec<u8>, Vec<Hash>);

impl Peer {
    pub(crate) async fn open(&self, request: &Request) -> (Sender, Receiver) {
        let (mut sender, receiver) = self.connection.open().await.unwrap();
        sender.send(request).await.unwrap();
        (sender, receiver)
    }

    /// Sends a request and receives its answer.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Response, Refusal> {
        let (_sender, mut receiver) = self.open(request).await;
        refused(receiver.receive().await.unwrap())
    }

    /// Stores a shard.
    pub(crate) async fn store(
        &self,
        terms: &DealTerms,
        index: u8,
        price: Amount,
        grant: &Grant,
        bytes: &[u8],
    ) -> Result<Acceptance, Refusal> {
        let authority = grant.clone().into();
        let request = Request::Store { terms: terms.clone(), index, price, authority };
        let (mut sender, mut receiver) = self.open(&request).await;
        match refused(receiver.receive().await.unwrap())? {
            Response::Ready => {
                sender.write(Bytes::copy_from_slice(bytes)).await.unwrap();
                sender.finish();
            }
            Response::Accepted { acceptance } => return Ok(acceptance),
            other => panic!("not an answer to a store: {other:?}"),
        }
        match refused(receiver.receive().await.unwrap())? {
            Response::Accepted { acceptance } => Ok(acceptance),
            other => panic!("not an acceptance: {other:?}"),
        }
    }

    /// Reads pieces, and checks that the stream ends after the last one.
    pub(crate) async fn read(&self, request: &Request) -> Result<Vec<Piece>, Refusal> {
        let (_sender, mut receiver) = self.open(request).await;
        let Response::Slices { count } = refused(receiver.receive().await.unwrap())? else {
            panic!("not an answer to a read");
        };
        let mut pieces = Vec::new();
        for _ in 0..count {
            let head: SliceHead = receiver.receive().await.unwrap();
            let mut bytes = vec![0; head.length as usize];
            receiver.read_exact(&mut bytes).await.unwrap();
            pieces.push((bytes, head.path));
        }
        assert_eq!(receiver.read(1).await.unwrap(), None, "nothing follows the last piece");
        Ok(pieces)
    }
}

fn refused(response: Response) -> Result<Response, Refusal> {
    match response {
        Response::Refused { refusal } => Err(refusal),
        other => Ok(other),
    }
}

/// Bytes of a shard in which no two leaves are equal.
pub(crate) fn shard(length: u64) -> Vec<u8> {
    static STREAM: OnceLock<Vec<u8>> = OnceLock::new();
    let stream = STREAM.get_or_init(|| {
        let mut bytes = vec![0; 4 * SLICE_BYTES];
        blake3::Hasher::new().update(b"shard").finalize_xof().fill(&mut bytes);
        bytes
    });
    stream[..usize::try_from(length).unwrap()].to_vec()
}

/// Checks pieces against the root, as a reader does.
pub(crate) fn verify(
    acceptance: &Acceptance,
    length: u64,
    unit_bytes: usize,
    first: u64,
    pieces: &[Piece],
) {
    for (unit, (bytes, path)) in (first..).zip(pieces) {
        verify_unit(&acceptance.root, length, unit_bytes as u64, unit, bytes, path).unwrap();
    }
}

/// The owner of every world.
fn owner() -> Identity {
    Identity::from_seed(&[21; 64])
}

/// The id of the owner's deal `number`.
pub(crate) fn deal_id(number: u8) -> DealId {
    DealId::of(&owner().account(), &Opening([number; 32]))
}

/// Adds an object and abilities to the caveats, which a first link must name.
pub(crate) fn named(mut caveats: Vec<Caveat>) -> Vec<Caveat> {
    let has = |kind: fn(&Caveat) -> bool| caveats.iter().any(kind);
    let (object, abilities) = (
        has(|caveat| matches!(caveat, Caveat::Object { .. })),
        has(|caveat| matches!(caveat, Caveat::Abilities { .. })),
    );
    if !object {
        caveats.push(Caveat::Object { object: ObjectId([5; 16]) });
    }
    if !abilities {
        caveats.push(Caveat::Abilities { set: ability::ALL });
    }
    caveats
}
