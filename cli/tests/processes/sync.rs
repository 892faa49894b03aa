//! Folders that are kept the same: what goes, what counts as the same, whether it is all there, and what is not
//! stored of it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use crate::common::{Done, Network, bytes};
use serde_json::Value;

/// Larger than what goes into a pack.
const LARGE: usize = 1_200_000;

fn set_time(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

/// Writes other bytes over the middle of a file and gives it its time back: nothing but its content tells.
fn change_unseen(path: &Path, to: &str) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(to.as_bytes(), 700).unwrap();
    file.set_modified(time).unwrap();
}

struct Folder {
    network: Network,
    root: PathBuf,
}

impl Folder {
    /// Two small files in a pack, and a large one, stored as `many`.
    fn stored() -> Self {
        let network = Network::start(3, "1h");
        network.identity("default");
        let root = network.folder.path().join("many");
        fs::create_dir(&root).unwrap();
        for (name, length) in [("large", LARGE), ("one", 3_000), ("two", 5_000)] {
            network.file(&format!("many/{name}"), length, 1);
            set_time(&root.join(name), 1_000_000);
        }
        let folder = Self { network, root };
        folder.up("").ok();
        folder
    }

    fn up(&self, more: &str) -> Done {
        self.network.run(format!("sync {} :many {more}", self.root.display()).trim_end())
    }

    fn down(&self, to: &str, more: &str) -> Done {
        let to = self.network.folder.path().join(to);
        self.network.run(format!("sync :many {} {more}", to.display()).trim_end())
    }

    fn names(&self) -> usize {
        self.network.run("ls -r").ok()["files"].as_array().unwrap().len()
    }
}

#[track_caller]
fn refused(done: &Done, code: i32, says: &str) -> Value {
    let json: Value = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(done.code, Some(code), "{json}");
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    json["error"].clone()
}

#[test]
fn a_source_that_is_empty_deletes_nothing_unless_that_was_said() {
    let folder = Folder::stored();
    let names = folder.names();
    // A disk that is not mounted is an empty folder, perhaps with folders in it; or none.
    let away = folder.network.folder.path().join("away");
    fs::rename(&folder.root, &away).unwrap();
    refused(&folder.up("--delete --yes"), 3, "no such file");
    fs::create_dir(&folder.root).unwrap();
    fs::create_dir(folder.root.join("lost+found")).unwrap();
    for more in ["--delete", "--delete --yes"] {
        let error = refused(&folder.up(more), 2, "there is no file in");
        assert!(error["hint"].as_str().unwrap().contains("--max-delete 3"), "{error}");
    }
    refused(&folder.up("--delete --max-delete 2 --yes"), 2, "more than --max-delete");
    assert_eq!(folder.names(), names);
    assert_eq!(folder.up("--delete --dry-run").ok()["removed"].as_array().unwrap().len(), 3);
    // Down, a stored folder without files is no better.
    folder.down("back", "").ok();
    let bare = folder.network.folder.path().join("bare");
    fs::create_dir(&bare).unwrap();
    folder.network.run(&format!("put {}", bare.display())).ok();
    let back = folder.network.folder.path().join("back");
    let line = format!("sync :bare {} --delete", back.display());
    refused(&folder.network.run(&format!("{line} --yes")), 2, "there is no file in :bare");
    refused(&folder.network.run(&format!("{line} --max-delete 1")), 2, "more than --max-delete");
    assert_eq!(fs::read(back.join("one")).unwrap(), bytes(3_000, 1));
    assert_eq!(folder.network.run(&format!("{line} --max-delete 3")).ok()["removed"], 3);
    assert!(!back.join("one").exists());
    assert_eq!(folder.up("--delete --max-delete 3").ok()["removed"], 3);
    // A source with a file in it is what it is.
    fs::rename(&folder.root, folder.network.folder.path().join("mounted-over")).unwrap();
    fs::rename(&away, &folder.root).unwrap();
    folder.up("").ok();
    fs::remove_file(folder.root.join("one")).unwrap();
    refused(&folder.up("--delete --max-delete 0"), 2, "more than --max-delete");
    // The file, and the folder that was there when the disk was not.
    assert_eq!(folder.up("--delete --yes").ok()["removed"], 2);
}

