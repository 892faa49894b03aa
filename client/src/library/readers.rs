//! Who read what this identity has stored: the nodes' signed words, joined with what this machine knows of its grants.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    grant::GrantToken,
    id::{LinkId, NodeId, ObjectId, PeerId},
    reads::{ReadBy, ReadLog},
    session::NodeFault,
};

use crate::{
    catalog::{ObjectEntry, Objects},
    error::ClientError,
    library::{
        Library, Local,
        names::{Name, Pattern},
    },
};

/// What one reader read of one object on one day, by one right, as all nodes together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderRow {
    /// The object.
    pub object: ObjectId,
    /// The day, counted from 1 January 1970.
    pub day: u32,
    /// By what right.
    pub by: ReadBy,
    /// The label of the grant, if this machine knows it.
    pub label: Option<String>,
    /// Whether the reader is this identity.
    pub own: bool,
    /// The reader.
    pub reader: PeerId,
    /// Read requests.
    pub reads: u64,
    /// Bytes of shards that they asked for.
    pub bytes: u64,
    /// How many nodes say so.
    pub nodes: usize,
}

/// Who read objects, as far as their nodes tell.
#[derive(Clone, Debug, Default)]
pub struct Readers {
    /// The objects, and the names of their files.
    pub objects: BTreeMap<ObjectId, Vec<Name>>,
    /// The rows, the newest day first.
    pub rows: Vec<ReaderRow>,
    /// Nodes that told.
    pub told: BTreeSet<NodeId>,
    /// Nodes that did not tell about at least one object.
    pub silent: BTreeMap<NodeId, NodeFault>,
    /// What the nodes signed.
    pub logs: Vec<ReadLog>,
}

/// An object whose readers are wanted.
struct Asked {
    entry: ObjectEntry,
    names: Vec<Name>,
}

impl Library {
    /// Asks the nodes of a file, or of all files of a folder or pattern, who read it from a day on. Only the nodes that
    /// keep it now are asked.
    pub async fn readers(&self, what: &Pattern, from_day: u32) -> Result<Readers, ClientError> {
        self.catch_up().await;
        let wanted = what.clone();
        let asked = self.local(move |local| local.asked(&wanted)).await?;
        self.readers_of(asked, from_day, None).await
    }

    /// Asks the same about a grant that this identity gave: only reads under it count.
    pub async fn readers_under(
        &self,
        token: &GrantToken,
        from_day: u32,
    ) -> Result<Readers, ClientError> {
        if token.grant.root != self.me() {
            let why = "another identity gave it, and nodes tell only the owner who read";
            return Err(ClientError::Grant(why.into()));
        }
        let verified = token.verify().map_err(|error| ClientError::Grant(error.into()))?;
        let last = verified.link_ids().last().copied();
        let objects = self.objects_of_grant(token).await?;
        let asked = self.local(move |local| local.asked_objects(&objects)).await?;
        self.readers_of(asked, from_day, last).await
    }

    async fn readers_of(
        &self,
        asked: Vec<Asked>,
        from_day: u32,
        under: Option<LinkId>,
    ) -> Result<Readers, ClientError> {
        let mut readers = Readers::default();
        for Asked { entry, names } in asked {
            let object = entry.manifest.object;
            readers.objects.insert(object, names);
            let stored = self.stored(vec![entry]).await?;
            let deals = stored.iter().flat_map(|one| one.known());
            let nodes = deals.flat_map(|(_, deal)| deal.kept().map(|(_, shard)| shard.node));
            let nodes: BTreeSet<NodeId> = nodes.collect();
            let told = self.network().who_read(&self.owner(), object, &nodes, from_day).await?;
            readers.told.extend(told.logs.iter().map(|log| log.node));
            readers.silent.extend(told.silent);
            readers.logs.extend(told.logs);
        }
        readers.told.retain(|node| !readers.silent.contains_key(node));
        let labels = self.local(|local| local.labels()).await?;
        let own = self.identity().peer();
        readers.rows = joined(&readers.logs, under, own, &labels);
        Ok(readers)
    }
}

/// What all nodes together say of one reader.
#[derive(Default)]
struct Sum {
    reads: u64,
    bytes: u64,
    nodes: BTreeSet<NodeId>,
}

