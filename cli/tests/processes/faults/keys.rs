//! Key files, passphrases and the recovery phrase.

use std::{fs, path::Path};

use super::{
    at,
    common::{Running, command, words},
    fails, field,
};

#[test]
fn a_key_that_does_not_open_says_so_and_words_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fails(at(&home, "id"), 3, "no identity default");
    fails(at(&home, "status"), 3, "");
    assert!(!home.exists(), "a look makes nothing");

    let made = at(&home, "init --as ann --no-passphrase").ok();
    let key = home.join("identities/ann/key");
    let good = fs::read(&key).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        fs::write(&key, bad).unwrap();
        let error = fails(at(&home, "id --as ann"), 14, "cannot open identity ann");
        assert!(field(&error, "hint").contains("restore"), "byte {place}: {error}");
    }
    for length in [0, 1, good.len() / 2, good.len() - 1] {
        fs::write(&key, &good[..length]).unwrap();
        fails(at(&home, "id --as ann"), 14, "cannot open identity ann");
    }
    fails(at(&home, "init --as ann --no-passphrase"), 4, "already exists");
    assert_eq!(
        fs::read(&key).unwrap().len(),
        good.len() - 1,
        "even a damaged key is not written over"
    );

    let phrase = folder.path().join("phrase");
    let restore = |text: &str, name: &str| {
        fs::write(&phrase, text).unwrap();
        let from = phrase.display();
        at(&home, &format!("restore --as {name} --from {from} --no-passphrase"))
    };
    let text = field(&made, "phrase");
    let back = restore(text, "back").ok();
    assert_eq!(back["account"], made["account"]);
    assert_eq!(back["recipient"], made["recipient"]);
    let (rest, last) = text.rsplit_once(' ').unwrap();
    let other = if last == "zoo" { "zone" } else { "zoo" };
    for wrong in ["", rest, &format!("{rest} {other}"), &format!("{text} {other}"), "\u{fffd}"] {
        fails(restore(wrong, "wrong"), 14, "not a recovery phrase");
    }
    assert!(!home.join("identities/wrong").exists(), "a wrong phrase leaves nothing behind");

    fs::write(home.join("network.json"), b"{\"version\":1,\"ledger\":\"ledger1").unwrap();
    fails(at(&home, "ls --as back"), 8, "network.json is damaged");
    fails(at(&key, "id"), 11, "");
}

#[test]
fn a_passphrase_that_is_wrong_opens_nothing_and_spoils_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let file = folder.path().join("passphrase");
    let run = |line: &str, passphrase: &Path| {
        let mut command = command(&home, &words(line));
        command.env("SYMBOLON_PASSPHRASE_FILE", passphrase);
        Running::start(command).finish()
    };
    fs::write(&file, "correct horse battery\nnot this line\n").unwrap();
    let made = run("init", &file).ok();
    let key = home.join("identities/default/key");
    let good = fs::read(&key).unwrap();
    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "correct horse batterY\n").unwrap();
    let error = fails(run("id", &wrong), 14, "passphrase is wrong");
    assert!(field(&error, "hint").contains("try again"), "{error}");
    fails(run("id", &folder.path().join("nowhere")), 3, "no such file");
    fails(run("id", folder.path()), 11, "it is a folder");
    fails(at(&home, "id"), 14, "a passphrase is needed");
    for place in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        fs::write(&key, bad).unwrap();
        fails(run("id", &file), 14, "cannot open identity default");
    }
    fs::write(&key, &good).unwrap();
    assert_eq!(run("id", &file).ok()["account"], made["account"]);
}
