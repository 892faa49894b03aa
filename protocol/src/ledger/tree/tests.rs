//! The tree beside a naive one that is rebuilt from all rows, and proofs beside what they are about.

use std::vec;

use proptest::{collection::vec as list, prelude::*};

use super::{proof::Part, *};
use crate::ledger::{
    rows::TABLES,
    state::{self, MemoryState},
};

type Plain = BTreeMap<Vec<u8>, Vec<u8>>;

/// The definition, word for word: a row, or a branch at the first bit in which the keys differ.
fn naive(rows: &[(Vec<u8>, Hash)], hash: &Hasher32) -> Hash {
    match rows {
        [] => EMPTY,
        [(key, value)] => hash.leaf(key, value),
        _ => {
            let differ =
                |at: &usize| rows.iter().any(|(key, _)| bit(key, *at) != bit(&rows[0].0, *at));
            let at = (0..).find(differ).unwrap();
            let (right, left): (Vec<_>, Vec<_>) =
                rows.iter().cloned().partition(|row| bit(&row.0, at));
            hash.branch(at, &naive(&left, hash), &naive(&right, hash))
        }
    }
}

fn naive_root(rows: &Plain) -> Hash {
    let hash = Hasher32::new();
    let leaves: Vec<_> = rows.iter().map(|(key, value)| (key.clone(), hash.value(value))).collect();
    naive(&leaves, &hash)
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

/// Keys of two tables: `1 | key`, and `2 | 8 bytes that mostly repeat | key` below it.
fn key_of(number: u16) -> Vec<u8> {
    let [table, last] = number.to_be_bytes();
    match table % 2 {
        0 => vec![1, last],
        _ => [&[2][..], &[table / 2; 8], &[last]].concat(),
    }
}

fn changes(rows: &[(u16, Option<u8>)]) -> Rows {
    rows.iter().map(|(key, value)| (key_of(*key), value.map(|value| vec![value]))).collect()
}

#[test]
fn small_trees_are_what_the_definition_says() {
    let hash = Hasher32::new();
    let mut state = MemoryState::default();
    assert_eq!(root(&state), EMPTY);
    let leaf = |key: u8, value: u8| hash.leaf(&[1, key], &hash.value(&[value]));

    assert_eq!(commit(&mut state, &changes(&[(7, Some(9))])), leaf(7, 9));
    assert_eq!(commit(&mut state, &changes(&[(7, Some(8))])), leaf(7, 8));
    // The same again changes no row.
    assert!(update(&state, &changes(&[(7, Some(8))])).1.is_empty());
    // 0000 0001 and 0000 0111 differ in bit 5 of the second byte.
    let two = hash.branch(8 + 5, &leaf(1, 1), &leaf(7, 8));
    assert_eq!(commit(&mut state, &changes(&[(1, Some(1))])), two);
    commit(&mut state, &changes(&[(2, Some(2))]));
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
    let place = [0xfd; KEY_BYTES_MAX];
    assert_eq!(page_key(0, &place), [0, 0]);
    assert_eq!(page_key(4, &place), [0, 0xf0, 4]);
    assert_eq!(page_key(8, &place), [0, 0xfd, 0]);
    assert_eq!(page_key(12, &place), [0, 0xfd, 0xf0, 4]);
    assert_eq!(page_key(508, &place).len(), 66);
    assert_eq!([0, 4, 8].map(|depth| cell(&place, depth)), [0xf, 0xd, 0xf]);
    // A page of two rows is two rows long, whatever their keys have in common.
    let mut state = MemoryState::default();
    commit(&mut state, &changes(&[(256, Some(1)), (257, Some(2))]));
    let rows = tree_rows(&state);
    assert_eq!(
        rows.keys().cloned().collect::<Vec<_>>(),
        [vec![0], [&[0, 2][..], &[0; 8], &[0, 4]].concat()]
    );
    assert_eq!(rows.values().map(Vec::len).collect::<Vec<_>>(), [3 + 10 + 32, 2 * (3 + 1 + 32)]);
}

/// The greatest length of a key by the names of its parts, as `TABLES` has them.
fn key_bytes(kind: &str) -> usize {
    let names = kind.split(['(', ')', ',', ' ']).filter(|name| !name.is_empty());
    let bytes = |name| match name {
        "AccountId" | "NodeId" | "Hash" => 32,
        "DealId" | "ListingId" | "ObjectId" | "OrderId" | "VaultId" | "LinkId"
        | "TransactionId" => 16,
        // A tag, and the id of a deal or an order.
        "HoldKey" => 17,
        // A tag that says its length, and at most a link and an account. It stands at the end of its key.
        "Kept" => 49,
        "u64" | "LedgerTime" | "Millis" => 8,
        "u32" => 4,
        "u8" => 1,
        other => panic!(
            "say here how many bytes a key's {other} has: its length must follow from its first bytes"
        ),
    };
    names.map(bytes).sum()
}

#[test]
fn no_key_of_a_table_is_the_beginning_of_another() {
    for table in TABLES {
        assert_ne!(table.tag, TAG, "{}", table.name);
        assert!(key_bytes(table.key) < KEY_BYTES_MAX, "{}: its tag comes before it", table.name);
        let same = TABLES.iter().filter(|other| other.tag == table.tag);
        assert_eq!(same.count(), 1, "{}", table.name);
    }
}

#[test]
#[should_panic(expected = "no key is the beginning of another")]
fn a_key_that_begins_another_is_a_fault_of_these_rules() {
    let rows: Rows = [vec![1, 2], vec![1, 2, 0]].map(|key| (key, Some(vec![]))).into();
    drop(update(&MemoryState::default(), &rows));
}

/// All rows of a range, and whether there are more behind the first `limit`.
fn answer(
    plain: &Plain,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> (Vec<state::RowBytes>, bool) {
    let mut rows: Vec<_> = plain
        .iter()
        .filter(|(key, _)| {
            key.starts_with(prefix) && after.is_none_or(|after| after < key.as_slice())
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let more = limit < rows.len();
    rows.truncate(limit);
    (rows, more)
}

fn borrowed(rows: &[state::RowBytes]) -> Vec<(&[u8], &[u8])> {
    rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect()
}

/// A range is proven, and no answer to it without one of its rows.
fn range_holds(
    state: &MemoryState,
    plain: &Plain,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) {
    let root = root(state);
    let (rows, more) = answer(plain, prefix, after, limit);
    let until = rows.last().filter(|_| more).map(|(key, _)| key.clone());
    let range = Range { prefix, after, until: until.as_deref() };
    let proof = prove_range(state, &range);
    let rows = borrowed(&rows);
    assert_eq!(verify_range(&root, &range, &rows, &proof), Ok(()), "{range:?}");
    assert!(verify_range(&EMPTY, &range, &rows, &proof).is_err() || root == EMPTY);
    for missing in 0..rows.len() {
        let mut fewer = rows.clone();
        let (key, _) = fewer.remove(missing);
        assert!(verify_range(&root, &range, &fewer, &proof).is_err());
        // What a liar would say: the same tree, with the row as another one, or hidden.
        let others = Plain::from_iter(
            plain.iter().filter(|(other, _)| *other != key).map(|(k, v)| (k.clone(), v.clone())),
        );
        let asked: Vec<&[u8]> = others.keys().map(Vec::as_slice).collect();
        assert!(verify_range(&root, &range, &fewer, &prove_rows(state, asked)).is_err());
    }
    if more {
        // There is nothing behind the last row: the hidden rest could be there.
        let all = Range { until: None, ..range };
        assert_eq!(verify_range(&root, &all, &rows, &proof), Err(TreeError::Hidden));
    }
}

#[test]
fn a_proof_cannot_be_bent() {
    let mut state = MemoryState::default();
    let all: Vec<_> = (0..40).map(|key| (key, Some(1))).collect();
    let root = commit(&mut state, &changes(&all));
    let proof = prove_rows(&state, [&[1, 3][..]]);
    let holds =
        |value: Option<&[u8]>, proof: &[u8]| verify_rows(&root, [(&[1, 3][..], value)], proof);
    assert_eq!(holds(Some(&[1]), &proof), Ok(()));
    assert_eq!(holds(Some(&[4]), &proof), Err(TreeError::WrongRoot));
    assert_eq!(holds(None, &proof), Err(TreeError::Places { places: 1, rows: 0 }));
    for place in 0..proof.len() {
        let mut bent = proof.clone();
        bent[place] ^= 1;
        assert!(holds(Some(&[1]), &bent).is_err(), "byte {place}");
    }
    for length in 0..proof.len() {
        assert!(holds(Some(&[1]), &proof[..length]).is_err());
    }
    // Its place is not the place of another key, which ends at another leaf.
    let other = verify_rows(&root, [(&[1, 8][..], Some(&[1][..]))], &proof);
    assert_eq!(other, Err(TreeError::Stray));
    // Another row shown as a leaf does not stand in for it, and neither does the row itself.
    let beside = prove_rows(&state, [&[1, 99][..]]);
    assert_eq!(verify_rows(&root, [(&[1, 99][..], None)], &beside), Ok(()));
    assert_eq!(holds(None, &beside), Err(TreeError::Hidden));
    let mut named = prove_rows(&state, [&[1, 3][..]]);
    let at = named.iter().position(|byte| *byte == Part::ROW).unwrap();
    let mut leaf = Vec::new();
    let value = Hasher32::new().value(&[1]);
    Part::Leaf { key: &[1, 3], value }.encode(&mut leaf);
    named.splice(at..=at, leaf);
    assert_eq!(holds(None, &named), Err(TreeError::LeftOut));
    // A whole hidden tree shows nothing.
    let mut hidden = Vec::new();
    Part::Hidden(root).encode(&mut hidden);
    assert_eq!(holds(None, &hidden), Err(TreeError::Hidden));
    let two = verify_rows(&root, [(&[1, 3][..], Some(&[1][..])), (&[1, 3][..], None)], &proof);
    assert_eq!(two, Err(TreeError::Outside));
    // A key that no row can have is no reason to panic.
    let long = vec![1; 70_000];
    assert_eq!(verify_rows(&root, [(&long[..], Some(&[1][..]))], &proof), Err(TreeError::Outside));
    assert_eq!(verify_rows(&root, [(&long[..], None)], &prove_rows(&state, [&long[..]])), Ok(()));
}

#[test]
fn absence_of_any_bytes_is_proven() {
    let mut state = MemoryState::default();
    let all: Vec<_> = (0..600).map(|key| (key, Some(1))).collect();
    let root = commit(&mut state, &changes(&all));
    for key in [&[][..], &[0], &[1], &[2], &[1, 2, 3], &[2, 0, 0], &[2, 1, 1, 7], &[255; 100]] {
        let proof = prove_rows(&state, [key]);
        assert_eq!(verify_rows(&root, [(key, None)], &proof), Ok(()), "{key:?}");
        assert!(proof.len() < 800, "{} bytes for {key:?}", proof.len());
    }
}

#[test]
fn a_proof_of_many_neighbours_is_small() {
    let mut state = MemoryState::default();
    let all: Vec<_> = (0..1000).map(|key| (key, Some(1))).collect();
    commit(&mut state, &changes(&all));
    let range = Range { prefix: &[1], ..Range::default() };
    let (places, hash) = (500_usize.next_multiple_of(256) / 2, 1 + Hash::BYTES);
    // A row is a byte, a branch three; beside the table stands one hidden subtree.
    assert_eq!(prove_range(&state, &range).len(), places + 3 * places + hash);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_batching_gives_the_rebuilt_root(
        batches in list(list((0_u16..1024, prop::option::weighted(0.6, any::<u8>())), 0..30), 1..8),
        limit in 0_usize..40,
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
        for number in (0..1024).step_by(11) {
            let (key, other) = (key_of(number), key_of(number + 1));
            let value = plain.get(&key).map(Vec::as_slice);
            let proof = prove_rows(&state, [&key[..]]);
            prop_assert_eq!(verify_rows(&root, [(&key[..], value)], &proof), Ok(()));
            let wrong = match value { Some(_) => None, None => Some(&[0][..]) };
            prop_assert!(verify_rows(&root, [(&key[..], wrong)], &proof).is_err());
            prop_assert!(verify_rows(&root, [(&other[..], value.or(Some(&[0])))], &proof).is_err());
        }
        let keys: Vec<_> = (0..1024).step_by(37).map(key_of).collect();
        let proof = prove_rows(&state, keys.iter().rev().map(Vec::as_slice));
        let rows = || keys.iter().map(|key| (key.as_slice(), plain.get(key).map(Vec::as_slice)));
        prop_assert_eq!(verify_rows(&root, rows(), &proof), Ok(()));
        for denied in 0..keys.len() {
            let lie = |(number, (key, value)): (usize, (_, Option<_>))| {
                (key, if number == denied { value.xor(Some(&[0][..])) } else { value })
            };
            prop_assert!(verify_rows(&root, rows().enumerate().map(lie), &proof).is_err());
        }
        let afters = [None, Some(key_of(9)), Some(key_of(300)), plain.keys().next().cloned()];
        for prefix in [&[][..], &[1], &[2], &[2, 0, 0], &[2, 1, 1, 1, 1, 1, 1, 1, 1], &[3], &[1, 2, 3]] {
            for after in &afters {
                range_holds(&state, &plain, prefix, after.as_deref(), limit.max(1));
                range_holds(&state, &plain, prefix, after.as_deref(), usize::MAX);
            }
        }
    }

    #[test]
    fn bytes_of_a_stranger_never_panic(
        bytes in list(prop_oneof![Just(1_u8), Just(2), Just(3), Just(4), any::<u8>()], 0..400),
        key in list(any::<u8>(), 0..9),
    ) {
        let root = Hash([7; 32]);
        prop_assert!(verify_rows(&root, [(&key[..], None)], &bytes).is_err());
        prop_assert!(verify_rows(&root, [(&key[..], Some(&[1][..]))], &bytes).is_err());
        let range = Range { prefix: &key, ..Range::default() };
        prop_assert!(verify_range(&root, &range, &[], &bytes).is_err());
    }
}
