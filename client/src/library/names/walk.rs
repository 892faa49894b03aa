//! Names one after another, as people read them, with one folder of them in memory at a time.

use std::{fmt, vec};

use super::{Name, NameView, Tree, shown};
use crate::{
    catalog::{Content, Names, Version},
    error::ClientError,
    library::{Library, Local},
};

/// What comes next in a folder.
enum Item {
    Name(Name),
    Folder(Vec<u8>),
}

/// A folder that is being walked through.
struct Level {
    tree: Tree,
    items: vec::IntoIter<(String, Item)>,
}

/// Names one after another.
pub struct NameWalk {
    library: Library,
    /// Where it begins, until it has begun.
    begin: Option<Option<Name>>,
    levels: Vec<Level>,
}

impl fmt::Debug for NameWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameWalk").field("depth", &self.levels.len()).finish_non_exhaustive()
    }
}

impl NameWalk {
    /// The next name; nothing behind the last one, and after an error.
    pub async fn next(&mut self) -> Result<Option<NameView>, ClientError> {
        if let Some(begin) = self.begin.take() {
            let first = self.library.read(move |local| local.first_level(begin.as_ref())).await?;
            self.levels.push(first);
        }
        while let Some(level) = self.levels.last_mut() {
            match level.items.next() {
                None => {
                    self.levels.pop();
                }
                Some((_, Item::Folder(folder))) => {
                    match self.library.local(move |local| local.level(&folder)).await {
                        Ok(next) => self.levels.push(next),
                        Err(error) => {
                            self.levels.clear();
                            return Err(error);
                        }
                    }
                }
                Some((_, Item::Name(name))) => {
                    return level.tree.view(&name, &level.tree.names[&name]).map(Some);
                }
            }
        }
        Ok(None)
    }
}

/// What a name is sorted by beside what else is in its folder: as it is shown.
fn key(name: &[u8], is_folder: bool) -> String {
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let mut key = shown(last);
    if is_folder {
        key.push('/');
    }
    key
}

impl Library {
    /// Whether something is stored under a name or below it.
    pub async fn is_there(&self, name: &Name) -> Result<bool, ClientError> {
        let name = name.clone();
        self.read(move |local| local.is_there(&name)).await
    }

    /// What is stored under a name and below it, or all there is, in the order in which it is shown. Nobody waits
    /// for the index meanwhile; what changes meanwhile may be missing.
    #[must_use]
    pub fn walk_names(&self, name: Option<&Name>) -> NameWalk {
        NameWalk { library: self.clone(), begin: Some(name.cloned()), levels: Vec::new() }
    }
}

impl Local {
    pub(crate) fn is_there(&self, name: &Name) -> Result<bool, ClientError> {
        let name = name.as_bytes();
        if self.is_folder_now(name)? {
            return Ok(true);
        }
        let names = self.catalog().rows_at(Names, std::iter::once(name))?;
        Ok(names.iter().flatten().any(|row| row.current().is_some()))
    }

    fn first_level(&self, name: Option<&Name>) -> Result<Level, ClientError> {
        let Some(name) = name.map(Name::as_bytes) else { return self.level(b"") };
        let own = self.catalog().row(Names, name)?;
        let tree = self.tree_with(own.into_iter().collect())?;
        let mut items = items_of(&tree);
        items.push((String::new(), Item::Folder(name.to_vec())));
        Ok(Level { tree, items: items.into_iter() })
    }

    fn level(&self, folder: &[u8]) -> Result<Level, ClientError> {
        let (rows, folders) = self.catalog().directly_in(folder)?;
        let tree = self.tree_with(rows)?;
        let mut items = items_of(&tree);
        items.extend(folders.into_iter().map(|path| (key(&path, true), Item::Folder(path))));
        // A folder's own row comes before what is in it: the sort is stable.
        items.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(Level { tree, items: items.into_iter() })
    }
}

fn items_of(tree: &Tree) -> Vec<(String, Item)> {
    let item = |(name, version): (&Name, &Version)| {
        let is_folder = version.content == Content::Folder;
        (key(name.as_bytes(), is_folder), Item::Name(name.clone()))
    };
    tree.live().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_where_its_slash_does() {
        let mut keys =
            [key(b"x/a", true), key(b"x/a.b", false), key(b"a", false), key(b"\xff", false)];
        keys.sort();
        assert_eq!(keys, ["\\xff", "a", "a.b", "a/"]);
    }
}
