//! Rows that were proven a moment ago. So the parts of a command do not request the same row
//! several times.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::port::RECENT;

/// Most rows that are kept. With those of a scan they take a few hundred KiB.
const ROWS_MAX: usize = 2_048;

/// The last known value of each key, and when it was requested.
#[derive(Debug, Default)]
pub(super) struct RecentRows {
    rows: BTreeMap<Vec<u8>, (Instant, Option<Vec<u8>>)>,
    /// How often [`RecentRows::forget`] was called.
    forgotten: u64,
}

/// When rows were requested.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    at: Instant,
    forgotten: u64,
}

impl RecentRows {
    /// The current time, for [`RecentRows::take`].
    pub(super) fn since(&self) -> Since {
        Since { at: Instant::now(), forgotten: self.forgotten }
    }

    /// Keeps the answer to a question that was sent at `since`. Drops it if rows were forgotten
    /// after that.
    pub(super) fn take(
        &mut self,
        since: Since,
        rows: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) {
        if since.forgotten != self.forgotten {
            return;
        }
        self.rows.retain(|_, (at, _)| at.elapsed() < RECENT);
        for (key, value) in rows.take(ROWS_MAX.saturating_sub(self.rows.len())) {
            let row = self.rows.entry(key).or_insert((since.at, None));
            if row.0 <= since.at {
                *row = (since.at, value);
            }
        }
    }

    /// A row, or its absence; `None` if neither is known.
    #[expect(clippy::option_option, reason = "the outer option says whether the row is known")]
    pub(super) fn value(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let (at, value) = self.rows.get(key)?;
        (at.elapsed() < RECENT).then(|| value.clone())
    }

    /// Forgets all rows except those of the tables in `unchanged`.
    pub(super) fn forget(&mut self, unchanged: &[u8]) {
        self.rows.retain(|key, _| key.first().is_some_and(|table| unchanged.contains(table)));
        self.forgotten += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: u8, value: Option<u8>) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        std::iter::once((vec![key], value.map(|value| vec![value])))
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_is_known_for_a_moment_and_until_a_transaction_may_change_it() {
        let mut recent = RecentRows::default();
        assert_eq!(recent.value(&[1]), None);
        recent.take(recent.since(), row(1, Some(7)));
        recent.take(recent.since(), row(2, None));
        assert_eq!(recent.value(&[1]), Some(Some(vec![7])));
        assert_eq!(recent.value(&[2]), Some(None), "an absent row is known too");
        tokio::time::advance(RECENT).await;
        assert_eq!(recent.value(&[1]), None);

        // An answer that was under way when a transaction was submitted may be older than it.
        let asked = recent.since();
        recent.forget(&[]);
        recent.take(asked, row(1, Some(7)));
        assert_eq!(recent.value(&[1]), None);
        recent.take(recent.since(), row(1, Some(7)).chain(row(2, Some(7))));
        recent.forget(&[2]);
        assert_eq!((recent.value(&[1]), recent.value(&[2])), (None, Some(Some(vec![7]))));
        // The age of a row counts from the question.
        let asked = recent.since();
        tokio::time::advance(RECENT / 2).await;
        recent.take(asked, row(1, Some(7)));
        assert_eq!(recent.value(&[1]), Some(Some(vec![7])));
        tokio::time::advance(RECENT / 2).await;
        assert_eq!(recent.value(&[1]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_rows_is_bounded() {
        let mut recent = RecentRows::default();
        let many = (0..10_000_u32).map(|number| (number.to_le_bytes().to_vec(), None));
        recent.take(recent.since(), many);
        assert_eq!(recent.rows.len(), ROWS_MAX);
    }
}
