//! The path that a command writes to. It is checked before anything is fetched or paid for.

use std::{
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};

use crate::error::{Error, Kind};

/// Names of standard output besides `-`. The system provides them, and they may lead to a file.
const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Names of standard input besides `-`.
const STDIN: [&str; 3] = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// The path, with `-` for every name of standard output.
pub(crate) fn named(path: PathBuf) -> PathBuf {
    if STDOUT.iter().any(|name| path == Path::new(name)) { PathBuf::from("-") } else { path }
}

/// Whether a path stands for standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether a path stands for standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-") || STDIN.iter().any(|name| path == Path::new(name))
}

/// Whether the path can be written to but not replaced: a pipe, a terminal, `/dev/null`.
pub(crate) fn is_stream(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| {
        let kind = about.file_type();
        kind.is_fifo() || kind.is_char_device()
    })
}

/// Makes sure that a new file of `bytes` bytes can be written to a path: its folder exists, is writable and has
/// room.
pub(crate) fn check(path: &Path, bytes: u64) -> Result<(), Error> {
    if is_stdout(path) || is_stream(path) {
        return Ok(());
    }
    if path.is_dir() {
        let shown = path.display();
        return Err(Error::new(Kind::Exists, format!("{shown} is a folder; a file is needed"))
            .hint("name the file, too: -o FOLDER/NAME"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let problem = |error: io::Error| Error::io("write to", folder, &error);
    let about = folder.metadata().map_err(problem)?;
    if !about.is_dir() {
        return Err(problem(io::ErrorKind::NotADirectory.into()));
    }
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| problem(error.into()))?;
    let disk = statvfs(folder).map_err(|error| problem(error.into()))?;
    // Some file systems do not count their blocks.
    let counts = disk.f_blocks > 0;
    if counts && disk.f_bavail.saturating_mul(disk.f_frsize) < bytes {
        return Err(problem(io::ErrorKind::StorageFull.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_looked_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        for (path, kind) in [
            (at("none/x"), Some(Kind::NotFound)),
            (at("file/x"), Some(Kind::Io)),
            (folder.path().to_owned(), Some(Kind::Exists)),
            (at("new"), None),
            (at("file"), None),
            (PathBuf::from("new-in-this-folder"), None),
            (PathBuf::from("-"), None),
            (PathBuf::from("/dev/null"), None),
        ] {
            let found = check(&path, 1).err().map(|error| error.kind);
            assert_eq!(found, kind, "{}", path.display());
        }
        assert_eq!(check(&at("new"), u64::MAX).unwrap_err().kind, Kind::DiskFull);
    }

    #[test]
    fn standard_streams_have_several_names() {
        assert!(is_stdout(&named("/dev/stdout".into())) && is_stdout(&named("-".into())));
        assert!(!is_stdout(&named("/dev/stderr".into())));
        assert!(is_stdin(Path::new("/dev/stdin")) && !is_stdin(Path::new("stdin")));
    }
}
