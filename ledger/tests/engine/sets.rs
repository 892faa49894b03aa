//! Clients of a ledger whose validators change: what they follow, and that they believe no keys of the past.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::{
    between::stand_between,
    key,
    machines::{LONGEST, Machines},
    transaction,
};
use symbolon_ledger::{
    EPOCHS_KEPT, Keeping, Ledger, LedgerError, LedgerTicket, Mirror, Remote, join,
};
use symbolon_net::{Host, MemoryNetwork, PeerAddress};
use symbolon_protocol::{
    LedgerTime, Millis,
    id::{AccountId, Hash},
    ledger::{
        Params, Status,
        block::SignedHeader,
        commit::{Commit, CommitSignature, Validators},
        transaction::Action,
    },
    signature,
    wire::ledger::{Request, Response},
};
use tokio::time::{sleep, timeout};

/// The keys of the four founding validators.
const FOUNDERS: [u8; 4] = [101, 102, 103, 104];

fn account(number: u8) -> AccountId {
    AccountId(key(number).verifying_key().to_bytes())
}

/// Four validators, and a client that is called again and again.
struct World {
    machines: Machines,
    host: Host,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let params = Params {
            epoch_ms: Millis(3_600_000),
            trusting_ms: Millis::DAY,
            unbonding_ms: Millis::DAY.saturating_mul(2),
            ..Params::development()
        };
        let machines = Machines::on(MemoryNetwork::new(), &[1, 1, 1, 1], params).await;
        let host = Host::seeded(77, crate::common::machines::BEGIN_MS);
        Self { machines, host, folder: tempfile::tempdir().unwrap() }
    }

    /// A client that has just started, and keeps what it trusts in a folder of this name.
    fn client(&self, name: &str, ticket: LedgerTicket) -> Ledger {
        let keeping = Keeping { host: self.host.clone(), folder: self.path(name) };
        Remote::keeping(self.machines.network.endpoint([2; 32]), ticket, keeping).into()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The head as such a client sees it.
    async fn head(&self, name: &str) -> SignedHeader {
        self.client(name, self.machines.ticket(0)).head().await.unwrap()
    }

    /// What a client says to a header that a server shows it instead of the true one.
    async fn shown(&self, name: &str, number: u8, forged: SignedHeader) -> LedgerError {
        let server = self.between(number, move |request, response| match request {
            Request::Head => Response::Head { header: forged.clone() },
            _ => response,
        });
        let ticket = LedgerTicket { peers: vec![server], ..self.machines.ticket(0) };
        self.client(name, ticket).head().await.unwrap_err()
    }

    fn between(
        &self,
        number: u8,
        twist: impl Fn(&Request, Response) -> Response + Send + Sync + 'static,
    ) -> PeerAddress {
        let front = self.machines.network.endpoint([number; 32]);
        let address = front.address();
        stand_between(front, self.machines.ticket(0).peers[0].clone(), Arc::new(twist));
        address
    }

    /// A founding validator leaves, and the set without it has begun when this returns.
    async fn leave(&self, number: u8) {
        let ledger = self.machines.ledger(0);
        let before = ledger.head().await.unwrap().header.validators;
        let leave = Action::LeaveValidators { validator: account(number) };
        let leave = transaction(ledger.chain(), number, 1, leave);
        let outcome = timeout(LONGEST, ledger.submit(leave)).await.unwrap().unwrap();
        assert_eq!(outcome.status, Status::Applied);
        while ledger.head().await.unwrap().header.validators == before {
            sleep(Duration::from_secs(60)).await;
        }
    }
}

/// A header of another chain, some blocks after a true one, with signatures of these keys.
fn forge(truth: &SignedHeader, set: &Validators, signers: &[u8]) -> SignedHeader {
    let mut header = truth.header.clone();
    header.height += 10;
    header.facts.time_ms = LedgerTime(header.facts.time_ms.0 + 1_000);
    header.parent = Hash([1; 32]);
    header.state_root = Hash([2; 32]);
    header.validators = set.hash();
    header.next_validators = set.hash();
    let sign = |number: &u8| {
        let place = set.members.iter().position(|member| member.key == account(*number)).unwrap();
        let signature = signature::sign(&key(*number), &Commit::digest(&header, 0));
        CommitSignature { validator: u16::try_from(place).unwrap(), signature }
    };
    let mut signatures: Vec<_> = signers.iter().map(sign).collect();
    signatures.sort_unstable_by_key(|one| one.validator);
    SignedHeader { commit: Commit { round: 0, signatures }, header }
}

