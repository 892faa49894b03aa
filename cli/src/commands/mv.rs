//! `symbolon mv`: give a file or folder another name.

use std::ffi::OsString;

use symbolon_client::shown;
use symbolon_view::files::Renamed;

use super::folder::{bytes, name};
use crate::{
    context::Context,
    error::Error,
    names::{self, Pay},
    output::Report,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon mv report.pdf reports/2026.pdf
  symbolon mv photos/2025 archive/photos-2025
  symbolon mv report.pdf reports/          into an existing folder

Only names change: nothing is sent or paid, and grants stay valid.")]
pub(crate) struct Args {
    /// The current name
    from: OsString,
    /// The new name; if it is an existing folder, the file moves into it
    to: OsString,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_local().await?;
    let moved = match client.rename(&name(&args.from)?, &name(&args.to)?).await {
        Ok(moved) => moved,
        Err(error) => {
            names::publish_and_close(client, Pay::Ask, &context.out).await;
            return Err(error.into());
        }
    };
    let lost = client.lost(&moved.to).await?;
    names::publish_given(client, &moved.to, &lost, &context.out).await?;
    let from = shown(bytes(&args.from));
    let text = format!("{from} is now {}.", moved.to);
    let document = Renamed { from, to: moved.to.to_string(), names: moved.names };
    Ok(Report::new(&document).text(text))
}
