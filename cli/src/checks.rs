//! What a doctor checks: each finding with its outcome and what to do, as a table or a document.

use symbolon_view::{
    Document,
    failure::Details,
    operator::{Check, CheckKind, CheckOutcome},
};

use crate::{
    context::Context,
    error::{Error, Kind},
    output::{Align, Report, Table},
    units::count,
};

/// The checks so far.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<Check>);

impl Checks {
    fn add(
        &mut self,
        check: CheckKind,
        outcome: CheckOutcome,
        what: impl Into<String>,
        hint: &str,
    ) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.0.push(Check { check, outcome, what: what.into(), hint });
    }

    pub(crate) fn good(&mut self, check: CheckKind, what: impl Into<String>) {
        self.add(check, CheckOutcome::Good, what, "");
    }

    pub(crate) fn bad(&mut self, check: CheckKind, what: impl Into<String>, hint: &str) {
        self.add(check, CheckOutcome::Bad, what, hint);
    }

    pub(crate) fn warn(&mut self, check: CheckKind, what: impl Into<String>, hint: &str) {
        self.add(check, CheckOutcome::Warning, what, hint);
    }

    pub(crate) fn unknown(&mut self, check: CheckKind, what: impl Into<String>, hint: &str) {
        self.add(check, CheckOutcome::Unknown, what, hint);
    }

    pub(crate) fn list(&self) -> &[Check] {
        &self.0
    }

    fn bad_ones(&self) -> impl Iterator<Item = &Check> {
        self.0.iter().filter(|check| check.outcome == CheckOutcome::Bad)
    }

    /// Whether nothing is wrong.
    pub(crate) fn are_good(&self) -> bool {
        self.bad_ones().next().is_none()
    }

    /// The result of the command, whose document has these checks.
    pub(crate) fn end<D: Document + Clone>(
        &self,
        document: &D,
        context: &Context,
    ) -> Result<Report, Error>
    where
        Details: From<D>,
    {
        let Some(first) = self.bad_ones().next() else { return Ok(self.report(document)) };
        if !context.out.is_json() {
            // A person sees all checks too, not only the first fault.
            context.out.report(&self.report(document))?;
        }
        let faults = count(self.bad_ones().count(), "fault");
        let error = Error::new(Kind::Partial, format!("{faults}: {}", first.what));
        let error = error.details(document.clone());
        Err(match &first.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        })
    }

    fn report(&self, document: &impl Document) -> Report {
        let columns = [("CHECK", Align::Left), ("", Align::Left), ("WHAT", Align::Left)];
        let mut table = Table::new(&columns);
        for check in &self.0 {
            let mark = match check.outcome {
                CheckOutcome::Good => "good",
                CheckOutcome::Warning => "look",
                CheckOutcome::Bad => "BAD",
                CheckOutcome::Unknown => "unknown",
            };
            table.row(vec![name(check.check).to_owned(), mark.to_owned(), check.what.clone()]);
        }
        let mut report = Report::new(document).table(table);
        for check in &self.0 {
            if let Some(hint) = &check.hint {
                report = report.text(format!("{}: {hint}", name(check.check)));
            }
        }
        report
    }
}

fn name(check: CheckKind) -> &'static str {
    match check {
        CheckKind::Folder => "folder",
        CheckKind::Running => "running",
        CheckKind::Version => "version",
        CheckKind::Disk => "disk",
        CheckKind::Room => "room",
        CheckKind::Store => "store",
        CheckKind::Damage => "damage",
        CheckKind::OpenFiles => "open files",
        CheckKind::View => "view",
        CheckKind::Ledger => "ledger",
        CheckKind::Clock => "clock",
        CheckKind::Registered => "registered",
        CheckKind::Proofs => "proofs",
        CheckKind::Collateral => "collateral",
        CheckKind::Reachable => "reachable",
        CheckKind::Key => "key",
        CheckKind::Copy => "copy",
        CheckKind::Rows => "rows",
        CheckKind::Blocks => "blocks",
        CheckKind::Money => "money",
        CheckKind::Signed => "signed",
        CheckKind::Set => "set",
        CheckKind::Turns => "turns",
        CheckKind::Behind => "behind",
    }
}
