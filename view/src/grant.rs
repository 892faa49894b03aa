//! Grants, their links and caveats.

use serde::Serialize;
use symbolon_client::{Name, ReaderRow, Readers};
use symbolon_protocol::{
    Encode, Millis,
    grant::{self, GrantToken, TokenError, ability},
    id::{LinkId, NodeId, ObjectId, hex},
    identity::Recipient,
    reads::{ReadBy, ReadLog},
    session::NodeFault,
};

use crate::plain::{Id, Secret};

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
    /// How many files of the folder it opens; null for a file.
    pub files: Option<u64>,
    /// The voucher, a secret: the first who redeems it may read. Null if it was written to a file, and for a grant to a
    /// recipient.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub voucher: Option<Secret>,
}

/// A voucher that was redeemed.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Redeemed {
    /// The identity that redeemed it.
    pub name: String,
    /// Whether the command made this identity.
    pub made: bool,
    /// The grant, `grant1...`.
    pub grant: String,
    /// The key it is bound to.
    pub holder: Id,
    /// Its last link.
    pub link: Id,
    /// The object it is for; of a folder, the list of its files.
    pub object: Id,
    /// Bytes of that.
    pub length: u64,
    /// Whether it is for a folder.
    pub folder: bool,
    /// When it ends.
    pub until_ms: u64,
    /// The file it was written to; null if it was not written.
    pub path: Option<String>,
}

impl Redeemed {
    /// The grant that an identity has got for a voucher.
    #[must_use]
    pub fn new(
        (name, made): (&str, bool),
        token: &GrantToken,
        (link, path): (LinkId, Option<String>),
    ) -> Self {
        Self {
            name: name.to_owned(),
            made,
            grant: token.to_text(),
            holder: token.grant.holder().map_or_else(|| token.grant.root.into(), Id::from),
            link: link.into(),
            object: token.manifest.object.into(),
            length: token.manifest.length,
            folder: token.is_folder(),
            until_ms: token.grant.ends_ms().map_or(u64::MAX, |ends_ms| ends_ms.0),
            path,
        }
    }
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

    /// The same, said of the file it is for, or of so many files of a folder.
    #[must_use]
    pub fn of(self, name: String, files: Option<u64>) -> Shared {
        let Self { grant, holder, link, path } = self;
        Shared { name, grant, holder, link, path, files, voucher: None }
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
    /// Whether it is for a folder.
    pub folder: bool,
    /// The object it is for; of a folder, the list of its files.
    pub object: Id,
    /// Bytes of that.
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
            folder: token.is_folder(),
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
    /// Only the objects under this root.
    Objects(Id),
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
    /// Only for whom a voucher was redeemed, which ends at this time.
    OnceUntilMs(u64),
}

impl From<&grant::Caveat> for Caveat {
    fn from(caveat: &grant::Caveat) -> Self {
        use grant::Caveat as C;
        match caveat {
            C::Object { object } => Self::Object(object.into()),
            C::Objects { root } => Self::Objects(root.into()),
            C::Abilities { set } => Self::Abilities(Ability::of(*set)),
            C::NotBefore { time_ms } => Self::NotBeforeMs(time_ms.0),
            C::NotAfter { time_ms } => Self::NotAfterMs(time_ms.0),
            C::Cells { first, end } => Self::Cells([*first, *end]),
            C::NodeReads { count } => Self::NodeReads(*count),
            C::NodeBytes { bytes } => Self::NodeBytes(*bytes),
            C::Purpose { hash } => Self::Purpose(hash.into()),
            C::Depth { links } => Self::Depth(*links),
            C::Staleness { max_ms } => Self::StalenessMs(max_ms.0),
            C::Once { until_ms } => Self::OnceUntilMs(until_ms.0),
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
    /// What became of it; null if it is no voucher.
    pub voucher: Option<VoucherState>,
}

/// What became of a voucher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum VoucherState {
    /// The ledger does not answer.
    Unknown,
    /// It is not redeemed.
    Open,
    /// It was redeemed for this peer.
    RedeemedBy(Id),
}

impl Held {
    /// A grant under its label.
    #[must_use]
    pub fn new(
        label: &str,
        token: &GrantToken,
        expired: bool,
        voucher: Option<VoucherState>,
    ) -> Self {
        Self {
            label: label.to_owned(),
            object: token.manifest.object.into(),
            length: token.manifest.length,
            expired,
            grant: token.to_text(),
            voucher,
        }
    }
}

/// Who read something, as far as its nodes tell.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReadersShown {
    /// The objects, with the names of their files.
    pub objects: Vec<ReadObject>,
    /// What was read, the newest day first.
    pub rows: Vec<Read>,
    /// Reads of all rows.
    pub reads: u64,
    /// Bytes of shards of all rows.
    pub bytes: u64,
    /// Nodes that told.
    pub told: Vec<Id>,
    /// Nodes that did not: reads may be missing.
    pub silent: Vec<SilentNode>,
    /// What the nodes have signed.
    pub statements: Vec<Statement>,
}

/// An object whose readers are shown.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReadObject {
    /// The object.
    pub object: Id,
    /// Names of files that it holds, as far as they were asked for.
    pub names: Vec<String>,
}