/// The rows of all logs, those of one reader, right, object and day together.
fn joined(
    logs: &[ReadLog],
    under: Option<LinkId>,
    own: PeerId,
    labels: &BTreeMap<LinkId, String>,
) -> Vec<ReaderRow> {
    let mut sums: BTreeMap<(ObjectId, u32, ReadBy, PeerId), Sum> = BTreeMap::new();
    for log in logs {
        for row in log.rows.iter().filter(|row| under.is_none_or(|link| is_under(&row.by, link))) {
            let key = (log.object, row.day, row.by, row.reader);
            let sum = sums.entry(key).or_default();
            sum.reads = sum.reads.saturating_add(row.reads);
            sum.bytes = sum.bytes.saturating_add(row.bytes);
            sum.nodes.insert(log.node);
        }
    }
    let rows = sums.into_iter().map(|((object, day, by, reader), sum)| {
        let Sum { reads, bytes, nodes } = sum;
        let label = match by {
            ReadBy::Grant { given, link } => labels.get(&link).or_else(|| labels.get(&given)),
            _ => None,
        };
        let (label, nodes) = (label.cloned(), nodes.len());
        ReaderRow { object, day, by, label, own: reader == own, reader, reads, bytes, nodes }
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|one, other| {
        let newest = other.day.cmp(&one.day);
        newest.then(other.bytes.cmp(&one.bytes)).then(one.reader.cmp(&other.reader))
    });
    rows
}

/// Whether a right comes from a link that the owner gave, or is that of a link.
fn is_under(by: &ReadBy, wanted: LinkId) -> bool {
    match by {
        ReadBy::Grant { given, link } => *given == wanted || *link == wanted,
        ReadBy::Order { link, .. } => *link == wanted,
        ReadBy::Claim | ReadBy::Others => false,
    }
}

impl Local {
    fn asked(&self, what: &Pattern) -> Result<Vec<Asked>, ClientError> {
        let bytes = &*what.bytes();
        if let Some(all) = self.objects_named(bytes)? {
            let found = all.into_values().filter_map(|(names, found)| {
                Some(Asked { entry: (*found.ok()?.object).clone(), names })
            });
            return Ok(found.collect());
        }
        let name = Name::checked(bytes)?;
        let found = self.find(&name)?;
        Ok(vec![Asked { entry: (*found.object).clone(), names: vec![name] }])
    }

    /// Those of these objects that are still stored.
    fn asked_objects(&self, objects: &[ObjectId]) -> Result<Vec<Asked>, ClientError> {
        let mut asked = Vec::new();
        for object in objects {
            if let Some(entry) = self.catalog().row(Objects, &object.0)? {
                asked.push(Asked { entry, names: Vec::new() });
            }
        }
        match asked.is_empty() {
            true => Err(ClientError::Grant("what it is for is not stored any longer".into())),
            false => Ok(asked),
        }
    }

    /// What this machine calls the links of its grants.
    fn labels(&self) -> Result<BTreeMap<LinkId, String>, ClientError> {
        let mut labels = BTreeMap::new();
        for (label, token) in self.grants()? {
            let links = token.verify().map(|verified| verified.link_ids()).unwrap_or_default();
            if let Some(last) = links.last() {
                labels.insert(*last, label);
            }
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::{
        LedgerTime,
        id::{AccountId, ChainId, OrderId},
        identity::Identity,
        reads::ReadRow,
    };

    use super::*;

    #[test]
    fn what_nodes_say_of_one_reader_is_added_up() {
        let own = PeerId([9; 32]);
        let given = LinkId([1; 16]);
        let grant = |link: u8| ReadBy::Grant { given, link: LinkId([link; 16]) };
        let order = ReadBy::Order { order: OrderId([5; 16]), link: LinkId([6; 16]) };
        let row = |day, by, reader: u8, bytes| {
            let reader = PeerId([reader; 32]);
            ReadRow { day, by, reader, reads: 1, bytes }
        };
        let log = |node: u8, rows| {
            let key = Identity::from_seed(&[node; 64]).account_key();
            let of = (AccountId([7; 32]), ObjectId([8; 16]));
            ReadLog::build(&ChainId([0; 32]), &key, of, 0..9, LedgerTime(0), rows)
        };
        let logs = [
            log(1, vec![row(3, grant(1), 2, 10), row(4, order, 3, 5), row(4, grant(4), 9, 1)]),
            log(2, vec![row(3, grant(1), 2, 30), row(3, ReadBy::Claim, 4, 7)]),
        ];
        let labels = BTreeMap::from([(given, String::from("given: a"))]);
        let rows = joined(&logs, None, own, &labels);
        let told: Vec<_> =
            rows.iter().map(|row| (row.day, row.reads, row.bytes, row.nodes, row.own)).collect();
        let expected =
            [(4, 1, 5, 1, false), (4, 1, 1, 1, true), (3, 2, 40, 2, false), (3, 1, 7, 1, false)];
        assert_eq!(told, expected);
        assert_eq!(rows[2].label.as_deref(), Some("given: a"));
        assert_eq!(rows[1].label.as_deref(), Some("given: a"), "it was passed on");
        assert_eq!(rows[0].label, None);
        let under = |link: u8| joined(&logs, Some(LinkId([link; 16])), own, &labels).len();
        assert_eq!((under(1), under(4), under(6), under(7)), (2, 1, 1, 0));
    }
}
