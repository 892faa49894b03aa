//! Caretakers that cheat: one claims and sleeps, sends garbage, has an accomplice sign for what it does not have, and asks
//! for keys and bytes that its claim does not cover. Another one wants to be paid for the same shard. None of them is paid,
//! and the honest ones repair.

use std::collections::BTreeSet;

use symbolon_client::{Client, Depth, Progress, Source, Stored};
use symbolon_protocol::{
    Amount,
    custody::{self, ClaimRequest, Release},
    id::{AccountId, DealId, NodeId},
    ledger::{
        Params, Status,
        block::{Event, Place, Reason},
        rows::{Care, Cares, Deal, Deals, Node, Repairs, Table as _, Vault, Vaults},
        transaction::{Acceptance, Action, CaredDeal, DealTerms, LostShard},
    },
    wire::storage::{Authority, RefusalCode, Request, Response},
};
use symbolon_tests::{
    party::Party,
    sim::{Trace, World, called, params},
};
use tokio::time::{Duration, sleep};

use super::put_options;

const NODES: usize = 13;
/// How often a custodian may still answer after a claim has ended.
const LATE_BY: usize = 10;

/// The deal that is repaired, and who wants to be paid for it.
struct Stage {
    id: DealId,
    /// Of another file of the same owner, with the same caretakers.
    other: DealId,
    care: Care,
    vault: Vault,
    /// Both are named, keep no shard and do not run.
    cheat: Party,
    accomplice: Party,
    /// The accounts for pay of these two.
    payouts: [AccountId; 2],
}

pub(super) async fn cheats(seed: u64) -> Trace {
    let params = Params { dead_after_epochs: 2, ..params() };
    let mut world = World::found_with(seed, NODES, params).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let stage = stage(&mut world, &owner).await;
    claims_and_sleeps(&mut world, &stage).await;
    sends_garbage(&mut world, &stage).await;
    signs_without_bytes(&mut world, &stage).await;
    only_honest_ones_are_paid(&mut world, &stage).await;
    let checked = owner.verify(&called("file"), Depth::Deep, &Progress::silent()).await.unwrap();
    assert!(checked.readable && checked.shards.iter().all(|shard| shard.fault.is_none()));
    owner.close().await;
    world.finish().await
}

async fn row(world: &World, id: &DealId) -> Deal {
    world.ledger().row(Deals, id).await.unwrap().unwrap()
}

async fn stage(world: &mut World, owner: &Client) -> Stage {
    let put = async |name: &str| {
        let source = Source::Bytes(world.bytes(name, 300_000).into());
        owner.put(source, &called(name), &put_options(500), &Progress::silent()).await.unwrap();
        let deals = world.ledger().scan(Deals, &[], None, 10).await.unwrap();
        deals.into_iter().map(|(key, _)| Deals::parse(&key).unwrap()).collect::<BTreeSet<_>>()
    };
    let first = put("file").await;
    let both = put("other file").await;
    let id = *first.first().unwrap();
    let other = *both.difference(&first).next().unwrap();
    let deal = row(world, &id).await;
    let mut outsiders: Vec<usize> = (0..NODES).collect();
    outsiders.retain(|number| deal.kept_by(&world.stations[*number].id).is_none());
    // One that keeps a shard is named too.
    let keeper = world.number_of(&deal.kept().next().unwrap().1.node);
    for number in outsiders.iter().chain([&keeper]) {
        world.offer_care(*number).await;
    }
    owner.care(Stored::All, None, &Progress::silent()).await.unwrap();
    let care = each_loss_may_be_claimed(world, id).await;
    let vault = world.ledger().row(Vaults, &care.vault).await.unwrap().unwrap();
    for number in &outsiders[..2] {
        assert!(care.names(&world.stations[*number].id));
        world.kill_node(*number).await;
    }
    assert!(care.names(&world.stations[keeper].id));
    let [cheat, accomplice] = [0, 1].map(|at| Party::of_node(world, outsiders[at]));
    let payouts = [0, 1].map(|at| world.stations[outsiders[at]].payout);
    Stage { id, other, care, vault, cheat, accomplice, payouts }
}

/// Each lost shard may be claimed at once, instead of when a few are lost.
async fn each_loss_may_be_claimed(world: &World, id: DealId) -> Care {
    let care = async || world.ledger().row(Cares, &id).await.unwrap().unwrap();
    let Care { vault, opening, caretakers, fee, price_max, pads, .. } = care().await;
    let deals = vec![CaredDeal { opening, pads }];
    let owner = Party::new(world, world.identity("owner").account_key().to_bytes());
    let told = owner.send(Action::SetCare { vault, caretakers, spare: 8, fee, price_max, deals });
    assert_eq!(told.await, Status::Applied);
    care().await
}

