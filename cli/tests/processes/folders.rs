//! Folders there and back, with real processes: packs, links, permissions, odd names, kills, versions.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, UNIX_EPOCH},
};

use crate::common::{Done, Hits, Network, Running, bytes, command, fails, units, until, words};
use serde_json::Value;

const SMALL: usize = 300;
const MIB: usize = 1024 * 1024;

/// What lies at a path: mode, time and content, or a link's target.
type Snapshot = BTreeMap<Vec<u8>, (u32, i64, i64, Vec<u8>)>;

fn snapshot(root: &Path) -> Snapshot {
    fn walk(root: &Path, at: &Path, out: &mut Snapshot) {
        let about = fs::symlink_metadata(at).unwrap();
        let name = at.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        if about.is_symlink() {
            let target = fs::read_link(at).unwrap().into_os_string().as_bytes().to_vec();
            out.insert(name, (0, 0, 0, target));
            return;
        }
        let mode = about.mode() & 0o777;
        let content = if about.is_dir() { Vec::new() } else { fs::read(at).unwrap() };
        out.insert(name, (mode, about.mtime(), about.mtime_nsec(), content));
        if about.is_dir() {
            fs::read_dir(at).unwrap().for_each(|item| walk(root, &item.unwrap().path(), out));
        }
    }
    let mut out = Snapshot::new();
    walk(root, root, &mut out);
    out
}

/// Writes a file with a time of its own.
fn write(path: &Path, content: &[u8], seconds: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let time = UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

fn odd_name() -> &'static OsStr {
    OsStr::from_bytes(b"caf\xe9 \\ new\nline")
}

