//! The home folder. It contains only these:
//!
//! ```text
//! home/network.json            which ledger this home uses
//! home/identities/NAME/key     a person's recovery phrase, sealed; the client's own files beside it
//! home/ledger/                 the embedded ledger of `symbolon up`
//! home/nodes/1/ 2/ ..          its storage nodes
//! home/run/{lock,pid,log}      the running `symbolon up`: its lock, its process number, its log
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};

use symbolon_ledger::{LedgerTicket, TicketError};
use symbolon_store::durable;

use crate::error::{Error, Kind};

/// The identity that is used when none is named.
pub(crate) const DEFAULT_IDENTITY: &str = "default";

/// Longest name of an identity, in bytes: it is a folder's name.
const NAME_BYTES_MAX: usize = 64;

/// The home folder.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
}

/// What `network.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Network {
    version: u32,
    ledger: String,
}

impl Home {
    /// The folder that was named, or the platform's folder for such data.
    pub(crate) fn find(named: Option<PathBuf>) -> Result<Self, Error> {
        if let Some(root) = named {
            // The absolute path stays right for a detached process, and in messages read from another folder.
            let root = std::path::absolute(&root).map_err(|e| Error::io("use", &root, &e))?;
            return Ok(Self { root });
        }
        let folders = etcetera::choose_base_strategy().map_err(|_| {
            Error::new(Kind::NotFound, "this account has no home folder")
                .hint("choose a folder with --home DIR")
        })?;
        Ok(Self { root: folders.data_dir().join("symbolon") })
    }

    /// The home in this folder.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The embedded ledger's folder.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// The folder of a validator of `symbolon up`, from 1.
    pub(crate) fn validator(&self, number: u32) -> PathBuf {
        match number {
            1 => self.ledger(),
            _ => self.root.join("validators").join(number.to_string()),
        }
    }

    /// How many validators `symbolon up` has made so far.
    pub(crate) fn validators(&self) -> u32 {
        let made = (1..).take_while(|number| self.validator(*number).is_dir());
        made.count().try_into().unwrap_or(0)
    }

    /// The folder of a node of `symbolon up`, from 1.
    pub(crate) fn node(&self, number: u32) -> PathBuf {
        self.root.join("nodes").join(number.to_string())
    }

    /// How many nodes `symbolon up` has made so far: 1 to this number.
    pub(crate) fn nodes(&self) -> u32 {
        (1..).take_while(|number| self.node(*number).is_dir()).count().try_into().unwrap_or(0)
    }

    /// The log of a detached `symbolon up`.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("run").join("log")
    }

    /// An identity's folder.
    pub(crate) fn identity(&self, name: &str) -> Result<PathBuf, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        let plain = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && !name.starts_with('.')
            && name.bytes().all(allowed);
        if plain {
            return Ok(self.root.join("identities").join(name));
        }
        Err(Error::usage(format!("{name:?} cannot be the name of an identity"))
            .hint("letters, digits, and - _ . @, at most 64 of them, not beginning with a dot"))
    }

    /// The names of the identities in this home, sorted.
    pub(crate) fn identities(&self) -> Result<Vec<String>, Error> {
        let folder = self.root.join("identities");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| Error::io("list", &folder, &error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("list", &folder, &error))?;
            if entry.path().join("key").is_file() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The ledger this home uses, if it uses one.
    pub(crate) fn ticket(&self) -> Result<Option<LedgerTicket>, Error> {
        let path = self.root.join("network.json");
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let damaged = |why: String| {
            Error::new(Kind::Corrupt, format!("{} is damaged: {why}", path.display()))
                .hint("name the ledger again: symbolon init --ledger TICKET, or run symbolon up")
        };
        let network: Network =
            serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if network.version != 1 {
            return Err(damaged(format!("version {} is not known here", network.version)));
        }
        network.ledger.parse().map(Some).map_err(|error: TicketError| damaged(error.to_string()))
    }

    /// Remembers which ledger this home uses.
    pub(crate) fn set_ticket(&self, ticket: &LedgerTicket) -> Result<(), Error> {
        let network = Network { version: 1, ledger: ticket.to_string() };
        let json = serde_json::to_vec_pretty(&network)
            .map_err(|error| Error::internal(format!("network.json: {error}")))?;
        make_folder(&self.root)?;
        write_whole(&self.root.join("network.json"), &json)
    }

    /// Makes this process the one that runs the home's network.
    pub(crate) fn lock(&self) -> Result<RunLock, Error> {
        self.lock_or(|home| {
            let pid = home.pid_file().map_or(String::new(), |pid| format!(" (process {pid})"));
            let shown = home.root.display();
            Error::new(Kind::InUse, format!("a network is already running on {shown}{pid}"))
                .hint("stop it with: symbolon down; or use another folder with --home DIR")
        })
    }

    /// Makes this process the one that runs the ledger or node of a folder.
    pub(crate) fn lock_folder(root: &Path) -> Result<RunLock, Error> {
        Self::at(root.to_owned()).lock_or(|home| {
            let pid = home.pid_file().map_or(String::new(), |pid| format!(" {pid}"));
            let shown = home.root.display();
            Error::new(Kind::InUse, format!("process{pid} is already running on {shown}"))
                .hint("every ledger and node needs a folder of its own: choose another with --dir")
        })
    }

    fn lock_or(&self, taken: impl Fn(&Self) -> Error) -> Result<RunLock, Error> {
        let run = self.root.join("run");
        make_folder(&run)?;
        let path = run.join("lock");
        let file = open_private(&path, OpenOptions::new().create(true).truncate(false))
            .map_err(|error| Error::io("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(self)),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, &error)),
        }
        let pid = run.join("pid");
        write_whole(&pid, format!("{}\n", std::process::id()).as_bytes())?;
        Ok(RunLock { file, pid })
    }

    fn pid_file(&self) -> Option<u32> {
        let text = fs::read_to_string(self.root.join("run").join("pid")).ok()?;
        text.trim().parse().ok()
    }

    /// The process that runs the home's network, if one does: the lock says whether, the pid file says which.
    pub(crate) fn running(&self) -> Option<u32> {
        let path = self.root.join("run").join("lock");
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => self.pid_file(),
            // The lock is free: no network runs, even if there is a pid file. The lock ends with `file`.
            _ => None,
        }
    }
}

