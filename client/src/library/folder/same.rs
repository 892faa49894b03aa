//! Compares the content of local files with stored ones, no matter what their times are.
//!
//! The client hashes a file that has an object of its own under its key, and compares the content root. Nothing is
//! sent. Only one root covers a whole pack, so the members of a pack are read back and compared.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read as _},
    path::PathBuf,
};

use symbolon_protocol::id::ObjectId;

use super::ranges::{RangeSink, Wanted};
use crate::{
    error::ClientError,
    library::{
        Library,
        names::Found,
        source::{Links, open_file},
    },
    progress::Progress,
};

/// A local file, and the stored file that it is compared with. Both have the same length.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) path: PathBuf,
    pub(super) found: Found,
}

impl Library {
    /// Which local files have the stored content. A file that cannot be read counts as different.
    pub(super) async fn same_content(&self, pairs: Vec<Pair>) -> Result<Vec<bool>, ClientError> {
        let mut same = vec![false; pairs.len()];
        let mut packs: BTreeMap<ObjectId, Vec<usize>> = BTreeMap::new();
        for (number, pair) in pairs.iter().enumerate() {
            if pair.found.length == 0 {
                same[number] = true;
            } else if pair.found.is_whole() {
                let reading = self.resolve_own(&pair.found)?.reading;
                same[number] = match self.is_same(&pair.path, &reading).await {
                    Err(ClientError::Io { .. }) => false,
                    result => result?,
                };
            } else {
                packs.entry(pair.found.manifest().object).or_default().push(number);
            }
        }
        for numbers in packs.into_values() {
            let wanted = numbers.iter().map(|number| {
                let Found { first, length, .. } = pairs[*number].found;
                Wanted { number: *number, first, length }
            });
            let comparing = Comparing {
                paths: numbers
                    .iter()
                    .map(|number| (*number, pairs[*number].path.clone()))
                    .collect(),
                open: None,
                same: Vec::new(),
            };
            let any = &pairs[numbers[0]].found;
            let (compared, read) =
                self.read_ranges(any, wanted.collect(), comparing, &Progress::silent()).await;
            read?;
            for number in compared.same {
                same[number] = true;
            }
        }
        Ok(same)
    }
}

/// Compares local files with stored bytes as these arrive.
struct Comparing {
    paths: BTreeMap<usize, PathBuf>,
    /// The range under comparison, and its local file while it is equal.
    open: Option<(usize, Option<File>)>,
    same: Vec<usize>,
}

impl RangeSink for Comparing {
    fn take(&mut self, number: usize, bytes: &[u8], last: bool) {
        let file = match self.open.take() {
            Some((open, file)) if open == number => file,
            _ => {
                let path = self.paths.get(&number);
                path.and_then(|path| open_file(path, Links::Refused).ok()).map(|(file, _)| file)
            }
        };
        let file = file.filter(|file| reads(file, bytes));
        match (file, last) {
            (Some(file), true) if ends(&file) => self.same.push(number),
            (_, true) => {}
            (file, false) => self.open = Some((number, file)),
        }
    }
}

/// Whether the next bytes of a file are these.
fn reads(mut file: &File, bytes: &[u8]) -> bool {
    let mut here = vec![0; bytes.len()];
    file.read_exact(&mut here).is_ok() && here == bytes
}

fn ends(mut file: &File) -> bool {
    loop {
        match file.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return matches!(read, Ok(0)),
        }
    }
}
