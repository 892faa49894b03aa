use std::vec::Vec;

use super::*;
use crate::{
    content::{Layout, MaskMode, SegmentCoder},
    custody::{DeliverySecret, Release, ReleaseRequest, VaultKey, VaultSecret, share},
    id::{AccountId, ChainId, ListingId, OrderId, VaultId},
};

const SCHEME: Scheme = Scheme { required: 2, total: 3 };

/// A file with everything that a listing, its deals and an order show of it.
struct World {
    key: FileKey,
    manifest: Manifest,
    list: LeafList,
    masks_root: Hash,
    shards: Vec<Vec<u8>>,
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
    let key = FileKey::from_bytes([9; 32]);
    let plain: Vec<u8> = (0..=250).cycle().take(300_000).collect();
    let layout = Layout::new(SCHEME, plain.len() as u64).unwrap();
    let segment = layout.segment(0).unwrap();
    let coder = SegmentCoder::new(&key, MaskMode::ChaCha20, segment);
    let mut shards = vec![Vec::new(); 3];
    let mut parts = Vec::new();
    for number in 0..segment.stripes {
        let stripe = segment.stripe(number).unwrap();
        let from = usize::try_from(stripe.plain_start).unwrap();
        let bytes = &plain[from..from + stripe.plain_length];
        let mut cells = vec![0; stripe.cell_bytes * 3];
        coder.encode(number, bytes, &mut cells, &mut Vec::new()).unwrap();
        for (index, cell) in cells.chunks(stripe.cell_bytes).enumerate() {
            shards[index].extend_from_slice(cell);
            if index < 2 {
                let at = stripe.first_in_segment + index as u64;
                let mask = key.shard_mask_key(0, u8::try_from(index).unwrap());
                let sealed = unmasked(&mask, number, cell);
                let cell_key = key.cell_key(0, at);
                let end = layout.cell(at).unwrap().end;
                let mut opened = vec![0; stripe.plain_bytes];
                seal::open(&cell_key, end, &sealed, &mut opened).unwrap();
                parts.push(LeafParts::new(&cell_key, &sealed, &opened));
            }
        }
    }
    spoil(&mut parts);
    let list = LeafList::new(&key, &layout, parts);
    let mut tree = merkle::Builder::new();
    tree.extend(list.leaves());
    let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, tree.finish());
    let vault_secret = VaultSecret::from_seed(&[1; 32]);
    let (vault, shares) = share(&vault_secret, 2, 3, &[2; 32]).unwrap();
    let (chain, seller, vault_id) = (ChainId([3; 32]), AccountId([4; 32]), VaultId([5; 16]));
    let label = custody::label(&chain, &seller, &vault_id, &manifest.content_root);
    let (capsule, point) = Capsule::seal(&vault_secret, &label, &[7; 32]);
    let pad = custody::pad(&listed_key, &custody::listing_key(&point));
    let context = custody::release_context(&chain, &OrderId([8; 16]), &ListingId([9; 16]));
    let secret = DeliverySecret::from_seed(&[10; 32]);
    let delivery = DeliveryKey::make(&secret, &context, &[11; 32]);
    let request = ReleaseRequest {
        vault: &vault,
        capsule: &capsule,
        label: &label,
        delivery: &delivery,
        context: &context,
    };
    let made = shares.iter().map(|share| Release::make(share, &request, &[12; 32]).unwrap());
    let posted = made.map(|one| PostedRelease { index: one.index, u: one.u, v: one.v }).collect();
    let masks_root = list.masks_root();
    World {
        key,
        manifest,
        list,
        masks_root,
        shards,
        capsule,
        pad,
        vault,
        posted,
        secret,
        delivery,
        context,
    }
}

fn honest() -> World {
    world_of(|_| {}, [9; 32])
}

impl World {
    fn listed(&self) -> Listed<'_> {
        let Self { manifest, masks_root, capsule, pad, .. } = self;
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

    fn place(&self, cell: u64) -> CellPlace {
        self.manifest.layout().unwrap().cell(cell).unwrap()
    }

