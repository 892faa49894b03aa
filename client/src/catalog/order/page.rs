//! Pages of the order, and what they hold.

use symbolon_protocol::{Decode, DecodeError, Encode, codec::Reader};

use crate::catalog::items::ID_BYTES;

/// Bytes of a page from which on it is split. Where keys have much in common, about half of them are written.
pub(super) const PAGE_BYTES: usize = 8000;

/// A page has at least two entries for each half that it may be split into.
const FEWEST: usize = 4;

/// A place in the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// Shelf, bucket and key.
    pub(crate) key: Vec<u8>,
    /// The greatest stamp minus the version's: newer versions come first.
    pub(crate) age: u64,
    /// The id of the version or upload.
    pub(crate) id: [u8; ID_BYTES],
}

impl Spot {
    /// Before everything with this key, and with keys that begin with it.
    pub(crate) fn before(key: Vec<u8>) -> Self {
        Self { key, age: 0, id: [0; ID_BYTES] }
    }

    /// After everything with this key, and before every other key that begins with it.
    pub(crate) fn behind(mut key: Vec<u8>) -> Self {
        key.push(0);
        Self::before(key)
    }

    /// After everything whose key begins with `prefix`.
    pub(crate) fn behind_all(mut prefix: Vec<u8>) -> Self {
        while let Some(last) = prefix.pop() {
            if let Some(next) = last.checked_add(1) {
                prefix.push(next);
                return Self::before(prefix);
            }
        }
        // Shelves have small numbers, so no key is greater.
        Self::before(vec![u8::MAX])
    }

    /// Right after this spot.
    pub(crate) fn next(&self) -> Self {
        let key = self.key.clone();
        match u128::from_be_bytes(self.id).checked_add(1) {
            Some(id) => Self { key, age: self.age, id: id.to_be_bytes() },
            None => match self.age.checked_add(1) {
                Some(age) => Self { key, age, id: [0; ID_BYTES] },
                None => Self::behind(key),
            },
        }
    }
}

/// An entry of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) spot: Spot,
    /// Whether the version says that the item was removed.
    pub(crate) tombstone: bool,
    /// Whether its bytes wait on this machine.
    pub(crate) waiting: bool,
}

/// A page of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Entries, in order.
    Leaf(Vec<Entry>),
    /// Pages, each with a spot that none of its entries comes before. What comes before the first of these spots belongs to
    /// the first page.
    Inner(Vec<(Spot, u64)>),
}

impl Page {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(entries) => entries.is_empty(),
            Self::Inner(below) => below.is_empty(),
        }
    }

    pub(super) fn first(&self) -> Option<Spot> {
        match self {
            Self::Leaf(entries) => entries.first().map(|entry| entry.spot.clone()),
            Self::Inner(below) => below.first().map(|(first, _)| first.clone()),
        }
    }

    /// Number of its entries, and of their bytes. What all keys begin with counts for each of them, although it is written
    /// once: so one more entry adds no more than its own bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        let spot = |spot: &Spot, more: usize| 2 + spot.key.len() + 8 + 1 + ID_BYTES + more;
        match self {
            Self::Leaf(entries) => {
                (entries.len(), entries.iter().map(|entry| spot(&entry.spot, 1)).sum())
            }
            Self::Inner(below) => {
                (below.len(), below.iter().map(|(first, _)| spot(first, 8)).sum())
            }
        }
    }

    /// Whether the page has too many bytes.
    pub(super) fn is_full(&self) -> bool {
        let (count, bytes) = self.size();
        FEWEST <= count && PAGE_BYTES < bytes
    }

    /// Takes the second half away. Of a page that grows at its end, only the last entry or two.
    pub(super) fn split(&mut self, appended: bool) -> Self {
        let at = |count: usize| if appended { count - 2 } else { count / 2 };
        match self {
            Self::Leaf(entries) => Self::Leaf(entries.split_off(at(entries.len()))),
            Self::Inner(below) => Self::Inner(below.split_off(at(below.len()))),
        }
    }
}

/// Number of bytes that all keys of a page begin with.
fn common(first: &[u8], last: &[u8]) -> usize {
    first.iter().zip(last).take_while(|(one, other)| one == other).count()
}

/// Writes a spot without the first `shared` bytes of its key.
fn encode_spot(spot: &Spot, shared: usize, out: &mut Vec<u8>) {
    encode_short(&spot.key[shared..], out);
    spot.age.encode(out);
    let has_id = spot.id != [0; ID_BYTES];
    has_id.encode(out);
    if has_id {
        spot.id.encode(out);
    }
}

fn encode_short(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).expect("keys of items are far below 64 KiB");
    length.encode(out);
    out.extend_from_slice(bytes);
}

fn decode_short<'a>(input: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = u16::decode(input)?;
    input.take(length.into())
}

fn decode_spot(shared: &[u8], input: &mut Reader<'_>) -> Result<Spot, DecodeError> {
    let key = [shared, decode_short(input)?].concat();
    let age = u64::decode(input)?;
    let id = if bool::decode(input)? { input.array()? } else { [0; ID_BYTES] };
    Ok(Spot { key, age, id })
}

fn encode_list<T>(
    (list, out): (&[T], &mut Vec<u8>),
    spot: impl Fn(&T) -> &Spot,
    rest: impl Fn(&T, &mut Vec<u8>),
) {
    let shared = match (list.first(), list.last()) {
        (Some(first), Some(last)) => common(&spot(first).key, &spot(last).key),
        _ => 0,
    };
    let prefix = list.first().map_or(&[][..], |first| &spot(first).key[..shared]);
    encode_short(prefix, out);
    u16::try_from(list.len()).expect("a page is split long before").encode(out);
    for one in list {
        encode_spot(spot(one), shared, out);
        rest(one, out);
    }
}

fn decode_list<T>(
    input: &mut Reader<'_>,
    each: impl Fn(Spot, &mut Reader<'_>) -> Result<T, DecodeError>,
    spot: impl Fn(&T) -> &Spot,
) -> Result<Vec<T>, DecodeError> {
    let shared = decode_short(input)?;
    let count = u16::decode(input)?;
    let mut out: Vec<T> = Vec::with_capacity(usize::from(count).min(input.remaining() / 11));
    for _ in 0..count {
        let next = decode_spot(shared, input)?;
        if out.last().is_some_and(|last| next <= *spot(last)) {
            return Err(DecodeError::Invalid { what: "order of items" });
        }
        out.push(each(next, input)?);
    }
    Ok(out)
}

impl Encode for Page {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leaf(entries) => {
                out.push(1);
                let rest = |entry: &Entry, out: &mut Vec<u8>| {
                    entry.tombstone.encode(out);
                    entry.waiting.encode(out);
                };
                encode_list((entries, out), |entry| &entry.spot, rest);
            }
            Self::Inner(below) => {
                out.push(2);
                let rest = |(_, id): &(Spot, u64), out: &mut Vec<u8>| id.encode(out);
                encode_list((below, out), |(first, _)| first, rest);
            }
        }
    }
}

impl Decode for Page {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            1 => {
                let each = |spot, input: &mut Reader<'_>| {
                    let (tombstone, waiting) = (bool::decode(input)?, bool::decode(input)?);
                    Ok(Entry { spot, tombstone, waiting })
                };
                decode_list(input, each, |entry| &entry.spot).map(Self::Leaf)
            }
            2 => {
                let each = |spot, input: &mut Reader<'_>| Ok((spot, u64::decode(input)?));
                decode_list(input, each, |(first, _)| first).map(Self::Inner)
            }
            tag => Err(DecodeError::Tag { what: "page of the order", tag }),
        }
    }
}
