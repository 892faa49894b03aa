//! What a buyer and nodes put forward about goods: complaints with all that proves them, and cells.

use std::vec::Vec;

use super::{
    seller::{capsule_of, listing_terms_on},
    world::{PRICE, World, account, key, listing_id},
};
use crate::{
    amount::Amount,
    custody::{DeliverySecret, ShownKey, listing_key, pad, release_context},
    dispute::{
        Complaint, KeyFault,
        goods::{Goods, SCHEME},
    },
    grant,
    id::{DealId, Opening, OrderId},
    ledger::{
        rows::{Access, Orders, Terms},
        state::StateExt,
        transaction::{Acceptance, Action, DealTerms},
    },
    time::{LedgerTime, Millis},
};

/// The nodes that keep the goods, by shard.
pub(super) const KEEPERS: [u8; 3] = [11, 12, 13];

/// An order of goods, and the deal that keeps them.
#[derive(Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) world: &'a World,
    pub(super) goods: &'a Goods,
    pub(super) deal: DealId,
    pub(super) listing: u8,
    pub(super) order: OrderId,
}

impl Evidence<'_> {
    pub(super) fn complaint(&self, complaint: Complaint) -> Action {
        Action::Complain { order: self.order, complaint: complaint.into() }
    }

    pub(super) fn shown(&self) -> ShownKey {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&self.order.0);
        let secret = DeliverySecret::from_seed(&seed);
        let listing = listing_id(self.listing);
        let context = release_context(&self.world.id(), &self.order, &listing);
        let releases = self.world.state.get(Orders, &self.order).unwrap().releases;
        ShownKey::make(&releases, 2, &secret, &context, &[1; 32]).unwrap()
    }

    pub(super) fn bad_key(&self, fault: KeyFault) -> Complaint {
        Complaint::BadKey { shown: self.shown(), fault }
    }

    pub(super) fn other_key_of(&self, cell: u64) -> Complaint {
        self.bad_key(KeyFault::Cell { leaf: self.goods.list.open(cell).unwrap() })
    }

    pub(super) fn other_mask(&self) -> Complaint {
        self.bad_key(KeyFault::Mask { masks: self.goods.list.open_masks(0).unwrap() })
    }

    pub(super) fn bad_cell(&self, cell: u64) -> Complaint {
        let leaf = self.goods.list.open(cell).unwrap();
        let key = self.goods.key.cell_key(0, cell);
        Complaint::BadCell { leaf, key, sealed: self.goods.sealed(cell) }
    }

    pub(super) fn other_cell(&self, cell: u64) -> Complaint {
        let place = self.goods.place(cell);
        let (_, kept, path) = self.goods.kept(place.shard, place.stripe);
        Complaint::OtherCell {
            leaf: self.goods.list.open(cell).unwrap(),
            masks: self.goods.list.open_masks(0).unwrap(),
            key: self.goods.key.shard_mask_key(0, place.shard),
            deal: self.deal,
            kept,
            path,
        }
    }

    pub(super) fn unavailable(&self, cell: u64) -> Complaint {
        let masks = self.goods.list.open_masks(0).unwrap();
        Complaint::Unavailable {
            leaf: self.goods.list.open(cell).unwrap(),
            keys: self.goods.index_keys(),
            path: masks.path,
            deal: self.deal,
        }
    }

    /// The cell of a shard in the stripe of another cell.
    pub(super) fn answer(&self, index: u8, cell: u64) -> Action {
        let (_, kept, path) = self.goods.kept(index, self.goods.place(cell).stripe);
        Action::AnswerCell { order: self.order, kept, path }
    }
}

/// What an owner asks nodes to keep of goods.
pub(super) fn goods_terms(owner: u8, goods: &Goods, opening: Opening, epochs: u64) -> DealTerms {
    DealTerms {
        owner: account(owner),
        opening,
        object: goods.manifest.object,
        segment: 0,
        required: SCHEME.required,
        total: SCHEME.total,
        length: goods.shards[0].len() as u64,
        access: Access::Granted,
        epochs,
    }
}

/// Opens a deal of goods: each of these nodes keeps the shard of its place.
pub(super) fn store_goods(
    world: &World,
    terms: &DealTerms,
    goods: &Goods,
    shards: &[(u8, u8)],
) -> Action {
    let accept = |(index, number): &(u8, u8)| {
        let root = goods.kept(*index, 0).0;
        let expires_ms = LedgerTime(world.now).saturating_add(Millis(60_000));
        let price = (PRICE, u64::MAX);
        Acceptance::build(&world.id(), terms, &key(*number), (*index, root), price, expires_ms)
    };
    let acceptances = shards.iter().map(accept).collect();
    Action::OpenDeal { terms: terms.clone(), acceptances, cost_max: Amount(u128::MAX) }
}

/// The keepers' shards.
pub(super) fn all_shards() -> Vec<(u8, u8)> {
    (0..).zip(KEEPERS).collect()
}

/// How an account lists goods, under a number of its own, whose capsule and pad hold this key.
pub(super) fn sale_of(
    world: &World,
    (seller, number): (u8, u8),
    goods: &Goods,
    (price, listed_key): (u128, [u8; 32]),
) -> Terms {
    let mut terms = listing_terms_on(&world.id(), seller, price);
    let (capsule, point) = capsule_of(&world.id(), seller, &goods.manifest);
    terms.capsule = capsule;
    terms.pad = pad(&listed_key, &listing_key(&point));
    terms.cells = goods.manifest.layout().unwrap().cells();
    terms.manifest = goods.manifest.clone();
    terms.masks_root = goods.masks_root;
    let object = goods.manifest.object;
    terms.mandate = grant::mandate(&world.id(), &key(seller), object, &[number; 32]).unwrap();
    terms
}
