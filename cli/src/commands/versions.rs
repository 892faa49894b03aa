//! `symbolon versions` and `symbolon undelete`: older versions of a name, and bringing them back.

use std::ffi::OsString;

use symbolon_client::shown;
use symbolon_view::files::{Undeleted, Versions};

use super::folder::{bytes, name};
use crate::{
    context::{self, Context},
    error::Error,
    names::{self, Pay},
    output::{Align, Report, Table},
    progress,
    units::{show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon put notes.txt --keep 5            keep five older versions from now on
  symbolon versions notes.txt
  symbolon get notes.txt --number 3 -o old.txt
  symbolon undelete notes.txt --number 3     make it the newest again

Each version is paid for like a file of its own.")]
pub(crate) struct Args {
    /// The name of the file; it may have been removed
    name: OsString,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_local().await?;
    let versions = client.versions(&name(&args.name)?).await;
    context::close(client).await;
    let versions = versions?;
    let mut table = Table::new(&[
        ("NUMBER", Align::Right),
        ("SIZE", Align::Right),
        ("CHANGED", Align::Left),
        ("STORED", Align::Left),
        ("", Align::Left),
    ]);
    for version in &versions {
        let changed_ms = u64::try_from(version.modified_ns / 1_000_000).unwrap_or(0);
        table.row(vec![
            version.number.to_string(),
            version.length.map_or_else(String::new, show_size),
            show_time(changed_ms),
            show_time(version.stored_ms),
            String::from(if version.current { "current" } else { "" }),
        ]);
    }
    let document = Versions::new(shown(bytes(&args.name)), &versions);
    let report = Report::new(&document).table(table);
    Ok(if document.removed {
        report.text("It is removed; bring it back with: symbolon undelete NAME")
    } else {
        report
    })
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon undelete notes.txt
  symbolon undelete notes.txt --number 3

A removed name comes back as it was. With a number, that version becomes the newest, whether or not
the name was removed. Only versions that are kept can come back: see put --keep. See what is removed
with: symbolon ls --deleted")]
pub(crate) struct UndeleteArgs {
    /// The name of the file
    name: OsString,
    /// The version to bring back; `symbolon versions` lists them
    #[arg(long, value_name = "NUMBER")]
    number: Option<u64>,
}

pub(crate) async fn undelete(args: &UndeleteArgs, context: &Context) -> Result<Report, Error> {
    let client = context.client_local().await?;
    let bar = progress::bar(&context.out, "bringing back");
    let name = name(&args.name)?;
    let number = client.undelete(&name, args.number, &bar.progress()).await;
    bar.finish();
    let number = match number {
        Ok(number) => number,
        Err(error) => {
            names::publish_and_close(client, Pay::Ask, &context.out).await;
            return Err(error.into());
        }
    };
    let lost = client.lost(&name).await?;
    names::publish_given(client, &name, &lost, &context.out).await?;
    let text = format!("{name} is back, as version {number}.");
    Ok(Report::new(&Undeleted { name: name.to_string(), number }).text(text))
}
