//! Grants: what they allow and to whom, and what is refused.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::{
    LONG, adds_up, belongings,
    common::{Done, Network, bytes, command, units, until, words},
    fails,
};

/// A file shared with others: what each of them gets.
struct Shared {
    network: Network,
    content: Vec<u8>,
}

impl Shared {
    /// Somebody tries a grant; what they get lies at the path.
    fn try_grant(&self, who: &str, grant: &str, range: &str) -> (Done, PathBuf) {
        let out = self.network.folder.path().join("out");
        fs::remove_file(&out).ok();
        let grant = self.grant(grant);
        let line = format!("get {grant} {range}-o {} --as {who}", out.display());
        (self.network.run(&line), out)
    }

    #[track_caller]
    fn gets(&self, who: &str, grant: &str) {
        let (done, out) = self.try_grant(who, grant, "");
        done.ok();
        assert!(fs::read(out).unwrap() == self.content, "{who} gets the file");
    }

    #[track_caller]
    fn gets_range(&self, who: &str, grant: &str, (from, to): (usize, usize)) {
        let (done, out) = self.try_grant(who, grant, &format!("--range {from}..{to} "));
        done.ok();
        assert!(fs::read(out).unwrap() == self.content[from..to], "{who} gets the range");
    }

    #[track_caller]
    fn refused(&self, who: &str, grant: &str, says: &str) {
        let (done, out) = self.try_grant(who, grant, "");
        fails(done, 5, says);
        assert!(!out.exists());
    }

    fn grant(&self, name: &str) -> String {
        format!("@{}", self.network.folder.path().join(name).display())
    }

    fn share(&self, to: &str, name: &str, limits: &str) -> Value {
        let path = self.network.folder.path().join(name).display().to_string();
        let line = format!("share data --to {to}{limits} -o {path} --as owner");
        self.network.run(&line).ok()
    }

    fn attenuate(&self, who: &str, from: &str, to: &str, name: &str, limits: &str) -> Done {
        let path = self.network.folder.path().join(name).display().to_string();
        let grant = self.grant(from);
        let line = format!("grant attenuate {grant} --to {to}{limits} -o {path} --as {who}");
        self.network.run(&line)
    }
}

/// People, and a file of the owner's that is stored.
fn stored(nodes: usize) -> Shared {
    let network = Network::start(nodes, LONG);
    for who in ["owner", "bob", "carol", "eve"] {
        network.identity(who);
    }
    let content = bytes(5_000_000, 3);
    let path = network.file("data", content.len(), 3);
    network.run(&format!("put {} --as owner --yes", path.display())).ok();
    Shared { network, content }
}

#[test]
fn every_limit_that_a_grant_can_have_is_set_and_kept_and_named() {
    let shared = stored(3);
    let caveats = |name: &str| {
        let found = shared.network.run(&format!("grant inspect {}", shared.grant(name))).ok();
        found["links"][0]["caveats"].clone()
    };
    let has = |name: &str, field: &str| {
        let all = caveats(name);
        all.as_array().unwrap().iter().find_map(|one| one.get(field).cloned()).unwrap()
    };
    // A refusal says by which limit.
    shared.share("bob", "verify", " --may verify");
    assert_eq!(has("verify", "abilities"), serde_json::json!(["verify"]));
    shared.refused("bob", "verify", "the grant says: may only verify");
    shared.share("bob", "reads", " --reads 1");
    shared.refused("bob", "reads", "the grant says: at most 1 reads on each node");
    shared.share("bob", "bytes", " --bytes 1KiB");
    shared.refused("bob", "bytes", "the grant says: at most 1024 bytes from each node");
    shared.share("bob", "later", " --from 2h");
    shared.refused("bob", "later", "the grant says: from 20");
    // Who has some cells is told how to fetch them.
    shared.share("bob", "cells", " --cells 2..4");
    let (done, _) = shared.try_grant("bob", "cells", "");
    let error = fails(done, 5, "only cells from 2 up to and without 4");
    assert_eq!(error["hint"], "fetch what the grant covers with: --range 131040..262080");
    shared.gets_range("bob", "cells", (131_040, 262_080));
    // A purpose is carried, and no node checks it.
    shared.share("bob", "purpose", " --purpose research");
    let hash = blake3::hash(b"research").to_hex().to_string();
    assert_eq!(has("purpose", "purpose"), hash);
    shared.gets("bob", "purpose");
    // A node's newest block is never so new, and always newer than a day.
    shared.share("bob", "fresh", " --fresh 1ms");
    let (done, _) = shared.try_grant("bob", "fresh", "");
    fails(
        done,
        7,
        "the grant says: refused by nodes whose last block of the ledger is older than 1 ms",
    );
    shared.share("bob", "daily", " --fresh 1d");
    shared.gets("bob", "daily");
    // A holder narrows it further, and cannot widen it.
    shared.attenuate("bob", "daily", "carol", "carols", " --may verify,read --reads 9").ok();
    shared.gets("carol", "carols");
    shared.attenuate("bob", "verify", "carol", "wider", " --may read,verify").ok();
    shared.refused("carol", "wider", "the grant says: may only verify");
}

