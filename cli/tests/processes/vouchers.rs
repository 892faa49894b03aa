//! Vouchers, with real processes: a person without an identity redeems one and reads; all others do not.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::common::{Done, Hits, Network, Running, bytes, command, fails, plain, until, words};

struct World {
    network: Network,
    content: Vec<u8>,
}

/// An owner, and a file that is stored.
fn world() -> World {
    let network = Network::start(3, "1h");
    network.identity("owner");
    let content = bytes(300_000, 7);
    let path = network.file("data", content.len(), 7);
    network.run(&format!("put {} --for 20h --as owner --yes", path.display())).ok();
    World { network, content }
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.network.folder.path().join(name)
    }

    /// Makes a voucher, in a file of this name.
    fn voucher(&self, name: &str, more: &str) -> Value {
        let path = self.path(name).display().to_string();
        let line = format!("share data --voucher{more} -o {path} --as owner --yes");
        self.network.run(&line).ok()
    }

    fn redeem_line(&self, voucher: &str, grant: &str) -> String {
        let (voucher, grant) = (self.path(voucher), self.path(grant));
        let ticket = &self.network.ticket;
        format!(
            "redeem @{} -o {} --ledger {ticket} --no-passphrase",
            voucher.display(),
            grant.display()
        )
    }

    /// Somebody in a home of their own, which may be empty.
    fn redeems(&self, home: &str, voucher: &str, grant: &str) -> Done {
        at(&self.path(home), &self.redeem_line(voucher, grant))
    }

    fn gets(&self, home: &str, grant: &str) -> Done {
        let out = self.path("out");
        fs::remove_file(&out).ok();
        let grant = self.path(grant);
        at(&self.path(home), &format!("get @{} -o {}", grant.display(), out.display()))
    }

    #[track_caller]
    fn has_it(&self, home: &str, grant: &str) {
        self.gets(home, grant).ok();
        assert!(fs::read(self.path("out")).unwrap() == self.content, "{home}");
    }

    /// What became of the voucher whose grant this is, as its owner sees it.
    fn state(&self, grant: &Value) -> Value {
        let list = self.network.run("grant ls --as owner").ok();
        let grants = list["grants"].as_array().unwrap();
        grants.iter().find(|one| one["grant"] == *grant).unwrap()["voucher"].clone()
    }
}

fn at(home: &Path, line: &str) -> Done {
    Running::start(command(home, &words(line))).finish()
}

#[test]
fn a_person_without_an_identity_redeems_a_voucher_and_others_do_not() {
    let world = world();
    let given = world.voucher("voucher", " --until 2h");
    assert_eq!(given["voucher"], Value::Null, "it is in the file");
    assert_eq!(world.state(&given["grant"]), "open");
    let text = fs::read_to_string(world.path("voucher")).unwrap();
    let secret = text.trim().split_once('#').unwrap().1.to_owned();
    not_in_a_command(&world, text.trim(), &secret);
    mangled(&world, text.trim());
    fails(world.gets("home", "voucher"), 5, "allows nothing before it is redeemed");

    // Bob has nothing at all.
    let redeemed = world.redeems("bob", "voucher", "grant").ok();
    assert_eq!((&redeemed["made"], &redeemed["name"]), (&true.into(), &"default".into()));
    world.has_it("bob", "grant");
    assert_eq!(world.state(&given["grant"])["redeemed_by"], redeemed["holder"]);
    // Once more: the same grant, and the same person.
    let first = fs::read(world.path("grant")).unwrap();
    let again = world.redeems("bob", "voucher", "grant").ok();
    assert_eq!((&again["made"], &again["holder"]), (&false.into(), &redeemed["holder"]));
    assert!(fs::read(world.path("grant")).unwrap() == first);

    // Eve finds the text later.
    fails(world.redeems("eve", "voucher", "eves"), 5, "somebody else has redeemed it");
    assert!(!world.path("eves").exists());
    fails(world.gets("eve", "grant"), 5, "bound to another key");
    // What it gave Bob is a grant like any other.
    let carol = at(
        &world.path("carol"),
        &format!("init --no-passphrase --ledger {}", world.network.ticket),
    );
    let to = carol.ok()["recipient"].as_str().unwrap().to_owned();
    let (grant, passed) = (world.path("grant"), world.path("carols"));
    let line = format!("grant attenuate @{} --to {to} -o {}", grant.display(), passed.display());
    at(&world.path("bob"), &line).ok();
    world.has_it("carol", "carols");

    let revoke = format!("grant revoke @{} --as owner", world.path("voucher").display());
    world.network.run(&revoke).ok();
    until("the nodes know of it", || {
        let done = world.gets("bob", "grant");
        done.code != Some(0) && {
            fails(done, 5, "was revoked");
            true
        }
    });
    fails(world.gets("carol", "carols"), 5, "was revoked");
    fails(world.redeems("bob", "voucher", "grant"), 5, "it was revoked");
}

