//! Draws the nodes for the shards of a segment.
//!
//! Among the nodes whose price is acceptable, chance decides: one with more covered room, a longer record of proofs and
//! better experience of this client is drawn more often. At most one node of an operator and of a network is taken, and
//! few that have proven little, as long as there are enough others. So one machine gets no more by many names, and no
//! node by a price a little below the others'.
//!
//! A draw depends on its seed and on the candidates only. So an upload that begins anew asks the same nodes.

mod others;

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    Amount,
    id::{AccountId, NodeId},
    ledger::{Params, rows::Node},
};

pub use self::others::OtherNodes;

use crate::{durability::Record, met::Experience};

/// The acceptable price, in hundredths of the price for which there are just enough nodes.
const ACCEPTABLE_PERCENT: u64 = 125;

/// Epochs of proofs after which a node is new no longer, and for which bytes count as kept for long.
const PROVEN_EPOCHS: u64 = 30;

/// New nodes among those that are taken: one of so many, and at least one.
const NEW_ONE_OF: usize = 20;

/// Room that counts, in shards: a node with more is not drawn more often.
const ROOM_SHARDS_MAX: u64 = 1024;

/// How much more often a node with a long record is drawn than one without, at most.
const AGE_MAX: u64 = 8;

/// Nodes apart from each other that are enough for a scheme of their own. With fewer, all nodes count.
const ENOUGH_APART: usize = 5;

/// A node that answers, and what a draw needs to know of it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node's address.
    pub address: PeerAddress,
    /// Its price per GiB and epoch.
    pub price: Amount,
    /// Bytes that it may take, according to the ledger: it has room for them, and they are covered.
    pub free: u64,
    /// Its record of proofs.
    pub record: Record,
    /// Who runs it: who it says, or its payout account.
    pub operator: AccountId,
    /// Epochs that it has proven without faults.
    pub clean: u64,
    /// Bytes that it has proven in these, summed over the epochs.
    pub proven: u64,
    /// This client's experience with it.
    pub experience: Experience,
}

impl Candidate {
    /// A node, by its row on the ledger in this epoch.
    #[must_use]
    pub fn of(
        node: NodeId,
        row: &Node,
        (params, epoch): (&Params, u64),
        experience: Experience,
    ) -> Self {
        Self {
            address: PeerAddress { id: node, addresses: row.addresses.clone() },
            price: row.price,
            free: row.takes(params, epoch),
            record: Record::of(row),
            operator: row.operator.unwrap_or(row.payout),
            clean: row.clean,
            proven: row.proven,
            experience,
        }
    }
}

/// How much more often a node is drawn that this client has good experience with.
fn familiarity(experience: Experience) -> u64 {
    match experience {
        Experience::Good => 16,
        Experience::None => 8,
        Experience::Failed(times) => 4 >> times.clamp(1, 2),
    }
}

/// A part of the internet that one provider or household may have to itself: a /24 of IPv4, a /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Of IPv4.
    V4([u8; 3]),
    /// Of IPv6.
    V6([u8; 6]),
}

impl Part {
    /// The part that an address belongs to. Loopback belongs to none: all nodes of a local network have it.
    fn of(socket: SocketAddr) -> Option<Self> {
        match socket.ip().to_canonical() {
            ip if ip.is_loopback() => None,
            IpAddr::V4(ip) => ip.octets().first_chunk().copied().map(Self::V4),
            IpAddr::V6(ip) => ip.octets().first_chunk().copied().map(Self::V6),
        }
    }
}

/// The parts of the internet that a node's addresses belong to.
fn parts(address: &PeerAddress) -> BTreeSet<Part> {
    address.sockets().filter_map(Part::of).collect()
}

/// Whether an address is on this machine only.
fn is_local(address: &PeerAddress) -> bool {
    let mut sockets = address.sockets().peekable();
    sockets.peek().is_some() && sockets.all(|socket| socket.ip().is_loopback())
}

/// How often a node is drawn, relative to others: by powers of two, so that small changes of its room make no other draw.
fn weight(node: &Candidate, length: u64) -> u64 {
    let length = length.max(1);
    let room = (node.free / length).clamp(1, ROOM_SHARDS_MAX);
    let kept = node.proven / PROVEN_EPOCHS / length;
    let age = (1 + kept).min(AGE_MAX);
    (1 << room.ilog2()) * (1 << age.ilog2()) * familiarity(node.experience)
}

/// Whether a node has not proven bytes of a shard's length for long.
fn is_new(node: &Candidate, length: u64) -> bool {
    node.clean < PROVEN_EPOCHS || node.proven / PROVEN_EPOCHS < length
}