/// What one reader read of one object on one day, by one right.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Read {
    /// The object.
    pub object: Id,
    /// When the day begins, in UTC.
    pub day_ms: u64,
    /// By what right.
    pub by: ReadRight,
    /// The label of the grant; null if this machine knows none.
    pub label: Option<String>,
    /// The link that the owner gave; null if it was no grant of the owner's.
    pub given: Option<Id>,
    /// The last link; null if there is no grant.
    pub link: Option<Id>,
    /// The order; null if there is none.
    pub order: Option<Id>,
    /// The peer that read; null if several are counted together.
    pub reader: Option<Id>,
    /// Read requests.
    pub reads: u64,
    /// Bytes of shards that they asked for.
    pub bytes: u64,
    /// How many nodes say so.
    pub nodes: u64,
}

/// By what right something was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ReadRight {
    /// By this identity itself.
    Own,
    /// A grant that this identity gave, or one made from it.
    Grant,
    /// A purchase.
    Order,
    /// A claim to rebuild lost shards.
    Claim,
    /// More readers than a node lists for one day.
    Others,
}

/// A node that did not tell.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SilentNode {
    /// The node.
    pub node: Id,
    /// Why, for people.
    pub fault: String,
}

/// What a node has signed.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Statement {
    /// The node.
    pub node: Id,
    /// When, by its clock.
    pub time_ms: u64,
    /// The statement, a `ReadLog` of `spec/wire.md`, in hexadecimal.
    pub read_log: String,
}

impl From<&Readers> for ReadersShown {
    fn from(readers: &Readers) -> Self {
        let sum = |of: fn(&ReaderRow) -> u64| {
            readers.rows.iter().fold(0, |sum: u64, row| sum.saturating_add(of(row)))
        };
        let object = |(object, names): (&ObjectId, &Vec<Name>)| ReadObject {
            object: object.into(),
            names: names.iter().map(ToString::to_string).collect(),
        };
        let silent = |(node, fault): (&NodeId, &NodeFault)| SilentNode {
            node: node.into(),
            fault: fault.to_string(),
        };
        let statement = |log: &ReadLog| Statement {
            node: log.node.into(),
            time_ms: log.time_ms.0,
            read_log: hex(&log.to_bytes()),
        };
        Self {
            objects: readers.objects.iter().map(object).collect(),
            rows: readers.rows.iter().map(Read::from).collect(),
            reads: sum(|row| row.reads),
            bytes: sum(|row| row.bytes),
            told: Id::list(&readers.told),
            silent: readers.silent.iter().map(silent).collect(),
            statements: readers.logs.iter().map(statement).collect(),
        }
    }
}

impl From<&ReaderRow> for Read {
    fn from(row: &ReaderRow) -> Self {
        let (by, given, link, order) = match row.by {
            ReadBy::Grant { given, link } => {
                let by = if row.own { ReadRight::Own } else { ReadRight::Grant };
                (by, Some(given), Some(link), None)
            }
            ReadBy::Order { order, link } => (ReadRight::Order, None, Some(link), Some(order)),
            ReadBy::Claim => (ReadRight::Claim, None, None, None),
            ReadBy::Others => (ReadRight::Others, None, None, None),
        };
        Self {
            object: row.object.into(),
            day_ms: Millis::DAY.0.saturating_mul(row.day.into()),
            by,
            label: row.label.clone(),
            given: given.map(Into::into),
            link: link.map(Into::into),
            order: order.map(Into::into),
            reader: (by != ReadRight::Others).then(|| row.reader.into()),
            reads: row.reads,
            bytes: row.bytes,
            nodes: row.nodes as u64,
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
                C::Objects { root: Hash([1; 32]) },
                format!("{{\"objects\":\"{}\"}}", "01".repeat(32)),
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
            (C::Staleness { max_ms: Millis(7) }, "{\"staleness_ms\":7}".into()),
            (
                C::Once { until_ms: symbolon_protocol::LedgerTime(7) },
                "{\"once_until_ms\":7}".into(),
            ),
        ] {
            assert_eq!(serde_json::to_string(&Caveat::from(&caveat)).unwrap(), text);
        }
    }
}