/// One of everything.
fn tree(root: &Path) {
    for number in 0..SMALL {
        let path = root.join(format!("small/{}/file{number}", number % 7));
        write(
            &path,
            &bytes(10 + number * 7, u8::try_from(number % 251).unwrap()),
            1_000_000 + number as u64,
        );
    }
    for length in [MIB - 1, MIB, MIB + 1] {
        write(&root.join(format!("border{length}")), &bytes(length, 7), 2_000_000);
    }
    write(&root.join("nothing"), b"", 3);
    write(&root.join(odd_name()), b"odd", 5);
    write(&root.join("script"), b"#!/bin/sh\n", 6);
    fs::set_permissions(root.join("script"), Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(root.join("nothing"), Permissions::from_mode(0o400)).unwrap();
    fs::create_dir_all(root.join("empty/inner")).unwrap();
    fs::set_permissions(root.join("empty"), Permissions::from_mode(0o711)).unwrap();
    symlink("script", root.join("link")).unwrap();
    symlink("/nowhere/at/all", root.join("small/dangling")).unwrap();
    symlink("small", root.join("folder-link")).unwrap();
}

trait Run {
    fn os(&self, line: &str, more: &[&OsStr]) -> Done;
    fn json(&self, line: &str) -> Value;
    fn path(&self, name: &str) -> PathBuf;
}

impl Run for Network {
    fn os(&self, line: &str, more: &[&OsStr]) -> Done {
        let mut command = command(&self.home(), &words(line));
        command.args(more);
        Running::start(command).finish()
    }

    fn json(&self, line: &str) -> Value {
        self.run(line).ok()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn error(done: &Done) -> Value {
    let json: Value = serde_json::from_slice(&done.out).unwrap();
    json["error"].clone()
}

#[test]
fn a_folder_goes_there_and_back() {
    let network = Network::start(4, "5s");
    network.identity("owner");
    let (root, out) = (network.path("tree"), network.path("out"));
    tree(&root);
    let put = format!("put {} tree --for 1h --as owner --yes", root.display());
    let get = format!("get tree -o {} --as owner", out.display());

    let quote = network.json(&format!("{put} --dry-run"));
    assert_eq!(quote["files"], SMALL + 6, "{quote}");
    assert_eq!((&quote["packs"], &quote["deals"]), (&1.into(), &3.into()), "{quote}");
    let before = network.balance("owner");
    let stored = network.json(&put);
    assert_eq!((&stored["outcome"], &stored["packs"]), (&"stored".into(), &1.into()), "{stored}");
    let money = |json: &Value, field: &str| units(json[field].as_str().unwrap());
    let quoted = money(&quote, "cost") - money(&quote, "index");
    assert_eq!(money(&stored, "cost"), quoted, "what was quoted is what is paid");
    // So many names make a part of the index of its own, which is paid like a file.
    let index = before - network.balance("owner") - money(&stored, "cost");
    assert_eq!(index, money(&stored, "index_cost"));
    assert!((0..=money(&quote, "index")).contains(&index), "{index} for the index");
    let again = network.json(&put);
    assert_eq!(again["outcome"], "already", "{again}");
    assert_eq!(again["unchanged"], SMALL + 6);

    let got = network.json(&get);
    assert_eq!(got["files"], SMALL + 6, "{got}");
    assert!(snapshot(&out) == snapshot(&root), "what comes back is what went");
    let got = network.json(&get);
    assert_eq!((&got["outcome"], &got["files"]), (&"already".into(), &0.into()), "{got}");
    // What changed here is not overwritten unasked.
    write(&out.join("script"), b"mine", 9);
    let refused = network.run(&get);
    assert_eq!(refused.code, Some(4), "{}", error(&refused));
    assert_eq!(network.json(&format!("{get} --replace"))["files"], 1);
    assert!(snapshot(&out) == snapshot(&root));

    single_files(&network);
    what_is_there_stays_outside(&network);
    network.json("mv tree/small moved --as owner");
    let after = network.path("after");
    network.json(&format!("get moved -o {} --as owner", after.display()));
    assert!(snapshot(&after) == snapshot(&root.join("small")), "only its name changed");
}

/// One file of the pack, by bytes that are no text; then what patterns match, and a file that leaves it.
fn single_files(network: &Network) {
    let odd = network.path("odd");
    let name = [b"tree/", odd_name().as_bytes()].concat();
    network.os(&format!("get -o {} --as owner", odd.display()), &[OsStr::from_bytes(&name)]).ok();
    assert_eq!(fs::read(&odd).unwrap(), b"odd");
    let again =
        network.os(&format!("get -o {} --as owner", odd.display()), &[OsStr::from_bytes(&name)]);
    assert_eq!(again.ok()["outcome"], "already");
    let nothing = network.path("no-bytes");
    network.json(&format!("get tree/nothing -o {} --as owner", nothing.display()));
    assert_eq!(fs::read(&nothing).unwrap(), b"");
    let some = network.path("some");
    let line = format!("get tree/small/**/file1? -o {} --as owner", some.display());
    assert_eq!(network.json(&line)["files"], 10);
    assert_eq!(fs::read(some.join("3/file17")).unwrap(), bytes(10 + 17 * 7, 17));
    let listed = network.json("ls tree --as owner");
    let names: Vec<_> = listed["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"tree/small") && names.contains(&"tree/caf\\xe9 \\\\ new\\x0aline"),
        "{names:?}"
    );
    assert_eq!(names.len(), 10, "{names:?}");

    // A file that leaves its pack: the grant is for it alone.
    network.identity("bob");
    let grant = network.json("share tree/small/3/file17 --to bob --as owner")["grant"].clone();
    let shared = network.path("shared");
    network.json(&format!("get {} -o {} --as bob", grant.as_str().unwrap(), shared.display()));
    assert_eq!(fs::read(&shared).unwrap(), bytes(10 + 17 * 7, 17));
    let length = network.json("ls tree/small/3/file17 --as owner")["files"][0]["packed"].clone();
    assert_eq!(length, false);
}

/// Where a link lies in the way of a folder, nothing goes through it.
fn what_is_there_stays_outside(network: &Network) {
    let (trap, outside) = (network.path("trap"), network.path("outside"));
    fs::create_dir_all(&trap).unwrap();
    fs::create_dir_all(&outside).unwrap();
    symlink(&outside, trap.join("small")).unwrap();
    let trapped = network.run(&format!("get tree -o {} --replace --as owner", trap.display()));
    assert_eq!(trapped.code, Some(15), "{}", error(&trapped));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read(trap.join("script")).unwrap(), b"#!/bin/sh\n");
    assert!(error(&trapped)["details"]["faults"].as_array().unwrap().len() > SMALL);
}

#[test]
fn what_cannot_be_stored_is_named_and_the_rest_is_stored() {
    let network = Network::start(3, "5s");
    network.identity("owner");
    let root = network.path("tree");
    write(&root.join("good"), b"good", 1);
    write(&root.join("a-name-that-is-too-long-where-it-goes-".repeat(5)), b"x", 1);
    write(&root.join("skipped.tmp"), b"x", 1);
    write(&root.join("build/skipped"), b"x", 1);
    write(&root.join("closed"), b"x", 1);
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o000)).unwrap();
    let made = std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success());
    let to = vec!["d".repeat(240); 16].join("/") + "/" + &"e".repeat(90);
    let options = "--exclude *.tmp --exclude build --for 1h --as owner --yes";
    let put = by_somebody(&network, &format!("put {} {to} {options}", root.display()));
    assert_eq!(put.code, Some(15), "{}", error(&put));
    let details = error(&put)["details"].clone();
    let faults = details["faults"].as_array().unwrap();
    let named = |part: &str| faults.iter().any(|fault| fault["path"].to_string().contains(part));
    assert!(faults.len() == 2 && named("closed") && named("a-name-that-is"), "{details}");
    assert_eq!(details["files"], 1, "{details}");
    assert_eq!(details["special"], serde_json::json!(["pipe"]), "{details}");
    let message = error(&put)["message"].to_string();
    assert!(message.contains("pipe: it is neither"), "{message}");
    let out = network.path("out");
    network.json(&format!("get {to} -o {} --as owner", out.display()));
    assert_eq!(fs::read(out.join("good")).unwrap(), b"good");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}

