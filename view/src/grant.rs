//! Grants, their links and caveats.

use serde::Serialize;
use symbolon_protocol::{
    grant::{self, GrantToken, TokenError, ability},
    id::LinkId,
    identity::Recipient,
};

use crate::plain::Id;

/// A file that another identity may read.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Shared {
    /// Its name.
    pub name: String,
    /// The grant, `grant1...`.
    pub grant: String,
    /// The key it is bound to.
    pub holder: Id,
    /// Its last link, by which it can be revoked.
    pub link: Id,
    /// The file it was written to; null if it was not written.
    pub path: Option<String>,
}

/// A grant that was passed on.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attenuated {
    /// The grant, `grant1...`.
    pub grant: String,
    /// The key it is bound to.
    pub holder: Id,
    /// Its last link, by which it can be revoked.
    pub link: Id,
    /// The file it was written to; null if it was not written.
    pub path: Option<String>,
}

impl Attenuated {
    /// A grant for this recipient that was written to `path`, or nowhere.
    #[must_use]
    pub fn new(token: &GrantToken, holder: &Recipient, link: LinkId, path: Option<String>) -> Self {
        Self { grant: token.to_text(), holder: holder.access.into(), link: link.into(), path }
    }

    /// The same, said of the file it is for.
    #[must_use]
    pub fn of(self, name: String) -> Shared {
        let Self { grant, holder, link, path } = self;
        Shared { name, grant, holder, link, path }
    }
}

/// A link that nodes refuse from now on.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Revoked {
    /// The link.
    pub link: Id,
    /// The block from which on nodes refuse it.
    pub height: u64,
}

/// What a grant allows.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inspected {
    /// Whether its chain holds.
    pub valid: bool,
    /// Why it does not, for people; null where it does.
    pub fault: Option<String>,
    /// Whether it has expired.
    pub expired: bool,
    /// The clock that decides this; null if the grant has no limit in time.
    pub clock: Option<Clock>,
    /// The account that gave it.
    pub root: Id,
    /// The key it is bound to; null where it has no link.
    pub holder: Option<Id>,
    /// The object it is for.
    pub object: Id,
    /// Bytes of the file.
    pub length: u64,
    /// The order that passes the first link on to a buyer; null in a grant that was not bought.
    pub sale: Option<Sale>,
    /// The steps from the owner to the holder; none where the chain does not hold.
    pub links: Vec<Link>,
}

impl Inspected {
    /// What a grant says, and whether its time is over by this clock.
    #[must_use]
    pub fn new(
        token: &GrantToken,
        ids: &Result<Vec<LinkId>, TokenError>,
        (expired, clock): (bool, Option<Clock>),
    ) -> Self {
        let of = |(link, id): (&grant::Link, &LinkId)| Link {
            link: id.into(),
            audience: link.audience.into(),
            caveats: link.caveats.iter().map(Caveat::from).collect(),
        };
        let known = ids.as_deref().unwrap_or_default();
        Self {
            valid: ids.is_ok(),
            fault: ids.as_ref().err().map(ToString::to_string),
            expired,
            clock,
            root: token.grant.root.into(),
            holder: token.grant.holder().map(Into::into),
            sale: token.grant.sale.as_ref().map(Sale::from),
            object: token.manifest.object.into(),
            length: token.manifest.length,
            links: token.grant.links.iter().zip(known).map(of).collect(),
        }
    }
}

/// The clock that decides whether a grant has expired.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Clock {
    /// The clock of the grant's ledger.
    Ledger,
    /// This machine's: the grant's ledger is not this home's, or does not answer.
    Machine,
}

/// One step of a grant.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Link {
    /// Its id: what revokes it, and all that was made from it.
    pub link: Id,
    /// The key it passes the grant to.
    pub audience: Id,
    /// What it restricts.
    pub caveats: Vec<Caveat>,
}

/// What a bought grant says of its order. The ledger and the nodes know whether it is true.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sale {
    /// The order.
    pub order: Id,
    /// The buyer's key.
    pub holder: Id,
    /// When access ends.
    pub ends_ms: u64,
}

impl From<&grant::Sale> for Sale {
    fn from(sale: &grant::Sale) -> Self {
        let grant::Sale { order, holder, ends_ms } = *sale;
        Self { order: order.into(), holder: holder.into(), ends_ms: ends_ms.0 }
    }
}

