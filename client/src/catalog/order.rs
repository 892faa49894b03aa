//! The order of items. Rows lie in the file at hashed places, so that it shows no name and not even which names are alike.
//! So what is to be listed in order has an order of its own: a sorted tree of pages, each of them a sealed row of this
//! machine.
//!
//! The order follows from the rows of items, uploads in parts and their parts, no matter which device wrote these rows, and
//! changes in the same transaction. A page of a listing reads as many pages of the tree as it shows entries of, and two or
//! three more for each stretch that it leaves out.

mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use symbolon_protocol::Decode as _;
use symbolon_store::{CatalogRows, CatalogWriter};

use super::{
    Catalog, ItemParts, Items, Kind, Pages, Parted, Snapshot, Waiting,
    items::{
        ID_BYTES, ItemEntry, ItemPartEntry, PartedEntry, item_row_key, part_row_key, split_id,
    },
};
use crate::error::ClientError;
pub(crate) use page::{Entry, Page, Spot};

/// The root's number. All other numbers are drawn.
const ROOT: u64 = 0;

/// Pages that are in memory at once while the tree changes or is read.
const HELD_MAX: usize = 128;

/// A tree is never deeper: a page is split into two halves that each have two entries or more.
const DEPTH_MAX: usize = 64;

/// What the tree orders. It is the first byte of a spot's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shelf {
    /// Versions of items, by bucket and key, the newest first.
    Items = 1,
    /// Uploads in parts, by bucket and key, the oldest first.
    Parted = 2,
    /// Their parts, by upload and number.
    Parts = 3,
}

impl Shelf {
    /// Where the entries of a bucket with this key lie, or with keys that begin with it.
    pub(crate) fn at(self, bucket: &[u8], key: &[u8]) -> Vec<u8> {
        [&[self as u8], bucket, &[0], key].concat()
    }

    /// Where the parts of an upload lie.
    pub(crate) fn of_upload(upload: &[u8; ID_BYTES]) -> Vec<u8> {
        [&[Self::Parts as u8], &upload[..]].concat()
    }
}

/// The fields of a row that its entry in the tree has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    age: u64,
    tombstone: bool,
    waiting: bool,
}

impl Shown {
    fn of_item(item: &ItemEntry) -> Self {
        Self { age: u64::MAX - item.stamp, tombstone: item.is_tombstone(), waiting: false }
    }
}

/// A row's state before and after a change.
type BeforeAfter = [Option<Shown>; 2];

/// The rows that an edit changes, as far as the order needs them: by shelf and key, and by id.
#[derive(Debug, Default)]
pub(super) struct Orders(BTreeMap<(Vec<u8>, [u8; ID_BYTES]), Both>);

/// The row of an item, and the row of the same version whose bytes wait. The newer one is shown.
#[derive(Clone, Copy, Debug, Default)]
struct Both {
    row: Option<BeforeAfter>,
    waiting: Option<BeforeAfter>,
}

impl Orders {
    /// Notes a changed row. A row that this program cannot read, because another version of it wrote the row, counts as
    /// no row.
    pub(super) fn note(
        &mut self,
        table: u8,
        key: &[u8],
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) {
        let read: fn(&[u8]) -> Option<Shown> = match table {
            Items::TABLE | Waiting::TABLE => {
                |row| Some(Shown::of_item(&ItemEntry::from_bytes(row).ok()?))
            }
            Parted::TABLE => |row| {
                let age = PartedEntry::from_bytes(row).ok()?.made_ms;
                Some(Shown { age, tombstone: false, waiting: false })
            },
            ItemParts::TABLE => |row| {
                let row = ItemPartEntry::from_bytes(row).ok();
                row.map(|_| Shown { age: 0, tombstone: false, waiting: false })
            },
            _ => return,
        };
        let place = match table {
            ItemParts::TABLE if key.len() == part_row_key(&[0; ID_BYTES], 0).len() => {
                Some(([&[Shelf::Parts as u8], key].concat(), [0; ID_BYTES]))
            }
            ItemParts::TABLE => None,
            _ => split_id(key).map(|(item, id)| {
                let shelf = if table == Parted::TABLE { Shelf::Parted } else { Shelf::Items };
                ([&[shelf as u8], item].concat(), id)
            }),
        };
        let Some(place) = place else { return };
        let both = self.0.entry(place).or_default();
        let state = if table == Waiting::TABLE { &mut both.waiting } else { &mut both.row };
        let [_, now] = state.get_or_insert([before.and_then(read), None]);
        *now = after.and_then(read);
    }
}

