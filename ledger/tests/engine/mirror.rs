//! Machines that join a ledger from a checkpoint, and mirrors, which then follow it: stopped at any moment, lied to, away.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    checkpoint::{fetch, founded, founded_with, host},
    common::{
        account, answer, balance,
        between::{Between, stand_between},
        open_keeping, transaction, transfer, validator,
    },
};
use symbolon_ledger::{
    EPOCHS_KEPT, Embedded, Joined, Ledger, LedgerError, LedgerTicket, Mirror, Mirrored, Options,
    Remote, join,
};
use symbolon_net::{Endpoint, Host, MemoryNetwork};
use symbolon_protocol::{
    Amount,
    id::Hash,
    ledger::{
        Params, Status,
        block::{Block, SignedHeader, events_root, transactions_root},
        rows::{Chains, Roots},
        transaction::Action,
    },
    wire::ledger::{Request, Response},
};
use tempfile::TempDir;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::sleep,
};

/// A ledger with a server, and folders of machines that join it.
struct World {
    network: MemoryNetwork,
    home: Embedded,
    truth: LedgerTicket,
    folder: TempDir,
    machines: AtomicU64,
    served: Mutex<Vec<Endpoint>>,
}

/// A mirror, and what happens to it.
struct Running {
    mirror: Mirror,
    told: UnboundedReceiver<Mirrored>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = founded(&folder.path().join("home")).await;
        Self::of(folder, home)
    }

    fn of(folder: TempDir, home: Embedded) -> Self {
        let network = MemoryNetwork::new();
        let truth = answer(home.clone(), network.endpoint([1; 32]));
        Self { network, home, truth, folder, machines: AtomicU64::new(0), served: Mutex::default() }
    }

    fn ledger(&self) -> Ledger {
        self.home.clone().into()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A machine of its own that asks the servers of a ticket.
    fn remote(&self, ticket: &LedgerTicket) -> Remote {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let mut secret = [100; 32];
        secret[..8].copy_from_slice(&number.to_le_bytes());
        Remote::new(self.network.endpoint(secret), ticket.clone())
    }

    /// A server with another key that passes questions on to the ledger.
    fn between(&self, number: u8, how: impl Between) -> LedgerTicket {
        let front = self.network.endpoint([number; 32]);
        let ticket = LedgerTicket { peers: vec![front.address()], ..self.truth.clone() };
        stand_between(front, self.truth.peers[0].clone(), Arc::new(how));
        ticket
    }

    async fn mirror(&self, name: &str, ticket: &LedgerTicket) -> Running {
        let (tell, told) = unbounded_channel();
        let told_to = move |happened| drop(tell.send(happened));
        let remote = self.remote(ticket);
        let folder = self.folder(name);
        let mirror = Mirror::open(&folder, remote, host(), EPOCHS_KEPT, told_to).await.unwrap();
        Running { mirror, told }
    }

    /// Serves a mirror.
    fn serve(&self, number: u8, mirror: &Mirror) -> LedgerTicket {
        let endpoint = self.network.endpoint([number; 32]);
        let ticket = LedgerTicket { peers: vec![endpoint.address()], ..self.truth.clone() };
        tokio::spawn(symbolon_ledger::answer(mirror.clone(), endpoint.clone()));
        self.served.lock().unwrap().push(endpoint);
        ticket
    }

    /// Stops a mirror, and all servers of mirrors.
    async fn stop(&self, mirror: Mirror) {
        let served = std::mem::take(&mut *self.served.lock().unwrap());
        for endpoint in served {
            endpoint.close().await;
        }
        drop(mirror);
    }

    /// Joins in a folder, and gives what happened.
    async fn join(
        &self,
        name: &str,
        ticket: &LedgerTicket,
    ) -> (Result<(), LedgerError>, Vec<Joined>) {
        let told = Mutex::new(Vec::new());
        let tell = |joined| told.lock().unwrap().push(joined);
        let joined = join(&self.remote(ticket), &self.folder(name), &host(), &tell).await;
        (joined, told.into_inner().unwrap())
    }
}

