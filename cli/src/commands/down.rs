//! `symbolon down`: stop the network that `up` runs.

use symbolon_view::network::Stopped;

use crate::{
    context::Context,
    detached,
    error::{Error, Kind},
    output::Report,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon down
  symbolon down --home /srv/symbolon

Nothing is lost: symbolon up brings everything back.")]
pub(crate) struct Args {}

pub(crate) async fn run(_: &Args, context: &Context) -> Result<Report, Error> {
    let root = context.home.root().display().to_string();
    let Some(pid) = context.home.running() else {
        return Err(Error::new(Kind::NotFound, format!("no network is running on {root}"))
            .hint("start one with: symbolon up"));
    };
    let running = || context.home.running().is_some();
    let forced = detached::stop(pid, running, &context.out).await?;
    let text = format!("The network on {root} has stopped.");
    Ok(Report::new(&Stopped { home: root, pid, forced }).text(text))
}
