//! `symbolon orders`: what you bought and sold.

use serde_json::json;

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
    let mut list = Vec::new();
    for order in &orders {
        let side = if order.buyer == me { "bought" } else { "sold" };
        let state = format!("{:?}", order.state).to_lowercase();
        table.row(vec![
            order.id.to_string()[..12].to_owned(),
            side.into(),
            order.amount.to_string(),
            state.clone(),
            show_time(order.ordered_ms),
            order.listing.to_string()[..12].to_owned(),
        ]);
        list.push(json!({
            "order": order.id.to_string(),
            "listing": order.listing.to_string(),
            "side": side,
            "buyer": order.buyer.to_string(),
            "amount": order.amount.to_string(),
            "state": state,
            "ordered_ms": order.ordered_ms,
            "due_ms": order.due_ms,
        }));
    }
    let empty = list.is_empty();
    let report = Report::new(json!({ "account": me.to_string(), "orders": list }));
    Ok(if empty { report.text("No orders yet.") } else { report.table(table) })
}
