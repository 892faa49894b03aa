//! What is stored, by name.

use serde::Serialize;
use symbolon_client::{FileKind, FileView, NameKind, NameView, shown};
use symbolon_protocol::LedgerTime;

use crate::plain::{Id, Money, Scheme};

/// What is stored.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Names {
    /// Files, links and folders.
    pub files: Vec<Entry>,
}

/// A name, or a folder with a summary of its content.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Entry {
    /// A file.
    File {
        /// Its name.
        name: String,
        /// Whose it is.
        kind: Kind,
        /// Its object.
        object: Id,
        /// Whether it shares its object with other files; `cost` is then its part of that object's.
        packed: bool,
        /// Bytes of the file.
        length: u64,
        /// How many of its shards are needed to read it.
        scheme: Scheme,
        /// Segments it was cut into.
        segments: u32,
        /// When it was stored.
        stored_ms: u64,
        /// Until when it is paid, reckoned when it was stored.
        paid_until_ms: u64,
        /// Whether that time has passed.
        over: bool,
        /// What it cost in all.
        cost: Money,
        /// The properties of its name; absent for a file that is stored for a listing.
        #[serde(flatten)]
        about: Option<About>,
    },
    /// A link.
    Link {
        /// Its name.
        name: String,
        /// What it stands for.
        target: String,
        /// The properties of its name.
        #[serde(flatten)]
        about: About,
    },
    /// A folder.
    Folder {
        /// Its name.
        name: String,
        /// A summary of its content; absent if every name is listed.
        #[serde(flatten)]
        within: Option<Within>,
        /// The properties of its name; absent if it has no row of its own.
        #[serde(flatten)]
        about: Option<About>,
    },
    /// A file whose bytes are gone.
    Lost {
        /// Its name.
        name: String,
        /// Bytes the file had.
        length: u64,
        /// The properties of its name.
        #[serde(flatten)]
        about: About,
    },
}

impl Entry {
    /// A stored file without the properties of its name.
    #[must_use]
    pub fn file(file: &FileView, now_ms: LedgerTime) -> Self {
        Self::file_about(file, now_ms, None)
    }

    fn file_about(file: &FileView, now_ms: LedgerTime, about: Option<About>) -> Self {
        Self::File {
            name: file.name.to_string(),
            kind: file.kind.into(),
            object: file.object.into(),
            packed: file.packed,
            length: file.length,
            scheme: file.scheme.into(),
            segments: file.segments,
            stored_ms: file.stored_ms,
            paid_until_ms: file.paid_until_ms.0,
            over: file.paid_until_ms <= now_ms,
            cost: file.cost.into(),
            about,
        }
    }

    /// One name.
    #[must_use]
    pub fn name(view: &NameView, now_ms: LedgerTime) -> Self {
        let (name, about) = (view.name.to_string(), About::from(view));
        match &view.kind {
            NameKind::File(file) => Self::file_about(file, now_ms, Some(about)),
            NameKind::Link { target } => Self::Link { name, target: shown(target), about },
            NameKind::Lost { length } => Self::Lost { name, length: *length, about },
            NameKind::Folder => Self::Folder { name, within: None, about: Some(about) },
        }
    }

    /// A folder with a summary of its content, and its own row if it has one.
    #[must_use]
    pub fn folder(name: &str, within: Within, own: Option<&NameView>) -> Self {
        let about = own.map(About::from);
        Self::Folder { name: name.to_owned(), within: Some(within), about }
    }
}

/// What a stored file is for.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Kind {
    /// The owner's own.
    Own,
    /// The description of a listing.
    ListingDescription,
    /// The preview of a listing.
    ListingPreview,
    /// What a listing says of every cell of its file.
    ListingLeaves,
    /// A part of the index of names.
    Index,
}

impl From<FileKind> for Kind {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::Own | FileKind::Pack | FileKind::Item | FileKind::ItemPack => Self::Own,
            FileKind::Document { .. } => Self::ListingDescription,
            FileKind::Preview { .. } => Self::ListingPreview,
            FileKind::Leaves { .. } => Self::ListingLeaves,
            FileKind::Index => Self::Index,
        }
    }
}

/// A summary of the content of a folder.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Within {
    /// Files that lie in the folder, however deep.
    pub files: u64,
    /// Bytes of those.
    pub length: u64,
    /// How many of those are not paid any more.
    pub over: u64,
}

/// The properties of a name.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct About {
    /// Its permissions: four octal digits.
    pub mode: String,
    /// When it was changed.
    pub modified_ms: i64,
    /// How many older versions are kept.
    pub versions: usize,
    /// When it was removed; null where it was not.
    pub deleted_ms: Option<u64>,
}

impl From<&NameView> for About {
    fn from(view: &NameView) -> Self {
        Self {
            mode: format!("{:04o}", view.mode),
            modified_ms: modified_ms(view.modified_ns),
            versions: view.versions,
            deleted_ms: view.deleted_ms,
        }
    }
}

/// A time of a file in milliseconds; 0 if it does not fit into them.
pub(crate) fn modified_ms(modified_ns: i128) -> i64 {
    i64::try_from(modified_ns / 1_000_000).unwrap_or(0)
}
