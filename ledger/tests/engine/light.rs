//! A light client: what it keeps, which servers it asks, and what it notices.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::common::{
    account, balance,
    between::{Between, stand_between},
    open, transaction, transfer, validator_id,
};
use symbolon_ledger::{Embedded, Keeping, Ledger, LedgerError, LedgerTicket, Options, Remote};
use symbolon_net::{Host, MemoryNetwork, PeerAddress, peer_id};
use symbolon_protocol::{
    Amount, Millis,
    codec::{Decode, Reader},
    ledger::{
        Params,
        block::SignedHeader,
        commit::Validators,
        rows::{Accounts, Chains},
        transaction::Action,
    },
    wire::ledger::{Request, Response},
};
use tempfile::TempDir;
use tokio::{sync::Notify, task::JoinHandle};

const START_MS: u64 = 1_700_000_000_000;

/// A ledger with a server, and the folder of a client.
struct World {
    network: MemoryNetwork,
    host: Host,
    folder: TempDir,
    home: Option<Embedded>,
    server: JoinHandle<()>,
    truth: LedgerTicket,
}

impl World {
    /// A ledger where account 1 has 990 credits and account 2 has 10.
    async fn new() -> Self {
        Self::with(Params::development()).await
    }

    async fn with(params: Params) -> Self {
        let (network, folder) = (MemoryNetwork::new(), tempfile::tempdir().unwrap());
        let host = Host::seeded(1, START_MS);
        let options = Options { key: crate::common::VALIDATOR, params, host: host.clone() };
        let home = Embedded::open(&folder.path().join("ledger"), options).await.unwrap();
        let server = serve(&home, &network);
        let peer = PeerAddress { id: peer_id(&[1; 32]), addresses: vec!["memory".into()] };
        let truth = LedgerTicket { chain: home.chain(), peers: vec![peer] };
        let world = Self { network, host, folder, home: Some(home), server, truth };
        let (chain, home) = (world.truth.chain, world.home());
        home.submit(transaction(chain, 1, 1, Action::Faucet)).await.unwrap();
        home.submit(transfer(chain, 1, 2, 2, 10)).await.unwrap();
        world
    }

    /// The ledger, asked at home.
    fn home(&self) -> Ledger {
        self.home.clone().unwrap().into()
    }

    /// A client that has just started, and keeps what it trusts in this world's folder.
    fn client(&self, ticket: &LedgerTicket) -> Ledger {
        let keeping = Keeping { host: self.host.clone(), folder: self.path("client") };
        Remote::keeping(self.network.endpoint([2; 32]), ticket.clone(), keeping).into()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The only file of the client's folder whose name begins so.
    fn kept(&self, begin: &str) -> PathBuf {
        let files = fs::read_dir(self.path("client")).unwrap();
        let mut files = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(begin));
        let file = files.next().unwrap();
        assert_eq!(files.next(), None);
        file
    }

    /// A server that passes requests on, and changes the answers.
    fn between(
        &self,
        number: u8,
        twist: impl Fn(&Request, Response) -> Response + Send + Sync + 'static,
    ) -> PeerAddress {
        let front = self.network.endpoint([number; 32]);
        let address = front.address();
        stand_between(front, self.truth.peers[0].clone(), Arc::new(twist));
        address
    }

    fn ticket(&self, peers: Vec<PeerAddress>) -> LedgerTicket {
        LedgerTicket { peers, ..self.truth.clone() }
    }

    /// Closes the ledger and opens it again: on a copy that was kept before, if one is given. Keeps a copy if it is to.
    async fn restart(&mut self, from: Option<&Path>, to: Option<&Path>) {
        let path = self.path("ledger");
        self.network.kill(&self.truth.peers[0].id);
        self.server.abort();
        drop((&mut self.server).await);
        self.home.take().unwrap().close().await;
        if let Some(from) = from {
            fs::remove_dir_all(&path).unwrap();
            copy_folder(from, &path);
        }
        if let Some(to) = to {
            copy_folder(&path, to);
        }
        let home = open(&path, self.host.clone()).await;
        self.server = serve(&home, &self.network);
        self.home = Some(home);
    }
}

