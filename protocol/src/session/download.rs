//! Reading one segment: which slice of which shard to ask whom for, and when to ask somebody else too.
//!
//! A *group* is the same slice of every shard; any `required` of its slices give the data back. The
//! session keeps a window of groups in flight, asks data shards first (they need no decoding), asks a
//! quarter more than required for the first group to learn who is fast, and afterwards asks for
//! another slice only when one is late (half as long again as the 95th percentile) and its group is
//! the one the reader waits for, so that hedging never takes capacity from useful work. Who was late
//! is asked last from then on: a node that is gone costs one wait, not one per group.
//!
//! The window may grow: a long fast path is full only with many groups under way. It follows the time from
//! asking for a group to having it, which says both that a path is long and that it is full.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::NodeFault;
use crate::id::NodeId;

/// How many recent answer times the percentile is taken over.
const SAMPLES: usize = 64;

/// How late the very first answers may be before another shard is asked, in milliseconds.
const FIRST_LATE_MS: u64 = 500;

/// Added to the percentile, in milliseconds: below this a difference says nothing about a node.
const LATE_MARGIN_MS: u64 = 25;

/// A node that keeps nobody waiting for good: after this long without an answer it counts as failed.
const GIVE_UP_MS: u64 = 20_000;

/// A group that was here sooner leaves room for one more under way, in milliseconds: several times the longest
/// round trip there is, so the path is full before this is reached.
const QUICK_MS: u64 = 1_000;

/// A group that took longer takes one from those under way, in milliseconds: on a slow link many groups at once
/// bring none of them sooner, and the last would come after [`GIVE_UP_MS`].
const SLOW_MS: u64 = 4_000;

/// Groups under way at least: one that is read, and one that comes.
const WINDOW_MIN: u32 = 2;

/// Transient faults a node is forgiven.
const STRIKES: u8 = 3;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The session begins.
    Start,
    /// A verified slice is here.
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
    mean_ms: u64,
    /// It failed or was late in another session, and has not answered in this one.
    suspect: bool,
    /// The last time it was asked, another had to be asked in its place.
    late: bool,
}

impl Shard {
    fn new(node: NodeId) -> Self {
        Self { node, fault: None, strikes: 0, waiting: 0, mean_ms: 0, suspect: false, late: false }
    }
}

#[derive(Debug, Default)]
struct Group {
    since_ms: u64,
    asked: BTreeMap<u8, u64>,
    arrived: Vec<u8>,
    ready: bool,
}

/// The session.
#[derive(Debug)]
pub struct Download {
    required: u8,
    shards: BTreeMap<u8, Shard>,
    groups: BTreeMap<u32, Group>,
    next: u32,
    end: u32,
    window: u32,
    window_max: u32,
    first: u32,
    samples: VecDeque<u64>,
    outputs: VecDeque<Output>,
    now_ms: u64,
    over: bool,
}

impl Download {
    /// Reads slices `first` up to and without `end` from any `required` of `shards`, with at most
    /// `window` groups in flight.
    #[must_use]
    pub fn new(
        required: u8,
        shards: impl IntoIterator<Item = (u8, NodeId)>,
        (first, end): (u32, u32),
        window: u32,
    ) -> Self {
        let shards = shards.into_iter().map(|(index, node)| (index, Shard::new(node)));
        Self {
            required,
            shards: shards.collect(),
            groups: BTreeMap::new(),
            next: first,
            end,
            window: window.max(1),
            window_max: window.max(1),
            first,
            samples: VecDeque::new(),
            outputs: VecDeque::new(),
            now_ms: 0,
            over: false,
        }
    }

    /// Has as many groups in flight as bring each of them within a time, up to so many.
    #[must_use]
    pub fn growing_to(mut self, window_max: u32) -> Self {
        self.window_max = window_max.max(WINDOW_MIN);
        self.window = self.window.min(self.window_max);
        self
    }

