//! `symbolon put DIR`: store a folder.

use std::{ffi::OsString, path::Path};

use serde_json::json;
use symbolon_client::{
    Client, FileFault, FolderOptions, FolderPlan, FolderQuote, FolderStored, Name, PutOptions,
};
use symbolon_protocol::Amount;

use super::{
    Clock, Removal, faults_json, first_few, not_kept_json, pace, partial, stopped, tell_not_kept,
    tell_special,
};
use crate::{
    context::{Consent, Context},
    durability,
    error::Error,
    interrupt::Interrupt,
    names::{self, Pay},
    output::Report,
    progress,
    units::{count, show_amount, show_duration, show_size},
};

/// A folder to be stored.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    pub(crate) root: &'a Path,
    /// The name it gets; nothing for the top.
    pub(crate) to: Option<Name>,
    pub(crate) folder: FolderOptions,
    pub(crate) options: PutOptions,
    /// Also where it would be out of reach too often.
    pub(crate) accept_risk: bool,
    pub(crate) dry_run: bool,
    pub(crate) yes: bool,
    /// How many names may go.
    pub(crate) max_delete: Option<u64>,
}

/// The name of a folder that was given none.
pub(crate) fn own_name(path: &Path) -> Result<OsString, Error> {
    let real = path.canonicalize().map_err(|error| Error::io("read", path, &error))?;
    let own = path.file_name().or_else(|| real.file_name()).map(OsString::from);
    own.ok_or_else(|| {
        Error::usage(format!("{} has no name of its own", path.display()))
            .hint("name it: symbolon put DIR NAME")
    })
}

