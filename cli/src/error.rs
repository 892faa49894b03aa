//! What can go wrong, as a user meets it: a kind with an exit code, a sentence, and what to do next.
//!
//! Exit codes are part of the interface and written down in `spec/cli.md`. A code never changes its
//! meaning; scripts decide by it, people read the sentence.

use std::{io, path::Path};

use serde_json::{Value, json};

use crate::hints::Verb;

/// What kind of thing went wrong; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A bug, or something nobody thought of.
    Internal = 1,
    /// The command line does not say what to do.
    Usage = 2,
    /// There is no such file, listing, order, identity or network.
    NotFound = 3,
    /// The name or path is taken.
    Exists = 4,
    /// The one who asks may not do this.
    NotAllowed = 5,
    /// The ledger or all nodes are out of reach.
    Unreachable = 6,
    /// Fewer nodes or shards than are needed.
    NotEnough = 7,
    /// Bytes are not what they should be.
    Corrupt = 8,
    /// The account has not that much.
    BalanceTooLow = 9,
    /// The ledger said no.
    LedgerRefused = 10,
    /// The operating system said no.
    Io = 11,
    /// A disk is full.
    DiskFull = 12,
    /// Another process uses the home or the port.
    InUse = 13,
    /// Wrong passphrase, or a damaged or missing key.
    Key = 14,
    /// Part of it was done.
    Partial = 15,
    /// Ended by a signal: what a shell reports for Ctrl-C.
    Interrupted = 130,
    /// Whoever read what was written closed the pipe: what a shell reports for it.
    ClosedPipe = 141,
}

impl Kind {
    /// All of them, by exit code.
    pub(crate) const ALL: [Self; 17] = [
        Self::Internal,
        Self::Usage,
        Self::NotFound,
        Self::Exists,
        Self::NotAllowed,
        Self::Unreachable,
        Self::NotEnough,
        Self::Corrupt,
        Self::BalanceTooLow,
        Self::LedgerRefused,
        Self::Io,
        Self::DiskFull,
        Self::InUse,
        Self::Key,
        Self::Partial,
        Self::Interrupted,
        Self::ClosedPipe,
    ];

    /// Its name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::NotAllowed => "not_allowed",
            Self::Unreachable => "unreachable",
            Self::NotEnough => "not_enough",
            Self::Corrupt => "corrupt",
            Self::BalanceTooLow => "balance_too_low",
            Self::LedgerRefused => "ledger_refused",
            Self::Io => "io",
            Self::DiskFull => "disk_full",
            Self::InUse => "in_use",
            Self::Key => "key",
            Self::Partial => "partial",
            Self::Interrupted => "interrupted",
            Self::ClosedPipe => "closed_pipe",
        }
    }
}

/// What a command ends with when it does not end well.
#[derive(Debug)]
pub(crate) struct Error {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// One sentence: what did not work, and on what.
    pub(crate) message: String,
    /// What to try next.
    pub(crate) hint: Option<String>,
    /// The same for commands that have not the options of that.
    others: Vec<String>,
    /// What was there when it failed, for a program: goes into the JSON document.
    pub(crate) details: Option<Value>,
}

impl Error {
    /// An error of a kind.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, others: Vec::new(), details: None }
    }

    /// The command line is not right.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A bug of ours, with what was being done.
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

    /// With what to try next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With what to try next where a command has not the options that the hint before names.
    pub(crate) fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.others.push(hint.into());
        self
    }

    /// With the first hint whose options the command has that was run.
    pub(crate) fn hint_for(mut self, verb: &Verb) -> Self {
        let hints = self.hint.take().into_iter().chain(self.others.drain(..));
        let hints: Vec<_> = hints.collect();
        let fitting = hints.iter().find(|hint| verb.fits(hint)).cloned();
        // Every test that sees an error sees this, too.
        debug_assert_eq!(
            fitting.is_some(),
            !hints.is_empty(),
            "no such command or option: {hints:?}"
        );
        self.hint = fitting;
        self
    }

    /// With facts for a program.
    pub(crate) fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// What another process of this program printed with `--json`.
    pub(crate) fn from_json(json: &Value) -> Self {
        let error = &json["error"];
        let kind = Kind::ALL.iter().find(|kind| error["kind"] == kind.name());
        let message = error["message"].as_str().unwrap_or("something went wrong");
        let mut out = Self::new(kind.copied().unwrap_or(Kind::Internal), message);
        out.hint = error["hint"].as_str().map(str::to_owned);
        out
    }

    /// The document that `--json` prints.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({
            "kind": self.kind.name(),
            "exit_code": self.kind as u8,
            "message": self.message,
            "hint": self.hint,
        });
        if let Some(details) = &self.details {
            error["details"] = details.clone();
        }
        json!({ "error": error })
    }
}

/// What kind of thing went wrong with a file: the same in every command.
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
    use super::*;

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
        let json = Error::usage("no").hint("do").details(json!({"a": 1})).to_json();
        assert_eq!(json["error"]["kind"], "usage");
        assert_eq!(json["error"]["exit_code"], 2);
        assert_eq!(json["error"]["hint"], "do");
        assert_eq!(json["error"]["details"]["a"], 1);
        for kind in Kind::ALL {
            let back = Error::from_json(&Error::new(kind, "m").to_json());
            assert_eq!((back.kind, back.message.as_str()), (kind, "m"));
        }
    }
}
