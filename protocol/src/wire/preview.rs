//! The messages of a seller who answers viewers: see `spec/market.md`, "Fresh previews".

use alloc::{string::String, vec::Vec};

use crate::{choice, id::ListingId, preview::PreviewCell};

choice! {
    /// What a viewer asks of a seller.
    pub enum Request {
        /// Open the cells that this number picks. Answered by [`Response::Cells`].
        Open = 1 {
            /// The listing.
            listing: ListingId,
            /// The viewer's own number.
            nonce: [u8; 32],
            /// How many cells.
            count: u8,
        },
    }
}

choice! {
    /// A seller's answer.
    pub enum Response {
        /// The seller does not open them, for this reason.
        Refused = 0 {
            /// The reason.
            why: NotOpened,
            /// The reason in words, for a person.
            message: String,
        },
        /// The cells, in file order.
        Cells = 1 {
            /// The cells.
            cells: Vec<PreviewCell>,
        },
    }
}

choice! {
    /// Why a seller does not open cells.
    #[derive(Copy)]
    pub enum NotOpened {
        /// The seller does not understand the message.
        Malformed = 1,
        /// It is not a listing that this seller answers for.
        NotHere = 2,
        /// More cells than one number may pick, or none.
        Count = 3,
        /// As many cells as the seller allows were opened of this file, for all viewers together.
        Spent = 4,
        /// This viewer has had as many cells as it may have for now.
        Later = 5,
        /// Too many viewers ask at the same time.
        Busy = 6,
        /// The seller cannot read the file now.
        Unable = 7,
    }
}