/// Names that the program gives to what an interrupted get leaves: stored or named, never passed over.
#[test]
fn every_file_is_stored_or_named() {
    let network = Network::start(3, "5s");
    network.identity("owner");
    let root = network.path("tree");
    write(&root.join("good"), b"good", 1);
    let put = || network.run(&format!("put {} tree --for 1h --as owner --yes", root.display()));
    for part in ["my.symbolon-note", "my.symbolon-part", ".symbolon-0123456789abcdef-part"] {
        write(&root.join(part), b"mine", 1);
        let done = put();
        assert_eq!(done.code, Some(15), "{}", done.error);
        let faults = error(&done)["details"]["faults"].clone();
        assert_eq!((&faults[0]["path"], faults.as_array().map(Vec::len)), (&part.into(), Some(1)));
        fs::remove_file(root.join(part)).unwrap();
    }
    // A folder of such a name is no part, nor is what only looks like one.
    write(&root.join("box.symbolon-part/inner"), b"inner", 2);
    write(&root.join(".symbolon-0123-part"), b"other", 3);
    put().ok();
    let made = std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success());
    let done = put();
    assert_eq!(done.code, Some(15), "less than was asked for is not code 0: {}", done.error);
    fs::remove_file(root.join("pipe")).unwrap();
    put().ok();
    let out = network.path("out");
    network.json(&format!("get tree -o {} --as owner", out.display()));
    assert_eq!(snapshot(&out), snapshot(&root));
}

/// What `verify` says is to be done mends it, of a folder too.
#[test]
fn a_damaged_folder_is_mended_by_putting_it_again() {
    let network = Network::start(3, "5s");
    network.identity("owner");
    let root = network.path("tree");
    for number in 0..5 {
        write(&root.join(format!("file{number}")), &bytes(40_000, number), 1);
    }
    let put = |more: &str| {
        network.run(&format!("put {} tree --for 1h --as owner --yes{more}", root.display())).ok()
    };
    put("");
    assert_eq!(put("")["outcome"], "already");
    let shards = network.folder.path().join("node0/shards");
    let mut files = vec![shards];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
        } else {
            let mut all = fs::read(&path).unwrap();
            all[1000] ^= 1;
            fs::write(&path, all).unwrap();
        }
    }
    let verify = || network.run("verify tree/file3 --deep --as owner");
    let found = verify();
    assert_eq!(found.code, Some(15), "{}", found.error);
    let hint = error(&found)["hint"].to_string();
    assert!(hint.contains("put FILE tree/file3 --replace"), "{hint}");
    let again = put("");
    assert_eq!((&again["outcome"], &again["files"]), (&"stored".into(), &5.into()), "{again}");
    verify().ok();
    assert_eq!(put("")["outcome"], "already");
}

