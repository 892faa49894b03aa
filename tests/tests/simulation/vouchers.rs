//! What a voucher is worth, on a network on which transactions cost something. A reader without money redeems it and reads.
//! Beside that: two who redeem it at the same time, one who redeems what was revoked, one who sends the same redemption
//! again, one who redeems for so short a time that it could be done twice, and one who later finds the text and tries
//! everything that its key can sign.

use symbolon_client::{
    Caveat, Client, ClientError, ErrorKind, GetOptions, GrantToken, Progress, Readable, Sink,
    Source, Voucher,
};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{PeerId, TransactionId},
    ledger::{
        Status,
        rows::Redemptions,
        transaction::{Action, Transaction},
    },
    wire::storage::RefusalCode,
};
use symbolon_tests::{
    party::Party,
    sim::{Trace, World, called, settle},
};

use super::{
    fees::priced,
    given::{Shards, ask, read, shards},
    put_options,
};

const NODES: usize = 8;
const LENGTH: u64 = 300_000;
/// More than the story lasts.
const LASTS_MS: u64 = 3_600_000;

pub(super) async fn vouchers(seed: u64) -> Trace {
    let mut world = World::found_with(seed, NODES, priced()).await;
    world.pass_epochs(1).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let source = Source::Bytes(world.bytes("file", LENGTH).into());
    owner.put(source, &called("file"), &put_options(400), &Progress::silent()).await.unwrap();
    let shards = shards(&owner).await;

    let (voucher, bob) = redeemed(&mut world, &owner).await;
    found_later(&mut world, &owner, (&voucher, &bob), &shards).await;
    bob.close().await;
    race(&mut world, &owner, &shards).await;
    after_revocation(&mut world, &owner, &shards).await;
    replayed(&mut world, &owner).await;
    too_short(&mut world, &owner, &shards).await;
    owner.close().await;
    world.audit().await;
    world.finish().await
}

/// A voucher for the file. Its owner pays what was said before.
async fn make(world: &World, owner: &Client) -> Voucher {
    let until_ms = LedgerTime(world.now_ms() + LASTS_MS);
    let (secret, quiet) = (owner.voucher_secret(), Progress::silent());
    let to = Voucher::identity(&secret).recipient();
    let caveats = vec![Caveat::Once { until_ms }];
    let token = owner.share(&called("file"), &to, caveats, None, &quiet).await.unwrap();
    let after_sharing = owner.account().await.unwrap().balance;
    let price = owner.price_of_voucher().await.unwrap();
    let short = Amount(price.0 - 1);
    let refused = owner.voucher(token.clone(), &secret, Some(short)).await.unwrap_err();
    assert!(matches!(refused, ClientError::CostTooHigh { .. }), "{refused}");
    let voucher = owner.voucher(token, &secret, Some(price)).await.unwrap();
    let paid = after_sharing.0 - owner.account().await.unwrap().balance.0;
    assert_eq!(paid, price.0, "what was said before");
    Voucher::parse(&voucher.to_text()).unwrap()
}

async fn reads_all(world: &World, reader: &Client, token: &GrantToken) {
    let what = Readable::Token(Box::new(token.clone()));
    let got = reader.get(&what, Sink::Memory, &GetOptions::default(), &Progress::silent()).await;
    assert!(got.unwrap().bytes.unwrap() == world.bytes("file", LENGTH));
}

/// Every node that keeps a shard refuses this grant.
async fn refused(
    world: &mut World,
    who: &str,
    grant: &GrantToken,
    shards: &Shards,
    code: RefusalCode,
) {
    let endpoint = world.setup(who, &format!("{who} by hand")).endpoint;
    for shard in shards {
        let answer = ask(&endpoint, shard.2, &read(shard, 0, &grant.grant)).await;
        assert_eq!(answer, Err(code), "{who}");
    }
    endpoint.close().await;
}

/// Bob has no money and needs none. Asking again changes nothing.
async fn redeemed(world: &mut World, owner: &Client) -> (Voucher, Client) {
    let voucher = make(world, owner).await;
    assert!(owner.redemption(voucher.token()).await.unwrap().is_none());
    let bob = world.client("bob");
    let token = bob.redeem(&voucher).await.unwrap();
    assert_eq!(bob.redeem(&voucher).await.unwrap(), token);
    assert_eq!(bob.grants().await.unwrap(), [(String::from("redeemed"), token.clone())]);
    assert_eq!(bob.account().await.unwrap().balance, Amount::ZERO);
    reads_all(world, &bob, &token).await;
    let row = owner.redemption(voucher.token()).await.unwrap().unwrap();
    assert_eq!((row.holder, row.until_ms), (bob.identity().peer(), voucher.until_ms()));
    world.note("redeemed");
    (voucher, bob)
}

