//! Files of every size, ranges, holes, and files that change while they are stored.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use rustix::process::Signal;

use super::{
    LONG, adds_up, belongings,
    common::{Network, bytes, moves, units},
    fails, field, piped,
};

#[test]
fn files_come_back_whatever_their_size_and_are_paid_once() {
    let network = Network::start(5, LONG);
    network.identity("owner");
    let lengths = [0, 1, 65_519, 65_520, 65_521, (1 << 20) + 1];
    for (seed, length) in (0..).zip(lengths) {
        let wanted = bytes(length, seed);
        let put = piped(&network, &format!("put - stream{length} --as owner --yes"), &wanted);
        assert_eq!(put.code, Some(0), "{}", put.error);
        let got = piped(&network, &format!("get stream{length} -o - --as owner"), b"");
        assert_eq!(got.code, Some(0), "{}", got.error);
        assert!(got.out == wanted, "{length} bytes come back, {} did", got.out.len());
    }
    let part = piped(&network, "get stream65521 -o - --range 65519.. --as owner", b"");
    assert_eq!(part.out, &bytes(65_521, 4)[65_519..]);

    // The same thing twice.
    let path = network.file("data", 100_000, 9);
    let line = format!("put {} --as owner --yes", path.display());
    let quote = network.run(&format!("{line} --dry-run")).ok();
    let poor = network.balance("owner");
    let put = network.run(&line).ok();
    let (paid, list) = belongings(&network, "owner");
    assert_eq!(poor - paid, units(field(&put, "cost")));
    assert_eq!(put["cost"], quote["cost"]["total"], "what was said is what was paid");
    assert_eq!(network.run(&line).ok()["outcome"], "already");
    let again = piped(&network, "put - data --as owner --yes --json", b"something else");
    fails(again, 4, "\"data\" already exists");
    fs::write(&path, b"another").unwrap();
    fails(network.run(&line), 4, "already exists");
    assert_eq!(belongings(&network, "owner"), (paid, list.clone()));

    no_such_thing(&network);
    let late = network.run(&format!("{line} --max-cost 0.000000001 --replace"));
    fails(late, 2, "more than the 0.000000001 allowed");
    assert_eq!(belongings(&network, "owner"), (paid, list));

    // A put that is killed before it has read anything stores and pays nothing.
    let waiting = network.spawn(&format!("put {} killed --as owner --yes", path.display()));
    waiting.kill();
    assert_eq!(network.run("rm killed --as owner --yes").code, Some(3));

    let copy = network.folder.path().join("copy");
    let line = format!("get data -o {} --as owner", copy.display());
    for (run, outcome) in ["fetched", "already"].into_iter().enumerate() {
        let got = network.run(&line).ok();
        assert_eq!(got["outcome"], outcome, "run {run}: {got}");
    }
    // One byte is another: what is there is not what is stored, and stays.
    let mut other = bytes(100_000, 9);
    other[99_999] ^= 1;
    fs::write(&copy, &other).unwrap();
    fails(network.run(&line), 4, "already exists");
    assert!(fs::read(&copy).unwrap() == other);

    // What was not used comes back.
    fails(network.run("rm data --as owner"), 2, "nothing was done");
    let gone = network.run("rm data --as owner --yes").ok();
    let refunded = units(field(&gone, "refunded"));
    assert_eq!(network.balance("owner"), paid + refunded);
    let parts = ["storage", "reserve"].map(|part| units(field(&quote["cost"], part)));
    let epochs = u128::from(quote["epochs"].as_u64().unwrap());
    let first = parts[0] / epochs;
    assert_eq!(refunded, parts[0] + parts[1] - first, "all but the fee and one epoch");
    fails(network.run("get data -o nowhere --as owner"), 3, "no file named \"data\"");
    fails(network.run("rm data --as owner --yes"), 3, "no file named");
    adds_up(&network);
}

/// Names and paths that lead nowhere.
fn no_such_thing(network: &Network) {
    let folder = network.folder.path().display().to_string();
    for verb in ["get nothing -o x", "stat nothing", "verify nothing", "rm nothing --yes"] {
        fails(network.run(&format!("{verb} --as owner")), 3, "no file named \"nothing\"");
    }
    let to = "--to owner";
    fails(network.run(&format!("share nothing {to} --as owner")), 3, "no file named");
    fails(network.run("sell nothing --price 1 --as owner --yes"), 3, "no file named");
    fails(network.run("account --as absent"), 3, "no identity absent");
    fails(network.run(&format!("put {folder}/nothing --as owner")), 3, "no such file");
    fails(network.run(&format!("get data -o {folder}/no/where --as owner")), 3, "no/where");
    let there = network.file("there", 3, 1);
    let line = format!("get data -o {} --as owner", there.display());
    fails(network.run(&line), 4, "already exists");
    assert_eq!(fs::read(&there).unwrap(), bytes(3, 1), "nothing is written over unasked");
    fails(network.run("get data -o y --range 5..100001 --as owner"), 2, "outside the file");
    fails(network.run("get data -o - --as owner"), 2, "stdout");
    for left in ["x", "y"] {
        assert!(!Path::new(left).exists());
    }
}

#[test]
fn a_sparse_file_comes_back_with_its_holes_as_zeros() {
    let network = Network::start(3, LONG);
    network.identity("owner");
    let path = network.folder.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(9_000_001).unwrap();
    file.write_all_at(b"in the middle", 4_321_000).unwrap();
    network.run(&format!("put {} sparse --for 2h --as owner --yes", path.display())).ok();
    let out = network.folder.path().join("out");
    network.run(&format!("get sparse -o {} --as owner", out.display())).ok();
    assert!(fs::read(&out).unwrap() == fs::read(&path).unwrap());
}

#[test]
fn a_file_that_changes_while_it_is_stored_is_refused() {
    let length = 60_000_000;
    let network = Network::start(3, LONG);
    network.identity("owner");
    let path = network.file("file", length, 3);
    let line = format!("put {} file --for 2h --as owner --yes", path.display());
    let rich = network.balance("owner");
    let changes: [fn(&fs::File) -> std::io::Result<()>; 3] = [
        |file| file.set_len(1_000_000),
        |file| file.write_all_at(b"other bytes", 40_000_000),
        |file| file.write_all_at(b"and more", 60_000_000),
    ];
    for change in changes {
        fs::write(&path, bytes(length, 3)).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let mut put = network.watched(&line);
        put.wait_for(|event| {
            let half = event["total"].as_u64().map(|total| total / 2);
            assert!(event["done"].as_u64() <= half, "too late to change it: {event}");
            moves(event)
        });
        put.signal(Signal::STOP);
        change(&file).unwrap();
        put.signal(Signal::CONT);
        let (done, _) = put.finish();
        let error = fails(done, 8, "changed while it was being stored");
        assert!(field(&error, "hint").contains("when no program writes"), "{error}");
        assert_eq!(network.run("ls --as owner").ok()["files"], serde_json::json!([]));
    }
    let quote = network.run(&format!("{line} --dry-run")).ok();
    let stored = network.run(&line).ok();
    let out = network.folder.path().join("out");
    network.run(&format!("get file -o {} --as owner", out.display())).ok();
    assert!(fs::read(&out).unwrap() == fs::read(&path).unwrap());
    // Where all was sent before the change was seen a deal was paid: it is let go, and costs the fee.
    let lost = rich - network.balance("owner") - units(field(&stored, "cost"));
    assert!(lost <= 2 * units(field(&quote["cost"], "fee")), "{lost} lost: {quote}");
    adds_up(&network);
}
