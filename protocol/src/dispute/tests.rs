//! What is judged, each both ways.

mod vectors;

use std::vec::Vec;

use super::{
    goods::{Goods, SCHEME},
    *,
};
use crate::{
    custody::{DeliverySecret, VaultKey, released::ReleasedOrder},
    id::{ChainId, ListingId, OrderId},
};

/// A file with everything that a listing, its deals and an order show of it.
struct World {
    goods: Goods,
    capsule: Capsule,
    pad: [u8; 32],
    vault: VaultKey,
    posted: Vec<PostedRelease>,
    secret: DeliverySecret,
    delivery: DeliveryKey,
    context: Hash,
}

/// A world whose seller may do something to the parts of its leaves, and list another key.
fn world_of(spoil: impl FnOnce(&mut Vec<LeafParts>), listed_key: [u8; 32]) -> World {
    let goods = Goods::spoilt(300_000, spoil);
    let of = (OrderId([8; 16]), ListingId([9; 16]));
    let released = ReleasedOrder::of(ChainId([3; 32]), &goods.manifest.content_root, of);
    let ReleasedOrder { vault, capsule, point, posted, secret, delivery, context, .. } = released;
    let pad = custody::pad(&listed_key, &custody::listing_key(&point));
    World { goods, capsule, pad, vault, posted, secret, delivery, context }
}

fn honest() -> World {
    world_of(|_| {}, [9; 32])
}

impl World {
    fn listed(&self) -> Listed<'_> {
        let Self { goods: Goods { manifest, masks_root, .. }, capsule, pad, .. } = self;
        Listed { manifest, masks_root, capsule, pad }
    }

    fn key_fault(&self, fault: &KeyFault) -> Result<Verdict, NotProven> {
        let required = self.vault.required();
        let shown =
            ShownKey::make(&self.posted, required, &self.secret, &self.context, &[1; 32]).unwrap();
        let (releases, delivery, context) = (&self.posted[..], &self.delivery, &self.context);
        judge_key(
            &self.listed(),
            &Delivered { releases, required, delivery, context },
            &shown,
            fault,
        )
    }

    fn cell(&self, cell: u64) -> Result<Verdict, NotProven> {
        let place = self.goods.place(cell);
        let key = self.goods.key.cell_key(place.segment, place.in_segment);
        judge_cell(
            &self.goods.manifest,
            &self.goods.list.open(cell).unwrap(),
            &key,
            &self.goods.sealed(cell),
        )
    }

    fn other(&self, cell: u64) -> Result<Verdict, NotProven> {
        let place = self.goods.place(cell);
        let (root, bytes, path) = self.goods.kept(place.shard, place.stripe);
        judge_kept(
            &self.listed(),
            &self.goods.list.open(cell).unwrap(),
            &self.goods.list.open_masks(0).unwrap(),
            &self.goods.key.shard_mask_key(0, place.shard),
            &KeptCell { root: &root, bytes: &bytes, path: &path },
        )
    }

    fn answers(&self, cell: u64, indexes: &[u8]) -> Verdict {
        let place = self.goods.place(cell);
        let keys = self.goods.index_keys();
        let sealed = self.goods.list.parts(cell).unwrap().sealed;
        let answers: Vec<_> =
            indexes.iter().map(|index| (*index, self.goods.kept(*index, place.stripe).1)).collect();
        let path = self.goods.list.open_masks(0).unwrap().path;
        let leaf = self.goods.list.open(cell).unwrap();
        check_asked(&self.goods.manifest, &self.goods.masks_root, &leaf, &keys, &path).unwrap();
        judge_answers(SCHEME, &place, &sealed, &keys, &answers)
    }
}