fn serve(home: &Embedded, network: &MemoryNetwork) -> JoinHandle<()> {
    tokio::spawn(symbolon_ledger::answer(home.clone(), network.endpoint([1; 32])))
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_knows_the_ledger_starts_with_one_question() {
    let world = World::new().await;
    let asked: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let note = asked.clone();
    let server = world.between(66, move |request, response| {
        note.lock().unwrap().push(match request {
            Request::Genesis => "genesis",
            Request::Head => "head",
            _ => "rows",
        });
        response
    });
    let ticket = world.ticket(vec![server]);
    let head = world.client(&ticket).head().await.unwrap();
    let mut first = std::mem::take(&mut *asked.lock().unwrap());
    first.sort_unstable();
    assert_eq!(first, ["genesis", "head"]);
    assert!(world.kept("trusted-").is_file());
    let again = world.client(&ticket);
    assert_eq!(balance(&again, 2).await, Amount::credits(10));
    assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), ["rows"]);
    assert_eq!(again.head().await.unwrap(), head);
}

#[tokio::test(start_paused = true)]
async fn a_genesis_that_the_ticket_does_not_name_is_refused() {
    let world = World::new().await;
    let richer = world.between(66, |_, response| match response {
        Response::Genesis { mut genesis } => {
            genesis.params.faucet = Amount::credits(1_000_000);
            Response::Genesis { genesis }
        }
        other => other,
    });
    let client = world.client(&world.ticket(vec![richer]));
    // Its headers are of this ledger, so only the genesis itself can be at fault.
    let refused = client.head().await;
    let Err(LedgerError::Forged { what }) = refused else { panic!("{refused:?}") };
    assert_eq!(what, "the genesis is of another ledger");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_was_set_back_is_noticed_by_a_program_that_has_just_started() {
    let mut world = World::new().await;
    let chain = world.truth.chain;
    let copy = world.path("copy");
    world.restart(None, Some(&copy)).await;
    let home = world.home();
    for id in 3..6 {
        home.submit(transfer(chain, 1, id, 2, 1)).await.unwrap();
    }
    drop(home);
    let truth = world.truth.clone();
    assert_eq!(world.client(&truth).head().await.unwrap().header.height, 5);

    world.restart(Some(&copy), None).await;
    let behind = world.client(&truth).head().await;
    assert!(matches!(behind, Err(LedgerError::Stale { height: 2, known: 5 })), "{behind:?}");
    // One that keeps nothing cannot know.
    let unknowing = Ledger::from(Remote::new(world.network.endpoint([3; 32]), truth.clone()));
    assert_eq!(unknowing.head().await.unwrap().header.height, 2);

    let home = world.home();
    for id in 13..16 {
        home.submit(transfer(chain, 1, id, 2, 2)).await.unwrap();
    }
    drop(home);
    let forked = world.client(&truth).head().await;
    let Err(LedgerError::Forked { height: 5, kept: Some(file) }) = forked else {
        panic!("{forked:?}")
    };
    assert_eq!(file, world.kept("fork-"));
    let bytes = fs::read(file).unwrap();
    let mut input = Reader::new(&bytes);
    let pair = [(); 2].map(|()| SignedHeader::decode(&mut input).unwrap());
    assert_eq!(input.remaining(), 0);
    let validators = Validators::alone(validator_id());
    for signed in &pair {
        assert_eq!((signed.header.chain, signed.header.height), (chain, 5));
        signed.commit.verify(&signed.header, &validators).unwrap();
    }
    assert_ne!(pair[0].header.digest(), pair[1].header.digest());
}

/// Says for ever what it said first: a server that holds newer blocks back.
fn frozen() -> impl Fn(&Request, Response) -> Response + Send + Sync + 'static {
    let first: Mutex<Option<Response>> = Mutex::default();
    move |request, response| match request {
        Request::Head => first.lock().unwrap().get_or_insert(response).clone(),
        _ => response,
    }
}

