//! Identities, and what others need to share with them.

use serde::Serialize;
use symbolon_client::IndexView;
use symbolon_protocol::identity;

use crate::plain::{Id, Money, Secret};

/// A new identity.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Made {
    /// Its name on this machine.
    pub name: String,
    /// Its account.
    pub account: Id,
    /// What others need to share with it.
    pub recipient: String,
    /// The recovery phrase, the secret itself: 24 words.
    #[cfg_attr(test, schemars(with = "String"))]
    pub phrase: Secret,
}

impl Made {
    /// A new identity under its name on this machine.
    #[must_use]
    pub fn new(name: &str, identity: &identity::Identity, words: &str) -> Self {
        Self {
            name: name.to_owned(),
            account: identity.account().into(),
            recipient: identity.recipient().to_text(),
            phrase: Secret::new(words),
        }
    }
}

/// An identity that is back.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Restored {
    /// Its name on this machine.
    pub name: String,
    /// Its account.
    pub account: Id,
    /// What others need to share with it.
    pub recipient: String,
    /// What it can spend. Absent where `index` is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Money"))]
    pub balance: Option<Money>,
    /// What came back from the network; null where no network is known, or it does not answer.
    pub index: Option<RestoredIndex>,
}

impl Restored {
    /// An identity of which nothing came back from the network yet.
    #[must_use]
    pub fn new(name: &str, identity: &identity::Identity) -> Self {
        Self {
            name: name.to_owned(),
            account: identity.account().into(),
            recipient: identity.recipient().to_text(),
            balance: None,
            index: None,
        }
    }
}

/// What came back from the network.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestoredIndex {
    /// Names of files, folders and links.
    pub names: usize,
    /// Grants that others gave.
    pub grants: usize,
    /// Purchases.
    pub purchases: usize,
}

impl From<&IndexView> for RestoredIndex {
    fn from(index: &IndexView) -> Self {
        Self { names: index.names, grants: index.grants, purchases: index.purchases }
    }
}

/// An identity.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Identity {
    /// Its name on this machine.
    pub name: String,
    /// Its account.
    pub account: Id,
    /// The key that grants are bound to.
    pub access: Id,
    /// What others need to share with it.
    pub recipient: String,
}

/// A recovery phrase.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Words {
    /// The identity's name on this machine.
    pub name: String,
    /// The recovery phrase, the secret itself: 24 words.
    #[cfg_attr(test, schemars(with = "String"))]
    pub phrase: Secret,
}

/// All identities of a home.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Identities {
    /// In alphabetical order.
    pub identities: Vec<IdentityName>,
}

/// One identity of a home.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IdentityName {
    /// Its name on this machine.
    pub name: String,
    /// What others need to share with it.
    pub recipient: String,
}
