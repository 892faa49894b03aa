//! Validators as their operators run them, with real processes: four found a ledger, and another ledger grows from one machine
//! to two and shrinks again.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::common::{Done, Network, Running, Server, command, fails, until, words};

/// The state of a validator, by its key.
fn state(network: &Network, validator: &str) -> String {
    let shown = network.run_until_ok("validator status");
    let all = shown["validators"].as_array().unwrap().clone();
    let one = all.iter().find(|one| one["validator"] == validator);
    one.map_or_else(String::new, |one| one["state"].as_str().unwrap().to_owned())
}

#[test]
fn a_ledger_grows_from_one_machine_to_two_and_shrinks_again() {
    let network = Network::start(0, "1s");
    network.identity("owner");
    let home = network.home();
    let dir = network.folder.path().join("second").display().to_string();
    let join = format!("validator join --dir {dir} --stake 10");
    fails(network.run(&join), 3, "is not there");
    let line = format!("validator run --dir {dir} --ledger {}", network.ticket);
    let mut second = Server::start(&home, words(&line));
    assert_eq!(second.ready["votes"], "no");
    let key = second.ready["validator"].as_str().unwrap().to_owned();
    assert_eq!(state(&network, &key), "");
    // Its own account pays.
    fails(network.run(&join), 9, "refuses it");
    network.run(&format!("account send {key} 12 --yes --as owner")).ok();
    assert_eq!(network.run(&join).ok()["state"], "waiting");
    fails(network.run(&join), 4, "waiting");
    until("it is chosen", || state(&network, &key) == "member");

    // Now both must sign. What one has acknowledged is there after both were killed.
    network.run_until_ok(&format!("account send {key} 1 --yes --as owner"));
    second.kill_and_restart(&home);
    assert_eq!(second.ready["votes"], "yes");
    network.run_until_ok(&format!("account send {key} 1 --yes --as owner"));
    let balance = network.run_until_ok("account balance --as owner")["balance"].clone();
    assert_eq!(balance, "986");

    // Others stake on it, by its first digits. What is taken back is bound for a while.
    let short = &key[..12];
    let staked = network.run_until_ok(&format!("validator delegate {short} 4 --as owner --yes"));
    assert_eq!((&staked["delegated"], &staked["unbonding"]), (&"4".into(), &"0".into()));
    let back = network.run_until_ok(&format!("validator undelegate {short} 1 --as owner --yes"));
    assert_eq!((&back["delegated"], &back["unbonding"]), (&"3".into(), &"1".into()));
    let back = network.run_until_ok(&format!("validator undelegate {short} --as owner --yes"));
    assert_eq!((&back["delegated"], &back["unbonding"]), (&"0".into(), &"4".into()));
    let more = format!("validator undelegate {short} --as owner --yes");
    fails(network.run(&more), 10, "no such stake");
    fails(network.run("validator delegate zz 1 --as owner --yes"), 3, "begins with");
    let mine = network.run_until_ok("validator list --mine --as owner");
    assert_eq!(mine["unbonding"].as_array().unwrap().len(), 2, "{mine}");
    let listed = network.run_until_ok("validator list");
    let one = listed["validators"].as_array().unwrap().iter().find(|one| one["validator"] == key);
    let one = one.unwrap();
    assert_eq!((&one["own_stake"], &one["stake"]), (&"10".into(), &"10".into()), "{one}");
    assert!(one["blocks"].as_u64() > Some(0) && one["uptime_bp"].as_u64() > Some(0), "{one}");
    let status = network.run_until_ok("ledger status");
    assert_eq!(status["money"]["adds_up"], true, "{status}");
    assert_eq!(status["money"]["unbonding"], "4", "{status}");

    // One may leave, and the other one goes on alone.
    network.run_until_ok(&format!("validator leave --dir {dir}"));
    until("it has left", || state(&network, &key) == "out");
    drop(second);
    network.run(&format!("account send {key} 1 --yes --as owner")).ok();
    network.run(&format!("validator unstake --dir {dir}")).ok();
    let other = "0f".repeat(32);
    network.run(&format!("validator send --dir {dir} {other} 1")).ok();
}