#[test]
fn what_is_revoked_while_nodes_are_away_is_revoked_when_they_are_back() {
    let mut shared = stored(3);
    shared.share("bob", "kept", "");
    shared.share("bob", "ended", "");
    shared.gets("bob", "ended");
    for node in &mut shared.network.nodes {
        node.kill();
    }
    let ended = shared.grant("ended");
    shared.network.run(&format!("grant revoke {ended} --as owner")).ok();
    let home = shared.network.home();
    for node in &mut shared.network.nodes {
        node.kill_and_restart(&home);
    }
    until("the nodes are back", || shared.try_grant("bob", "kept", "").0.code == Some(0));
    // Not once do they serve it.
    shared.refused("bob", "ended", "was revoked");
    shared.gets("bob", "kept");
}

#[test]
fn the_owner_sees_who_read_what_and_no_one_else_does() {
    let mut shared = stored(3);
    shared.share("bob", "bobs", "");
    shared.attenuate("bob", "bobs", "carol", "carols", "").ok();
    shared.gets("bob", "bobs");
    shared.gets("carol", "carols");
    let log = |shared: &Shared, line: &str| {
        shared.network.run_until_ok(&format!("grant log {line} --as owner"))
    };
    let found = log(&shared, "data");
    let rows = found["rows"].as_array().unwrap().clone();
    let of = |who: &str| -> Vec<Value> {
        let peer = shared.network.run(&format!("id --as {who}")).ok()["access"].clone();
        rows.iter().filter(|row| row["reader"] == peer).cloned().collect()
    };
    let inspect = format!("grant inspect {}", shared.grant("carols"));
    let links = shared.network.run(&inspect).ok()["links"].clone();
    let [bobs, carols] = &[of("bob"), of("carol")].map(|rows| rows[0].clone());
    assert_eq!((&bobs["given"], &bobs["link"]), (&links[0]["link"], &links[0]["link"]));
    assert_eq!((&carols["given"], &carols["link"]), (&links[0]["link"], &links[1]["link"]));
    for row in [bobs, carols] {
        assert_eq!((&row["by"], &row["label"]), (&"grant".into(), &"given: data".into()), "{row}");
        // Every byte of the file comes from the shards.
        assert!(shared.content.len() as u64 <= row["bytes"].as_u64().unwrap(), "{row}");
        assert!(0 < row["reads"].as_u64().unwrap() && 0 < row["nodes"].as_u64().unwrap(), "{row}");
    }
    assert_eq!(found["told"].as_array().unwrap().len(), 3);
    assert_eq!(found["statements"].as_array().unwrap().len(), 3);
    assert!(found["silent"].as_array().unwrap().is_empty());
    // Under one grant, and under what was made from it.
    let under = |grant: &str| log(&shared, &shared.grant(grant))["rows"].as_array().unwrap().len();
    assert_eq!((under("bobs"), under("carols")), (2, 1));
    // Only who gave it may ask.
    let asked = |who: &str, what: &str| shared.network.run(&format!("grant log {what} --as {who}"));
    fails(asked("bob", &shared.grant("bobs")), 5, "nodes tell only the owner");
    fails(asked("bob", "data"), 3, "data");
    // A node that was restarted still knows it; one that is gone is named.
    let home = shared.network.home();
    shared.network.nodes[0].kill();
    shared.network.nodes[1].kill_and_restart(&home);
    until("two nodes tell", || {
        let found = log(&shared, "data");
        let (told, silent) =
            (found["told"].as_array().unwrap(), found["silent"].as_array().unwrap());
        (told.len(), silent.len()) == (2, 1)
    });
}

