//! What lies where a get is to write: looked at before anything is written, and before it is replaced.
//!
//! A pipe or a terminal is written into, as a writer is. A disk, a socket, and a link into the system's
//! own tree are left alone: whoever means them can open them and hand them over as standard output.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::Sink;
use crate::{error::ClientError, library::Library};

/// How often it is looked whether somebody reads a pipe by now, in milliseconds.
const LOOK_MS: u64 = 20;

/// Whether a path lies where the system keeps what only looks like files.
fn is_of_system(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.is_some_and(|folder| folder == Path::new("/dev") || folder.starts_with("/proc"))
}

/// Whether something is neither file, folder nor link, so that nothing may take its place.
pub(crate) fn is_special(about: &Metadata) -> bool {
    !(about.is_file() || about.is_dir() || about.is_symlink())
}

/// Refuses to let a file take the place of what is there, where that is no file or link.
pub(crate) fn may_be_replaced(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(about) if is_special(&about) => {
            Err(io::Error::other("a pipe, socket or device is there, and is left alone"))
        }
        _ => Ok(()),
    }
}

impl Library {
    /// Opens what is no file but can be written to.
    pub(super) async fn look(&self, sink: Sink) -> Result<Sink, ClientError> {
        let Sink::File(path) = sink else { return Ok(sink) };
        let there = path.clone();
        match self.host().blocking(move || is_stream(&there)).await? {
            false => Ok(Sink::File(path)),
            true => {
                let file = self.open_stream(&path).await?;
                Ok(Sink::writer(path, tokio::fs::File::from_std(file)))
            }
        }
    }

    /// Opens a pipe or terminal for writing, once somebody reads it.
    async fn open_stream(&self, path: &Path) -> Result<File, ClientError> {
        let no_reader = rustix::io::Errno::NXIO.raw_os_error();
        loop {
            let there = path.to_owned();
            match self.host().blocking(move || open_stream(&there)).await {
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

/// Whether what is at a path is written into, and not replaced; refuses what is neither.
fn is_stream(path: &Path) -> Result<bool, ClientError> {
    let leave = |what: &str| {
        let shown = path.display();
        let how = "to write there all the same, hand it over as standard output: -o - > PATH";
        Err(ClientError::Usage(format!("{shown} is {what}, and is left alone; {how}")))
    };
    let is_link = path.is_symlink();
    if is_link && !is_of_system(path) {
        // Never written through, whatever it leads to.
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

/// Opens a pipe or terminal for writing, if somebody reads it.
fn open_stream(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    // It could have become a file meanwhile, which would be written over from its beginning.
    if !is_special(&file.metadata()?) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags - OFlags::NONBLOCK))?;
    Ok(file)
}
