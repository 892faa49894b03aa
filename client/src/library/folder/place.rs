//! Writes files below one folder, and nowhere else.
//!
//! Every folder on the way to a file must be a real folder, not a link. A file is written under a temporary name beside
//! its target and then moved there. So a path never holds half a file, and a link in the way is replaced, never
//! followed.

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
    source::{FileMetadata, MODE_BITS, modified_ns},
};

/// The begin and the end of a temporary file's name.
const PART_BEGINS: &str = ".symbolon-";
const PART_ENDS: &str = "-part";

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    /// The entry that is wanted there.
    Same,
    /// Another file, link or folder.
    Other,
    /// A pipe, socket or device. It is never replaced.
    Special,
}

/// A folder that files are written below.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    /// Folders that were checked.
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

    /// What lies at a path where a file of this length and time is wanted.
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

    /// Whether a file of this length lies at a path.
    pub(super) fn is_file_of(&self, relative: &[u8], length: u64) -> bool {
        let about = fs::symlink_metadata(self.path(relative));
        about.is_ok_and(|about| about.is_file() && about.len() == length)
    }

    /// What lies at a path where a link is wanted.
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

    /// Creates a folder and its parents, if they are missing. Refuses anything at their paths that is not a folder.
    pub(super) fn folder(&mut self, relative: &[u8]) -> io::Result<()> {
        if self.sound.contains(relative) {
            return Ok(());
        }
        if relative.is_empty() {
            fs::create_dir_all(&self.root)?;
            self.sound.insert(Vec::new());
            return Ok(());
        }
        // The path is checked here again, no matter where it came from.
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

    /// Creates the parent folder of a new file or link. Refuses a path that leads elsewhere.
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
        // The file must be new, so that nothing existing is written to.
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

    /// Moves a part to its final path.
    pub(super) fn finish(&self, part: Part, to: &[u8], metadata: FileMetadata) -> io::Result<()> {
        metadata.apply_to(&part.file)?;
        may_be_replaced(&self.path(to))?;
        fs::rename(&part.path, self.path(to))
    }

    /// Sets the permissions and time of a file or folder.
    pub(super) fn set_metadata(&self, relative: &[u8], metadata: FileMetadata) -> io::Result<()> {
        let path = self.path(relative);
        let opened = match open_here(&path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // Its permissions do not let the owner read it. The owner may change them.
                let about = fs::symlink_metadata(&path)?;
                let rights = if about.is_dir() { OWNER_ENTERS } else { OWNER_READS };
                add_rights(&path, &about, rights)?;
                open_here(&path)
            }
            opened => opened,
        };
        metadata.apply_to(&opened?)
    }

    /// Lets this process write in its user's read-only folders: those that contain these paths. Dropping the returned
    /// value restores their permissions.
    pub(super) fn allow_writing<'a>(
        &self,
        paths: impl Iterator<Item = &'a [u8]>,
    ) -> TemporaryRights {
        let mut rights = TemporaryRights { folders: Vec::new() };
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
        // The outermost folder comes first, because access to the inner ones needs it.
        for folder in seen {
            let path = self.path(folder);
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            let mode = about.permissions().mode();
            // If this fails, the later write reports the error.
            if about.is_dir()
                && mode & OWNER_ENTERS != OWNER_ENTERS
                && add_rights(&path, &about, OWNER_ENTERS).is_ok()
            {
                rights.folders.push((path, mode));
            }
        }
        rights
    }

    /// Whether a file or folder has this metadata.
    pub(super) fn has_metadata(&self, relative: &[u8], metadata: FileMetadata) -> bool {
        fs::symlink_metadata(self.path(relative)).is_ok_and(|about| {
            about.permissions().mode() & MODE_BITS == metadata.mode & MODE_BITS
                && modified_ns(&about) == metadata.modified_ns
        })
    }

    /// Creates a link.
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

    /// Waits until everything is on the disk. On Linux one call syncs the file system. Elsewhere every folder that was
    /// used is synced.
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
        // If it cannot be removed now, the next get overwrites it.
        fs::remove_file(&self.path).ok();
    }
}

