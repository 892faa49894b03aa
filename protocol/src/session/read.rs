//! Reading one segment, whole or a single cell: which node to ask for which shard's slice, when to ask another one
//! too, when to give up.
//!
//! A *group* is the same slice of every shard; any `required` of its slices give the data back. The
//! session keeps a window of groups in flight, asks data shards first (they need no decoding), asks a
//! quarter more than required for the first group to learn which nodes are fast, and afterwards asks for
//! another slice only when one is late (half as long again as the 95th percentile) and its group is
//! the one the reader waits for, so that hedging never takes capacity from useful work. A node that was late
//! is shunned: a node that is gone costs one wait, not one per group.
//!
//! The window may grow: a long fast path is full only with many groups under way. It follows the time from
//! asking for a group to having it, which says both that a path is long and that it is full.
//!
//! A single cell is a group of its own: its slices are the cells of one stripe. One of them is the cell itself, so
//! the node that has it is asked alone. Only when that node is shunned, fails or is late, as many others are asked as
//! give the cell back; whichever way is complete first wins. Three things differ: others are asked a little later,
//! because that costs `required` requests and not one; they take turns instead of the fastest having all the work;
//! and no node is asked twice, because a reader of a few kilobytes wants to hear soon that they cannot be had.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::{
    NodeFault,
    standing::{FIRST_LATE_MS, Standing},
};
use crate::id::NodeId;

/// Added to the percentile, in milliseconds: below this a difference says nothing about a node.
const LATE_MARGIN_MS: u64 = 25;

/// The same where one node is asked alone, and a wait costs as many requests as are required.
const ALONE_MARGIN_MS: u64 = 100;

/// A node that keeps everything waiting for good: after this long without an answer it counts as failed, but not
/// where answers take that long. There it has twice the time after which it is late.
const GIVE_UP_MS: u64 = 20_000;

/// A group that was here sooner leaves room for one more under way, in milliseconds: several times the longest
/// round trip there is, so the path is full before this is reached.
const QUICK_MS: u64 = 1_000;

/// A group that took longer takes one from those under way, in milliseconds: on a slow link many groups at once
/// bring none of them sooner, and the last would come after [`GIVE_UP_MS`].
const SLOW_MS: u64 = 4_000;

/// Groups under way at least: one that is read, and one that comes.
const WINDOW_MIN: u32 = 2;

/// So many transient faults in a row, and a node is not asked again in this session.
const STRIKES: u8 = 3;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The session begins.
    Start,
    /// A verified slice is here, or a verified cell.
    Arrived {
        /// Of which shard.
        index: u8,
        /// Which slice.
        slice: u32,
    },
    /// A slice will not come.
    Failed {
        /// Of which shard.
        index: u8,
        /// Which slice.
        slice: u32,
        /// Why.
        fault: NodeFault,
    },
    /// The reader has consumed the group of this slice; the window moves on.
    Consumed {
        /// Which.
        slice: u32,
    },
    /// The deadline passed.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask for a slice.
    Fetch {
        /// Of which shard.
        index: u8,
        /// From which node.
        node: NodeId,
        /// Which slice.
        slice: u32,
    },
    /// A slice is no longer wanted.
    Cancel {
        /// Of which shard.
        index: u8,
        /// Which slice.
        slice: u32,
    },
    /// These shards' slices are all here: decode them.
    Ready {
        /// Which slice.
        slice: u32,
        /// Which shards.
        indexes: Vec<u8>,
    },
    /// Final: every group was consumed.
    Complete,
    /// Final: too few shards can be had.
    Short {
        /// How many shards still answer.
        usable: u8,
        /// How many are needed.
        required: u8,
        /// What the others did.
        faults: Vec<(u8, NodeId, NodeFault)>,
    },
}

#[derive(Debug)]
struct Shard {
    node: NodeId,
    fault: Option<NodeFault>,
    strikes: u8,
    waiting: u32,
    /// It has answered in this session.
    answered: bool,
    /// Another had to be asked in its place.
    late: bool,
}

impl Shard {
    fn new(node: NodeId) -> Self {
        Self { node, fault: None, strikes: 0, waiting: 0, answered: false, late: false }
    }
}

#[derive(Debug, Default)]
struct Group {
    since_ms: u64,
    asked: BTreeMap<u8, u64>,
    arrived: Vec<u8>,
    ready: bool,
}

/// In what order shards are asked: the lowest first.
type Rank = (u8, bool, u32, u64, u8);

