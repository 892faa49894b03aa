//! A network of real processes for the tests: one ledger, some nodes, and commands run against them.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod schema;
pub(crate) mod seller;
pub(crate) mod terminal;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test says that it hangs.
pub(crate) const HANG: Duration = Duration::from_secs(120);

/// Between two looks at something that will happen.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// A process that serves until it is killed.
pub(crate) struct Server {
    child: Child,
    _stdin: ChildStdin,
    arguments: Vec<String>,
    pub(crate) ready: Value,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) error: String,
}

/// A command that ended with this code and a message that says this; its error.
#[track_caller]
pub(crate) fn fails(done: Done, code: i32, says: &str) -> Value {
    let text = String::from_utf8_lossy(&done.out).into_owned();
    assert_eq!(done.code, Some(code), "{text}{}", done.error);
    let error = serde_json::from_str::<Value>(&text).unwrap()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains(says), "{says}: {error}");
    error
}

impl Done {
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.code, Some(0), "{}{}", String::from_utf8_lossy(&self.out), self.error);
        serde_json::from_slice(&self.out).unwrap_or(Value::Null)
    }
}

/// How many of those that were to be disturbed at their work were still at it. One that was just begun always
/// is, and does not count.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    tried: usize,
    hit: usize,
}

impl Hits {
    /// Disturbances that all come too late show nothing. How many do depends on how busy the machine is.
    #[track_caller]
    pub(crate) fn are_some(&self) {
        assert!(0 < self.hit, "all had ended before they were disturbed: {self:?}");
    }
}

/// Servers end before the folder goes: fields are dropped in this order.
pub(crate) struct Network {
    pub(crate) nodes: Vec<Server>,
    pub(crate) ledger: Server,
    pub(crate) ticket: String,
    pub(crate) folder: TempDir,
}

/// A command line as a person types it, with nothing of the tester's environment and nothing to read.
pub(crate) fn plain(home: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_symbolon"));
    command.args(arguments).arg("--home").arg(home);
    command.env_remove("SYMBOLON_AS").env_remove("SYMBOLON_LEDGER");
    command.env_remove("SYMBOLON_PASSPHRASE_FILE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same as a program runs it.
pub(crate) fn command(home: &Path, arguments: &[String]) -> Command {
    let mut command = plain(home, arguments);
    command.arg("--json");
    command
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

impl Server {
    pub(crate) fn start(home: &Path, arguments: Vec<String>) -> Self {
        let mut all = arguments.clone();
        all.push("--leashed".into());
        let mut command = command(home, &all);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            tell.send(line).ok();
            // Keeps the pipe open, so that the server never writes into nothing.
            let mut rest = Vec::new();
            lines.read_to_end(&mut rest).ok();
        });
        let line = told.recv_timeout(HANG).expect("a server gets ready");
        let ready: Value = serde_json::from_str(&line).expect("a server's first line is JSON");
        assert_eq!(ready["event"], "ready", "{line}");
        all.push("--json".into());
        schema::check(&all, Some(0), line.as_bytes());
        Self { child, _stdin: stdin, arguments, ready }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would, and starts it again on the same folder.
    pub(crate) fn kill_and_restart(&mut self, home: &Path) {
        self.kill();
        *self = Self::start(home, self.arguments.clone());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    arguments: Vec<String>,
    out: mpsc::Receiver<Vec<u8>>,
    error: mpsc::Receiver<Vec<u8>>,
}

/// What a command was given, as a schema is looked up by it.
fn arguments(command: &Command) -> Vec<String> {
    command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn reader(mut from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        tell.send(bytes).ok();
    });
    told
}

impl Running {
    /// Starts a command whose outputs are pipes.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = reader(child.stdout.take().unwrap());
        let error = reader(child.stderr.take().unwrap());
        Self { child, arguments: arguments(&command), out, error }
    }

    /// Waits until it ends by itself, at most `time`; says whether it did.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let (_keep, never) = mpsc::channel::<()>();
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            never.recv_timeout(left.min(LOOK)).ok();
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().ok();
        self.child.wait().unwrap();
    }

    /// Waits for a moment in the middle of its work, and notes whether it was still at it then.
    pub(crate) fn reaches(&mut self, moment: Duration, hits: &mut Hits) {
        let still = !self.ends_within(moment);
        if !moment.is_zero() {
            hits.tried += 1;
            hits.hit += usize::from(still);
        }
    }

    pub(crate) fn finish(mut self) -> Done {
        if !self.ends_within(HANG) {
            self.child.kill().ok();
            let error = self.error.recv().unwrap();
            panic!("a command hangs: {}", String::from_utf8_lossy(&error));
        }
        let code = self.child.wait().unwrap().code();
        let error = String::from_utf8_lossy(&self.error.recv().unwrap()).into_owned();
        let out = self.out.recv().unwrap();
        schema::check(&self.arguments, code, &out);
        Done { code, out, error }
    }
}

