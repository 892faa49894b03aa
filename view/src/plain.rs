//! Parts of many documents: identifiers, money, schemes, secrets.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use symbolon_protocol::{
    Amount, content,
    id::{AccountId, ChainId, DealId, Hash, LinkId, ListingId, ObjectId, OrderId, PeerId, VaultId},
};
use zeroize::Zeroizing;

/// An identifier, key or hash: bytes in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Id(#[cfg_attr(test, schemars(regex(pattern = r"^([0-9a-f]{2})+$")))] String);

impl Id {
    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Those of a list.
    pub fn list<'a, T: 'a>(ids: impl IntoIterator<Item = &'a T>) -> Vec<Self>
    where
        Self: From<&'a T>,
    {
        ids.into_iter().map(Self::from).collect()
    }
}

macro_rules! ids {
    ($($name:ident),*) => {$(
        impl From<&$name> for Id {
            fn from(id: &$name) -> Self {
                Self(id.to_string())
            }
        }

        impl From<$name> for Id {
            fn from(id: $name) -> Self {
                Self::from(&id)
            }
        }
    )*};
}

ids!(AccountId, ChainId, DealId, Hash, LinkId, ListingId, ObjectId, OrderId, PeerId, VaultId);

/// Credits as a decimal text: amounts of a ledger do not fit into the numbers of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Money(#[cfg_attr(test, schemars(regex(pattern = r"^[0-9]+(\.[0-9]{1,9})?$")))] String);

impl Money {
    /// The credits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Money {
    fn default() -> Self {
        Amount::ZERO.into()
    }
}

impl From<Amount> for Money {
    fn from(amount: Amount) -> Self {
        Self(amount.to_string())
    }
}

/// Any `required` of `total` shards give a segment back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Scheme {
    /// How many shards are needed.
    pub required: u8,
    /// How many shards there are.
    pub total: u8,
}

impl From<content::Scheme> for Scheme {
    fn from(scheme: content::Scheme) -> Self {
        Self { required: scheme.required, total: scheme.total }
    }
}

/// A text that only its owner may see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_only_where_it_is_asked_for() {
        let secret = Secret::new("zoo zoo");
        assert_eq!(format!("{secret:?}"), "(..)");
        assert_eq!(serde_json::to_value(secret).unwrap(), "zoo zoo");
    }
}