/// One restriction.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Caveat {
    /// Only this object.
    Object(Id),
    /// Only these abilities.
    Abilities(Vec<Ability>),
    /// Not before this time.
    NotBeforeMs(u64),
    /// Not from this time on.
    NotAfterMs(u64),
    /// Only these cells: the first, and the one behind the last.
    Cells([u64; 2]),
    /// At most this many reads at each node.
    NodeReads(u64),
    /// At most this many bytes from each node.
    NodeBytes(u64),
    /// Only for what this is the hash of.
    Purpose(Id),
    /// At most this many more links.
    Depth(u8),
    /// Only at nodes whose ledger is not older than this.
    StalenessMs(u64),
}

impl From<&grant::Caveat> for Caveat {
    fn from(caveat: &grant::Caveat) -> Self {
        use grant::Caveat as C;
        match caveat {
            C::Object { object } => Self::Object(object.into()),
            C::Abilities { set } => Self::Abilities(Ability::of(*set)),
            C::NotBefore { time_ms } => Self::NotBeforeMs(time_ms.0),
            C::NotAfter { time_ms } => Self::NotAfterMs(time_ms.0),
            C::Cells { first, end } => Self::Cells([*first, *end]),
            C::NodeReads { count } => Self::NodeReads(*count),
            C::NodeBytes { bytes } => Self::NodeBytes(*bytes),
            C::Purpose { hash } => Self::Purpose(hash.into()),
            C::Depth { links } => Self::Depth(*links),
            C::Staleness { max_ms } => Self::StalenessMs(max_ms.0),
        }
    }
}

/// What a grant may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Ability {
    /// To read.
    Read,
    /// To check.
    Verify,
    /// To repair.
    Repair,
    /// To store.
    Store,
    /// To delete.
    Delete,
}

impl Ability {
    /// Those of a set.
    fn of(set: u16) -> Vec<Self> {
        let all = [
            (ability::READ, Self::Read),
            (ability::VERIFY, Self::Verify),
            (ability::REPAIR, Self::Repair),
            (ability::STORE, Self::Store),
            (ability::DELETE, Self::Delete),
        ];
        all.into_iter().filter(|(bit, _)| set & bit != 0).map(|(_, ability)| ability).collect()
    }
}

/// The grants that an identity holds.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Grants {
    /// One for each.
    pub grants: Vec<Held>,
}

/// A grant that an identity holds.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Held {
    /// What it is for, for people.
    pub label: String,
    /// The object it is for.
    pub object: Id,
    /// Bytes of the file.
    pub length: u64,
    /// Whether it has expired.
    pub expired: bool,
    /// The grant, `grant1...`.
    pub grant: String,
}

impl Held {
    /// A grant under its label.
    #[must_use]
    pub fn new(label: &str, token: &GrantToken, expired: bool) -> Self {
        Self {
            label: label.to_owned(),
            object: token.manifest.object.into(),
            length: token.manifest.length,
            expired,
            grant: token.to_text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::{Hash, ObjectId};

    use super::*;

    #[test]
    fn every_caveat_is_an_object_with_one_field() {
        use grant::Caveat as C;
        for (caveat, text) in [
            (
                C::Object { object: ObjectId([1; 16]) },
                format!("{{\"object\":\"{}\"}}", "01".repeat(16)),
            ),
            (
                C::Abilities { set: ability::READ | ability::DELETE },
                "{\"abilities\":[\"read\",\"delete\"]}".into(),
            ),
            (
                C::NotBefore { time_ms: symbolon_protocol::LedgerTime(7) },
                "{\"not_before_ms\":7}".into(),
            ),
            (
                C::NotAfter { time_ms: symbolon_protocol::LedgerTime(7) },
                "{\"not_after_ms\":7}".into(),
            ),
            (C::Cells { first: 1, end: 2 }, "{\"cells\":[1,2]}".into()),
            (C::NodeReads { count: 7 }, "{\"node_reads\":7}".into()),
            (C::NodeBytes { bytes: 7 }, "{\"node_bytes\":7}".into()),
            (
                C::Purpose { hash: Hash([1; 32]) },
                format!("{{\"purpose\":\"{}\"}}", "01".repeat(32)),
            ),
            (C::Depth { links: 7 }, "{\"depth\":7}".into()),
            (C::Staleness { max_ms: symbolon_protocol::Millis(7) }, "{\"staleness_ms\":7}".into()),
        ] {
            assert_eq!(serde_json::to_string(&Caveat::from(&caveat)).unwrap(), text);
        }
    }
}