#[test]
fn four_validators_found_a_ledger_that_any_one_may_leave_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (home, dir) =
        (folder.path().join("home"), folder.path().join("four").display().to_string());
    let run = |line: &str| Running::start(command(&home, &words(line))).finish();
    let found = format!("ledger found --dir {dir} --validators 4 --epoch 1h");
    let founded = run(&found).ok();
    assert_eq!(founded["folders"].as_array().unwrap().len(), 4);
    let start =
        |number: u32| Server::start(&home, words(&format!("ledger run --dir {dir}/{number}")));
    let mut servers: Vec<Server> = (1..=4).map(start).collect();
    fails(run(&found), 4, "has a ledger already");
    let ticket = founded["ticket"].as_str().unwrap().to_owned();
    run(&format!("init --as owner --no-passphrase --ledger {ticket}")).ok();
    run("account faucet --as owner").ok();
    let to = "0f".repeat(32);
    let pay = format!("account send {to} 1 --yes --as owner");
    for server in &mut servers {
        server.kill();
        run(&pay).ok();
        server.kill_and_restart(&home);
    }
    servers.iter_mut().for_each(Server::kill);
    servers.iter_mut().for_each(|server| server.kill_and_restart(&home));
    assert_eq!(run("account balance --as owner").ok()["balance"], "996");
    run(&pay).ok();
}

/// A free address of this machine.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The figures that a server gives; nothing while it has none.
fn figures(address: SocketAddr) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let mut answer = String::new();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok();
    stream.read_to_string(&mut answer).ok();
    answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, page)| page.to_owned())
}

/// One of them.
fn figure(page: &str, name: &str) -> Option<f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let mut found = lines.filter_map(|line| line.strip_prefix(&format!("symbolon_ledger_{name} ")));
    found.next().map(|value| value.parse().unwrap())
}

/// Four validators on this machine, and an identity with money.
struct Four {
    folder: tempfile::TempDir,
    ticket: String,
    servers: Vec<Server>,
}

