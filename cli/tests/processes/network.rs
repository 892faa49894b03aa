//! `symbolon up` and what is done with it, as real processes: files, grants, crash and return. Each test
//! has a home and a network of its own, and waits for what processes say, never for a time.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::common::{schema, until};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_symbolon");

/// A home folder, and files beside it.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.env_clear().env("SYMBOLON_HOME", self.path("home")).args(args);
        command.stdin(Stdio::null()).current_dir(self.folder.path());
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        schema::check(&args, output.status.code(), &output.stdout);
        output
    }

    /// Runs a command that has to succeed; its JSON document.
    fn run(&self, args: &[&str]) -> Value {
        let output = self.output(&[args, &["--json"][..]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {text}{errors}");
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Runs a command that has to fail; its exit code and error.
    fn fail(&self, args: &[&str]) -> (i32, Value) {
        let output = self.output(&[args, &["--json"][..]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let json: Value = serde_json::from_str(&text).expect(&text);
        (output.status.code().expect("it was not killed"), json["error"].clone())
    }

    /// Starts `symbolon up` and waits until it is ready.
    fn up(&self, args: &[&str]) -> Up {
        let arguments = [&["up", "--json", "--epoch", "2s"][..], args].concat();
        self.up_of(self.command(&arguments))
    }

    fn up_of(&self, mut command: Command) -> Up {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect(&line);
        assert_eq!(ready["event"], "ready", "{ready}");
        schema::check(&["up", "--json"].map(String::from), Some(0), line.as_bytes());
        Up { child, ready }
    }
}

/// A running network; killed when dropped.
struct Up {
    child: Child,
    ready: Value,
}

impl Drop for Up {
    fn drop(&mut self) {
        // As a power cut would: no test may depend on a graceful end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_running_network_renews_what_its_identities_have_marked() {
    let home = Home::new();
    let file = home.path("data");
    fs::write(&file, [7; 50_000]).unwrap();
    let _up = home.up(&["--nodes", "5"]);
    let auto = ["--auto", "--max-monthly", "100"];
    home.run(&[&["put", text(&file), "--for", "10epochs"][..], &auto].concat());
    let end = || home.run(&["stat", "data"])["segments"][0]["end_epoch"].as_u64().unwrap();
    let first = end();
    until("it lasts for longer, although no command renewed it", || first < end());
    assert_eq!(home.run(&["ledger", "status"])["money"]["adds_up"], true);
}

#[test]
fn files_survive_a_crash_of_everything() {
    let home = Home::new();
    let file = home.path("data");
    let bytes: Vec<u8> =
        (0..300_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    fs::write(&file, &bytes).unwrap();

    let up = home.up(&["--nodes", "5"]);
    let ticket = up.ready["ticket"].clone();
    assert_eq!(up.ready["nodes"].as_array().unwrap().len(), 5);
    let quote = home.run(&["put", text(&file), "--dry-run", "--for", "10epochs"]);
    let put = home.run(&["put", text(&file), "--for", "10000epochs"]);
    assert_eq!(put["outcome"], "stored");
    assert_eq!(put["scheme"], quote["scheme"]);
    assert_eq!(home.run(&["put", text(&file), "--for", "10000epochs"])["outcome"], "already");
    let balance = home.run(&["account"])["balance"].clone();
    drop(up);

    let (code, error) = home.fail(&["account"]);
    assert_eq!(code, 6, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("symbolon up"), "{error}");

    let up = home.up(&[]);
    assert_eq!(up.ready["ticket"], ticket, "the ticket stays valid");
    assert_eq!(up.ready["nodes"].as_array().unwrap().len(), 5, "all nodes come back");
    let copy = home.path("copy");
    home.run(&["get", "data", "-o", text(&copy)]);
    assert_eq!(fs::read(&copy).unwrap(), bytes);
    assert_eq!(home.run(&["account"])["balance"], balance, "nothing was paid twice");
    assert_eq!(home.run(&["get", "data", "-o", text(&copy)])["outcome"], "already");
    fs::write(&copy, b"something else").unwrap();
    assert_eq!(home.fail(&["get", "data", "-o", text(&copy)]).0, 4, "never written over unasked");
    assert_eq!(home.run(&["ledger", "status"])["money"]["adds_up"], true);

    let (code, error) = home.fail(&["up"]);
    assert_eq!(code, 13, "two networks on one home: {error}");
    let stdout = home.output(&["get", "data", "-o", "-"]);
    assert_eq!(stdout.stdout, bytes);
    let part = home.path("part");
    home.run(&["get", "data", "--range", "1000..2000", "-o", text(&part)]);
    assert_eq!(fs::read(&part).unwrap(), bytes[1000..2000]);

    assert_eq!(home.fail(&["rm", "data"]).0, 2, "there is no terminal to ask at");
    let removed = home.run(&["rm", "data", "--yes"]);
    assert_eq!(removed["deals"], 1);
    assert_eq!(home.run(&["ls"])["files"].as_array().unwrap().len(), 0);
    assert_eq!(home.fail(&["get", "data", "-o", "x"]).0, 3);
}

#[test]
fn a_grant_is_for_one_reader_and_can_be_taken_back() {
    let home = Home::new();
    let file = home.path("data");
    fs::write(&file, b"for bob's eyes only").unwrap();
    let _up = home.up(&["--nodes", "3"]);
    for name in ["bob", "eve"] {
        home.run(&["init", "--as", name, "--no-passphrase"]);
    }
    home.run(&["put", text(&file), "--for", "10000epochs"]);
    let grant = home.path("grant");
    home.run(&["share", "data", "--to", "bob", "--until", "1h", "-o", text(&grant)]);
    let grant = format!("@{}", text(&grant));
    assert_eq!(home.run(&["grant", "inspect", &grant])["valid"], true);

    let copy = home.path("copy");
    home.run(&["--as", "bob", "get", &grant, "-o", text(&copy)]);
    assert_eq!(fs::read(&copy).unwrap(), b"for bob's eyes only");
    let (code, error) =
        home.fail(&["--as", "eve", "get", &grant, "-o", text(&home.path("stolen"))]);
    assert_eq!(code, 5, "{error}");
    assert!(!home.path("stolen").exists());

    home.run(&["grant", "revoke", &grant]);
    let (code, error) = home.fail(&["--as", "bob", "get", &grant, "-o", text(&home.path("late"))]);
    assert_eq!(code, 5, "{error}");
}

#[test]
fn a_sale_needs_no_seller_and_pays_once() {
    let home = Home::new();
    let file = home.path("data");
    fs::write(&file, vec![b'x'; 100_000]).unwrap();
    let _up = home.up(&["--nodes", "5"]);
    home.run(&["init", "--as", "buyer", "--no-passphrase"]);
    home.run(&["put", text(&file), "--for", "10000epochs"]);
    let sold = home.run(&["sell", "data", "--price", "5", "--title", "Many x"]);
    let listing = &sold["listing"].as_str().unwrap()[..8];
    let found = home.run(&["--as", "buyer", "market", "list", "many"]);
    assert_eq!(found["listings"][0]["listing"], sold["listing"]);
    let copy = home.path("copy");

    let (code, error) = home.fail(&["--as", "buyer", "buy", listing, "-o", text(&copy)]);
    assert_eq!(code, 9, "an empty account buys nothing: {error}");
    home.run(&["--as", "buyer", "account", "faucet"]);
    let bought = home.run(&["--as", "buyer", "buy", listing, "-o", text(&copy)]);
    assert_eq!(bought["paid"], "5");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&file).unwrap());
    let again = home.run(&["--as", "buyer", "buy", listing]);
    assert_eq!(again["outcome"], "already");
    assert_eq!(home.run(&["--as", "buyer", "account"])["balance"], "995");
    let orders = home.run(&["--as", "buyer", "orders"]);
    assert_eq!(orders["orders"][0]["state"], "settled");
    assert_eq!(orders["orders"].as_array().unwrap().len(), 1);

    home.run(&["market", "end", listing]);
    home.run(&["init", "--as", "late", "--no-passphrase"]);
    home.run(&["--as", "late", "account", "faucet"]);
    let (code, error) = home.fail(&["--as", "late", "buy", listing]);
    assert_eq!(code, 10, "{error}");
    assert_eq!(home.run(&["--as", "late", "account"])["balance"], "1000");
    assert_eq!(home.run(&["ledger", "status"])["money"]["adds_up"], true);
}

#[cfg(unix)]
#[test]
fn a_detached_network_says_when_it_is_ready_and_stops_when_told() {
    let home = Home::new();
    let up = home.run(&["up", "--detach", "--nodes", "2"]);
    assert_eq!(up["event"], "ready");
    assert_eq!(home.fail(&["up", "--detach"]).0, 13);
    assert_eq!(home.run(&["status"])["network"]["own"]["pid"], up["pid"]);
    let down = home.run(&["down"]);
    assert_eq!(down["pid"], up["pid"]);
    assert_eq!(down["forced"], false);
    assert_eq!(home.fail(&["down"]).0, 3);
}

#[test]
fn a_node_whose_store_is_gone_does_not_come_up_unasked() {
    let home = Home::new();
    let file = home.path("data");
    fs::write(&file, vec![b'x'; 300_000]).unwrap();
    let up = home.up(&["--nodes", "3"]);
    home.run(&["put", text(&file), "--for", "10000epochs"]);
    drop(up);
    let (code, error) = home.fail(&["up", "--capacity", "1KiB"]);
    assert_eq!(code, 2, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--capacity"), "{error}");

    let index = fs::read_dir(home.path("home/nodes")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(index.join("index.redb")).unwrap();
    for _ in 0..2 {
        let (code, error) = home.fail(&["up"]);
        assert_eq!(code, 16, "{error}");
        assert!(error["hint"].as_str().unwrap().contains("--accept-loss"), "{error}");
    }
    let _up = home.up(&["--accept-loss"]);
    let copy = home.path("copy");
    home.run(&["get", "data", "-o", text(&copy)]);
    assert_eq!(fs::read(&copy).unwrap(), vec![b'x'; 300_000], "the others have enough of it");
}

/// A small disk of its own, where this user may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&at);
        let mounted = mount.output().is_ok_and(|done| done.status.success());
        mounted.then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}

#[test]
fn a_network_whose_ledger_has_failed_ends_with_a_code() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(home.path("home")) else {
        println!("this user may not mount a disk: not tested");
        return;
    };
    let mut up = home.up(&["--nodes", "1"]);
    let filled = fs::write(disk.0.join("ballast"), vec![1; 64 << 20]);
    assert!(filled.is_err(), "the disk is full");
    // The next block, at the end of the epoch at the latest, has no room.
    let ended = up.child.wait().unwrap();
    assert_eq!(ended.code(), Some(11));
}

#[test]
fn a_low_limit_of_open_files_is_raised_and_a_hard_one_is_named() {
    let home = Home::new();
    let limited = |limit: &str, args: &[&str]| {
        let mut command = Command::new("/bin/sh");
        let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, BINARY]).args(args).env_clear();
        command.env("SYMBOLON_HOME", home.path("home")).stdin(Stdio::null());
        command.current_dir(home.folder.path());
        command
    };

    let refused = limited("-n 300", &["up", "--nodes", "40", "--json"]).output().unwrap();
    let error: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{error}");
    let told = error["error"]["message"].as_str().unwrap();
    assert_eq!(told, "40 nodes in one process need 496 open files, and the system allows 300");
    assert!(!home.path("home").join("ledger").exists(), "something was made");

    // Five files a node: this many nodes do not fit below the limit that is set.
    let _up = home.up_of(limited("-S -n 100", &["up", "--json", "--epoch", "2s", "--nodes", "40"]));
    fs::write(home.path("file"), vec![7; 3000]).unwrap();
    assert_eq!(home.run(&["put", "file", "--yes", "--for", "1h"])["outcome"], "stored");
}
