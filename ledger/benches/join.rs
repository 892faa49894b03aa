//! How long a machine takes to join a ledger, and what that costs the server: three processes on one machine, over
//! loopback. And what a kept checkpoint costs the ledger that goes on meanwhile.
//!
//! `cargo bench -p symbolon-ledger --bench join`. Under `cargo test` it runs small, and only shows that it works.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use redb::ReadableDatabase as _;
use symbolon_ledger::{EPOCHS_KEPT, Embedded, Ledger, LedgerTicket, Mirror, Options, Remote};
use symbolon_net::{Alpn, BindOptions, Endpoint, Host, MemoryNetwork};
use symbolon_protocol::{
    Amount,
    id::{AccountId, ChainId, TransactionId},
    ledger::{
        Params, Status,
        transaction::{Action, Transaction},
    },
};
use tokio::task::JoinSet;

/// Callers that wait for an answer at the same time.
const CALLERS: usize = 2_000;
/// Rows that a payment to a new account leaves: the account, and two of the payment's id.
const ROWS_OF_PAYMENT: u64 = 3;

/// How often a machine is killed while it joins, and after how many parts.
const KILLS: u32 = 3;
const PARTS_UNTIL_KILL: usize = 5;

struct Scale {
    rows: u64,
    /// Payments of one block, while a checkpoint is kept.
    payments: u64,
    blocks: u64,
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn sign(chain: ChainId, id: u64, action: Action) -> Transaction {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.to_le_bytes());
    Transaction::build(chain, &key(), TransactionId(bytes), 9_000, action)
}

/// A payment to an account that is like no other.
fn pay(chain: ChainId, number: u64) -> Transaction {
    let to = AccountId(*blake3::hash(&number.to_le_bytes()).as_bytes());
    sign(chain, number, Action::Transfer { to, amount: Amount(1) })
}

