//! A machine of the simulator: a disk that may lose what was not flushed, and a small ledger.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_consensus::{Decided, Guard, Ledger, Tip, Verdict, message::Body};
use symbolon_protocol::{
    Decode as _, Encode as _, LedgerTime, MachineTime,
    id::{AccountId, Hash},
    ledger::commit::Validators,
    record,
};

use crate::random::Random;

record! {
    /// A transaction that changes the validators.
    pub(crate) struct Change { pub id: u64, pub set: Validators }
}

record! {
    /// A block of the simulator's ledger.
    pub(crate) struct Block {
        pub(crate) height: u64,
        pub(crate) parent: Hash,
        pub(crate) time_ms: LedgerTime,
        pub(crate) salt: u64,
        pub(crate) transactions: Vec<u64>,
        pub(crate) change: Option<Change>,
    }
}

pub(crate) fn name(body: &Body) -> Hash {
    Hash(blake3::derive_key("symbolon 2026 simulated block v1", body.as_bytes()))
}

/// How far a block's time may be ahead of the clock of a validator that votes.
pub(crate) const AHEAD_MAX_MS: u64 = 2_000;

/// Rows and blocks: all of it is on the disk.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) blocks: Vec<Decided>,
    pub(crate) sets: Vec<Validators>,
    tip: Hash,
    time_ms: LedgerTime,
    pub(crate) applied: BTreeSet<u64>,
    // In memory only.
    pub(crate) waiting: BTreeSet<u64>,
    pub(crate) changes: BTreeMap<u64, Validators>,
    /// Makes two blocks of one machine differ.
    pub(crate) salt: u64,
    /// How wrong the time of its blocks is.
    pub(crate) lie_ms: u64,
}

impl Books {
    pub(crate) fn new(set: Validators) -> Self {
        Self {
            blocks: Vec::new(),
            sets: vec![set],
            tip: Hash([0; 32]),
            time_ms: LedgerTime(0),
            applied: BTreeSet::new(),
            waiting: BTreeSet::new(),
            changes: BTreeMap::new(),
            salt: 0,
            lie_ms: 0,
        }
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(crate) fn set(&self) -> &Validators {
        self.sets.last().expect("it begins with one")
    }

    fn judge(&self, height: u64, block: &Hash, body: &Body) -> Option<Block> {
        let found = Block::from_bytes(body.as_bytes()).ok()?;
        let is_next = height == self.height() + 1 && found.height == height;
        let is_child = found.parent == self.tip && self.time_ms <= found.time_ms;
        let ids = found.transactions.iter().chain(found.change.iter().map(|change| &change.id));
        let is_new = ids.clone().all(|id| !self.applied.contains(id));
        let is_once = ids.clone().collect::<BTreeSet<_>>().len() == ids.count();
        let is_set = found.change.as_ref().is_none_or(|change| change.set.check().is_ok());
        let fine = is_next && is_child && is_new && is_once && is_set && name(body) == *block;
        fine.then_some(found)
    }
}

impl Ledger for Books {
    type Error = String;

    fn tip(&self) -> Result<Tip, String> {
        Ok(Tip {
            height: self.height(),
            block: self.tip,
            time_ms: self.time_ms,
            validators: self.set().clone(),
            has_work: !self.waiting.is_empty() || !self.changes.is_empty(),
        })
    }

    fn build(&mut self, height: u64, now: MachineTime) -> Result<(Hash, Body), String> {
        self.salt += 1;
        let time_ms = LedgerTime(now.0 + self.lie_ms).max(self.time_ms);
        let change = self.changes.first_key_value();
        let change = change.map(|(id, set)| Change { id: *id, set: set.clone() });
        let transactions = self.waiting.iter().copied().take(50).collect();
        let (parent, salt) = (self.tip, self.salt);
        let block = Block { height, parent, time_ms, salt, transactions, change };
        let body = Body::new(block.to_bytes());
        Ok((name(&body), body))
    }

    fn check(
        &mut self,
        height: u64,
        block: &Hash,
        body: &Body,
        now: Option<MachineTime>,
        _maker: Option<&AccountId>,
    ) -> Result<Verdict, String> {
        if name(body) != *block {
            return Ok(Verdict::OtherBytes);
        }
        Ok(match self.judge(height, block, body) {
            None => Verdict::Invalid,
            Some(found) if now.is_some_and(|now| now.0 + AHEAD_MAX_MS < found.time_ms.0) => {
                Verdict::Early
            }
            Some(_) => Verdict::Valid,
        })
    }

    fn commit(&mut self, decided: &Decided) -> Result<Tip, String> {
        let found = self.judge(decided.height, &decided.block, &decided.body);
        let found = found.ok_or_else(|| format!("block {} was not valid", decided.height))?;
        let change = found.change.as_ref();
        for id in found.transactions.iter().chain(change.map(|change| &change.id)) {
            self.applied.insert(*id);
            self.waiting.remove(id);
            self.changes.remove(id);
        }
        let next = change.map_or_else(|| self.set().clone(), |change| change.set.clone());
        self.sets.push(next);
        (self.tip, self.time_ms) = (decided.block, found.time_ms);
        self.blocks.push(decided.clone());
        self.tip()
    }

    fn decided(&self, height: u64) -> Result<Option<Decided>, String> {
        let index = height.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        Ok(index.and_then(|index| self.blocks.get(index)).cloned())
    }
}

/// The log and the guard: what is on the disk, and what is on the way there.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) log: Vec<Vec<u8>>,
    pub(crate) guard: Option<Guard>,
    // In their order.
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Log(Vec<u8>),
    Guard(Guard),
}

impl Disk {
    pub(crate) fn log(&mut self, entry: Vec<u8>) {
        self.pending.push(Pending::Log(entry));
    }

    pub(crate) fn guard(&mut self, guard: Guard) {
        self.pending.push(Pending::Guard(guard));
    }

    pub(crate) fn flush(&mut self) {
        let count = self.pending.len();
        self.keep(count, true);
    }

    /// Drops entries below a height.
    pub(crate) fn forget(&mut self, height: u64) {
        let is_kept = |entry: &Vec<u8>| {
            let bytes: [u8; 8] = entry[..8].try_into().expect("an entry begins with its height");
            height <= u64::from_le_bytes(bytes)
        };
        self.log.retain(is_kept);
        self.pending.retain(|one| match one {
            Pending::Log(entry) => is_kept(entry),
            Pending::Guard(_) => true,
        });
    }

    /// The power goes: of what was not flushed, a beginning is there.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let count = random.below(self.pending.len() as u64 + 1);
        let keeps_guard = random.chance(500);
        self.keep(usize::try_from(count).expect("it is small"), keeps_guard);
        self.pending.clear();
    }

    /// The guard is there only after all entries of its flush.
    fn keep(&mut self, count: usize, keeps_guard: bool) {
        let is_all = count == self.pending.len();
        for one in self.pending.drain(..count) {
            match one {
                Pending::Log(entry) => self.log.push(entry),
                Pending::Guard(guard) if is_all && keeps_guard => self.guard = Some(guard),
                Pending::Guard(_) => {}
            }
        }
    }
}
