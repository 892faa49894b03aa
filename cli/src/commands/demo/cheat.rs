//! A seller who cheats, and the buyer who gets the money back. No verb of this program lists a lie: the seller here is
//! made for the demo.

use std::time::Instant;

use symbolon_client::{
    Client, ClientError, DisputeOutcome, Examined, Name, NotListed, Progress, PutOptions,
    SellOptions, Source, Wrong,
};
use symbolon_protocol::{
    grant,
    id::{ListingId, Opening, TransactionId},
    ledger::{
        rows::{Deals, ListingState, Listings, Refund, Table as _},
        transaction::Action,
    },
};
use symbolon_view::demo::Figures;

use super::{
    PENGUINS, Stage, broken, millis,
    play::{PRICE, person},
};
use crate::{
    context,
    error::Error,
    units::{show_amount, show_duration},
};

const STEP: &str = "Cheat";

/// Another seller lists a key that opens nothing and goes offline. The buyer pays, and gets the money back.
pub(super) async fn cheat(stage: &mut Stage, buyer: &Client) -> Result<(), Error> {
    let seller = person(stage, "cheat").await?;
    seller.faucet().await?;
    let listing = list(stage, &seller).await?;
    context::close(seller).await;
    let before = buyer.account().await?.balance;
    let began = Instant::now();
    let bought = buyer.buy(&listing, PRICE, &Progress::silent()).await;
    let Err(ClientError::NotAsListed { order, what: NotListed::Key }) = bought else {
        return Err(broken(STEP, format!("the buyer did not notice the key: {bought:?}")));
    };
    let noticed = buyer.account().await?.balance;
    let Examined::Wrong(finding) = buyer.examine(&order, &Progress::silent()).await? else {
        return Err(broken(STEP, "nothing wrong was found"));
    };
    let report = buyer.dispute(&finding, &Progress::silent()).await?;
    let took = millis(began);
    let after = buyer.account().await?.balance;
    let is_back = finding.wrong == Wrong::Key
        && report.outcome == DisputeOutcome::Refunded(Refund::BadKey)
        && before.checked_add(report.from_bond) == Some(after);
    if !is_back {
        return Err(broken(STEP, format!("the money is not back: {report:?}")));
    }
    let row = buyer.ledger().row(Listings, &listing).await?;
    if row.is_none_or(|row| row.state != ListingState::Frozen) {
        return Err(broken(STEP, "the listing still takes orders"));
    }
    let paid = before.checked_sub(noticed).unwrap_or_default();
    let words = [
        format!(
            "Another seller lists a key that opens nothing, under a bond of {}, and goes offline.",
            show_amount(PRICE)
        ),
        format!(
            "The buyer pays {} into escrow; what the custodians release is not the listed key.",
            show_amount(paid)
        ),
        format!(
            "The buyer's client proves that to the ledger from bytes alone, {} after the order:",
            show_duration(took)
        ),
        format!(
            "{} are back, {} of the bond are the buyer's, and no other buyer can pay for it.",
            show_amount(report.refunded),
            show_amount(report.from_bond)
        ),
    ];
    let figures = Figures::Cheat {
        order: order.into(),
        paid: paid.into(),
        took_ms: took,
        refunded: report.refunded.into(),
        from_bond: report.from_bond.into(),
    };
    stage.held("A cheated buyer", &words, figures)
}

/// Lists the file of an honest listing anew, with a pad that leads to another key.
async fn list(stage: &Stage, seller: &Client) -> Result<ListingId, Error> {
    let name = Name::new("bargain.csv").map_err(|error| Error::usage(error.to_string()))?;
    let options = PutOptions { epochs: Some(stage.epochs()), ..PutOptions::default() };
    let quiet = Progress::silent();
    seller.put(Source::from(PENGUINS.to_vec()), &name, &options, &quiet).await?;
    let options = SellOptions { title: "A bargain".into(), price: PRICE, ..SellOptions::default() };
    let honest = seller.sell(&name, &options, &quiet).await?.listing;
    let gone = || broken(STEP, "the listing is gone");
    let row = seller.ledger().row(Listings, &honest).await?.ok_or_else(gone)?;
    seller.end_listing(&honest).await?;
    let (identity, chain) = (seller.identity(), seller.ledger().chain());
    let host = seller.network().host();
    let (preview, mut terms) = (row.preview.ok_or_else(gone)?, row.terms);
    let object = terms.manifest.object;
    terms.pad[0] ^= 1;
    terms.mandate = grant::mandate(&chain, &identity.account_key(), object, &host.random())
        .map_err(|error| broken(STEP, error.to_string()))?;
    let all = seller.ledger().scan_all(Deals, &[]).await?.into_iter();
    let own = all.filter(|(_, deal)| deal.object == object && deal.owner == identity.account());
    let mut deals: Vec<_> =
        own.filter_map(|(key, deal)| Some((deal.segment, Deals::parse(&key)?))).collect();
    deals.sort_unstable();
    let opening = Opening(host.random());
    let listing = ListingId::of(&identity.account(), &opening);
    let deals = deals.into_iter().map(|(_, deal)| deal).collect();
    for action in [
        Action::List { opening, terms: Box::new(terms) },
        Action::CoverListing { listing, first: 0, deals },
        Action::Preview { listing, preview },
    ] {
        let id = TransactionId(host.random());
        let sent = seller.network().send(&identity.account_key(), id, action).await;
        sent.map_err(ClientError::from)?;
    }
    Ok(listing)
}