async fn submit(ledger: &Ledger, numbers: std::ops::Range<u64>) {
    let mut running = JoinSet::new();
    for number in numbers {
        if CALLERS <= running.len() {
            running.join_next().await.unwrap().unwrap();
        }
        let ledger = ledger.clone();
        running.spawn(async move {
            let paid = ledger.submit(pay(ledger.chain(), number)).await.unwrap();
            assert_eq!(paid.status, Status::Applied);
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

async fn open(folder: &Path) -> Embedded {
    let options = Options { key: [42; 32], params: Params::development(), host: Host::system() };
    Embedded::open(folder, options).await.unwrap()
}

/// A ledger with so many rows.
async fn found(folder: &Path, payments: u64) {
    let embedded = open(folder).await;
    let ledger = Ledger::from(embedded.clone());
    ledger.submit(sign(ledger.chain(), 0, Action::Faucet)).await.unwrap();
    submit(&ledger, 1..1 + payments).await;
    drop(ledger);
    embedded.close().await;
}

/// The most memory that a process has taken, in bytes.
fn memory(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn child(arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Serves a ledger until it is killed.
async fn serve(folder: &Path) {
    let embedded = open(folder).await;
    let mut options = BindOptions::new([1; 32]);
    options.accept = vec![Alpn::Ledger];
    let endpoint = Endpoint::iroh(options).await.unwrap();
    let ticket = LedgerTicket { chain: embedded.chain(), peers: vec![endpoint.address()] };
    println!("{ticket}");
    std::io::stdout().flush().unwrap();
    symbolon_ledger::answer(embedded, endpoint).await;
}

/// Joins, and says so for each part, until it is killed or has all.
async fn join_telling(ticket: &str, folder: &Path) {
    let endpoint = Endpoint::iroh(BindOptions::new([2; 32])).await.unwrap();
    let remote = Remote::new(endpoint, ticket.parse().unwrap());
    let told = |joined| {
        println!("{joined:?}");
        std::io::stdout().flush().unwrap();
    };
    symbolon_ledger::join(&remote, folder, &Host::system(), &told).await.unwrap();
}

/// Joins, and says how long it took to the tip.
async fn join(ticket: &str, folder: &Path) {
    let began = Instant::now();
    let endpoint = Endpoint::iroh(BindOptions::new([2; 32])).await.unwrap();
    let remote = Remote::new(endpoint, ticket.parse().unwrap());
    let mirror = Mirror::open(folder, remote.clone(), Host::system(), EPOCHS_KEPT, |_| {}).await;
    let height = mirror.unwrap().chain_row().await.unwrap().height;
    assert_eq!(height, Ledger::from(remote).head().await.unwrap().header.height);
    println!("{} {} {height}", began.elapsed().as_millis(), memory("self"));
}

/// How many rows the file of a ledger has besides the tree's, and their bytes.
fn rows(folder: &Path) -> (u64, u64) {
    let database = redb::Database::open(folder.join("ledger.redb")).unwrap();
    let read = database.begin_read().unwrap();
    let rows: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("rows");
    let table = read.open_table(rows).unwrap();
    let (mut count, mut bytes) = (0, 0);
    for row in table.range::<&[u8]>(&[1_u8][..]..).unwrap() {
        let (key, value) = row.unwrap();
        count += 1;
        bytes += (key.value().len() + value.value().len()) as u64;
    }
    (count, bytes)
}

/// How long it takes to send so many bytes over loopback, to hash them, and to write and sync a file of the size of the
/// ledger's.
fn floor(folder: &Path, bytes: u64, file: u64) -> [Duration; 3] {
    const CHUNK: usize = 1 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut to = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let began = Instant::now();
    let sends = std::thread::spawn(move || {
        let chunk = vec![7; CHUNK];
        for _ in 0..bytes.div_ceil(CHUNK as u64) {
            to.write_all(&chunk).unwrap();
        }
    });
    let (mut from, mut chunk) = (listener.accept().unwrap().0, vec![0; CHUNK]);
    while 0 < from.read(&mut chunk).unwrap() {}
    sends.join().unwrap();
    let sent = began.elapsed();
    let began = Instant::now();
    let mut hasher = blake3::Hasher::new();
    for _ in 0..bytes.div_ceil(CHUNK as u64) {
        hasher.update(&chunk);
    }
    std::hint::black_box(hasher.finalize());
    let hashed = began.elapsed();
    let began = Instant::now();
    let mut out = fs::File::create(folder.join("floor")).unwrap();
    for _ in 0..file.div_ceil(CHUNK as u64) {
        out.write_all(&chunk).unwrap();
    }
    out.sync_all().unwrap();
    [sent, hashed, began.elapsed()]
}

/// How much a ledger's file grows by some blocks, and how long they take, while a checkpoint is kept and while none is.
async fn growth(folder: &Path, scale: &Scale) {
    let embedded = open(folder).await;
    let network = MemoryNetwork::new();
    let front = network.endpoint([1; 32]);
    let ticket = LedgerTicket { chain: embedded.chain(), peers: vec![front.address()] };
    tokio::spawn(symbolon_ledger::answer(embedded.clone(), front));
    let remote = Remote::new(network.endpoint([2; 32]), ticket);
    let ledger = Ledger::from(embedded);
    let next = AtomicU64::new(1 << 32);
    let size = || fs::metadata(folder.join("ledger.redb")).unwrap().len();
    let blocks = async |what: &str| {
        let (before, height) = (size(), ledger.head().await.unwrap().header.height);
        let began = Instant::now();
        for _ in 0..scale.blocks {
            let from = next.fetch_add(scale.payments, Ordering::Relaxed);
            submit(&ledger, from..from + scale.payments).await;
        }
        let took = began.elapsed();
        let made = ledger.head().await.unwrap().header.height - height;
        println!(
            "{what}: {made} blocks of about {} payments, {:.1} ms each, the file grows by {:.2} MB a block to {:.0} MB",
            scale.blocks * scale.payments / made,
            ms(took) / per(made),
            per(size() - before) / 1e6 / per(made),
            per(size()) / 1e6,
        );
    };
    // The first blocks use what is free in the file.
    blocks("at first, no checkpoint kept").await;
    blocks("no checkpoint kept").await;
    let mut kept = remote.checkpoint();
    kept.page().await.unwrap();
    blocks("one checkpoint kept").await;
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

#[allow(clippy::cast_precision_loss, reason = "figures for a person")]
fn per(number: u64) -> f64 {
    number as f64
}

/// Joins, but the process is killed after some parts, several times. Returns how many rows were there at the last start.
fn join_killed(ticket: &str, folder: &Path) -> u64 {
    for _ in 0..KILLS {
        let (mut joiner, mut says) = child(&["tell", ticket, folder.to_str().unwrap()]);
        let parts = std::iter::from_fn(|| Some(line(&mut says)).filter(|said| !said.is_empty()));
        parts.filter(|said| said.starts_with("Has")).take(PARTS_UNTIL_KILL).for_each(drop);
        joiner.kill().unwrap();
        joiner.wait().unwrap();
    }
    let (mut joiner, mut says) = child(&["tell", ticket, folder.to_str().unwrap()]);
    let begun = line(&mut says);
    std::io::copy(&mut says, &mut std::io::sink()).unwrap();
    assert!(joiner.wait().unwrap().success());
    let rows = begun.rsplit_once("rows: ").map_or("0", |(_, rows)| rows);
    rows.trim_end_matches(" }").parse().unwrap()
}

fn measure(scale: &Scale, runtime: &tokio::runtime::Runtime) {
    let folder = tempfile::tempdir().unwrap();
    let (home, joined) = (folder.path().join("home"), folder.path().join("joined"));
    runtime.block_on(found(&home, scale.rows / ROWS_OF_PAYMENT));
    let (count, bytes) = rows(&home);
    let size = |folder: &Path| fs::metadata(folder.join("ledger.redb")).unwrap().len();
    println!(
        "{count} rows of {:.0} MB, in a file of {:.0} MB",
        per(bytes) / 1e6,
        per(size(&home)) / 1e6
    );
    let (mut server, mut says) = child(&["serve", home.to_str().unwrap()]);
    let ticket = line(&mut says);
    let (mut joiner, mut says) = child(&["join", &ticket, joined.to_str().unwrap()]);
    let said = line(&mut says);
    assert!(joiner.wait().unwrap().success());
    let said: Vec<u64> = said.split(' ').map(|word| word.parse().unwrap()).collect();
    let [took, joiner_memory, height] = said[..] else { panic!("three figures: {said:?}") };
    let server_memory = memory(&server.id().to_string());
    let killed = folder.path().join("killed");
    let had = join_killed(&ticket, &killed);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(rows(&joined), (count, bytes), "all rows are there");
    assert_eq!(rows(&killed), (count, bytes), "all rows are there after kills too");
    println!("killed {KILLS} times, it went on with {had} rows, and has the same ones in the end");
    let floor = floor(folder.path(), bytes, size(&joined));
    let whole = floor.iter().copied().map(ms).sum::<f64>();
    println!(
        "joined at block {height} in {:.1} s: {:.0} rows a second, {:.1} times the floor; its file has {:.0} MB",
        per(took) / 1e3,
        per(count) * 1e3 / per(took),
        per(took) / whole,
        per(size(&joined)) / 1e6,
    );
    println!(
        "floor: {:.0} ms for the rows over loopback, {:.0} ms to hash them, {:.0} ms to write and sync such a file",
        ms(floor[0]),
        ms(floor[1]),
        ms(floor[2]),
    );
    println!(
        "memory at most: {:.0} MB of the machine that joins, {:.0} MB of the server",
        per(joiner_memory) / 1e6,
        per(server_memory) / 1e6
    );
    runtime.block_on(growth(&home, scale));
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["serve", folder] => runtime.block_on(serve(Path::new(folder))),
        ["tell", ticket, folder] => runtime.block_on(join_telling(ticket, Path::new(folder))),
        ["join", ticket, folder] => runtime.block_on(join(ticket, Path::new(folder))),
        _ if words.contains(&"--bench") => {
            measure(&Scale { rows: 1_000_000, payments: 500, blocks: 60 }, &runtime);
        }
        _ => measure(&Scale { rows: 5_000, payments: 20, blocks: 5 }, &runtime),
    }
}