#[test]
fn an_honest_listing_wins_every_complaint() {
    let world = honest();
    let layout = world.goods.manifest.layout().unwrap();
    assert_eq!(world.goods.list.other_key(&world.goods.key, &layout), None);
    let bytes = world.goods.list.to_bytes();
    assert_eq!(bytes.len() as u64, LeafList::byte_length(&layout));
    let read = LeafList::read(&world.goods.manifest, &world.goods.masks_root, &bytes).unwrap();
    assert_eq!(read, world.goods.list);
    for cell in 0..layout.cells() {
        let leaf = world.goods.list.open(cell).unwrap();
        let faults = [
            KeyFault::File,
            KeyFault::Cell { leaf },
            KeyFault::Mask { masks: world.goods.list.open_masks(0).unwrap() },
        ];
        for fault in faults {
            assert_eq!(world.key_fault(&fault), Ok(Verdict::Dismissed), "{fault:?}");
        }
        assert_eq!(world.cell(cell), Ok(Verdict::Dismissed));
        assert_eq!(world.other(cell), Ok(Verdict::Dismissed));
        for indexes in [&[0, 1][..], &[1, 2], &[2, 0], &[world.goods.place(cell).shard]] {
            assert_eq!(world.answers(cell, indexes), Verdict::Dismissed, "{indexes:?}");
        }
    }
}

#[test]
fn a_key_that_is_not_the_listed_one_is_convicted() {
    let world = world_of(|_| {}, [8; 32]);
    assert_eq!(world.key_fault(&KeyFault::File), Ok(Verdict::Upheld));
    // A cell listed with another key, though the file key is the committed one.
    let world = world_of(|parts| parts[3].key = Hash([1; 32]), [9; 32]);
    let layout = world.goods.manifest.layout().unwrap();
    assert_eq!(world.goods.list.other_key(&world.goods.key, &layout), Some(OtherKey::Cell(3)));
    assert_eq!(world.key_fault(&KeyFault::File), Ok(Verdict::Dismissed));
    let leaf = |cell| KeyFault::Cell { leaf: world.goods.list.open(cell).unwrap() };
    assert_eq!(world.key_fault(&leaf(3)), Ok(Verdict::Upheld));
    assert_eq!(world.key_fault(&leaf(2)), Ok(Verdict::Dismissed));
    // A mask.
    let mut world = honest();
    world.goods = world.goods.with_other_mask();
    assert_eq!(world.goods.list.other_key(&world.goods.key, &layout), Some(OtherKey::Mask(0)));
    let fault = KeyFault::Mask { masks: world.goods.list.open_masks(0).unwrap() };
    assert_eq!(world.key_fault(&fault), Ok(Verdict::Upheld));
}

#[test]
fn a_cell_that_does_not_open_is_convicted() {
    let junk = vec![7; 65_536];
    let spoiled = junk.clone();
    let world = world_of(move |parts| parts[1].sealed = sealed_hash(&[&spoiled]), [9; 32]);
    let key = world.goods.key.cell_key(0, 1);
    let leaf = world.goods.list.open(1).unwrap();
    assert_eq!(judge_cell(&world.goods.manifest, &leaf, &key, &junk), Ok(Verdict::Upheld));
    // What nodes keep is not what was listed either.
    assert_eq!(world.other(1), Ok(Verdict::Upheld));
    assert_eq!(world.answers(1, &[1]), Verdict::Upheld);
    assert_eq!(world.answers(1, &[0, 2]), Verdict::Upheld);
    // The plain bytes are not the listed ones.
    let world = world_of(|parts| parts[2].plain = Hash([1; 32]), [9; 32]);
    assert_eq!(world.cell(2), Ok(Verdict::Upheld));
    assert_eq!(world.cell(1), Ok(Verdict::Dismissed));
    // A sealed cell of another size.
    let world = world_of(|parts| parts[0].sealed = sealed_hash(&[&[1; 100]]), [9; 32]);
    let (leaf, key) = (world.goods.list.open(0).unwrap(), world.goods.key.cell_key(0, 0));
    assert_eq!(judge_cell(&world.goods.manifest, &leaf, &key, &[1; 100]), Ok(Verdict::Upheld));
}

#[test]
fn parity_that_does_not_give_the_cell_is_convicted() {
    let mut world = honest();
    world.goods.shards[2][70_000] ^= 1;
    let cell = world.goods.place(2);
    assert_eq!((cell.stripe, cell.shard), (1, 0));
    assert_eq!(world.answers(2, &[1, 2]), Verdict::Upheld);
    assert_eq!(world.answers(2, &[0]), Verdict::Dismissed);
}

