//! Sales: what an order gives, and what it must not.

use std::{vec, vec::Vec};

use super::*;
use crate::{
    Amount, Decode, Millis,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme},
    grant::{Access, Authorized},
    id::{ListingId, VaultId},
    identity::Identity,
    ledger::rows::{Cover, ListingState, PublicRef, Terms},
    wire::storage::{Fault, RefusalCode},
};

const CHAIN: ChainId = ChainId([77; 32]);
const ORDER: OrderId = OrderId([6; 16]);

fn seller() -> Identity {
    Identity::from_seed(&[1; 64])
}

fn buyer() -> Identity {
    Identity::from_seed(&[2; 64])
}

/// A listing of one of the seller's objects.
fn listing(number: u8) -> Listing {
    let key = FileKey::from_bytes([number; 32]);
    let layout = Layout::new(Scheme::for_nodes(3), 5).unwrap();
    let manifest = Manifest::new(&key, MaskMode::None, &layout, Hash([2; 32]));
    let signer = seller().account_key();
    let document = PublicRef { manifest: manifest.clone(), key: [0; 32], hash: Hash([0; 32]) };
    let terms = Terms {
        title: "weather".into(),
        price: Amount::credits(1),
        bond: Amount::credits(1),
        licence: Hash([0; 32]),
        access_ms: Millis(1),
        window_ms: Millis(1),
        splits: Vec::new(),
        preview_cells: 0,
        leaves: document.clone(),
        masks_root: Hash([0; 32]),
        document,
        cells: 1,
        vault: VaultId([0; 16]),
        own_custodians: false,
        capsule: Decode::from_bytes(&[0; 160]).unwrap(),
        pad: [0; 32],
        mandate: mandate(&CHAIN, &signer, manifest.object, &[number; 32]).unwrap(),
        manifest,
    };
    Listing {
        seller: seller().account(),
        terms,
        state: ListingState::Open,
        listed_ms: LedgerTime::ZERO,
        preview_seed: None,
        preview: None,
        cover: Cover { until: None, shown: 0, shown_until: 0 },
        sold: 0,
        orders: 1,
        open: 1,
    }
}

fn order(state: OrderState) -> Order {
    Order {
        listing: ListingId([4; 16]),
        buyer: buyer().account(),
        holder: buyer().peer(),
        delivery: Decode::from_bytes(&[0; 96]).unwrap(),
        amount: Amount::credits(1),
        sale_fee_bp: 0,
        custody_fee_bp: 0,
        state,
        ordered_ms: LedgerTime::ZERO,
        access_until_ms: LedgerTime(1000),
        due_ms: LedgerTime::ZERO,
        dealing: 1,
        releases: Vec::new(),
        asked: None,
        given: 0,
        refund: None,
    }
}

fn access(peer: PeerId, paid: Option<PaidOrder>) -> Access {
    Access {
        owner: seller().account(),
        object: listing(1).terms.manifest.object,
        peer,
        ability: ability::READ,
        cells: Some(0..10),
        now_ms: LedgerTime(999),
        paid,
        redeemed: None,
    }
}

fn facts(state: OrderState) -> PaidOrder {
    PaidOrder::of(&CHAIN, &order(state), &listing(1))
}

/// Asks with the buyer's grant for listing 1.
fn ask(paid: Option<PaidOrder>) -> Result<Authorized, GrantError> {
    let grant = bought(ORDER, &order(OrderState::Paid), &listing(1));
    grant.verify(&CHAIN).unwrap().authorize(&access(buyer().peer(), paid))
}

#[test]
fn an_order_is_a_chain_the_buyer_can_use_and_pass_on() {
    let row = listing(1);
    let object = &row.terms.manifest.object;
    verify_mandate(&CHAIN, &row.seller, &row.terms.mandate, object).unwrap();
    for state in [OrderState::Paid, OrderState::Delivered, OrderState::Settled] {
        let found = ask(Some(facts(state))).unwrap();
        assert_eq!(found.order, Some(ORDER));
        assert_eq!(found.ends_ms, Some(LedgerTime(1000)));
        let mandate = mandate_id(&CHAIN, &row.seller, &row.terms.mandate);
        assert_eq!(found.revocations, [(mandate, row.seller)]);
    }
    let grant = bought(ORDER, &order(OrderState::Paid), &row);
    assert_eq!(grant.ends_ms(), Some(LedgerTime(1000)));
    let employee = Identity::from_seed(&[7; 64]);
    let soon = vec![Caveat::NotAfter { time_ms: LedgerTime(1001) }];
    let longer =
        grant.delegate(&CHAIN, &buyer().access_key(), employee.peer(), soon, &[8; 32]).unwrap();
    let verified = longer.verify(&CHAIN).unwrap();
    let paid = Some(facts(OrderState::Settled));
    let found = verified.authorize(&access(employee.peer(), paid)).unwrap();
    assert_eq!((found.order, found.ends_ms), (Some(ORDER), Some(LedgerTime(1000))));
    // The buyer may revoke the link, as the seller may.
    let link = verified.link_ids()[1];
    let by = [seller().account(), buyer().peer().into()];
    assert_eq!(found.revocations[1..], by.map(|by| (link, by)));
    assert_eq!(verified.authorize(&access(buyer().peer(), paid)), Err(GrantError::NotHolder));
    for again in [buyer().peer(), market_audience(&CHAIN), seller().account().into()] {
        let twice = longer.delegate(&CHAIN, &employee.access_key(), again, vec![], &[8; 32]);
        assert_eq!(twice, Err(GrantError::AudienceRepeated { link: 2 }));
    }
}