    fn kept(&self, index: u8, stripe: u32) -> (Hash, Vec<u8>, Vec<Hash>) {
        let shard = &self.shards[usize::from(index)];
        let mut hasher = proof::ShardHasher::new();
        hasher.update(shard);
        let (root, outboard) = hasher.finish();
        let length = shard.len() as u64;
        let path = proof::cell_path(&outboard, length, u64::from(stripe)).unwrap();
        let from = usize::try_from(stripe).unwrap() * 65_536;
        (root, shard[from..shard.len().min(from + 65_536)].to_vec(), path)
    }

    fn sealed(&self, cell: u64) -> Vec<u8> {
        let place = self.place(cell);
        let (_, bytes, _) = self.kept(place.shard, place.stripe);
        unmasked(&self.key.shard_mask_key(0, place.shard), place.stripe, &bytes)
    }

    fn cell(&self, cell: u64) -> Result<Verdict, NotProven> {
        let place = self.place(cell);
        let key = self.key.cell_key(place.segment, place.in_segment);
        judge_cell(&self.manifest, &self.list.open(cell).unwrap(), &key, &self.sealed(cell))
    }

    fn other(&self, cell: u64) -> Result<Verdict, NotProven> {
        let place = self.place(cell);
        let (root, bytes, path) = self.kept(place.shard, place.stripe);
        judge_kept(
            &self.listed(),
            &self.list.open(cell).unwrap(),
            &self.list.open_masks(0).unwrap(),
            &self.key.shard_mask_key(0, place.shard),
            &KeptCell { root: &root, bytes: &bytes, path: &path },
        )
    }

    fn answers(&self, cell: u64, indexes: &[u8]) -> Verdict {
        let place = self.place(cell);
        let keys: Vec<_> = (0..3).map(|index| self.key.shard_mask_key(0, index)).collect();
        let sealed = self.list.parts(cell).unwrap().sealed;
        let answers: Vec<_> =
            indexes.iter().map(|index| (*index, self.kept(*index, place.stripe).1)).collect();
        let path = self.list.open_masks(0).unwrap().path;
        let leaf = self.list.open(cell).unwrap();
        check_asked(&self.manifest, &self.masks_root, &leaf, &keys, &path).unwrap();
        judge_answers(SCHEME, &place, &sealed, &keys, &answers)
    }
}