/// A number that is smaller the more often a node is to be drawn: exponential with its weight as rate. The order of these
/// numbers is a weighted draw without replacement.
fn ticket(seed: &[u8], node: &Candidate, length: u64) -> f64 {
    let hash = blake3::Hasher::new().update(seed).update(&node.address.id.0).finalize();
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has more than eight bytes");
    // 53 bits, as a float has, and never zero.
    let chance = ((u64::from_le_bytes(*first) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -chance.ln() / weight(node, length) as f64
}

/// The highest acceptable price, if so many nodes are needed.
#[must_use]
pub fn acceptable(candidates: &[Candidate], needed: usize) -> Option<Amount> {
    let mut prices: Vec<_> = candidates.iter().map(|node| node.price).collect();
    prices.sort_unstable();
    let enough = *prices.get(needed.max(1) - 1).or(prices.last())?;
    Some(enough.fraction(ACCEPTABLE_PERCENT, 100).unwrap_or(enough))
}

/// Who and where the nodes are that a draw has taken.
#[derive(Default)]
struct Taken {
    operators: BTreeSet<AccountId>,
    parts: BTreeSet<Part>,
    new: usize,
}

/// What keeps a node from being taken, in the order in which it is overlooked when there are too few others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Against {
    Nothing,
    New,
    Part,
    Operator,
}

impl Taken {
    fn against(&self, node: &Candidate, new_max: usize, length: u64) -> Against {
        if self.operators.contains(&node.operator) {
            Against::Operator
        } else if parts(&node.address).iter().any(|part| self.parts.contains(part)) {
            Against::Part
        } else if new_max <= self.new && is_new(node, length) {
            Against::New
        } else {
            Against::Nothing
        }
    }

    fn add(&mut self, node: &Candidate, length: u64) {
        self.operators.insert(node.operator);
        self.parts.extend(parts(&node.address));
        self.new += usize::from(is_new(node, length));
    }
}

/// The nodes with room for a shard of this length, in the order in which to ask them for one each. `needed` of them are
/// taken if all go well.
#[must_use]
pub fn draw(candidates: &[Candidate], seed: &[u8], needed: usize, length: u64) -> Vec<Candidate> {
    draw_beside(&[], candidates, seed, (needed, length))
}

/// The same draw where `keepers` keep shards of the segment already: they count as taken.
fn draw_beside(
    keepers: &[Candidate],
    candidates: &[Candidate],
    seed: &[u8],
    (needed, length): (usize, u64),
) -> Vec<Candidate> {
    let fit: Vec<_> = candidates.iter().filter(|node| length <= node.free).cloned().collect();
    // Those that keep shards set the price too. Otherwise the cheapest node would get every single shard.
    let all = [keepers, &*fit].concat();
    let Some(limit) = acceptable(&all, keepers.len() + needed) else { return Vec::new() };
    let (acceptable, mut dear): (Vec<_>, Vec<_>) =
        fit.into_iter().partition(|node| node.price <= limit);
    let mut tickets: Vec<_> =
        acceptable.into_iter().map(|node| (ticket(seed, &node, length), node)).collect();
    tickets.sort_by(|(one, a), (other, b)| {
        one.partial_cmp(other).unwrap_or(Ordering::Equal).then(a.address.id.cmp(&b.address.id))
    });
    let mut left: Vec<_> = tickets.into_iter().map(|(_, node)| node).collect();
    let (mut drawn, mut taken) = (Vec::new(), Taken::default());
    for keeper in keepers {
        taken.add(keeper, length);
    }
    let new_max = ((keepers.len() + needed) / NEW_ONE_OF).max(1);
    for overlooked in [Against::Nothing, Against::New, Against::Part, Against::Operator] {
        let mut later = Vec::new();
        for node in left {
            if drawn.len() < needed && taken.against(&node, new_max, length) <= overlooked {
                taken.add(&node, length);
                drawn.push(node);
            } else {
                later.push(node);
            }
        }
        left = later;
    }
    drawn.extend(left);
    dear.sort_by_key(|node| (node.price, node.address.id));
    drawn.extend(dear);
    drawn
}

/// How many of these nodes are apart from each other: of different operators, and in different parts of the internet.
#[must_use]
pub fn apart(candidates: &[Candidate]) -> usize {
    let mut taken = Taken::default();
    for node in candidates {
        if taken.against(node, usize::MAX, 0) == Against::Nothing {
            taken.add(node, 0);
        }
    }
    taken.operators.len()
}

/// For how many nodes a scheme is chosen: those that are apart from each other, if they are enough. Otherwise a machine
/// with many names would make every scheme as wide as its names, and get most of the shards.
#[must_use]
pub fn width(candidates: &[Candidate]) -> usize {
    match apart(candidates) {
        apart @ ENOUGH_APART.. => apart,
        _ => candidates.len(),
    }
}

/// What an owner should know if shards will not be apart. Nothing is said of a network on one machine.
#[must_use]
pub fn warning(candidates: &[Candidate], needed: usize) -> Option<String> {
    let apart = apart(candidates);
    if needed <= apart || candidates.iter().all(|node| is_local(&node.address)) {
        return None;
    }
    Some(format!(
        "only {apart} of the {} nodes that answer are of different operators and networks: what fails at one may take \
         several shards",
        candidates.len()
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use symbolon_protocol::id::{NodeId, PeerId};

    use super::*;

    const LENGTH: u64 = 1 << 20;

    fn id(number: u16) -> NodeId {
        PeerId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    /// A node that has proven for long, on a machine of its own.
    fn node(number: u16) -> Candidate {
        let [high, low] = number.to_be_bytes();
        let addresses = vec![format!("10.{high}.{low}.1:4000")];
        Candidate {
            address: PeerAddress { id: id(number), addresses },
            price: Amount(100),
            free: 1 << 40,
            record: Record { passed: 100, missed: 0, missed_in_row: 0, dead: false },
            operator: AccountId(id(number).0),
            clean: 100,
            proven: 3 * LENGTH * PROVEN_EPOCHS,
            experience: Experience::Good,
        }
    }

    fn many(numbers: std::ops::Range<u16>, change: fn(&mut Candidate)) -> Vec<Candidate> {
        numbers
            .map(|number| {
                let mut node = node(number);
                change(&mut node);
                node
            })
            .collect()
    }

    /// A name on the machine of all others of its kind, which says nothing of its operator.
    fn on_one_machine(node: &mut Candidate) {
        node.address.addresses = vec!["192.0.2.7:4000".into()];
    }

    fn as_new(node: &mut Candidate) {
        (node.clean, node.proven, node.experience) = (0, 0, Experience::None);
    }

    fn seed(number: u32) -> [u8; 4] {
        number.to_le_bytes()
    }

    /// How often each node is among the first `needed` in so many draws.
    fn counts(candidates: &[Candidate], needed: usize, draws: u32) -> BTreeMap<NodeId, u32> {
        let mut counts = BTreeMap::new();
        for number in 0..draws {
            for node in draw(candidates, &seed(number), needed, LENGTH).iter().take(needed) {
                *counts.entry(node.address.id).or_default() += 1;
            }
        }
        counts
    }

    fn share(counts: &BTreeMap<NodeId, u32>, of: &[Candidate]) -> u32 {
        of.iter().map(|node| counts.get(&node.address.id).copied().unwrap_or_default()).sum()
    }

    #[test]
    fn eighty_names_on_one_machine_get_one_shard() {
        let honest = many(0..20, |_| {});
        let names = many(100..180, on_one_machine);
        let all = [honest.clone(), names.clone()].concat();
        assert_eq!(
            (apart(&all), width(&all)),
            (21, 21),
            "the scheme is no wider than the machines"
        );
        let counts = counts(&all, 20, 100);
        // At most one of twenty each time, though they are four of five.
        assert!(share(&counts, &names) <= 100, "{counts:?}");
        assert!(share(&counts, &honest) >= 1900);
        // The same names under one operator, each with an address of its own.
        let declared = many(100..180, |node| node.operator = AccountId([7; 32]));
        let all = [honest, declared.clone()].concat();
        assert!(share(&self::counts(&all, 20, 100), &declared) <= 100);
    }

    #[test]
    fn new_nodes_get_a_small_part_until_they_have_proven() {
        let proven = many(0..40, |_| {});
        let new = many(100..140, as_new);
        let all = [proven, new.clone()].concat();
        let got = share(&counts(&all, 20, 200), &new);
        assert!(0 < got && got <= 200, "{got} of 4000 shards");
        // A record of a tiny deal over a long time is none.
        let tiny = many(100..140, |node| {
            (node.clean, node.proven) = (10_000, 10_000 * 1024);
        });
        assert!(tiny.iter().all(|node| is_new(node, LENGTH)));
        // Where all are new, they are all that there is.
        assert_eq!(counts(&new, 20, 5).values().sum::<u32>(), 100);
    }

    #[test]
    fn a_low_price_is_no_better_than_an_acceptable_one_and_a_high_one_comes_last() {
        let mut cheap = many(0..20, |node| node.price = Amount(100));
        let near = many(20..40, |node| node.price = Amount(125));
        let dear = many(40..60, |node| node.price = Amount(126));
        let all = [cheap.clone(), near.clone(), dear.clone()].concat();
        let counts = counts(&all, 20, 200);
        let (low, high) = (share(&counts, &cheap), share(&counts, &near));
        assert!(1_700 < low && low < 2_300 && low + high == 4_000, "{low} and {high}");
        let order = draw(&all, b"any", 20, LENGTH);
        assert!(order[40..].iter().all(|node| node.price == Amount(126)));
        // Undercutting does not shut the others out: it takes as many names as shards to do that.
        cheap.truncate(19);
        assert_eq!(acceptable(&[cheap, dear].concat(), 20), Some(Amount(157)));
        assert_eq!(acceptable(&[], 20), None);
    }

    #[test]
    fn full_nodes_are_left_out_and_too_few_others_are_taken_twice() {
        let mut full = many(0..3, |_| {});
        full[0].free = LENGTH - 1;
        assert_eq!(draw(&full, b"any", 3, LENGTH).len(), 2);
        let names = many(0..4, on_one_machine);
        assert_eq!(draw(&names, b"any", 4, LENGTH).len(), 4, "all of the machine's names");
        assert_eq!((apart(&names), width(&names)), (1, 4));
        assert!(warning(&names, 4).is_some());
        let local = many(0..4, |node| node.address.addresses = vec!["127.0.0.1:4000".into()]);
        assert_eq!((apart(&local), warning(&local, 4)), (4, None));
        let own = many(0..4, |node| {
            node.address.addresses = vec!["127.0.0.1:4000".into()];
            node.operator = AccountId([7; 32]);
        });
        assert_eq!((width(&own), warning(&own, 4)), (4, None), "a local network of one operator");
    }

    #[test]
    fn a_part_is_a_24_or_a_48() {
        let part = |text: &str| Part::of(text.parse().unwrap());
        assert_eq!(part("192.0.2.7:1"), part("192.0.2.200:2"));
        assert_ne!(part("192.0.2.7:1"), part("192.0.3.7:1"));
        assert_eq!(part("[2001:db8:1:2::1]:1"), part("[2001:db8:1:ffff::9]:1"));
        assert_ne!(part("[2001:db8:1::1]:1"), part("[2001:db8:2::1]:1"));
        assert_eq!(part("[::ffff:192.0.2.7]:1"), part("192.0.2.9:1"));
        assert_eq!((part("127.0.0.1:1"), part("[::1]:1")), (None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// A node's part of the shards follows its weight.
        #[test]
        fn shares_follow_weights(room in 0..6_u32, age in 0..4_u64, failed in 0..3_u32) {
            let mut nodes = many(0..60, |_| {});
            let mut ahead = node(100);
            for node in &mut nodes {
                (node.free, node.proven) = (LENGTH, LENGTH * PROVEN_EPOCHS);
            }
            ahead.free = LENGTH << room;
            ahead.proven = LENGTH * PROVEN_EPOCHS * (1 + 2 * age);
            ahead.experience = if failed == 0 { Experience::Good } else { Experience::Failed(failed) };
            let times = weight(&ahead, LENGTH) as f64 / weight(&nodes[0], LENGTH) as f64;
            nodes.push(ahead.clone());
            let draws = 4_000;
            let got = f64::from(share(&counts(&nodes, 1, draws), &[ahead]));
            let expected = f64::from(draws) * times / (60.0 + times);
            // Five standard deviations.
            let spread = 5.0 * (expected * (1.0 - times / (60.0 + times))).sqrt() + 1.0;
            prop_assert!((got - expected).abs() < spread, "{got} instead of {expected}");
        }

        /// Every node with room is asked at some time, once, and the same seed gives the same order.
        #[test]
        fn a_draw_is_a_permutation_that_its_seed_decides(count in 0..80_u16, needed in 1..40_usize, number: u32) {
            let nodes = many(0..count, |_| {});
            let drawn = draw(&nodes, &seed(number), needed, LENGTH);
            let ids = |nodes: &[Candidate]| nodes.iter().map(|node| node.address.id).collect::<Vec<_>>();
            prop_assert_eq!(ids(&drawn).into_iter().collect::<BTreeSet<_>>().len(), usize::from(count));
            let mut turned = nodes.clone();
            turned.reverse();
            prop_assert_eq!(ids(&draw(&turned, &seed(number), needed, LENGTH)), ids(&drawn));
            // A little less room is no other draw.
            for node in &mut turned {
                node.free -= LENGTH;
            }
            prop_assert_eq!(ids(&draw(&turned, &seed(number), needed, LENGTH)), ids(&drawn));
        }
    }
}
