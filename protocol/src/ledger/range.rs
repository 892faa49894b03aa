//! The ranges that fields of an action must keep, each with its name: the sender of an action can find out which
//! field lies outside before anything is spent.

use thiserror::Error;

use crate::{
    amount::Amount,
    ledger::{
        params::{BP, Params, WINDOW_MS_MAX},
        rows::Split,
    },
    limits::{SPLITS_MAX, TITLE_BYTES_MAX},
    time::Millis,
};

/// Preview cells of a listing at most: 64 picks miss 5 % of junk with 3.8 %.
pub const PREVIEW_CELLS_MAX: u8 = 64;

/// A field outside its range.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{field} is {value}, its range is {min} to {max}")]
pub struct OutOfRange {
    /// Its name, with its unit last.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
    /// Its least value.
    pub min: u64,
    /// Its greatest value.
    pub max: u64,
}

/// Whether a field is in its range.
pub(super) fn within(
    field: &'static str,
    value: u64,
    min: u64,
    max: u64,
) -> Result<(), OutOfRange> {
    match (min..=max).contains(&value) {
        true => Ok(()),
        false => Err(OutOfRange { field, value, min, max }),
    }
}

/// Whether a deal may have this many epochs.
pub fn check_epochs(epochs: u64, params: &Params) -> Result<(), OutOfRange> {
    within("epochs", epochs, 1, params.deal_epochs_max)
}

/// The shortest access: as long as a delivery, the window, and the answers of nodes to a complaint at its end may take.
#[must_use]
pub fn access_min(params: &Params, window_ms: Millis) -> Millis {
    window_ms.saturating_add(params.delivery_ms.saturating_mul(2))
}

/// The least bond of a listing at this price.
#[must_use]
pub fn bond_min(params: &Params, price: Amount) -> Amount {
    let part = price.fraction_up(u64::from(params.listing_bond_bp), BP);
    part.unwrap_or(Amount(u128::MAX))
}

/// The fields of a listing that its seller chooses.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Its title.
    pub title: &'a str,
    /// How long a grant lives, in milliseconds.
    pub access_ms: Millis,
    /// How long a buyer has to check a delivery, in milliseconds.
    pub window_ms: Millis,
    /// The further accounts that are paid.
    pub splits: &'a [Split],
    /// The number of preview cells.
    pub preview_cells: u8,
    /// Cells of the file for sale.
    pub cells: u64,
}

impl Offer<'_> {
    /// Whether a ledger with these parameters accepts them.
    pub fn check(&self, params: &Params) -> Result<(), OutOfRange> {
        let controls = self.title.chars().filter(|letter| letter.is_control()).count() as u64;
        let shares = || self.splits.iter().map(|split| u64::from(split.share_bp));
        let preview_max = u64::from(PREVIEW_CELLS_MAX).min(self.cells);
        within("title_bytes", self.title.len() as u64, 1, TITLE_BYTES_MAX as u64)?;
        within("title_control_characters", controls, 0, 0)?;
        within("window_ms", self.window_ms.0, params.window_ms_min.0, WINDOW_MS_MAX.0)?;
        within("access_ms", self.access_ms.0, access_min(params, self.window_ms).0, u64::MAX)?;
        within("splits", self.splits.len() as u64, 0, SPLITS_MAX as u64)?;
        for share in shares() {
            within("split_bp", share, 1, BP)?;
        }
        within("splits_bp", shares().sum(), 0, BP)?;
        within("preview_cells", u64::from(self.preview_cells), 0, preview_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;

    #[test]
    fn each_field_is_named_at_both_ends_of_its_range() {
        let params = Params::development();
        let split = |share_bp| Split { account: AccountId([1; 32]), share_bp };
        let good = Offer {
            title: "t",
            access_ms: access_min(&params, params.window_ms_min),
            window_ms: params.window_ms_min,
            splits: &[split(1), split(9_999)],
            preview_cells: 3,
            cells: 3,
        };
        assert_eq!(good.check(&params), Ok(()));
        let (long, most) = ("t".repeat(TITLE_BYTES_MAX), [split(1); SPLITS_MAX]);
        let last = Offer {
            title: &long,
            access_ms: Millis(u64::MAX),
            window_ms: WINDOW_MS_MAX,
            splits: &most,
            ..good
        };
        assert_eq!(last.check(&params), Ok(()));
        assert_eq!(Offer { preview_cells: 64, cells: 65, ..good }.check(&params), Ok(()));
        let longer = "t".repeat(TITLE_BYTES_MAX + 1);
        let bad = [
            (Offer { title: "", ..good }, "title_bytes"),
            (Offer { title: &longer, ..good }, "title_bytes"),
            (Offer { title: "a\nb", ..good }, "title_control_characters"),
            (Offer { access_ms: Millis(good.access_ms.0 - 1), ..good }, "access_ms"),
            (Offer { window_ms: Millis(params.window_ms_min.0 - 1), ..good }, "window_ms"),
            (Offer { window_ms: WINDOW_MS_MAX.saturating_add(Millis(1)), ..good }, "window_ms"),
            (Offer { splits: &[split(1); SPLITS_MAX + 1], ..good }, "splits"),
            (Offer { splits: &[split(0)], ..good }, "split_bp"),
            (Offer { splits: &[split(10_001)], ..good }, "split_bp"),
            (Offer { splits: &[split(2), split(9_999)], ..good }, "splits_bp"),
            (Offer { preview_cells: 4, ..good }, "preview_cells"),
            (Offer { preview_cells: 65, cells: 65, ..good }, "preview_cells"),
        ];
        for (offer, field) in bad {
            assert_eq!(offer.check(&params).unwrap_err().field, field);
        }
        assert_eq!(check_epochs(1, &params), Ok(()));
        assert_eq!(check_epochs(params.deal_epochs_max, &params), Ok(()));
        for epochs in [0, params.deal_epochs_max + 1] {
            assert_eq!(check_epochs(epochs, &params).unwrap_err().field, "epochs");
        }
    }
}
