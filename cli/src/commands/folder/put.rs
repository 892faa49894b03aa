//! `symbolon put DIR`: store a folder.

use std::{ffi::OsString, path::Path, time::Duration};

use symbolon_client::{
    Client, FileFault, FolderOptions, FolderPlan, FolderQuote, FolderStored, Name, PutOptions,
    Stored,
};
use symbolon_protocol::{Amount, Millis};
use symbolon_view::folder;

use super::super::care;
use super::{Clock, Removal, first_few, pace, partial, stopped, tell_not_kept, tell_special};
use crate::{
    auto::Auto,
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
    /// The name it gets; `None` for the top.
    pub(crate) to: Option<Name>,
    pub(crate) folder: FolderOptions,
    pub(crate) options: PutOptions,
    /// Whether to store it even if it would be out of reach too often.
    pub(crate) accept_risk: bool,
    /// Whether caretakers are named for it.
    pub(crate) care: bool,
    pub(crate) dry_run: bool,
    pub(crate) yes: bool,
    /// Whether it is renewed without being asked.
    pub(crate) auto: Auto,
    /// The most names that may be removed.
    pub(crate) max_delete: Option<u64>,
}

/// The result.
#[derive(Debug)]
enum Done {
    /// A dry run.
    Thought { report: Report },
    /// It is stored. The cost of publishing the names is not known yet.
    Stored { document: Box<folder::FolderStored>, words: Vec<String> },
}

impl Done {
    fn report(self) -> Report {
        match self {
            Self::Thought { report } => report,
            Self::Stored { document, words } => {
                words.into_iter().fold(Report::new(&*document), Report::text)
            }
        }
    }
}

/// The default name of a folder.
pub(crate) fn own_name(path: &Path) -> Result<OsString, Error> {
    let real = path.canonicalize().map_err(|error| Error::io("read", path, &error))?;
    let own = path.file_name().or_else(|| real.file_name()).map(OsString::from);
    own.ok_or_else(|| {
        Error::usage(format!("{} has no name of its own", path.display()))
            .hint("name it: symbolon put DIR NAME")
    })
}