    /// Asks these nodes last: they failed or kept a reader waiting in another session.
    #[must_use]
    pub fn suspecting(mut self, nodes: &BTreeSet<NodeId>) -> Self {
        for shard in self.shards.values_mut() {
            shard.suspect = nodes.contains(&shard.node);
        }
        self
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        if self.over {
            return;
        }
        self.now_ms = now_ms;
        match input {
            Input::Start => {}
            Input::Arrived { index, slice } => self.arrive(now_ms, index, slice),
            Input::Failed { index, slice, fault } => self.fail(index, slice, fault),
            Input::Consumed { slice } => {
                self.groups.remove(&slice);
            }
            Input::Tick => self.give_up(now_ms),
        }
        self.advance(now_ms);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with [`Input::Tick`] if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        if self.over {
            return None;
        }
        let late = self.late_ms();
        let head = self.head().map(|slice| &self.groups[&slice]);
        let hedge = head.and_then(|group| {
            let lates = group.asked.values().map(|since| since + late);
            // Those already late have had their replacement asked.
            lates.filter(|at| *at > self.now_ms).min().filter(|_| self.candidate(group).is_some())
        });
        let waits = self.groups.values().flat_map(|group| group.asked.values());
        let give_up = waits.map(|since| since + GIVE_UP_MS).min();
        [hedge, give_up].into_iter().flatten().min()
    }

