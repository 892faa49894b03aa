//! The sums over all shards: how many there are, their bytes, and the unpaid ones of each owner.
//!
//! Each changes in the commit of the row that changes it. So a node knows them at its start without reading rows, and
//! no crash makes them wrong.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use symbolon_protocol::{
    codec::{Decode, Encode},
    id::AccountId,
};

use super::{
    index::{Index, NUMBERS, SHARDS, Table},
    rows::{Counts, Row, ShardState, Unpaid},
};
use crate::StoreError;

/// Unpaid shards of each owner: account to [`Unpaid`].
pub(super) const UNPAID: Table<'_> = TableDefinition::new("unpaid");

/// Number of shards.
pub(super) const COUNT: &str = "shards";
/// Bytes of all shards.
pub(super) const USED: &str = "used";

/// The sums as they are.
pub(super) fn counts(index: &Index) -> Result<Counts, StoreError> {
    index.read(|transaction| {
        let numbers = transaction.open_table(NUMBERS)?;
        let number = |name| Ok::<_, StoreError>(numbers.get(name)?.map_or(0, |row| row.value()));
        let mut unpaid = Vec::new();
        for row in transaction.open_table(UNPAID)?.iter()? {
            let (owner, row) = row?;
            unpaid.push((AccountId::from_bytes(owner.value())?, Unpaid::from_bytes(row.value())?));
        }
        Ok(Counts { shards: number(COUNT)?, bytes: number(USED)?, unpaid })
    })
}

/// Changes the sums with a row.
pub(super) fn count(
    transaction: &WriteTransaction,
    before: Option<&Row>,
    after: Option<&Row>,
) -> Result<(), StoreError> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    let mut change = |name, gone: Option<u64>, come: Option<u64>| {
        if gone != come {
            let sum = numbers.get(name)?.map_or(0, |sum| sum.value());
            numbers.insert(
                name,
                sum.saturating_sub(gone.unwrap_or(0)).saturating_add(come.unwrap_or(0)),
            )?;
        }
        Ok::<_, StoreError>(())
    };
    change(COUNT, before.map(|_| 1), after.map(|_| 1))?;
    change(USED, before.map(|row| row.info.length), after.map(|row| row.info.length))?;
    let is_unpaid = |row: &&Row| matches!(row.state, ShardState::Unpaid { .. });
    match (before.filter(is_unpaid), after.filter(is_unpaid)) {
        (Some(row), None) => change_unpaid(transaction, row, |sum, one| sum.saturating_sub(one)),
        (None, Some(row)) => change_unpaid(transaction, row, |sum, one| sum.saturating_add(one)),
        _ => Ok(()),
    }
}

fn change_unpaid(
    transaction: &WriteTransaction,
    row: &Row,
    change: impl Fn(u64, u64) -> u64,
) -> Result<(), StoreError> {
    let mut unpaid = transaction.open_table(UNPAID)?;
    let owner = &row.info.owner.0[..];
    let sum = unpaid.get(owner)?.map(|sum| Unpaid::from_bytes(sum.value())).transpose()?;
    let sum = sum.unwrap_or_default();
    let sum = Unpaid { shards: change(sum.shards, 1), bytes: change(sum.bytes, row.info.length) };
    match sum.shards {
        0 => drop(unpaid.remove(owner)?),
        _ => drop(unpaid.insert(owner, sum.to_bytes().as_slice())?),
    }
    Ok(())
}

/// Makes the sums of an index of the layout before, by reading every row once.
pub(super) fn add_up(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(NUMBERS)?.remove(USED)?;
    let shards = transaction.open_table(SHARDS)?;
    for row in shards.iter()? {
        count(transaction, None, Some(&Row::from_bytes(row?.1.value())?))?;
    }
    Ok(())
}