/// Held while this process runs the home's network. The system releases it when the process ends, even after a crash.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
    pid: PathBuf,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // In this order: a lock without a pid file means "starting"; a pid file without a lock is ignored.
        drop(fs::remove_file(&self.pid));
        drop(self.file.unlock());
    }
}

/// The bytes of a file, or `None` if there is no such file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, &error)),
    }
}

/// Makes a folder that only its owner may enter.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| Error::io("make the folder", path, &error))
}

/// Writes a file that only its owner may read, completely or not at all. Never replaces a pipe, socket or device.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let about = path.symlink_metadata();
    if about.is_ok_and(|about| !about.is_file() && !about.is_symlink()) {
        let shown = path.display();
        return Err(Error::new(Kind::Exists, format!("{shown} is there and is no file"))
            .hint("choose another path, or move it away"));
    }
    durable::write_whole(path, bytes).map_err(|error| Error::io("write", path, &error))
}

fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.read(true).write(true).open(path)
}

/// The 32-byte secret in a file, made on first use.
pub(crate) fn secret(path: &Path, fresh: [u8; 32]) -> Result<[u8; 32], Error> {
    let Some(bytes) = read_if_there(path)? else {
        write_whole(path, &fresh)?;
        return Ok(fresh);
    };
    bytes.try_into().map_err(|_| {
        Error::new(Kind::Key, format!("{} is damaged: it is not 32 bytes", path.display()))
            .hint("put the file back from a backup; without it this node is lost")
    })
}

/// The text of `-` (stdin), of `@FILE`, or the text itself. Refuses a text of more than `bytes_max` bytes.
pub(crate) fn text_or_file(text: &str, bytes_max: u64) -> Result<String, Error> {
    let mut read = String::new();
    let shown = if text == "-" {
        io::stdin()
            .take(bytes_max + 1)
            .read_to_string(&mut read)
            .map_err(|error| Error::io("read", Path::new("stdin"), &error))?;
        "what comes from stdin"
    } else if let Some(path) = text.strip_prefix('@') {
        let at = Path::new(path);
        let file = File::open(at).map_err(|error| Error::io("read", at, &error))?;
        file.take(bytes_max + 1)
            .read_to_string(&mut read)
            .map_err(|error| Error::io("read", at, &error))?;
        path
    } else {
        read.push_str(text);
        "this text"
    };
    if bytes_max < read.len() as u64 {
        let message = format!("{shown} is longer than the {bytes_max} bytes it may have");
        return Err(Error::usage(message).hint("see that it is the right file"));
    }
    Ok(read.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_home() {
        let home = Home::at("/h".into());
        assert_eq!(home.identity("alice").unwrap(), Path::new("/h/identities/alice"));
        for name in ["", "..", ".hidden", "a/b", "a\\b", "ü", "a b", &"x".repeat(65)] {
            assert_eq!(home.identity(name).unwrap_err().kind, Kind::Usage, "{name:?}");
        }
    }

    #[test]
    fn one_lock_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("deep/home"));
        assert_eq!(home.running(), None);
        let lock = home.lock().unwrap();
        assert_eq!(home.running(), Some(std::process::id()));
        assert_eq!(home.lock().unwrap_err().kind, Kind::InUse);
        drop(lock);
        assert_eq!(home.running(), None);
        drop(home.lock().unwrap());
    }

    #[test]
    fn a_stale_pid_is_no_network() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        drop(home.lock().unwrap());
        fs::write(folder.path().join("run/pid"), "1\n").unwrap();
        assert_eq!(home.running(), None);
    }

    #[test]
    fn secrets_are_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(secret(&path, [1; 32]).unwrap(), [1; 32]);
        assert_eq!(secret(&path, [2; 32]).unwrap(), [1; 32]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(&path, [0; 31]).unwrap();
        assert_eq!(secret(&path, [2; 32]).unwrap_err().kind, Kind::Key);
    }

    #[test]
    fn texts_come_from_files_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grant");
        fs::write(&path, "grant1abc\n").unwrap();
        let at = format!("@{}", path.display());
        assert_eq!(text_or_file(&at, 100).unwrap(), "grant1abc");
        assert_eq!(text_or_file("grant1xyz", 100).unwrap(), "grant1xyz");
        assert_eq!(text_or_file("@/nowhere", 100).unwrap_err().kind, Kind::NotFound);
        // Nothing is cut off, and nothing is read for ever.
        assert_eq!(text_or_file(&at, 10).unwrap(), "grant1abc");
        assert_eq!(text_or_file(&at, 9).unwrap_err().kind, Kind::Usage);
        assert_eq!(text_or_file("@/dev/zero", 100).unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn a_device_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        assert_eq!(write_whole(&pipe, b"x").unwrap_err().kind, Kind::Exists);
        assert!(!pipe.symlink_metadata().unwrap().is_file());
    }
}
