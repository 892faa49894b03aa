//! The client as a library, against a real `symbolon up`: the examples of `symbolon-client` run, what its pages show is
//! one of them, and devices of one identity see each other's changes.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "processes/common/mod.rs"]
mod common;

#[expect(dead_code, reason = "its `main` is for those who run the example by itself")]
#[path = "../../client/examples/range.rs"]
mod range;
#[expect(dead_code, reason = "its `main` is for those who run the example by itself")]
#[path = "../../client/examples/share.rs"]
mod share;
#[expect(dead_code, reason = "its `main` is for those who run the example by itself")]
#[path = "../../client/examples/stream.rs"]
mod stream;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Child,
};

use common::{command, words};
use serde_json::Value;
use symbolon_client::{
    Client, Identity, LedgerTicket, Name, Pattern, Phrase, Progress, PutOptions, Readable, Replace,
    Source,
};
use tempfile::TempDir;

/// A running network; killed when dropped.
struct Up {
    child: Child,
    ticket: String,
    folder: TempDir,
}

impl Up {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(&folder.path().join("home"), &words("up --nodes 3 --epoch 1m"));
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect(&line);
        let ticket = ready["ticket"].as_str().unwrap().to_owned();
        Self { child, ticket, folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn connect(&self, number: u8, dir: &str) -> Client {
        let ticket: LedgerTicket = self.ticket.parse().unwrap();
        Client::connect(&ticket, person(number), self.path(dir)).await.unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn person(number: u8) -> Identity {
    Identity::from_phrase(&Phrase::from_entropy(&[number; 32]))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_do_what_they_say() {
    let up = Up::start();
    share::share(&up.ticket, &up.path("share"), [person(1), person(2)]).await.unwrap();
    assert_eq!(fs::read(up.path("share/copy.txt")).unwrap(), b"Hello from far away");
    let read = range::range(&up.ticket, &up.path("range"), person(3)).await.unwrap();
    assert_eq!(read, ["line 12345\n", "line 19999\n"]);
    let text = stream::stream(&up.ticket, &up.path("stream"), person(4)).await.unwrap();
    let expected: String = (0..30_000).map(|number| format!("event {number}\n")).collect();
    assert!(text == expected, "{} bytes came back of {}", text.len(), expected.len());
}

/// The function of an example, as it stands in the text.
fn program(text: &str) -> String {
    let start = text.find("async fn share").unwrap();
    let end = start + text[start..].find("\n}").unwrap() + 2;
    text[start..end].to_owned()
}

#[test]
fn what_the_pages_show_is_the_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let example = program(&read("client/examples/share.rs"));
    assert!(example.lines().count() <= 20, "it is a short program");
    assert_eq!(program(&read("README.md")), example);
    let lib = read("client/src/lib.rs");
    let shown: Vec<_> = lib.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let shown: Vec<_> = shown.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    assert_eq!(program(&shown.join("\n")), example);
}

async fn put(client: &Client, name: &Name, text: &str) {
    let options = PutOptions { replace: Replace::Overwrite, ..PutOptions::default() };
    let source = Source::from(text.as_bytes().to_vec());
    client.put(source, name, &options, &Progress::silent()).await.unwrap();
}

async fn read(client: &Client, name: &Name) -> Vec<u8> {
    let reader = client.open(&Readable::from(name), &Progress::silent()).await.unwrap();
    reader.read_at(0, u64::MAX).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_see_each_others_changes_without_being_asked_to() {
    let up = Up::start();
    let (desk, phone) = (up.connect(5, "desk").await, up.connect(5, "phone").await);
    desk.faucet().await.unwrap();
    let (notes, moved) = (Name::new("notes.txt").unwrap(), Name::new("old/notes.txt").unwrap());
    put(&desk, &notes, "first").await;
    assert_eq!(read(&phone, &notes).await, b"first");
    put(&phone, &notes, "second").await;
    assert_eq!(read(&desk, &notes).await, b"second");
    phone.rename(&notes, &moved).await.unwrap();
    assert!(!desk.is_file(&notes).await.unwrap());
    let all = desk.names(Some(&Pattern::whole(b"old/*")), false).await.unwrap();
    assert_eq!(all.iter().map(|view| &view.name).collect::<Vec<_>>(), [&moved]);
    desk.remove(std::slice::from_ref(&moved), false, &Progress::silent()).await.unwrap();
    assert!(!phone.is_there(&moved).await.unwrap());
    let mut walk = phone.walk_names(None);
    assert!(walk.next().await.unwrap().is_none());
}

/// A command of the home that this process has open as well.
async fn runs(up: &Up, line: &str) -> Value {
    let command = tokio::process::Command::from(plain_json(up, line)).output().await.unwrap();
    let said = String::from_utf8_lossy(&command.stderr).into_owned();
    assert!(command.status.success(), "{line}: {said}");
    serde_json::from_slice(&command.stdout).unwrap()
}

fn plain_json(up: &Up, line: &str) -> std::process::Command {
    command(&up.path("home"), &words(line))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_stays_and_commands_of_one_home_do_not_lock_each_other_out() {
    let up = Up::start();
    let phrase = runs(&up, "id --phrase").await["phrase"].as_str().unwrap().to_owned();
    let account = runs(&up, "id").await["name"].as_str().unwrap().to_owned();
    let ticket: LedgerTicket = up.ticket.parse().unwrap();
    let identity = Identity::from_phrase(&Phrase::parse(&phrase).unwrap());
    let dir = up.path("home").join("identities").join(account);
    let stays = Client::connect(&ticket, identity, dir).await.unwrap();
    let kept = Name::new("kept.txt").unwrap();
    put(&stays, &kept, "of the program").await;
    fs::write(up.path("file"), "of a command").unwrap();
    let file = up.path("file").display().to_string();
    // The program never pauses as long as the commands run, and never closes its index.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let busy = tokio::spawn({
        let (stays, mut stopped) = (stays.clone(), stopped);
        async move {
            let names = ["busy a", "busy b"].map(|name| Name::new(name).unwrap());
            put(&stays, &names[0], "busy").await;
            let mut rounds = 0_usize;
            while stopped.try_recv().is_err() {
                let (from, to) = (&names[rounds % 2], &names[(rounds + 1) % 2]);
                stays.rename(from, to).await.unwrap();
                rounds += 1;
            }
            rounds
        }
    });
    for number in 0..3 {
        runs(&up, &format!("put {file} command{number} --yes")).await;
        runs(&up, &format!("mv command{number} moved{number}")).await;
        let stat = runs(&up, "stat kept.txt").await;
        assert_eq!(stat["name"], "kept.txt");
        let moved = Name::new(format!("moved{number}")).unwrap();
        assert_eq!(read(&stays, &moved).await, b"of a command");
    }
    runs(&up, "rm moved0 --yes").await;
    stop.send(()).unwrap();
    let rounds = busy.await.unwrap();
    assert!(rounds > 0, "the program did something meanwhile");
    let listed = runs(&up, "ls").await;
    let mut names: Vec<_> =
        listed["files"].as_array().unwrap().iter().map(|file| file["name"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    let own = if rounds % 2 == 0 { "busy a" } else { "busy b" };
    assert_eq!(names, [own, "kept.txt", "moved1", "moved2"]);
}
