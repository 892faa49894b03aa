//! Every command on a terminal: it says there what it says into a pipe, and nothing else does.

use std::{fs, path::Path};

use crate::common::{
    Network, Running, bytes, command, plain,
    terminal::{self, screen},
    words,
};

/// Every command that can be run, as the help lists them: one that is new is here by itself.
fn commands(home: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        let line = format!("{path} --help");
        let help = Running::start(plain(home, &words(line.trim_start()))).finish();
        let help = String::from_utf8(help.out).unwrap();
        let Some((_, listed)) = help.split_once("\nCommands:\n") else {
            found.push(path);
            continue;
        };
        let listed = listed.lines().take_while(|line| !line.is_empty());
        let names = listed.filter_map(|line| line.split_whitespace().next());
        for name in names.filter(|name| *name != "help") {
            open.push(format!("{path} {name}").trim_start().to_owned());
        }
    }
    found.sort();
    found
}

/// What a command is run with. Each can be run again and again, and says the same.
struct Lines {
    folder: String,
    listing: String,
}

impl Lines {
    fn of(&self, command: &str) -> String {
        let Self { folder, listing } = self;
        match command {
            // These would run on: what they meet ends them.
            "demo" => format!("{folder}/nothing"),
            "up" => String::from("--listen 203.0.113.7:1"),
            "ledger run" | "ledger mirror" | "validator run" => format!("--dir {folder}/ledger"),
            "ledger doctor" => format!("--dir {folder}/ledger"),
            "ledger found" => format!("--dir {folder}/four --validators 4"),
            // No validator is in this folder.
            "validator join" | "validator leave" | "validator unstake" => {
                format!("--dir {folder}/many")
            }
            // No validator begins so.
            "validator delegate" | "validator undelegate" => String::from("zz 1 --yes"),
            "validator list" => String::from("--mine"),
            "validator send" => format!("--dir {folder}/many {} 1", "0".repeat(64)),
            // Nothing of this is on a ledger of play money, or no motion is.
            "gov propose params" => String::from("epoch_ms=5m --why none"),
            "gov propose treasury" => String::from("bob 0 --why none"),
            "gov propose rules" => String::from("2 --at-height 0 --why none"),
            "gov vote" => String::from("1 yes"),
            "gov show" => String::from("1"),
            "node run" => format!("--dir {folder}/ledger --capacity 1GiB"),
            "init" => String::from("--no-passphrase"),
            "restore" => format!("--from {folder}/nothing --no-passphrase"),
            "put" => format!("{folder}/file"),
            "get" => format!("file -o {folder}/copy"),
            "sync" => format!("{folder}/many :many"),
            "stat" | "versions" | "undelete" | "verify" => String::from("file"),
            "mv" => String::from("nothing else"),
            "rm" => String::from("nothing --yes"),
            "renew" => String::from("file --dry-run"),
            "keep" => String::from("--once"),
            "share" => String::from("file --to bob --until 30d"),
            "grant inspect" | "grant revoke" => format!("@{folder}/grant"),
            "grant log" => String::from("file"),
            "redeem" => format!("@{folder}/voucher --as bob"),
            "grant attenuate" => format!("@{folder}/grant --to bob --until 1d"),
            "sell" => String::from("file --price 1 --title evil\u{202e}title"),
            "market show" | "market preview" => listing.clone(),
            "market serve" => String::from("--listen 203.0.113.7:1"),
            "market end" => "0".repeat(64),
            "buy" => format!("{listing} -o {folder}/bought --as bob"),
            "order show" | "order ack" | "order dispute" => format!("{listing} --as bob"),
            "account send" => String::from("bob 1 --id once"),
            "completions" => String::from("bash"),
            "node doctor" | "node earnings" | "node limit" | "node scrub" => {
                format!("--dir {folder}/node0")
            }
            "node exit" => format!("--dir {folder}/node0 --cancel"),
            // Its account has nothing.
            "node stake" => format!("--dir {folder}/node0 1"),
            "account balance" | "account faucet" | "account history" | "account statement"
            | "audit" | "care" | "vault create" | "vault rotate" | "vault status" | "down"
            | "du" | "grant ls" | "id" | "ledger status" | "ls" | "market list" | "node status"
            | "gov list" | "orders" | "status" | "validator status" => String::new(),
            new => panic!("say here how `symbolon {new}` is run"),
        }
    }
}