fn options() -> Options {
    Options { key: crate::common::VALIDATOR, params: Params::development(), host: host() }
}

/// The whole state that a server gives.
async fn state(remote: &Remote) -> (SignedHeader, Vec<(Vec<u8>, Vec<u8>)>) {
    let mut checkpoint = remote.checkpoint();
    let (state, _) = fetch(&mut checkpoint, async || {}).await.unwrap();
    let rows = state.rows().map(|(key, value)| (key.clone(), value.clone())).collect();
    (checkpoint.header().unwrap().clone(), rows)
}

/// Waits until a ledger has a block.
async fn reach(ledger: &Ledger, height: u64) {
    ledger.follow(height).next().await.unwrap();
}

async fn pay(ledger: &Ledger, id: u8) -> u64 {
    let outcome = ledger.submit(transfer(ledger.chain(), 1, id, 2, 1)).await.unwrap();
    assert_eq!(outcome.status, Status::Applied);
    outcome.height
}

#[tokio::test(start_paused = true)]
async fn a_mirror_and_its_mirror_have_the_state_and_go_on_with_it() {
    let world = World::new().await;
    let home = world.ledger();
    pay(&home, 2).await;
    let first = world.mirror("first", &world.truth).await;
    let ticket = world.serve(2, &first.mirror);
    let second = world.mirror("second", &ticket).await;
    let far = Ledger::from(world.remote(&world.serve(3, &second.mirror)));
    assert_eq!(far.head().await.unwrap(), home.head().await.unwrap());
    assert_eq!(balance(&far, 2).await, Amount::credits(1));
    assert_eq!(far.genesis().await.unwrap(), home.genesis().await.unwrap());

    // Transactions go to the ledger, and what they change comes back.
    let height = pay(&far, 3).await;
    assert_eq!(home.head().await.unwrap().header.height, height);
    assert_eq!(balance(&far, 2).await, Amount::credits(2));
    let refused = far.submit(transfer(far.chain(), 7, 1, 1, 1)).await.unwrap();
    assert_eq!(refused.status, Status::BalanceTooLow);
    // History from before it joined is that of the ledger; a machine that only has joined says that it has none.
    let lines = far.history(&account(1), u64::MAX, 10).await.unwrap();
    assert_eq!(lines, home.history(&account(1), u64::MAX, 10).await.unwrap());
    assert_eq!(lines.lines.len(), 3);

    let here = state(&world.remote(&world.truth)).await;
    assert_eq!(here, state(&world.remote(&ticket)).await);
    assert!(matches!(far.follow(0).next().await, Err(LedgerError::Pruned { height: 0, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_started_again_goes_on_with_its_file() {
    let world = World::new().await;
    let home = world.ledger();
    let first = world.mirror("mirror", &world.truth).await;
    let height = pay(&home, 2).await;
    reach(&Ledger::from(world.remote(&world.serve(2, &first.mirror))), height).await;
    world.stop(first.mirror).await;
    let height = pay(&home, 3).await;
    let mut again = world.mirror("mirror", &world.truth).await;
    let far = Ledger::from(world.remote(&world.serve(4, &again.mirror)));
    reach(&far, height).await;
    assert_eq!(balance(&far, 2).await, Amount::credits(2));
    assert!(again.told.try_recv().is_err(), "it has not joined again");
    // The blocks before the checkpoint are not there; those since then are.
    let next = far.follow(height - 1).next().await.unwrap();
    assert_eq!(next.header.header.height, height - 1);

    world.stop(again.mirror).await;
    // Its file is one of this ledger, and of no other.
    let other = world.folder("other");
    let other = crate::common::open(&other, Host::seeded(9, 1_795_370_000_000)).await;
    let ticket = answer(other, world.network.endpoint([77; 32]));
    let remote = world.remote(&ticket);
    let opened = Mirror::open(&world.folder("mirror"), remote, host(), EPOCHS_KEPT, |_| {}).await;
    assert!(matches!(opened, Err(LedgerError::OtherLedger { .. })), "{opened:?}");
}

/// A server that answers questions for parts only so often.
struct Tired {
    left: AtomicU64,
}

impl Between for Tired {
    async fn pass(&self, request: &Request, answer: Response) -> Option<Response> {
        let is_part = matches!(request, Request::Checkpoint { height: Some(_), .. });
        let one_less = |left: u64| left.checked_sub(1);
        let order = Ordering::Relaxed;
        (!is_part || self.left.fetch_update(order, order, one_less).is_ok()).then_some(answer)
    }
}

fn rows_of(joined: &[Joined]) -> Vec<u64> {
    let has = joined.iter().filter_map(|joined| match joined {
        Joined::Has { rows } => Some(*rows),
        _ => None,
    });
    has.collect()
}

#[tokio::test(start_paused = true)]
async fn who_was_stopped_while_it_joined_goes_on_with_what_is_missing() {
    let world = World::new().await;
    let tired = world.between(66, Tired { left: AtomicU64::new(1) });
    let (stopped, told) = world.join("joiner", &tired).await;
    assert!(matches!(stopped, Err(LedgerError::Unreachable { .. })), "{stopped:?}");
    assert!(matches!(told[0], Joined::Fetches { rows: 0, .. }), "{told:?}");
    let [had] = rows_of(&told)[..] else { panic!("one part has come: {told:?}") };

    // What is there is no ledger yet.
    let opened = Embedded::open(&world.folder("joiner"), options()).await;
    assert!(matches!(opened, Err(LedgerError::Unfinished { .. })), "{opened:?}");

    let (joined, told) = world.join("joiner", &world.truth).await;
    joined.unwrap();
    assert!(matches!(told[0], Joined::Fetches { rows, .. } if rows == had), "{told:?}");
    let all = state(&world.remote(&world.truth)).await.1.len();
    assert!(had < *rows_of(&told).last().unwrap());
    // The state has the rows of the tree too.
    assert!(usize::try_from(*rows_of(&told).last().unwrap()).unwrap() < all);
    assert!(!world.folder("joiner").join("joining.redb").exists());
    // The file is that of the ledger: it opens for the key that orders it, with the same last block.
    let ledger = Ledger::from(Embedded::open(&world.folder("joiner"), options()).await.unwrap());
    assert_eq!(ledger.head().await.unwrap(), world.ledger().head().await.unwrap());
    let lines = ledger.history(&account(1), u64::MAX, 10).await;
    assert!(matches!(lines, Err(LedgerError::NoHistory { .. })), "{lines:?}");
    pay(&ledger, 9).await;
}

/// A server that notes what it is asked for.
struct Noting(Arc<Mutex<Vec<Request>>>);

impl Between for Noting {
    async fn pass(&self, request: &Request, answer: Response) -> Option<Response> {
        self.0.lock().unwrap().push(request.clone());
        Some(answer)
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_state_comes_in_parts_from_all_servers_that_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let home = founded_with(&folder.path().join("home"), 2_500).await;
    let world = World::of(folder, home);
    let asked = [1, 2].map(|_| Arc::new(Mutex::new(Vec::new())));
    let tickets = [10, 11]
        .map(|number| world.between(number, Noting(asked[usize::from(number) - 10].clone())));
    let peers = tickets.iter().flat_map(|ticket| ticket.peers.clone()).collect();
    let (joined, told) = world.join("joiner", &LedgerTicket { peers, ..world.truth.clone() }).await;
    joined.unwrap();
    let counts = rows_of(&told);
    assert!(9 < counts.len(), "10 MiB do not fit into fewer answers: {counts:?}");
    let mut answers = 0;
    for asked in asked {
        let asked = asked.lock().unwrap();
        let part = |one: &&Request| matches!(one, Request::Checkpoint { height: Some(_), .. });
        assert!(asked.iter().any(|one| part(&one)), "both servers are asked");
        let inner = |one: &Request| {
            matches!(one, Request::Checkpoint { height: Some(_), until: Some(_), .. })
        };
        assert!(asked.iter().any(inner), "ranges are divided");
        answers += asked.iter().filter(part).count();
    }
    // Some ranges turn out to be empty, but not many.
    assert!(answers < 2 * counts.len() + 20, "{answers} answers for {} parts", counts.len());
    let ledger = Ledger::from(Embedded::open(&world.folder("joiner"), options()).await.unwrap());
    assert_eq!(ledger.head().await.unwrap(), world.ledger().head().await.unwrap());
    let (roots, home) = (ledger.scan_all(Roots, &[]).await.unwrap(), world.ledger());
    assert_eq!(roots, home.scan_all(Roots, &[]).await.unwrap());
    assert_eq!(roots.len(), 2_500);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_gone_in_the_middle_is_begun_anew() {
    let world = World::new().await;
    let tired = world.between(66, Tired { left: AtomicU64::new(1) });
    world.join("joiner", &tired).await.0.unwrap_err();
    let height = pay(&world.ledger(), 2).await;
    sleep(Duration::from_secs(11 * 60)).await;
    let (joined, told) = world.join("joiner", &world.truth).await;
    joined.unwrap();
    let begins = told.iter().position(|told| matches!(told, Joined::BeginsAnew)).unwrap();
    assert!(
        matches!(told[begins + 1], Joined::Fetches { height: new, rows: 0, .. } if new >= height),
        "{told:?}"
    );
    let ledger = Ledger::from(Embedded::open(&world.folder("joiner"), options()).await.unwrap());
    assert_eq!(balance(&ledger, 2).await, Amount::credits(1));
}

/// What a liar does to the rows of a part.
type Twist = fn(Response) -> Response;

const TWISTS: [(&str, Twist); 5] = [
    ("a wrong row", |answer| match answer {
        Response::Rows { header, mut rows, proof, more } => {
            rows[0].value = Some(vec![7]);
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    }),
    ("a missing row", |answer| match answer {
        Response::Rows { header, mut rows, proof, more } => {
            rows.remove(0);
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    }),
    ("a row too many", |answer| match answer {
        Response::Rows { header, mut rows, proof, more } => {
            let mut row = rows[rows.len() - 1].clone();
            *row.key.last_mut().unwrap() ^= 1;
            rows.push(row);
            rows.sort_by(|one, other| one.key.cmp(&other.key));
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    }),
    ("the end too early", |answer| match answer {
        Response::Rows { header, mut rows, proof, .. } => {
            rows.pop();
            Response::Rows { header, rows, proof, more: false }
        }
        other => other,
    }),
    ("another height", |answer| match answer {
        Response::Rows { mut header, rows, proof, more } => {
            header.header.height += 1;
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    }),
];

#[tokio::test(start_paused = true)]
async fn a_server_that_lies_about_a_part_is_named_and_another_one_is_asked() {
    let world = World::new().await;
    for (number, (lie, twist)) in (10..).zip(TWISTS) {
        let between = move |request: &Request, answer| match request {
            Request::Checkpoint { height: Some(_), .. } => twist(answer),
            _ => answer,
        };
        let liar = world.between(number, between);
        let (alone, _) = world.join(lie, &liar).await;
        assert!(matches!(alone, Err(LedgerError::Forged { .. })), "{lie}: {alone:?}");

        let peers = [liar.peers.clone(), world.truth.peers.clone()].concat();
        let both = LedgerTicket { peers, ..liar };
        let (joined, told) = world.join(lie, &both).await;
        joined.unwrap();
        let named = told.iter().filter_map(|told| match told {
            Joined::GivesUp { server, error: LedgerError::Forged { .. } } => Some(*server),
            _ => None,
        });
        assert_eq!(named.collect::<Vec<_>>(), [both.peers[0].id], "{lie}");
    }
}

/// A server that changes followed blocks above a height.
fn forger(twist: impl Fn(Response) -> Response + Send + Sync + 'static) -> impl Between {
    move |request: &Request, answer| match request {
        Request::Follow { .. } => twist(answer),
        _ => answer,
    }
}

async fn stops_at(twist: impl Fn(Response) -> Response + Send + Sync + 'static) -> LedgerError {
    let world = World::new().await;
    let home = world.ledger();
    let before = home.head().await.unwrap();
    let joined_at = before.header.height;
    let forger = forger(move |answer| match &answer {
        Response::Block { block } if joined_at < block.header.header.height => twist(answer),
        _ => answer,
    });
    let forged = world.between(66, forger);
    let Running { mirror, .. } = world.mirror("mirror", &forged).await;
    let far = Ledger::from(world.remote(&world.serve(4, &mirror)));
    pay(&home, 2).await;
    let error = mirror.failed().await;
    assert_eq!(far.head().await.unwrap(), before, "it has not advanced");
    // With a server that is honest it goes on.
    world.stop(mirror).await;
    let honest = world.mirror("mirror", &world.truth).await;
    let far = Ledger::from(world.remote(&world.serve(5, &honest.mirror)));
    reach(&far, joined_at + 1).await;
    error
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_not_the_ledgers_is_refused() {
    let unsigned = stops_at(|answer| match answer {
        Response::Block { mut block } => {
            block.header.header.state_root = Hash([9; 32]);
            Response::Block { block }
        }
        other => other,
    });
    let unsigned = unsigned.await;
    assert!(matches!(unsigned, LedgerError::Forged { .. }), "{unsigned:?}");
    assert!(unsigned.to_string().contains("did not sign the header"), "{unsigned}");
}

/// The validators sign, but the rules say something else.
#[tokio::test(start_paused = true)]
async fn a_block_that_the_rules_do_not_give_is_refused_although_it_is_signed() {
    let twists: [fn(&mut Block); 3] = [
        |block| block.header.header.state_root = Hash([9; 32]),
        |block| {
            block.events.pop();
            block.header.header.events_root = events_root(&block.events);
        },
        |block| {
            block.transactions.clear();
            block.header.header.transactions_root = transactions_root(&[]);
        },
    ];
    for twist in twists {
        let error = stops_at(move |answer| match answer {
            Response::Block { mut block } => {
                twist(&mut block);
                block.header = SignedHeader::build(block.header.header, &validator());
                Response::Block { block }
            }
            other => other,
        });
        let error = error.await.to_string();
        assert!(error.contains("the rules give another block"), "{error}");
    }
}

/// A server that is away while a switch is off.
struct Away(Arc<AtomicBool>);

impl Between for Away {
    async fn pass(&self, _: &Request, answer: Response) -> Option<Response> {
        (!self.0.load(Ordering::Relaxed)).then_some(answer)
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_whose_ledger_is_away_says_so_and_waits() {
    let world = World::new().await;
    let home = world.ledger();
    let away = Arc::new(AtomicBool::new(false));
    let ticket = world.between(66, Away(away.clone()));
    let Running { mirror, mut told } = world.mirror("mirror", &ticket).await;
    let far = Ledger::from(world.remote(&world.serve(4, &mirror)));
    while told.try_recv().is_ok() {}
    away.store(true, Ordering::Relaxed);
    let height = pay(&home, 2).await;
    let Some(Mirrored::Waits { .. }) = told.recv().await else { panic!("it says so") };
    let before = far.head().await.unwrap().header.height;
    assert!(before < height, "it still serves what it has");
    away.store(false, Ordering::Relaxed);
    let Some(Mirrored::GoesOn { .. }) = told.recv().await else { panic!("it says so") };
    reach(&far, height).await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_was_away_for_too_long_joins_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let home = open_keeping(&folder.path().join("home"), host(), 2).await;
    let world = World::of(folder, home);
    let ledger = world.ledger();
    ledger.submit(transaction(ledger.chain(), 1, 1, Action::Faucet)).await.unwrap();
    drop(world.mirror("mirror", &world.truth).await);
    while ledger.row(Chains, &()).await.unwrap().unwrap().epoch < 9 {
        sleep(Duration::from_secs(5)).await;
    }
    let Running { mirror, mut told } = world.mirror("mirror", &world.truth).await;
    assert!(matches!(told.try_recv(), Ok(Mirrored::WasAway { .. })));
    assert!(matches!(told.try_recv(), Ok(Mirrored::Joins(Joined::Fetches { .. }))));
    let far = Ledger::from(world.remote(&world.serve(4, &mirror)));
    assert_eq!(far.head().await.unwrap(), ledger.head().await.unwrap());
}
