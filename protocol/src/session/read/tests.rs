//! What a session does with nodes that answer, fail, lie, or are late.

use core::ops::{Deref, DerefMut};
use std::vec;

use super::*;
use crate::{id::PeerId, wire::storage::RefusalCode};

/// A session, and the standing it is lent.
struct Lent {
    read: Read,
    standing: Standing,
}

impl Lent {
    fn new(read: Read) -> Self {
        Self { read, standing: Standing::default() }
    }

    fn handle(&mut self, now_ms: u64, input: Input) {
        self.read.handle(&mut self.standing, now_ms, input);
    }
}

impl Deref for Lent {
    type Target = Read;

    fn deref(&self) -> &Read {
        &self.read
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Read {
        &mut self.read
    }
}

fn node(index: u8) -> NodeId {
    PeerId([index; 32])
}

fn shards(total: u8) -> impl Iterator<Item = (u8, NodeId)> {
    (0..total).map(|index| (index, node(index)))
}

fn start(required: u8, total: u8, slices: u32) -> (Lent, Vec<(u8, u32)>) {
    let mut download = Lent::new(Read::groups(required, shards(total), (0, slices), 2));
    download.handle(0, Input::Start);
    let fetches = drain(&mut download).0;
    (download, fetches)
}

fn drain(download: &mut Read) -> (Vec<(u8, u32)>, Vec<Output>) {
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
    let mut download = Lent::new(Read::groups(4, shards(6), (0, 1), 1));
    for suspect in [0, 3] {
        download.standing.failed(0, node(suspect), NodeFault::Offline);
    }
    download.handle(0, Input::Start);
    let (fetches, _) = drain(&mut download);
    // Five are wanted of the first group, and only four are beyond suspicion.
    assert_eq!(fetches, vec![(1, 0), (2, 0), (4, 0), (5, 0), (0, 0)]);
    assert_eq!(download.faults().count(), 0, "a suspicion is no fault of this session");
}

#[test]
fn slow_nodes_are_asked_after_others() {
    let mut download = Lent::new(Read::groups(4, shards(6), (0, 1), 1));
    for (index, took_ms) in [(0, 10), (1, 1_000), (4, 79), (5, 80)] {
        download.standing.answered(0, node(index), took_ms);
    }
    download.handle(1, Input::Start);
    // Three times as long as the fastest and twice the margin is not slow yet.
    assert_eq!(drain(&mut download).0, vec![(2, 0), (3, 0), (0, 0), (4, 0), (5, 0)]);
}

#[test]
fn nodes_that_have_the_least_to_send_are_asked_first() {
    let mut download = Lent::new(Read::groups(1, shards(3), (0, 9), 4));
    download.standing.failed(0, node(0), NodeFault::Corrupt);
    download.handle(0, Input::Start);
    assert_eq!(drain(&mut download).0, vec![(1, 0), (2, 0), (1, 1), (2, 2), (1, 3)]);
    let fault = NodeFault::Refused { code: RefusalCode::Busy };
    download.handle(1, Input::Failed { index: 1, slice: 1, fault });
    assert_eq!(drain(&mut download).0, vec![(2, 1)]);
    // It answers, so it is forgiven; of two it owes one, the other node two of three.
    download.handle(1, Input::Arrived { index: 1, slice: 0 });
    download.handle(1, Input::Consumed { slice: 0 });
    assert_eq!(drain(&mut download).0, vec![(1, 4)]);
}

#[test]
fn nodes_of_a_new_segment_have_time_to_be_connected() {
    let mut standing = Standing::default();
    (0..8).for_each(|_| standing.answered(0, node(9), 20));
    let mut download = Lent { read: Read::groups(2, shards(4), (0, 2), 2), standing };
    download.handle(100, Input::Start);
    assert_eq!(download.deadline(), Some(100 + FIRST_LATE_MS));
    download.handle(110, Input::Arrived { index: 0, slice: 0 });
    assert_eq!(download.deadline(), Some(100 + FIRST_LATE_MS));
    download.handle(110, Input::Arrived { index: 1, slice: 1 });
    assert_eq!(download.deadline(), Some(100 + 20 + 10 + LATE_MARGIN_MS), "as long as usual");
}

#[test]
fn where_no_other_can_be_asked_nothing_is_done_until_all_is_given_up() {
    for read in [Read::groups(2, shards(2), (0, 1), 1), Read::cell(2, shards(1), 0, 0)] {
        let mut lent = Lent::new(read);
        lent.handle(7, Input::Start);
        assert_eq!(lent.deadline(), Some(7 + GIVE_UP_MS));
    }
}

#[test]
fn a_busy_node_is_forgiven_until_it_is_busy_three_times_in_a_row() {
    let (mut download, _) = start(2, 2, 9);
    let fault = NodeFault::Refused { code: RefusalCode::Busy };
    for slice in [0, 1] {
        for strike in 1..STRIKES {
            download.handle(1, Input::Failed { index: 0, slice, fault });
            assert_eq!(drain(&mut download).0, vec![(0, slice)], "{strike}");
        }
        download.handle(1, Input::Arrived { index: 0, slice });
    }
    assert_eq!(download.faults().count(), 0);
    for slice in [0, 1] {
        download.handle(2, Input::Arrived { index: 1, slice });
        download.handle(2, Input::Consumed { slice });
    }
    drain(&mut download);
    for slice in [2, 3, 2] {
        download.handle(3, Input::Failed { index: 0, slice, fault });
    }
    assert!(matches!(drain(&mut download).1[..], [Output::Short { usable: 1, .. }]));
}

#[test]
fn a_node_that_has_answered_is_not_blamed_for_being_late_once() {
    let (mut download, _) = start(2, 4, 2);
    for index in [0, 2] {
        download.handle(1, Input::Arrived { index, slice: 0 });
    }
    let late = download.deadline().expect("another group is under way");
    download.handle(late, Input::Tick);
    let asked = drain(&mut download).0;
    assert_eq!(asked.len(), 2, "both are late");
    let blamed: Vec<_> = download.faults().map(|(index, _, fault)| (index, fault)).collect();
    assert_eq!(blamed, [(1, NodeFault::Slow)]);
    assert!(download.standing.is_shunned(late, node(0)), "it is asked last all the same");
}

/// Reads a segment over a link that carries a slice in so long, one after the other, each of which is so
/// long on its way. The window in the end.
fn over_a_link(scheme: (u8, u8), windows: (u32, u32), slice_ms: u64, way_ms: u64) -> u32 {
    let read = Read::groups(scheme.0, shards(scheme.1), (0, 64), windows.0);
    let mut download = Lent::new(read.growing_to(windows.1));
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
                    assert_eq!(faults.count(), 0, "no node is at fault");
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
fn a_slow_link_is_no_nodes_fault() {
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
            now = download.deadline().expect("the reader waits for a node");
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
                assert!(asked_in_vain <= 8, "{asked_in_vain} slices asked of nodes that are gone");
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

/// The cell of shard `own` in a stripe.
fn cell(required: u8, total: u8, own: u8, stripe: u32, standing: Standing) -> Lent {
    Lent { read: Read::cell(required, shards(total), own, stripe), standing }
}

fn begun(lent: &mut Lent, now_ms: u64) -> Vec<u8> {
    lent.handle(now_ms, Input::Start);
    asked(lent)
}

fn asked(lent: &mut Lent) -> Vec<u8> {
    drain(lent).0.into_iter().map(|(index, _)| index).collect()
}

#[test]
fn a_cell_is_one_request_to_its_own_node() {
    let mut read = cell(4, 8, 2, 7, Standing::default());
    assert_eq!(begun(&mut read, 0), [2]);
    read.handle(9, Input::Arrived { index: 2, slice: 7 });
    let ready = Output::Ready { slice: 7, indexes: vec![2] };
    assert_eq!(drain(&mut read), (vec![], vec![ready]));
    read.handle(9, Input::Consumed { slice: 7 });
    assert_eq!(drain(&mut read).1, [Output::Complete]);
    assert_eq!((read.deadline(), read.faults().count()), (None, 0));
}

#[test]
fn a_cell_whose_node_fails_is_asked_of_as_many_as_give_it_back() {
    for fault in [NodeFault::Offline, NodeFault::Corrupt, NodeFault::Slow] {
        let mut read = cell(4, 8, 2, 5, Standing::default());
        assert_eq!(begun(&mut read, 0), [2]);
        read.handle(1, Input::Failed { index: 2, slice: 5, fault });
        // They begin elsewhere with each stripe.
        assert_eq!(asked(&mut read), [5, 6, 7, 0]);
        read.handle(2, Input::Failed { index: 6, slice: 5, fault });
        assert_eq!(asked(&mut read), [1]);
        for index in [5, 7, 0, 1] {
            assert_eq!(read.poll(), None);
            read.handle(3, Input::Arrived { index, slice: 5 });
        }
        assert_eq!(read.poll(), Some(Output::Ready { slice: 5, indexes: vec![5, 7, 0, 1] }));
        read.handle(3, Input::Consumed { slice: 5 });
        assert_eq!(read.poll(), Some(Output::Complete));
        let faults: Vec<_> = read.faults().map(|(index, _, fault)| (index, fault)).collect();
        assert_eq!(faults, [(2, fault), (6, fault)]);

        // What was learnt holds for the next cell.
        let mut next = cell(4, 8, 2, 13, read.standing);
        assert_eq!(begun(&mut next, 4), [5, 7, 0, 1]);
    }
}

#[test]
fn a_cell_that_is_late_is_asked_of_others_at_the_right_moment() {
    let mut standing = Standing::default();
    (0..4).for_each(|_| standing.answered(0, node(7), 40));
    // Half as long again as usual, and the margin.
    let late = 40 + 20 + ALONE_MARGIN_MS;
    let mut read = cell(4, 8, 0, 0, standing);
    assert_eq!(begun(&mut read, 1_000), [0]);
    assert_eq!(read.deadline(), Some(1_000 + late));
    read.handle(1_000 + late - 1, Input::Tick);
    assert!(asked(&mut read).is_empty(), "too early");
    read.handle(1_000 + late, Input::Tick);
    assert_eq!(asked(&mut read), [1, 2, 3, 4]);
    assert_eq!(read.deadline(), Some(1_000 + 2 * late), "these may be late too");
    read.handle(1_000 + 2 * late, Input::Tick);
    assert_eq!(asked(&mut read), [5, 6, 7], "all that are left");
    // Whichever way is complete first wins, and the others are told.
    read.handle(1_500, Input::Arrived { index: 5, slice: 0 });
    read.handle(1_501, Input::Arrived { index: 0, slice: 0 });
    let (_, others) = drain(&mut read);
    assert_eq!(others[0], Output::Ready { slice: 0, indexes: vec![5, 0] });
    assert_eq!(others[1..].len(), 6, "all others are cancelled: {others:?}");
    assert!(!read.standing.is_shunned(1_502, node(0)), "it answered after all");
    let slow: Vec<u8> = read.faults().map(|(index, ..)| index).collect();
    assert_eq!(slow, [1, 2, 3, 4], "they kept the reader waiting");
}

#[test]
fn the_own_node_that_is_shunned_is_the_last_and_may_suffice() {
    let mut standing = Standing::default();
    standing.failed(0, node(0), NodeFault::Corrupt);
    standing.late(0, node(3));
    let mut read = cell(2, 4, 0, 1, standing);
    assert_eq!(begun(&mut read, 1), [1, 2]);
    read.handle(2, Input::Failed { index: 1, slice: 1, fault: NodeFault::Offline });
    assert_eq!(asked(&mut read), [3]);
    read.handle(3, Input::Failed { index: 2, slice: 1, fault: NodeFault::Offline });
    assert_eq!(asked(&mut read), [0]);
    read.handle(4, Input::Failed { index: 3, slice: 1, fault: NodeFault::Offline });
    assert_eq!(drain(&mut read), (vec![], vec![]), "one is not two, but it has the cell itself");
    read.handle(5, Input::Arrived { index: 0, slice: 1 });
    assert_eq!(read.poll(), Some(Output::Ready { slice: 1, indexes: vec![0] }));
}

#[test]
fn a_node_that_is_late_is_asked_first_again_after_a_while_and_a_liar_never() {
    let alone = |own, now_ms| {
        let mut standing = Standing::default();
        standing.late(0, node(0));
        standing.failed(0, node(1), NodeFault::Corrupt);
        // Whatever it sent since.
        standing.answered(1, node(1), 1);
        begun(&mut cell(4, 8, own, 0, standing), now_ms) == [own]
    };
    assert!(!alone(0, 29_999) && alone(0, 30_000));
    assert!(!alone(1, 29_999) && !alone(1, u64::MAX / 2));
}

/// What a node does when it is asked.
#[derive(Clone, Copy, Debug)]
enum Conduct {
    Answers { after_ms: u64 },
    Fails { after_ms: u64, fault: NodeFault },
    Silent,
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    /// A number below `end`.
    fn ms(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// The same, of few.
    fn below(&mut self, end: u8) -> u8 {
        self.ms(u64::from(end)).to_le_bytes()[0]
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        let count = u8::try_from(all.len()).expect("a few");
        all[usize::from(self.below(count))]
    }

    fn fault(&mut self) -> NodeFault {
        let busy = NodeFault::Refused { code: RefusalCode::Busy };
        let faults = [NodeFault::Offline, NodeFault::Slow, busy, NodeFault::Corrupt];
        self.of(&faults)
    }

    fn conduct(&mut self) -> Conduct {
        let after_ms = self.of(&[1, 20, 200, 3_000]) + self.ms(10);
        match self.below(6) {
            0 => Conduct::Silent,
            1 | 2 => Conduct::Fails { after_ms, fault: self.fault() },
            _ => Conduct::Answers { after_ms },
        }
    }
}

/// What came of a session.
#[derive(Debug, Default)]
struct Outcome {
    requests: u32,
    ready: Vec<(u32, Vec<u8>)>,
    last: Option<Output>,
    /// When it was over.
    at_ms: u64,
}

/// What is under way: which slice of which shard.
type Out = BTreeMap<(u8, u32), u64>;

/// Carries out what a session says, and checks that it says nothing it must not. What is asked for is added to `out`.
fn carry_out(read: &mut Lent, now_ms: u64, out: &mut Out, outcome: &mut Outcome, seed: u64) {
    while let Some(output) = read.poll() {
        assert!(outcome.last.is_none(), "{seed}: {output:?} after the last output");
        match output {
            Output::Fetch { index, node: asked, slice } => {
                assert_eq!(asked, node(index));
                let before = out.insert((index, slice), now_ms);
                assert!(before.is_none(), "{seed}: {index} is asked twice at the same time");
                outcome.requests += 1;
            }
            Output::Cancel { index, slice } => {
                assert!(out.remove(&(index, slice)).is_some(), "{seed}: nothing to cancel");
            }
            Output::Ready { slice, indexes } => {
                outcome.ready.push((slice, indexes));
                read.handle(now_ms, Input::Consumed { slice });
            }
            last @ (Output::Complete | Output::Short { .. }) => {
                (outcome.last, outcome.at_ms) = (Some(last), now_ms);
            }
        }
    }
}

/// Lets nodes do what they do, in their time.
fn play(read: &mut Lent, from_ms: u64, conducts: &[Conduct], seed: u64) -> Outcome {
    let (mut now, mut out, mut outcome) = (from_ms, Out::new(), Outcome::default());
    let mut ticked_ms = None;
    read.handle(now, Input::Start);
    loop {
        carry_out(read, now, &mut out, &mut outcome, seed);
        if outcome.last.is_some() {
            assert_eq!(read.deadline(), None, "{seed}");
            read.handle(now + 1, Input::Tick);
            assert_eq!(read.poll(), None, "{seed}: it is over");
            return outcome;
        }
        let ends = out.iter().filter_map(|(asked, since)| {
            let (index, slice) = *asked;
            let (after_ms, input) = match conducts[usize::from(index)] {
                Conduct::Answers { after_ms } => (after_ms, Input::Arrived { index, slice }),
                Conduct::Fails { after_ms, fault } => {
                    (after_ms, Input::Failed { index, slice, fault })
                }
                Conduct::Silent => return None,
            };
            Some((since + after_ms, *asked, input))
        });
        let first = ends.min_by_key(|(at, ..)| *at);
        let deadline = read.deadline().expect("something is waited for");
        assert!(now < deadline || ticked_ms != Some(now), "{seed}: a deadline lies ahead");
        match first.filter(|(at, ..)| *at <= deadline) {
            None => {
                (now, ticked_ms) = (deadline, Some(deadline));
                read.handle(now, Input::Tick);
            }
            Some((at, asked, input)) => {
                now = at;
                out.remove(&asked);
                read.handle(now, input);
            }
        }
    }
}

#[test]
fn a_cell_is_read_when_it_can_be_and_nothing_else_happens() {
    let (mut read_count, mut short_count, mut alone_count) = (0, 0, 0);
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let total = 2 + dice.below(11);
        let required = 1 + dice.below(total);
        let conducts: Vec<_> = (0..total).map(|_| dice.conduct()).collect();
        let good = |index: u8| matches!(conducts[usize::from(index)], Conduct::Answers { .. });
        // One reader reads one cell after the other, so nodes are known by and by.
        let (mut standing, mut now) = (Standing::default(), dice.ms(1_000));
        for _ in 0..6 {
            let (own, stripe) = (dice.below(required), u32::from(dice.below(100)));
            let shunned = standing.is_shunned(now, node(own));
            let mut lent = cell(required, total, own, stripe, standing);
            let outcome = play(&mut lent, now, &conducts, seed);
            assert!(outcome.requests <= u32::from(total), "{seed}: no node is asked twice");
            let usable = (0..total).filter(|index| good(*index)).count();
            let readable = good(own) || usable >= usize::from(required);
            match outcome.last {
                Some(Output::Complete) => {
                    let [(slice, indexes)] = &outcome.ready[..] else { panic!("{seed}") };
                    assert_eq!(*slice, stripe);
                    let enough = indexes.contains(&own) || indexes.len() == usize::from(required);
                    assert!(enough && indexes.iter().all(|index| good(*index)), "{seed}");
                    read_count += 1;
                }
                _ => {
                    assert!(!readable, "{seed}: {usable} of {required} answer, {outcome:?}");
                    assert!(outcome.at_ms - now <= 3 * GIVE_UP_MS, "{seed}: {outcome:?}");
                    assert_eq!(outcome.ready, []);
                    short_count += 1;
                }
            }
            let quick =
                |conduct| matches!(conduct, Conduct::Answers { after_ms } if after_ms < 100);
            if quick(conducts[usize::from(own)]) && !shunned {
                assert_eq!(outcome.requests, 1, "{seed}: its own node is quick");
                alone_count += 1;
            }
            for (index, at, fault) in lent.faults() {
                assert_eq!(at, node(index));
                let slow = fault == NodeFault::Slow;
                assert!(slow || !good(index), "{seed}: {index} is blamed for {fault}");
            }
            (standing, now) = (lent.standing, outcome.at_ms + dice.ms(20_000));
            for index in (0..total).filter(|index| corrupt(conducts[usize::from(*index)])) {
                let met = lent.read.shards[&index].fault.is_some();
                assert!(!met || standing.is_shunned(u64::MAX - 1, node(index)), "{seed}");
            }
        }
    }
    assert!(read_count > 1_000 && short_count > 1_000 && alone_count > 1_000);
}

fn corrupt(conduct: Conduct) -> bool {
    matches!(conduct, Conduct::Fails { fault: NodeFault::Corrupt, .. })
}

#[test]
fn groups_are_read_when_enough_nodes_answer() {
    for seed in 0..1_000 {
        let mut dice = Dice(seed);
        let total = 2 + dice.below(11);
        let required = 1 + dice.below(total);
        let slices = u32::from(1 + dice.below(12));
        let conducts: Vec<_> = (0..total).map(|_| dice.conduct()).collect();
        let good = conducts.iter().filter(|it| matches!(it, Conduct::Answers { .. })).count();
        let read = Read::groups(required, shards(total), (0, slices), u32::from(1 + dice.below(3)));
        let outcome = play(&mut Lent::new(read.growing_to(4)), 0, &conducts, seed);
        let readable = good >= usize::from(required);
        assert_eq!(outcome.last == Some(Output::Complete), readable, "{seed}: {outcome:?}");
        if readable {
            let mut ready: Vec<u32> = outcome.ready.iter().map(|(slice, _)| *slice).collect();
            ready.sort_unstable();
            assert!(ready.into_iter().eq(0..slices), "{seed}: {outcome:?}");
        }
        // Each slice of each shard once, and what is forgiven.
        let most = u32::from(total) * (slices + 4 * u32::from(STRIKES));
        assert!(outcome.requests <= most, "{seed}: {outcome:?}");
    }
}

/// Answers, faults and ticks in any order, at any time, some of them of things that were never asked for.
#[test]
fn whatever_happens_it_ends_once() {
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let total = 1 + dice.below(8);
        let required = 1 + dice.below(total);
        let read = match dice.below(2) {
            0 => Read::groups(required, shards(total), (3, 6), 2),
            _ => Read::cell(required, shards(total), dice.below(9), 3),
        };
        let mut lent = Lent::new(read);
        let (mut now, mut out, mut outcome) = (0, Out::new(), Outcome::default());
        lent.handle(now, Input::Start);
        let mut steps = 0;
        loop {
            carry_out(&mut lent, now, &mut out, &mut outcome, seed);
            if outcome.last.is_some() {
                break;
            }
            steps += 1;
            assert!(steps < 10_000, "{seed}: it never ends");
            now += dice.ms(3_000);
            assert!(!out.is_empty(), "{seed}: nothing is waited for");
            let asked: Vec<(u8, u32)> = out.keys().copied().collect();
            let (index, slice) = match dice.below(8) {
                0 => (dice.below(9), u32::from(dice.below(8))),
                _ => dice.of(&asked),
            };
            let input = match dice.below(3) {
                0 => Input::Tick,
                1 => Input::Failed { index, slice, fault: dice.fault() },
                _ => Input::Arrived { index, slice },
            };
            if input != Input::Tick {
                out.remove(&(index, slice));
            }
            lent.handle(now, input);
        }
        for input in [Input::Start, Input::Tick, Input::Arrived { index: 0, slice: 3 }] {
            lent.handle(now + 1, input);
            assert_eq!(lent.poll(), None, "{seed}: it is over");
        }
    }
}
