//! Writing files below a folder, and nowhere else.
//!
//! Every folder on the way to a file must be a real one, not a link; a file is written beside its place
//! under a name of its own and then moved there, so that a place never holds half a file, and what
//! follows a link that lies in the way is never written through it.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::library::{
    get::{is_special, may_be_replaced},
    names::{Name, path_of},
    source::{Dress, MODE_BITS, modified_ns},
};

/// How the name of a file that is being written begins and ends.
const PART_BEGINS: &str = ".symbolon-";
const PART_ENDS: &str = "-part";

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    /// What is wanted there.
    Same,
    /// Something else.
    Other,
    /// A pipe, socket or device: nothing takes its place.
    Special,
}

/// A folder that is written to.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    /// Folders that were looked at.
    sound: BTreeSet<Vec<u8>>,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
}

fn refuse(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

impl Place {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, sound: BTreeSet::new() }
    }

    pub(super) fn path(&self, relative: &[u8]) -> PathBuf {
        // An empty path joined would end in a slash.
        if relative.is_empty() { self.root.clone() } else { self.root.join(path_of(relative)) }
    }

    /// What lies where a file of this length and time is wanted.
    pub(super) fn file_there(&self, relative: &[u8], length: u64, ns: i128) -> There {
        match fs::symlink_metadata(self.path(relative)) {
            Err(_) => There::Nothing,
            Ok(about) if about.is_file() && about.len() == length && modified_ns(&about) == ns => {
                There::Same
            }
            Ok(about) if is_special(&about) => There::Special,
            Ok(_) => There::Other,
        }
    }

    /// Whether a file of this length lies there.
    pub(super) fn is_file_of(&self, relative: &[u8], length: u64) -> bool {
        let about = fs::symlink_metadata(self.path(relative));
        about.is_ok_and(|about| about.is_file() && about.len() == length)
    }

    /// What lies where a link is wanted.
    pub(super) fn link_there(&self, relative: &[u8], target: &[u8]) -> There {
        let path = self.path(relative);
        match fs::symlink_metadata(&path) {
            Err(_) => There::Nothing,
            Ok(about) if about.is_symlink() => match fs::read_link(&path) {
                Ok(found) if found == path_of(target) => There::Same,
                _ => There::Other,
            },
            Ok(about) if is_special(&about) => There::Special,
            Ok(_) => There::Other,
        }
    }

    /// Makes a folder and those it lies in, where they are not there; refuses anything else that is.
    pub(super) fn folder(&mut self, relative: &[u8]) -> io::Result<()> {
        if self.sound.contains(relative) {
            return Ok(());
        }
        if relative.is_empty() {
            fs::create_dir_all(&self.root)?;
            self.sound.insert(Vec::new());
            return Ok(());
        }
        // Checked here once more, whoever made the path.
        Name::new(relative).map_err(|error| refuse(&error.to_string()))?;
        self.folder(parent(relative))?;
        let path = self.path(relative);
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(refuse("a file or link is where its folder should be")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&path)?,
            Err(error) => return Err(error),
        }
        self.sound.insert(relative.to_vec());
        Ok(())
    }

    /// Makes the folder of a file or link that is about to be made; refuses a path that leads elsewhere.
    pub(super) fn prepare(&mut self, relative: &[u8]) -> io::Result<()> {
        Name::new(relative).map_err(|error| refuse(&error.to_string()))?;
        self.folder(parent(relative))
    }

    /// Begins a file.
    pub(super) fn part(&mut self, relative: &[u8]) -> io::Result<Part> {
        self.prepare(relative)?;
        let own = blake3::hash(relative).to_hex();
        let beside = format!("{PART_BEGINS}{}{PART_ENDS}", &own[..16]);
        let path = self.path(parent(relative)).join(beside);
        let mut options = OpenOptions::new();
        // Made anew, or not at all: what lies there already is not written to.
        options.write(true).create_new(true).mode(0o600);
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        Ok(Part { file, path })
    }

    /// Puts a part in its place.
    pub(super) fn finish(&self, part: Part, to: &[u8], dress: Dress) -> io::Result<()> {
        dress.put_on(&part.file)?;
        may_be_replaced(&self.path(to))?;
        fs::rename(&part.path, self.path(to))
    }

    /// Gives a file or folder its permissions and time.
    pub(super) fn dress(&self, relative: &[u8], dress: Dress) -> io::Result<()> {
        let path = self.path(relative);
        let opened = match open_here(&path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // Its owner may not read it as it is, and may change that.
                let about = fs::symlink_metadata(&path)?;
                let lent = if about.is_dir() { OWNER_ENTERS } else { OWNER_READS };
                lend(&path, &about, lent)?;
                open_here(&path)
            }
            opened => opened,
        };
        dress.put_on(&opened?)
    }

    /// Lets this process write in folders that it owns and that are read-only, as their owner may: those that
    /// these paths lie in. They become what they were when what is given back goes.
    pub(super) fn lend<'a>(&self, paths: impl Iterator<Item = &'a [u8]>) -> Lent {
        let mut lent = Lent { folders: Vec::new() };
        let mut seen = BTreeSet::new();
        for path in paths {
            let mut folder = path;
            while !folder.is_empty() {
                folder = parent(folder);
                if !seen.insert(folder) {
                    break;
                }
            }
        }
        // The outermost first: it lets in to those inside.
        for folder in seen {
            let path = self.path(folder);
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            let mode = about.permissions().mode();
            // What cannot be lent is told where something is to be written.
            if about.is_dir()
                && mode & OWNER_ENTERS != OWNER_ENTERS
                && lend(&path, &about, OWNER_ENTERS).is_ok()
            {
                lent.folders.push((path, mode));
            }
        }
        lent
    }

    /// Whether a file or folder has its permissions and, for a folder, its time.
    pub(super) fn is_dressed(&self, relative: &[u8], dress: Dress) -> bool {
        fs::symlink_metadata(self.path(relative)).is_ok_and(|about| {
            about.permissions().mode() & MODE_BITS == dress.mode & MODE_BITS
                && modified_ns(&about) == dress.modified_ns
        })
    }

    /// Makes a link.
    pub(super) fn link(&mut self, relative: &[u8], target: &[u8]) -> io::Result<()> {
        self.prepare(relative)?;
        let path = self.path(relative);
        may_be_replaced(&path)?;
        match fs::symlink_metadata(&path) {
            Ok(about) if !about.is_dir() => fs::remove_file(&path)?,
            Ok(_) => return Err(refuse("a folder is where the link should be")),
            Err(_) => {}
        }
        symlink(path_of(target), path)
    }

    /// Removes a file, link or empty folder.
    pub(super) fn remove(&mut self, relative: &[u8], is_folder: bool) -> io::Result<()> {
        self.folder(parent(relative))?;
        self.sound.remove(relative);
        let path = self.path(relative);
        if is_folder { fs::remove_dir(path) } else { fs::remove_file(path) }
    }

    /// Waits until everything is on the disk: one call for the file system where there is one, else one
    /// for every folder that was used.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(File::open(&self.root)?)?;
        #[cfg(not(target_os = "linux"))]
        for folder in &self.sound {
            symbolon_store::durable::sync_dir(&self.path(folder))?;
        }
        Ok(())
    }
}

