//! Folders: storing and reading many files at once.
//!
//! - [`walk`]: lists a local folder, without following links;
//! - [`plan`]: finds what is not stored yet, and divides it into packs and large files;
//! - [`pack`]: joins small files into one object;
//! - [`same`]: compares local files with stored ones;
//! - [`put`], [`get`]: carry out a plan; [`place`]: writes below one folder and nowhere else;
//! - [`shared`]: one grant for all files of a folder, and reading with it;
//! - [`compact`]: rewrites packs that are mostly dead, and gives files an object of their own;
//! - [`names`]: moves, removes and versions, which change only rows.
//!
//! A pack is an ordinary object: nodes, the ledger and manifests do not know about packs. Only the names say which
//! range of a pack is which file. So reading a small file is reading a range.

mod compact;
mod get;
mod get_plan;
mod names;
mod pack;
mod place;
mod plan;
mod put;
pub(in crate::library) mod ranges;
mod same;
mod shared;
mod walk;

pub use get::FolderGot;
pub use get_plan::GetPlan;
pub use names::{Moved, Removed, Selection, Usage};
pub use plan::{FolderPlan, FolderQuote};
pub use put::FolderStored;
pub use shared::FolderShared;
pub use walk::NotKept;

use crate::{
    error::ClientError,
    library::names::Pattern,
    progress::{Progress, Step},
};

/// A file that could not be handled, while the others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// The file's path, as messages show it.
    pub path: String,
    /// The reason.
    pub why: String,
}

impl FileFault {
    fn new(path: &[u8], why: impl std::fmt::Display) -> Self {
        Self { path: crate::library::names::shown(path), why: why.to_string() }
    }
}

/// How a local folder is compared with stored names.
#[derive(Clone, Debug, Default)]
pub struct FolderOptions {
    /// Files and folders that are ignored on both sides.
    pub exclude: Vec<Pattern>,
    /// Whether files that are missing on the source side are removed on the other side.
    pub delete: bool,
    /// Whether a folder or link may replace a stored file, which removes that file.
    pub replace: bool,
    /// Whether files are compared by content instead of length and time.
    pub checksum: bool,
    /// Number of epochs that must be left of a stored file: see [`crate::PutOptions::least`].
    pub least: u64,
    /// Number of epochs for which a stored file is kept if it ends sooner than that. It is not sent again.
    pub epochs: u64,
    /// Number of older versions to keep of each file: see [`crate::PutOptions::keep`].
    pub keep: Option<u32>,
}

impl FolderOptions {
    /// Whether a path below the folder, or a folder that contains it, is excluded.
    fn excludes(&self, relative: &[u8]) -> bool {
        if self.exclude.is_empty() {
            return false;
        }
        let ends = (0..relative.len()).filter(|at| relative[*at] == b'/').chain([relative.len()]);
        let mut outer = ends.map(|end| &relative[..end]);
        outer.any(|path| self.exclude.iter().any(|pattern| pattern.matches(path)))
    }
}

/// Number of objects handled at once: the next one is read while the one before it is sent.
const AT_ONCE: usize = 2;

/// A task that is aborted when its handle is dropped.
struct Task<T>(tokio::task::JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    async fn join(mut self) -> Result<T, ClientError> {
        let ended = (&mut self.0).await;
        ended.map_err(|error| ClientError::Internal(format!("a task died: {error}")))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Progress of one object among many. It drops the planned total, because the total of all objects was reported before.
fn one_of_many(progress: &Progress) -> Progress {
    let progress = progress.clone();
    Progress::new(move |step| match step {
        Step::Planned { .. } => {}
        step => progress.step(step),
    })
}

/// The reason of a fault of one file, as the system gives it.
fn io_why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => String::from("permission denied"),
        std::io::ErrorKind::NotFound => String::from("it is gone"),
        _ => error.to_string(),
    }
}

/// Whether an error is about one file, so that the work can go on with the others.
fn is_about_one_file(error: &ClientError) -> bool {
    match error {
        ClientError::SourceChanged { .. } => true,
        ClientError::Io { source, .. } => matches!(
            source.kind(),
            std::io::ErrorKind::PermissionDenied
                | std::io::ErrorKind::NotFound
                | std::io::ErrorKind::IsADirectory
                | std::io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}