impl Store<'_> {
    /// Stores it, publishes the names, and ends the client's connections.
    pub(crate) async fn run_and_close(
        self,
        client: Client,
        context: &Context,
    ) -> Result<Report, Error> {
        let mut index = Amount::ZERO;
        let (dry_run, wants_care) = (self.dry_run, self.care);
        let began_ms = context.host.now_ms();
        let (auto, to, epochs) = (self.auto, self.to.clone(), self.folder.epochs);
        let mut done = self.run(&client, context, &mut index).await;
        let since = Stored::Since(began_ms.0);
        if !wants_care && matches!(done, Ok(Done::Stored { .. })) {
            client.allow_care(&since, false).await?;
        }
        if wants_care && matches!(done, Ok(Done::Stored { .. })) {
            // The price that was accepted has no deposit for them: where they cost one, `keep --for` names them.
            care::name_caretakers(&client, since, Some(Amount::ZERO), context).await;
        }
        if let (Ok(Done::Stored { .. }), Some(to)) = (&done, to)
            && let Err(error) = auto.agree(&client, &[to], epochs).await
        {
            done = Err(error);
        }
        if dry_run {
            // A dry run changes nothing and publishes no pending names.
            crate::context::close(client).await;
            return done.map(Done::report);
        }
        let paid = names::publish_and_close(client, Pay::Said(index), &context.out).await;
        let mut done = done?;
        if let Done::Stored { document, .. } = &mut done {
            document.index_cost = Some(paid.into());
        }
        Ok(done.report())
    }

    /// Stores it. The price includes the cost of publishing the names, which is returned in `index`.
    async fn run(
        self,
        client: &Client,
        context: &Context,
        index: &mut Amount,
    ) -> Result<Done, Error> {
        let plan = client.plan_folder(self.root, self.to.as_ref(), &self.folder).await?;
        let chain = client.recent_chain().await?;
        let epoch_ms = chain.params.epoch_ms;
        let quote = client.quote_folder(&plan, &self.options).await?;
        *index = client.quote_index(&plan.growth(), quote.epochs).await?;
        let all_in = quote.total.checked_add(*index).unwrap_or(quote.total);
        tell_not_kept(&context.out, &plan.not_kept);
        if self.dry_run {
            tell_special(&context.out, &plan.special);
            let report = self.preview(&plan, &quote, (all_in, *index), epoch_ms);
            return Ok(Done::Thought { report });
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
        if let Some(question) = question(&plan, &quote, all_in, epoch_ms) {
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
        // The price that was shown is the limit.
        let cost_max = self.options.cost_max.or(Some(quote.total));
        let options = PutOptions { cost_max, ..self.options.clone() };
        let storing = client.store_folder(plan, &quote, &options, &progress);
        let stored = interrupt.or(storing).await;
        bar.finish();
        let stored = stored.ok_or_else(|| stopped("storing", &bar.so_far()))??;
        let time = clock.time();
        let document = folder::FolderStored::new(&self.name(), &stored, nothing_to_do, time);
        let words = self.words(&stored, nothing_to_do, time);
        let mut faults = stored.faults;
        faults.extend(stored.special.into_iter().map(|path| {
            let why = String::from("it is neither file, folder nor link");
            FileFault { path, why }
        }));
        let document = partial(&context.out, document, &words[0], &faults)?;
        Ok(Done::Stored { document: Box::new(document), words })
    }

    /// The name it gets, as it is shown.
    fn name(&self) -> String {
        self.to.as_ref().map_or(String::new(), Name::to_string)
    }

    /// Whether it goes on with an earlier put, whose durability was judged when it began.
    async fn is_begun(&self, client: &Client) -> Result<bool, Error> {
        let name = self.name();
        let below = format!("{name}/");
        let begun = client.unfinished().await?;
        Ok(begun.iter().any(|begun| *begun == name || begun.starts_with(&below)))
    }

    /// What was done, in sentences, the most important first.
    fn words(&self, stored: &FolderStored, nothing: bool, time: Duration) -> Vec<String> {
        let name = self.name();
        let shown = if name.is_empty() { String::from("The folder") } else { name };
        if nothing {
            let all = count(stored.unchanged, "file");
            return vec![format!("{shown} is stored already ({all}); nothing was sent or paid.")];
        }
        let resumed = if stored.resumed > 0 { " It went on where it had stopped." } else { "" };
        let mut words = vec![format!(
            "{shown} is stored: {}; {} in {}.{resumed}",
            pace(stored.files, stored.bytes, time),
            count(stored.unchanged, "file") + " unchanged, small files",
            count(stored.packs, "pack"),
        )];
        if stored.longer > 0 {
            words.push(format!("{} unchanged, and kept for longer.", count(stored.longer, "file")));
        }
        if stored.removed > 0 {
            words.push(format!("{} removed.", count(stored.removed, "name")));
        }
        let back = match stored.refunded.0 {
            0 => String::new(),
            _ => format!(
                " {} came back for what was replaced or removed.",
                show_amount(stored.refunded)
            ),
        };
        words.push(format!("Paid {} in all.{back}", show_amount(stored.cost)));
        words
    }

    fn preview(
        &self,
        plan: &FolderPlan,
        quote: &FolderQuote,
        (all_in, index): (Amount, Amount),
        epoch_ms: Millis,
    ) -> Report {
        let name = self.name();
        let removed: Vec<_> = plan.removed().iter().map(ToString::to_string).collect();
        let document = folder::FolderQuote::new(&name, plan, quote, (index, all_in));
        let lasts = show_duration(quote.epochs.saturating_mul(epoch_ms.0));
        let mut report = Report::new(&document)
            .text(format!("Storing {name} would cost {} all-in.", show_amount(all_in)))
            .field("files", format!("{}, {}", plan.files(), show_size(plan.bytes())))
            .field("unchanged", plan.unchanged.to_string())
            .field("stored anew", format!("{}, because they end sooner", plan.renewed))
            .field("kept for longer", plan.longer.to_string())
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
            report = report.field("would be removed", first_few(&removed));
        }
        for fault in &plan.faults {
            report = report.field("left out", format!("{}: {}", fault.path, fault.why));
        }
        report
    }
}

/// What is asked before anything is paid; `None` if nothing is.
fn question(
    plan: &FolderPlan,
    quote: &FolderQuote,
    all_in: Amount,
    epoch_ms: Millis,
) -> Option<String> {
    let lasts = show_duration(quote.epochs.saturating_mul(epoch_ms.0));
    let longer = count(plan.longer, "file");
    let all_in = show_amount(all_in);
    match (plan.files(), plan.longer) {
        (0, 0) => None,
        (0, _) => Some(format!("Keep {longer} for {lasts}, at {all_in} all-in?")),
        (files, kept) => {
            let renewed = match plan.renewed {
                0 => String::new(),
                anew => format!(" ({anew} of them anew, because they end sooner)"),
            };
            let longer = match kept {
                0 => String::new(),
                _ => format!(" and keep {longer}"),
            };
            let (files, size) = (count(files, "file"), show_size(plan.bytes()));
            Some(format!("Store {files}{renewed}, {size},{longer} for {lasts} at {all_in} all-in?"))
        }
    }
}