#[test]
fn only_the_order_that_was_paid_gives_access() {
    let good = facts(OrderState::Paid);
    assert!(ask(Some(good)).is_ok());
    let other = PaidOrder::of(&CHAIN, &order(OrderState::Paid), &listing(2));
    let holder = PaidOrder { holder: PeerId([9; 32]), ..good };
    let later = PaidOrder { ends_ms: LedgerTime(1001), ..good };
    let differs = |what| GrantError::OrderDiffers { what };
    for (paid, error, code, fault) in [
        (Some(other), differs("listing"), RefusalCode::NotAllowed, Fault::Yours),
        (Some(holder), differs("holder"), RefusalCode::NotAllowed, Fault::Yours),
        (Some(later), differs("end"), RefusalCode::NotAllowed, Fault::Yours),
        (
            Some(facts(OrderState::Refunded)),
            GrantError::OrderRefunded,
            RefusalCode::Revoked,
            Fault::Yours,
        ),
        (None, GrantError::UnknownOrder { order: ORDER }, RefusalCode::NotPaid, Fault::Transient),
    ] {
        assert_eq!(ask(paid), Err(error));
        assert_eq!((error.code(), error.code().fault()), (code, fault));
    }
    let late = Access { now_ms: LedgerTime(1000), ..access(buyer().peer(), Some(good)) };
    let grant = bought(ORDER, &order(OrderState::Paid), &listing(1)).verify(&CHAIN).unwrap();
    let expired = GrantError::Expired { time_ms: LedgerTime(1000) };
    assert_eq!(grant.authorize(&late), Err(expired));
    assert_eq!(expired.code(), RefusalCode::OutOfTime);
}

/// What is wrong with a request anyhow is said before the order is needed. So a node looks up no order for it.
#[test]
fn an_order_is_looked_at_last() {
    let grant = bought(ORDER, &order(OrderState::Paid), &listing(1)).verify(&CHAIN).unwrap();
    let usual = access(buyer().peer(), None);
    let store = Access { ability: ability::STORE, ..usual.clone() };
    assert_eq!(grant.authorize(&store), Err(GrantError::NotAllowed));
    let thief = Access { peer: PeerId([9; 32]), ..usual.clone() };
    assert_eq!(grant.authorize(&thief), Err(GrantError::NotHolder));
    let object = Access { object: ObjectId([9; 16]), ..usual };
    assert_eq!(grant.authorize(&object), Err(GrantError::WrongObject));
}

#[test]
fn only_an_order_passes_a_mandate_on() {
    let good = bought(ORDER, &order(OrderState::Paid), &listing(1));
    assert!(good.verify(&CHAIN).is_ok());
    // A sale of another ledger, with the mandate of this one or of the other one.
    let elsewhere = ChainId([78; 32]);
    assert_eq!(good.verify(&elsewhere), Err(GrantError::NoMandate));
    let object = listing(1).terms.manifest.object;
    let foreign = mandate(&elsewhere, &seller().account_key(), object, &[1; 32]).unwrap();
    let with = |link: Link| Grant { links: vec![link], ..good.clone() };
    assert_eq!(with(foreign.clone()).verify(&CHAIN), Err(GrantError::NoMandate));
    let moved = Link { audience: market_audience(&CHAIN), ..foreign };
    assert_eq!(with(moved).verify(&CHAIN), Err(GrantError::Signature { link: 0 }));
    // A friend of the seller does not sell.
    let friends = vec![Caveat::Object { object }, Caveat::Abilities { set: ability::READ }];
    let friend = Grant::issue(&CHAIN, &seller().account_key(), buyer().peer(), friends, &[1; 32]);
    let friend = friend.unwrap().links.remove(0);
    assert_eq!(with(friend).verify(&CHAIN), Err(GrantError::NoMandate));
    // No party signs a link after a mandate.
    let passed = good.delegate(&CHAIN, &buyer().access_key(), PeerId([5; 32]), vec![], &[8; 32]);
    let unpaid = Grant { sale: None, ..passed.unwrap() };
    assert_eq!(unpaid.verify(&CHAIN), Err(GrantError::NoOrder));
    for holder in [seller().account().into(), market_audience(&CHAIN)] {
        let sale = good.sale.map(|sale| Sale { holder, ..sale });
        let repeated = Grant { sale, ..good.clone() };
        assert_eq!(repeated.verify(&CHAIN), Err(GrantError::HolderRepeated));
    }
}

