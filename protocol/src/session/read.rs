//! Reading one segment, whole or a single cell: which node to ask for which shard's slice, when to also ask
//! another node, when to give up.
//!
//! A *group* is the same slice of every shard; any `required` of its slices give the data back. The session
//! keeps a window of groups in progress. It asks for data shards first, because they need no decoding. For
//! the first group it asks for a quarter more than required, to learn which nodes are fast. Afterwards it
//! asks for another slice only if one is late (half as long again as the 95th percentile) and the reader
//! waits for that slice's group. So hedging never takes capacity from useful work. A late node is shunned:
//! a dead node costs one wait, not one per group.
//!
//! The window may grow: a long fast path is full only with many groups in progress. The window follows the
//! time from asking for a group to having it. This time shows both that a path is long and that it is full.
//!
//! A single cell is a group of its own: its slices are the cells of one stripe. One of them is the cell
//! itself, so the session first asks only the node that has it. If that node is shunned, fails or is late,
//! the session asks as many others as give the cell back. The first complete way wins. Three things differ.
//! The session asks others a little later, because that costs `required` requests and not one. Nodes take
//! turns; otherwise the fastest would do all the work. And it asks no node twice, because a reader of a few
//! kilobytes wants to know soon that it cannot get them.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::{
    NodeFault,
    standing::{FIRST_LATE_MS, Standing},
};
use crate::id::NodeId;

/// Added to the percentile, in milliseconds. A smaller difference says nothing about a node.
const LATE_MARGIN_MS: u64 = 25;

/// The same if the session asks one node alone. A wait then costs as many requests as are required.
const ALONE_MARGIN_MS: u64 = 100;

/// A node may keep everything waiting for ever. After this long without an answer it counts as failed,
/// unless answers take that long. Then it has twice the time after which it is late.
const GIVE_UP_MS: u64 = 20_000;

/// A group that arrives sooner than this leaves room for one more in progress, in milliseconds. It is
/// several times the longest possible round trip, so the path is full before a group takes this long.
const QUICK_MS: u64 = 1_000;

/// A group that takes longer than this reduces the groups in progress by one, in milliseconds. On a slow
/// link many groups at once bring none of them sooner, and the last would come after [`GIVE_UP_MS`].
const SLOW_MS: u64 = 4_000;

/// Groups in progress at least: one that the reader reads, and one that comes.
const WINDOW_MIN: u32 = 2;

/// After this many transient faults in a row, this session does not ask a node again.
const STRIKES: u8 = 3;

/// An event for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The session begins.
    Start,
    /// A verified slice is here, or a verified cell.
    Arrived {
        /// The shard's index.
        index: u8,
        /// The slice.
        slice: u32,
    },
    /// A slice will not come.
    Failed {
        /// The shard's index.
        index: u8,
        /// The slice.
        slice: u32,
        /// The fault.
        fault: NodeFault,
    },
    /// The reader has consumed the group of this slice; the window moves on.
    Consumed {
        /// The slice.
        slice: u32,
    },
    /// The deadline has passed.
    Tick,
}

/// An action for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask for a slice.
    Fetch {
        /// The shard's index.
        index: u8,
        /// The node to ask.
        node: NodeId,
        /// The slice.
        slice: u32,
    },
    /// A slice is no longer wanted.
    Cancel {
        /// The shard's index.
        index: u8,
        /// The slice.
        slice: u32,
    },
    /// All slices of these shards are here: decode them.
    Ready {
        /// The slice.
        slice: u32,
        /// The shards' indexes.
        indexes: Vec<u8>,
    },
    /// Final: every group was consumed.
    Complete,
    /// Final: too few shards are available.
    Short {
        /// How many shards still answer.
        usable: u8,
        /// How many shards are needed.
        required: u8,
        /// The faults of the other nodes.
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
    /// The session had to ask another in its place.
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

/// The order in which shards are asked: the lowest first.
type Rank = (u8, bool, u32, u64, u8);

/// The session.
#[derive(Debug)]
pub struct Read {
    required: u8,
    shards: BTreeMap<u8, Shard>,
    /// The shard that has the cell, if the session reads a single one.
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
    /// `window` groups in progress.
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

    /// Reads the cell of shard `own` in a stripe: from its node, or through any `required` of `shards`. In
    /// inputs and outputs, `slice` is the number of the stripe.
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

    /// Keeps as many groups in progress as still arrive within a time, up to a limit.
    #[must_use]
    pub fn growing_to(mut self, window_max: u32) -> Self {
        self.window_max = window_max.max(WINDOW_MIN);
        self.window = self.window.min(self.window_max);
        self
    }

    /// Notes what happened, and updates the standing of the nodes.
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
            // For slices that are already late, the session has asked a replacement.
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

    /// Grows or shrinks the window after a group that took this long.
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

    /// The time after which an answer is late.
    fn late_ms(&self, standing: &Standing) -> u64 {
        if self.own.is_some() {
            return standing.late_ms(self.required, ALONE_MARGIN_MS);
        }
        let late = standing.late_ms(self.required, LATE_MARGIN_MS);
        // The nodes of a segment may differ from those of the last one, and may not be connected yet.
        if self.answers < u32::from(self.required) { late.max(FIRST_LATE_MS) } else { late }
    }

    /// The time after which a node without an answer counts as failed.
    fn give_up_ms(&self, standing: &Standing) -> u64 {
        GIVE_UP_MS.max(2 * self.late_ms(standing))
    }

    /// The group that the reader waits for.
    fn head(&self) -> Option<u32> {
        self.groups.iter().find(|(_, group)| !group.ready).map(|(slice, _)| *slice)
    }

    /// The shards that the session may ask for this group.
    fn open(&self, group: &Group) -> impl Iterator<Item = (u8, &Shard)> {
        let asked = |index| group.asked.contains_key(index) || group.arrived.contains(index);
        let open =
            self.shards.iter().filter(move |(index, shard)| shard.fault.is_none() && !asked(index));
        open.map(|(index, shard)| (*index, shard))
    }

    /// The best shard that the session has not yet asked for this group.
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

    /// Data shards come first, then those with the fewest requests in progress, then the fastest.
    fn rank_in_group(&self, index: u8, last: bool, waiting: u32, mean_ms: u64) -> Rank {
        (u8::from(last), index >= self.required, waiting, mean_ms, index)
    }

    /// The shards that help with another shard's cell take turns: the first one changes with every stripe.
    /// So the work of a lost node falls on all others.
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

    /// Asks for as many slices of a group as are still needed; `false` if there are not enough.
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

    /// Which nodes failed, and how. A node that kept the reader waiting and has not answered at all in this
    /// session counts as too slow, whether or not the session knows yet that it is gone.
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
