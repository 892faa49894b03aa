//! A grant for several objects at once, such as the files of a folder: its first link names the root of a tree over
//! the objects, and a request shows the path of its object.

use alloc::vec::Vec;

use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    id::{Hash, ObjectId},
    limits::GRANT_OBJECTS_MAX,
    merkle::{self, Tree},
};

/// Where an object stands among the objects of a grant. No party signs it: the root in the first link proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its place among the objects, in the order of their ids.
    pub index: u32,
    /// How many objects there are.
    pub count: u32,
    /// The siblings that lead to the root, from the object's own upward.
    pub path: Vec<Hash>,
}

impl Member {
    /// Whether it proves that an object is one of those under a root.
    #[must_use]
    pub fn proves(&self, root: &Hash, object: &ObjectId) -> bool {
        let (index, count) = (u64::from(self.index), u64::from(self.count));
        count <= GRANT_OBJECTS_MAX as u64
            && merkle::verify(root, index, count, &leaf(object), &self.path).is_ok()
    }
}

impl Encode for Member {
    fn encode(&self, out: &mut Vec<u8>) {
        self.index.encode(out);
        self.count.encode(out);
        self.path.encode(out);
    }
}

impl Decode for Member {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (index, count) = (Decode::decode(input)?, Decode::decode(input)?);
        let length = u32::decode(input)?;
        super::codec::bounded("path", length, PATH_MAX)?;
        let mut path = Vec::new();
        for _ in 0..length {
            path.push(Decode::decode(input)?);
        }
        Ok(Self { index, count, path })
    }
}

/// Hashes of a path at most: one for each level of the largest tree.
const PATH_MAX: usize = GRANT_OBJECTS_MAX.ilog2() as usize;

/// The objects of one grant.
#[derive(Clone, Debug)]
pub struct ObjectSet {
    objects: Vec<ObjectId>,
    tree: Tree,
}

impl ObjectSet {
    /// These objects, each once. `None` if there are none, or more than a grant opens.
    #[must_use]
    pub fn new(objects: impl IntoIterator<Item = ObjectId>) -> Option<Self> {
        let mut objects: Vec<_> = objects.into_iter().collect();
        objects.sort_unstable();
        objects.dedup();
        if objects.is_empty() || GRANT_OBJECTS_MAX < objects.len() {
            return None;
        }
        let tree = Tree::new(objects.iter().map(leaf).collect());
        Some(Self { objects, tree })
    }

    /// The root that a first link names.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// How to prove that an object is one of them. `None` if it is not.
    #[must_use]
    pub fn member(&self, object: &ObjectId) -> Option<Member> {
        let index = u32::try_from(self.objects.binary_search(object).ok()?).ok()?;
        let count = u32::try_from(self.objects.len()).ok()?;
        Some(Member { index, count, path: self.tree.path(u64::from(index)) })
    }
}

fn leaf(object: &ObjectId) -> Hash {
    Hash(blake3::derive_key("symbolon 2026 grant object v1", &object.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_of_a_set_is_proven_and_no_other() {
        let objects = |count: u8| (0..count).map(|number| ObjectId([number; 16]));
        for count in 1..20 {
            let set = ObjectSet::new(objects(count).rev().chain(objects(count))).unwrap();
            for object in objects(count) {
                let member = set.member(&object).unwrap();
                assert!(member.proves(&set.root(), &object));
                assert!(!member.proves(&set.root(), &ObjectId([99; 16])));
                assert_eq!(Member::from_bytes(&member.to_bytes()), Ok(member.clone()));
                let elsewhere = Member { index: member.index + 1, ..member.clone() };
                assert!(!elsewhere.proves(&set.root(), &object));
                let wider = Member { count: member.count + 1, ..member };
                assert!(!wider.proves(&set.root(), &object));
            }
            assert_eq!(set.member(&ObjectId([99; 16])), None);
        }
        assert!(ObjectSet::new([]).is_none());
    }

    #[test]
    fn a_path_is_never_longer_than_that_of_the_largest_set() {
        let of = |length: usize| {
            let path = alloc::vec![Hash([0; 32]); length];
            Member::from_bytes(&Member { index: 0, count: 1, path }.to_bytes())
        };
        assert!(of(PATH_MAX).is_ok());
        assert!(matches!(of(PATH_MAX + 1), Err(DecodeError::TooMany { .. })));
    }
}