/// The session.
#[derive(Debug)]
pub struct Read {
    required: u8,
    shards: BTreeMap<u8, Shard>,
    /// The shard that has the cell, where a single one is read.
    own: Option<u8>,
    groups: BTreeMap<u32, Group>,
    next: u32,
    end: u32,
    window: u32,
    window_max: u32,
    first: u32,
    /// Answers so far.
    answers: u32,
    outputs: VecDeque<Output>,
    deadline_ms: Option<u64>,
    over: bool,
}

impl Read {
    /// Reads the groups `first` up to and without `end` from any `required` of `shards`, with at most
    /// `window` groups in flight.
    #[must_use]
    pub fn groups(
        required: u8,
        shards: impl IntoIterator<Item = (u8, NodeId)>,
        (first, end): (u32, u32),
        window: u32,
    ) -> Self {
        let shards = shards.into_iter().map(|(index, node)| (index, Shard::new(node)));
        Self {
            required,
            shards: shards.collect(),
            own: None,
            groups: BTreeMap::new(),
            next: first,
            end,
            window: window.max(1),
            window_max: window.max(1),
            first,
            answers: 0,
            outputs: VecDeque::new(),
            deadline_ms: None,
            over: false,
        }
    }

    /// Reads the cell of shard `own` in a stripe: from its node, or by means of any `required` of `shards`. In inputs
    /// and outputs, `slice` is the number of the stripe.
    #[must_use]
    pub fn cell(
        required: u8,
        shards: impl IntoIterator<Item = (u8, NodeId)>,
        own: u8,
        stripe: u32,
    ) -> Self {
        let read = Self::groups(required, shards, (stripe, stripe.saturating_add(1)), 1);
        Self { own: Some(own), ..read }
    }

    /// Has as many groups in flight as bring each of them within a time, up to so many.
    #[must_use]
    pub fn growing_to(mut self, window_max: u32) -> Self {
        self.window_max = window_max.max(WINDOW_MIN);
        self.window = self.window.min(self.window_max);
        self
    }

    /// Takes note of what happened, also in what is known of the nodes.
    pub fn handle(&mut self, standing: &mut Standing, now_ms: u64, input: Input) {
        if self.over {
            return;
        }
        match input {
            Input::Start => {}
            Input::Arrived { index, slice } => self.arrive(standing, now_ms, index, slice),
            Input::Failed { index, slice, fault } => {
                self.fail(standing, now_ms, index, slice, fault);
            }
            Input::Consumed { slice } => {
                self.groups.remove(&slice);
            }
            Input::Tick => self.give_up(standing, now_ms),
        }
        self.advance(standing, now_ms);
        self.deadline_ms = self.next_deadline(standing, now_ms);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with [`Input::Tick`] if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.deadline_ms
    }

    fn next_deadline(&self, standing: &Standing, now_ms: u64) -> Option<u64> {
        if self.over {
            return None;
        }
        let late = self.late_ms(standing);
        let head = self.head().map(|slice| &self.groups[&slice]);
        let hedge = head.and_then(|group| {
            let lates = group.asked.values().map(|since| since + late);
            // Those already late have had their replacement asked.
            lates.filter(|at| *at > now_ms).min().filter(|_| self.open(group).next().is_some())
        });
        let waits = self.groups.values().flat_map(|group| group.asked.values());
        let give_up = waits.map(|since| since + self.give_up_ms(standing)).min();
        [hedge, give_up].into_iter().flatten().min()
    }

    fn arrive(&mut self, standing: &mut Standing, now_ms: u64, index: u8, slice: u32) {
        let Some(group) = self.groups.get_mut(&slice) else { return };
        let Some(since) = group.asked.remove(&index) else { return };
        group.arrived.push(index);
        self.answers = self.answers.saturating_add(1);
        if let Some(shard) = self.shards.get_mut(&index) {
            shard.waiting = shard.waiting.saturating_sub(1);
            (shard.answered, shard.strikes) = (true, 0);
            standing.answered(now_ms, shard.node, now_ms.saturating_sub(since));
        }
        let enough = group.arrived.len() >= usize::from(self.required);
        if !group.ready && (enough || self.own == Some(index)) {
            group.ready = true;
            let took = now_ms.saturating_sub(group.since_ms);
            let indexes = group.arrived.clone();
            let unwanted: Vec<_> = core::mem::take(&mut group.asked).into_keys().collect();
            self.outputs.push_back(Output::Ready { slice, indexes });
            for index in unwanted {
                self.forget(index);
                self.outputs.push_back(Output::Cancel { index, slice });
            }
            self.fit_window(took);
        }
    }

