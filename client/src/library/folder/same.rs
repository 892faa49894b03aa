//! Whether files here have the content that is stored, whatever their times say.
//!
//! A file with an object of its own is hashed under its key and compared with the content root; nothing is sent.
//! Of a pack only the root of all of it is known: its members are read back and compared.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read as _},
    path::PathBuf,
};

use symbolon_protocol::id::ObjectId;

use super::ranges::{Taker, Wanted};
use crate::{
    error::ClientError,
    library::{
        Library,
        names::Found,
        source::{Links, open_file},
    },
    progress::Progress,
};

/// A file here, and what is stored that it may be. They are equally long.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) path: PathBuf,
    pub(super) found: Found,
}

impl Library {
    /// Which of the files have the content that is stored. One that cannot be read has not.
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

/// Compares files with their bytes as these come in.
struct Comparing {
    paths: BTreeMap<usize, PathBuf>,
    /// The one that is compared, and its file as long as it is the same.
    open: Option<(usize, Option<File>)>,
    same: Vec<usize>,
}

impl Taker for Comparing {
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

/// Whether these are the next bytes of a file.
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