#[test]
fn what_does_not_fit_the_listing_proves_nothing() {
    let world = honest();
    let leaf = world.goods.list.open(1).unwrap();
    let key = world.goods.key.cell_key(0, 1);
    let sealed = world.goods.sealed(1);
    let judge = |leaf: &LeafOpening, key: &[u8; 32], sealed: &[u8]| {
        judge_cell(&world.goods.manifest, leaf, key, sealed)
    };
    let other_key = Err(NotProven::Hash { what: "the cell's key" });
    assert_eq!(judge(&leaf, &[0; 32], &sealed), other_key);
    let other_cell = Err(NotProven::Hash { what: "the sealed cell" });
    assert_eq!(judge(&leaf, &key, &sealed[1..]), other_cell);
    let moved = LeafOpening { cell: 2, ..leaf.clone() };
    assert!(matches!(judge(&moved, &key, &sealed), Err(NotProven::Path { .. })));
    let beyond = LeafOpening { cell: 1 << 40, ..leaf.clone() };
    assert_eq!(judge(&beyond, &key, &sealed), Err(NotProven::Place));
    let mut forged = leaf.clone();
    forged.parts.plain = Hash([0; 32]);
    assert!(matches!(judge(&forged, &key, &sealed), Err(NotProven::Path { .. })));

    let (root, bytes, path) = world.goods.kept(1, 0);
    let kept = KeptCell { root: &root, bytes: &bytes, path: &path };
    let masks = world.goods.list.open_masks(0).unwrap();
    let index_key = world.goods.key.shard_mask_key(0, 1);
    let judge = |masks: &MaskOpening, key: &[u8; 32], kept: &KeptCell<'_>| {
        judge_kept(&world.listed(), &leaf, masks, key, kept)
    };
    assert_eq!(judge(&masks, &index_key, &kept), Ok(Verdict::Dismissed));
    let other = Err(NotProven::Hash { what: "the key of the mask" });
    assert_eq!(judge(&masks, &world.goods.key.shard_mask_key(0, 0), &kept), other);
    let mut false_masks = masks.clone();
    false_masks.masks[1] = mask_hash(&[0; 32]);
    assert!(matches!(judge(&false_masks, &[0; 32], &kept), Err(NotProven::Path { .. })));
    let short = MaskOpening { masks: masks.masks[..2].to_vec(), ..masks.clone() };
    assert_eq!(judge(&short, &index_key, &kept), Err(NotProven::Place));
    let (other_root, ..) = world.goods.kept(0, 0);
    let moved = KeptCell { root: &other_root, ..kept };
    assert_eq!(judge(&masks, &index_key, &moved), Err(NotProven::Kept));
}

#[test]
fn a_list_of_another_file_is_refused() {
    let world = honest();
    let bytes = world.goods.list.to_bytes();
    let read = |manifest: &Manifest, root: &Hash, bytes: &[u8]| {
        LeafList::read(manifest, root, bytes).unwrap_err()
    };
    let Manifest { content_root, .. } = world.goods.manifest.clone();
    let other = Manifest { content_root: Hash([1; 32]), ..world.goods.manifest.clone() };
    assert_ne!(content_root, other.content_root);
    assert_eq!(read(&other, &world.goods.masks_root, &bytes), LeafListError::Cells);
    assert_eq!(read(&world.goods.manifest, &Hash([1; 32]), &bytes), LeafListError::Masks);
    let short = read(&world.goods.manifest, &world.goods.masks_root, &bytes[1..]);
    assert!(matches!(short, LeafListError::Length { .. }));
    let mut flipped = bytes.clone();
    flipped[0] ^= 1;
    assert_eq!(
        read(&world.goods.manifest, &world.goods.masks_root, &flipped),
        LeafListError::Cells
    );
    let last = flipped.len() - 1;
    flipped[0] ^= 1;
    flipped[last] ^= 1;
    assert_eq!(
        read(&world.goods.manifest, &world.goods.masks_root, &flipped),
        LeafListError::Masks
    );
}
