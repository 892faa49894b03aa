//! Bad input and faults, with real processes: each ends with its documented exit code and words that say
//! what is wrong and what to do; nothing is lost, and nothing is paid for what did not happen.

mod damage;
mod disk;
mod files;
mod grants;
mod keys;
mod placement;
mod purchases;
mod servers;

use std::{io::Write as _, path::Path};

use serde_json::Value;

use crate::common::{self, Done, Network, Running, Server, command, plain, words};

/// An epoch that does not end during a test: what a put costs is then what is missing.
const LONG: &str = "1h";

/// The exit codes and their names, as `spec/cli.md` has them.
const KINDS: [(i32, &str); 15] = [
    (2, "usage"),
    (3, "not_found"),
    (4, "exists"),
    (5, "not_allowed"),
    (6, "unreachable"),
    (7, "not_enough"),
    (8, "corrupt"),
    (9, "balance_too_low"),
    (10, "ledger_refused"),
    (11, "io"),
    (12, "disk_full"),
    (13, "in_use"),
    (14, "key"),
    (15, "partial"),
    (16, "wrong_disk"),
];

/// Checks that a command failed as documented: the code, one JSON document, a message that says `says`,
/// and what to do next. Gives the error.
#[track_caller]
fn fails(done: Done, code: i32, says: &str) -> Value {
    let text = String::from_utf8(done.out).unwrap();
    assert_eq!(done.code, Some(code), "{text}{}", done.error);
    assert_eq!(text.lines().count(), 1, "one document: {text}");
    let json: Value = serde_json::from_str(&text).expect(&text);
    let error = json["error"].clone();
    let kind = KINDS.iter().find(|(number, _)| *number == code).expect("a documented code").1;
    assert_eq!(error["kind"], kind, "{error}");
    assert_eq!(error["exit_code"], code, "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    // What is wrong with a command line says how to mend it.
    let hint = error["hint"].as_str().is_some_and(|hint| !hint.is_empty());
    assert!(hint || code == 2, "no hint: {error}");
    assert!(!done.error.contains("panicked"), "{}", done.error);
    error
}

/// Runs a command in a home.
fn at(home: &Path, line: &str) -> Done {
    Running::start(command(home, &words(line))).finish()
}

/// Runs a command without `--json` that reads `input` from a pipe.
fn piped(network: &Network, line: &str, input: &[u8]) -> Done {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let input = input.to_vec();
    // A command that does not read to the end breaks the pipe, as it may.
    let feeding = std::thread::spawn(move || writer.write_all(&input).ok());
    let mut command = plain(&network.home(), &words(line));
    command.stdin(reader);
    let done = Running::start(command).finish();
    feeding.join().unwrap();
    done
}

/// The money and files of an identity.
fn belongings(network: &Network, who: &str) -> (u128, Value) {
    (network.balance(who), network.run(&format!("ls --as {who}")).ok())
}

#[track_caller]
fn adds_up(network: &Network) {
    assert_eq!(network.run("ledger status").ok()["money"]["adds_up"], true);
}

/// Starts one more node.
fn add_node(network: &mut Network, capacity: &str) {
    let number = network.nodes.len();
    let dir = network.folder.path().join(format!("node{number}")).display().to_string();
    let ticket = &network.ticket;
    let line =
        format!("node run --ledger {ticket} --capacity {capacity} --price 1/epoch --dir {dir}");
    network.nodes.push(Server::start(&network.home(), words(&line)));
}

fn field<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("no {name} in {json}"))
}