    /// Grows or shrinks the window after a group that took so long.
    fn fit_window(&mut self, took_ms: u64) {
        if took_ms < QUICK_MS {
            self.window = (self.window + 1).min(self.window_max);
        } else if SLOW_MS < took_ms {
            self.window = (self.window - 1).max(self.window.min(WINDOW_MIN));
        }
    }

    fn forget(&mut self, index: u8) {
        if let Some(shard) = self.shards.get_mut(&index) {
            shard.waiting = shard.waiting.saturating_sub(1);
        }
    }

    fn fail(
        &mut self,
        standing: &mut Standing,
        now_ms: u64,
        index: u8,
        slice: u32,
        fault: NodeFault,
    ) {
        let asked = self.groups.get_mut(&slice).and_then(|group| group.asked.remove(&index));
        if asked.is_none() {
            return;
        }
        self.forget(index);
        let strikes = if self.own.is_some() { 1 } else { STRIKES };
        if let Some(shard) = self.shards.get_mut(&index) {
            // A node that was busy a moment ago is asked last.
            standing.failed(now_ms, shard.node, fault);
            shard.late = true;
            shard.strikes += 1;
            if !fault.transient() || shard.strikes >= strikes {
                shard.fault = Some(fault);
            }
        }
    }

    fn give_up(&mut self, standing: &mut Standing, now_ms: u64) {
        let give_up_ms = self.give_up_ms(standing);
        let overdue: Vec<(u32, u8)> = self
            .groups
            .iter()
            .flat_map(|(slice, group)| group.asked.iter().map(move |asked| (slice, asked)))
            .filter(|(_, (_, since))| **since + give_up_ms <= now_ms)
            .map(|(slice, (index, _))| (*slice, *index))
            .collect();
        for (slice, index) in overdue {
            self.outputs.push_back(Output::Cancel { index, slice });
            self.fail(standing, now_ms, index, slice, NodeFault::Slow);
        }
    }

    /// After how long an answer is late.
    fn late_ms(&self, standing: &Standing) -> u64 {
        if self.own.is_some() {
            return standing.late_ms(self.required, ALONE_MARGIN_MS);
        }
        let late = standing.late_ms(self.required, LATE_MARGIN_MS);
        // The nodes of a segment may be others than those of the last one, and not connected yet.
        if self.answers < u32::from(self.required) { late.max(FIRST_LATE_MS) } else { late }
    }

    /// After how long a node without an answer counts as failed.
    fn give_up_ms(&self, standing: &Standing) -> u64 {
        GIVE_UP_MS.max(2 * self.late_ms(standing))
    }

    /// The group the reader waits for.
    fn head(&self) -> Option<u32> {
        self.groups.iter().find(|(_, group)| !group.ready).map(|(slice, _)| *slice)
    }

    /// The shards that may be asked for this group.
    fn open(&self, group: &Group) -> impl Iterator<Item = (u8, &Shard)> {
        let asked = |index| group.asked.contains_key(index) || group.arrived.contains(index);
        let open =
            self.shards.iter().filter(move |(index, shard)| shard.fault.is_none() && !asked(index));
        open.map(|(index, shard)| (*index, shard))
    }

    /// The best shard not yet asked for this group.
    fn candidate(&self, standing: &Standing, now_ms: u64, slice: u32) -> Option<u8> {
        let nodes = self.shards.values().map(|shard| shard.node);
        let fastest = nodes.filter_map(|node| standing.mean_ms(now_ms, node)).min();
        let slow_ms = fastest.map_or(u64::MAX, |fastest| 3 * fastest + 2 * LATE_MARGIN_MS);
        let rank = |(index, shard): &(u8, &Shard)| {
            let mean_ms = standing.mean_ms(now_ms, shard.node).unwrap_or(0);
            let shunned = standing.is_shunned(now_ms, shard.node);
            let last = shunned || slow_ms < mean_ms;
            match self.own {
                None => self.rank_in_group(*index, last, shard.waiting, mean_ms),
                Some(own) if own == *index => (if shunned { 3 } else { 0 }, false, 0, 0, 0),
                Some(_) => self.rank_for_cell(*index, last, slice),
            }
        };
        self.open(&self.groups[&slice]).min_by_key(rank).map(|(index, _)| index)
    }

