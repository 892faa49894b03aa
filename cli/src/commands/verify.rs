//! `symbolon verify`: check that the nodes still hold a file's shards undamaged.

use std::ffi::OsString;

use symbolon_client::{Depth, VerifiedObject, VerifyReport, shown};
use symbolon_view::verify::{FileVerified, FolderVerified};

use super::folder::{bytes, first_few, name, pattern};
use crate::{
    context::{self, Context},
    error::{Error, Kind},
    output::{Align, Report, Table},
    progress,
    units::{count, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon verify report.pdf             a sample of every shard
  symbolon verify report.pdf --deep      every byte of every shard
  symbolon verify photos                 a folder, or a pattern: 'photos/**/*.jpg'

verify remembers the damage that it finds: the same put again stores the file anew, then ends the old deals.
Exit codes: 0 all shards are well; 15 every file can be read, but shards are missing or damaged;
7 a file has too few shards left to be read.")]
pub(crate) struct Args {
    /// A name, folder or pattern
    name: OsString,
    /// Check every byte of every shard instead of a sample
    #[arg(long)]
    deep: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    let client = context.client_synced().await?;
    let depth = if args.deep { Depth::Deep } else { Depth::Sample };
    let bar = progress::bar(&context.out, "checking");
    match client.verify_all(&pattern(&args.name), depth, &bar.progress()).await {
        Ok(None) => {}
        all => {
            bar.finish();
            context::close(client).await;
            return report_all(&args, context, depth, &all?.unwrap_or_default());
        }
    }
    let checked = client.verify(&name(&args.name)?, depth, &bar.progress()).await;
    bar.finish();
    context::close(client).await;
    let checked = checked?;
    let name = shown(bytes(&args.name));
    let bad = checked.shards.iter().filter(|shard| shard.fault.is_some()).count();
    let document = FileVerified::new(&name, depth, &checked);
    if bad == 0 {
        return context.out.report(&report(&document, &checked));
    }
    if !context.out.is_json() {
        context.out.report(&report(&document, &checked))?;
    }
    let total = checked.shards.len();
    let message = format!("{bad} of {} of {name} did not pass", count(total, "shard"));
    let error = if checked.readable {
        Error::new(Kind::Partial, message)
    } else {
        Error::new(Kind::NotEnough, format!("{message}; too few are left to read it"))
    };
    Err(error.hint(hint(&name, &checked)).details(document))
}

/// What to do about the damage.
fn hint(name: &str, checked: &VerifyReport) -> String {
    let name = quoted(name);
    let anew = format!("symbolon put FILE {name} --replace");
    match (checked.damaged, checked.readable) {
        (true, true) => format!(
            "the file can still be read. Store it anew to restore its shards: {anew}; if FILE is not here \
             any more, fetch it first: symbolon get {name} -o FILE"
        ),
        (true, false) => {
            format!("waiting does not mend damage. If FILE is still here, store it anew: {anew}")
        }
        (false, _) => String::from("nodes may only be offline for a while: try again later"),
    }
}

/// A name, quoted for a shell.
fn quoted(name: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "._-/+@,=".contains(letter);
    if name.chars().all(plain) { name.into() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

/// Reports the check of a folder, or of all that a pattern matches.
fn report_all(
    args: &Args,
    context: &Context,
    depth: Depth,
    objects: &[VerifiedObject],
) -> Result<(), Error> {
    let name = shown(bytes(&args.name));
    let document = FolderVerified::new(&name, depth, objects);
    let FolderVerified { unwell, unreadable, over, .. } = &document;
    let mut table = Table::new(&[("VERDICT", Align::Left), ("FILES", Align::Left)]);
    for (object, told) in objects.iter().zip(&document.objects).filter(|(_, told)| !told.is_well())
    {
        table.row(vec![verdict(object), first_few(&told.names)]);
    }
    let text = format!(
        "Checked {} of {}, {} of {name}; {} are what they should be.",
        count(document.checked_cells, "cell"),
        count(objects.len(), "object"),
        count(document.files, "file"),
        show_size(document.checked_bytes)
    );
    let report = Report::new(&document);
    let report = if unwell.is_empty() { report } else { report.table(table) }.text(text);
    if unwell.is_empty() {
        return context.out.report(&report);
    }
    if !context.out.is_json() {
        context.out.report(&report)?;
    }
    Err(if unreadable.is_empty() {
        let message = format!("shards of {} did not pass", count(unwell.len(), "file"));
        Error::new(Kind::Partial, message)
            .hint(if found(objects).any(|found| found.damaged) {
                "all of them can still be read. Run the same put again to store the damaged ones anew; fetch \
                 first what is not here any more"
            } else {
                "all of them can still be read, and nodes may only be offline for a while: try again later"
            })
    } else {
        let message = format!("{} cannot be read", count(unreadable.len(), "file"));
        Error::new(Kind::NotEnough, format!("{message}: {}", first_few(unreadable)))
            .hint(hint_unreadable(unreadable.len(), over.len()))
    }
    .details(document))
}

/// The hint for `unreadable` files that cannot be read, `over` of them because their time is over.
fn hint_unreadable(unreadable: usize, over: usize) -> String {
    let away = "nodes may only be offline for a while: try again later";
    let again = "put them again to have them stored again";
    match (over, unreadable - over) {
        (0, _) => away.into(),
        (_, 0) => format!("their time is over: {again}"),
        (over, _) => {
            format!("the time of {} is over: {again}. Of the others, {away}", count(over, "file"))
        }
    }
}

fn found(objects: &[VerifiedObject]) -> impl Iterator<Item = &VerifyReport> {
    objects.iter().filter_map(|object| object.found.as_ref().ok())
}

fn verdict(object: &VerifiedObject) -> String {
    match &object.found {
        Err(error) => error.to_string(),
        Ok(found) => {
            let bad = found.shards.iter().filter(|shard| shard.fault.is_some()).count();
            let all = count(found.shards.len(), "shard");
            let reads = if found.readable { "" } else { "; too few are left to read it" };
            format!("{bad} of {all} did not pass{reads}")
        }
    }
}

fn report(document: &FileVerified, checked: &VerifyReport) -> Report {
    let mut table = Table::new(&[
        ("SEGMENT", Align::Right),
        ("SHARD", Align::Right),
        ("NODE", Align::Left),
        ("VERDICT", Align::Left),
    ]);
    for shard in &checked.shards {
        table.row(vec![
            shard.segment.to_string(),
            shard.index.to_string(),
            shard.node.to_string()[..16].to_owned(),
            shard.fault.clone().unwrap_or_else(|| "well".into()),
        ]);
    }
    let cells = count(checked.checked_cells, "cell");
    let shards = count(checked.shards.len(), "shard");
    let read = show_size(checked.checked_bytes);
    Report::new(document).table(table).text(format!(
        "Checked {cells} of {shards} against the shards' roots; {read} are what they should be."
    ))
}