impl Part {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    pub(super) fn discard(self) {
        // What cannot be removed now is written over by the next get.
        fs::remove_file(&self.path).ok();
    }
}

/// What the owner of a folder needs to write in it, and of a file to read it.
const OWNER_ENTERS: u32 = 0o700;
const OWNER_READS: u32 = 0o400;

/// Opens a file or folder, and follows no link.
fn open_here(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Gives the owner rights to a file or folder.
fn lend(path: &Path, about: &fs::Metadata, rights: u32) -> io::Result<()> {
    if about.is_symlink() {
        return Err(refuse("a link is there"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(about.permissions().mode() | rights))
}

/// Folders whose owner was lent rights, with what they had before. It ends with this.
#[derive(Debug)]
pub(super) struct Lent {
    folders: Vec<(PathBuf, u32)>,
}

impl Lent {
    /// Folders that have the permissions they are to keep.
    pub(super) fn keep(&mut self, path: &Path) {
        self.folders.retain(|(folder, _)| folder != path);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The innermost first: an outer one lets in to it.
        for (folder, mode) in self.folders.drain(..).rev() {
            // One that is gone needs nothing.
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).ok();
        }
    }
}

/// Whether a file's own name is that of a part.
pub(super) fn is_part(own: &[u8]) -> bool {
    // What a get of a large file leaves beside it.
    if own.ends_with(b".symbolon-part") || own.ends_with(b".symbolon-note") {
        return true;
    }
    let inner = own.strip_prefix(PART_BEGINS.as_bytes());
    let inner = inner.and_then(|inner| {
        inner.strip_suffix(PART_ENDS.as_bytes()).or_else(|| inner.strip_suffix(b"-note"))
    });
    inner.is_some_and(|inner| inner.len() == 16 && inner.iter().all(u8::is_ascii_hexdigit))
}

/// The folder a path lies in.
pub(super) fn parent(relative: &[u8]) -> &[u8] {
    relative.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &relative[..at])
}

/// Whether a place can be written to at all.
pub(super) fn is_folder_or_nothing(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |about| about.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_outside() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("link")).unwrap();
        fs::write(outside.join("file"), "theirs").unwrap();
        symlink(outside.join("file"), root.join("alias")).unwrap();
        let mut place = Place::new(root.clone());
        for path in [&b"../x"[..], b"/x", b"a/../../x", b"", b"a//x", b"link/x", b"link/deep/x"] {
            assert!(place.part(path).is_err(), "{}", crate::library::names::shown(path));
            assert!(path.is_empty() || place.folder(path).is_err());
            assert!(place.link(path, b"x").is_err());
        }
        // A link in a file's own place is replaced, not followed.
        let mut part = place.part(b"alias").unwrap();
        part.write(b"ours").unwrap();
        let dress = Dress { mode: 0o640, modified_ns: 1_000_000_007 };
        place.finish(part, b"alias", dress).unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"theirs");
        assert_eq!(fs::read(root.join("alias")).unwrap(), b"ours");
        assert_eq!(place.file_there(b"alias", 4, 1_000_000_007), There::Same);
        assert!(place.is_dressed(b"alias", dress));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 2, "no part is left");
    }
}