    /// Data shards come first, then those of which the least is under way, then the fastest.
    fn rank_in_group(&self, index: u8, last: bool, waiting: u32, mean_ms: u64) -> Rank {
        (u8::from(last), index >= self.required, waiting, mean_ms, index)
    }

    /// Those that help with another shard's cell take turns: with every stripe the first is another one, so that the
    /// work of a node that is lost falls on all others.
    fn rank_for_cell(&self, index: u8, last: bool, stripe: u32) -> Rank {
        let total = self.shards.last_key_value().map_or(1, |(last, _)| u32::from(*last) + 1);
        (1 + u8::from(last), u32::from(index) < stripe % total, 0, 0, index)
    }

    fn ask(&mut self, standing: &Standing, now_ms: u64, slice: u32) -> bool {
        let Some(index) = self.candidate(standing, now_ms, slice) else { return false };
        let shard = self.shards.get_mut(&index).expect("candidates are shards");
        shard.waiting += 1;
        self.outputs.push_back(Output::Fetch { index, node: shard.node, slice });
        let group = self.groups.get_mut(&slice).expect("asked for a group in flight");
        group.asked.insert(index, now_ms);
        true
    }

    fn advance(&mut self, standing: &mut Standing, now_ms: u64) {
        while self.next < self.end && self.groups.len() < self.window as usize {
            self.groups.insert(self.next, Group { since_ms: now_ms, ..Group::default() });
            self.next += 1;
        }
        if self.groups.is_empty() {
            self.over = true;
            self.outputs.push_back(Output::Complete);
            return;
        }
        let usable = self.shards.values().filter(|shard| shard.fault.is_none()).count();
        let slices: Vec<u32> = self.groups.keys().copied().collect();
        for slice in slices {
            if !self.fill(standing, now_ms, slice, usable) {
                return self.end_short();
            }
        }
        self.hedge(standing, now_ms);
    }

    /// Asks for as many slices of a group as are still needed; `false` when there are not enough.
    fn fill(&mut self, standing: &Standing, now_ms: u64, slice: u32, usable: usize) -> bool {
        let required = usize::from(self.required);
        let is_learning = slice == self.first && self.own.is_none();
        let wanted = if is_learning { required + required.div_ceil(4) } else { required };
        loop {
            let group = &self.groups[&slice];
            let coming = group.asked.len() + group.arrived.len();
            let own = self.own.is_some_and(|own| group.asked.contains_key(&own));
            if group.ready || own || coming >= wanted.min(required.max(usable)) {
                return true;
            }
            if !self.ask(standing, now_ms, slice) {
                return false;
            }
        }
    }

    fn hedge(&mut self, standing: &mut Standing, now_ms: u64) {
        let Some(slice) = self.head() else { return };
        let late = self.late_ms(standing);
        let group = &self.groups[&slice];
        let asked = group.asked.iter();
        let overdue = asked.filter(|(_, since)| **since + late <= now_ms).map(|(index, _)| *index);
        let overdue: Vec<u8> = overdue.collect();
        let in_time = group.asked.len() - overdue.len() + group.arrived.len();
        let is_own = |own| group.asked.contains_key(&own) && !overdue.contains(&own);
        let wanted = if self.own.is_some_and(is_own) { 1 } else { self.required };
        for index in overdue {
            let shard = self.shards.get_mut(&index).expect("only shards are asked");
            shard.late = true;
            standing.late(now_ms, shard.node);
        }
        for _ in in_time..usize::from(wanted) {
            if !self.ask(standing, now_ms, slice) {
                break;
            }
        }
    }

    fn end_short(&mut self) {
        self.over = true;
        let faults = self
            .shards
            .iter()
            .filter_map(|(index, shard)| Some((*index, shard.node, shard.fault?)))
            .collect::<Vec<_>>();
        let usable = u8::try_from(self.shards.len() - faults.len()).expect("at most 128 shards");
        self.outputs.push_back(Output::Short { usable, required: self.required, faults });
    }

    /// Which nodes failed, and how. One that was asked, kept the reader waiting, and has not answered
    /// anything in this session is too slow, whether or not it is known yet that it is gone.
    pub fn faults(&self) -> impl Iterator<Item = (u8, NodeId, NodeFault)> {
        self.shards.iter().filter_map(|(index, shard)| {
            let silent = shard.late && !shard.answered;
            let fault = shard.fault.or(silent.then_some(NodeFault::Slow))?;
            Some((*index, shard.node, fault))
        })
    }
}

#[cfg(test)]
mod tests;