#[test]
fn checksum_sees_what_length_and_time_do_not_tell() {
    let folder = Folder::stored();
    // Another time is no other content: nothing is sent, and the time is written down.
    for name in ["large", "one", "two"] {
        set_time(&folder.root.join(name), 2_000_000);
    }
    let same = folder.up("--checksum").ok();
    assert_eq!(
        (&same["files"], &same["unchanged"], &same["others"]),
        (&0.into(), &3.into(), &3.into())
    );
    assert_eq!(same["cost"], "0");
    assert_eq!(folder.up("").ok()["outcome"], "already");
    let listed = folder.network.run("ls many").ok();
    let times: Vec<_> =
        listed["files"].as_array().unwrap().iter().map(|file| &file["modified_ms"]).collect();
    assert_eq!(times, [&Value::from(2_000_000_000_u64); 3]);
    // Another content of the same length and time is seen with it, and only with it.
    change_unseen(&folder.root.join("large"), "other");
    change_unseen(&folder.root.join("two"), "other");
    assert_eq!(folder.up("").ok()["outcome"], "already");
    let put = format!("put {} many --checksum", folder.root.display());
    assert_eq!(folder.network.run(&format!("{put} --dry-run")).ok()["files"], 2);
    let seen = folder.network.run(&put).ok();
    assert_eq!((&seen["files"], &seen["unchanged"]), (&2.into(), &1.into()));
    folder.down("back", "").ok();
    let back = folder.network.folder.path().join("back");
    for name in ["large", "one", "two"] {
        assert_eq!(fs::read(back.join(name)).unwrap(), fs::read(folder.root.join(name)).unwrap());
    }
    // The other way, too.
    change_unseen(&back.join("large"), "yet another");
    change_unseen(&back.join("one"), "yet another");
    set_time(&back.join("two"), 3_000_000);
    assert_eq!(folder.down("back", "--checksum --dry-run").ok()["files"], 2);
    let seen = folder.down("back", "--checksum").ok();
    assert_eq!((&seen["files"], &seen["unchanged"]), (&2.into(), &1.into()));
    for name in ["large", "one", "two"] {
        let (here, there) = (back.join(name), folder.root.join(name));
        assert_eq!(fs::read(&here).unwrap(), fs::read(&there).unwrap());
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&here), time(&there));
    }
}

#[test]
fn all_of_a_folder_is_verified_and_what_is_unwell_has_a_name() {
    let mut folder = Folder::stored();
    let strings = |json: &Value| -> Vec<String> {
        let list = json.as_array().unwrap().iter();
        list.map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    for (what, files) in [("many", 3), ("many/", 3), ("many/*o*", 2), ("many --deep", 3)] {
        let well = folder.network.run(&format!("verify {what}")).ok();
        assert_eq!(well["files"], files, "{well}");
        assert_eq!((&well["readable"], strings(&well["unwell"]).len()), (&true.into(), 0));
        assert!(well["checked_cells"].as_u64() > Some(0));
    }
    let well = folder.network.run("verify many").ok();
    let objects = well["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 2, "the small ones share one: {well}");
    assert_eq!(folder.network.run("verify nothing").code, Some(3));
    assert!(
        folder.network.run("verify many/one").ok()["shards"].is_array(),
        "one file is one file"
    );
    // A node is away: all reads, and nothing is whole.
    folder.network.nodes[0].kill();
    let error = refused(&folder.network.run("verify many"), 15, "3 files");
    let details = &error["details"];
    assert_eq!(strings(&details["unwell"]).len(), 3, "{details}");
    assert_eq!(strings(&details["unreadable"]).len(), 0, "{details}");
    // All are: nothing reads, and each is named.
    folder.network.nodes[1].kill();
    folder.network.nodes[2].kill();
    let error = refused(&folder.network.run("verify many"), 7, "3 files cannot be read");
    assert_eq!(strings(&error["details"]["unreadable"]), ["many/large", "many/one", "many/two"]);
}

#[test]
fn what_is_not_kept_is_named() {
    let folder = Folder::stored();
    fs::hard_link(folder.root.join("one"), folder.root.join("same")).unwrap();
    let sparse = File::create(folder.root.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 20).unwrap();
    for more in ["--dry-run", ""] {
        let said = folder.up(more).ok();
        let list = |names: &[&str]| Value::from(names.to_vec());
        assert_eq!(said["not_kept"]["hard_links"], list(&["one", "same"]), "{said}");
        assert_eq!(said["not_kept"]["holes"], list(&["sparse"]), "{said}");
    }
    let words = crate::common::plain(
        &folder.network.home(),
        &crate::common::words(&format!("sync {} :many", folder.root.display())),
    );
    let words = crate::common::Running::start(words).finish();
    assert!(words.error.contains("Stored without hard links: one, same"), "{}", words.error);
    folder.down("back", "").ok();
    let back = folder.network.folder.path().join("back");
    assert_eq!(fs::read(back.join("same")).unwrap(), bytes(3_000, 1));
    assert_eq!(fs::metadata(back.join("sparse")).unwrap().len(), (1 << 20) + 3);
}
