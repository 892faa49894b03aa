//! Whether a validator's folder is the one in which its key was made, or a copy.
//!
//! A copy does not know what the key has signed since it was made. A validator that went on from it would sign a second time
//! what it has signed before, which the ledger punishes. So a folder has a file that names itself: by its number in its file
//! system and by its time of birth. Neither survives a copy, an archive or a backup. It is made anew at each start: so an older
//! copy that is put back in place, file by file, has another stamp than the folder. A whole file system that is set back, or a
//! copy that was made while the machine ran, keeps it: against that there is nothing here.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::UNIX_EPOCH};

use symbolon_net::Host;

use crate::{error::Error, home};

/// The key of a folder that may become a validator's, made on first use.
pub(crate) fn signing_key(dir: &Path, host: &Host) -> Result<[u8; 32], Error> {
    let path = dir.join("key");
    if !path.exists() {
        // First: a key without a stamp is a copy.
        put(dir)?;
    }
    home::secret(&path, host.random())
}

/// Whether the folder is the one in which its key was made, or was said to be it.
pub(crate) fn is_own(dir: &Path) -> Result<bool, Error> {
    let path = dir.join(FILE);
    let Some(noted) = home::read_if_there(&path)? else { return Ok(false) };
    let name = fs::metadata(&path).map(|about| name(&about));
    name.map(|name| name.as_bytes() == noted).map_err(|error| Error::io("read", &path, &error))
}

/// Makes the folder the one in which its key may sign.
pub(crate) fn put(dir: &Path) -> Result<(), Error> {
    let (path, new) = (dir.join(FILE), dir.join(NEW));
    let made = || -> io::Result<()> {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = fs::File::create_new(&new)?;
        io::Write::write_all(&mut &file, name(&file.metadata()?).as_bytes())?;
        file.sync_all()?;
        // It keeps its number and its birth under the other name.
        fs::rename(&new, &path)?;
        fs::File::open(dir)?.sync_all()
    };
    made().map_err(|error| Error::io("write", &path, &error))
}

/// Makes the folder one in which its key may not sign.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    let path = dir.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path, &error))
        }
        _ => Ok(()),
    }
}

fn name(about: &fs::Metadata) -> String {
    // Some file systems keep no time of birth. Then the number alone has to do.
    let born = about.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or(0, |born| born.as_nanos());
    format!("this file is number {} and was born at {born}\n", about.ino())
}

const FILE: &str = "stamp";
const NEW: &str = "stamp.new";

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    #[test]
    fn a_copy_is_told_from_the_folder_itself() {
        let folder = tempfile::tempdir().unwrap();
        let [one, copy, moved] = ["one", "copy", "moved"].map(|name| folder.path().join(name));
        fs::create_dir(&one).unwrap();
        assert!(!is_own(&one).unwrap());
        let key = signing_key(&one, &Host::system()).unwrap();
        assert!(is_own(&one).unwrap());
        assert_eq!(signing_key(&one, &Host::system()).unwrap(), key);
        let status = Command::new("cp").arg("-a").args([&one, &copy]).status().unwrap();
        assert!(status.success() && !is_own(&copy).unwrap());
        // What is only renamed is the same one; owners and modes may change.
        fs::rename(&one, &moved).unwrap();
        fs::set_permissions(moved.join(FILE), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(is_own(&moved).unwrap());
        // A key without a stamp is a copy, until its operator says that it is not.
        fs::remove_file(moved.join(FILE)).unwrap();
        assert_eq!(signing_key(&moved, &Host::system()).unwrap(), key);
        assert!(!is_own(&moved).unwrap());
        put(&moved).unwrap();
        put(&copy).unwrap();
        assert!(is_own(&moved).unwrap() && is_own(&copy).unwrap());
        // A copy from before the last start is put back in place: the file stays, and has other bytes.
        let backup = folder.path().join("backup");
        let copied = |from: &Path, to: &Path| {
            let status = Command::new("cp").args(["-a", "-T"]).args([from, to]).status().unwrap();
            assert!(status.success());
        };
        copied(&moved, &backup);
        put(&moved).unwrap();
        copied(&backup, &moved);
        assert!(!is_own(&moved).unwrap());
    }
}