/// A link after a sale holds under that sale only: its issuer cannot be made to have passed on another one.
#[test]
fn a_further_link_is_bound_to_its_sale() {
    let good = bought(ORDER, &order(OrderState::Paid), &listing(1));
    let passed = good.delegate(&CHAIN, &buyer().access_key(), PeerId([5; 32]), vec![], &[8; 32]);
    let passed = passed.unwrap();
    let sale = passed.sale.unwrap();
    for other in [
        Sale { order: OrderId([7; 16]), ..sale },
        Sale { ends_ms: LedgerTime(1001), ..sale },
        Sale { holder: PeerId([9; 32]), ..sale },
    ] {
        let changed = Grant { sale: Some(other), ..passed.clone() };
        assert_eq!(changed.verify(&CHAIN), Err(GrantError::Signature { link: 1 }));
        let bare = Grant { sale: Some(other), ..good.clone() };
        let digest = |grant: &Grant| grant.verify(&CHAIN).unwrap().digest();
        assert_ne!(digest(&bare), digest(&good));
    }
}

#[test]
fn a_mandate_that_cheats_buyers_is_refused() {
    let (seller, object) = (seller(), ObjectId([4; 16]));
    let named = Caveat::Object { object };
    let check = |caveats: Vec<Caveat>| {
        let market = market_audience(&CHAIN);
        let grant = Grant::issue(&CHAIN, &seller.account_key(), market, caveats, &[0; 32]).unwrap();
        verify_mandate(&CHAIN, &seller.account(), &grant.links[0], &object).map(|_| ())
    };
    let read = Caveat::Abilities { set: ability::READ };
    assert_eq!(check(vec![named.clone(), read.clone()]), Ok(()));
    // The buyer then cannot pass the grant on.
    assert_eq!(check(vec![named.clone(), read.clone(), Caveat::Depth { links: 0 }]), Ok(()));
    for bare in [vec![], vec![named.clone()], vec![read.clone()]] {
        assert_eq!(check(bare), Err(GrantError::NotAMandate));
    }
    for bad in [
        Caveat::Object { object: ObjectId([9; 16]) },
        Caveat::Abilities { set: ability::VERIFY },
        Caveat::NotAfter { time_ms: LedgerTime::NEVER },
        Caveat::NotBefore { time_ms: LedgerTime::ZERO },
        Caveat::Cells { first: 0, end: 1 },
        Caveat::NodeReads { count: 1 },
        Caveat::NodeBytes { bytes: 1 },
        Caveat::Staleness { max_ms: Millis(1) },
    ] {
        assert_eq!(check(vec![named.clone(), read.clone(), bad]), Err(GrantError::NotAMandate));
    }
    let link = mandate(&CHAIN, &seller.account_key(), object, &[0; 32]).unwrap();
    assert_eq!(
        verify_mandate(&CHAIN, &AccountId([8; 32]), &link, &object),
        Err(GrantError::Signature { link: 0 })
    );
    let caveats = link.caveats.clone();
    let friend = Grant::issue(&CHAIN, &seller.account_key(), PeerId([8; 32]), caveats, &[0; 32]);
    assert_eq!(
        verify_mandate(&CHAIN, &seller.account(), &friend.unwrap().links[0], &object),
        Err(GrantError::NotAMandate)
    );
    // A mandate that a seller signed on a test ledger sells nothing here.
    let elsewhere = ChainId([78; 32]);
    assert_eq!(
        verify_mandate(&elsewhere, &seller.account(), &link, &object),
        Err(GrantError::NotAMandate)
    );
    let moved = Link { audience: market_audience(&elsewhere), ..link };
    assert_eq!(
        verify_mandate(&elsewhere, &seller.account(), &moved, &object),
        Err(GrantError::Signature { link: 0 })
    );
}