impl Four {
    fn start(more: impl Fn(u32) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (home, dir) = (folder.path().join("home"), folder.path().join("four"));
        let found = format!("ledger found --dir {} --validators 4 --epoch 1h", dir.display());
        let founded = Running::start(command(&home, &words(&found))).finish().ok();
        let ticket = founded["ticket"].as_str().unwrap().to_owned();
        let start = |number: u32| {
            let line = format!("ledger run --dir {}/{number}{}", dir.display(), more(number));
            Server::start(&home, words(&line))
        };
        let servers = (1..=4).map(start).collect();
        let four = Self { folder, ticket, servers };
        four.run(&format!("init --as owner --no-passphrase --ledger {}", four.ticket)).ok();
        four.run("account faucet --as owner").ok();
        four
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn dir(&self, number: u32) -> PathBuf {
        self.folder.path().join("four").join(number.to_string())
    }

    fn run(&self, line: &str) -> Done {
        Running::start(command(&self.home(), &words(line))).finish()
    }

    fn pay(&self) {
        let to = "0f".repeat(32);
        self.run(&format!("account send {to} 1 --yes --as owner")).ok();
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

#[test]
fn figures_of_a_validator_move() {
    let address = free_address();
    let metrics = |number| match number {
        1 => format!(" --metrics {address}"),
        _ => String::new(),
    };
    let mut four = Four::start(metrics);
    let value = |name: &str| figure(&figures(address), name).unwrap_or(-1.0);
    until("all are connected", || value("peers") == 3.0);
    let (height, decided) = (value("height"), value("decide_seconds_count"));
    let counted = value("counted_blocks_total");
    (0..3).for_each(|_| four.pay());
    until("the last one is there", || value("height") >= height + 3.0);
    assert!(value("decide_seconds_count") > decided && value("decide_seconds_sum") > 0.0);
    assert!(value("counted_blocks_total") > counted);
    let page = figures(address);
    let own = |name: &str| figure(&page, name).unwrap();
    assert_eq!(
        (own("validators"), own("power"), own("own_power"), own("votes")),
        (4.0, 4.0, 1.0, 1.0)
    );
    assert!(own("disk_used_bytes") > 100_000.0 && own("disk_free_bytes") > 0.0);
    assert!(own("block_age_seconds") < 3_600.0, "{page}");
    // The ticket of a validator names itself first: so it takes this payment.
    let (to, ticket) = ("0f".repeat(32), four.servers[0].ready["ticket"].as_str().unwrap());
    let submitted = own("submit_seconds_count");
    four.run(&format!("account send {to} 1 --yes --as owner --ledger {ticket}")).ok();
    until("it is counted", || value("submit_seconds_count") > submitted);
    four.servers[3].kill();
    until("one is gone", || value("peers") == 2.0);
    four.pay();

    // Every figure is documented, and every documented one is there, for a mirror those that it has.
    let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/operating.md");
    let spec = fs::read_to_string(spec).unwrap();
    let known: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for name in known.iter().filter_map(|line| line.split(' ').next()) {
        assert!(spec.contains(&format!("| `{name}` |")), "spec/operating.md lacks {name}");
    }
    assert_eq!(spec.matches("| `symbolon_ledger_").count(), known.len());
    let mirror = free_address();
    let dir = four.folder.path().join("mirror").display().to_string();
    let line = format!("ledger mirror --dir {dir} --ledger {} --metrics {mirror}", four.ticket);
    let _mirror = Server::start(&four.home(), words(&line));
    let has = || figure(&figures(mirror), "height").unwrap_or(-1.0);
    until("the mirror has all blocks", || has() == value("height"));
    assert_eq!(figure(&figures(mirror), "own_power"), Some(0.0));
    assert_eq!(figure(&figures(mirror), "votes"), None);
}

#[test]
fn a_copy_of_a_validators_folder_votes_only_once_that_is_safe() {
    let mut four = Four::start(|_| String::new());
    let backup = four.folder.path().join("backup");
    four.pay();
    four.servers[3].kill();
    copy(&four.dir(4), &backup);
    let home = four.home();
    four.servers[3].kill_and_restart(&home);
    // It signs what the copy does not know of.
    (0..5).for_each(|_| four.pay());
    four.servers[3].kill();
    fs::remove_dir_all(four.dir(4)).unwrap();
    copy(&backup, &four.dir(4));
    let dir = four.dir(4).display().to_string();
    fails(four.run(&format!("ledger run --dir {dir}")), 16, "is a copy");
    // What it has signed last is lost: that is no better, whatever its operator says.
    fs::remove_file(four.dir(4).join("validator.redb")).unwrap();
    fails(four.run(&format!("ledger run --dir {dir} --moved")), 16, "has lost a part");
    let address = free_address();
    let line = format!("validator run --dir {dir} --ledger {} --metrics {address}", four.ticket);
    four.servers[3] = Server::start(&home, words(&line));
    assert_eq!(four.servers[3].ready["votes"], "no");
    // Blocks that are newer than its start let it vote, with the same key.
    until("it votes", || {
        four.pay();
        figure(&figures(address), "votes") == Some(1.0)
    });
    let listed = four.run("validator list").ok();
    let all = listed["validators"].as_array().unwrap();
    assert!(all.iter().all(|one| one["state"] == "member"), "{listed}");
    // Without one of the others its vote is needed.
    four.servers[0].kill();
    four.pay();
    let listed = four.run("validator list").ok();
    let all = listed["validators"].as_array().unwrap();
    assert!(all.iter().all(|one| one["state"] == "member"), "{listed}");
    // It is a copy no longer.
    four.servers[3].kill_and_restart(&home);
    assert_eq!(four.servers[3].ready["votes"], "yes");
}

/// Runs the first of two validators with these directives until it has committed a payment, and gives its log lines.
fn logged(directives: &str) -> (Vec<Value>, [Vec<u8>; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let (home, dir) = (folder.path().join("home"), folder.path().join("two"));
    let run = |line: &str| Running::start(command(&home, &words(line))).finish();
    let founded = run(&format!("ledger found --dir {} --validators 2 --epoch 1h", dir.display()));
    let ticket = founded.ok()["ticket"].as_str().unwrap().to_owned();
    let log = folder.path().join("log");
    let mut first = command(&home, &words(&format!("ledger run --dir {}/1", dir.display())));
    first.env("SYMBOLON_LOG", directives).env("SYMBOLON_LOG_FORMAT", "json");
    first.stderr(fs::File::create(&log).unwrap());
    let mut first = first.spawn().unwrap();
    let _second = Server::start(&home, words(&format!("ledger run --dir {}/2", dir.display())));
    run(&format!("init --as owner --no-passphrase --ledger {ticket}")).ok();
    run("account faucet --as owner").ok();
    first.kill().unwrap();
    first.wait().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    // Its last line may be half a line.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    (lines, ["key", "salt"].map(|name| fs::read(dir.join("1").join(name)).unwrap()))
}

#[test]
fn log_lines_are_json_and_hold_no_secret() {
    let (lines, secrets) = logged("trace");
    let is_of_core = |line: &&Value| line["target"].as_str().unwrap().starts_with("arc_malachite");
    assert!(lines.iter().any(|line| is_of_core(&line)), "{} lines", lines.len());
    for line in &lines {
        for field in ["at_ms", "level", "target", "message", "fields"] {
            assert!(line.get(field).is_some(), "{field} of {line}");
        }
        let text = line.to_string().to_lowercase();
        for secret in &secrets {
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            let list = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            assert!(!text.contains(&hex) && !text.contains(&list), "a secret is in {line}");
        }
    }
    let (lines, _) = logged("info");
    let loud = lines.iter().filter(is_of_core).find(|line| line["level"] == "info");
    assert_eq!(loud, None, "the core tells every vote");
}

/// The outcome of a check.
fn outcome(document: &Value, check: &str) -> String {
    let all = document["checks"].as_array().unwrap();
    let one = all.iter().find(|one| one["check"] == check);
    one.unwrap_or_else(|| panic!("no {check} in {document}"))["outcome"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_doctor_looks_at_a_ledger_and_leaves_it_as_it_is() {
    let mut four = Four::start(|_| String::new());
    (0..3).for_each(|_| four.pay());
    let (home, dir) = (four.home(), four.dir(2));
    let doctor = format!("ledger doctor --dir {}", dir.display());
    // It runs.
    let found = four.run(&doctor).ok();
    for check in ["key", "copy", "running", "ledger", "money", "set", "reachable", "clock"] {
        assert_eq!(outcome(&found, check), "good", "{check} of {found}");
    }
    // On a busy machine it may have missed one.
    assert_ne!(outcome(&found, "turns"), "bad", "{found}");
    assert_eq!(outcome(&found, "store"), "unknown");
    // It was killed, so its file has to be repaired: in memory only.
    four.servers[1].kill();
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    let before = (read("ledger.redb"), read("validator.redb"));
    let found = four.run(&doctor).ok();
    for check in ["store", "blocks", "rows", "money", "signed", "set"] {
        assert_eq!(outcome(&found, check), "good", "{check} of {found}");
    }
    assert!(found["height"].as_u64() >= Some(4), "{found}");
    assert!(before == (read("ledger.redb"), read("validator.redb")), "it has written");
    assert_eq!(outcome(&four.run(&format!("{doctor} --quick")).ok(), "rows"), "unknown");
    four.servers[1].kill_and_restart(&home);
    four.pay();
    four.servers[1].kill();
    // What is wrong is found.
    fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = fails(four.run(&doctor), 15, "other users");
    assert_eq!(outcome(&error["details"], "key"), "bad");
    fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let whole = read("ledger.redb");
    let account = hex(&four.run("account balance --as owner").ok()["account"]);
    let places: Vec<usize> = whole
        .windows(account.len())
        .enumerate()
        .filter_map(|(at, window)| (window == account).then_some(at))
        .collect();
    assert!(!places.is_empty());
    let mut damaged = whole.clone();
    for at in places {
        damaged[at + account.len()] ^= 1;
    }
    fs::write(dir.join("ledger.redb"), &damaged).unwrap();
    let error = fails(four.run(&doctor), 15, "fault");
    let bad = error["details"]["checks"].as_array().unwrap();
    let bad: Vec<_> = bad.iter().filter(|check| check["outcome"] == "bad").collect();
    assert!(bad.iter().all(|check| check["hint"].is_string()) && !bad.is_empty(), "{error}");
    fs::write(dir.join("ledger.redb"), whole).unwrap();
    let moved = four.folder.path().join("moved");
    copy(&dir, &moved);
    let found = four.run(&format!("ledger doctor --dir {}", moved.display())).ok();
    assert_eq!(outcome(&found, "copy"), "warning");
}

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap().as_bytes().chunks(2);
    text.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}