/// A command whose events are read while it runs.
pub(crate) struct Watched {
    child: Child,
    arguments: Vec<String>,
    events: std::io::Lines<BufReader<ChildStderr>>,
    seen: Vec<Value>,
}

impl Watched {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.arg("--progress").spawn().unwrap();
        let events = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, arguments: arguments(&command), events, seen: Vec::new() }
    }

    /// Waits for an event; the command ends before that when there never is one.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) {
        for line in self.events.by_ref() {
            let event: Value = serde_json::from_str(&line.unwrap()).expect("stderr has JSON lines");
            let found = wanted(&event);
            self.seen.push(event);
            if found {
                return;
            }
        }
        panic!("it ended without: {:?}", self.seen);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn finish(mut self) -> (Done, Vec<Value>) {
        let mut out = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        for line in self.events {
            self.seen.push(serde_json::from_str(&line.unwrap()).expect("stderr has JSON lines"));
        }
        let code = self.child.wait().unwrap().code();
        schema::check(&self.arguments, code, &out);
        schema::check_stream(&self.seen);
        (Done { code, out, error: String::new() }, self.seen)
    }
}

/// Whether a part of the work is done.
pub(crate) fn moves(event: &Value) -> bool {
    event["event"] == "progress" && event["done"].as_u64() > Some(0)
}

impl Network {
    pub(crate) fn start(nodes: usize, epoch: &str) -> Self {
        Self::start_with(nodes, epoch, "")
    }

    /// The same with more said to every node.
    pub(crate) fn start_with(nodes: usize, epoch: &str, more: &str) -> Self {
        Self::start_ruled(nodes, epoch, (more, ""))
    }

    /// The same with more said to the ledger too.
    pub(crate) fn start_ruled(nodes: usize, epoch: &str, (more, rules): (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let dir = folder.path().join("ledger").display().to_string();
        let ledger =
            Server::start(&home, words(&format!("ledger run --dir {dir} --epoch {epoch}{rules}")));
        let ticket = ledger.ready["ticket"].as_str().unwrap().to_owned();
        let nodes = (0..nodes)
            .map(|number| {
                let dir = folder.path().join(format!("node{number}")).display().to_string();
                let line = format!(
                    "node run --ledger {ticket} --capacity 2GiB --price 0.0001/epoch --dir {dir}{more}"
                );
                Server::start(&home, words(&line))
            })
            .collect();
        Self { folder, ledger, nodes, ticket }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Makes an identity with money.
    pub(crate) fn identity(&self, name: &str) {
        let ticket = &self.ticket;
        self.run(&format!("init --as {name} --no-passphrase --ledger {ticket}")).ok();
        self.run(&format!("account faucet --as {name}")).ok();
    }

    pub(crate) fn spawn(&self, line: &str) -> Running {
        Running::start(command(&self.home(), &words(line)))
    }

    pub(crate) fn watched(&self, line: &str) -> Watched {
        Watched::start(command(&self.home(), &words(line)))
    }

    /// What a command that goes well prints for people.
    pub(crate) fn run_plain(&self, line: &str) -> String {
        String::from_utf8(self.run_for_people(line).out).unwrap()
    }

    /// The same, with what it says beside that.
    pub(crate) fn run_for_people(&self, line: &str) -> Done {
        let done = Running::start(plain(&self.home(), &words(line))).finish();
        assert_eq!(done.code, Some(0), "{}", done.error);
        done
    }

    pub(crate) fn run(&self, line: &str) -> Done {
        self.spawn(line).finish()
    }

    /// An account's balance in the smallest unit.
    pub(crate) fn balance(&self, name: &str) -> u128 {
        let account = self.run(&format!("account balance --as {name}")).ok();
        units(account["balance"].as_str().unwrap())
    }

    /// Repeats a command while it fails because a restarted node or ledger is not back yet.
    pub(crate) fn run_until_ok(&self, line: &str) -> Value {
        let until = Instant::now() + HANG;
        loop {
            let done = self.run(line);
            // 6: unreachable, 7: not enough nodes: the one that was restarted is not back yet.
            if !matches!(done.code, Some(6 | 7)) || until < Instant::now() {
                return done.ok();
            }
        }
    }

    /// A file of bytes that follow from `seed`.
    pub(crate) fn file(&self, name: &str, length: usize, seed: u8) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes(length, seed)).unwrap();
        path
    }
}

pub(crate) fn bytes(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Waits until something has happened.
#[track_caller]
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + HANG;
    while !reached() {
        assert!(Instant::now() < end, "it never came about: {what}");
        std::thread::park_timeout(LOOK);
    }
}

/// Credits as text, in the smallest unit.
pub(crate) fn units(text: &str) -> u128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<9}").parse().unwrap()
}