#[test]
fn a_folder_takes_no_files_place_unasked() {
    let network = Network::start(3, "5s");
    network.identity("owner");
    let (root, plain) = (network.path("root"), network.path("plain"));
    write(&plain, b"a file that has a folder's name", 1);
    write(&root.join("sub/inner"), b"inner", 2);
    write(&root.join("beside"), b"beside", 3);
    let put = |what: &Path, name: &str, more: &str| {
        network.run(&format!("put {} {name} --for 1h --as owner --yes{more}", what.display()))
    };
    put(&plain, "taken", "").ok();
    put(&plain, "box/sub", "").ok();
    // The folder itself, something in it, and a file where other names lie.
    let refused = put(&root, "taken", "");
    assert_eq!(refused.code, Some(4), "{}", refused.error);
    let partly = put(&root, "box", "");
    assert_eq!(partly.code, Some(15), "{}", partly.error);
    let faults = error(&partly)["details"]["faults"].clone();
    assert_eq!(faults.as_array().map(Vec::len), Some(1), "{faults}");
    assert_eq!(faults[0]["path"], "sub");
    let refused = put(&plain, "box", "");
    assert_eq!(refused.code, Some(4), "{}", refused.error);
    let out = network.path("out");
    for name in ["taken", "box/sub"] {
        network.json(&format!("get {name} -o {} --replace --as owner", out.display()));
        assert!(fs::read(&out).unwrap() == fs::read(&plain).unwrap(), "{name} is what it was");
    }
    put(&root, "taken", " --replace").ok();
    put(&root, "box", " --replace").ok();
    for name in ["taken", "box"] {
        let back = network.path(name);
        network.json(&format!("get {name} -o {} --as owner", back.display()));
        assert_eq!(snapshot(&back), snapshot(&root), "{name}");
    }
}

/// Runs a command as an unprivileged user, because root can read every file. The files that the command needs become
/// that user's, and the program lies where that user can reach it.
fn by_somebody(network: &Network, line: &str) -> Done {
    const UNPRIVILEGED: u32 = 65_534;
    let folder = network.folder.path();
    if fs::metadata(folder).unwrap().uid() != 0 {
        return network.run(line);
    }
    let program = folder.join("symbolon");
    fs::copy(env!("CARGO_BIN_EXE_symbolon"), &program).unwrap();
    let given = std::process::Command::new("chown")
        .args(["-R", &UNPRIVILEGED.to_string()])
        .arg(folder)
        .status();
    assert!(given.unwrap().success());
    let mut command = std::process::Command::new(program);
    command.args(words(line)).arg("--json").arg("--home").arg(network.home());
    command.uid(UNPRIVILEGED).env_remove("SYMBOLON_AS").env_remove("SYMBOLON_LEDGER");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(command).finish()
}

#[test]
fn removing_pays_back_and_the_rest_still_reads() {
    let network = Network::start(4, "60s");
    network.identity("owner");
    let root = network.path("tree");
    for number in 0..40_u8 {
        write(&root.join(format!("f{number:02}")), &bytes(20_000, number), 1);
    }
    network.json(&format!("put {} tree --for 10h --as owner --yes", root.display()));
    let object =
        |network: &Network| network.json("ls tree/f05 --as owner")["files"][0]["object"].clone();
    let (pack, stored) = (object(&network), network.json("du tree --as owner"));
    let before = network.balance("owner");
    let refused = network.run("rm tree --as owner --yes");
    assert_eq!(refused.code, Some(2), "a folder needs -r");
    let removed = network.json("rm tree/f[1-3]* --as owner --yes");
    assert_eq!(removed["names"], 30, "{removed}");
    assert_ne!(object(&network), pack, "a pack of which a quarter lives is compacted");
    let after = network.balance("owner");
    assert!(after > before, "the old pack paid back more than the new one cost");
    let left = network.json("du tree --as owner");
    assert_eq!(left["total"]["length"], 200_000, "{left}");
    let size = |du: &Value| du["total"]["stored_bytes"].as_u64().unwrap();
    assert!(size(&left) * 3 < size(&stored), "{left} {stored}");
    let out = network.path("out");
    network.json(&format!("get tree -o {} --as owner", out.display()));
    for number in 0..10_u8 {
        let name = format!("f{number:02}");
        assert_eq!(fs::read(out.join(&name)).unwrap(), bytes(20_000, number), "{name}");
    }
    let all = network.json("rm -r tree --as owner --yes");
    assert_eq!(all["deals"], 1, "{all}");
    assert!(network.balance("owner") > after);
    let gone = network.run("ls tree --as owner");
    assert_eq!(gone.code, Some(3), "{}", error(&gone));
}

