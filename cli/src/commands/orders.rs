//! `symbolon orders`: what you bought and sold.

use symbolon_view::market::Orders;

use crate::{
    context::{self, Context},
    error::Error,
    output::{Align, Report, Table},
    units::show_time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon orders
  symbolon orders --json")]
pub(crate) struct Args {}

pub(crate) async fn run(_: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client().await?;
    let me = client.identity().account();
    let orders = client.orders().await;
    context::close(client).await;
    let orders = orders?;
    let mut table = Table::new(&[
        ("ORDER", Align::Left),
        ("SIDE", Align::Left),
        ("CREDITS", Align::Right),
        ("STATE", Align::Left),
        ("ORDERED", Align::Left),
        ("LISTING", Align::Left),
    ]);
    let document = Orders::new(me, &orders);
    for order in &document.orders {
        table.row(vec![
            order.order.as_str()[..12].to_owned(),
            order.side.word().into(),
            order.amount.as_str().to_owned(),
            match order.refund {
                Some(refund) => format!("{}: {}", order.state.word(), refund.words()),
                None => order.state.word().into(),
            },
            show_time(order.ordered_ms),
            order.listing.as_str()[..12].to_owned(),
        ]);
    }
    let report = Report::new(&document);
    let report = if orders.is_empty() { report.text("No orders.") } else { report.table(table) };
    Ok(report.text(
        "Orders are listed until some time after their access has ended. Their payments stay in: symbolon account \
         history",
    )
    .text("See what happens next with one: symbolon order show ORDER"))
}
