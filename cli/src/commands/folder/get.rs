//! `symbolon get DIR`: bring a folder back.

use serde_json::json;
use symbolon_client::{Client, FolderGot, GetPlan, Replace};

use super::{Clock, Removal, faults_json, first_few, pace, partial, stopped};
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
    /// How many paths may go.
    pub(crate) max_delete: Option<u64>,
}

impl Bring {
    /// Does it.
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
        let (report, done) = report(&got, &path, &clock);
        partial(&context.out, report, &done, &got.faults)
    }
}

fn report(got: &FolderGot, path: &str, clock: &Clock) -> (Report, String) {
    let time = clock.time();
    let nothing = got.files == 0 && got.links == 0 && got.removed == 0 && got.faults.is_empty();
    let json = json!({
        "outcome": if nothing { "already" } else { "written" },
        "path": path,
        "files": got.files,
        "length": got.bytes,
        "links": got.links,
        "unchanged": got.unchanged,
        "removed": got.removed,
        "took_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        "faults": faults_json(&got.faults),
    });
    let text = if nothing {
        format!(
            "{path} is as it is stored ({}); nothing was fetched.",
            count(got.unchanged, "file")
        )
    } else {
        let pace = pace(got.files, got.bytes, time);
        format!("Wrote {path}: {pace}; {} were there already.", count(got.unchanged, "file"))
    };
    let mut report = Report::new(json).text(text.clone());
    if got.removed > 0 {
        report = report.text(format!("{} removed here.", count(got.removed, "path")));
    }
    (report, text)
}

fn preview(plan: &GetPlan) -> Report {
    let removed = plan.removed();
    let json = json!({
        "path": plan.root().display().to_string(),
        "files": plan.files(),
        "length": plan.bytes(),
        "unchanged": plan.unchanged,
        "removed": removed,
        "faults": faults_json(&plan.faults),
    });
    let mut report = Report::new(json)
        .text(format!("{} would be written.", plan.root().display()))
        .field("files", format!("{}, {}", plan.files(), show_size(plan.bytes())))
        .field("unchanged", plan.unchanged.to_string());
    if plan.files() > 0 {
        report = report.field("would be written", first_few(&plan.paths()));
    }
    if !removed.is_empty() {
        report = report.field("would go", first_few(&removed));
    }
    report
}
