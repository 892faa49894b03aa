//! `symbolon get DIR`: bring a folder back.

use std::time::Duration;

use symbolon_client::{Client, FolderGot, GetPlan, Replace};
use symbolon_view::folder::{FolderFetch, FolderWritten, WrittenOutcome};

use super::{Clock, Removal, first_few, pace, partial, stopped};
use crate::{
    context::Context,
    error::Error,
    interrupt::Interrupt,
    output::Report,
    progress,
    units::{count, show_size},
};

/// A folder to be written.
#[derive(Debug)]
pub(crate) struct Bring {
    pub(crate) plan: GetPlan,
    pub(crate) replace: bool,
    pub(crate) dry_run: bool,
    pub(crate) yes: bool,
    /// The stored name it comes from.
    pub(crate) from: String,
    /// The most paths that may be removed.
    pub(crate) max_delete: Option<u64>,
}

impl Bring {
    /// Writes it and reports.
    pub(crate) async fn run(self, client: &Client, context: &Context) -> Result<Report, Error> {
        let mut plan = self.plan;
        client.compare(&mut plan).await?;
        if self.dry_run {
            return Ok(preview(&plan));
        }
        let removal = Removal {
            question: "Delete here what is not stored",
            paths: plan.removed(),
            empty: plan.is_empty.then_some(self.from),
            yes: self.yes,
            max: self.max_delete,
        };
        removal.consent(context)?;
        let path = plan.root().display().to_string();
        let (clock, bar) = (Clock::start(), progress::bar(&context.out, "fetching"));
        let replace = if self.replace { Replace::Overwrite } else { Replace::Refuse };
        let (mut interrupt, progress) = (Interrupt::listen(), bar.progress());
        let got = interrupt.or(client.fetch_folder(plan, replace, &progress)).await;
        bar.finish();
        let got = got.ok_or_else(|| stopped("fetching", &bar.so_far()))??;
        let time = clock.time();
        let document = FolderWritten::new(&path, &got, time);
        let done = words(&document, time);
        let document = partial(&context.out, document, &done, &got.faults)?;
        Ok(report(&document, done, &got))
    }
}

/// What was done, in a sentence.
fn words(did: &FolderWritten, time: Duration) -> String {
    let (path, unchanged) = (&did.path, count(did.unchanged, "file"));
    if did.outcome == WrittenOutcome::Already {
        return format!("{path} is as it is stored ({unchanged}); nothing was fetched.");
    }
    let pace = pace(did.files, did.length, time);
    format!("Wrote {path}: {pace}; {unchanged} were there already.")
}

fn report(document: &FolderWritten, done: String, got: &FolderGot) -> Report {
    let report = Report::new(document).text(done);
    match got.removed {
        0 => report,
        removed => report.text(format!("{} removed here.", count(removed, "path"))),
    }
}

fn preview(plan: &GetPlan) -> Report {
    let removed = plan.removed();
    let mut report = Report::new(&FolderFetch::from(plan))
        .text(format!("{} would be written.", plan.root().display()))
        .field("files", format!("{}, {}", plan.files(), show_size(plan.bytes())))
        .field("unchanged", plan.unchanged.to_string());
    if plan.files() > 0 {
        report = report.field("would be written", first_few(&plan.paths()));
    }
    if !removed.is_empty() {
        report = report.field("would be removed", first_few(&removed));
    }
    report
}
