//! Chains: what holds, and what must not.

use std::{string::ToString, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    codec::{Decode, DecodeError},
    grant::{Access, Authorized, PaidOrder},
    id::{ObjectId, OrderId},
    ledger::rows::Redemption,
    time::{LedgerTime, Millis},
};

const LEDGER: ChainId = ChainId([77; 32]);

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn peer(number: u8) -> PeerId {
    PeerId(key(number).verifying_key().to_bytes())
}

fn root() -> AccountId {
    peer(0).into()
}

/// A chain 0 -> 1 -> 2 ..., one link per list of caveats.
fn chain(links: &[Vec<Caveat>]) -> Result<Grant, GrantError> {
    chain_of(links, None)
}

/// The same, where the first link may be a mandate that an order passes on to 1.
fn chain_of(links: &[Vec<Caveat>], sale: Option<Sale>) -> Result<Grant, GrantError> {
    let mut holders = 1..;
    let mut issuers = 0..;
    let mut next = || (key(issuers.next().unwrap()), peer(holders.next().unwrap()));
    let (issuer, audience) = next();
    let first = if sale.is_some() { market_audience(&LEDGER) } else { audience };
    let mut grant = Grant::issue(&LEDGER, &issuer, first, links[0].clone(), &[1; 32])?;
    grant.sale = sale;
    for caveats in &links[1..] {
        let (issuer, audience) = next();
        grant = grant.delegate(&LEDGER, &issuer, audience, caveats.clone(), &[1; 32])?;
    }
    Ok(grant)
}

fn sale() -> Sale {
    Sale { order: OrderId([1; 16]), holder: peer(1), ends_ms: LedgerTime(30) }
}

fn access(holder: u8) -> Access {
    Access {
        owner: root(),
        object: ObjectId([1; 16]),
        peer: peer(holder),
        ability: ability::READ,
        cells: Some(10..20),
        now_ms: LedgerTime(1000),
        paid: None,
        redeemed: None,
    }
}

/// What a first link has to name.
fn named(set: u16) -> [Caveat; 2] {
    [Caveat::Object { object: ObjectId([1; 16]) }, Caveat::Abilities { set }]
}

/// Asks a chain whose first link names everything before its own caveats.
fn ask(links: &[Vec<Caveat>]) -> Result<Authorized, GrantError> {
    let holder = u8::try_from(links.len()).unwrap();
    let mut links = links.to_vec();
    links[0].splice(0..0, named(ability::ALL));
    chain(&links)?.verify(&LEDGER)?.authorize(&access(holder))
}

#[test]
fn every_caveat_holds_on_every_link() {
    let refused = [
        (Caveat::Object { object: ObjectId([2; 16]) }, GrantError::WrongObject),
        (Caveat::Abilities { set: ability::ALL & !ability::READ }, GrantError::NotAllowed),
        (Caveat::Abilities { set: 0 }, GrantError::NotAllowed),
        (
            Caveat::NotBefore { time_ms: LedgerTime(1001) },
            GrantError::NotYet { time_ms: LedgerTime(1001) },
        ),
        (
            Caveat::NotAfter { time_ms: LedgerTime(1000) },
            GrantError::Expired { time_ms: LedgerTime(1000) },
        ),
        (Caveat::Cells { first: 11, end: 20 }, GrantError::WrongCells),
        (Caveat::Cells { first: 10, end: 19 }, GrantError::WrongCells),
        (Caveat::Cells { first: 20, end: 10 }, GrantError::WrongCells),
    ];
    for (caveat, error) in refused {
        let with = vec![Caveat::Abilities { set: ability::ALL }, caveat];
        for links in [
            vec![with.clone()],
            vec![with.clone(), vec![], vec![]],
            vec![vec![], with.clone(), vec![]],
            vec![vec![], vec![], with],
        ] {
            assert_eq!(ask(&links), Err(error));
        }
    }
    let allowed = [
        Caveat::Object { object: ObjectId([1; 16]) },
        Caveat::Abilities { set: ability::READ },
        Caveat::NotBefore { time_ms: LedgerTime(1000) },
        Caveat::NotAfter { time_ms: LedgerTime(1001) },
        Caveat::Cells { first: 10, end: 20 },
        Caveat::NodeReads { count: 0 },
        Caveat::NodeBytes { bytes: 0 },
        Caveat::Purpose { hash: Hash([1; 32]) },
        Caveat::Depth { links: 0 },
        Caveat::Staleness { max_ms: Millis(0) },
    ];
    assert!(ask(&[allowed.to_vec()]).is_ok());
}