/// A voucher in the arguments is refused, and not repeated.
fn not_in_a_command(world: &World, text: &str, secret: &str) {
    let ticket = &world.network.ticket;
    for line in [
        format!("redeem {text} --ledger {ticket}"),
        format!("grant inspect {text}"),
        format!("grant revoke {text} --as owner"),
    ] {
        let done = at(&world.path("none-yet"), &line);
        assert!(!String::from_utf8_lossy(&done.out).contains(secret));
        assert!(!done.error.contains(secret), "{}", done.error);
        fails(done, 2, "a voucher is a secret");
    }
    assert!(!world.path("none-yet/identities").exists());
    let inspect = format!("grant inspect @{}", world.path("voucher").display());
    let found = world.network.run(&inspect).ok();
    let caveats = found["links"][0]["caveats"].as_array().unwrap();
    assert!(caveats.iter().any(|caveat| caveat["once_until_ms"].is_u64()), "{found}");
    assert!(!found.to_string().contains(secret));
}

/// What is no voucher, or not copied whole.
fn mangled(world: &World, text: &str) {
    let (front, secret) = text.split_once('#').unwrap();
    let grant = front.rsplit('/').next().unwrap();
    let last = if secret.ends_with('q') { 'p' } else { 'q' };
    for bad in [
        &text[..text.len() - 3],
        front,
        grant,
        secret,
        "hello",
        format!("{front}x#{secret}").as_str(),
        format!("{front}#{}{last}", &secret[..secret.len() - 1]).as_str(),
    ] {
        fs::write(world.path("bad"), bad).unwrap();
        fails(world.redeems("none-yet", "bad", "none"), 8, "this is not a voucher");
    }
    assert!(!world.path("none").exists() && !world.path("none-yet/identities").exists());
}

#[test]
fn a_voucher_ends_by_itself_and_folders_have_them_too() {
    let world = world();
    let voucher = world.voucher("soon", " --until 1500ms");
    until("it has ended", || {
        let list = world.network.run("grant ls --as owner").ok();
        let grants = list["grants"].as_array().unwrap().clone();
        grants.iter().any(|one| one["grant"] == voucher["grant"] && one["expired"] == true)
    });
    fails(world.redeems("late", "soon", "none"), 5, "it ended at");
    // Not for longer than the file is stored.
    let line = "share data --voucher --as owner --yes";
    fails(world.network.run(line), 2, "");
    fails(
        world.network.run("share data --voucher --to owner --as owner"),
        2,
        "cannot be used with",
    );

    // A folder, from stdin, with a passphrase.
    let tree = world.path("tree");
    fs::create_dir_all(&tree).unwrap();
    world.network.file("tree/one", 5_000, 1);
    world.network.file("tree/two", 6_000, 2);
    world.network.run(&format!("put {} --for 20h --as owner --yes", tree.display())).ok();
    let given = world.network.run("share tree --voucher --until 2h --as owner --yes").ok();
    assert_eq!(given["files"], 2);
    let text = given["voucher"].as_str().unwrap().to_owned();
    let (home, ticket) = (world.path("folders"), &world.network.ticket);
    fs::write(world.path("pass"), "a few good words\n").unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeding = std::thread::spawn(move || writer.write_all(text.as_bytes()).ok());
    let mut command = plain(&home, &words(&format!("redeem - --ledger {ticket}")));
    command.stdin(reader).env("SYMBOLON_PASSPHRASE_FILE", world.path("pass"));
    let done = Running::start(command).finish();
    feeding.join().unwrap();
    assert_eq!(done.code, Some(0), "{}", done.error);
    assert!(done.error.contains("symbolon id --phrase"), "{}", done.error);
    fs::write(world.path("grant"), done.out).unwrap();
    let (grant, out) = (world.path("grant"), world.path("copies"));
    let line = format!("get @{} -o {}", grant.display(), out.display());
    let mut command = command_of(&home, &line);
    command.env("SYMBOLON_PASSPHRASE_FILE", world.path("pass"));
    Running::start(command).finish().ok();
    let same = |name: &str| fs::read(out.join(name)).ok() == fs::read(tree.join(name)).ok();
    assert!(same("one") && same("two"));
}

fn command_of(home: &Path, line: &str) -> std::process::Command {
    command(home, &words(line))
}

/// At any moment the command may be killed: the same command again comes to the same end.
#[test]
fn a_redemption_that_is_killed_goes_on() {
    const PARTS: u32 = 6;
    let world = world();
    let vouchers = (0..=PARTS).map(|part| world.voucher(&format!("voucher{part}"), " --until 2h"));
    let vouchers: Vec<_> = vouchers.collect();
    let started = Instant::now();
    world.redeems("first", "voucher0", "grant0").ok();
    let time: Duration = started.elapsed();
    let mut hits = Hits::default();
    for part in 1..=PARTS {
        let (home, grant) = (format!("home{part}"), format!("grant{part}"));
        let line = world.redeem_line(&format!("voucher{part}"), &grant);
        let mut running = Running::start(command(&world.path(&home), &words(&line)));
        running.reaches(time * part / PARTS * 9 / 10, &mut hits);
        running.kill();
        let redeemed = at(&world.path(&home), &line).ok();
        world.has_it(&home, &grant);
        let holder = &redeemed["holder"];
        let given = &vouchers[usize::try_from(part).unwrap()]["grant"];
        assert_eq!(world.state(given)["redeemed_by"], *holder);
        let list = at(&world.path(&home), "grant ls").ok();
        assert_eq!(list["grants"].as_array().unwrap().len(), 1, "{list}");
    }
    hits.are_some();
}