/// How a walk goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// To the next entry.
    Next,
    /// To the first entry at this spot or after it.
    To(Spot),
    /// Not at all.
    Stop,
}

impl Catalog {
    /// Writes the order that follows from the noted changes. The changed rows may be written before or after.
    pub(super) fn write_order(
        &self,
        rows: &mut CatalogWriter<'_>,
        orders: Orders,
    ) -> Result<(), ClientError> {
        if orders.0.is_empty() {
            return Ok(());
        }
        let mut tree = Tree { catalog: self, rows, held: BTreeMap::new() };
        for ((key, id), both) in orders.0 {
            let [before, after] = tree.visible(&key, &id, both)?;
            if before == after {
                continue;
            }
            let spot = |shown: Shown| Spot { key: key.clone(), age: shown.age, id };
            if let Some(old) = before.filter(|old| after.is_none_or(|new| new.age != old.age)) {
                tree.remove(&spot(old))?;
            }
            if let Some(new) = after {
                let Shown { tombstone, waiting, .. } = new;
                tree.insert(Entry { spot: spot(new), tombstone, waiting })?;
            }
        }
        tree.flush()
    }

    /// Passes the entries from `from` on to `take`, in order.
    pub(crate) fn walk(
        &self,
        rows: &impl CatalogRows,
        from: Spot,
        mut take: impl FnMut(&Entry) -> Walk,
    ) -> Result<(), ClientError> {
        let (mut inner, mut at) = (BTreeMap::new(), from);
        loop {
            let (leaf, next) = self.leaf_at(rows, &at, &mut inner)?;
            let mut place = leaf.partition_point(|entry| entry.spot < at);
            while let Some(entry) = leaf.get(place) {
                match take(entry) {
                    Walk::Next => place += 1,
                    Walk::To(spot) => {
                        // A walk never turns back, whatever it is told.
                        let ahead = leaf.partition_point(|entry| entry.spot < spot);
                        place = ahead.max(place + 1);
                        at = spot;
                    }
                    Walk::Stop => return Ok(()),
                }
            }
            match next {
                Some(next) => at = at.max(next),
                None => return Ok(()),
            }
        }
    }

    /// The first entry at a spot or after it.
    pub(crate) fn first_at(
        &self,
        rows: &impl CatalogRows,
        from: Spot,
    ) -> Result<Option<Entry>, ClientError> {
        let mut found = None;
        self.walk(rows, from, |entry| {
            found = Some(entry.clone());
            Walk::Stop
        })?;
        Ok(found)
    }

    /// The same as [`Catalog::walk`], at one moment.
    pub(crate) fn walk_of(
        &self,
        at: &Snapshot,
        from: Spot,
        take: impl FnMut(&Entry) -> Walk,
    ) -> Result<(), ClientError> {
        self.walk(&*at.0, from, take)
    }

    /// The first entry at a spot or after it, at one moment.
    pub(crate) fn first_of(&self, at: &Snapshot, from: Spot) -> Result<Option<Entry>, ClientError> {
        self.first_at(&*at.0, from)
    }

    /// One row at one moment.
    pub(crate) fn row_of<K: Kind>(
        &self,
        at: &Snapshot,
        kind: K,
        key: &[u8],
    ) -> Result<Option<K::Row>, ClientError> {
        self.kept(&*at.0, kind, key)
    }

    /// The leaf that has a spot or would have it, and the first spot of the leaf after it.
    fn leaf_at(
        &self,
        rows: &impl CatalogRows,
        at: &Spot,
        inner: &mut BTreeMap<u64, Vec<(Spot, u64)>>,
    ) -> Result<(Vec<Entry>, Option<Spot>), ClientError> {
        let (mut id, mut next) = (ROOT, None);
        for _ in 0..DEPTH_MAX {
            if !inner.contains_key(&id) {
                match self.page(rows, id)? {
                    Page::Leaf(entries) => return Ok((entries, next)),
                    Page::Inner(below) => {
                        if HELD_MAX <= inner.len() {
                            inner.clear();
                        }
                        inner.insert(id, below);
                    }
                }
            }
            let below = &inner[&id];
            let place = child(below, at);
            next = below.get(place + 1).map(|(first, _)| first.clone()).or(next);
            id = below.get(place).ok_or_else(damaged)?.1;
        }
        Err(damaged())
    }

