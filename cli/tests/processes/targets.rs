//! Sources and targets of every kind: devices stay devices, pipes are pipes, a missing path
//! has one code, and nothing is paid for what cannot be written.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::Read as _,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::common::{Done, Network, Running, bytes, command, plain, words};
use rustix::{
    fs::{CWD, FileType, Mode, makedev, mkfifoat, mknodat},
    process::geteuid,
};
use serde_json::Value;

const RW: Mode = Mode::RUSR.union(Mode::WUSR);

/// The user without any rights, uid 65534.
const UNPRIVILEGED: u32 = 65_534;

fn fifo(path: &Path) {
    mkfifoat(CWD, path, RW).unwrap();
}

/// Reads a pipe to its end, as soon as a process writes to it.
fn reading(path: &Path) -> std::thread::JoinHandle<Vec<u8>> {
    let path = path.to_owned();
    std::thread::spawn(move || fs::read(path).unwrap())
}

fn error(done: &Done) -> Value {
    let json: Value = serde_json::from_slice(&done.out).unwrap();
    json["error"].clone()
}

#[track_caller]
fn fails(done: &Done, code: i32, says: &str) {
    assert_eq!(done.code, Some(code), "{}{}", String::from_utf8_lossy(&done.out), done.error);
    let message = error(done)["message"].as_str().unwrap().to_owned();
    assert!(message.contains(says), "{message:?} does not say {says:?}");
}

/// A network with a file of 200,000 bytes, called `file`.
fn with_file() -> (Network, Vec<u8>) {
    let network = Network::start(3, "1h");
    network.identity("default");
    let path = network.file("file", 200_000, 1);
    network.run(&format!("put {}", path.display())).ok();
    (network, bytes(200_000, 1))
}

#[test]
fn what_is_no_file_is_written_into_and_never_replaced() {
    let (network, content) = with_file();
    let pipe = network.folder.path().join("pipe");
    fifo(&pipe);
    for more in ["", " --replace", " --range 0..200000"] {
        let reader = reading(&pipe);
        network.run(&format!("get file -o {}{more}", pipe.display())).ok();
        assert_eq!(reader.join().unwrap(), content);
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    }
    let reader = reading(&pipe);
    network.run(&format!("share file --to default -o {}", pipe.display())).ok();
    assert!(reader.join().unwrap().starts_with(b"grant1"));
    let listing = network.run("sell file --price 1").ok()["listing"].as_str().unwrap().to_owned();
    network.identity("bob");
    let reader = reading(&pipe);
    network.run(&format!("buy {listing} --as bob -o {} --replace", pipe.display())).ok();
    assert_eq!(reader.join().unwrap(), content);
    // Through a link into it nothing is written; the link is what is replaced.
    let link = network.folder.path().join("link");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    fails(&network.run(&format!("get file -o {}", link.display())), 4, "exists");
    network.run(&format!("get file -o {} --replace", link.display())).ok();
    assert_eq!(fs::read(&link).unwrap(), content);
    assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    // Devices, where this user may make some.
    let (null, disk) = (network.folder.path().join("null"), network.folder.path().join("disk"));
    if mknodat(CWD, &null, FileType::CharacterDevice, RW, makedev(1, 3)).is_ok() {
        network.run(&format!("get file -o {} --replace", null.display())).ok();
        assert!(null.symlink_metadata().unwrap().file_type().is_char_device());
        mknodat(CWD, &disk, FileType::BlockDevice, RW, makedev(259, 1_000)).unwrap();
        fails(&network.run(&format!("get file -o {} --replace", disk.display())), 2, "is a disk");
        assert!(disk.symlink_metadata().unwrap().file_type().is_block_device());
    }
}