impl Stage {
    /// A node says that it has lost its shard, so that it can be rebuilt. Gives the shard and as many as are to be read.
    async fn loses(&self, world: &World) -> (u8, Vec<u8>) {
        let deal = row(world, &self.id).await;
        let runs = |node: &NodeId| world.stations[world.number_of(node)].runs();
        let mut kept = deal.kept().filter(|(_, shard)| runs(&shard.node));
        let needs = |node: &NodeId| self.vault.custodians.contains(node);
        let (index, shard) = kept.clone().find(|(_, shard)| !needs(&shard.node)).unwrap();
        let node = Party::of_node(world, world.number_of(&shard.node));
        let lost = LostShard { deal: self.id, index };
        // It is too late for a moment in which its window opens.
        while node.send(Action::DeclareLost { shards: vec![lost] }).await != Status::Applied {
            sleep(Duration::from_millis(100)).await;
        }
        let others = kept.by_ref().map(|(index, _)| index).filter(|other| *other != index);
        (index, others.take(usize::from(deal.required)).collect())
    }

    fn terms(&self, deal: &Deal) -> DealTerms {
        DealTerms {
            owner: deal.owner,
            opening: self.care.opening,
            object: deal.object,
            segment: deal.segment,
            required: deal.required,
            total: u8::try_from(deal.shards.len()).unwrap(),
            length: deal.length,
            access: deal.access,
            epochs: deal.end - deal.start,
        }
    }

    /// The accomplice signs for a shard that it does not have.
    async fn signed(&self, world: &World, index: u8, by: &Party) -> (DealTerms, Acceptance) {
        let deal = row(world, &self.id).await;
        let (terms, root) = (self.terms(&deal), deal.shards[usize::from(index)].unwrap().root);
        let accepted = by.accept(&terms, (index, root), self.care.price_max, world.now_ms());
        (terms, accepted)
    }

    /// What a placement of one shard gives.
    async fn places(&self, by: &Party, (terms, accepted): (DealTerms, Acceptance)) -> Status {
        let cost_max = Amount(u128::MAX);
        by.send(Action::PlaceShards { terms, acceptances: vec![accepted], cost_max }).await
    }

    async fn collects(&self, by: &Party, index: u8) -> Status {
        by.send(Action::CollectRepair { deal: self.id, shards: vec![index] }).await
    }

    /// The custodians that run.
    fn custodians<'a>(&'a self, world: &'a World) -> impl Iterator<Item = NodeId> + 'a {
        let runs = |node: &NodeId| world.stations[world.number_of(node)].runs();
        self.vault.custodians.iter().copied().filter(move |node| runs(node))
    }

    /// Waits until the lost shards have nodes again and their caretakers are paid, while the cheat tries to claim. What it
    /// is told meanwhile must be one of these.
    async fn repaired(&self, world: &mut World, index: u8, expected: &[Status]) {
        for _ in 0..80 {
            let (deal, read) = (row(world, &self.id).await, self.readable(world).await);
            if deal.lost().next().is_none() {
                return;
            }
            let told = self.cheat.claim(self.id, &[index], &read).await;
            assert!(expected.contains(&told) || told == Status::WrongShards, "{told}");
            sleep(Duration::from_millis(500)).await;
        }
        panic!("shard {index} is not repaired");
    }

    async fn readable(&self, world: &World) -> Vec<u8> {
        let deal = row(world, &self.id).await;
        deal.kept().map(|(index, _)| index).take(usize::from(deal.required)).collect()
    }