#[test]
fn kills_cost_nothing_and_lose_nothing() {
    let mut network = Network::start(8, "5s");
    let folder = network.folder.path().to_owned();
    let make = |name: &str, seed: u8| {
        let root = folder.join(name);
        // Few enough for the index's tail: what is paid then is paid for files alone.
        for number in 0..10_u8 {
            let path = root.join(format!("d{}/f{number}", number % 3));
            write(&path, &bytes(180_000, seed ^ number), 1);
        }
        write(&root.join("large"), &bytes(3_000_000, seed), 1);
        root
    };
    let put = |root: &Path, name: &str| {
        format!("put {} {name} --for 1h --as {name} --yes", root.display())
    };
    let warm = make("warm", 99);
    network.identity("warm");
    let started = Instant::now();
    let clean = network.json(&put(&warm, "warm"));
    let time = started.elapsed();
    let started = Instant::now();
    network.json(&format!("get warm -o {} --as warm", network.path("out").display()));
    let get_time = started.elapsed();
    let home = network.home();
    let mut hits = Hits::default();
    for part in 1..9 {
        let name = format!("tree{part}");
        let root = make(&name, u8::try_from(part).unwrap());
        network.identity(&name);
        let before = network.balance(&name);
        let mut running = network.spawn(&put(&root, &name));
        running.reaches(time * (1 + part % 6) / 7, &mut hits);
        match part {
            1..7 => running.kill(),
            7 => {
                network.nodes[2].kill_and_restart(&home);
                running.finish();
            }
            _ => {
                network.ledger.kill_and_restart(&home);
                running.finish();
            }
        }
        network.run_until_ok(&put(&root, &name));
        let again = network.run_until_ok(&put(&root, &name));
        assert_eq!(again["outcome"], "already", "{again}");
        let spent = before - network.balance(&name);
        // What its objects cost; each file's part of that is rounded down. A deal may have been made
        // with fewer shards than the undisturbed one.
        let du = network.json(&format!("du {name} --as {name}"));
        let cost = units(du["total"]["cost"].as_str().unwrap());
        assert!((cost..cost + 100).contains(&spent), "paid once, killed at {part}: {spent} {cost}");
        assert!(cost <= units(clean["cost"].as_str().unwrap()), "not more than undisturbed");

        let out = network.path(&format!("out{part}"));
        let get = format!("get {name} -o {} --as {name}", out.display());
        let mut running = network.spawn(&get);
        running.reaches(get_time * part / 9, &mut hits);
        running.kill();
        network.run_until_ok(&get);
        assert!(snapshot(&out) == snapshot(&root), "back as it was, killed at {part}/9");
        assert_eq!(network.json(&get)["outcome"], "already");
    }
    hits.are_some();
}

