//! Errors as the user sees them: a kind with an exit code, a sentence, and a hint what to do next.
//!
//! Exit codes are part of the interface; `spec/cli.md` lists them. A code never changes its meaning: scripts decide by
//! it, people read the sentence.

use std::{io, path::Path};

use symbolon_view::failure::{Details, Failure, Problem};

use crate::hints::Verb;

pub(crate) use symbolon_view::failure::Kind;

/// The error that a command ends with.
#[derive(Debug)]
pub(crate) struct Error {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// One sentence: what did not work, and on what.
    pub(crate) message: String,
    /// What to try next.
    pub(crate) hint: Option<String>,
    /// Hints for commands that lack the options of `hint`.
    others: Vec<String>,
    /// Facts for a program, in the JSON document.
    pub(crate) details: Option<Box<Details>>,
}

impl Error {
    /// An error of a kind.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, others: Vec::new(), details: None }
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A bug of this program.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
            .hint("this looks like a bug; run again with -vv and report what it prints")
    }

    /// A file or folder that could not be used.
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let kind = io_kind(error);
        let hint = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room and run it again"
            }
            io::ErrorKind::PermissionDenied => "see who may use it with: ls -l",
            _ => "see that the path is right",
        };
        Self::new(kind, format!("cannot {doing} {}: {}", path.display(), plain(error))).hint(hint)
    }

    /// Adds a hint what to try next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint for commands that lack the options of the hints before.
    pub(crate) fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.others.push(hint.into());
        self
    }

    /// Keeps the first hint whose options the command `verb` has.
    pub(crate) fn hint_for(mut self, verb: &Verb) -> Self {
        let hints = self.hint.take().into_iter().chain(self.others.drain(..));
        let hints: Vec<_> = hints.collect();
        let fitting = hints.iter().find(|hint| verb.fits(hint)).cloned();
        // So every test that meets an error also checks its hints.
        debug_assert_eq!(
            fitting.is_some(),
            !hints.is_empty(),
            "no such command or option: {hints:?}"
        );
        self.hint = fitting;
        self
    }

    /// Adds facts for a program.
    pub(crate) fn details(mut self, details: impl Into<Details>) -> Self {
        self.details = Some(Box::new(details.into()));
        self
    }

    /// The document that `--json` prints.
    pub(crate) fn document(&self) -> Failure {
        Failure {
            error: Problem {
                kind: self.kind,
                exit_code: self.kind as u8,
                message: self.message.clone(),
                hint: self.hint.clone(),
                details: self.details.clone(),
            },
        }
    }
}

impl From<Failure> for Error {
    /// The error that another process of this program printed with `--json`.
    fn from(failure: Failure) -> Self {
        let Problem { kind, message, hint, details, .. } = failure.error;
        Self { hint, details, ..Self::new(kind, message) }
    }
}

/// The kind of a file's error: the same in every command.
pub(crate) fn io_kind(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::AlreadyExists => Kind::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::DiskFull,
        io::ErrorKind::BrokenPipe => Kind::ClosedPipe,
        _ => Kind::Io,
    }
}

/// The system's words without its error number.
pub(crate) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::AlreadyExists => "it exists already".into(),
        io::ErrorKind::StorageFull => "the disk is full".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::NotADirectory => "part of the path is not a folder".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use symbolon_view::{Document as _, demo::Broken, network::NodeReady};

    use super::*;
    use crate::output::Said;

    #[test]
    fn the_system_is_put_in_words() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        let error = Error::io("read", Path::new("/nowhere"), &error);
        assert_eq!(error.kind, Kind::NotFound);
        assert_eq!(error.message, "cannot read /nowhere: there is no such file or folder");
        let full = Error::io("write", Path::new("x"), &io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind as u8, 12);
    }

    #[test]
    fn json_carries_kind_code_and_hint() {
        let details = Broken { took_ms: 1, steps: Vec::new() };
        let json = Error::usage("no").hint("do").details(details).document().to_value();
        assert_eq!(json["error"]["kind"], "usage");
        assert_eq!(json["error"]["exit_code"], 2);
        assert_eq!(json["error"]["hint"], "do");
        assert_eq!(json["error"]["details"]["took_ms"], 1);
        for kind in Kind::ALL {
            let json = Error::new(kind, "m").document().to_value();
            assert_eq!(json["error"].get("details"), None);
            let Some(Said::Failed(failure)) = Said::<NodeReady>::read(&json.to_string()) else {
                panic!("{json} is read as something else");
            };
            let back = Error::from(failure);
            assert_eq!((back.kind, back.message.as_str()), (kind, "m"));
        }
    }
}
