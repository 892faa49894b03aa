//! How runs are merged: newer changes hide older ones, and each run is several times as large as the next.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::{
    limits::{INDEX_CHANGES_MAX, INDEX_PART_BYTES_MAX, INDEX_RUNS_MAX},
    names::{Change, RootRecord, change::PART_HEAD},
};

/// A run is at least this many times as large as the next newer run. A client writes every change again
/// about as often as there are levels, and there are few levels.
const GROWTH: u64 = 4;

/// Merges two lists. If both have a change of the same key, the newer one holds.
#[must_use]
pub fn merge(older: Vec<Change>, newer: Vec<Change>) -> Vec<Change> {
    let mut out = Vec::with_capacity(older.len() + newer.len());
    let (mut older, mut newer) = (older.into_iter().peekable(), newer.into_iter().peekable());
    loop {
        let order = match (older.peek(), newer.peek()) {
            (None, None) => return out,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.place().cmp(&new.place()),
        };
        match order {
            Ordering::Less => out.extend(older.next()),
            Ordering::Greater => out.extend(newer.next()),
            Ordering::Equal => {
                older.next();
                out.extend(newer.next());
            }
        }
    }
}

/// The changes that are rows: below the oldest run no removal has anything to hide.
#[must_use]
pub fn without_removed(mut changes: Vec<Change>) -> Vec<Change> {
    changes.retain(|change| change.value.is_some());
    changes
}

/// How many of the newest runs are merged with `fresh` bytes of changes: those that would be less than four
/// times as large as everything newer, and as many as keep the list short.
#[must_use]
pub fn runs_to_merge(record: &RootRecord, fresh: u64) -> usize {
    let (mut bytes, mut taken) = (fresh, 0);
    for run in record.runs.iter().rev() {
        let too_small = run.bytes() < bytes.saturating_mul(GROWTH);
        let too_many = INDEX_RUNS_MAX <= record.runs.len() - taken;
        if !too_small && !too_many {
            break;
        }
        bytes = bytes.saturating_add(run.bytes());
        taken += 1;
    }
    taken
}

/// Cuts changes into parts that a reader can hold in memory, in order. No part is empty.
#[must_use]
pub fn cut(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), PART_HEAD as u64);
    for change in changes {
        let full = INDEX_PART_BYTES_MAX < bytes + change.size() as u64
            || part.len() == INDEX_CHANGES_MAX as usize;
        if full && !part.is_empty() {
            parts.push(core::mem::take(&mut part));
            bytes = PART_HEAD as u64;
        }
        bytes += change.size() as u64;
        part.push(change);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}