    /// Waits until a claim of the cheat does not run any more.
    async fn ends(&self, world: &World, until: u64) {
        while world.epoch().await < until {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Claims and sleeps. While its claim runs, others can neither claim nor place, and it gets no more than its claim covers.
async fn claims_and_sleeps(world: &mut World, stage: &Stage) {
    let (index, read) = stage.loses(world).await;
    // A node that keeps a shard of the deal claims nothing.
    let deal = row(world, &stage.id).await;
    let keepers = deal.kept().filter(|(_, shard)| stage.care.names(&shard.node));
    for (_, shard) in keepers {
        let keeper = Party::of_node(world, world.number_of(&shard.node));
        assert_eq!(keeper.claim(stage.id, &[index], &read).await, Status::NotCaretaker);
    }
    assert_eq!(stage.cheat.claim(stage.id, &[index], &read).await, Status::Applied);
    let claim = world.ledger().row(Repairs, &stage.id).await.unwrap().unwrap().claim.unwrap();
    gets_no_other_keys(world, stage, index, &read).await;
    reads_nothing_else(world, stage, index, &read).await;
    // Two for the same shard.
    assert_eq!(stage.accomplice.claim(stage.id, &[index], &read).await, Status::TooEarly);
    assert_eq!(stage.cheat.claim(stage.id, &[index], &read).await, Status::TooEarly);
    let signed = stage.signed(world, index, &stage.cheat).await;
    assert_eq!(stage.places(&stage.accomplice, signed.clone()).await, Status::NotYours);
    assert_eq!(stage.places(&stage.cheat, signed).await, Status::NotCaretaker, "to itself");
    for who in [&stage.cheat, &stage.accomplice] {
        assert_eq!(stage.collects(who, index).await, Status::NotYours, "nothing is placed");
    }

    let before = row(world, &stage.id).await;
    stage.ends(world, claim.until).await;
    assert!(!row(world, &stage.id).await.shards[usize::from(index)].unwrap().is_kept());
    assert_eq!(before.lost().count(), 1, "no other one may repair meanwhile");
    for custodian in stage.custodians(world) {
        let asked = Request::ReleaseClaim { deal: stage.id };
        let mut told = stage.cheat.refused(&custodian, &asked).await;
        for _ in 0..LATE_BY {
            // A custodian learns of an epoch with its first block.
            if told.is_some() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
            told = stage.cheat.refused(&custodian, &asked).await;
        }
        assert_eq!(told, Some(RefusalCode::NoClaim), "the claim has ended");
    }
    stage.repaired(world, index, &[Status::TooEarly]).await;
    let now = world.epoch().await;
    assert!(now < claim.until + 3, "the honest ones come before the cheat may claim again");
    world.note(format!(
        "shard {index} is repaired in epoch {now}, the claim ended in {}",
        claim.until
    ));
    world.pass_epochs(3).await;
    assert_eq!(stage.collects(&stage.cheat, index).await, Status::NotYours);
}

/// Custodians release the keys of the claim's shards to its claimant, and nothing else to anybody.
async fn gets_no_other_keys(world: &World, stage: &Stage, index: u8, read: &[u8]) {
    let ledger = world.ledger();
    let claim = ledger.row(Repairs, &stage.id).await.unwrap().unwrap().claim.unwrap();
    let (chain, owner) = (ledger.chain(), row(world, &stage.id).await.owner);
    let context = custody::claim_context(&chain, &stage.id, &stage.cheat.id());
    let opened: Vec<u8> = read.iter().copied().chain([index]).collect();
    let is_for = |release: &Release, index: u8| {
        let point = custody::care_point(&chain, &owner, &stage.id, index);
        let (vault, delivery) = (&stage.vault.key, &claim.delivery);
        let request = ClaimRequest { vault, point: &point, delivery, context: &context };
        release.verify_claimed(&request).is_ok()
    };
    for custodian in stage.custodians(world) {
        let asked = Request::ReleaseClaim { deal: stage.id };
        let told = stage.accomplice.refused(&custodian, &asked).await;
        assert_eq!(told, Some(RefusalCode::NoClaim), "the claim is another's");
        let (answer, _) = stage.cheat.ask(&custodian, &asked).await.unwrap();
        let Response::ReleasedClaim { releases } = answer else { panic!("{answer:?}") };
        let covers = |release: &Release| (0..8).filter(|index| is_for(release, *index)).collect();
        let covered: Vec<Vec<u8>> = releases.iter().map(covers).collect();
        let claimed: Vec<Vec<u8>> = opened.iter().map(|index| vec![*index]).collect();
        assert_eq!(covered, claimed, "a release for each shard of the claim, and no other");
        let asked = Request::ReleaseClaim { deal: stage.other };
        let told = stage.cheat.refused(&custodian, &asked).await;
        assert_eq!(told, Some(RefusalCode::NoClaim), "no claim of that deal");
    }
}

/// Nodes let the claimant read the shards that its claim names, and no others.
async fn reads_nothing_else(world: &World, stage: &Stage, lost: u8, read: &[u8]) {
    let deal = row(world, &stage.id).await;
    for (index, shard) in deal.kept().filter(|(index, _)| *index != lost) {
        let asked = Request::Read { deal: stage.id, index, first: 0, count: 1, grant: None };
        let told = stage.cheat.refused(&shard.node, &asked).await;
        assert_eq!(told.is_none(), read.contains(&index), "shard {index}: {told:?}");
        let told = stage.accomplice.refused(&shard.node, &asked).await;
        assert!(told.is_some(), "another's claim");
    }
}

/// Repairs garbage: nodes take no other bytes, and the ledger takes no other root.
async fn sends_garbage(world: &mut World, stage: &Stage) {
    let (index, read) = stage.loses(world).await;
    assert_eq!(stage.cheat.claim(stage.id, &[index], &read).await, Status::Applied);
    let deal = row(world, &stage.id).await;
    let terms = stage.terms(&deal);
    let garbage = world.bytes("garbage", deal.length);
    let free = world.stations.iter().filter(|station| {
        station.runs() && deal.shards.iter().flatten().all(|shard| shard.node != station.id)
    });
    let honest: Vec<NodeId> = free.map(|station| station.id).collect();
    assert!(!honest.is_empty());
    for node in &honest {
        let (terms, price) = (terms.clone(), stage.care.price_max);
        let asked = Request::Store { terms, index, price, authority: Authority::Claim };
        let told = stage.cheat.store(node, &asked, &garbage).await.unwrap();
        let refused = matches!(&told, Response::Refused { .. });
        assert!(refused, "a node has signed for other bytes: {told:?}");
        // A shard that the claim does not rebuild, and one of no claim at all.
        let Request::Store { terms, price, .. } = asked else { unreachable!() };
        let other = Request::Store { terms, index: read[0], price, authority: Authority::Claim };
        assert_eq!(stage.cheat.refused(node, &other).await, Some(RefusalCode::NotAllowed));
    }
    let root = symbolon_protocol::id::Hash(*blake3::hash(&garbage).as_bytes());
    let price = stage.care.price_max;
    let accepted = stage.accomplice.accept(&terms, (index, root), price, world.now_ms());
    let told = stage.places(&stage.cheat, (terms.clone(), accepted)).await;
    assert_eq!(told, Status::BadAcceptance, "of another root");
    // The right root, for more than the owner pays.
    let root = deal.shards[usize::from(index)].unwrap().root;
    let dear = price.checked_add(Amount(1)).unwrap();
    let accepted = stage.accomplice.accept(&terms, (index, root), dear, world.now_ms());
    assert_eq!(stage.places(&stage.cheat, (terms, accepted)).await, Status::TermsChanged);
    let until = world.epoch().await + 3;
    stage.ends(world, until).await;
    stage.repaired(world, index, &[Status::TooEarly]).await;
    world.pass_epochs(4).await;
}

/// A node that may have died registers as it was.
async fn begins_anew(row: &Node, node: &Party) {
    let Node { payout, operator, addresses, custody_key, caretaker, price, capacity, .. } =
        row.clone();
    let registration = Action::RegisterNode {
        payout,
        operator,
        addresses,
        custody_key,
        caretaker,
        price,
        capacity,
        agrees_until: 0,
        leaving: false,
    };
    assert_eq!(node.send(registration).await, Status::Applied);
}

/// An accomplice signs for the right root and has nothing. It proves nothing, so the fee is not paid; it dies, and an
/// honest caretaker repairs.
async fn signs_without_bytes(world: &mut World, stage: &Stage) {
    let accomplice = world.number_of(&stage.accomplice.id());
    begins_anew(&world.row(accomplice).await, &stage.accomplice).await;
    let (index, read) = stage.loses(world).await;
    assert_eq!(stage.cheat.claim(stage.id, &[index], &read).await, Status::Applied);
    let signed = stage.signed(world, index, &stage.accomplice).await;
    assert_eq!(stage.places(&stage.cheat, signed).await, Status::Applied, "nothing is wrong yet");
    let told = stage.accomplice.claim(stage.id, &[index], &read).await;
    assert_eq!(told, Status::NotCaretaker, "it is a node of the segment");
    let mut epochs = 0;
    while row(world, &stage.id).await.kept_by(&stage.accomplice.id()).is_some() {
        assert_eq!(stage.collects(&stage.cheat, index).await, Status::TooEarly, "not proven");
        world.pass_epochs(1).await;
        epochs += 1;
        assert!(epochs < 8, "it lives");
    }
    assert!(world.row(accomplice).await.dead);
    assert_eq!(stage.collects(&stage.cheat, index).await, Status::NotYours, "lost before");
    for _ in 0..80 {
        if row(world, &stage.id).await.lost().next().is_none() {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    assert!(row(world, &stage.id).await.lost().next().is_none(), "an honest one repairs");
    world.pass_epochs(4).await;
}

/// Each of the three shards was paid once, to nodes that placed it.
async fn only_honest_ones_are_paid(world: &mut World, stage: &Stage) {
    world.audit().await;
    let mut paid = Vec::new();
    for event in world.blocks.iter().flat_map(|block| &block.events) {
        if let Event::Moved { to: Place::Account { account }, reason, amount, .. } = event
            && *reason == (Reason::Repaired { deal: stage.id })
        {
            paid.push((*account, *amount));
        }
    }
    assert_eq!(paid.len(), 3, "each shard once: {paid:?}");
    for (account, amount) in paid {
        assert_eq!(amount, stage.care.fee);
        assert!(!stage.payouts.contains(&account), "a cheat is paid");
    }
    let left = world.ledger().row(Repairs, &stage.id).await.unwrap();
    assert!(left.is_none_or(|repair| repair.rewards.is_empty()), "all is collected");
}