#[test]
fn a_link_cannot_widen_what_the_one_before_allows() {
    let all = Caveat::Abilities { set: ability::ALL };
    let grant =
        chain(&[named(ability::READ).to_vec(), vec![all]]).unwrap().verify(&LEDGER).unwrap();
    let delete = Access { ability: ability::DELETE, ..access(2) };
    assert_eq!(grant.authorize(&delete), Err(GrantError::NotAllowed));
    let both = Access { ability: ability::READ | ability::DELETE, ..access(2) };
    assert_eq!(grant.authorize(&both), Err(GrantError::NotAllowed));
    let narrow = Caveat::Cells { first: 0, end: 15 };
    let wide = Caveat::Cells { first: 0, end: u64::MAX };
    assert_eq!(ask(&[vec![narrow], vec![wide]]), Err(GrantError::WrongCells));
}

#[test]
fn what_is_left_to_enforce_is_the_least_of_all() {
    let found = ask(&[
        vec![Caveat::NodeReads { count: 5 }, Caveat::Staleness { max_ms: Millis(100) }],
        vec![Caveat::NodeReads { count: 9 }, Caveat::NodeBytes { bytes: 7 }],
        vec![Caveat::Staleness { max_ms: Millis(50) }],
    ])
    .unwrap();
    assert_eq!(found.node_reads(), Some(5));
    assert_eq!(found.node_bytes(), Some(7));
    assert_eq!(found.staleness_ms, Some(Millis(50)));
    assert_eq!(found.order, None);
    // Each limit is counted by its own link, for all who hold from it.
    assert_eq!(found.quotas.len(), 2);
    assert_eq!(found.quotas[0].reads, Some(5));
    assert_eq!(found.quotas[1].reads, Some(9));
    assert_eq!(found.revocations.len(), 6);
}

#[test]
fn what_the_first_link_does_not_name_is_not_allowed() {
    let [object, abilities] = named(ability::ALL);
    let ask = |first: &[Caveat], second: &[Caveat]| {
        let grant = chain(&[first.to_vec(), second.to_vec()]).unwrap().verify(&LEDGER).unwrap();
        grant.authorize(&access(2)).map(|_| ())
    };
    let both = [object.clone(), abilities.clone()];
    assert_eq!(ask(&both, &[]), Ok(()));
    assert_eq!(ask(&[], &[]), Err(GrantError::Unnamed { what: "object" }));
    assert_eq!(ask(&[abilities], &[]), Err(GrantError::Unnamed { what: "object" }));
    assert_eq!(ask(&[object], &[]), Err(GrantError::Unnamed { what: "abilities" }));
    // A holder cannot name what the owner did not.
    assert_eq!(ask(&[], &both), Err(GrantError::Unnamed { what: "object" }));
}

#[test]
fn a_grant_is_for_one_ledger() {
    let grant = chain(&[named(ability::READ).to_vec(), vec![]]).unwrap();
    let elsewhere = ChainId([78; 32]);
    assert_eq!(grant.verify(&elsewhere), Err(GrantError::Signature { link: 0 }));
    let first = &grant.links[0];
    assert!(verify_first_link(&elsewhere, &root(), first).is_err());
    assert_eq!(
        grant.delegate(&elsewhere, &key(2), peer(3), vec![], &[1; 32]),
        Err(GrantError::Signature { link: 0 })
    );
}

#[test]
fn purposes_must_agree() {
    let purpose = |byte| vec![Caveat::Purpose { hash: Hash([byte; 32]) }];
    assert_eq!(ask(&[purpose(1), purpose(1)]).unwrap().purpose, Some(Hash([1; 32])));
    assert_eq!(ask(&[purpose(1), purpose(2)]), Err(GrantError::PurposesDiffer));
}

