//! The binary as scripts see it: help, exit codes, JSON on stdout, errors on stderr. Real processes,
//! no network.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::common::schema;

/// Runs the binary in a home of its own, without anything of the tester's environment.
fn symbolon(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_symbolon"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("SYMBOLON_HOME", home).args(args).stdin(Stdio::null());
    let output = command.output().expect("the binary was built for this test");
    let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
    schema::check(&args, output.status.code(), &output.stdout);
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

/// Every verb, with its verbs.
const VERBS: &[&[&str]] = &[
    &["demo"],
    &["up"],
    &["down"],
    &["init"],
    &["restore"],
    &["id"],
    &["put"],
    &["get"],
    &["sync"],
    &["ls"],
    &["stat"],
    &["mv"],
    &["du"],
    &["versions"],
    &["undelete"],
    &["renew"],
    &["keep"],
    &["care"],
    &["audit"],
    &["rm"],
    &["verify"],
    &["share"],
    &["redeem"],
    &["grant"],
    &["grant", "inspect"],
    &["grant", "attenuate"],
    &["grant", "revoke"],
    &["grant", "ls"],
    &["grant", "log"],
    &["sell"],
    &["vault"],
    &["vault", "create"],
    &["vault", "status"],
    &["vault", "rotate"],
    &["market"],
    &["market", "list"],
    &["market", "show"],
    &["market", "preview"],
    &["market", "end"],
    &["market", "serve"],
    &["buy"],
    &["order"],
    &["order", "show"],
    &["order", "dispute"],
    &["order", "ack"],
    &["orders"],
    &["account"],
    &["account", "balance"],
    &["account", "history"],
    &["account", "statement"],
    &["account", "faucet"],
    &["account", "send"],
    &["node"],
    &["node", "run"],
    &["node", "status"],
    &["node", "earnings"],
    &["node", "doctor"],
    &["node", "scrub"],
    &["node", "limit"],
    &["ledger"],
    &["ledger", "run"],
    &["ledger", "found"],
    &["ledger", "mirror"],
    &["ledger", "doctor"],
    &["ledger", "status"],
    &["validator"],
    &["validator", "run"],
    &["validator", "join"],
    &["validator", "leave"],
    &["validator", "unstake"],
    &["validator", "send"],
    &["validator", "delegate"],
    &["validator", "undelegate"],
    &["validator", "list"],
    &["validator", "status"],
    &["gov"],
    &["gov", "propose"],
    &["gov", "vote"],
    &["gov", "list"],
    &["gov", "show"],
    &["status"],
    &["completions"],
];

#[test]
fn every_verb_has_help_with_an_example() {
    let home = tempfile::tempdir().unwrap();
    for verb in VERBS {
        let output = symbolon(home.path(), &[verb, &["--help"][..]].concat());
        assert_eq!(code(&output), 0, "{verb:?}");
        let text = stdout(&output);
        // The usage line names the verb too: it has to stand among the examples.
        let examples = text.split_once("\nExample").map_or("", |(_, examples)| examples);
        let shown = examples.contains(&format!("symbolon {}", verb.join(" ")));
        assert!(shown, "{verb:?} has no example:\n{text}");
        assert!(text.contains("--json") && text.contains("--home"), "{verb:?}");
        assert_eq!(stderr(&output), "", "{verb:?}");
    }
    assert!(!home.path().join("identities").exists(), "help makes nothing");
    let help = stdout(&symbolon(home.path(), &["--help"]));
    let listed = help.split_once("Commands:\n").and_then(|(_, rest)| rest.split_once("\n\n"));
    let lines = listed.expect("the help lists the commands").0.lines();
    let shown: BTreeSet<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    let known: BTreeSet<&str> = VERBS.iter().map(|verb| verb[0]).chain(["help"]).collect();
    assert_eq!(shown, known, "these are all commands");
}

#[test]
fn the_specification_has_every_verb_and_every_exit_code() {
    let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/cli.md");
    let spec = fs::read_to_string(spec).unwrap();
    for verb in VERBS {
        // Verbs that only hold others have no document of their own.
        if !["grant", "vault", "market", "order", "account", "node", "ledger", "validator", "gov"]
            .contains(&verb.join(" ").as_str())
        {
            let heading = format!("### `{}`", verb.join(" "));
            assert!(spec.contains(&heading), "spec/cli.md lacks {heading}");
        }
    }
    for number in (0..=17).chain([130, 141]) {
        assert!(spec.contains(&format!("| {number} | `")), "spec/cli.md lacks exit code {number}");
    }
}

/// A bad command line or a missing thing: arguments, exit code, what the error says.
const BAD: &[(&[&str], i32, &str)] = &[
    (&["frobnicate"], 2, "unrecognized subcommand 'frobnicate'"),
    (&["put"], 2, "required arguments were not provided"),
    (&["put", "-"], 2, "has no name of its own"),
    (&["put", "/nowhere/at/all"], 3, "there is no such file"),
    (&["put", "/"], 2, "has no name of its own"),
    (&["put", "Cargo.toml", "--for", "30"], 2, "say the unit"),
    (&["put", "Cargo.toml", "--for=-3d"], 2, "invalid value"),
    (&["put", "Cargo.toml", "--max-cost", "1e9"], 2, "invalid value"),
    (&["put", "-", "name", "--dry-run"], 2, "a dry run needs a file"),
    (&["get", "x", "--range", "9..3"], 2, "the range is empty"),
    (&["get", "@/nowhere"], 3, "there is no such file"),
    (&["get", "grant1qqqq"], 8, "not a grant"),
    (&["grant", "inspect", "hello"], 8, "not a grant"),
    (&["redeem", "symbolon://redeem/grant1qq#voucher1qq"], 2, "a voucher is a secret"),
    (&["share", "x"], 2, "required"),
    (&["share", "x", "--to", "y", "--voucher"], 2, "cannot be used with"),
    (&["share", "x", "--to", "stranger"], 3, "neither a recipient nor an identity"),
    (&["share", "x", "--to", "recipient1qqqq"], 8, "not a recipient"),
    (&["share", "x", "--to", "y", "--cells", "5..5"], 2, "the range is empty"),
    (&["share", "x", "--to", "y", "--may", "all"], 2, "invalid value"),
    (&["share", "x", "--to", "y", "--fresh", "soon"], 2, "a duration looks like"),
    (&["ls"], 3, "no network is known"),
    (&["ls", "--ledger", "ledger1nonsense"], 2, "ledger ticket"),
    (&["ls", "--ledger", "@/nowhere"], 3, "there is no such file"),
    (&["id"], 3, "there is no identity default"),
    (&["id", "--as", "../etc"], 2, "cannot be the name of an identity"),
    (&["init"], 14, "a passphrase is needed"),
    (&["down"], 3, "no network is running"),
    (&["node", "run", "--dir", "/tmp", "--capacity", "lots"], 2, "a size looks like"),
    (
        &["node", "run", "--dir", "/tmp", "--capacity", "1GiB", "--metrics", "0.0.0.0:1"],
        2,
        "of this machine",
    ),
    (&["ledger", "run", "--dir", "/nowhere/l", "--metrics", "10.0.0.1:1"], 2, "of this machine"),
    (&["node", "limit", "--dir", "/tmp", "--send", "1KiB"], 2, "the smallest rate is 16.0 KiB"),
    (&["node", "limit", "--dir", "/tmp", "--pause", "2-4"], 2, "times of a day look like"),
    (&["node", "limit", "--dir", "/nowhere"], 16, "no node is in /nowhere"),
    (&["node", "status", "--dir", "/nowhere"], 3, "no node has noted its state"),
    (&["up", "--nodes", "0"], 2, "invalid value"),
    (&["ledger", "run", "--dir", "/nowhere/l", "--claim-epochs", "0"], 2, "1..=1000"),
    (&["ledger", "run", "--dir", "/nowhere/l", "--claim-epochs", "1001"], 2, "1..=1000"),
    (&["gov", "propose", "params", "fee=1", "--why", "x"], 2, "there is no parameter fee"),
    (&["gov", "propose", "params", "quorum_bp=much", "--why", "x"], 2, "a percentage"),
    (&["gov", "vote", "1", "maybe"], 2, "invalid value"),
    (&["gov", "vote", "1", "yes", "--dir", "/nowhere"], 3, "has no validator"),
    (&["care", "--off"], 2, "say of which files"),
    (&["sell", "x", "--price", "free"], 2, "invalid value"),
    (&["demo", "/nowhere/at/all"], 3, "there is no such file"),
];

#[test]
fn bad_input_gives_its_exit_code_and_a_sentence() {
    for (args, expected, says) in BAD {
        let home = tempfile::tempdir().unwrap();
        let output = symbolon(home.path(), args);
        let text = stderr(&output);
        assert_eq!(code(&output), *expected, "{args:?}: {text}");
        assert!(text.contains(says), "{args:?} says:\n{text}");
        assert!(text.starts_with("error: "), "{args:?} says:\n{text}");
        assert_eq!(stdout(&output), "", "{args:?}: errors are not results");
    }
}

#[test]
fn with_json_there_is_exactly_one_document_whatever_happens() {
    for (args, expected, _) in BAD {
        let home = tempfile::tempdir().unwrap();
        let output = symbolon(home.path(), &[args, &["--json"][..]].concat());
        let text = stdout(&output);
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["error"]["exit_code"], *expected, "{args:?}: {json}");
        assert_eq!(code(&output), *expected, "{args:?}");
        assert!(json["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(json["error"]["kind"].is_string());
        assert_eq!(stderr(&output), "", "{args:?}: a program reads one place");
    }
}

#[test]
fn an_identity_is_made_once_kept_private_and_comes_back_from_its_words() {
    let home = tempfile::tempdir().unwrap();
    let made = symbolon(home.path(), &["init", "--no-passphrase", "--as", "ann", "--json"]);
    assert_eq!(code(&made), 0, "{}", stdout(&made));
    let made: Value = serde_json::from_str(&stdout(&made)).unwrap();
    let phrase = made["phrase"].as_str().unwrap();
    assert_eq!(phrase.split(' ').count(), 24);

    let again = symbolon(home.path(), &["init", "--no-passphrase", "--as", "ann"]);
    assert_eq!(code(&again), 4, "an identity is never written over");

    let id = symbolon(home.path(), &["id", "--json"]);
    let id: Value = serde_json::from_str(&stdout(&id)).unwrap();
    assert_eq!(id["name"], "ann", "the only one is the one that is meant");
    assert_eq!(id["recipient"], made["recipient"]);
    let quiet = symbolon(home.path(), &["id", "--quiet"]);
    assert_eq!(stdout(&quiet).trim(), made["recipient"]);

    let words = home.path().join("words");
    fs::write(&words, phrase).unwrap();
    let from = words.to_str().unwrap();
    let back = ["restore", "--as", "bob", "--from", from, "--no-passphrase", "--json"];
    let back = symbolon(home.path(), &back);
    let back: Value = serde_json::from_str(&stdout(&back)).unwrap();
    assert_eq!(back["account"], made["account"]);
    assert!(back.get("phrase").is_none(), "words are shown when they are made, and when asked for");

    fs::write(&words, phrase.replacen(' ', " zzz ", 1)).unwrap();
    let wrong = ["restore", "--as", "eve", "--from", from, "--no-passphrase"];
    let wrong = symbolon(home.path(), &wrong);
    assert_eq!(code(&wrong), 14);
    assert!(!stderr(&wrong).contains(phrase.split(' ').next().unwrap()), "errors hold no secret");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode();
        assert_eq!(mode("identities/ann/key") & 0o777, 0o600);
        assert_eq!(mode("identities/ann") & 0o777, 0o700);
    }
}

#[test]
fn a_passphrase_comes_from_a_file_and_a_wrong_one_opens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("passphrase");
    let run = |args: &[&str], passphrase: &str| {
        fs::write(&file, format!("{passphrase}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_symbolon"));
        command.env_clear().env("SYMBOLON_HOME", home.path().join("home"));
        command.env("SYMBOLON_PASSPHRASE_FILE", &file).args(args).stdin(Stdio::null());
        command.output().unwrap()
    };
    assert_eq!(code(&run(&["init"], "short")), 14);
    let made = run(&["init"], "correct horse battery");
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    assert_eq!(code(&run(&["id"], "correct horse battery")), 0);
    let wrong = run(&["id"], "correct horse bakery");
    assert_eq!(code(&wrong), 14);
    assert!(stderr(&wrong).contains("passphrase is wrong"), "{}", stderr(&wrong));
    let key = home.path().join("home/identities/default/key");
    let mut damaged = fs::read(&key).unwrap();
    damaged[40] ^= 1;
    fs::write(&key, damaged).unwrap();
    let wrong = run(&["id"], "correct horse battery");
    assert_eq!(code(&wrong), 14);
    assert!(stderr(&wrong).contains("damaged"), "a damaged file is not a wrong passphrase");
}

#[test]
fn completions_are_scripts_for_every_shell() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = symbolon(home.path(), &["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("symbolon"), "{shell}");
    }
    assert_eq!(code(&symbolon(home.path(), &["completions", "csh"])), 2);
}
