//! A grant below a voucher counts for the peer that the ledger says the voucher was redeemed for.

use std::sync::{Arc, atomic::Ordering};

use symbolon_node::Node;
use symbolon_protocol::{
    LedgerTime,
    grant::{Caveat, Grant, Voucher, ability},
    id::LinkId,
    identity::Identity,
    ledger::{Status, transaction::Action},
    wire::storage::{Fault, RefusalCode, Request},
};

use crate::{
    away::far_node,
    follow::Switches,
    world::{PRICE, World, code, deal_id, now, shard},
};

const LENGTH: u64 = 4096;
const LASTS_MS: u64 = 100_000;

fn who(number: u8) -> Identity {
    Identity::from_seed(&[number; 64])
}

fn once() -> Identity {
    Voucher::identity(&[9; 32])
}

fn read(grant: &Grant) -> Request {
    Request::Read { deal: deal_id(1), index: 0, first: 0, count: 1, grant: Some(grant.clone()) }
}

/// A world with a node that keeps a shard, and a voucher for it.
struct Given {
    world: World,
    node: Node,
    until_ms: LedgerTime,
    voucher: Grant,
}

impl Given {
    async fn of(world: World, node: Node) -> Self {
        let owner = world.peer(&world.owner, &node).await;
        let (terms, own) = (world.terms(1, LENGTH), world.own_grant());
        owner.store(&terms, 0, PRICE, &own, &shard(LENGTH)).await.unwrap();
        let until_ms = LedgerTime(now(&world.host).0 + LASTS_MS);
        let caveats = vec![Caveat::Abilities { set: ability::READ }, Caveat::Once { until_ms }];
        let voucher = world.grant(once().peer(), caveats);
        Self { world, node, until_ms, voucher }
    }

    async fn new() -> Self {
        let world = World::new().await;
        let node = world.node().await;
        Self::of(world, node).await
    }

    /// The same with a node that is far from its ledger.
    async fn far() -> (Self, Arc<Switches>) {
        let world = World::new().await;
        let (node, how) = far_node(&world, world.options("node")).await;
        (Self::of(world, node).await, how)
    }

    /// What everyone who has seen the voucher can make: a link to any key.
    fn to(&self, number: u8) -> Grant {
        let (chain, key) = (self.world.ledger.chain(), once().access_key());
        self.voucher.delegate(&chain, &key, who(number).peer(), vec![], &[number; 32]).unwrap()
    }

    async fn redeem(&self, number: u8, until_ms: LedgerTime) -> Status {
        let action = Action::Redeem { holder: who(number).peer(), until_ms };
        self.world.submit(&once().access_key(), action).await
    }

    async fn revoke(&self, by: &Identity, link: LinkId) {
        let action = Action::Revoke { link, until_ms: None };
        // Whose word it is decides whether it counts, not whether it stands on the ledger.
        let key = if by.peer() == once().peer() { by.access_key() } else { by.account_key() };
        self.world.apply(&key, action).await;
        self.world.pass(1_000).await;
    }

    /// A read by a person with a grant: the code of a refusal.
    async fn reads(&self, reader: &Identity, grant: &Grant) -> Result<(), RefusalCode> {
        let peer = self.world.peer(reader, &self.node).await;
        peer.read(&read(grant)).await.map(|_| ()).map_err(|refusal| refusal.code)
    }
}

fn links(grant: &Grant, given: &Given) -> Vec<LinkId> {
    grant.verify(&given.world.ledger.chain()).unwrap().link_ids()
}