#[test]
fn the_request_itself_must_be_one() {
    let grant = chain(&[named(ability::ALL).to_vec()]).unwrap().verify(&LEDGER).unwrap();
    let ask = |access: Access| grant.authorize(&access).map(|_| ());
    assert_eq!(ask(access(1)), Ok(()));
    assert_eq!(ask(Access { peer: peer(2), ..access(1) }), Err(GrantError::NotHolder));
    assert_eq!(ask(Access { owner: peer(2).into(), ..access(1) }), Err(GrantError::NotOwner));
    assert_eq!(ask(Access { ability: 0, ..access(1) }), Err(GrantError::NotAllowed));
    assert_eq!(ask(Access { ability: 1 << 15, ..access(1) }), Err(GrantError::NotAllowed));
    assert_eq!(ask(Access { cells: Some(5..5), ..access(1) }), Err(GrantError::WrongCells));
    assert_eq!(ask(Access { cells: None, ..access(1) }), Ok(()));
    let mut narrow = named(ability::READ).to_vec();
    narrow.push(Caveat::Cells { first: 0, end: 99 });
    let limited = chain(&[narrow]).unwrap().verify(&LEDGER).unwrap();
    let whole = Access { cells: None, ..access(1) };
    assert_eq!(limited.authorize(&whole), Err(GrantError::WrongCells));
}

#[test]
fn depth_is_kept_by_everyone_below() {
    let depth = |links| vec![Caveat::Depth { links }];
    assert!(ask(&[depth(0)]).is_ok());
    assert_eq!(ask(&[depth(0), vec![]]), Err(GrantError::TooDeep { link: 0 }));
    assert!(ask(&[depth(2), vec![], vec![]]).is_ok());
    assert_eq!(ask(&[depth(1), depth(9), vec![]]), Err(GrantError::TooDeep { link: 0 }));
    assert_eq!(ask(&[depth(9), depth(0), vec![]]), Err(GrantError::TooDeep { link: 1 }));
}

#[test]
fn form_is_bounded() {
    let nine = vec![vec![]; 9];
    assert_eq!(chain(&nine), Err(GrantError::Links { found: 9 }));
    assert!(ask(&nine[..8]).is_ok());
    let none = Grant { version: 1, root: root(), sale: None, member: None, links: vec![] };
    assert_eq!(none.verify(&LEDGER), Err(GrantError::Links { found: 0 }));
    let grant = chain(&[vec![]]).unwrap();
    let later = Grant { version: 3, ..grant.clone() };
    assert_eq!(later.verify(&LEDGER), Err(GrantError::Version { version: 3 }));
    assert!(matches!(Grant::from_bytes(&later.to_bytes()), Err(DecodeError::Tag { tag: 3, .. })));
    let huge = vec![Caveat::Purpose { hash: Hash([0; 32]) }; 64];
    assert!(matches!(ask(&[huge]), Err(GrantError::TooLarge { .. })));
    let unknown = vec![Caveat::Abilities { set: ability::ALL + 1 }];
    assert_eq!(ask(&[unknown]), Err(GrantError::UnknownAbility { link: 0 }));
}

#[test]
fn no_key_appears_twice() {
    let grant = chain(&[vec![], vec![]]).unwrap();
    for audience in [root().into(), peer(1), peer(2)] {
        assert_eq!(
            grant.delegate(&LEDGER, &key(2), audience, vec![], &[9; 32]),
            Err(GrantError::AudienceRepeated { link: 2 })
        );
    }
    assert_eq!(
        grant.delegate(&LEDGER, &key(1), peer(3), vec![], &[9; 32]),
        Err(GrantError::NotHolder)
    );
}