#[test]
fn sync_moves_what_differs() {
    let network = Network::start(3, "5s");
    network.identity("owner");
    let (root, down) = (network.path("tree"), network.path("down"));
    for number in 0..20_u8 {
        write(&root.join(format!("d/f{number}")), &bytes(5_000, number), 1);
    }
    symlink("f1", root.join("d/link")).unwrap();
    let up = |more: &str| {
        network.json(&format!("sync {} :s --for 1h --as owner --yes{more}", root.display()))
    };
    let bring =
        |more: &str| network.json(&format!("sync :s {} --as owner --yes{more}", down.display()));
    assert_eq!(up("")["files"], 20);
    assert_eq!(up("")["outcome"], "already");
    assert_eq!(bring("")["files"], 20);
    assert_eq!(bring("")["outcome"], "already");

    write(&root.join("d/f3"), b"other", 2);
    write(&root.join("new"), b"new", 2);
    fs::remove_file(root.join("d/f4")).unwrap();
    fs::set_permissions(root.join("d/f5"), Permissions::from_mode(0o600)).unwrap();
    let dry = up(" --delete --dry-run");
    assert_eq!(
        (&dry["files"], &dry["removed"]),
        (&2.into(), &serde_json::json!(["s/d/f4"])),
        "{dry}"
    );
    let moved = up(" --delete");
    assert_eq!(
        (&moved["files"], &moved["removed"], &moved["unchanged"]),
        (&2.into(), &1.into(), &18.into())
    );
    write(&down.join("mine/own"), b"mine", 3);
    let kept = bring("");
    assert_eq!((&kept["files"], &kept["removed"]), (&2.into(), &0.into()), "{kept}");
    assert!(down.join("mine/own").exists() && down.join("d/f4").exists(), "nothing goes unasked");
    let gone = bring(" --delete");
    assert_eq!((&gone["files"], &gone["removed"]), (&0.into(), &3.into()), "{gone}");
    assert!(snapshot(&down) == snapshot(&root));

    // What was a file is a folder now, and the other way round.
    fs::remove_dir_all(root.join("d")).unwrap();
    fs::remove_file(root.join("new")).unwrap();
    write(&root.join("d"), b"a file now", 4);
    write(&root.join("new/inner"), b"a folder now", 4);
    let line = format!("sync {} :s --for 1h --as owner --yes", root.display());
    let refused = fails(network.run(&line), 15, "d: names are stored below it");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("new: a file is stored under this name"), "{message}");
    assert_eq!(refused["details"]["files"], 0, "neither is stored");
    up(" --delete");
    bring(" --delete");
    assert!(snapshot(&down) == snapshot(&root));
}

