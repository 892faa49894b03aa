//! A full disk at the client.

use std::{fs, io::Write as _, path::PathBuf, process::Command};

use super::{
    LONG, adds_up, at,
    common::{Network, bytes},
    fails,
};

/// A file system of some MiB, where this user may mount one; gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Says why there is none where this user may not mount one.
    fn mount(at: PathBuf, mebibytes: u32) -> Result<Self, String> {
        fs::create_dir_all(&at).unwrap();
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at);
        match mount.output() {
            Ok(done) if done.status.success() => Ok(Self(at)),
            Ok(done) => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a command that was killed may be in it still.
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}

#[test]
fn a_full_disk_here_loses_nothing_and_the_same_command_goes_on() {
    let network = Network::start(3, LONG);
    network.identity("owner");
    let disk = match SmallDisk::mount(network.folder.path().join("small"), 4) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("skipped, no small file system can be mounted: {why}"),
    };
    let path = network.file("file", 3_000_000, 7);
    network.run(&format!("put {} file --for 2h --as owner --yes", path.display())).ok();
    let (ballast, out) = (disk.0.join("ballast"), disk.0.join("out"));
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let get = format!("get file -o {} --as owner", out.display());
    fails(network.run(&get), 12, "the disk is full");
    assert!(!out.exists(), "half a file has no name");
    let elsewhere = network.folder.path().join("elsewhere");
    network.run(&format!("get file -o {} --as owner", elsewhere.display())).ok();
    assert!(fs::read(&elsewhere).unwrap() == bytes(3_000_000, 7), "there is room elsewhere");
    // A folder's small files: those that fitted are whole, the rest has no name.
    let root = network.folder.path().join("root");
    fs::create_dir(&root).unwrap();
    for number in 0..30_u8 {
        fs::write(root.join(format!("{number:02}")), bytes(90_000, number)).unwrap();
    }
    network.run(&format!("put {} box --for 2h --as owner --yes", root.display())).ok();
    let folder = disk.0.join("box");
    let get_folder = format!("get box -o {} --as owner", folder.display());
    fails(network.run(&get_folder), 12, "the disk is full");
    let whole = |number: u8| {
        let there = fs::read(folder.join(format!("{number:02}")));
        there.is_ok_and(|there| there == bytes(90_000, number))
    };
    let names = fs::read_dir(&folder).unwrap().count();
    assert_eq!((0..30).filter(|number| whole(*number)).count(), names, "no file is half there");
    assert!(names < 30);
    fs::remove_file(&ballast).unwrap();
    let got = network.run(&get_folder).ok();
    assert_eq!(got["unchanged"], names, "{got}");
    assert!((0..30).all(whole));
    fs::remove_dir_all(&folder).unwrap();
    network.run(&get).ok();
    assert!(fs::read(&out).unwrap() == bytes(3_000_000, 7));

    // A whole home on it: what cannot be written down is neither stored nor paid.
    let home = disk.0.join("home");
    at(&home, &format!("init --no-passphrase --ledger {}", network.ticket)).ok();
    at(&home, "account faucet").ok();
    let before = at(&home, "account balance").ok()["balance"].clone();
    fs::remove_file(&out).unwrap();
    let mut fill = fs::File::create(&ballast).unwrap();
    while fill.write_all(&[1; 4096]).is_ok() {}
    drop(fill);
    let put = format!("put {} file --for 2h --yes", path.display());
    // Where it comes to a stop depends on what is written first.
    fails(at(&home, &put), 12, "");
    fs::remove_file(&ballast).unwrap();
    assert_eq!(at(&home, "account balance").ok()["balance"], before);
    at(&home, &put).ok();
    assert_eq!(at(&home, &put).ok()["outcome"], "already");
    adds_up(&network);
}