#[test]
fn in_a_folder_what_is_no_file_stays_and_is_named() {
    let network = Network::start(3, "1h");
    network.identity("default");
    let many = network.folder.path().join("many");
    fs::create_dir(&many).unwrap();
    for name in ["many/pipe", "many/link", "many/other"] {
        network.file(name, 2_000, 1);
    }
    fs::remove_file(many.join("link")).unwrap();
    std::os::unix::fs::symlink("other", many.join("link")).unwrap();
    network.run(&format!("put {}", many.display())).ok();
    let back = network.folder.path().join("back");
    fs::create_dir(&back).unwrap();
    fifo(&back.join("pipe"));
    fifo(&back.join("link"));
    for line in ["get many --replace -o", "sync --delete --yes :many"] {
        let done = network.run(&format!("{line} {}", back.display()));
        assert_eq!(done.code, Some(15), "{}", String::from_utf8_lossy(&done.out));
        let faults = error(&done)["details"]["faults"].as_array().unwrap().clone();
        let paths: Vec<_> = faults.iter().map(|fault| fault["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["link", "pipe"]);
        assert_eq!(fs::read(back.join("other")).unwrap(), bytes(2_000, 1));
        for name in ["pipe", "link"] {
            assert!(back.join(name).symlink_metadata().unwrap().file_type().is_fifo());
        }
    }
}

#[test]
fn what_has_no_end_or_no_beginning_is_not_stored_by_its_path() {
    let (network, content) = with_file();
    let pipe = network.folder.path().join("pipe");
    fifo(&pipe);
    for path in [pipe.to_str().unwrap(), "/dev/zero", "/dev/null"] {
        fails(&network.run(&format!("put {path} name")), 2, "is a pipe, socket or device");
    }
    for name in ["-", "/dev/stdin", "/dev/fd/0"] {
        let mut put = command(&network.home(), &words(&format!("put {name} from-stdin --replace")));
        put.stdin(File::open(network.folder.path().join("file")).unwrap());
        Running::start(put).finish().ok();
        let copy = network.folder.path().join("copy").display().to_string();
        network.run(&format!("get from-stdin --replace -o {copy}")).ok();
        assert_eq!(fs::read(copy).unwrap(), content);
    }
    let mut unnamed = command(&network.home(), &words("put /dev/stdin"));
    unnamed.stdin(Stdio::null());
    fails(&Running::start(unnamed).finish(), 2, "no name");
}

#[test]
fn a_full_device_and_a_closed_pipe_are_what_they_are() {
    let (network, content) = with_file();
    let home = network.home();
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let into = |line: &str, out: Stdio| {
        let mut command = plain(&home, &words(line));
        let output = command.stdout(out).stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for line in [
        "get file -o -",
        "get file -o /dev/stdout",
        "ls",
        "id --json",
        "--help",
        "ls --help",
        "completions bash",
        "--version",
    ] {
        let (code, said) = into(line, full());
        assert_eq!(code, Some(12), "{line}: {said}");
        assert!(said.contains("full") || line.contains("json"), "{line}: {said}");
    }
    assert_eq!(into("get file -o /dev/full", Stdio::null()).0, Some(12));
    // Who stops reading has seen enough.
    for (line, ends) in
        [("get file -o -", 141), ("get file -o /dev/stdout", 141), ("ls", 0), ("--help", 0)]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(
            into(&format!("{line} --quiet"), writer.into()),
            (Some(ends), String::new()),
            "{line}"
        );
    }
    // By its other name standard output is the same.
    let mut get = plain(&home, &words("get file -o /dev/stdout"));
    let mut child = get.spawn().unwrap();
    let mut read = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut read).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(read, content);
}

#[test]
fn a_missing_path_has_one_code_everywhere() {
    let (network, _) = with_file();
    let listing = network.run("sell file --price 1").ok()["listing"].as_str().unwrap().to_owned();
    network.identity("bob");
    let money = network.balance("bob");
    let none = network.folder.path().join("none").display().to_string();
    for line in [
        "put NONE",
        "put NONE --dry-run",
        "put NONE/NONE",
        "sync NONE :many",
        "sync NONE :many --delete --yes",
        "get file -o NONE/x",
        "get @NONE -o x",
        "share file --to default -o NONE/x",
        "share file --to @NONE",
        "grant inspect @NONE",
        "restore --as new --no-passphrase --from NONE",
        "sell file --price 1 --description @NONE",
        "account send @NONE 1",
        "ledger status --ledger @NONE",
        "demo NONE",
        &format!("buy {listing} --as bob -o NONE/x"),
    ] {
        fails(&network.run(&line.replace("NONE", &none)), 3, "there is no such file or folder");
    }
    assert_eq!(network.balance("bob"), money);
    assert_eq!(network.run("orders --as bob").ok()["orders"], Value::Array(Vec::new()));
    // A folder where a file is to be, too.
    let folder = network.folder.path().display();
    for more in ["", " --replace"] {
        let line = format!("buy {listing} --as bob -o {folder}{more}");
        assert_eq!(network.run(&line).code, Some(4));
    }
    assert_eq!(network.balance("bob"), money);
}

/// A home and folders of an unprivileged user, and commands as that user.
struct Somebody {
    network: Network,
}

impl Somebody {
    fn new() -> Self {
        let somebody = Self { network: Network::start(3, "1h") };
        somebody.owns(somebody.network.folder.path());
        fs::create_dir_all(somebody.network.home()).unwrap();
        somebody.owns(&somebody.network.home());
        let ticket = somebody.network.ticket.clone();
        somebody.run(&format!("init --no-passphrase --ledger {ticket}")).ok();
        somebody.run("account faucet").ok();
        somebody
    }

    fn owns(&self, path: &Path) {
        if geteuid().is_root() {
            chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.network.folder.path().join(name);
        fs::create_dir(&path).unwrap();
        self.owns(&path);
        path
    }

    fn write(&self, path: &Path, content: &str) {
        fs::write(path, content).unwrap();
        self.owns(path);
    }

    fn run(&self, line: &str) -> Done {
        let mut command: Command = command(&self.network.home(), &words(line));
        if geteuid().is_root() {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        Running::start(command).finish()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_read_only_folder_is_kept_up_to_date_by_its_owner() {
    let somebody = Somebody::new();
    let (from, to) = (somebody.folder("from"), somebody.network.folder.path().join("to"));
    for path in ["a", "a/deep", "a/gone"] {
        somebody.folder(&format!("from/{path}"));
    }
    let files = ["a/one", "a/deep/two", "a/gone/three"];
    for file in files {
        somebody.write(&from.join(file), "as it was");
    }
    let folders = ["a/deep", "a/gone", "a"];
    let set = |root: &Path, to: u32| {
        // The innermost first, or the outermost.
        let all: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
        let in_order: Box<dyn Iterator<Item = &PathBuf>> =
            if to & 0o200 == 0 { Box::new(all.iter()) } else { Box::new(all.iter().rev()) };
        in_order.for_each(|folder| set_mode(folder, to));
    };
    set(&from, 0o555);
    let (up, down) = (
        format!("sync {} :a --delete --yes", from.display()),
        format!("sync :a {} --delete --yes", to.display()),
    );
    somebody.run(&up).ok();
    somebody.run(&down).ok();
    for folder in folders {
        assert_eq!(mode(&to.join(folder)), 0o555, "{folder}");
    }
    // One file is other, one is new, a folder goes; an unreadable file changes its permissions.
    set(&from, 0o755);
    somebody.write(&from.join("a/one"), "as it is now");
    somebody.write(&from.join("a/deep/new"), "new");
    fs::remove_dir_all(from.join("a/gone")).unwrap();
    set_mode(&from.join("a/deep"), 0o555);
    set_mode(&from.join("a"), 0o555);
    somebody.run(&up).ok();
    set_mode(&to.join("a/deep/two"), 0o000);
    let done = somebody.run(&down);
    assert_eq!(done.ok()["files"], 2);
    assert_eq!(fs::read_to_string(to.join("a/one")).unwrap(), "as it is now");
    assert_eq!(fs::read_to_string(to.join("a/deep/new")).unwrap(), "new");
    assert!(!to.join("a/gone").exists());
    assert_eq!(mode(&to.join("a/deep/two")), 0o644);
    for folder in ["a", "a/deep"] {
        assert_eq!(mode(&to.join(folder)), 0o555, "{folder}");
    }
    // A folder that is not stored, and read-only here, is what it was.
    somebody.folder("to2");
    let file = somebody.network.folder.path().join("single");
    somebody.write(&file, "single");
    somebody.run(&format!("put {} loose/single", file.display())).ok();
    set_mode(&somebody.network.folder.path().join("to2"), 0o500);
    let to2 = somebody.network.folder.path().join("to2");
    somebody.run(&format!("get loose -o {}", to2.display())).ok();
    assert_eq!(
        (fs::read_to_string(to2.join("single")).unwrap().as_str(), mode(&to2)),
        ("single", 0o500)
    );
}
