//! `symbolon care`: who rebuilds lost shards while no program of the owner runs. `put` and `keep` name caretakers too.

use std::{collections::BTreeMap, ffi::OsString};

use symbolon_client::{CareReport, CareView, Client, ClientError, Name, Progress, Stored};
use symbolon_protocol::{Amount, id::ObjectId};
use symbolon_view::care::{Cared, CaredObject};

use super::folder::pattern;
use crate::{
    context::{self, Consent, Context},
    error::Error,
    output::{Align, Report, Table},
    units::{self, count, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon care                    show which files have caretakers, and what was repaired lately
  symbolon care photos --off       take the care of a folder back: only programs of yours repair it
  symbolon care photos --on        name caretakers again
  symbolon care --all --off

A caretaker is a node that rebuilds lost shards while no program of yours runs. It is paid from what you paid for repairs,
and cannot read your files. put and keep name caretakers for what has none, except where care was taken back on this
machine. Small files share one object, and with it their care.")]
pub(crate) struct Args {
    /// The files, folders or patterns [default: everything]
    #[arg(value_name = "NAME")]
    names: Vec<OsString>,
    /// Everything that is stored
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Name caretakers
    #[arg(long, conflicts_with = "off")]
    on: bool,
    /// Take the care back; deposits come back too
    #[arg(long)]
    off: bool,
    /// Do not pay more than this in total
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Do not ask before paying
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    if (args.on || args.off) && args.names.is_empty() && !args.all {
        return Err(Error::usage("say of which files: names, or --all"));
    }
    let client = context.client_synced().await?;
    let done = change_and_show(args, &client, context).await;
    context::close(client).await;
    done
}

async fn change_and_show(args: &Args, client: &Client, context: &Context) -> Result<Report, Error> {
    let which = match args.names.is_empty() {
        true => Stored::All,
        false => Stored::These(client.objects_under(&chosen(args, client).await?).await?),
    };
    let (mut counts, mut paid) = ((0, 0), Amount::ZERO);
    if args.on || args.off {
        let question = match args.on {
            true => "Name caretakers, for the deposits and fees of the network?",
            false => "Take the care back, for the fees of the network?",
        };
        let chain = client.recent_chain().await?;
        context.consent(&chain, question, Consent::from(args.yes, args.max_cost))?;
    }
    if args.on {
        client.allow_care(&which, true).await?;
        let named =
            Box::pin(client.care(which.clone(), args.max_cost, &Progress::silent())).await?;
        (counts.0, paid) = (named.new, named.cost);
        if 0 < named.without {
            let segments = count(named.without, "segment");
            context.out.warn(&format!("no node that repairs for others is there for {segments}"));
        }
    } else if args.off {
        let taken = client.uncare(which.clone(), args.max_cost).await?;
        (counts.1, paid) = (taken.segments, taken.cost);
    }
    let views = client.cared(which).await?;
    let names = names(client).await?;
    let named = |view: &CareView| {
        let (name, files) = names.get(&view.object).cloned().unwrap_or_default();
        CaredObject::new(view, (0 < files).then_some(name), files)
    };
    let document = Cared::new(views.iter().map(named).collect(), counts, paid);
    Ok(report(&document, args))
}

async fn chosen(args: &Args, client: &Client) -> Result<Vec<Name>, Error> {
    let mut names = Vec::new();
    for name in &args.names {
        names.extend(client.select(&pattern(name), false).await?.names);
    }
    Ok(names)
}

/// The first name of each object, and how many it has.
async fn names(client: &Client) -> Result<BTreeMap<ObjectId, (String, u64)>, Error> {
    let mut names: BTreeMap<ObjectId, (String, u64)> = BTreeMap::new();
    for file in client.list().await? {
        let entry = names.entry(file.object).or_insert_with(|| (file.name.to_string(), 0));
        entry.1 += 1;
    }
    Ok(names)
}

fn report(document: &Cared, args: &Args) -> Report {
    let mut table = Table::new(&[
        ("FILES", Align::Left),
        ("CARE", Align::Left),
        ("LOST", Align::Right),
        ("REPAIRED IN 7 DAYS", Align::Right),
    ]);
    for object in &document.objects {
        table.row(vec![
            what(object),
            words(object),
            match object.claimed {
                0 => object.lost.to_string(),
                claimed => format!("{}, {claimed} being rebuilt", object.lost),
            },
            object.moved.to_string(),
        ]);
    }
    let report = Report::new(document);
    let paid = document.paid.as_str();
    let report = match (args.on, args.off) {
        (true, _) => {
            let segments = count(document.new, "segment");
            report.text(format!("Named caretakers for {segments}; deposits and fees: {paid}."))
        }
        (_, true) => {
            let segments = count(document.taken_back, "segment");
            report.text(format!("Took the care of {segments} back; fees: {paid}."))
        }
        _ => report,
    };
    match document.objects.is_empty() {
        true => report.text("Nothing that runs is stored."),
        false => report.table(table),
    }
}

/// The file of an object, or one of them and how many more.
fn what(object: &CaredObject) -> String {
    match (&object.name, object.files) {
        (None, _) => String::from("(no name: the list of names, or older versions)"),
        (Some(name), 1) => name.clone(),
        (Some(name), files) => format!("{name} and {} more", files - 1),
    }
}

fn words(object: &CaredObject) -> String {
    let nodes = count(object.caretakers.len(), "caretaker");
    match (object.cared, object.segments) {
        (0, _) if !object.wanted => String::from("off"),
        (0, _) => String::from("none"),
        (some, all) if some < all => format!("{nodes}, for {some} of {all} segments"),
        _ => nodes,
    }
}

/// Names caretakers for objects. What is stored is stored without them too, so a failure is only told.
pub(super) async fn name_caretakers(
    client: &Client,
    which: Stored,
    cost_max: Option<Amount>,
    context: &Context,
) -> Amount {
    told(Box::pin(client.care(which, cost_max, &Progress::silent())).await, context)
}

/// The same for everything, within what was agreed for a month.
pub(super) async fn name_as_agreed(
    client: &Client,
    cost_max: Option<Amount>,
    context: &Context,
) -> Amount {
    told(Box::pin(client.care_agreed(cost_max, &Progress::silent())).await, context)
}

fn told(cared: Result<CareReport, ClientError>, context: &Context) -> Amount {
    match cared {
        Ok(report) => {
            if let Some(words) = news(&report) {
                context.out.note(&words);
            }
            report.cost
        }
        Err(error) => {
            context.out.note(&format!(
                "No node repairs this while you are away ({error}); `symbolon keep` tries again."
            ));
            Amount::ZERO
        }
    }
}

/// What was named, in words; nothing if nothing was.
pub(super) fn news(report: &CareReport) -> Option<String> {
    if report.new == 0 {
        return None;
    }
    let mut words = format!("Nodes repair {} while you are away", count(report.new, "segment"));
    if Amount::ZERO < report.cost {
        words.push_str(&format!("; deposits and fees: {}", show_amount(report.cost)));
    }
    Some(words + ".")
}