#[test]
fn an_honest_listing_wins_every_complaint() {
    let world = honest();
    let layout = world.manifest.layout().unwrap();
    assert_eq!(world.list.other_key(&world.key, &layout), None);
    let bytes = world.list.to_bytes();
    assert_eq!(bytes.len() as u64, LeafList::byte_length(&layout));
    let read = LeafList::read(&world.manifest, &world.masks_root, &bytes).unwrap();
    assert_eq!(read, world.list);
    for cell in 0..layout.cells() {
        let leaf = world.list.open(cell).unwrap();
        let faults = [
            KeyFault::File,
            KeyFault::Cell { leaf },
            KeyFault::Mask { masks: world.list.open_masks(0).unwrap() },
        ];
        for fault in faults {
            assert_eq!(world.key_fault(&fault), Ok(Verdict::Dismissed), "{fault:?}");
        }
        assert_eq!(world.cell(cell), Ok(Verdict::Dismissed));
        assert_eq!(world.other(cell), Ok(Verdict::Dismissed));
        for indexes in [&[0, 1][..], &[1, 2], &[2, 0], &[world.place(cell).shard]] {
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
    let layout = world.manifest.layout().unwrap();
    assert_eq!(world.list.other_key(&world.key, &layout), Some(OtherKey::Cell(3)));
    assert_eq!(world.key_fault(&KeyFault::File), Ok(Verdict::Dismissed));
    let leaf = |cell| KeyFault::Cell { leaf: world.list.open(cell).unwrap() };
    assert_eq!(world.key_fault(&leaf(3)), Ok(Verdict::Upheld));
    assert_eq!(world.key_fault(&leaf(2)), Ok(Verdict::Dismissed));
    // A mask.
    let mut world = honest();
    world.list.masks[1] = Hash([1; 32]);
    world.masks_root = world.list.masks_root();
    assert_eq!(world.list.other_key(&world.key, &layout), Some(OtherKey::Mask(0)));
    let fault = KeyFault::Mask { masks: world.list.open_masks(0).unwrap() };
    assert_eq!(world.key_fault(&fault), Ok(Verdict::Upheld));
}

#[test]
fn a_cell_that_does_not_open_is_convicted() {
    let junk = vec![7; 65_536];
    let spoiled = junk.clone();
    let world = world_of(move |parts| parts[1].sealed = sealed_hash(&[&spoiled]), [9; 32]);
    let key = world.key.cell_key(0, 1);
    let leaf = world.list.open(1).unwrap();
    assert_eq!(judge_cell(&world.manifest, &leaf, &key, &junk), Ok(Verdict::Upheld));
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
    let (leaf, key) = (world.list.open(0).unwrap(), world.key.cell_key(0, 0));
    assert_eq!(judge_cell(&world.manifest, &leaf, &key, &[1; 100]), Ok(Verdict::Upheld));
}

#[test]
fn parity_that_does_not_give_the_cell_is_convicted() {
    let mut world = honest();
    world.shards[2][70_000] ^= 1;
    let cell = world.place(2);
    assert_eq!((cell.stripe, cell.shard), (1, 0));
    assert_eq!(world.answers(2, &[1, 2]), Verdict::Upheld);
    assert_eq!(world.answers(2, &[0]), Verdict::Dismissed);
}

#[test]
fn what_does_not_fit_the_listing_proves_nothing() {
    let world = honest();
    let leaf = world.list.open(1).unwrap();
    let key = world.key.cell_key(0, 1);
    let sealed = world.sealed(1);
    let judge = |leaf: &LeafOpening, key: &[u8; 32], sealed: &[u8]| {
        judge_cell(&world.manifest, leaf, key, sealed)
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

    let (root, bytes, path) = world.kept(1, 0);
    let kept = KeptCell { root: &root, bytes: &bytes, path: &path };
    let masks = world.list.open_masks(0).unwrap();
    let index_key = world.key.shard_mask_key(0, 1);
    let judge = |masks: &MaskOpening, key: &[u8; 32], kept: &KeptCell<'_>| {
        judge_kept(&world.listed(), &leaf, masks, key, kept)
    };
    assert_eq!(judge(&masks, &index_key, &kept), Ok(Verdict::Dismissed));
    let other = Err(NotProven::Hash { what: "the key of the mask" });
    assert_eq!(judge(&masks, &world.key.shard_mask_key(0, 0), &kept), other);
    let mut false_masks = masks.clone();
    false_masks.masks[1] = mask_hash(&[0; 32]);
    assert!(matches!(judge(&false_masks, &[0; 32], &kept), Err(NotProven::Path { .. })));
    let short = MaskOpening { masks: masks.masks[..2].to_vec(), ..masks.clone() };
    assert_eq!(judge(&short, &index_key, &kept), Err(NotProven::Place));
    let (other_root, ..) = world.kept(0, 0);
    let moved = KeptCell { root: &other_root, ..kept };
    assert_eq!(judge(&masks, &index_key, &moved), Err(NotProven::Kept));
}

#[test]
fn a_list_of_another_file_is_refused() {
    let world = honest();
    let bytes = world.list.to_bytes();
    let read = |manifest: &Manifest, root: &Hash, bytes: &[u8]| {
        LeafList::read(manifest, root, bytes).unwrap_err()
    };
    let Manifest { content_root, .. } = world.manifest.clone();
    let other = Manifest { content_root: Hash([1; 32]), ..world.manifest.clone() };
    assert_ne!(content_root, other.content_root);
    assert_eq!(read(&other, &world.masks_root, &bytes), LeafListError::Cells);
    assert_eq!(read(&world.manifest, &Hash([1; 32]), &bytes), LeafListError::Masks);
    let short = read(&world.manifest, &world.masks_root, &bytes[1..]);
    assert!(matches!(short, LeafListError::Length { .. }));
    let mut flipped = bytes.clone();
    flipped[0] ^= 1;
    assert_eq!(read(&world.manifest, &world.masks_root, &flipped), LeafListError::Cells);
    let last = flipped.len() - 1;
    flipped[0] ^= 1;
    flipped[last] ^= 1;
    assert_eq!(read(&world.manifest, &world.masks_root, &flipped), LeafListError::Masks);
}
