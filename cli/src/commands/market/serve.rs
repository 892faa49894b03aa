//! `symbolon market serve`: answer viewers while it runs.

use std::net::SocketAddr;

use symbolon_client::market::ViewerLimits;
use symbolon_view::{market::ViewersReady, network::Ready};

use crate::{
    context::{self, Context},
    error::Error,
    interrupt::{Interrupt, Leash},
    serve,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon sell birds.csv --price 5 --answer-at 203.0.113.7:4160
  symbolon market serve --listen 0.0.0.0:4160

A viewer draws a number, and this command opens the cells of the file that the number picks, for that
viewer. You cannot choose them, and viewers see more than the preview says. What was opened is written
down first: of one file never more is opened than --cells allows, however often this is started. It
answers for listings of yours whose file this machine knows; their descriptions must say the address
(sell --answer-at).")]
pub(super) struct Args {
    /// Where to listen, for example 0.0.0.0:4160
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Cells of one file that are opened at most, for all viewers together [default: 1 % of them, at least 4, at most a
    /// quarter]
    #[arg(long, value_name = "CELLS")]
    cells: Option<u64>,
    /// Cells that one viewer gets in a day at most [default: 8]
    #[arg(long, value_name = "CELLS")]
    each: Option<u64>,
    /// Stop when stdin ends, that is when the process that started this one ends
    #[arg(long, hide = true)]
    leashed: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    let mut interrupt = Interrupt::on(Leash::from(args.leashed));
    let client = context.client_synced().await?;
    let limits = ViewerLimits { of_file: args.cells, of_viewer: args.each };
    let answering = client.answering(limits).await?;
    let secret = client.identity().access_key().to_bytes();
    let endpoint = serve::viewers_endpoint(secret, args.listen, context.congestion).await?;
    let addresses = endpoint.address().addresses;
    context.out.say(&format!("Viewers are answered at {}.", addresses.join(" and ")))?;
    if context.out.is_json() {
        context.out.event(&ViewersReady {
            event: Ready::Ready,
            seller: client.identity().account().into(),
            addresses,
        })?;
    }
    context.out.note("Stop it with Ctrl-C; what was opened is not forgotten.");
    interrupt.or(answering.run(&endpoint)).await;
    endpoint.close().await;
    context::close(client).await;
    Ok(())
}