    fn page(&self, rows: &impl CatalogRows, id: u64) -> Result<Page, ClientError> {
        match self.kept(rows, Pages, &id.to_le_bytes())? {
            Some(page) => Ok(page),
            None if id == ROOT => Ok(Page::Leaf(Vec::new())),
            None => Err(damaged()),
        }
    }
}

fn damaged() -> ClientError {
    ClientError::Index(String::from("the order of items is damaged"))
}

/// Which page below has a spot, or would have it. Everything before the first page's first spot belongs there too.
fn child(below: &[(Spot, u64)], at: &Spot) -> usize {
    below.partition_point(|(first, _)| first <= at).saturating_sub(1)
}

/// The tree while it changes. Pages are written when the changes are complete, or when many are held.
struct Tree<'a, 'w> {
    catalog: &'a Catalog,
    rows: &'a mut CatalogWriter<'w>,
    held: BTreeMap<u64, Held>,
}

struct Held {
    page: Page,
    changed: bool,
}

impl Tree<'_, '_> {
    /// What the tree shows of an item before and after a change.
    fn visible(
        &self,
        key: &[u8],
        id: &[u8; ID_BYTES],
        both: Both,
    ) -> Result<BeforeAfter, ClientError> {
        let item = key.strip_prefix(&[Shelf::Items as u8]);
        let Some((bucket, item)) = item.and_then(split_bucket) else {
            return Ok(both.row.unwrap_or_default());
        };
        let row_key = item_row_key(bucket, item, id);
        // A row that did not change is the same before and after.
        let row = match both.row {
            Some(row) => row,
            None => {
                let row = self.catalog.kept(&*self.rows, Items, &row_key)?;
                [row.as_ref().map(Shown::of_item); 2]
            }
        };
        let waiting = match both.waiting {
            Some(waiting) => waiting,
            None => {
                let row = self.catalog.kept(&*self.rows, Waiting, &row_key)?;
                [row.as_ref().map(Shown::of_item); 2]
            }
        };
        // Of both, the newer one is shown.
        let newer = |waiting: Option<Shown>, row: Option<Shown>| match (waiting, row) {
            (Some(waiting), Some(row)) if row.age < waiting.age => Some(row),
            (waiting, row) => waiting.map(|shown| Shown { waiting: true, ..shown }).or(row),
        };
        Ok([0, 1].map(|at| newer(waiting[at], row[at])))
    }

    fn held(&mut self, id: u64) -> Result<&mut Held, ClientError> {
        if !self.held.contains_key(&id) {
            let page = self.catalog.page(&*self.rows, id)?;
            self.held.insert(id, Held { page, changed: false });
        }
        self.held.get_mut(&id).ok_or_else(damaged)
    }

    /// The pages that lead to a spot's leaf, each with the place of the next one in it, and the leaf.
    fn path(&mut self, spot: &Spot) -> Result<(Vec<(u64, usize)>, u64), ClientError> {
        if HELD_MAX <= self.held.len() {
            self.flush()?;
        }
        let (mut path, mut id) = (Vec::new(), ROOT);
        while let Page::Inner(below) = &self.held(id)?.page {
            let place = child(below, spot);
            let next = below.get(place).ok_or_else(damaged)?.1;
            path.push((id, place));
            id = next;
            if DEPTH_MAX < path.len() {
                return Err(damaged());
            }
        }
        Ok((path, id))
    }

