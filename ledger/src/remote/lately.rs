//! Rows as they were proven a moment ago, so that what one part of a command has asked for is not asked for again
//! by the next.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::port::RECENT;

/// Rows that are kept: with those of a scan, a few hundred KiB.
const ROWS_MAX: usize = 2_048;

/// Of each key what was last said, and when it was asked for.
#[derive(Debug, Default)]
pub(super) struct Lately {
    rows: BTreeMap<Vec<u8>, (Instant, Option<Vec<u8>>)>,
    /// How often everything was forgotten.
    forgotten: u64,
}

/// When something was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    at: Instant,
    forgotten: u64,
}

impl Lately {
    /// Now, for [`Lately::take`].
    pub(super) fn since(&self) -> Since {
        Since { at: Instant::now(), forgotten: self.forgotten }
    }

    /// Takes over the answer to what was asked then, unless it is from before what was forgotten.
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

    /// A row, or that there is none; nothing where that is not known.
    #[expect(clippy::option_option, reason = "not knowing is not knowing that there is none")]
    pub(super) fn value(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let (at, value) = self.rows.get(key)?;
        (at.elapsed() < RECENT).then(|| value.clone())
    }

    /// Everything may be otherwise now, but the rows of some tables.
    pub(super) fn forget(&mut self, stays: &[u8]) {
        self.rows.retain(|key, _| key.first().is_some_and(|table| stays.contains(table)));
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
    async fn a_row_is_known_for_a_moment_and_not_beyond_what_changes_it() {
        let mut lately = Lately::default();
        assert_eq!(lately.value(&[1]), None);
        lately.take(lately.since(), row(1, Some(7)));
        lately.take(lately.since(), row(2, None));
        assert_eq!(lately.value(&[1]), Some(Some(vec![7])));
        assert_eq!(lately.value(&[2]), Some(None), "that there is none is known too");
        tokio::time::advance(RECENT).await;
        assert_eq!(lately.value(&[1]), None);

        // An answer that was on its way when something was submitted is from before it.
        let asked = lately.since();
        lately.forget(&[]);
        lately.take(asked, row(1, Some(7)));
        assert_eq!(lately.value(&[1]), None);
        lately.take(lately.since(), row(1, Some(7)).chain(row(2, Some(7))));
        lately.forget(&[2]);
        assert_eq!((lately.value(&[1]), lately.value(&[2])), (None, Some(Some(vec![7]))));
        // How old it is counts from the question on.
        let asked = lately.since();
        tokio::time::advance(RECENT / 2).await;
        lately.take(asked, row(1, Some(7)));
        assert_eq!(lately.value(&[1]), Some(Some(vec![7])));
        tokio::time::advance(RECENT / 2).await;
        assert_eq!(lately.value(&[1]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_kept() {
        let mut lately = Lately::default();
        let many = (0..10_000_u32).map(|number| (number.to_le_bytes().to_vec(), None));
        lately.take(lately.since(), many);
        assert_eq!(lately.rows.len(), ROWS_MAX);
    }
}
