//! Names one after another, as people read them, with one folder of them in memory at a time.

use std::{ops::ControlFlow, vec};

use super::{Name, NameView, Tree, shown};
use crate::{
    Client,
    catalog::{Content, Names, Version},
    error::ClientError,
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

/// What a name is sorted by beside what else is in its folder: as it is shown.
fn key(name: &[u8], is_folder: bool) -> String {
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let mut key = shown(last);
    if is_folder {
        key.push('/');
    }
    key
}

impl Client {
    /// Whether something is stored under a name or below it.
    pub fn is_there(&self, name: &[u8]) -> Result<bool, ClientError> {
        let name = name.strip_suffix(b"/").unwrap_or(name);
        if self.is_folder_now(name)? {
            return Ok(true);
        }
        let names = self.catalog().rows_at(Names, std::iter::once(name))?;
        Ok(names.iter().flatten().any(|row| row.current().is_some()))
    }

    /// Hands out what is stored under a name and below it, or all there is, in the order in which it is shown:
    /// until it is told to stop. Nobody waits for the index meanwhile; what changes meanwhile may be missing.
    pub fn each_name(
        &self,
        name: &[u8],
        mut take: impl FnMut(NameView) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let mut levels = vec![self.first_level(name)?];
        while let Some(level) = levels.last_mut() {
            let next = match level.items.next() {
                None => {
                    levels.pop();
                    continue;
                }
                Some((_, Item::Folder(folder))) => self.level(&folder)?,
                Some((_, Item::Name(name))) => {
                    let view = level.tree.view(&name, &level.tree.names[&name])?;
                    if take(view).is_break() {
                        return Ok(());
                    }
                    continue;
                }
            };
            levels.push(next);
        }
        Ok(())
    }

    fn first_level(&self, name: &[u8]) -> Result<Level, ClientError> {
        if name.is_empty() {
            return self.level(name);
        }
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
