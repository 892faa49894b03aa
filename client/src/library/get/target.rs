//! The target path of a get: it is checked before anything is written, and again before it is replaced.
//!
//! A pipe or a terminal gets the bytes written into it, as a writer does. A disk, a socket, and a link in the system's
//! own tree are left alone. A caller who wants to write there can open it and pass it as standard output.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::Sink;
use crate::{error::ClientError, library::Library};

/// Milliseconds between two checks whether a pipe has a reader.
const LOOK_MS: u64 = 20;

/// Whether a path lies in `/dev` or `/proc`, where entries only look like files.
fn is_of_system(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.is_some_and(|folder| folder == Path::new("/dev") || folder.starts_with("/proc"))
}

/// Whether an entry is neither file, folder nor link, so that nothing may replace it.
pub(crate) fn is_special(about: &Metadata) -> bool {
    !(about.is_file() || about.is_dir() || about.is_symlink())
}

/// Refuses to replace an entry that is neither file, folder nor link.
pub(crate) fn may_be_replaced(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(about) if is_special(&about) => {
            Err(io::Error::other("a pipe, socket or device is there, and is left alone"))
        }
        _ => Ok(()),
    }
}

impl Library {
    /// Opens a pipe or terminal for writing. Any other sink stays as it is.
    pub(super) async fn open_special(&self, sink: Sink) -> Result<Sink, ClientError> {
        let Sink::File(path) = sink else { return Ok(sink) };
        let at = path.clone();
        match self.host().blocking(move || is_stream(&at)).await? {
            false => Ok(Sink::File(path)),
            true => {
                let file = self.open_stream(&path).await?;
                Ok(Sink::writer(path, tokio::fs::File::from_std(file)))
            }
        }
    }

    /// Opens a pipe or terminal for writing, as soon as it has a reader.
    async fn open_stream(&self, path: &Path) -> Result<File, ClientError> {
        let no_reader = rustix::io::Errno::NXIO.raw_os_error();
        loop {
            let at = path.to_owned();
            match self.host().blocking(move || open_stream(&at)).await {
                Err(error) if error.raw_os_error() == Some(no_reader) => {
                    self.host().sleep_ms(LOOK_MS).await;
                }
                opened => {
                    return opened
                        .map_err(|source| ClientError::Io { path: path.to_owned(), source });
                }
            }
        }
    }
}

/// Whether the get writes into the entry at a path instead of replacing it. Refuses an entry that allows neither.
fn is_stream(path: &Path) -> Result<bool, ClientError> {
    let leave = |what: &str| {
        let shown = path.display();
        let how = "to write there all the same, hand it over as standard output: -o - > PATH";
        Err(ClientError::Usage(format!("{shown} is {what}, and is left alone; {how}")))
    };
    let is_link = path.is_symlink();
    if is_link && !is_of_system(path) {
        // A link is replaced, never written through.
        return Ok(false);
    }
    match path.metadata() {
        Ok(about) if about.is_file() && is_link => leave("a link of the system"),
        Ok(about) if about.is_file() => Ok(false),
        Ok(about) if about.is_dir() => {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            Err(ClientError::Io { path: path.to_owned(), source })
        }
        Ok(about) if about.file_type().is_block_device() => leave("a disk"),
        Ok(about) if about.file_type().is_socket() => leave("a socket"),
        Ok(_) => Ok(true),
        Err(_) => Ok(false),
    }
}

/// Opens a pipe or terminal for writing, if it has a reader.
fn open_stream(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    // The entry could have become a file meanwhile. Writing would overwrite it from its beginning.
    if !is_special(&file.metadata()?) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags - OFlags::NONBLOCK))?;
    Ok(file)
}