/// What differs from run to run taken out of it: numbers, keys, grants, and the width of columns.
fn steady(text: &str) -> String {
    let is_key = |word: &str| {
        let bare = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let hex = bare.len() >= 8 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex || ["grant1", "ledger1", "symbolon://redeem/"]
            .iter()
            .any(|begin| bare.starts_with(begin))
    };
    let lines = text.lines().map(|line| {
        let parts = line.split([' ', '"', ':', ',']).filter(|word| !word.is_empty());
        let parts = parts.map(|word| if is_key(word) { "KEY" } else { word });
        parts.collect::<Vec<_>>().join(" ").replace(|letter: char| letter.is_ascii_digit(), "")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A network with something of everything, and how commands are run on it.
fn set_up(network: &Network) -> Lines {
    for who in ["default", "bob"] {
        network.identity(who);
    }
    let folder = network.folder.path().display().to_string();
    network.file("file", 300_000, 1);
    fs::create_dir(network.folder.path().join("many")).unwrap();
    for number in 0..3 {
        network.file(&format!("many/{number}\u{202e}"), 2_000, number);
    }
    network.run(&format!("put {folder}/file")).ok();
    network.run(&format!("share file --to bob -o {folder}/grant")).ok();
    network.run(&format!("share file --voucher --until 30m -o {folder}/voucher")).ok();
    let sold = network.run("sell file --price 1 --title evil\u{202e}title").ok();
    let listing = sold["listing"].as_str().unwrap().to_owned();
    Lines { folder, listing }
}

#[test]
fn every_command_says_on_a_terminal_what_it_says_into_a_pipe() {
    let network = Network::start(3, "1h");
    let lines = set_up(&network);
    let home = network.home();
    let commands = commands(&home);
    assert!(commands.iter().any(|command| command == "grant attenuate"), "{commands:?}");
    for name in commands {
        let line = format!("{name} {}", lines.of(&name));
        let line = words(line.trim_end());
        // What it changes, it has changed then.
        Running::start(plain(&home, &line)).finish();
        for mode in ["", "--quiet", "--json"] {
            let line: Vec<_> =
                line.iter().cloned().chain((!mode.is_empty()).then(|| mode.to_owned())).collect();
            let piped = Running::start(plain(&home, &line)).finish();
            let seen = terminal::run(plain(&home, &line));
            assert_eq!(seen.code, piped.code, "{line:?}");
            let streams = [
                ("stdout", &seen.out, String::from_utf8_lossy(&piped.out).into_owned()),
                ("stderr", &seen.error, piped.error),
            ];
            for (which, there, here) in streams {
                assert!(!here.contains('\x1b'), "{which} of {line:?} has colours: {here:?}");
                assert_eq!(steady(&screen(there)), steady(here.trim_end()), "{which} of {line:?}");
                let raw = String::from_utf8_lossy(there);
                assert!(!raw.contains('\u{202e}'), "{which} of {line:?} is turned around: {raw}");
                // A program reads it there, too.
                assert!(mode != "--json" || !raw.contains('\x1b'), "{which} of {line:?}: {raw:?}");
            }
        }
    }
}

#[test]
fn names_that_turn_around_what_follows_are_escaped_and_found() {
    let network = Network::start(3, "1h");
    network.identity("default");
    let name = "invoice\u{202e}fdp.exe";
    let path = network.file(name, 1_000, 1);
    let line = vec!["put".to_owned(), path.display().to_string()];
    let stored = Running::start(command(&network.home(), &line)).finish().ok();
    assert_eq!(stored["name"], "invoice\\xe2\\x80\\xaefdp.exe");
    // What is typed is taken as the bytes it is.
    let out = network.folder.path().join("out");
    let line = ["get", name, "-o", out.to_str().unwrap()].map(String::from);
    Running::start(command(&network.home(), &line)).finish().ok();
    assert_eq!(fs::read(out).unwrap(), bytes(1_000, 1));
    // Neither do errors turn around, about names, about paths, about what is no option.
    for line in [&["get", "no\u{202e}ne"][..], &["put", "/no\u{202e}ne"], &["ls", "--no\u{202e}ne"]]
    {
        let line: Vec<_> = line.iter().map(|word| (*word).to_owned()).collect();
        let seen = terminal::run(plain(&network.home(), &line));
        let error = String::from_utf8(seen.error).unwrap();
        assert!(!error.contains('\u{202e}') && error.contains("error:"), "{line:?}: {error:?}");
    }
}
