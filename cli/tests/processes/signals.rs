//! Ctrl-C and SIGTERM end every kind of wait, and leave the terminal as it was.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::common::{Done, Network, Running, command, plain, terminal, until, words};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BOTH: [Signal; 2] = [Signal::INT, Signal::TERM];

/// Whether a process hears signals by now: it has a thread for that.
fn hears(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let names = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("comm")));
    names.flatten().any(|name| name.trim() == "signals")
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Starts a command, tells it to stop once it hears, and says how it ended.
fn told(command: std::process::Command, signal: Signal) -> Done {
    let running = Running::start(command);
    until("it hears signals", || hears(running.pid()));
    send(running.pid(), signal);
    running.finish()
}

#[track_caller]
fn is_interrupted(done: &Done) {
    assert_eq!(done.code, Some(130), "{}{}", String::from_utf8_lossy(&done.out), done.error);
    let text = String::from_utf8_lossy(&done.out);
    assert_eq!(text.lines().count(), 1, "one document: {text}");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["error"]["kind"], "interrupted");
    assert_eq!(done.error, "");
}

#[test]
fn a_question_can_be_left_and_the_terminal_shows_what_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    for signal in BOTH {
        let init = plain(&folder.path().join("home"), &words("init"));
        let (child, out, mut error) = terminal::start(init);
        error.wait_for("New passphrase: ");
        assert!(!error.shows_what_is_typed());
        send(child.id(), signal);
        assert_eq!(terminal::ends(child), Some(130));
        assert!(error.shows_what_is_typed());
        assert!(terminal::screen(&error.all()).contains("error: stopped"));
        assert_eq!(out.all(), b"");
    }
    // Answered, it goes on, and what was typed is nowhere to be seen.
    let (child, _out, mut error) =
        terminal::start(plain(&folder.path().join("home"), &words("init")));
    error.wait_for("New passphrase: ");
    error.types("correct horse battery\n");
    error.wait_for("The same again: ");
    error.types("correct horse battery\n");
    assert_eq!(terminal::ends(child), Some(0));
    assert!(error.shows_what_is_typed());
    assert!(!terminal::screen(&error.all()).contains("horse"));
}

#[test]
fn a_deletion_that_is_asked_about_can_be_left() {
    let network = Network::start(3, "1h");
    network.identity("default");
    let path = network.file("file", 1_000, 1);
    network.run(&format!("put {}", path.display())).ok();
    let (child, _out, mut error) = terminal::start(plain(&network.home(), &words("rm file")));
    error.wait_for("[y/N]");
    send(child.id(), Signal::INT);
    assert_eq!(terminal::ends(child), Some(130));
    assert_eq!(network.run("ls").ok()["files"].as_array().unwrap().len(), 1);
}

/// Where the only identity, on its only ledger, locks what it works on.
fn locks(home: &Path) -> PathBuf {
    let folders = fs::read_dir(home.join("identities/default")).unwrap();
    let mut locks = folders.map(|folder| folder.unwrap().path().join("locks"));
    locks.find(|locks| locks.is_dir()).expect("the identity has been used")
}

#[test]
fn whatever_is_waited_for_a_signal_ends_it() {
    let network = Network::start(3, "1h");
    network.identity("default");
    let path = network.file("file", 1_000, 1);
    network.run(&format!("put {} file", path.display())).ok();
    let home = network.home();
    let at_once = |line: &str| command(&home, &words(line));
    for signal in BOTH {
        // Bytes that never come, and a reader that never comes.
        let mut put = at_once("put - endless");
        let (reader, _writer) = std::io::pipe().unwrap();
        put.stdin(reader);
        is_interrupted(&told(put, signal));
        let pipe = network.folder.path().join(format!("pipe{}", signal.as_raw()));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        is_interrupted(&told(at_once(&format!("get file -o {}", pipe.display())), signal));
        // Another process that has the names.
        let held = File::create(locks(&home).join("names")).unwrap();
        held.lock().unwrap();
        is_interrupted(&told(at_once("mv file other"), signal));
        drop(held);
        assert_eq!(network.run("stat file").ok()["name"], "file");
    }
    // A ledger that does not answer.
    send(network.ledger.pid(), Signal::STOP);
    for signal in BOTH {
        for line in ["account balance", "put file", "market list", "node status"] {
            let line = line.replace("put file", &format!("put {}", path.display()));
            is_interrupted(&told(at_once(&line), signal));
        }
        // The first one may have ended with a folder that has no key yet.
        let late = format!("late{}", signal.as_raw());
        let dir = network.folder.path().join(late).display().to_string();
        let mut node = at_once(&format!("node run --capacity 1GiB --dir {dir}"));
        node.stdin(Stdio::null());
        let done = told(node, signal);
        assert_eq!((done.code, done.out.as_slice()), (Some(0), &b""[..]), "{}", done.error);
    }
    send(network.ledger.pid(), Signal::CONT);
}

#[test]
fn a_start_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    for signal in BOTH {
        let home = folder.path().join("home");
        // Ready or not, it ends well.
        assert_eq!(told(command(&home, &words("up --nodes 8")), signal).code, Some(0));
        let dir = folder.path().join("ledger").display().to_string();
        let ledger = command(&home, &words(&format!("ledger run --dir {dir}")));
        assert_eq!(told(ledger, signal).code, Some(0));
        // The one that waits for it takes it along.
        is_interrupted(&told(command(&home, &words("up --detach --nodes 8")), signal));
        until("the one in the background is gone", || {
            let again = Running::start(command(&home, &words("down"))).finish();
            again.code == Some(3)
        });
    }
}