#[tokio::test(start_paused = true)]
async fn another_server_is_asked_when_one_is_gone_lies_or_holds_blocks_back() {
    let world = World::new().await;
    let true_one = world.truth.peers[0].clone();

    let gone = world.network.endpoint([60; 32]);
    world.network.kill(&gone.id());
    let client = world.client(&world.ticket(vec![gone.address(), true_one.clone()]));
    assert_eq!(balance(&client, 2).await, Amount::credits(10));

    let liar = world.between(61, |_, response| match response {
        Response::Rows { mut header, rows, proof, more } => {
            header.header.state_root.0[0] ^= 1;
            Response::Rows { header, rows, proof, more }
        }
        Response::Block { mut block } => {
            block.events.clear();
            Response::Block { block }
        }
        // Nothing but the commit covers this.
        Response::Head { mut header } => {
            header.header.events_root.0[0] ^= 1;
            Response::Head { header }
        }
        other => other,
    });
    let client = world.client(&world.ticket(vec![liar.clone(), true_one.clone()]));
    assert_eq!(balance(&client, 2).await, Amount::credits(10));
    let client = world.client(&world.ticket(vec![liar.clone(), true_one.clone()]));
    let block = client.follow(1).next().await.unwrap();
    assert_eq!(block, world.home().follow(1).next().await.unwrap());
    let alone = world.client(&world.ticket(vec![liar]));
    let refused = alone.row(Accounts, &account(2)).await;
    assert!(matches!(refused, Err(LedgerError::Forged { .. })), "{refused:?}");
    let refused = alone.head().await;
    assert!(matches!(refused, Err(LedgerError::Forged { .. })), "{refused:?}");

    let frozen = world.between(62, frozen());
    let client = world.client(&world.ticket(vec![frozen.clone(), true_one]));
    let before = client.head().await.unwrap().header.height;
    // Within an epoch and a quarter, and a minute, no client can know.
    tokio::time::sleep(Duration::from_secs(130)).await;
    assert_eq!(client.head().await.unwrap().header.height, before);
    assert_eq!(client.overdue(), None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(before < client.head().await.unwrap().header.height);
    assert_eq!(client.overdue(), None);
}

/// Keeps its first head until it is let go, and forges it if it is to.
#[derive(Default)]
struct Late {
    forges: bool,
    is_kept: AtomicBool,
    kept: Notify,
    go: Notify,
}

impl Between for Late {
    async fn pass(&self, request: &Request, mut answer: Response) -> Option<Response> {
        if let (Request::Head, Response::Head { header }) = (request, &mut answer)
            && !self.is_kept.swap(true, Ordering::Relaxed)
        {
            header.header.events_root.0[0] ^= u8::from(self.forges);
            self.kept.notify_one();
            self.go.notified().await;
        }
        Some(answer)
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_another_one_has_overtaken_is_checked_all_the_same() {
    for forges in [false, true] {
        let world = World::new().await;
        let late = Arc::new(Late { forges, ..Late::default() });
        let front = world.network.endpoint([67; 32]);
        let ticket = world.ticket(vec![front.address()]);
        stand_between(front, world.truth.peers[0].clone(), late.clone());
        let client = world.client(&ticket);
        assert_eq!(balance(&client, 2).await, Amount::credits(10));
        let asking = client.clone();
        let first = tokio::spawn(async move { asking.head().await });
        late.kept.notified().await;
        world.home().submit(transfer(world.truth.chain, 1, 3, 2, 1)).await.unwrap();
        assert_eq!(balance(&client, 2).await, Amount::credits(11));
        late.go.notify_one();
        match first.await.unwrap() {
            Ok(head) => assert_eq!((head.header.height, forges), (2, false)),
            Err(LedgerError::Forged { .. }) => assert!(forges),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_old_is_said_to_be() {
    let world = World::new().await;
    let frozen = world.between(62, frozen());
    let keeping = Keeping { host: world.host.clone(), folder: world.path("another client") };
    let ticket = world.ticket(vec![frozen]);
    let client = Ledger::from(Remote::keeping(world.network.endpoint([2; 32]), ticket, keeping));
    client.head().await.unwrap();
    assert_eq!(client.overdue(), None);
    tokio::time::sleep(Duration::from_secs(60 + 15 + 60 + 5)).await;
    client.head().await.unwrap();
    assert_eq!(client.overdue(), Some(Millis(5_000)));
    // The rows come from a newer block.
    assert_eq!(client.row(Chains, &()).await.unwrap().unwrap().epoch, 2);
    assert_eq!(client.overdue(), None);
}

#[tokio::test(start_paused = true)]
async fn trust_that_is_too_old_or_damaged_is_not_used() {
    let params = Params { trusting_ms: Millis::DAY, ..Params::development() };
    let world = World::with(params).await;
    world.client(&world.truth).head().await.unwrap();
    tokio::time::sleep(Duration::from_secs(86_000)).await;
    world.client(&world.truth).head().await.unwrap();
    // The second start has kept a newer header.
    tokio::time::sleep(Duration::from_secs(86_000)).await;
    world.client(&world.truth).head().await.unwrap();
    tokio::time::sleep(Duration::from_secs(86_500)).await;
    let too_old = world.client(&world.truth).head().await.unwrap_err();
    assert!(matches!(&too_old, LedgerError::Trust { path, .. } if *path == world.kept("trusted-")));
    assert!(too_old.to_string().contains("1 days"), "{too_old}");

    let file = world.kept("trusted-");
    let mut bytes = fs::read(&file).unwrap();
    bytes.pop();
    fs::write(&file, bytes).unwrap();
    let damaged = world.client(&world.truth).head().await.unwrap_err();
    assert!(matches!(damaged, LedgerError::Trust { .. }), "{damaged}");
    fs::remove_file(file).unwrap();
    world.client(&world.truth).head().await.unwrap();
}