    fn insert(&mut self, entry: Entry) -> Result<(), ClientError> {
        let (path, leaf) = self.path(&entry.spot)?;
        let held = self.held(leaf)?;
        let Page::Leaf(entries) = &mut held.page else { return Err(damaged()) };
        held.changed = true;
        let place = entries.partition_point(|one| one.spot < entry.spot);
        match entries.get_mut(place).filter(|one| one.spot == entry.spot) {
            Some(one) => *one = entry,
            None => entries.insert(place, entry),
        }
        // Keys that come in order fill their pages.
        let appended = place + 1 == entries.len();
        self.split(path, leaf, appended)
    }

    /// Splits a page that has become too large, and those above it.
    fn split(
        &mut self,
        mut path: Vec<(u64, usize)>,
        mut id: u64,
        mut appended: bool,
    ) -> Result<(), ClientError> {
        while self.held(id)?.page.is_full() {
            let new: u64 = u64::from_le_bytes(self.catalog.host.random());
            let held = self.held(id)?;
            held.changed = true;
            let right = held.page.split(appended);
            let least = held.page.first().ok_or_else(damaged)?;
            let first = right.first().ok_or_else(damaged)?;
            self.held.insert(new, Held { page: right, changed: true });
            let Some((above, place)) = path.pop() else {
                // The root keeps its number, so its content moves.
                let left: u64 = u64::from_le_bytes(self.catalog.host.random());
                let root = self.held(ROOT)?;
                let page = std::mem::replace(&mut root.page, Page::Inner(Vec::new()));
                root.page = Page::Inner(vec![(least, left), (first, new)]);
                root.changed = true;
                self.held.insert(left, Held { page, changed: true });
                return Ok(());
            };
            let held = self.held(above)?;
            let Page::Inner(below) = &mut held.page else { return Err(damaged()) };
            held.changed = true;
            if place == 0 {
                // The first page also has what comes before the spot that stands for it here.
                below[0].0 = least;
            }
            below.insert(place + 1, (first, new));
            appended = place + 2 == below.len();
            id = above;
        }
        Ok(())
    }

    fn remove(&mut self, spot: &Spot) -> Result<(), ClientError> {
        let (mut path, mut id) = self.path(spot)?;
        let held = self.held(id)?;
        let Page::Leaf(entries) = &mut held.page else { return Err(damaged()) };
        let place = entries.binary_search_by(|one| one.spot.cmp(spot)).map_err(|_| damaged())?;
        entries.remove(place);
        held.changed = true;
        // A page without entries leaves the tree.
        while id != ROOT && self.held(id)?.page.is_empty() {
            self.drop_page(id)?;
            let (above, place) = path.pop().ok_or_else(damaged)?;
            let held = self.held(above)?;
            let Page::Inner(below) = &mut held.page else { return Err(damaged()) };
            below.remove(place);
            held.changed = true;
            id = above;
        }
        self.settle_root()
    }

    /// A root with one page below it becomes that page, and one without any becomes a leaf.
    fn settle_root(&mut self) -> Result<(), ClientError> {
        loop {
            let only = match &self.held(ROOT)?.page {
                Page::Inner(below) if below.is_empty() => None,
                Page::Inner(below) if below.len() == 1 => Some(below[0].1),
                Page::Inner(_) | Page::Leaf(_) => return Ok(()),
            };
            let page = match only {
                None => Page::Leaf(Vec::new()),
                Some(id) => {
                    let page = self.held(id)?.page.clone();
                    self.drop_page(id)?;
                    page
                }
            };
            *self.held(ROOT)? = Held { page, changed: true };
        }
    }

    fn drop_page(&mut self, id: u64) -> Result<(), ClientError> {
        self.held.remove(&id);
        Ok(self.rows.apply(self.catalog.change(Pages::TABLE, &id.to_le_bytes(), None))?)
    }

    /// Writes all changed pages.
    fn flush(&mut self) -> Result<(), ClientError> {
        use symbolon_protocol::Encode as _;
        for (id, held) in std::mem::take(&mut self.held) {
            if held.changed {
                let row = held.page.to_bytes();
                let change = self.catalog.change(Pages::TABLE, &id.to_le_bytes(), Some(&row));
                self.rows.apply(change)?;
            }
        }
        Ok(())
    }
}

/// The bucket and the key in a spot's key without its shelf.
pub(crate) fn split_bucket(item: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = item.iter().position(|byte| *byte == 0)?;
    Some((&item[..end], &item[end + 1..]))
}