#[tokio::test(start_paused = true)]
async fn a_voucher_opens_nothing_but_to_its_redeemer() {
    let given = Given::new().await;
    let (mine, others) = (given.to(1), given.to(2));
    assert_eq!(given.reads(&once(), &given.voucher).await, Err(RefusalCode::NotRedeemed));
    let peer = given.world.peer(&who(1), &given.node).await;
    let refused = peer.read(&read(&mine)).await.unwrap_err();
    assert_eq!((refused.code, refused.fault), (RefusalCode::NotRedeemed, Fault::Transient));
    assert_eq!(given.redeem(1, given.until_ms).await, Status::Applied);
    // The answer is remembered for a moment.
    assert_eq!(code(peer.read(&read(&mine)).await), RefusalCode::NotRedeemed);
    given.world.pass(1_000).await;
    peer.read(&read(&mine)).await.unwrap();

    // Who came too late has a link that the same key has signed.
    assert_eq!(given.redeem(2, given.until_ms).await, Status::Exists);
    let late = given.world.peer(&who(2), &given.node).await;
    let refused = late.read(&read(&others)).await.unwrap_err();
    assert_eq!((refused.code, refused.fault), (RefusalCode::RedeemedElsewhere, Fault::Yours));
    assert_eq!(given.reads(&once(), &given.voucher).await, Err(RefusalCode::NotRedeemed));
    assert_eq!(given.reads(&who(2), &mine).await, Err(RefusalCode::NotYourGrant));

    // The redeemer passes it on, and may do no more than the voucher says.
    let (chain, key) = (given.world.ledger.chain(), who(1).access_key());
    let passed = mine.delegate(&chain, &key, who(3).peer(), vec![], &[1; 32]).unwrap();
    assert_eq!(given.reads(&who(3), &passed).await, Ok(()));
    let check = Request::Check { deal: deal_id(1), index: 0, grant: Some(mine.clone()) };
    assert_eq!(code(peer.ask(&check).await), RefusalCode::NotAllowed);

    given.world.pass(LASTS_MS).await;
    assert_eq!(given.reads(&who(1), &mine).await, Err(RefusalCode::OutOfTime));
}

#[tokio::test(start_paused = true)]
async fn everyone_has_the_one_time_key_and_it_ends_nothing() {
    let given = Given::new().await;
    let mine = given.to(1);
    assert_eq!(given.redeem(1, given.until_ms).await, Status::Applied);
    let [first, second] = links(&mine, &given)[..] else { panic!("two links") };
    for link in [first, second] {
        given.revoke(&once(), link).await;
        assert_eq!(given.reads(&who(1), &mine).await, Ok(()));
    }
    given.revoke(&given.world.owner, first).await;
    assert_eq!(given.reads(&who(1), &mine).await, Err(RefusalCode::Revoked));
}

/// A row that leaves the ledger before the voucher ends would let the account redeem a second time.
#[tokio::test(start_paused = true)]
async fn a_redemption_that_ends_before_the_voucher_counts_for_no_one() {
    let given = Given::new().await;
    let early = LedgerTime(given.until_ms.0 - 1);
    assert_eq!(given.redeem(1, early).await, Status::Applied);
    for (reader, grant) in [(who(1), given.to(1)), (who(2), given.to(2))] {
        assert_eq!(given.reads(&reader, &grant).await, Err(RefusalCode::NotRedeemed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_redemption_needs_no_ledger() {
    let (given, how) = Given::far().await;
    let mine = given.to(1);
    assert_eq!(given.redeem(1, given.until_ms).await, Status::Applied);
    let asked = || how.redemptions_asked.load(Ordering::Relaxed);
    assert_eq!(given.reads(&who(9), &mine).await, Err(RefusalCode::NotYourGrant));
    assert_eq!(asked(), 0, "what is refused anyway needs no row");
    let peer = given.world.peer(&who(1), &given.node).await;
    let request = read(&mine);
    let reads = tokio::join!(peer.read(&request), peer.read(&request), peer.read(&request));
    assert!(reads.0.is_ok() && reads.1.is_ok() && reads.2.is_ok());
    assert_eq!(asked(), 1);
    how.away.store(true, Ordering::Relaxed);
    peer.read(&request).await.unwrap();
    assert_eq!(asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_does_not_make_a_node_ask_for_redemptions_without_end() {
    let (given, how) = Given::far().await;
    let asked = || how.redemptions_asked.load(Ordering::Relaxed);
    let mine = given.to(1);
    let peer = given.world.peer(&who(1), &given.node).await;
    for _ in 0..3 {
        assert_eq!(code(peer.read(&read(&mine)).await), RefusalCode::NotRedeemed);
    }
    assert_eq!(asked(), 1, "one in a while");
    given.world.pass(1_000).await;
    assert_eq!(code(peer.read(&read(&mine)).await), RefusalCode::NotRedeemed);
    assert_eq!(asked(), 2);
}
