//! What `put`, `get` and `sync` do with whole folders.

pub(crate) mod get;
pub(crate) mod put;
pub(crate) mod sync;

use std::{
    ffi::{OsStr, OsString},
    time::{Duration, Instant},
};

use symbolon_client::{FileFault, FolderOptions, Name, NotKept, Pattern, shown};
use symbolon_view::failure::Details;

use crate::{
    context::{Consent, Context},
    error::{Error, Kind},
    interrupt,
    output::Output,
    units::{count, show_size},
};

/// How many paths of a long list are named in a sentence.
const NAMED: usize = 10;

/// The bytes of a name as they were typed.
pub(crate) fn bytes(name: &OsStr) -> &[u8] {
    name.as_encoded_bytes()
}

/// The name that was typed; a slash at its end says that it is a folder's.
pub(crate) fn name(typed: &OsStr) -> Result<Name, Error> {
    let typed = bytes(typed);
    Name::new(typed.strip_suffix(b"/").unwrap_or(typed))
        .map_err(|error| Error::usage(format!("{:?} is no name: {error}", shown(typed))))
}

/// The pattern that was typed: one name, a folder's, or all names that match.
pub(crate) fn pattern(typed: &OsStr) -> Pattern {
    Pattern::whole(bytes(typed))
}

/// The patterns of paths to leave out.
pub(crate) fn exclude(globs: &[OsString]) -> Vec<Pattern> {
    globs.iter().map(|glob| Pattern::exclude(bytes(glob))).collect()
}

/// How a folder is compared when nothing may be removed.
pub(crate) fn options(globs: &[OsString], keep: Option<u32>) -> FolderOptions {
    FolderOptions { exclude: exclude(globs), keep, ..FolderOptions::default() }
}

/// What would be removed, and what the user allowed in advance.
pub(crate) struct Removal<'a> {
    /// The question, without the paths.
    pub(crate) question: &'a str,
    pub(crate) paths: Vec<String>,
    /// The source, if it is empty.
    pub(crate) empty: Option<String>,
    pub(crate) yes: bool,
    pub(crate) max: Option<u64>,
}

impl Removal<'_> {
    /// Asks before anything is removed. An empty source is more likely a mistake (a disk that is not mounted, a wrong
    /// path) than a wish to lose everything, so `--yes` does not cover it.
    pub(crate) fn consent(&self, context: &Context) -> Result<(), Error> {
        let going = self.paths.len() as u64;
        if going == 0 {
            return Ok(());
        }
        if let Some(max) = self.max {
            if max < going {
                let message = format!(
                    "{} would be deleted, more than --max-delete allows",
                    count(going, "name")
                );
                return Err(Error::usage(message)
                    .hint(format!("see which with --dry-run; allow them with --max-delete {going}"))
                    .or_hint("see what is there first"));
            }
            return Ok(());
        }
        let named = first_few(&self.paths);
        let Some(source) = &self.empty else {
            let question = format!("{}: {named}?", self.question);
            return context.consent_to_loss(&question, Consent::from(self.yes, None));
        };
        if self.yes || !context.out.can_ask() {
            let message = format!(
                "there is no file in {source}: that would delete all {}",
                count(going, "name")
            );
            return Err(Error::usage(message).hint(format!(
                "check that it is there. To delete everything, say so with --max-delete {going}"
            )));
        }
        let question = format!("There is no file in {source}. {}: {named}?", self.question);
        context.consent_to_loss(&question, Consent::Open)
    }
}

/// Says which properties of files are not stored.
pub(crate) fn tell_not_kept(out: &Output, not_kept: &NotKept) {
    let lists = [
        ("hard links", &not_kept.hard_links),
        ("extended attributes and access lists", &not_kept.attributes),
        ("holes", &not_kept.holes),
    ];
    for (what, paths) in lists.into_iter().filter(|(_, paths)| !paths.is_empty()) {
        out.note(&format!("Stored without {what}: {}", first_few(paths)));
    }
}

/// Measures how long something takes, to say how fast it was.
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn time(&self) -> Duration {
        self.0.elapsed()
    }
}

/// `3 files, 12.0 KiB in 0.4 s (7 files/s, 30 KiB/s)`.
pub(crate) fn pace(files: u64, bytes: u64, time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second =
        |number: u64| u64::try_from(u128::from(number) * 1000 / u128::from(ms)).unwrap_or(u64::MAX);
    format!(
        "{}, {} in {}.{} s ({} files/s, {}/s)",
        count(files, "file"),
        show_size(bytes),
        ms / 1000,
        ms % 1000 / 100,
        per_second(files),
        show_size(per_second(bytes))
    )
}

/// The document; or, if some files were left out, an error that names them, with the document as its details.
pub(crate) fn partial<D: Into<Details>>(
    out: &Output,
    document: D,
    done: &str,
    faults: &[FileFault],
) -> Result<D, Error> {
    if faults.is_empty() {
        return Ok(document);
    }
    out.note(done);
    let named: Vec<_> =
        faults.iter().take(NAMED).map(|fault| format!("{}: {}", fault.path, fault.why)).collect();
    let more = match faults.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more, all of them named with --json"),
    };
    let message = format!("{} left out: {}{more}", count(faults.len(), "path"), named.join("; "));
    Err(Error::new(Kind::Partial, message)
        .hint("the rest is done; run the same command again for what is left")
        .details(document))
}

/// The error of a command that a signal stopped.
fn stopped(doing: &str, so_far: &str) -> Error {
    let message = format!("{doing} stopped at {so_far}");
    interrupt::stopped(message, "run the same command again to go on; nothing is paid twice")
}

/// Names the paths that cannot be stored at all.
pub(crate) fn tell_special(out: &Output, special: &[String]) {
    if !special.is_empty() {
        let named = special.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        out.note(&format!(
            "Not stored, because they are neither files, folders nor links: {named}"
        ));
    }
}

/// The first few paths of a list, and how many more there are.
pub(crate) fn first_few(paths: &[String]) -> String {
    let more = paths.len().saturating_sub(NAMED);
    let named = paths.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}