/// The rights that an owner needs to write in a folder, and to read a file.
const OWNER_ENTERS: u32 = 0o700;
const OWNER_READS: u32 = 0o400;

/// Opens a file or folder, without following a link.
fn open_here(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Adds rights of the owner to a file or folder.
fn add_rights(path: &Path, about: &fs::Metadata, rights: u32) -> io::Result<()> {
    if about.is_symlink() {
        return Err(refuse("a link is there"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(about.permissions().mode() | rights))
}

/// Folders whose owner has additional rights, with their original permissions. Dropping it restores these.
#[derive(Debug)]
pub(super) struct TemporaryRights {
    folders: Vec<(PathBuf, u32)>,
}

impl TemporaryRights {
    /// Leaves a folder as it is, because it has its final permissions.
    pub(super) fn keep(&mut self, path: &Path) {
        self.folders.retain(|(folder, _)| folder != path);
    }
}

impl Drop for TemporaryRights {
    fn drop(&mut self) {
        // The innermost folder comes first, because access to it needs the outer ones.
        for (folder, mode) in self.folders.drain(..).rev() {
            // A folder that is gone needs nothing.
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).ok();
        }
    }
}

/// Whether a file's own name is that of a temporary file.
pub(super) fn is_part(own: &[u8]) -> bool {
    // A get of a large file leaves such files beside it.
    if own.ends_with(b".symbolon-part") || own.ends_with(b".symbolon-note") {
        return true;
    }
    let inner = own.strip_prefix(PART_BEGINS.as_bytes());
    let inner = inner.and_then(|inner| {
        inner.strip_suffix(PART_ENDS.as_bytes()).or_else(|| inner.strip_suffix(b"-note"))
    });
    inner.is_some_and(|inner| inner.len() == 16 && inner.iter().all(u8::is_ascii_hexdigit))
}

/// The folder that contains a path.
pub(super) fn parent(relative: &[u8]) -> &[u8] {
    relative.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &relative[..at])
}

/// Whether a path is a folder, or free.
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
        // A link at a file's path is replaced, not followed.
        let mut part = place.part(b"alias").unwrap();
        part.write(b"ours").unwrap();
        let metadata = FileMetadata { mode: 0o640, modified_ns: 1_000_000_007 };
        place.finish(part, b"alias", metadata).unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"theirs");
        assert_eq!(fs::read(root.join("alias")).unwrap(), b"ours");
        assert_eq!(place.file_there(b"alias", 4, 1_000_000_007), There::Same);
        assert!(place.has_metadata(b"alias", metadata));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 2, "no part is left");
    }

    #[test]
    fn nothing_takes_the_place_of_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let metadata = FileMetadata { mode: 0o640, modified_ns: 1_000_000_007 };
        let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let mut place = Place::new(root.clone());
        // It may have come there since it was looked at.
        let part = place.part(b"socket").unwrap();
        place.finish(part, b"socket", metadata).unwrap_err();
        place.link(b"socket", b"elsewhere").unwrap_err();
        assert!(is_special(&root.join("socket").symlink_metadata().unwrap()));
        drop(socket);
        for there in ["a file", "a link"] {
            match there {
                "a file" => fs::write(root.join(there), "old").unwrap(),
                _ => symlink("a file", root.join(there)).unwrap(),
            }
            let mut part = place.part(there.as_bytes()).unwrap();
            part.write(b"new").unwrap();
            place.finish(part, there.as_bytes(), metadata).unwrap();
            assert!(root.join(there).symlink_metadata().unwrap().is_file());
        }
    }

    #[test]
    fn nothing_behind_a_link_gets_rights() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "theirs").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o040)).unwrap();
        symlink(&file, &link).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & MODE_BITS;
        add_rights(&link, &link.symlink_metadata().unwrap(), OWNER_READS).unwrap_err();
        assert_eq!(mode(&file), 0o040);
        add_rights(&file, &file.symlink_metadata().unwrap(), OWNER_READS).unwrap();
        assert_eq!(mode(&file), 0o440);
    }
}
