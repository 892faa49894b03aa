//! Names: their size and cost, their versions, their moves.

use serde::Serialize;
use symbolon_client::{self as client, Name, VersionView};

use crate::{names::modified_ms, plain::Money};

/// The size and cost of stored names.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Usages {
    /// The name, folder or pattern that was asked for; empty for everything.
    pub name: String,
    /// One for each thing that lies directly in it.
    pub names: Vec<NameUsage>,
    /// All together.
    pub total: Usage,
}

impl Usages {
    /// Each and all of what was asked for under this name.
    #[must_use]
    pub fn new(name: String, each: &[(Name, client::Usage)], all: &client::Usage) -> Self {
        let each = each
            .iter()
            .map(|(name, usage)| NameUsage { name: name.to_string(), usage: usage.into() });
        Self { name, names: each.collect(), total: all.into() }
    }
}

/// The size and cost of one name.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NameUsage {
    /// The name.
    pub name: String,
    /// Its size and cost.
    #[serde(flatten)]
    pub usage: Usage,
}

/// The size and cost of files.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Usage {
    /// How many there are.
    pub files: u64,
    /// Bytes of those.
    pub length: u64,
    /// Bytes of kept versions and removed names.
    pub older_length: u64,
    /// Bytes of all shards; of a file in a pack its part of them.
    pub stored_bytes: u64,
    /// What they cost in all; of a file in a pack its part of that.
    pub cost: Money,
}

impl From<&client::Usage> for Usage {
    fn from(usage: &client::Usage) -> Self {
        Self {
            files: usage.files,
            length: usage.bytes,
            older_length: usage.older_bytes,
            stored_bytes: usage.stored_bytes,
            cost: usage.cost.into(),
        }
    }
}

/// A file or folder that has another name.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Renamed {
    /// The name it had.
    pub from: String,
    /// The name it has.
    pub to: String,
    /// How many names changed.
    pub names: u64,
}

/// What a name stood for.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Versions {
    /// The name.
    pub name: String,
    /// Whether it is removed.
    pub removed: bool,
    /// The newest first.
    pub versions: Vec<Version>,
}

impl Versions {
    /// The versions of this name.
    #[must_use]
    pub fn new(name: String, versions: &[VersionView]) -> Self {
        let removed = !versions.iter().any(|version| version.current);
        Self { name, removed, versions: versions.iter().map(Version::from).collect() }
    }
}

/// What a name stood for at a time.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Version {
    /// Its number, counted from the first put on.
    pub number: u64,
    /// Bytes of the file; null for a link.
    pub length: Option<u64>,
    /// When it was changed.
    pub modified_ms: i64,
    /// When it was stored.
    pub stored_ms: u64,
    /// Whether the name stands for it now.
    pub current: bool,
}

impl From<&VersionView> for Version {
    fn from(version: &VersionView) -> Self {
        Self {
            number: version.number,
            length: version.length,
            modified_ms: modified_ms(version.modified_ns),
            stored_ms: version.stored_ms,
            current: version.current,
        }
    }
}

/// A name that is back.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Undeleted {
    /// The name.
    pub name: String,
    /// The number it has as the newest version.
    pub number: u64,
}
