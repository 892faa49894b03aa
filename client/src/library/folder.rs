//! Folders: many files at once.
//!
//! - [`walk`]: a local folder as a list, links not followed;
//! - [`plan`]: what of it is not stored yet, cut into packs and large files;
//! - [`pack`]: small files one after another as one object;
//! - [`same`]: whether a file here has the content that is stored;
//! - [`put`], [`get`]: carrying a plan out; [`place`]: writing below a folder and nowhere else;
//! - [`compact`]: packs that are mostly dead, and files that leave their pack;
//! - [`names`]: moving, removing, versions: rows only.
//!
//! A pack is an ordinary object: nodes, ledger and manifest know nothing of packs. Which range of it is
//! which file is known from the names alone, so reading a small file is reading a range.

mod compact;
mod get;
mod get_plan;
mod names;
mod pack;
mod place;
mod plan;
mod put;
mod ranges;
mod same;
mod walk;

pub use get::FolderGot;
pub use get_plan::GetPlan;
pub use names::{Moved, Removed, Selection, Usage};
pub use plan::{FolderPlan, FolderQuote};
pub use put::FolderStored;
pub use walk::NotKept;

use crate::{
    error::ClientError,
    library::names::Pattern,
    progress::{Progress, Step},
};

/// What could not be done with one file, while the others went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// Which, as it is shown.
    pub path: String,
    /// Why.
    pub why: String,
}

impl FileFault {
    fn new(path: &[u8], why: impl std::fmt::Display) -> Self {
        Self { path: crate::library::names::shown(path), why: why.to_string() }
    }
}

/// How a folder is compared with what is stored.
#[derive(Clone, Debug, Default)]
pub struct FolderOptions {
    /// What is left alone on both sides.
    pub exclude: Vec<Pattern>,
    /// Whether what is not on the side that is copied goes from the other.
    pub delete: bool,
    /// Whether a folder or link may take the place of a file: what is in that file would go.
    pub replace: bool,
    /// Whether files are compared by their content, not by length and time.
    pub checksum: bool,
    /// How many epochs must be left of what is stored already; see [`crate::PutOptions::least`].
    pub least: u64,
    /// How many older versions of each file to keep; see [`crate::PutOptions::keep`].
    pub keep: Option<u32>,
}

impl FolderOptions {
    /// Whether a path below the folder, or a folder that it lies in, is left alone.
    fn excludes(&self, relative: &[u8]) -> bool {
        if self.exclude.is_empty() {
            return false;
        }
        let ends = (0..relative.len()).filter(|at| relative[*at] == b'/').chain([relative.len()]);
        let mut outer = ends.map(|end| &relative[..end]);
        outer.any(|path| self.exclude.iter().any(|pattern| pattern.matches(path)))
    }
}

/// Two at once: the next one is read while the one before it is on its way.
const AT_ONCE: usize = 2;

/// A task that ends when nobody waits for it any more.
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

/// Steps of one of many: how many bytes there are was said before, for all of them.
fn one_of_many(progress: &Progress) -> Progress {
    let progress = progress.clone();
    Progress::new(move |step| match step {
        Step::Planned { .. } => {}
        step => progress.step(step),
    })
}

/// The system's word for a fault of one file.
fn io_why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => String::from("permission denied"),
        std::io::ErrorKind::NotFound => String::from("it is gone"),
        _ => error.to_string(),
    }
}

/// Whether an error is about one file, so that the others can go on.
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