#[test]
fn versions_are_kept_and_come_back() {
    let network = Network::start(3, "60s");
    network.identity("owner");
    let path = network.file("notes", 10, 1);
    let put = |number: u64, more: &str| {
        write(&path, format!("version {number}").as_bytes(), number);
        network.run(&format!("put {} notes --for 1h --as owner --yes{more}", path.display()))
    };
    put(1, "").ok();
    assert_eq!(put(2, "").code, Some(4), "a taken name needs --replace or --keep");
    for number in 2..=4 {
        put(number, " --keep 2").ok();
    }
    let numbers = |network: &Network| -> Vec<u64> {
        let json = network.json("versions notes --as owner");
        json["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["number"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(&network), [4, 3, 2]);
    let read = |more: &str| {
        let out = network.path("out");
        network.json(&format!("get notes -o {} --replace --as owner{more}", out.display()));
        fs::read_to_string(out).unwrap()
    };
    assert_eq!((read(""), read(" --number 2")), ("version 4".into(), "version 2".into()));
    let missing = network.run("get notes --number 1 -o x --as owner");
    assert_eq!(missing.code, Some(3), "{}", error(&missing));

    let removed = network.json("rm notes --as owner --yes");
    assert_eq!(removed["kept"], 1, "{removed}");
    assert_eq!(network.run("get notes -o x --as owner").code, Some(3));
    assert_eq!(network.json("ls --deleted --as owner")["files"].as_array().unwrap().len(), 1);
    assert_eq!(numbers(&network), [4, 3]);
    network.json("undelete notes --as owner");
    assert_eq!(read(""), "version 4");
    network.json("undelete notes --number 3 --as owner");
    assert_eq!(read(""), "version 3");
    let before = network.balance("owner");
    let removed = network.json("rm notes --forever --as owner --yes");
    assert_eq!((&removed["kept"], &removed["deals"]), (&0.into(), &2.into()), "{removed}");
    assert!(network.balance("owner") > before);
    assert_eq!(network.run("versions notes --as owner").code, Some(3));
}

/// The files of a folder, by their paths.
fn files(root: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all =
        snapshot(root).into_iter().filter(|(path, _)| root.join(OsStr::from_bytes(path)).is_file());
    all.map(|(path, (.., content))| (path, content)).collect()
}

/// A network where the owner has stored a folder to share, `tree/photos`, among other files of `tree`.
fn with_photos() -> (Network, PathBuf) {
    let network = Network::start(3, "1h");
    for who in ["owner", "bob", "carol", "eve"] {
        network.identity(who);
    }
    let root = network.path("tree");
    // Small files here and elsewhere share a pack; a large one has an object of its own.
    for (path, length, seed) in [
        ("photos/one", 3_000, 1),
        ("photos/inner/two", 70_000, 2),
        ("photos/large", MIB + 5, 3),
        ("photos/nothing", 0, 0),
        ("secret/diary", 40_000, 4),
        ("zoo", 9_000, 5),
    ] {
        write(&root.join(path), &bytes(length, seed), 1_000_000);
    }
    symlink("one", root.join("photos/link")).unwrap();
    fs::create_dir_all(root.join("photos/empty")).unwrap();
    network.json(&format!("put {} tree --as owner --yes", root.display()));
    (network, root)
}

#[test]
fn a_folder_is_shared_by_one_grant_and_taken_back_by_one() {
    let (network, root) = with_photos();
    let packed = |name: &str| network.json(&format!("stat {name} --as owner"))["object"].clone();
    assert_eq!(packed("tree/photos/one"), packed("tree/secret/diary"), "they share a pack");

    let grant = network.path("photos.grant").display().to_string();
    let share = |to: &str, more: &str| {
        network.run(&format!("share tree/photos --to {to} -o {grant} --as owner --yes{more}"))
    };
    assert_eq!(share("bob", "").ok()["files"], 4);
    // What is shared lies apart from what is not.
    assert_ne!(packed("tree/photos/one"), packed("tree/secret/diary"));
    assert_eq!(packed("tree/photos/one"), packed("tree/photos/inner/two"));
    assert_eq!(packed("tree/zoo"), packed("tree/secret/diary"));

    let expected = {
        let mut expected = files(&root.join("photos"));
        expected.remove(&b"link"[..]);
        expected
    };
    let copy = network.path("copy");
    let get = |who: &str, grant: &str| {
        fs::remove_dir_all(&copy).ok();
        network.run(&format!("get @{grant} -o {} --as {who}", copy.display()))
    };
    get("bob", &grant).ok();
    assert!(files(&copy) == expected, "all of the folder and nothing else");
    assert!(copy.join("empty").is_dir());
    // Again fetches nothing.
    let again = network.json(&format!("get @{grant} -o {} --as bob", copy.display()));
    assert_eq!((&again["outcome"], &again["files"]), (&"already".into(), &0.into()));
    fails(get("eve", &grant), 5, "bound to another key");
    let shown = network.json(&format!("grant inspect @{grant}"));
    assert_eq!((&shown["folder"], &shown["valid"]), (&true.into(), &true.into()));

    // The holder passes it on, offline, with less.
    let carols = network.path("carols").display().to_string();
    network.json(&format!("grant attenuate @{grant} --to carol --until 1h -o {carols} --as bob"));
    get("carol", &carols).ok();
    assert!(files(&copy) == expected);

    // A second person gets the same list, at no cost; what is new is not in it.
    let before = network.balance("owner");
    let second = network.path("second").display().to_string();
    network.json(&format!("share tree/photos --to carol -o {second} --as owner --yes"));
    assert!(before - network.balance("owner") < units("0.01"), "only the index is stored");
    write(&root.join("photos/new"), b"new", 7);
    network.json(&format!(
        "put {} tree/photos/new --as owner --yes",
        root.join("photos/new").display()
    ));
    get("carol", &second).ok();
    assert!(files(&copy) == expected, "the folder as it was shared");

    // Who read what, by label.
    let log = network.json("grant log tree/photos --as owner");
    let labels: Vec<_> =
        log["rows"].as_array().unwrap().iter().map(|row| row["label"].clone()).collect();
    assert!(labels.contains(&"given: tree/photos/".into()), "{labels:?}");
    assert!(
        !network.json(&format!("grant log @{grant} --as owner"))["rows"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    // One revocation ends all of it, for bob and for carol below him, and not what carol has by herself.
    network.json(&format!("grant revoke @{grant} --as owner"));
    until("the nodes know of it", || get("bob", &grant).code != Some(0));
    fails(get("bob", &grant), 5, "was revoked");
    fails(get("carol", &carols), 5, "was revoked");
    get("carol", &second).ok();
    let cells = network.run("share tree/photos --to bob --cells 0..2 --as owner");
    fails(cells, 2, "cells are those of one file");
}