    fn arrive(&mut self, now_ms: u64, index: u8, slice: u32) {
        let Some(group) = self.groups.get_mut(&slice) else { return };
        let Some(since) = group.asked.remove(&index) else { return };
        group.arrived.push(index);
        // A mean of zero says that there was no answer yet.
        let took = now_ms.saturating_sub(since).max(1);
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(took);
        if let Some(shard) = self.shards.get_mut(&index) {
            shard.waiting = shard.waiting.saturating_sub(1);
            (shard.suspect, shard.late, shard.strikes) = (false, false, 0);
            shard.mean_ms = if shard.mean_ms == 0 { took } else { (3 * shard.mean_ms + took) / 4 };
        }
        if !group.ready && group.arrived.len() >= usize::from(self.required) {
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

    fn fail(&mut self, index: u8, slice: u32, fault: NodeFault) {
        let asked = self.groups.get_mut(&slice).and_then(|group| group.asked.remove(&index));
        if asked.is_none() {
            return;
        }
        self.forget(index);
        if let Some(shard) = self.shards.get_mut(&index) {
            // Who was busy a moment ago is asked last.
            shard.late = true;
            shard.strikes += 1;
            if !fault.transient() || shard.strikes >= STRIKES {
                shard.fault = Some(fault);
            }
        }
    }

    fn give_up(&mut self, now_ms: u64) {
        let overdue: Vec<(u32, u8)> = self
            .groups
            .iter()
            .flat_map(|(slice, group)| group.asked.iter().map(move |asked| (slice, asked)))
            .filter(|(_, (_, since))| **since + GIVE_UP_MS <= now_ms)
            .map(|(slice, (index, _))| (*slice, *index))
            .collect();
        for (slice, index) in overdue {
            self.outputs.push_back(Output::Cancel { index, slice });
            self.fail(index, slice, NodeFault::Slow);
        }
    }

    /// After how long an answer is late.
    fn late_ms(&self) -> u64 {
        if self.samples.len() < usize::from(self.required) {
            return FIRST_LATE_MS;
        }
        let mut sorted: Vec<_> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let p95 = sorted[(sorted.len() * 95 / 100).min(sorted.len() - 1)];
        p95 + p95 / 2 + LATE_MARGIN_MS
    }

    /// The group the reader waits for.
    fn head(&self) -> Option<u32> {
        self.groups.iter().find(|(_, group)| !group.ready).map(|(slice, _)| *slice)
    }

    /// The best shard not yet asked for this group.
    fn candidate(&self, group: &Group) -> Option<u8> {
        let fastest =
            self.shards.values().map(|shard| shard.mean_ms).filter(|mean| *mean > 0).min();
        let slow_ms = fastest.map_or(u64::MAX, |fastest| 3 * fastest + 2 * LATE_MARGIN_MS);
        self.shards
            .iter()
            .filter(|(index, shard)| {
                let asked = group.asked.contains_key(index) || group.arrived.contains(index);
                shard.fault.is_none() && !asked
            })
            .min_by_key(|(index, shard)| {
                let slow = shard.suspect || shard.late || shard.mean_ms > slow_ms;
                (slow, **index >= self.required, shard.waiting, shard.mean_ms, **index)
            })
            .map(|(index, _)| *index)
    }

    fn ask(&mut self, now_ms: u64, slice: u32) -> bool {
        let group = &self.groups[&slice];
        let Some(index) = self.candidate(group) else { return false };
        let shard = self.shards.get_mut(&index).expect("candidates are shards");
        shard.waiting += 1;
        self.outputs.push_back(Output::Fetch { index, node: shard.node, slice });
        let group = self.groups.get_mut(&slice).expect("asked for a group in flight");
        group.asked.insert(index, now_ms);
        true
    }

    fn advance(&mut self, now_ms: u64) {
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
            if !self.fill(now_ms, slice, usable) {
                return self.end_short();
            }
        }
        self.hedge(now_ms);
    }

    /// Asks for as many slices of a group as are still needed; `false` when there are not enough.
    fn fill(&mut self, now_ms: u64, slice: u32, usable: usize) -> bool {
        let required = usize::from(self.required);
        let wanted = if slice == self.first { required + required.div_ceil(4) } else { required };
        loop {
            let group = &self.groups[&slice];
            let coming = group.asked.len() + group.arrived.len();
            if group.ready || coming >= wanted.min(required.max(usable)) {
                return true;
            }
            if !self.ask(now_ms, slice) {
                return coming >= required;
            }
        }
    }

    fn hedge(&mut self, now_ms: u64) {
        let Some(slice) = self.head() else { return };
        let late = self.late_ms();
        let group = &self.groups[&slice];
        let asked = group.asked.iter();
        let overdue = asked.filter(|(_, since)| **since + late <= now_ms).map(|(index, _)| *index);
        let overdue: Vec<u8> = overdue.collect();
        let in_time = group.asked.len() - overdue.len() + group.arrived.len();
        for index in overdue {
            self.shards.get_mut(&index).expect("only shards are asked").late = true;
        }
        for _ in in_time..usize::from(self.required) {
            if !self.ask(now_ms, slice) {
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
    /// anything is too slow, whether or not it is known yet that it is gone.
    pub fn faults(&self) -> impl Iterator<Item = (u8, NodeId, NodeFault)> {
        self.shards.iter().filter_map(|(index, shard)| {
            let silent = shard.late && shard.mean_ms == 0;
            let fault = shard.fault.or(silent.then_some(NodeFault::Slow))?;
            Some((*index, shard.node, fault))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::id::PeerId;

    fn start(required: u8, total: u8, slices: u32) -> (Download, Vec<(u8, u32)>) {
        let shards = (0..total).map(|index| (index, PeerId([index; 32])));
        let mut download = Download::new(required, shards, (0, slices), 2);
        download.handle(0, Input::Start);
        let fetches = drain(&mut download).0;
        (download, fetches)
    }

    fn drain(download: &mut Download) -> (Vec<(u8, u32)>, Vec<Output>) {
        let (mut fetches, mut others) = (Vec::new(), Vec::new());
        while let Some(output) = download.poll() {
            match output {
                Output::Fetch { index, slice, .. } => fetches.push((index, slice)),
                other => others.push(other),
            }
        }
        (fetches, others)
    }

    #[test]
    fn data_shards_come_first_and_a_quarter_more_at_the_start() {
        let (_, fetches) = start(4, 8, 1);
        assert_eq!(fetches, vec![(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]);
    }

    #[test]
    fn every_group_becomes_ready_once_and_then_it_is_complete() {
        let (mut download, mut fetches) = start(2, 3, 5);
        let mut ready = Vec::new();
        let mut now = 0;
        while let Some((index, slice)) = fetches.pop() {
            now += 10;
            download.handle(now, Input::Arrived { index, slice });
            let (more, others) = drain(&mut download);
            fetches.extend(more);
            for other in others {
                if let Output::Ready { slice, indexes } = other {
                    assert_eq!(indexes.len(), 2);
                    ready.push(slice);
                    download.handle(now, Input::Consumed { slice });
                    let (more, last) = drain(&mut download);
                    fetches.extend(more);
                    if ready.len() == 5 {
                        assert_eq!(last, vec![Output::Complete]);
                    }
                }
            }
        }
        ready.sort_unstable();
        assert_eq!(ready, vec![0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_failed_shard_is_replaced_and_not_asked_again() {
        let (mut download, _) = start(2, 4, 2);
        let fault = NodeFault::Corrupt;
        download.handle(1, Input::Failed { index: 0, slice: 0, fault });
        download.handle(2, Input::Failed { index: 0, slice: 1, fault });
        let (fetches, _) = drain(&mut download);
        assert!(fetches.iter().all(|(index, _)| *index != 0), "{fetches:?}");
        assert_eq!(download.faults().count(), 1);
    }

    #[test]
    fn too_few_shards_end_it_and_name_who_is_missing() {
        let (mut download, _) = start(2, 3, 1);
        download.handle(1, Input::Failed { index: 0, slice: 0, fault: NodeFault::Offline });
        download.handle(2, Input::Failed { index: 2, slice: 0, fault: NodeFault::Corrupt });
        let (_, others) = drain(&mut download);
        assert!(matches!(
            others.as_slice(),
            [Output::Short { usable: 1, required: 2, faults }] if faults.len() == 2
        ));
    }

    #[test]
    fn only_the_group_the_reader_waits_for_is_hedged() {
        let (mut download, fetches) = start(2, 6, 2);
        assert_eq!(fetches.len(), 5);
        // Everything of the first group is late, and so is the second.
        let late = download.deadline().expect("two groups wait");
        download.handle(late, Input::Tick);
        let (fetches, _) = drain(&mut download);
        assert!(!fetches.is_empty() && fetches.iter().all(|(_, slice)| *slice == 0), "{fetches:?}");
    }

    #[test]
    fn suspects_are_asked_last() {
        let shards = (0..6).map(|index| (index, PeerId([index; 32])));
        let suspects = BTreeSet::from([PeerId([0; 32]), PeerId([3; 32])]);
        let mut download = Download::new(4, shards, (0, 1), 1).suspecting(&suspects);
        download.handle(0, Input::Start);
        let (fetches, _) = drain(&mut download);
        // Five are wanted of the first group, and only four are beyond suspicion.
        assert_eq!(fetches, vec![(1, 0), (2, 0), (4, 0), (5, 0), (0, 0)]);
        assert_eq!(download.faults().count(), 0, "a suspicion is no fault of this session");
    }

    /// Reads a segment over a link that carries a slice in so long, one after the other, each of which is so
    /// long on its way. The window in the end.
    fn over_a_link(scheme: (u8, u8), windows: (u32, u32), slice_ms: u64, way_ms: u64) -> u32 {
        let shards = (0..scheme.1).map(|index| (index, PeerId([index; 32])));
        let download = Download::new(scheme.0, shards, (0, 64), windows.0);
        let mut download = download.growing_to(windows.1);
        let (mut now, mut free_at) = (0, 0);
        let mut coming: VecDeque<(u64, u8, u32)> = VecDeque::new();
        download.handle(now, Input::Start);
        loop {
            while let Some(output) = download.poll() {
                match output {
                    Output::Fetch { index, slice, .. } => {
                        free_at = now.max(free_at) + slice_ms;
                        coming.push_back((free_at + way_ms, index, slice));
                    }
                    // What was asked for takes its time on the link all the same.
                    Output::Cancel { .. } => {}
                    Output::Ready { slice, .. } => download.handle(now, Input::Consumed { slice }),
                    Output::Complete => {
                        let faults = download.shards.values().filter_map(|shard| shard.fault);
                        assert_eq!(faults.count(), 0, "nobody is at fault");
                        return download.window;
                    }
                    short @ Output::Short { .. } => panic!("{short:?}"),
                }
            }
            let (at, index, slice) = *coming.front().expect("something was asked for");
            match download.deadline().filter(|deadline| *deadline < at) {
                Some(deadline) => {
                    now = deadline;
                    download.handle(now, Input::Tick);
                }
                None => {
                    coming.pop_front();
                    now = at;
                    download.handle(now, Input::Arrived { index, slice });
                }
            }
        }
    }

    #[test]
    fn as_many_groups_are_under_way_as_the_link_takes() {
        assert_eq!(over_a_link((4, 8), (4, 8), 8, 200), 8, "1 Gbit/s at a round trip of 200 ms");
        assert_eq!(over_a_link((4, 8), (4, 8), 1_000, 20), WINDOW_MIN, "8 Mbit/s");
    }

    #[test]
    fn a_slow_link_is_nobodys_fault() {
        over_a_link((4, 8), (4, 8), 2_000, 20);
        over_a_link((16, 32), (2, 4), 300, 20);
    }

    #[test]
    fn a_silent_node_is_waited_for_once() {
        const SLICES: u32 = 200;
        let (mut download, mut fetches) = start(4, 8, SLICES);
        let silent = [1, 2];
        let (mut now, mut waits, mut asked_in_vain) = (0, 0, 0);
        loop {
            // The answers of a moment arrive together, none of them from those that are gone.
            asked_in_vain += fetches.iter().filter(|(index, _)| silent.contains(index)).count();
            let answers: Vec<_> =
                fetches.drain(..).filter(|(index, _)| !silent.contains(index)).collect();
            if answers.is_empty() {
                waits += 1;
                now = download.deadline().expect("the reader waits for somebody");
                download.handle(now, Input::Tick);
            }
            now += 20;
            for (index, slice) in answers {
                download.handle(now, Input::Arrived { index, slice });
            }
            let (mut more, mut others) = drain(&mut download);
            while let Some(other) = others.pop() {
                if let Output::Ready { slice, .. } = other {
                    download.handle(now, Input::Consumed { slice });
                    let (further, last) = drain(&mut download);
                    more.extend(further);
                    others.extend(last);
                } else if other == Output::Complete {
                    let named: Vec<u8> = download.faults().map(|(index, ..)| index).collect();
                    assert_eq!(named, silent);
                    assert!(waits <= 2, "{waits} waits for nodes that are gone");
                    assert!(
                        asked_in_vain <= 8,
                        "{asked_in_vain} slices asked of nodes that are gone"
                    );
                    return;
                }
            }
            fetches.extend(more);
        }
    }

    #[test]
    fn a_silent_node_is_given_up_in_bounded_time() {
        let (mut download, fetches) = start(2, 2, 1);
        assert_eq!(fetches.len(), 2);
        let mut now = 0;
        let mut over = false;
        for _ in 0..100 {
            let Some(deadline) = download.deadline() else { break };
            assert!(deadline > now || over, "a deadline lies ahead");
            now = deadline;
            download.handle(now, Input::Tick);
            let (_, others) = drain(&mut download);
            over |= others.iter().any(|other| matches!(other, Output::Short { .. }));
        }
        assert!(over, "it ended");
    }
}