/// Somebody finds the text when it is redeemed, and has money.
async fn found_later(
    world: &mut World,
    owner: &Client,
    (voucher, bob): (&Voucher, &Client),
    shards: &Shards,
) {
    let eve = world.client("eve");
    let error = eve.redeem(voucher).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAllowed);
    assert!(error.to_string().contains("somebody else"), "{error}");
    eve.close().await;
    let forged = voucher.redeemed(&world.identity("eve")).unwrap();
    refused(world, "eve", &forged, shards, RefusalCode::RedeemedElsewhere).await;
    // The one-time key signs a revocation of the redeemer's link, and of its own.
    let key = voucher.once().access_key().to_bytes();
    let party = Party::new(world, key);
    owner.transfer(party.account(), Amount::credits(1), None).await.unwrap();
    let mine = voucher.redeemed(bob.identity()).unwrap();
    for link in mine.verify().unwrap().link_ids() {
        assert_eq!(party.send(Action::Revoke { link, until_ms: None }).await, Status::Applied);
    }
    // And a redemption for its own key.
    let (holder, until_ms) = (world.identity("eve").peer(), voucher.until_ms());
    let again = Action::Redeem { holder, until_ms };
    assert_eq!(party.send(again).await, Status::Exists);
    settle().await;
    reads_all(world, bob, &mine).await;
    world.note("found later");
}

/// Two redeem at the same time: one of them has it, and the nodes serve that one only.
async fn race(world: &mut World, owner: &Client, shards: &Shards) {
    let voucher = make(world, owner).await;
    let (one, two) = (world.client("one"), world.client("two"));
    let (first, second) = tokio::join!(one.redeem(&voucher), two.redeem(&voucher));
    let (won, lost, error) = match (first, second) {
        (Ok(token), Err(error)) => ((&one, token), "two", error),
        (Err(error), Ok(token)) => ((&two, token), "one", error),
        (first, second) => panic!("{first:?} {second:?}"),
    };
    assert!(error.to_string().contains("somebody else"), "{error}");
    reads_all(world, won.0, &won.1).await;
    let forged = voucher.redeemed(&world.identity(lost)).unwrap();
    one.close().await;
    two.close().await;
    refused(world, lost, &forged, shards, RefusalCode::RedeemedElsewhere).await;
    world.note(format!("{lost} was too late"));
}

/// What was revoked is not redeemed, and redeemed all the same it opens nothing.
async fn after_revocation(world: &mut World, owner: &Client, shards: &Shards) {
    let voucher = make(world, owner).await;
    owner.revoke(voucher.token()).await.unwrap();
    let carol = world.client("carol");
    let error = carol.redeem(&voucher).await.unwrap_err();
    assert!(error.to_string().contains("it was revoked"), "{error}");
    carol.close().await;
    let party = Party::new(world, voucher.once().access_key().to_bytes());
    let (holder, until_ms) = (world.identity("carol").peer(), voucher.until_ms());
    assert_eq!(party.send(Action::Redeem { holder, until_ms }).await, Status::Applied);
    settle().await;
    let token = voucher.redeemed(&world.identity("carol")).unwrap();
    refused(world, "carol", &token, shards, RefusalCode::Revoked).await;
    world.note("revoked");
}

/// The same signed transaction is sent again, by a server or by anyone who saw it.
async fn replayed(world: &mut World, owner: &Client) {
    let voucher = make(world, owner).await;
    let ledger = world.ledger();
    let valid_until = ledger.head().await.unwrap().header.height + 100;
    let action =
        Action::Redeem { holder: world.identity("dave").peer(), until_ms: voucher.until_ms() };
    let (key, id) = (voucher.once().access_key(), TransactionId([7; 16]));
    let transaction = Transaction::build(ledger.chain(), &key, id, valid_until, action);
    let first = ledger.submit(transaction.clone()).await.unwrap();
    let again = ledger.submit(transaction).await.unwrap();
    assert_eq!((first.status, again.status), (Status::Applied, Status::Applied));
    assert_eq!(first.height, again.height, "it is applied once");
    // A run of Dave's that was killed behind this point goes on here.
    let dave = world.client("dave");
    let token = dave.redeem(&voucher).await.unwrap();
    reads_all(world, &dave, &token).await;
    dave.close().await;
    world.note("replayed");
}

/// A redemption that leaves before the voucher ends would make room for another one.
async fn too_short(world: &mut World, owner: &Client, shards: &Shards) {
    let voucher = make(world, owner).await;
    let party = Party::new(world, voucher.once().access_key().to_bytes());
    let holder: PeerId = world.identity("frank").peer();
    let until_ms = LedgerTime(world.now_ms() + 60_000);
    assert_eq!(party.send(Action::Redeem { holder, until_ms }).await, Status::Applied);
    let row = world.ledger().row(Redemptions, &voucher.account()).await.unwrap();
    assert_eq!(row.unwrap().until_ms, until_ms);
    let frank = world.client("frank");
    let error = frank.redeem(&voucher).await.unwrap_err();
    assert!(error.to_string().contains("too short"), "{error}");
    frank.close().await;
    let token = voucher.redeemed(&world.identity("frank")).unwrap();
    refused(world, "frank", &token, shards, RefusalCode::NotRedeemed).await;
    world.note("too short");
}