fn copy_folder(from: PathBuf, to: PathBuf) {
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn keys_of_validators_that_have_left_show_nothing() {
    let world = World::new().await;
    let founders = world.machines.genesis.validators.clone();
    let first = world.head("client").await;
    assert_eq!(first.header.validators, founders.hash());
    copy_folder(world.path("client"), world.path("asleep"));
    world.leave(104).await;
    world.leave(103).await;
    let two = Validators {
        members: founders
            .members
            .iter()
            .copied()
            .filter(|member| [account(101), account(102)].contains(&member.key))
            .collect(),
    };
    // A client follows both changes at once, although it was not there.
    let head = world.head("client").await;
    assert_eq!(head.header.validators, two.hash());

    // One of two is not enough, nor are all those that have left, nor all that were there once.
    let forged = forge(&head, &two, &[101]);
    let refused = world.shown("client", 60, forged).await;
    let why = "the ledger's validators did not sign the header";
    assert!(matches!(refused, LedgerError::Forged { what } if what == why), "{refused}");
    let all = forge(&head, &founders, &FOUNDERS);
    let refused = world.shown("client", 61, all.clone()).await;
    assert!(matches!(refused, LedgerError::NewValidators { .. }), "{refused}");

    // A client that has slept for longer than stake stays bound believes none of them, and says what to do.
    for _ in 0..2 {
        sleep(Duration::from_secs(43_200)).await;
        world.head("client").await;
    }
    let refused = world.shown("asleep", 62, all).await;
    let LedgerError::Trust { why, .. } = &refused else { panic!("{refused}") };
    assert_eq!(why, "its header is older than the 1 days for which one is trusted");
    // One that was there meanwhile goes on.
    assert!(head.header.height < world.head("client").await.header.height);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_joined_late_shows_how_the_validators_came_to_be() {
    let mut world = World::new().await;
    world.head("client").await;
    world.leave(104).await;
    world.leave(103).await;
    let network = world.machines.network.clone();
    // A server that leaves out the first change is not joined from: it would leave a gap here.
    let gap = world.between(64, |request, response| match (request, response) {
        (Request::Sets { after: 0 }, Response::Sets { mut changes, more }) => {
            changes.remove(0);
            Response::Sets { changes, more }
        }
        (_, response) => response,
    });
    let ticket = |peers| LedgerTicket { peers, ..world.machines.ticket(0) };
    let folder = world.path("late");
    let from = |ticket| Remote::new(network.endpoint([3; 32]), ticket);
    let refused = join(&from(ticket(vec![gap])), &folder, &world.host, &|_| {}).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Forged { .. }), "{refused}");

    let remote = from(world.machines.ticket(0));
    join(&remote, &folder, &world.host, &|_| {}).await.unwrap();
    let mirror =
        Mirror::open(&folder, remote, world.host.clone(), EPOCHS_KEPT, |_| {}).await.unwrap();
    let late = network.endpoint([65; 32]);
    let ticket = ticket(vec![late.address()]);
    tokio::spawn(symbolon_ledger::answer(mirror, late));
    // It knows the founders only, and they are gone.
    for at in 0..4 {
        world.machines.stop(at).await;
    }
    let head = world.client("client", ticket).head().await.unwrap();
    assert_ne!(head.header.validators, world.machines.genesis.validators.hash());
}

#[tokio::test(start_paused = true)]
async fn a_server_cannot_invent_a_change_of_the_validators() {
    let world = World::new().await;
    let founders = world.machines.genesis.validators.clone();
    world.head("client").await;
    world.leave(104).await;
    let truth = world.machines.ledger(0).head().await.unwrap();
    let thieves = Validators::alone(account(66));
    // The last header of the true set is shown with another next set, and one of the thieves after it.
    let after = forge(&truth, &thieves, &[66]);
    let shown = after.clone();
    let changes: Arc<Mutex<usize>> = Arc::default();
    let counted = changes.clone();
    let server = world.between(63, move |request, response| match (request, response) {
        (Request::Head, _) => Response::Head { header: shown.clone() },
        (Request::Sets { .. }, Response::Sets { mut changes, more }) => {
            *counted.lock().unwrap() += changes.len();
            for change in &mut changes {
                change.header.header.next_validators = thieves.hash();
                change.next = thieves.clone();
            }
            Response::Sets { changes, more }
        }
        (_, response) => response,
    });
    let ticket = LedgerTicket { peers: vec![server], ..world.machines.ticket(0) };
    let refused = world.client("client", ticket).head().await.unwrap_err();
    let why = "the ledger's validators did not sign the header";
    assert!(matches!(refused, LedgerError::Forged { what } if what == why), "{refused}");
    assert_ne!(*changes.lock().unwrap(), 0, "the client has asked for the changes");
    assert_ne!(world.head("client").await.header.validators, founders.hash());
}
