//! Checks whether the file at the target is already the one that a get would write. It computes the file's content
//! leaves under the file key and compares them with the content root. Nothing is sent or written.

use std::{collections::VecDeque, fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};

use symbolon_protocol::{content::SegmentCoder, id::Hash, merkle};

use super::{GetOptions, Resolved, Sink};
use crate::{
    download::Reading,
    error::ClientError,
    library::{Library, upload::Replace},
    progress::Progress,
};

/// Stripes per task: 4 MiB at four required shards.
const BATCH_STRIPES: u32 = 16;

/// Tasks at once. They keep every core of a small machine busy, with one batch ahead.
const BATCHES_AHEAD: usize = 4;

impl Library {
    /// Whether a file that shares its object is at the target already. Such a file is small, so it is read and
    /// compared.
    pub(super) async fn is_same_part(
        &self,
        resolved: &Resolved,
        sink: &Sink,
        options: &GetOptions,
    ) -> Result<bool, ClientError> {
        let Sink::File(path) = sink else { return Ok(false) };
        let (_, length) = resolved.place;
        if options.range.is_some() || options.replace == Replace::Overwrite {
            return Ok(false);
        }
        let at = path.clone();
        if self.host().blocking(move || open_of(&at, length)).await.is_none() {
            return Ok(false);
        }
        let again = Resolved { reading: resolved.reading.clone(), bought: None, ..*resolved };
        let (memory, whole) = (Sink::Memory, GetOptions::default());
        let read = Box::pin(self.fetch(again, memory, &whole, &Progress::silent())).await?;
        let at = path.clone();
        let here = self.host().blocking(move || std::fs::read(at)).await;
        Ok(here.is_ok_and(|here| Some(here) == read.bytes))
    }

    /// Whether the file at `path` has exactly the content of `reading`.
    pub(crate) async fn is_same(
        &self,
        path: &Path,
        reading: &Reading,
    ) -> Result<bool, ClientError> {
        let manifest = &reading.manifest;
        let (at, length) = (path.to_owned(), manifest.length);
        let Some(file) = self.host().blocking(move || open_of(&at, length)).await else {
            return Ok(false);
        };
        let layout = manifest.layout().map_err(|error| ClientError::Grant(error.into()))?;
        let file = Arc::new(file);
        let mut root = merkle::Builder::new();
        let mut ahead = VecDeque::new();
        for segment in layout.iter() {
            let coder = manifest.coder(&reading.key, segment.segment);
            let coder = Arc::new(coder.map_err(|error| ClientError::Grant(error.into()))?);
            for first in (0..segment.stripes).step_by(BATCH_STRIPES as usize) {
                let end = segment.stripes.min(first + BATCH_STRIPES);
                let (file, coder, host) = (file.clone(), coder.clone(), self.host().clone());
                ahead.push_back(tokio::spawn(async move {
                    host.blocking(move || leaves(&file, &coder, first, end)).await
                }));
                if ahead.len() == BATCHES_AHEAD
                    && let Some(batch) = ahead.pop_front()
                {
                    push(&mut root, batch.await)?;
                }
            }
        }
        for batch in ahead {
            push(&mut root, batch.await)?;
        }
        Ok(root.finish() == manifest.content_root)
    }
}

/// Opens the file at a path, if it has that length.
fn open_of(path: &Path, length: u64) -> Option<File> {
    // The type is checked before opening: opening a pipe would wait for a writer.
    path.metadata().ok().filter(|about| about.is_file())?;
    let file = File::open(path).ok()?;
    let about = file.metadata().ok()?;
    (about.is_file() && about.len() == length).then_some(file)
}

type Batch = Result<Vec<Hash>, ClientError>;

fn push(
    root: &mut merkle::Builder,
    batch: Result<Batch, tokio::task::JoinError>,
) -> Result<(), ClientError> {
    let batch =
        batch.map_err(|error| ClientError::Internal(format!("a comparing task died: {error}")))?;
    for leaf in batch? {
        root.push(leaf);
    }
    Ok(())
}

fn leaves(file: &File, coder: &SegmentCoder, first: u32, end: u32) -> Batch {
    let outside = || ClientError::Internal(String::from("a stripe lies outside its segment"));
    let (mut plain, mut leaves) = (Vec::new(), Vec::new());
    for number in first..end {
        let stripe = coder.layout().stripe(number).ok_or_else(outside)?;
        plain.resize(stripe.plain_length, 0);
        file.read_exact_at(&mut plain, stripe.plain_start)
            .map_err(|source| ClientError::Io { path: "the file at the target".into(), source })?;
        coder
            .leaves(number, &plain, &mut leaves)
            .map_err(|error| ClientError::Internal(error.to_string()))?;
    }
    Ok(leaves)
}
