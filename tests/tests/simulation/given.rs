//! What a given grant is worth in the hands of others. Each of them is small, and beside each stands the honest reader
//! who gets what the grant says: a thief with the grant and another key, a delegate who widens what it was given, a
//! holder whose grant was revoked while nodes were away, and a reader who sends the same requests again and again, in
//! any order. The owner then learns from the nodes who read what, and no one else does.

use symbolon_client::{
    Caveat, Client, GetOptions, GrantToken, Pattern, Progress, Readable, ReaderRow, Sink, Source,
};
use symbolon_net::{Alpn, Endpoint, PeerAddress};
use symbolon_protocol::{
    LedgerTime,
    grant::{Grant, ability},
    id::{DealId, NodeId, PeerId},
    limits::CELL_PLAIN_BYTES,
    reads::question,
    signature,
    wire::storage::{RefusalCode, Request, Response},
};
use symbolon_tests::sim::{Trace, World, called, settle};

use super::put_options;

const NODES: usize = 8;
const LENGTH: u64 = 1_000_000;

/// The shards of a file, and their nodes.
pub(super) type Shards = Vec<(DealId, u8, NodeId)>;

pub(super) async fn given(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    world.pass_epochs(1).await;
    let (owner, bob) = (world.client("owner"), world.client("bob"));
    owner.faucet().await.unwrap();
    bob.faucet().await.unwrap();
    let source = Source::Bytes(world.bytes("file", LENGTH).into());
    owner.put(source, &called("file"), &put_options(400), &Progress::silent()).await.unwrap();
    let shards = shards(&owner).await;
    let token = share(&world, &owner, "bob", Vec::new()).await;
    reads_all(&world, &bob, &token).await;

    stolen(&mut world, &token.grant, &shards).await;
    widened(&mut world, &bob, &token, &shards).await;
    again_and_again(&mut world, &owner, &shards).await;
    asked_by_others(&mut world, &owner, &shards).await;
    bob.close().await;
    revoked_while_away(&mut world, &owner, &token, &shards).await;
    owner.close().await;
    world.audit().await;
    world.finish().await
}

async fn share(world: &World, owner: &Client, to: &str, caveats: Vec<Caveat>) -> GrantToken {
    let (name, to) = (called("file"), world.identity(to).recipient());
    owner.share(&name, &to, caveats, None, &Progress::silent()).await.unwrap()
}

pub(super) async fn shards(owner: &Client) -> Shards {
    let stat = owner.stat(&called("file")).await.unwrap();
    let segments = stat.segments.iter();
    let shards = segments.flat_map(|segment| {
        segment.shards.iter().map(|shard| (segment.deal, shard.index, shard.node))
    });
    shards.collect()
}

/// Bob, or another honest reader, reads the whole file.
async fn reads_all(world: &World, reader: &Client, token: &GrantToken) {
    let what = Readable::Token(Box::new(token.clone()));
    let got = reader.get(&what, Sink::Memory, &GetOptions::default(), &Progress::silent()).await;
    assert!(got.unwrap().bytes.unwrap() == world.bytes("file", LENGTH));
}

/// Sends one request of its own making, and gives the code of the refusal, if it is one.
pub(super) async fn ask(
    from: &Endpoint,
    node: NodeId,
    request: &Request,
) -> Result<Response, RefusalCode> {
    let address = PeerAddress { id: node, addresses: Vec::new() };
    let connection = from.connect(&address, Alpn::Storage).await.unwrap();
    let (mut sender, mut receiver) = connection.open().await.unwrap();
    sender.send(request).await.unwrap();
    match receiver.receive::<Response>().await.unwrap() {
        Response::Refused { refusal } => Err(refusal.code),
        response => Ok(response),
    }
}

pub(super) fn read(shard: &(DealId, u8, NodeId), cell: u32, grant: &Grant) -> Request {
    Request::ReadCell { deal: shard.0, index: shard.1, cell, grant: Some(grant.clone()) }
}

/// A thief has the grant's text. Its connection proves another key.
async fn stolen(world: &mut World, grant: &Grant, shards: &Shards) {
    let thief = world.setup("thief", "thief").endpoint;
    for shard in shards {
        let refused = ask(&thief, shard.2, &read(shard, 0, grant)).await;
        assert_eq!(refused, Err(RefusalCode::NotYourGrant));
        // With its own key in place of the holder's, no signature verifies.
        let mut mine = grant.clone();
        mine.links[0].audience = world.identity("thief").peer();
        let refused = ask(&thief, shard.2, &read(shard, 0, &mine)).await;
        assert_eq!(refused, Err(RefusalCode::NotAllowed));
    }
    thief.close().await;
}