#[test]
fn links_cannot_be_cut_out_swapped_or_moved() {
    let grant = chain(&[vec![], vec![Caveat::NodeReads { count: 1 }], vec![]]).unwrap();
    let mut cut = grant.clone();
    cut.links.remove(1);
    assert_eq!(cut.verify(&LEDGER), Err(GrantError::Signature { link: 1 }));
    let mut swapped = grant.clone();
    swapped.links.swap(1, 2);
    assert_eq!(swapped.verify(&LEDGER), Err(GrantError::Signature { link: 1 }));
    // The holder cannot drop the caveat of the link before by putting an older chain in front.
    let other = Grant::issue(&LEDGER, &key(0), peer(1), vec![], &[2; 32]).unwrap();
    let mut moved = grant.clone();
    moved.links[0] = other.links[0].clone();
    assert_eq!(moved.verify(&LEDGER), Err(GrantError::Signature { link: 1 }));
    let mut shorter = grant;
    shorter.links.pop();
    // A prefix is what its holder had all along.
    assert_eq!(shorter.verify(&LEDGER).unwrap().holder(), peer(2));
}

#[test]
fn link_ids_name_the_whole_chain_before_them() {
    let one = chain(&[vec![], vec![]]).unwrap().verify(&LEDGER).unwrap();
    let two = chain(&[vec![Caveat::Depth { links: 3 }], vec![]]).unwrap().verify(&LEDGER).unwrap();
    assert_ne!(one.link_ids()[0], two.link_ids()[0]);
    assert_ne!(one.link_ids()[1], two.link_ids()[1]);
    let pairs: Vec<_> = one.revocations().collect();
    let ids = one.link_ids();
    assert_eq!(pairs, [(ids[0], root()), (ids[1], root()), (ids[1], peer(1).into())]);
    assert_eq!(verify_first_link(&LEDGER, &root(), &one.grant().links[0]), Ok(ids[0]));
    assert!(verify_first_link(&LEDGER, &root(), &one.grant().links[1]).is_err());
}

/// The worked example of `spec/grant.md`.
#[test]
fn the_example_of_the_spec() {
    let signer = SigningKey::from_bytes(&[1; 32]);
    let root = AccountId(signer.verifying_key().to_bytes());
    assert_eq!(
        root.to_string(),
        "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
    );
    let chain = ChainId([4; 32]);
    let before = root_digest(&chain, &root);
    let caveats = vec![
        Caveat::Object { object: ObjectId([5; 16]) },
        Caveat::Abilities { set: ability::READ },
    ];
    let link = Link::sign(&signer, &before, PeerId([2; 32]), [3; 8], caveats);
    let digest = link.digest(&before);
    assert_eq!(
        [before, digest].map(|hash| hash.to_string()),
        [
            "b76b6063696731d03669465f79e78e90825be175ba3dcd27faa9645a126ca2c0",
            "9ef5063aa52ab31a4f0b3662dbdf991fa721bb32dce5c5b37645f1eec068f140",
        ]
    );
    let grant = Grant { version: 1, root, sale: None, member: None, links: vec![link] };
    let id = grant.verify(&chain).unwrap().link_ids()[0].to_string();
    assert_eq!(id, digest.to_string()[..32]);
    assert_eq!(grant.to_bytes().len(), 38 + 32 + 8 + 4 + 17 + 3 + 64);
}

fn caveats() -> impl Strategy<Value = Vec<Caveat>> {
    let near = || 0_u64..40;
    let caveat = prop_oneof![
        (0_u8..2).prop_map(|byte| Caveat::Object { object: ObjectId([byte; 16]) }),
        (0..=ability::ALL).prop_map(|set| Caveat::Abilities { set }),
        near().prop_map(|time| Caveat::NotBefore { time_ms: LedgerTime(time) }),
        near().prop_map(|time| Caveat::NotAfter { time_ms: LedgerTime(time) }),
        (near(), near()).prop_map(|(first, end)| Caveat::Cells { first, end }),
        near().prop_map(|count| Caveat::NodeReads { count }),
        near().prop_map(|bytes| Caveat::NodeBytes { bytes }),
        (0_u8..2).prop_map(|byte| Caveat::Purpose { hash: Hash([byte; 32]) }),
        (0_u8..9).prop_map(|links| Caveat::Depth { links }),
        near().prop_map(|max| Caveat::Staleness { max_ms: Millis(max) }),
        near().prop_map(|until| Caveat::Once { until_ms: LedgerTime(until) }),
    ];
    prop::collection::vec(caveat, 0..4)
}

