//! Fresh previews, on the viewer's side: the viewer draws a number, and the seller, who is online, opens the cells that
//! this number picks. The seller could not choose them, and no beacon is needed.

use std::time::Duration;

use symbolon_net::{Alpn, NetError, PeerAddress};
use symbolon_protocol::{
    id::ListingId,
    ledger::rows::ListingState,
    limits::FRESH_CELLS_MAX,
    preview::open_fresh,
    wire::preview::{Request, Response},
};

use crate::{
    error::{ClientError, NotFresh},
    market::{
        Market,
        description::listed_answering,
        previews::{PreviewCell, viewed},
    },
};

/// How long a seller may take for its answer: it reads the cells from nodes first.
const ANSWER: Duration = Duration::from_secs(60);

/// Cells that a viewer's own number picked, opened by the seller just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshCells {
    /// The number.
    pub nonce: [u8; 32],
    /// The cells. They are those that the number picks, and part of the file.
    pub cells: Vec<PreviewCell>,
}

impl Market {
    /// Draws a number and has the seller of a listing open the cells that it picks. Checks that the seller opened these
    /// and no others, and that they are part of the file for sale.
    pub async fn fresh_preview(
        &self,
        id: &ListingId,
        count: u8,
    ) -> Result<FreshCells, ClientError> {
        if !(1..=FRESH_CELLS_MAX).contains(&count) {
            let why = format!("a number of your own picks 1 to {FRESH_CELLS_MAX} cells");
            return Err(ClientError::Usage(why));
        }
        let listing = self.own.row(id).await?;
        if listing.seller == self.me() {
            let why = "this identity sells it, and its own cells need no one else: try it as another identity";
            return Err(ClientError::Usage(why.into()));
        }
        if listing.state != ListingState::Open {
            return Err(ClientError::ListingEnded(*id));
        }
        let not = |why| ClientError::NotFresh { listing: *id, why };
        let document = self.read_public(&listing.seller, &listing.terms.document).await?;
        let seller = listed_answering(&document).ok_or_else(|| not(NotFresh::NoAddress))?;
        let nonce: [u8; 32] = self.host().random();
        let asking = self.ask_seller(&seller, Request::Open { listing: *id, nonce, count });
        let answer = tokio::time::timeout(ANSWER, asking).await;
        let cells = match answer.map_err(|_| not(NotFresh::Offline))? {
            Ok(Response::Cells { cells }) => cells,
            // The words are a stranger's; the reason says all.
            Ok(Response::Refused { why, .. }) => return Err(not(NotFresh::Refused(why))),
            Err(error) => {
                tracing::debug!(%error, "a seller did not answer");
                return Err(not(NotFresh::Offline));
            }
        };
        let manifest = &listing.terms.manifest;
        let corrupt = |why| ClientError::Corrupt { segment: 0, why };
        let layout = manifest.layout().map_err(|error| corrupt(error.into()))?;
        let opened = open_fresh(&cells, manifest, (id, &nonce), count);
        let opened = opened.map_err(|error| corrupt(error.into()))?;
        Ok(FreshCells { nonce, cells: viewed(&layout, opened) })
    }

    async fn ask_seller(
        &self,
        seller: &PeerAddress,
        request: Request,
    ) -> Result<Response, NetError> {
        let endpoint = self.network().peers().endpoint();
        let connection = endpoint.connect(seller, Alpn::Preview).await?;
        let (mut sender, mut receiver) = connection.open().await?;
        sender.send(&request).await?;
        sender.finish();
        receiver.receive().await
    }
}