#[test]
fn a_grant_gives_what_it_says_to_whom_it_says_and_no_more() {
    let network = Network::start(3, LONG);
    for who in ["owner", "bob", "carol", "eve"] {
        network.identity(who);
    }
    // Two segments' worth would be slow; several slices of every shard are enough to be narrowed.
    let content = bytes(5_000_000, 3);
    let path = network.file("data", content.len(), 3);
    network.run(&format!("put {} --as owner --yes", path.display())).ok();
    let shared = Shared { network, content };
    let before = belongings(&shared.network, "owner");

    shared.share("bob", "whole", "");
    shared.gets("bob", "whole");
    shared.refused("eve", "whole", "bound to another key");
    fails(shared.attenuate("eve", "whole", "eve", "mine", ""), 5, "the grant cannot be used");
    assert!(!shared.network.folder.path().join("mine").exists());
    tampered(&shared);

    // Cells 0 and 1 are the first two of 65520 bytes each.
    shared.share("bob", "cells", " --cells 0..2");
    shared.gets_range("bob", "cells", (10, 2 * 65_520));
    shared.refused("bob", "cells", "the nodes refuse: the grant does not allow this");

    // A shard of this file takes three reads, one per slice.
    shared.share("bob", "reads", " --reads 3");
    shared.gets("bob", "reads");
    shared.refused("bob", "reads", "reads are used up");

    passed_on(&shared);

    shared.share("bob", "soon", " --until 1500ms");
    let inspect = format!("grant inspect {}", shared.grant("soon"));
    until("the grant has expired", || {
        let found = shared.network.run(&inspect).ok();
        assert_eq!(found["clock"], "ledger", "{found}");
        found["expired"] == true
    });
    // Where no ledger is known it says by whose clock instead, and where time plays no part, by none.
    let elsewhere = shared.network.folder.path().join("elsewhere");
    let clock = |line: &str| -> Value {
        let done = command(&elsewhere, &words(line)).output().unwrap();
        serde_json::from_slice::<Value>(&done.stdout).unwrap()["clock"].clone()
    };
    assert_eq!(clock(&inspect), "machine");
    assert_eq!(clock(&format!("grant inspect {}", shared.grant("cells"))), Value::Null);
    shared.refused("bob", "soon", "has expired");
    fails(shared.network.run("share data --to bob --until 2020-01-01 --as owner"), 2, "end before");

    revoked(&shared);
    shared.gets("bob", "cells2");
    // Sharing itself is free; so many grants no longer fit into the record that the ledger keeps for
    // nothing, and are stored like a small file.
    let after = belongings(&shared.network, "owner");
    assert_eq!(after.1, before.1);
    let room = before.0 - after.0;
    assert!(room < units("0.01"), "{room} units for the index");
}

/// One character is another one.
fn tampered(shared: &Shared) {
    let folder = shared.network.folder.path();
    let text = fs::read_to_string(folder.join("whole")).unwrap();
    let text = text.trim();
    let places = (0..text.len()).step_by(text.len() / 12).chain([text.len() - 1]);
    for place in places {
        let mut bad = text.as_bytes().to_vec();
        bad[place] = if bad[place] == b'q' { b'p' } else { b'q' };
        fs::write(folder.join("bad"), bad).unwrap();
        let (done, out) = shared.try_grant("bob", "bad", "");
        fails(done, 8, "this is not a grant");
        assert!(!out.exists());
    }
    fs::write(folder.join("bad"), &text[..text.len() - 7]).unwrap();
    fails(shared.try_grant("bob", "bad", "").0, 8, "this is not a grant");
}

/// A holder passes less on.
fn passed_on(shared: &Shared) {
    shared.attenuate("bob", "whole", "carol", "carols", " --cells 0..2").ok();
    shared.gets_range("carol", "carols", (0, 2 * 65_520));
    shared.refused("carol", "carols", "does not allow this");
    shared.refused("bob", "carols", "bound to another key");
    shared.refused("eve", "carols", "bound to another key");
    // More than one has is not to be had by asking for more.
    shared.attenuate("carol", "carols", "eve", "eves", " --cells 0..50").ok();
    shared.gets_range("eve", "eves", (0, 2 * 65_520));
    shared.refused("eve", "eves", "does not allow this");
    shared.share("bob", "once", " --pass-on 0");
    shared.gets("bob", "once");
    match shared.attenuate("bob", "once", "carol", "twice", "") {
        // Refused where it is made, or where it is used: never of any use.
        done if done.code == Some(0) => shared.refused("carol", "twice", ""),
        done => drop(fails(done, 5, "the grant cannot be used")),
    }
}

/// What was given is taken back, by who gave it.
fn revoked(shared: &Shared) {
    shared.share("bob", "cells2", "");
    let revoke = |who: &str, grant: &str| {
        shared.network.run(&format!("grant revoke {} --as {who}", shared.grant(grant)))
    };
    // A stranger's wish changes nothing, however it is put.
    fails(revoke("eve", "cells2"), 5, "only an identity that gave it or passed it on");
    let inspect = format!("grant inspect {}", shared.grant("cells2"));
    let link = shared.network.run(&inspect).ok()["links"][0]["link"].clone();
    shared.network.run(&format!("grant revoke {} --as eve", link.as_str().unwrap())).ok();
    fails(revoke("bob", "cells2"), 5, "only an identity that gave it or passed it on");
    shared.gets("bob", "cells2");
    fails(revoke("carol", "carols"), 5, "only an identity that gave it or passed it on");
    // Who passed it on takes it back with all that was made from it, and may say so twice.
    revoke("bob", "carols").ok();
    revoke("bob", "carols").ok();
    let carols = |grant: &str, who: &str| {
        until("the nodes know of it", || {
            let (done, out) = shared.try_grant(who, grant, "--range 0..100 ");
            if done.code == Some(0) {
                return false;
            }
            fails(done, 5, "was revoked");
            assert!(!out.exists());
            true
        });
    };
    carols("carols", "carol");
    carols("eves", "eve");
    shared.gets("bob", "whole");
    let inspect = format!("grant inspect {}", shared.grant("whole"));
    let link = shared.network.run(&inspect).ok()["links"][0]["link"].clone();
    shared.network.run(&format!("grant revoke {} --as owner", link.as_str().unwrap())).ok();
    carols("whole", "bob");
    adds_up(&shared.network);
}