impl Store<'_> {
    /// Does it, tells the other devices, and ends the client's connections.
    pub(crate) async fn run_and_close(
        self,
        client: Client,
        context: &Context,
    ) -> Result<Report, Error> {
        let mut index = Amount::ZERO;
        let dry_run = self.dry_run;
        let report = self.run(&client, context, &mut index).await;
        if dry_run {
            // It changes nothing, and tells nobody of what was pending.
            crate::context::close(client).await;
            return report;
        }
        let paid = names::publish_and_close(client, Pay::Said(index), &context.out).await;
        Ok(report?.with("index_cost", paid.to_string().into()))
    }

    /// Does it. What telling the other devices may cost is part of the price, and given back as `index`.
    async fn run(
        self,
        client: &Client,
        context: &Context,
        index: &mut Amount,
    ) -> Result<Report, Error> {
        let plan = client.plan_folder(self.root, self.to.as_ref(), &self.folder).await?;
        let chain = client.recent_chain().await?;
        let epoch_ms = chain.params.epoch_ms;
        let quote = client.quote_folder(&plan, &self.options).await?;
        *index = client.quote_index(&plan.growth(), quote.epochs).await?;
        let all_in = quote.total.checked_add(*index).unwrap_or(quote.total);
        tell_not_kept(&context.out, &plan.not_kept);
        if self.dry_run {
            tell_special(&context.out, &plan.special);
            return Ok(self.preview(&plan, &quote, (all_in, *index), epoch_ms));
        }
        if let Some(warning) = &quote.warning {
            context.out.warn(warning);
        }
        if let Some(durability) = &quote.durability
            && !self.accept_risk
            && !self.is_begun(client).await?
        {
            let scheme = (quote.scheme, self.options.scheme);
            durability::judge(&context.out, &chain.params, scheme, durability)?;
        }
        if plan.files() > 0 {
            let renewed = match plan.renewed {
                0 => String::new(),
                anew => format!(" ({anew} of them anew, because they end sooner)"),
            };
            let question = format!(
                "Store {}{renewed}, {}, for {} at {} all-in?",
                count(plan.files(), "file"),
                show_size(plan.bytes()),
                show_duration(quote.epochs.saturating_mul(epoch_ms)),
                show_amount(all_in),
            );
            let consent = Consent::from(self.yes, self.options.cost_max);
            context.consent(&chain, &question, consent)?;
        }
        let removal = Removal {
            question: "Remove what is not in the folder",
            paths: plan.removed().iter().map(ToString::to_string).collect(),
            empty: plan.is_empty.then(|| self.root.display().to_string()),
            yes: self.yes,
            max: self.max_delete,
        };
        removal.consent(context)?;
        let nothing_to_do = plan.is_done();
        let (clock, bar) = (Clock::start(), progress::bar(&context.out, "storing"));
        let (mut interrupt, progress) = (Interrupt::listen(), bar.progress());
        // What was said is the most that is paid.
        let cost_max = self.options.cost_max.or(Some(quote.total));
        let options = PutOptions { cost_max, ..self.options.clone() };
        let storing = client.store_folder(plan, &quote, &options, &progress);
        let stored = interrupt.or(storing).await;
        bar.finish();
        let stored = stored.ok_or_else(|| stopped("storing", &bar.so_far()))??;
        let report = self.report(&stored, nothing_to_do, &clock);
        let mut faults = stored.faults;
        faults.extend(stored.special.into_iter().map(|path| {
            let why = String::from("it is neither file, folder nor link");
            FileFault { path, why }
        }));
        partial(&context.out, report.0, &report.1, &faults)
    }

    /// The name it gets, as it is shown.
    fn name(&self) -> String {
        self.to.as_ref().map_or(String::new(), Name::to_string)
    }

    /// Whether it goes on with what was begun, and judged, before.
    async fn is_begun(&self, client: &Client) -> Result<bool, Error> {
        let name = self.name();
        let below = format!("{name}/");
        let begun = client.unfinished().await?;
        Ok(begun.iter().any(|begun| *begun == name || begun.starts_with(&below)))
    }

    fn report(&self, stored: &FolderStored, nothing: bool, clock: &Clock) -> (Report, String) {
        let time = clock.time();
        let name = self.name();
        let outcome = match (nothing, stored.resumed) {
            (true, _) => "already",
            (false, 0) => "stored",
            (false, _) => "resumed",
        };
        let json = json!({
            "outcome": outcome,
            "name": name,
            "files": stored.files,
            "length": stored.bytes,
            "packs": stored.packs,
            "unchanged": stored.unchanged,
            "renewed": stored.renewed,
            "others": stored.others,
            "removed": stored.removed,
            "cost": stored.cost.to_string(),
            "refunded": stored.refunded.to_string(),
            "took_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            "special": stored.special,
            "not_kept": not_kept_json(&stored.not_kept),
            "faults": faults_json(&stored.faults),
        });
        let report = Report::new(json);
        let shown = if name.is_empty() { String::from("The folder") } else { name };
        if nothing {
            let all = count(stored.unchanged, "file");
            let text = format!("{shown} is stored already ({all}); nothing was sent or paid.");
            return (report.text(text.clone()), text);
        }
        let resumed = if stored.resumed > 0 { " It went on where it had stopped." } else { "" };
        let text = format!(
            "{shown} is stored: {}; {} in {}.{resumed}",
            pace(stored.files, stored.bytes, time),
            count(stored.unchanged, "file") + " unchanged, small files",
            count(stored.packs, "pack"),
        );
        let mut report = report.text(text.clone());
        if stored.removed > 0 {
            report = report.text(format!("{} removed.", count(stored.removed, "name")));
        }
        let back = match stored.refunded.0 {
            0 => String::new(),
            _ => format!(
                " {} came back for what was replaced or removed.",
                show_amount(stored.refunded)
            ),
        };
        (report.text(format!("Paid {} in all.{back}", show_amount(stored.cost))), text)
    }

    fn preview(
        &self,
        plan: &FolderPlan,
        quote: &FolderQuote,
        (all_in, index): (Amount, Amount),
        epoch_ms: u64,
    ) -> Report {
        let name = self.name();
        let removed: Vec<_> = plan.removed().iter().map(ToString::to_string).collect();
        let json = json!({
            "name": name,
            "files": plan.files(),
            "length": plan.bytes(),
            "packs": plan.packs(),
            "unchanged": plan.unchanged,
            "renewed": plan.renewed,
            "others": plan.others(),
            "removed": removed,
            "deals": quote.deals,
            "stored_bytes": quote.stored_bytes,
            "scheme": { "required": quote.scheme.required, "total": quote.scheme.total },
            "nodes": quote.nodes,
            "epochs": quote.epochs,
            "cost": all_in.to_string(),
            "index": index.to_string(),
            "durability": quote.durability.as_ref().map(durability::json),
            "warning": quote.warning,
            "special": plan.special,
            "not_kept": not_kept_json(&plan.not_kept),
            "faults": faults_json(&plan.faults),
        });
        let lasts = show_duration(quote.epochs.saturating_mul(epoch_ms));
        let mut report = Report::new(json)
            .text(format!("Storing {name} would cost {} all-in.", show_amount(all_in)))
            .field("files", format!("{}, {}", plan.files(), show_size(plan.bytes())))
            .field("unchanged", plan.unchanged.to_string())
            .field("stored anew", format!("{}, because they end sooner", plan.renewed))
            .field("packs", plan.packs().to_string())
            .field(
                "on the nodes",
                format!("{} in {}", show_size(quote.stored_bytes), count(quote.deals, "deal")),
            )
            .field("for", lasts.clone())
            .essence(all_in.to_string());
        for (name, value) in
            quote.durability.iter().flat_map(|found| durability::fields(found, &lasts))
        {
            report = report.field(name, value);
        }
        if !removed.is_empty() {
            report = report.field("would go", first_few(&removed));
        }
        for fault in &plan.faults {
            report = report.field("left out", format!("{}: {}", fault.path, fault.why));
        }
        report
    }
}