fn requests() -> impl Strategy<Value = Access> {
    let cells = prop::option::of((0_u64..40, 1_u64..10).prop_map(|(at, count)| at..at + count));
    (0_u8..2, 0..=ability::ALL, cells, 0_u64..40).prop_map(|(object, ability, cells, now)| Access {
        object: ObjectId([object; 16]),
        ability,
        cells,
        now_ms: LedgerTime(now),
        ..access(1)
    })
}

/// Whether everything the parent leaves to enforce still stands, at least as strictly, in the child.
fn no_wider(child: &Authorized, parent: &Authorized) -> bool {
    fn least<T: Ord>(child: Option<T>, parent: Option<T>) -> bool {
        match (child, parent) {
            (_, None) => true,
            (Some(child), Some(parent)) => child <= parent,
            (None, Some(_)) => false,
        }
    }
    parent.quotas.iter().all(|quota| child.quotas.contains(quota))
        && child.order == parent.order
        && parent.revocations.iter().all(|pair| child.revocations.contains(pair))
        && least(child.staleness_ms, parent.staleness_ms)
        && least(child.ends_ms, parent.ends_ms)
        && (parent.purpose.is_none() || child.purpose == parent.purpose)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_delegate_ever_gains_a_right(
        links in prop::collection::vec(caveats(), 1..5),
        requests in prop::collection::vec(requests(), 24),
        sold in any::<bool>(),
    ) {
        let sale = sold.then(sale);
        let grants: Vec<VerifiedGrant> = (1..=links.len())
            .map_while(|count| chain_of(&links[..count], sale).ok())
            .map(|grant| grant.verify(&LEDGER).unwrap())
            .collect();
        for request in requests {
            let ask = |grant: &VerifiedGrant| {
                let paid = sale.map(|Sale { holder, ends_ms, .. }| PaidOrder {
                    mandate: grant.first_digest(), holder, ends_ms, refunded: false,
                });
                let next = grant.grant().once().and_then(|(at, _)| grant.grant().links.get(at + 1));
                let redeemed =
                    next.map(|next| Redemption { holder: next.audience, until_ms: LedgerTime::NEVER });
                grant.authorize(&Access { peer: grant.holder(), paid, redeemed, ..request.clone() })
            };
            let answers: Vec<_> = grants.iter().map(ask).collect();
            for (place, answer) in answers.iter().enumerate() {
                let Ok(child) = answer else { continue };
                // A one-time key may do nothing itself, but what its redeemer may do stood above it too.
                let mut above = answers[..place].iter().rev();
                if let Some(parent) = above.find(|one| **one != Err(GrantError::NotRedeemed)) {
                    prop_assert!(parent.as_ref().is_ok_and(|parent| no_wider(child, parent)));
                }
            }
        }
    }

    #[test]
    fn one_changed_byte_is_noticed(
        links in prop::collection::vec(caveats(), 1..4),
        place in any::<prop::sample::Index>(),
        change in 1_u8..,
        sold in any::<bool>(),
    ) {
        // No signature covers the sale that comes last. The ledger's facts tell.
        let sale = (sold && 1 < links.len()).then(sale);
        let Ok(grant) = chain_of(&links, sale) else { return Ok(()) };
        let mut bytes = grant.to_bytes();
        prop_assert_eq!(Grant::from_bytes(&bytes), Ok(grant));
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        if let Ok(changed) = Grant::from_bytes(&bytes) {
            // The last audience is not a signer, so only the signature over it can tell.
            prop_assert!(changed.verify(&LEDGER).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut with_head = vec![1];
        with_head.extend_from_slice(&[7; 32]);
        with_head.extend_from_slice(&[0, 2, 0, 0, 0]);
        with_head.extend_from_slice(&bytes);
        for bytes in [&bytes, &with_head] {
            if let Ok(grant) = Grant::from_bytes(bytes) {
                prop_assert_eq!(&grant.to_bytes(), bytes);
                prop_assert!(grant.verify(&LEDGER).is_err());
                prop_assert!(!grant.words().is_empty());
            }
        }
    }
}
