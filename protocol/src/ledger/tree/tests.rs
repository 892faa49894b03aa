//! The tree beside a naive one that is rebuilt from all rows.

use std::vec;

use proptest::{collection::vec as list, prelude::*};

use super::*;
use crate::ledger::state::{self, MemoryState};

type Plain = BTreeMap<Vec<u8>, Vec<u8>>;

/// The definition, word for word: no rows, one row, or two halves.
fn naive(rows: &[(Hash, Hash)], depth: usize, hash: &Hasher32) -> Hash {
    match rows {
        [] => EMPTY,
        [(path, value)] => hash.leaf(path, value),
        _ => {
            let (right, left): (Vec<_>, Vec<_>) =
                rows.iter().copied().partition(|(path, _)| bit(path, depth));
            hash.branch(&naive(&left, depth + 1, hash), &naive(&right, depth + 1, hash))
        }
    }
}

fn naive_root(rows: &Plain) -> Hash {
    let hash = Hasher32::new();
    let leaves: Vec<_> =
        rows.iter().map(|(key, value)| (hash.path(key), hash.value(value))).collect();
    naive(&leaves, 0, &hash)
}

/// Applies a batch to the state and its tree, as an engine does.
fn commit(state: &mut MemoryState, changes: &Rows) -> Hash {
    let (root, nodes) = update(state, changes);
    let mut rows = changes.clone();
    rows.extend(nodes);
    state.commit(&state::Update { rows });
    root
}

fn tree_rows(state: &MemoryState) -> Plain {
    let rows = state.rows().filter(|(key, _)| key[0] == TAG);
    rows.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn changes(rows: &[(u8, Option<u8>)]) -> Rows {
    rows.iter().map(|(key, value)| (vec![1, *key], value.map(|value| vec![value]))).collect()
}

#[test]
fn small_trees_are_what_the_definition_says() {
    let hash = Hasher32::new();
    let mut state = MemoryState::default();
    assert_eq!(root(&state), EMPTY);
    let leaf = |key: u8, value: u8| hash.leaf(&hash.path(&[1, key]), &hash.value(&[value]));

    assert_eq!(commit(&mut state, &changes(&[(7, Some(9))])), leaf(7, 9));
    assert_eq!(commit(&mut state, &changes(&[(7, Some(8))])), leaf(7, 8));
    // The same again changes no row.
    assert!(update(&state, &changes(&[(7, Some(8))])).1.is_empty());
    commit(&mut state, &changes(&[(1, Some(1)), (2, Some(2))]));
    assert_eq!(commit(&mut state, &changes(&[(7, None), (2, None)])), leaf(1, 1));
    assert_eq!(tree_rows(&state).len(), 1, "collapsed pages leave no rows");
    assert_eq!(commit(&mut state, &changes(&[(1, None)])), EMPTY);
    assert_eq!(state, MemoryState::default());
}

#[test]
fn the_trees_own_rows_are_not_in_it() {
    let mut batch = changes(&[(1, Some(1)), (2, Some(2))]);
    let plain = update(&MemoryState::default(), &batch);
    batch.extend(plain.1.clone());
    assert_eq!(update(&MemoryState::default(), &batch), plain);
}

#[test]
fn keys_of_pages_are_their_places() {
    let path = Hash([0xfd; 32]);
    assert_eq!(page_key(0, &path), [0, 0, 0]);
    assert_eq!(page_key(4, &path), [0, 0, 4, 0xf0]);
    assert_eq!(page_key(8, &path), [0, 0, 8, 0xfd]);
    assert_eq!(page_key(12, &path), [0, 0, 12, 0xfd, 0xf0]);
    assert_eq!(page_key(252, &path).len(), 35);
    assert_eq!([0, 4, 8].map(|depth| cell_of(&path, depth)), [0xf, 0xd, 0xf]);
}

#[test]
fn a_path_cannot_be_bent() {
    let mut state = MemoryState::default();
    let all: Vec<_> = (0..40).map(|key| (key, Some(key))).collect();
    let root = commit(&mut state, &changes(&all));
    let path = prove(&state, &[1, 3]);
    assert_eq!(verify(&root, &[1, 3], Some(&[3]), &path), Ok(()));
    assert_eq!(verify(&root, &[1, 3], Some(&[4]), &path), Err(TreeError::WrongRoot));
    assert_eq!(verify(&root, &[1, 3], None, &path), Err(TreeError::End));
    assert_eq!(verify(&EMPTY, &[1, 3], Some(&[3]), &path), Err(TreeError::WrongRoot));
    for place in 0..path.len() {
        let mut bent = path.clone();
        bent[place] ^= 1;
        assert!(verify(&root, &[1, 3], Some(&[3]), &bent).is_err(), "byte {place}");
    }
    for length in 0..path.len() {
        assert!(verify(&root, &[1, 3], Some(&[3]), &path[..length]).is_err());
    }
    // Some row's leaf does not stand in for another key's absence.
    let hash = Hasher32::new();
    let read = |path: &[u8]| Vec::<Hash>::decode(&mut Reader::new(path)).unwrap();
    let mut other = read(&path).to_bytes();
    other.push(2);
    hash.path(&[1, 3]).encode(&mut other);
    hash.value(&[3]).encode(&mut other);
    assert_eq!(verify(&root, &[1, 3], None, &other), Err(TreeError::End));
    let key = (100..)
        .map(|key| [1, key])
        .find(|key| bit(&hash.path(key), 0) != bit(&hash.path(&[1, 3]), 0));
    assert_eq!(verify(&root, &key.unwrap(), None, &other), Err(TreeError::Stray));

    let mut deep = vec![EMPTY; 257].to_bytes();
    deep.push(0);
    assert_eq!(verify(&root, &[9], None, &deep), Err(TreeError::TooDeep { levels: 257 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batching_gives_the_rebuilt_root(
        batches in list(list((any::<u8>(), prop::option::weighted(0.6, any::<u8>())), 0..30), 1..8),
    ) {
        let (mut state, mut plain) = (MemoryState::default(), Plain::new());
        for batch in &batches {
            let batch = changes(batch);
            for (key, value) in &batch {
                match value {
                    Some(value) => plain.insert(key.clone(), value.clone()),
                    None => plain.remove(key),
                };
            }
            let reached = commit(&mut state, &batch);
            prop_assert_eq!(reached, naive_root(&plain));
            prop_assert_eq!(reached, root(&state));
        }
        // All rows at once leave the very same tree rows: no remains of what was removed.
        let mut once = MemoryState::default();
        commit(&mut once, &plain.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect());
        prop_assert_eq!(tree_rows(&once), tree_rows(&state));

        let root = root(&state);
        for key in 0..=255 {
            let (key, other) = ([1, key], [2, key]);
            let value = plain.get(&key[..]).map(Vec::as_slice);
            let path = prove(&state, &key);
            prop_assert_eq!(verify(&root, &key, value, &path), Ok(()));
            let wrong = match value { Some(_) => None, None => Some(&[0][..]) };
            prop_assert!(verify(&root, &key, wrong, &path).is_err());
            prop_assert!(verify(&root, &other, value.or(Some(&[0])), &path).is_err());
        }
    }

    #[test]
    fn bytes_of_a_stranger_never_panic(bytes in list(any::<u8>(), 0..400), key in list(any::<u8>(), 0..9)) {
        prop_assert!(verify(&Hash([7; 32]), &key, None, &bytes).is_err());
        prop_assert!(verify(&Hash([7; 32]), &key, Some(&[1]), &bytes).is_err());
    }
}