/// Carol has the first cells for an hour, and tries to have more.
async fn widened(world: &mut World, bob: &Client, token: &GrantToken, shards: &Shards) {
    let (me, friend) = (world.identity("carol"), world.identity("friend"));
    let ends = LedgerTime(world.now_ms() + 3_600_000);
    let less = vec![Caveat::Cells { first: 0, end: 4 }, Caveat::NotAfter { time_ms: ends }];
    let narrow = bob.attenuate(token, &me.recipient(), less).unwrap();
    let chain = token.chain;
    let shorter = Grant { links: narrow.grant.links[..1].to_vec(), ..narrow.grant.clone() };
    let mut without = narrow.grant.clone();
    without.links[1].caveats.clear();
    let all = vec![Caveat::Cells { first: 0, end: 99 }, Caveat::Abilities { set: ability::ALL }];
    let passed = narrow.grant.delegate(&chain, &me.access_key(), friend.peer(), all, &[1; 32]);
    let carol = world.setup("carol", "carol").endpoint;
    let other = world.setup("friend", "friend").endpoint;
    for shard in shards {
        // Stripe 0 has the four cells; stripe 1 has the next four.
        assert!(ask(&carol, shard.2, &read(shard, 0, &narrow.grant)).await.is_ok());
        let refused = ask(&carol, shard.2, &read(shard, 1, &narrow.grant)).await;
        assert_eq!(refused, Err(RefusalCode::NotAllowed), "another stripe");
        let refused = ask(&carol, shard.2, &read(shard, 1, &without)).await;
        assert_eq!(refused, Err(RefusalCode::NotAllowed), "a caveat taken out");
        let refused = ask(&carol, shard.2, &read(shard, 1, &shorter)).await;
        assert_eq!(refused, Err(RefusalCode::NotYourGrant), "her link taken out");
        let passed = passed.as_ref().unwrap();
        assert!(ask(&other, shard.2, &read(shard, 0, passed)).await.is_ok());
        let refused = ask(&other, shard.2, &read(shard, 1, passed)).await;
        assert_eq!(refused, Err(RefusalCode::NotAllowed), "passed on with more");
    }
    carol.close().await;
    other.close().await;
    // Within its limits the grant opens the file.
    let carol = world.client("carol");
    let options =
        GetOptions { range: Some((0, 4 * CELL_PLAIN_BYTES as u64)), ..GetOptions::default() };
    let what = Readable::Token(Box::new(narrow));
    let got = carol.get(&what, Sink::Memory, &options, &Progress::silent()).await.unwrap();
    let (expected, length) = (world.bytes("file", LENGTH), 4 * CELL_PLAIN_BYTES);
    assert!(got.bytes.unwrap() == expected[..length]);
    carol.close().await;
}

/// A reader with three reads at each node sends the same requests more often, and in an order that the seed gives.
async fn again_and_again(world: &mut World, owner: &Client, shards: &Shards) {
    let grant = share(world, owner, "reader", vec![Caveat::NodeReads { count: 3 }]).await.grant;
    let endpoint = world.setup("reader", "reader").endpoint;
    let mut served = vec![0; shards.len()];
    for turn in 0..5 * shards.len() {
        let place =
            usize::try_from(world.dice(&format!("turn {turn}"), shards.len() as u64)).unwrap();
        let cell = u32::try_from(world.dice(&format!("cell {turn}"), 2)).unwrap();
        let shard = &shards[place];
        match ask(&endpoint, shard.2, &read(shard, cell, &grant)).await {
            Ok(_) => served[place] += 1,
            Err(code) => {
                assert_eq!(code, RefusalCode::QuotaUsed);
                assert_eq!(served[place], 3, "all of the quota, before it is used up");
            }
        }
    }
    assert!(served.iter().all(|reads| *reads <= 3), "{served:?}");
    assert!(served.contains(&3), "the seed tries one often enough: {served:?}");
    endpoint.close().await;
}

/// Who read what: the owner sees all of it, and others see nothing, not with what the owner has signed either.
async fn asked_by_others(world: &mut World, owner: &Client, shards: &Shards) {
    let (identity, thief_identity) = (world.identity("owner"), world.identity("thief"));
    let object = owner.stat(&called("file")).await.unwrap().file.object;
    let thief = world.setup("thief", "thief again").endpoint;
    let chain = owner.ledger().chain();
    for (_, _, node) in shards {
        let signed = |by: &symbolon_client::Identity, peer: PeerId| {
            let asked = question(&chain, node, &peer, (&identity.account(), &object));
            let signature = signature::sign(&by.account_key(), &asked);
            Request::ReadLog { owner: identity.account(), object, from_day: 0, signature }
        };
        for request in
            [signed(&thief_identity, thief_identity.peer()), signed(&identity, identity.peer())]
        {
            let refused = ask(&thief, *node, &request).await;
            assert_eq!(refused, Err(RefusalCode::NotAllowed));
        }
    }
    thief.close().await;
    let what = Pattern::whole(b"file");
    let readers = owner.readers(&what, 0).await.unwrap();
    assert_eq!((readers.told.len(), readers.silent.len()), (NODES, 0));
    let of = |who: &str| -> Vec<&ReaderRow> {
        let peer = world.identity(who).peer();
        readers.rows.iter().filter(|row| row.reader == peer).collect()
    };
    let counts = ["bob", "reader", "carol", "friend", "thief"].map(|who| of(who).len());
    assert_eq!(counts, [1, 1, 1, 1, 0]);
    // Carol's is made from Bob's.
    assert!(of("carol")[0].label.as_deref() == Some("given: file"));
}

/// Nodes are away while the grant is revoked. When they are back they do not serve it once.
async fn revoked_while_away(
    world: &mut World,
    owner: &Client,
    token: &GrantToken,
    shards: &Shards,
) {
    let kept = share(world, owner, "bob", Vec::new()).await;
    for number in 0..NODES {
        world.kill_node(number).await;
    }
    owner.revoke(token).await.unwrap();
    for number in 0..NODES {
        world.start_node(number).await;
    }
    settle().await;
    let endpoint = world.setup("bob", "what bob sends by hand").endpoint;
    for shard in shards {
        let refused = ask(&endpoint, shard.2, &read(shard, 0, &token.grant)).await;
        assert_eq!(refused, Err(RefusalCode::Revoked));
        assert!(ask(&endpoint, shard.2, &read(shard, 0, &kept.grant)).await.is_ok());
    }
    endpoint.close().await;
    let bob = world.device("bob", "bob, later");
    reads_all(world, &bob, &kept).await;
    bob.close().await;
}
